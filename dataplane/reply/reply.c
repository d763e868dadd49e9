/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replies: one pool block each, sent by sendmsg for bytes (several replies in one call) and
 * sendfile for log ranges.  Owner lane only.
 */
#include "reply/reply.h"

#include <errno.h>

#include "sluice/base/assert.h"

#define REPLY_IOV_MAX 64 /* byte runs gathered into one sendmsg */

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

/* Gathers byte runs from the head of the queue up to the first log range. */
static int gather(struct sl_list *queue, struct iovec iov[REPLY_IOV_MAX], bool *is_more)
{
	struct sl_list *pos;
	int n = 0;

	*is_more = false;
	sl_list_for_each(pos, queue) {
		struct reply *r = sl_list_entry(pos, struct reply, link);
		uint32_t end = run_end(r);

		if (end > r->sent) {
			iov[n].iov_base = r->p + r->sent;
			iov[n].iov_len = end - r->sent;
			n++;
		}
		if (end < r->len || r->range_index < r->ranges_count) {
			*is_more = true;
			break;
		}
		if (n == REPLY_IOV_MAX)
			break;
	}
	return n;
}

/* Accounts @n sent bytes to the runs that gather() saw and frees finished replies. */
static void consume(struct ctx *ctx, struct sl_list *queue, size_t n)
{
	while (!sl_list_is_empty(queue)) {
		struct reply *r = sl_list_entry(queue->next, struct reply, link);
		size_t part = SL_MIN(n, (size_t)(run_end(r) - r->sent));

		r->sent += (uint32_t)part;
		n -= part;
		if (!is_sent(r))
			break;
		ctx_count(ctx, SL_STAT_responses, 1);
		reply_free(ctx, r);
	}
	SL_ASSERT(n == 0);
}

static ssize_t send_bytes(struct ctx *ctx, struct net_io *io, struct sl_list *queue)
{
	struct iovec iov[REPLY_IOV_MAX];
	bool is_more;
	int count = gather(queue, iov, &is_more);
	ssize_t n = io->ops->sendv(io, iov, count, is_more);

	ctx_count(ctx, SL_STAT_send_calls, 1);
	if (n > 0)
		consume(ctx, queue, (size_t)n);
	return n;
}

static ssize_t send_range(struct ctx *ctx, struct net_io *io, struct sl_list *queue, size_t budget)
{
	struct reply *r = sl_list_entry(queue->next, struct reply, link);
	struct reply_range *rr = &r->ranges[r->range_index];
	size_t left = rr->range.bytes - r->range_sent;
	ssize_t n = io->ops->sendfile(io, rr->range.fd, rr->range.pos + r->range_sent,
	                              SL_MIN(left, budget), r->sent < r->len);

	ctx_count(ctx, SL_STAT_sendfile_calls, 1);
	if (n == 0)
		return -EIO; /* The file is shorter than the log says; the frame cannot be
		                completed. */
	if (n < 0)
		return n;
	ctx_count(ctx, SL_STAT_bytes_out, (uint64_t)n);
	r->range_sent += (uint32_t)n;
	if (r->range_sent == rr->range.bytes) {
		rr->put(ctx, rr);
		r->range_index++;
		r->range_sent = 0;
		consume(ctx, queue, 0);
	}
	return n;
}

int reply_send(struct ctx *ctx, struct net_io *io, struct sl_list *queue, size_t budget)
{
	while (!sl_list_is_empty(queue)) {
		struct reply *r = sl_list_entry(queue->next, struct reply, link);
		ssize_t n;

		if (budget == 0)
			return -EINPROGRESS;
		if (run_end(r) > r->sent)
			n = send_bytes(ctx, io, queue);
		else
			n = send_range(ctx, io, queue, budget);
		if (n < 0)
			return (int)n;
		ctx_count(ctx, SL_STAT_bytes_sent, (uint64_t)n);
		budget -= SL_MIN(budget, (size_t)n);
	}
	return 0;
}
