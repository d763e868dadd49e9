/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one core can take in: sink receives and throws away; receive does what no broker can leave
 * out, which is to land each request in recycled pages, check its CRC-32C and answer it; echo is
 * the same for requests too small for either to cost anything.  One thread, epoll, as a lane works.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "bench.h"
#include "sluice/base/clock.h"
#include "sluice/base/crc32c.h"

/* More than the last level cache, as the hot tier is: landing must not be a cache hit. */
#define LAND_BYTES      ((size_t)512 << 20)
#define ANSWER_MAX      256
/* What a connection may take before the others get their turn. */
#define RECEIVES_A_TURN 4

struct conn {
	int fd;
	uint8_t *land; /* its slice of the pages, used round and round */
	size_t land_bytes, at;
	size_t got; /* of the request being received */
	uint32_t crc;
};

struct server {
	struct bench_pair *pairs;
	struct bench_pages pages;
	bool is_landing; /* else everything is received into the same place */
	uint32_t crc;    /* of the request that the clients send; 0: not checked */
};

/* Return: 0; -EBADMSG the bytes are not those that were sent; -errno. */
static int finish_request(struct bench_side *side, const struct server *s, struct conn *c)
{
	static const uint8_t answer[ANSWER_MAX];
	const struct bench_opts *o = side->opts;

	if (s->crc != 0 && c->crc != s->crc)
		return -EBADMSG;
	if (o->answer_bytes > 0 &&
	    send(c->fd, answer, o->answer_bytes, MSG_NOSIGNAL) != (ssize_t)o->answer_bytes)
		return -EIO;
	c->got = 0;
	c->crc = 0;
	if (!s->is_landing || c->at + o->request_bytes > c->land_bytes)
		c->at = 0;
	return 0;
}

static int receive(struct bench_side *side, void *conn, uint32_t events SL_UNUSED)
{
	const size_t request_bytes = side->opts->request_bytes;
	const struct server *s = side->arg;
	struct conn *c = conn;

	for (int i = 0; i < RECEIVES_A_TURN; i++) {
		size_t asked = request_bytes - c->got;
		ssize_t n = recv(c->fd, c->land + c->at, asked, 0);
		int rc;

		if (n == 0)
			return -ECONNRESET;
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		/* At once, while the bytes are still in the core's cache. */
		if (s->crc != 0)
			c->crc = sl_crc32c(c->crc, c->land + c->at, (size_t)n);
		c->got += (size_t)n;
		c->at += (size_t)n;
		if (side->opts->answer_bytes == 0 && bench_counts(side, sl_mono_ns()))
			side->bytes += (uint64_t)n;
		if ((size_t)n < asked)
			return 0;
		rc = finish_request(side, s, c);
		if (rc != 0)
			return rc;
	}
	return 0;
}

static int open_conn(struct bench_side *side, void *conn, int index)
{
	const struct server *s = side->arg;
	struct conn *c = conn;

	c->fd = s->pairs[index].server;
	c->land_bytes = s->pages.bytes / (size_t)side->opts->connections;
	c->land = s->pages.p + (size_t)index * c->land_bytes;
	return c->fd;
}

static int server_run(struct bench_side *side)
{
	return bench_poll(side, &(struct bench_polling){
					.count = side->opts->connections,
					.conn_bytes = sizeof(struct conn),
					.events = EPOLLIN,
					.spin_ns = (uint64_t)side->opts->spin_us * 1000,
					.open = open_conn,
					.step = receive,
				});
}

/* The request of all connections; anything but zeros. */
static uint8_t *make_request(size_t bytes)
{
	uint8_t *p = malloc(bytes);

	for (size_t i = 0; p && i < bytes; i++)
		p[i] = (uint8_t)(i * 131 + (i >> 8) * 7 + 1);
	return p;
}

static int serve(const struct bench_opts *o, const char *limit, bool is_landing, bool is_checked)
{
	struct server s = {.pages.fd = -1, .is_landing = is_landing};
	uint8_t *request = make_request(o->request_bytes);
	size_t land_bytes = SL_MAX(!is_landing         ? 0
	                           : o->file_bytes > 0 ? o->file_bytes
	                                               : LAND_BYTES,
	                           o->request_bytes * (size_t)o->connections);
	int rc = request && o->answer_bytes <= ANSWER_MAX ? 0 : -EINVAL;

	s.pairs = calloc((size_t)o->connections, sizeof(*s.pairs));
	if (!s.pairs)
		rc = -ENOMEM;
	if (rc == 0 && is_checked)
		s.crc = sl_crc32c(0, request, o->request_bytes);
	if (rc == 0)
		rc = bench_pages_open(&s.pages, land_bytes);
	if (rc == 0)
		rc = bench_serve(o, &(struct bench_service){
					    .limit = limit,
					    .pairs = s.pairs,
					    .server = server_run,
					    .server_arg = &s,
					    .client = bench_flood_run,
					    .request = request,
					    .from_servers = o->answer_bytes == 0,
				    });
	bench_pages_close(&s.pages);
	free(s.pairs);
	free(request);
	return rc;
}

int bench_sink(const struct bench_opts *o)
{
	struct bench_opts mine = *o;

	mine.answer_bytes = 0;
	return serve(&mine, "sink", false, false);
}

int bench_receive(const struct bench_opts *o)
{
	return serve(o, "receive", true, true);
}

int bench_echo(const struct bench_opts *o)
{
	return serve(o, "echo", false, false);
}
