/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What readers of committed records need to know: where stable records end, and which transactions
 * among them were aborted.  The latter is kept per segment, in the file ".txnindex" once the
 * segment is sealed.  Owner's core only.
 */
#include "sluice/store/txnindex.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "fileio.h"
#include "log_impl.h"

#define TXNINDEX_SUFFIX    ".txnindex"
#define TXNINDEX_BYTES_MAX (64u + STORE_ABORTED_MAX * ABORTED_ENTRY_BYTES)

int64_t sl_log_stable(struct sl_log *log, int64_t high_watermark)
{
	int64_t first;

	txns_settle(&log->producers.txns, high_watermark);
	first = txns_first(&log->producers.txns);
	if (first < 0)
		return high_watermark;
	/* Retention and DeleteRecords do not wait for transactions, as in Kafka. */
	return SL_MIN(high_watermark, SL_MAX(first, log->start));
}

void txnindex_begin(struct segment *seg)
{
	aborted_fini(&seg->aborted);
	seg->has_aborted = true;
}

int txnindex_add(struct segment *seg, const struct producers_claim *claim, int64_t first_offset)
{
	const struct sl_txnindex_entry entry = {
		.producer_id = claim->producer_id,
		.first_offset = first_offset,
		.last_offset = claim->last_offset,
	};
	int err = aborted_reserve(&seg->aborted);

	if (err)
		return err;
	aborted_add(&seg->aborted, &entry);
	return 0;
}

void txnindex_end(struct segment *seg, const struct producers *producers)
{
	const int64_t open_first = txns_first_open(&producers->txns);

	SL_ASSERT(seg->has_aborted);
	seg->aborted_first = aborted_first(&seg->aborted);
	seg->open_first = open_first < 0 ? ABORTED_NONE : open_first;
	seg->is_aborted_known = true;
	seg->is_aborted_lost = false;
}

int txnindex_write(const struct sl_files *files, int dirfd, const char *path,
                   const struct segment *seg)
{
	const struct aborted_head head = {
		.base_offset = seg->base_offset,
		.end_offset = seg->end_offset,
		.open_first = seg->open_first,
	};
	struct sl_buf buf;
	int err;

	SL_ASSERT(seg->is_aborted_known && seg->has_aborted);
	sl_buf_init_grow(&buf, TXNINDEX_BYTES_MAX);
	aborted_encode(&seg->aborted, &head, &buf);
	err = sl_buf_ok(&buf) ? fileio_store(files, dirfd, path, buf.p, buf.len) : -ENOMEM;
	sl_buf_fini(&buf);
	return err;
}

int txnindex_store(struct sl_log *log, const struct segment *seg)
{
	char path[STORE_PATH_MAX];
	int err = txnindex_write(&log->files, log->dirfd,
	                         segment_path(log, seg->base_offset, TXNINDEX_SUFFIX, path), seg);

	log->folder_changes++;
	return err;
}

int txnindex_remove(struct sl_log *log, const struct segment *seg)
{
	char path[STORE_PATH_MAX];
	int err =
		log->files.ops->unlink(log->files.ctx, log->dirfd,
	                               segment_path(log, seg->base_offset, TXNINDEX_SUFFIX, path));

	log->folder_changes++;
	return err == -ENOENT ? 0 : err;
}

void txnindex_drop(struct segment *seg)
{
	/* An empty list costs nothing to keep, and most are empty. */
	if (seg->aborted.count == 0)
		return;
	aborted_fini(&seg->aborted);
	seg->has_aborted = false;
}

static int load(struct sl_log *log, struct segment *seg)
{
	struct aborted_head head = {
		.base_offset = seg->base_offset,
		.end_offset = seg->end_offset,
	};
	char path[STORE_PATH_MAX];
	char *p = NULL;
	size_t len = 0;
	int err;

	err = fileio_load(&log->files, log->dirfd,
	                  segment_path(log, seg->base_offset, TXNINDEX_SUFFIX, path),
	                  TXNINDEX_BYTES_MAX, &p, &len);
	if (err)
		return err;
	err = aborted_decode(&seg->aborted, &head, p, len);
	free(p);
	if (err)
		return err;
	seg->aborted_first = aborted_first(&seg->aborted);
	seg->open_first = head.open_first;
	seg->has_aborted = true;
	seg->is_aborted_known = true;
	return 0;
}

int txnindex_use(struct sl_log *log, struct segment *seg)
{
	int err;

	if (seg->has_aborted)
		return 0;
	/* With its descriptor it goes when others are used. */
	err = segment_use(log, seg, false);
	if (!err)
		err = load(log, seg);
	if (err != -EBADMSG && err != -ENOENT && err != -EFBIG)
		return err;
	/* The opening of the log has seen a file; something has happened to it since. */
	sl_log(WARN, store, "rebuild index of aborted transactions part=%s base=%" PRId64 ": %s",
	       log->folder, seg->base_offset, err == -ENOENT ? "missing" : "damaged");
	err = replay_aborted(log, seg);
	/* Half a list would be taken for the whole one next time. */
	if (err) {
		aborted_fini(&seg->aborted);
		seg->has_aborted = false;
	}
	if (!err && !log->error && txnindex_store(log, seg))
		sl_log(WARN, store, "cannot store rebuilt index part=%s base=%" PRId64, log->folder,
		       seg->base_offset);
	return err;
}

/* ---- Asked about a range ---- */

/* A bound above every offset in @range: the sparse index tells, to within an interval. */
static int64_t range_end(const struct sl_log *log, const struct sl_log_range *range,
                         int64_t offset_max)
{
	const struct segment *seg = range->segment;
	int64_t end = SL_MIN(SL_MIN(seg->end_offset, log->end), offset_max);
	uint32_t relative;

	if (seg->has_offsets && range->pos + range->bytes < seg->bytes &&
	    index_offset_at_pos(&seg->offsets, range->pos + range->bytes, &relative))
		end = SL_MIN(end, seg->base_offset + relative + 1);
	return end;
}

/* Those of one list that overlap [from, to).  Return: @count and theirs. */
static uint32_t collect(const struct aborted *list, int64_t from, int64_t to,
                        struct sl_log_aborted *out, uint32_t count, uint32_t max)
{
	/* Markers are in order: what ended before @from is in front. */
	for (uint32_t i = list->count; i > 0; i--) {
		const struct sl_txnindex_entry *entry = &list->entries[i - 1];

		if (entry->last_offset < from)
			break;
		if (entry->first_offset >= to)
			continue;
		if (count < max)
			out[count] = (struct sl_log_aborted){entry->producer_id,
			                                     entry->first_offset};
		count++;
	}
	return count;
}

static void sift_down(struct sl_log_aborted *list, uint32_t i, uint32_t count)
{
	const struct sl_log_aborted moved = list[i];
	uint32_t child;

	while ((child = 2 * i + 1) < count) {
		if (child + 1 < count && list[child + 1].first_offset > list[child].first_offset)
			child++;
		if (list[child].first_offset <= moved.first_offset)
			break;
		list[i] = list[child];
		i = child;
	}
	list[i] = moved;
}

/* A heap sort: in place, and no order of the input makes it slow. */
static void sort(struct sl_log_aborted *list, uint32_t count)
{
	for (uint32_t i = count / 2; i > 0; i--)
		sift_down(list, i - 1, count);
	for (uint32_t n = count; n > 1; n--) {
		const struct sl_log_aborted last = list[n - 1];

		list[n - 1] = list[0];
		list[0] = last;
		sift_down(list, 0, n - 1);
	}
}

/*
 * The marker may lie far behind the data.  Every sealed segment knows the oldest transaction that
 * was open at its end, so the search ends where none reaches back into the range.
 */
int64_t sl_log_aborted(struct sl_log *log, const struct sl_log_range *range, int64_t offset_max,
                       struct sl_log_aborted *out, uint32_t max)
{
	const int64_t from = range->base_offset;
	uint32_t count = 0;
	int64_t to;

	if (range->bytes == 0)
		return 0;
	to = range_end(log, range, offset_max);
	for (uint32_t i = lookup_segment(log, from); i < log->segments_count; i++) {
		struct segment *seg = log->segments[i];

		if (seg == log->active || !seg->is_aborted_known || seg->aborted_first < to) {
			int err = txnindex_use(log, seg);

			if (err)
				return err;
			count = collect(&seg->aborted, from, to, out, count, max);
		}
		if (seg == log->active || seg->open_first >= to)
			break;
	}
	sort(out, SL_MIN(count, max));
	return count;
}
