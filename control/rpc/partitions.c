/* SPDX-License-Identifier: Apache-2.0 */
/* Partitions: what the metadata says about them, and what their slots say. */
#include "methods.h"
#include "value.h"

#define LIMIT_DEFAULT 1000
#define LIMIT_MAX     5000

bool partitions_slot(const struct control *c, const struct sl_uuid *topic_id, int32_t partition,
                     struct slot_view *out)
{
	const struct sl_slot *s = control_slot(c, topic_id, partition);
	uint32_t state;

	memset(out, 0, sizeof(*out));
	if (!s)
		return false;
	/* Pairs with the lane's release store: what follows belongs to this partition. */
	state = atomic_load_explicit(&s->state, memory_order_acquire);
	if (state == SL_SLOT_FREE || state >= SL_SLOT_NR)
		return false;
	out->state = (enum sl_slot_state)state;
	out->lane = atomic_load_explicit(&s->lane, memory_order_relaxed);
	out->leader_epoch = atomic_load_explicit(&s->leader_epoch, memory_order_relaxed);
	out->log_dir = atomic_load_explicit(&s->log_dir, memory_order_relaxed);
	out->segments = atomic_load_explicit(&s->segments, memory_order_relaxed);
	out->log_start = atomic_load_explicit(&s->log_start, memory_order_relaxed);
	out->high_watermark = atomic_load_explicit(&s->high_watermark, memory_order_relaxed);
	out->log_end = atomic_load_explicit(&s->log_end, memory_order_relaxed);
	out->flushed = atomic_load_explicit(&s->flushed, memory_order_relaxed);
	out->log_bytes = atomic_load_explicit(&s->log_bytes, memory_order_relaxed);
	out->clean_offset = atomic_load_explicit(&s->clean_offset, memory_order_relaxed);
	out->cleaner = (enum sl_slot_cleaner)atomic_load_explicit(&s->cleaner,
	                                                          memory_order_relaxed);
	out->dirty_ppm = atomic_load_explicit(&s->dirty_ppm, memory_order_relaxed);
	return true;
}

int64_t partitions_lag(const struct control *c, struct sl_str topic, int32_t partition,
                       int64_t offset)
{
	const struct meta_topic *t = meta_topic_by_name(c->meta, topic);
	struct slot_view v;

	if (!t || !partitions_slot(c, &t->rec.topic_id, partition, &v))
		return -1;
	return SL_MAX(v.high_watermark - offset, INT64_C(0));
}

static json_t *node_list(const int32_t *ids, int32_t count)
{
	json_t *list = json_array();

	for (int32_t i = 0; i < count; i++)
		value_append(&list, json_integer(ids[i]));
	return list;
}

static const char *state_name(const struct slot_view *v)
{
	switch (v->state) {
	case SL_SLOT_OPEN:
		return "open";
	case SL_SLOT_OFFLINE:
		return "offline";
	case SL_SLOT_FREE:
	case SL_SLOT_NR:
		break;
	}
	return "closed";
}

/* Of a topic with cleanup.policy=compact. */
static void put_cleaner(json_t **row, const struct slot_view *v)
{
	static const char *const names[SL_SLOT_CLEANER_NR] = {
		[SL_SLOT_CLEANER_WAITING] = "waiting",
		[SL_SLOT_CLEANER_RUNNING] = "running",
		[SL_SLOT_CLEANER_FAILED] = "failed",
	};

	/* The data plane's memory: it may say anything. */
	if (v->cleaner == SL_SLOT_CLEANER_NONE || v->cleaner >= SL_SLOT_CLEANER_NR)
		return;
	value_set(row, "cleaner", json_string(names[v->cleaner]));
	value_set(row, "clean_offset", json_integer(v->clean_offset));
	value_set(row, "dirty_percent", json_integer(v->dirty_ppm / 10000));
}

json_t *partitions_row(struct control *c, const struct meta_topic *topic, int32_t partition)
{
	const struct sl_meta_topic_partition *p = &topic->rec.partitions[partition];
	struct slot_view v;
	bool is_open = partitions_slot(c, &topic->rec.topic_id, partition, &v);
	char *const *dirs;
	uint32_t dirs_count = control_log_dirs(c, &dirs);
	int lane = control_lane_of(c, p->leader_id);
	json_t *row =
		json_pack("{s:o, s:i, s:i, s:o, s:i, s:o, s:o, s:s}", "topic",
	                  value_str(topic->rec.name), "partition", partition, "leader",
	                  p->leader_id, "lane", value_offset(lane), "leader_epoch", p->leader_epoch,
	                  "replicas", node_list(p->replica_nodes, p->replica_nodes_count), "isr",
	                  node_list(p->isr_nodes, p->isr_nodes_count), "state", state_name(&v));

	if (!is_open)
		return row;
	value_set(&row, "log_start", json_integer(v.log_start));
	value_set(&row, "high_watermark", json_integer(v.high_watermark));
	value_set(&row, "log_end", json_integer(v.log_end));
	value_set(&row, "flushed", json_integer(v.flushed));
	value_set(&row, "size_bytes", json_integer((json_int_t)v.log_bytes));
	value_set(&row, "segments", json_integer(v.segments));
	put_cleaner(&row, &v);
	if (v.log_dir < dirs_count)
		value_set(&row, "dir",
		          json_sprintf("%s/%.*s-%d", dirs[v.log_dir], SL_STR_ARG(topic->rec.name),
		                       partition));
	return row;
}

struct range {
	uint32_t index; /* of the topic */
	int32_t partition;
	uint32_t end; /* index behind the last topic */
};

/* Where the list begins.  Return: false when the call was ended. */
static bool choose_range(struct rpc_call *call, struct range *r)
{
	const struct meta *meta = call->c->meta;
	const char *only = rpc_call_str(call, "topic");
	const char *after = rpc_call_str(call, "after_topic");
	uint32_t from;

	*r = (struct range){0, 0, meta_topics_count(meta)};
	if (only) {
		if (!meta_topic_by_name(meta, sl_str_from(only))) {
			rpc_call_kerr(call, SL_KERR_UNKNOWN_TOPIC_OR_PARTITION, SL_STR_NULL);
			return false;
		}
		r->index = meta_topic_lower_bound(meta, sl_str_from(only));
		r->end = r->index + 1;
	}
	if (!after)
		return true;
	from = meta_topic_lower_bound(meta, sl_str_from(after));
	if (from > r->index)
		r->index = from;
	if (from == r->index && from < r->end &&
	    sl_str_eq_c(meta_topic_at(meta, from)->rec.name, after)) {
		int64_t n = rpc_call_int(call, "after_partition", -1) + 1;

		r->partition = (int32_t)SL_MIN(SL_MAX(n, INT64_C(0)), (int64_t)INT32_MAX);
	}
	return true;
}

void rpc_partitions_list(struct rpc_call *call)
{
	struct control *c = call->c;
	int64_t limit = rpc_call_int(call, "limit", LIMIT_DEFAULT);
	const struct meta_topic *last = NULL;
	int32_t last_partition = 0;
	struct range r;
	json_t *list, *next;
	bool is_more;

	if (limit < 1 || limit > LIMIT_MAX) {
		rpc_call_error(call, RPC_INVALID_PARAMS, "\"limit\" is 1 to %d", LIMIT_MAX);
		return;
	}
	if (!choose_range(call, &r))
		return;
	list = json_array();
	for (; r.index < r.end && limit > 0; r.index++, r.partition = 0) {
		const struct meta_topic *t = meta_topic_at(c->meta, r.index);

		for (; r.partition < t->rec.partitions_count && limit > 0; r.partition++, limit--) {
			value_append(&list, partitions_row(c, t, r.partition));
			last = t;
			last_partition = r.partition;
		}
		if (limit == 0)
			break;
	}
	is_more = last && r.index < r.end &&
	          (r.index + 1 < r.end || r.partition < last->rec.partitions_count);
	next = is_more ? json_pack("{s:o, s:i}", "topic", value_str(last->rec.name), "partition",
	                           last_partition)
	               : json_null();
	rpc_call_result(call, json_pack("{s:o, s:o}", "partitions", list, "next", next));
}
