/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A swap of cleaned segments that a crash has interrupted.  The new segment was whole on stable
 * storage before it was called ".swap", so it is put in its place; the old ones may be there, gone,
 * or some of them.  Runs while the log is opened.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "log_impl.h"

/* Where the batches of the file end. */
static int find_end(struct sl_log *log, const char *path, int64_t base_offset, int64_t *end)
{
	uint8_t window[STORE_WALK_WINDOW_BYTES];
	struct walk_batch batch;
	struct walk walk;
	uint64_t size = 0;
	int err;
	int fd = log->files.ops->open(log->files.ctx, log->dirfd, path, O_RDONLY, 0);

	if (fd < 0)
		return fd;
	*end = base_offset;
	err = log->files.ops->size(log->files.ctx, fd, &size);
	if (!err) {
		walk_init(&walk, &log->files, fd, window, sizeof(window));
		walk_seek(&walk, 0, size);
		while ((err = walk_next(&walk, &batch)) > 0) {
			if (batch.head.base_offset < *end ||
			    batch.head.base_offset > INT64_MAX - INT32_MAX)
				break;
			*end = sl_batch_last_offset(&batch.head) + 1;
		}
	}
	log->files.ops->close(log->files.ctx, fd);
	/* Damaged behind some batches: they are all there is, and what follows is a hole. */
	return err == -EBADMSG || err > 0 ? 0 : err;
}

static int remove_old(struct sl_log *log, int64_t base_offset)
{
	static const char *const suffixes[] = {".index", ".timeindex", ".txnindex", ".log"};
	char path[STORE_PATH_MAX];

	for (uint32_t i = 0; i < SL_ARRAY_SIZE(suffixes); i++) {
		int err = log->files.ops->unlink(log->files.ctx, log->dirfd,
		                                 segment_path(log, base_offset, suffixes[i], path));

		if (err && err != -ENOENT)
			return err;
	}
	return 0;
}

int clean_finish_swap(struct sl_log *log, int64_t base_offset, const int64_t *bases, uint32_t count,
                      int64_t *end)
{
	char from[STORE_PATH_MAX];
	char to[STORE_PATH_MAX];
	int err;

	segment_path(log, base_offset, ".log.swap", from);
	err = find_end(log, from, base_offset, end);
	if (err)
		return err;
	if (*end == base_offset) {
		err = log->files.ops->unlink(log->files.ctx, log->dirfd, from);
		return err == -ENOENT ? 0 : err;
	}
	sl_log(INFO, store, "finish swap part=%s base=%" PRId64 " end=%" PRId64, log->folder,
	       base_offset, *end);
	/* Of itself the indexes may be the new ones: they are made again from the batches. */
	err = remove_old(log, base_offset);
	for (uint32_t i = 0; i < count && !err; i++)
		if (bases[i] > base_offset && bases[i] < *end)
			err = remove_old(log, bases[i]);
	if (err)
		return err;
	return log->files.ops->rename(log->files.ctx, log->dirfd, from,
	                              segment_path(log, base_offset, ".log", to));
}
