/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "sim.h"

/* A decided transaction on two partitions whose markers wait. */
static struct sim_producer prepare(struct sim *s, bool is_commit)
{
	struct sim_producer p = sim_producer(s, "tx");
	struct sim_producer next;

	cr_assert_eq(sim_told(s, sim_ask(s, "tx", p, 0, 1, true)), 0);
	cr_assert_eq(sim_told(s, sim_ask(s, "tx", p, 1, 2, true)), 0);
	s->is_holding_marks = true;
	cr_assert_eq(sim_ended(s, sim_end_send(s, 5, "tx", p, is_commit), &next), 0);
	cr_assert_eq(s->marks_count, 2);
	return next;
}

static struct txn_gauges gauges(const struct sim *s)
{
	struct txn_gauges g;

	txn_gauges(s->c, &g);
	return g;
}

Test(txn_marker, is_repeated_until_it_is_written)
{
	struct sim s;

	sim_init(&s);
	(void)prepare(&s, true);
	sim_mark_one(&s, 0, SL_KERR_NONE);
	for (uint32_t i = 1; i < 6; i++) {
		sim_mark_one(&s, i, SL_KERR_NOT_LEADER_OR_FOLLOWER);
		cr_assert_eq(s.marks_count, i + 1, "not at once");
		cr_assert_eq(gauges(&s).markers_retry, 1);
		sim_advance(&s, 500);
		cr_assert_eq(s.marks_count, i + 2);
		cr_assert_eq(gauges(&s).markers_retry, 0);
		cr_assert_str_eq(s.marks[i + 1].topic, "t1");
		cr_assert_eq(memcmp(&s.marks[i + 1].marker, &s.marks[1].marker,
		                    sizeof(s.marks[1].marker)),
		             0);
	}
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "PrepareCommit");
	sim_mark_one(&s, 6, SL_KERR_NONE);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "CompleteCommit");
	cr_assert_eq(sim_counter(&s, "markers_retried"), 5);
	sim_fini(&s);
}

Test(txn_marker, is_written_again_after_a_restart)
{
	struct sim s;

	sim_init(&s);
	(void)prepare(&s, false);
	sim_mark_one(&s, 0, SL_KERR_NONE);
	sim_reload(&s);
	cr_assert_eq(s.marks_count, 4, "the coordinator does not know which were written");
	for (uint32_t i = 2; i < 4; i++) {
		cr_assert(!s.marks[i].marker.is_commit);
		cr_assert_eq(s.marks[i].marker.producer_epoch, s.marks[0].marker.producer_epoch);
	}
	cr_assert_eq(sim_counter(&s, "load_completions"), 1);
	sim_mark(&s, SL_KERR_NONE);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "CompleteAbort");
	sim_fini(&s);
}

Test(txn_marker, has_the_epoch_of_the_leader_that_was_read_from)
{
	struct txn_event begin = {.type = TXN_EV_LOAD_BEGIN, .coordinator_epoch = SIM_EPOCH - 1};
	struct sim s;

	sim_init(&s);
	(void)prepare(&s, true);
	/* The partition got another leader between the two. */
	begin.partition = txn_partition(s.c, sl_str_from("tx"));
	sim_step(&s, &begin);
	sim_partition(&s, TXN_EV_LOAD_BATCHES, begin.partition);
	sim_partition(&s, TXN_EV_LOAD_END, begin.partition);
	cr_assert_eq(s.marks_count, 4);
	cr_assert_eq(s.marks[3].marker.coordinator_epoch, SIM_EPOCH);
	sim_fini(&s);
}

Test(txn_marker, is_not_needed_for_a_partition_that_is_gone)
{
	struct sim s;

	sim_init(&s);
	(void)prepare(&s, true);
	sim_mark_one(&s, 0, SL_KERR_NONE);
	s.is_topic_gone[1] = true;
	sim_mark_one(&s, 1, SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	sim_advance(&s, 500);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "CompleteCommit");
	cr_assert_eq(sim_counter(&s, "markers_partition_gone"), 1);
	sim_fini(&s);
}

Test(txn_marker, is_not_repeated_where_somebody_ended_the_transaction_by_hand)
{
	struct sim s;

	sim_init(&s);
	(void)prepare(&s, true);
	sim_mark_one(&s, 0, SL_KERR_INVALID_PRODUCER_EPOCH);
	sim_mark_one(&s, 1, SL_KERR_TRANSACTION_COORDINATOR_FENCED);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "CompleteCommit");
	cr_assert_eq(sim_counter(&s, "markers_fenced"), 2);
	sim_fini(&s);
}

Test(txn_marker, of_which_nobody_knows_is_counted)
{
	struct txn_event ev = {.type = TXN_EV_MARKED, .cookie = 12345};
	struct txn_event appended = {.type = TXN_EV_APPENDED, .cookie = 12345};
	struct sim s;

	sim_init(&s);
	sim_step(&s, &ev);
	sim_step(&s, &appended);
	cr_assert_eq(sim_counter(&s, "markers_unknown"), 1);
	cr_assert_eq(sim_counter(&s, "appends_unknown"), 1);
	sim_fini(&s);
}

Test(txn_marker, leads_to_a_record_that_is_repeated_too)
{
	struct sim s;

	sim_init(&s);
	(void)prepare(&s, true);
	s.is_holding = true;
	sim_mark(&s, SL_KERR_NONE);
	cr_assert_eq(gauges(&s).completions_retry, 0);
	sim_flush(&s, SL_KERR_NOT_ENOUGH_REPLICAS);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "PrepareCommit");
	cr_assert_eq(gauges(&s).completions_retry, 1);
	sim_advance(&s, 500);
	cr_assert_eq(gauges(&s).completions_retry, 0);
	sim_flush(&s, SL_KERR_NONE);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "CompleteCommit");
	cr_assert_eq(sim_counter(&s, "completions_retried"), 1);
	sim_fini(&s);
}

Test(txn_marker, waits_its_turn_when_there_are_many)
{
	struct txn_gauges g;
	struct sim_producer p;
	struct sim s;
	char id[16];

	sim_init(&s);
	for (int i = 0; i < 80; i++) {
		snprintf(id, sizeof(id), "tx%d", i);
		p = sim_producer(&s, id);
		for (int32_t k = 0; k < 16; k++)
			cr_assert_eq(sim_told(&s, sim_ask(&s, id, p, 0, k, true)), 0);
		s.is_holding_marks = true;
		cr_assert_eq(sim_ended(&s, sim_end_send(&s, 5, id, p, true), NULL), 0);
	}
	txn_gauges(s.c, &g);
	cr_assert_eq(g.markers_in_flight, 1024);
	cr_assert_eq(g.markers_queued, 80 * 16 - 1024);
	cr_assert_eq(g.preparing, 80);
	s.is_holding_marks = false;
	sim_mark(&s, SL_KERR_NONE);
	txn_gauges(s.c, &g);
	cr_assert(g.markers_in_flight == 0 && g.markers_queued == 0 && g.preparing == 0);
	cr_assert_eq(sim_counter(&s, "completed"), 80);
	sim_fini(&s);
}
