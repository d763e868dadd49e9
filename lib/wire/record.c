/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the records of a batch one by one, and building batches.
 * For coordinators, tools and tests: the lanes never look into records beyond validate.c.
 */
#include "sluice/wire/batch.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/base/crc32c.h"

/* ---- Iteration --------------------------------------------------------------------------------
 */

/* Size of a whole stream when decompressed, or -errno. */
static int64_t stream_bytes(struct sl_codec_ctx *ctx, enum sl_codec codec, struct sl_bytes in)
{
	const uint8_t *piece;
	int64_t total = 0;
	int64_t n = sl_codec_begin(ctx, codec, in.p, (size_t)in.len);

	if (n < 0)
		return n;
	while ((n = sl_codec_next(ctx, &piece)) > 0)
		total += n;
	return n < 0 ? n : total;
}

/* Decompresses twice, first to know the size: the arena wants one piece of memory. */
static int decompress(struct sl_cursor *c, struct sl_codec_ctx *ctx, enum sl_codec codec,
                      struct sl_bytes in, struct sl_arena *arena)
{
	int64_t total = stream_bytes(ctx, codec, in);
	const uint8_t *piece;
	int64_t n;
	uint8_t *out;
	size_t pos = 0;

	if (total < 0)
		return (int)total;
	out = sl_arena_alloc(arena, (size_t)total);
	if (!out)
		return -ENOMEM;
	n = sl_codec_begin(ctx, codec, in.p, (size_t)in.len);
	if (n < 0)
		return (int)n;
	while ((n = sl_codec_next(ctx, &piece)) > 0) {
		SL_ASSERT(pos + (size_t)n <= (size_t)total);
		memcpy(out + pos, piece, (size_t)n); /* copy: from the codec's window */
		pos += (size_t)n;
	}
	*c = sl_cursor_from(out, pos);
	return (int)n;
}

int sl_record_iter_init(struct sl_record_iter *it, const void *p, const struct sl_batch_head *h,
                        struct sl_codec_ctx *ctx, struct sl_arena *arena)
{
	struct sl_bytes records = {(const uint8_t *)p + SL_BATCH_HEADER_BYTES,
	                           (int32_t)(sl_batch_bytes(h) - SL_BATCH_HEADER_BYTES)};

	it->head = *h;
	it->index = 0;
	it->c = sl_cursor_from(records.p, (size_t)records.len);
	if (sl_batch_codec(h) == SL_CODEC_NONE || h->records_count == 0)
		return 0;
	return decompress(&it->c, ctx, sl_batch_codec(h), records, arena);
}

/* A varint length and as many bytes; @len_min is -1 where null is allowed. */
static struct sl_bytes get_bytes(struct sl_cursor *c, int32_t len_min)
{
	int32_t len = sl_cursor_varint(c);
	const uint8_t *p;

	if (len < len_min)
		c->failed = true;
	if (len < 0 || c->failed)
		return SL_BYTES_NULL;
	p = sl_cursor_take(c, (size_t)len);
	return p ? (struct sl_bytes){p, len} : SL_BYTES_NULL;
}

int sl_record_iter_next(struct sl_record_iter *it, struct sl_record *out)
{
	const struct sl_batch_head *h = &it->head;

	if (it->index >= h->records_count)
		return sl_cursor_is_done(&it->c) ? 0 : -EBADMSG;
	it->index++;

	struct sl_bytes body = get_bytes(&it->c, 0);
	struct sl_cursor c = sl_cursor_from(body.p, body.len > 0 ? (size_t)body.len : 0);

	sl_cursor_i8(&c); /* attributes, of which none is in use */

	int64_t timestamp_delta = sl_cursor_varlong(&c);
	int32_t offset_delta = sl_cursor_varint(&c);

	out->timestamp = sl_batch_is_log_append_time(h) ? h->max_timestamp
	                                                : (int64_t)((uint64_t)h->base_timestamp +
	                                                            (uint64_t)timestamp_delta);
	/* A batch that is in no log yet says any base. */
	out->offset = (int64_t)((uint64_t)h->base_offset + (uint64_t)(int64_t)offset_delta);
	out->key = get_bytes(&c, -1);
	out->value = get_bytes(&c, -1);
	out->headers_count = sl_cursor_varint(&c);
	if (out->headers_count < 0)
		c.failed = true;
	out->headers = (struct sl_bytes){c.p, (int32_t)sl_cursor_left(&c)};
	for (int32_t i = 0; i < out->headers_count && !c.failed; i++) {
		get_bytes(&c, 0);
		get_bytes(&c, -1);
	}
	return it->c.failed || !sl_cursor_is_done(&c) ? -EBADMSG : 1;
}

int sl_record_header_next(struct sl_bytes *headers, struct sl_str *key, struct sl_bytes *value)
{
	struct sl_cursor c;
	struct sl_bytes k;

	if (headers->len <= 0)
		return 0;
	c = sl_cursor_from(headers->p, (size_t)headers->len);
	k = get_bytes(&c, 0);
	*value = get_bytes(&c, -1);
	if (c.failed)
		return -EBADMSG;
	*key = (struct sl_str){k.p, k.len};
	*headers = (struct sl_bytes){c.p, (int32_t)sl_cursor_left(&c)};
	return 1;
}

/* ---- Building ---------------------------------------------------------------------------------
 */

void sl_batch_head_init(struct sl_batch_head *h)
{
	*h = (struct sl_batch_head){
		.leader_epoch = -1,
		.magic = 2,
		.base_timestamp = SL_BATCH_NO_TIMESTAMP,
		.max_timestamp = SL_BATCH_NO_TIMESTAMP,
		.producer_id = SL_BATCH_NO_PRODUCER_ID,
		.producer_epoch = -1,
		.base_sequence = -1,
	};
}

void sl_batch_begin(struct sl_batch_builder *b, struct sl_buf *buf,
                    const struct sl_batch_head *head)
{
	b->buf = buf;
	b->start = buf->len;
	b->head = *head;
	b->head.magic = 2;
	b->head.records_count = 0;
	if (!sl_batch_is_log_append_time(head))
		b->head.max_timestamp = SL_BATCH_NO_TIMESTAMP;
	sl_buf_take(buf, SL_BATCH_HEADER_BYTES);
}

static size_t varlong_bytes(int64_t v)
{
	uint64_t u = ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
	size_t n = 1;

	for (; u >= 0x80; u >>= 7)
		n++;
	return n;
}

static size_t field_bytes(int32_t len)
{
	return varlong_bytes(len) + (len > 0 ? (size_t)len : 0);
}

static void put_field(struct sl_buf *buf, const void *p, int32_t len)
{
	sl_buf_put_varint(buf, len < 0 ? -1 : len);
	if (len > 0)
		sl_buf_put(buf, p, (size_t)len);
}

void sl_batch_add(struct sl_batch_builder *b, int64_t timestamp, struct sl_bytes key,
                  struct sl_bytes value)
{
	sl_batch_add_headers(b, timestamp, key, value, NULL, 0);
}

void sl_batch_add_headers(struct sl_batch_builder *b, int64_t timestamp, struct sl_bytes key,
                          struct sl_bytes value, const struct sl_record_header *headers,
                          int32_t headers_count)
{
	struct sl_batch_head *h = &b->head;
	int32_t offset_delta = h->records_count++;
	size_t bytes;

	if (offset_delta == 0)
		h->base_timestamp = timestamp;
	if (timestamp > h->max_timestamp && !sl_batch_is_log_append_time(h))
		h->max_timestamp = timestamp;

	int64_t timestamp_delta = (int64_t)((uint64_t)timestamp - (uint64_t)h->base_timestamp);

	bytes = 1 + varlong_bytes(timestamp_delta) + varlong_bytes(offset_delta) +
	        field_bytes(key.len) + field_bytes(value.len) + varlong_bytes(headers_count);
	for (int32_t i = 0; i < headers_count; i++)
		bytes += field_bytes(headers[i].key.len) + field_bytes(headers[i].value.len);
	if (bytes > INT32_MAX) {
		b->buf->failed = true;
		return;
	}
	sl_buf_put_varint(b->buf, (int32_t)bytes);
	sl_buf_put_u8(b->buf, 0);
	sl_buf_put_varlong(b->buf, timestamp_delta);
	sl_buf_put_varint(b->buf, offset_delta);
	put_field(b->buf, key.p, key.len);
	put_field(b->buf, value.p, value.len);
	sl_buf_put_varint(b->buf, headers_count);
	for (int32_t i = 0; i < headers_count; i++) {
		put_field(b->buf, headers[i].key.p, headers[i].key.len);
		put_field(b->buf, headers[i].value.p, headers[i].value.len);
	}
}

/* Replaces the records behind the header by their compressed form. */
static int compress_records(struct sl_batch_builder *b)
{
	enum sl_codec codec = sl_batch_codec(&b->head);
	size_t pos = b->start + SL_BATCH_HEADER_BYTES;
	struct sl_bytes in = {b->buf->p + pos, (int32_t)(b->buf->len - pos)};
	size_t out_bytes = sl_compress_bound(codec, (size_t)in.len);
	void *out = malloc(out_bytes);
	int err;

	if (!out)
		return -ENOMEM;
	err = sl_compress(codec, in, out, &out_bytes);
	if (!err) {
		b->buf->len = pos;
		sl_buf_put(b->buf, out, out_bytes);
	}
	free(out);
	return err;
}

static void encode_head(uint8_t *p, const struct sl_batch_head *h)
{
	sl_store_be64(p + SL_BATCH_POS_BASE_OFFSET, (uint64_t)h->base_offset);
	sl_store_be32(p + SL_BATCH_POS_LENGTH, (uint32_t)h->batch_length);
	sl_store_be32(p + SL_BATCH_POS_LEADER_EPOCH, (uint32_t)h->leader_epoch);
	p[SL_BATCH_POS_MAGIC] = (uint8_t)h->magic;
	sl_store_be16(p + SL_BATCH_POS_ATTRIBUTES, h->attributes);
	sl_store_be32(p + SL_BATCH_POS_LAST_OFFSET_DELTA, (uint32_t)h->last_offset_delta);
	sl_store_be64(p + SL_BATCH_POS_BASE_TIMESTAMP, (uint64_t)h->base_timestamp);
	sl_store_be64(p + SL_BATCH_POS_MAX_TIMESTAMP, (uint64_t)h->max_timestamp);
	sl_store_be64(p + SL_BATCH_POS_PRODUCER_ID, (uint64_t)h->producer_id);
	sl_store_be16(p + SL_BATCH_POS_PRODUCER_EPOCH, (uint16_t)h->producer_epoch);
	sl_store_be32(p + SL_BATCH_POS_BASE_SEQUENCE, (uint32_t)h->base_sequence);
	sl_store_be32(p + SL_BATCH_POS_RECORDS_COUNT, (uint32_t)h->records_count);
}

int sl_batch_end(struct sl_batch_builder *b)
{
	struct sl_batch_head *h = &b->head;
	size_t bytes;
	int err = 0;

	if (!sl_codec_name(sl_batch_codec(h)))
		return -ENOTSUP;
	if (sl_buf_ok(b->buf) && sl_batch_codec(h) != SL_CODEC_NONE)
		err = compress_records(b);
	if (err)
		return err;
	bytes = b->buf->len - b->start;
	if (!sl_buf_ok(b->buf) || bytes > INT32_MAX)
		return -ENOSPC;

	uint8_t *p = b->buf->p + b->start;

	h->batch_length = (int32_t)(bytes - SL_BATCH_LOG_OVERHEAD);
	h->last_offset_delta = h->records_count > 0 ? h->records_count - 1 : 0;
	encode_head(p, h);
	h->crc = sl_crc32c(0, p + SL_BATCH_POS_ATTRIBUTES, bytes - SL_BATCH_POS_ATTRIBUTES);
	sl_store_be32(p + SL_BATCH_POS_CRC, h->crc);
	return 0;
}
