/* SPDX-License-Identifier: Apache-2.0 */
/* A few threads for work that sleeps on the disk: while one waits the others go on.  For cold
 * paths: the threads live as long as the call. */
#ifndef SLUICE_BASE_CREW_H
#define SLUICE_BASE_CREW_H

#include "sluice/base/base.h"

#define SL_CREW_THREADS_MAX 16

/* @index: of the item; @worker: below threads_max, no two threads have the same at a time. */
typedef void sl_crew_fn(void *arg, uint32_t index, uint32_t worker);

/**
 * sl_crew_run() - call a function once for each of @count items
 * @threads_max: 1..SL_CREW_THREADS_MAX, the calling thread is one of them
 * @each: runs on any of the threads; items are begun in order and end in none
 *
 * Whatever @each wrote may be read when this returns.  A system that refuses more threads slows it
 * down, nothing else.
 *
 * Context: any thread but a lane.  Sleeps.
 */
void sl_crew_run(uint32_t count, uint32_t threads_max, sl_crew_fn *each, void *arg);

#endif
