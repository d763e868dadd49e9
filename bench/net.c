/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets and pages of the limits: loopback pairs, recycled huge pages, files written before. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"
#include "sluice/base/clock.h"
#include "sluice/base/file.h"

#define FILE_PIECE_BYTES ((size_t)1 << 20)
#define HUGE_BYTES       ((size_t)2 << 20)
#define EVENTS_MAX       64
#define WAIT_MS          100

static int pair_open(struct bench_pair *pair, int listener, const struct sockaddr_in *to)
{
	int one = 1;

	pair->client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (pair->client < 0 ||
	    connect(pair->client, (const struct sockaddr *)to, sizeof(*to)) != 0)
		return -errno;
	pair->server = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (pair->server < 0 || fcntl(pair->client, F_SETFL, O_NONBLOCK) != 0)
		return -errno;
	(void)setsockopt(pair->client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(pair->server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return 0;
}

int bench_pairs_open(struct bench_pair *pairs, int count)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc = 0;

	for (int i = 0; i < count; i++)
		pairs[i] = (struct bench_pair){-1, -1};
	if (listener < 0)
		return -errno;
	if (bind(listener, (struct sockaddr *)&in, sizeof(in)) != 0 || listen(listener, 64) != 0 ||
	    getsockname(listener, (struct sockaddr *)&in, &len) != 0)
		rc = -errno;
	for (int i = 0; rc == 0 && i < count; i++)
		rc = pair_open(&pairs[i], listener, &in);
	close(listener);
	if (rc != 0)
		bench_pairs_close(pairs, count);
	return rc;
}

void bench_pairs_close(struct bench_pair *pairs, int count)
{
	for (int i = 0; i < count; i++) {
		if (pairs[i].client >= 0)
			close(pairs[i].client);
		if (pairs[i].server >= 0)
			close(pairs[i].server);
		pairs[i] = (struct bench_pair){-1, -1};
	}
}

int bench_watch(int epoll, int fd, uint32_t events, void *data)
{
	struct epoll_event event = {.events = events, .data.ptr = data};

	if (epoll < 0)
		epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		return -errno;
	return epoll;
}

static int poll_loop(struct bench_side *side, const struct bench_polling *p, int epoll)
{
	struct epoll_event events[EVENTS_MAX];
	uint64_t now = sl_mono_ns();
	uint64_t busy_ns = now;
	int rc = 0;

	for (; rc == 0 && now < side->end_ns; now = sl_mono_ns()) {
		int n = epoll_wait(epoll, events, EVENTS_MAX,
		                   now - busy_ns < p->spin_ns ? 0 : WAIT_MS);

		(void)bench_counts(side, now);
		for (int i = 0; rc == 0 && i < n; i++)
			rc = p->step(side, events[i].data.ptr, events[i].events);
		if (n > 0)
			busy_ns = sl_mono_ns();
	}
	return rc;
}

int bench_poll(struct bench_side *side, const struct bench_polling *p)
{
	uint8_t *conns = calloc((size_t)p->count, p->conn_bytes);
	int epoll = -1;
	int rc = conns ? 0 : -ENOMEM;

	for (int i = 0; rc == 0 && i < p->count; i++) {
		void *conn = conns + (size_t)i * p->conn_bytes;
		int fd = p->open(side, conn, i);

		epoll = fd < 0 ? fd : bench_watch(epoll, fd, p->events, conn);
		rc = SL_MIN(epoll, 0);
	}
	if (rc == 0)
		rc = poll_loop(side, p, epoll);
	if (epoll >= 0)
		close(epoll);
	free(conns);
	return rc;
}

static int run_connected(const struct bench_opts *o, const struct bench_service *s)
{
	struct bench_share shares[BENCH_THREADS_MAX];
	const int threads = bench_client_threads(o);
	struct bench_side *sides = bench_sides(o, 1, 1 + threads);
	int rc;

	if (!sides)
		return -ENOMEM;
	sides[0].run = s->server;
	sides[0].arg = s->server_arg;
	for (int i = 0; i < threads; i++) {
		int first = o->connections * i / threads;

		shares[i] = (struct bench_share){
			.pairs = s->pairs + first,
			.count = o->connections * (i + 1) / threads - first,
			.request = s->request,
		};
		sides[1 + i].run = s->client;
		sides[1 + i].arg = &shares[i];
	}
	rc = bench_run(sides, 1 + threads);
	if (rc == 0)
		bench_print(s->limit, sides, 1 + threads, s->from_servers);
	free(sides);
	return rc;
}

int bench_serve(const struct bench_opts *o, const struct bench_service *s)
{
	int rc = bench_pairs_open(s->pairs, o->connections);

	if (rc != 0)
		return rc;
	rc = run_connected(o, s);
	bench_pairs_close(s->pairs, o->connections);
	return rc;
}

/* A file nobody can name, on a tmpfs nobody else sees.  Return: descriptor or -errno. */
static int huge_file(void)
{
	int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	int mount = -1;
	int fd = -1;
	int error;

	if (fs >= 0 && fsconfig(fs, FSCONFIG_SET_STRING, "huge", "always", 0) == 0 &&
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		mount = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	if (mount >= 0)
		fd = openat(mount, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	error = fd < 0 ? -errno : fd;
	if (mount >= 0)
		close(mount);
	if (fs >= 0)
		close(fs);
	return error;
}

int bench_pages_open(struct bench_pages *pages, size_t bytes)
{
	bytes = SL_ALIGN_UP(bytes, HUGE_BYTES);
	*pages = (struct bench_pages){.fd = huge_file(), .bytes = bytes, .is_huge = true};
	if (pages->fd < 0) {
		pages->is_huge = false;
		pages->fd = memfd_create("sluice-bench", MFD_CLOEXEC);
	}
	if (pages->fd < 0 || ftruncate(pages->fd, (off_t)bytes) != 0)
		goto err;
	pages->p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, pages->fd,
	                0);
	if (pages->p == MAP_FAILED)
		goto err;
	/* A first touch costs more than the copy that is measured, and no two pages may be alike to
	 * a disk that looks. */
	for (size_t at = 0; at < bytes; at += sizeof(uint64_t)) {
		uint64_t word = at * 0x9e3779b97f4a7c15u;

		memcpy(pages->p + at, &word, sizeof(word));
	}
	return 0;
err:
	pages->p = NULL;
	bench_pages_close(pages);
	return -ENOMEM;
}

void bench_pages_close(struct bench_pages *pages)
{
	if (pages->p)
		munmap(pages->p, pages->bytes);
	if (pages->fd >= 0)
		close(pages->fd);
	*pages = (struct bench_pages){.fd = -1};
}

int bench_file_open(const char *dir, size_t bytes, int flags)
{
	char path[4096];
	uint8_t *piece = malloc(FILE_PIECE_BYTES);
	int first = -1;
	int fd = -1;
	int rc = piece ? 0 : -ENOMEM;

	snprintf(path, sizeof(path), "%s/sluice-bench-XXXXXX", dir);
	if (rc == 0)
		first = mkostemp(path, O_CLOEXEC);
	if (rc == 0 && first < 0)
		rc = -errno;
	for (size_t i = 0; rc == 0 && i < FILE_PIECE_BYTES; i++)
		piece[i] = (uint8_t)(i * 167 + (i >> 8));
	for (size_t at = 0; rc == 0 && at < bytes; at += FILE_PIECE_BYTES)
		rc = sl_write_all(first, piece, SL_MIN(FILE_PIECE_BYTES, bytes - at));
	/* On the disk before the clock starts, or it would be written out during the measurement.
	 */
	if (rc == 0 && fsync(first) != 0)
		rc = -errno;
	if (rc == 0) {
		fd = open(path, flags | O_CLOEXEC);
		rc = fd < 0 ? -errno : 0;
	}
	if (first >= 0) {
		(void)unlink(path);
		close(first);
	}
	free(piece);
	return rc == 0 ? fd : rc;
}
