/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Group commit: which descriptors have to be synced so that everything appended so far is on stable
 * storage, and what is known afterwards.  Begin and end run on the owner's core; the sync between
 * them runs on any thread, on descriptors that references keep open.
 */
#include <errno.h>
#include <inttypes.h>

#include "fileio.h"
#include "log_impl.h"

/* Opens a path of the folder only to sync it. */
static int add_path(struct sl_log *log, struct sl_log_sync *sync, const char *path, int flags)
{
	int fd = log->files.ops->open(log->files.ctx, log->dirfd, path, flags, 0);

	if (fd < 0)
		return fd;
	log->sync_aux[log->sync_aux_count++] = fd;
	sync->segments[sync->fds_count] = NULL;
	sync->fds[sync->fds_count++] = fd;
	return 0;
}

static void close_aux(struct sl_log *log)
{
	while (log->sync_aux_count > 0)
		log->files.ops->close(log->files.ctx, log->sync_aux[--log->sync_aux_count]);
}

/* Names first: a file whose folder entry is lost is lost with its data. */
static int add_names(struct sl_log *log, struct sl_log_sync *sync)
{
	char path[STORE_PATH_MAX];
	int err = 0;

	log->sync_folder = log->folder_changes;
	if (log->is_parent_dirty) {
		sync->segments[sync->fds_count] = NULL;
		sync->fds[sync->fds_count++] = log->dirfd;
		err = add_path(log, sync, log_path(log, LOG_METADATA_FILE, path), O_RDONLY);
	}
	if (!err && (log->is_parent_dirty || log->folder_changes != log->folder_synced))
		err = add_path(log, sync, log->folder, O_RDONLY | O_DIRECTORY);
	return err;
}

static void add_segment(struct sl_log_sync *sync, struct segment *seg)
{
	SL_ASSERT(seg->fd >= 0);
	seg->refs++;
	sync->segments[sync->fds_count] = seg;
	sync->fds[sync->fds_count++] = seg->fd;
	sync->offset = seg->end_offset;
}

/* The data that this sync covers.  Return: 1; 0 there is none; -errno. */
static int add_data(struct sl_log *log, struct sl_log_sync *sync, bool is_wanted)
{
	uint32_t first = log->segments_count;

	if (log->hot)
		return hotlog_begin(log, sync, is_wanted);
	/* Dirty segments are the last ones of the array: each begins dirty and is synced in order.
	 */
	while (first > 0 && log->segments[first - 1]->is_dirty)
		first--;
	SL_ASSERT(first < log->segments_count);
	for (; first < log->segments_count && sync->fds_count < SL_ARRAY_SIZE(sync->fds); first++)
		add_segment(sync, log->segments[first]);
	return 1;
}

int sl_log_sync_begin(struct sl_log *log, struct sl_log_sync *sync, bool is_wanted)
{
	int rc = 0;

	*sync = (struct sl_log_sync){.offset = log->flushed, .write_fd = -1};
	if (log->error || log->is_sync_running || log->flushed >= log->end ||
	    !(is_wanted || log->hot))
		return 0;
	if (is_wanted || hotlog_is_sync_due(log))
		rc = add_names(log, sync);
	if (rc == 0)
		rc = add_data(log, sync, is_wanted);
	if (rc <= 0) {
		close_aux(log);
		if (rc == 0)
			return 0;
		/* Nothing was synced and nothing is claimed; descriptors may be back next time. */
		if (rc != -EMFILE && rc != -ENFILE && rc != -ENOMEM) {
			log_fail(log, rc, "begin sync");
			return 0;
		}
		sl_log(WARN, store, "delay sync part=%s: %s", log->folder, strerror(-rc));
		return -EAGAIN;
	}
	SL_ASSERT(sync->fds_count + sync->iov_count > 0 && sync->offset <= log->end);
	log->is_sync_running = true;
	log->is_sync_void = false;
	return 1;
}

int sl_log_sync_open(const struct sl_files *files, struct sl_log_sync *sync, int *fd)
{
	int rc;

	*fd = sync->write_fd;
	if (sync->allocate_bytes > 0) {
		rc = fileio_allocate(files, *fd, sync->allocate_pos, sync->allocate_bytes);
		if (rc)
			return rc;
		sync->is_allocated = true;
	}
	if (!sync->wants_direct)
		return 0;
	rc = files->ops->reopen(files->ctx, *fd, O_RDWR | O_DIRECT);
	if (rc >= 0)
		*fd = rc;
	else if (rc != -EINVAL) /* which says that the file system has none */
		sl_log(WARN, store, "write through the page cache: no descriptor: %s",
		       strerror(-rc));
	return 0;
}

void sl_log_sync_close(const struct sl_files *files, const struct sl_log_sync *sync, int fd)
{
	if (fd != sync->write_fd)
		files->ops->close(files->ctx, fd);
}

/* Return: 0 or -errno.  O_DIRECT or not, data is durable only after a sync behind it. */
static int run_write(const struct sl_files *files, struct sl_log_sync *sync)
{
	uint64_t pos = sync->write_pos;
	int fd;
	int err = sl_log_sync_open(files, sync, &fd);

	if (err)
		return err;
	for (uint32_t i = 0; !err && i < sync->iov_count; i++) {
		err = fileio_write_all(files, fd, sync->iov[i].iov_base, sync->iov[i].iov_len, pos);
		pos += sync->iov[i].iov_len;
	}
	SL_ASSERT(err || pos == sync->write_pos + sync->write_bytes);
	if (!err && sync->is_durable)
		err = files->ops->sync(files->ctx, fd);
	sl_log_sync_close(files, sync, fd);
	return err;
}

int sl_log_sync_run(const struct sl_files *files, struct sl_log_sync *sync)
{
	int err = 0;

	SL_ASSERT(sync->fds_count <= SL_ARRAY_SIZE(sync->fds));
	SL_ASSERT(sync->iov_count <= SL_ARRAY_SIZE(sync->iov));
	if (sync->iov_count > 0)
		err = run_write(files, sync);
	for (uint32_t i = 0; !err && i < sync->fds_count; i++)
		err = files->ops->sync(files->ctx, sync->fds[i]);
	return err;
}

/* Moves the recovery point over sealed segments that are durable now. */
static void advance_recovery_point(struct sl_log *log)
{
	if (log->flushed < log->active->base_offset ||
	    log->recovery_point >= log->active->base_offset)
		return;
	log->recovery_point = log->active->base_offset;
	log->recovery_pos = 0;
	/* A failure is remembered as the log's error; what was synced stays synced. */
	SL_COUNT_IF(checkpoint_store(log, false));
}

/* A file system may take O_DIRECT at open(2) and refuse its writes, before any byte of them: they
 * go through the page cache from then on, with the sync that ends every write-out. */
static bool is_direct_refused(struct sl_log *log, const struct sl_log_sync *sync, int result)
{
	if (result != -EINVAL || !sync->write_segment || log->is_buffered)
		return false;
	sl_log(WARN, store, "write without O_DIRECT part=%s: the file system refuses it",
	       log->folder);
	log->is_buffered = true;
	return true;
}

/* Nothing was written: the next one's blocks are begin_allocate()'s, which can make room. */
static bool is_disk_full(struct sl_log *log, const struct sl_log_sync *sync, int result)
{
	if (result != -ENOSPC || sync->allocate_bytes == 0 || sync->is_allocated)
		return false;
	log->is_disk_full = true;
	return true;
}

void sl_log_sync_end(struct sl_log *log, struct sl_log_sync *sync, int result)
{
	const bool is_put_off = is_direct_refused(log, sync, result) ||
	                        is_disk_full(log, sync, result);
	const bool is_good = !result && !log->is_sync_void;

	SL_ASSERT(log->is_sync_running && result <= 0);
	log->is_sync_running = false;
	close_aux(log);
	if (sync->write_segment) {
		hotlog_write_end(log, sync, is_good);
		segment_put(log, sync->write_segment);
	}
	for (uint32_t i = 0; i < sync->fds_count; i++) {
		struct segment *seg = sync->segments[i];

		if (!seg)
			continue;
		if (is_good && log->hot)
			hotlog_synced(log, seg);
		else if (is_good && seg->end_offset <= sync->offset)
			seg->is_dirty = false;
		segment_put(log, seg);
	}
	if (result && !is_put_off) {
		/* The kernel may have dropped the pages it could not write: a second fsync would
		 * succeed without them.  So the first failure is the last word. */
		log_fail(log, result, "sync");
	} else if (is_good && (sync->is_durable || sync->fds_count > 0)) {
		log->folder_synced = log->sync_folder;
		log->is_parent_dirty = false;
		log->flushed = SL_MAX(log->flushed, sync->offset);
		advance_recovery_point(log);
	}
	*sync = (struct sl_log_sync){.offset = log->flushed};
}

/* ---- Of the whole file system ---- */

uint64_t sl_log_unsynced(const struct sl_log *log)
{
	return log->unsynced;
}

int sl_log_dirfd(const struct sl_log *log)
{
	return log->dirfd;
}

void sl_log_mark(struct sl_log *log)
{
	uint32_t i = log->segments_count - 1;
	const struct segment *seg;

	while (i > 0 && log->segments[i]->written == 0)
		i--;
	seg = log->segments[i];
	log->mark = (struct log_mark){
		.is_set = true,
		.base_offset = seg->base_offset,
		.pos = seg->written,
		.offset = seg->written == seg->bytes ? seg->end_offset : seg->written_offset,
		.folder_changes = log->folder_changes,
	};
}

int sl_log_dir_sync_open(const struct sl_files *files, int dirfd)
{
	return files->ops->open(files->ctx, dirfd, LOG_LOCK_FILE, O_RDONLY, 0);
}

int sl_log_dir_sync_fs(const struct sl_files *files, int fd)
{
	return files->ops->sync_fs(files->ctx, fd);
}

void sl_log_mark_end(struct sl_log *log, int result)
{
	const struct log_mark mark = log->mark;
	uint32_t i = log->segments_count;

	log->mark.is_set = false;
	if (!mark.is_set || log->error || !log->hot)
		return;
	if (result) {
		/* As in sl_log_sync_end(): the first failure is the last word. */
		log_fail(log, result, "sync log dir");
		return;
	}
	while (i > 0 && log->segments[i - 1]->is_dirty)
		i--;
	/* Segments are written in order: those before the mark's were written whole. */
	for (; i < log->segments_count && log->segments[i]->base_offset <= mark.base_offset; i++) {
		struct segment *seg = log->segments[i];

		hotlog_settle(log, seg,
		              seg->base_offset < mark.base_offset ? seg->bytes : mark.pos);
	}
	if ((int32_t)(mark.folder_changes - log->folder_synced) > 0)
		log->folder_synced = mark.folder_changes;
	log->is_parent_dirty = false;
	log->flushed = SL_MAX(log->flushed, mark.offset);
	advance_recovery_point(log);
}

int sync_all(struct sl_log *log)
{
	/* Every round takes at least one dirty segment or chunk. */
	while (log->flushed < log->end) {
		const int64_t before = log->flushed;
		struct sl_log_sync sync;
		int err;

		if (sl_log_sync_begin(log, &sync, true) <= 0)
			return log->error ? log->error : -EMFILE;
		err = sl_log_sync_run(&log->files, &sync);
		sl_log_sync_end(log, &sync, err);
		if (err)
			return err;
		if (log->flushed == before)
			return -EIO;
	}
	return 0;
}
