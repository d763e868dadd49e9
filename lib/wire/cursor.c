/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The out-of-line half of the codec: varints, Kafka's composite types, tag sections.
 * Relies on nothing but the cursor's bounds; every length is compared with what is left before it
 * is used for anything.  Pure functions over the caller's memory, any core.
 */
#include "sluice/wire/codec.h"

#include <errno.h>

uint32_t sl_cursor_uvarint_long(struct sl_cursor *c)
{
	uint32_t v = 0;

	for (unsigned int shift = 0; shift < 35; shift += 7) {
		const uint8_t *p = sl_cursor_take(c, 1);

		/* The fifth byte holds the top four bits of 32. */
		if (!p || (shift == 28 && *p > 0x0f))
			break;
		v |= (uint32_t)(*p & 0x7f) << shift;
		if (*p < 0x80)
			return v;
	}
	c->failed = true;
	return 0;
}

int64_t sl_cursor_varlong(struct sl_cursor *c)
{
	uint64_t v = 0;

	for (unsigned int shift = 0; shift < 70; shift += 7) {
		const uint8_t *p = sl_cursor_take(c, 1);

		/* The tenth byte holds the top bit of 64. */
		if (!p || (shift == 63 && *p > 0x01))
			break;
		v |= (uint64_t)(*p & 0x7f) << shift;
		if (*p < 0x80)
			return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
	}
	c->failed = true;
	return 0;
}

/* Compact lengths are length + 1 as uvarint, 0 for null.  Below -1 never comes out of here. */
static int32_t get_len(struct sl_cursor *c, bool flex)
{
	int32_t len;

	if (flex) {
		uint32_t n = sl_cursor_uvarint(c);

		if (n > INT32_MAX) {
			c->failed = true;
			return -1;
		}
		len = (int32_t)n - 1;
	} else {
		len = sl_cursor_i32(c);
		if (len < -1)
			c->failed = true;
	}
	if (c->failed)
		return -1;
	return len;
}

struct sl_str sl_cursor_str(struct sl_cursor *c, bool flex)
{
	int32_t len = flex ? get_len(c, true) : sl_cursor_i16(c);

	if (len < -1 || len > SL_WIRE_STRING_MAX)
		c->failed = true;
	if (c->failed || len < 0)
		return SL_STR_NULL;

	const uint8_t *p = sl_cursor_take(c, (size_t)len);

	return p ? (struct sl_str){(const char *)p, len} : SL_STR_NULL;
}

struct sl_str sl_cursor_str_nn(struct sl_cursor *c, bool flex)
{
	struct sl_str s = sl_cursor_str(c, flex);

	if (s.len < 0) {
		c->failed = true;
		s = (struct sl_str){NULL, 0};
	}
	return s;
}

struct sl_bytes sl_cursor_bytes(struct sl_cursor *c, bool flex)
{
	int32_t len = get_len(c, flex);

	if (len < 0)
		return SL_BYTES_NULL;

	const uint8_t *p = sl_cursor_take(c, (size_t)len);

	return p ? (struct sl_bytes){p, len} : SL_BYTES_NULL;
}

struct sl_bytes sl_cursor_bytes_nn(struct sl_cursor *c, bool flex)
{
	struct sl_bytes v = sl_cursor_bytes(c, flex);

	if (v.len < 0) {
		c->failed = true;
		v = (struct sl_bytes){NULL, 0};
	}
	return v;
}

struct sl_records sl_cursor_records(struct sl_cursor *c, bool flex)
{
	struct sl_bytes v = sl_cursor_bytes(c, flex);

	return (struct sl_records){v.p, v.len, false, 0};
}

struct sl_records sl_cursor_records_nn(struct sl_cursor *c, bool flex)
{
	struct sl_bytes v = sl_cursor_bytes_nn(c, flex);

	return (struct sl_records){v.p, v.len, false, 0};
}

int32_t sl_cursor_count(struct sl_cursor *c, bool flex, uint32_t elem_bytes_min)
{
	int32_t count = get_len(c, flex);

	if (count > 0 && (uint64_t)count * elem_bytes_min > sl_cursor_left(c)) {
		c->failed = true;
		return 0;
	}
	return c->failed ? 0 : count;
}

int32_t sl_cursor_count_nn(struct sl_cursor *c, bool flex, uint32_t elem_bytes_min)
{
	int32_t count = sl_cursor_count(c, flex, elem_bytes_min);

	if (count < 0) {
		c->failed = true;
		return 0;
	}
	return count;
}

void *sl_cursor_array(struct sl_cursor *c, struct sl_arena *arena, int32_t count, size_t elem_size)
{
	if (count <= 0 || c->failed)
		return NULL;

	void *p = sl_arena_alloc_array(arena, (size_t)count, elem_size);

	if (!p)
		c->failed = true;
	return p;
}

int8_t *sl_cursor_array_i8(struct sl_cursor *c, struct sl_arena *arena, int32_t count)
{
	int8_t *v = sl_cursor_array(c, arena, count, sizeof(*v));

	for (int32_t i = 0; v && i < count; i++)
		v[i] = sl_cursor_i8(c);
	return v;
}

int32_t *sl_cursor_array_i32(struct sl_cursor *c, struct sl_arena *arena, int32_t count)
{
	int32_t *v = sl_cursor_array(c, arena, count, sizeof(*v));

	for (int32_t i = 0; v && i < count; i++)
		v[i] = sl_cursor_i32(c);
	return v;
}

int64_t *sl_cursor_array_i64(struct sl_cursor *c, struct sl_arena *arena, int32_t count)
{
	int64_t *v = sl_cursor_array(c, arena, count, sizeof(*v));

	for (int32_t i = 0; v && i < count; i++)
		v[i] = sl_cursor_i64(c);
	return v;
}

struct sl_str *sl_cursor_array_str(struct sl_cursor *c, struct sl_arena *arena, int32_t count,
                                   bool flex)
{
	struct sl_str *v = sl_cursor_array(c, arena, count, sizeof(*v));

	for (int32_t i = 0; v && i < count && !c->failed; i++)
		v[i] = sl_cursor_str_nn(c, flex);
	return v;
}

struct sl_cursor sl_cursor_sub(struct sl_cursor *c, uint32_t bytes)
{
	const uint8_t *p = sl_cursor_take(c, bytes);

	return (struct sl_cursor){p, p ? p + bytes : p, c->failed};
}

void sl_cursor_skip_tags(struct sl_cursor *c)
{
	uint32_t count = sl_cursor_uvarint(c);

	/* A count larger than the frame ends at the frame's end, since each tag takes two bytes. */
	for (uint32_t i = 0; i < count && !c->failed; i++) {
		sl_cursor_uvarint(c);
		sl_cursor_take(c, sl_cursor_uvarint(c));
	}
}

int sl_cursor_result(const struct sl_cursor *c, const struct sl_arena *arena)
{
	if (arena->failed)
		return -ENOMEM;
	return c->failed ? -EBADMSG : 0;
}

static void put_len(struct sl_buf *b, int32_t len, bool flex)
{
	if (flex)
		sl_buf_put_uvarint(b, (uint32_t)(len < 0 ? 0 : len + 1));
	else
		sl_buf_put_be32(b, (uint32_t)(len < 0 ? -1 : len));
}

void sl_put_str(struct sl_buf *b, struct sl_str s, bool flex)
{
	if (s.len > SL_WIRE_STRING_MAX) {
		b->failed = true;
		return;
	}
	if (flex)
		put_len(b, s.len, true);
	else
		sl_buf_put_be16(b, (uint16_t)(s.len < 0 ? -1 : s.len));
	if (s.len > 0)
		sl_buf_put(b, s.p, (size_t)s.len);
}

void sl_put_str_nn(struct sl_buf *b, struct sl_str s, bool flex)
{
	sl_put_str(b, s.len < 0 ? (struct sl_str){NULL, 0} : s, flex);
}

void sl_put_bytes(struct sl_buf *b, struct sl_bytes v, bool flex)
{
	put_len(b, v.len, flex);
	if (v.len > 0)
		sl_buf_put(b, v.p, (size_t)v.len);
}

void sl_put_bytes_nn(struct sl_buf *b, struct sl_bytes v, bool flex)
{
	sl_put_bytes(b, v.len < 0 ? (struct sl_bytes){NULL, 0} : v, flex);
}

void sl_put_records(struct sl_buf *b, struct sl_records r, bool flex)
{
	put_len(b, r.len, flex);
	if (r.len <= 0)
		return;
	if (r.external)
		sl_buf_put_hole(b, (uint32_t)r.len, r.tag);
	else
		sl_buf_put(b, r.p, (size_t)r.len);
}

void sl_put_records_nn(struct sl_buf *b, struct sl_records r, bool flex)
{
	if (r.len < 0)
		r.len = 0;
	sl_put_records(b, r, flex);
}

void sl_put_count(struct sl_buf *b, int32_t count, bool flex)
{
	put_len(b, count, flex);
}

void sl_put_count_nn(struct sl_buf *b, int32_t count, bool flex)
{
	put_len(b, count < 0 ? 0 : count, flex);
}

void sl_put_array_i8(struct sl_buf *b, const int8_t *v, int32_t count)
{
	if (count > 0)
		sl_buf_put(b, v, (size_t)count);
}

void sl_put_array_i32(struct sl_buf *b, const int32_t *v, int32_t count)
{
	for (int32_t i = 0; i < count; i++)
		sl_buf_put_be32(b, (uint32_t)v[i]);
}

void sl_put_array_i64(struct sl_buf *b, const int64_t *v, int32_t count)
{
	for (int32_t i = 0; i < count; i++)
		sl_buf_put_be64(b, (uint64_t)v[i]);
}

void sl_put_array_str(struct sl_buf *b, const struct sl_str *v, int32_t count, bool flex)
{
	for (int32_t i = 0; i < count; i++)
		sl_put_str_nn(b, v[i], flex);
}

size_t sl_put_tag_begin(struct sl_buf *b, uint32_t tag)
{
	sl_buf_put_uvarint(b, tag);
	/* One byte for the size is nearly always right; sl_put_tag_end() makes more room if not. */
	sl_buf_put_u8(b, 0);
	return b->len;
}

void sl_put_tag_end(struct sl_buf *b, size_t pos)
{
	if (b->failed)
		return;

	uint32_t size = (uint32_t)(b->len - pos);
	size_t more = 0;

	for (uint32_t v = size >> 7; v; v >>= 7)
		more++;
	if (more) {
		if (!sl_buf_take(b, more))
			return;
		memmove(b->p + pos + more, b->p + pos, size);
	}
	uint8_t *p = b->p + pos - 1;

	for (; size >= 0x80; size >>= 7)
		*p++ = (uint8_t)(size | 0x80);
	*p = (uint8_t)size;
}
