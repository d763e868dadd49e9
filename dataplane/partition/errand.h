/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread that does one thing at a time for a lane: something that sleeps.  The lane and the
 * thread hand it to each other by one word.
 *
 * Context: everything is the owning lane's; @work runs on the thread.
 */
#ifndef DATAPLANE_PARTITION_ERRAND_H
#define DATAPLANE_PARTITION_ERRAND_H

#include "sluice/base/base.h"

struct errand;

enum errand_state {
	ERRAND_IDLE = 0,
	ERRAND_RUNNING, /* what @work touches is the thread's */
	ERRAND_DONE,    /* it is the lane's again, which has not looked at it */
};

/**
 * errand_create() - start the thread
 * @name: of the thread; at most 15 bytes
 * @wake_fd: an eventfd, written when @work has returned; borrowed
 *
 * Return: 0; -ENOMEM; -errno.
 */
int errand_create(struct errand **out, const char *name, void (*work)(void *arg), void *arg,
                  int wake_fd) SL_MUST_CHECK;
/* Waits for what was begun; nothing can be begun any more. */
void errand_stop(struct errand *e);
/* NULL is a no-op. */
void errand_destroy(struct errand *e);

bool errand_is_stopped(const struct errand *e);
enum errand_state errand_state(const struct errand *e);
/* From IDLE. */
void errand_begin(struct errand *e);
/* From DONE to IDLE. */
void errand_end(struct errand *e);

#endif
