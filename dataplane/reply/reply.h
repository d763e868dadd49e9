/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reply on its way to the client: encoded bytes and, between them, ranges of logs that go out by
 * sendfile from memory or from the file.  Built from ctx->out, which handlers encode into.
 */
#ifndef DATAPLANE_REPLY_REPLY_H
#define DATAPLANE_REPLY_REPLY_H

#include "ctx.h"
#include "net/transport.h"
#include "sluice/store/log.h"

/* Log ranges one reply may carry; later partitions of a fetch get no bytes. */
#define REPLY_RANGES_MAX 1024

struct reply_range {
	uint32_t pos; /* place in the bytes before which the range belongs */
	struct sl_log_range range;
	void *owner; /* what keeps the log alive while the range is out */
	/* Where its bytes from @done on lie now: sl_log_range_piece(). */
	int (*piece)(const struct reply_range *range, uint32_t done, struct sl_log_piece *out);
	void (*put)(struct ctx *ctx, struct reply_range *range);
};

/* Legal states: zeroed = nothing to send.  Memory is one pool block: bytes, then ranges. */
struct reply {
	struct sl_list link; /* in the connection's send queue */
	uint8_t *p;
	uint32_t len;
	uint32_t sent; /* bytes of p already sent */
	struct reply_range *ranges;
	uint32_t ranges_count;
	uint32_t range_index;
	uint32_t range_sent; /* bytes of ranges[range_index] already sent */
};

/**
 * reply_build() - take what the handler encoded in ctx->out
 * @ranges: log ranges in the order of the holes' tags 0..n-1; ownership moves into the reply
 *
 * ctx->out holds the whole response behind four bytes for the frame size, which is filled in here.
 * Return: NULL when the pool is full or encoding failed (then @ranges are still the caller's).
 */
struct reply *reply_build(struct ctx *ctx, const struct reply_range *ranges, uint32_t ranges_count);
/* Puts ranges and memory back.  NULL is a no-op. */
void reply_free(struct ctx *ctx, struct reply *reply);

/**
 * reply_send() - send from the head of a queue until it is empty, the socket is full or @budget is
 * used
 * @queue: struct reply.link; finished replies are freed
 * Return: 0 all sent; -EAGAIN the socket is full; -EINPROGRESS the budget is used, or the share of
 * what comes from files; -EBUSY the disk is being read: again in a millisecond; -errno: close.
 */
int reply_send(struct ctx *ctx, struct net_io *io, struct sl_list *queue,
               size_t budget) SL_MUST_CHECK;

#endif
