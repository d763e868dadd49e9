/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Write buffer.  Fixed (caller's memory, never grows) or growing (malloc, up to a limit).  Failure
 * is sticky: writers do not check each put, the owner checks sl_buf_ok() once at the end.
 *
 * A buffer may contain holes: places where bytes that live elsewhere (a log range that will be sent
 * by sendfile) belong.  A hole takes no space in the buffer; sl_buf_wire_bytes() counts it.
 */
#ifndef SLUICE_BASE_BUF_H
#define SLUICE_BASE_BUF_H

#include "sluice/base/base.h"

struct sl_buf_hole {
	size_t pos;     /* position in the buffer before which the outside bytes belong */
	uint32_t bytes; /* how many */
	uint32_t tag;   /* the writer's own number for it */
};

/* Legal states: zeroed = empty fixed buffer of no size; len <= cap. */
struct sl_buf {
	uint8_t *p;
	size_t len;
	size_t cap;
	size_t cap_max; /* 0: fixed; else may grow by realloc up to this */
	bool failed;
	struct sl_buf_hole *holes; /* Borrowed from the owner; NULL: holes are refused. */
	uint32_t holes_count;
	uint32_t holes_max;
	size_t holes_bytes; /* sum of holes[].bytes */
};

void sl_buf_init_fixed(struct sl_buf *buf, void *p, size_t cap);
/* Empty growing buffer; nothing is allocated until the first put. */
void sl_buf_init_grow(struct sl_buf *buf, size_t cap_max);
/* Frees a growing buffer's memory; no-op for a fixed one. */
void sl_buf_fini(struct sl_buf *buf);
static inline void sl_buf_reset(struct sl_buf *buf)
{
	buf->len = 0;
	buf->failed = false;
	buf->holes_count = 0;
	buf->holes_bytes = 0;
}
/* Resets it; a growing one that has more than @keep bytes gives its memory back. */
void sl_buf_trim(struct sl_buf *buf, size_t keep);
/* Takes back what was put since its length was @len, and the failure if there was one.  There must
 * be no hole behind @len. */
void sl_buf_rewind(struct sl_buf *buf, size_t len);
static inline bool sl_buf_ok(const struct sl_buf *buf)
{
	return !buf->failed;
}
/* Bytes on the wire: what is in the buffer plus its holes. */
static inline size_t sl_buf_wire_bytes(const struct sl_buf *buf)
{
	return buf->len + buf->holes_bytes;
}

/* Room for @n bytes at the end, already counted in len; NULL on (sticky) failure. */
uint8_t *sl_buf_take(struct sl_buf *buf, size_t n);
void sl_buf_put(struct sl_buf *buf, const void *p, size_t n);
void sl_buf_put_u8(struct sl_buf *buf, uint8_t v);
void sl_buf_put_be16(struct sl_buf *buf, uint16_t v);
void sl_buf_put_be32(struct sl_buf *buf, uint32_t v);
void sl_buf_put_be64(struct sl_buf *buf, uint64_t v);
/* Kafka's unsigned varint, and zig-zag varint/varlong (protocol guide, "Protocol Primitive Types").
 */
void sl_buf_put_uvarint(struct sl_buf *buf, uint32_t v);
void sl_buf_put_varint(struct sl_buf *buf, int32_t v);
void sl_buf_put_varlong(struct sl_buf *buf, int64_t v);
/* Needs one byte of room more than the text for vsnprintf's NUL, which does not count in len. */
void sl_buf_printf(struct sl_buf *buf, const char *fmt, ...) SL_PRINTF(2, 3);
/* Records a hole at the current position. */
void sl_buf_put_hole(struct sl_buf *buf, uint32_t bytes, uint32_t tag);

#endif
