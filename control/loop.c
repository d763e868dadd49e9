/* SPDX-License-Identifier: Apache-2.0 */
/*
 * epoll, a binary heap of timers and a list of posted work.  Owned by the thread that calls
 * loop_poll().
 */
#include "loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "sluice/base/assert.h"
#include "sluice/base/clock.h"

#define EVENTS_MAX      64
/* Timers that one iteration runs; the rest is due in the next one. */
#define TIMERS_PER_POLL 256

struct loop {
	int epoll_fd;
	bool is_stopped;
	struct loop_clock clock;
	struct loop_timer **heap; /* Owned. */
	uint32_t heap_count;
	uint32_t heap_max;
	struct sl_list work;
	/* Events of the running iteration, so that loop_fd_del() can take back those not yet
	 * delivered. */
	struct epoll_event events[EVENTS_MAX];
	int events_count;
};

static int64_t real_mono_ms(void *arg)
{
	(void)arg;
	return sl_mono_ms();
}

static int64_t real_wall_ms(void *arg)
{
	(void)arg;
	return sl_wall_ms();
}

int loop_create(struct loop **out, const struct loop_clock *clock)
{
	struct loop *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->clock = clock ? *clock : (struct loop_clock){real_mono_ms, real_wall_ms, NULL};
	sl_list_init(&l->work);
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll_fd < 0) {
		int err = -errno;

		free(l);
		return err;
	}
	*out = l;
	return 0;
}

void loop_destroy(struct loop *l)
{
	if (!l)
		return;
	SL_ASSERT(l->heap_count == 0);
	SL_ASSERT(sl_list_is_empty(&l->work));
	close(l->epoll_fd);
	free(l->heap);
	free(l);
}

int64_t loop_mono_ms(const struct loop *l)
{
	return l->clock.mono_ms(l->clock.arg);
}

int64_t loop_wall_ms(const struct loop *l)
{
	return l->clock.wall_ms(l->clock.arg);
}

int loop_fd_add(struct loop *l, struct loop_fd *f, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = f};

	SL_ASSERT(f->fn && f->fd >= 0);
	return epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, f->fd, &ev) < 0 ? -errno : 0;
}

int loop_fd_mod(struct loop *l, struct loop_fd *f, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = f};

	return epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, f->fd, &ev) < 0 ? -errno : 0;
}

void loop_fd_del(struct loop *l, struct loop_fd *f)
{
	(void)epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, f->fd, NULL);
	for (int i = 0; i < l->events_count; i++) {
		if (l->events[i].data.ptr == f)
			l->events[i].data.ptr = NULL;
	}
}

static void heap_place(struct loop *l, uint32_t i, struct loop_timer *t)
{
	l->heap[i] = t;
	t->place = i + 1;
}

static void sift_up(struct loop *l, uint32_t i)
{
	struct loop_timer *t = l->heap[i];

	while (i > 0 && l->heap[(i - 1) / 2]->at_ms > t->at_ms) {
		heap_place(l, i, l->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	heap_place(l, i, t);
}

static void sift_down(struct loop *l, uint32_t i)
{
	struct loop_timer *t = l->heap[i];

	for (;;) {
		uint32_t child = 2 * i + 1;

		if (child >= l->heap_count)
			break;
		if (child + 1 < l->heap_count && l->heap[child + 1]->at_ms < l->heap[child]->at_ms)
			child++;
		if (l->heap[child]->at_ms >= t->at_ms)
			break;
		heap_place(l, i, l->heap[child]);
		i = child;
	}
	heap_place(l, i, t);
}

int loop_timer_set(struct loop *l, struct loop_timer *t, int64_t at_ms)
{
	SL_ASSERT(t->fn);
	loop_timer_stop(l, t);
	if (l->heap_count == l->heap_max) {
		uint32_t max = l->heap_max ? l->heap_max * 2 : 64;
		struct loop_timer **heap = reallocarray(l->heap, max, sizeof(*heap));

		if (!heap)
			return -ENOMEM;
		l->heap = heap;
		l->heap_max = max;
	}
	t->at_ms = at_ms;
	l->heap[l->heap_count] = t;
	sift_up(l, l->heap_count++);
	return 0;
}

void loop_timer_stop(struct loop *l, struct loop_timer *t)
{
	uint32_t i = t->place - 1;
	struct loop_timer *last;

	if (t->place == 0)
		return;
	SL_ASSERT(i < l->heap_count && l->heap[i] == t);
	t->place = 0;
	last = l->heap[--l->heap_count];
	if (last == t)
		return;
	heap_place(l, i, last);
	sift_up(l, i);
	sift_down(l, last->place - 1);
}

void loop_work_init(struct loop_work *w, loop_fn *fn, void *arg)
{
	sl_list_init(&w->link);
	w->fn = fn;
	w->arg = arg;
}

void loop_work_post(struct loop *l, struct loop_work *w)
{
	if (sl_list_is_empty(&w->link))
		sl_list_push_back(&l->work, &w->link);
}

void loop_work_cancel(struct loop_work *w)
{
	if (w->fn)
		sl_list_del(&w->link);
}

/* What is posted while it runs waits for the next iteration, so that descriptors get their turn. */
static int run_work(struct loop *l)
{
	struct sl_list batch;
	int count = 0;

	sl_list_init(&batch);
	if (sl_list_is_empty(&l->work))
		return 0;
	sl_list_push_back(&l->work, &batch);
	sl_list_del(&l->work);
	while (!sl_list_is_empty(&batch)) {
		struct loop_work *w = sl_list_entry(batch.next, struct loop_work, link);

		sl_list_del(&w->link);
		w->fn(w->arg);
		count++;
	}
	return count;
}

static int run_timers(struct loop *l)
{
	int64_t now_ms = loop_mono_ms(l);
	int count = 0;

	while (count < TIMERS_PER_POLL && l->heap_count > 0 && l->heap[0]->at_ms <= now_ms) {
		struct loop_timer *t = l->heap[0];

		loop_timer_stop(l, t);
		t->fn(t->arg);
		count++;
	}
	return count;
}

static int sleep_ms(const struct loop *l, int timeout_ms)
{
	int64_t left;

	if (!sl_list_is_empty(&l->work))
		return 0;
	if (l->heap_count == 0)
		return timeout_ms;
	left = l->heap[0]->at_ms - loop_mono_ms(l);
	left = left < 0 ? 0 : SL_MIN(left, 3600 * 1000);
	return timeout_ms < 0 ? (int)left : SL_MIN((int)left, timeout_ms);
}

static int run_events(struct loop *l, int timeout_ms)
{
	int n = epoll_wait(l->epoll_fd, l->events, EVENTS_MAX, sleep_ms(l, timeout_ms));
	int count = 0;

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	l->events_count = n;
	for (int i = 0; i < n; i++) {
		struct loop_fd *f = l->events[i].data.ptr;

		if (!f)
			continue;
		f->fn(f->arg, l->events[i].events);
		count++;
	}
	l->events_count = 0;
	return count;
}

int loop_poll(struct loop *l, int timeout_ms)
{
	int count = run_events(l, timeout_ms);

	if (count < 0)
		return count;
	count += run_timers(l);
	return count + run_work(l);
}

int loop_run(struct loop *l)
{
	int rc = 0;

	while (!l->is_stopped && rc >= 0)
		rc = loop_poll(l, -1);
	l->is_stopped = false;
	return rc < 0 ? rc : 0;
}

void loop_stop(struct loop *l)
{
	l->is_stopped = true;
}
