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
};

struct receivers {
	const struct bench_pair *pairs;
	int count;
};

/* One piece, or what of it the socket takes. */
static int send_piece(const struct bench_side *side, const struct sender *s, struct conn *c)
{
	size_t piece = SL_MIN(side->opts->piece_bytes, s->file_bytes - (size_t)c->pos);
	ssize_t n = sendfile(c->fd, s->file, &c->pos, piece);

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

static int sender_loop(struct bench_side *side, const struct sender *s, int epoll)
{
	struct epoll_event events[EVENTS_MAX];
	int rc = 0;

	while (rc == 0 && sl_mono_ns() < side->end_ns) {
		int n = epoll_wait(epoll, events, EVENTS_MAX, WAIT_MS);

		(void)bench_counts(side, sl_mono_ns());
		for (int i = 0; rc == 0 && i < n; i++)
			rc = send_piece(side, s, events[i].data.ptr);
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
		epoll = bench_watch(epoll, conns[i].fd, EPOLLOUT, &conns[i]);
		rc = SL_MIN(epoll, 0);
	}
	if (rc == 0)
		rc = sender_loop(side, s, epoll);
	if (epoll >= 0)
		close(epoll);
	free(conns);
	return rc;
}

static int discard(struct bench_side *side, int fd)
{
	for (int i = 0; i < RECEIVES_A_TURN; i++) {
		/* MSG_TRUNC: TCP drops the bytes without a copy (tcp(7)). */
		ssize_t n = recv(fd, NULL, DISCARD_BYTES, MSG_TRUNC);

		if (n == 0)
			return -ECONNRESET;
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		if (bench_counts(side, sl_mono_ns()))
			side->bytes += (uint64_t)n;
		if ((size_t)n < DISCARD_BYTES)
			return 0;
	}
	return 0;
}

static int receivers_run(struct bench_side *side)
{
	const struct receivers *r = side->arg;
	struct epoll_event events[EVENTS_MAX];
	int epoll = -1;
	int rc = 0;

	for (int i = 0; rc == 0 && i < r->count; i++) {
		epoll = bench_watch(epoll, r->pairs[i].client, EPOLLIN,
		                    (void *)(uintptr_t)r->pairs[i].client);
		rc = SL_MIN(epoll, 0);
	}
	while (rc == 0 && sl_mono_ns() < side->end_ns) {
		int n = epoll_wait(epoll, events, EVENTS_MAX, WAIT_MS);

		(void)bench_counts(side, sl_mono_ns());
		for (int i = 0; rc == 0 && i < n; i++)
			rc = discard(side, (int)(uintptr_t)events[i].data.ptr);
	}
	if (epoll >= 0)
		close(epoll);
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
