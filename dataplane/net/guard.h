/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recycle guard: proves that no socket holds a chunk's pages any more before they are overwritten.
 * sendfile(2) gives a socket references to pages and not their bytes; what is written there later
 * is what the reader would get.
 *
 * Per connection a few marks: this chunk is in the stream up to that byte.  A mark goes when the
 * socket cannot show the chunk to anybody: its bytes are acknowledged by a peer beyond a device, or
 * read by one on this host (see net/peer.h).  Where nothing can be proved nothing is held: the
 * reply is copied.  Owner lane only.
 */
#ifndef DATAPLANE_NET_GUARD_H
#define DATAPLANE_NET_GUARD_H

#include "net/peer.h"
#include "sluice/base/list.h"

struct ctx;
struct guard;
struct net_io;
struct sl_hot_chunk;

#define GUARD_MARKS 16 /* chunks that one connection may hold */

/* The socket was given bytes of @chunk, the last of them before @end of the stream. */
struct guard_mark {
	struct sl_hot_chunk *chunk;
	uint64_t end;
	uint32_t gen; /* of the chunk: another one means other bytes, and no claim on them */
};

/* A connection's marks.  Legal states: zeroed = holds nothing, its peer unknown; in guard.holders
 * as long as marks_count > 0. */
struct guard_sock {
	struct sl_list link;
	struct peer_id id;     /* with PEER_LOCAL */
	int64_t classified_ms; /* when @peer was found */
	uint64_t asked_ns;     /* loop iteration of the last question, plus 1 */
	enum peer_class peer;
	uint32_t marks_count;
	struct guard_mark marks[GUARD_MARKS];
};

/* Return: 0; -ENOMEM; -errno no netlink: nothing can be proved, replies would all be copied. */
int guard_create(struct guard **out, struct ctx *ctx) SL_MUST_CHECK;
/* After the last guard_leave().  NULL is a no-op. */
void guard_destroy(struct guard *guard);

/**
 * guard_may_hold() - may bytes of @chunk be given to @io by reference now?
 *
 * Finds out about the peer the first time, and asks the socket when the connection has no mark
 * left. Return: false: copy them.
 */
bool guard_may_hold(struct guard *guard, struct net_io *io, const struct sl_hot_chunk *chunk);
/* They were, and io->sent includes them.  Right after guard_may_hold() of the same chunk. */
void guard_hold(struct guard *guard, struct net_io *io, struct sl_hot_chunk *chunk);
/* Before @io is closed.  What can still be proved is let go; the rest counts as held as long as the
 * chunk is what it is. */
void guard_leave(struct guard *guard, struct net_io *io);
/* sl_hot_pool_ops.settle with the guard as its argument; at most GUARD_ASKS_MAX questions. */
bool guard_settle(void *guard, struct sl_hot_chunk *chunk);

#endif
