/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Header walk.  Borrows the descriptor and the window; one pread(2) a window, or one a batch where
 * batches are larger than the window.  The first reads are small and double: behind the end of most
 * logs lie megabytes that were allocated ahead, and thousands of logs are opened after a crash.
 */
#include "walk.h"

#include <errno.h>

#include "sluice/base/assert.h"

#include "log_impl.h"

void walk_init(struct walk *walk, const struct sl_files *files, int fd, uint8_t *window,
               size_t window_bytes)
{
	SL_ASSERT(fd >= 0 && window_bytes >= SL_BATCH_HEADER_BYTES);
	*walk = (struct walk){
		.files = *files,
		.fd = fd,
		.window = window,
		.window_cap = window_bytes,
		.window_step = SL_MIN(window_bytes, (size_t)STORE_WALK_STEP_BYTES),
	};
}

void walk_seek(struct walk *walk, uint64_t pos, uint64_t end)
{
	SL_ASSERT(pos <= end);
	walk->pos = pos;
	walk->end = end;
}

/* Makes the header at walk->pos readable in the window. */
static int fill(struct walk *walk)
{
	uint64_t want = SL_MIN(walk->end - walk->pos, (uint64_t)walk->window_step);
	int err;

	if (walk->pos >= walk->window_pos &&
	    walk->pos + SL_BATCH_HEADER_BYTES <= walk->window_pos + walk->window_len)
		return 0;
	walk->window_len = 0;
	err = hotlog_read(&walk->files, walk->fd, walk->hot, walk->window, (size_t)want, walk->pos,
	                  &walk->window_len);
	walk->window_pos = walk->pos;
	walk->window_step = SL_MIN(2 * walk->window_step, walk->window_cap);
	if (!err && walk->window_len < SL_BATCH_HEADER_BYTES)
		err = -EBADMSG;
	return err;
}

int walk_next(struct walk *walk, struct walk_batch *out)
{
	size_t at;
	int err;

	if (walk->pos >= walk->end)
		return 0;
	if (walk->end - walk->pos < SL_BATCH_HEADER_BYTES)
		return -EBADMSG;
	err = fill(walk);
	if (err)
		return err;
	at = (size_t)(walk->pos - walk->window_pos);
	err = sl_batch_peek(walk->window + at, walk->window_len - at, &out->head);
	if (err && err != -EAGAIN)
		return err;
	if (sl_batch_bytes(&out->head) > walk->end - walk->pos || out->head.last_offset_delta < 0)
		return -EBADMSG;
	out->pos = walk->pos;
	out->bytes = (uint32_t)sl_batch_bytes(&out->head);
	walk->pos += out->bytes;
	return 1;
}
