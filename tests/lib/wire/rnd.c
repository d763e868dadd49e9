/* SPDX-License-Identifier: Apache-2.0 */
#include "rnd.h"

#include <stdio.h>

#include "sluice/base/assert.h"

uint64_t rnd(struct rnd *r)
{
	uint64_t z = (r->state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

void rnd_field(struct rnd *r, const char *path)
{
	if (!r->by_name)
		return;
	r->state = UINT64_C(0xcbf29ce484222325);
	for (; *path; path++)
		r->state = (r->state ^ (uint8_t)*path) * UINT64_C(0x100000001b3);
}

bool rnd_present(struct rnd *r)
{
	return r->by_name || rnd_bool(r);
}

bool rnd_bool(struct rnd *r)
{
	return rnd(r) & 1;
}

int32_t rnd_count(struct rnd *r, bool nullable)
{
	uint64_t v = rnd(r);

	if (r->by_name)
		return (int32_t)(1 + v % 2);
	if (nullable && v % 4 == 0)
		return -1;
	return (int32_t)(v % 61 == 0 ? (v >> 32) % 200 : (v >> 32) % 4);
}

void *rnd_array(struct sl_arena *arena, int32_t count, size_t elem_size)
{
	void *p;

	if (count <= 0)
		return NULL;
	p = sl_arena_alloc_array(arena, (size_t)count, elem_size);
	SL_ASSERT(p);
	return p;
}

static uint8_t *rnd_memory(struct rnd *r, struct sl_arena *arena, int32_t len)
{
	uint8_t *p = sl_arena_alloc(arena, (size_t)len + 1);

	SL_ASSERT(p);
	for (int32_t i = 0; i < len; i++)
		p[i] = (uint8_t)('a' + rnd(r) % 26);
	return p;
}

static int32_t rnd_len(struct rnd *r, bool nullable)
{
	uint64_t v = rnd(r);

	if (r->by_name)
		return (int32_t)(1 + v % 12);
	if (nullable && v % 4 == 0)
		return -1;
	return (int32_t)(v % 31 == 0 ? (v >> 32) % 400 : (v >> 32) % 12);
}

struct sl_str rnd_str(struct rnd *r, struct sl_arena *arena, bool nullable)
{
	int32_t len = rnd_len(r, nullable);

	if (len < 0)
		return SL_STR_NULL;
	return (struct sl_str){(const char *)rnd_memory(r, arena, len), len};
}

struct sl_bytes rnd_bytes(struct rnd *r, struct sl_arena *arena, bool nullable)
{
	int32_t len = rnd_len(r, nullable);

	if (len < 0)
		return SL_BYTES_NULL;
	return (struct sl_bytes){rnd_memory(r, arena, len), len};
}

struct sl_records rnd_records(struct rnd *r, struct sl_arena *arena, bool nullable)
{
	struct sl_bytes v = rnd_bytes(r, arena, nullable);

	return (struct sl_records){v.p, v.len, false, 0};
}

struct sl_uuid rnd_uuid(struct rnd *r)
{
	struct sl_uuid u;

	for (size_t i = 0; i < sizeof(u.b); i++)
		u.b[i] = (uint8_t)rnd(r);
	return u;
}

bool same_bytes(const void *a, int32_t a_len, const void *b, int32_t b_len)
{
	return a_len == b_len && (a_len <= 0 || memcmp(a, b, (size_t)a_len) == 0);
}

bool differs(const char *field)
{
	fprintf(stderr, "field %s differs\n", field);
	return false;
}
