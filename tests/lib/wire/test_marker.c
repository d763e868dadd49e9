/* SPDX-License-Identifier: Apache-2.0 */
#include "sluice/wire/marker.h"

#include <errno.h>

#include <criterion/criterion.h>

/* A control batch with this one record; returns its size. */
static size_t build_marker(uint8_t *p, size_t cap, struct sl_bytes key, struct sl_bytes value)
{
	struct sl_batch_builder b;
	struct sl_batch_head head;
	struct sl_buf buf;

	sl_buf_init_fixed(&buf, p, cap);
	sl_batch_head_init(&head);
	head.attributes = SL_BATCH_CONTROL | SL_BATCH_TRANSACTIONAL;
	head.producer_id = 7;
	head.producer_epoch = 3;
	sl_batch_begin(&b, &buf, &head);
	sl_batch_add(&b, 1000, key, value);
	cr_assert_eq(sl_batch_end(&b), 0);
	return buf.len;
}

struct marker_row {
	const char *name;
	uint8_t key[6];
	int32_t key_len;
	uint8_t value[10];
	int32_t value_len; /* -1: null */
	int result;
	bool is_abort;
};

static const struct marker_row marker_rows[] = {
	{"abort", {0, 0, 0, 0}, 4, {0, 0, 0, 0, 1, 2}, 6, 1, true},
	{"commit", {0, 0, 0, 1}, 4, {0, 0, 0, 0, 1, 2}, 6, 1, false},
	{"commit of a later version", {0, 1, 0, 1, 9, 9}, 6, {0, 1, 0, 0, 1, 2, 9, 9}, 8, 1, false},
	{"leader change", {0, 0, 0, 2}, 4, {0, 0, 0, 0, 1, 2}, 6, 0, false},
	{"negative version", {0xff, 0xff, 0, 0}, 4, {0, 0, 0, 0, 1, 2}, 6, -EBADMSG, false},
	{"short key", {0, 0, 0}, 3, {0, 0, 0, 0, 1, 2}, 6, -EBADMSG, false},
	{"short value", {0, 0, 0, 0}, 4, {0, 0, 0, 0, 1}, 5, -EBADMSG, false},
	{"no value", {0, 0, 0, 0}, 4, {0}, -1, -EBADMSG, false},
};

Test(marker, ends_a_transaction_or_does_not)
{
	for (size_t i = 0; i < SL_ARRAY_SIZE(marker_rows); i++) {
		const struct marker_row *row = &marker_rows[i];
		const int other = row->result == 1 ? -EBADMSG : row->result;
		struct sl_txn_marker marker = {0};
		struct sl_batch_head head;
		uint8_t p[256];
		size_t len = build_marker(p, sizeof(p), (struct sl_bytes){row->key, row->key_len},
		                          (struct sl_bytes){row->value, row->value_len});

		cr_assert_eq(sl_batch_peek(p, len, &head), 0);
		cr_assert_eq(sl_txn_marker_decode(&marker, p, &head), row->result, "%s", row->name);
		if (row->result == 1)
			cr_assert(marker.is_commit != row->is_abort && marker.producer_id == 7 &&
			                  marker.producer_epoch == 3 &&
			                  marker.coordinator_epoch == 0x0102,
			          "%s", row->name);
		/* A batch that comes from a coordinator may say any base offset. */
		head.base_offset = row->is_abort ? INT64_MIN : INT64_MAX;
		cr_assert_eq(sl_txn_marker_decode(&marker, p, &head), row->result, "%s", row->name);
		/* Neither a data batch nor one without producer is one. */
		head.attributes &= (uint16_t)~SL_BATCH_CONTROL;
		cr_assert_eq(sl_txn_marker_decode(&marker, p, &head), other);
		head.attributes |= SL_BATCH_CONTROL;
		head.producer_id = -1;
		cr_assert_eq(sl_txn_marker_decode(&marker, p, &head), other);
	}
}

Test(marker, is_not_compressed)
{
	const struct sl_txn_marker written = {1, 2, 3, true};
	struct sl_txn_marker read;
	struct sl_batch_head head;
	uint8_t p[256];
	struct sl_buf buf;

	sl_buf_init_fixed(&buf, p, sizeof(p));
	sl_txn_marker_encode(&written, &buf, 1000);
	cr_assert_eq(sl_batch_peek(p, buf.len, &head), 0);
	for (uint16_t codec = 1; codec < 8; codec++) {
		head.attributes = (uint16_t)((head.attributes & ~7u) | codec);
		cr_expect(sl_txn_marker_decode(&read, p, &head) == -EBADMSG);
	}
}

Test(marker, is_read_as_it_was_written)
{
	const struct sl_txn_marker written[] = {{1, 2, 3, true}, {INT64_MAX, 0, 0, false}};

	for (size_t i = 0; i < SL_ARRAY_SIZE(written); i++) {
		struct sl_txn_marker read = {0};
		struct sl_batch_head head;
		uint8_t p[256];
		struct sl_buf buf;

		sl_buf_init_fixed(&buf, p, sizeof(p));
		sl_txn_marker_encode(&written[i], &buf, 1000);
		cr_assert(sl_buf_ok(&buf));
		cr_assert_eq(sl_batch_peek(p, buf.len, &head), 0);
		cr_assert(head.max_timestamp == 1000);
		cr_assert_eq(sl_txn_marker_decode(&read, p, &head), 1);
		cr_assert(read.producer_id == written[i].producer_id &&
		          read.producer_epoch == written[i].producer_epoch &&
		          read.coordinator_epoch == written[i].coordinator_epoch &&
		          read.is_commit == written[i].is_commit);
	}
}
