/* SPDX-License-Identifier: Apache-2.0 */
/* File helpers for start-up, configuration and metadata: they block, so no lane may call them. */
#include "sluice/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_STEP_BYTES 4096u

/* Reads @fd to its end.  The size of the file is not asked for: it is 0 for /proc and may change.
 */
static int read_to_end(int fd, size_t bytes_max, char **out, size_t *out_len)
{
	size_t cap = 0;
	size_t len = 0;
	char *p = NULL;
	ssize_t n;
	int err;

	for (;;) {
		if (cap - len < 2) {
			char *grown = cap < SIZE_MAX / 4 ? realloc(p, cap * 2 + READ_STEP_BYTES)
			                                 : NULL;

			err = -ENOMEM;
			if (!grown)
				goto err_free;
			p = grown;
			cap = cap * 2 + READ_STEP_BYTES;
		}
		n = read(fd, p + len, cap - len - 1);
		err = -errno;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			goto err_free;
		if (n == 0)
			break;
		len += (size_t)n;
		err = -EFBIG;
		if (len > bytes_max)
			goto err_free;
	}
	p[len] = '\0';
	*out = p;
	*out_len = len;
	return 0;
err_free:
	free(p);
	return err;
}

int sl_file_read(const char *path, size_t bytes_max, char **out, size_t *out_len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int err;

	if (fd < 0)
		return -errno;
	err = read_to_end(fd, bytes_max, out, out_len);
	close(fd);
	return err;
}

/* Makes the folder's entry for @path durable. */
static int sync_folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;
	char *folder;
	int err = 0;
	int fd;

	if (slash == path)
		len = 1; /* a file in the root folder */
	folder = len > 0 ? strndup(path, len) : strdup(".");
	if (!folder)
		return -ENOMEM;
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		err = -errno;
	else if (fsync(fd) < 0)
		err = -errno;
	if (fd >= 0)
		close(fd);
	free(folder);
	return err;
}

static int write_synced(const char *path, const void *p, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	int err;

	if (fd < 0)
		return -errno;
	err = sl_write_all(fd, p, len);
	if (err == 0 && fsync(fd) < 0)
		err = -errno;
	if (close(fd) < 0 && err == 0)
		err = -errno;
	return err;
}

int sl_file_write_atomic(const char *path, const void *p, size_t len)
{
	char *tmp;
	int err;

	if (asprintf(&tmp, "%s.tmp", path) < 0)
		return -ENOMEM;
	err = write_synced(tmp, p, len);
	if (err == 0 && rename(tmp, path) < 0)
		err = -errno;
	if (err == 0)
		err = sync_folder_of(path);
	else
		unlink(tmp);
	free(tmp);
	return err;
}

/* Makes one folder; one that is already there is success. */
static int make_folder(const char *path, unsigned mode)
{
	struct stat st;

	if (mkdir(path, (mode_t)mode) == 0)
		return 0;
	if (errno != EEXIST)
		return -errno;
	if (stat(path, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int sl_mkdir_p(const char *path, unsigned mode)
{
	char part[PATH_MAX];
	size_t len = strlen(path);
	int err;

	if (len == 0)
		return -ENOENT;
	if (len >= sizeof(part))
		return -ENAMETOOLONG;
	memcpy(part, path, len + 1);
	for (size_t i = 1; i < len; i++) {
		if (part[i] != '/' || part[i - 1] == '/')
			continue;
		part[i] = '\0';
		err = make_folder(part, mode);
		if (err)
			return err;
		part[i] = '/';
	}
	return make_folder(part, mode);
}

int sl_write_all(int fd, const void *p, size_t len)
{
	const char *at = p;

	while (len > 0) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

int sl_pread_all(int fd, void *p, size_t len, uint64_t pos)
{
	char *at = p;

	while (len > 0) {
		ssize_t n = pread(fd, at, len, (off_t)pos);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		at += n;
		pos += (size_t)n;
		len -= (size_t)n;
	}
	return 0;
}
