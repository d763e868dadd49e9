/* SPDX-License-Identifier: Apache-2.0 */
/* Racks of members and replicas, from the heartbeat to the assignment. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "assign.h"
#include "beat.h"

#define EVEN 0x5555u
#define ODD  0xaaaau

/* Partitions of even numbers have their replica in the first rack, the others in the second. */
static void put_racks(struct sim *s, int32_t topic, const char *even, const char *odd)
{
	for (int32_t p = 0; p < SIM_TOPIC_PARTS; p++)
		s->racks[topic][p] = p % 2 == 0 ? even : odd;
}

static void tell_change(struct sim *s)
{
	struct group_event ev = {.type = GROUP_EV_TOPICS_CHANGED};

	sim_step(s, &ev);
}

static int32_t group_epoch(struct sim *s)
{
	return beat_describe(s, "g")->group_epoch;
}

Test(group_racks, a_members_rack_decides)
{
	for (int turned = 0; turned < 2; turned++) {
		struct beat_member a = {.id = "a", .topics = "t0", .rack = turned ? "y" : "x"};
		struct beat_member b = {.id = "b", .topics = "t0", .rack = turned ? "x" : "y"};
		struct beat_member *both[] = {&a, &b};
		struct sim s;

		sim_init(&s);
		put_racks(&s, 0, "x", "y");
		beat_settle(&s, both, 2);
		cr_assert_eq(a.owned[0], turned ? ODD : EVEN);
		cr_assert_eq(b.owned[0], turned ? EVEN : ODD);
		sim_fini(&s);
	}
}

Test(group_racks, a_member_without_rack_takes_what_is_left)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct beat_member b = {.id = "b", .topics = "t0", .rack = "x"};
	struct beat_member *both[] = {&a, &b};
	struct sim s;

	sim_init(&s);
	put_racks(&s, 0, "xz", "z");
	beat_settle(&s, both, 2);
	cr_assert_eq(b.owned[0], EVEN);
	cr_assert_eq(a.owned[0], ODD);
	sim_fini(&s);
}

Test(group_racks, range_gives_the_same_numbers_of_topics_that_are_alike)
{
	struct beat_member a = {.id = "a", .topics = "t0,t1", .rack = "y", .assignor = "range"};
	struct beat_member b = {.id = "b", .topics = "t0,t1", .rack = "x", .assignor = "range"};
	struct beat_member *both[] = {&a, &b};
	struct sim s;

	sim_init(&s);
	put_racks(&s, 0, "xz", "yz");
	put_racks(&s, 1, "x", "yx");
	beat_settle(&s, both, 2);
	cr_assert_eq(a.owned[0], ODD);
	cr_assert_eq(a.owned[1], ODD);
	cr_assert_eq(b.owned[0], EVEN);
	cr_assert_eq(b.owned[1], EVEN);
	sim_fini(&s);
}

/* Source: KIP-1101. */
Test(group_racks, replicas_in_other_racks_make_a_new_target)
{
	struct beat_member a = {.id = "a", .topics = "t0", .rack = "x"};
	struct beat_member b = {.id = "b", .topics = "t0", .rack = "y"};
	struct beat_member *both[] = {&a, &b};
	int32_t epoch;
	struct sim s;

	sim_init(&s);
	put_racks(&s, 0, "x", "yz");
	beat_settle(&s, both, 2);
	epoch = group_epoch(&s);
	cr_assert_eq(a.owned[0], EVEN);
	/* Neither the order of the replicas nor how many there are in a rack tells anything. */
	put_racks(&s, 0, "xx", "zyzy");
	tell_change(&s);
	beat_settle(&s, both, 2);
	cr_assert_eq(group_epoch(&s), epoch);
	put_racks(&s, 0, "yz", "x");
	tell_change(&s);
	beat_settle(&s, both, 2);
	cr_assert_eq(group_epoch(&s), epoch + 1);
	cr_assert_eq(a.owned[0], ODD);
	cr_assert_eq(b.owned[0], EVEN);
	sim_fini(&s);
}

Test(group_racks, a_restart_sees_other_racks_and_only_those)
{
	struct beat_member a = {.id = "a", .topics = "t0", .rack = "x"};
	struct beat_member b = {.id = "b", .topics = "t0", .rack = "y"};
	struct beat_member *both[] = {&a, &b};
	int32_t epoch;
	struct sim s;

	sim_init(&s);
	put_racks(&s, 0, "x", "y");
	beat_settle(&s, both, 2);
	epoch = group_epoch(&s);
	sim_reload(&s);
	beat_settle(&s, both, 2);
	cr_assert_eq(group_epoch(&s), epoch);
	put_racks(&s, 0, "y", "x");
	sim_reload(&s);
	beat_settle(&s, both, 2);
	cr_assert_eq(group_epoch(&s), epoch + 1);
	cr_assert_eq(a.owned[0], ODD);
	sim_fini(&s);
}

Test(group_racks, a_member_in_another_rack_makes_a_new_target_if_topics_have_racks)
{
	struct beat_member a = {.id = "a", .topics = "t0", .rack = "x", .instance = "i"};
	struct beat_member b = {.id = "b", .topics = "t0", .rack = "y"};
	struct beat_member *both[] = {&a, &b};
	int32_t epoch;
	struct sim s;

	sim_init(&s);
	beat_settle(&s, both, 2);
	epoch = group_epoch(&s);
	a.rack = "z";
	beat_settle(&s, both, 2);
	cr_assert_eq(group_epoch(&s), epoch, "there are no racks to be near to");
	put_racks(&s, 0, "x", "y");
	tell_change(&s);
	beat_settle(&s, both, 2);
	cr_assert_eq(group_epoch(&s), epoch + 1);
	cr_assert_eq(b.owned[0], ODD);
	/* A static member comes back elsewhere. */
	a.epoch = -2;
	(void)beat_send_short(&s, &a);
	a = (struct beat_member){.id = "a2", .topics = "t0", .rack = "y", .instance = "i"};
	b.rack = "x";
	beat_settle(&s, both, 2);
	cr_assert_eq(group_epoch(&s), epoch + 3);
	cr_assert_eq(a.owned[0], ODD);
	cr_assert_eq(b.owned[0], EVEN);
	a.rack = NULL;
	beat_settle(&s, both, 2);
	cr_assert_eq(group_epoch(&s), epoch + 3, "no rack is told: it is still the same");
	sim_fini(&s);
}

Test(group_racks, more_racks_than_there_are_bits_are_ignored_and_counted)
{
	struct beat_member last = {.id = "z", .topics = "t0", .rack = "x"};
	static char ids[ASSIGN_RACKS_MAX + 1][8];
	struct sim s;

	sim_init(&s);
	put_racks(&s, 0, "x", "y");
	for (uint32_t i = 0; i <= ASSIGN_RACKS_MAX; i++) {
		struct beat_member m = {.id = ids[i], .topics = "t0", .rack = ids[i]};

		snprintf(ids[i], sizeof(ids[i]), "a%02u", i);
		cr_assert_eq(sim_counter(&s, "assign_racks_ignored"), 0);
		cr_assert_eq(beat(&s, &m), 0);
	}
	cr_assert_eq(sim_counter(&s, "assign_racks_ignored"), 1);
	cr_assert_eq(beat(&s, &last), 0);
	cr_assert_gt(sim_counter(&s, "assign_racks_ignored"), 1);
	sim_fini(&s);
}
