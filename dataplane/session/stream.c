/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection's stream: receive, cut into frames, run requests, send replies in order.
 *
 * Order rule (reference §1.2): a request starts when the one before it is answered.  Produces are
 * the exception, as idempotent clients rely on several in flight: a produce may start while earlier
 * produces wait for their group commit, because appending already fixed their order.
 */
#include <errno.h>

#include "session/conn.h"
#include "sluice/base/assert.h"

#define STREAM_RX_MIN        ((size_t)16 << 10)
#define STREAM_RX_STEP       ((size_t)1 << 20) /* a larger frame's buffer grows as its bytes arrive */
#define STREAM_REQUESTS_MAX  64                /* in flight on one connection */
#define STREAM_TX_BYTES_MAX  ((size_t)8 << 20) /* unsent replies above which nothing more is run */
#define STREAM_TURN_REQUESTS 32                /* run in one turn */
#define STREAM_TURN_RECV     ((size_t)2 << 20) /* bytes received in one turn */
#define STREAM_TURN_SEND     ((size_t)256 << 10) /* bytes sent in one turn: decision 24 */
#define STREAM_FRAME_MIN     10 /* key, version, correlation id, client id length */

void conn_active(struct sessions *s, struct conn *c)
{
	c->active_ms = s->ctx->now_ms;
	sl_list_del(&c->idle_link);
	sl_list_push_back(&s->idle, &c->idle_link);
}

void conn_free_request(struct sessions *s, struct request *req)
{
	request_release(s->ctx, req);
	if (sl_list_is_empty(&s->free_requests))
		ctx_relieve(s->ctx, CTX_LACK_BUFFERS);
	sl_list_push_back(&s->free_requests, &req->link);
}

/* Closes for the sake of a request: what is answered before it still goes out, as far as the socket
 * takes it, since the client cannot tell which of its requests was the last that was served. */
static void close_request(struct sessions *s, struct conn *c)
{
	if (c->is_writable && !sl_list_is_empty(&c->tx))
		(void)SL_COUNT_IF(reply_send(s->ctx, &c->io, &c->tx, STREAM_TURN_SEND) < 0);
	conn_close(s, c, SL_STAT_NR);
}

/* Moves finished requests' replies to the send queue, in order.  Return: false: it was closed. */
static bool flush_done(struct sessions *s, struct conn *c)
{
	while (!sl_list_is_empty(&c->requests)) {
		struct request *req = sl_list_entry(c->requests.next, struct request, link);
		struct reply *reply = req->reply;

		if (req->state != REQUEST_DONE)
			break;
		if (req->is_close) {
			close_request(s, c);
			return false;
		}
		req->reply = NULL;
		if (reply) {
			sl_list_push_back(&c->tx, &reply->link);
			c->tx_bytes += reply->len;
		}
		c->requests_count--;
		conn_free_request(s, req);
	}
	return true;
}

/* Return: false: it was closed. */
static bool send_queue(struct sessions *s, struct conn *c)
{
	int rc;

	if (sl_list_is_empty(&c->tx) || !c->is_writable || !sl_list_is_empty(&c->cold_link))
		return true;
	rc = reply_send(s->ctx, &c->io, &c->tx, STREAM_TURN_SEND);
	if (rc == -EAGAIN)
		c->is_writable = false;
	else if (rc == -EINPROGRESS)
		conn_ready(s, c);
	else if (rc == -EBUSY)
		conn_cold(s, c);
	else if (rc < 0) {
		conn_close(s, c,
		           rc == -EPIPE || rc == -ECONNRESET ? SL_STAT_closed_by_peer
		                                             : SL_STAT_closed_error);
		return false;
	} else {
		c->tx_bytes = 0;
	}
	conn_active(s, c);
	return true;
}

/* ---- Receive ---- */

static void drop_rx(struct sessions *s, struct conn *c)
{
	pool_put(&s->ctx->pool, c->rx);
	c->rx = NULL;
	c->rx_cap = c->rx_head = c->rx_tail = 0;
}

/* A buffer of at least @bytes with the unread bytes at its start.  Return: false: the pool is full.
 */
static bool regrow(struct sessions *s, struct conn *c, size_t bytes)
{
	size_t have = c->rx_tail - c->rx_head;
	size_t cap;
	uint8_t *rx;

	SL_ASSERT(!c->holder && bytes >= have);
	rx = s->ctx->pool.used + pool_block_bytes(bytes) <= s->ctx->receive_bytes_max
	             ? pool_get(&s->ctx->pool, bytes, &cap)
	             : NULL;
	if (!rx) {
		ctx_count(s->ctx, SL_STAT_buffer_exhausted, 1);
		return false;
	}
	/* copy: the beginning of a frame whose buffer was too small for it */
	if (have > 0)
		memcpy(rx, c->rx + c->rx_head, have);
	drop_rx(s, c);
	c->rx = rx;
	c->rx_cap = cap;
	c->rx_tail = have;
	return true;
}

/* Bytes of the buffer that the frame at the head takes, with its size and without records that
 * land; 0 its size has not arrived; -EMSGSIZE refused. */
static ssize_t frame_need(const struct sessions *s, const struct conn *c)
{
	int32_t size;

	if (c->rx_tail - c->rx_head < 4)
		return 0;
	size = (int32_t)sl_load_be32(c->rx + c->rx_head);
	if (size < STREAM_FRAME_MIN || (uint32_t)size > s->frame_bytes_max)
		return -EMSGSIZE;
	return (ssize_t)size + 4 - (c->is_landing ? (ssize_t)c->landing.bytes : 0);
}

static bool is_complete(const struct conn *c, size_t need)
{
	return c->rx_tail - c->rx_head >= need &&
	       (!c->is_landing || c->landing.got == c->landing.bytes);
}

static int regrow_or_starve(struct sessions *s, struct conn *c, size_t want)
{
	if (regrow(s, c, want))
		return 0;
	conn_starve(s, c, CTX_LACK_BUFFERS);
	return -EAGAIN;
}

/* Makes room behind rx_tail.  Return: 0; -EAGAIN starved; -EMSGSIZE close. */
static int make_room(struct sessions *s, struct conn *c)
{
	size_t want = SL_MAX(STREAM_RX_MIN, SL_MIN(c->rx_hint, STREAM_RX_STEP));
	size_t have;
	ssize_t need;
	int rc;

	if (!c->rx)
		return regrow_or_starve(s, c, c->is_head_first ? CONN_LAND_RX_BYTES : want);
	need = frame_need(s, c);
	if (need < 0)
		return (int)need;
	if (need > 0 && conn_may_land(c)) {
		rc = conn_land(s, c, (size_t)need - 4);
		if (rc < 0)
			return rc;
		need = frame_need(s, c);
	}
	have = c->rx_tail - c->rx_head;
	if (conn_may_land(c)) {
		/* Its head is all that is needed so far. */
		need = SL_MIN(need, (ssize_t)(have + CONN_LAND_AHEAD_BYTES));
	} else if (c->is_landing) {
		need += CONN_LAND_AHEAD_BYTES;
	} else if ((size_t)need > c->rx_cap) {
		/* Length fields size no memory on their own: past the first step a buffer at most
		 * doubles what has really arrived. */
		want = SL_MIN((size_t)need, SL_MAX(STREAM_RX_STEP, 2 * have));
		if (want > c->rx_cap)
			return regrow_or_starve(s, c, want);
	}
	if (c->rx_head > 0 && (c->rx_tail == c->rx_cap || c->rx_head + (size_t)need > c->rx_cap)) {
		/* copy: a frame's beginning, so that the frame is contiguous */
		memmove(c->rx, c->rx + c->rx_head, have);
		c->rx_head = 0;
		c->rx_tail = have;
	}
	SL_ASSERT(c->rx_tail < c->rx_cap);
	return 0;
}

/* A complete frame waits for its turn. */
static bool has_frame(const struct sessions *s, const struct conn *c)
{
	ssize_t need = c->rx ? frame_need(s, c) : 0;

	return need > 0 && is_complete(c, (size_t)need);
}

/* Receives what make_room() has made room for.  Return: bytes, 0 the end of the stream, or -errno.
 */
static ssize_t receive_some(struct sessions *s, struct conn *c, size_t *asked)
{
	const ssize_t need = frame_need(s, c);
	const size_t have = c->rx_tail - c->rx_head;
	size_t left = need > 0 && (size_t)need > have ? (size_t)need - have : 0;
	ssize_t n;

	*asked = conn_land_room(c, c->rx_cap - c->rx_tail, left);
	ctx_count(s->ctx, SL_STAT_recv_calls, 1);
	if (c->is_landing && c->landing.got < c->landing.bytes)
		return conn_land_recv(c, *asked, STREAM_TURN_RECV, asked);
	n = c->io.ops->recv(&c->io, c->rx + c->rx_tail, *asked);
	if (n > 0)
		c->rx_tail += (size_t)n;
	return n;
}

/* Receives until a turn's share is used or nothing is left.  Return: 0 or a reason to close. */
static int receive(struct sessions *s, struct conn *c)
{
	size_t got = 0;

	/* Run what is complete before reading on. */
	while (c->is_readable && got < STREAM_TURN_RECV && !has_frame(s, c)) {
		int rc = make_room(s, c);
		size_t asked;
		ssize_t n;

		if (rc == -EAGAIN)
			break;
		if (rc < 0)
			return rc;
		n = receive_some(s, c, &asked);
		if (n == -EAGAIN) {
			c->is_readable = false;
			break;
		}
		if (n < 0)
			return (int)n;
		if (n == 0) {
			c->is_eof = true;
			c->is_readable = false;
			break;
		}
		got += (size_t)n;
		/* Less than asked for means empty: what comes later is a new edge (epoll(7)), but
		 * the end of the stream may have been part of this one. */
		if ((size_t)n < asked && !c->is_hup)
			c->is_readable = false;
	}
	if (got > 0) {
		ctx_count(s->ctx, SL_STAT_bytes_received, got);
		conn_active(s, c);
	}
	return 0;
}

/* ---- Run ---- */

/* Acts on a handler's answer.  Return: false: the connection was closed. */
static bool take_result(struct sessions *s, struct conn *c, struct request *req,
                        enum request_result result)
{
	switch (result) {
	case REQUEST_REPLY:
	case REQUEST_NO_REPLY:
		if (c->holder == req)
			c->holder = NULL;
		req->frame = NULL;
		request_done(s->ctx, req);
		sl_list_del(&req->done_link);
		break;
	case REQUEST_PARK:
		c->holder = req->state == REQUEST_PARKED_PRODUCE ? NULL : req;
		break;
	case REQUEST_WAIT:
	case REQUEST_WAIT_TIER:
		/* A produce that has appended no longer needs its frame. */
		if (req->state != REQUEST_PARKED_PRODUCE)
			c->holder = req;
		request_starve(s->ctx, req,
		               result == REQUEST_WAIT ? CTX_LACK_BUFFERS : CTX_LACK_TIER);
		break;
	case REQUEST_AGAIN:
		c->holder = req;
		request_wake(s->ctx, req);
		break;
	case REQUEST_CLOSE:
		close_request(s, c);
		return false;
	}
	return true;
}

/* Frees the consumed part of the buffer when no frame in it is held. */
static void settle_rx(struct sessions *s, struct conn *c)
{
	if (c->rx && !c->holder && c->rx_head == c->rx_tail)
		drop_rx(s, c);
}

bool conn_may_start(const struct sessions *s, const struct conn *c, const uint8_t *frame)
{
	const bool is_produce = sl_load_be16(frame) == SL_API_PRODUCE;
	const struct request *last;

	if (c->holder || c->tx_bytes > STREAM_TX_BYTES_MAX || s->is_draining)
		return false;
	if (c->requests_count == 0)
		return true;
	last = sl_list_entry(c->requests.prev, struct request, link);
	return is_produce && last->api->key == SL_API_PRODUCE &&
	       c->requests_count < STREAM_REQUESTS_MAX;
}

/* Starts the complete frame at the head of the buffer.  Return: 1 started; 0 not now; -1 closed. */
static int start_frame(struct sessions *s, struct conn *c, size_t frame_bytes)
{
	struct request *req = sl_list_first(&s->free_requests, struct request, link);

	if (!conn_may_start(s, c, c->rx + c->rx_head + 4))
		return 0;
	if (!req) {
		conn_starve(s, c, CTX_LACK_BUFFERS);
		return 0;
	}
	sl_list_del(&req->link);
	req->api = NULL;
	req->state = REQUEST_RUNNING;
	req->frame = c->rx + c->rx_head + 4;
	req->frame_bytes = (uint32_t)frame_bytes;
	req->landing = c->is_landing ? &c->landing : NULL;
	req->conn_index = c->index;
	req->conn_gen = c->gen;
	req->seq = c->next_seq++;
	memcpy(req->peer, c->peer, sizeof(req->peer));
	req->peer_port = c->peer_port;
	req->local_port = c->local_port;
	req->is_close = req->is_final = false;
	req->wait = NULL;
	req->verify = NULL;
	req->waits_left = 0;
	sl_list_push_back(&c->requests, &req->link);
	c->requests_count++;
	c->requests_total++;
	c->rx_head += frame_bytes + 4;
	c->rx_hint = frame_bytes + 4 + c->landing.bytes;
	c->is_head_first = c->is_head_first && c->rx_hint >= CONN_HEAD_FIRST_BYTES;
	c->is_landing = c->is_staged = false;
	return take_result(s, c, req, request_run(s->ctx, req)) ? 1 : -1;
}

/* Keeps sessions.frames: those with an incomplete frame, by when its first byte came. */
static void time_frame(struct sessions *s, struct conn *c, bool is_partial)
{
	if (!is_partial) {
		c->frame_started_ms = 0;
		sl_list_del(&c->frame_link);
	} else if (c->frame_started_ms == 0) {
		c->frame_started_ms = s->ctx->now_ms;
		sl_list_push_back(&s->frames, &c->frame_link);
	}
}

/* Runs complete frames.  Return: false: closed. */
static bool run_frames(struct sessions *s, struct conn *c)
{
	for (unsigned n = 0; n < STREAM_TURN_REQUESTS; n++) {
		ssize_t need = frame_need(s, c);
		size_t have = c->rx_tail - c->rx_head;
		int rc;

		if (need < 0) {
			conn_close(s, c, SL_STAT_closed_frame_size);
			return false;
		}
		if (need == 0 || !is_complete(c, (size_t)need)) {
			time_frame(s, c, have > 0 && !c->holder);
			settle_rx(s, c);
			return true;
		}
		time_frame(s, c, false);
		rc = start_frame(s, c, (size_t)need - 4);
		if (rc < 0 || (rc > 0 && !flush_done(s, c)))
			return false;
		if (rc == 0)
			return true;
	}
	conn_ready(s, c);
	return true;
}

static bool can_read(const struct sessions *s, const struct conn *c)
{
	return c->is_readable && !c->holder && !s->is_draining &&
	       c->tx_bytes <= STREAM_TX_BYTES_MAX && c->requests_count < STREAM_REQUESTS_MAX &&
	       !has_frame(s, c);
}

static bool can_run(const struct sessions *s, const struct conn *c)
{
	return has_frame(s, c) && conn_may_start(s, c, c->rx + c->rx_head + 4);
}

void conn_serve(struct sessions *s, struct conn *c)
{
	int rc = 0;

	/* An event came first: whatever it was, a new try does no harm. */
	sl_list_del(&c->starved_link);
	if (!flush_done(s, c) || !send_queue(s, c))
		return;
	if (can_read(s, c))
		rc = receive(s, c);
	if (rc < 0) {
		conn_close(s, c,
		           rc == -EMSGSIZE                     ? SL_STAT_closed_frame_size
		           : rc == -ECONNRESET || rc == -EPIPE ? SL_STAT_closed_by_peer
		                                               : SL_STAT_closed_error);
		return;
	}
	if (!c->holder && c->rx && !run_frames(s, c))
		return;
	if (!send_queue(s, c))
		return;
	/* A client may half-close after its last request: what it asked for is still answered. */
	if (c->is_eof && c->requests_count == 0 && sl_list_is_empty(&c->tx)) {
		conn_close(s, c, SL_STAT_closed_by_peer);
		return;
	}
	/* The queue that kept a frame from being run may be gone by now, and no event tells. */
	if (!sl_list_is_empty(&c->starved_link))
		return;
	if ((can_read(s, c) && !c->is_eof) || can_run(s, c))
		conn_ready(s, c);
}

void conn_run(struct sessions *s, struct conn *c, struct request *req)
{
	SL_ASSERT(c->io.fd >= 0 && c->gen == req->conn_gen);
	if (take_result(s, c, req, request_run(s->ctx, req)))
		conn_ready(s, c);
}

void conn_finished(struct sessions *s, struct conn *c, struct request *req)
{
	SL_ASSERT(c->io.fd >= 0 && c->gen == req->conn_gen && req->state == REQUEST_DONE);
	if (c->holder == req)
		c->holder = NULL;
	conn_ready(s, c);
}
