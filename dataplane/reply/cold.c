/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cold reads: looks into the page cache (cachestat(2), preadv2(2) with RWF_NOWAIT) and has it
 * filled (POSIX_FADV_WILLNEED only queues the reads).  Owner lane only.
 */
#include "reply/cold.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "sluice/base/hash.h"

/* One call reads no more than the device's own read-ahead, and drops the rest without a word. */
#define COLD_STEP_BYTES ((uint64_t)128 << 10)
#define COLD_PAGE       4096
#define COLD_ENTRIES    16384 /* windows remembered; a power of two */
#define COLD_AHEAD      4     /* windows between reader and what is asked for */
#define COLD_PULLS_MAX  2     /* windows asked for at one border: each costs the lane 75 us */
#define COLD_AGAIN_MS   200
#define COLD_TRIES_MAX  10

/* A window that was read from the disk for a reader.  Legal states: key 0 = free. */
struct window {
	uint64_t key;
	int64_t asked_ms;
	uint32_t tries;
};

struct cold {
	struct window windows[COLD_ENTRIES];
};

int cold_create(struct cold **out)
{
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : -ENOMEM;
}

void cold_destroy(struct cold *cold)
{
	free(cold);
}

/* The place of a window.  Windows of one file lie side by side and never push each other out.
 * @key: not 0 */
static struct window *slot(struct cold *cold, const void *segment, uint64_t index, uint64_t *key)
{
	const uint64_t what = (uint64_t)(uintptr_t)segment;
	const uint64_t file = sl_hash(&what, sizeof(what), 0);

	*key = (file + index) | 1;
	return &cold->windows[(file + index) & (COLD_ENTRIES - 1)];
}

/* cachestat(2), Linux 6.5; Debian 12's C library does not know it. */
#define COLD_NR_CACHESTAT 451

struct cache_range {
	uint64_t pos;
	uint64_t bytes;
};

struct cache_stat {
	uint64_t cached; /* pages, also those that are being read */
	uint64_t dirty;
	uint64_t writeback;
	uint64_t evicted;
	uint64_t recently_evicted;
};

/* Whether every page of [@pos, @end) has been asked for at least, or nobody can say. */
static bool is_asked_for(int fd, uint64_t pos, uint64_t end)
{
	struct cache_range range = {pos, end - pos};
	struct cache_stat stat = {0};

	if (syscall(COLD_NR_CACHESTAT, fd, &range, &stat, 0) != 0)
		return true;
	return stat.cached >= (end - 1) / COLD_PAGE - pos / COLD_PAGE + 1;
}

/* Whether the page at @pos is in memory, or nobody can say.  Where it is not this may have it read,
 * alone; so it comes second. */
static bool is_read(int fd, uint64_t pos)
{
	uint8_t byte;
	struct iovec iov = {&byte, 1};

	return preadv2(fd, &iov, 1, (off_t)pos, RWF_NOWAIT) >= 0 || errno != EAGAIN;
}

/* Has a window read, again if that was asked for long ago.  Return: false: it was asked for too
 * often. */
static bool pull(struct ctx *ctx, const void *segment, int fd, uint64_t index)
{
	uint64_t key;
	struct window *w = slot(ctx->cold, segment, index, &key);

	if (w->key == key) {
		if (ctx->now_ms - w->asked_ms < COLD_AGAIN_MS)
			return true;
		/* Nobody has waited for it all the while: it was there, and went. */
		if (ctx->now_ms - w->asked_ms > 2 * COLD_AGAIN_MS)
			w->tries = 0;
		if (w->tries >= COLD_TRIES_MAX)
			return false;
	} else {
		*w = (struct window){.key = key};
	}
	w->asked_ms = ctx->now_ms;
	w->tries++;
	ctx_count(ctx, SL_STAT_cold_reads, 1);
	/* The kernel's own read-ahead would come on top of this one. */
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	for (uint64_t at = 0; at < COLD_WINDOW_BYTES; at += COLD_STEP_BYTES)
		(void)posix_fadvise(fd, (off_t)(index * COLD_WINDOW_BYTES + at),
		                    (off_t)COLD_STEP_BYTES, POSIX_FADV_WILLNEED);
	return true;
}

/* Only who reads what was not in memory is behind; the others find everything there, and leave it
 * there.  What lies behind the end of the file will be written and is nobody's to drop. */
static void pull_ahead(struct ctx *ctx, const void *segment, int fd, uint64_t index, unsigned max)
{
	struct stat st = {0};
	unsigned pulled = 0;

	for (uint64_t i = index + 1; i <= index + COLD_AHEAD && pulled < max; i++) {
		const uint64_t pos = i * COLD_WINDOW_BYTES;

		if (is_asked_for(fd, pos, pos + 1))
			continue;
		if (st.st_size == 0 && fstat(fd, &st) != 0)
			return;
		if ((uint64_t)st.st_size <= pos)
			return;
		(void)pull(ctx, segment, fd, i);
		pulled++;
	}
}

size_t cold_ready(struct ctx *ctx, const void *segment, const struct sl_log_piece *piece,
                  size_t bytes_max)
{
	const uint64_t end = piece->pos + SL_MIN((uint64_t)piece->bytes, (uint64_t)bytes_max);
	uint64_t pos = piece->pos;

	if (!ctx->cold)
		return (size_t)(end - pos);
	while (pos < end) {
		const uint64_t next = (pos / COLD_STEP_BYTES + 1) * COLD_STEP_BYTES;

		if (!is_asked_for(piece->fd, pos, SL_MIN(next, end)) || !is_read(piece->fd, pos))
			break;
		pos = next;
	}
	if (pos >= end)
		return (size_t)(end - piece->pos);
	if (!pull(ctx, segment, piece->fd, pos / COLD_WINDOW_BYTES))
		return (size_t)(end - piece->pos);
	/* One more, or the reader would stop at its border again. */
	pull_ahead(ctx, segment, piece->fd, pos / COLD_WINDOW_BYTES, 1);
	if (pos == piece->pos)
		ctx_count(ctx, SL_STAT_cold_waits, 1);
	return (size_t)(pos - piece->pos);
}

void cold_sent(struct ctx *ctx, const void *segment, const struct sl_log_piece *piece, size_t bytes)
{
	const uint64_t first = piece->pos / COLD_WINDOW_BYTES;
	const uint64_t last = (piece->pos + bytes) / COLD_WINDOW_BYTES;

	if (!ctx->cold || first == last)
		return;
	pull_ahead(ctx, segment, piece->fd, last, COLD_PULLS_MAX);
}
