/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compaction from a lane's side: which of its logs the cleaner gets next, the swaps in between, and
 * what becomes of a log that cannot be cleaned.  The lane's core only.
 */
#ifndef DATAPLANE_PARTITION_CLEANING_H
#define DATAPLANE_PARTITION_CLEANING_H

#include "ctx.h"

/* Attached, or with a new configuration: it is compacted from now on, or not any more. */
void cleaning_join(struct ctx *ctx, struct partition *p);
/* About to be closed, or not compacted any more.  Where the cleaner has its log, the log stays open
 * until it comes back, soon. */
void cleaning_leave(struct ctx *ctx, struct partition *p);
/* Takes back what the cleaner is done with, gives it the dirtiest log; bounded work per call.
 * Return: work done. */
unsigned cleaning_poll(struct ctx *ctx);
/* When cleaning_poll() has something to do next, monotonic ms. */
int64_t cleaning_next_ms(const struct ctx *ctx);
/* At the end of a lane: waits until the cleaner has given back what it has.  Sleeps. */
void cleaning_stop(struct ctx *ctx);
/* For the slot. */
void cleaning_publish(struct partition *p);

#endif
