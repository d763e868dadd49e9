/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the generated encoders and decoders are made of: a bounded read cursor with sticky failure
 * and the put helpers for Kafka's composite types.
 *
 * A getter that runs past the end returns zero and marks the cursor failed; later getters then do
 * nothing, so that a decoder has one check at its end and no jumps.  Strings, bytes and records
 * borrow the memory that the cursor reads from.
 */
#ifndef SLUICE_WIRE_CODEC_H
#define SLUICE_WIRE_CODEC_H

#include "sluice/base/arena.h"
#include "sluice/base/base.h"
#include "sluice/base/buf.h"

/* Legal states: p <= end; zeroed = empty.  Once failed, p stays where it is and stays failed. */
struct sl_cursor {
	const uint8_t *p;
	const uint8_t *end;
	bool failed;
};

/*
 * A record set.  Null: len -1.  When @external is set the bytes lie elsewhere and encoding writes
 * only the length and a hole of the buffer with @tag.
 */
struct sl_records {
	const void *p;
	int32_t len;
	bool external;
	uint32_t tag;
};

#define SL_RECORDS_NULL    ((struct sl_records){NULL, -1, false, 0})

/* Kafka refuses longer strings, though the compact form could carry them. */
#define SL_WIRE_STRING_MAX 32767

static inline struct sl_cursor sl_cursor_from(const void *p, size_t len)
{
	const uint8_t *b = p;

	return (struct sl_cursor){b, b ? b + len : b, false};
}

static inline size_t sl_cursor_left(const struct sl_cursor *c)
{
	return (size_t)(c->end - c->p);
}

/* True when everything was read, and nothing but that. */
static inline bool sl_cursor_is_done(const struct sl_cursor *c)
{
	return !c->failed && c->p == c->end;
}

/* The next @n bytes, or NULL (sticky). */
static inline const uint8_t *sl_cursor_take(struct sl_cursor *c, size_t n)
{
	const uint8_t *p = c->p;

	if (sl_unlikely(c->failed || sl_cursor_left(c) < n)) {
		c->failed = true;
		return NULL;
	}
	c->p = p + n;
	return p;
}

static inline int8_t sl_cursor_i8(struct sl_cursor *c)
{
	const uint8_t *p = sl_cursor_take(c, 1);

	return p ? (int8_t)p[0] : 0;
}

/* Kafka takes any byte but zero as true. */
static inline bool sl_cursor_bool(struct sl_cursor *c)
{
	return sl_cursor_i8(c) != 0;
}

static inline uint16_t sl_cursor_u16(struct sl_cursor *c)
{
	const uint8_t *p = sl_cursor_take(c, 2);

	return p ? sl_load_be16(p) : 0;
}

static inline int16_t sl_cursor_i16(struct sl_cursor *c)
{
	return (int16_t)sl_cursor_u16(c);
}

static inline int32_t sl_cursor_i32(struct sl_cursor *c)
{
	const uint8_t *p = sl_cursor_take(c, 4);

	return p ? (int32_t)sl_load_be32(p) : 0;
}

static inline int64_t sl_cursor_i64(struct sl_cursor *c)
{
	const uint8_t *p = sl_cursor_take(c, 8);

	return p ? (int64_t)sl_load_be64(p) : 0;
}

static inline double sl_cursor_f64(struct sl_cursor *c)
{
	int64_t bits = sl_cursor_i64(c);
	double v;

	memcpy(&v, &bits, sizeof(v));
	return v;
}

static inline struct sl_uuid sl_cursor_uuid(struct sl_cursor *c)
{
	const uint8_t *p = sl_cursor_take(c, sizeof(struct sl_uuid));
	struct sl_uuid u = {{0}};

	if (p)
		memcpy(u.b, p, sizeof(u.b));
	return u;
}

/* The varints of more than one byte; use the functions below. */
uint32_t sl_cursor_uvarint_long(struct sl_cursor *c);

/* Unsigned varint.  More than 5 bytes, or bits above 32, fail. */
static inline uint32_t sl_cursor_uvarint(struct sl_cursor *c)
{
	if (sl_likely(!c->failed && c->p < c->end && *c->p < 0x80))
		return *c->p++;
	return sl_cursor_uvarint_long(c);
}

/* Zig-zag varint, as in records. */
static inline int32_t sl_cursor_varint(struct sl_cursor *c)
{
	uint32_t v = sl_cursor_uvarint(c);

	return (int32_t)(v >> 1) ^ -(int32_t)(v & 1);
}

/* Zig-zag varlong.  More than 10 bytes, or bits above 64, fail. */
int64_t sl_cursor_varlong(struct sl_cursor *c);

/* Strings, bytes and records.  @flex: the compact form.  The _nn forms fail on null. */
struct sl_str sl_cursor_str(struct sl_cursor *c, bool flex);
struct sl_str sl_cursor_str_nn(struct sl_cursor *c, bool flex);
struct sl_bytes sl_cursor_bytes(struct sl_cursor *c, bool flex);
struct sl_bytes sl_cursor_bytes_nn(struct sl_cursor *c, bool flex);
struct sl_records sl_cursor_records(struct sl_cursor *c, bool flex);
struct sl_records sl_cursor_records_nn(struct sl_cursor *c, bool flex);

/*
 * An array's count: -1 null, else so small that @elem_bytes_min for each element still fit into
 * what is left.  The _nn form fails on null.
 */
int32_t sl_cursor_count(struct sl_cursor *c, bool flex, uint32_t elem_bytes_min);
int32_t sl_cursor_count_nn(struct sl_cursor *c, bool flex, uint32_t elem_bytes_min);

/* Room for the elements; NULL for none.  Fails the cursor when the arena is full. */
void *sl_cursor_array(struct sl_cursor *c, struct sl_arena *arena, int32_t count, size_t elem_size);

/* The @count elements of an array of a primitive type. */
int8_t *sl_cursor_array_i8(struct sl_cursor *c, struct sl_arena *arena, int32_t count);
int32_t *sl_cursor_array_i32(struct sl_cursor *c, struct sl_arena *arena, int32_t count);
int64_t *sl_cursor_array_i64(struct sl_cursor *c, struct sl_arena *arena, int32_t count);
struct sl_str *sl_cursor_array_str(struct sl_cursor *c, struct sl_arena *arena, int32_t count,
                                   bool flex);

/* A cursor over one tagged field's bytes; both fail together. */
struct sl_cursor sl_cursor_sub(struct sl_cursor *c, uint32_t bytes);
/* Skips a whole tag section. */
void sl_cursor_skip_tags(struct sl_cursor *c);

/**
 * sl_cursor_result() - how a decode ended
 * @c: cursor after the last getter
 * @arena: arena of the decoded message, not failed before
 *
 * Return: 0; -ENOMEM the arena is full; -EBADMSG malformed.
 */
int sl_cursor_result(const struct sl_cursor *c, const struct sl_arena *arena) SL_MUST_CHECK;

static inline void sl_put_i8(struct sl_buf *b, int8_t v)
{
	sl_buf_put_u8(b, (uint8_t)v);
}

static inline void sl_put_bool(struct sl_buf *b, bool v)
{
	sl_buf_put_u8(b, v ? 1 : 0);
}

static inline void sl_put_u16(struct sl_buf *b, uint16_t v)
{
	sl_buf_put_be16(b, v);
}

static inline void sl_put_i16(struct sl_buf *b, int16_t v)
{
	sl_buf_put_be16(b, (uint16_t)v);
}

static inline void sl_put_i32(struct sl_buf *b, int32_t v)
{
	sl_buf_put_be32(b, (uint32_t)v);
}

static inline void sl_put_i64(struct sl_buf *b, int64_t v)
{
	sl_buf_put_be64(b, (uint64_t)v);
}

static inline void sl_put_f64(struct sl_buf *b, double v)
{
	uint64_t bits;

	memcpy(&bits, &v, sizeof(bits));
	sl_buf_put_be64(b, bits);
}

static inline void sl_put_uuid(struct sl_buf *b, struct sl_uuid u)
{
	sl_buf_put(b, u.b, sizeof(u.b));
}

/* The _nn forms write null as empty: at that version the peer could not read a null. */
void sl_put_str(struct sl_buf *b, struct sl_str s, bool flex);
void sl_put_str_nn(struct sl_buf *b, struct sl_str s, bool flex);
void sl_put_bytes(struct sl_buf *b, struct sl_bytes v, bool flex);
void sl_put_bytes_nn(struct sl_buf *b, struct sl_bytes v, bool flex);
void sl_put_records(struct sl_buf *b, struct sl_records r, bool flex);
void sl_put_records_nn(struct sl_buf *b, struct sl_records r, bool flex);
void sl_put_count(struct sl_buf *b, int32_t count, bool flex);
void sl_put_count_nn(struct sl_buf *b, int32_t count, bool flex);
void sl_put_array_i8(struct sl_buf *b, const int8_t *v, int32_t count);
void sl_put_array_i32(struct sl_buf *b, const int32_t *v, int32_t count);
void sl_put_array_i64(struct sl_buf *b, const int64_t *v, int32_t count);
void sl_put_array_str(struct sl_buf *b, const struct sl_str *v, int32_t count, bool flex);

/*
 * A tagged field: begin writes the tag and returns the position of the contents; end puts the size
 * in front of them.
 */
size_t sl_put_tag_begin(struct sl_buf *b, uint32_t tag);
void sl_put_tag_end(struct sl_buf *b, size_t pos);

#endif
