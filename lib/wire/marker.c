/* SPDX-License-Identifier: Apache-2.0 */
/* Markers that end transactions: control batches with one record. */
#include "sluice/wire/marker.h"

#include <errno.h>

#include "sluice/wire/end_txn_marker_gen.h"

#define KEY_VERSION   0
#define VALUE_VERSION 0
#define VALUE_BYTES   6

void sl_txn_end_encode(const struct sl_txn_end *m, struct sl_buf *buf, int64_t timestamp_ms)
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

int sl_txn_end_decode(struct sl_txn_end *out, const void *p, const struct sl_batch_head *h)
{
	struct sl_record_iter it;
	struct sl_record r;
	struct sl_cursor key;
	struct sl_cursor value;
	int16_t type;
	int rc = sl_record_iter_init(&it, p, h, NULL, NULL);

	if (rc == 0)
		rc = sl_record_iter_next(&it, &r);
	if (rc <= 0)
		return rc < 0 ? rc : -EBADMSG;
	key = cursor_over(r.key);
	(void)sl_cursor_i16(&key);
	type = sl_cursor_i16(&key);
	if (key.failed)
		return -EBADMSG;
	if (type != SL_CONTROL_COMMIT && type != SL_CONTROL_ABORT)
		return 0;
	value = cursor_over(r.value);
	(void)sl_cursor_i16(&value);
	*out = (struct sl_txn_end){
		.producer_id = h->producer_id,
		.producer_epoch = h->producer_epoch,
		.coordinator_epoch = sl_cursor_i32(&value),
		.is_commit = type == SL_CONTROL_COMMIT,
	};
	return value.failed ? -EBADMSG : 1;
}
