/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Group commit thread of one lane: takes begun syncs from the lane, runs fdatasync(2), hands the
 * results back.  Two single-producer single-consumer rings; the lane never waits for the thread.
 * The thread touches nothing of a partition but its struct sl_log_sync, which the lane leaves alone
 * while the sync is under way.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "partition/partition.h"
#include "sluice/base/assert.h"
#include "sluice/base/log.h"

#define SYNCER_DEPTH_MAX (UINT32_C(1) << 20)

struct syncer_done {
	struct partition *partition;
	int result;
};

struct syncer {
	struct sl_files files;
	pthread_t thread;
	bool is_running;         /* lane only: the thread has not been joined */
	int wake_fd;             /* the lane's */
	int event_fd;            /* Owned; the thread sleeps on it */
	uint32_t mask;           /* of both rings */
	struct partition **in;   /* Owned */
	struct syncer_done *out; /* Owned */
	uint32_t under_way;      /* lane only: submitted, not reaped; bounds both rings */
	_Atomic bool is_stopping;

	SL_CACHE_ALIGNED _Atomic uint32_t in_head; /* written by the lane */
	_Atomic uint32_t out_tail;                 /* written by the lane */
	SL_CACHE_ALIGNED _Atomic uint32_t in_tail; /* written by the thread */
	_Atomic uint32_t out_head;                 /* written by the thread */
	_Atomic bool is_asleep;                    /* the thread is in, or about to enter, read() */
};

static void wake(int fd)
{
	const uint64_t one = 1;

	/* EAGAIN: the counter is full, so the reader is woken already. */
	if (write(fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		sl_log(ERR, partition, "write eventfd: %s", strerror(errno));
}

/* ---- The thread ---- */

static struct partition *take(struct syncer *s)
{
	uint32_t tail = atomic_load_explicit(&s->in_tail, memory_order_relaxed);
	struct partition *p;

	/* Acquire: pairs with syncer_submit(). */
	if (tail == atomic_load_explicit(&s->in_head, memory_order_acquire))
		return NULL;
	p = s->in[tail & s->mask];
	/* Release: pairs with nothing that reads the entry again; under_way keeps it from reuse. */
	atomic_store_explicit(&s->in_tail, tail + 1, memory_order_release);
	return p;
}

static void sleep_until_submit(struct syncer *s)
{
	uint64_t n;

	atomic_store_explicit(&s->is_asleep, true, memory_order_relaxed);
	/* Pairs with the fence in poke(): either we see the work or the lane sees us asleep. */
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&s->in_head, memory_order_relaxed) ==
	            atomic_load_explicit(&s->in_tail, memory_order_relaxed) &&
	    !atomic_load_explicit(&s->is_stopping, memory_order_relaxed) &&
	    read(s->event_fd, &n, sizeof(n)) < 0 && errno != EINTR)
		sl_log(ERR, partition, "read eventfd: %s", strerror(errno));
	atomic_store_explicit(&s->is_asleep, false, memory_order_relaxed);
}

static void *run(void *arg)
{
	struct syncer *s = arg;

	for (;;) {
		/* Before the look at the ring, so that nothing submitted before is left undone.
		 * Acquire: pairs with syncer_stop(). */
		bool is_stopping = atomic_load_explicit(&s->is_stopping, memory_order_acquire);
		struct partition *p = take(s);
		uint32_t head;
		int result;

		if (!p && is_stopping)
			return NULL;
		if (!p) {
			sleep_until_submit(s);
			continue;
		}
		result = sl_log_sync_run(&s->files, &p->sync);
		head = atomic_load_explicit(&s->out_head, memory_order_relaxed);
		s->out[head & s->mask] = (struct syncer_done){p, result};
		/* Release: pairs with syncer_reap(). */
		atomic_store_explicit(&s->out_head, head + 1, memory_order_release);
		wake(s->wake_fd);
	}
}

/* ---- The lane's side ---- */

static void poke(struct syncer *s)
{
	/* Pairs with the fence in sleep_until_submit(). */
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&s->is_asleep, memory_order_relaxed))
		wake(s->event_fd);
}

/* The creator is pinned by EAL and its mask is inherited: a sync must not wait for a lane that
 * polls on the same CPU, so the kernel may place this thread anywhere.  No signal is for it. */
static int start(struct syncer *s)
{
	pthread_attr_t attr;
	sigset_t all, old;
	cpu_set_t cpus;
	int rc;

	CPU_ZERO(&cpus);
	for (int i = 0; i < CPU_SETSIZE; i++)
		CPU_SET(i, &cpus);
	sigfillset(&all);
	rc = pthread_attr_init(&attr);
	if (rc != 0)
		return -rc;
	(void)pthread_attr_setaffinity_np(&attr, sizeof(cpus), &cpus);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&s->thread, &attr, run, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (rc != 0)
		return -rc;
	s->is_running = true;
	(void)pthread_setname_np(s->thread, "sl-sync");
	return 0;
}

int syncer_create(struct syncer **out, const struct sl_files *files, int wake_fd, uint32_t depth)
{
	uint32_t slots = 1;
	struct syncer *s;
	int rc;

	if (depth == 0 || depth > SYNCER_DEPTH_MAX)
		return -EINVAL;
	while (slots < depth)
		slots *= 2;
	s = aligned_alloc(SL_CACHE_LINE, SL_ALIGN_UP(sizeof(*s), SL_CACHE_LINE));
	if (!s)
		return -ENOMEM;
	memset(s, 0, sizeof(*s));
	s->files = *files;
	s->wake_fd = wake_fd;
	s->mask = slots - 1;
	s->in = calloc(slots, sizeof(*s->in));
	s->out = calloc(slots, sizeof(*s->out));
	s->event_fd = eventfd(0, EFD_CLOEXEC);
	if (!s->in || !s->out)
		rc = -ENOMEM;
	else if (s->event_fd < 0)
		rc = -errno;
	else
		rc = start(s);
	if (rc != 0) {
		syncer_destroy(s);
		return rc;
	}
	*out = s;
	return 0;
}

void syncer_stop(struct syncer *s)
{
	if (!s->is_running)
		return;
	/* Release: pairs with run(). */
	atomic_store_explicit(&s->is_stopping, true, memory_order_release);
	poke(s);
	pthread_join(s->thread, NULL);
	s->is_running = false;
}

void syncer_destroy(struct syncer *s)
{
	if (!s)
		return;
	syncer_stop(s);
	if (s->event_fd >= 0)
		close(s->event_fd);
	free(s->in);
	free(s->out);
	free(s);
}

bool syncer_is_full(const struct syncer *s)
{
	return s->under_way > s->mask || !s->is_running;
}

bool syncer_submit(struct syncer *s, struct partition *p)
{
	uint32_t head = atomic_load_explicit(&s->in_head, memory_order_relaxed);

	if (syncer_is_full(s))
		return false;
	s->in[head & s->mask] = p;
	s->under_way++;
	/* Release: pairs with take(). */
	atomic_store_explicit(&s->in_head, head + 1, memory_order_release);
	poke(s);
	return true;
}

struct partition *syncer_reap(struct syncer *s, int *result)
{
	uint32_t tail = atomic_load_explicit(&s->out_tail, memory_order_relaxed);
	struct partition *p;

	/* Acquire: pairs with run(). */
	if (tail == atomic_load_explicit(&s->out_head, memory_order_acquire))
		return NULL;
	p = s->out[tail & s->mask].partition;
	*result = s->out[tail & s->mask].result;
	atomic_store_explicit(&s->out_tail, tail + 1, memory_order_relaxed);
	SL_ASSERT(s->under_way > 0);
	s->under_way--;
	return p;
}
