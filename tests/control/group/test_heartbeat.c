/* SPDX-License-Identifier: Apache-2.0 */
/* ConsumerGroupHeartbeat: joining, keeping up, leaving, and what is refused. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "beat.h"

#define ALL_PARTS 0xffffu

static const char *state_of(struct sim *s)
{
	return sim_text(s, beat_describe(s, "g")->group_state);
}

/* The first member has everything when the second one joins. */
static void join_both(struct sim *s, struct beat_member *first, struct beat_member *second)
{
	sim_init(s);
	cr_assert_eq(beat(s, first), 0);
	cr_assert_eq(beat(s, second), 0);
}

Test(group_heartbeat, first_member_gets_everything)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	const struct sl_consumer_group_describe_resp_group *g;
	struct sim s;

	sim_init(&s);
	cr_assert_eq(beat(&s, &a), 0);
	cr_assert_eq(a.epoch, 1);
	cr_assert_eq(a.owned[0], ALL_PARTS);
	g = beat_describe(&s, "g");
	cr_assert_eq(g->error_code, 0);
	cr_assert_str_eq(sim_text(&s, g->group_state), "Stable");
	cr_assert_str_eq(sim_text(&s, g->assignor_name), "uniform");
	cr_assert_eq(g->group_epoch, 1);
	cr_assert_eq(g->assignment_epoch, 1);
	cr_assert_eq(g->members_count, 1);
	cr_assert_eq(g->members[0].member_type, 1);
	cr_assert_eq(g->members[0].assignment.topic_partitions[0].partitions_count,
	             SIM_TOPIC_PARTS);
	sim_fini(&s);
}

Test(group_heartbeat, second_member_waits_until_the_first_gave_up_its_share)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct beat_member b = {.id = "b", .topics = "t0"};
	uint32_t had;
	struct sim s;

	sim_init(&s);
	cr_assert_eq(beat(&s, &a), 0);
	had = a.owned[0];
	cr_assert_eq(beat(&s, &b), 0);
	cr_assert_eq(beat_count(&b), 0);
	cr_assert_eq(b.epoch, 2);
	cr_assert_str_eq(state_of(&s), "Reconciling");
	/* It is told to keep half, and nobody has the rest. */
	cr_assert_eq(beat(&s, &a), 0);
	cr_assert_eq(a.epoch, 2);
	cr_assert_str_eq(state_of(&s), "Reconciling");
	cr_assert_eq(beat_count(&a), SIM_TOPIC_PARTS / 2);
	cr_assert_eq(beat(&s, &b), 0);
	cr_assert_eq(beat_count(&b), 0);
	/* It says that it did. */
	cr_assert_eq(beat(&s, &a), 0);
	cr_assert_eq(a.epoch, 2);
	cr_assert_eq(beat(&s, &b), 0);
	cr_assert_eq(b.owned[0], had & ~a.owned[0]);
	cr_assert_eq(beat(&s, &b), 0);
	cr_assert_str_eq(state_of(&s), "Stable");
	sim_fini(&s);
}

Test(group_heartbeat, answers_wait_for_the_log_and_fail_with_it)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	uint64_t first;
	uint64_t second;
	struct sim s;

	sim_init(&s);
	s.is_holding = true;
	first = beat_send(&s, &a);
	second = beat_send(&s, &a);
	cr_assert_eq(sim_state(&s, first), SIM_WAITING);
	cr_assert_eq(sim_state(&s, second), SIM_WAITING, "it rests on what is not written yet");
	sim_flush(&s, SL_KERR_NOT_ENOUGH_REPLICAS);
	cr_assert_eq(beat_answer(&s, first)->error_code, SL_KERR_COORDINATOR_NOT_AVAILABLE);
	cr_assert_eq(beat_answer(&s, second)->error_code, SL_KERR_COORDINATOR_NOT_AVAILABLE);
	/* All is written anew, so that a restart finds it. */
	s.is_holding = false;
	cr_assert_eq(beat(&s, &a), 0);
	cr_assert_eq(sim_counter(&s, "consumer_rewrites"), 1);
	sim_reload(&s);
	cr_assert_eq(beat(&s, &a), 0);
	cr_assert_eq(a.owned[0], ALL_PARTS);
	sim_fini(&s);
}

Test(group_heartbeat, a_group_survives_a_restart_as_it_was)
{
	struct beat_member a = {.id = "a", .topics = "t0,t1", .instance = "i"};
	struct beat_member b = {.id = "b", .pattern = "t[12]", .topics = ""};
	struct beat_member *both[] = {&a, &b};
	struct beat_member before[2];
	struct sim s;

	sim_init(&s);
	beat_settle(&s, both, 2);
	cr_assert_str_eq(state_of(&s), "Stable");
	before[0] = a;
	before[1] = b;
	sim_reload(&s);
	cr_assert_str_eq(state_of(&s), "Stable");
	cr_assert_eq(beat(&s, &a), 0);
	cr_assert_eq(beat(&s, &b), 0);
	cr_assert_eq(a.epoch, before[0].epoch);
	cr_assert_arr_eq(a.owned, before[0].owned, sizeof(a.owned));
	cr_assert_arr_eq(b.owned, before[1].owned, sizeof(b.owned));
	cr_assert_eq(sim_counter(&s, "load_bad"), 0);
	sim_fini(&s);
}

Test(group_heartbeat, a_group_behind_its_members_gets_an_epoch_that_nobody_has_seen)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct beat_member b = {.id = "b", .topics = "t0"};
	struct sim s;

	sim_init(&s);
	cr_assert_eq(beat(&s, &a), 0);
	s.is_holding = true;
	(void)beat_send(&s, &b);
	/* It is told to give up half, and says that it did. */
	(void)beat_send_short(&s, &a);
	a.epoch = 2;
	a.owned[0] = ALL_PARTS >> SIM_TOPIC_PARTS / 2;
	(void)beat_send(&s, &a);
	cr_assert_eq(s.queue_count, 3);
	/* The rise of the epoch is lost, the member's own record is not. */
	sim_flush_one(&s, 0, SL_KERR_NOT_ENOUGH_REPLICAS);
	sim_flush(&s, SL_KERR_NONE);
	s.is_holding = false;
	sim_reload(&s);
	cr_assert_eq(beat_describe(&s, "g")->group_epoch, 3);
	cr_assert_eq(beat(&s, &a), 0);
	cr_assert_eq(a.epoch, 3);
	cr_assert_eq(a.owned[0], ALL_PARTS, "the other one never joined");
	sim_fini(&s);
}

Test(group_heartbeat, the_later_record_tells_who_has_a_partition)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct beat_member b = {.id = "b", .topics = "t0"};
	const struct sl_consumer_group_describe_resp_group *g;
	struct sim s;

	join_both(&s, &a, &b);
	s.is_holding = true;
	(void)beat_send_short(&s, &a);
	a.epoch = 2;
	a.owned[0] = ALL_PARTS >> SIM_TOPIC_PARTS / 2;
	(void)beat_send(&s, &a);
	(void)beat_send(&s, &b);
	cr_assert_eq(s.queue_count, 3);
	/* That the first one gave up half is lost, that the other one has it is not. */
	sim_flush_one(&s, 0, SL_KERR_NOT_ENOUGH_REPLICAS);
	sim_flush_one(&s, 0, SL_KERR_NOT_ENOUGH_REPLICAS);
	sim_flush(&s, SL_KERR_NONE);
	s.is_holding = false;
	sim_reload(&s);
	g = beat_describe(&s, "g");
	cr_assert_eq(g->members_count, 1);
	cr_assert(sim_str_is(g->members[0].member_id, "b"));
	cr_assert_eq(g->members[0].assignment.topic_partitions_count, 1);
	cr_assert_eq(g->members[0].assignment.topic_partitions[0].partitions_count,
	             SIM_TOPIC_PARTS / 2);
	/* It may read on what the other one has now. */
	cr_assert_eq(beat(&s, &a), SL_KERR_UNKNOWN_MEMBER_ID);
	a.epoch = 0;
	memset(a.owned, 0, sizeof(a.owned));
	beat_settle(&s, (struct beat_member *[]){&a, &b}, 2);
	cr_assert_eq(beat_count(&a), SIM_TOPIC_PARTS / 2);
	cr_assert_eq(beat_count(&b), SIM_TOPIC_PARTS / 2);
	sim_fini(&s);
}

Test(group_heartbeat, patterns_follow_topics_that_come_and_go)
{
	struct group_event changed = {.type = GROUP_EV_TOPICS_CHANGED};
	struct beat_member a = {.id = "a", .pattern = "t[0-9]", .topics = ""};
	struct sim s;

	sim_init(&s);
	s.is_topic_gone[7] = true;
	cr_assert_eq(beat(&s, &a), 0);
	cr_assert_eq(beat_count(&a), 7 * SIM_TOPIC_PARTS);
	s.is_topic_gone[7] = false;
	sim_step(&s, &changed);
	beat_settle(&s, (struct beat_member *[]){&a}, 1);
	cr_assert_eq(a.owned[7], ALL_PARTS);
	s.is_topic_gone[0] = true;
	sim_step(&s, &changed);
	beat_settle(&s, (struct beat_member *[]){&a}, 1);
	cr_assert_eq(a.owned[0], 0);
	a.pattern = "t[";
	cr_assert_eq(beat(&s, &a), SL_KERR_INVALID_REGULAR_EXPRESSION);
	cr_assert_eq(sim_counter(&s, "consumer_regexes_refused"), 1);
	sim_fini(&s);
}

Test(group_heartbeat, more_partitions_raise_the_epoch)
{
	struct group_event changed = {.type = GROUP_EV_TOPICS_CHANGED};
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct sim s;

	sim_init(&s);
	s.topic_parts[0] = 2;
	cr_assert_eq(beat(&s, &a), 0);
	cr_assert_eq(a.owned[0], 3);
	s.topic_parts[0] = 3;
	cr_assert_eq(beat(&s, &a), 0);
	cr_assert_eq(a.epoch, 1, "nobody said that topics changed");
	sim_step(&s, &changed);
	cr_assert_eq(beat(&s, &a), 0);
	cr_assert_eq(a.epoch, 2);
	cr_assert_eq(a.owned[0], 7);
	sim_fini(&s);
}

Test(group_heartbeat, epochs_fence)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct beat_member b = {.id = "b", .topics = "t0"};
	struct beat_member *both[] = {&a, &b};
	struct beat_member stale;
	struct sim s;

	sim_init(&s);
	beat_settle(&s, both, 1);
	stale = a;
	beat_settle(&s, both, 2);
	cr_assert_eq(beat(&s, &stale), SL_KERR_FENCED_MEMBER_EPOCH, "it holds more than it may");
	stale = a;
	stale.epoch = a.epoch + 1;
	cr_assert_eq(beat(&s, &stale), SL_KERR_FENCED_MEMBER_EPOCH);
	stale.epoch = a.epoch - 1;
	cr_assert_eq(beat(&s, &stale), SL_KERR_FENCED_MEMBER_EPOCH,
	             "it told that it knows the new epoch");
	cr_assert_eq(sim_counter(&s, "consumer_members_fenced"), 3);
	stale.id = "stranger";
	cr_assert_eq(beat(&s, &stale), SL_KERR_UNKNOWN_MEMBER_ID);
	stale.group = "other";
	cr_assert_eq(beat(&s, &stale), SL_KERR_GROUP_ID_NOT_FOUND);
	sim_fini(&s);
}

Test(group_heartbeat, an_answer_with_a_new_epoch_may_have_been_lost)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct beat_member b = {.id = "b", .topics = "t0"};
	struct sim s;

	join_both(&s, &a, &b);
	/* It does not hear that it shall give up half, and says that it reads all. */
	cr_assert_eq(beat_answer(&s, beat_send_short(&s, &a))->member_epoch, 2);
	cr_assert_eq(a.epoch, 1);
	cr_assert_eq(beat(&s, &a), 0);
	cr_assert_eq(a.epoch, 2);
	cr_assert_eq(beat_count(&a), SIM_TOPIC_PARTS / 2);
	cr_assert_eq(beat(&s, &a), 0);
	/* Half is free now.  That is not heard either. */
	cr_assert_eq(beat_answer(&s, beat_send_short(&s, &b))->member_epoch, 2);
	cr_assert_eq(beat(&s, &b), 0);
	cr_assert_eq(beat_count(&b), SIM_TOPIC_PARTS / 2);
	cr_assert_eq(sim_counter(&s, "consumer_members_fenced"), 0);
	sim_fini(&s);
}

/* A late heartbeat makes the coordinator take half of it back, and nobody hears that. */
Test(group_heartbeat, a_report_of_before_it_was_told_gives_nothing_up)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct beat_member b = {.id = "b", .topics = "t0"};
	struct sim s;

	join_both(&s, &a, &b);
	(void)beat_send_short(&s, &a);
	/* It was told of everything and has begun with nothing yet. */
	a.owned[0] = 0;
	(void)beat_answer(&s, beat_send(&s, &a));
	cr_assert_eq(beat(&s, &b), 0);
	cr_assert_eq(beat_count(&b), 0, "the first one may read them by now");
	sim_fini(&s);
}

Test(group_heartbeat, a_report_gives_up_only_what_its_member_was_told_to)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct beat_member b = {.id = "b", .topics = "t0"};
	struct beat_member c = {.id = "c", .topics = "t0"};
	uint32_t half;
	struct sim s;

	join_both(&s, &a, &b);
	cr_assert_eq(beat(&s, &a), 0);
	half = a.owned[0];
	cr_assert_eq(beat_count(&a), SIM_TOPIC_PARTS / 2);
	/* It has begun with none of its half when it shall give up some of that, too. */
	cr_assert_eq(beat(&s, &c), 0);
	a.owned[0] = 0;
	(void)beat_answer(&s, beat_send(&s, &a));
	cr_assert_eq(beat(&s, &b), 0);
	cr_assert_eq(beat(&s, &c), 0);
	cr_assert_neq(b.owned[0], 0, "the other half is free");
	cr_assert_eq((b.owned[0] | c.owned[0]) & half, 0);
	sim_fini(&s);
}

/* A client reports nothing new when it is told what it has: told to keep its half, it would never
 * confirm that it gave up what it has not heard of. */
Test(group_heartbeat, a_lost_answer_is_repeated_before_anything_of_it_is_taken_back)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct beat_member b = {.id = "b", .topics = "t0"};
	struct beat_member c = {.id = "c", .topics = "t0"};
	struct beat_member *both[] = {&a, &b};
	struct beat_member *rest[] = {&a, &c};
	struct sim s;

	sim_init(&s);
	beat_settle(&s, both, 2);
	cr_assert_eq(beat_count(&a), SIM_TOPIC_PARTS / 2);
	b.epoch = -1;
	cr_assert_eq(beat_answer(&s, beat_send_short(&s, &b))->error_code, 0);
	/* It is given everything and does not hear of it; then half of that is another one's. */
	cr_assert_eq(beat_answer(&s, beat_send(&s, &a))->error_code, 0);
	cr_assert_eq(beat(&s, &c), 0);
	cr_assert_eq(beat(&s, &a), 0);
	cr_assert_eq(beat_count(&a), SIM_TOPIC_PARTS);
	cr_assert_eq(beat(&s, &a), 0);
	cr_assert_eq(beat_count(&a), SIM_TOPIC_PARTS / 2);
	beat_settle(&s, rest, 2);
	cr_assert_eq(beat_count(&a), SIM_TOPIC_PARTS / 2);
	cr_assert_eq(beat_count(&c), SIM_TOPIC_PARTS / 2);
	sim_fini(&s);
}

Test(group_heartbeat, a_late_join_gives_nothing_up)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct beat_member b = {.id = "b", .topics = "t0"};
	struct beat_member late = a;
	struct sim s;

	join_both(&s, &a, &b);
	cr_assert_eq(beat_answer(&s, beat_send_short(&s, &a))->member_epoch, 2);
	cr_assert_eq(beat(&s, &late), 0);
	cr_assert_eq(late.epoch, 2);
	cr_assert_eq(beat(&s, &b), 0);
	cr_assert_eq(beat_count(&b), 0, "the first one still reads them");
	sim_fini(&s);
}

Test(group_heartbeat, a_late_join_is_given_nothing)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct beat_member b = {.id = "b", .topics = "t0"};
	struct beat_member late = a;
	struct sim s;

	join_both(&s, &a, &b);
	cr_assert_eq(beat(&s, &late), 0);
	cr_assert_eq(late.epoch, 1);
	cr_assert_eq(beat_count(&late), SIM_TOPIC_PARTS, "what it has, not what it shall have");
	cr_assert_eq(beat(&s, &b), 0);
	cr_assert_eq(beat_count(&b), 0, "the first one still reads them");
	sim_fini(&s);
}

Test(group_heartbeat, a_late_report_of_the_same_epoch_gives_nothing_up)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct beat_member b = {.id = "b", .topics = "t0"};
	struct beat_member c = {.id = "c", .topics = "t0"};
	struct beat_member late;
	struct sim s;

	join_both(&s, &a, &b);
	/* Sent now, when it has nothing yet, and on its way for a long time. */
	late = b;
	cr_assert_eq(beat(&s, &a), 0);
	cr_assert_eq(beat(&s, &a), 0);
	cr_assert_eq(beat(&s, &b), 0);
	cr_assert_eq(b.epoch, late.epoch);
	cr_assert_eq(beat_count(&b), SIM_TOPIC_PARTS / 2);
	cr_assert_eq(beat(&s, &c), 0);
	cr_assert_eq(beat(&s, &late), 0);
	cr_assert_eq(beat(&s, &c), 0);
	cr_assert_eq(beat_count(&c), 0, "the second one still reads its half");
	sim_fini(&s);
}

Test(group_heartbeat, silence_ends_a_session_and_slowness_a_rebalance)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct beat_member b = {.id = "b", .topics = "t0"};
	struct sim s;

	join_both(&s, &a, &b);
	cr_assert_eq(beat_answer(&s, beat_send_short(&s, &a))->error_code, 0);
	/* It beats, and gives nothing up. */
	for (int i = 0; i < 6; i++) {
		sim_advance(&s, SIM_HEARTBEAT_MS);
		(void)beat_send_short(&s, &a);
		(void)beat_send_short(&s, &b);
	}
	cr_assert_eq(beat_answer(&s, beat_send_short(&s, &a))->error_code,
	             SL_KERR_UNKNOWN_MEMBER_ID);
	cr_assert_eq(beat(&s, &b), 0);
	cr_assert_eq(b.owned[0], ALL_PARTS);
	sim_advance(&s, SIM_CONSUMER_SESSION_MS - 1);
	cr_assert_eq(beat(&s, &b), 0);
	sim_advance(&s, SIM_CONSUMER_SESSION_MS + 1);
	cr_assert_eq(beat(&s, &b), SL_KERR_UNKNOWN_MEMBER_ID);
	cr_assert_str_eq(state_of(&s), "Empty");
	cr_assert_eq(sim_counter(&s, "members_expired"), 1);
	sim_fini(&s);
}

static struct group_conf conf_of_g;

static void give_conf(void *ctx, struct sl_str group_id, struct group_conf *out)
{
	(void)ctx;
	if (sl_str_eq_c(group_id, "g"))
		*out = conf_of_g;
}

Test(group_heartbeat, a_groups_own_configs_hold_from_the_next_heartbeat_on)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct beat_member b = {.id = "b", .topics = "t0", .group = "other"};
	struct group_opts opts;
	struct sim s;

	opts = sim_default_opts(&s);
	opts.group_conf = give_conf;
	conf_of_g = opts.consumer;
	sim_init_opts(&s, &opts);
	sim_load_all(&s);
	cr_assert_eq(beat(&s, &a), 0);
	cr_assert_eq(beat(&s, &b), 0);
	conf_of_g = (struct group_conf){20000, 7000};
	cr_assert_eq(beat_answer(&s, beat_send_short(&s, &a))->heartbeat_interval_ms, 7000);
	cr_assert_eq(beat_answer(&s, beat_send_short(&s, &b))->heartbeat_interval_ms,
	             SIM_HEARTBEAT_MS);
	sim_advance(&s, 19999);
	cr_assert_eq(beat_answer(&s, beat_send_short(&s, &a))->error_code, 0);
	sim_advance(&s, 20001);
	cr_assert_eq(beat_answer(&s, beat_send_short(&s, &a))->error_code,
	             SL_KERR_UNKNOWN_MEMBER_ID);
	cr_assert_eq(beat_answer(&s, beat_send_short(&s, &b))->error_code, 0);
	sim_fini(&s);
}

Test(group_heartbeat, static_members_keep_their_place)
{
	struct beat_member a = {.id = "a", .topics = "t0", .instance = "i"};
	struct beat_member other = {.id = "a2", .topics = "t0", .instance = "i"};
	struct beat_member gone;
	int32_t epoch;
	struct sim s;

	sim_init(&s);
	cr_assert_eq(beat(&s, &a), 0);
	epoch = a.epoch;
	cr_assert_eq(beat(&s, &other), SL_KERR_UNRELEASED_INSTANCE_ID);
	gone = a;
	gone.epoch = -2;
	cr_assert_eq(beat_answer(&s, beat_send_short(&s, &gone))->member_epoch, -2);
	cr_assert_eq(beat(&s, &other), 0);
	cr_assert_eq(other.epoch, epoch, "its place was kept, nothing was computed anew");
	cr_assert_eq(other.owned[0], ALL_PARTS);
	cr_assert_eq(beat(&s, &a), SL_KERR_FENCED_INSTANCE_ID);
	gone = other;
	gone.epoch = -2;
	(void)beat_send_short(&s, &gone);
	sim_reload(&s);
	sim_advance(&s, SIM_CONSUMER_SESSION_MS + 1);
	cr_assert_str_eq(state_of(&s), "Empty", "it came too late");
	sim_fini(&s);
}

Test(group_heartbeat, who_left_for_a_while_owes_nothing_to_a_rebalance)
{
	struct beat_member a = {.id = "a", .topics = "t0", .instance = "i"};
	struct beat_member b = {.id = "b", .topics = "t0"};
	struct sim s;

	join_both(&s, &a, &b);
	/* It is told to give up half, and goes. */
	cr_assert_eq(beat(&s, &a), 0);
	a.epoch = -2;
	cr_assert_eq(beat_answer(&s, beat_send_short(&s, &a))->member_epoch, -2);
	sim_advance(&s, BEAT_REBALANCE_MS + 1);
	cr_assert_eq(beat_describe(&s, "g")->members_count, 2);
	cr_assert_eq(sim_counter(&s, "members_not_rejoined"), 0);
	cr_assert_eq(beat(&s, &b), 0);
	cr_assert_eq(beat_count(&b), SIM_TOPIC_PARTS / 2, "what it was to give up is free");
	sim_fini(&s);
}

Test(group_heartbeat, leaving_frees_everything_at_once)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct beat_member b = {.id = "b", .topics = "t0"};
	struct beat_member *both[] = {&a, &b};
	struct sim s;

	sim_init(&s);
	beat_settle(&s, both, 2);
	a.epoch = -1;
	cr_assert_eq(beat_answer(&s, beat_send_short(&s, &a))->member_epoch, -1);
	cr_assert_eq(beat(&s, &b), 0);
	cr_assert_eq(b.owned[0], ALL_PARTS);
	b.epoch = -1;
	(void)beat_send_short(&s, &b);
	cr_assert_eq(sim_delete_group(&s, "g"), 0);
	sim_reload(&s);
	cr_assert_eq(beat_describe(&s, "g")->error_code, SL_KERR_GROUP_ID_NOT_FOUND);
	sim_fini(&s);
}

Test(group_heartbeat, refuses_what_kafka_refuses)
{
	struct sl_consumer_group_heartbeat_req req;
	struct beat_member a = {.topics = "t0"};
	const struct sl_consumer_group_heartbeat_resp *r;
	struct sim s;

	sim_init(&s);
	cr_assert_eq(beat(&s, &a), SL_KERR_INVALID_REQUEST, "no member id");
	a.version = -1;
	r = beat_answer(&s, beat_send(&s, &a));
	cr_assert_eq(r->error_code, 0, "version 0 lets the server make it");
	cr_assert_eq(r->member_id.len, 36);
	a = (struct beat_member){.id = "a", .topics = "t0", .group = ""};
	cr_assert_eq(beat(&s, &a), SL_KERR_INVALID_REQUEST);
	a = (struct beat_member){.id = "a", .topics = "t0", .epoch = -3};
	cr_assert_eq(beat(&s, &a), SL_KERR_INVALID_REQUEST);
	a = (struct beat_member){.id = "a", .topics = "t0", .epoch = -2};
	cr_assert_eq(beat(&s, &a), SL_KERR_INVALID_REQUEST);
	a = (struct beat_member){.id = "a", .topics = "t0", .assignor = "mine"};
	cr_assert_eq(beat(&s, &a), SL_KERR_UNSUPPORTED_ASSIGNOR);
	a = (struct beat_member){.id = "a", .topics = "t0", .owned = {1}};
	cr_assert_eq(beat(&s, &a), SL_KERR_INVALID_REQUEST);
	sl_consumer_group_heartbeat_req_init(&req);
	req.group_id = sl_str_from("g");
	req.member_id = sl_str_from("a");
	r = beat_answer(&s, sim_send(&s, SL_API_CONSUMER_GROUP_HEARTBEAT, 1, &req));
	cr_assert_eq(r->error_code, SL_KERR_INVALID_REQUEST, "no rebalance time-out");
	req.rebalance_timeout_ms = 1;
	req.topic_partitions_count = 0;
	r = beat_answer(&s, sim_send(&s, SL_API_CONSUMER_GROUP_HEARTBEAT, 1, &req));
	cr_assert_eq(r->error_code, SL_KERR_INVALID_REQUEST, "no subscription");
	sim_fini(&s);
}

Test(group_heartbeat, the_assignor_that_most_ask_for_assigns)
{
	struct beat_member a = {.id = "a", .topics = "t0,t1", .assignor = "range"};
	struct beat_member b = {.id = "b", .topics = "t0,t1", .assignor = "range"};
	struct beat_member c = {.id = "c", .topics = "t0,t1", .assignor = "uniform"};
	struct beat_member *all[] = {&a, &b, &c};
	struct sim s;

	sim_init(&s);
	s.topic_parts[0] = s.topic_parts[1] = 4;
	beat_settle(&s, all, 3);
	cr_assert_str_eq(sim_text(&s, beat_describe(&s, "g")->assignor_name), "range");
	/* Of each topic the first one has two; evenly it would be three, three and two. */
	cr_assert(a.owned[0] == 3 && a.owned[1] == 3);
	cr_assert(b.owned[0] == 4 && b.owned[1] == 4);
	cr_assert(c.owned[0] == 8 && c.owned[1] == 8);
	/* Of as many votes the one that is configured first wins. */
	a.epoch = -1;
	(void)beat_send_short(&s, &a);
	cr_assert_str_eq(sim_text(&s, beat_describe(&s, "g")->assignor_name), "uniform");
	sim_fini(&s);
}

Test(group_heartbeat, who_is_to_give_up_something_commits_with_the_epoch_it_knows)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct beat_member b = {.id = "b", .topics = "t0"};
	struct sim_commit k = {.group = "g", .member = "a", .partition = 1, .offset = 42};
	struct sim s;

	sim_init(&s);
	cr_assert_eq(beat(&s, &a), 0);
	k.generation = a.epoch;
	cr_assert_eq(beat(&s, &b), 0);
	cr_assert_eq(beat(&s, &a), 0);
	cr_assert_gt(a.epoch, k.generation);
	cr_assert_eq(sim_committed(&s, sim_commit(&s, 9, k)), 0);
	/* Now that it told, it knows the new one. */
	cr_assert_eq(beat(&s, &a), 0);
	cr_assert_eq(sim_committed(&s, sim_commit(&s, 9, k)), SL_KERR_STALE_MEMBER_EPOCH);
	k.generation = a.epoch;
	cr_assert_eq(sim_committed(&s, sim_commit(&s, 9, k)), 0);
	sim_fini(&s);
}

Test(group_heartbeat, a_full_group_takes_nobody)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct beat_member b = {.id = "b", .topics = "t0"};
	struct group_opts opts;
	struct sim s;

	opts = sim_default_opts(&s);
	opts.consumer_size_max = 1;
	sim_init_opts(&s, &opts);
	sim_load_all(&s);
	cr_assert_eq(beat(&s, &a), 0);
	cr_assert_eq(beat(&s, &b), SL_KERR_GROUP_MAX_SIZE_REACHED);
	cr_assert_eq(beat(&s, &a), 0);
	cr_assert_eq(sim_counter(&s, "refused_group_full"), 1);
	sim_fini(&s);
}

Test(group_heartbeat, commits_and_fetches_need_the_members_epoch)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct sim_commit k = {.group = "g", .member = "a", .partition = 1, .offset = 42};
	struct sl_offset_fetch_req_group group;
	struct sl_offset_fetch_req req;
	const struct sl_offset_fetch_resp *r;
	struct sim s;

	sim_init(&s);
	cr_assert_eq(beat(&s, &a), 0);
	k.generation = a.epoch;
	cr_assert_eq(sim_committed(&s, sim_commit(&s, 8, k)), SL_KERR_UNSUPPORTED_VERSION);
	cr_assert_eq(sim_committed(&s, sim_commit(&s, 9, k)), 0);
	cr_assert_eq(sim_committed(&s, sim_commit(&s, 10, k)), 0);
	k.generation = a.epoch + 1;
	cr_assert_eq(sim_committed(&s, sim_commit(&s, 9, k)), SL_KERR_STALE_MEMBER_EPOCH);
	k.member = "b";
	cr_assert_eq(sim_committed(&s, sim_commit(&s, 9, k)), SL_KERR_UNKNOWN_MEMBER_ID);
	k.generation = -1;
	k.member = NULL;
	cr_assert_eq(sim_committed(&s, sim_commit(&s, 9, k)), SL_KERR_UNKNOWN_MEMBER_ID);
	sl_offset_fetch_req_init(&req);
	sl_offset_fetch_req_group_init(&group);
	group.group_id = sl_str_from("g");
	group.member_id = sl_str_from("a");
	group.member_epoch = a.epoch + 1;
	group.topics_count = -1;
	req.groups = &group;
	req.groups_count = 1;
	r = sim_answer(&s, sim_send(&s, SL_API_OFFSET_FETCH, 9, &req));
	cr_assert_eq(r->groups[0].error_code, SL_KERR_STALE_MEMBER_EPOCH);
	group.member_epoch = a.epoch;
	r = sim_answer(&s, sim_send(&s, SL_API_OFFSET_FETCH, 9, &req));
	cr_assert_eq(r->groups[0].error_code, 0);
	cr_assert_eq(r->groups[0].topics[0].partitions[0].committed_offset, 42);
	sim_fini(&s);
}

Test(group_heartbeat, listings_tell_the_kinds_apart)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct sl_str wanted = sl_str_from("consumer");
	struct sl_list_groups_req req;
	const struct sl_list_groups_resp *r;
	struct sim_pair pair;
	struct sim s;

	sim_init(&s);
	sim_make_single(&s, "classic", &pair);
	cr_assert_eq(beat(&s, &a), 0);
	sl_list_groups_req_init(&req);
	req.types_filter = &wanted;
	req.types_filter_count = 1;
	r = sim_answer(&s, sim_send(&s, SL_API_LIST_GROUPS, 5, &req));
	cr_assert_eq(r->groups_count, 1);
	cr_assert(sim_str_is(r->groups[0].group_id, "g"));
	cr_assert(sim_str_is(r->groups[0].group_type, "consumer"));
	cr_assert(sim_str_is(r->groups[0].protocol_type, "consumer"));
	cr_assert(sim_str_is(r->groups[0].group_state, "Stable"));
	cr_assert_str_eq(sim_group_state(&s, "g"), "Dead", "DescribeGroups is for classic ones");
	cr_assert_eq(beat_describe(&s, "classic")->error_code, SL_KERR_GROUP_ID_NOT_FOUND);
	cr_assert_eq(sim_delete_group(&s, "g"), SL_KERR_NON_EMPTY_GROUP);
	sim_fini(&s);
}
