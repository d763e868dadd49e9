/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checkpoints of a lane's logs, one after the other: they bound what a crash makes the next start
 * read.  A thread writes the files, which a file system may be slow to make; the lane says when and
 * learns how it ended.
 *
 * Context: the owning lane.
 */
#ifndef DATAPLANE_PARTITION_CHECKPOINTS_H
#define DATAPLANE_PARTITION_CHECKPOINTS_H

#include "sluice/base/base.h"

struct checkpoints;
struct ctx;
struct partition;

/* CPU time of the calling thread, ns. */
typedef uint64_t checkpoints_clock(void);

/* @clock: of the thread, which rests longer after a checkpoint that took much of a CPU.
 * @wake_fd: an eventfd, written when one has been run; borrowed.  Return: 0; -ENOMEM; -errno. */
int checkpoints_create(struct checkpoints **out, checkpoints_clock *clock,
                       int wake_fd) SL_MUST_CHECK;
/* Waits for the one under way and ends it; no more are begun. */
void checkpoints_stop(struct ctx *ctx);
/* After the stop.  NULL is a no-op. */
void checkpoints_destroy(struct checkpoints *c);

/* A sync of @p has ended that none tells of yet. */
void checkpoints_want(struct ctx *ctx, struct partition *p);
/* Ends one, begins one that is due.  Return: work done. */
unsigned checkpoints_poll(struct ctx *ctx);
/* When one is due, monotonic ms; the end of a run writes the eventfd. */
int64_t checkpoints_next_ms(const struct ctx *ctx);

#endif
