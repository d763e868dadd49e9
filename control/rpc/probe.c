/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread and its starter share the memory, counted; whoever is last frees it, so a disk that
 * hangs for ever costs one thread and holds up nobody.
 */
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "sluice/base/clock.h"

#define BLOCK_BYTES 4096

struct probe {
	_Atomic uint32_t holders;
	int done_fd;
	uint32_t count;
	struct probe_result results[];
};

/* One per process: two would measure each other. */
static atomic_bool is_running;

static void free_probe(struct probe *p)
{
	for (uint32_t i = 0; i < p->count; i++)
		free(p->results[i].dir);
	close(p->done_fd);
	free(p);
}

void probe_put(struct probe *p)
{
	/* Acquire and release: the last one sees all that the other one wrote. */
	if (p && atomic_fetch_sub_explicit(&p->holders, 1, memory_order_acq_rel) == 1)
		free_probe(p);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* A file without a name where the file system can, so that nothing is ever left behind. */
static int open_file(const char *dir)
{
	char path[4096];
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
		return fd;
	if (snprintf(path, sizeof(path), "%s/sync-probe.tmp", dir) >= (int)sizeof(path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0)
		(void)unlink(path);
	return fd;
}

static int one_sync(int fd, const void *block)
{
	ssize_t n = pwrite(fd, block, BLOCK_BYTES, 0);

	if (n != BLOCK_BYTES)
		return n < 0 ? errno : EIO;
	return fdatasync(fd) < 0 ? errno : 0;
}

static void measure(struct probe_result *r)
{
	static const char block[BLOCK_BYTES] = {1};
	uint64_t us[PROBE_SYNCS_MAX];
	uint64_t deadline_ns;
	struct statfs fs;
	int fd = open_file(r->dir);

	if (fd < 0) {
		r->error = errno;
		return;
	}
	r->is_memory = fstatfs(fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
	/* The first one allocates the block; partition logs do that ahead too. */
	r->error = one_sync(fd, block);
	deadline_ns = sl_mono_ns() + PROBE_DIR_MS * UINT64_C(1000000);
	while (r->error == 0 && r->syncs < PROBE_SYNCS_MAX && sl_mono_ns() < deadline_ns) {
		uint64_t start_ns = sl_mono_ns();

		r->error = one_sync(fd, block);
		us[r->syncs] = (sl_mono_ns() - start_ns) / 1000;
		r->max_us = SL_MAX(r->max_us, us[r->syncs]);
		r->syncs++;
	}
	close(fd);
	if (r->syncs > 0) {
		qsort(us, r->syncs, sizeof(us[0]), compare);
		r->median_us = us[r->syncs / 2];
	}
}

static void *run(void *arg)
{
	struct probe *p = arg;

	for (uint32_t i = 0; i < p->count; i++)
		measure(&p->results[i]);
	/* Release: pairs with the exchange in probe_start(). */
	atomic_store_explicit(&is_running, false, memory_order_release);
	(void)eventfd_write(p->done_fd, 1);
	probe_put(p);
	return NULL;
}

static struct probe *make(char *const *dirs, uint32_t count)
{
	struct probe *p = calloc(1, sizeof(*p) + count * sizeof(p->results[0]));

	if (!p)
		return NULL;
	atomic_store_explicit(&p->holders, 2, memory_order_relaxed);
	p->count = count;
	p->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	for (uint32_t i = 0; i < count && p->done_fd >= 0; i++) {
		p->results[i].dir = strdup(dirs[i]);
		if (!p->results[i].dir)
			p->done_fd = (close(p->done_fd), -1);
	}
	if (p->done_fd >= 0)
		return p;
	for (uint32_t i = 0; i < count; i++)
		free(p->results[i].dir);
	free(p);
	return NULL;
}

int probe_start(struct probe **out, char *const *dirs, uint32_t dirs_count)
{
	sigset_t all, old;
	pthread_t thread;
	struct probe *p;
	int rc;

	if (atomic_exchange_explicit(&is_running, true, memory_order_acquire))
		return -EBUSY;
	p = make(dirs, dirs_count);
	if (!p) {
		atomic_store_explicit(&is_running, false, memory_order_release);
		return -ENOMEM;
	}
	/* Signals are the loop thread's. */
	sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&thread, NULL, run, p);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc != 0) {
		atomic_store_explicit(&is_running, false, memory_order_release);
		free_probe(p);
		return -rc;
	}
	(void)pthread_detach(thread);
	*out = p;
	return 0;
}

int probe_fd(const struct probe *p)
{
	return p->done_fd;
}

uint32_t probe_results(struct probe *p, const struct probe_result **out)
{
	eventfd_t n;

	(void)eventfd_read(p->done_fd, &n);
	*out = p->results;
	return p->count;
}
