/* SPDX-License-Identifier: Apache-2.0 */
/* What runs a writer's syncs: writer.c hands each one to one of its back ends. */
#ifndef DATAPLANE_PARTITION_WRITER_IMPL_H
#define DATAPLANE_PARTITION_WRITER_IMPL_H

#include "partition/writer.h"

struct writer_back;

/* How a sync ended. */
struct writer_done {
	int result;       /* 0 or -errno */
	uint32_t retries; /* writes that were continued or repeated */
};

/* Everything is called as its namesake in writer.h, but for what is said here. */
struct writer_ops {
	void (*submit)(struct writer_back *b, struct partition *p); /* there is room */
	void (*flush)(struct writer_back *b);
	struct partition *(*reap)(struct writer_back *b, struct writer_done *done);
	bool (*sleep)(struct writer_back *b);
	void (*wake)(struct writer_back *b);
	void (*stop)(struct writer_back *b);
	void (*destroy)(struct writer_back *b); /* stopped; frees @b */
};

/* The first member of each back end's own struct. */
struct writer_back {
	const struct writer_ops *ops;
	uint32_t depth;     /* a power of two */
	uint32_t under_way; /* submitted, not reaped; the submitter keeps it within the depth */
};

/**
 * writer_uring_create() - a ring, for the thread that first submits to it
 * @wake_fd: an eventfd; borrowed
 * @stats: where its system calls are counted; NULL: nowhere
 *
 * Return: 0; -errno, *@reason and *@fix say why, and nothing is left behind.
 */
int writer_uring_create(struct writer_back **out, int wake_fd, struct sl_lane_stats *stats,
                        uint32_t depth, const char **reason, const char **fix) SL_MUST_CHECK;
/* As writer_hold_fd(). */
int writer_uring_hold_fd(struct writer_back *b, int fd) SL_MUST_CHECK;

/**
 * writer_thread_create() - a thread that runs on any CPU
 * @event_fd: an eventfd that it sleeps on; borrowed
 * @ring: runs what the thread takes, and writes @event_fd; borrowed, and the thread stops it.
 * NULL: the thread runs one sync after the other
 *
 * Return: 0; -ENOMEM; -errno of starting the thread.
 */
int writer_thread_create(struct writer_back **out, const struct writer_opts *o, uint32_t depth,
                         int event_fd, struct writer_back *ring) SL_MUST_CHECK;

#endif
