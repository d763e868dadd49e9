/* SPDX-License-Identifier: Apache-2.0 */
/* What the metrics count. */
#include <criterion/criterion.h>

#include "beat.h"

static void commit(struct sim *s, const char *group, int32_t partition)
{
	struct sim_commit k = {
		.group = group, .generation = -1, .partition = partition, .offset = 1};

	cr_assert_eq(sim_committed(s, sim_commit(s, 7, k)), 0);
}

static uint64_t gauge(const struct sim *s, enum group_gauge which)
{
	struct group_gauges g;

	group_gauges(s->c, &g);
	return g.v[which];
}

Test(group_gauges, groups_are_counted_by_protocol_and_state)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct beat_member b = {.id = "b", .topics = "t0"};
	struct sim_pair pair;
	struct sim s;

	sim_init(&s);
	cr_assert_eq(gauge(&s, GROUP_GAUGE_CLASSIC) + gauge(&s, GROUP_GAUGE_CONSUMER), 0);
	sim_make_single(&s, "single", &pair);
	commit(&s, "simple", 0);
	cr_assert_eq(gauge(&s, GROUP_GAUGE_CLASSIC), 2);
	cr_assert_eq(gauge(&s, GROUP_GAUGE_CLASSIC_STABLE), 1);
	cr_assert_eq(gauge(&s, GROUP_GAUGE_CLASSIC_EMPTY), 1);
	cr_assert_eq(group_total(s.c, GROUP_TOTAL_CLASSIC_REBALANCES), 1);
	sim_leave(&s, 1, "single", pair.a, NULL);
	cr_assert_eq(gauge(&s, GROUP_GAUGE_CLASSIC_STABLE), 0);
	cr_assert_eq(gauge(&s, GROUP_GAUGE_CLASSIC_EMPTY), 2);
	cr_assert_eq(beat(&s, &a), 0);
	cr_assert_eq(gauge(&s, GROUP_GAUGE_CONSUMER), 1);
	cr_assert_eq(gauge(&s, GROUP_GAUGE_CONSUMER_STABLE), 1);
	cr_assert_eq(group_total(s.c, GROUP_TOTAL_CONSUMER_REBALANCES), 1);
	cr_assert_eq(beat(&s, &b), 0);
	cr_assert_eq(gauge(&s, GROUP_GAUGE_CONSUMER_STABLE), 0);
	cr_assert_eq(gauge(&s, GROUP_GAUGE_CONSUMER_RECONCILING), 1);
	cr_assert_eq(group_total(s.c, GROUP_TOTAL_CONSUMER_REBALANCES), 2);
	cr_assert_eq(gauge(&s, GROUP_GAUGE_CLASSIC), 2);
	sim_fini(&s);
}

Test(group_gauges, offsets_are_counted_while_they_are_committed)
{
	struct sim s;

	sim_init(&s);
	commit(&s, "g", 0);
	commit(&s, "g", 1);
	commit(&s, "g", 1);
	commit(&s, "h", 0);
	cr_assert_eq(gauge(&s, GROUP_GAUGE_OFFSETS), 3);
	cr_assert_eq(group_total(s.c, GROUP_TOTAL_OFFSET_COMMITS), 4);
	sim_reload(&s);
	cr_assert_eq(gauge(&s, GROUP_GAUGE_OFFSETS), 3);
	cr_assert_eq(sim_delete_group(&s, "g"), 0);
	cr_assert_eq(gauge(&s, GROUP_GAUGE_OFFSETS), 1);
	cr_assert_eq(group_total(s.c, GROUP_TOTAL_OFFSET_DELETIONS), 2);
	sim_reload(&s);
	cr_assert_eq(gauge(&s, GROUP_GAUGE_OFFSETS), 1);
	sim_fini(&s);
}

Test(group_gauges, offsets_that_expire_are_counted_apart)
{
	struct sim s;

	sim_init(&s);
	commit(&s, "g", 0);
	commit(&s, "g", 1);
	sim_advance(&s, SIM_RETENTION_MS + SIM_CHECK_MS);
	cr_assert_eq(gauge(&s, GROUP_GAUGE_OFFSETS), 0);
	cr_assert_eq(group_total(s.c, GROUP_TOTAL_OFFSET_EXPIRATIONS), 2);
	commit(&s, "h", 0);
	cr_assert_eq(sim_delete_group(&s, "h"), 0);
	cr_assert_eq(group_total(s.c, GROUP_TOTAL_OFFSET_EXPIRATIONS), 2);
	sim_fini(&s);
}

Test(group_gauges, partitions_are_counted_by_their_state)
{
	uint64_t all;
	struct sim s;

	sim_init(&s);
	commit(&s, "g", 0);
	all = gauge(&s, GROUP_GAUGE_PARTITIONS_ACTIVE);
	cr_assert_gt(all, 1);
	sim_partition(&s, GROUP_EV_LOAD_BEGIN, group_partition(s.c, sl_str_from("g")));
	cr_assert_eq(gauge(&s, GROUP_GAUGE_PARTITIONS_LOADING), 1);
	cr_assert_eq(gauge(&s, GROUP_GAUGE_PARTITIONS_ACTIVE), all - 1);
	sim_partition(&s, GROUP_EV_LOAD_BATCHES, group_partition(s.c, sl_str_from("g")));
	cr_assert_eq(gauge(&s, GROUP_GAUGE_CLASSIC), 0, "it is not served");
	cr_assert_eq(gauge(&s, GROUP_GAUGE_OFFSETS), 0);
	sim_partition(&s, GROUP_EV_LOAD_END, group_partition(s.c, sl_str_from("g")));
	cr_assert_eq(gauge(&s, GROUP_GAUGE_PARTITIONS_ACTIVE), all);
	cr_assert_eq(gauge(&s, GROUP_GAUGE_CLASSIC), 1);
	cr_assert_eq(gauge(&s, GROUP_GAUGE_OFFSETS), 1);
	sim_fini(&s);
}
