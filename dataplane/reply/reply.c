/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replies: one pool block each, sent by sendmsg for bytes (several replies in one call) and
 * sendfile for log ranges, piece by piece from where they lie at that moment: memory or file.
 * Owner lane only.
 */
#include "reply/reply.h"

#include <errno.h>

#include "reply/cold.h"
#include "sluice/base/assert.h"
#include "sluice/store/hot.h"

#define REPLY_IOV_MAX     64                   /* byte runs gathered into one sendmsg */
#define REPLY_COPY_MAX    ((uint32_t)32 << 10) /* up to here a copy costs no more than a reference */
#define REPLY_PAGE_BYTES  4096u
#define REPLY_ROUND_BYTES ((size_t)16 * REPLY_PAGE_BYTES) /* PIPE_DEF_BUFFERS pages */
#define REPLY_COPY_TURN   ((size_t)256 << 10)             /* copied by one sendmsg */

/* What goes out by one system call: byte runs, or if there are none a piece by reference. */
struct burst {
	struct iovec iov[REPLY_IOV_MAX];
	int count;
	bool is_more; /* the rest follows at once */
	size_t copied;
	struct sl_log_piece piece;
};

struct reply *reply_build(struct ctx *ctx, const struct reply_range *ranges, uint32_t ranges_count)
{
	struct sl_buf *out = &ctx->out;
	size_t head = SL_ALIGN_UP(sizeof(struct reply), 16);
	size_t tail = sizeof(struct reply_range) * ranges_count;
	size_t cap;

	SL_ASSERT(out->holes_count == ranges_count);
	if (!sl_buf_ok(out) || out->len < 4 || sl_buf_wire_bytes(out) - 4 > INT32_MAX)
		return NULL;
	uint8_t *block = pool_get(&ctx->pool, head + tail + out->len, &cap);
	if (!block)
		return NULL;

	struct reply *reply = (struct reply *)(void *)block;

	memset(reply, 0, sizeof(*reply));
	sl_list_init(&reply->link);
	reply->ranges = (struct reply_range *)(void *)(block + head);
	reply->ranges_count = ranges_count;
	reply->p = block + head + tail;
	reply->len = (uint32_t)out->len;
	/* copy: only the response's own bytes; record data stays in the log and is sent from there.
	 */
	memcpy(reply->p, out->p, out->len);
	sl_store_be32(reply->p, (uint32_t)(sl_buf_wire_bytes(out) - 4));
	for (uint32_t i = 0; i < ranges_count; i++) {
		SL_ASSERT(out->holes[i].tag == i && out->holes[i].bytes == ranges[i].range.bytes);
		reply->ranges[i] = ranges[i];
		reply->ranges[i].pos = (uint32_t)out->holes[i].pos;
	}
	return reply;
}

void reply_free(struct ctx *ctx, struct reply *reply)
{
	if (!reply)
		return;
	sl_list_del(&reply->link);
	for (uint32_t i = reply->range_index; i < reply->ranges_count; i++)
		reply->ranges[i].put(ctx, &reply->ranges[i]);
	pool_put(&ctx->pool, reply);
}

/* End of the byte run that is to be sent next. */
static uint32_t run_end(const struct reply *r)
{
	return r->range_index < r->ranges_count ? r->ranges[r->range_index].pos : r->len;
}

static bool is_sent(const struct reply *r)
{
	return r->sent == r->len && r->range_index == r->ranges_count;
}

/* Record data in memory that is cheaper to copy, or that must be. */
static bool is_copied(struct ctx *ctx, struct net_io *io, const struct sl_log_piece *piece)
{
	if (!piece->chunk)
		return false;
	return piece->bytes <= REPLY_COPY_MAX || !guard_may_hold(ctx->guard, io, piece->chunk);
}

static void add(struct burst *b, const void *p, size_t bytes)
{
	b->iov[b->count].iov_base = (void *)(uintptr_t)p;
	b->iov[b->count].iov_len = bytes;
	b->count++;
}

/* Adds the next piece of a range.  Return: bytes added; 0: it is not for copying, or there is no
 * room; -errno. */
static ssize_t gather_piece(struct ctx *ctx, struct net_io *io, struct burst *b,
                            const struct reply_range *rr, uint32_t done)
{
	struct sl_log_piece *piece = &b->piece;
	int rc = rr->piece(rr, done, piece);

	if (rc != 0)
		return rc;
	if (!is_copied(ctx, io, piece))
		return 0;

	size_t bytes = SL_MIN((size_t)piece->bytes, REPLY_COPY_TURN - b->copied);

	if (bytes == 0 || b->count == REPLY_IOV_MAX)
		return 0;
	if (piece->bytes > REPLY_COPY_MAX)
		ctx_count(ctx, SL_STAT_guard_copied, 1);
	/* copy: by the kernel, with the bytes around it.  A reference costs a system call of its
	 * own, and a chunk that has to be proved free later. */
	add(b, piece->chunk->p + (piece->pos - piece->chunk->file_pos), bytes);
	b->copied += bytes;
	return (ssize_t)bytes;
}

/* Gathers one reply from where it stands.  Return: 1 all of it; 0 there is more; -errno. */
static int gather_reply(struct ctx *ctx, struct net_io *io, struct burst *b, const struct reply *r)
{
	uint32_t sent = r->sent;
	uint32_t done = r->range_sent;
	uint32_t i = r->range_index;

	while (b->count < REPLY_IOV_MAX) {
		uint32_t end = i < r->ranges_count ? r->ranges[i].pos : r->len;
		ssize_t n;

		if (end > sent) {
			add(b, r->p + sent, end - sent);
			sent = end;
			continue;
		}
		if (i == r->ranges_count)
			return 1;
		n = gather_piece(ctx, io, b, &r->ranges[i], done);
		if (n <= 0)
			return (int)n;
		done += (uint32_t)n;
		if (done == r->ranges[i].range.bytes) {
			done = 0;
			i++;
		}
	}
	return sent == r->len && i == r->ranges_count;
}

/* What the head of the queue has for the next system call.  Return: 0 or -errno. */
static int gather(struct ctx *ctx, struct net_io *io, struct sl_list *queue, struct burst *b)
{
	struct sl_list *pos;

	b->count = 0;
	b->copied = 0;
	b->is_more = false;
	sl_list_for_each(pos, queue) {
		int rc = gather_reply(ctx, io, b, sl_list_entry(pos, struct reply, link));

		/* An error is found again when what lies before it is sent. */
		if (rc < 0)
			return b->count > 0 ? 0 : rc;
		b->is_more = rc == 0;
		if (rc == 0 || b->count == REPLY_IOV_MAX)
			break;
	}
	return 0;
}

/* Accounts up to *n sent bytes to one reply.  Return: whether it has been sent. */
static bool advance(struct ctx *ctx, struct reply *r, size_t *n)
{
	while (!is_sent(r)) {
		struct reply_range *rr = &r->ranges[r->range_index];
		size_t bytes = SL_MIN(*n, (size_t)(run_end(r) - r->sent));

		r->sent += (uint32_t)bytes;
		*n -= bytes;
		if (r->sent < run_end(r))
			return false;
		if (r->range_index == r->ranges_count)
			break;
		bytes = SL_MIN(*n, (size_t)(rr->range.bytes - r->range_sent));
		r->range_sent += (uint32_t)bytes;
		*n -= bytes;
		ctx_count(ctx, SL_STAT_bytes_out, bytes);
		if (r->range_sent < rr->range.bytes)
			return false;
		rr->put(ctx, rr);
		r->range_index++;
		r->range_sent = 0;
	}
	return true;
}

/* Accounts @n sent bytes to the head of the queue and frees finished replies. */
static void consume(struct ctx *ctx, struct sl_list *queue, size_t n)
{
	while (!sl_list_is_empty(queue)) {
		struct reply *r = sl_list_entry(queue->next, struct reply, link);

		if (!advance(ctx, r, &n))
			break;
		ctx_count(ctx, SL_STAT_responses, 1);
		reply_free(ctx, r);
	}
	SL_ASSERT(n == 0);
}

static ssize_t send_bytes(struct ctx *ctx, struct net_io *io, const struct burst *b)
{
	ssize_t n = io->ops->sendv(io, b->iov, b->count, b->is_more);

	ctx_count(ctx, SL_STAT_send_calls, 1);
	if (n > 0)
		io->sent += (uint64_t)n;
	return n;
}

/* sendfile(2) moves sixteen pages at a time, and what is left for a last short round, often behind
 * the end of a segment too, costs as much as a full one and another wake-up of the client.  A copy
 * with the bytes that follow is cheaper. */
static size_t whole_rounds(const struct sl_log_piece *piece)
{
	const size_t first = REPLY_ROUND_BYTES - piece->pos % REPLY_PAGE_BYTES;
	size_t rest;

	if (piece->bytes <= first)
		return piece->bytes;
	rest = (piece->bytes - first) % REPLY_ROUND_BYTES;
	return rest <= REPLY_COPY_MAX ? piece->bytes - rest : piece->bytes;
}

static ssize_t send_piece(struct ctx *ctx, struct net_io *io, const struct sl_log_piece *piece,
                          size_t bytes, bool is_more)
{
	ssize_t n = io->ops->sendfile(io, piece->fd, piece->pos, bytes, is_more);

	ctx_count(ctx, SL_STAT_sendfile_calls, 1);
	if (n == 0)
		return -EIO; /* The file is shorter than the log says; the frame cannot be
		                completed. */
	if (n < 0)
		return n;
	io->sent += (uint64_t)n;
	if (piece->chunk)
		guard_hold(ctx->guard, io, piece->chunk);
	return n;
}

/* Sends from a segment file, which may lie on the disk only.  Return: as send_piece(); -EBUSY. */
static ssize_t send_cold(struct ctx *ctx, struct net_io *io, const struct reply *r,
                         const struct sl_log_piece *piece, size_t bytes)
{
	const void *segment = r->ranges[r->range_index].range.segment;
	ssize_t n;

	bytes = cold_ready(ctx, segment, piece, bytes);
	if (bytes == 0)
		return -EBUSY;
	n = send_piece(ctx, io, piece, bytes, r->sent < r->len);
	if (n > 0)
		cold_sent(ctx, segment, piece, (size_t)n);
	return n;
}

int reply_send(struct ctx *ctx, struct net_io *io, struct sl_list *queue, size_t budget)
{
	struct burst b;

	while (!sl_list_is_empty(queue)) {
		const struct reply *r = sl_list_entry(queue->next, struct reply, link);
		ssize_t n;

		if (budget == 0)
			return -EINPROGRESS;
		n = gather(ctx, io, queue, &b);
		if (n == 0 && b.count > 0) {
			n = send_bytes(ctx, io, &b);
		} else if (n == 0 && b.piece.chunk) {
			n = send_piece(ctx, io, &b.piece, SL_MIN(whole_rounds(&b.piece), budget),
			               r->sent < r->len);
		} else if (n == 0) {
			n = send_cold(ctx, io, r, &b.piece, budget);
		}
		if (n < 0)
			return (int)n;
		consume(ctx, queue, (size_t)n);
		ctx_count(ctx, SL_STAT_bytes_sent, (uint64_t)n);
		budget -= SL_MIN(budget, (size_t)n);
	}
	return 0;
}
