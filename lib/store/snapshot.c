/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Producer snapshots: "<20-digit offset>.snapshot" says what every producer's state was when the
 * log ended at that offset.  They only save replaying the log, so a missing or damaged one costs
 * time.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "fileio.h"
#include "log_impl.h"

/* Header and the largest possible table. */
#define SNAPSHOT_BYTES_MAX \
	(64u + STORE_PRODUCERS_MAX * 168u + STORE_ABORTED_MAX * ABORTED_ENTRY_BYTES)

static int snapshot_unlink(struct sl_log *log, int64_t offset)
{
	char path[STORE_PATH_MAX];
	int err = log->files.ops->unlink(log->files.ctx, log->dirfd,
	                                 segment_path(log, offset, ".snapshot", path));

	return err == -ENOENT ? 0 : err;
}

bool snapshot_is_there(const struct sl_log *log)
{
	return log->snapshots_count > 0 && log->snapshots[log->snapshots_count - 1] == log->end;
}

static void remove_at(struct sl_log *log, uint32_t i)
{
	memmove(log->snapshots + i, log->snapshots + i + 1,
	        (log->snapshots_count - i - 1) * sizeof(log->snapshots[0]));
	log->snapshots_count--;
}

static void forget(struct sl_log *log, uint32_t i)
{
	/* A file that stays is found at the next open and judged by its own offset and checksum. */
	SL_COUNT_IF(snapshot_unlink(log, log->snapshots[i]));
	remove_at(log, i);
}

void snapshot_found(struct sl_log *log, int64_t offset)
{
	uint32_t i = log->snapshots_count;

	if (i == SL_ARRAY_SIZE(log->snapshots)) {
		if (offset <= log->snapshots[0]) {
			SL_COUNT_IF(snapshot_unlink(log, offset));
			return;
		}
		forget(log, 0);
		i--;
	}
	while (i > 0 && log->snapshots[i - 1] > offset) {
		log->snapshots[i] = log->snapshots[i - 1];
		i--;
	}
	log->snapshots[i] = offset;
	log->snapshots_count++;
}

void snapshot_cut(struct sl_log *log, int64_t offset)
{
	point_settle(log);
	/* A power cut must not bring one back beside a log that has grown past it again. */
	if (log->snapshots_count > 0 && log->snapshots[log->snapshots_count - 1] > offset)
		log->folder_changes++;
	while (log->snapshots_count > 0 && log->snapshots[log->snapshots_count - 1] > offset)
		forget(log, log->snapshots_count - 1);
}

int snapshot_drop(struct sl_log *log, int64_t offset)
{
	point_settle(log);
	while (log->snapshots_count > 0 && log->snapshots[0] < offset) {
		int err = snapshot_unlink(log, log->snapshots[0]);

		if (err)
			return err;
		log->folder_changes++;
		remove_at(log, 0);
	}
	return 0;
}

bool snapshot_spare(const struct sl_log *log, char path[STORE_PATH_MAX])
{
	if (log->snapshots_count < STORE_SNAPSHOTS_KEPT || snapshot_is_there(log))
		return false;
	segment_path(log, log->snapshots[0], ".snapshot", path);
	return true;
}

/*
 * Over the oldest file, which gets the new one's name then: a checkpoint every few seconds of
 * thousands of logs would keep the file system busy with making and removing files.  Until the
 * rename the name and the contents say different offsets, so that neither is believed; the newest
 * file is not touched.
 */
static int write_over(const struct sl_files *files, int dirfd, const char *spare, const char *path,
                      const void *p, size_t len)
{
	int fd = files->ops->open(files->ctx, dirfd, spare, O_WRONLY, 0);
	int err_close, err;

	if (fd < 0)
		return fd;
	err = fileio_write_all(files, fd, p, len, 0);
	if (!err)
		err = files->ops->truncate(files->ctx, fd, len);
	err_close = files->ops->close(files->ctx, fd);
	err = err ? err : err_close;
	return err ? err : files->ops->rename(files->ctx, dirfd, spare, path);
}

int snapshot_write(const struct sl_files *files, int dirfd, const char *spare, const char *path,
                   const void *p, size_t len)
{
	int err = spare ? write_over(files, dirfd, spare, path, p, len) : -ENOENT;

	return err == -ENOENT ? fileio_replace(files, dirfd, path, p, len, false) : err;
}

void snapshot_encode(const struct sl_log *log, struct sl_buf *buf)
{
	const struct producers_snapshot snapshot = {
		.offset = log->end,
		.segment_base = log->active->base_offset,
		.aborted = &log->active->aborted,
	};

	SL_ASSERT(log->active->has_aborted);
	SL_ASSERT(log->snapshots_count == 0 ||
	          log->snapshots[log->snapshots_count - 1] <= log->end);
	producers_encode(&log->producers, &snapshot, buf);
}

void snapshot_stored(struct sl_log *log, int64_t offset, bool was_spare)
{
	if (was_spare)
		remove_at(log, 0);
	if (log->snapshots_count == 0 || log->snapshots[log->snapshots_count - 1] != offset)
		snapshot_found(log, offset);
	while (log->snapshots_count > STORE_SNAPSHOTS_KEPT)
		forget(log, 0);
}

int snapshot_store(struct sl_log *log)
{
	char spare[STORE_PATH_MAX];
	char path[STORE_PATH_MAX];
	struct sl_buf buf;
	bool has_spare;
	int err;

	point_settle(log);
	has_spare = snapshot_spare(log, spare);
	sl_buf_init_grow(&buf, SNAPSHOT_BYTES_MAX);
	snapshot_encode(log, &buf);
	err = sl_buf_ok(&buf) ? snapshot_write(&log->files, log->dirfd, has_spare ? spare : NULL,
	                                       segment_path(log, log->end, ".snapshot", path),
	                                       buf.p, buf.len)
	                      : -ENOMEM;
	sl_buf_fini(&buf);
	if (err)
		return log_fail(log, err, "write producer snapshot");
	log->folder_changes++;
	snapshot_stored(log, log->end, has_spare);
	return 0;
}

static int load(struct sl_log *log, struct producers *producers, struct aborted *aborted,
                int64_t offset)
{
	const int64_t base = log->active->base_offset;
	struct producers_snapshot snapshot = {.offset = offset};
	char path[STORE_PATH_MAX];
	struct aborted list = {0};
	char *p = NULL;
	size_t len = 0;
	int err;

	err = fileio_load(&log->files, log->dirfd, segment_path(log, offset, ".snapshot", path),
	                  SNAPSHOT_BYTES_MAX, &p, &len);
	if (err)
		return err;
	snapshot.aborted = &list;
	err = producers_decode(producers, &snapshot, p, len);
	free(p);
	/* Behind the begin of the active segment it must be of that segment. */
	if (!err && offset > base && snapshot.segment_base != base) {
		producers_clear(producers);
		err = -EBADMSG;
	}
	if (!err && aborted && snapshot.segment_base == base)
		*aborted = list;
	else
		aborted_fini(&list);
	return err;
}

int snapshot_load(struct sl_log *log, struct producers *producers, struct aborted *aborted,
                  int64_t offset_max, int64_t *offset)
{
	producers_clear(producers);
	*offset = -1;
	for (uint32_t i = log->snapshots_count; i > 0; i--) {
		int err;

		if (log->snapshots[i - 1] > offset_max)
			continue;
		err = load(log, producers, aborted, log->snapshots[i - 1]);
		if (!err) {
			*offset = log->snapshots[i - 1];
			return 0;
		}
		if (err != -EBADMSG && err != -ENOENT && err != -EFBIG)
			return err;
		sl_log(WARN, store, "ignore producer snapshot part=%s offset=%" PRId64 ": %s",
		       log->folder, log->snapshots[i - 1], strerror(-err));
	}
	return 0;
}
