/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the machine can do without a broker, measured the same way: loopback TCP into a buffer,
 * sendfile from the page cache, a TCP round trip, and an append followed by fdatasync.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"
#include "sluice/base/clock.h"
#include "sluice/base/file.h"

#define LIMITS_CHUNK      65536
#define LIMITS_FILE       (64 << 20)
#define LIMITS_SYNC_BYTES 16384
#define LIMITS_SYNC_FILE  (256 << 20)

/* A connected pair of TCP sockets on the loopback address.  Return: 0 or -errno. */
static int tcp_pair(int fds[2])
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	int one = 1;
	int rc = 0;

	fds[0] = socket(AF_INET, SOCK_STREAM, 0);
	fds[1] = -1;
	if (listener < 0 || fds[0] < 0 || bind(listener, (struct sockaddr *)&in, sizeof(in)) != 0 ||
	    listen(listener, 1) != 0 || getsockname(listener, (struct sockaddr *)&in, &len) != 0 ||
	    connect(fds[0], (struct sockaddr *)&in, sizeof(in)) != 0 ||
	    (fds[1] = accept(listener, NULL, NULL)) < 0)
		rc = -errno;
	for (int i = 0; rc == 0 && i < 2; i++)
		(void)setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (listener >= 0)
		close(listener);
	return rc;
}

static int send_run(struct bench_worker *w)
{
	int fd = *(int *)w->arg;
	uint8_t *buf = calloc(1, LIMITS_CHUNK);
	int rc = buf ? 0 : -ENOMEM;

	while (rc == 0 && sl_mono_ns() < w->end_ns)
		rc = sl_write_all(fd, buf, LIMITS_CHUNK);
	shutdown(fd, SHUT_WR);
	free(buf);
	return rc;
}

static int receive_run(struct bench_worker *w)
{
	int fd = *(int *)w->arg;
	uint8_t *buf = calloc(1, LIMITS_CHUNK);
	ssize_t n = 1;

	if (!buf)
		return -ENOMEM;
	while (n > 0) {
		n = recv(fd, buf, LIMITS_CHUNK, 0);
		if (n > 0 && bench_counts(w, sl_mono_ns()))
			w->bytes += (uint64_t)n;
	}
	free(buf);
	return 0;
}

struct file_and_socket {
	int file;
	int fd;
};

static int sendfile_run(struct bench_worker *w)
{
	const struct file_and_socket *fs = w->arg;
	off_t pos = 0;

	while (sl_mono_ns() < w->end_ns) {
		if (pos >= LIMITS_FILE)
			pos = 0;
		if (sendfile(fs->fd, fs->file, &pos, LIMITS_CHUNK) <= 0)
			return -errno;
	}
	shutdown(fs->fd, SHUT_WR);
	return 0;
}

/* Runs a sender and a receiver; the receiver's bytes are what counts. */
static int flow(const struct bench_opts *o, const char *name, int (*sender)(struct bench_worker *),
                struct file_and_socket *fs)
{
	struct bench_worker *w = aligned_alloc(SL_CACHE_LINE, 3 * sizeof(*w));
	int fds[2];
	int rc = w ? tcp_pair(fds) : -ENOMEM;

	if (rc == 0) {
		memset(w, 0, 3 * sizeof(*w));
		fs->fd = fds[0];
		w[0] = (struct bench_worker){.opts = o,
		                             .run = sender,
		                             .arg = sender == send_run ? (void *)&fds[0]
		                                                       : (void *)fs};
		w[1] = (struct bench_worker){.opts = o, .run = receive_run, .arg = &fds[1]};
		rc = bench_run(w, 2, &w[2]);
		close(fds[0]);
		close(fds[1]);
	}
	if (rc == 0)
		bench_print(name, &w[2]);
	free(w);
	return rc;
}

static int temp_file(const struct bench_opts *o, size_t bytes)
{
	char path[4096];
	uint8_t *chunk = calloc(1, 1 << 20);
	int fd;

	snprintf(path, sizeof(path), "%s/sluice-bench-XXXXXX", o->dir);
	fd = chunk ? mkostemp(path, O_CLOEXEC) : -1;
	if (fd < 0) {
		free(chunk);
		return -errno;
	}
	(void)unlink(path);
	for (size_t pos = 0; pos < bytes; pos += 1 << 20) {
		if (sl_write_all(fd, chunk, 1 << 20) != 0) {
			close(fd);
			fd = -EIO;
			break;
		}
	}
	free(chunk);
	return fd;
}

static int echo_run(struct bench_worker *w)
{
	int fd = *(int *)w->arg;
	uint8_t buf[64];
	ssize_t n;

	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
		if (sl_write_all(fd, buf, (size_t)n) != 0)
			break;
	return 0;
}

static int ping_run(struct bench_worker *w)
{
	int fd = *(int *)w->arg;
	uint8_t buf[64] = {0};
	int rc = 0;

	while (rc == 0 && sl_mono_ns() < w->end_ns) {
		uint64_t began = sl_mono_ns();
		ssize_t n;

		rc = sl_write_all(fd, buf, sizeof(buf));
		n = recv(fd, buf, sizeof(buf), MSG_WAITALL);
		if (n != sizeof(buf))
			rc = -EIO;
		w->requests++;
		sl_hist_add(&w->latency_ns, sl_mono_ns() - began);
	}
	shutdown(fd, SHUT_WR);
	return rc;
}

static int round_trip(const struct bench_opts *o)
{
	struct bench_worker *w = aligned_alloc(SL_CACHE_LINE, 3 * sizeof(*w));
	int fds[2];
	int rc = w ? tcp_pair(fds) : -ENOMEM;

	if (rc == 0) {
		memset(w, 0, 3 * sizeof(*w));
		w[0] = (struct bench_worker){.opts = o, .run = ping_run, .arg = &fds[0]};
		w[1] = (struct bench_worker){.opts = o, .run = echo_run, .arg = &fds[1]};
		rc = bench_run(w, 2, &w[2]);
		close(fds[0]);
		close(fds[1]);
	}
	if (rc == 0)
		bench_print("limit-round-trip", &w[2]);
	free(w);
	return rc;
}

static int sync_run(struct bench_worker *w)
{
	int fd = *(int *)w->arg;
	uint8_t *buf = calloc(1, LIMITS_SYNC_BYTES);
	off_t pos = 0;
	int rc = buf ? 0 : -ENOMEM;

	while (rc == 0 && sl_mono_ns() < w->end_ns) {
		uint64_t began = sl_mono_ns();

		if (pwrite(fd, buf, LIMITS_SYNC_BYTES, pos) != LIMITS_SYNC_BYTES ||
		    fdatasync(fd) != 0)
			rc = -errno;
		pos = (pos + LIMITS_SYNC_BYTES) % LIMITS_SYNC_FILE;
		if (bench_counts(w, sl_mono_ns())) {
			w->requests++;
			w->bytes += LIMITS_SYNC_BYTES;
			sl_hist_add(&w->latency_ns, sl_mono_ns() - began);
		}
	}
	free(buf);
	return rc;
}

static int sync_limit(const struct bench_opts *o)
{
	struct bench_worker *w = aligned_alloc(SL_CACHE_LINE, 2 * sizeof(*w));
	int fd = w ? temp_file(o, 0) : -ENOMEM;
	int rc = fd < 0 ? fd : 0;

	if (rc == 0) {
		memset(w, 0, 2 * sizeof(*w));
		w[0] = (struct bench_worker){.opts = o, .run = sync_run, .arg = &fd};
		rc = bench_run(w, 1, &w[1]);
		close(fd);
	}
	if (rc == 0)
		bench_print("limit-append-fdatasync", &w[1]);
	free(w);
	return rc;
}

int bench_limits(const struct bench_opts *o)
{
	struct file_and_socket fs = {.file = temp_file(o, LIMITS_FILE)};
	int rc = fs.file < 0 ? fs.file : 0;

	if (rc == 0)
		rc = flow(o, "limit-tcp", send_run, &fs);
	if (rc == 0)
		rc = flow(o, "limit-sendfile", sendfile_run, &fs);
	if (rc == 0)
		rc = round_trip(o);
	if (rc == 0)
		rc = sync_limit(o);
	if (fs.file >= 0)
		close(fs.file);
	return rc;
}
