/* SPDX-License-Identifier: Apache-2.0 */
/* Steps over the batch headers of a segment file through a small window; records are not read. */
#ifndef STORE_WALK_H
#define STORE_WALK_H

#include "sluice/store/file_ops.h"
#include "sluice/wire/batch.h"

#include "bounds.h"

struct walk {
	struct sl_files files;
	int fd;
	const struct sl_list *hot; /* Borrowed: chunks in memory; NULL: all in the file */
	uint64_t pos;              /* of the next batch */
	uint64_t end;              /* nothing is read from here on */
	uint8_t *window;           /* Borrowed. */
	size_t window_cap;
	size_t window_step; /* of the next read */
	uint64_t window_pos;
	size_t window_len;
};

/* A batch that the walk stands on. */
struct walk_batch {
	struct sl_batch_head head;
	uint64_t pos;
	uint32_t bytes;
};

/* @window: at least SL_BATCH_HEADER_BYTES, the caller's while the walk lasts. */
void walk_init(struct walk *walk, const struct sl_files *files, int fd, uint8_t *window,
               size_t window_bytes);
/* Moves to @pos and stops at @end. */
void walk_seek(struct walk *walk, uint64_t pos, uint64_t end);
/* Return: 1 and a batch; 0 the end; -EBADMSG no complete batch begins here; -errno. */
int walk_next(struct walk *walk, struct walk_batch *out) SL_MUST_CHECK;

#endif
