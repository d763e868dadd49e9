/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Partition log: opening, closing, appending and the plain questions.  A log belongs to one lane;
 * opening and closing happen on any thread while no lane has it.
 */
#include "sluice/store/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "sluice/base/uuid.h"
#include "sluice/wire/marker.h"

#include "fileio.h"
#include "log_impl.h"

const char *log_path(const struct sl_log *log, const char *name, char path[STORE_PATH_MAX])
{
	int n = snprintf(path, STORE_PATH_MAX, "%s/%s", log->folder, name);

	SL_ASSERT(n > 0 && n < STORE_PATH_MAX);
	return path;
}

int log_fail(struct sl_log *log, int err, const char *what)
{
	SL_ASSERT(err < 0);
	if (!log->error) {
		log->error = err;
		sl_log(ERR, store, "stop writing part=%s: %s: %s", log->folder, what,
		       strerror(-err));
	}
	return err;
}

int log_store_epochs(struct sl_log *log)
{
	char path[STORE_PATH_MAX];
	int err = epochs_store(&log->epochs, &log->files, log->dirfd,
	                       log_path(log, LOG_EPOCHS_FILE, path));

	log->folder_changes++;
	if (err)
		return log_fail(log, err, "write leader epochs");
	log->is_epochs_unsaved = false;
	return 0;
}

void log_tail_clear(struct sl_log *log)
{
	log->tail_next = 0;
}

void log_took(struct sl_log *log, const struct walk_batch *batch)
{
	struct log_place *place = &log->tail[log->tail_next & (STORE_TAIL_BATCHES - 1)];

	segment_took(log, log->active, batch);
	*place = (struct log_place){
		.base_offset = batch->head.base_offset,
		.last_offset = sl_batch_last_offset(&batch->head),
		.pos = (uint32_t)batch->pos,
		.bytes = batch->bytes,
	};
	log->tail_next++;
	/* Stays a valid ring position for ever without ever looking empty again. */
	if (log->tail_next == UINT32_MAX)
		log->tail_next = STORE_TAIL_BATCHES + (UINT32_MAX & (STORE_TAIL_BATCHES - 1));
	log->end = log->active->end_offset;
	log->bytes += batch->bytes;
}

int log_claim(const struct sl_batch_head *head, const void *batch, struct producers_claim *claim)
{
	struct sl_txn_marker marker;

	*claim = (struct producers_claim){
		.producer_id = head->producer_id,
		.base_offset = head->base_offset,
		.last_offset = sl_batch_last_offset(head),
		.timestamp_ms = head->max_timestamp,
		.base_sequence = head->base_sequence,
		.epoch = head->producer_epoch,
		.is_transactional = sl_batch_is_transactional(head),
	};
	if (!sl_batch_is_control(head))
		return 0;
	if (sl_txn_marker_decode(&marker, batch, head) != 1)
		return -EBADMSG;
	claim->is_marker = true;
	claim->is_abort = !marker.is_commit;
	claim->coordinator_epoch = marker.coordinator_epoch;
	return 0;
}

static struct sl_log *log_alloc(const struct sl_log_opts *opts)
{
	size_t topic_len = strlen(opts->topic);
	size_t folder_bytes = topic_len + sizeof("-2147483647");
	struct sl_log *log = calloc(1, sizeof(*log) + folder_bytes);

	if (!log)
		return NULL;
	snprintf(log->folder, folder_bytes, "%s-%d", opts->topic, opts->partition);
	log->topic_len = (uint32_t)topic_len;
	log->partition = opts->partition;
	log->topic_id = opts->topic_id;
	log->files = opts->files;
	log->dirfd = opts->dirfd;
	log->config = opts->config;
	log->now_ms = opts->now_ms;
	log->clean_offset = CLEAN_OFFSET_UNKNOWN;
	log->hot = opts->hot;
	log->recycler = opts->recycler;
	sl_list_init(&log->opened);
	sl_list_init(&log->doomed);
	return log;
}

static void log_free(struct sl_log *log)
{
	struct sl_list *at;
	struct sl_list *next;

	for (uint32_t i = 0; i < log->segments_count; i++)
		segment_release(log, log->segments[i]);
	log->segments_count = 0;
	sl_list_for_each_safe(at, next, &log->doomed)
		segment_release(log, sl_list_entry(at, struct segment, link));
	free(log->segments);
	epochs_fini(&log->epochs);
	producers_fini(&log->producers);
	free(log);
}

static uint64_t log_memory(const struct sl_log *log)
{
	uint64_t bytes = sizeof(*log) + strlen(log->folder) + 1;

	bytes += log->segments_cap * sizeof(struct segment *);
	bytes += log->segments_count * sizeof(struct segment);
	bytes += (uint64_t)log->active->offsets.cap * INDEX_OFFSET_ENTRY_BYTES;
	bytes += (uint64_t)log->active->times.cap * INDEX_TIME_ENTRY_BYTES;
	bytes += log->epochs.cap * sizeof(struct epochs_entry);
	bytes += log->producers.entries_cap * sizeof(struct producers_entry);
	bytes += log->producers.slots_count * sizeof(uint32_t);
	bytes += log->producers.txns.cap * sizeof(struct txns_node);
	bytes += log->active->aborted.cap * sizeof(struct sl_txnindex_entry);
	return bytes;
}

/*
 * A new partition costs a folder, its metadata and an empty segment, and no sync: nothing has been
 * promised yet.  The first group commit syncs metadata, folder and log dir together with the data,
 * so that durable data always has its topic id beside it (README, rule 3).
 */
static int create_new(struct sl_log *log)
{
	int err = checkpoint_store_topic_id(log);

	log->is_parent_dirty = true;
	return err ? err : segment_create(log, 0);
}

/* What a failed creation left, as far as the disk lets go of it: an empty folder here would stand
 * in the way of the same partition in another log dir. */
static void remove_new(struct sl_log *log)
{
	const struct sl_files *files = &log->files;
	char path[STORE_PATH_MAX];

	SL_ASSERT(log->end == 0 && log->bytes == 0);
	(void)files->ops->unlink(files->ctx, log->dirfd, segment_path(log, 0, ".log", path));
	(void)files->ops->unlink(files->ctx, log->dirfd, log_path(log, LOG_METADATA_FILE, path));
	if (files->ops->rmdir(files->ctx, log->dirfd, log->folder))
		sl_log(WARN, store, "cannot remove unfinished folder part=%s", log->folder);
}

int sl_log_open(struct sl_log **out, const struct sl_log_opts *opts, struct sl_log_recovery *report)
{
	struct sl_log *log;
	int err;

	SL_ASSERT(opts->topic && opts->topic[0] && opts->partition >= 0);
	SL_ASSERT(opts->config.segment_bytes > 0 && opts->config.index_interval_bytes >= 0);
	if (strlen(opts->topic) > STORE_NAME_MAX)
		return -ENAMETOOLONG;
	*report = (struct sl_log_recovery){.cut_offset = -1};
	log = log_alloc(opts);
	if (!log)
		return -ENOMEM;
	err = log->files.ops->mkdir(log->files.ctx, log->dirfd, log->folder, 0750);
	if (!err) {
		err = create_new(log);
		if (err)
			remove_new(log);
	} else if (err == -EEXIST) {
		err = recover_log(log, opts, report);
	}
	if (err) {
		log_free(log);
		return err;
	}
	SL_ASSERT(log->active && log->active->fd >= 0);
	SL_ASSERT(log->start <= log->end && log->flushed <= log->end);
	report->segments = log->segments_count;
	if (opts->memory)
		*opts->memory += log_memory(log);
	*out = log;
	return 0;
}

static int close_clean(struct sl_log *log)
{
	int err = sync_all(log);

	if (!err && (log->bytes > 0 || log->producers.count > 0) && !snapshot_is_there(log))
		err = snapshot_store(log);
	if (!err && log->active->bytes > 0)
		err = segment_seal(log, log->active);
	if (!err)
		err = segment_trim(log, log->active);
	/* So that an epoch which falls is refused by the next life too. */
	if (!err && log->is_epochs_unsaved)
		err = log_store_epochs(log);
	/* Last: the checkpoint says that everything above is in place. */
	if (!err)
		err = checkpoint_store(log, true);
	return err;
}

/* What compaction swapped out may go after a sync of the folder; else the next open removes it. */
static void settle_swaps(struct sl_log *log)
{
	bool is_swap = false;
	struct sl_list *at;

	sl_list_for_each(at, &log->doomed)
		is_swap |= sl_list_entry(at, struct segment, link)->was_swapped;
	if (is_swap && !log->error && log->folder_changes != log->folder_synced &&
	    !SL_COUNT_IF(
		    fileio_sync_path(&log->files, log->dirfd, log->folder, O_RDONLY | O_DIRECTORY)))
		log->folder_synced = log->folder_changes;
}

int sl_log_close(struct sl_log *log, bool is_clean)
{
	int err = 0;

	SL_ASSERT(!log->is_sync_running && (!log->hot || log->unwritten == 0));
	SL_ASSERT(!log->tail_chunk && !log->cleaning && !log->point);
	/* It is the lane's, which works for other logs while this one is closed elsewhere. */
	log->recycler = NULL;
	if (is_clean)
		err = log->error ? log->error : close_clean(log);
	/* What an earlier clean close wrote must not vouch for this log again. */
	if ((!is_clean || err) && log->is_checkpoint_clean && !log->error)
		SL_COUNT_IF(checkpoint_store(log, false));
	settle_swaps(log);
	if (segment_bury(log, INT64_MAX, UINT32_MAX) && !err)
		sl_log(WARN, store, "cannot unlink deleted segments part=%s", log->folder);
	log_free(log);
	return err;
}

int sl_log_delete(struct sl_log *log)
{
	char to[STORE_NAME_MAX + 1];
	char partition[16];
	struct sl_uuid id;
	char hex[33];
	int topic_len;
	int err;

	SL_ASSERT(!log->is_sync_running && !log->cleaning && !log->point);
	sl_uuid_random(&id);
	for (uint32_t i = 0; i < sizeof(id.b); i++)
		snprintf(hex + 2 * i, 3, "%02x", id.b[i]);
	snprintf(partition, sizeof(partition), "-%d", log->partition);
	/* As Kafka does: the topic's part is cut so that the name fits the file system. */
	topic_len = (int)SL_MIN((size_t)log->topic_len, STORE_NAME_MAX - strlen(partition) -
	                                                        sizeof(hex) - strlen("-delete"));
	snprintf(to, sizeof(to), "%.*s%s.%s-delete", topic_len, log->folder, partition, hex);
	err = log->files.ops->rename(log->files.ctx, log->dirfd, log->folder, to);
	log_free(log);
	return err;
}

void sl_log_set_config(struct sl_log *log, const struct sl_log_config *config)
{
	SL_ASSERT(config->segment_bytes > 0 && config->index_interval_bytes >= 0);
	log->config = *config;
}

static bool is_roll_due(const struct sl_log *log, const struct sl_batch_head *head, size_t bytes,
                        int64_t now_ms)
{
	const struct segment *seg = log->active;

	if (seg->bytes == 0)
		return false;
	if (seg->bytes + bytes > (uint64_t)log->config.segment_bytes)
		return true;
	if (now_ms - seg->since_ms >= clean_roll_ms(&log->config))
		return true;
	if (seg->aborted.count >= STORE_ABORTED_ROLL)
		return true;
	/* Both indexes hold 32-bit offsets relative to the segment's base. */
	return log->end + head->last_offset_delta - seg->base_offset > INT32_MAX;
}

/* Page-cache mode: writes a batch behind the last good byte.  What a failed write left there is cut
 * at the next open; no reader looks at it. */
static int write_batch(struct sl_log *log, const void *batch, size_t batch_bytes)
{
	const uint8_t *from = batch;
	struct segment *seg = log->active;
	size_t done = 0;

	while (done < batch_bytes) {
		ssize_t n = log->files.ops->pwrite(log->files.ctx, seg->fd, from + done,
		                                   batch_bytes - done, seg->bytes + done);

		if (n <= 0)
			return log_fail(log, n < 0 ? (int)n : -EIO, "append");
		done += (size_t)n;
	}
	return 0;
}

static int check_producer(struct sl_log *log, const struct sl_batch_head *head, const void *batch,
                          struct producers_claim *claim, struct sl_log_append *io)
{
	const struct producers_batch *original = NULL;
	int err;

	if (!sl_batch_has_producer(head))
		return 0;
	err = log_claim(head, batch, claim);
	if (err)
		return err;
	claim->is_verified = io->is_verified;
	claim->is_epoch_per_txn = io->is_epoch_per_txn;
	err = producers_check(&log->producers, claim, &original);
	if (err == -EEXIST) {
		io->base_offset = original->last_offset - original->offset_delta;
		io->last_offset = original->last_offset;
		io->timestamp_ms = original->timestamp_ms;
	}
	if (err)
		return err;
	return producers_reserve(&log->producers, claim->is_transactional && !claim->is_marker);
}

/* Tells its producer of a batch that is written. */
static void update_producer(struct sl_log *log, const struct producers_claim *claim, int64_t now_ms)
{
	const int64_t first_offset = producers_update(&log->producers, claim, now_ms);

	/* There is room for it: prepare_append(). */
	if (first_offset >= 0 && claim->is_abort)
		SL_ASSERT(txnindex_add(log->active, claim, first_offset) == 0);
}

/* What has to be in place before the batch is written: a segment with room and its leader epoch. */
static int prepare_append(struct sl_log *log, const struct sl_batch_head *head, size_t batch_bytes,
                          const struct sl_log_append *io)
{
	int err;

	if (is_roll_due(log, head, batch_bytes, io->now_ms)) {
		err = segment_roll(log);
		if (err)
			return err;
	}
	/* A batch of an older epoch than the history's last would falsify it: -EINVAL. */
	if (io->leader_epoch != epochs_latest(&log->epochs)) {
		err = sl_log_epoch_begin(log, io->leader_epoch);
		if (err)
			return err;
	}
	err = log->is_epochs_unsaved ? log_store_epochs(log) : 0;
	/* Before it is written: an abort that nobody can be told of must not be. */
	return err || !sl_batch_is_control(head) ? err : aborted_reserve(&log->active->aborted);
}

int sl_log_append(struct sl_log *log, void *batch, size_t batch_bytes, struct sl_log_append *io)
{
	struct producers_claim claim;
	struct walk_batch took;
	int err;

	if (log->error)
		return log->error;
	if (batch_bytes > (size_t)log->config.segment_bytes)
		return -EFBIG;
	err = sl_batch_peek(batch, batch_bytes, &took.head);
	SL_ASSERT(!err && sl_batch_bytes(&took.head) == batch_bytes);
	SL_ASSERT(took.head.last_offset_delta >= 0);
	took.head.base_offset = log->end;
	err = check_producer(log, &took.head, batch, &claim, io);
	if (err)
		return err;
	err = prepare_append(log, &took.head, batch_bytes, io);
	if (err)
		return err;
	sl_batch_set_offset(batch, log->end, io->leader_epoch);
	err = log->hot ? hotlog_append(log, batch, batch_bytes)
	               : write_batch(log, batch, batch_bytes);
	if (err)
		return err;
	if (batch == log->reserved_at)
		sl_log_unreserve(log);
	log->now_ms = io->now_ms;
	if (log->active->bytes == 0)
		log->active->since_ms = io->now_ms;
	took.pos = log->active->bytes;
	took.bytes = (uint32_t)batch_bytes;
	log->active->is_dirty = true;
	log_took(log, &took);
	if (log->hot)
		hotlog_took(log);
	if (sl_batch_has_producer(&took.head))
		update_producer(log, &claim, io->now_ms);
	io->base_offset = took.head.base_offset;
	io->last_offset = log->end - 1;
	io->timestamp_ms = took.head.max_timestamp;
	return 0;
}

int sl_log_error(const struct sl_log *log)
{
	return log->error;
}

bool sl_log_is_disk_error(int err)
{
	switch (-err) {
	case EIO:
	case ENOSPC:
	case EDQUOT:
	case EROFS:
	case EUCLEAN:  /* the file system found itself damaged */
	case ENODEV:   /* device or file system gone */
	case ENXIO:    /* the same */
	case ENOTCONN: /* the server of a user-space file system is gone */
	case ETIMEDOUT:
		return true;
	default:
		return false;
	}
}

int64_t sl_log_start(const struct sl_log *log)
{
	return log->start;
}

int64_t sl_log_end(const struct sl_log *log)
{
	return log->end;
}

int64_t sl_log_flushed(const struct sl_log *log)
{
	return log->flushed;
}

uint64_t sl_log_bytes(const struct sl_log *log)
{
	return log->bytes;
}

uint32_t sl_log_segments(const struct sl_log *log)
{
	return log->segments_count;
}

int sl_log_epoch_begin(struct sl_log *log, int32_t epoch)
{
	int err;

	if (log->error)
		return log->error;
	err = epochs_begin(&log->epochs, epoch, log->end);
	if (err <= 0)
		return err;
	if (log->end > 0)
		return log_store_epochs(log);
	/* Nothing was ever written, so no epoch has an offset to remember: the file comes with the
	 * first batch or a clean close.  Creating files is what creating partitions costs. */
	log->is_epochs_unsaved = true;
	return 0;
}

int32_t sl_log_epoch(const struct sl_log *log)
{
	return epochs_latest(&log->epochs);
}

void sl_log_epoch_end(const struct sl_log *log, int32_t asked, int32_t *epoch, int64_t *end)
{
	epochs_end(&log->epochs, asked, log->end, epoch, end);
}

uint32_t sl_log_producers_count(const struct sl_log *log)
{
	return log->producers.count;
}

bool sl_log_has_txn(const struct sl_log *log, int64_t producer_id, int16_t epoch)
{
	return producers_has_txn(&log->producers, producer_id, epoch);
}

int64_t sl_log_txn_marker(const struct sl_log *log, int64_t producer_id)
{
	const struct producers_entry *entry = producers_find(&log->producers, producer_id);

	return entry ? entry->marker_offset : -1;
}

int64_t sl_log_txn_oldest_ms(const struct sl_log *log)
{
	const struct producers_entry *entry = producers_of_oldest_txn(&log->producers);

	return entry ? entry->seen_ms : -1;
}

uint32_t sl_log_producers(const struct sl_log *log, struct sl_log_producer *out, uint32_t max)
{
	return producers_list(&log->producers, out, max);
}
