/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a broker checks before it appends a produced record set, in Kafka's order.
 *
 * Every record is walked, also inside compressed batches, but keys, values and headers are skipped,
 * not gathered: the walk reads from pieces that a decompressor hands out, so that its memory does
 * not depend on what the batch expands to.  Runs on the lane that received the batch; hot path.
 */
#include "sluice/wire/batch.h"

#include <errno.h>

/* Bytes of records, as one piece of memory (ctx == NULL) or as pieces of a stream. */
struct source {
	const uint8_t *p;
	const uint8_t *end;
	uint64_t before; /* bytes of earlier pieces */
	const uint8_t *start;
	struct sl_codec_ctx *ctx;
	enum sl_batch_fault fault; /* sticky */
};

static uint64_t source_pos(const struct source *s)
{
	return s->before + (uint64_t)(s->p - s->start);
}

static enum sl_batch_fault fault_from_codec(int64_t err)
{
	switch (err) {
	case -E2BIG:
		return SL_BATCH_FAULT_EXPANDS;
	case -ENOMEM:
		return SL_BATCH_FAULT_MEMORY;
	case -ENOTSUP:
		return SL_BATCH_FAULT_CODEC;
	default:
		return SL_BATCH_FAULT_COMPRESSED;
	}
}

/* Next piece.  Return: false at the end, or after a fault. */
static bool source_refill(struct source *s)
{
	const uint8_t *piece;
	int64_t n;

	if (!s->ctx || s->fault != SL_BATCH_FAULT_OK)
		return false;
	n = sl_codec_next(s->ctx, &piece);
	if (n < 0)
		s->fault = fault_from_codec(n);
	if (n <= 0)
		return false;
	s->before += (uint64_t)(s->end - s->start);
	s->start = s->p = piece;
	s->end = piece + n;
	return true;
}

static uint8_t source_u8(struct source *s)
{
	if (sl_unlikely(s->p == s->end) && !source_refill(s)) {
		/* Records end before they should. */
		if (s->fault == SL_BATCH_FAULT_OK)
			s->fault = SL_BATCH_FAULT_RECORD;
		return 0;
	}
	return *s->p++;
}

static uint64_t source_uvarlong(struct source *s, unsigned int bits)
{
	uint64_t v = 0;

	if (sl_likely(s->p < s->end && *s->p < 0x80))
		return *s->p++;
	for (unsigned int shift = 0; shift < bits; shift += 7) {
		uint8_t b = source_u8(s);

		if (shift + 7 > bits && b >> (bits - shift))
			break;
		v |= (uint64_t)(b & 0x7f) << shift;
		if (b < 0x80)
			return v;
	}
	if (s->fault == SL_BATCH_FAULT_OK)
		s->fault = SL_BATCH_FAULT_RECORD;
	return 0;
}

static int32_t source_varint(struct source *s)
{
	uint32_t v = (uint32_t)source_uvarlong(s, 32);

	return (int32_t)(v >> 1) ^ -(int32_t)(v & 1);
}

static int64_t source_varlong(struct source *s)
{
	uint64_t v = source_uvarlong(s, 64);

	return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

static void source_skip(struct source *s, uint64_t n)
{
	while (n > (uint64_t)(s->end - s->p)) {
		n -= (uint64_t)(s->end - s->p);
		s->p = s->end;
		if (!source_refill(s)) {
			if (s->fault == SL_BATCH_FAULT_OK)
				s->fault = SL_BATCH_FAULT_RECORD;
			return;
		}
	}
	s->p += n;
}

/* A length and as many bytes, all before @end.  Return: the length, -1 for null. */
static int32_t skip_bytes(struct source *s, uint64_t end, int32_t len_min)
{
	int32_t len = source_varint(s);

	if (len < len_min || (len > 0 && source_pos(s) + (uint64_t)len > end)) {
		if (s->fault == SL_BATCH_FAULT_OK)
			s->fault = SL_BATCH_FAULT_RECORD;
		return -1;
	}
	if (len > 0)
		source_skip(s, (uint64_t)len);
	return len;
}

struct walked {
	int64_t timestamp_delta;
	int32_t offset_delta;
	bool has_key;
};

/* ---- The usual record: all of it in one piece of memory, and its numbers short ----
 *
 * These only ever say yes.  On a no the walk has not moved, and walk_record() finds out whether the
 * record is unusual or wrong, so that there is one place that refuses.
 */

/* A varint of one to three bytes, below @end, which covers records up to 1 MiB. */
static inline bool usual_varint(const uint8_t **p, const uint8_t *end, int32_t *out)
{
	const uint8_t *at = *p;
	size_t left = (size_t)(end - at);
	uint32_t v;

	if (sl_likely(left >= 1 && at[0] < 0x80)) {
		v = at[0];
		at += 1;
	} else if (sl_likely(left >= 2 && at[1] < 0x80)) {
		v = (at[0] & 0x7fu) | (uint32_t)at[1] << 7;
		at += 2;
	} else if (left >= 3 && at[2] < 0x80) {
		v = (at[0] & 0x7fu) | (at[1] & 0x7fu) << 7 | (uint32_t)at[2] << 14;
		at += 3;
	} else {
		return false;
	}
	*p = at;
	*out = (int32_t)(v >> 1) ^ -(int32_t)(v & 1);
	return true;
}

/* A length, which may be that of null, and as many bytes. */
static inline bool usual_bytes(const uint8_t **p, const uint8_t *end, int32_t *len)
{
	if (!usual_varint(p, end, len) || *len < -1 || *len > end - *p)
		return false;
	*p += *len > 0 ? *len : 0;
	return true;
}

/* Return: whether the record was a usual one without headers, and the walk is behind it. */
static inline bool walk_usual_record(struct source *s, struct walked *w)
{
	const uint8_t *p = s->p;
	const uint8_t *end = s->end;
	int32_t len, timestamp_delta, key_len, value_len;

	if (!usual_varint(&p, end, &len) || len < 1 || len > end - p)
		return false;
	end = p + len;
	p++; /* attributes, of which none is in use */
	if (!usual_varint(&p, end, &timestamp_delta) || !usual_varint(&p, end, &w->offset_delta) ||
	    !usual_bytes(&p, end, &key_len) || !usual_bytes(&p, end, &value_len))
		return false;
	if (end - p != 1 || *p != 0) /* the number of headers */
		return false;
	w->timestamp_delta = timestamp_delta;
	w->has_key = key_len >= 0;
	s->p = end;
	return true;
}

/* One record.  Reference: protocol guide, "Record"; null is -1 where null is allowed. */
static void walk_record(struct source *s, struct walked *w)
{
	int32_t len = source_varint(s);
	uint64_t end = source_pos(s) + (uint64_t)(len > 0 ? len : 0);

	source_u8(s); /* attributes, of which none is in use */
	w->timestamp_delta = source_varlong(s);
	w->offset_delta = source_varint(s);
	w->has_key = skip_bytes(s, end, -1) >= 0;
	skip_bytes(s, end, -1);

	int32_t headers = source_varint(s);

	for (int32_t i = 0; i < headers && s->fault == SL_BATCH_FAULT_OK; i++) {
		skip_bytes(s, end, 0);
		skip_bytes(s, end, -1);
	}
	if (s->fault == SL_BATCH_FAULT_OK && (headers < 0 || source_pos(s) != end))
		s->fault = SL_BATCH_FAULT_RECORD;
}

/* now - timestamp, kept within the type. */
static int64_t age_ms(int64_t now_ms, int64_t timestamp)
{
	int64_t age;

	if (__builtin_sub_overflow(now_ms, timestamp, &age))
		return timestamp < 0 ? INT64_MAX : -INT64_MAX;
	return age;
}

static enum sl_batch_fault check_time(const struct sl_batch_head *h,
                                      const struct sl_batch_rules *rules, int64_t now_ms,
                                      int64_t timestamp)
{
	if (!rules->is_log_append_time && timestamp != SL_BATCH_NO_TIMESTAMP) {
		int64_t age = age_ms(now_ms, timestamp);

		if (age > rules->before_max_ms || -age > rules->after_max_ms)
			return SL_BATCH_FAULT_TIMESTAMP;
	} else if (sl_batch_is_log_append_time(h)) {
		return SL_BATCH_FAULT_TIMESTAMP_TYPE;
	}
	return SL_BATCH_FAULT_OK;
}

static enum sl_batch_fault check_records(struct source *s, const struct sl_batch_rules *rules,
                                         int64_t now_ms, struct sl_batch_info *out)
{
	const struct sl_batch_head *h = &out->head;
	const bool is_append_time = sl_batch_is_log_append_time(h);
	struct walked w;

	for (int32_t i = 0; i < h->records_count; i++) {
		enum sl_batch_fault fault;
		int64_t timestamp;

		if (sl_unlikely(!walk_usual_record(s, &w)))
			walk_record(s, &w);
		if (s->fault != SL_BATCH_FAULT_OK)
			return s->fault;
		/* Wraps like the clients' own arithmetic; the bounds below catch nonsense. */
		timestamp = is_append_time ? h->max_timestamp
		                           : (int64_t)((uint64_t)h->base_timestamp +
		                                       (uint64_t)w.timestamp_delta);
		if (w.offset_delta != i)
			fault = SL_BATCH_FAULT_RECORD_OFFSET;
		else if (rules->is_compacted && !w.has_key)
			fault = SL_BATCH_FAULT_RECORD_KEY;
		else
			fault = check_time(h, rules, now_ms, timestamp);
		if (fault != SL_BATCH_FAULT_OK) {
			out->error_index = i;
			return fault;
		}
		if (timestamp > out->max_timestamp) {
			out->max_timestamp = timestamp;
			out->max_timestamp_delta = i;
		}
	}
	out->records_bytes = source_pos(s);
	/* Nothing may follow the last record, and a stream must end well. */
	if (s->p != s->end || source_refill(s))
		return SL_BATCH_FAULT_RECORD;
	return s->fault;
}

/* Steps 3 and 7-10 of reference §3.1: what the header alone tells. */
static enum sl_batch_fault check_head(const uint8_t *p, size_t len,
                                      const struct sl_batch_rules *rules, struct sl_batch_head *h)
{
	int err;

	if (len == 0)
		return SL_BATCH_FAULT_EMPTY;
	err = sl_batch_peek(p, len, h);
	if (err == -EBADMSG)
		return h->magic != 2 ? SL_BATCH_FAULT_MAGIC : SL_BATCH_FAULT_LENGTH;
	if (err == -EAGAIN)
		return SL_BATCH_FAULT_TRUNCATED;
	if (sl_batch_bytes(h) != len)
		return SL_BATCH_FAULT_TRAILING;
	if (h->base_offset != 0)
		return SL_BATCH_FAULT_BASE_OFFSET;
	if (rules->batch_bytes_max && len > rules->batch_bytes_max)
		return SL_BATCH_FAULT_TOO_LARGE;
	if (!sl_batch_check_crc(p, h))
		return SL_BATCH_FAULT_CRC;
	if (h->records_count <= 0 || h->last_offset_delta != h->records_count - 1)
		return SL_BATCH_FAULT_COUNT;
	if (sl_batch_is_control(h) && !rules->is_internal)
		return SL_BATCH_FAULT_CONTROL;
	if (sl_batch_has_producer(h) && h->base_sequence < 0 && !rules->is_internal)
		return SL_BATCH_FAULT_SEQUENCE;
	if (!sl_codec_name(sl_batch_codec(h)))
		return SL_BATCH_FAULT_CODEC;
	return SL_BATCH_FAULT_OK;
}

enum sl_batch_fault sl_batch_validate(const void *p, size_t len, const struct sl_batch_rules *rules,
                                      int64_t now_ms, struct sl_codec_ctx *ctx,
                                      struct sl_batch_info *out)
{
	*out = (struct sl_batch_info){.max_timestamp = SL_BATCH_NO_TIMESTAMP, .error_index = -1};

	enum sl_batch_fault fault = check_head(p, len, rules, &out->head);

	if (fault != SL_BATCH_FAULT_OK)
		return fault;

	const uint8_t *records = (const uint8_t *)p + SL_BATCH_HEADER_BYTES;
	size_t records_bytes = len - SL_BATCH_HEADER_BYTES;
	struct source s = {records, records + records_bytes, 0, records, NULL, SL_BATCH_FAULT_OK};

	if (sl_batch_codec(&out->head) != SL_CODEC_NONE) {
		int err = sl_codec_begin(ctx, sl_batch_codec(&out->head), records, records_bytes);

		if (err)
			return fault_from_codec(err);
		s = (struct source){.ctx = ctx, .fault = SL_BATCH_FAULT_OK};
	}
	return check_records(&s, rules, now_ms, out);
}
