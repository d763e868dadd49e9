/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bump arena.  One owner, one thread.  Alignment is that of the address, not of the position,
 * because the caller's block may begin anywhere.
 */
#include "sluice/base/arena.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sluice/base/assert.h"

#define ARENA_ALIGN 16u

void sl_arena_init(struct sl_arena *arena, void *base, size_t size)
{
	*arena = (struct sl_arena){.base = base, .size = base ? size : 0};
}

int sl_arena_create(struct sl_arena *arena, size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
	               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return -ENOMEM;
	sl_arena_init(arena, p, size);
	arena->owned = true;
	return 0;
}

void sl_arena_destroy(struct sl_arena *arena)
{
	if (arena->owned)
		munmap(arena->base, arena->size);
	*arena = (struct sl_arena){0};
}

void sl_arena_reset(struct sl_arena *arena)
{
	arena->peak = SL_MAX(arena->peak, arena->used);
	arena->used = 0;
	arena->failed = false;
}

void sl_arena_trim(struct sl_arena *arena, size_t keep)
{
	size_t from;

	sl_arena_reset(arena);
	if (arena->owned && arena->peak > keep) {
		from = SL_ALIGN_UP(keep, (size_t)sysconf(_SC_PAGESIZE));
		if (arena->peak > from)
			SL_ASSERT(madvise(arena->base + from, arena->peak - from, MADV_DONTNEED) ==
			          0);
	}
	arena->peak = 0;
}

/* Position of the next aligned byte; may lie behind the end. */
static size_t aligned_pos(const struct sl_arena *arena)
{
	uintptr_t at = (uintptr_t)arena->base + arena->used;

	return arena->used + (SL_ALIGN_UP(at, (uintptr_t)ARENA_ALIGN) - at);
}

void *sl_arena_alloc(struct sl_arena *arena, size_t size)
{
	size_t pos = aligned_pos(arena);
	void *p;

	SL_ASSERT_HOT(arena->used <= arena->size);
	if (sl_unlikely(arena->base && size == 0))
		return arena->base + SL_MIN(pos, arena->size);
	if (sl_unlikely(!arena->base || pos > arena->size || size > arena->size - pos)) {
		arena->failed = true;
		return NULL;
	}
	p = arena->base + pos;
	arena->used = pos + size;
	return memset(p, 0, size);
}

void *sl_arena_alloc_array(struct sl_arena *arena, size_t count, size_t elem_size)
{
	size_t size;

	if (__builtin_mul_overflow(count, elem_size, &size)) {
		arena->failed = true;
		return NULL;
	}
	return sl_arena_alloc(arena, size);
}

char *sl_arena_strndup(struct sl_arena *arena, const char *s, size_t len)
{
	char *p;

	if (len == SIZE_MAX) {
		arena->failed = true;
		return NULL;
	}
	p = sl_arena_alloc(arena, len + 1);
	if (p && len > 0)
		memcpy(p, s, len);
	return p;
}

char *sl_arena_printf(struct sl_arena *arena, const char *fmt, ...)
{
	size_t room = arena->size - arena->used;
	va_list ap;
	char *p;
	int n;

	if (!arena->base)
		goto fail;
	p = (char *)arena->base + arena->used;
	va_start(ap, fmt);
	n = vsnprintf(p, room, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= room)
		goto fail;
	arena->used += (size_t)n + 1;
	return p;
fail:
	arena->failed = true;
	return NULL;
}
