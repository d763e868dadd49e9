/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replaying a partition of __transaction_state, and letting go of it.
 *
 * The last record of an id says all about it.  One that cannot be read makes the partition FAILED:
 * without it nobody knows what was decided, so its ids are refused until it is loaded anew.
 */
#include <errno.h>

#include "sluice/base/assert.h"
#include "sluice/wire/transaction_log_key_gen.h"
#include "sluice/wire/transaction_log_value_gen.h"

#include "state.h"

static struct sl_cursor cursor_over(struct sl_bytes b)
{
	return sl_cursor_from(b.p, b.len > 0 ? (size_t)b.len : 0);
}

static int add_parts(struct txn *t, const struct sl_transaction_log_value *v)
{
	int err = 0;

	for (int32_t i = 0; i < v->transaction_partitions_count; i++) {
		const struct sl_transaction_log_value_transaction_partition *topic =
			&v->transaction_partitions[i];

		for (int32_t k = 0; !err && k < topic->partition_ids_count; k++)
			err = partset_add(t, topic->topic, topic->partition_ids[k]);
	}
	return err;
}

/* Could a coordinator have written it? */
static bool is_sound(const struct sl_transaction_log_value *v)
{
	int8_t status = v->transaction_status;

	return status >= 0 && status != TXN_DEAD && status < TXN_PREPARE_EPOCH_FENCE &&
	       v->producer_id >= 0 && v->producer_epoch >= 0;
}

static int restore(struct txn_coord *c, struct sl_str id, const struct sl_transaction_log_value *v)
{
	struct txn *t = table_find(c, id);
	struct image image = {
		.state = (enum txn_state)v->transaction_status,
		.producer_id = v->producer_id,
		.prev_producer_id = v->previous_producer_id,
		.next_producer_id = v->next_producer_id,
		.producer_epoch = v->producer_epoch,
		.last_epoch = -1,
		.client_version = v->client_transaction_version,
		.timeout_ms = v->transaction_timeout_ms,
		.start_ms = v->transaction_start_timestamp_ms,
		.update_ms = v->transaction_last_update_timestamp_ms,
	};
	int err = 0;

	if (!is_sound(v))
		return -EBADMSG;
	if (!t)
		err = table_create(c, id, &t);
	if (err)
		return err;
	partset_clear(c, t);
	err = add_parts(t, v);
	partset_settle(c, t, true);
	table_set(c, t, &image);
	t->is_in_log = true;
	return err;
}

static int replay(struct txn_coord *c, const struct shard *shard, const struct sl_record *r)
{
	struct sl_cursor cur = cursor_over(r->key);
	struct sl_cursor body = cursor_over(r->value);
	int16_t type = sl_cursor_i16(&cur);
	struct sl_transaction_log_value v;
	struct sl_transaction_log_key key;
	struct txn *t;
	int err;

	coord_count(c, COUNT_load_records);
	if (cur.failed)
		return -EBADMSG;
	if (type != SL_TRANSACTION_LOG_KEY_TYPE) {
		coord_count(c, COUNT_load_skipped_version);
		return 0;
	}
	err = sl_transaction_log_key_decode(&key, &cur, &c->arena, 0);
	if (err)
		return err;
	if (key.transactional_id.len <= 0)
		return -EBADMSG;
	/* It would never be asked for here: there were other partitions when it was written. */
	if (table_shard(c, key.transactional_id) != shard) {
		coord_count(c, COUNT_load_skipped_misplaced);
		return 0;
	}
	if (r->value.len < 0) {
		t = table_find(c, key.transactional_id);
		if (t)
			table_destroy(c, t, SL_KERR_NOT_COORDINATOR);
		return 0;
	}

	int16_t version = sl_cursor_i16(&body);

	err = sl_transaction_log_value_decode(&v, &body, &c->arena, version);
	return err ? err : restore(c, key.transactional_id, &v);
}

static int replay_batch(struct txn_coord *c, const struct shard *shard, const uint8_t *p,
                        const struct sl_batch_head *h)
{
	struct sl_record_iter it;
	struct sl_record r;
	int err;

	/* Kafka's topic is configured as uncompressed; nobody may have written another batch. */
	if (!sl_batch_check_crc(p, h) || sl_batch_codec(h) != SL_CODEC_NONE)
		return -EBADMSG;
	if (sl_batch_is_control(h)) {
		coord_count(c, COUNT_load_skipped_control);
		return 0;
	}
	err = sl_record_iter_init(&it, p, h, NULL, NULL);
	while (!err && (err = sl_record_iter_next(&it, &r)) > 0) {
		sl_arena_reset(&c->arena);
		err = replay(c, shard, &r);
	}
	return err;
}

void replay_begin(struct txn_coord *c, struct shard *shard)
{
	replay_drop(c, shard);
	shard->state = SHARD_LOADING;
	shard->is_damaged = false;
}

void replay_batches(struct txn_coord *c, struct shard *shard, struct sl_bytes batches)
{
	struct sl_batch_head h;
	const uint8_t *p;
	int rc;

	if (shard->state != SHARD_LOADING)
		return;
	while (!shard->is_damaged && (rc = sl_batch_next(&batches, &p, &h)) != 0) {
		if (rc < 0 || replay_batch(c, shard, p, &h)) {
			coord_count(c, COUNT_load_bad);
			shard->is_damaged = true;
		}
	}
}

static void drop_txns(struct txn_coord *c, struct shard *shard)
{
	struct txn *t;

	while ((t = sl_list_first(&shard->txns, struct txn, shard_link)) != NULL) {
		if (t->is_pending)
			coord_count(c, COUNT_appends_dropped);
		table_destroy(c, t, SL_KERR_NOT_COORDINATOR);
	}
}

void replay_end(struct txn_coord *c, struct shard *shard, int32_t epoch)
{
	struct sl_list *pos;
	struct sl_list *tmp;

	if (shard->state != SHARD_LOADING)
		return;
	if (shard->is_damaged) {
		drop_txns(c, shard);
		shard->state = SHARD_FAILED;
		coord_count(c, COUNT_load_failed_partitions);
		return;
	}
	shard->state = SHARD_ACTIVE;
	shard->epoch = epoch;
	sl_list_for_each_safe(pos, tmp, &shard->txns) {
		struct txn *t = sl_list_entry(pos, struct txn, shard_link);

		if (!table_is_preparing(t->now.state))
			continue;
		sl_arena_reset(&c->arena);
		coord_count(c, COUNT_load_completions);
		marker_start(c, t);
	}
}

void replay_drop(struct txn_coord *c, struct shard *shard)
{
	shard->state = SHARD_ABSENT;
	drop_txns(c, shard);
}
