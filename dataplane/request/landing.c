/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Landing: which requests can be received straight into a log, and the reservation for those that
 * are.  Every doubt ends in LANDING_NO: the request is received whole then and gets the answer that
 * produce.c has for it.  Owner lane only.
 */
#include "request/landing.h"

#include <errno.h>

#include "request/common.h"
#include "sluice/base/assert.h"
#include "sluice/wire/batch.h"

#define VERSION_TAGS     9  /* from here on lengths are compact and structures end in tags */
#define VERSION_TOPIC_ID 13 /* topics go by id */
/* Sections of tagged fields behind the records: of the partition, the topic and the request. */
#define TRAILER_TAGS     3

/* ---- The head ---- */

/* An array of exactly one element. */
static bool is_single(struct sl_cursor *c, bool is_compact)
{
	const uint32_t n = is_compact ? sl_cursor_uvarint(c) : (uint32_t)sl_cursor_i32(c);

	return n == (is_compact ? 2 : 1);
}

/* A compact length is one more than the length, and null is 0; here both fail the range check. */
static uint32_t records_length(struct sl_cursor *c, bool is_compact)
{
	return is_compact ? sl_cursor_uvarint(c) - 1 : (uint32_t)sl_cursor_i32(c);
}

/* Reads up to the records.  Return: NO as soon as it cannot land, whatever follows. */
static enum landing_verdict parse_head(struct sl_cursor *c, const uint8_t *p, size_t frame_bytes,
                                       struct landing_head *out)
{
	const struct sl_api *api = sl_api_find(SL_API_PRODUCE);
	bool has_tags;

	if (sl_cursor_left(c) < 4)
		return LANDING_MORE;
	if (sl_load_be16(p) != SL_API_PRODUCE || !sl_api_serves(api, (int16_t)sl_load_be16(p + 2)))
		return LANDING_NO;
	if (sl_request_head_decode(&out->head, c) != 0)
		return LANDING_MORE;
	has_tags = out->head.api_version >= VERSION_TAGS;
	if (!sl_str_is_null(sl_cursor_str(c, has_tags)))
		return LANDING_NO; /* a transactional id */
	out->acks = sl_cursor_i16(c);
	out->timeout_ms = sl_cursor_i32(c);
	if (!is_single(c, has_tags))
		return c->failed ? LANDING_MORE : LANDING_NO;
	out->topic = SL_STR_NULL;
	if (out->head.api_version >= VERSION_TOPIC_ID)
		out->topic_id = sl_cursor_uuid(c);
	else
		out->topic = sl_cursor_str_nn(c, has_tags);
	if (!is_single(c, has_tags))
		return c->failed ? LANDING_MORE : LANDING_NO;
	out->partition = sl_cursor_i32(c);
	out->records_bytes = records_length(c, has_tags);
	if (c->failed)
		return LANDING_MORE;
	out->records_pos = (uint32_t)(c->p - p);
	out->trailer_bytes = has_tags ? TRAILER_TAGS : 0;
	if (out->records_bytes < SL_BATCH_HEADER_BYTES || out->records_bytes > INT32_MAX)
		return LANDING_NO;
	/* As many bytes as sections: each of them is empty, or the request is malformed, which
	 * decode_landed() finds. */
	return (uint64_t)out->records_pos + out->records_bytes + out->trailer_bytes == frame_bytes
	               ? LANDING_YES
	               : LANDING_NO;
}

static enum landing_verdict parse_batch(const struct sl_cursor *c, const struct landing_head *head)
{
	struct sl_batch_head batch;
	const int rc = sl_batch_peek(c->p, sl_cursor_left(c), &batch);

	if (rc == -EBADMSG)
		return LANDING_NO;
	if (rc == -EAGAIN && batch.magic != 2)
		return LANDING_MORE;
	return sl_batch_bytes(&batch) == head->records_bytes && !sl_batch_is_transactional(&batch)
	               ? LANDING_YES
	               : LANDING_NO;
}

enum landing_verdict landing_parse(const uint8_t *p, size_t have, size_t frame_bytes,
                                   struct landing_head *out)
{
	const size_t most = SL_MIN(frame_bytes, LANDING_HEAD_MAX);
	struct sl_cursor c = sl_cursor_from(p, SL_MIN(have, most));
	enum landing_verdict verdict = parse_head(&c, p, frame_bytes, out);

	if (verdict == LANDING_YES)
		verdict = parse_batch(&c, out);
	/* A cursor does not tell bytes that are missing from bytes that are wrong. */
	return verdict == LANDING_MORE && have >= most ? LANDING_NO : verdict;
}

bool landing_decode(const uint8_t *p, size_t have, size_t frame_bytes, struct landing_head *out)
{
	struct sl_cursor c = sl_cursor_from(p, have);

	return parse_head(&c, p, frame_bytes, out) == LANDING_YES;
}

/* ---- The reservation ---- */

static int find(const struct ctx *ctx, const struct landing_head *head, struct partition **p)
{
	const struct topic *t = head->head.api_version >= VERSION_TOPIC_ID
	                                ? image_topic_by_id(ctx->image, &head->topic_id)
	                                : image_topic(ctx->image, head->topic);

	if (!t || t->is_internal || head->acks < -1 || head->acks > 1)
		return -EINVAL;
	if (t->config.max_message_bytes && head->records_bytes > t->config.max_message_bytes)
		return -EFBIG;
	return request_partition(ctx, t, head->partition, p) == SL_KERR_NONE ? 0 : -ENOENT;
}

/* Another append would have to move what has landed.  Where that is to be expected, or would take
 * memory for what is only promised, records land when enough of them have arrived. */
static bool is_worth(const struct ctx *ctx, const struct partition *p, uint32_t bytes, size_t have,
                     struct net_io *io)
{
	const bool is_contested = partition_is_contested(ctx, p);
	size_t needed = is_contested ? bytes : bytes / 2;
	ssize_t unread;

	if (bytes <= LANDING_BYTES_EAGER && !is_contested)
		return true;
	unread = io->ops->unread(io);
	return unread >= 0 && have + (size_t)unread >= needed;
}

/* The place in the log is taken: what has arrived moves to a buffer, and the rest follows it. */
static bool displace(struct ctx *ctx, struct reservation *r)
{
	struct landing *l = SL_CONTAINER_OF(r, struct landing, reserved);
	const size_t block_bytes = pool_block_bytes(l->bytes);
	size_t cap;

	SL_ASSERT(!l->block && l->got <= l->bytes);
	if (ctx->pool.used + block_bytes <= ctx->receive_bytes_max)
		l->block = pool_get(&ctx->pool, l->bytes, &cap);
	if (!l->block) {
		ctx_count(ctx, SL_STAT_buffer_exhausted, 1);
		return false;
	}
	/* copy: the beginning of records whose place another append takes */
	memcpy(l->block, r->memory, l->got);
	ctx_count(ctx, SL_STAT_landings_displaced, 1);
	return true;
}

int landing_begin(struct ctx *ctx, struct landing *l, const struct landing_head *head,
                  struct net_io *io, size_t have)
{
	struct partition *p;
	int rc = find(ctx, head, &p);

	SL_ASSERT(l->bytes == 0 && have < head->records_bytes);
	if (rc != 0)
		return rc;
	if (!is_worth(ctx, p, head->records_bytes, have, io))
		return -EBUSY;
	l->reserved.displace = displace;
	rc = partition_reserve(ctx, p, head->records_bytes, &l->reserved);
	if (rc != 0)
		return rc;
	l->bytes = head->records_bytes;
	l->got = 0;
	return 0;
}

void landing_release(struct ctx *ctx, struct landing *l)
{
	partition_unreserve(ctx, &l->reserved);
	pool_put(&ctx->pool, l->block);
	*l = (struct landing){0};
}
