/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files as a cleaning reads and writes them: large pieces in order, with a word to whoever limits
 * the bandwidth after each, and an end when the owner wants one.  One thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "clean_impl.h"
#include "fileio.h"

/* Synced in pieces, so that the last sync is short and the kernel does not collect dirty pages. */
#define SYNC_BYTES ((uint64_t)32 << 20)

const char *clean_path(const struct sl_clean *c, int64_t base_offset, const char *suffix,
                       char path[STORE_PATH_MAX])
{
	int n = snprintf(path, STORE_PATH_MAX, "%s/%020" PRId64 "%s", c->folder, base_offset,
	                 suffix);

	SL_ASSERT(n > 0 && n < STORE_PATH_MAX);
	return path;
}

void clean_discard(const struct sl_clean *c, int64_t base_offset)
{
	static const char *const suffixes[] = {".log.cleaned", ".index.cleaned",
	                                       ".timeindex.cleaned", ".txnindex.cleaned"};
	char path[STORE_PATH_MAX];

	for (uint32_t i = 0; i < SL_ARRAY_SIZE(suffixes); i++) {
		int err = c->files.ops->unlink(c->files.ctx, c->dirfd,
		                               clean_path(c, base_offset, suffixes[i], path));

		/* What stays is removed at the next open: nothing reads such a name. */
		SL_COUNT_IF(err && err != -ENOENT);
	}
}

/* After @bytes at @pos of @fd. */
static int step(const struct clean_io *io, int fd, uint64_t pos, uint64_t bytes, bool is_write)
{
	if (io->opts->io)
		io->opts->io(io->opts->arg, fd, pos, bytes, is_write);
	return sl_clean_is_cancelled(io->clean) ? -ECANCELED : 0;
}

/* ---- Reading ---- */

int clean_reader_open(struct clean_reader *r, const struct clean_io *io,
                      const struct clean_source *source, uint8_t **window, size_t *window_cap)
{
	const struct sl_clean *c = io->clean;
	char path[STORE_PATH_MAX];

	*r = (struct clean_reader){
		.io = *io, .end = source->bytes, .window = window, .window_cap = window_cap};
	r->fd = c->files.ops->open(c->files.ctx, c->dirfd,
	                           clean_path(c, source->base_offset, ".log", path), O_RDONLY, 0);
	/* It was there when the cleaning began. */
	return r->fd == -ENOENT ? -ESTALE : SL_MIN(r->fd, 0);
}

void clean_reader_close(struct clean_reader *r)
{
	r->io.clean->files.ops->close(r->io.clean->files.ctx, r->fd);
	r->fd = -1;
}

static int grow(struct clean_reader *r, size_t bytes)
{
	uint8_t *p = realloc(*r->window, bytes);

	if (!p)
		return -ENOMEM;
	*r->window = p;
	*r->window_cap = bytes;
	return 0;
}

/* Makes @bytes readable behind r->at.  Return: 0; -EBADMSG the segment is shorter. */
static int fill(struct clean_reader *r, size_t bytes)
{
	uint64_t left = r->end - r->pos - r->len;
	size_t want, got = 0;
	int err = 0;

	if (r->len - r->at >= bytes)
		return 0;
	memmove(*r->window, *r->window + r->at, r->len - r->at);
	r->pos += r->at;
	r->len -= r->at;
	r->at = 0;
	if (bytes > *r->window_cap)
		err = grow(r, bytes);
	if (err)
		return err;
	want = (size_t)SL_MIN((uint64_t)(*r->window_cap - r->len), left);
	err = fileio_read(&r->io.clean->files, r->fd, *r->window + r->len, want, r->pos + r->len,
	                  &got);
	if (!err)
		err = step(&r->io, r->fd, r->pos + r->len, got, false);
	if (err)
		return err;
	r->len += got;
	return r->len >= bytes ? 0 : -EBADMSG;
}

int clean_reader_next(struct clean_reader *r, const void **p, struct sl_batch_head *head)
{
	uint64_t at = r->pos + r->at;
	int err;

	SL_ASSERT(at <= r->end);
	if (at == r->end)
		return 0;
	if (r->end - at < SL_BATCH_HEADER_BYTES)
		return -EBADMSG;
	err = fill(r, SL_BATCH_HEADER_BYTES);
	if (err)
		return err;
	err = sl_batch_peek(*r->window + r->at, r->len - r->at, head);
	if ((err && err != -EAGAIN) || sl_batch_bytes(head) > r->end - at ||
	    head->last_offset_delta < 0)
		return -EBADMSG;
	err = fill(r, sl_batch_bytes(head));
	if (err)
		return err;
	if (!sl_batch_check_crc(*r->window + r->at, head))
		return -EBADMSG;
	*p = *r->window + r->at;
	r->at += sl_batch_bytes(head);
	return 1;
}

/* ---- Writing ---- */

int clean_writer_open(struct clean_writer *w, const struct clean_io *io, const char *path,
                      uint8_t *window, size_t window_cap)
{
	const struct sl_clean *c = io->clean;

	*w = (struct clean_writer){.io = *io, .window = window, .window_cap = window_cap};
	w->fd = c->files.ops->open(c->files.ctx, c->dirfd, path, O_RDWR | O_CREAT | O_TRUNC, 0640);
	return SL_MIN(w->fd, 0);
}

static int write_out(struct clean_writer *w, const void *p, size_t bytes)
{
	const struct sl_files *files = &w->io.clean->files;
	int err = fileio_write_all(files, w->fd, p, bytes, w->written);

	if (err)
		return err;
	w->written += bytes;
	if (w->written - w->synced >= SYNC_BYTES) {
		err = files->ops->sync(files->ctx, w->fd);
		w->synced = w->written;
	}
	return err ? err : step(&w->io, w->fd, w->written - bytes, bytes, true);
}

static int flush(struct clean_writer *w)
{
	size_t bytes = w->len;

	w->len = 0;
	return bytes > 0 ? write_out(w, w->window, bytes) : 0;
}

int clean_writer_put(struct clean_writer *w, const void *p, size_t bytes)
{
	int err = w->len + bytes > w->window_cap ? flush(w) : 0;

	if (err)
		return err;
	if (bytes > w->window_cap)
		return write_out(w, p, bytes);
	/* copy: into pieces that are worth a system call */
	memcpy(w->window + w->len, p, bytes);
	w->len += bytes;
	return 0;
}

int clean_writer_close(struct clean_writer *w)
{
	const struct sl_files *files = &w->io.clean->files;
	int err = flush(w);

	if (!err)
		err = files->ops->sync(files->ctx, w->fd);
	/* Of the pages that are clean now. */
	if (!err)
		err = step(&w->io, w->fd, 0, 0, true);
	clean_writer_drop(w);
	return err;
}

void clean_writer_drop(struct clean_writer *w)
{
	if (w->fd < 0)
		return;
	w->io.clean->files.ops->close(w->io.clean->files.ctx, w->fd);
	w->fd = -1;
}
