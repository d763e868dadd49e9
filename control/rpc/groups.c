/* SPDX-License-Identifier: Apache-2.0 */
/* Consumer groups, from the coordinator's views and through the handlers of Kafka's requests. */
#include <stdlib.h>

#include "sluice/wire/consumer_group_describe_gen.h"
#include "sluice/wire/consumer_protocol_assignment_gen.h"
#include "sluice/wire/delete_groups_gen.h"
#include "sluice/wire/describe_groups_gen.h"

#include "group/group.h"
#include "methods.h"
#include "value.h"

#define DESCRIBE_VERSION 6
#define CONSUMER_VERSION 1
#define DELETE_VERSION   2
#define ASSIGNMENT_BYTES (UINT64_C(4) << 20)

/* ---- list ---- */

/* Sum over the partitions whose end is known; -1 when nothing is committed. */
static int64_t group_lag(const struct control *c, const struct group_coord *coord,
                         struct sl_str group_id)
{
	struct group_offset_view o;
	int64_t sum = -1;
	uint32_t pos = 0;

	while (group_next_offset(coord, group_id, &pos, &o)) {
		int64_t lag = partitions_lag(c, o.topic, o.partition, o.offset);

		if (lag >= 0)
			sum = SL_MAX(sum, INT64_C(0)) + lag;
	}
	return sum;
}

void rpc_groups_list(struct rpc_call *call)
{
	struct control *c = call->c;
	struct group_coord *coord = control_groups(c);
	struct group_view g;
	json_t *list = json_array();
	uint32_t pos = 0;

	while (coord && group_next(coord, &pos, &g))
		value_append(&list,
		             json_pack("{s:o, s:s, s:s, s:o, s:o, s:i, s:i, s:i, s:o}", "group",
		                       value_str(g.group_id), "type", g.type, "state", g.state,
		                       "protocol_type", value_str(g.protocol_type), "protocol",
		                       value_str(g.protocol), "generation", g.generation, "members",
		                       (int)g.members, "coordinator_partition", g.partition, "lag",
		                       value_offset(group_lag(c, coord, g.group_id))));
	rpc_call_result(call, json_pack("{s:o}", "groups", list));
}

/* ---- describe ---- */

static int compare_offsets(const void *a, const void *b)
{
	const struct group_offset_view *x = a, *y = b;
	int order = memcmp(x->topic.p, y->topic.p, (size_t)SL_MIN(x->topic.len, y->topic.len));

	if (order == 0)
		order = (x->topic.len > y->topic.len) - (x->topic.len < y->topic.len);
	return order ? order : (x->partition > y->partition) - (x->partition < y->partition);
}

/* The group's offsets in order.  To be freed; *count is 0 and NULL returned when there are none. */
static struct group_offset_view *sorted_offsets(const struct group_coord *coord,
                                                struct sl_str group_id, uint32_t *count)
{
	struct group_offset_view o, *list = NULL;
	uint32_t pos = 0, n = 0;

	while (group_next_offset(coord, group_id, &pos, &o))
		n++;
	if (n > 0)
		list = calloc(n, sizeof(*list));
	*count = list ? n : 0;
	pos = 0;
	for (uint32_t i = 0; i < *count; i++)
		(void)group_next_offset(coord, group_id, &pos, &list[i]);
	if (list)
		qsort(list, n, sizeof(*list), compare_offsets);
	return list;
}

static json_t *offset_row(struct control *c, const struct group_offset_view *o)
{
	int64_t lag = partitions_lag(c, o->topic, o->partition, o->offset);
	const struct meta_topic *t = meta_topic_by_name(c->meta, o->topic);
	struct slot_view v;
	bool is_known = t && partitions_slot(c, &t->rec.topic_id, o->partition, &v);

	return json_pack("{s:o, s:i, s:I, s:o, s:o, s:I}", "topic", value_str(o->topic),
	                 "partition", o->partition, "offset", (json_int_t)o->offset, "log_end",
	                 value_offset(is_known ? v.high_watermark : -1), "lag", value_offset(lag),
	                 "commit_ms", (json_int_t)o->commit_ms);
}

static json_t *offsets_of(struct control *c, struct sl_str group_id)
{
	struct group_coord *coord = control_groups(c);
	struct group_offset_view *offsets = NULL;
	json_t *list = json_array();
	uint32_t count = 0;

	if (coord)
		offsets = sorted_offsets(coord, group_id, &count);
	for (uint32_t i = 0; i < count; i++)
		value_append(&list, offset_row(c, &offsets[i]));
	free(offsets);
	return list;
}

/* [{topic, partitions}] from the form of the consumer protocol; null for what is not of it. */
static json_t *assignment_value(struct sl_bytes bytes)
{
	struct sl_cursor c = sl_cursor_from(bytes.p, (size_t)SL_MAX(bytes.len, 0));
	struct sl_consumer_protocol_assignment a;
	struct sl_arena arena;
	json_t *list;
	/* "ConsumerProtocol": a version in front; a newer one may only add at its end. */
	int16_t theirs = sl_cursor_i16(&c);
	int16_t version = SL_MIN(theirs, (int16_t)SL_CONSUMER_PROTOCOL_ASSIGNMENT_VERSION_MAX);

	if (c.failed || version < 0 || sl_arena_create(&arena, ASSIGNMENT_BYTES) < 0)
		return json_null();
	if (sl_consumer_protocol_assignment_decode(&a, &c, &arena, version) < 0) {
		sl_arena_destroy(&arena);
		return json_null();
	}
	list = json_array();
	for (int32_t i = 0; i < a.assigned_partitions_count; i++) {
		json_t *numbers = json_array();

		for (int32_t p = 0; p < a.assigned_partitions[i].partitions_count; p++)
			value_append(&numbers,
			             json_integer(a.assigned_partitions[i].partitions[p]));
		value_append(&list, json_pack("{s:o, s:o}", "topic",
		                              value_str(a.assigned_partitions[i].topic),
		                              "partitions", numbers));
	}
	sl_arena_destroy(&arena);
	return list;
}

static json_t *members_of(const struct sl_describe_groups_resp_group *g)
{
	bool is_consumer = sl_str_eq_c(g->protocol_type, "consumer");
	json_t *list = json_array();

	for (int32_t i = 0; i < g->members_count; i++) {
		const struct sl_describe_groups_resp_group_member *m = &g->members[i];

		value_append(&list, json_pack("{s:o, s:o, s:o, s:o, s:o}", "member_id",
		                              value_str(m->member_id), "instance_id",
		                              value_str(m->group_instance_id), "client_id",
		                              value_str(m->client_id), "host",
		                              value_str(m->client_host), "assignment",
		                              is_consumer ? assignment_value(m->member_assignment)
		                                          : json_null()));
	}
	return list;
}

static void described(struct rpc_call *call, struct sl_cursor *body, struct sl_arena *arena,
                      int16_t version)
{
	struct sl_describe_groups_resp resp;
	const struct sl_describe_groups_resp_group *g;

	if (sl_describe_groups_resp_decode(&resp, body, arena, version) < 0 ||
	    resp.groups_count != 1) {
		kafka_malformed(call);
		return;
	}
	g = &resp.groups[0];
	/* Before version 6 Kafka says so only by this state. */
	if (g->error_code != SL_KERR_NONE || sl_str_eq_c(g->group_state, "Dead")) {
		rpc_call_kerr(call, g->error_code ? g->error_code : SL_KERR_GROUP_ID_NOT_FOUND,
		              g->error_message);
		return;
	}
	rpc_call_result(call, json_pack("{s:o, s:s, s:o, s:o, s:o, s:o, s:o}", "group",
	                                value_str(g->group_id), "type", "classic", "state",
	                                value_str(g->group_state), "protocol_type",
	                                value_str(g->protocol_type), "protocol",
	                                value_str(g->protocol_data), "members", members_of(g),
	                                "offsets", offsets_of(call->c, g->group_id)));
}

/* ---- describe, of the consumer protocol ---- */

/* The two assignments of a member have types of their own, of one form. */
typedef struct sl_consumer_group_describe_resp_group_member_assignment_topic_partition
	described_topic;
typedef struct sl_consumer_group_describe_resp_group_member_target_assignment_topic_partition
	described_target;

_Static_assert(sizeof(described_topic) == sizeof(described_target), "one form for both");

static json_t *topic_value(struct sl_str name, const int32_t *partitions, int32_t count)
{
	json_t *numbers = json_array();

	for (int32_t p = 0; p < count; p++)
		value_append(&numbers, json_integer(partitions[p]));
	return json_pack("{s:o, s:o}", "topic", value_str(name), "partitions", numbers);
}

static json_t *consumer_member(const struct sl_consumer_group_describe_resp_group_member *m)
{
	json_t *names = json_array(), *has = json_array(), *target = json_array();

	for (int32_t i = 0; i < m->subscribed_topic_names_count; i++)
		value_append(&names, value_str(m->subscribed_topic_names[i]));
	for (int32_t i = 0; i < m->assignment.topic_partitions_count; i++) {
		const described_topic *t = &m->assignment.topic_partitions[i];

		value_append(&has, topic_value(t->topic_name, t->partitions, t->partitions_count));
	}
	for (int32_t i = 0; i < m->target_assignment.topic_partitions_count; i++) {
		const described_target *t = &m->target_assignment.topic_partitions[i];

		value_append(&target,
		             topic_value(t->topic_name, t->partitions, t->partitions_count));
	}
	return json_pack("{s:o, s:o, s:o, s:o, s:s, s:i, s:o, s:o, s:o, s:o}", "member_id",
	                 value_str(m->member_id), "instance_id", value_str(m->instance_id),
	                 "client_id", value_str(m->client_id), "host", value_str(m->client_host),
	                 "type", m->member_type == 0 ? "classic" : "consumer", "epoch",
	                 m->member_epoch, "topics", names, "regex",
	                 value_str(m->subscribed_topic_regex), "assignment", has, "target", target);
}

static void described_consumer(struct rpc_call *call, struct sl_cursor *body,
                               struct sl_arena *arena, int16_t version)
{
	struct sl_consumer_group_describe_resp resp;
	const struct sl_consumer_group_describe_resp_group *g;
	json_t *members;

	if (sl_consumer_group_describe_resp_decode(&resp, body, arena, version) < 0 ||
	    resp.groups_count != 1) {
		kafka_malformed(call);
		return;
	}
	g = &resp.groups[0];
	if (g->error_code != SL_KERR_NONE) {
		rpc_call_kerr(call, g->error_code, g->error_message);
		return;
	}
	members = json_array();
	for (int32_t i = 0; i < g->members_count; i++)
		value_append(&members, consumer_member(&g->members[i]));
	rpc_call_result(call,
	                json_pack("{s:o, s:s, s:o, s:s, s:o, s:i, s:i, s:o, s:o}", "group",
	                          value_str(g->group_id), "type", "consumer", "state",
	                          value_str(g->group_state), "protocol_type", "consumer",
	                          "protocol", value_str(g->assignor_name), "epoch", g->group_epoch,
	                          "assignment_epoch", g->assignment_epoch, "members", members,
	                          "offsets", offsets_of(call->c, g->group_id)));
}

static void describe_consumer(struct rpc_call *call, struct sl_str group)
{
	struct sl_consumer_group_describe_req req;
	struct kafka_frame frame;

	sl_consumer_group_describe_req_init(&req);
	req.group_ids = &group;
	req.group_ids_count = 1;
	sl_consumer_group_describe_req_encode(
		&req, kafka_begin(&frame, SL_API_CONSUMER_GROUP_DESCRIBE, CONSUMER_VERSION),
		CONSUMER_VERSION);
	kafka_send(call, &frame, described_consumer);
}

void rpc_groups_describe(struct rpc_call *call)
{
	struct sl_str group = sl_str_from(rpc_call_str(call, "group"));
	const struct group_coord *coord = control_groups(call->c);
	struct sl_describe_groups_req req;
	struct kafka_frame frame;

	if (coord && group_is_consumer(coord, group)) {
		describe_consumer(call, group);
		return;
	}
	sl_describe_groups_req_init(&req);
	req.groups = &group;
	req.groups_count = 1;
	sl_describe_groups_req_encode(&req,
	                              kafka_begin(&frame, SL_API_DESCRIBE_GROUPS, DESCRIBE_VERSION),
	                              DESCRIBE_VERSION);
	kafka_send(call, &frame, described);
}

/* ---- delete ---- */

static void deleted(struct rpc_call *call, struct sl_cursor *body, struct sl_arena *arena,
                    int16_t version)
{
	struct sl_delete_groups_resp resp;
	const struct sl_delete_groups_resp_result *r;

	if (sl_delete_groups_resp_decode(&resp, body, arena, version) < 0 ||
	    resp.results_count != 1) {
		kafka_malformed(call);
		return;
	}
	r = &resp.results[0];
	if (r->error_code == SL_KERR_NON_EMPTY_GROUP)
		rpc_call_kerr(call, r->error_code,
		              sl_str_from("the group has members; stop them first"));
	else if (r->error_code != SL_KERR_NONE)
		rpc_call_kerr(call, r->error_code, r->error_message);
	else
		rpc_call_result(call, json_pack("{s:o}", "group", value_str(r->group_id)));
}

void rpc_groups_delete(struct rpc_call *call)
{
	struct sl_str group = sl_str_from(rpc_call_str(call, "group"));
	struct sl_delete_groups_req req;
	struct kafka_frame frame;

	sl_delete_groups_req_init(&req);
	req.groups_names = &group;
	req.groups_names_count = 1;
	sl_delete_groups_req_encode(&req, kafka_begin(&frame, SL_API_DELETE_GROUPS, DELETE_VERSION),
	                            DELETE_VERSION);
	kafka_send(call, &frame, deleted);
}
