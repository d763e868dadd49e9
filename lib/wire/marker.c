/* SPDX-License-Identifier: Apache-2.0 */
/* Markers that end transactions: control batches with one record. */
#include "sluice/wire/marker.h"

#include <errno.h>

#include "sluice/wire/end_txn_marker_gen.h"

#define KEY_VERSION   0
#define VALUE_VERSION 0
#define VALUE_BYTES   6

void sl_txn_marker_encode(const struct sl_txn_marker *m, struct sl_buf *buf, int64_t timestamp_ms)
{
	const struct sl_end_txn_marker value = {m->coordinator_epoch};
	struct sl_batch_builder builder;
	struct sl_batch_head head;
	uint8_t value_bytes[VALUE_BYTES];
	struct sl_buf b;
	uint8_t key[4];

	sl_store_be16(key, KEY_VERSION);
	sl_store_be16(key + 2, m->is_commit ? SL_CONTROL_COMMIT : SL_CONTROL_ABORT);
	sl_buf_init_fixed(&b, value_bytes, sizeof(value_bytes));
	sl_put_i16(&b, VALUE_VERSION);
	sl_end_txn_marker_encode(&value, &b, VALUE_VERSION);
	sl_batch_head_init(&head);
	head.attributes = SL_BATCH_TRANSACTIONAL | SL_BATCH_CONTROL;
	head.producer_id = m->producer_id;
	head.producer_epoch = m->producer_epoch;
	sl_batch_begin(&builder, buf, &head);
	sl_batch_add(&builder, timestamp_ms, (struct sl_bytes){key, sizeof(key)},
	             (struct sl_bytes){value_bytes, (int32_t)b.len});
	if (sl_batch_end(&builder))
		buf->failed = true;
}

static struct sl_cursor cursor_over(struct sl_bytes b)
{
	return sl_cursor_from(b.p, b.len > 0 ? (size_t)b.len : 0);
}

/* Only a batch of this form ends a transaction (KIP-98). */
static bool has_form(const struct sl_batch_head *h)
{
	return sl_batch_is_control(h) && sl_batch_is_transactional(h) && sl_batch_has_producer(h) &&
	       h->records_count == 1 && h->last_offset_delta == 0;
}

int sl_txn_marker_decode(struct sl_txn_marker *out, const void *p, const struct sl_batch_head *h)
{
	struct sl_arena none = {0};
	struct sl_end_txn_marker decoded;
	struct sl_record_iter it;
	struct sl_record r;
	struct sl_cursor key;
	struct sl_cursor value;
	int16_t type;

	/* Control batches are never compressed, and there is no context to read one that is. */
	if (sl_batch_codec(h) != SL_CODEC_NONE || sl_record_iter_init(&it, p, h, NULL, NULL) != 0 ||
	    sl_record_iter_next(&it, &r) != 1)
		return -EBADMSG;
	/* Later versions of both add fields behind those that are known (KIP-98). */
	key = cursor_over(r.key);
	if (sl_cursor_i16(&key) < 0)
		return -EBADMSG;
	type = sl_cursor_i16(&key);
	if (key.failed)
		return -EBADMSG;
	if (type != SL_CONTROL_COMMIT && type != SL_CONTROL_ABORT)
		return 0;
	value = cursor_over(r.value);
	if (!has_form(h) || sl_cursor_i16(&value) < 0 ||
	    sl_end_txn_marker_decode(&decoded, &value, &none, 0) != 0)
		return -EBADMSG;
	*out = (struct sl_txn_marker){
		.producer_id = h->producer_id,
		.producer_epoch = h->producer_epoch,
		.coordinator_epoch = decoded.coordinator_epoch,
		.is_commit = type == SL_CONTROL_COMMIT,
	};
	return 1;
}
