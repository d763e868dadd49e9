/* SPDX-License-Identifier: Apache-2.0 */
/* Small file helpers for cold paths. */
#ifndef SLUICE_BASE_FILE_H
#define SLUICE_BASE_FILE_H

#include "sluice/base/base.h"

/* Reads a whole file of at most @bytes_max; *out is malloc'ed, with a NUL after its end.
 * Return: 0; -EFBIG larger than @bytes_max; -errno. */
int sl_file_read(const char *path, size_t bytes_max, char **out, size_t *out_len) SL_MUST_CHECK;
/* Writes @path.tmp, fsyncs it, renames it over @path and fsyncs the folder.  Return: 0 or -errno.
 */
int sl_file_write_atomic(const char *path, const void *p, size_t len) SL_MUST_CHECK;
/* mkdir -p with @mode.  Return: 0 or -errno. */
int sl_mkdir_p(const char *path, unsigned mode) SL_MUST_CHECK;
/* write(2)/pread(2) until all is done.  Return: 0; -EIO early end of file; -errno. */
int sl_write_all(int fd, const void *p, size_t len) SL_MUST_CHECK;
int sl_pread_all(int fd, void *p, size_t len, uint64_t pos) SL_MUST_CHECK;

#endif
