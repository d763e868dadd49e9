/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer of one lane: runs what sl_log_sync_begin() asks for (a write-out of the hot tier, and
 * descriptors to be synced) beside the lane, and hands the results back.
 *
 * A durable write, which is what a producer waits for but for new segments, goes to the kernel
 * through an io_uring of the lane's.  Everything else is handed to a thread with an io_uring of its
 * own, which also waits for the file system where a write needs blocks or a descriptor.  Where
 * io_uring is refused that thread runs everything with sl_log_sync_run(), through whatever file
 * operations there are.  Which it is, is decided once, at creation.
 *
 * Context: everything but creation, writer_hold_fd() and the three names is the owning lane's
 * alone; those come before the lane runs.  Nothing is allocated after writer_create(), and only
 * writer_stop() sleeps.
 */
#ifndef DATAPLANE_PARTITION_WRITER_H
#define DATAPLANE_PARTITION_WRITER_H

#include "sluice/base/base.h"
#include "sluice/ipc/shm.h"
#include "sluice/store/file_ops.h"

#define WRITER_DEPTH_MAX 4096
#define WRITER_HOLDS_MAX 64 /* one for each log dir */

struct partition;
struct writer;

struct writer_opts {
	struct sl_files files;
	/* An eventfd, written when a result is there; borrowed. */
	int wake_fd;
	/* Syncs under way at most, 1..WRITER_DEPTH_MAX; rounded up to a power of two. */
	uint32_t depth;
	/* Of the lane; borrowed.  The owning lane is the only one that writes them. */
	struct sl_lane_stats *stats;
};

/**
 * writer_create() - start the thread, and take two io_urings if they can be had
 *
 * They can when the files are the kernel's own and the kernel grants both.
 *
 * Context: any thread.
 * Return: 0; -EINVAL depth; -ENOMEM; -errno of eventfd(2) or of starting the thread.
 */
int writer_create(struct writer **out, const struct writer_opts *o) SL_MUST_CHECK;
/* After writer_stop() and the last writer_reap(), or without anything under way. */
void writer_destroy(struct writer *w);

/* "io_uring" or "thread". */
const char *writer_name(const struct writer *w);
/* Why it is not io_uring, and what would mend that; both "" when it is. */
const char *writer_reason(const struct writer *w);
const char *writer_fix(const struct writer *w);

/**
 * writer_hold_fd() - keep @fd open until the last write of this process has ended
 * @fd: a log dir's lock; the caller may close it, but that gives the lock up only with the writer
 *
 * A process that is killed closes its descriptors at once, while writes that the kernel runs for it
 * are still on their way to the disk.  Its successor would get the lock and be overtaken by them.
 * A ring's own reference goes when the ring has nothing under way any more.  A thread without a
 * ring needs no such care: a process ends only when its threads have left their system calls.
 *
 * Context: before the lane runs.
 * Return: 0, also without io_uring; -ENOSPC WRITER_HOLDS_MAX are held; -errno of
 * io_uring_register(2).
 */
int writer_hold_fd(struct writer *w, int fd) SL_MUST_CHECK;

/**
 * writer_submit() - take p->sync, which sl_log_sync_begin() has filled
 *
 * It is started by the next writer_flush().
 * Ownership: p->sync and what it names stay untouched until writer_reap() returns @p.
 * Return: false when writer_is_full(), nothing was taken.
 */
bool writer_submit(struct writer *w, struct partition *p) SL_MUST_CHECK;
/* Starts what was submitted since: at most one system call for all writes, as long as the kernel
 * has memory, and one to wake the thread.  Once per poll of the lane, after its last
 * submit and reap. */
void writer_flush(struct writer *w);
/* A finished one, in no order; NULL none.  *@result: 0, or -errno of the first part that failed. */
struct partition *writer_reap(struct writer *w, int *result);
/* As many as the depth are under way, or the writer was stopped. */
bool writer_is_full(const struct writer *w);
/* A write that ends on stable storage was submitted and not reaped. */
bool writer_is_syncing(const struct writer *w);

/**
 * writer_sleep() - results write wake_fd from now on
 *
 * As after creation.  To be called when the lane is about to sleep on wake_fd.
 * Return: false when there is something to reap or to flush already: do not sleep.  Results go on
 * writing wake_fd all the same until writer_wake().
 */
bool writer_sleep(struct writer *w) SL_MUST_CHECK;
/* The lane polls: results need not write wake_fd, and soon do not any more. */
void writer_wake(struct writer *w);

/* Takes nothing any more and waits for what is under way; results are still to be reaped.  Sleeps.
 */
void writer_stop(struct writer *w);

#endif
