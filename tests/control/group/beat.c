/* SPDX-License-Identifier: Apache-2.0 */
/* Heartbeats of the consumer protocol, as a client sends and takes them. */
#include <criterion/criterion.h>

#include "beat.h"

#define VERSION 1

static int16_t version_of(const struct beat_member *m)
{
	return m->version == -1 ? 0 : VERSION;
}

static void fill(struct sim *s, const struct beat_member *m,
                 struct sl_consumer_group_heartbeat_req *req)
{
	sl_consumer_group_heartbeat_req_init(req);
	req->group_id = sl_str_from(m->group ? m->group : "g");
	req->member_id = sl_str_from(m->id ? m->id : "");
	req->member_epoch = m->epoch;
	req->instance_id = sl_str_from(m->instance);
	req->rack_id = sl_str_from(m->rack);
	(void)s;
}

static void fill_names(struct sim *s, const char *list, struct sl_consumer_group_heartbeat_req *req)
{
	req->subscribed_topic_names = sl_arena_alloc_array(&s->arena, SIM_TOPICS,
	                                                   sizeof(*req->subscribed_topic_names));
	req->subscribed_topic_names_count = 0;
	for (; list && *list; list += 2 + (list[2] == ','))
		req->subscribed_topic_names[req->subscribed_topic_names_count++] =
			(struct sl_str){list, 2};
}

static void fill_owned(struct sim *s, const struct beat_member *m,
                       struct sl_consumer_group_heartbeat_req *req)
{
	req->topic_partitions = sl_arena_alloc_array(&s->arena, SIM_TOPICS,
	                                             sizeof(*req->topic_partitions));
	req->topic_partitions_count = 0;
	for (int32_t t = 0; t < SIM_TOPICS; t++) {
		int32_t *list = sl_arena_alloc_array(&s->arena, 32, sizeof(*list));
		int32_t n = 0;

		for (int32_t p = 0; p < 32; p++) {
			if ((m->owned[t] >> p) & 1)
				list[n++] = p;
		}
		if (n > 0)
			req->topic_partitions[req->topic_partitions_count++] =
				(struct sl_consumer_group_heartbeat_req_topic_partition){
					sim_topic_id(t), list, n};
	}
}

uint64_t beat_send(struct sim *s, const struct beat_member *m)
{
	struct sl_consumer_group_heartbeat_req req;

	fill(s, m, &req);
	req.rebalance_timeout_ms = BEAT_REBALANCE_MS;
	req.subscribed_topic_regex = sl_str_from(m->pattern);
	req.server_assignor = sl_str_from(m->assignor);
	fill_names(s, m->topics, &req);
	fill_owned(s, m, &req);
	return sim_send(s, SL_API_CONSUMER_GROUP_HEARTBEAT, version_of(m), &req);
}

uint64_t beat_send_short(struct sim *s, const struct beat_member *m)
{
	struct sl_consumer_group_heartbeat_req req;

	fill(s, m, &req);
	return sim_send(s, SL_API_CONSUMER_GROUP_HEARTBEAT, version_of(m), &req);
}

const struct sl_consumer_group_heartbeat_resp *beat_answer(struct sim *s, uint64_t handle)
{
	return sim_answer(s, handle);
}

int16_t beat(struct sim *s, struct beat_member *m)
{
	const struct sl_consumer_group_heartbeat_resp *r = beat_answer(s, beat_send(s, m));

	if (r->error_code != SL_KERR_NONE)
		return r->error_code;
	m->epoch = r->member_epoch;
	cr_assert_not_null(r->assignment, "a full request is told its assignment");
	memset(m->owned, 0, sizeof(m->owned));
	for (int32_t i = 0; i < r->assignment->topic_partitions_count; i++) {
		int32_t t = r->assignment->topic_partitions[i].topic_id.b[15];

		for (int32_t k = 0; k < r->assignment->topic_partitions[i].partitions_count; k++)
			m->owned[t] |= 1u << r->assignment->topic_partitions[i].partitions[k];
	}
	return SL_KERR_NONE;
}

void beat_settle(struct sim *s, struct beat_member *const *list, uint32_t count)
{
	for (uint32_t round = 0; round < 8; round++) {
		for (uint32_t i = 0; i < count; i++)
			cr_assert_eq(beat(s, list[i]), 0, "%s in round %u", list[i]->id, round);
	}
}

uint32_t beat_count(const struct beat_member *m)
{
	uint32_t n = 0;

	for (int32_t t = 0; t < SIM_TOPICS; t++)
		n += (uint32_t)__builtin_popcount(m->owned[t]);
	return n;
}

const struct sl_consumer_group_describe_resp_group *beat_describe(struct sim *s, const char *group)
{
	struct sl_str id = sl_str_from(group);
	struct sl_consumer_group_describe_req req;
	const struct sl_consumer_group_describe_resp *r;

	sl_consumer_group_describe_req_init(&req);
	req.group_ids = &id;
	req.group_ids_count = 1;
	req.include_authorized_operations = true;
	r = sim_answer(s, sim_send(s, SL_API_CONSUMER_GROUP_DESCRIBE, 1, &req));
	cr_assert_eq(r->groups_count, 1);
	return &r->groups[0];
}
