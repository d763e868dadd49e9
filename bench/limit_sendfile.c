/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one core can send out: sendfile in pieces from recycled huge pages (the tail of a log) or
 * from a file on disk, in the page cache or not, to receivers that throw the bytes away.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"
#include "sluice/base/clock.h"

/* More than the last level cache; a cold file is large enough for a second of the fastest disk. */
#define FILE_BYTES      ((size_t)512 << 20)
#define COLD_BYTES      ((size_t)2 << 30)
#define DISCARD_BYTES   ((size_t)1 << 20)
#define EVENTS_MAX      64
#define REQUEST_BYTES   100 /* of a Fetch for one partition */
#define WAIT_MS         100
#define RECEIVES_A_TURN 4

struct sender {
	struct bench_pair *pairs;
	int file;
	size_t file_bytes;
};

struct conn {
	int fd;
	off_t pos;
	size_t unsent; /* --ask: rest of the piece that was asked for */
};

struct receiver {
	int fd;
	size_t missing; /* --ask: rest of the piece that was asked for */
};

struct receivers {
	const struct bench_pair *pairs;
	int count;
};

/* One piece, or what of it the socket takes. */
static int send_piece(const struct bench_side *side, const struct sender *s, struct conn *c)
{
	size_t piece = SL_MIN(side->opts->ask ? c->unsent : side->opts->piece_bytes,
	                      s->file_bytes - (size_t)c->pos);
	ssize_t n = piece > 0 ? sendfile(c->fd, s->file, &c->pos, piece) : 1;

	if (piece == 0)
		return 0;
	if (n > 0 && side->opts->ask)
		c->unsent -= (size_t)n;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -EIO;
	if ((size_t)c->pos >= s->file_bytes) {
		c->pos = 0;
		if (side->opts->cold)
			(void)posix_fadvise(s->file, 0, 0, POSIX_FADV_DONTNEED);
	}
	return 0;
}

/* --ask: sends what was asked for, until the socket is full: only then does it report room again.
 */
static int answer(const struct bench_side *side, const struct sender *s, struct conn *c)
{
	uint8_t request[REQUEST_BYTES];
	size_t before;
	int rc = 0;

	if (c->unsent == 0 && recv(c->fd, request, sizeof(request), 0) == REQUEST_BYTES)
		c->unsent = side->opts->piece_bytes;
	do {
		before = c->unsent;
		rc = send_piece(side, s, c);
	} while (rc == 0 && c->unsent > 0 && c->unsent < before);
	return rc;
}

static int sender_loop(struct bench_side *side, const struct sender *s, int epoll)
{
	struct epoll_event events[EVENTS_MAX];
	int rc = 0;

	while (rc == 0 && sl_mono_ns() < side->end_ns) {
		/* It never sleeps, as a lane with work does not: who asks does not pay for a
		 * wake-up. */
		int n = epoll_wait(epoll, events, EVENTS_MAX, side->opts->ask ? 0 : WAIT_MS);

		(void)bench_counts(side, sl_mono_ns());
		for (int i = 0; rc == 0 && i < n; i++)
			rc = side->opts->ask ? answer(side, s, events[i].data.ptr)
			                     : send_piece(side, s, events[i].data.ptr);
	}
	return rc;
}

static int sender_run(struct bench_side *side)
{
	const struct sender *s = side->arg;
	const int count = side->opts->connections;
	struct conn *conns = calloc((size_t)count, sizeof(*conns));
	int epoll = -1;
	int rc = conns ? 0 : -ENOMEM;

	for (int i = 0; rc == 0 && i < count; i++) {
		conns[i].fd = s->pairs[i].server;
		epoll = bench_watch(epoll, conns[i].fd,
		                    side->opts->ask ? EPOLLIN | EPOLLOUT | EPOLLET : EPOLLOUT,
		                    &conns[i]);
		rc = SL_MIN(epoll, 0);
	}
	if (rc == 0)
		rc = sender_loop(side, s, epoll);
	if (epoll >= 0)
		close(epoll);
	free(conns);
	return rc;
}

/* --ask: the next one, when a piece is complete.  Return: 0 or -EIO. */
static int ask(const struct bench_side *side, struct receiver *r)
{
	static const uint8_t request[REQUEST_BYTES];

	if (!side->opts->ask || r->missing > 0)
		return 0;
	r->missing = side->opts->piece_bytes;
	return send(r->fd, request, sizeof(request), MSG_NOSIGNAL) == REQUEST_BYTES ? 0 : -EIO;
}

static int discard(struct bench_side *side, struct receiver *r)
{
	for (int i = 0; i < RECEIVES_A_TURN; i++) {
		/* MSG_TRUNC: TCP drops the bytes without a copy (tcp(7)). */
		ssize_t n = recv(r->fd, NULL, DISCARD_BYTES, MSG_TRUNC);

		if (n == 0)
			return -ECONNRESET;
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		if (bench_counts(side, sl_mono_ns()))
			side->bytes += (uint64_t)n;
		if (side->opts->ask)
			r->missing -= SL_MIN((size_t)n, r->missing);
		if ((size_t)n < DISCARD_BYTES)
			return ask(side, r);
	}
	return 0;
}

static int receivers_run(struct bench_side *side)
{
	const struct receivers *all = side->arg;
	struct receiver *those = calloc((size_t)all->count, sizeof(*those));
	struct epoll_event events[EVENTS_MAX];
	int epoll = -1;
	int rc = those ? 0 : -ENOMEM;

	for (int i = 0; rc == 0 && i < all->count; i++) {
		those[i].fd = all->pairs[i].client;
		epoll = bench_watch(epoll, those[i].fd, EPOLLIN, &those[i]);
		rc = epoll < 0 ? epoll : ask(side, &those[i]);
	}
	while (rc == 0 && sl_mono_ns() < side->end_ns) {
		int n = epoll_wait(epoll, events, EVENTS_MAX, WAIT_MS);

		(void)bench_counts(side, sl_mono_ns());
		for (int i = 0; rc == 0 && i < n; i++)
			rc = discard(side, events[i].data.ptr);
	}
	if (epoll >= 0)
		close(epoll);
	free(those);
	return rc;
}

static int run_threads(const struct bench_opts *o, struct sender *s)
{
	struct receivers receivers[BENCH_THREADS_MAX];
	const int threads = bench_client_threads(o);
	struct bench_side *sides = bench_sides(o, 1, 1 + threads);
	int rc;

	if (!sides)
		return -ENOMEM;
	sides[0].run = sender_run;
	sides[0].arg = s;
	for (int i = 0; i < threads; i++) {
		int first = o->connections * i / threads;

		receivers[i].pairs = s->pairs + first;
		receivers[i].count = o->connections * (i + 1) / threads - first;
		sides[1 + i].run = receivers_run;
		sides[1 + i].arg = &receivers[i];
	}
	rc = bench_run(sides, 1 + threads);
	if (rc == 0)
		bench_print("sendfile", sides, 1 + threads, false);
	free(sides);
	return rc;
}

int bench_sendfile(const struct bench_opts *o)
{
	struct bench_pages pages = {.fd = -1};
	struct bench_pair pairs[BENCH_CONNECTIONS_MAX];
	struct sender s = {.pairs = pairs,
	                   .file_bytes = o->file_bytes > 0 ? o->file_bytes
	                                 : o->cold         ? COLD_BYTES
	                                                   : FILE_BYTES};
	int rc = 0;

	if (o->dir) {
		s.file = bench_file_open(o->dir, s.file_bytes, O_RDONLY);
		rc = SL_MIN(s.file, 0);
	} else {
		rc = bench_pages_open(&pages, s.file_bytes);
		s.file = pages.fd;
	}
	if (rc == 0 && o->cold)
		rc = -posix_fadvise(s.file, 0, 0, POSIX_FADV_DONTNEED);
	if (rc == 0)
		rc = bench_pairs_open(pairs, o->connections);
	if (rc == 0) {
		rc = run_threads(o, &s);
		bench_pairs_close(pairs, o->connections);
	}
	if (o->dir && s.file >= 0)
		close(s.file);
	bench_pages_close(&pages);
	return rc;
}
