/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens to a log by the clock: rolling, retention, forgetting silent producers, unlinking
 * what was deleted a while ago, closing what nobody reads.  Bounded work per call, owner's core.
 */
#include <errno.h>
#include <inttypes.h>

#include "log_impl.h"

/* True when the segment's newest record is older than retention.ms. */
static int is_expired(struct sl_log *log, struct segment *seg, bool *out)
{
	int64_t newest_ms;
	int err;

	*out = false;
	if (!log->config.is_delete || log->config.retention_ms < 0)
		return 0;
	err = segment_load_time(log, seg);
	if (err)
		return err;
	/* Records without timestamps age from when this process first saw the segment. */
	if (seg->since_ms == 0)
		seg->since_ms = log->now_ms;
	newest_ms = seg->max_time_ms >= 0    ? seg->max_time_ms
	            : seg->void_time_ms >= 0 ? seg->void_time_ms
	                                     : seg->since_ms;
	*out = log->now_ms - newest_ms > log->config.retention_ms;
	return 0;
}

static bool is_oversize(const struct sl_log *log, const struct segment *seg)
{
	return log->config.is_delete && log->config.retention_bytes >= 0 &&
	       log->bytes - seg->bytes >= (uint64_t)log->config.retention_bytes;
}

/* Whether the oldest segment may go.  A segment with a future timestamp keeps all behind it. */
static int is_first_due(struct sl_log *log, int64_t high_watermark, bool *out)
{
	struct segment *first = log->segments[0];
	int64_t next_base;

	*out = false;
	if (log->segments_count < 2)
		return 0;
	next_base = log->segments[1]->base_offset;
	if (next_base <= log->start) {
		*out = true;
		return 0;
	}
	if (next_base > high_watermark)
		return 0;
	if (is_oversize(log, first)) {
		*out = true;
		return 0;
	}
	return is_expired(log, first, out);
}

/* Everything older is gone and the active segment is due too: begin a new one, so that it can go.
 */
static int roll_expired(struct sl_log *log, int64_t high_watermark)
{
	bool is_due = false;
	int err;

	if (log->segments_count > 1 || log->active->bytes == 0 || log->end > high_watermark)
		return 0;
	err = is_expired(log, log->active, &is_due);
	return err || !is_due ? err : segment_roll(log);
}

static int settle_start(struct sl_log *log)
{
	log->start = SL_MAX(log->start, log->segments[0]->base_offset);
	log->flushed = SL_MAX(log->flushed, log->start);
	return epochs_cut_head(&log->epochs, log->start) ? log_store_epochs(log) : 0;
}

/* Return: segments removed or -errno. */
static int retain(struct sl_log *log, int64_t high_watermark)
{
	uint32_t gone = 0;
	bool is_due = true;
	int err = 0;

	while (is_due && gone < STORE_RETAIN_PER_TICK) {
		err = roll_expired(log, high_watermark);
		if (!err)
			err = is_first_due(log, high_watermark, &is_due);
		if (err)
			return err;
		if (!is_due)
			break;
		sl_log(INFO, store, "delete segment part=%s base=%" PRId64 " bytes=%" PRIu64,
		       log->folder, log->segments[0]->base_offset, log->segments[0]->bytes);
		err = segment_doom(log, 0, 1);
		if (err)
			return err;
		gone++;
	}
	if (gone > 0)
		err = settle_start(log);
	return err ? err : (int)gone;
}

/* Closes sealed segments that were not read since the last tick. */
static void close_idle(struct sl_log *log)
{
	uint32_t used = 0;
	struct sl_list *at;

	/* The list is in order of use: the used ones are in front. */
	sl_list_for_each(at, &log->opened) {
		struct segment *seg = sl_list_entry(at, struct segment, link);

		used += seg->was_used;
		seg->was_used = false;
	}
	segment_close_unused(log, used, NULL);
}

int sl_log_tick(struct sl_log *log, int64_t now_ms, int64_t high_watermark)
{
	int gone;
	int err;

	/* The caller's mark may be from before a truncation. */
	high_watermark = SL_MIN(high_watermark, log->end);
	log->now_ms = now_ms;
	close_idle(log);
	if (log->error)
		return log->error;
	if (log->active->bytes > 0 &&
	    now_ms - log->active->since_ms >= clean_roll_ms(&log->config)) {
		err = segment_roll(log);
		if (err)
			return err;
	}
	gone = retain(log, high_watermark);
	if (gone < 0)
		return gone;
	producers_expire(&log->producers, now_ms - log->config.producer_id_expiration_ms,
	                 STORE_EXPIRE_PER_TICK);
	err = segment_bury(log, now_ms, STORE_UNLINK_PER_TICK);
	return err ? log_fail(log, err, "unlink segment") : gone;
}

int sl_log_advance_start(struct sl_log *log, int64_t offset)
{
	uint32_t gone = 0;
	int err;

	if (log->error)
		return log->error;
	if (offset > log->end || offset < 0)
		return -ERANGE;
	if (offset <= log->start)
		return 0;
	log->start = offset;
	/* Before the segments go: otherwise a crash in between would bring back the records between
	 * the first remaining segment's base and the new start. */
	err = checkpoint_store(log, false);
	if (err)
		return err;
	while (gone + 1 < log->segments_count && log->segments[gone + 1]->base_offset <= offset)
		gone++;
	err = gone > 0 ? segment_doom(log, 0, gone) : 0;
	return err ? err : settle_start(log);
}
