/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading from segment files without waiting for the disk.  A lane that sleeps in sendfile(2) for
 * one catch-up reader keeps every tail reader waiting; so the pages are asked for first, and the
 * reply is sent when they are in memory.  They stay in the page cache for whoever comes next, as
 * long as the kernel has nothing better for them to do: tails live elsewhere, in the hot tier.
 *
 * Works in windows of a file.  No state per connection: a table of the lane remembers which windows
 * it has read lately.  Owner lane only.
 */
#ifndef DATAPLANE_REPLY_COLD_H
#define DATAPLANE_REPLY_COLD_H

#include "ctx.h"
#include "sluice/store/log.h"

#define COLD_WINDOW_BYTES ((uint64_t)256 << 10)

/* Return: 0 or -ENOMEM. */
int cold_create(struct cold **out) SL_MUST_CHECK;
/* NULL is a no-op. */
void cold_destroy(struct cold *cold);

/**
 * cold_ready() - bytes at the start of @piece that can be sent without waiting for the disk
 * @segment: names the file in the lane's table; not followed
 * @bytes_max: at most so many, > 0
 *
 * Starts reading what is not there; then 0: come back in a millisecond.  After two seconds without
 * success everything is ready, so that sendfile(2) finds out what is wrong with the disk.
 */
size_t cold_ready(struct ctx *ctx, const void *segment, const struct sl_log_piece *piece,
                  size_t bytes_max);
/* @bytes of it were sent: reads ahead when a window's border was crossed. */
void cold_sent(struct ctx *ctx, const void *segment, const struct sl_log_piece *piece,
               size_t bytes);

#endif
