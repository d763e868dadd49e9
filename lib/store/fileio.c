/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole-buffer file helpers.  They own nothing but the descriptors they open and close again.
 */
#include "fileio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "sluice/base/assert.h"

#include "bounds.h"

int fileio_write_all(const struct sl_files *files, int fd, const void *p, size_t len, uint64_t pos)
{
	const uint8_t *from = p;

	while (len > 0) {
		ssize_t n = files->ops->pwrite(files->ctx, fd, from, len, pos);

		if (n <= 0)
			return n < 0 ? (int)n : -EIO;
		SL_ASSERT((size_t)n <= len);
		from += n;
		pos += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int fileio_allocate(const struct sl_files *files, int fd, uint64_t pos, uint64_t len)
{
	int err = files->ops->allocate(files->ctx, fd, pos, len);

	return err == -EOPNOTSUPP || err == -ENOSYS ? 0 : err;
}

int fileio_read(const struct sl_files *files, int fd, void *p, size_t len, uint64_t pos,
                size_t *got)
{
	uint8_t *to = p;
	size_t done = 0;

	while (done < len) {
		ssize_t n = files->ops->pread(files->ctx, fd, to + done, len - done, pos + done);

		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		SL_ASSERT((size_t)n <= len - done);
		done += (size_t)n;
	}
	*got = done;
	return 0;
}

int fileio_load(const struct sl_files *files, int dirfd, const char *path, size_t bytes_max,
                char **out, size_t *out_len)
{
	uint64_t size = 0;
	size_t got = 0;
	char *p = NULL;
	int err;
	int fd = files->ops->open(files->ctx, dirfd, path, O_RDONLY, 0);

	if (fd < 0)
		return fd;
	err = files->ops->size(files->ctx, fd, &size);
	if (!err && size > bytes_max)
		err = -EFBIG;
	if (err)
		goto out_close;
	p = malloc((size_t)size + 1);
	if (!p) {
		err = -ENOMEM;
		goto out_close;
	}
	err = fileio_read(files, fd, p, (size_t)size, 0, &got);
	if (err) {
		free(p);
		goto out_close;
	}
	p[got] = '\0';
	*out = p;
	*out_len = got;
out_close:
	files->ops->close(files->ctx, fd);
	return err;
}

static int store_and_close(const struct sl_files *files, int fd, const void *p, size_t len,
                           uint64_t pos, bool is_synced)
{
	int err = fileio_write_all(files, fd, p, len, pos);
	int err_close;

	if (!err && is_synced)
		err = files->ops->sync(files->ctx, fd);
	err_close = files->ops->close(files->ctx, fd);
	return err ? err : err_close;
}

int fileio_store(const struct sl_files *files, int dirfd, const char *path, const void *p,
                 size_t len)
{
	int fd = files->ops->open(files->ctx, dirfd, path, O_WRONLY | O_CREAT | O_TRUNC, 0640);

	if (fd < 0)
		return fd;
	return store_and_close(files, fd, p, len, 0, false);
}

int fileio_write_at(const struct sl_files *files, int dirfd, const char *path, const void *p,
                    size_t len, uint64_t pos)
{
	int fd = files->ops->open(files->ctx, dirfd, path, O_WRONLY, 0);

	if (fd < 0)
		return fd;
	return store_and_close(files, fd, p, len, pos, false);
}

int fileio_replace(const struct sl_files *files, int dirfd, const char *path, const void *p,
                   size_t len, bool is_synced)
{
	char tmp[STORE_PATH_MAX + 8];
	int n = snprintf(tmp, sizeof(tmp), "%s.tmp", path);
	int err;
	int fd;

	SL_ASSERT(n > 0 && (size_t)n < sizeof(tmp));
	fd = files->ops->open(files->ctx, dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC, 0640);
	if (fd < 0)
		return fd;
	err = store_and_close(files, fd, p, len, 0, is_synced);
	if (!err)
		err = files->ops->rename(files->ctx, dirfd, tmp, path);
	if (err)
		files->ops->unlink(files->ctx, dirfd, tmp);
	return err;
}

int fileio_sync_path(const struct sl_files *files, int dirfd, const char *path, int flags)
{
	int fd = files->ops->open(files->ctx, dirfd, path, flags, 0);
	int err;

	if (fd < 0)
		return fd;
	err = files->ops->sync(files->ctx, fd);
	files->ops->close(files->ctx, fd);
	return err;
}
