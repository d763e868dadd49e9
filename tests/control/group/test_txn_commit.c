/* SPDX-License-Identifier: Apache-2.0 */
/* Offsets inside transactions: TxnOffsetCommit, markers, and what is pending between them. */
#include <criterion/criterion.h>

#include "beat.h"

#define UNSTABLE (-1000 - SL_KERR_UNSTABLE_OFFSET_COMMIT)

static int16_t commit(struct sim *s, int64_t producer_id, int32_t partition, int64_t offset)
{
	struct sim_commit k = {
		.group = "g", .generation = -1, .partition = partition, .offset = offset};

	return sim_txn_committed(s, sim_txn_commit(s, 5, producer_id, k));
}

static void plain(struct sim *s, int32_t partition, int64_t offset)
{
	struct sim_commit k = {
		.group = "g", .generation = -1, .partition = partition, .offset = offset};

	cr_assert_eq(sim_committed(s, sim_commit(s, 7, k)), 0);
}

static void end(struct sim *s, int64_t producer_id, bool is_commit)
{
	uint64_t handle = sim_end_txn(s, "g", producer_id, is_commit);

	cr_assert_eq(s->marked[handle], 0);
}

Test(group_txn_commit, counts_with_the_marker)
{
	struct sim s;

	sim_init(&s);
	cr_assert_eq(commit(&s, 7, 0, 42), 0);
	cr_assert_eq(sim_offset(&s, "g", 0, 0), -1);
	cr_assert_eq(sim_stable_offset(&s, "g", 0, 0), UNSTABLE);
	cr_assert_eq(sim_stable_offset(&s, "g", 0, 1), -1, "only what the transaction commits");
	end(&s, 7, true);
	cr_assert_eq(sim_offset(&s, "g", 0, 0), 42);
	cr_assert_eq(sim_stable_offset(&s, "g", 0, 0), 42);
	cr_assert_eq(sim_counter(&s, "txn_offsets_committed"), 1);
	sim_fini(&s);
}

Test(group_txn_commit, never_happened_when_the_transaction_aborts)
{
	struct sim s;

	sim_init(&s);
	plain(&s, 0, 3);
	cr_assert_eq(commit(&s, 7, 0, 42), 0);
	cr_assert_eq(sim_offset(&s, "g", 0, 0), 3);
	end(&s, 7, false);
	cr_assert_eq(sim_stable_offset(&s, "g", 0, 0), 3);
	cr_assert_eq(sim_counter(&s, "txn_offsets_aborted"), 1);
	/* A marker that comes twice, or for nothing, is harmless. */
	end(&s, 7, true);
	cr_assert_eq(sim_stable_offset(&s, "g", 0, 0), 3);
	sim_fini(&s);
}

Test(group_txn_commit, keeps_the_producers_apart)
{
	struct sim s;

	sim_init(&s);
	cr_assert_eq(commit(&s, 7, 0, 10), 0);
	cr_assert_eq(commit(&s, 8, 0, 20), 0);
	cr_assert_eq(commit(&s, 8, 1, 21), 0);
	end(&s, 8, true);
	cr_assert_eq(sim_offset(&s, "g", 0, 0), 20);
	cr_assert_eq(sim_offset(&s, "g", 0, 1), 21);
	cr_assert_eq(sim_stable_offset(&s, "g", 0, 0), UNSTABLE);
	/* The earlier record, although its marker is the later one. */
	end(&s, 7, true);
	cr_assert_eq(sim_stable_offset(&s, "g", 0, 0), 20);
	cr_assert_eq(sim_counter(&s, "txn_offsets_superseded"), 1);
	sim_fini(&s);
}

Test(group_txn_commit, does_not_undo_a_later_plain_commit)
{
	struct sim s;

	sim_init(&s);
	cr_assert_eq(commit(&s, 7, 0, 10), 0);
	plain(&s, 0, 99);
	end(&s, 7, true);
	cr_assert_eq(sim_offset(&s, "g", 0, 0), 99);
	sim_reload(&s);
	cr_assert_eq(sim_offset(&s, "g", 0, 0), 99);
	sim_fini(&s);
}

Test(group_txn_commit, takes_the_last_of_two_commits_of_a_transaction)
{
	struct sim s;

	sim_init(&s);
	cr_assert_eq(commit(&s, 7, 0, 10), 0);
	cr_assert_eq(commit(&s, 7, 0, 11), 0);
	end(&s, 7, true);
	cr_assert_eq(sim_offset(&s, "g", 0, 0), 11);
	sim_fini(&s);
}

Test(group_txn_commit, is_as_it_was_after_a_restart)
{
	struct sim s;

	sim_init(&s);
	plain(&s, 2, 5);
	cr_assert_eq(commit(&s, 7, 0, 10), 0);
	end(&s, 7, true);
	cr_assert_eq(commit(&s, 8, 1, 20), 0);
	end(&s, 8, false);
	cr_assert_eq(commit(&s, 9, 2, 30), 0);
	sim_reload(&s);
	cr_assert_eq(sim_offset(&s, "g", 0, 0), 10);
	cr_assert_eq(sim_offset(&s, "g", 0, 1), -1);
	cr_assert_eq(sim_offset(&s, "g", 0, 2), 5);
	cr_assert_eq(sim_stable_offset(&s, "g", 0, 2), UNSTABLE);
	cr_assert_eq(sim_counter(&s, "load_transactional"), 3);
	cr_assert_eq(sim_counter(&s, "load_markers"), 2);
	end(&s, 9, true);
	cr_assert_eq(sim_stable_offset(&s, "g", 0, 2), 30);
	sim_fini(&s);
}

Test(group_txn_commit, is_applied_in_the_order_of_the_log_whatever_order_the_outcomes_have)
{
	struct sim_commit k = {.group = "g", .generation = -1, .offset = 10};
	struct sim s;
	uint64_t mark;
	uint64_t h;

	sim_init(&s);
	s.is_holding = true;
	h = sim_txn_commit(&s, 5, 7, k);
	mark = sim_end_txn(&s, "g", 7, true);
	sim_flush_one(&s, 1, SL_KERR_NONE);
	cr_assert_eq(s.marked[mark], SIM_NOT_MARKED, "the offsets before it are not on the log");
	sim_flush_one(&s, 0, SL_KERR_NONE);
	cr_assert_eq(s.marked[mark], 0);
	cr_assert_eq(sim_txn_committed(&s, h), 0);
	s.is_holding = false;
	cr_assert_eq(sim_stable_offset(&s, "g", 0, 0), 10);
	sim_fini(&s);
}

Test(group_txn_commit, is_undone_when_the_log_refuses)
{
	struct sim_commit k = {.group = "g", .generation = -1, .offset = 10};
	struct sim s;
	uint64_t mark;
	uint64_t h;

	sim_init(&s);
	s.is_holding = true;
	h = sim_txn_commit(&s, 5, 7, k);
	sim_flush(&s, SL_KERR_NOT_ENOUGH_REPLICAS);
	cr_assert_eq(sim_txn_committed(&s, h), SL_KERR_COORDINATOR_NOT_AVAILABLE);
	mark = sim_end_txn(&s, "g", 7, true);
	sim_flush(&s, SL_KERR_KAFKA_STORAGE_ERROR);
	cr_assert_eq(s.marked[mark], SL_KERR_KAFKA_STORAGE_ERROR);
	cr_assert_eq(sim_counter(&s, "txn_markers_refused"), 1);
	s.is_holding = false;
	cr_assert_eq(sim_stable_offset(&s, "g", 0, 0), -1);
	sim_fini(&s);
}

Test(group_txn_commit, tells_the_transaction_coordinator_when_it_is_not_ready)
{
	struct sim s;
	uint64_t mark;
	int32_t partition;

	sim_init(&s);
	partition = group_partition(s.c, sl_str_from("g"));
	sim_partition(&s, GROUP_EV_LOAD_BEGIN, partition);
	mark = sim_end_txn(&s, "g", 7, true);
	cr_assert_eq(s.marked[mark], SL_KERR_NOT_LEADER_OR_FOLLOWER);
	sim_partition(&s, GROUP_EV_LOAD_END, partition);
	s.is_holding = true;
	mark = sim_end_txn(&s, "g", 7, true);
	sim_partition(&s, GROUP_EV_UNLOAD, partition);
	cr_assert_eq(s.marked[mark], SL_KERR_NOT_COORDINATOR);
	sim_fini(&s);
}

Test(group_txn_commit, checks_members_and_generations)
{
	struct sim_commit k = {.group = "g", .generation = 1, .member = "nobody", .offset = 1};
	struct sim_pair pair;
	struct sim s;

	sim_init(&s);
	cr_assert_eq(sim_txn_committed(&s, sim_txn_commit(&s, 5, 7, k)),
	             SL_KERR_ILLEGAL_GENERATION);
	sim_make_single(&s, "g", &pair);
	cr_assert_eq(sim_txn_committed(&s, sim_txn_commit(&s, 5, 7, k)), SL_KERR_UNKNOWN_MEMBER_ID);
	k.member = pair.a;
	k.generation = pair.generation + 1;
	cr_assert_eq(sim_txn_committed(&s, sim_txn_commit(&s, 5, 7, k)),
	             SL_KERR_ILLEGAL_GENERATION);
	k.generation = pair.generation;
	cr_assert_eq(sim_txn_committed(&s, sim_txn_commit(&s, 5, 7, k)), 0);
	/* Older versions name no member. */
	k.member = NULL;
	k.generation = -1;
	cr_assert_eq(sim_txn_committed(&s, sim_txn_commit(&s, 2, 7, k)), 0);
	k.group = "";
	cr_assert_eq(sim_txn_committed(&s, sim_txn_commit(&s, 5, 7, k)), SL_KERR_INVALID_GROUP_ID);
	sim_fini(&s);
}

Test(group_txn_commit, refuses_what_a_plain_commit_would_refuse)
{
	struct sim_commit k = {.group = "g", .generation = -1, .offset = 1, .partition = 99};
	char text[80];
	struct sim s;

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	sim_init(&s);
	cr_assert_eq(sim_txn_committed(&s, sim_txn_commit(&s, 5, 7, k)),
	             SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	k.partition = 0;
	k.metadata = text;
	cr_assert_eq(sim_txn_committed(&s, sim_txn_commit(&s, 5, 7, k)),
	             SL_KERR_OFFSET_METADATA_TOO_LARGE);
	sim_fini(&s);
}

Test(group_txn_commit, tells_older_producers_of_loading_in_words_they_survive)
{
	struct sim_commit k = {.group = "g", .generation = -1, .offset = 1};
	struct sim s;

	sim_init(&s);
	sim_partition(&s, GROUP_EV_LOAD_BEGIN, group_partition(s.c, sl_str_from("g")));
	cr_assert_eq(sim_txn_committed(&s, sim_txn_commit(&s, 1, 7, k)),
	             SL_KERR_COORDINATOR_NOT_AVAILABLE);
	cr_assert_eq(sim_txn_committed(&s, sim_txn_commit(&s, 2, 7, k)),
	             SL_KERR_COORDINATOR_LOAD_IN_PROGRESS);
	sim_fini(&s);
}

Test(group_txn_commit, keeps_a_group_from_expiring)
{
	struct sim s;

	sim_init(&s);
	plain(&s, 0, 3);
	cr_assert_eq(commit(&s, 7, 0, 42), 0);
	sim_advance(&s, SIM_RETENTION_MS + 2 * SIM_CHECK_MS);
	cr_assert_eq(sim_offset(&s, "g", 0, 0), 3);
	end(&s, 7, false);
	sim_advance(&s, 2 * SIM_CHECK_MS);
	cr_assert_eq(sim_offset(&s, "g", 0, 0), -1);
	cr_assert_eq(sim_counter(&s, "groups_expired"), 1);
	sim_fini(&s);
}

Test(group_txn_commit, goes_with_its_group_when_that_is_deleted)
{
	struct sim s;

	sim_init(&s);
	cr_assert_eq(commit(&s, 7, 0, 42), 0);
	cr_assert_eq(sim_delete_group(&s, "g"), 0);
	cr_assert_eq(sim_stable_offset(&s, "g", 0, 0), -1);
	end(&s, 7, true);
	cr_assert_eq(sim_offset(&s, "g", 0, 0), -1);
	sim_reload(&s);
	cr_assert_eq(sim_offset(&s, "g", 0, 0), -1);
	sim_fini(&s);
}

Test(group_txn_commit, goes_with_its_topic)
{
	struct group_event ev = {.type = GROUP_EV_TOPIC_DELETED, .topic = {"t0", 2}};
	struct sim s;

	sim_init(&s);
	plain(&s, 0, 3);
	cr_assert_eq(commit(&s, 7, 0, 42), 0);
	sim_step(&s, &ev);
	end(&s, 7, true);
	cr_assert_eq(sim_stable_offset(&s, "g", 0, 0), -1);
	sim_fini(&s);
}

Test(group_txn_commit, needs_the_members_epoch_in_a_group_of_the_consumer_protocol)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct sim_commit k = {.group = "g", .member = "a", .offset = 42};
	struct sim s;

	sim_init(&s);
	cr_assert_eq(beat(&s, &a), 0);
	k.generation = a.epoch;
	cr_assert_eq(sim_txn_committed(&s, sim_txn_commit(&s, 3, 7, k)), 0);
	cr_assert_eq(sim_txn_committed(&s, sim_txn_commit(&s, 5, 7, k)), 0);
	k.generation = a.epoch + 1;
	cr_assert_eq(sim_txn_committed(&s, sim_txn_commit(&s, 5, 7, k)), SL_KERR_ILLEGAL_GENERATION,
	             "a producer knows no STALE_MEMBER_EPOCH");
	k.member = "b";
	cr_assert_eq(sim_txn_committed(&s, sim_txn_commit(&s, 5, 7, k)), SL_KERR_UNKNOWN_MEMBER_ID);
	k.generation = -1;
	cr_assert_eq(sim_txn_committed(&s, sim_txn_commit(&s, 5, 7, k)), SL_KERR_UNKNOWN_MEMBER_ID,
	             "the group has members");
	/* As for classic groups: who names no member is believed. */
	k.member = NULL;
	cr_assert_eq(sim_txn_committed(&s, sim_txn_commit(&s, 5, 8, k)), 0);
	end(&s, 8, false);
	end(&s, 7, true);
	cr_assert_eq(sim_stable_offset(&s, "g", 0, 0), 42);
	sim_fini(&s);
}
