/* SPDX-License-Identifier: Apache-2.0 */
/* A client of the classic protocol, eager or cooperative, that may lead its group. */
#include <stdio.h>
#include <stdlib.h>

#include "sluice/wire/consumer_protocol_assignment_gen.h"
#include "sluice/wire/heartbeat_gen.h"
#include "sluice/wire/leave_group_gen.h"

#include "world.h"

#define JOIN_VERSION  5
#define SYNC_VERSION  3
#define BEAT_VERSION  3
#define LEAVE_VERSION 3
#define SUB_VERSION   2
#define BUF_BYTES     (1u << 16)

static const char *protocol_of(const struct world *w)
{
	return w->is_eager ? "range" : "cooperative-sticky";
}

static struct sl_str instance_of(const struct client *c)
{
	return c->instance[0] ? sl_str_from(c->instance) : SL_STR_NULL;
}

static void put_subscription(const struct client *c, struct sl_buf *b)
{
	struct sl_consumer_protocol_subscription_owned_partition owned[TOPICS];
	struct sl_consumer_protocol_subscription sub;
	int32_t numbers[TOPICS][PARTS];
	struct sl_str names[TOPICS];

	sl_consumer_protocol_subscription_init(&sub);
	sub.topics = names;
	sub.owned_partitions = owned;
	sub.generation_id = c->epoch > 0 ? c->epoch : -1;
	for (int32_t t = 0; t < TOPICS; t++) {
		int32_t n = 0;

		if ((c->topics >> t) & 1)
			names[sub.topics_count++] = client_topic_name(t);
		for (int32_t p = 0; p < PARTS; p++) {
			if ((c->owned[t] >> p) & 1)
				numbers[t][n++] = p;
		}
		if (n > 0)
			owned[sub.owned_partitions_count++] =
				(struct sl_consumer_protocol_subscription_owned_partition){
					client_topic_name(t), numbers[t], n};
	}
	sl_put_i16(b, SUB_VERSION);
	sl_consumer_protocol_subscription_encode(&sub, b, SUB_VERSION);
}

static void send_join(struct world *w, int8_t index)
{
	struct client *c = &w->clients[index];
	struct sl_join_group_req_protocol protocol;
	struct sl_join_group_req m;
	struct sl_buf sub;
	struct sl_buf b;

	if (w->is_eager)
		client_drop(c);
	memcpy(c->reported, c->owned, sizeof(c->owned));
	sl_buf_init_grow(&sub, BUF_BYTES);
	put_subscription(c, &sub);
	sl_join_group_req_init(&m);
	m.group_id = sl_str_from(GROUP);
	m.session_timeout_ms = w->times.session_ms;
	m.rebalance_timeout_ms = w->times.rebalance_ms;
	m.member_id = sl_str_from(c->id);
	m.group_instance_id = instance_of(c);
	m.protocol_type = sl_str_from("consumer");
	protocol = (struct sl_join_group_req_protocol){sl_str_from(protocol_of(w)),
	                                               {sub.p, (int32_t)sub.len}};
	m.protocols = &protocol;
	m.protocols_count = 1;
	sl_buf_init_grow(&b, BUF_BYTES);
	sl_join_group_req_encode(&m, &b, JOIN_VERSION);
	client_wait(w, index, world_send(w, index, SL_API_JOIN_GROUP, JOIN_VERSION, &b, -1));
	sl_buf_fini(&b);
	sl_buf_fini(&sub);
}

static void send_sync(struct world *w, int8_t index)
{
	struct client *c = &w->clients[index];
	struct sl_sync_group_req m;
	struct sl_buf b;

	sl_sync_group_req_init(&m);
	m.group_id = sl_str_from(GROUP);
	m.generation_id = c->epoch;
	m.member_id = sl_str_from(c->id);
	m.group_instance_id = instance_of(c);
	sl_buf_init_grow(&b, BUF_BYTES);
	sl_sync_group_req_encode(&m, &b, SYNC_VERSION);
	if (c->is_leader) {
		/* The plan is the encoded array, which is the last field. */
		b.len -= sizeof(int32_t);
		sl_buf_put(&b, c->plan.p, c->plan.len);
	}
	client_wait(w, index, world_send(w, index, SL_API_SYNC_GROUP, SYNC_VERSION, &b, -1));
	sl_buf_fini(&b);
}

static void send_beat(struct world *w, int8_t index)
{
	struct client *c = &w->clients[index];
	struct sl_heartbeat_req m;
	struct sl_buf b;

	sl_heartbeat_req_init(&m);
	m.group_id = sl_str_from(GROUP);
	m.generation_id = c->epoch;
	m.member_id = sl_str_from(c->id);
	m.group_instance_id = instance_of(c);
	sl_buf_init_grow(&b, BUF_BYTES);
	sl_heartbeat_req_encode(&m, &b, BEAT_VERSION);
	client_wait(w, index, world_send(w, index, SL_API_HEARTBEAT, BEAT_VERSION, &b, -1));
	sl_buf_fini(&b);
}

/* It gives up what it shall not read, begins with what it shall, and joins again if it gave up
 * something that others wait for. */
static void apply(struct world *w, struct client *c)
{
	bool is_less = false;

	if (!c->has_told || c->apply_ms > w->now_ms)
		return;
	c->has_told = false;
	for (int32_t t = 0; t < TOPICS; t++)
		is_less |= ((c->owned[t] | c->reported[t]) & ~c->told[t]) != 0;
	memcpy(c->owned, c->told, sizeof(c->owned));
	memcpy(c->owned_of, c->told_of, sizeof(c->owned_of));
	client_forget_gone(w, c);
	if (is_less && !w->is_eager) {
		c->phase = PHASE_JOIN;
		c->next_ms = w->now_ms;
	}
}

void classic_client_run(struct world *w, int8_t index)
{
	struct client *c = &w->clients[index];

	apply(w, c);
	if (c->waits_for || c->has_told || c->next_ms > w->now_ms)
		return;
	c->next_ms = w->now_ms + w->times.heartbeat_ms;
	/* The leader watches the topics. */
	for (int32_t t = 0; t < TOPICS && c->phase == PHASE_STABLE && c->is_leader; t++) {
		if (c->seen[t] != w->topics[t].partitions)
			c->phase = PHASE_JOIN;
	}
	if (c->phase == PHASE_JOIN)
		send_join(w, index);
	else if (c->phase == PHASE_SYNC)
		send_sync(w, index);
	else
		send_beat(w, index);
}

/* ---- Leading ---- */

struct led {
	struct sl_str id;
	uint8_t topics;
	uint32_t owned[TOPICS];
	uint32_t given[TOPICS];
};

static int32_t topic_number(const struct world *w, struct sl_str name)
{
	for (int32_t t = 0; t < TOPICS; t++) {
		if (sl_str_eq(name, client_topic_name(t)) && w->topics[t].partitions > 0)
			return t;
	}
	return -1;
}

static void read_member(struct world *w, const struct sl_join_group_resp_member *m, struct led *out)
{
	struct sl_consumer_protocol_subscription sub;
	struct sl_cursor cur = sl_cursor_from(m->metadata.p, (size_t)SL_MAX(m->metadata.len, 0));

	*out = (struct led){.id = m->member_id};
	(void)sl_cursor_i16(&cur);
	if (sl_consumer_protocol_subscription_decode(&sub, &cur, &w->arena, SUB_VERSION))
		return;
	for (int32_t i = 0; i < sub.topics_count; i++) {
		int32_t t = topic_number(w, sub.topics[i]);

		if (t >= 0)
			out->topics |= (uint8_t)(1 << t);
	}
	for (int32_t i = 0; i < sub.owned_partitions_count; i++) {
		int32_t t = topic_number(w, sub.owned_partitions[i].topic);

		for (int32_t k = 0; t >= 0 && k < sub.owned_partitions[i].partitions_count; k++)
			out->owned[t] |= 1u << sub.owned_partitions[i].partitions[k];
	}
}

/* In turn; a cooperative leader gives nothing that another still has. */
static void give(const struct world *w, struct led *list, int32_t count, int32_t t, int32_t p)
{
	int32_t subscribers[64];
	int32_t n = 0;
	int32_t to;

	for (int32_t i = 0; i < count; i++) {
		if ((list[i].topics >> t) & 1)
			subscribers[n++] = i;
	}
	if (n == 0)
		return;
	to = subscribers[(p + t) % n];
	for (int32_t i = 0; !w->is_eager && i < count; i++) {
		if (i != to && ((list[i].owned[t] >> p) & 1))
			return;
	}
	list[to].given[t] |= 1u << p;
}

static void put_given(const struct led *one, struct sl_buf *b)
{
	struct sl_consumer_protocol_assignment_assigned_partition topics[TOPICS];
	struct sl_consumer_protocol_assignment a;
	int32_t numbers[TOPICS][PARTS];
	struct sl_buf bytes;

	sl_consumer_protocol_assignment_init(&a);
	a.assigned_partitions = topics;
	for (int32_t t = 0; t < TOPICS; t++) {
		int32_t n = 0;

		for (int32_t p = 0; p < PARTS; p++) {
			if ((one->given[t] >> p) & 1)
				numbers[t][n++] = p;
		}
		if (n > 0)
			topics[a.assigned_partitions_count++] =
				(struct sl_consumer_protocol_assignment_assigned_partition){
					client_topic_name(t), numbers[t], n};
	}
	sl_buf_init_grow(&bytes, BUF_BYTES);
	sl_put_i16(&bytes, 1);
	sl_consumer_protocol_assignment_encode(&a, &bytes, 1);
	sl_buf_put_be16(b, (uint16_t)one->id.len);
	sl_buf_put(b, one->id.p, (size_t)one->id.len);
	sl_buf_put_be32(b, (uint32_t)bytes.len);
	sl_buf_put(b, bytes.p, bytes.len);
	sl_buf_fini(&bytes);
}

static void plan(struct world *w, struct client *c, const struct sl_join_group_resp *m)
{
	struct led *list = calloc((size_t)m->members_count + 1, sizeof(*list));

	for (int32_t i = 0; i < m->members_count; i++)
		read_member(w, &m->members[i], &list[i]);
	for (int32_t t = 0; t < TOPICS; t++) {
		for (int32_t p = 0; p < w->topics[t].partitions; p++)
			give(w, list, m->members_count, t, p);
	}
	for (int32_t t = 0; t < TOPICS; t++)
		c->seen[t] = w->topics[t].partitions;
	sl_buf_reset(&c->plan);
	sl_buf_put_be32(&c->plan, (uint32_t)m->members_count);
	for (int32_t i = 0; i < m->members_count; i++)
		put_given(&list[i], &c->plan);
	free(list);
}

/* ---- Answers ---- */

static void join_again(struct world *w, struct client *c, int64_t delay_ms)
{
	c->phase = PHASE_JOIN;
	c->next_ms = w->now_ms + delay_ms;
}

static void failed(struct world *w, int8_t index, int16_t error)
{
	struct client *c = &w->clients[index];

	world_trace(w, "client %d is told %s at generation %d", index, sl_kerr_name(error),
	            c->epoch);
	switch (error) {
	case SL_KERR_REBALANCE_IN_PROGRESS:
		join_again(w, c, 0);
		break;
	case SL_KERR_UNKNOWN_MEMBER_ID:
	case SL_KERR_FENCED_INSTANCE_ID:
	case SL_KERR_INCONSISTENT_GROUP_PROTOCOL:
		c->id[0] = '\0';
		client_drop(c);
		c->epoch = 0;
		join_again(w, c,
		           error == SL_KERR_UNKNOWN_MEMBER_ID ? 100 : w->times.session_ms / 2);
		break;
	case SL_KERR_ILLEGAL_GENERATION:
		client_drop(c);
		c->epoch = 0;
		join_again(w, c, 100);
		break;
	case SL_KERR_COORDINATOR_NOT_AVAILABLE:
	case SL_KERR_COORDINATOR_LOAD_IN_PROGRESS:
	case SL_KERR_NOT_COORDINATOR:
		if (c->phase == PHASE_SYNC)
			join_again(w, c, 100);
		else
			c->next_ms = w->now_ms + 100;
		break;
	default:
		world_fail(w, "client %d is told %s", index, sl_kerr_name(error));
		break;
	}
}

static void joined(struct world *w, int8_t index, const struct sl_join_group_resp *m)
{
	struct client *c = &w->clients[index];

	if (m->error_code == SL_KERR_MEMBER_ID_REQUIRED) {
		snprintf(c->id, sizeof(c->id), "%.*s", SL_STR_ARG(m->member_id));
		c->next_ms = w->now_ms;
		return;
	}
	if (m->error_code != SL_KERR_NONE) {
		failed(w, index, m->error_code);
		return;
	}
	snprintf(c->id, sizeof(c->id), "%.*s", SL_STR_ARG(m->member_id));
	c->epoch = m->generation_id;
	c->is_leader = sl_str_eq(m->leader, m->member_id);
	world_trace(w, "client %d joined generation %d%s", index, c->epoch,
	            c->is_leader ? " and leads" : "");
	if (c->is_leader)
		plan(w, c, m);
	c->phase = PHASE_SYNC;
	c->next_ms = w->now_ms;
}

static void synced(struct world *w, int8_t index, const struct sl_sync_group_resp *m)
{
	struct client *c = &w->clients[index];
	struct sl_consumer_protocol_assignment a;
	struct sl_cursor cur = sl_cursor_from(m->assignment.p,
	                                      (size_t)SL_MAX(m->assignment.len, 0));

	if (m->error_code != SL_KERR_NONE) {
		failed(w, index, m->error_code);
		return;
	}
	memset(c->told, 0, sizeof(c->told));
	sl_consumer_protocol_assignment_init(&a);
	if (m->assignment.len > 0) {
		(void)sl_cursor_i16(&cur);
		if (sl_consumer_protocol_assignment_decode(&a, &cur, &w->arena, 0))
			world_fail(w, "an assignment cannot be read");
	}
	for (int32_t i = 0; i < a.assigned_partitions_count; i++) {
		int32_t t = topic_number(w, a.assigned_partitions[i].topic);

		if (t < 0)
			continue;
		/* That protocol knows names alone: it cannot tell a topic from the next one of
		 * that name. */
		c->told_of[t] = c->incarnations[t];
		for (int32_t k = 0; k < a.assigned_partitions[i].partitions_count; k++)
			c->told[t] |= 1u << a.assigned_partitions[i].partitions[k];
	}
	world_trace(w, "client %d shall read %x %x %x %x", index, c->told[0], c->told[1],
	            c->told[2], c->told[3]);
	c->has_told = true;
	c->apply_ms = w->now_ms + world_below(w, 200);
	c->phase = PHASE_STABLE;
	c->next_ms = w->now_ms + w->times.heartbeat_ms;
}

void classic_client_answer(struct world *w, int8_t index, int16_t api, int16_t version,
                           struct sl_cursor *cur)
{
	struct sl_join_group_resp join;
	struct sl_sync_group_resp sync;
	struct sl_heartbeat_resp beat;
	int err;

	if (api == SL_API_JOIN_GROUP) {
		err = sl_join_group_resp_decode(&join, cur, &w->arena, version);
		if (!err)
			joined(w, index, &join);
	} else if (api == SL_API_SYNC_GROUP) {
		err = sl_sync_group_resp_decode(&sync, cur, &w->arena, version);
		if (!err)
			synced(w, index, &sync);
	} else {
		err = sl_heartbeat_resp_decode(&beat, cur, &w->arena, version);
		if (!err && beat.error_code != SL_KERR_NONE)
			failed(w, index, beat.error_code);
	}
	if (err)
		world_fail(w, "the answer to API %d cannot be read", api);
}

void classic_client_leave(struct world *w, int8_t index)
{
	struct client *c = &w->clients[index];
	struct sl_leave_group_req_member member;
	struct sl_leave_group_req m;
	struct sl_buf b;

	/* Static members stay away without a word. */
	if (!c->id[0] || c->instance[0])
		return;
	sl_leave_group_req_init(&m);
	sl_leave_group_req_member_init(&member);
	member.member_id = sl_str_from(c->id);
	m.group_id = sl_str_from(GROUP);
	m.members = &member;
	m.members_count = 1;
	sl_buf_init_grow(&b, BUF_BYTES);
	sl_leave_group_req_encode(&m, &b, LEAVE_VERSION);
	(void)world_send(w, -1, SL_API_LEAVE_GROUP, LEAVE_VERSION, &b, -1);
	sl_buf_fini(&b);
}
