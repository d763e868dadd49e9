/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segment files of deleted segments, kept for new ones.  Their blocks have been written before, so
 * a durable write into them changes no metadata of the file system: it takes half the time of one
 * into fresh blocks.  One recycler per lane and log dir, used by the lane's thread only.
 *
 * A kept file begins with a block of zeros that was synced before the file got its place here: the
 * batches of its last life must not be found at the beginning of the next one.  Further in, the
 * margin of zeros behind each write-out (hotlog.c) keeps them apart.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "fileio.h"
#include "log_impl.h"

#define RECYCLE_FOLDER    ".recycled"
#define RECYCLE_FILES_MAX 64u
/* Smaller files save nothing that counts. */
#define RECYCLE_BYTES_MIN ((uint64_t)1 << 20)

struct recycled {
	uint64_t number;
	uint64_t bytes;
};

struct sl_recycler {
	struct sl_files files;
	int dirfd; /* Borrowed: the log dir */
	struct sl_recycler_opts opts;
	uint64_t bytes;
	uint64_t next_number;
	uint32_t count;
	struct recycled kept[RECYCLE_FILES_MAX];
};

static const char *kept_path(const struct sl_recycler *r, uint64_t number,
                             char path[STORE_PATH_MAX])
{
	snprintf(path, STORE_PATH_MAX, RECYCLE_FOLDER "/%u.%" PRIu64, r->opts.lane, number);
	return path;
}

static int keep(struct sl_recycler *r, uint64_t number, uint64_t bytes)
{
	if (r->count == RECYCLE_FILES_MAX || bytes < RECYCLE_BYTES_MIN ||
	    r->bytes + bytes > r->opts.bytes_max)
		return -ENOSPC;
	r->kept[r->count++] = (struct recycled){number, bytes};
	r->bytes += bytes;
	return 0;
}

/* Of a lane that does not exist any more: nobody else would. */
static int remove_other(struct sl_recycler *r, uint32_t lane, uint64_t number)
{
	char path[STORE_PATH_MAX];

	if (r->opts.lane != 0 || lane < r->opts.lanes_count)
		return 0;
	snprintf(path, sizeof(path), RECYCLE_FOLDER "/%u.%" PRIu64, lane, number);
	return r->files.ops->unlink(r->files.ctx, r->dirfd, path);
}

/* A file of an earlier life of this lane, or one that is not wanted any more. */
static int on_kept(void *arg, const char *name)
{
	struct sl_recycler *r = arg;
	char path[STORE_PATH_MAX];
	uint64_t number = 0;
	uint64_t bytes = 0;
	uint32_t lane = 0;
	int used = 0;
	int err;
	int fd;

	if (sscanf(name, "%u.%" SCNu64 "%n", &lane, &number, &used) != 2 || name[used] != '\0')
		return 0;
	if (lane != r->opts.lane)
		return remove_other(r, lane, number);
	r->next_number = SL_MAX(r->next_number, number + 1);
	kept_path(r, number, path);
	fd = r->files.ops->open(r->files.ctx, r->dirfd, path, O_RDONLY, 0);
	if (fd < 0)
		return fd;
	err = r->files.ops->size(r->files.ctx, fd, &bytes);
	r->files.ops->close(r->files.ctx, fd);
	if (!err && keep(r, number, bytes))
		err = r->files.ops->unlink(r->files.ctx, r->dirfd, path);
	return err;
}

int sl_recycler_open(struct sl_recycler **out, struct sl_log_dir *dir,
                     const struct sl_recycler_opts *opts)
{
	struct sl_recycler *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return -ENOMEM;
	r->files = *dir_files(dir);
	r->dirfd = sl_log_dir_fd(dir);
	r->opts = *opts;
	err = r->files.ops->mkdir(r->files.ctx, r->dirfd, RECYCLE_FOLDER, 0750);
	if (!err || err == -EEXIST)
		err = r->files.ops->list(r->files.ctx, r->dirfd, RECYCLE_FOLDER, on_kept, r);
	if (err) {
		free(r);
		return err;
	}
	*out = r;
	return 0;
}

void sl_recycler_close(struct sl_recycler *r)
{
	free(r);
}

uint64_t sl_recycler_bytes(const struct sl_recycler *r)
{
	return r->bytes;
}

/* The zeros at the beginning, on stable storage. */
static int wipe(struct sl_recycler *r, const char *path, uint64_t *bytes)
{
	static const uint8_t zeros[SL_HOT_BLOCK];
	int err;
	int fd = r->files.ops->open(r->files.ctx, r->dirfd, path, O_RDWR, 0);

	if (fd < 0)
		return fd;
	err = r->files.ops->size(r->files.ctx, fd, bytes);
	if (!err)
		err = fileio_write_all(&r->files, fd, zeros, sizeof(zeros), 0);
	if (!err)
		err = r->files.ops->sync(r->files.ctx, fd);
	r->files.ops->close(r->files.ctx, fd);
	return err;
}

bool recycle_give(struct sl_recycler *r, const char *path, uint64_t bytes)
{
	char to[STORE_PATH_MAX];
	uint64_t number;
	int err;

	if (!r || r->count == RECYCLE_FILES_MAX || bytes < RECYCLE_BYTES_MIN ||
	    r->bytes + bytes > r->opts.bytes_max)
		return false;
	number = r->next_number++;
	err = wipe(r, path, &bytes);
	if (!err)
		err = r->files.ops->rename(r->files.ctx, r->dirfd, path, kept_path(r, number, to));
	if (!err)
		err = keep(r, number, bytes);
	if (err)
		sl_log(WARN, store, "cannot keep segment file path=%s: %s", path, strerror(-err));
	return err == 0;
}

bool recycle_take(struct sl_recycler *r, const char *path, uint64_t *bytes)
{
	char from[STORE_PATH_MAX];
	struct recycled *last;
	int err;

	if (!r || r->count == 0)
		return false;
	last = &r->kept[--r->count];
	r->bytes -= last->bytes;
	err = r->files.ops->rename(r->files.ctx, r->dirfd, kept_path(r, last->number, from), path);
	if (err) {
		sl_log(WARN, store, "cannot use kept segment file path=%s: %s", from,
		       strerror(-err));
		return false;
	}
	*bytes = last->bytes;
	return true;
}

bool recycle_drop(struct sl_recycler *r)
{
	char path[STORE_PATH_MAX];
	struct recycled *last;

	if (!r || r->count == 0)
		return false;
	last = &r->kept[--r->count];
	r->bytes -= last->bytes;
	/* One that cannot be removed is found by the next life. */
	SL_COUNT_IF(r->files.ops->unlink(r->files.ctx, r->dirfd, kept_path(r, last->number, path)));
	return true;
}
