/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "sim.h"

static struct sim_producer begin(struct sim *s, bool is_new)
{
	struct sim_producer p = sim_producer(s, "tx");

	if (is_new)
		cr_assert_eq(sim_told(s, sim_ask(s, "tx", p, 0, 1, true)), 0);
	else
		cr_assert_eq(sim_add(s, "tx", p, 0, 1), 0);
	return p;
}

static int16_t end(struct sim *s, int16_t version, struct sim_producer p, bool is_commit,
                   struct sim_producer *out)
{
	return sim_ended(s, sim_end_send(s, version, "tx", p, is_commit), out);
}

Test(txn_end, commits_in_the_older_flow_without_touching_the_epoch)
{
	struct sim s;
	struct sim_producer p;

	sim_init(&s);
	p = begin(&s, false);
	cr_assert_eq(sim_add(&s, "tx", p, 1, 2), 0);
	cr_assert_eq(end(&s, 3, p, true, NULL), 0);
	cr_assert_eq(s.marks_count, 2);
	for (int i = 0; i < 2; i++) {
		cr_assert(s.marks[i].marker.is_commit);
		cr_assert_eq(s.marks[i].marker.producer_id, p.id);
		cr_assert_eq(s.marks[i].marker.producer_epoch, p.epoch);
	}
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "CompleteCommit");
	/* Its answer was lost. */
	cr_assert_eq(end(&s, 3, p, true, NULL), 0);
	cr_assert_eq(end(&s, 3, p, false, NULL), SL_KERR_INVALID_TXN_STATE);
	cr_assert_eq(s.marks_count, 2);
	/* The next one with the same producer. */
	cr_assert_eq(sim_add(&s, "tx", p, 0, 1), 0);
	cr_assert_eq(end(&s, 3, p, false, NULL), 0);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "CompleteAbort");
	sim_fini(&s);
}

Test(txn_end, refuses_an_end_without_a_transaction_in_the_older_flow)
{
	struct sim s;
	struct sim_producer p;

	sim_init(&s);
	p = sim_producer(&s, "tx");
	cr_assert_eq(end(&s, 3, p, true, NULL), SL_KERR_INVALID_TXN_STATE);
	cr_assert_eq(end(&s, 3, p, false, NULL), SL_KERR_INVALID_TXN_STATE);
	p.epoch++;
	cr_assert_eq(end(&s, 3, p, false, NULL), SL_KERR_PRODUCER_FENCED);
	cr_assert_eq(end(&s, 1, p, false, NULL), SL_KERR_INVALID_PRODUCER_EPOCH);
	p.id++;
	cr_assert_eq(end(&s, 3, p, false, NULL), SL_KERR_INVALID_PRODUCER_ID_MAPPING);
	sim_fini(&s);
}

Test(txn_end, bumps_the_epoch_with_every_transaction_of_the_newer_flow)
{
	struct sim s;
	struct sim_producer p;
	struct sim_producer next;
	struct sim_producer again;

	sim_init(&s);
	p = begin(&s, true);
	cr_assert_eq(end(&s, 5, p, true, &next), 0);
	cr_assert(next.id == p.id && next.epoch == p.epoch + 1);
	cr_assert_eq(s.marks[0].marker.producer_epoch, p.epoch + 1);
	/* Its answer was lost: known by the epoch before. */
	cr_assert_eq(end(&s, 5, p, true, &again), 0);
	cr_assert_eq(again.epoch, next.epoch);
	cr_assert_eq(end(&s, 5, p, false, NULL), SL_KERR_INVALID_TXN_STATE);
	/* A new commit without partitions is an error, an abort is not. */
	cr_assert_eq(end(&s, 5, next, true, NULL), SL_KERR_INVALID_TXN_STATE);
	cr_assert_eq(end(&s, 5, next, false, &again), 0);
	cr_assert_eq(again.epoch, next.epoch + 1);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "CompleteAbort");
	/* Before it, nobody but the last two epochs is known. */
	cr_assert_eq(end(&s, 5, p, true, NULL), SL_KERR_PRODUCER_FENCED);
	sim_fini(&s);
}

Test(txn_end, aborts_an_empty_transaction_of_the_newer_flow)
{
	struct sim s;
	struct sim_producer p;
	struct sim_producer next;

	sim_init(&s);
	p = sim_producer(&s, "tx");
	cr_assert_eq(end(&s, 5, p, true, NULL), SL_KERR_INVALID_TXN_STATE);
	cr_assert_eq(end(&s, 5, p, false, &next), 0);
	cr_assert_eq(next.epoch, p.epoch + 1);
	cr_assert_eq(s.marks_count, 0);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "CompleteAbort");
	sim_fini(&s);
}

Test(txn_end, answers_before_the_markers_are_written)
{
	struct sim s;
	struct sim_producer p;
	struct sim_producer next;
	uint64_t h;

	sim_init(&s);
	p = begin(&s, true);
	s.is_holding = true;
	s.is_holding_marks = true;
	h = sim_end_send(&s, 5, "tx", p, true);
	cr_assert_eq(s.marks_count, 0, "no marker before the decision is on the log");
	cr_assert_eq(sim_state(&s, h), SIM_WAITING);
	sim_flush(&s, SL_KERR_NONE);
	cr_assert_eq(sim_ended(&s, h, &next), 0);
	cr_assert_eq(s.marks_count, 1);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "PrepareCommit");
	cr_assert_eq(end(&s, 5, p, true, NULL), SL_KERR_CONCURRENT_TRANSACTIONS);
	cr_assert_eq(end(&s, 3, next, true, NULL), SL_KERR_CONCURRENT_TRANSACTIONS);
	sim_mark(&s, SL_KERR_NONE);
	sim_flush(&s, SL_KERR_NONE);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "CompleteCommit");
	sim_fini(&s);
}

Test(txn_end, changes_nothing_when_the_log_refuses_the_decision)
{
	struct sim s;
	struct sim_producer p;
	struct sim_producer next;
	uint64_t h;

	sim_init(&s);
	p = begin(&s, true);
	s.is_holding = true;
	h = sim_end_send(&s, 5, "tx", p, true);
	sim_flush(&s, SL_KERR_KAFKA_STORAGE_ERROR);
	cr_assert_eq(sim_ended(&s, h, NULL), SL_KERR_NOT_COORDINATOR);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "Ongoing");
	cr_assert_eq(s.marks_count, 0);
	s.is_holding = false;
	cr_assert_eq(end(&s, 5, p, false, &next), 0);
	cr_assert_eq(next.epoch, p.epoch + 1);
	cr_assert(!s.marks[0].marker.is_commit);
	sim_fini(&s);
}

/* Runs transactions until the epoch has one place left. */
static struct sim_producer use_up(struct sim *s)
{
	struct sim_producer p = sim_producer(s, "tx");

	while (p.epoch < INT16_MAX - 1) {
		int16_t before = p.epoch;

		cr_assert_eq(end(s, 5, p, false, &p), 0);
		cr_assert_eq(p.epoch, before + 1);
	}
	return p;
}

Test(txn_end, goes_on_with_another_producer_id_when_the_epochs_are_used_up)
{
	struct sim s;
	struct sim_producer p;
	struct sim_producer next;
	struct sim_producer again;
	uint64_t h;

	sim_init(&s);
	p = use_up(&s);
	cr_assert_eq(sim_told(&s, sim_ask(&s, "tx", p, 0, 1, true)), 0);
	s.is_holding_marks = true;
	cr_assert_eq(end(&s, 5, p, true, &next), 0);
	cr_assert(next.id != p.id && next.epoch == 0);
	/* The marker is still the old one's. */
	cr_assert_eq(s.marks[0].marker.producer_id, p.id);
	cr_assert_eq(s.marks[0].marker.producer_epoch, INT16_MAX);
	h = sim_ask(&s, "tx", next, 0, 1, true);
	cr_assert_eq(sim_told(&s, h), -1);
	sim_mark(&s, SL_KERR_NONE);
	cr_assert_eq(sim_told(&s, h), 0);
	sim_fini(&s);

	sim_init(&s);
	p = use_up(&s);
	cr_assert_eq(sim_told(&s, sim_ask(&s, "tx", p, 0, 1, true)), 0);
	cr_assert_eq(end(&s, 5, p, true, &next), 0);
	/* Its answer was lost, and the coordinator was started again. */
	sim_reload(&s);
	cr_assert_eq(end(&s, 5, p, true, &again), 0);
	cr_assert(again.id == next.id && again.epoch == 0);
	sim_fini(&s);
}

Test(txn_end, goes_on_with_the_id_it_has_told_after_a_restart)
{
	struct sim s;
	struct sim_producer p;
	struct sim_producer next;

	sim_init(&s);
	p = use_up(&s);
	cr_assert_eq(sim_told(&s, sim_ask(&s, "tx", p, 0, 1, true)), 0);
	s.is_holding_marks = true;
	cr_assert_eq(end(&s, 5, p, true, &next), 0);
	cr_assert_neq(next.id, p.id);
	s.is_holding_marks = false;
	sim_reload(&s);
	cr_assert_eq(s.marks[1].marker.producer_id, p.id);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "CompleteCommit");
	cr_assert_eq(sim_told(&s, sim_ask(&s, "tx", next, 0, 1, true)), 0);
	sim_fini(&s);
}

Test(txn_end, is_of_the_present_producer_only_in_the_newer_flow)
{
	struct sim s;
	struct sim_producer p;
	struct sim_producer other;

	sim_init(&s);
	p = begin(&s, true);
	other = (struct sim_producer){p.id + 1, p.epoch};
	cr_assert_eq(end(&s, 5, other, true, NULL), SL_KERR_INVALID_PRODUCER_ID_MAPPING);
	other = (struct sim_producer){p.id, (int16_t)(p.epoch + 1)};
	cr_assert_eq(end(&s, 5, other, true, NULL), SL_KERR_PRODUCER_FENCED);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "Ongoing");
	cr_assert_eq(end(&s, 5, p, true, NULL), 0);
	sim_fini(&s);
}

Test(txn_end, waits_for_a_producer_id_to_go_on_with)
{
	struct sim_producer next;
	struct sim_producer p;
	struct sim s;
	uint64_t h;

	sim_init_opts(&s, NULL);
	s.ids_block = 1;
	sim_load_all(&s);
	p = use_up(&s);
	s.is_holding_ids = true;
	cr_assert_eq(sim_told(&s, sim_ask(&s, "tx", p, 0, 1, true)), 0);
	h = sim_end_send(&s, 5, "tx", p, true);
	cr_assert_eq(sim_state(&s, h), SIM_WAITING);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "Ongoing");
	sim_give_ids(&s, SL_KERR_NONE);
	cr_assert_eq(sim_ended(&s, h, &next), 0);
	cr_assert_neq(next.id, p.id);
	sim_fini(&s);
}

Test(txn_end, lets_a_decision_stand_whose_client_is_gone)
{
	struct sim s;
	struct sim_producer p;
	uint64_t h;

	sim_init(&s);
	p = begin(&s, true);
	s.is_holding = true;
	h = sim_end_send(&s, 5, "tx", p, true);
	sim_cancel(&s, h);
	s.is_holding = false;
	sim_flush(&s, SL_KERR_NONE);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "CompleteCommit");
	cr_assert_eq(sim_counter(&s, "answers_dropped"), 1);
	sim_fini(&s);
}
