/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "sim.h"

static const struct sim_producer nobody = {-1, -1};

static int16_t init_as(struct sim *s, struct sim_producer from, struct sim_producer *out)
{
	return sim_inited(s, sim_init_send(s, 4, "tx", from, SIM_TIMEOUT_MS), out);
}

Test(txn_init, gives_a_producer_id_and_a_higher_epoch_each_time)
{
	struct sim s;
	struct sim_producer a;
	struct sim_producer b;

	sim_init(&s);
	a = sim_producer(&s, "tx");
	cr_assert(a.id == 1000 && a.epoch == 0);
	b = sim_producer(&s, "tx");
	cr_assert(b.id == a.id && b.epoch == 1);
	cr_assert_eq(sim_producer(&s, "other").id, 1001);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "Empty");
	sim_fini(&s);
}

Test(txn_init, goes_on_as_the_producer_that_it_says_it_is)
{
	struct sim s;
	struct sim_producer a;
	struct sim_producer b;
	struct sim_producer c;

	sim_init(&s);
	a = sim_producer(&s, "tx");
	cr_assert_eq(init_as(&s, a, &b), 0);
	cr_assert(b.id == a.id && b.epoch == 1);
	/* Its answer was lost: the same again. */
	cr_assert_eq(init_as(&s, a, &c), 0);
	cr_assert_eq(c.epoch, 1);
	/* Another one has been here. */
	(void)sim_producer(&s, "tx");
	cr_assert_eq(init_as(&s, b, NULL), SL_KERR_PRODUCER_FENCED);
	cr_assert_eq(init_as(&s, (struct sim_producer){77, 0}, NULL), SL_KERR_PRODUCER_FENCED);
	cr_assert_eq(sim_counter(&s, "refused_fenced"), 2);
	sim_fini(&s);
}

Test(txn_init, tells_older_clients_of_a_fence_in_their_words)
{
	struct sim s;
	struct sim_producer p = {77, 3};

	sim_init(&s);
	(void)sim_producer(&s, "tx");
	cr_assert_eq(sim_inited(&s, sim_init_send(&s, 3, "tx", p, 1000), NULL),
	             SL_KERR_INVALID_PRODUCER_EPOCH);
	sim_fini(&s);
}

Test(txn_init, fences_a_producer_of_another_id_whose_epoch_fits)
{
	struct sim s;
	struct sim_producer a;
	struct sim_producer b;

	sim_init(&s);
	a = sim_producer(&s, "tx");
	b = (struct sim_producer){a.id + 1, a.epoch};
	cr_assert_eq(init_as(&s, b, NULL), SL_KERR_PRODUCER_FENCED);
	cr_assert_eq(init_as(&s, a, &b), 0);
	cr_assert(b.id == a.id && b.epoch == a.epoch + 1);
	sim_fini(&s);
}

Test(txn_init, refuses_what_makes_no_sense)
{
	struct sim s;
	struct sim_producer half = {5, -1};
	char longer[1100];

	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	sim_init(&s);
	cr_assert_eq(sim_inited(&s, sim_init_send(&s, 4, "", nobody, 1000), NULL),
	             SL_KERR_INVALID_REQUEST);
	cr_assert_eq(sim_inited(&s, sim_init_send(&s, 4, "tx", half, 1000), NULL),
	             SL_KERR_INVALID_REQUEST);
	cr_assert_eq(sim_inited(&s, sim_init_send(&s, 4, "tx", nobody, 0), NULL),
	             SL_KERR_INVALID_TRANSACTION_TIMEOUT);
	cr_assert_eq(sim_inited(&s, sim_init_send(&s, 4, "tx", nobody, SIM_MAX_MS + 1), NULL),
	             SL_KERR_INVALID_TRANSACTION_TIMEOUT);
	cr_assert_eq(sim_inited(&s, sim_init_send(&s, 4, longer, nobody, 1000), NULL),
	             SL_KERR_INVALID_REQUEST);
	cr_assert_eq(sim_counter(&s, "refused_timeout"), 2);
	cr_assert_eq(sim_counter(&s, "refused_id"), 1);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "none");
	sim_fini(&s);
}

Test(txn_init, aborts_the_transaction_of_the_producer_before)
{
	struct sim s;
	struct sim_producer a;
	struct sim_producer b;
	uint64_t h;

	sim_init(&s);
	a = sim_producer(&s, "tx");
	cr_assert_eq(sim_add(&s, "tx", a, 0, 3), 0);
	s.is_holding_marks = true;
	h = sim_init_send(&s, 4, "tx", nobody, SIM_TIMEOUT_MS);
	cr_assert_eq(sim_inited(&s, h, NULL), SL_KERR_CONCURRENT_TRANSACTIONS);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "PrepareAbort");
	cr_assert_eq(s.marks_count, 1);
	cr_assert(!s.marks[0].marker.is_commit);
	cr_assert_eq(s.marks[0].marker.producer_epoch, a.epoch + 1);
	/* As long as the marker is not written. */
	h = sim_init_send(&s, 4, "tx", nobody, SIM_TIMEOUT_MS);
	cr_assert_eq(sim_inited(&s, h, NULL), SL_KERR_CONCURRENT_TRANSACTIONS);
	sim_mark(&s, SL_KERR_NONE);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "CompleteAbort");
	cr_assert_eq(init_as(&s, nobody, &b), 0);
	cr_assert(b.id == a.id && b.epoch == a.epoch + 2);
	/* The one before is fenced. */
	cr_assert_eq(sim_ended(&s, sim_end_send(&s, 5, "tx", a, true), NULL),
	             SL_KERR_PRODUCER_FENCED);
	cr_assert_eq(sim_counter(&s, "producers_fenced"), 1);
	sim_fini(&s);
}

Test(txn_init, takes_another_producer_id_when_the_epochs_are_used_up)
{
	struct sim s;
	struct sim_producer a;
	struct sim_producer b;
	struct sim_producer c;

	sim_init(&s);
	a = sim_producer(&s, "tx");
	while (a.epoch < INT16_MAX - 1) {
		int16_t before = a.epoch;

		a = sim_producer(&s, "tx");
		cr_assert_eq(a.epoch, before + 1);
	}
	cr_assert_eq(init_as(&s, a, &b), 0);
	cr_assert(b.id != a.id && b.epoch == 0);
	cr_assert_eq(sim_counter(&s, "producers_rotated"), 1);
	/* The answer was lost. */
	cr_assert_eq(init_as(&s, a, &c), 0);
	cr_assert(c.id == b.id && c.epoch == 0);
	sim_fini(&s);
}

Test(txn_init, waits_for_producer_ids)
{
	struct sim s;
	struct sim_producer a;
	uint64_t h1;
	uint64_t h2;

	sim_init(&s);
	s.is_holding_ids = true;
	h1 = sim_init_send(&s, 4, "one", nobody, 1000);
	h2 = sim_init_send(&s, 4, "two", nobody, 1000);
	cr_assert_eq(sim_state(&s, h1), SIM_WAITING);
	sim_give_ids(&s, SL_KERR_NONE);
	cr_assert_eq(sim_inited(&s, h1, &a), 0);
	cr_assert_eq(a.id, 1000);
	cr_assert_eq(sim_inited(&s, h2, &a), 0);
	cr_assert_eq(a.id, 1001);
	cr_assert_eq(sim_counter(&s, "blocks"), 1);
	sim_fini(&s);
}

Test(txn_init, says_so_when_there_are_no_producer_ids)
{
	struct sim s;
	uint64_t h1;
	uint64_t h2;

	sim_init(&s);
	s.is_holding_ids = true;
	h1 = sim_init_send(&s, 4, "one", nobody, 1000);
	h2 = sim_init_send(&s, 4, "two", nobody, 1000);
	sim_cancel(&s, h2);
	sim_give_ids(&s, SL_KERR_KAFKA_STORAGE_ERROR);
	cr_assert_eq(sim_inited(&s, h1, NULL), SL_KERR_COORDINATOR_NOT_AVAILABLE);
	cr_assert_eq(sim_counter(&s, "blocks_failed"), 1);
	cr_assert_eq(sim_counter(&s, "answers_dropped"), 1);
	sim_fini(&s);
}

Test(txn_init, forgets_an_id_whose_first_record_was_refused)
{
	struct sim s;
	uint64_t h;

	sim_init(&s);
	s.is_holding = true;
	h = sim_init_send(&s, 4, "tx", nobody, 1000);
	sim_flush(&s, SL_KERR_KAFKA_STORAGE_ERROR);
	cr_assert_eq(sim_inited(&s, h, NULL), SL_KERR_NOT_COORDINATOR);
	cr_assert_str_eq(sim_txn_state(&s, "tx"), "none");
	s.is_holding = false;
	cr_assert_eq(sim_producer(&s, "tx").epoch, 0);
	sim_fini(&s);
}

Test(txn_init, says_that_another_one_is_under_way)
{
	struct sim s;
	uint64_t h1;
	uint64_t h2;

	sim_init(&s);
	s.is_holding = true;
	h1 = sim_init_send(&s, 4, "tx", nobody, 1000);
	h2 = sim_init_send(&s, 4, "tx", nobody, 1000);
	cr_assert_eq(sim_inited(&s, h2, NULL), SL_KERR_CONCURRENT_TRANSACTIONS);
	sim_flush(&s, SL_KERR_NONE);
	cr_assert_eq(sim_inited(&s, h1, NULL), 0);
	cr_assert_eq(sim_counter(&s, "refused_concurrent"), 1);
	sim_fini(&s);
}

Test(txn_init, says_where_it_is_not_served)
{
	struct sim s;

	sim_init_opts(&s, NULL);
	cr_assert_eq(sim_inited(&s, sim_init_send(&s, 4, "tx", nobody, 1000), NULL),
	             SL_KERR_NOT_COORDINATOR);
	for (int32_t i = 0; i < SIM_PARTITIONS; i++)
		sim_partition(&s, TXN_EV_LOAD_BEGIN, i);
	cr_assert_eq(sim_inited(&s, sim_init_send(&s, 4, "tx", nobody, 1000), NULL),
	             SL_KERR_COORDINATOR_LOAD_IN_PROGRESS);
	cr_assert(txn_is_loading(s.c));
	cr_assert_eq(sim_counter(&s, "refused_not_loaded"), 2);
	sim_fini(&s);
}
