/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records on their way to __transaction_state.  An id has one at a time: what it says becomes true,
 * and whoever waits is answered, when the log has it.  A refused one changes nothing.
 */
#include <errno.h>

#include "sluice/base/assert.h"
#include "sluice/wire/transaction_log_key_gen.h"
#include "sluice/wire/transaction_log_value_gen.h"

#include "state.h"

#define VALUE_VERSION 1

struct image *journal_begin(struct txn *t, enum txn_state to)
{
	SL_ASSERT(!t->is_pending && table_can_move(t->now.state, to));
	t->next = t->now;
	t->next.state = to;
	return &t->next;
}

/* Partitions of one topic lie together in a record: each topic is collected at its first one. */
static bool fill_topics(struct txn_coord *c, const struct txn *t,
                        struct sl_transaction_log_value *v)
{
	struct sl_transaction_log_value_transaction_partition *list;
	uint32_t count = t->parts_by_key.count;
	struct sl_map by_name = {0};
	struct sl_list *pos;
	bool is_ok = true;

	list = sl_arena_alloc_array(&c->arena, count, sizeof(*list));
	for (pos = t->parts.next; list && is_ok && pos != &t->parts; pos = pos->next) {
		const struct part *p = sl_list_entry(pos, struct part, link);
		struct sl_str topic = partset_topic(p);
		struct sl_transaction_log_value_transaction_partition *to =
			sl_map_get(&by_name, topic.p, (size_t)topic.len);

		if (!to) {
			to = &list[v->transaction_partitions_count++];
			to->topic = topic;
			to->partition_ids = NULL;
			is_ok = !sl_map_put(&by_name, topic.p, (size_t)topic.len, to);
		}
		to->partition_ids_count++;
	}
	for (int32_t i = 0; list && is_ok && i < v->transaction_partitions_count; i++) {
		list[i].partition_ids = sl_arena_alloc_array(
			&c->arena, (size_t)list[i].partition_ids_count, sizeof(int32_t));
		list[i].partition_ids_count = 0;
		is_ok = list[i].partition_ids != NULL;
	}
	for (pos = t->parts.next; list && is_ok && pos != &t->parts; pos = pos->next) {
		const struct part *p = sl_list_entry(pos, struct part, link);
		struct sl_str topic = partset_topic(p);
		struct sl_transaction_log_value_transaction_partition *to =
			sl_map_get(&by_name, topic.p, (size_t)topic.len);

		to->partition_ids[to->partition_ids_count++] = p->partition;
	}
	sl_map_fini(&by_name);
	v->transaction_partitions = list;
	return list && is_ok;
}

static bool encode_value(struct txn_coord *c, const struct txn *t)
{
	const struct image *next = &t->next;
	struct sl_transaction_log_value v;

	sl_transaction_log_value_init(&v);
	v.producer_id = next->producer_id;
	v.previous_producer_id = next->prev_producer_id;
	v.next_producer_id = next->next_producer_id;
	v.producer_epoch = next->producer_epoch;
	v.transaction_timeout_ms = next->timeout_ms;
	v.transaction_status = (int8_t)next->state;
	v.transaction_last_update_timestamp_ms = next->update_ms;
	v.transaction_start_timestamp_ms = next->start_ms;
	v.client_transaction_version = next->client_version;
	/* Kafka writes null for an id without a transaction. */
	v.transaction_partitions_count = next->state == TXN_EMPTY ? -1 : 0;
	if ((next->state == TXN_ONGOING || table_is_preparing(next->state)) &&
	    !fill_topics(c, t, &v))
		return false;
	sl_put_i16(&c->value, VALUE_VERSION);
	sl_transaction_log_value_encode(&v, &c->value, VALUE_VERSION);
	return sl_buf_ok(&c->value);
}

static bool encode_batch(struct txn_coord *c, const struct txn *t)
{
	const struct sl_transaction_log_key key = {t->id};
	struct sl_bytes value = SL_BYTES_NULL;
	struct sl_batch_builder builder;
	struct sl_batch_head head;

	sl_buf_reset(&c->key);
	sl_buf_reset(&c->value);
	sl_put_i16(&c->key, SL_TRANSACTION_LOG_KEY_TYPE);
	sl_transaction_log_key_encode(&key, &c->key, 0);
	if (t->next.state != TXN_DEAD) {
		if (!encode_value(c, t))
			return false;
		value = (struct sl_bytes){c->value.p, (int32_t)c->value.len};
	}
	sl_batch_head_init(&head);
	sl_batch_begin(&builder, &c->out, &head);
	sl_batch_add(&builder, c->wall_ms, (struct sl_bytes){c->key.p, (int32_t)c->key.len}, value);
	return sl_buf_ok(&c->key) && !sl_batch_end(&builder);
}

int journal_write(struct txn_coord *c, struct txn *t)
{
	size_t pos = c->out.len;

	SL_ASSERT(!t->is_pending);
	t->cookie = c->cookie_next++;
	if (!answer_has_room(c, 1) || sl_map_put(&c->appends, &t->cookie, sizeof(t->cookie), t)) {
		coord_count(c, COUNT_refused_no_memory);
		return -ENOMEM;
	}
	if (!encode_batch(c, t)) {
		sl_buf_rewind(&c->out, pos);
		sl_map_del(&c->appends, &t->cookie, sizeof(t->cookie));
		coord_count(c, COUNT_refused_no_memory);
		return -ENOMEM;
	}
	t->is_pending = true;
	answer_append(c, t->shard, t->cookie, pos);
	return 0;
}

static void count_outcome(struct txn_coord *c, const struct txn *t)
{
	switch (t->now.state) {
	case TXN_PREPARE_COMMIT:
		coord_count(c, COUNT_commits);
		break;
	case TXN_PREPARE_ABORT:
		coord_count(c, COUNT_aborts);
		break;
	case TXN_COMPLETE_COMMIT:
	case TXN_COMPLETE_ABORT:
		coord_count(c, COUNT_completed);
		break;
	default:
		break;
	}
}

/* The record is on the log: it is what the id is now. */
static void accept(struct txn_coord *c, struct txn *t)
{
	struct image next = t->next;

	SL_ASSERT(next.producer_id != t->now.producer_id ||
	          next.producer_epoch >= t->now.producer_epoch);
	partset_settle(c, t, true);
	table_set(c, t, &next);
	t->is_in_log = true;
	count_outcome(c, t);
	answer_all(c, &t->waiters, SL_KERR_NONE, t);
	if (table_is_preparing(next.state))
		marker_start(c, t);
}

static void refuse(struct txn_coord *c, struct txn *t, enum sl_kerr kerr)
{
	coord_count(c, COUNT_appends_failed);
	partset_settle(c, t, false);
	answer_all(c, &t->waiters, shard_append_error(kerr), t);
	if (t->next.state == TXN_COMPLETE_COMMIT || t->next.state == TXN_COMPLETE_ABORT)
		scan_retry_later(c);
}

void journal_done(struct txn_coord *c, const struct txn_event *ev)
{
	struct txn *t = sl_map_del(&c->appends, &ev->cookie, sizeof(ev->cookie));

	if (!t) {
		coord_count(c, COUNT_appends_unknown);
		return;
	}
	t->is_pending = false;
	if (ev->kerr == SL_KERR_NONE && t->next.state == TXN_DEAD) {
		coord_count(c, COUNT_ids_expired);
		table_destroy(c, t, SL_KERR_INVALID_PRODUCER_ID_MAPPING);
		return;
	}
	if (ev->kerr == SL_KERR_NONE)
		accept(c, t);
	else
		refuse(c, t, ev->kerr);
	/* The first record of an id was refused: nobody was told of the id. */
	if (!t->is_in_log) {
		table_destroy(c, t, shard_append_error(ev->kerr));
		return;
	}
	add_run_held(c, t);
}
