/* SPDX-License-Identifier: Apache-2.0 */
/* How many there are of what.  Walks over all groups: 100,000 take a few milliseconds. */
#include "consumer.h"

uint64_t group_total(const struct group_coord *c, enum group_total which)
{
	static const enum coord_counter counters[] = {
		[GROUP_TOTAL_OFFSET_COMMITS] = COUNT_offsets_committed,
		[GROUP_TOTAL_OFFSET_EXPIRATIONS] = COUNT_offsets_expired,
		[GROUP_TOTAL_OFFSET_DELETIONS] = COUNT_offsets_deleted,
		[GROUP_TOTAL_CLASSIC_REBALANCES] = COUNT_rebalances_completed,
		[GROUP_TOTAL_CONSUMER_REBALANCES] = COUNT_consumer_rebalances,
	};

	return c->counters[counters[which]];
}

static enum group_gauge gauge_of(const struct group *g)
{
	static const enum group_gauge classic[GROUP_STATE_NR] = {
		[GROUP_EMPTY] = GROUP_GAUGE_CLASSIC_EMPTY,
		[GROUP_PREPARING] = GROUP_GAUGE_CLASSIC_PREPARING,
		[GROUP_COMPLETING] = GROUP_GAUGE_CLASSIC_COMPLETING,
		[GROUP_STABLE] = GROUP_GAUGE_CLASSIC_STABLE,
		[GROUP_DEAD] = GROUP_GAUGE_CLASSIC_EMPTY,
	};
	static const enum group_gauge consumer[CGROUP_STATE_NR] = {
		[CGROUP_EMPTY] = GROUP_GAUGE_CONSUMER_EMPTY,
		[CGROUP_ASSIGNING] = GROUP_GAUGE_CONSUMER_ASSIGNING,
		[CGROUP_RECONCILING] = GROUP_GAUGE_CONSUMER_RECONCILING,
		[CGROUP_STABLE] = GROUP_GAUGE_CONSUMER_STABLE,
	};

	return g->consumer ? consumer[consumer_state(g)] : classic[g->state];
}

static void count_groups(const struct group_coord *c, struct group_gauges *out)
{
	struct sl_list *pos;

	sl_list_for_each(pos, &c->all_groups) {
		const struct group *g = sl_list_entry(pos, struct group, link);

		if (g->shard->state != SHARD_ACTIVE)
			continue;
		out->v[g->consumer ? GROUP_GAUGE_CONSUMER : GROUP_GAUGE_CLASSIC]++;
		out->v[gauge_of(g)]++;
	}
}

void group_gauges(const struct group_coord *c, struct group_gauges *out)
{
	*out = (struct group_gauges){0};
	count_groups(c, out);
	for (int32_t i = 0; i < c->opts.partitions_count; i++) {
		const struct shard *s = &c->shards[i];

		out->v[GROUP_GAUGE_PARTITIONS_LOADING] += s->state == SHARD_LOADING;
		out->v[GROUP_GAUGE_PARTITIONS_ACTIVE] += s->state == SHARD_ACTIVE;
		out->v[GROUP_GAUGE_PARTITIONS_FAILED] += s->state == SHARD_FAILED;
		if (s->state == SHARD_ACTIVE)
			out->v[GROUP_GAUGE_OFFSETS] += s->offsets_count;
	}
}
