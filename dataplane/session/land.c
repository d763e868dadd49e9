/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames whose records are received into the partition's log.  The buffer keeps the rest of such a
 * frame, head and trailer side by side, and with one call the records arrive in the log and the
 * head of the next frame behind the trailer:
 *
 *	log:                 [ records ]                 [ records ]
 *	rx:   [ size, head ]            [ trailer, size, head ]      [ trailer, ...
 */
#include <assert.h>
#include <errno.h>

#include "session/conn.h"
#include "sluice/base/assert.h"

static_assert(4 + LANDING_HEAD_MAX + CONN_LAND_AHEAD_BYTES <= CONN_LAND_RX_BYTES,
              "a head is looked at in the buffer, with more to come behind it");

bool conn_may_land(const struct conn *c)
{
	return !c->is_landing && !c->is_staged;
}

/* What is left in a large buffer is a head, and may stay one for as long as the client goes on. */
static void shrink(struct sessions *s, struct conn *c)
{
	const size_t have = c->rx_tail - c->rx_head;
	uint8_t *rx;
	size_t cap;

	if (c->rx_cap <= CONN_LAND_RX_BYTES)
		return;
	rx = pool_get(&s->ctx->pool, CONN_LAND_RX_BYTES, &cap);
	if (!rx)
		return;
	/* copy: the head of a frame, without its records */
	memcpy(rx, c->rx + c->rx_head, have);
	pool_put(&s->ctx->pool, c->rx);
	c->rx = rx;
	c->rx_cap = cap;
	c->rx_head = 0;
	c->rx_tail = have;
}

/* The frame is received whole.  @is_head_first: the next one may land all the same. */
static int stage(struct conn *c, bool is_head_first)
{
	c->is_staged = true;
	c->is_head_first = is_head_first;
	return 0;
}

int conn_land(struct sessions *s, struct conn *c, size_t frame_bytes)
{
	const uint8_t *frame = c->rx + c->rx_head + 4;
	const size_t have = c->rx_tail - c->rx_head - 4;
	struct landing_head head;
	size_t got;
	int rc;

	SL_ASSERT(conn_may_land(c) && !c->holder && have < frame_bytes);
	if (frame_bytes < LANDING_BYTES_MIN)
		return stage(c, false);
	switch (landing_parse(frame, have, frame_bytes, &head)) {
	case LANDING_MORE:
		return 0;
	case LANDING_NO:
		return stage(c, false);
	case LANDING_YES:
		break;
	}
	got = have - head.records_pos;
	if (got >= head.records_bytes || !conn_may_start(s, c, frame))
		return stage(c, c->is_head_first);
	rc = landing_begin(s->ctx, &c->landing, &head, &c->io, got);
	if (rc == -EAGAIN) {
		conn_starve(s, c, CTX_LACK_TIER);
		return rc;
	}
	if (rc != 0)
		return stage(c, rc == -EBUSY && c->is_head_first);
	/* copy: the beginning of the records, which arrived with the head */
	memcpy(landing_memory(&c->landing), frame + head.records_pos, got);
	c->landing.got = (uint32_t)got;
	c->rx_tail -= got;
	c->is_landing = true;
	c->is_head_first = frame_bytes >= CONN_HEAD_FIRST_BYTES;
	shrink(s, c);
	return 0;
}

size_t conn_land_room(const struct conn *c, size_t room, size_t frame_left)
{
	if (c->is_landing)
		return SL_MIN(room, frame_left + CONN_LAND_AHEAD_BYTES);
	if (c->is_head_first && conn_may_land(c))
		return SL_MIN(room, CONN_LAND_AHEAD_BYTES);
	return room;
}

ssize_t conn_land_recv(struct conn *c, size_t room, size_t most, size_t *asked)
{
	struct landing *l = &c->landing;
	const size_t left = l->bytes - l->got;
	struct iovec iov[2] = {
		{.iov_base = landing_memory(l) + l->got, .iov_len = SL_MIN(left, most)},
		{.iov_base = c->rx + c->rx_tail, .iov_len = room},
	};
	const bool is_rest = iov[0].iov_len == left;
	ssize_t n = c->io.ops->recvv(&c->io, iov, is_rest ? 2 : 1);
	size_t landed;

	*asked = iov[0].iov_len + (is_rest ? room : 0);
	if (n <= 0)
		return n;
	landed = SL_MIN((size_t)n, iov[0].iov_len);
	l->got += (uint32_t)landed;
	c->rx_tail += (size_t)n - landed;
	return n;
}
