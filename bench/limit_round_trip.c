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

#define EVENTS_MAX 16
#define WAIT_MS    100
/* Requests under way when the machine stalls; beyond, the client waits for the server. */
#define BACKLOG    65536

struct client {
	int fd;
	uint64_t *due_ns; /* ring of BACKLOG */
	uint64_t sent, answered;
	size_t part; /* of the answer being received */
	uint8_t *request;
};

static int server_run(struct bench_side *side)
{
	static const uint8_t answer[256];
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
		if (now >= side->end_ns)
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

/* Sends all that is due at @now.  Return: 0 or -errno. */
static int send_due(struct bench_side *side, struct client *c, uint64_t begin_ns, uint64_t now)
{
	const struct bench_opts *o = side->opts;

	while (c->sent - c->answered < BACKLOG) {
		uint64_t due = begin_ns + (uint64_t)((double)c->sent * 1e9 / o->rate);

		if (due > now || due >= side->end_ns)
			break;
		c->due_ns[c->sent % BACKLOG] = due;
		if (send(c->fd, c->request, o->request_bytes, MSG_NOSIGNAL) !=
		    (ssize_t)o->request_bytes)
			return -EIO;
		c->sent++;
	}
	return 0;
}

static int client_loop(struct bench_side *side, struct client *c, int epoll)
{
	const uint64_t begin_ns = sl_mono_ns();
	struct epoll_event events[EVENTS_MAX];
	int rc = 0;

	for (;;) {
		uint64_t now = sl_mono_ns();
		uint64_t due = begin_ns +
		               (uint64_t)((double)(c->sent + 1) * 1e9 / side->opts->rate);

		(void)bench_counts(side, now);
		rc = send_due(side, c, begin_ns, now);
		if (rc != 0 || (now >= side->end_ns && c->answered == c->sent) ||
		    now >= side->end_ns + 1000000000)
			return rc;
		due = begin_ns + (uint64_t)((double)c->sent * 1e9 / side->opts->rate);
		now = sl_mono_ns();
		struct timespec wait = {.tv_nsec = due > now ? (long)SL_MIN(due - now, 100000000u)
		                                             : 0};

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
	int rc = sides && o->rate > 0 && o->answer_bytes <= 256 ? 0 : -EINVAL;

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
