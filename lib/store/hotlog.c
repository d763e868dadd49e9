/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of a log that lies in the hot tier: room for appends, reads, and which bytes a write-out
 * takes.  A segment's chunks are a list by position; the last one of the active segment takes
 * appends.  A batch never crosses from one chunk to the next, so that it can be checked and sent in
 * one piece.  Owner's core only.
 *
 * Write-out goes block by block.  The block in which the bytes end is written from a copy, with
 * zeros behind them, because the chunk's own may be appended to while the disk reads it.  The zeros
 * reach a batch header further than the end: whatever an earlier user of the file's blocks left
 * behind them is never taken for a batch of this log.
 */
#include <errno.h>
#include <inttypes.h>

#include "fileio.h"
#include "log_impl.h"
#include "sluice/base/copy.h"

/* The end of every chunk, where the last block is put together for write-out. */
#define HOT_BOUNCE_BYTES       (2 * (size_t)SL_HOT_BLOCK)
/* Chunks of one log double up to this size. */
#define HOT_GROW_BYTES_MAX     ((size_t)4 << 20)
/* What one write takes at most, but for a single chunk that is larger. */
#define HOT_WRITE_BYTES_MAX    ((uint64_t)4 << 20)
/* Written without a sync, above which one is due: chunks stay dirty until then. */
#define HOT_UNSYNCED_BYTES_MAX ((uint64_t)64 << 20)
#define HOT_ALLOCATE_BYTES_MIN ((uint64_t)64 << 10)
#define HOT_ALLOCATE_BYTES_MAX ((uint64_t)64 << 20)

_Static_assert(SL_BATCH_HEADER_BYTES <= SL_HOT_BLOCK, "the margin of zeros fits the bounce blocks");
_Static_assert(HOT_BOUNCE_BYTES < SL_HOT_CHUNK_BYTES_MIN, "a chunk has room for data");

static uint64_t block_down(uint64_t pos)
{
	return pos & ~(uint64_t)(SL_HOT_BLOCK - 1);
}

static uint64_t block_up(uint64_t pos)
{
	return block_down(pos + SL_HOT_BLOCK - 1);
}

static size_t usable(const struct sl_hot_chunk *c)
{
	return c->bytes - HOT_BOUNCE_BYTES;
}

/* The chunk that holds @pos, or NULL and *file_end: where the next chunk begins, UINT64_MAX none.
 * From the end, where nearly all readers are. */
static struct sl_hot_chunk *find(const struct sl_list *hot, uint64_t pos, uint64_t *file_end)
{
	const struct sl_list *at;

	*file_end = UINT64_MAX;
	for (at = hot->prev; at != hot; at = at->prev) {
		struct sl_hot_chunk *c = sl_list_entry(at, struct sl_hot_chunk, link);

		if (pos >= c->begin)
			return pos < c->end ? c : NULL;
		*file_end = c->begin;
	}
	return NULL;
}

/* ---- Reads ---- */

int hotlog_read(const struct sl_files *files, int fd, const struct sl_list *hot, void *p,
                size_t len, uint64_t pos, size_t *got)
{
	uint8_t *to = p;

	*got = 0;
	if (!hot || sl_list_is_empty(hot))
		return fileio_read(files, fd, p, len, pos, got);
	while (*got < len) {
		uint64_t file_end;
		struct sl_hot_chunk *c = find(hot, pos + *got, &file_end);
		size_t n = len - *got;
		size_t done = 0;
		int err;

		if (c) {
			n = SL_MIN(n, (size_t)(c->end - (pos + *got)));
			/* copy: headers for a walk, the block that an append goes on in */
			memcpy(to + *got, c->p + (pos + *got - c->pos), n);
			*got += n;
			continue;
		}
		n = (size_t)SL_MIN((uint64_t)n, file_end - (pos + *got));
		err = fileio_read(files, fd, to + *got, n, pos + *got, &done);
		*got += done;
		if (err || done < n)
			return err;
	}
	return 0;
}

void hotlog_piece(const struct sl_log *log, const struct segment *seg, int fd, uint64_t pos,
                  uint32_t bytes, struct sl_log_piece *out)
{
	uint64_t file_end;
	struct sl_hot_chunk *c = find(&seg->hot, pos, &file_end);

	if (c)
		*out = (struct sl_log_piece){
			.fd = sl_hot_pool_fd(log->hot),
			.pos = c->file_pos + (pos - c->pos),
			.bytes = (uint32_t)SL_MIN((uint64_t)bytes, c->end - pos),
			.chunk = c,
		};
	else
		*out = (struct sl_log_piece){
			.fd = fd,
			.pos = pos,
			.bytes = (uint32_t)SL_MIN((uint64_t)bytes, file_end - pos),
		};
}

/* ---- Appends ---- */

/* Gives a chunk back that nothing refers to and that will never hold bytes of @seg. */
static void give_back(struct sl_log *log, const struct segment *seg, struct sl_hot_chunk *c)
{
	if (c->refs > 0 || (!seg->is_doomed && (c == log->tail_chunk || c->end > c->begin)))
		return;
	sl_list_del(&c->link);
	sl_hot_put(log->hot, c);
}

static void put_ref(struct sl_log *log, struct segment *seg, struct sl_hot_chunk *c)
{
	SL_ASSERT(c->refs > 0);
	c->refs--;
	give_back(log, seg, c);
}

/* All that changes which chunk takes appends goes through here, so that the pool's count holds. */
static void set_tail(struct sl_log *log, struct sl_hot_chunk *c)
{
	sl_hot_count_tail(log->hot, (c != NULL) - (log->tail_chunk != NULL));
	log->tail_chunk = c;
}

void hotlog_end_tail(struct sl_log *log, struct segment *seg)
{
	struct sl_hot_chunk *c = log->tail_chunk;

	if (!c)
		return;
	set_tail(log, NULL);
	/* One that was taken for records that never came. */
	give_back(log, seg, c);
}

static int next_chunk(struct sl_log *log, size_t bytes)
{
	struct segment *seg = log->active;
	const struct sl_hot_key key = {
		.topic_id = log->topic_id,
		.base_offset = seg->base_offset,
		.partition = log->partition,
	};
	uint8_t block[SL_HOT_BLOCK];
	size_t have = (size_t)(seg->bytes - block_down(seg->bytes));
	struct sl_hot_chunk *c;
	size_t got = 0;
	int err = 0;

	/* Before the chunk is taken: it may be the very memory in which this block still lies. */
	if (have > 0)
		err = hotlog_read(&log->files, seg->fd, &seg->hot, block, have,
		                  block_down(seg->bytes), &got);
	if (err || got < have)
		return log_fail(log, err ? err : -EIO, "read last block");
	c = sl_hot_get(log->hot, &key, log, seg->bytes, bytes + HOT_BOUNCE_BYTES,
	               SL_MIN(SL_MIN(2 * log->chunk_bytes, HOT_GROW_BYTES_MAX),
	                      sl_hot_share(log->hot)));
	if (!c)
		return sl_hot_fits(log->hot, bytes + HOT_BOUNCE_BYTES) ? -EAGAIN : -EFBIG;
	SL_ASSERT(c->pos == block_down(seg->bytes) && c->begin == seg->bytes);
	/* copy: the block goes on in the new chunk */
	memcpy(c->p, block, have);
	c->end_offset = log->end;
	hotlog_end_tail(log, seg);
	sl_list_push_back(&seg->hot, &c->link);
	set_tail(log, c);
	log->chunk_bytes = c->bytes;
	return 0;
}

int hotlog_room(struct sl_log *log, size_t bytes, uint8_t **to)
{
	struct segment *seg = log->active;
	struct sl_hot_chunk *c = log->tail_chunk;

	if (!c || seg->bytes - c->pos + bytes > usable(c)) {
		int err = next_chunk(log, bytes);

		if (err)
			return err;
		c = log->tail_chunk;
	}
	SL_ASSERT_HOT(c->end == seg->bytes);
	*to = c->p + (seg->bytes - c->pos);
	return 0;
}

int hotlog_append(struct sl_log *log, const void *batch, size_t bytes)
{
	uint8_t *to;
	int err = hotlog_room(log, bytes, &to);

	if (err)
		return err;
	/* copy: a batch that was not received into the log, e.g. one of several in its request */
	if (to != batch)
		sl_copy_around(to, batch, bytes);
	sl_hot_commit(log->hot, log->tail_chunk, log->active->bytes + bytes);
	log->unwritten += bytes;
	return 0;
}

void hotlog_took(struct sl_log *log)
{
	log->tail_chunk->end_offset = log->end;
}

int sl_log_reserve(struct sl_log *log, size_t bytes, void **out)
{
	uint8_t *to;
	int err;

	if (log->error)
		return log->error;
	if (!log->hot)
		return -ENOTSUP;
	if (log->reserved)
		return -EBUSY;
	if (bytes > (size_t)log->config.segment_bytes)
		return -EFBIG;
	err = hotlog_room(log, bytes, &to);
	if (err)
		return err;
	log->reserved = log->tail_chunk;
	log->reserved->refs++;
	log->reserved_segment = log->active;
	log->reserved_segment->refs++;
	log->reserved_at = to;
	log->reserved_bytes = bytes;
	*out = to;
	return 0;
}

void sl_log_unreserve(struct sl_log *log)
{
	if (!log->reserved)
		return;
	put_ref(log, log->reserved_segment, log->reserved);
	segment_put(log, log->reserved_segment);
	log->reserved = NULL;
	log->reserved_segment = NULL;
	log->reserved_at = NULL;
	log->reserved_bytes = 0;
}

/* ---- Chunks come and go ---- */

void sl_log_forget(void *owner, struct sl_hot_chunk *chunk)
{
	struct sl_log *log = owner;

	SL_ASSERT(chunk->refs == 0 && chunk != log->writing && chunk != log->reserved);
	sl_list_del(&chunk->link);
	if (log->tail_chunk == chunk)
		set_tail(log, NULL);
}

void hotlog_drop(struct sl_log *log, struct segment *seg)
{
	struct sl_list *at;
	struct sl_list *next;

	if (!log->hot)
		return;
	if (log->tail_chunk && seg == log->active)
		set_tail(log, NULL);
	SL_ASSERT(log->unwritten >= seg->bytes - seg->written);
	SL_ASSERT(log->unsynced >= seg->written - seg->durable);
	log->unwritten -= seg->bytes - seg->written;
	log->unsynced -= seg->written - seg->durable;
	seg->written = seg->bytes;
	seg->durable = seg->bytes;
	sl_list_for_each_safe(at, next, &seg->hot) {
		struct sl_hot_chunk *c = sl_list_entry(at, struct sl_hot_chunk, link);

		if (c->refs > 0)
			continue;
		sl_list_del(&c->link);
		sl_hot_put(log->hot, c);
	}
}

void sl_log_cool(struct sl_log *log)
{
	SL_ASSERT(!log->is_sync_running);
	if (!log->hot)
		return;
	sl_log_unreserve(log);
	/* Its disk failed elsewhere: nothing may vouch for what is left in the files. */
	if (log->unwritten > 0 && !log->error)
		(void)log_fail(log, -EIO, "drop what was not written");
	for (uint32_t i = 0; i < log->segments_count; i++) {
		direct_close(log, log->segments[i]);
		hotlog_drop(log, log->segments[i]);
	}
	SL_ASSERT(log->unwritten == 0 && log->unsynced == 0);
	log->hot = NULL;
	log->recycler = NULL;
}

bool sl_log_has_tier(const struct sl_log *log)
{
	return log->hot != NULL;
}

uint64_t sl_log_unwritten(const struct sl_log *log)
{
	return log->unwritten;
}

/* ---- Write-out ---- */

/* How far the file gets blocks that has to have them up to @end: as much again ahead, so that most
 * writes change no metadata. */
static uint64_t allocate_to(const struct sl_log *log, uint64_t end)
{
	const uint64_t full = block_up((uint64_t)log->config.segment_bytes + SL_BATCH_HEADER_BYTES);
	const uint64_t to = end +
	                    SL_MIN(SL_MAX(end, HOT_ALLOCATE_BYTES_MIN), HOT_ALLOCATE_BYTES_MAX);

	/* Nothing of the segment will lie behind its size, but for the margin. */
	return end <= full ? SL_MIN(to, full) : to;
}

static int allocate(struct sl_log *log, struct segment *seg, uint64_t end)
{
	uint64_t to = allocate_to(log, end);
	int err = fileio_allocate(&log->files, seg->fd, seg->allocated, to - seg->allocated);

	/* On a full disk kept files go first, and nothing is taken ahead. */
	while (err == -ENOSPC && (recycle_drop(log->recycler) || to > end)) {
		to = end;
		err = fileio_allocate(&log->files, seg->fd, seg->allocated, to - seg->allocated);
	}
	if (!err)
		seg->allocated = to;
	return err;
}

/* Blocks for a write up to @end.  As with descriptors it is the runner who waits for the file
 * system, where nobody waits for the write; but what to do on a full disk is known here. */
static int begin_allocate(struct sl_log *log, struct sl_log_sync *sync, struct segment *seg,
                          uint64_t end, bool is_wanted)
{
	if (end <= seg->allocated)
		return 0;
	if (is_wanted || log->is_disk_full) {
		/* Where there are none now either, the log fails. */
		log->is_disk_full = false;
		return allocate(log, seg, end);
	}
	sync->allocate_pos = seg->allocated;
	sync->allocate_bytes = allocate_to(log, end) - seg->allocated;
	return 0;
}

/* What the next write goes through.  Where nobody waits for it, who runs it opens what is not open:
 * the lane has better to do. */
static int lend_fd(struct sl_log *log, struct sl_log_sync *sync, struct segment *seg,
                   bool is_wanted)
{
	int err = 0;

	sync->write_fd = seg->fd;
	if (log->is_buffered)
		return 0;
	if (is_wanted || seg->direct.fd >= 0)
		err = direct_take(log, seg, &sync->write_fd);
	else
		sync->wants_direct = true;
	if (err != -EINVAL)
		return err;
	log->is_buffered = true;
	return 0;
}

/* The block that @c ends in and zeros behind, in the chunk's own bounce blocks. */
static size_t fill_bounce(struct sl_hot_chunk *c)
{
	uint64_t full = block_down(c->end);
	size_t bytes = (size_t)(block_up(c->end + SL_BATCH_HEADER_BYTES) - full);
	size_t have = (size_t)(c->end - full);
	uint8_t *bounce = c->p + usable(c);

	SL_ASSERT(bytes <= HOT_BOUNCE_BYTES);
	/* copy: less than a block; see the head of this file */
	memcpy(bounce, c->p + (full - c->pos), have);
	memset(bounce + have, 0, bytes - have);
	return bytes;
}

/* The oldest segment with bytes that are not durable. */
static struct segment *first_dirty(const struct sl_log *log, uint32_t *index)
{
	uint32_t i = log->segments_count;

	while (i > 0 && log->segments[i - 1]->is_dirty)
		i--;
	while (i < log->segments_count && log->segments[i]->durable == log->segments[i]->bytes)
		i++;
	*index = i;
	return i < log->segments_count ? log->segments[i] : NULL;
}

static struct segment *first_unwritten(const struct sl_log *log, uint32_t from)
{
	while (from < log->segments_count &&
	       log->segments[from]->written == log->segments[from]->bytes)
		from++;
	return from < log->segments_count ? log->segments[from] : NULL;
}

/* Whole blocks of @c from @from on. */
static void add_piece(struct sl_log_sync *sync, const struct sl_hot_chunk *c, uint64_t from)
{
	const size_t bytes = (size_t)(block_down(c->end) - from);

	if (bytes == 0)
		return;
	sync->iov[sync->iov_count++] = (struct iovec){c->p + (from - c->pos), bytes};
	sync->write_bytes += bytes;
}

/* The last chunk of a write that begins with @c: no file has anything of those behind it. */
static struct sl_hot_chunk *last_to_write(const struct segment *seg, struct sl_hot_chunk *c)
{
	const uint64_t from = block_down(seg->written);

	for (uint32_t i = 1; i < SL_LOG_WRITE_CHUNKS && c->link.next != &seg->hot; i++) {
		struct sl_hot_chunk *next = sl_list_entry(c->link.next, struct sl_hot_chunk, link);

		if (next->end - from > HOT_WRITE_BYTES_MAX)
			break;
		SL_ASSERT(next->begin == c->end && next->pos == block_down(c->end));
		c = next;
	}
	return c;
}

/* Bytes that no file has, of one chunk or of several that follow each other. */
static int begin_write(struct sl_log *log, struct sl_log_sync *sync, struct segment *seg,
                       bool is_wanted)
{
	uint64_t from, file_end;
	struct sl_hot_chunk *c = find(&seg->hot, seg->written, &file_end);
	struct sl_hot_chunk *last;
	size_t bounce_bytes;
	int err;

	SL_ASSERT(c);
	last = last_to_write(seg, c);
	err = begin_allocate(log, sync, seg, block_up(last->end + SL_BATCH_HEADER_BYTES),
	                     is_wanted);
	if (!err)
		err = lend_fd(log, sync, seg, is_wanted);
	if (err)
		return err;
	log->writing = c;
	from = block_down(seg->written);
	sync->write_pos = from;
	for (;; c = sl_list_entry(c->link.next, struct sl_hot_chunk, link)) {
		SL_ASSERT(c->refs <= 1);
		c->refs++;
		add_piece(sync, c, from);
		if (c == last)
			break;
		from = block_down(c->end);
	}
	bounce_bytes = fill_bounce(last);
	sync->iov[sync->iov_count++] = (struct iovec){last->p + usable(last), bounce_bytes};
	sync->write_bytes += bounce_bytes;
	sync->write_segment = seg;
	seg->refs++;
	log->writing_last = last;
	log->writing_end = last->end;
	log->writing_offset = last->end_offset;
	return 1;
}

static void add_file(struct sl_log *log, struct sl_log_sync *sync, struct segment *seg)
{
	SL_ASSERT(seg->fd >= 0 && sync->fds_count < SL_ARRAY_SIZE(sync->fds));
	seg->refs++;
	sync->segments[sync->fds_count] = seg;
	sync->fds[sync->fds_count++] = seg->fd;
	log->syncing_pos = seg->written;
}

bool hotlog_is_sync_due(const struct sl_log *log)
{
	return log->unsynced >= HOT_UNSYNCED_BYTES_MAX;
}

int hotlog_begin(struct sl_log *log, struct sl_log_sync *sync, bool is_wanted)
{
	uint32_t first;
	struct segment *dirty = first_dirty(log, &first);
	struct segment *seg = first_unwritten(log, first);
	bool is_behind;
	int rc;

	if (!dirty)
		return 0;
	is_behind = dirty->durable < dirty->written;
	/* In order: what was written before it comes first, where somebody waits. */
	if (is_behind && (is_wanted ? dirty != seg : hotlog_is_sync_due(log))) {
		add_file(log, sync, dirty);
		sync->offset = dirty->written_offset;
		return 1;
	}
	if (!seg)
		return 0;
	rc = begin_write(log, sync, seg, is_wanted);
	if (rc < 0 || !is_wanted)
		return rc;
	sync->offset = log->writing_offset;
	/* A durable write says nothing about plain ones before it: then the file is synced. */
	if (is_behind)
		add_file(log, sync, seg);
	else
		sync->is_durable = true;
	log->syncing_pos = log->writing_end;
	return 1;
}

void hotlog_settle(struct sl_log *log, struct segment *seg, uint64_t pos)
{
	struct sl_list *at;

	SL_ASSERT(pos <= seg->written);
	/* Two syncs were under way, and the one that covers more has ended first. */
	if (pos < seg->durable)
		return;
	log->unsynced -= pos - seg->durable;
	for (at = seg->hot.prev; at != &seg->hot; at = at->prev) {
		struct sl_hot_chunk *c = sl_list_entry(at, struct sl_hot_chunk, link);

		if (c->end <= seg->durable)
			break;
		if (c->begin < pos)
			sl_hot_durable(log->hot, c, SL_MIN(c->end, pos));
	}
	seg->durable = pos;
	seg->is_dirty = pos < seg->bytes;
}

void hotlog_synced(struct sl_log *log, struct segment *seg)
{
	if (!seg->is_doomed)
		hotlog_settle(log, seg, log->syncing_pos);
}

static void put_written(struct sl_log *log, struct segment *seg)
{
	struct sl_hot_chunk *c = log->writing;
	bool is_last;

	log->writing = NULL;
	do {
		struct sl_hot_chunk *next = sl_list_entry(c->link.next, struct sl_hot_chunk, link);

		is_last = c == log->writing_last;
		put_ref(log, seg, c);
		c = next;
	} while (!is_last);
	log->writing_last = NULL;
}

void hotlog_write_end(struct sl_log *log, const struct sl_log_sync *sync, bool is_good)
{
	struct segment *seg = sync->write_segment;

	direct_put(log, seg);
	if (sync->is_allocated)
		seg->allocated = sync->allocate_pos + sync->allocate_bytes;
	/* A doomed segment's bytes are not counted any more. */
	if (is_good && !seg->is_doomed) {
		const uint64_t bytes = log->writing_end - seg->written;

		SL_ASSERT(log->writing_end > seg->written && log->writing_end <= seg->bytes);
		log->unwritten -= bytes;
		log->unsynced += bytes;
		seg->written = log->writing_end;
		seg->written_offset = log->writing_offset;
		if (seg->is_sealed && seg->written == seg->bytes)
			SL_COUNT_IF(segment_trim(log, seg));
	}
	put_written(log, seg);
	if (is_good && sync->is_durable && !seg->is_doomed)
		hotlog_settle(log, seg, seg->written);
}
