/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a message costs on its way there and back without a broker: an open loop, so latency counts
 * from when the request was due, to a server that polls a while before it sleeps, as a lane does.
 * The client's own late wake-ups are part of it, because they are part of every e2e figure too.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "sluice/base/clock.h"

#define EVENTS_MAX  16
#define ANSWER_MAX  256
#define REQUEST_MAX 4096 /* always fits into the socket as a whole */
#define WAIT_MS     100
#define RETRY_NS    100000 /* when the socket is full, after a stall */
/* Requests under way when the machine stalls; beyond, the client waits for the server. */
#define BACKLOG     65536
#define DRAIN_NS    UINT64_C(1000000000) /* for the last answers */

struct client {
	int fd;
	uint64_t *due_ns; /* ring of BACKLOG */
	uint64_t sent, answered;
	size_t unsent; /* rest of the request being sent */
	size_t part;   /* of the answer being received */
	uint8_t *request;
};

static int server_run(struct bench_side *side)
{
	static const uint8_t answer[ANSWER_MAX];
	const struct bench_opts *o = side->opts;
	const struct bench_pair *pair = side->arg;
	const uint64_t spin_ns = (uint64_t)o->spin_us * 1000;
	struct epoll_event events[EVENTS_MAX];
	uint8_t buf[65536];
	int epoll = bench_watch(-1, pair->server, EPOLLIN, NULL);
	uint64_t last_ns = sl_mono_ns();
	size_t got = 0;
	int rc = SL_MIN(epoll, 0);

	while (rc == 0) {
		uint64_t now = sl_mono_ns();
		bool is_spinning = now - last_ns < spin_ns;

		(void)bench_counts(side, now);
		/* The client ends it, when it has its last answer: what is slowest must not be cut
		 * off. */
		if (now >= side->end_ns + 2 * DRAIN_NS)
			break;
		if (epoll_wait(epoll, events, EVENTS_MAX, is_spinning ? 0 : WAIT_MS) <= 0)
			continue;
		ssize_t n = recv(pair->server, buf, sizeof(buf), 0);

		if (n <= 0)
			break;
		for (got += (size_t)n; rc == 0 && got >= o->request_bytes; got -= o->request_bytes)
			if (send(pair->server, answer, o->answer_bytes, MSG_NOSIGNAL) < 0)
				rc = -errno;
		last_ns = sl_mono_ns();
	}
	if (epoll >= 0)
		close(epoll);
	return rc;
}

static int take_answers(struct bench_side *side, struct client *c)
{
	const size_t answer_bytes = side->opts->answer_bytes;
	uint8_t buf[16384];
	ssize_t n = recv(c->fd, buf, sizeof(buf), 0);
	uint64_t now = sl_mono_ns();

	if (n == 0)
		return -ECONNRESET;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	for (c->part += (size_t)n; c->part >= answer_bytes; c->part -= answer_bytes) {
		uint64_t due = c->due_ns[c->answered++ % BACKLOG];

		/* By when it was due: a slow answer may not fall out of the window at its end. */
		if (due < side->start_ns || due >= side->end_ns)
			continue;
		side->requests++;
		side->bytes += side->opts->request_bytes;
		sl_hist_add(&side->latency_ns, now - due);
	}
	return 0;
}

static uint64_t due_at(const struct bench_side *side, const struct client *c, uint64_t begin_ns)
{
	return begin_ns + (uint64_t)((double)c->sent * 1e9 / side->opts->rate);
}

/* Sends all that is due and that the socket takes.  Return: nanoseconds until the next one; -errno.
 */
static int64_t send_due(struct bench_side *side, struct client *c, uint64_t begin_ns)
{
	const size_t request_bytes = side->opts->request_bytes;

	while (c->unsent > 0 || c->sent - c->answered < BACKLOG) {
		ssize_t n;

		if (c->unsent == 0) {
			uint64_t due = due_at(side, c, begin_ns);
			uint64_t now = sl_mono_ns();

			if (due >= side->end_ns)
				break;
			if (due > now)
				return (int64_t)(due - now);
			c->due_ns[c->sent++ % BACKLOG] = due;
			c->unsent = request_bytes;
		}
		n = send(c->fd, c->request, c->unsent, MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? RETRY_NS : -errno;
		c->unsent -= (size_t)n;
	}
	return WAIT_MS * 1000000;
}

static int client_loop(struct bench_side *side, struct client *c, int epoll)
{
	const uint64_t begin_ns = sl_mono_ns();
	struct epoll_event events[EVENTS_MAX];

	for (;;) {
		uint64_t now = sl_mono_ns();
		struct timespec wait = {0};
		int64_t next_ns;
		int rc = 0;

		(void)bench_counts(side, now);
		next_ns = send_due(side, c, begin_ns);
		if (next_ns < 0)
			return (int)next_ns;
		if (now >= side->end_ns &&
		    (c->answered == c->sent || now >= side->end_ns + DRAIN_NS))
			return 0;
		wait.tv_nsec = (long)SL_MIN(next_ns, (int64_t)WAIT_MS * 1000000);
		if (epoll_pwait2(epoll, events, EVENTS_MAX, &wait, NULL) > 0)
			rc = take_answers(side, c);
		if (rc != 0)
			return rc;
	}
}

static int client_run(struct bench_side *side)
{
	const struct bench_pair *pair = side->arg;
	struct client c = {.fd = pair->client};
	int epoll = bench_watch(-1, pair->client, EPOLLIN, NULL);
	int rc = SL_MIN(epoll, 0);

	c.due_ns = calloc(BACKLOG, sizeof(*c.due_ns));
	c.request = calloc(1, side->opts->request_bytes);
	if (!c.due_ns || !c.request)
		rc = -ENOMEM;
	if (rc == 0)
		rc = client_loop(side, &c, epoll);
	shutdown(pair->client, SHUT_RDWR);
	if (epoll >= 0)
		close(epoll);
	free(c.due_ns);
	free(c.request);
	return rc;
}

int bench_round_trip(const struct bench_opts *o)
{
	struct bench_side *sides = bench_sides(o, 1, 2);
	struct bench_pair pair;
	int rc = sides && o->rate > 0 && o->answer_bytes <= ANSWER_MAX &&
	                         o->request_bytes <= REQUEST_MAX
	                 ? 0
	                 : -EINVAL;

	if (rc == 0)
		rc = bench_pairs_open(&pair, 1);
	if (rc == 0) {
		sides[0].run = server_run;
		sides[1].run = client_run;
		sides[0].arg = sides[1].arg = &pair;
		rc = bench_run(sides, 2);
		if (rc == 0)
			bench_print("round-trip", sides, 2, false);
		bench_pairs_close(&pair, 1);
	}
	free(sides);
	return rc;
}
