/* SPDX-License-Identifier: Apache-2.0 */
/* Whole-buffer reads and writes on top of struct sl_files.  Everything returns 0 or -errno. */
#ifndef STORE_FILEIO_H
#define STORE_FILEIO_H

#include "sluice/base/base.h"
#include "sluice/store/file_ops.h"

/* Writes all of @p or fails; a short write that makes no progress is -EIO. */
int fileio_write_all(const struct sl_files *files, int fd, const void *p, size_t len,
                     uint64_t pos) SL_MUST_CHECK;
/* Blocks for [pos, pos + len); a no-op where the file system cannot, and the file grows with each
 * write then. */
int fileio_allocate(const struct sl_files *files, int fd, uint64_t pos, uint64_t len) SL_MUST_CHECK;
/* Reads until @len bytes or the end of the file; *got says how many. */
int fileio_read(const struct sl_files *files, int fd, void *p, size_t len, uint64_t pos,
                size_t *got) SL_MUST_CHECK;
/* Reads a whole file of at most @bytes_max bytes; *out is malloc'ed, a NUL follows its end.
 * -EFBIG larger. */
int fileio_load(const struct sl_files *files, int dirfd, const char *path, size_t bytes_max,
                char **out, size_t *out_len) SL_MUST_CHECK;
/* Creates or overwrites @path in place: for files whose reader checks every byte it uses. */
int fileio_store(const struct sl_files *files, int dirfd, const char *path, const void *p,
                 size_t len) SL_MUST_CHECK;
/* Writes to a file that there is, from @pos on.  -ENOENT there is none. */
int fileio_write_at(const struct sl_files *files, int dirfd, const char *path, const void *p,
                    size_t len, uint64_t pos) SL_MUST_CHECK;
/* Writes "@path.tmp" and renames it over @path, so that a killed process leaves the old or the new
 * text.  Syncs the file first when @is_synced. */
int fileio_replace(const struct sl_files *files, int dirfd, const char *path, const void *p,
                   size_t len, bool is_synced) SL_MUST_CHECK;
/* Syncs a file or folder by name. */
int fileio_sync_path(const struct sl_files *files, int dirfd, const char *path,
                     int flags) SL_MUST_CHECK;

#endif
