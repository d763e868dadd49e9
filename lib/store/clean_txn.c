/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transactions in the eyes of a cleaning.  A marker stays for as long as a batch of its transaction
 * does: without an abort marker the batches that are left would be read as committed, without a
 * commit marker as open.  A producer has one transaction at a time.  One thread.
 */
#include <errno.h>
#include <stdlib.h>

#include "clean_impl.h"

/* A producer between the first batch of a transaction and its marker. */
struct clean_ongoing {
	int64_t producer_id;
	struct clean_aborted txn; /* without is_aborted its first batch that was met is the first */
	bool is_aborted;          /* the list has it */
	bool has_data;            /* a batch of the transaction was met */
};

void clean_txn_init(struct clean_txn *txn, const struct clean_aborted *aborted, uint32_t count)
{
	*txn = (struct clean_txn){.aborted = aborted, .aborted_count = count};
}

void clean_txn_fini(struct clean_txn *txn)
{
	struct clean_ongoing *o;
	uint32_t pos = 0;

	while ((o = sl_map_next(&txn->ongoing, &pos))) {
		(void)sl_map_del(&txn->ongoing, &o->producer_id, sizeof(o->producer_id));
		free(o);
	}
	sl_map_fini(&txn->ongoing);
	free(txn->kept);
	*txn = (struct clean_txn){0};
}

static struct clean_ongoing *get(struct clean_txn *txn, int64_t producer_id)
{
	struct clean_ongoing *o = sl_map_get(&txn->ongoing, &producer_id, sizeof(producer_id));

	if (o)
		return o;
	o = calloc(1, sizeof(*o));
	if (!o)
		return NULL;
	o->producer_id = producer_id;
	if (sl_map_put(&txn->ongoing, &o->producer_id, sizeof(o->producer_id), o) != 0) {
		free(o);
		return NULL;
	}
	return o;
}

/* Aborted transactions that have begun before the end of the batch, but for those that were over
 * before it: their markers lie before the pass, or are gone. */
static int begin_aborted(struct clean_txn *txn, const struct sl_batch_head *head)
{
	for (; txn->next < txn->aborted_count; txn->next++) {
		const struct clean_aborted *a = &txn->aborted[txn->next];
		struct clean_ongoing *o;

		if (a->first_offset > sl_batch_last_offset(head))
			break;
		if (a->last_offset < head->base_offset)
			continue;
		o = get(txn, a->producer_id);
		if (!o)
			return -ENOMEM;
		o->txn = *a;
		o->is_aborted = true;
	}
	return 0;
}

int clean_txn_data(struct clean_txn *txn, const struct sl_batch_head *head)
{
	struct clean_ongoing *o;
	int err;

	SL_ASSERT(!sl_batch_is_control(head));
	err = begin_aborted(txn, head);
	if (err || !sl_batch_is_transactional(head))
		return err;
	o = get(txn, head->producer_id);
	if (!o)
		return -ENOMEM;
	/* Its marker should have come before: the list says more than the log has.  To take the
	 * next transaction for aborted would lose records. */
	if (o->is_aborted && o->txn.last_offset < head->base_offset) {
		o->is_aborted = false;
		o->has_data = false;
	}
	if (!o->is_aborted && !o->has_data)
		o->txn = (struct clean_aborted){head->producer_id, head->base_offset, -1};
	o->has_data = true;
	return o->is_aborted;
}

static int keep(struct clean_txn *txn, const struct clean_ongoing *o, int64_t marker_offset)
{
	if (txn->kept_count == txn->kept_cap) {
		uint32_t cap = txn->kept_cap ? txn->kept_cap * 2 : 16;
		struct clean_aborted *kept = reallocarray(txn->kept, cap, sizeof(*kept));

		if (!kept)
			return -ENOMEM;
		txn->kept = kept;
		txn->kept_cap = cap;
	}
	txn->kept[txn->kept_count] = o->txn;
	txn->kept[txn->kept_count++].last_offset = marker_offset;
	return 0;
}

/* The end of a producer's transaction.  One that was aborted is named whatever the list says: with
 * its marker and without its name its batches would be read as committed. */
static int end(struct clean_txn *txn, const struct sl_batch_head *head, bool is_abort)
{
	const int64_t producer_id = head->producer_id;
	struct clean_ongoing *o = sl_map_del(&txn->ongoing, &producer_id, sizeof(producer_id));
	int rc;

	if (!o)
		return 1;
	rc = o->has_data ? 0 : 1;
	if (rc == 0 && is_abort)
		rc = keep(txn, o, head->base_offset);
	free(o);
	return rc;
}

int clean_txn_control(struct clean_txn *txn, const void *p, const struct sl_batch_head *head)
{
	struct sl_record_iter it;
	struct sl_record record;
	struct sl_cursor key;
	int16_t type;
	int err;

	SL_ASSERT(sl_batch_is_control(head));
	err = begin_aborted(txn, head);
	if (err)
		return err;
	/* One that was emptied ends nothing any more. */
	if (head->records_count == 0)
		return 1;
	/* Nobody compresses a control record. */
	if (sl_batch_codec(head) != SL_CODEC_NONE)
		return -EBADMSG;
	err = sl_record_iter_init(&it, p, head, NULL, NULL);
	if (!err && sl_record_iter_next(&it, &record) != 1)
		err = -EBADMSG;
	if (err)
		return err;
	key = sl_cursor_from(record.key.p, (size_t)SL_MAX(record.key.len, 0));
	(void)sl_cursor_i16(&key);
	type = sl_cursor_i16(&key);
	if (key.failed)
		return -EBADMSG;
	if (type != SL_CONTROL_ABORT && type != SL_CONTROL_COMMIT)
		return 0;
	return end(txn, head, type == SL_CONTROL_ABORT);
}
