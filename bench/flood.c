/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client side of sink, receive and echo: sends one request over and over, keeps a window of
 * them under way on each connection, and counts the answers.  Edge-triggered, since both directions
 * of a connection are drained whenever it is touched.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "bench.h"
#include "sluice/base/clock.h"

#define ANSWERS_BYTES 16384

struct conn {
	int fd;
	size_t unsent;        /* rest of the request being sent */
	size_t answered;      /* bytes of the answer being received */
	unsigned first, last; /* requests under way: began_ns[first .. last) */
	uint64_t began_ns[BENCH_IN_FLIGHT_MAX];
};

/* Sends until the window or the socket is full.  Return: 0 or -errno. */
static int push(struct bench_side *side, const struct bench_share *share, struct conn *c)
{
	const struct bench_opts *o = side->opts;

	while (c->unsent > 0 || (int)(c->last - c->first) < o->in_flight) {
		ssize_t n;

		if (c->unsent == 0) {
			c->began_ns[c->last++ % BENCH_IN_FLIGHT_MAX] = sl_mono_ns();
			c->unsent = o->request_bytes;
		}
		n = send(c->fd, share->request + o->request_bytes - c->unsent, c->unsent,
		         MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		c->unsent -= (size_t)n;
	}
	return 0;
}

static void take_answers(struct bench_side *side, struct conn *c)
{
	const struct bench_opts *o = side->opts;
	uint64_t now = sl_mono_ns();

	for (; c->answered >= o->answer_bytes && c->first != c->last;
	     c->answered -= o->answer_bytes) {
		uint64_t began = c->began_ns[c->first++ % BENCH_IN_FLIGHT_MAX];

		if (!bench_counts(side, now))
			continue;
		side->requests++;
		side->bytes += o->request_bytes;
		sl_hist_add(&side->latency_ns, now - began);
	}
}

/* Return: 0 or -errno. */
static int pull(struct bench_side *side, struct conn *c)
{
	uint8_t buf[ANSWERS_BYTES];
	ssize_t n;

	do {
		n = recv(c->fd, buf, sizeof(buf), 0);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		if (n == 0)
			return -ECONNRESET;
		c->answered += (size_t)n;
		take_answers(side, c);
	} while (n == sizeof(buf));
	return 0;
}

/* Without answers: one send for each time the socket has room, so that connections take turns. */
static int pour(const struct bench_side *side, const struct bench_share *share, struct conn *c)
{
	ssize_t n = send(c->fd, share->request, side->opts->request_bytes, MSG_NOSIGNAL);

	return n < 0 && errno != EAGAIN && errno != EINTR ? -errno : 0;
}

static int step(struct bench_side *side, void *conn, uint32_t events)
{
	const struct bench_share *share = side->arg;
	struct conn *c = conn;
	int rc = 0;

	if (side->opts->answer_bytes == 0)
		return pour(side, share, c);
	if (events & EPOLLIN)
		rc = pull(side, c);
	return rc == 0 ? push(side, share, c) : rc;
}

static int open_conn(struct bench_side *side, void *conn, int index)
{
	const struct bench_share *share = side->arg;
	struct conn *c = conn;

	c->fd = share->pairs[index].client;
	return c->fd;
}

int bench_flood_run(struct bench_side *side)
{
	const struct bench_share *share = side->arg;

	return bench_poll(side, &(struct bench_polling){
					.count = share->count,
					.conn_bytes = sizeof(struct conn),
					.events = side->opts->answer_bytes > 0
	                                                  ? EPOLLIN | EPOLLOUT | EPOLLET
	                                                  : EPOLLOUT,
					.open = open_conn,
					.step = step,
				});
}
