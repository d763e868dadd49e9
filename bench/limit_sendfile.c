/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one core can send out: sendfile in pieces from recycled huge pages (the tail of a log) or
 * from a file on disk, in the page cache or not, to receivers that throw the bytes away.
 */
#include <errno.h>
#include <fcntl.h>
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
#define REQUEST_BYTES   100 /* of a Fetch for one partition */
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

static int send_step(struct bench_side *side, void *conn, uint32_t events SL_UNUSED)
{
	return side->opts->ask ? answer(side, side->arg, conn) : send_piece(side, side->arg, conn);
}

static int open_sender(struct bench_side *side, void *conn, int index)
{
	const struct sender *s = side->arg;
	struct conn *c = conn;

	c->fd = s->pairs[index].server;
	return c->fd;
}

/* --ask: it never sleeps, as a lane with work does not: who asks does not pay for a wake-up. */
static int sender_run(struct bench_side *side)
{
	const bool is_asked = side->opts->ask;

	return bench_poll(side,
	                  &(struct bench_polling){
				  .count = side->opts->connections,
				  .conn_bytes = sizeof(struct conn),
				  .events = is_asked ? EPOLLIN | EPOLLOUT | EPOLLET : EPOLLOUT,
				  .spin_ns = is_asked ? UINT64_MAX : 0,
				  .open = open_sender,
				  .step = send_step,
			  });
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

static int discard(struct bench_side *side, void *conn, uint32_t events SL_UNUSED)
{
	struct receiver *r = conn;

	for (int i = 0; i < RECEIVES_A_TURN; i++) {
		/* MSG_TRUNC: TCP drops the bytes without a copy (tcp(7)). */
		ssize_t n = recv(r->fd, NULL, DISCARD_BYTES, MSG_TRUNC);
		int rc;

		if (n == 0)
			return -ECONNRESET;
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		if (bench_counts(side, sl_mono_ns()))
			side->bytes += (uint64_t)n;
		r->missing -= SL_MIN((size_t)n, r->missing);
		rc = ask(side, r);
		if (rc != 0 || (size_t)n < DISCARD_BYTES)
			return rc;
	}
	return 0;
}

static int open_receiver(struct bench_side *side, void *conn, int index)
{
	const struct bench_share *share = side->arg;
	struct receiver *r = conn;
	int rc;

	r->fd = share->pairs[index].client;
	rc = ask(side, r);
	return rc == 0 ? r->fd : rc;
}

static int receivers_run(struct bench_side *side)
{
	const struct bench_share *share = side->arg;

	return bench_poll(side, &(struct bench_polling){
					.count = share->count,
					.conn_bytes = sizeof(struct receiver),
					.events = EPOLLIN,
					.open = open_receiver,
					.step = discard,
				});
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
		rc = bench_serve(o, &(struct bench_service){
					    .limit = "sendfile",
					    .pairs = pairs,
					    .server = sender_run,
					    .server_arg = &s,
					    .client = receivers_run,
				    });
	if (o->dir && s.file >= 0)
		close(s.file);
	bench_pages_close(&pages);
	return rc;
}
