/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Write buffer.  One owner, one thread.  A failed buffer accepts nothing more until it is reset, so
 * what was written before the failure is never followed by a gap.
 */
#include "sluice/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "sluice/base/assert.h"

#define BUF_CAP_MIN       256u
#define UVARINT_BYTES_MAX 5
#define VARLONG_BYTES_MAX 10

void sl_buf_init_fixed(struct sl_buf *buf, void *p, size_t cap)
{
	*buf = (struct sl_buf){.p = p, .cap = p ? cap : 0};
}

void sl_buf_init_grow(struct sl_buf *buf, size_t cap_max)
{
	*buf = (struct sl_buf){.cap_max = cap_max};
}

void sl_buf_fini(struct sl_buf *buf)
{
	if (buf->cap_max == 0)
		return;
	free(buf->p);
	*buf = (struct sl_buf){.cap_max = buf->cap_max};
}

void sl_buf_trim(struct sl_buf *buf, size_t keep)
{
	if (buf->cap > keep)
		sl_buf_fini(buf);
	sl_buf_reset(buf);
}

void sl_buf_rewind(struct sl_buf *buf, size_t len)
{
	SL_ASSERT(len <= buf->len);
	SL_ASSERT(buf->holes_count == 0 || buf->holes[buf->holes_count - 1].pos <= len);
	buf->len = len;
	buf->failed = false;
}

/* Makes room for @n more bytes; false on failure, which sticks. */
static bool reserve(struct sl_buf *buf, size_t n)
{
	size_t cap;
	uint8_t *p;

	SL_ASSERT_HOT(buf->len <= buf->cap);
	if (sl_unlikely(buf->failed))
		return false;
	if (sl_likely(n <= buf->cap - buf->len))
		return true;
	if (buf->cap_max < buf->len || n > buf->cap_max - buf->len)
		goto fail;
	cap = buf->cap > buf->cap_max / 2 ? buf->cap_max : buf->cap * 2;
	cap = SL_MAX(cap, SL_MIN((size_t)BUF_CAP_MIN, buf->cap_max));
	cap = SL_MAX(cap, buf->len + n);
	p = realloc(buf->p, cap);
	if (!p)
		goto fail;
	buf->p = p;
	buf->cap = cap;
	return true;
fail:
	buf->failed = true;
	return false;
}

uint8_t *sl_buf_take(struct sl_buf *buf, size_t n)
{
	static uint8_t nothing[1];
	uint8_t *p;

	if (!reserve(buf, n))
		return NULL;
	if (sl_unlikely(!buf->p))
		return nothing; /* Only n == 0 gets here: success needs an address that is not NULL.
		                 */
	p = buf->p + buf->len;
	buf->len += n;
	return p;
}

void sl_buf_put(struct sl_buf *buf, const void *p, size_t n)
{
	uint8_t *to = sl_buf_take(buf, n);

	if (to && n > 0)
		memcpy(to, p, n);
}

void sl_buf_put_u8(struct sl_buf *buf, uint8_t v)
{
	uint8_t *to = sl_buf_take(buf, sizeof(v));

	if (to)
		*to = v;
}

void sl_buf_put_be16(struct sl_buf *buf, uint16_t v)
{
	uint8_t *to = sl_buf_take(buf, sizeof(v));

	if (to)
		sl_store_be16(to, v);
}

void sl_buf_put_be32(struct sl_buf *buf, uint32_t v)
{
	uint8_t *to = sl_buf_take(buf, sizeof(v));

	if (to)
		sl_store_be32(to, v);
}

void sl_buf_put_be64(struct sl_buf *buf, uint64_t v)
{
	uint8_t *to = sl_buf_take(buf, sizeof(v));

	if (to)
		sl_store_be64(to, v);
}

/* Seven bits per byte, least significant first; the top bit says that more follow. */
static size_t encode_varint(uint8_t *out, uint64_t v)
{
	size_t n = 0;

	while (v >= 0x80) {
		out[n++] = (uint8_t)(v | 0x80);
		v >>= 7;
	}
	out[n++] = (uint8_t)v;
	return n;
}

void sl_buf_put_uvarint(struct sl_buf *buf, uint32_t v)
{
	uint8_t tmp[UVARINT_BYTES_MAX];

	sl_buf_put(buf, tmp, encode_varint(tmp, v));
}

void sl_buf_put_varint(struct sl_buf *buf, int32_t v)
{
	sl_buf_put_uvarint(buf, ((uint32_t)v << 1) ^ (uint32_t)(v >> 31));
}

void sl_buf_put_varlong(struct sl_buf *buf, int64_t v)
{
	uint8_t tmp[VARLONG_BYTES_MAX];

	sl_buf_put(buf, tmp, encode_varint(tmp, ((uint64_t)v << 1) ^ (uint64_t)(v >> 63)));
}

void sl_buf_printf(struct sl_buf *buf, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (buf->failed)
		return;
	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0) {
		buf->failed = true;
		return;
	}
	if (!reserve(buf, (size_t)n + 1))
		return;
	va_start(ap, fmt);
	vsnprintf((char *)buf->p + buf->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	buf->len += (size_t)n;
}

void sl_buf_put_hole(struct sl_buf *buf, uint32_t bytes, uint32_t tag)
{
	if (buf->failed)
		return;
	if (!buf->holes || buf->holes_count >= buf->holes_max) {
		buf->failed = true;
		return;
	}
	buf->holes[buf->holes_count++] = (struct sl_buf_hole){buf->len, bytes, tag};
	buf->holes_bytes += bytes;
}
