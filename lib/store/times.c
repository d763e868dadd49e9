/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ListOffsets by timestamp: time index to a batch, then the records of that batch, decompressed if
 * need be.  A rare request, so it may allocate; owner's core.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "fileio.h"
#include "log_impl.h"

/* Decompressed records of one batch; address space only until touched. */
#define TIMES_ARENA_BYTES (256u << 20)

/* What is looked for inside a batch. */
struct times_want {
	int64_t timestamp_ms;
	int64_t offset_min; /* records below are not there any more */
	bool is_max;        /* the largest timestamp instead of the first one that is late enough */
};

struct times_found {
	int64_t offset;
	int64_t timestamp_ms;
};

/* First record of the batch at or behind the wanted time.  1 found; 0 none; -errno. */
static int search_records(const void *p, const struct sl_batch_head *head,
                          const struct times_want *want, struct sl_codec_ctx *ctx,
                          struct sl_arena *arena, struct times_found *out)
{
	struct sl_record_iter it;
	struct sl_record record;
	int64_t late_enough = want->timestamp_ms;
	bool is_found = false;
	int err;

	err = sl_record_iter_init(&it, p, head, ctx, arena);
	if (err)
		return err;
	while ((err = sl_record_iter_next(&it, &record)) > 0) {
		if (record.timestamp < late_enough || record.offset < want->offset_min)
			continue;
		*out = (struct times_found){record.offset, record.timestamp};
		if (!want->is_max)
			return 1;
		is_found = true;
		late_enough = record.timestamp + 1;
	}
	return err ? err : is_found;
}

static int search_compressed(const void *p, const struct sl_batch_head *head,
                             const struct times_want *want, struct times_found *out)
{
	const struct sl_codec_opts opts = {0};
	struct sl_codec_ctx *ctx = NULL;
	struct sl_arena arena = {0};
	int err;

	err = sl_codec_ctx_create(&ctx, &opts);
	if (err)
		return err;
	err = sl_arena_create(&arena, TIMES_ARENA_BYTES);
	if (!err) {
		err = search_records(p, head, want, ctx, &arena, out);
		sl_arena_destroy(&arena);
	}
	sl_codec_ctx_destroy(ctx);
	return err;
}

static int search_batch(struct sl_log *log, const struct segment *seg,
                        const struct walk_batch *batch, const struct times_want *want,
                        struct times_found *out)
{
	size_t got = 0;
	void *p;
	int err;

	/* Compaction leaves batches without some of their records, or without any. */
	if (batch->head.records_count == 0)
		return 0;
	if (sl_batch_is_log_append_time(&batch->head) &&
	    batch->head.records_count == batch->head.last_offset_delta + 1 &&
	    batch->head.base_offset >= want->offset_min) {
		*out = (struct times_found){batch->head.base_offset, batch->head.max_timestamp};
		return 1;
	}
	p = malloc(batch->bytes);
	if (!p)
		return -ENOMEM;
	err = hotlog_read(&log->files, seg->fd, &seg->hot, p, batch->bytes, batch->pos, &got);
	if (!err && got < batch->bytes)
		err = -EIO;
	if (!err)
		err = sl_batch_codec(&batch->head) == SL_CODEC_NONE
		              ? search_records(p, &batch->head, want, NULL, NULL, out)
		              : search_compressed(p, &batch->head, want, out);
	free(p);
	if (err == -EBADMSG || err == -E2BIG || err == -ENOTSUP || err == -ENOMEM) {
		/* Records that cannot be opened: the batch as a whole is the best answer. */
		sl_log(WARN, store, "cannot open records part=%s offset=%" PRId64 ": %s",
		       log->folder, batch->head.base_offset, strerror(-err));
		*out = (struct times_found){SL_MAX(batch->head.base_offset, want->offset_min),
		                            batch->head.max_timestamp};
		err = 1;
	}
	return err;
}

/* Offset from which a scan of @seg for @timestamp_ms may start. */
static int scan_from(struct sl_log *log, const struct segment *seg, int64_t timestamp_ms,
                     int64_t *offset)
{
	struct index times = {0};
	char path[STORE_PATH_MAX];
	uint32_t relative = 0;
	int err = 0;

	*offset = seg->base_offset;
	if (!seg->is_sealed) {
		if (index_time_below(&seg->times, timestamp_ms, &relative))
			*offset += relative;
		return 0;
	}
	err = index_time_load(&times, &log->files, log->dirfd,
	                      segment_path(log, seg->base_offset, ".timeindex", path),
	                      (uint64_t)(seg->end_offset - seg->base_offset));
	if (!err && index_time_below(&times, timestamp_ms, &relative))
		*offset += relative;
	index_fini(&times);
	/* Without the index the scan is longer, not wrong. */
	return err == -EBADMSG || err == -ENOENT ? 0 : err;
}

/* 1 found; 0 not in this segment; -errno. */
static int search_segment(struct sl_log *log, struct segment *seg, const struct times_want *want,
                          struct times_found *out)
{
	uint8_t window[STORE_WALK_WINDOW_BYTES];
	struct walk_batch batch;
	struct log_place place = {0};
	struct walk walk;
	int64_t from;
	int err;

	err = scan_from(log, seg, want->timestamp_ms, &from);
	if (err)
		return err;
	err = lookup_batch(log, seg, SL_MAX(from, want->offset_min), &place);
	if (err <= 0)
		return err;
	err = segment_use(log, seg, false);
	if (err)
		return err;
	segment_walk(log, seg, &walk, window, sizeof(window));
	walk_seek(&walk, place.pos, seg->bytes);
	while ((err = walk_next(&walk, &batch)) > 0) {
		if (batch.head.max_timestamp < want->timestamp_ms)
			continue;
		err = search_batch(log, seg, &batch, want, out);
		if (err)
			return err;
	}
	return err == -EBADMSG ? -EIO : err;
}

int sl_log_offset_for_time(struct sl_log *log, int64_t timestamp_ms, int64_t offset_max,
                           int64_t *offset, int64_t *found_ms)
{
	struct times_want want = {.timestamp_ms = timestamp_ms, .offset_min = log->start};
	struct times_found found = {0};

	*offset = -1;
	*found_ms = -1;
	for (uint32_t i = lookup_segment(log, log->start); i < log->segments_count; i++) {
		struct segment *seg = log->segments[i];
		int err = segment_load_time(log, seg);

		if (!err && seg->max_time_ms < timestamp_ms)
			continue;
		if (!err)
			err = search_segment(log, seg, &want, &found);
		if (err < 0)
			return err;
		if (err == 0)
			continue;
		if (found.offset < offset_max) {
			*offset = found.offset;
			*found_ms = found.timestamp_ms;
		}
		return 0;
	}
	return 0;
}

/* Largest timestamp of a segment, or of what DeleteRecords left of it. */
static int segment_max(struct sl_log *log, struct segment *seg, int64_t *max_ms)
{
	struct times_want want = {.timestamp_ms = 0, .offset_min = log->start, .is_max = true};
	uint8_t window[STORE_WALK_WINDOW_BYTES];
	struct times_found found = {0};
	struct walk_batch batch;
	struct log_place place = {0};
	struct walk walk;
	int err;

	*max_ms = SEGMENT_TIME_NONE;
	if (log->start <= seg->base_offset) {
		err = segment_load_time(log, seg);
		*max_ms = seg->max_time_ms;
		return err;
	}
	err = lookup_batch(log, seg, log->start, &place);
	if (err > 0)
		err = segment_use(log, seg, false);
	else
		return err;
	if (err)
		return err;
	segment_walk(log, seg, &walk, window, sizeof(window));
	walk_seek(&walk, place.pos, seg->bytes);
	while ((err = walk_next(&walk, &batch)) > 0) {
		int64_t batch_ms = batch.head.max_timestamp;

		if (batch.head.base_offset < log->start) {
			err = search_batch(log, seg, &batch, &want, &found);
			if (err < 0)
				return err;
			batch_ms = err ? found.timestamp_ms : SEGMENT_TIME_NONE;
		}
		*max_ms = SL_MAX(*max_ms, batch_ms);
	}
	return err == -EBADMSG ? -EIO : err;
}

int sl_log_max_time(struct sl_log *log, int64_t *offset, int64_t *found_ms)
{
	struct times_want want = {.timestamp_ms = -1, .offset_min = log->start};
	struct times_found found = {0};
	struct segment *best = NULL;
	int err;

	*offset = -1;
	*found_ms = -1;
	for (uint32_t i = lookup_segment(log, log->start); i < log->segments_count; i++) {
		struct segment *seg = log->segments[i];

		int64_t max_ms;

		err = segment_max(log, seg, &max_ms);
		if (err)
			return err;
		if (max_ms > want.timestamp_ms) {
			want.timestamp_ms = max_ms;
			best = seg;
		}
	}
	if (!best)
		return 0;
	err = search_segment(log, best, &want, &found);
	if (err <= 0)
		return err;
	*offset = found.offset;
	*found_ms = found.timestamp_ms;
	return 0;
}
