/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer's thread back end: one thread takes begun syncs from the lane, runs them, hands the
 * results back.  With an io_uring of its own it has all of them under way at once and sleeps until
 * one ends; without, it runs one after the other with sl_log_sync_run().
 *
 * Two single-producer single-consumer queues; the lane never waits for the thread.  The thread
 * touches nothing of a partition but its struct sl_log_sync, which the lane leaves alone while the
 * sync is under way.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "partition/partition.h"
#include "partition/worker.h"
#include "partition/writer_impl.h"
#include "sluice/base/assert.h"
#include "sluice/base/log.h"

struct thread_done {
	struct partition *partition;
	struct writer_done done;
};

struct thread {
	struct writer_back back;
	struct sl_files files;
	struct writer_back *ring; /* Borrowed; the thread's alone while it runs.  NULL: none */
	pthread_t thread;
	bool is_running;         /* lane only: the thread has not been joined */
	int wake_fd;             /* the lane's */
	int event_fd;            /* Borrowed; the thread sleeps on it, and its ring writes it */
	uint32_t mask;           /* of both queues; back.under_way keeps them from running over */
	struct partition **in;   /* Owned */
	struct thread_done *out; /* Owned */
	_Atomic bool is_stopping;

	SL_CACHE_ALIGNED _Atomic uint32_t in_head; /* written by the lane */
	_Atomic uint32_t out_tail;                 /* written by the lane */
	_Atomic bool is_lane_polling;              /* written by the lane */
	SL_CACHE_ALIGNED _Atomic uint32_t in_tail; /* written by the thread */
	_Atomic uint32_t out_head;                 /* written by the thread */
	_Atomic bool is_asleep;                    /* the thread is in, or about to enter, read() */
};

/* ---- The thread ---- */

static struct partition *take(struct thread *t)
{
	uint32_t tail = atomic_load_explicit(&t->in_tail, memory_order_relaxed);
	struct partition *p;

	/* Acquire: pairs with thread_submit(). */
	if (tail == atomic_load_explicit(&t->in_head, memory_order_acquire))
		return NULL;
	p = t->in[tail & t->mask];
	/* Release: pairs with nothing that reads the entry again; back.under_way keeps it from
	 * reuse. */
	atomic_store_explicit(&t->in_tail, tail + 1, memory_order_release);
	return p;
}

static void give(struct thread *t, struct partition *p, struct writer_done done)
{
	uint32_t head = atomic_load_explicit(&t->out_head, memory_order_relaxed);

	t->out[head & t->mask] = (struct thread_done){p, done};
	/* Release: pairs with thread_reap(). */
	atomic_store_explicit(&t->out_head, head + 1, memory_order_release);
}

static void wake_lane(struct thread *t)
{
	/* Pairs with the fence in thread_sleep(): either the lane sees the results or we see that
	 * it wants to be woken. */
	atomic_thread_fence(memory_order_seq_cst);
	if (!atomic_load_explicit(&t->is_lane_polling, memory_order_relaxed))
		worker_wake(t->wake_fd);
}

/* Return: whether there was one. */
static bool run_one(struct thread *t)
{
	struct partition *p = take(t);

	if (!p)
		return false;
	give(t, p, (struct writer_done){.result = sl_log_sync_run(&t->files, &p->sync)});
	wake_lane(t);
	return true;
}

/* Hands to the ring what came and to the lane what ended.  Return: whether there was any. */
static bool turn_ring(struct thread *t)
{
	struct writer_back *r = t->ring;
	struct writer_done done;
	struct partition *p;
	uint32_t taken = 0, given = 0;

	while ((p = take(t))) {
		r->ops->submit(r, p);
		taken++;
	}
	r->under_way += taken;
	r->ops->flush(r);
	while (given < r->under_way && (p = r->ops->reap(r, &done))) {
		give(t, p, done);
		given++;
	}
	r->under_way -= given;
	if (given > 0)
		wake_lane(t);
	return taken + given > 0;
}

static bool has_work(const struct thread *t)
{
	bool is_idle = !t->ring || t->ring->under_way == 0;

	return atomic_load_explicit(&t->in_head, memory_order_relaxed) !=
	               atomic_load_explicit(&t->in_tail, memory_order_relaxed) ||
	       (is_idle && atomic_load_explicit(&t->is_stopping, memory_order_relaxed));
}

static void sleep_until_woken(struct thread *t)
{
	bool may_sleep = true;
	uint64_t n;

	atomic_store_explicit(&t->is_asleep, true, memory_order_relaxed);
	/* Pairs with the fence in poke(): either we see the work or the lane sees us asleep. */
	atomic_thread_fence(memory_order_seq_cst);
	if (t->ring)
		may_sleep = t->ring->ops->sleep(t->ring);
	if (may_sleep && !has_work(t) && read(t->event_fd, &n, sizeof(n)) < 0 && errno != EINTR)
		sl_log(ERR, partition, "read eventfd: %s", strerror(errno));
	if (t->ring)
		t->ring->ops->wake(t->ring);
	atomic_store_explicit(&t->is_asleep, false, memory_order_relaxed);
}

static void *run(void *arg)
{
	struct thread *t = arg;

	for (;;) {
		/* Before the look at the queue, so that nothing submitted before is left undone.
		 * Acquire: pairs with thread_stop(). */
		bool is_stopping = atomic_load_explicit(&t->is_stopping, memory_order_acquire);

		if (t->ring ? turn_ring(t) : run_one(t))
			continue;
		if (is_stopping && (!t->ring || t->ring->under_way == 0))
			break;
		sleep_until_woken(t);
	}
	if (t->ring)
		t->ring->ops->stop(t->ring);
	return NULL;
}

/* ---- The lane's side ---- */

static void poke(struct thread *t)
{
	/* Pairs with the fence in sleep_until_woken(). */
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&t->is_asleep, memory_order_relaxed))
		worker_wake(t->event_fd);
}

static int start(struct thread *t)
{
	int rc = worker_start(&t->thread, run, t, NULL);

	if (rc != 0)
		return rc;
	t->is_running = true;
	(void)pthread_setname_np(t->thread, "sl-writer");
	return 0;
}

static void thread_submit(struct writer_back *b, struct partition *p)
{
	struct thread *t = (struct thread *)b;
	uint32_t head = atomic_load_explicit(&t->in_head, memory_order_relaxed);

	t->in[head & t->mask] = p;
	/* Release: pairs with take(). */
	atomic_store_explicit(&t->in_head, head + 1, memory_order_release);
}

static void thread_flush(struct writer_back *b)
{
	struct thread *t = (struct thread *)b;

	if (atomic_load_explicit(&t->in_head, memory_order_relaxed) !=
	    atomic_load_explicit(&t->in_tail, memory_order_relaxed))
		poke(t);
}

static struct partition *thread_reap(struct writer_back *b, struct writer_done *done)
{
	struct thread *t = (struct thread *)b;
	uint32_t tail = atomic_load_explicit(&t->out_tail, memory_order_relaxed);
	struct partition *p;

	/* Acquire: pairs with give(). */
	if (tail == atomic_load_explicit(&t->out_head, memory_order_acquire))
		return NULL;
	p = t->out[tail & t->mask].partition;
	*done = t->out[tail & t->mask].done;
	atomic_store_explicit(&t->out_tail, tail + 1, memory_order_relaxed);
	return p;
}

static bool thread_sleep(struct writer_back *b)
{
	struct thread *t = (struct thread *)b;

	atomic_store_explicit(&t->is_lane_polling, false, memory_order_relaxed);
	/* Pairs with the fence in wake_lane(). */
	atomic_thread_fence(memory_order_seq_cst);
	return atomic_load_explicit(&t->out_tail, memory_order_relaxed) ==
	       atomic_load_explicit(&t->out_head, memory_order_relaxed);
}

static void thread_wake(struct writer_back *b)
{
	struct thread *t = (struct thread *)b;

	atomic_store_explicit(&t->is_lane_polling, true, memory_order_relaxed);
}

static void thread_stop(struct writer_back *b)
{
	struct thread *t = (struct thread *)b;

	if (!t->is_running)
		return;
	/* Release: pairs with run(). */
	atomic_store_explicit(&t->is_stopping, true, memory_order_release);
	poke(t);
	pthread_join(t->thread, NULL);
	t->is_running = false;
}

static void thread_destroy(struct writer_back *b)
{
	struct thread *t = (struct thread *)b;

	free(t->in);
	free(t->out);
	free(t);
}

static const struct writer_ops thread_ops = {
	.submit = thread_submit,
	.flush = thread_flush,
	.reap = thread_reap,
	.sleep = thread_sleep,
	.wake = thread_wake,
	.stop = thread_stop,
	.destroy = thread_destroy,
};

int writer_thread_create(struct writer_back **out, const struct writer_opts *o, uint32_t depth,
                         int event_fd, struct writer_back *ring)
{
	struct thread *t = aligned_alloc(SL_CACHE_LINE, SL_ALIGN_UP(sizeof(*t), SL_CACHE_LINE));
	int rc;

	if (!t)
		return -ENOMEM;
	memset(t, 0, sizeof(*t));
	t->back.ops = &thread_ops;
	t->back.depth = depth;
	t->files = o->files;
	t->ring = ring;
	t->wake_fd = o->wake_fd;
	t->event_fd = event_fd;
	t->mask = depth - 1;
	t->in = calloc(depth, sizeof(*t->in));
	t->out = calloc(depth, sizeof(*t->out));
	rc = t->in && t->out ? start(t) : -ENOMEM;
	if (rc != 0) {
		thread_destroy(&t->back);
		return rc;
	}
	*out = &t->back;
	return 0;
}
