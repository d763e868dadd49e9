/* SPDX-License-Identifier: Apache-2.0 */
/* Values of topics, partitions and groups.  Each is one look-up and one load. */
#include "sluice/base/conf.h"

#include "config.h"
#include "metrics.h"

static bool whole(struct metric_value *out, int64_t i)
{
	*out = (struct metric_value){.i = i};
	return true;
}

static const struct sl_meta_topic_partition *partition_of(const struct metric_at *at)
{
	return &at->topic->rec.partitions[at->partition];
}

/* NULL while the partition is not open. */
static const struct sl_slot *slot_of(const struct control *c, const struct meta_topic *t,
                                     int32_t partition)
{
	const struct sl_slot *s = control_slot(c, &t->rec.topic_id, partition);
	uint32_t state;

	if (!s)
		return NULL;
	/* Pairs with the lane's release store of the state. */
	state = atomic_load_explicit(&s->state, memory_order_acquire);
	return state == SL_SLOT_OPEN || state == SL_SLOT_OFFLINE ? s : NULL;
}

static const struct sl_slot *slot_at(const struct metric_at *at)
{
	return slot_of(at->c, at->topic, at->partition);
}

bool metric_topic_partitions(const struct metric_at *at, struct metric_value *out)
{
	return whole(out, at->topic->rec.partitions_count);
}

bool metric_part_current(const struct metric_at *at, struct metric_value *out)
{
	const struct sl_slot *s = slot_at(at);

	return s && whole(out, atomic_load_explicit(&s->high_watermark, memory_order_relaxed));
}

bool metric_part_stable_lag(const struct metric_at *at, struct metric_value *out)
{
	const struct sl_slot *s = slot_at(at);
	int64_t lag;

	if (!s)
		return false;
	lag = atomic_load_explicit(&s->high_watermark, memory_order_relaxed) -
	      atomic_load_explicit(&s->last_stable, memory_order_relaxed);
	/* The two were not read at once. */
	return whole(out, SL_MAX(lag, 0));
}

bool metric_part_oldest(const struct metric_at *at, struct metric_value *out)
{
	const struct sl_slot *s = slot_at(at);

	return s && whole(out, atomic_load_explicit(&s->log_start, memory_order_relaxed));
}

bool metric_part_log_end(const struct metric_at *at, struct metric_value *out)
{
	const struct sl_slot *s = slot_at(at);

	return s && whole(out, atomic_load_explicit(&s->log_end, memory_order_relaxed));
}

bool metric_part_segments(const struct metric_at *at, struct metric_value *out)
{
	const struct sl_slot *s = slot_at(at);

	return s && whole(out, atomic_load_explicit(&s->segments, memory_order_relaxed));
}

bool metric_part_size(const struct metric_at *at, struct metric_value *out)
{
	const struct sl_slot *s = slot_at(at);

	return s && whole(out, (int64_t)(atomic_load_explicit(&s->log_bytes, memory_order_relaxed) &
	                                 INT64_MAX));
}

bool metric_part_leader(const struct metric_at *at, struct metric_value *out)
{
	return whole(out, partition_of(at)->leader_id);
}

bool metric_part_preferred(const struct metric_at *at, struct metric_value *out)
{
	const struct sl_meta_topic_partition *p = partition_of(at);

	return whole(out, p->replica_nodes_count > 0 && p->leader_id == p->replica_nodes[0]);
}

bool metric_part_replicas(const struct metric_at *at, struct metric_value *out)
{
	return whole(out, partition_of(at)->replica_nodes_count);
}

bool metric_part_in_sync(const struct metric_at *at, struct metric_value *out)
{
	return whole(out, partition_of(at)->isr_nodes_count);
}

bool metric_part_under_replicated(const struct metric_at *at, struct metric_value *out)
{
	const struct sl_meta_topic_partition *p = partition_of(at);

	return whole(out, p->isr_nodes_count < p->replica_nodes_count);
}

/* What counts for a topic, at most its replicas. */
static int64_t min_isr(const struct metric_at *at)
{
	struct metric_scrape *s = at->scrape;
	struct config_value chain[CONFIG_CHAIN_MAX];
	struct sl_conf_value v = {.i = 1};
	char error[SL_CONF_ERROR_MAX];

	if (s->min_isr_topic != at->topic) {
		(void)config_topic_chain(at->c, &at->topic->rec, SL_CT_min_insync_replicas, chain);
		if (sl_conf_check(&sl_conf_topic_defs[SL_CT_min_insync_replicas], chain[0].value,
		                  &v, error) < 0)
			v.i = 1;
		s->min_isr_topic = at->topic;
		s->min_isr = v.i;
	}
	return SL_MIN(s->min_isr, (int64_t)partition_of(at)->replica_nodes_count);
}

bool metric_part_under_min_isr(const struct metric_at *at, struct metric_value *out)
{
	return whole(out, partition_of(at)->isr_nodes_count < min_isr(at));
}

bool metric_part_at_min_isr(const struct metric_at *at, struct metric_value *out)
{
	return whole(out, partition_of(at)->isr_nodes_count == min_isr(at));
}

/* ---- Groups ---- */

bool metric_group_members(const struct metric_at *at, struct metric_value *out)
{
	return whole(out, at->scrape->groups.groups[at->group].members);
}

bool metric_group_offset(const struct metric_at *at, struct metric_value *out)
{
	return whole(out, at->scrape->groups.offsets[at->offset].offset);
}

/* Return: false when the partition's end is not known. */
static bool lag_of(const struct metric_at *at, uint32_t offset, int64_t *lag)
{
	const struct snapshot *s = &at->scrape->groups;
	const struct snapshot_offset *o = &s->offsets[offset];
	const struct meta_topic *t = meta_topic_by_name(at->c->meta, snapshot_topic(s, offset));
	const struct sl_slot *slot = t ? slot_of(at->c, t, o->partition) : NULL;

	if (!slot)
		return false;
	*lag = atomic_load_explicit(&slot->high_watermark, memory_order_relaxed) - o->offset;
	*lag = SL_MAX(*lag, INT64_C(0));
	return true;
}

bool metric_group_lag(const struct metric_at *at, struct metric_value *out)
{
	int64_t lag;

	return lag_of(at, at->offset, &lag) && whole(out, lag);
}

bool metric_group_offset_sum(const struct metric_at *at, struct metric_value *out)
{
	const struct snapshot *s = &at->scrape->groups;
	uint32_t end = snapshot_topic_end(s, at->offset);
	int64_t sum = 0;

	for (uint32_t i = at->offset; i < end; i++)
		sum += s->offsets[i].offset;
	return whole(out, sum);
}

bool metric_group_lag_sum(const struct metric_at *at, struct metric_value *out)
{
	uint32_t end = snapshot_topic_end(&at->scrape->groups, at->offset);
	bool is_known = false;
	int64_t sum = 0, lag;

	for (uint32_t i = at->offset; i < end; i++) {
		if (lag_of(at, i, &lag)) {
			sum += lag;
			is_known = true;
		}
	}
	return is_known && whole(out, sum);
}
