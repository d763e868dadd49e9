/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's files behind struct sl_file_ops.  No state; every function is one or two system
 * calls and may run on any thread.
 */
#include "sluice/store/file_ops.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int plain_open(void *ctx SL_UNUSED, int dirfd, const char *name, int flags, mode_t mode)
{
	int fd = openat(dirfd, name, flags | O_CLOEXEC, mode);

	return fd < 0 ? -errno : fd;
}

static int plain_reopen(void *ctx, int fd, int flags)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return plain_open(ctx, AT_FDCWD, path, flags, 0);
}

static int plain_close(void *ctx SL_UNUSED, int fd)
{
	return close(fd) < 0 ? -errno : 0;
}

static ssize_t plain_pwrite(void *ctx SL_UNUSED, int fd, const void *p, size_t len, uint64_t pos)
{
	ssize_t n;

	do
		n = pwrite(fd, p, len, (off_t)pos);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t plain_pread(void *ctx SL_UNUSED, int fd, void *p, size_t len, uint64_t pos)
{
	ssize_t n;

	do
		n = pread(fd, p, len, (off_t)pos);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

bool sl_file_is_folder(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
}

static int plain_sync(void *ctx SL_UNUSED, int fd)
{
	int rc = sl_file_is_folder(fd) ? fsync(fd) : fdatasync(fd);

	/* EINTR is not retried: after a failed sync the kernel may have dropped the dirty pages. */
	return rc < 0 ? -errno : 0;
}

/* Only where syncfs(2) is known to be as good as a sync of every file: FUSE does not even tell its
 * server.  The sync of one file behind it makes sure of the disk's cache, which a file system that
 * found nothing to log may have left alone. */
static int plain_sync_fs(void *ctx, int fd)
{
	struct statfs st;

	if (fstatfs(fd, &st) < 0)
		return -errno;
	if (st.f_type != EXT4_SUPER_MAGIC && st.f_type != XFS_SUPER_MAGIC &&
	    st.f_type != TMPFS_MAGIC)
		return -EOPNOTSUPP;
	return syncfs(fd) < 0 ? -errno : plain_sync(ctx, fd);
}

static int plain_truncate(void *ctx SL_UNUSED, int fd, uint64_t len)
{
	return ftruncate(fd, (off_t)len) < 0 ? -errno : 0;
}

static int plain_allocate(void *ctx SL_UNUSED, int fd, uint64_t pos, uint64_t len)
{
	int rc;

	do
		rc = fallocate(fd, 0, (off_t)pos, (off_t)len);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : 0;
}

static int plain_size(void *ctx SL_UNUSED, int fd, uint64_t *len)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	*len = (uint64_t)st.st_size;
	return 0;
}

static int plain_rename(void *ctx SL_UNUSED, int dirfd, const char *from, const char *to)
{
	return renameat(dirfd, from, dirfd, to) < 0 ? -errno : 0;
}

static int plain_unlink(void *ctx SL_UNUSED, int dirfd, const char *name)
{
	return unlinkat(dirfd, name, 0) < 0 ? -errno : 0;
}

static int plain_mkdir(void *ctx SL_UNUSED, int dirfd, const char *name, mode_t mode)
{
	return mkdirat(dirfd, name, mode) < 0 ? -errno : 0;
}

static int plain_rmdir(void *ctx SL_UNUSED, int dirfd, const char *name)
{
	return unlinkat(dirfd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

static int plain_list(void *ctx SL_UNUSED, int dirfd, const char *name,
                      int (*each)(void *arg, const char *entry), void *arg)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *entry;
	DIR *dir;
	int err = 0;

	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		err = -errno;
		close(fd);
		return err;
	}
	for (;;) {
		errno = 0;
		entry = readdir(dir);
		if (!entry) {
			err = -errno;
			break;
		}
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		err = each(arg, entry->d_name);
		if (err)
			break;
	}
	closedir(dir);
	return err;
}

static int plain_lock(void *ctx SL_UNUSED, int fd)
{
	return flock(fd, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
}

static int plain_space(void *ctx SL_UNUSED, int fd, uint64_t *total, uint64_t *free_bytes)
{
	struct statvfs st;

	if (fstatvfs(fd, &st) < 0)
		return -errno;
	*total = (uint64_t)st.f_blocks * st.f_frsize;
	*free_bytes = (uint64_t)st.f_bavail * st.f_frsize;
	return 0;
}

const struct sl_file_ops sl_file_ops_plain = {
	.name = "plain",
	.open = plain_open,
	.reopen = plain_reopen,
	.close = plain_close,
	.pwrite = plain_pwrite,
	.pread = plain_pread,
	.sync = plain_sync,
	.sync_fs = plain_sync_fs,
	.truncate = plain_truncate,
	.allocate = plain_allocate,
	.size = plain_size,
	.rename = plain_rename,
	.unlink = plain_unlink,
	.mkdir = plain_mkdir,
	.rmdir = plain_rmdir,
	.list = plain_list,
	.lock = plain_lock,
	.space = plain_space,
};
