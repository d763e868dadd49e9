/* SPDX-License-Identifier: Apache-2.0 */
/* What runs a writer's syncs: writer.c hands each one to one of its back ends. */
#ifndef DATAPLANE_PARTITION_WRITER_IMPL_H
#define DATAPLANE_PARTITION_WRITER_IMPL_H

#include "partition/writer.h"

struct writer_back;

/* Everything is called as its namesake in writer.h, but for what is said here. */
struct writer_ops {
	void (*submit)(struct writer_back *b, struct partition *p); /* there is room */
	void (*flush)(struct writer_back *b);
	struct partition *(*reap)(struct writer_back *b, int *result);
	bool (*sleep)(struct writer_back *b);
	void (*wake)(struct writer_back *b);
	void (*stop)(struct writer_back *b);
	void (*destroy)(struct writer_back *b); /* stopped; frees @b */
};

/* The first member of each back end's own struct. */
struct writer_back {
	const struct writer_ops *ops;
	struct sl_lane_stats *stats; /* the lane's */
	uint32_t depth;              /* a power of two */
	uint32_t under_way;          /* submitted, not reaped; writer.c keeps it within the depth */
};

/* Fill in what is their own. */
int writer_thread_create(struct writer_back **out, const struct writer_opts *o,
                         uint32_t depth) SL_MUST_CHECK;
/* On failure *@reason and *@fix say why, and nothing is left behind. */
int writer_uring_create(struct writer_back **out, const struct writer_opts *o, uint32_t depth,
                        const char **reason, const char **fix) SL_MUST_CHECK;
int writer_uring_hold_fd(struct writer_back *b, int fd) SL_MUST_CHECK;

#endif
