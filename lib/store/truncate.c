/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Removing a log's tail.  Rare, so it is done carefully instead of fast: what a later recovery
 * trusts is lowered on disk first, then the bytes go, then everything derived from them is rebuilt.
 */
#include <errno.h>
#include <inttypes.h>

#include "fileio.h"
#include "log_impl.h"

/* Lowers the recovery point on stable storage: segments that will be written again below the old
 * one must not be trusted unscanned after a power cut. */
static int lower_recovery_point(struct sl_log *log, int64_t base_offset)
{
	char path[STORE_PATH_MAX];
	int err;

	log->recovery_point = SL_MIN(log->recovery_point, base_offset);
	log->recovery_pos = 0;
	err = checkpoint_lower(log);
	if (!err)
		err = fileio_sync_path(&log->files, log->dirfd,
		                       log_path(log, LOG_CHECKPOINT_FILE, path), O_RDONLY);
	if (!err)
		err = fileio_sync_path(&log->files, log->dirfd, log->folder,
		                       O_RDONLY | O_DIRECTORY);
	return err;
}

/* Makes @seg, cut to @bytes, the active segment. */
static int cut_segment(struct sl_log *log, struct segment *seg, uint64_t bytes)
{
	int err = seg->is_sealed ? segment_unseal(log, seg) : 0;

	if (err)
		return err;
	log->active = seg;
	/* settle() fills it. */
	txnindex_begin(seg);
	log->bytes -= seg->bytes - bytes;
	seg->bytes = bytes;
	seg->is_dirty = true;
	log_tail_clear(log);
	err = log->files.ops->truncate(log->files.ctx, seg->fd, bytes);
	if (!err)
		err = segment_rebuild(log, seg);
	/* On disk before anything is appended: a resurrected tail would look like a valid one. */
	if (!err)
		err = log->files.ops->sync(log->files.ctx, seg->fd);
	if (bytes == 0)
		seg->since_ms = 0;
	seg->written = seg->bytes;
	seg->durable = seg->bytes;
	seg->allocated = seg->bytes;
	return err == -EBADMSG ? -EIO : err;
}

/* The log becomes empty and goes on at @offset. */
static int restart_at(struct sl_log *log, int64_t offset)
{
	int err = segment_doom(log, 0, log->segments_count);

	if (!err)
		err = segment_create(log, offset);
	if (err)
		return err;
	log->start = offset;
	log->end = offset;
	return checkpoint_store(log, false);
}

static int cut_at(struct sl_log *log, uint32_t i, const struct log_place *place)
{
	struct segment *seg = log->segments[i];
	uint32_t behind = log->segments_count - i - 1;
	int err = behind > 0 ? segment_doom(log, i + 1, behind) : 0;

	if (!err)
		err = cut_segment(log, seg, place->pos);
	if (!err)
		log->end = seg->end_offset;
	return err;
}

static int settle(struct sl_log *log)
{
	int err = 0;

	log->flushed = SL_MIN(log->flushed, log->end);
	/* An epoch that begins at the new end wrote nothing that is left. */
	if (epochs_cut_tail(&log->epochs, log->end - 1))
		err = log_store_epochs(log);
	if (err)
		return err;
	snapshot_cut(log, log->end);
	return replay_producers(log, false, log->now_ms);
}

/* Everything into the files, so that they alone are cut. */
static int settle_hot(struct sl_log *log)
{
	int err = sync_all(log);

	for (uint32_t i = 0; i < log->segments_count && !err; i++)
		hotlog_drop(log, log->segments[i]);
	return err;
}

int sl_log_truncate(struct sl_log *log, int64_t offset)
{
	struct log_place place;
	uint32_t i;
	int err;

	if (log->error)
		return log->error;
	if (offset < 0)
		return -EINVAL;
	if (offset >= log->end)
		return 0;
	if (log->hot && log->is_sync_running)
		return -EBUSY;
	point_settle(log);
	err = log->hot ? settle_hot(log) : 0;
	if (err)
		return err;
	i = lookup_segment(log, offset);
	err = lookup_batch(log, log->segments[i], offset, &place);
	if (err < 0)
		return err;
	SL_ASSERT(err > 0 || i + 1 < log->segments_count);
	if (err == 0) {
		/* A hole at the end of a damaged segment: the next one goes as a whole. */
		i++;
		place = (struct log_place){.base_offset = log->segments[i]->base_offset};
	}
	log->is_sync_void = true;
	log->mark.is_set = false;
	/* Gone before the folder is synced: it must not vouch for what is appended next. */
	err = txnindex_remove(log, log->segments[i]);
	if (!err)
		err = clean_cut(log, SL_MIN(offset, log->segments[i]->base_offset));
	if (!err)
		err = lower_recovery_point(log, log->segments[i]->base_offset);
	/* Removing the batch at the log start would leave the log ending below where it begins. */
	if (!err)
		err = SL_MIN(offset, place.base_offset) < log->start
		              ? restart_at(log, SL_MIN(offset, log->start))
		              : cut_at(log, i, &place);
	if (!err)
		err = settle(log);
	return err ? log_fail(log, err, "truncate") : 0;
}
