/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "sim.h"

#include "sluice/wire/batch.h"
#include "sluice/wire/transaction_log_key_gen.h"
#include "sluice/wire/transaction_log_value_gen.h"

/* A record by hand. */
struct hand {
	struct sl_batch_builder builder;
	struct sl_batch_head head;
	struct sl_buf batch, key, value;
	uint8_t batch_bytes[4096], key_bytes[512], value_bytes[2048];
};

static void hand_begin(struct hand *h)
{
	sl_buf_init_fixed(&h->batch, h->batch_bytes, sizeof(h->batch_bytes));
	sl_buf_init_fixed(&h->key, h->key_bytes, sizeof(h->key_bytes));
	sl_buf_init_fixed(&h->value, h->value_bytes, sizeof(h->value_bytes));
	sl_batch_head_init(&h->head);
}

static void hand_key(struct hand *h, int16_t type, const char *id)
{
	struct sl_transaction_log_key key = {sl_str_from(id)};

	sl_put_i16(&h->key, type);
	sl_transaction_log_key_encode(&key, &h->key, 0);
}

static struct sl_transaction_log_value sound(void)
{
	struct sl_transaction_log_value v;

	sl_transaction_log_value_init(&v);
	v.producer_id = 42;
	v.producer_epoch = 5;
	v.transaction_timeout_ms = 1000;
	v.transaction_partitions_count = -1;
	v.transaction_start_timestamp_ms = -1;
	v.transaction_last_update_timestamp_ms = SIM_WALL_BASE;
	return v;
}

static void hand_value(struct hand *h, int16_t version, const struct sl_transaction_log_value *v)
{
	sl_put_i16(&h->value, version);
	sl_transaction_log_value_encode(v, &h->value, version);
}

static void hand_put(struct hand *h, struct sim *s, const char *id)
{
	sl_batch_begin(&h->builder, &h->batch, &h->head);
	sl_batch_add(&h->builder, SIM_WALL_BASE, (struct sl_bytes){h->key.p, (int32_t)h->key.len},
	             h->value.len ? (struct sl_bytes){h->value.p, (int32_t)h->value.len}
	                          : SL_BYTES_NULL);
	cr_assert_eq(sl_batch_end(&h->builder), 0);
	sim_put(s, id, h->batch.p, h->batch.len);
}

static void put(struct sim *s, const char *id, int16_t version,
                const struct sl_transaction_log_value *v)
{
	struct hand h;

	hand_begin(&h);
	hand_key(&h, 0, id);
	hand_value(&h, version, v);
	hand_put(&h, s, id);
}

Test(txn_replay, finds_everything_as_it_was)
{
	struct sim_producer p;
	struct txn_view before;
	struct txn_view after;
	struct sim s;

	sim_init(&s);
	p = sim_producer(&s, "tx");
	p = sim_producer(&s, "tx");
	cr_assert_eq(sim_add(&s, "tx", p, 0, 1), 0);
	cr_assert_eq(sim_add(&s, "tx", p, 2, 5), 0);
	cr_assert(txn_find(s.c, sl_str_from("tx"), &before));
	sim_reload(&s);
	cr_assert(txn_find(s.c, sl_str_from("tx"), &after));
	cr_assert_str_eq(after.state, "Ongoing");
	cr_assert(after.producer_id == before.producer_id && after.producer_epoch == 1);
	cr_assert(after.start_ms == before.start_ms && after.update_ms == before.update_ms);
	cr_assert_eq(after.parts, 2);
	/* It goes on. */
	cr_assert_eq(sim_ended(&s, sim_end_send(&s, 3, "tx", p, true), NULL), 0);
	cr_assert_eq(s.marks_count, 2);
	sim_fini(&s);
}

/* What the last record of the id's partition says. */
static struct sl_transaction_log_value last_value(struct sim *s, const char *id)
{
	const struct sim_log *log = &s->logs[txn_partition(s->c, sl_str_from(id))];
	struct sl_bytes batches = {log->bytes, (int32_t)log->len};
	struct sl_transaction_log_value v;
	struct sl_record_iter it;
	struct sl_batch_head h;
	struct sl_record r = {0};
	struct sl_cursor cur;
	const uint8_t *p;

	while (sl_batch_next(&batches, &p, &h) > 0) {
		cr_assert_eq(sl_record_iter_init(&it, p, &h, NULL, NULL), 0);
		cr_assert_eq(sl_record_iter_next(&it, &r), 1);
	}
	cur = sl_cursor_from(r.value.p, (size_t)r.value.len);
	cr_assert_eq(sl_cursor_i16(&cur), 1);
	cr_assert_eq(sl_transaction_log_value_decode(&v, &cur, &s->arena, 1), 0);
	return v;
}

Test(txn_replay, records_are_as_kafka_writes_them)
{
	struct sl_transaction_log_value v;
	struct sim_producer old;
	struct sim_producer p;
	struct sim s;

	sim_init(&s);
	p = sim_producer(&s, "tx");
	v = last_value(&s, "tx");
	cr_assert_eq(v.transaction_status, 0);
	cr_assert_eq(v.transaction_partitions_count, -1);
	cr_assert_eq(v.next_producer_id, -1);
	cr_assert_eq(sim_add(&s, "tx", p, 0, 1), 0);
	v = last_value(&s, "tx");
	cr_assert_eq(v.transaction_status, 1);
	cr_assert_eq(v.client_transaction_version, 0);
	cr_assert_eq(v.transaction_start_timestamp_ms, v.transaction_last_update_timestamp_ms);
	cr_assert_eq(sim_ended(&s, sim_end_send(&s, 3, "tx", p, true), NULL), 0);
	v = last_value(&s, "tx");
	cr_assert_eq(v.transaction_status, 4);
	cr_assert_eq(v.client_transaction_version, 0);
	cr_assert_eq(v.transaction_partitions_count, 0);
	/* By hand near the end of the epochs: the next decision takes another producer id. */
	v.producer_epoch = INT16_MAX - 1;
	put(&s, "tx", 1, &v);
	sim_reload(&s);
	old = p = (struct sim_producer){v.producer_id, v.producer_epoch};
	cr_assert_eq(sim_told(&s, sim_ask(&s, "tx", p, 0, 1, true)), 0);
	s.is_holding_marks = true;
	cr_assert_eq(sim_ended(&s, sim_end_send(&s, 5, "tx", p, true), &p), 0);
	v = last_value(&s, "tx");
	cr_assert_eq(v.transaction_status, 2);
	cr_assert_eq(v.client_transaction_version, 2);
	cr_assert(v.producer_id == old.id && v.producer_epoch == INT16_MAX);
	cr_assert_eq(v.next_producer_id, p.id);
	sim_mark(&s, SL_KERR_NONE);
	v = last_value(&s, "tx");
	cr_assert_eq(v.transaction_status, 4);
	cr_assert(v.producer_id == p.id && v.producer_epoch == 0);
	cr_assert_eq(v.previous_producer_id, old.id);
	cr_assert_eq(v.next_producer_id, -1);
	/* Named partitions, and a decision of the newer flow. */
	s.is_holding_marks = false;
	p = sim_producer(&s, "other");
	cr_assert_eq(sim_add(&s, "other", p, 0, 1), 0);
	cr_assert_eq(last_value(&s, "other").client_transaction_version, 0);
	cr_assert_eq(sim_ended(&s, sim_end_send(&s, 5, "other", p, true), NULL), 0);
	cr_assert_eq(last_value(&s, "other").client_transaction_version, 2);
	sim_fini(&s);
}

Test(txn_replay, forgets_the_partitions_of_transactions_that_are_over)
{
	struct sim_producer p;
	struct sim s;

	sim_init(&s);
	p = sim_producer(&s, "tx");
	cr_assert_eq(sim_add(&s, "tx", p, 0, 1), 0);
	cr_assert_eq(sim_ended(&s, sim_end_send(&s, 3, "tx", p, true), NULL), 0);
	cr_assert_eq(sim_add(&s, "tx", p, 1, 2), 0);
	sim_reload(&s);
	cr_assert_eq(sim_parts(&s, "tx"), 1);
	cr_assert_eq(sim_ended(&s, sim_end_send(&s, 3, "tx", p, true), NULL), 0);
	cr_assert_eq(s.marks_count, 2);
	cr_assert_str_eq(s.marks[1].topic, "t1");
	sim_fini(&s);
}

Test(txn_replay, reads_version_0_of_the_value)
{
	struct sl_transaction_log_value v = sound();
	struct txn_view view;
	struct sim s;

	sim_init(&s);
	put(&s, "tx", 0, &v);
	sim_reload(&s);
	cr_assert(txn_find(s.c, sl_str_from("tx"), &view));
	cr_assert(view.producer_id == 42 && view.producer_epoch == 5);
	cr_assert_eq(sim_producer(&s, "tx").epoch, 6);
	sim_fini(&s);
}

Test(txn_replay, completes_what_another_coordinator_prepared)
{
	int32_t numbers[] = {3, 4};
	struct sl_transaction_log_value_transaction_partition topic = {sl_str_from("t1"), numbers,
	                                                               2};
	struct sl_transaction_log_value v = sound();
	struct sim s;

	sim_init(&s);
	v.transaction_status = 2;
	v.transaction_partitions = &topic;
	v.transaction_partitions_count = 1;
	v.next_producer_id = 77;
	v.client_transaction_version = 2;
	put(&s, "tx", 1, &v);
	sim_reload(&s);
	cr_assert_eq(s.marks_count, 2);
	cr_assert(s.marks[0].marker.is_commit && s.marks[0].marker.producer_id == 42);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "CompleteCommit");
	/* The producer went on with the id that it was told. */
	cr_assert_eq(sim_told(&s, sim_ask(&s, "tx", (struct sim_producer){77, 0}, 0, 0, true)), 0);
	sim_fini(&s);
}

Test(txn_replay, completes_a_decision_without_partitions)
{
	struct sl_transaction_log_value v = sound();
	struct sim s;

	sim_init(&s);
	v.transaction_status = 3;
	v.transaction_partitions_count = 0;
	put(&s, "tx", 1, &v);
	sim_reload(&s);
	cr_assert_eq(s.marks_count, 0);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "CompleteAbort");
	sim_fini(&s);
}

Test(txn_replay, skips_keys_of_other_kinds_control_and_misplaced_records)
{
	struct sl_transaction_log_value v = sound();
	const char *elsewhere = NULL;
	static const char *const names[] = {"a", "b", "c", "d", "e", "f"};
	struct hand h;
	struct sim s;

	sim_init(&s);
	for (size_t i = 0; i < SL_ARRAY_SIZE(names); i++) {
		if (txn_partition(s.c, sl_str_from(names[i])) !=
		    txn_partition(s.c, sl_str_from("tx")))
			elsewhere = names[i];
	}
	cr_assert(elsewhere);
	hand_begin(&h);
	hand_key(&h, 9, "tx");
	hand_value(&h, 1, &v);
	hand_put(&h, &s, "tx");
	hand_begin(&h);
	h.head.attributes = SL_BATCH_CONTROL;
	hand_key(&h, 0, "tx");
	hand_value(&h, 1, &v);
	hand_put(&h, &s, "tx");
	hand_begin(&h);
	hand_key(&h, 0, elsewhere);
	hand_value(&h, 1, &v);
	hand_put(&h, &s, "tx");
	sim_reload(&s);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "none");
	cr_assert_str_eq(sim_txn_state(&s, elsewhere), "none");
	cr_assert_eq(sim_counter(&s, "load_skipped_version"), 1);
	cr_assert_eq(sim_counter(&s, "load_skipped_control"), 1);
	cr_assert_eq(sim_counter(&s, "load_skipped_misplaced"), 1);
	sim_fini(&s);
}

static void expect_failed(struct sim *s)
{
	struct sim_producer nobody = {-1, -1};

	sim_reload(s);
	cr_assert_eq(sim_inited(s, sim_init_send(s, 4, "tx", nobody, 1000), NULL),
	             SL_KERR_COORDINATOR_NOT_AVAILABLE);
	cr_assert_eq(sim_counter(s, "load_failed_partitions"), 1);
	cr_assert_eq(sim_counter(s, "load_bad"), 1);
}

Test(txn_replay, refuses_a_partition_with_a_status_that_nobody_writes)
{
	struct sl_transaction_log_value v = sound();
	static const int8_t bad[] = {-1, 6, 7, 100};

	for (size_t i = 0; i < SL_ARRAY_SIZE(bad); i++) {
		struct sim s;

		sim_init(&s);
		v.transaction_status = bad[i];
		put(&s, "tx", 1, &v);
		expect_failed(&s);
		sim_fini(&s);
	}
}

Test(txn_replay, refuses_a_partition_with_a_producer_that_cannot_be)
{
	struct sl_transaction_log_value v = sound();
	struct sim s;

	sim_init(&s);
	v.producer_epoch = -1;
	put(&s, "tx", 1, &v);
	expect_failed(&s);
	sim_fini(&s);
}

Test(txn_replay, refuses_a_partition_with_a_value_that_is_cut_short)
{
	struct sl_transaction_log_value v = sound();
	struct hand h;
	struct sim s;

	sim_init(&s);
	hand_begin(&h);
	hand_key(&h, 0, "tx");
	hand_value(&h, 1, &v);
	h.value.len -= 3;
	hand_put(&h, &s, "tx");
	expect_failed(&s);
	sim_fini(&s);
}

Test(txn_replay, refuses_a_partition_with_a_version_that_it_does_not_know)
{
	struct sl_transaction_log_value v = sound();
	struct hand h;
	struct sim s;

	sim_init(&s);
	hand_begin(&h);
	hand_key(&h, 0, "tx");
	sl_put_i16(&h.value, 9);
	sl_transaction_log_value_encode(&v, &h.value, 1);
	hand_put(&h, &s, "tx");
	expect_failed(&s);
	sim_fini(&s);
}

Test(txn_replay, refuses_a_partition_with_a_damaged_batch)
{
	struct sim_producer p;
	int32_t at;
	struct sim s;

	sim_init(&s);
	p = sim_producer(&s, "tx");
	cr_assert_eq(p.epoch, 0);
	at = txn_partition(s.c, sl_str_from("tx"));
	s.logs[at].bytes[s.logs[at].len - 4] ^= 0x40;
	expect_failed(&s);
	/* Loaded again, when the log is whole. */
	s.logs[at].bytes[s.logs[at].len - 4] ^= 0x40;
	sim_partition(&s, TXN_EV_LOAD_BEGIN, at);
	sim_partition(&s, TXN_EV_LOAD_BATCHES, at);
	sim_partition(&s, TXN_EV_LOAD_END, at);
	cr_assert_eq(sim_producer(&s, "tx").epoch, 1);
	sim_fini(&s);
}

Test(txn_replay, drops_what_is_on_its_way_when_it_is_unloaded)
{
	struct sim s;
	struct sim_producer p;
	uint64_t h;

	sim_init(&s);
	p = sim_producer(&s, "tx");
	s.is_holding = true;
	h = sim_add_send(&s, 3, "tx", p, 0, 1);
	sim_partition(&s, TXN_EV_UNLOAD, txn_partition(s.c, sl_str_from("tx")));
	cr_assert_eq(sim_added(&s, h), SL_KERR_NOT_COORDINATOR);
	cr_assert_eq(sim_counter(&s, "appends_dropped"), 1);
	sim_flush(&s, SL_KERR_NONE);
	cr_assert_eq(sim_counter(&s, "appends_unknown"), 1);
	sim_fini(&s);
}
