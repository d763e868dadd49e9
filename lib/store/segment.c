/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One segment: its files, its indexes and its descriptor.  A segment belongs to its log and is
 * touched by the log's owner only; the descriptor may be used by any thread while a reference is
 * held.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "log_impl.h"

static const char *const suffixes[] = {".log", ".index", ".timeindex", ".txnindex"};

const char *segment_path(const struct sl_log *log, int64_t base_offset, const char *suffix,
                         char path[STORE_PATH_MAX])
{
	int n = snprintf(path, STORE_PATH_MAX, "%s/%020" PRId64 "%s", log->folder, base_offset,
	                 suffix);

	SL_ASSERT(n > 0 && n < STORE_PATH_MAX);
	return path;
}

struct segment *segment_alloc(int64_t base_offset)
{
	struct segment *seg = calloc(1, sizeof(*seg));

	if (!seg)
		return NULL;
	sl_list_init(&seg->link);
	sl_list_init(&seg->hot);
	sl_list_init(&seg->direct.link);
	seg->direct.fd = -1;
	seg->base_offset = base_offset;
	seg->end_offset = base_offset;
	seg->first_time_ms = SEGMENT_TIME_UNKNOWN;
	seg->void_time_ms = SEGMENT_TIME_NONE;
	seg->max_time_ms = SEGMENT_TIME_UNKNOWN;
	seg->fd = -1;
	seg->parked_fd = -1;
	seg->is_sealed = true;
	return seg;
}

int segment_add(struct sl_log *log, int64_t base_offset, struct segment **out)
{
	struct segment *seg;

	SL_ASSERT(log->segments_count == 0 ||
	          base_offset > log->segments[log->segments_count - 1]->base_offset);
	if (log->segments_count == log->segments_cap) {
		uint32_t cap = log->segments_cap ? log->segments_cap * 2 : 2;
		struct segment **segments;

		if (cap > STORE_SEGMENTS_MAX)
			return -ENOMEM;
		segments = realloc(log->segments, cap * sizeof(struct segment *));
		if (!segments)
			return -ENOMEM;
		log->segments = segments;
		log->segments_cap = cap;
	}
	seg = segment_alloc(base_offset);
	if (!seg)
		return -ENOMEM;
	log->segments[log->segments_count++] = seg;
	*out = seg;
	return 0;
}

/* A log that has filled a segment will fill the next one: it gets written blocks if some are kept.
 * Return: the descriptor of the file that has the segment's name then; -errno. */
static int recycle(struct sl_log *log, struct segment *seg, int fd)
{
	char path[STORE_PATH_MAX];

	if (!recycle_take(log->recycler, segment_path(log, seg->base_offset, ".log", path),
	                  &seg->allocated))
		return fd;
	log->files.ops->close(log->files.ctx, fd);
	return log->files.ops->open(log->files.ctx, log->dirfd, path, O_RDWR, 0);
}

int segment_create(struct sl_log *log, int64_t base_offset)
{
	char path[STORE_PATH_MAX];
	struct segment *seg;
	int err;
	int fd;

	/* O_EXCL: whatever has this name already is data that recovery has not seen. */
	fd = log->files.ops->open(log->files.ctx, log->dirfd,
	                          segment_path(log, base_offset, ".log", path),
	                          O_RDWR | O_CREAT | O_EXCL, 0640);
	if (fd < 0)
		return fd;
	log->folder_changes++;
	err = segment_add(log, base_offset, &seg);
	if (err) {
		log->files.ops->close(log->files.ctx, fd);
		return err;
	}
	if (log->hot && log->segments_count > 1)
		fd = recycle(log, seg, fd);
	if (fd < 0)
		return fd;
	seg->fd = fd;
	seg->is_writable = true;
	seg->is_sealed = false;
	seg->is_dirty = true;
	seg->has_offsets = true;
	seg->max_time_ms = SEGMENT_TIME_NONE;
	txnindex_begin(seg);
	if (log->active)
		hotlog_end_tail(log, log->active);
	log->active = seg;
	log_tail_clear(log);
	return 0;
}

void segment_walk(const struct sl_log *log, struct segment *seg, struct walk *walk, uint8_t *window,
                  size_t window_bytes)
{
	walk_init(walk, &log->files, seg->fd, window, window_bytes);
	walk->hot = &seg->hot;
}

int segment_trim(struct sl_log *log, struct segment *seg)
{
	int err;

	direct_close(log, seg);
	if (seg->allocated <= seg->bytes || seg->is_doomed)
		return 0;
	SL_ASSERT(seg->fd >= 0 && seg->is_writable && (!log->hot || seg->written == seg->bytes));
	err = log->files.ops->truncate(log->files.ctx, seg->fd, seg->bytes);
	if (err)
		return log_fail(log, err, "trim segment");
	seg->allocated = seg->bytes;
	return 0;
}

void segment_took(struct sl_log *log, struct segment *seg, const struct walk_batch *batch)
{
	segment_feed(seg, batch, (uint64_t)log->config.index_interval_bytes);
}

void segment_feed(struct segment *seg, const struct walk_batch *batch, uint64_t interval_bytes)
{
	int64_t last_offset = sl_batch_last_offset(&batch->head);
	uint32_t relative = (uint32_t)(last_offset - seg->base_offset);

	SL_ASSERT(batch->pos == seg->bytes && batch->pos <= UINT32_MAX);
	SL_ASSERT(batch->head.base_offset >= seg->end_offset);
	SL_ASSERT(last_offset - seg->base_offset <= INT32_MAX);
	if (seg->bytes == 0)
		seg->first_time_ms = batch->head.max_timestamp;
	/* What compaction has emptied leads to no record. */
	if (batch->head.records_count == 0) {
		seg->void_time_ms = SL_MAX(seg->void_time_ms, batch->head.max_timestamp);
	} else if (batch->head.max_timestamp > seg->max_time_ms) {
		seg->max_time_ms = batch->head.max_timestamp;
		seg->max_time_offset = last_offset;
	}
	if (seg->index_gap_bytes > interval_bytes) {
		/* Without memory an entry is left out: the index is sparse anyway. */
		SL_COUNT_IF(index_offset_append(&seg->offsets, relative, (uint32_t)batch->pos));
		if (seg->max_time_ms >= 0) {
			/* -EINVAL: no larger timestamp since the last entry, so none is due. */
			int err = index_time_append(
				&seg->times, seg->max_time_ms,
				(uint32_t)(seg->max_time_offset - seg->base_offset));

			SL_COUNT_IF(err == -ENOMEM);
		}
		seg->index_gap_bytes = 0;
	}
	seg->index_gap_bytes += batch->bytes;
	seg->end_offset = last_offset + 1;
	seg->bytes = batch->pos + batch->bytes;
}

static void close_fd(struct sl_log *log, struct segment *seg)
{
	SL_ASSERT(seg->refs == 0);
	if (seg->parked_fd >= 0)
		log->files.ops->close(log->files.ctx, seg->parked_fd);
	if (seg->fd >= 0)
		log->files.ops->close(log->files.ctx, seg->fd);
	direct_close(log, seg);
	seg->parked_fd = -1;
	seg->fd = -1;
	seg->is_writable = false;
}

static void list_opened(struct sl_log *log, struct segment *seg)
{
	if (sl_list_is_empty(&seg->link))
		log->opened_count++;
	sl_list_del(&seg->link);
	sl_list_push_front(&log->opened, &seg->link);
}

void segment_end_times(struct segment *seg)
{
	int err;

	if (seg->max_time_ms < 0)
		return;
	/* The last entry holds the segment's largest timestamp: retention reads it there. */
	err = index_time_append(&seg->times, seg->max_time_ms,
	                        (uint32_t)(seg->max_time_offset - seg->base_offset));
	SL_COUNT_IF(err == -ENOMEM);
}

int segment_seal(struct sl_log *log, struct segment *seg)
{
	char path[STORE_PATH_MAX];
	int err;

	point_settle(log);
	segment_end_times(seg);
	err = index_offset_store(&seg->offsets, &log->files, log->dirfd,
	                         segment_path(log, seg->base_offset, ".index", path));
	if (err)
		return err;
	err = index_time_store(&seg->times, &log->files, log->dirfd,
	                       segment_path(log, seg->base_offset, ".timeindex", path));
	if (err)
		return err;
	log->folder_changes++;
	index_fini(&seg->times);
	seg->is_sealed = true;
	if (seg->fd >= 0)
		list_opened(log, seg);
	return seg->written == seg->bytes ? segment_trim(log, seg) : 0;
}

int segment_unseal(struct sl_log *log, struct segment *seg)
{
	char path[STORE_PATH_MAX];

	SL_ASSERT(seg->is_sealed && !seg->is_doomed);
	if (!seg->is_writable) {
		int fd = log->files.ops->open(log->files.ctx, log->dirfd,
		                              segment_path(log, seg->base_offset, ".log", path),
		                              O_RDWR, 0);

		if (fd < 0)
			return fd;
		/* Whoever holds a reference goes on using the old number. */
		if (seg->refs > 0)
			seg->parked_fd = seg->fd;
		else
			close_fd(log, seg);
		seg->fd = fd;
		seg->is_writable = true;
	}
	if (!sl_list_is_empty(&seg->link)) {
		sl_list_del(&seg->link);
		log->opened_count--;
	}
	seg->is_sealed = false;
	return 0;
}

int segment_roll(struct sl_log *log)
{
	int err;

	SL_ASSERT(!log->error && log->active->bytes > 0);
	err = snapshot_store(log);
	if (!err)
		err = segment_seal(log, log->active);
	if (!err) {
		txnindex_end(log->active, &log->producers);
		err = txnindex_store(log, log->active);
	}
	if (!err)
		err = segment_create(log, log->end);
	if (err)
		return log_fail(log, err, "roll segment");
	segment_close_unused(log, STORE_SEALED_OPEN_MAX, NULL);
	return 0;
}

void segment_close_unused(struct sl_log *log, uint32_t keep, const struct segment *except)
{
	struct sl_list *at = log->opened.prev;

	while (at != &log->opened && log->opened_count > keep) {
		struct segment *seg = sl_list_entry(at, struct segment, link);

		at = at->prev;
		if (seg->refs > 0 || seg->is_dirty || seg == except)
			continue;
		close_fd(log, seg);
		index_fini(&seg->offsets);
		txnindex_drop(seg);
		seg->has_offsets = false;
		sl_list_del(&seg->link);
		log->opened_count--;
	}
}

/* Index of a sealed segment: from its file, or from its batches when the file is no good. */
static int load_offsets(struct sl_log *log, struct segment *seg)
{
	char path[STORE_PATH_MAX];
	int64_t end;
	int err;

	segment_path(log, seg->base_offset, ".index", path);
	err = index_offset_load(&seg->offsets, &log->files, log->dirfd, path, seg->bytes,
	                        (uint64_t)(seg->end_offset - seg->base_offset));
	if (!err) {
		seg->has_offsets = true;
		return 0;
	}
	if (err != -EBADMSG && err != -ENOENT)
		return err;
	sl_log(WARN, store, "rebuild index part=%s base=%" PRId64 ": %s", log->folder,
	       seg->base_offset, err == -ENOENT ? "missing" : "damaged");
	end = seg->end_offset;
	err = segment_rebuild(log, seg);
	/* Behind a segment's last batch there may be blocks that were allocated for more. */
	if (err == -EBADMSG && seg->end_offset == end)
		err = 0;
	if (err == -EBADMSG) {
		sl_log(ERR, store,
		       "damaged segment part=%s base=%" PRId64 " readable_bytes=%" PRIu64,
		       log->folder, seg->base_offset, seg->bytes);
		err = 0;
	}
	if (!err && !log->error && index_offset_store(&seg->offsets, &log->files, log->dirfd, path))
		sl_log(WARN, store, "cannot store rebuilt index path=%s", path);
	return err;
}

int segment_use(struct sl_log *log, struct segment *seg, bool with_index)
{
	char path[STORE_PATH_MAX];

	SL_ASSERT(!seg->is_doomed);
	seg->was_used = true;
	if (!seg->is_sealed)
		return 0;
	if (seg->fd < 0) {
		int fd = log->files.ops->open(log->files.ctx, log->dirfd,
		                              segment_path(log, seg->base_offset, ".log", path),
		                              O_RDONLY, 0);

		if (fd < 0)
			return fd;
		seg->fd = fd;
	}
	list_opened(log, seg);
	segment_close_unused(log, STORE_SEALED_OPEN_MAX, seg);
	if (with_index && !seg->has_offsets)
		return load_offsets(log, seg);
	return 0;
}

void segment_put(struct sl_log *log, struct segment *seg)
{
	SL_ASSERT(seg->refs > 0);
	seg->refs--;
	if (seg->refs == 0 && seg->parked_fd >= 0) {
		log->files.ops->close(log->files.ctx, seg->parked_fd);
		seg->parked_fd = -1;
	}
	if (seg->refs == 0 && seg->is_sealed && !seg->is_doomed)
		segment_close_unused(log, STORE_SEALED_OPEN_MAX, NULL);
}

/* Where a file of a doomed segment lies.  Its base may be another segment's by now, and that one be
 * doomed, too: the change that swapped it out tells them apart. */
static const char *deleted_path(const struct sl_log *log, const struct segment *seg,
                                const char *suffix, char path[STORE_PATH_MAX])
{
	char deleted[40];

	if (seg->was_swapped)
		snprintf(deleted, sizeof(deleted), "%s.%08x.deleted", suffix, seg->swap_change);
	else
		snprintf(deleted, sizeof(deleted), "%s.deleted", suffix);
	return segment_path(log, seg->base_offset, deleted, path);
}

/* Renames one file of a segment; one that does not exist is no error. */
static int rename_deleted(struct sl_log *log, const struct segment *seg, const char *suffix)
{
	char from[STORE_PATH_MAX];
	char to[STORE_PATH_MAX];
	int err;

	err = log->files.ops->rename(log->files.ctx, log->dirfd,
	                             segment_path(log, seg->base_offset, suffix, from),
	                             deleted_path(log, seg, suffix, to));
	return err == -ENOENT ? 0 : err;
}

int segment_doom(struct sl_log *log, uint32_t first, uint32_t count)
{
	int err = 0;
	uint32_t done = 0;

	SL_ASSERT(first + count <= log->segments_count);
	for (; done < count && !err; done++) {
		struct segment *seg = log->segments[first + done];

		for (uint32_t i = 0; i < SL_ARRAY_SIZE(suffixes) && !err; i++)
			err = rename_deleted(log, seg, suffixes[i]);
		if (err)
			break;
		if (!sl_list_is_empty(&seg->link)) {
			sl_list_del(&seg->link);
			log->opened_count--;
		}
		seg->is_doomed = true;
		hotlog_drop(log, seg);
		seg->doomed_ms = log->now_ms + log->config.file_delete_delay_ms;
		sl_list_push_back(&log->doomed, &seg->link);
		index_fini(&seg->offsets);
		index_fini(&seg->times);
		aborted_fini(&seg->aborted);
		log->bytes -= seg->bytes;
		direct_close(log, seg);
		if (seg->refs == 0)
			close_fd(log, seg);
	}
	memmove(log->segments + first, log->segments + first + done,
	        (log->segments_count - first - done) * sizeof(struct segment *));
	log->segments_count -= done;
	log->folder_changes++;
	return err ? log_fail(log, err, "remove segment") : 0;
}

int segment_bury(struct sl_log *log, int64_t now_ms, uint32_t max)
{
	struct sl_list *at;
	struct sl_list *next;
	char path[STORE_PATH_MAX];

	sl_list_for_each_safe(at, next, &log->doomed) {
		struct segment *seg = sl_list_entry(at, struct segment, link);

		if (max == 0)
			break;
		if (seg->refs > 0 || seg->doomed_ms > now_ms)
			continue;
		/* A power cut could still bring its name back, and take its successor's away. */
		if (seg->was_swapped && (int32_t)(log->folder_synced - seg->swap_change) < 0)
			continue;
		max--;
		for (uint32_t i = 0; i < SL_ARRAY_SIZE(suffixes); i++) {
			int err;

			deleted_path(log, seg, suffixes[i], path);
			if (i == 0 && recycle_give(log->recycler, path, seg->bytes))
				continue;
			err = log->files.ops->unlink(log->files.ctx, log->dirfd, path);
			if (err && err != -ENOENT)
				return err;
		}
		segment_release(log, seg);
	}
	return 0;
}

void segment_release(struct sl_log *log, struct segment *seg)
{
	SL_ASSERT(seg->refs == 0);
	if (seg->is_sealed && !seg->is_doomed && !sl_list_is_empty(&seg->link))
		log->opened_count--;
	sl_list_del(&seg->link);
	close_fd(log, seg);
	index_fini(&seg->offsets);
	index_fini(&seg->times);
	aborted_fini(&seg->aborted);
	free(seg);
}

void segment_reset(struct segment *seg)
{
	index_fini(&seg->offsets);
	index_fini(&seg->times);
	seg->has_offsets = false;
	seg->bytes = 0;
	seg->end_offset = seg->base_offset;
	seg->index_gap_bytes = 0;
	seg->first_time_ms = SEGMENT_TIME_UNKNOWN;
	seg->void_time_ms = SEGMENT_TIME_NONE;
	seg->max_time_ms = SEGMENT_TIME_NONE;
	seg->max_time_offset = seg->base_offset;
}

int segment_rebuild(struct sl_log *log, struct segment *seg)
{
	uint8_t window[STORE_WALK_WINDOW_BYTES];
	uint64_t limit = seg->bytes;
	struct walk_batch batch;
	struct walk walk;
	int err;

	SL_ASSERT(seg->fd >= 0);
	segment_reset(seg);
	segment_walk(log, seg, &walk, window, sizeof(window));
	walk_seek(&walk, 0, limit);
	while ((err = walk_next(&walk, &batch)) > 0) {
		if (batch.head.base_offset < seg->end_offset ||
		    sl_batch_last_offset(&batch.head) - seg->base_offset > INT32_MAX) {
			err = -EBADMSG;
			break;
		}
		segment_took(log, seg, &batch);
	}
	seg->has_offsets = true;
	if (seg->is_sealed)
		index_fini(&seg->times);
	log->bytes -= limit - seg->bytes;
	return err;
}

int segment_load_time(struct sl_log *log, struct segment *seg)
{
	struct index times = {0};
	char path[STORE_PATH_MAX];
	uint32_t relative = 0;
	int64_t time_ms = 0;
	bool is_known;
	int err;

	if (seg->max_time_ms != SEGMENT_TIME_UNKNOWN)
		return 0;
	err = index_time_load(&times, &log->files, log->dirfd,
	                      segment_path(log, seg->base_offset, ".timeindex", path),
	                      (uint64_t)(seg->end_offset - seg->base_offset));
	if (err && err != -EBADMSG && err != -ENOENT)
		return err;
	is_known = !err && index_time_last(&times, &time_ms, &relative);
	index_fini(&times);
	if (is_known) {
		seg->max_time_ms = time_ms;
		seg->max_time_offset = seg->base_offset + relative;
		return 0;
	}
	/* No entry: no record has a timestamp, or the file is lost.  The batches know. */
	err = segment_use(log, seg, false);
	if (!err)
		err = segment_rebuild(log, seg);
	return err == -EBADMSG ? 0 : err;
}

int segment_load_first_time(struct sl_log *log, struct segment *seg)
{
	uint8_t window[SL_BATCH_HEADER_BYTES];
	struct walk_batch batch;
	struct walk walk;
	int rc;

	if (seg->first_time_ms != SEGMENT_TIME_UNKNOWN)
		return 0;
	rc = segment_use(log, seg, false);
	if (rc)
		return rc;
	segment_walk(log, seg, &walk, window, sizeof(window));
	walk_seek(&walk, 0, seg->bytes);
	rc = walk_next(&walk, &batch);
	if (rc < 0 && rc != -EBADMSG)
		return rc;
	seg->first_time_ms = rc > 0 ? batch.head.max_timestamp : SEGMENT_TIME_NONE;
	return 0;
}
