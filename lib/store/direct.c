/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors with O_DIRECT, which a segment needs only while it is written out.  A write takes its
 * segment's and gives it back; of those that no write uses the lane keeps the last used ones open,
 * whatever logs they are of, so that few busy partitions open nothing and thousands hold little.
 */
#include <errno.h>

#include "hot_impl.h"
#include "log_impl.h"

static void close_idle(struct sl_hot_pool *pool, struct direct *direct)
{
	SL_ASSERT(pool->directs_count > 0);
	sl_list_del(&direct->link);
	pool->directs_count--;
	direct->files->ops->close(direct->files->ctx, direct->fd);
	direct->fd = -1;
}

static bool close_oldest(struct sl_hot_pool *pool)
{
	struct direct *oldest = sl_list_first(&pool->directs, struct direct, link);

	if (oldest)
		close_idle(pool, oldest);
	return oldest;
}

int direct_take(struct sl_log *log, struct segment *seg, int *fd)
{
	struct direct *direct = &seg->direct;
	char path[STORE_PATH_MAX];
	int rc;

	if (direct->fd >= 0) {
		SL_ASSERT(!sl_list_is_empty(&direct->link));
		sl_list_del(&direct->link);
		log->hot->directs_count--;
		*fd = direct->fd;
		return 0;
	}
	segment_path(log, seg->base_offset, ".log", path);
	do
		rc = log->files.ops->open(log->files.ctx, log->dirfd, path, O_RDWR | O_DIRECT, 0);
	while (rc == -EMFILE && close_oldest(log->hot));
	if (rc < 0)
		return rc;
	log->hot->directs_opened++;
	direct->files = &log->files;
	direct->fd = rc;
	*fd = rc;
	return 0;
}

void direct_put(struct sl_log *log, struct segment *seg)
{
	struct direct *direct = &seg->direct;

	if (direct->fd < 0)
		return;
	SL_ASSERT(sl_list_is_empty(&direct->link));
	sl_list_push_back(&log->hot->directs, &direct->link);
	log->hot->directs_count++;
	if (seg->is_doomed || log->is_buffered)
		direct_close(log, seg);
	if (log->hot->directs_count > log->hot->directs_max)
		(void)close_oldest(log->hot);
}

void direct_close(struct sl_log *log, struct segment *seg)
{
	if (!sl_list_is_empty(&seg->direct.link))
		close_idle(log->hot, &seg->direct);
}
