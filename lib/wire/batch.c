/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 61-byte header of a record batch: decoding it and changing it in place.
 * Works on the caller's memory, any core; nothing here reads the records except for the CRC.
 */
#include "sluice/wire/batch.h"

#include <errno.h>

#include "sluice/base/assert.h"
#include "sluice/base/crc32c.h"

static void decode_head(const uint8_t *b, struct sl_batch_head *out)
{
	*out = (struct sl_batch_head){
		.base_offset = (int64_t)sl_load_be64(b + SL_BATCH_POS_BASE_OFFSET),
		.batch_length = (int32_t)sl_load_be32(b + SL_BATCH_POS_LENGTH),
		.leader_epoch = (int32_t)sl_load_be32(b + SL_BATCH_POS_LEADER_EPOCH),
		.magic = (int8_t)b[SL_BATCH_POS_MAGIC],
		.crc = sl_load_be32(b + SL_BATCH_POS_CRC),
		.attributes = sl_load_be16(b + SL_BATCH_POS_ATTRIBUTES),
		.last_offset_delta = (int32_t)sl_load_be32(b + SL_BATCH_POS_LAST_OFFSET_DELTA),
		.base_timestamp = (int64_t)sl_load_be64(b + SL_BATCH_POS_BASE_TIMESTAMP),
		.max_timestamp = (int64_t)sl_load_be64(b + SL_BATCH_POS_MAX_TIMESTAMP),
		.producer_id = (int64_t)sl_load_be64(b + SL_BATCH_POS_PRODUCER_ID),
		.producer_epoch = (int16_t)sl_load_be16(b + SL_BATCH_POS_PRODUCER_EPOCH),
		.base_sequence = (int32_t)sl_load_be32(b + SL_BATCH_POS_BASE_SEQUENCE),
		.records_count = (int32_t)sl_load_be32(b + SL_BATCH_POS_RECORDS_COUNT),
	};
}

int sl_batch_peek(const void *p, size_t len, struct sl_batch_head *out)
{
	if (len < SL_BATCH_HEADER_BYTES) {
		*out = (struct sl_batch_head){0};
		return -EAGAIN;
	}
	decode_head(p, out);
	if (out->magic != 2 || out->batch_length < SL_BATCH_HEADER_BYTES - SL_BATCH_LOG_OVERHEAD)
		return -EBADMSG;
	return len < sl_batch_bytes(out) ? -EAGAIN : 0;
}

int sl_batch_next(struct sl_bytes *rest, const uint8_t **p, struct sl_batch_head *h)
{
	int err;

	if (rest->len <= 0)
		return 0;
	err = sl_batch_peek(rest->p, (size_t)rest->len, h);
	if (err)
		return err;
	*p = rest->p;
	rest->p = *p + sl_batch_bytes(h);
	rest->len -= (int32_t)sl_batch_bytes(h);
	return 1;
}

bool sl_batch_check_crc(const void *p, const struct sl_batch_head *h)
{
	const uint8_t *b = p;

	return sl_crc32c(0, b + SL_BATCH_POS_ATTRIBUTES,
	                 sl_batch_bytes(h) - SL_BATCH_POS_ATTRIBUTES) == h->crc;
}

void sl_batch_set_offset(void *p, int64_t base_offset, int32_t leader_epoch)
{
	uint8_t *b = p;

	sl_store_be64(b + SL_BATCH_POS_BASE_OFFSET, (uint64_t)base_offset);
	sl_store_be32(b + SL_BATCH_POS_LEADER_EPOCH, (uint32_t)leader_epoch);
}

/* ---- The CRC after a change of the header, without the records ------------------------------- */

/*
 * The CRC is linear: crc(old) ^ crc(new) is the plain remainder of old ^ new, which is zero outside
 * of [attributes, max timestamp].
 */
static uint32_t crc_after(const uint8_t *old_span, const uint8_t *new_span, size_t span,
                          const struct sl_batch_head *h)
{
	uint8_t diff[SL_BATCH_POS_PRODUCER_ID - SL_BATCH_POS_ATTRIBUTES];

	SL_ASSERT(span == sizeof(diff));
	for (size_t i = 0; i < sizeof(diff); i++)
		diff[i] = old_span[i] ^ new_span[i];

	/* sl_crc32c() inverts before and after; the remainder wants neither. */
	uint32_t remainder = ~sl_crc32c(UINT32_MAX, diff, sizeof(diff));

	uint32_t power = sl_crc32c_power(sl_batch_bytes(h) - SL_BATCH_POS_PRODUCER_ID);

	return h->crc ^ sl_crc32c_times(remainder, power);
}

static void set_time(void *p, struct sl_batch_head *h, uint16_t attributes, int64_t max_timestamp)
{
	uint8_t *b = p;
	uint8_t span[SL_BATCH_POS_PRODUCER_ID - SL_BATCH_POS_ATTRIBUTES];

	memcpy(span, b + SL_BATCH_POS_ATTRIBUTES, sizeof(span));
	sl_store_be16(b + SL_BATCH_POS_ATTRIBUTES, attributes);
	sl_store_be64(b + SL_BATCH_POS_MAX_TIMESTAMP, (uint64_t)max_timestamp);
	h->crc = crc_after(span, b + SL_BATCH_POS_ATTRIBUTES, sizeof(span), h);
	h->attributes = attributes;
	h->max_timestamp = max_timestamp;
	sl_store_be32(b + SL_BATCH_POS_CRC, h->crc);
}

void sl_batch_set_append_time(void *p, struct sl_batch_head *h, int64_t now_ms)
{
	set_time(p, h, h->attributes | SL_BATCH_LOG_APPEND_TIME, now_ms);
}

void sl_batch_set_max_timestamp(void *p, struct sl_batch_head *h, int64_t max_timestamp)
{
	set_time(p, h, (uint16_t)(h->attributes & ~SL_BATCH_LOG_APPEND_TIME), max_timestamp);
}

int64_t sl_batch_stamp(void *p, struct sl_batch_info *info, const struct sl_batch_rules *rules,
                       int64_t now_ms)
{
	struct sl_batch_head *h = &info->head;

	if (rules->is_log_append_time) {
		sl_batch_set_append_time(p, h, now_ms);
		return now_ms;
	}
	if (h->max_timestamp != info->max_timestamp || sl_batch_is_log_append_time(h))
		sl_batch_set_max_timestamp(p, h, info->max_timestamp);
	return SL_BATCH_NO_TIMESTAMP;
}
