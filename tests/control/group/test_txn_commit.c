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

/* ---- Groups of the consumer protocol ---- */

static int16_t commit_as(struct sim *s, const char *member, const char *instance, int32_t epoch)
{
	struct sim_commit k = {.group = "g",
	                       .member = member,
	                       .instance = instance,
	                       .generation = epoch,
	                       .offset = 42};

	return sim_txn_committed(s, sim_txn_commit(s, 5, 7, k));
}

static void leave(struct sim *s, struct beat_member *m)
{
	m->epoch = -1;
	cr_assert_eq(beat_answer(s, beat_send_short(s, m))->error_code, 0);
}

/* What a member is told that asks for stable offsets of t0 and its partition 0. */
static int16_t fetch_as(struct sim *s, int16_t version, const char *member, int32_t epoch)
{
	const struct sl_offset_fetch_resp *r;
	struct sl_offset_fetch_req_group group;
	struct sl_offset_fetch_req_group_topic topic;
	struct sl_offset_fetch_req req;
	int32_t partition = 0;

	sl_offset_fetch_req_init(&req);
	sl_offset_fetch_req_group_init(&group);
	sl_offset_fetch_req_group_topic_init(&topic);
	topic.name = sl_str_from("t0");
	topic.topic_id = sim_topic_id(0);
	topic.partition_indexes = &partition;
	topic.partition_indexes_count = 1;
	group.group_id = sl_str_from("g");
	group.member_id = sl_str_from(member);
	group.member_epoch = epoch;
	group.topics = &topic;
	group.topics_count = 1;
	req.groups = &group;
	req.groups_count = 1;
	req.require_stable = true;
	r = sim_answer(s, sim_send(s, SL_API_OFFSET_FETCH, version, &req));
	if (r->groups[0].error_code != 0)
		return r->groups[0].error_code;
	return r->groups[0].topics[0].partitions[0].error_code;
}

Test(group_txn_commit, checks_members_and_epochs_of_consumer_groups)
{
	struct beat_member a = {.id = "a", .topics = "t0", .instance = "i"};
	struct beat_member b = {.id = "b", .topics = "t0", .instance = "i"};
	struct sim s;

	sim_init(&s);
	cr_assert_eq(beat(&s, &a), 0);
	cr_assert_eq(commit_as(&s, "a", "i", a.epoch), 0);
	cr_assert_eq(commit_as(&s, "a", NULL, a.epoch), 0);
	/* STALE_MEMBER_EPOCH is no word of this API. */
	cr_assert_eq(commit_as(&s, "a", "i", a.epoch + 1), SL_KERR_ILLEGAL_GENERATION);
	cr_assert_eq(commit_as(&s, "a", "i", -1), SL_KERR_ILLEGAL_GENERATION);
	cr_assert_eq(sim_counter(&s, "consumer_stale_epochs"), 2);
	cr_assert_eq(commit_as(&s, "b", NULL, a.epoch), SL_KERR_UNKNOWN_MEMBER_ID);
	/* Nobody in particular, or somebody who is not there. */
	cr_assert_eq(commit_as(&s, NULL, NULL, -1), 0);
	cr_assert_eq(commit_as(&s, NULL, NULL, -2), SL_KERR_UNKNOWN_MEMBER_ID);
	cr_assert_eq(commit_as(&s, NULL, "i", -1), SL_KERR_UNKNOWN_MEMBER_ID);
	/* Another one takes its place. */
	a.epoch = -2;
	(void)beat_send_short(&s, &a);
	cr_assert_eq(beat(&s, &b), 0);
	cr_assert_eq(commit_as(&s, "a", "i", b.epoch), SL_KERR_UNKNOWN_MEMBER_ID);
	cr_assert_eq(commit_as(&s, "b", "i", b.epoch), 0);
	/* Without members anybody may. */
	leave(&s, &b);
	cr_assert_eq(commit_as(&s, "b", NULL, -5), 0);
	cr_assert_eq(commit_as(&s, "b", NULL, 1), SL_KERR_UNKNOWN_MEMBER_ID);
	sim_fini(&s);
}

Test(group_txn_commit, checks_classic_members_of_consumer_groups)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	const struct sl_join_group_resp *r;
	int32_t generation;
	char id[128];
	struct sim s;

	sim_init(&s);
	cr_assert_eq(beat(&s, &a), 0);
	r = sim_joined(&s, sim_join_twice(&s, 5, (struct sim_join){.group = "g"}, id));
	cr_assert_eq(r->error_code, 0);
	generation = r->generation_id;
	cr_assert_eq(commit_as(&s, id, NULL, generation), 0);
	cr_assert_eq(commit_as(&s, id, NULL, generation + 1), SL_KERR_ILLEGAL_GENERATION);
	cr_assert_eq(sim_counter(&s, "consumer_stale_epochs"), 0);
	sim_fini(&s);
}

Test(group_txn_commit, stays_pending_in_a_consumer_group_after_a_restart)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct sim s;

	sim_init(&s);
	cr_assert_eq(beat(&s, &a), 0);
	cr_assert_eq(commit_as(&s, "a", NULL, a.epoch), 0);
	sim_reload(&s);
	cr_assert_eq(beat_describe(&s, "g")->members_count, 1);
	cr_assert_eq(sim_stable_offset(&s, "g", 0, 0), UNSTABLE);
	end(&s, 7, true);
	cr_assert_eq(sim_stable_offset(&s, "g", 0, 0), 42);
	sim_reload(&s);
	cr_assert_eq(sim_stable_offset(&s, "g", 0, 0), 42);
	sim_fini(&s);
}

Test(group_txn_commit, stays_pending_when_its_group_changes_the_protocol)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct sim_pair pair;
	struct sim s;

	sim_init(&s);
	sim_make_single(&s, "g", &pair);
	cr_assert_eq(commit_as(&s, pair.a, NULL, pair.generation), 0);
	/* To the consumer protocol with its member, and back. */
	cr_assert_eq(beat(&s, &a), 0);
	cr_assert_eq(sim_counter(&s, "consumer_upgrades"), 1);
	cr_assert_eq(sim_stable_offset(&s, "g", 0, 0), UNSTABLE);
	sim_reload(&s);
	cr_assert_eq(sim_stable_offset(&s, "g", 0, 0), UNSTABLE);
	leave(&s, &a);
	cr_assert_eq(sim_counter(&s, "consumer_downgrades"), 1);
	cr_assert_eq(sim_stable_offset(&s, "g", 0, 0), UNSTABLE);
	sim_reload(&s);
	cr_assert_eq(sim_stable_offset(&s, "g", 0, 0), UNSTABLE);
	end(&s, 7, true);
	cr_assert_eq(sim_stable_offset(&s, "g", 0, 0), 42);
	sim_fini(&s);
}

Test(group_txn_commit, stays_pending_when_an_empty_group_changes_the_protocol)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct sim_pair pair;
	struct sim s;

	sim_init(&s);
	cr_assert_eq(beat(&s, &a), 0);
	cr_assert_eq(commit_as(&s, "a", NULL, a.epoch), 0);
	leave(&s, &a);
	sim_make_single(&s, "g", &pair);
	sim_reload(&s);
	cr_assert_str_eq(sim_group_state(&s, "g"), "Stable");
	cr_assert_eq(sim_stable_offset(&s, "g", 0, 0), UNSTABLE);
	end(&s, 7, true);
	cr_assert_eq(sim_stable_offset(&s, "g", 0, 0), 42);
	sim_fini(&s);
}

Test(group_txn_commit, keeps_a_consumer_group_from_expiring)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct sim s;

	sim_init(&s);
	cr_assert_eq(beat(&s, &a), 0);
	cr_assert_eq(commit_as(&s, "a", NULL, a.epoch), 0);
	leave(&s, &a);
	sim_advance(&s, SIM_RETENTION_MS + 2 * SIM_CHECK_MS);
	cr_assert_eq(sim_counter(&s, "groups_expired"), 0);
	cr_assert_eq(sim_stable_offset(&s, "g", 0, 0), UNSTABLE);
	end(&s, 7, false);
	sim_advance(&s, 2 * SIM_CHECK_MS);
	cr_assert_eq(sim_counter(&s, "groups_expired"), 1);
	sim_reload(&s);
	cr_assert_eq(beat_describe(&s, "g")->error_code, SL_KERR_GROUP_ID_NOT_FOUND);
	sim_fini(&s);
}

Test(group_txn_commit, goes_with_its_consumer_group_when_that_is_deleted)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct sim s;

	sim_init(&s);
	cr_assert_eq(beat(&s, &a), 0);
	cr_assert_eq(commit_as(&s, "a", NULL, a.epoch), 0);
	cr_assert_eq(sim_delete_group(&s, "g"), SL_KERR_NON_EMPTY_GROUP);
	leave(&s, &a);
	cr_assert_eq(sim_delete_group(&s, "g"), 0);
	end(&s, 7, true);
	cr_assert_eq(sim_stable_offset(&s, "g", 0, 0), -1);
	sim_reload(&s);
	cr_assert_eq(sim_stable_offset(&s, "g", 0, 0), -1);
	cr_assert_eq(beat_describe(&s, "g")->error_code, SL_KERR_GROUP_ID_NOT_FOUND);
	sim_fini(&s);
}

Test(group_txn_commit, members_that_ask_for_stable_offsets_are_told_to_wait)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct sim s;

	sim_init(&s);
	cr_assert_eq(beat(&s, &a), 0);
	cr_assert_eq(commit_as(&s, "a", NULL, a.epoch), 0);
	for (int16_t version = 9; version <= 10; version++) {
		cr_assert_eq(fetch_as(&s, version, "a", a.epoch), SL_KERR_UNSTABLE_OFFSET_COMMIT);
		cr_assert_eq(fetch_as(&s, version, "a", a.epoch + 1), SL_KERR_STALE_MEMBER_EPOCH);
		cr_assert_eq(fetch_as(&s, version, "b", a.epoch), SL_KERR_UNKNOWN_MEMBER_ID);
		cr_assert_eq(fetch_as(&s, version, NULL, -1), SL_KERR_UNSTABLE_OFFSET_COMMIT);
	}
	end(&s, 7, true);
	cr_assert_eq(fetch_as(&s, 10, "a", a.epoch), 0);
	sim_fini(&s);
}
