/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "sim.h"

Test(txn_add, begins_a_transaction_with_the_first_partition)
{
	struct sim s;
	struct sim_producer p;

	sim_init(&s);
	p = sim_producer(&s, "tx");
	cr_assert_eq(sim_add(&s, "tx", p, 0, 3), 0);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "Ongoing");
	cr_assert_eq(sim_add(&s, "tx", p, 1, 4), 0);
	cr_assert_eq(sim_parts(&s, "tx"), 2);
	sim_fini(&s);
}

Test(txn_add, answers_at_once_for_what_is_in)
{
	struct sim s;
	struct sim_producer p;
	uint64_t before;

	sim_init(&s);
	p = sim_producer(&s, "tx");
	cr_assert_eq(sim_add(&s, "tx", p, 0, 3), 0);
	before = s.appended;
	cr_assert_eq(sim_add(&s, "tx", p, 0, 3), 0);
	cr_assert_eq(s.appended, before);
	sim_fini(&s);
}

Test(txn_add, refuses_wrong_producers)
{
	struct sim s;
	struct sim_producer p;
	struct sim_producer other;
	struct sim_producer old;

	sim_init(&s);
	p = sim_producer(&s, "tx");
	other = (struct sim_producer){p.id + 1, p.epoch};
	old = (struct sim_producer){p.id, (int16_t)(p.epoch + 1)};
	cr_assert_eq(sim_add(&s, "tx", other, 0, 0), SL_KERR_INVALID_PRODUCER_ID_MAPPING);
	cr_assert_eq(sim_add(&s, "tx", old, 0, 0), SL_KERR_PRODUCER_FENCED);
	cr_assert_eq(sim_added(&s, sim_add_send(&s, 1, "tx", old, 0, 0)),
	             SL_KERR_INVALID_PRODUCER_EPOCH);
	cr_assert_eq(sim_add(&s, "unknown", p, 0, 0), SL_KERR_INVALID_PRODUCER_ID_MAPPING);
	cr_assert_eq(sim_add(&s, "", p, 0, 0), SL_KERR_INVALID_REQUEST);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "Empty");
	sim_fini(&s);
}

Test(txn_add, attempts_nothing_when_one_partition_is_bad)
{
	int32_t good[] = {1, 2};
	int32_t bad[] = {99};
	struct sl_add_partitions_to_txn_req_v3_and_below_topic topics[] = {
		{sl_str_from("t0"), good, 2},
		{sl_str_from("t1"), bad, 1},
		{sl_str_from("__consumer_offsets"), good, 1},
	};
	const struct sl_add_partitions_to_txn_resp *r;
	struct sl_add_partitions_to_txn_req req;
	struct sim_producer p;
	struct sim s;

	sim_init(&s);
	p = sim_producer(&s, "tx");
	sl_add_partitions_to_txn_req_init(&req);
	req.v3_and_below_transactional_id = sl_str_from("tx");
	req.v3_and_below_producer_id = p.id;
	req.v3_and_below_producer_epoch = p.epoch;
	req.v3_and_below_topics = topics;
	req.v3_and_below_topics_count = 3;
	r = sim_answer(&s, sim_send(&s, SL_API_ADD_PARTITIONS_TO_TXN, 2, &req));
	cr_assert_eq(
		r->results_by_topic_v3_and_below[0].results_by_partition[1].partition_error_code,
		SL_KERR_OPERATION_NOT_ATTEMPTED);
	cr_assert_eq(
		r->results_by_topic_v3_and_below[1].results_by_partition[0].partition_error_code,
		SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	cr_assert_eq(
		r->results_by_topic_v3_and_below[2].results_by_partition[0].partition_error_code,
		SL_KERR_TOPIC_AUTHORIZATION_FAILED);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "Empty");
	cr_assert_eq(sim_counter(&s, "refused_partition"), 1);
	sim_fini(&s);
}

Test(txn_add, adds_the_partition_of_a_groups_offsets)
{
	struct txn_part_view part;
	struct sim_producer p;
	uint32_t pos = 0;
	struct sim s;

	sim_init(&s);
	p = sim_producer(&s, "tx");
	cr_assert_eq(sim_added_offsets(&s, sim_add_offsets_send(&s, 3, "tx", p, "readers")), 0);
	cr_assert_eq(sim_added_offsets(&s, sim_add_offsets_send(&s, 3, "tx", p, "readers")), 0);
	cr_assert_eq(sim_parts(&s, "tx"), 1);
	cr_assert(txn_next_part(s.c, sl_str_from("tx"), &pos, &part));
	cr_assert(sl_str_eq_c(part.topic, "__consumer_offsets"));
	p.epoch = 9;
	cr_assert_eq(sim_added_offsets(&s, sim_add_offsets_send(&s, 1, "tx", p, "readers")),
	             SL_KERR_INVALID_PRODUCER_EPOCH);
	sim_fini(&s);
}

Test(txn_add, takes_back_what_the_log_refused)
{
	struct txn_part_view part;
	struct sim_producer p;
	uint32_t pos = 0;
	struct sim s;
	uint64_t h;

	sim_init(&s);
	p = sim_producer(&s, "tx");
	s.is_holding = true;
	h = sim_add_send(&s, 3, "tx", p, 0, 3);
	cr_assert_eq(sim_state(&s, h), SIM_WAITING);
	cr_assert_eq(sim_add(&s, "tx", p, 0, 4), SL_KERR_CONCURRENT_TRANSACTIONS);
	cr_assert(!txn_next_part(s.c, sl_str_from("tx"), &pos, &part), "it is not in yet");
	sim_flush(&s, SL_KERR_NOT_ENOUGH_REPLICAS);
	cr_assert_eq(sim_added(&s, h), SL_KERR_COORDINATOR_NOT_AVAILABLE);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "Empty");
	cr_assert_eq(sim_parts(&s, "tx"), 0);
	cr_assert_eq(sim_counter(&s, "appends_failed"), 1);
	sim_fini(&s);
}

/* ---- Questions ---- */

Test(txn_add, lets_a_question_begin_a_transaction)
{
	struct sim s;
	struct sim_producer p;

	sim_init(&s);
	p = sim_producer(&s, "tx");
	cr_assert_eq(sim_told(&s, sim_ask(&s, "tx", p, 0, 1, true)), 0);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "Ongoing");
	cr_assert_eq(sim_told(&s, sim_ask(&s, "tx", p, 0, 1, false)), 0);
	cr_assert_eq(sim_told(&s, sim_ask(&s, "tx", p, 0, 2, false)),
	             SL_KERR_TRANSACTION_ABORTABLE);
	sim_fini(&s);
}

Test(txn_add, does_not_let_a_mere_question_begin_one)
{
	struct sim s;
	struct sim_producer p;
	struct sim_producer old;

	sim_init(&s);
	p = sim_producer(&s, "tx");
	old = p;
	cr_assert_eq(sim_told(&s, sim_ask(&s, "tx", p, 0, 1, false)),
	             SL_KERR_TRANSACTION_ABORTABLE);
	p = sim_producer(&s, "tx");
	cr_assert_eq(sim_told(&s, sim_ask(&s, "tx", old, 0, 1, true)), SL_KERR_PRODUCER_FENCED);
	cr_assert_eq(sim_told(&s, sim_ask(&s, "tx", (struct sim_producer){5, 0}, 0, 1, true)),
	             SL_KERR_INVALID_PRODUCER_ID_MAPPING);
	cr_assert_eq(sim_told(&s, sim_ask(&s, "no", p, 0, 1, true)),
	             SL_KERR_INVALID_PRODUCER_ID_MAPPING);
	cr_assert_eq(sim_told(&s, sim_ask(&s, "", p, 0, 1, true)), SL_KERR_INVALID_REQUEST);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "Empty");
	sim_fini(&s);
}

Test(txn_add, answers_questions_that_came_together_with_one_record)
{
	struct sim s;
	struct sim_producer p;
	uint64_t h[4];
	uint64_t before;

	sim_init(&s);
	p = sim_producer(&s, "tx");
	before = s.appended;
	s.is_holding = true;
	for (int i = 0; i < 4; i++)
		h[i] = sim_ask(&s, "tx", p, 0, i / 2 * 5, true);
	cr_assert_eq(sim_told(&s, h[3]), -1);
	sim_flush(&s, SL_KERR_NONE); /* the first */
	sim_flush(&s, SL_KERR_NONE); /* all others */
	for (int i = 0; i < 4; i++)
		cr_assert_eq(sim_told(&s, h[i]), 0);
	cr_assert_eq(s.appended, before + 2);
	cr_assert_eq(sim_parts(&s, "tx"), 2);
	sim_fini(&s);
}

Test(txn_add, holds_a_question_until_the_transaction_before_is_complete)
{
	struct sim s;
	struct sim_producer p;
	struct sim_producer next;
	uint64_t h;

	sim_init(&s);
	p = sim_producer(&s, "tx");
	cr_assert_eq(sim_told(&s, sim_ask(&s, "tx", p, 0, 1, true)), 0);
	s.is_holding_marks = true;
	cr_assert_eq(sim_ended(&s, sim_end_send(&s, 5, "tx", p, true), &next), 0);
	h = sim_ask(&s, "tx", next, 0, 1, true);
	cr_assert_eq(sim_told(&s, h), -1);
	/* Nothing of the old one comes in any more. */
	cr_assert_eq(sim_told(&s, sim_ask(&s, "tx", p, 0, 1, false)),
	             SL_KERR_CONCURRENT_TRANSACTIONS);
	sim_mark(&s, SL_KERR_NONE);
	cr_assert_eq(sim_told(&s, h), 0);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "Ongoing");
	cr_assert_eq(sim_counter(&s, "verifies_held"), 1);
	sim_fini(&s);
}

Test(txn_add, does_not_hold_a_question_for_ever)
{
	struct sim s;
	struct sim_producer p;
	struct sim_producer next;
	uint64_t h;

	sim_init(&s);
	p = sim_producer(&s, "tx");
	cr_assert_eq(sim_told(&s, sim_ask(&s, "tx", p, 0, 1, true)), 0);
	s.is_holding_marks = true;
	cr_assert_eq(sim_ended(&s, sim_end_send(&s, 5, "tx", p, true), &next), 0);
	h = sim_ask(&s, "tx", next, 0, 1, true);
	sim_advance(&s, 4999);
	cr_assert_eq(sim_told(&s, h), -1);
	sim_advance(&s, 1);
	cr_assert_eq(sim_told(&s, h), SL_KERR_CONCURRENT_TRANSACTIONS);
	cr_assert_eq(sim_counter(&s, "verifies_expired"), 1);
	sim_fini(&s);
}

Test(txn_add, answers_held_questions_when_it_is_unloaded)
{
	struct sim s;
	struct sim_producer p;
	struct sim_producer next;
	uint64_t h;

	sim_init(&s);
	p = sim_producer(&s, "tx");
	cr_assert_eq(sim_told(&s, sim_ask(&s, "tx", p, 0, 1, true)), 0);
	s.is_holding_marks = true;
	cr_assert_eq(sim_ended(&s, sim_end_send(&s, 5, "tx", p, true), &next), 0);
	h = sim_ask(&s, "tx", next, 0, 1, true);
	sim_partition(&s, TXN_EV_UNLOAD, txn_partition(s.c, sl_str_from("tx")));
	cr_assert_eq(sim_told(&s, h), SL_KERR_NOT_COORDINATOR);
	sim_fini(&s);
}
