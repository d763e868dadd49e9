/* SPDX-License-Identifier: Apache-2.0 */
/* A client of the consumer protocol, as Kafka's own behaves. */
#include <stdio.h>

#include "sluice/base/hash.h"
#include "sluice/wire/consumer_group_heartbeat_gen.h"

#include "world.h"

#define VERSION 1

static void fill_owned(struct world *w, const struct client *c,
                       struct sl_consumer_group_heartbeat_req *m,
                       struct sl_consumer_group_heartbeat_req_topic_partition *topics,
                       int32_t numbers[TOPICS][PARTS])
{
	m->topic_partitions = topics;
	m->topic_partitions_count = 0;
	for (int32_t t = 0; t < TOPICS; t++) {
		int32_t n = 0;

		for (int32_t p = 0; p < PARTS; p++) {
			if ((c->owned[t] >> p) & 1)
				numbers[t][n++] = p;
		}
		if (n > 0)
			topics[m->topic_partitions_count++] =
				(struct sl_consumer_group_heartbeat_req_topic_partition){
					world_topic_id(w, t), numbers[t], n};
	}
}

static void send_beat(struct world *w, int8_t index)
{
	struct client *c = &w->clients[index];
	struct sl_consumer_group_heartbeat_req_topic_partition topics[TOPICS];
	int32_t numbers[TOPICS][PARTS];
	struct sl_consumer_group_heartbeat_req m;
	struct sl_str names[TOPICS];
	struct sl_buf b;

	sl_consumer_group_heartbeat_req_init(&m);
	m.group_id = sl_str_from(GROUP);
	m.member_id = sl_str_from(c->id);
	m.member_epoch = c->epoch;
	m.instance_id = c->instance[0] ? sl_str_from(c->instance) : SL_STR_NULL;
	if (c->is_full || c->epoch == 0) {
		m.rebalance_timeout_ms = w->times.rebalance_ms;
		m.rack_id = world_rack(c->rack);
		m.subscribed_topic_names = names;
		m.subscribed_topic_names_count = 0;
		for (int32_t t = 0; t < TOPICS && !c->is_regex; t++) {
			if ((c->topics >> t) & 1)
				names[m.subscribed_topic_names_count++] = client_topic_name(t);
		}
		m.subscribed_topic_regex = sl_str_from(c->is_regex ? "t[01]" : "");
	}
	c->is_reporting = c->is_full || c->epoch == 0 || c->is_report_due ||
	                  memcmp(c->owned, c->reported, sizeof(c->owned)) != 0;
	if (c->is_reporting)
		fill_owned(w, c, &m, topics, numbers);
	c->is_report_due = false;
	memcpy(c->reported, c->owned, sizeof(c->owned));
	sl_buf_init_grow(&b, 1u << 16);
	sl_consumer_group_heartbeat_req_encode(&m, &b, VERSION);
	client_wait(w, index,
	            world_send(w, index, SL_API_CONSUMER_GROUP_HEARTBEAT, VERSION, &b, -1));
	sl_buf_fini(&b);
	if (c->is_reporting)
		world_trace(w, "member %s tells at epoch %d%s that it reads %x %x %x %x", c->id,
		            c->epoch, c->is_full ? ", with all else," : "", c->owned[0],
		            c->owned[1], c->owned[2], c->owned[3]);
	c->is_full = false;
}

/* First it gives up what it shall not read, then it begins with what it shall. */
static void apply(struct world *w, struct client *c)
{
	if (!c->has_told || c->apply_ms > w->now_ms)
		return;
	c->has_told = false;
	c->is_report_due = true;
	memcpy(c->owned, c->told, sizeof(c->owned));
	memcpy(c->owned_of, c->told_of, sizeof(c->owned_of));
	client_forget_gone(w, c);
	c->next_ms = w->now_ms;
}

void consumer_client_run(struct world *w, int8_t index)
{
	struct client *c = &w->clients[index];

	apply(w, c);
	if (c->waits_for == 0 && c->next_ms <= w->now_ms) {
		c->next_ms = w->now_ms + w->times.heartbeat_ms;
		send_beat(w, index);
	}
}

/* One for each set of partitions, never 0. */
static uint64_t number_of(const struct sl_consumer_group_heartbeat_resp_assignment *a)
{
	uint64_t sum = 1;

	for (int32_t i = 0; i < a->topic_partitions_count; i++) {
		uint64_t h = sl_hash(&a->topic_partitions[i].topic_id, sizeof(struct sl_uuid), 1);

		for (int32_t k = 0; k < a->topic_partitions[i].partitions_count; k++)
			sum += sl_hash(&a->topic_partitions[i].partitions[k], sizeof(int32_t), h);
	}
	return sum ? sum : 1;
}

static void take_assignment(struct world *w, struct client *c,
                            const struct sl_consumer_group_heartbeat_resp_assignment *a)
{
	uint64_t target = number_of(a);
	bool is_less = false;

	/* Nothing is done about what is not new, nor is it reported. */
	if (c->target == target)
		return;
	c->target = target;
	memset(c->told, 0, sizeof(c->told));
	for (int32_t i = 0; i < a->topic_partitions_count; i++) {
		int32_t t = world_topic(w, &a->topic_partitions[i].topic_id);

		if (t < 0)
			continue;
		c->told_of[t] = w->topics[t].incarnation;
		for (int32_t k = 0; k < a->topic_partitions[i].partitions_count; k++)
			c->told[t] |= 1u << a->topic_partitions[i].partitions[k];
	}
	for (int32_t t = 0; t < TOPICS; t++)
		is_less |= (c->owned[t] & ~c->told[t]) != 0;
	world_trace(w, "member %s shall read %x %x %x %x", c->id, c->told[0], c->told[1],
	            c->told[2], c->told[3]);
	c->has_told = true;
	c->apply_ms = w->now_ms + world_below(w, 200);
	/* What it does before it gives partitions up takes long, and so does what it needs to begin
	 * with others. */
	if (c->is_slow && !w->is_calm)
		c->apply_ms +=
			is_less && w->times.rebalance_ms == REBALANCE_MS && world_below(w, 3) == 0
				? REBALANCE_LONG_MS
				: world_below(w, 3 * SL_MIN(w->times.rebalance_ms, REBALANCE_MS));
}

static void fenced(struct world *w, struct client *c, int8_t index, int16_t error)
{
	world_trace(w, "client %d is told %s at epoch %d", index, sl_kerr_name(error), c->epoch);
	client_drop(c);
	c->epoch = 0;
	c->is_full = true;
	c->next_ms = w->now_ms + world_below(w, 200);
	/* Another process has its place, or a new one takes its own. */
	if (error == SL_KERR_UNRELEASED_INSTANCE_ID || error == SL_KERR_FENCED_INSTANCE_ID)
		c->next_ms += w->times.session_ms / 2;
}

void consumer_client_answer(struct world *w, int8_t index, int16_t version, struct sl_cursor *cur)
{
	struct client *c = &w->clients[index];
	struct sl_consumer_group_heartbeat_resp m;

	if (sl_consumer_group_heartbeat_resp_decode(&m, cur, &w->arena, version)) {
		world_fail(w, "the answer to a heartbeat cannot be read");
		return;
	}
	switch (m.error_code) {
	case SL_KERR_NONE:
		if (m.member_epoch < c->epoch)
			world_fail(w, "client %d: epoch went from %d back to %d", index, c->epoch,
			           m.member_epoch);
		if (m.member_epoch != c->epoch)
			world_trace(w, "client %d moves to epoch %d", index, m.member_epoch);
		c->epoch = m.member_epoch;
		if (m.assignment)
			take_assignment(w, c, m.assignment);
		break;
	case SL_KERR_FENCED_MEMBER_EPOCH:
	case SL_KERR_UNKNOWN_MEMBER_ID:
	case SL_KERR_GROUP_ID_NOT_FOUND:
	case SL_KERR_UNRELEASED_INSTANCE_ID:
	case SL_KERR_FENCED_INSTANCE_ID:
		fenced(w, c, index, m.error_code);
		break;
	case SL_KERR_COORDINATOR_NOT_AVAILABLE:
	case SL_KERR_COORDINATOR_LOAD_IN_PROGRESS:
	case SL_KERR_NOT_COORDINATOR:
		c->is_full = true;
		c->next_ms = w->now_ms + 100;
		break;
	default:
		world_fail(w, "client %d is told %s", index, sl_kerr_name(m.error_code));
		break;
	}
}

void consumer_client_leave(struct world *w, int8_t index)
{
	struct client *c = &w->clients[index];
	struct sl_consumer_group_heartbeat_req m;
	struct sl_buf b;

	if (c->epoch == 0)
		return;
	sl_consumer_group_heartbeat_req_init(&m);
	m.group_id = sl_str_from(GROUP);
	m.member_id = sl_str_from(c->id);
	m.member_epoch = c->instance[0] && world_below(w, 3) > 0 ? -2 : -1;
	m.instance_id = c->instance[0] ? sl_str_from(c->instance) : SL_STR_NULL;
	sl_buf_init_grow(&b, 1u << 16);
	sl_consumer_group_heartbeat_req_encode(&m, &b, VERSION);
	(void)world_send(w, -1, SL_API_CONSUMER_GROUP_HEARTBEAT, VERSION, &b, -1);
	sl_buf_fini(&b);
}
