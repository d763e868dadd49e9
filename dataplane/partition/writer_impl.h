/* SPDX-License-Identifier: Apache-2.0 */
/* What the writer's two back ends share: writer.c calls them through struct writer_ops. */
#ifndef DATAPLANE_PARTITION_WRITER_IMPL_H
#define DATAPLANE_PARTITION_WRITER_IMPL_H

#include "partition/writer.h"

/* Everything is called as its namesake in writer.h, but for what is said here. */
struct writer_ops {
	const char *name;
	void (*submit)(struct writer *w, struct partition *p); /* there is room */
	void (*flush)(struct writer *w);
	struct partition *(*reap)(struct writer *w, int *result);
	bool (*sleep)(struct writer *w);
	void (*wake)(struct writer *w);
	void (*stop)(struct writer *w);    /* once */
	void (*destroy)(struct writer *w); /* frees @w; nothing is under way */
	int (*hold_fd)(struct writer *w, int fd);
};

/* The first member of each back end's own struct. */
struct writer {
	const struct writer_ops *ops;
	struct sl_lane_stats *stats; /* The lane's */
	uint32_t depth;              /* a power of two */
	uint32_t under_way;          /* submitted, not reaped */
	uint32_t unflushed;          /* submitted, not flushed */
	bool is_stopped;
	const char *reason;
	const char *fix;
};

/* Fill in everything of *@out but what writer_create() does.  @depth: a power of two. */
int writer_thread_create(struct writer **out, const struct writer_opts *o,
                         uint32_t depth) SL_MUST_CHECK;
/* On failure *@reason and *@fix say why, and nothing is left behind. */
int writer_uring_create(struct writer **out, const struct writer_opts *o, uint32_t depth,
                        const char **reason, const char **fix) SL_MUST_CHECK;

#endif
