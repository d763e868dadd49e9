/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metadata of one server without other servers: a log of transactions and a snapshot, in one
 * folder.
 *
 *   lock                  held while a process uses the folder
 *   snapshot              the image at one revision, replaced atomically; names the log's
 * generation log-<generation>      the transactions after it, see frame.h
 *
 * A new generation begins as an empty log, then the snapshot that names it is renamed into place,
 * then the old log goes.  A log whose write failed is never written again: the next transaction
 * begins a new generation first, because after a failed fsync(2) nobody knows what of the old file
 * is on disk.
 */
#include "meta.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sluice/base/assert.h"
#include "sluice/base/crc32c.h"
#include "sluice/base/file.h"
#include "sluice/base/log.h"

#include "frame.h"

#define LOG_MAGIC          UINT64_C(0x534c4d4c4f473031) /* "SLMLOG01" */
#define SNAPSHOT_MAGIC     UINT64_C(0x534c4d534e503031) /* "SLMSNP01" */
#define LOG_HEAD_BYTES     28 /* u64 magic, u64 generation, u64 revision before it, u32 crc */
#define SNAPSHOT_HEAD      28 /* u64 magic, u64 generation, u64 revision, u32 records */
#define FILE_BYTES_MAX     (UINT64_C(1) << 30)
/* A log gets a snapshot when it is this big and bigger than the last snapshot. */
#define LOG_BYTES_SNAPSHOT (UINT64_C(4) << 20)

struct meta_backend {
	struct meta_backend_opts opts;
	char *dir; /* Owned */
	int dir_fd;
	int lock_fd;
	int log_fd;
	uint64_t generation;
	uint64_t revision; /* last durable one */
	uint64_t log_bytes;
	uint64_t snapshot_bytes;
	bool is_broken; /* a write to the log failed */
	struct sl_buf frame;
};

static int SL_PRINTF(3, 4) fail(char *error, int rc, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(error, META_ERROR_MAX, fmt, ap);
	va_end(ap);
	return rc;
}

static void log_name(char out[64], uint64_t generation)
{
	snprintf(out, 64, "log-%llu", (unsigned long long)generation);
}

static void join(char out[PATH_MAX], const struct meta_backend *b, const char *name)
{
	snprintf(out, PATH_MAX, "%s/%s", b->dir, name);
}

/* ---- Writing ---- */

/* Makes the log of a generation, durable with its head.  Return: descriptor or -errno. */
static int create_log(struct meta_backend *b, uint64_t generation)
{
	uint8_t head[LOG_HEAD_BYTES];
	char name[64];
	int fd, rc;

	log_name(name, generation);
	fd = openat(b->dir_fd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	sl_store_be64(head, LOG_MAGIC);
	sl_store_be64(head + 8, generation);
	sl_store_be64(head + 16, b->revision);
	sl_store_be32(head + 24, sl_crc32c(0, head, 24));
	rc = sl_write_all(fd, head, sizeof(head));
	if (rc == 0 && (fsync(fd) < 0 || fsync(b->dir_fd) < 0))
		rc = -errno;
	if (rc < 0) {
		close(fd);
		return rc;
	}
	return fd;
}

struct snapshot {
	struct sl_buf buf;
	uint32_t count;
};

static int emit_record(void *arg, const struct meta_record *rec)
{
	struct snapshot *s = arg;

	frame_put_record(&s->buf, rec);
	s->count++;
	return sl_buf_ok(&s->buf) ? 0 : -ENOMEM;
}

static int write_snapshot(struct meta_backend *b, uint64_t generation)
{
	struct snapshot s = {0};
	char path[PATH_MAX];
	uint8_t *head;
	int rc;

	sl_buf_init_grow(&s.buf, FILE_BYTES_MAX);
	if (!sl_buf_take(&s.buf, SNAPSHOT_HEAD))
		return -ENOMEM;
	rc = b->opts.dump(b->opts.ctx, emit_record, &s);
	if (rc < 0)
		goto out;
	head = s.buf.p;
	sl_store_be64(head, SNAPSHOT_MAGIC);
	sl_store_be64(head + 8, generation);
	sl_store_be64(head + 16, b->revision);
	sl_store_be32(head + 24, s.count);
	sl_buf_put_be32(&s.buf, sl_crc32c(0, s.buf.p, s.buf.len));
	rc = -ENOMEM;
	if (!sl_buf_ok(&s.buf))
		goto out;
	join(path, b, "snapshot");
	rc = sl_file_write_atomic(path, s.buf.p, s.buf.len);
	if (rc == 0)
		b->snapshot_bytes = s.buf.len;
out:
	sl_buf_fini(&s.buf);
	return rc;
}

/* Begins the next generation with a snapshot of the image. */
static int rotate(struct meta_backend *b)
{
	char old[64];
	int fd = create_log(b, b->generation + 1);
	int rc;

	if (fd < 0)
		return fd;
	rc = write_snapshot(b, b->generation + 1);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	if (b->log_fd >= 0) {
		log_name(old, b->generation);
		close(b->log_fd);
		(void)unlinkat(b->dir_fd, old, 0);
	}
	b->log_fd = fd;
	b->generation++;
	b->log_bytes = LOG_HEAD_BYTES;
	b->is_broken = false;
	return 0;
}

static void local_commit(struct meta_backend *b, uint64_t revision, const struct meta_record *recs,
                         uint32_t count, meta_backend_done_fn *fn, void *arg)
{
	int rc = 0;

	SL_ASSERT(revision == b->revision + 1);
	if (b->is_broken)
		rc = rotate(b);
	if (rc == 0) {
		sl_buf_reset(&b->frame);
		frame_put(&b->frame, revision, recs, count);
		if (!sl_buf_ok(&b->frame))
			rc = -ENOMEM;
	}
	if (rc == 0) {
		rc = sl_write_all(b->log_fd, b->frame.p, b->frame.len);
		if (rc == 0 && fdatasync(b->log_fd) < 0)
			rc = -errno;
		if (rc < 0)
			b->is_broken = true;
	}
	if (rc == 0) {
		b->log_bytes += b->frame.len;
		b->revision = revision;
	}
	fn(arg, rc);
}

static int local_tidy(struct meta_backend *b)
{
	int rc;

	if (b->log_bytes < LOG_BYTES_SNAPSHOT || b->log_bytes < b->snapshot_bytes)
		return 0;
	rc = rotate(b);
	return rc < 0 ? rc : 1;
}

/* ---- Recovery ---- */

static int load_records(struct meta_backend *b, struct sl_bytes body, uint32_t count,
                        uint64_t revision, struct meta_recovery *rec)
{
	const uint8_t *p = body.p;
	size_t left = (size_t)body.len;
	struct meta_record record;
	uint32_t seen = 0;
	int rc;

	while ((rc = frame_next_record(&p, &left, &record)) == 1) {
		rc = b->opts.load(b->opts.ctx, revision, &record);
		if (rc < 0)
			return rc;
		seen++;
	}
	rec->records += seen;
	return rc < 0 || seen != count ? -EBADMSG : 0;
}

/* Return: 0; 1 there is no snapshot; -errno. */
static int load_snapshot(struct meta_backend *b, struct meta_recovery *rec, char *error)
{
	char path[PATH_MAX];
	uint8_t *p = NULL;
	size_t len = 0;
	uint64_t revision;
	int rc;

	join(path, b, "snapshot");
	rc = sl_file_read(path, FILE_BYTES_MAX, (char **)&p, &len);
	if (rc == -ENOENT)
		return 1;
	if (rc < 0)
		return fail(error, rc, "%s: cannot be read: %s", path, strerror(-rc));
	rc = -EBADMSG;
	if (len < SNAPSHOT_HEAD + 4 || sl_load_be64(p) != SNAPSHOT_MAGIC) {
		rc = fail(error, rc, "%s: position 0: not a metadata snapshot", path);
	} else if (sl_crc32c(0, p, len - 4) != sl_load_be32(p + len - 4)) {
		rc = fail(error, rc, "%s: damaged: checksum of %zu bytes is wrong", path, len);
	} else {
		b->generation = sl_load_be64(p + 8);
		revision = sl_load_be64(p + 16);
		rc = load_records(
			b, (struct sl_bytes){p + SNAPSHOT_HEAD, (int32_t)(len - SNAPSHOT_HEAD - 4)},
			sl_load_be32(p + 24), revision, rec);
		if (rc < 0)
			rc = fail(error, rc, "%s: a record makes no sense: %s", path,
			          strerror(-rc));
		b->revision = revision;
		b->snapshot_bytes = len;
	}
	free(p);
	return rc;
}

/* What to do about a frame that is not whole: cut a torn tail, refuse damage before good frames. */
static int end_of_log(struct meta_backend *b, const char *path, struct sl_bytes log, size_t pos,
                      struct meta_recovery *rec, char *error)
{
	const uint8_t *p = log.p;
	size_t len = (size_t)log.len;
	size_t found;

	if (frame_find(p + pos + 1, len - pos - 1, b->revision, &found))
		return fail(error, -EBADMSG,
		            "%s: position %zu: damaged; a later transaction lies at position %zu",
		            path, pos, pos + 1 + found);
	if (ftruncate(b->log_fd, (off_t)pos) < 0 || fsync(b->log_fd) < 0) {
		int rc = -errno;

		return fail(error, rc, "%s: cannot cut the torn tail: %s", path, strerror(-rc));
	}
	rec->cut_bytes = len - pos;
	rec->cut_pos = pos;
	snprintf(rec->cut_file, sizeof(rec->cut_file), "%.255s", path);
	sl_log(WARN, meta, "cut torn tail file=%s pos=%zu bytes=%zu", path, pos, len - pos);
	return 0;
}

static int replay(struct meta_backend *b, const char *path, struct sl_bytes log,
                  struct meta_recovery *rec, char *error)
{
	const uint8_t *p = log.p;
	size_t len = (size_t)log.len;
	size_t pos = LOG_HEAD_BYTES;

	if (len < LOG_HEAD_BYTES || sl_load_be64(p) != LOG_MAGIC ||
	    sl_crc32c(0, p, 24) != sl_load_be32(p + 24))
		return fail(error, -EBADMSG, "%s: position 0: damaged head", path);
	if (sl_load_be64(p + 8) != b->generation || sl_load_be64(p + 16) != b->revision)
		return fail(error, -EBADMSG, "%s: position 8: does not belong to the snapshot",
		            path);
	while (pos < len) {
		struct frame frame;
		int rc;

		if (frame_parse(&frame, p + pos, len - pos) != FRAME_WHOLE) {
			rc = end_of_log(b, path, log, pos, rec, error);
			if (rc < 0)
				return rc;
			break;
		}
		if (frame.revision != b->revision + 1)
			return fail(error, -EBADMSG, "%s: position %zu: revision %llu after %llu",
			            path, pos, (unsigned long long)frame.revision,
			            (unsigned long long)b->revision);
		rc = load_records(b, frame.body, frame.records_count, frame.revision, rec);
		if (rc < 0)
			return fail(error, rc, "%s: position %zu: a record makes no sense: %s",
			            path, pos, strerror(-rc));
		b->revision = frame.revision;
		pos += frame.bytes;
	}
	b->log_bytes = pos;
	return 0;
}

static int load_log(struct meta_backend *b, struct meta_recovery *rec, char *error)
{
	char path[PATH_MAX];
	char name[64];
	char *p = NULL;
	size_t len = 0;
	int rc;

	log_name(name, b->generation);
	join(path, b, name);
	b->log_fd = openat(b->dir_fd, name, O_RDWR | O_CLOEXEC);
	if (b->log_fd < 0) {
		rc = -errno;
		return fail(error, rc == -ENOENT ? -EBADMSG : rc,
		            "%s: cannot be opened although the snapshot names it: %s", path,
		            strerror(-rc));
	}
	rc = sl_file_read(path, FILE_BYTES_MAX, &p, &len);
	if (rc < 0)
		return fail(error, rc, "%s: cannot be read: %s", path, strerror(-rc));
	rc = replay(b, path, (struct sl_bytes){p, (int32_t)len}, rec, error);
	free(p);
	if (rc == 0 && lseek(b->log_fd, (off_t)b->log_bytes, SEEK_SET) < 0)
		rc = fail(error, -errno, "%s: cannot be positioned", path);
	return rc;
}

/* A log with transactions but no snapshot: somebody removed the snapshot. */
static bool is_orphan(const struct meta_backend *b, const char *name)
{
	struct stat st;

	return fstatat(b->dir_fd, name, &st, 0) == 0 && st.st_size > LOG_HEAD_BYTES;
}

/* Removes the logs of other generations.  Without a snapshot only empty ones can be there. */
static int sweep(struct meta_backend *b, bool has_snapshot, char *error)
{
	char current[64];
	DIR *dir = opendir(b->dir);
	struct dirent *e;
	int rc = 0;

	if (!dir)
		return fail(error, -errno, "%s: cannot be listed: %s", b->dir, strerror(errno));
	log_name(current, b->generation);
	while (rc == 0 && (e = readdir(dir))) {
		if (strncmp(e->d_name, "log-", 4) != 0 ||
		    (has_snapshot && strcmp(e->d_name, current) == 0))
			continue;
		if (!has_snapshot && is_orphan(b, e->d_name))
			rc = fail(
				error, -EBADMSG,
				"%s/%s: holds transactions, but the snapshot it follows is missing",
				b->dir, e->d_name);
		else
			(void)unlinkat(b->dir_fd, e->d_name, 0);
	}
	closedir(dir);
	return rc;
}

static int recover(struct meta_backend *b, struct meta_recovery *rec, char *error)
{
	int rc = load_snapshot(b, rec, error);

	if (rc < 0)
		return rc;
	if (rc == 1) {
		rc = sweep(b, false, error);
		if (rc == 0) {
			rc = rotate(b);
			if (rc < 0)
				(void)fail(error, rc, "%s: cannot be written: %s", b->dir,
				           strerror(-rc));
		}
		return rc;
	}
	rc = load_log(b, rec, error);
	return rc < 0 ? rc : sweep(b, true, error);
}

static int lock_dir(struct meta_backend *b, char *error)
{
	int rc = sl_mkdir_p(b->dir, 0700);

	if (rc < 0)
		return fail(error, rc, "%s: cannot be created: %s", b->dir, strerror(-rc));
	b->dir_fd = open(b->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (b->dir_fd < 0)
		return fail(error, -errno, "%s: cannot be opened: %s", b->dir, strerror(errno));
	b->lock_fd = openat(b->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (b->lock_fd < 0)
		return fail(error, -errno, "%s/lock: cannot be opened: %s", b->dir,
		            strerror(errno));
	if (flock(b->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return fail(error, errno == EWOULDBLOCK ? -EBUSY : -errno,
		            "%s: in use by another process", b->dir);
	return 0;
}

static void local_close(struct meta_backend *b)
{
	if (b->log_fd >= 0)
		close(b->log_fd);
	if (b->dir_fd >= 0)
		close(b->dir_fd);
	if (b->lock_fd >= 0)
		close(b->lock_fd);
	sl_buf_fini(&b->frame);
	free(b->dir);
	free(b);
}

static int local_open(struct meta_backend **out, const struct meta_backend_opts *opts,
                      struct meta_recovery *rec, char error[META_ERROR_MAX])
{
	struct meta_backend *b = calloc(1, sizeof(*b));
	int rc;

	if (!b)
		return fail(error, -ENOMEM, "out of memory");
	b->opts = *opts;
	b->dir_fd = b->lock_fd = b->log_fd = -1;
	sl_buf_init_grow(&b->frame, FRAME_BODY_MAX + FRAME_HEAD_BYTES);
	b->dir = strdup(opts->dir);
	rc = b->dir ? lock_dir(b, error) : fail(error, -ENOMEM, "out of memory");
	if (rc == 0)
		rc = recover(b, rec, error);
	if (rc < 0) {
		local_close(b);
		return rc;
	}
	rec->revision = b->revision;
	*out = b;
	return 0;
}

const struct meta_ops meta_local_ops = {
	.name = "local",
	.open = local_open,
	.commit = local_commit,
	.tidy = local_tidy,
	.close = local_close,
};
