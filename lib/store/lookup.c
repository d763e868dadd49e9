/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an offset to a place in a file, and sl_log_read() on top of it.  Order of attempts: the ring
 * of the newest batches (memory), the sparse index (memory), a walk over at most one index interval
 * of headers (pread).  Owner's core only.
 */
#include <errno.h>
#include <inttypes.h>

#include "log_impl.h"

uint32_t lookup_segment(const struct sl_log *log, int64_t offset)
{
	uint32_t low = 0;
	uint32_t high = log->segments_count;

	SL_ASSERT(high > 0);
	/* The last segment is where nearly all fetches go. */
	if (offset >= log->active->base_offset)
		return high - 1;
	while (high - low > 1) {
		uint32_t mid = low + (high - low) / 2;

		if (log->segments[mid]->base_offset <= offset)
			low = mid;
		else
			high = mid;
	}
	if (offset >= log->segments[low]->end_offset && low + 1 < log->segments_count)
		low++;
	return low;
}

/* Looks in the ring; true when it can tell. */
static bool lookup_tail(const struct sl_log *log, int64_t offset, struct log_place *out)
{
	uint32_t count = SL_MIN(log->tail_next, STORE_TAIL_BATCHES);
	const struct log_place *best = NULL;

	for (uint32_t i = 1; i <= count; i++) {
		const struct log_place *place =
			&log->tail[(log->tail_next - i) & (STORE_TAIL_BATCHES - 1)];

		if (place->last_offset < offset) {
			if (best)
				*out = *best;
			return best != NULL;
		}
		best = place;
	}
	/* Everything in the ring ends at or behind @offset: the oldest is it only if it begins
	 * there or is the first of the segment. */
	if (!best || (best->base_offset > offset && best->pos > 0))
		return false;
	*out = *best;
	return true;
}

/* Walks from the index entry below @offset.  1 found; 0 none; -EBADMSG the index or data is wrong.
 */
static int lookup_walk(struct sl_log *log, struct segment *seg, int64_t offset,
                       struct log_place *out)
{
	uint8_t window[STORE_WALK_WINDOW_BYTES];
	struct walk_batch batch;
	struct walk walk;
	uint32_t relative = 0;
	uint32_t pos = 0;
	bool is_indexed = offset > seg->base_offset &&
	                  index_offset_below(&seg->offsets, (uint32_t)(offset - seg->base_offset),
	                                     &relative, &pos);
	int err;

	segment_walk(log, seg, &walk, window, sizeof(window));
	walk_seek(&walk, is_indexed ? pos : 0, seg->bytes);
	while ((err = walk_next(&walk, &batch)) > 0) {
		int64_t last_offset = sl_batch_last_offset(&batch.head);

		if (is_indexed && last_offset != seg->base_offset + relative)
			return -EBADMSG;
		is_indexed = false;
		if (last_offset < offset)
			continue;
		*out = (struct log_place){
			.base_offset = batch.head.base_offset,
			.last_offset = last_offset,
			.pos = (uint32_t)batch.pos,
			.bytes = batch.bytes,
		};
		return 1;
	}
	return err;
}

int lookup_batch(struct sl_log *log, struct segment *seg, int64_t offset, struct log_place *out)
{
	int err;

	if (offset >= seg->end_offset)
		return 0;
	if (seg == log->active && lookup_tail(log, offset, out))
		return 1;
	err = segment_use(log, seg, true);
	if (err)
		return err;
	if (offset >= seg->end_offset) /* the index had to be rebuilt and the data is damaged */
		return 0;
	err = lookup_walk(log, seg, offset, out);
	if (err != -EBADMSG)
		return err;
	if (seg->is_sealed) {
		/* An index that survived a power cut may still be wrong inside; the data decides.
		 */
		sl_log(WARN, store,
		       "rebuild index part=%s base=%" PRId64 ": disagrees with the log",
		       log->folder, seg->base_offset);
		err = segment_rebuild(log, seg);
		if (!err || err == -EBADMSG)
			err = lookup_walk(log, seg, offset, out);
	}
	return err == -EBADMSG ? -EIO : err;
}

/* First batch at or behind @offset in the whole log. */
static int find_first(struct sl_log *log, int64_t offset, struct segment **seg,
                      struct log_place *out)
{
	uint32_t i = lookup_segment(log, offset);
	int err = 0;

	/* More than one round only across a hole. */
	for (; i < log->segments_count && err == 0; i++) {
		*seg = log->segments[i];
		err = lookup_batch(log, *seg, offset, out);
	}
	return err;
}

int sl_log_read(struct sl_log *log, int64_t offset, int64_t offset_max, uint32_t bytes_max,
                bool is_whole, struct sl_log_range *out)
{
	int64_t limit = SL_MIN(offset_max, log->end);
	struct segment *seg = NULL;
	struct log_place first = {0};
	struct log_place last = {0};
	uint64_t pos_max;
	uint32_t bytes;
	int err;

	*out = (struct sl_log_range){.fd = -1};
	if (offset < log->start || offset > log->end)
		return -ERANGE;
	if (offset >= limit)
		return 0;
	err = find_first(log, offset, &seg, &first);
	if (err <= 0)
		return err;
	if (first.last_offset >= limit)
		return 0;
	pos_max = seg->bytes;
	if (limit < seg->end_offset) {
		err = lookup_batch(log, seg, limit, &last);
		if (err < 0)
			return err;
		if (err > 0)
			pos_max = last.pos;
	}
	SL_ASSERT(pos_max >= (uint64_t)first.pos + first.bytes);
	bytes = (uint32_t)SL_MIN(pos_max - first.pos, (uint64_t)bytes_max);
	if (bytes < first.bytes) {
		if (!is_whole)
			return 0;
		bytes = first.bytes; /* KIP-74: a batch above the limit must not stop its reader */
	}
	err = segment_use(log, seg, false);
	if (err)
		return err;
	seg->refs++;
	*out = (struct sl_log_range){
		.fd = seg->fd,
		.pos = first.pos,
		.bytes = bytes,
		.base_offset = first.base_offset,
		.segment = seg,
	};
	return 0;
}

int sl_log_range_piece(struct sl_log *log, const struct sl_log_range *range, uint32_t done,
                       struct sl_log_piece *out)
{
	SL_ASSERT(done < range->bytes && range->segment);
	hotlog_piece(log, range->segment, range->fd, range->pos + done, range->bytes - done, out);
	return 0;
}

ssize_t sl_log_range_copy(struct sl_log *log, const struct sl_log_range *range, void *to,
                          size_t bytes_max)
{
	const struct segment *seg = range->segment;
	size_t want = SL_MIN((size_t)range->bytes, bytes_max);
	size_t got = 0;
	int err;

	if (want == 0)
		return 0;
	err = hotlog_read(&log->files, range->fd, &seg->hot, to, want, range->pos, &got);
	if (err)
		return err;
	return got == want ? (ssize_t)got : -EIO;
}

void sl_log_range_put(struct sl_log *log, struct sl_log_range *range)
{
	if (!range->segment)
		return;
	segment_put(log, range->segment);
	*range = (struct sl_log_range){.fd = -1};
}
