/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The door to the disk.  Everything the store does to files goes through this table, so that tests
 * can inject errors, torn writes and full disks, and so that the write path can be replaced.
 */
#ifndef SLUICE_STORE_FILE_OPS_H
#define SLUICE_STORE_FILE_OPS_H

#include <sys/stat.h>
#include <sys/types.h>

#include "sluice/base/base.h"

/* All return >= 0 or -errno.  @dirfd/@name follow openat(2). */
struct sl_file_ops {
	const char *name;
	int (*open)(void *ctx, int dirfd, const char *name, int flags, mode_t mode);
	/* Another descriptor of the file that @fd has open, with @flags of its own.  Whatever
	 * became of the file's name does not matter. */
	int (*reopen)(void *ctx, int fd, int flags);
	int (*close)(void *ctx, int fd);
	ssize_t (*pwrite)(void *ctx, int fd, const void *p, size_t len, uint64_t pos);
	ssize_t (*pread)(void *ctx, int fd, void *p, size_t len, uint64_t pos);
	int (*sync)(void *ctx, int fd); /* fdatasync(2); on a folder: fsync(2) */
	/* syncfs(2): everything of the file system that holds @fd, which is a regular file.
	 * -EOPNOTSUPP where that is not known to be as good as a sync of each file. */
	int (*sync_fs)(void *ctx, int fd);
	int (*truncate)(void *ctx, int fd, uint64_t len);
	/* fallocate(2) mode 0: [pos, pos + len) has blocks and reads as zeros where it had none.
	 * -EOPNOTSUPP where the file system cannot. */
	int (*allocate)(void *ctx, int fd, uint64_t pos, uint64_t len);
	int (*size)(void *ctx, int fd, uint64_t *len);
	int (*rename)(void *ctx, int dirfd, const char *from, const char *to);
	int (*unlink)(void *ctx, int dirfd, const char *name);
	int (*mkdir)(void *ctx, int dirfd, const char *name,
	             mode_t mode); /* -EEXIST as mkdirat(2) */
	int (*rmdir)(void *ctx, int dirfd, const char *name);
	/* Calls @each for every entry but "." and ".."; stops when it returns non-zero and returns
	 * that. */
	int (*list)(void *ctx, int dirfd, const char *name,
	            int (*each)(void *arg, const char *entry), void *arg);
	/* flock(2) LOCK_EX | LOCK_NB; -EWOULDBLOCK another holder.  Closing @fd drops it. */
	int (*lock)(void *ctx, int fd);
	/* Total and available bytes of the file system that holds @fd. */
	int (*space)(void *ctx, int fd, uint64_t *total, uint64_t *free_bytes);
};

/* A table with its context. */
struct sl_files {
	const struct sl_file_ops *ops;
	void *ctx;
};

/* The kernel's files. */
extern const struct sl_file_ops sl_file_ops_plain;

/* fdatasync(2) is not enough for one.  False also where @fd is none. */
bool sl_file_is_folder(int fd);

#endif
