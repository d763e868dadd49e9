/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bump arena: request scratch.  Memory comes from one block of fixed size given at creation; reset
 * makes all of it free at once.  Allocation failure is sticky, so that a decoder checks once.
 */
#ifndef SLUICE_BASE_ARENA_H
#define SLUICE_BASE_ARENA_H

#include "sluice/base/base.h"

/* Legal states: {NULL,0,0,0,false} empty arena that fails every allocation; used <= size. */
struct sl_arena {
	uint8_t *base;
	size_t size;
	size_t used;
	size_t peak; /* of used at the resets since it was created or trimmed */
	bool failed; /* an allocation did not fit since the last reset */
	bool owned;  /* base came from sl_arena_create() */
};

/* Use the caller's memory. */
void sl_arena_init(struct sl_arena *arena, void *base, size_t size);
/* mmap @size bytes (touched lazily).  Return: 0 or -ENOMEM. */
int sl_arena_create(struct sl_arena *arena, size_t size) SL_MUST_CHECK;
void sl_arena_destroy(struct sl_arena *arena);
void sl_arena_reset(struct sl_arena *arena);
/* Resets it; of a block that was created, what has been used beyond @keep bytes since the last trim
 * goes back to the system. */
void sl_arena_trim(struct sl_arena *arena, size_t keep);

/* Zeroed memory, aligned to 16.  NULL when it does not fit (and arena->failed is set); never NULL
 * for size 0 of a live arena. */
void *sl_arena_alloc(struct sl_arena *arena, size_t size);
/* As above for @count elements; checks the multiplication. */
void *sl_arena_alloc_array(struct sl_arena *arena, size_t count, size_t elem_size);
/* Copies @len bytes and adds a NUL.  NULL when it does not fit. */
char *sl_arena_strndup(struct sl_arena *arena, const char *s, size_t len);
char *sl_arena_printf(struct sl_arena *arena, const char *fmt, ...) SL_PRINTF(2, 3);

#endif
