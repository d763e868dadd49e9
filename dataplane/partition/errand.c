/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/errand.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "partition/worker.h"
#include "sluice/base/assert.h"
#include "sluice/base/log.h"

struct errand {
	void (*work)(void *arg);
	void *arg;
	pthread_t thread;
	bool is_started; /* the thread is there and has not been joined */
	int wake_fd;     /* the lane's */
	int event_fd;    /* Owned; the thread sleeps on it */
	_Atomic bool is_stopping;
	_Atomic int state; /* enum errand_state */
};

static void *run(void *arg)
{
	struct errand *e = arg;
	bool is_stopping;
	uint64_t n;

	for (;;) {
		/* Acquire: pairs with errand_stop(), before which the last one was begun. */
		is_stopping = atomic_load_explicit(&e->is_stopping, memory_order_acquire);
		/* Acquire: pairs with errand_begin(). */
		if (atomic_load_explicit(&e->state, memory_order_acquire) == ERRAND_RUNNING) {
			e->work(e->arg);
			/* Release: pairs with errand_state(). */
			atomic_store_explicit(&e->state, ERRAND_DONE, memory_order_release);
			worker_wake(e->wake_fd);
		}
		if (is_stopping)
			return NULL;
		if (read(e->event_fd, &n, sizeof(n)) < 0 && errno != EINTR)
			sl_log(ERR, partition, "read eventfd: %s", strerror(errno));
	}
}

int errand_create(struct errand **out, const char *name, void (*work)(void *arg), void *arg,
                  int wake_fd)
{
	struct errand *e = calloc(1, sizeof(*e));
	int rc;

	if (!e)
		return -ENOMEM;
	e->work = work;
	e->arg = arg;
	e->wake_fd = wake_fd;
	e->event_fd = eventfd(0, EFD_CLOEXEC);
	rc = e->event_fd < 0 ? -errno : worker_start(&e->thread, run, e, NULL);
	if (rc != 0) {
		errand_destroy(e);
		return rc;
	}
	e->is_started = true;
	(void)pthread_setname_np(e->thread, name);
	*out = e;
	return 0;
}

void errand_stop(struct errand *e)
{
	if (!e->is_started)
		return;
	/* Release: pairs with run(). */
	atomic_store_explicit(&e->is_stopping, true, memory_order_release);
	worker_wake(e->event_fd);
	pthread_join(e->thread, NULL);
	e->is_started = false;
}

void errand_destroy(struct errand *e)
{
	if (!e)
		return;
	errand_stop(e);
	if (e->event_fd >= 0)
		close(e->event_fd);
	free(e);
}

bool errand_is_stopped(const struct errand *e)
{
	return !e->is_started;
}

enum errand_state errand_state(const struct errand *e)
{
	/* Acquire: pairs with run(). */
	return (enum errand_state)atomic_load_explicit(&e->state, memory_order_acquire);
}

void errand_begin(struct errand *e)
{
	SL_ASSERT(e->is_started && errand_state(e) == ERRAND_IDLE);
	/* Release: pairs with run(). */
	atomic_store_explicit(&e->state, ERRAND_RUNNING, memory_order_release);
	worker_wake(e->event_fd);
}

void errand_end(struct errand *e)
{
	SL_ASSERT(errand_state(e) == ERRAND_DONE);
	atomic_store_explicit(&e->state, ERRAND_IDLE, memory_order_relaxed);
}
