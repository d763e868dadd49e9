/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer's front: chooses the back end, keeps the number of syncs under way within the depth
 * and counts.  Runs on the lane's core; the back ends own everything else.
 */
#include "partition/writer.h"

#include <errno.h>

#include "partition/writer_impl.h"
#include "sluice/base/assert.h"

int writer_create(struct writer **out, const struct writer_opts *o)
{
	const char *reason = "the file operations are not the kernel's";
	const char *fix = "";
	struct writer *w = NULL;
	uint32_t depth = 1;
	int rc = -ENOTSUP;

	if (o->depth == 0 || o->depth > WRITER_DEPTH_MAX)
		return -EINVAL;
	while (depth < o->depth)
		depth *= 2;
	if (o->files.ops == &sl_file_ops_plain)
		rc = writer_uring_create(&w, o, depth, &reason, &fix);
	if (rc != 0)
		rc = writer_thread_create(&w, o, depth);
	else
		reason = fix = "";
	if (rc != 0)
		return rc;
	w->stats = o->stats;
	w->depth = depth;
	w->reason = reason;
	w->fix = fix;
	*out = w;
	return 0;
}

void writer_destroy(struct writer *w)
{
	if (!w)
		return;
	writer_stop(w);
	w->ops->destroy(w);
}

const char *writer_name(const struct writer *w)
{
	return w->ops->name;
}

const char *writer_reason(const struct writer *w)
{
	return w->reason;
}

const char *writer_fix(const struct writer *w)
{
	return w->fix;
}

int writer_hold_fd(struct writer *w, int fd)
{
	return w->ops->hold_fd(w, fd);
}

bool writer_submit(struct writer *w, struct partition *p)
{
	if (writer_is_full(w))
		return false;
	w->ops->submit(w, p);
	w->under_way++;
	w->unflushed++;
	return true;
}

void writer_flush(struct writer *w)
{
	if (w->unflushed > 0)
		sl_stat_add(w->stats, SL_STAT_sync_bursts, 1);
	w->unflushed = 0;
	w->ops->flush(w);
}

struct partition *writer_reap(struct writer *w, int *result)
{
	struct partition *p = w->ops->reap(w, result);

	if (!p)
		return NULL;
	SL_ASSERT(w->under_way > 0 && *result <= 0);
	w->under_way--;
	return p;
}

bool writer_is_full(const struct writer *w)
{
	return w->under_way >= w->depth || w->is_stopped;
}

bool writer_sleep(struct writer *w)
{
	return w->ops->sleep(w) && w->unflushed == 0;
}

void writer_wake(struct writer *w)
{
	w->ops->wake(w);
}

void writer_stop(struct writer *w)
{
	if (w->is_stopped)
		return;
	w->is_stopped = true;
	writer_flush(w);
	w->ops->stop(w);
}
