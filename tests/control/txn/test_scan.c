/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "sim.h"

Test(txn_scan, aborts_a_transaction_past_its_time_out)
{
	struct sim s;
	struct sim_producer p;

	sim_init(&s);
	p = sim_producer(&s, "tx");
	cr_assert_eq(sim_add(&s, "tx", p, 0, 1), 0);
	sim_advance(&s, SIM_TIMEOUT_MS);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "Ongoing");
	sim_advance(&s, SIM_ABORT_MS);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "CompleteAbort");
	cr_assert_eq(s.marks_count, 1);
	cr_assert(!s.marks[0].marker.is_commit);
	cr_assert_eq(s.marks[0].marker.producer_epoch, p.epoch + 1);
	cr_assert_eq(sim_ended(&s, sim_end_send(&s, 3, "tx", p, true), NULL),
	             SL_KERR_PRODUCER_FENCED);
	cr_assert_eq(sim_add(&s, "tx", p, 0, 1), SL_KERR_PRODUCER_FENCED);
	cr_assert_eq(sim_counter(&s, "aborts_timed_out"), 1);
	sim_fini(&s);
}

Test(txn_scan, counts_the_time_out_from_the_first_partition)
{
	struct sim s;
	struct sim_producer p;

	sim_init(&s);
	p = sim_producer(&s, "tx");
	cr_assert_eq(sim_add(&s, "tx", p, 0, 1), 0);
	sim_advance(&s, SIM_TIMEOUT_MS - 1);
	cr_assert_eq(sim_add(&s, "tx", p, 0, 2), 0);
	sim_advance(&s, 1 + SIM_ABORT_MS);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "CompleteAbort");
	sim_fini(&s);
}

Test(txn_scan, knows_the_time_out_after_a_restart)
{
	struct sim s;
	struct sim_producer p;

	sim_init(&s);
	p = sim_producer(&s, "tx");
	cr_assert_eq(sim_add(&s, "tx", p, 0, 1), 0);
	sim_advance(&s, SIM_TIMEOUT_MS - 5000);
	sim_reload(&s);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "Ongoing");
	sim_advance(&s, 5000 + SIM_ABORT_MS);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "CompleteAbort");
	sim_fini(&s);
}

Test(txn_scan, tries_again_to_abort_when_the_log_refused)
{
	struct sim s;
	struct sim_producer p;
	int16_t epoch;

	sim_init(&s);
	p = sim_producer(&s, "tx");
	cr_assert_eq(sim_add(&s, "tx", p, 0, 1), 0);
	s.is_holding = true;
	sim_advance(&s, SIM_TIMEOUT_MS + SIM_ABORT_MS);
	sim_flush(&s, SL_KERR_KAFKA_STORAGE_ERROR);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "Ongoing");
	s.is_holding = false;
	sim_advance(&s, SIM_ABORT_MS);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "CompleteAbort");
	epoch = s.marks[0].marker.producer_epoch;
	cr_assert_eq(epoch, p.epoch + 1, "bumped once");
	sim_fini(&s);
}

Test(txn_scan, lets_ids_expire_that_nobody_uses)
{
	struct sim s;

	sim_init(&s);
	(void)sim_producer(&s, "old");
	sim_advance(&s, SIM_EXPIRY_MS - 3600000);
	(void)sim_producer(&s, "new");
	sim_advance(&s, 2 * 3600000);
	cr_assert_str_eq(sim_txn_state(&s, "old"), "none");
	cr_assert_str_eq(sim_txn_state(&s, "new"), "Empty");
	cr_assert_eq(sim_counter(&s, "ids_expired"), 1);
	sim_reload(&s);
	cr_assert_str_eq(sim_txn_state(&s, "old"), "none", "there is a tombstone");
	cr_assert_str_eq(sim_txn_state(&s, "new"), "Empty");
	sim_fini(&s);
}

Test(txn_scan, keeps_an_id_whose_tombstone_was_refused)
{
	struct sim s;
	uint64_t h;

	sim_init(&s);
	(void)sim_producer(&s, "tx");
	s.is_holding = true;
	sim_advance(&s, SIM_EXPIRY_MS + 3600000);
	cr_assert_eq(s.queue_count, 1);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "none", "it is as good as gone");
	h = sim_init_send(&s, 4, "tx", (struct sim_producer){-1, -1}, 1000);
	cr_assert_eq(sim_inited(&s, h, NULL), SL_KERR_CONCURRENT_TRANSACTIONS);
	sim_flush(&s, SL_KERR_KAFKA_STORAGE_ERROR);
	s.is_holding = false;
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "Empty");
	cr_assert_eq(sim_producer(&s, "tx").epoch, 1);
	sim_fini(&s);
}

Test(txn_scan, lets_many_ids_expire_in_pieces)
{
	struct sim s;
	char id[16];

	sim_init(&s);
	for (int i = 0; i < 2500; i++) {
		snprintf(id, sizeof(id), "tx%d", i);
		(void)sim_producer(&s, id);
	}
	s.is_holding = true;
	/* The check runs each hour, and a week after the last use is one. */
	sim_advance(&s, SIM_EXPIRY_MS - 1);
	cr_assert_eq(s.queue_count, 0);
	sim_advance(&s, 1);
	cr_assert_eq(s.queue_count, 1000);
	sim_advance(&s, 99);
	cr_assert_eq(s.queue_count, 1000);
	sim_advance(&s, 1);
	cr_assert_eq(s.queue_count, 2000);
	sim_advance(&s, 100);
	cr_assert_eq(s.queue_count, 2500);
	sim_flush(&s, SL_KERR_NONE);
	cr_assert_eq(sim_counter(&s, "ids_expired"), 2500);
	sim_fini(&s);
}

Test(txn_scan, is_not_confused_by_a_clock_that_is_set_back)
{
	struct sim s;
	struct sim_producer p;

	sim_init(&s);
	p = sim_producer(&s, "tx");
	cr_assert_eq(sim_add(&s, "tx", p, 0, 1), 0);
	s.wall_shift_ms = -3600000;
	sim_advance(&s, SIM_TIMEOUT_MS + 2 * SIM_ABORT_MS);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "Ongoing");
	cr_assert_eq(sim_ended(&s, sim_end_send(&s, 3, "tx", p, true), NULL), 0);
	s.wall_shift_ms = 3600000;
	cr_assert_eq(sim_add(&s, "tx", p, 0, 1), 0);
	sim_fini(&s);
}
