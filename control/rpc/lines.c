/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One buffer that grows up to a line's longest form.  What was handed out is moved out of the way
 * when room is asked for, so each byte moves at most once per line in front of it that was
 * consumed together with it.
 */
#include "lines.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"

#define ROOM_MIN 4096
/* A buffer above this is given back when it is empty. */
#define KEEP_MAX 65536

void lines_fini(struct lines *l)
{
	free(l->p);
	l->p = NULL;
	l->pos = 0;
	l->scanned = 0;
	l->len = 0;
	l->cap = 0;
}

void *lines_room(struct lines *l, size_t *room)
{
	SL_ASSERT(l->pos <= l->scanned && l->scanned <= l->len && l->len <= l->cap);
	if (l->pos == l->len && l->cap > KEEP_MAX)
		lines_fini(l);
	if (l->pos > 0) {
		memmove(l->p, l->p + l->pos, l->len - l->pos);
		l->len -= l->pos;
		l->scanned -= l->pos;
		l->pos = 0;
	}
	if (l->cap - l->len < ROOM_MIN) {
		size_t cap = SL_MAX(l->cap * 2, (size_t)2 * ROOM_MIN);
		char *p = realloc(l->p, cap);

		if (!p)
			return NULL;
		l->p = p;
		l->cap = cap;
	}
	*room = l->cap - l->len;
	return l->p + l->len;
}

void lines_added(struct lines *l, size_t n)
{
	SL_ASSERT(n <= l->cap - l->len);
	l->len += n;
}

int lines_next(struct lines *l, struct sl_str *line)
{
	const char *start, *end = NULL;
	size_t n;

	if (l->pos == l->len)
		return 0;
	start = l->p + l->pos;
	if (l->scanned < l->len)
		end = memchr(l->p + l->scanned, '\n', l->len - l->scanned);
	n = end ? (size_t)(end - start) : l->len - l->pos;
	l->scanned = end ? l->scanned : l->len;
	if (n > l->line_max)
		return -EMSGSIZE;
	if (!end)
		return 0;
	l->pos += n + 1;
	l->scanned = l->pos;
	if (n > 0 && start[n - 1] == '\r')
		n--;
	*line = (struct sl_str){start, (int32_t)n};
	return 1;
}
