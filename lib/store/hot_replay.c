/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Completes the writes that a killed process left in the hot tier: reads the table, finds the
 * segments, writes what was not on disk.  Runs before any log is opened.  It reads the file with
 * pread(2): a hole stays a hole, and a file that ends early is an error, no signal.
 *
 * One thread finds what is to be written; several write it, because most writes begin and end
 * inside of a page that has to come from the disk first.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "sluice/base/assert.h"
#include "sluice/base/crew.h"
#include "sluice/base/log.h"
#include "sluice/base/uuid.h"
#include "sluice/store/log.h"

#include "fileio.h"
#include "hot_impl.h"
#include "log_impl.h"

#define REPLAY_DESCS 4096u /* read at a time */
#define NO_FOLDER    UINT32_MAX

/* A chunk with bytes that may not be on disk. */
struct pending {
	struct sl_hot_key key;
	uint64_t tier_pos; /* of position @from in the tier's file */
	uint64_t from;
	uint64_t end;
	uint32_t folder; /* index, or NO_FOLDER */
};

/* Where the chunks of one partition go. */
struct folder {
	struct sl_log_dir *dir;
	char name[STORE_NAME_MAX + 16];
};

/* The chunks of one partition, and what became of them. */
struct part {
	uint32_t first;
	uint32_t count;
	uint32_t orphans;
	uint64_t bytes;
	int err; /* the first; what comes behind it is not written */
};

struct replay {
	int fd;
	uint32_t threads_max;
	struct hot_layout layout;
	struct sl_hot_replay *report;
	struct pending *pending; /* Owned. */
	uint32_t pending_cap;
	struct part *parts; /* Owned. */
	uint32_t parts_count;
	struct folder *folders; /* Owned. */
	uint32_t folders_count;
	uint32_t folders_cap;
	struct sl_log_dir *dir; /* being scanned */
	uint8_t *buffer;        /* Owned. STORE_HOT_REPLAY_STEP for each thread. */
};

/* ---- The table ---- */

static int add_pending(struct replay *replay, const struct pending *pending)
{
	if (replay->report->chunks == replay->pending_cap) {
		uint32_t cap = replay->pending_cap ? replay->pending_cap * 2 : 256;
		struct pending *grown = reallocarray(replay->pending, cap, sizeof(struct pending));

		if (!grown)
			return -ENOMEM;
		replay->pending = grown;
		replay->pending_cap = cap;
	}
	replay->pending[replay->report->chunks++] = *pending;
	return 0;
}

/* Whether a descriptor may be what a lane wrote.  @unit: its place in the slice. */
static bool is_credible(const struct hot_desc *desc, const struct hot_layout *layout, uint64_t slot,
                        uint32_t unit)
{
	uint32_t state = desc->state;
	uint32_t order = state & HOT_STATE_ORDER_MASK;
	uint64_t bytes = SL_HOT_CHUNK_BYTES_MIN << order;

	if (order >= HOT_ORDERS_MAX || unit % (1u << order) != 0 ||
	    unit + (1u << order) > layout->units)
		return false;
	if (state != hot_desc_state(desc, slot, order))
		return false;
	if (desc->partition < 0 || desc->base_offset < 0 || sl_uuid_is_zero(&desc->topic_id))
		return false;
	/* Positions in a segment have 32 bits, as in Kafka's index. */
	if (desc->pos % SL_HOT_BLOCK != 0 || desc->pos > UINT32_MAX || desc->end > UINT32_MAX)
		return false;
	return desc->begin >= desc->pos && desc->begin - desc->pos < SL_HOT_BLOCK &&
	       desc->end >= desc->begin && desc->end - desc->pos <= bytes &&
	       desc->durable >= desc->begin;
}

/* One descriptor.  *units is how far the next one is. */
static int take_desc(struct replay *replay, const struct hot_desc *desc, uint32_t slice,
                     uint32_t unit, uint32_t *units)
{
	const struct hot_layout *layout = &replay->layout;
	uint64_t slot = (uint64_t)slice * layout->units + unit;
	struct pending pending;

	*units = 1;
	if (desc->state == 0)
		return 0;
	if (SL_COUNT_IF(!is_credible(desc, layout, slot, unit))) {
		replay->report->damaged++;
		return 0;
	}
	/* What lies inside of a chunk is no descriptor: memory belongs to one segment. */
	*units = 1u << (desc->state & HOT_STATE_ORDER_MASK);
	pending = (struct pending){
		.key = {.topic_id = desc->topic_id,
	                .base_offset = desc->base_offset,
	                .partition = desc->partition},
		.from = desc->durable,
		.end = desc->end,
		.folder = NO_FOLDER,
	};
	/* A cut that was interrupted leaves durable behind end: nothing to do. */
	if (pending.from >= pending.end)
		return 0;
	pending.tier_pos = layout->data_pos + slice * layout->slice_bytes +
	                   (uint64_t)unit * SL_HOT_CHUNK_BYTES_MIN + (pending.from - desc->pos);
	return add_pending(replay, &pending);
}

static int read_tier(const struct replay *replay, void *p, size_t len, uint64_t pos)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(replay->fd, (uint8_t *)p + done, len - done, (off_t)(pos + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

static int read_slice(struct replay *replay, uint32_t slice)
{
	struct hot_desc *descs = (struct hot_desc *)(void *)replay->buffer;
	uint32_t units = replay->layout.units;
	uint32_t next = 0; /* unit of the next descriptor that counts */
	uint32_t step;
	int err = 0;

	for (uint32_t first = 0; first < units && !err; first += REPLAY_DESCS) {
		uint32_t count = SL_MIN(REPLAY_DESCS, units - first);
		uint64_t slot = (uint64_t)slice * units + first;

		if (next >= first + count)
			continue;
		err = read_tier(replay, descs, count * sizeof(*descs),
		                HOT_HEADER_BYTES + slot * sizeof(*descs));
		for (; next < first + count && !err; next += step)
			err = take_desc(replay, &descs[next - first], slice, next, &step);
	}
	return err;
}

/* ---- Folders ---- */

static int compare_partition(const struct sl_hot_key *a, const struct sl_hot_key *b)
{
	int order = memcmp(&a->topic_id, &b->topic_id, sizeof(a->topic_id));

	if (order)
		return order;
	return (a->partition > b->partition) - (a->partition < b->partition);
}

/* By partition, segment, position: a run that fails has written a beginning, no holes. */
static int compare_pending(const void *left, const void *right)
{
	const struct pending *a = left;
	const struct pending *b = right;
	int order = compare_partition(&a->key, &b->key);

	if (order)
		return order;
	if (a->key.base_offset != b->key.base_offset)
		return a->key.base_offset > b->key.base_offset ? 1 : -1;
	return (a->from > b->from) - (a->from < b->from);
}

/* First chunk of a partition in the sorted list; report->chunks: none. */
static uint32_t find_partition(const struct replay *replay, const struct sl_hot_key *key)
{
	uint32_t low = 0;
	uint32_t high = replay->report->chunks;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (compare_partition(&replay->pending[middle].key, key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < replay->report->chunks && compare_partition(&replay->pending[low].key, key) != 0)
		return replay->report->chunks;
	return low;
}

static int add_folder(struct replay *replay, const char *topic, int32_t partition)
{
	struct folder *folder;
	int n;

	if (replay->folders_count == replay->folders_cap) {
		uint32_t cap = replay->folders_cap ? replay->folders_cap * 2 : 64;
		struct folder *grown = reallocarray(replay->folders, cap, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		replay->folders = grown;
		replay->folders_cap = cap;
	}
	folder = &replay->folders[replay->folders_count++];
	folder->dir = replay->dir;
	n = snprintf(folder->name, sizeof(folder->name), "%s-%" PRId32, topic, partition);
	SL_ASSERT(n > 0 && (size_t)n < sizeof(folder->name));
	return 0;
}

static int on_partition(void *arg, const char *topic, int32_t partition,
                        const struct sl_uuid *topic_id)
{
	struct replay *replay = arg;
	struct sl_hot_key key = {.topic_id = *topic_id, .partition = partition};
	uint32_t i = find_partition(replay, &key);
	int err;

	/* A second folder of the same partition is a copy that was under way: the first one wins
	 * here, as it does when logs are opened. */
	if (i == replay->report->chunks || replay->pending[i].folder != NO_FOLDER)
		return 0;
	err = add_folder(replay, topic, partition);
	for (; !err && i < replay->report->chunks; i++) {
		if (compare_partition(&replay->pending[i].key, &key) != 0)
			break;
		replay->pending[i].folder = replay->folders_count - 1;
	}
	return err;
}

/* ---- Writing ---- */

static int write_chunk(const struct replay *replay, struct part *part, uint8_t *buffer, int fd,
                       const struct pending *pending)
{
	const struct sl_files *files = dir_files(replay->folders[pending->folder].dir);

	for (uint64_t pos = pending->from; pos < pending->end;) {
		size_t len = (size_t)SL_MIN(pending->end - pos, (uint64_t)STORE_HOT_REPLAY_STEP);
		int err = read_tier(replay, buffer, len, pending->tier_pos + (pos - pending->from));

		if (!err)
			err = fileio_write_all(files, fd, buffer, len, pos);
		if (err)
			return err;
		pos += len;
		part->bytes += len;
	}
	return 0;
}

/* As behind every write-out: whatever the file's blocks had in them is not taken for a batch. */
static int write_margin(const struct sl_files *files, int fd, uint64_t end)
{
	static const uint8_t zeros[SL_BATCH_HEADER_BYTES];
	uint64_t size = 0;
	int err = files->ops->size(files->ctx, fd, &size);

	if (err || size <= end)
		return err;
	return fileio_write_all(files, fd, zeros, (size_t)SL_MIN(size - end, sizeof(zeros)), end);
}

/* The chunks [first, first + count) of one segment. */
static int write_segment(const struct replay *replay, struct part *part, uint8_t *buffer,
                         uint32_t first, uint32_t count)
{
	const struct pending *pending = &replay->pending[first];
	const struct folder *folder;
	const struct sl_files *files;
	char path[STORE_PATH_MAX];
	int err = 0;
	int err_close;
	int fd;
	int n;

	if (pending->folder == NO_FOLDER) {
		part->orphans += count;
		return 0;
	}
	folder = &replay->folders[pending->folder];
	files = dir_files(folder->dir);
	n = snprintf(path, sizeof(path), "%s/%020" PRId64 ".log", folder->name,
	             pending->key.base_offset);
	SL_ASSERT(n > 0 && (size_t)n < sizeof(path));
	/* Never created: a segment that is gone was deleted, or nothing of it is promised. */
	fd = files->ops->open(files->ctx, sl_log_dir_fd(folder->dir), path, O_WRONLY, 0);
	if (fd == -ENOENT) {
		part->orphans += count;
		return 0;
	}
	if (fd < 0)
		err = fd;
	for (uint32_t i = 0; i < count && !err; i++)
		err = write_chunk(replay, part, buffer, fd, &pending[i]);
	if (!err)
		err = write_margin(files, fd, pending[count - 1].end);
	if (fd >= 0) {
		err_close = files->ops->close(files->ctx, fd);
		err = err ? err : err_close;
	}
	if (err)
		sl_log(ERR, store, "replay hot tier part=%s base=%" PRId64 ": %s", folder->name,
		       pending->key.base_offset, strerror(-err));
	return err;
}

/* Segment after segment, until one fails. */
static void write_part(void *arg, uint32_t index, uint32_t worker)
{
	const struct replay *replay = arg;
	struct part *part = &replay->parts[index];
	uint8_t *buffer = replay->buffer + (size_t)worker * STORE_HOT_REPLAY_STEP;
	const uint32_t end = part->first + part->count;
	uint32_t count;

	for (uint32_t i = part->first; i < end && !part->err; i += count) {
		const struct pending *pending = &replay->pending[i];

		for (count = 1; i + count < end; count++)
			if (pending[count].key.base_offset != pending->key.base_offset)
				break;
		part->err = write_segment(replay, part, buffer, i, count);
	}
}

static int find_parts(struct replay *replay)
{
	const uint32_t chunks = replay->report->chunks;
	struct part *part = NULL;

	replay->parts = calloc(chunks, sizeof(*replay->parts));
	if (!replay->parts)
		return -ENOMEM;
	for (uint32_t i = 0; i < chunks; i++) {
		const struct sl_hot_key *key = &replay->pending[i].key;

		if (!part || compare_partition(&replay->pending[part->first].key, key) != 0) {
			part = &replay->parts[replay->parts_count++];
			part->first = i;
		}
		part->count++;
	}
	return 0;
}

/* Everything that has a place.  A partition whose write failed is left as it is, the others are
 * completed.  Return: 0 or the error of the first that failed, in the order of the table. */
static int write_all(struct replay *replay)
{
	int err = find_parts(replay);

	if (err)
		return err;
	sl_crew_run(replay->parts_count, replay->threads_max, write_part, replay);
	for (uint32_t i = 0; i < replay->parts_count; i++) {
		const struct part *part = &replay->parts[i];

		replay->report->bytes += part->bytes;
		replay->report->orphans += part->orphans;
		err = err ? err : part->err;
	}
	return err;
}

static int find_folders(struct replay *replay, struct sl_log_dir *const *dirs, uint32_t dirs_count)
{
	int first_err = 0;

	for (uint32_t i = 0; i < dirs_count; i++) {
		int err;

		replay->dir = dirs[i];
		if (!replay->dir)
			continue;
		err = sl_log_dir_scan(replay->dir, on_partition, replay);
		if (err) {
			sl_log(ERR, store, "scan for hot tier dir=%s: %s",
			       sl_log_dir_path(replay->dir), strerror(-err));
			first_err = first_err ? first_err : err;
		}
	}
	return first_err;
}

int sl_hot_replay(int fd, struct sl_log_dir *const *dirs, uint32_t dirs_count, uint32_t threads_max,
                  struct sl_hot_replay *report)
{
	struct replay replay = {.fd = fd, .threads_max = threads_max, .report = report};
	struct hot_header header;
	int err;

	*report = (struct sl_hot_replay){0};
	err = hot_header_read(fd, &header, &replay.layout);
	if (err)
		return err;
	replay.buffer = malloc((size_t)threads_max * STORE_HOT_REPLAY_STEP);
	if (!replay.buffer)
		return -ENOMEM;
	for (uint32_t slice = 0; slice < replay.layout.slices && !err; slice++)
		err = read_slice(&replay, slice);
	if (!err && report->chunks > 0) {
		int write_err;

		qsort(replay.pending, report->chunks, sizeof(struct pending), compare_pending);
		/* A disk that cannot be read does not keep the others from being completed. */
		err = find_folders(&replay, dirs, dirs_count);
		write_err = write_all(&replay);
		err = err ? err : write_err;
	}
	sl_log(INFO, store, "replay hot tier chunks=%u bytes=%" PRIu64 " orphans=%u damaged=%u: %s",
	       report->chunks, report->bytes, report->orphans, report->damaged,
	       err ? strerror(-err) : "ok");
	free(replay.buffer);
	free(replay.pending);
	free(replay.parts);
	free(replay.folders);
	return err;
}

_Static_assert(REPLAY_DESCS * sizeof(struct hot_desc) <= STORE_HOT_REPLAY_STEP,
               "descriptors are read into the buffer");
