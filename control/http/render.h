/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /metrics as text, piece by piece: each piece is bounded work, and topics may come and go between
 * two of them.  Prometheus text format 0.0.4.
 */
#ifndef CONTROL_HTTP_RENDER_H
#define CONTROL_HTTP_RENDER_H

#include <sys/types.h>

#include "busy.h"
#include "control.h"

struct render;

/* @busy: may be NULL only in tests without lanes.  Return: 0 or -ENOMEM. */
int render_create(struct render **out, struct control *c, const struct busy *busy) SL_MUST_CHECK;
void render_destroy(struct render *r);
/**
 * render_next() - the next piece
 * @max: at least 1
 * Return: bytes put into @out, at least 1; 0 at the end; -ENOMEM.
 */
ssize_t render_next(struct render *r, char *out, size_t max) SL_MUST_CHECK;

#endif
