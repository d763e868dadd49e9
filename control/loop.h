/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control process's one thread: file descriptors, timers and deferred work.
 *
 * Every callback runs to its end before the next one starts, so nothing here locks.  A callback
 * does bounded work: what has more to do posts itself again.  Time comes from a clock that tests
 * replace.
 */
#ifndef CONTROL_LOOP_H
#define CONTROL_LOOP_H

#include "sluice/base/base.h"
#include "sluice/base/list.h"

struct loop;

/* Where time comes from. */
struct loop_clock {
	int64_t (*mono_ms)(void *arg);
	int64_t (*wall_ms)(void *arg);
	void *arg;
};

typedef void loop_fd_fn(void *arg, uint32_t events);
typedef void loop_fn(void *arg);

/* A watched descriptor.  Caller's memory; fd, fn and arg are set before loop_fd_add(). */
struct loop_fd {
	int fd;
	loop_fd_fn *fn;
	void *arg;
};

/* A timer.  Caller's memory, fn and arg set by it; zeroed otherwise means: not running. */
struct loop_timer {
	loop_fn *fn;
	void *arg;
	int64_t at_ms;  /* monotonic */
	uint32_t place; /* 1 + index in the heap; 0: not running */
};

/* Work to do once, soon.  Caller's memory, initialised by loop_work_init(). */
struct loop_work {
	struct sl_list link;
	loop_fn *fn;
	void *arg;
};

/* @clock: copied; NULL: the real clocks.  Return: 0; -errno of epoll_create1(2); -ENOMEM. */
int loop_create(struct loop **out, const struct loop_clock *clock) SL_MUST_CHECK;
/* Everything must have been removed before.  No-op on NULL. */
void loop_destroy(struct loop *l);

int64_t loop_mono_ms(const struct loop *l);
int64_t loop_wall_ms(const struct loop *l);

/* Level-triggered.  @events: EPOLLIN, EPOLLOUT.  Return: 0 or -errno of epoll_ctl(2). */
int loop_fd_add(struct loop *l, struct loop_fd *f, uint32_t events) SL_MUST_CHECK;
int loop_fd_mod(struct loop *l, struct loop_fd *f, uint32_t events) SL_MUST_CHECK;
/* Also safe from within a callback, for any descriptor; call it before close(2). */
void loop_fd_del(struct loop *l, struct loop_fd *f);

/* Starts or moves the timer.  Return: 0 or -ENOMEM (the timer then does not run). */
int loop_timer_set(struct loop *l, struct loop_timer *t, int64_t at_ms) SL_MUST_CHECK;
void loop_timer_stop(struct loop *l, struct loop_timer *t);

void loop_work_init(struct loop_work *w, loop_fn *fn, void *arg);
/* Runs @w after the current callback; posting it twice is posting it once. */
void loop_work_post(struct loop *l, struct loop_work *w);
void loop_work_cancel(struct loop_work *w);

/**
 * loop_poll() - one iteration: due timers, ready descriptors, posted work
 * @timeout_ms: longest sleep; 0 does not sleep, -1 has no limit
 * Return: callbacks run; -errno of epoll_wait(2).
 */
int loop_poll(struct loop *l, int timeout_ms) SL_MUST_CHECK;
/* Iterates until loop_stop().  Return: 0 or -errno. */
int loop_run(struct loop *l) SL_MUST_CHECK;
void loop_stop(struct loop *l);

#endif
