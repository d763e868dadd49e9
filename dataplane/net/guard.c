/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recycle guard.  Two counts that only rise decide: io->sent, what the socket was given, and how
 * much of that its peer is done with.  The second is asked for as seldom as possible: when a
 * connection runs out of marks, when it closes, and when the pool wants a chunk.
 */
#include "net/guard.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "ctx.h"
#include "net/transport.h"
#include "sluice/base/assert.h"
#include "sluice/store/hot.h"

#define GUARD_WALK_MAX    256   /* connections looked at for one chunk */
#define GUARD_ASKS_MAX    32    /* of them asked: some 120 us if all are local */
#define GUARD_REMOTE_FREE 2     /* marks at which a socket is asked: one cheap call */
#define GUARD_LOCAL_FREE  8     /* marks at which a local peer's socket is asked */
#define GUARD_PEER_MS     10000 /* after which a peer's route is looked at again */

struct guard {
	struct ctx *ctx;
	struct peer_oracle oracle;
	struct sl_list holders; /* struct guard_sock.link; who was sent to last is last */
};

int guard_create(struct guard **out, struct ctx *ctx)
{
	struct guard *g = calloc(1, sizeof(*g));
	int rc;

	if (!g)
		return -ENOMEM;
	rc = peer_open(&g->oracle);
	if (rc != 0) {
		free(g);
		return rc;
	}
	g->ctx = ctx;
	sl_list_init(&g->holders);
	*out = g;
	return 0;
}

void guard_destroy(struct guard *g)
{
	if (!g)
		return;
	SL_ASSERT(sl_list_is_empty(&g->holders));
	peer_close(&g->oracle);
	free(g);
}

/* ---- Who the peer is ---- */

static enum peer_class classify(struct guard *g, const struct net_io *io, struct peer_id *id)
{
	struct sockaddr_storage local = {0}, peer = {0};
	socklen_t local_len = sizeof(local), peer_len = sizeof(peer);
	enum peer_class class;

	if (getsockname(io->fd, (struct sockaddr *)&local, &local_len) != 0 ||
	    getpeername(io->fd, (struct sockaddr *)&peer, &peer_len) != 0)
		return PEER_HIDDEN;
	class = peer_classify(&g->oracle, &local, &peer);
	if (class != PEER_LOCAL)
		return class;
	/* It must be found once while it is there: only then does its absence mean that it is
	 * closed, and not that its addresses are translated on the way. */
	ctx_count(g->ctx, SL_STAT_guard_questions, 1);
	return peer_find(&g->oracle, id, &local, &peer) == 0 ? PEER_LOCAL : PEER_HIDDEN;
}

/* Routes change, rarely while a connection lives.  Once something else came out nothing is believed
 * any more: bytes of both times may be under way. */
static void look_at_peer(struct guard *g, struct net_io *io)
{
	struct guard_sock *s = &io->guard;
	struct peer_id id = {0};
	enum peer_class class;

	if (s->peer == PEER_HIDDEN ||
	    (s->peer != PEER_UNKNOWN && g->ctx->now_ms - s->classified_ms < GUARD_PEER_MS))
		return;
	class = classify(g, io, &id);
	s->classified_ms = g->ctx->now_ms;
	if (s->peer != PEER_UNKNOWN && (class != s->peer || memcmp(&id, &s->id, sizeof(id)) != 0))
		class = PEER_HIDDEN;
	s->peer = class;
	s->id = id;
}

/* ---- What it is done with ---- */

/* Bytes of the stream below which nothing refers to our pages. */
static uint64_t done_with(struct guard *g, const struct net_io *io)
{
	uint64_t acked;
	uint32_t unread;
	int out = 0;
	int rc;

	if (io->guard.peer == PEER_HIDDEN || ioctl(io->fd, SIOCOUTQ, &out) != 0 || out < 0 ||
	    (uint64_t)out > io->sent)
		return 0;
	acked = io->sent - (uint64_t)out;
	if (io->guard.peer == PEER_REMOTE)
		return acked;
	/* In this order: what arrives at the peer in between makes the result smaller, never
	 * larger. The other way round it could count as read what had not arrived when the peer was
	 * asked.
	 */
	ctx_count(g->ctx, SL_STAT_guard_questions, 1);
	rc = peer_unread(&g->oracle, &io->guard.id, &unread);
	if (rc == -ENOENT)
		return UINT64_MAX; /* close(2) has emptied its queue, and ours is of no use */
	return rc == 0 && unread < acked ? acked - unread : 0;
}

static void drop_mark(struct guard_sock *s, uint32_t at)
{
	struct guard_mark *m = &s->marks[at];

	if (m->chunk->gen == m->gen) {
		SL_ASSERT(m->chunk->holds > 0);
		m->chunk->holds--;
	}
	*m = s->marks[--s->marks_count];
	if (s->marks_count == 0)
		sl_list_del(&s->link);
}

static void drop_void(struct guard_sock *s)
{
	for (uint32_t i = s->marks_count; i-- > 0;)
		if (s->marks[i].chunk->gen != s->marks[i].gen)
			drop_mark(s, i);
}

/* Asks the socket, once in a loop iteration.  Return: whether it was asked. */
static bool retire(struct guard *g, struct net_io *io)
{
	struct guard_sock *s = &io->guard;
	uint64_t done;

	drop_void(s);
	if (s->marks_count == 0 || s->asked_ns == g->ctx->now_ns + 1)
		return false;
	s->asked_ns = g->ctx->now_ns + 1;
	done = done_with(g, io);
	for (uint32_t i = s->marks_count; i-- > 0;)
		if (s->marks[i].end <= done)
			drop_mark(s, i);
	return true;
}

/* ---- Marks ---- */

static struct guard_mark *find(struct guard_sock *s, const struct sl_hot_chunk *chunk)
{
	for (uint32_t i = 0; i < s->marks_count; i++)
		if (s->marks[i].chunk == chunk && s->marks[i].gen == chunk->gen)
			return &s->marks[i];
	return NULL;
}

bool guard_may_hold(struct guard *g, struct net_io *io, const struct sl_hot_chunk *chunk)
{
	struct guard_sock *s = &io->guard;

	if (!g)
		return false;
	look_at_peer(g, io);
	if (s->peer != PEER_REMOTE && s->peer != PEER_LOCAL)
		return false;
	if (find(s, chunk))
		return true;
	if (s->marks_count >= (s->peer == PEER_REMOTE ? GUARD_REMOTE_FREE : GUARD_LOCAL_FREE))
		(void)retire(g, io);
	return s->marks_count < GUARD_MARKS;
}

void guard_hold(struct guard *g, struct net_io *io, struct sl_hot_chunk *chunk)
{
	struct guard_sock *s = &io->guard;
	struct guard_mark *m = find(s, chunk);

	if (s->marks_count > 0)
		sl_list_del(&s->link);
	sl_list_push_back(&g->holders, &s->link);
	if (!m) {
		SL_ASSERT(s->marks_count < GUARD_MARKS);
		m = &s->marks[s->marks_count++];
		*m = (struct guard_mark){.chunk = chunk, .gen = chunk->gen};
		chunk->holds++;
		SL_ASSERT(chunk->holds > 0);
	}
	SL_ASSERT(m->end <= io->sent);
	m->end = io->sent;
}

/* A reset, or a peer that was silent for too long, has emptied the socket's queue. */
static bool is_dead(const struct net_io *io)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	return getsockopt(io->fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
	       info.tcpi_state == TCP_CLOSE;
}

static void drop_all(struct guard_sock *s)
{
	while (s->marks_count > 0)
		drop_mark(s, s->marks_count - 1);
}

void guard_leave(struct guard *g, struct net_io *io)
{
	struct guard_sock *s = &io->guard;

	if (s->marks_count > 0) {
		s->asked_ns = 0;
		(void)retire(g, io);
	}
	if (s->marks_count > 0 && s->peer == PEER_REMOTE && is_dead(io))
		drop_all(s);
	/* The kernel goes on sending for a closed socket, and nobody can ask for it any more: the
	 * chunk's count stays up until its pages are exchanged. */
	if (s->marks_count > 0) {
		ctx_count(g->ctx, SL_STAT_guard_orphaned, s->marks_count);
		sl_list_del(&s->link);
	}
	*s = (struct guard_sock){0};
	io->sent = 0;
}

bool guard_settle(void *arg, struct sl_hot_chunk *chunk)
{
	struct guard *g = arg;
	struct sl_list *pos, *tmp;
	unsigned walked = 0, asked = 0;

	ctx_count(g->ctx, SL_STAT_guard_held, 1);
	sl_list_for_each_safe(pos, tmp, &g->holders) {
		struct guard_sock *s = sl_list_entry(pos, struct guard_sock, link);

		if (chunk->holds == 0 || walked++ == GUARD_WALK_MAX || asked == GUARD_ASKS_MAX)
			break;
		drop_void(s);
		if (find(s, chunk))
			asked += retire(g, SL_CONTAINER_OF(s, struct net_io, guard));
	}
	if (chunk->holds > 0)
		ctx_count(g->ctx, SL_STAT_guard_unsettled, 1);
	return chunk->holds == 0;
}
