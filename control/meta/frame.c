/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of the metadata log.  Pure functions over memory. */
#include "frame.h"

#include <errno.h>

#include "sluice/base/assert.h"
#include "sluice/base/crc32c.h"

#define MAGIC        UINT32_C(0x534c4d46) /* "SLMF" */
#define RECORD_BYTES 8

static bool is_head(const uint8_t *p)
{
	return sl_load_be32(p) == MAGIC && sl_load_be32(p + 4) <= FRAME_BODY_MAX &&
	       sl_load_be32(p + 24) == sl_crc32c(0, p, 24);
}

enum frame_state frame_parse(struct frame *out, const void *p, size_t len)
{
	const uint8_t *head = p;
	uint32_t body_bytes;

	if (len < FRAME_HEAD_BYTES || !is_head(head))
		return FRAME_DAMAGED;
	body_bytes = sl_load_be32(head + 4);
	out->revision = sl_load_be64(head + 8);
	out->records_count = sl_load_be32(head + 16);
	out->body = (struct sl_bytes){head + FRAME_HEAD_BYTES, (int32_t)body_bytes};
	out->bytes = FRAME_HEAD_BYTES + (size_t)body_bytes;
	if (out->bytes > len)
		return FRAME_SHORT;
	if (sl_crc32c(0, out->body.p, body_bytes) != sl_load_be32(head + 20))
		return FRAME_DAMAGED;
	return FRAME_WHOLE;
}

bool frame_find(const void *p, size_t len, uint64_t after, size_t *pos)
{
	const uint8_t *b = p;

	for (size_t i = 0; i + FRAME_HEAD_BYTES <= len; i++) {
		if (is_head(b + i) && sl_load_be64(b + i + 8) > after) {
			*pos = i;
			return true;
		}
	}
	return false;
}

void frame_put_record(struct sl_buf *buf, const struct meta_record *rec)
{
	SL_ASSERT(rec->payload.len >= 0);
	sl_buf_put_be16(buf, rec->type);
	sl_buf_put_be16(buf, (uint16_t)rec->version);
	sl_buf_put_be32(buf, (uint32_t)rec->payload.len);
	sl_buf_put(buf, rec->payload.p, (size_t)rec->payload.len);
}

int frame_next_record(const uint8_t **p, size_t *left, struct meta_record *out)
{
	uint32_t bytes;

	if (*left == 0)
		return 0;
	if (*left < RECORD_BYTES)
		return -EBADMSG;
	out->type = sl_load_be16(*p);
	out->version = (int16_t)sl_load_be16(*p + 2);
	bytes = sl_load_be32(*p + 4);
	if (bytes > *left - RECORD_BYTES || bytes > INT32_MAX)
		return -EBADMSG;
	out->payload = (struct sl_bytes){*p + RECORD_BYTES, (int32_t)bytes};
	*p += RECORD_BYTES + bytes;
	*left -= RECORD_BYTES + bytes;
	return 1;
}

void frame_put(struct sl_buf *buf, uint64_t revision, const struct meta_record *recs,
               uint32_t count)
{
	size_t start = buf->len;
	size_t body_bytes;
	uint8_t *head;

	if (!sl_buf_take(buf, FRAME_HEAD_BYTES))
		return;
	for (uint32_t i = 0; i < count; i++)
		frame_put_record(buf, &recs[i]);
	if (!sl_buf_ok(buf))
		return;
	body_bytes = buf->len - start - FRAME_HEAD_BYTES;
	if (body_bytes > FRAME_BODY_MAX) {
		buf->failed = true;
		return;
	}
	head = buf->p + start;
	sl_store_be32(head, MAGIC);
	sl_store_be32(head + 4, (uint32_t)body_bytes);
	sl_store_be64(head + 8, revision);
	sl_store_be32(head + 16, count);
	sl_store_be32(head + 20, sl_crc32c(0, head + FRAME_HEAD_BYTES, body_bytes));
	sl_store_be32(head + 24, sl_crc32c(0, head, 24));
}
