/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>

#include "sim.h"
#include "state.h"

Test(txn_table, moves_only_as_kafkas_table_of_previous_states_says)
{
	/* By state: those that may come before it. */
	static const char *const before[TXN_STATE_NR] = {
		[TXN_EMPTY] = "Empty CompleteCommit CompleteAbort",
		[TXN_ONGOING] = "Ongoing Empty CompleteCommit CompleteAbort",
		[TXN_PREPARE_COMMIT] = "Ongoing",
		[TXN_PREPARE_ABORT] =
			"Ongoing PrepareEpochFence Empty CompleteCommit CompleteAbort",
		[TXN_COMPLETE_COMMIT] = "PrepareCommit",
		[TXN_COMPLETE_ABORT] = "PrepareAbort",
		[TXN_DEAD] = "Empty CompleteAbort CompleteCommit",
		[TXN_PREPARE_EPOCH_FENCE] = "Ongoing",
	};

	for (enum txn_state to = 0; to < TXN_STATE_NR; to++) {
		for (enum txn_state from = 0; from < TXN_STATE_NR; from++) {
			const char *name = table_state_name(from);
			const char *at = strstr(before[to], name);
			size_t len = strlen(name);
			bool is_listed = at && (at[len] == ' ' || at[len] == '\0') &&
			                 (at == before[to] || at[-1] == ' ');

			cr_assert_eq(table_can_move(from, to), is_listed, "%s to %s", name,
			             table_state_name(to));
		}
	}
}

Test(txn_table, has_kafkas_codes)
{
	cr_assert(TXN_EMPTY == 0 && TXN_ONGOING == 1 && TXN_PREPARE_COMMIT == 2);
	cr_assert(TXN_PREPARE_ABORT == 3 && TXN_COMPLETE_COMMIT == 4 && TXN_COMPLETE_ABORT == 5);
	cr_assert(TXN_DEAD == 6 && TXN_PREPARE_EPOCH_FENCE == 7);
	cr_assert(txn_is_state(sl_str_from("PrepareEpochFence")));
	cr_assert(!txn_is_state(sl_str_from("ongoing")));
}

Test(txn_table, is_not_made_of_options_that_make_no_sense)
{
	struct txn_coord *c = NULL;
	struct txn_opts opts;
	struct sim s;

	sim_init(&s);
	opts = s.opts;
	opts.partitions_count = 0;
	cr_assert_eq(txn_create(&c, &opts), -EINVAL);
	opts = s.opts;
	opts.has_partition = NULL;
	cr_assert_eq(txn_create(&c, &opts), -EINVAL);
	opts = s.opts;
	opts.abort_check_ms = 0;
	cr_assert_eq(txn_create(&c, &opts), -EINVAL);
	cr_assert_null(c);
	sim_fini(&s);
}

Test(txn_table, lists_what_is_visible)
{
	struct sim_producer p;
	struct txn_view v;
	uint32_t pos = 0;
	int n = 0;
	struct sim s;

	sim_init(&s);
	p = sim_producer(&s, "a");
	(void)sim_producer(&s, "b");
	cr_assert_eq(sim_add(&s, "a", p, 0, 0), 0);
	s.is_holding = true;
	(void)sim_init_send(&s, 4, "not yet", (struct sim_producer){-1, -1}, 1000);
	while (txn_next(s.c, &pos, &v)) {
		cr_assert_str_eq(v.state,
		                 sl_str_eq_c(v.transactional_id, "a") ? "Ongoing" : "Empty");
		cr_assert_eq(v.coordinator_epoch, SIM_EPOCH);
		n++;
	}
	cr_assert_eq(n, 2);
	sim_fini(&s);
}
