/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Group commits of whole log dirs: what nobody waits for is written without a sync, and once a
 * second one syncfs(2) makes it durable, however many partitions it belongs to.  A sync for each of
 * thousands of partitions would keep the file system's journal busy all the time, and with it every
 * lane that opens or grows a file.
 *
 * Only partitions with a hot tier take part.  A failed sync is the dir's end, as that of any other
 * sync: nobody knows whose pages were lost.  Where the file system cannot do it, or while it takes
 * long, partitions are synced on their own.
 *
 * Context: everything but creation is the owning lane's; a thread of its own sleeps in the sync.
 */
#ifndef DATAPLANE_PARTITION_DIRSYNC_H
#define DATAPLANE_PARTITION_DIRSYNC_H

#include "sluice/base/base.h"
#include "sluice/store/file_ops.h"

struct ctx;
struct dirsync;
struct partition;

/* @wake_fd: an eventfd, written when a sync has ended; borrowed.  Return: 0; -ENOMEM; -errno. */
int dirsync_create(struct dirsync **out, struct sl_files files, int wake_fd) SL_MUST_CHECK;
/* Waits for the sync under way, whose end dirsync_poll() tells; none begins any more.  NULL is a
 * no-op. */
void dirsync_stop(struct dirsync *d);
/* NULL is a no-op. */
void dirsync_destroy(struct dirsync *d);

/* @p is new on the lane, and nothing was written for it yet. */
void dirsync_join(struct ctx *ctx, const struct partition *p);
/* Whether the partition leaves its syncs to its dir's, unless somebody waits. */
bool dirsync_has(const struct ctx *ctx, const struct partition *p);
/* A write-out of @p has ended well, and no sync covers it yet. */
void dirsync_written(struct ctx *ctx, struct partition *p);
/* Begins what is due, tells partitions of what has ended; bounded.  Return: work done. */
unsigned dirsync_poll(struct ctx *ctx);
/* The tier is full of what waits for a sync: as soon as possible. */
void dirsync_hurry(struct ctx *ctx);
/* Nothing more is written: what was is synced at once.  Return: whether there is anything to wait
 * for. */
bool dirsync_drain(struct ctx *ctx);
/* When dirsync_poll() has something to begin, monotonic ms. */
int64_t dirsync_next_ms(const struct ctx *ctx);

#endif
