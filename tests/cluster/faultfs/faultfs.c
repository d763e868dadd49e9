/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file system for tests that shows another folder and fails when it is told to.
 *
 *   faultfs BACKING MOUNTPOINT     runs in the foreground until it is unmounted or SIGTERM
 *
 * Orders are extended attributes of the mount point: user.fault.write and user.fault.sync take
 * "NTH COUNT ERRNO": the NTH operation of that kind from now on (1: the next) and COUNT - 1 more
 * fail; COUNT 0 takes the order back.  Reading one gives "SEEN FAILED", counted since the last
 * order.  Operations come one at a time, so nothing here is locked.
 */
#define FUSE_USE_VERSION 31

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <fuse.h>

#define TEXT_MAX 64

enum kind {
	KIND_WRITE = 0,
	KIND_SYNC,
	KIND_NR
};

struct order {
	const char *name;
	uint64_t nth; /* the first that fails */
	uint64_t count;
	int error;
	uint64_t seen;
	uint64_t failed;
};

static struct order orders[KIND_NR] = {
	[KIND_WRITE] = {.name = "user.fault.write"},
	[KIND_SYNC] = {.name = "user.fault.sync"},
};

static int root = -1; /* the backing folder */

/* 0, or the -errno that this operation is to fail with. */
static int strike(enum kind kind)
{
	struct order *o = &orders[kind];

	o->seen++;
	if (o->count == 0 || o->seen < o->nth || o->seen - o->nth >= o->count)
		return 0;
	o->failed++;
	return -o->error;
}

/* FUSE's paths begin at the mount point: "/" or "/a/b". */
static const char *below(const char *path)
{
	return path[1] ? path + 1 : ".";
}

static int outcome(int rc)
{
	return rc < 0 ? -errno : 0;
}

/* ---- Orders ---- */

static struct order *find_order(const char *path, const char *name)
{
	if (strcmp(path, "/") != 0)
		return NULL;
	for (unsigned i = 0; i < KIND_NR; i++)
		if (strcmp(orders[i].name, name) == 0)
			return &orders[i];
	return NULL;
}

static int fs_setxattr(const char *path, const char *name, const char *value, size_t size,
                       int flags)
{
	struct order *o = find_order(path, name);
	char text[TEXT_MAX] = "";
	uint64_t nth, count;
	int error;

	(void)flags;
	if (!o)
		return -ENOTSUP;
	if (size >= sizeof(text))
		return -EINVAL;
	memcpy(text, value, size);
	if (sscanf(text, "%ju %ju %d", &nth, &count, &error) != 3 || nth == 0 || error < 0)
		return -EINVAL;
	*o = (struct order){.name = o->name, .nth = nth, .count = count, .error = error};
	return 0;
}

static int fs_getxattr(const char *path, const char *name, char *value, size_t size)
{
	const struct order *o = find_order(path, name);
	char text[TEXT_MAX];
	int n;

	if (!o)
		return -ENODATA;
	n = snprintf(text, sizeof(text), "%ju %ju", o->seen, o->failed);
	if (size == 0)
		return n;
	if (size < (size_t)n)
		return -ERANGE;
	memcpy(value, text, (size_t)n);
	return n;
}

/* ---- Names ---- */

static int fs_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	if (fi)
		return outcome(fstat((int)fi->fh, st));
	return outcome(fstatat(root, below(path), st, AT_SYMLINK_NOFOLLOW));
}

static int fs_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t offset,
                      struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
	const struct dirent *e;
	DIR *dir;
	int fd;

	(void)offset;
	(void)fi;
	(void)flags;
	fd = openat(root, below(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		int error = errno;

		close(fd);
		return -error;
	}
	while ((e = readdir(dir)))
		if (fill(buf, e->d_name, NULL, 0, 0) != 0)
			break;
	closedir(dir);
	return 0;
}

static int fs_mkdir(const char *path, mode_t mode)
{
	return outcome(mkdirat(root, below(path), mode));
}

static int fs_rmdir(const char *path)
{
	return outcome(unlinkat(root, below(path), AT_REMOVEDIR));
}

static int fs_unlink(const char *path)
{
	return outcome(unlinkat(root, below(path), 0));
}

static int fs_rename(const char *from, const char *to, unsigned flags)
{
	return outcome(renameat2(root, below(from), root, below(to), flags));
}

static int fs_statfs(const char *path, struct statvfs *st)
{
	(void)path;
	return outcome(fstatvfs(root, st));
}

/* ---- Files ---- */

static int open_file(const char *path, int flags, mode_t mode, struct fuse_file_info *fi)
{
	int fd = openat(root, below(path), flags | O_CLOEXEC, mode);

	if (fd < 0)
		return -errno;
	fi->fh = (uint64_t)fd;
	return 0;
}

static int fs_open(const char *path, struct fuse_file_info *fi)
{
	return open_file(path, fi->flags, 0, fi);
}

static int fs_create(const char *path, mode_t mode, struct fuse_file_info *fi)
{
	return open_file(path, fi->flags | O_CREAT, mode, fi);
}

static int fs_read(const char *path, char *p, size_t size, off_t pos, struct fuse_file_info *fi)
{
	ssize_t n = pread((int)fi->fh, p, size, pos);

	(void)path;
	return n < 0 ? -errno : (int)n;
}

static int fs_write(const char *path, const char *p, size_t size, off_t pos,
                    struct fuse_file_info *fi)
{
	int error = strike(KIND_WRITE);
	ssize_t n;

	(void)path;
	if (error)
		return error;
	n = pwrite((int)fi->fh, p, size, pos);
	return n < 0 ? -errno : (int)n;
}

static int fs_truncate(const char *path, off_t size, struct fuse_file_info *fi)
{
	int rc;
	int fd;

	if (fi)
		return outcome(ftruncate((int)fi->fh, size));
	fd = openat(root, below(path), O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	rc = outcome(ftruncate(fd, size));
	close(fd);
	return rc;
}

static int fs_fsync(const char *path, int is_data, struct fuse_file_info *fi)
{
	int error = strike(KIND_SYNC);

	(void)path;
	if (error)
		return error;
	return outcome(is_data ? fdatasync((int)fi->fh) : fsync((int)fi->fh));
}

static int fs_fsyncdir(const char *path, int is_data, struct fuse_file_info *fi)
{
	int error = strike(KIND_SYNC);
	int rc;
	int fd;

	(void)is_data;
	(void)fi;
	if (error)
		return error;
	fd = openat(root, below(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	rc = outcome(fsync(fd));
	close(fd);
	return rc;
}

static int fs_release(const char *path, struct fuse_file_info *fi)
{
	(void)path;
	return outcome(close((int)fi->fh));
}

static const struct fuse_operations operations = {
	.getattr = fs_getattr,
	.mkdir = fs_mkdir,
	.unlink = fs_unlink,
	.rmdir = fs_rmdir,
	.rename = fs_rename,
	.truncate = fs_truncate,
	.open = fs_open,
	.read = fs_read,
	.write = fs_write,
	.statfs = fs_statfs,
	.release = fs_release,
	.fsync = fs_fsync,
	.setxattr = fs_setxattr,
	.getxattr = fs_getxattr,
	.readdir = fs_readdir,
	.fsyncdir = fs_fsyncdir,
	.create = fs_create,
};

int main(int argc, char **argv)
{
	/* In the foreground, one operation at a time. */
	char *args[] = {argv[0], (char[]){"-f"}, (char[]){"-s"}, argc == 3 ? argv[2] : NULL, NULL};

	if (argc != 3) {
		fprintf(stderr, "usage: %s BACKING MOUNTPOINT\n", argv[0]);
		return 2;
	}
	root = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0) {
		fprintf(stderr, "faultfs: open %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	return fuse_main(4, args, &operations, NULL);
}
