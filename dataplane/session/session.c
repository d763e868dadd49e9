/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connections of one lane: accept, limits, time-outs, close.  Reading and running of frames is
 * in stream.c.  Everything is allocated at start; owner lane only.
 */
#include "session/session.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "session/conn.h"
#include "sluice/base/assert.h"
#include "sluice/base/log.h"

#define SESSION_POLL_CONNS     64  /* connections served in one poll */
#define SESSION_POLL_REQUESTS  256 /* woken or finished requests taken in one poll */
#define SESSION_POLL_COLD      64  /* of those that wait for the disk, tried in one poll */
#define SESSION_COLD_MS        1
#define SESSION_SWEEP_MS       100  /* how often time-outs are looked at */
#define SESSION_RELIEF_MS      10   /* how long room in the hot tier may go unnoticed */
#define SESSION_EXTRA_REQUESTS 8192 /* beyond one per connection: for pipelined produces */
#define SESSION_REPLY_SHARE    8    /* 1/8 of the pool is not for receiving */

/* A frame's last buffer is taken while the one before it, of half the size, is still held. */
static void size_frames(struct sessions *s)
{
	const struct pool *pool = &s->ctx->pool;
	const uint32_t asked = s->ctx->config->request_bytes_max;
	size_t block = SL_MIN(pool_block_bytes((size_t)asked + 4), (size_t)1 << POOL_ORDER_MAX);

	/* What is received only goes away when replies find room. */
	s->ctx->receive_bytes_max = pool->bytes - pool->bytes / SESSION_REPLY_SHARE;
	while (block + block / 2 > s->ctx->receive_bytes_max)
		block /= 2;
	s->frame_bytes_max = (uint32_t)SL_MIN((size_t)asked, block - 4);
	if (s->frame_bytes_max < asked)
		sl_log(WARN, session,
		       "limit frames lane=%u bytes=%u: socket.request.max.bytes=%u needs a larger "
		       "lane.buffer.bytes",
		       s->ctx->index, s->frame_bytes_max, asked);
}

int sessions_create(struct sessions **out, struct ctx *ctx, int epoll_fd)
{
	struct sessions *s = calloc(1, sizeof(*s));
	uint32_t conns = ctx->config->connections_max;

	if (!s)
		return -ENOMEM;
	s->ctx = ctx;
	s->epoll_fd = epoll_fd;
	s->conns_max = conns;
	s->requests_max = conns + SESSION_EXTRA_REQUESTS;
	size_frames(s);
	s->conns = calloc(conns, sizeof(*s->conns));
	s->requests = calloc(s->requests_max, sizeof(*s->requests));
	if (!s->conns || !s->requests) {
		free(s->conns);
		free(s->requests);
		free(s);
		return -ENOMEM;
	}
	pace_system(s->pacing);
	sl_list_init(&s->ready);
	sl_list_init(&s->idle);
	sl_list_init(&s->frames);
	sl_list_init(&s->cold);
	for (unsigned i = 0; i < CTX_LACK_NR; i++)
		sl_list_init(&s->starved[i]);
	sl_list_init(&s->free_conns);
	sl_list_init(&s->free_requests);
	for (uint32_t i = 0; i < conns; i++) {
		s->conns[i].index = i;
		s->conns[i].io.fd = -1;
		sl_list_push_back(&s->free_conns, &s->conns[i].ready_link);
	}
	for (uint32_t i = 0; i < s->requests_max; i++) {
		sl_list_init(&s->requests[i].done_link);
		s->requests[i].heap_index = UINT32_MAX;
		sl_list_push_back(&s->free_requests, &s->requests[i].link);
	}
	*out = s;
	return 0;
}

void sessions_destroy(struct sessions *s)
{
	if (!s)
		return;
	for (uint32_t i = 0; i < s->conns_max; i++)
		if (s->conns[i].io.fd >= 0)
			conn_close(s, &s->conns[i], SL_STAT_closed_by_peer);
	free(s->conns);
	free(s->requests);
	free(s);
}

/* ---- Accept and close ---- */

static void peer_of(const struct sockaddr *sa, uint8_t peer[16], uint16_t *port)
{
	memset(peer, 0, 16);
	if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;

		memcpy(peer, &in6->sin6_addr, 16);
		*port = ntohs(in6->sin6_port);
	} else {
		const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;

		peer[10] = peer[11] = 0xff;
		memcpy(peer + 12, &in->sin_addr, 4);
		*port = ntohs(in->sin_port);
	}
}

/* Connections of one source.  Only called when a limit is set, and then once per accept. */
static uint32_t conns_from(const struct sessions *s, const uint8_t peer[16])
{
	struct sl_list *pos;
	uint32_t n = 0;

	sl_list_for_each(pos, &s->idle) {
		const struct conn *c = sl_list_entry(pos, struct conn, idle_link);

		n += memcmp(c->peer, peer, 16) == 0;
	}
	return n;
}

static void refuse(struct sessions *s, int fd, enum sl_stat why)
{
	ctx_count(s->ctx, why, 1);
	close(fd);
}

void sessions_accept(struct sessions *s, int fd, const struct sockaddr *sa, uint16_t local_port)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET};
	struct conn *c = sl_list_first(&s->free_conns, struct conn, ready_link);
	uint8_t peer[16];
	uint16_t port;
	int one = 1;

	peer_of(sa, peer, &port);
	if (!c || s->is_draining ||
	    (s->ctx->config->connections_per_ip_max < s->conns_max &&
	     conns_from(s, peer) >= s->ctx->config->connections_per_ip_max)) {
		refuse(s, fd, SL_STAT_connections_refused_limit);
		return;
	}
	/* Small replies must not wait for the client's delayed ACK; larger sends are gathered
	 * already. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	pace_accepted(fd, sa, s->pacing);
	ev.data.u64 = CONN_EPOLL_TAG | c->index;
	if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &ev) != 0) {
		refuse(s, fd, SL_STAT_connections_refused_memory);
		return;
	}
	sl_list_del(&c->ready_link);
	c->io.ops = &transport_sock;
	c->io.fd = fd;
	c->gen++;
	c->next_seq = 0;
	c->is_readable = c->is_writable = true;
	c->is_eof = c->is_hup = false;
	c->holder = NULL;
	c->is_landing = c->is_staged = c->is_head_first = false;
	c->rx_hint = 0;
	c->requests_count = 0;
	c->frame_started_ms = 0;
	c->tx_bytes = 0;
	c->requests_total = 0;
	c->connected_ms = c->active_ms = s->ctx->now_ms;
	c->peer_port = port;
	c->local_port = local_port;
	memcpy(c->peer, peer, sizeof(c->peer));
	sl_list_init(&c->ready_link);
	sl_list_init(&c->frame_link);
	sl_list_init(&c->cold_link);
	sl_list_init(&c->starved_link);
	sl_list_init(&c->requests);
	sl_list_init(&c->tx);
	sl_list_push_back(&s->idle, &c->idle_link);
	ctx_count(s->ctx, SL_STAT_connections_accepted, 1);
	ctx_gauge_add(s->ctx, SL_STAT_connections, 1);
	conn_ready(s, c);
}

void conn_close(struct sessions *s, struct conn *c, enum sl_stat why)
{
	struct sl_list *pos, *tmp;

	SL_ASSERT(c->io.fd >= 0);
	if (why != SL_STAT_NR)
		ctx_count(s->ctx, why, 1);
	sl_list_for_each_safe(pos, tmp, &c->requests)
		conn_free_request(s, sl_list_entry(pos, struct request, link));
	sl_list_for_each_safe(pos, tmp, &c->tx)
		reply_free(s->ctx, sl_list_entry(pos, struct reply, link));
	landing_release(s->ctx, &c->landing);
	pool_put(&s->ctx->pool, c->rx);
	c->rx = NULL;
	c->rx_cap = c->rx_head = c->rx_tail = 0;
	c->holder = NULL;
	guard_leave(s->ctx->guard, &c->io);
	c->io.ops->close(&c->io); /* leaves the epoll set with its last descriptor */
	sl_list_del(&c->idle_link);
	sl_list_del(&c->frame_link);
	sl_list_del(&c->cold_link);
	sl_list_del(&c->ready_link);
	sl_list_del(&c->starved_link);
	sl_list_push_back(&s->free_conns, &c->ready_link);
	ctx_gauge_add(s->ctx, SL_STAT_connections, -1);
}

void conn_ready(struct sessions *s, struct conn *c)
{
	if (sl_list_is_empty(&c->ready_link))
		sl_list_push_back(&s->ready, &c->ready_link);
}

void conn_cold(struct sessions *s, struct conn *c)
{
	sl_list_del(&c->cold_link);
	c->cold_ms = s->ctx->now_ms + SESSION_COLD_MS;
	sl_list_push_back(&s->cold, &c->cold_link);
}

void conn_starve(struct sessions *s, struct conn *c, enum ctx_lack lack)
{
	sl_list_del(&c->starved_link);
	sl_list_push_back(&s->starved[lack], &c->starved_link);
}

void sessions_event(struct sessions *s, uint32_t index, uint32_t events)
{
	struct conn *c;

	SL_ASSERT(index < s->conns_max);
	c = &s->conns[index];
	if (c->io.fd < 0)
		return; /* closed earlier in this batch of events */
	if (events & (EPOLLHUP | EPOLLERR)) {
		/* Both directions are gone: nobody waits for what is parked here. */
		conn_close(s, c, SL_STAT_closed_by_peer);
		return;
	}
	if (events & EPOLLRDHUP)
		c->is_hup = true;
	if (events & (EPOLLIN | EPOLLRDHUP))
		c->is_readable = true;
	if (events & EPOLLOUT)
		c->is_writable = true;
	conn_ready(s, c);
}

/* ---- Poll ---- */

/* Both lists are ordered by time, so that only their heads need a look. */
static unsigned sweep(struct sessions *s)
{
	const struct ctx_config *config = s->ctx->config;
	unsigned done = 0;
	struct conn *c;

	if (s->ctx->now_ms < s->sweep_ms)
		return 0;
	s->sweep_ms = s->ctx->now_ms + SESSION_SWEEP_MS;
	while ((c = sl_list_first(&s->frames, struct conn, frame_link)) &&
	       s->ctx->now_ms - c->frame_started_ms >= config->frame_ms &&
	       done < SESSION_POLL_CONNS) {
		conn_close(s, c, SL_STAT_closed_slow_frame);
		done++;
	}
	while ((c = sl_list_first(&s->idle, struct conn, idle_link)) &&
	       s->ctx->now_ms - c->active_ms >= config->idle_ms && done < SESSION_POLL_CONNS) {
		if (c->requests_count > 0 && !c->is_hup) {
			/* It waits for us, not we for it.  One that has shut down its side most
			 * likely is gone, and its request may wait for days. */
			conn_active(s, c);
			continue;
		}
		conn_close(s, c, SL_STAT_closed_idle);
		done++;
	}
	return done;
}

static bool is_starved(const struct sessions *s, enum ctx_lack lack)
{
	return !sl_list_is_empty(&s->starved[lack]) || !sl_list_is_empty(&s->ctx->starved[lack]);
}

/* All of them in their order: who still gets nothing queues again. */
static void let_go(struct sessions *s, enum ctx_lack lack)
{
	struct request *req;
	struct conn *c;

	while ((req = sl_list_first(&s->ctx->starved[lack], struct request, done_link))) {
		sl_list_del(&req->done_link);
		request_wake(s->ctx, req);
	}
	while ((c = sl_list_first(&s->starved[lack], struct conn, starved_link))) {
		sl_list_del(&c->starved_link);
		conn_ready(s, c);
	}
}

static void relieve(struct sessions *s)
{
	/* Room in the tier may also come from readers that let go of chunks, which nobody reports.
	 */
	const bool is_due = s->ctx->now_ms >= s->relief_ms;

	for (unsigned i = 0; i < CTX_LACK_NR; i++) {
		const uint64_t now = ctx_relief(s->ctx, (enum ctx_lack)i);

		if (now != s->relief[i] || (i == CTX_LACK_TIER && is_due))
			let_go(s, (enum ctx_lack)i);
		s->relief[i] = now;
	}
	if (is_due)
		s->relief_ms = s->ctx->now_ms + SESSION_RELIEF_MS;
}

static unsigned take_requests(struct sessions *s)
{
	struct ctx *ctx = s->ctx;
	unsigned done = 0;
	struct sl_list batch;
	struct request *req;

	while (done < SESSION_POLL_REQUESTS && (req = request_deadline_pop(ctx))) {
		req->is_final = true;
		request_wake(ctx, req);
		done++;
	}
	/* Take what is there now: a request that has to wait again gets its next try in the next
	 * poll. */
	sl_list_init(&batch);
	for (unsigned n = 0; n < SESSION_POLL_REQUESTS && !sl_list_is_empty(&ctx->runnable); n++) {
		struct sl_list *l = ctx->runnable.next;

		sl_list_del(l);
		sl_list_push_back(&batch, l);
	}
	while ((req = sl_list_first(&batch, struct request, done_link))) {
		sl_list_del(&req->done_link);
		conn_run(s, &s->conns[req->conn_index], req);
		done++;
	}
	while (done < 2 * SESSION_POLL_REQUESTS &&
	       (req = sl_list_first(&ctx->done, struct request, done_link))) {
		sl_list_del(&req->done_link);
		conn_finished(s, &s->conns[req->conn_index], req);
		done++;
	}
	return done;
}

/* Those whose millisecond is over go on; the list is in its order. */
static unsigned take_cold(struct sessions *s)
{
	unsigned done = 0;
	struct conn *c;

	while (done < SESSION_POLL_COLD && (c = sl_list_first(&s->cold, struct conn, cold_link)) &&
	       c->cold_ms <= s->ctx->now_ms) {
		sl_list_del(&c->cold_link);
		conn_ready(s, c);
		done++;
	}
	return done;
}

unsigned sessions_poll(struct sessions *s)
{
	struct sl_list batch;
	unsigned done;

	relieve(s);
	done = take_requests(s) + sweep(s) + take_cold(s);
	/* Take what is ready now; a connection that is still ready afterwards gets its next turn in
	 * the next poll, so that one greedy client cannot hold the lane. */
	sl_list_init(&batch);
	for (unsigned n = 0; n < SESSION_POLL_CONNS && !sl_list_is_empty(&s->ready); n++) {
		struct sl_list *l = s->ready.next;

		sl_list_del(l);
		sl_list_push_back(&batch, l);
	}
	while (!sl_list_is_empty(&batch)) {
		struct conn *c = sl_list_entry(batch.next, struct conn, ready_link);

		sl_list_del(&c->ready_link);
		conn_serve(s, c);
		done++;
	}
	return done;
}

int64_t sessions_next_ms(const struct sessions *s)
{
	int64_t next = request_deadline_first(s->ctx);
	const struct conn *c;

	if (!sl_list_is_empty(&s->ready) || !sl_list_is_empty(&s->ctx->runnable) ||
	    !sl_list_is_empty(&s->ctx->done))
		return s->ctx->now_ms;
	c = sl_list_first(&s->cold, struct conn, cold_link);
	if (c)
		next = SL_MIN(next, c->cold_ms);
	for (unsigned i = 0; i < CTX_LACK_NR; i++)
		if (is_starved(s, (enum ctx_lack)i) &&
		    s->relief[i] != ctx_relief(s->ctx, (enum ctx_lack)i))
			return s->ctx->now_ms;
	if (is_starved(s, CTX_LACK_TIER))
		next = SL_MIN(next, s->relief_ms);
	c = sl_list_first(&s->frames, struct conn, frame_link);
	if (c)
		next = SL_MIN(next,
		              SL_MAX(c->frame_started_ms + s->ctx->config->frame_ms, s->sweep_ms));
	c = sl_list_first(&s->idle, struct conn, idle_link);
	if (c)
		next = SL_MIN(next, SL_MAX(c->active_ms + s->ctx->config->idle_ms, s->sweep_ms));
	return next;
}

void sessions_drain(struct sessions *s)
{
	s->is_draining = true;
	for (uint32_t i = 0; i < s->conns_max; i++)
		if (s->conns[i].io.fd >= 0)
			conn_ready(s, &s->conns[i]);
}

bool sessions_drained(const struct sessions *s)
{
	const uint64_t parked = atomic_load_explicit(&s->ctx->stats->v[SL_STAT_produces_parked],
	                                             memory_order_relaxed);

	if (parked > 0 || !sl_list_is_empty(&s->ready))
		return false;
	for (uint32_t i = 0; i < s->conns_max; i++)
		if (s->conns[i].io.fd >= 0 && !sl_list_is_empty(&s->conns[i].tx))
			return false;
	return true;
}

void sessions_print(const struct sessions *s, struct sl_buf *out)
{
	bool is_first = true;

	for (uint32_t i = 0; i < s->conns_max; i++) {
		const struct conn *c = &s->conns[i];
		char text[INET6_ADDRSTRLEN];
		static const uint8_t v4[12] = {[10] = 0xff, [11] = 0xff};

		if (c->io.fd < 0)
			continue;
		if (memcmp(c->peer, v4, sizeof(v4)) == 0)
			inet_ntop(AF_INET, c->peer + 12, text, sizeof(text));
		else
			inet_ntop(AF_INET6, c->peer, text, sizeof(text));
		sl_buf_printf(
			out,
			"%s{\"lane\":%u,\"id\":%u,\"peer\":\"%s\",\"peer_port\":%u,\"local_port\":%u,"
			"\"age_ms\":%lld,\"idle_ms\":%lld,\"requests\":%llu,\"in_flight\":%u,"
			"\"transport\":\"%s\"}",
			is_first ? "" : ",", s->ctx->index, c->index, text, c->peer_port,
			c->local_port, (long long)(s->ctx->now_ms - c->connected_ms),
			(long long)(s->ctx->now_ms - c->active_ms),
			(unsigned long long)c->requests_total, c->requests_count, c->io.ops->name);
		is_first = false;
	}
}
