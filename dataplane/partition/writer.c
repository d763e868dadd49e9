/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer's front: hands each sync to one of its back ends, keeps their number within the depth
 * and counts.  Runs on the lane's core; the back ends own everything else.
 */
#include "partition/writer.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "partition/partition.h"
#include "partition/writer_impl.h"
#include "sluice/base/assert.h"

struct writer {
	struct writer_back *thread;      /* Owned */
	struct writer_back *thread_ring; /* Owned, of the thread; NULL with @ring */
	struct writer_back *ring;        /* Owned; NULL: refused */
	struct writer_back *backs[2];    /* those that take syncs from here: the ring, the thread */
	unsigned backs_count;
	int thread_fd; /* Owned; the thread sleeps on it */
	struct sl_lane_stats *stats;
	uint32_t depth;     /* a power of two */
	uint32_t under_way; /* submitted, not reaped */
	uint32_t durable;   /* of those under way, durable writes */
	uint32_t unflushed; /* submitted, not flushed */
	unsigned next_reap; /* where the next look for a result begins */
	bool is_stopped;
	const char *reason;
	const char *fix;
};

/* One for the lane and one for the thread, or none. */
static void create_rings(struct writer *w, const struct writer_opts *o)
{
	if (writer_uring_create(&w->ring, o->wake_fd, o->stats, w->depth, &w->reason, &w->fix) != 0)
		return;
	if (writer_uring_create(&w->thread_ring, w->thread_fd, NULL, w->depth, &w->reason,
	                        &w->fix) != 0) {
		w->ring->ops->destroy(w->ring);
		w->ring = NULL;
		return;
	}
	w->reason = w->fix = "";
	w->backs[w->backs_count++] = w->ring;
}

static int create_backs(struct writer *w, const struct writer_opts *o)
{
	int rc;

	w->thread_fd = eventfd(0, EFD_CLOEXEC);
	if (w->thread_fd < 0)
		return -errno;
	w->reason = "the file operations are not the kernel's";
	w->fix = "";
	if (o->files.ops == &sl_file_ops_plain)
		create_rings(w, o);
	rc = writer_thread_create(&w->thread, o, w->depth, w->thread_fd, w->thread_ring);
	if (rc == 0)
		w->backs[w->backs_count++] = w->thread;
	return rc;
}

int writer_create(struct writer **out, const struct writer_opts *o)
{
	struct writer *w;
	int rc;

	if (o->depth == 0 || o->depth > WRITER_DEPTH_MAX)
		return -EINVAL;
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->stats = o->stats;
	w->depth = 1;
	while (w->depth < o->depth)
		w->depth *= 2;
	rc = create_backs(w, o);
	if (rc != 0) {
		writer_destroy(w);
		return rc;
	}
	*out = w;
	return 0;
}

void writer_destroy(struct writer *w)
{
	if (!w)
		return;
	writer_stop(w);
	for (unsigned i = 0; i < w->backs_count; i++)
		w->backs[i]->ops->destroy(w->backs[i]);
	if (w->thread_ring)
		w->thread_ring->ops->destroy(w->thread_ring);
	if (w->thread_fd >= 0)
		close(w->thread_fd);
	free(w);
}

const char *writer_name(const struct writer *w)
{
	return w->ring ? "io_uring" : "thread";
}

const char *writer_reason(const struct writer *w)
{
	return w->reason;
}

const char *writer_fix(const struct writer *w)
{
	return w->fix;
}

int writer_hold_fd(struct writer *w, int fd)
{
	int rc = 0;

	if (w->ring)
		rc = writer_uring_hold_fd(w->ring, fd);
	if (w->ring && rc == 0)
		rc = writer_uring_hold_fd(w->thread_ring, fd);
	return rc;
}

/* A write that somebody waits for goes the short way: the lane starts it and the disk ends it.
 * Everything else may sleep in the kernel, and what a ring lets sleep there are threads tied to
 * the CPU of the ring's user: the lane's own, or with the thread any. */
static struct writer_back *choose(const struct writer *w, const struct partition *p)
{
	bool is_write = p->sync.iov_count > 0 && p->sync.fds_count == 0;

	return is_write && p->sync.is_durable && w->ring ? w->ring : w->thread;
}

bool writer_submit(struct writer *w, struct partition *p)
{
	struct writer_back *b;

	if (writer_is_full(w))
		return false;
	SL_ASSERT(p->sync.iov_count + p->sync.fds_count > 0);
	b = choose(w, p);
	b->ops->submit(b, p);
	b->under_way++;
	w->under_way++;
	w->durable += p->sync.is_durable;
	w->unflushed++;
	return true;
}

void writer_flush(struct writer *w)
{
	if (w->unflushed > 0)
		sl_stat_add(w->stats, SL_STAT_sync_bursts, 1);
	w->unflushed = 0;
	for (unsigned i = 0; i < w->backs_count; i++)
		w->backs[i]->ops->flush(w->backs[i]);
}

struct partition *writer_reap(struct writer *w, int *result)
{
	for (unsigned i = 0; w->under_way > 0 && i < w->backs_count; i++) {
		struct writer_back *b = w->backs[w->next_reap];
		struct writer_done done;
		struct partition *p = b->ops->reap(b, &done);

		if (p) {
			SL_ASSERT(b->under_way > 0 && done.result <= 0);
			b->under_way--;
			w->under_way--;
			w->durable -= p->sync.is_durable;
			sl_stat_add(w->stats, SL_STAT_write_retries, done.retries);
			*result = done.result;
			return p;
		}
		w->next_reap = (w->next_reap + 1) % w->backs_count;
	}
	return NULL;
}

bool writer_is_full(const struct writer *w)
{
	return w->under_way >= w->depth || w->is_stopped;
}

bool writer_is_syncing(const struct writer *w)
{
	return w->durable > 0;
}

bool writer_sleep(struct writer *w)
{
	bool may_sleep = w->unflushed == 0;

	for (unsigned i = 0; i < w->backs_count; i++)
		may_sleep &= w->backs[i]->ops->sleep(w->backs[i]);
	return may_sleep;
}

void writer_wake(struct writer *w)
{
	for (unsigned i = 0; i < w->backs_count; i++)
		w->backs[i]->ops->wake(w->backs[i]);
}

void writer_stop(struct writer *w)
{
	if (w->is_stopped)
		return;
	w->is_stopped = true;
	writer_flush(w);
	for (unsigned i = 0; i < w->backs_count; i++)
		w->backs[i]->ops->stop(w->backs[i]);
}
