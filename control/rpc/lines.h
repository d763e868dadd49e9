/* SPDX-License-Identifier: Apache-2.0 */
/* A stream of bytes cut into lines, with a limit on their length.  Knows nothing of sockets. */
#ifndef CONTROL_RPC_LINES_H
#define CONTROL_RPC_LINES_H

#include "sluice/base/base.h"

/* Legal states: pos <= scanned <= len <= cap; zeroed but for line_max is a valid empty stream. */
struct lines {
	char *p;        /* Owned */
	size_t pos;     /* start of the first line that was not handed out */
	size_t scanned; /* no newline in [pos, scanned) */
	size_t len;
	size_t cap;
	size_t line_max; /* without the newline */
};

void lines_fini(struct lines *l);
/* Room for the next bytes, at least one.  Invalidates lines handed out.  NULL: out of memory. */
void *lines_room(struct lines *l, size_t *room);
/* @n bytes were put into the room. */
void lines_added(struct lines *l, size_t n);
/**
 * lines_next() - the next complete line, without its newline and a carriage return before it
 * Valid until lines_room().
 * Return: 1; 0 there is none yet; -EMSGSIZE it is longer than line_max: the stream is of no use any
 * more.
 */
int lines_next(struct lines *l, struct sl_str *line) SL_MUST_CHECK;

#endif
