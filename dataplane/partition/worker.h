/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that work for a lane while it polls: they sleep on an eventfd, and so may the lane. */
#ifndef DATAPLANE_PARTITION_WORKER_H
#define DATAPLANE_PARTITION_WORKER_H

#include <pthread.h>
#include <sched.h>

#include "sluice/base/base.h"

/*
 * Starts a thread that no signal is for.  @cpus: where it may run; NULL: anywhere, since it must
 * not wait for a lane that polls on the CPU of whoever starts it. Return: 0 or -errno.
 */
int worker_start(pthread_t *thread, void *(*run)(void *), void *arg,
                 const cpu_set_t *cpus) SL_MUST_CHECK;
/* Wakes who reads the eventfd @fd. */
void worker_wake(int fd);

#endif
