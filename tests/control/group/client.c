/* SPDX-License-Identifier: Apache-2.0 */
/* What clients send, spelled shortly. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim.h"

static struct sl_str or_empty(const char *text)
{
	return sl_str_from(text ? text : "");
}

/* Takes the text up to @sep off *rest; false at the end.  Empty pieces are left out. */
static bool next_piece(const char **rest, char sep, struct sl_str *out)
{
	while (**rest == sep)
		(*rest)++;
	if (!**rest)
		return false;
	*out = (struct sl_str){*rest, (int32_t)(strchrnul(*rest, sep) - *rest)};
	*rest += out->len;
	return true;
}

/* Splits "a,b,c"; returns the count. */
static int32_t split(const char *list, struct sl_str *out, int32_t max)
{
	struct sl_str piece;
	int32_t n = 0;

	while (next_piece(&list, ',', &piece)) {
		cr_assert_lt(n, max);
		out[n++] = piece;
	}
	return n;
}

static struct sl_bytes subscription(struct sim *s, const char *topics)
{
	struct sl_consumer_protocol_subscription sub;
	struct sl_str names[SIM_TOPICS];
	struct sl_buf b;
	uint8_t *p = sl_arena_alloc(&s->arena, 1024);

	sl_consumer_protocol_subscription_init(&sub);
	sub.topics = names;
	sub.topics_count = split(topics, names, SIM_TOPICS);
	sl_buf_init_fixed(&b, p, 1024);
	sl_buf_put_be16(&b, 1);
	sl_consumer_protocol_subscription_encode(&sub, &b, 1);
	cr_assert(sl_buf_ok(&b));
	return (struct sl_bytes){p, (int32_t)b.len};
}

uint64_t sim_join(struct sim *s, int16_t version, struct sim_join j)
{
	struct sl_join_group_req_protocol protocols[16];
	struct sl_str names[16];
	struct sl_join_group_req m;

	sl_join_group_req_init(&m);
	m.group_id = or_empty(j.group);
	m.member_id = or_empty(j.member);
	m.group_instance_id = sl_str_from(j.instance);
	m.session_timeout_ms = j.session_ms ? j.session_ms : SIM_SESSION_MS;
	m.rebalance_timeout_ms = j.rebalance_ms ? j.rebalance_ms : SIM_REBALANCE_MS;
	m.protocol_type = sl_str_from(j.type ? j.type : "consumer");
	m.protocols_count = split(j.protocols ? j.protocols : "range", names, 16);
	m.protocols = protocols;
	for (int32_t i = 0; i < m.protocols_count; i++)
		protocols[i] = (struct sl_join_group_req_protocol){
			names[i], subscription(s, j.topics ? j.topics : "t0")};
	return sim_send(s, SL_API_JOIN_GROUP, version, &m);
}

const struct sl_join_group_resp *sim_joined(struct sim *s, uint64_t handle)
{
	return sim_answer(s, handle);
}

uint64_t sim_join_twice(struct sim *s, int16_t version, struct sim_join j, char *id)
{
	const struct sl_join_group_resp *r = sim_joined(s, sim_join(s, version, j));

	cr_assert_eq(r->error_code, SL_KERR_MEMBER_ID_REQUIRED);
	snprintf(id, 128, "%.*s", SL_STR_ARG(r->member_id));
	j.member = id;
	return sim_join(s, version, j);
}

uint64_t sim_sync(struct sim *s, int16_t version, const char *group, const char *member,
                  int32_t generation, const char *assign)
{
	struct sl_sync_group_req_assignment list[16];
	struct sl_sync_group_req m;
	struct sl_str piece;

	sl_sync_group_req_init(&m);
	m.group_id = or_empty(group);
	m.member_id = or_empty(member);
	m.generation_id = generation;
	m.assignments = list;
	while (assign && next_piece(&assign, ';', &piece)) {
		const char *eq = memchr(piece.p, '=', (size_t)piece.len);
		int32_t id_len = eq ? (int32_t)(eq - piece.p) : -1;

		cr_assert(eq && m.assignments_count < 16);
		list[m.assignments_count++] = (struct sl_sync_group_req_assignment){
			{piece.p, id_len}, {eq + 1, piece.len - id_len - 1}};
	}
	return sim_send(s, SL_API_SYNC_GROUP, version, &m);
}

const struct sl_sync_group_resp *sim_synced(struct sim *s, uint64_t handle)
{
	return sim_answer(s, handle);
}

int16_t sim_heartbeat_as(struct sim *s, const char *group, const char *member, const char *instance,
                         int32_t generation)
{
	const struct sl_heartbeat_resp *r;
	struct sl_heartbeat_req m;

	sl_heartbeat_req_init(&m);
	m.group_id = or_empty(group);
	m.member_id = or_empty(member);
	m.group_instance_id = sl_str_from(instance);
	m.generation_id = generation;
	r = sim_answer(s, sim_send(s, SL_API_HEARTBEAT, 4, &m));
	return r->error_code;
}

int16_t sim_heartbeat(struct sim *s, const char *group, const char *member, int32_t generation)
{
	return sim_heartbeat_as(s, group, member, NULL, generation);
}

uint64_t sim_leave(struct sim *s, int16_t version, const char *group, const char *member,
                   const char *instance)
{
	struct sl_leave_group_req_member who;
	struct sl_leave_group_req m;

	sl_leave_group_req_init(&m);
	sl_leave_group_req_member_init(&who);
	m.group_id = or_empty(group);
	m.member_id = or_empty(member);
	who.member_id = or_empty(member);
	who.group_instance_id = sl_str_from(instance);
	m.members = &who;
	m.members_count = 1;
	return sim_send(s, SL_API_LEAVE_GROUP, version, &m);
}

int16_t sim_left(struct sim *s, uint64_t handle)
{
	const struct sl_leave_group_resp *r = sim_answer(s, handle);

	return r->error_code == SL_KERR_NONE && r->members_count == 1 ? r->members[0].error_code
	                                                              : r->error_code;
}

uint64_t sim_commit(struct sim *s, int16_t version, struct sim_commit k)
{
	char name[16];
	struct sl_offset_commit_req_topic_partition p;
	struct sl_offset_commit_req_topic t;
	struct sl_offset_commit_req m;

	snprintf(name, sizeof(name), "t%d", k.topic);
	sl_offset_commit_req_init(&m);
	sl_offset_commit_req_topic_init(&t);
	sl_offset_commit_req_topic_partition_init(&p);
	m.group_id = or_empty(k.group);
	m.member_id = or_empty(k.member);
	m.group_instance_id = sl_str_from(k.instance);
	m.generation_id_or_member_epoch = k.generation;
	m.retention_time_ms = k.retention_ms ? k.retention_ms : -1;
	m.topics = &t;
	m.topics_count = 1;
	if (version >= 10)
		t.topic_id = sim_topic_id(k.topic);
	else
		t.name = sl_str_from(name);
	t.partitions = &p;
	t.partitions_count = 1;
	p.partition_index = k.partition;
	p.committed_offset = k.offset;
	p.committed_leader_epoch = 3;
	p.committed_metadata = sl_str_from(k.metadata);
	return sim_send(s, SL_API_OFFSET_COMMIT, version, &m);
}

int16_t sim_committed(struct sim *s, uint64_t handle)
{
	const struct sl_offset_commit_resp *r = sim_answer(s, handle);

	cr_assert_eq(r->topics_count, 1);
	cr_assert_eq(r->topics[0].partitions_count, 1);
	return r->topics[0].partitions[0].error_code;
}

int64_t sim_offset(struct sim *s, const char *group, int32_t topic, int32_t partition)
{
	const struct sl_offset_fetch_resp *r;
	struct sl_offset_fetch_req_topic t;
	struct sl_offset_fetch_req m;
	char name[16];

	snprintf(name, sizeof(name), "t%d", topic);
	sl_offset_fetch_req_init(&m);
	sl_offset_fetch_req_topic_init(&t);
	m.group_id = or_empty(group);
	m.topics = &t;
	m.topics_count = 1;
	t.name = sl_str_from(name);
	t.partition_indexes = &partition;
	t.partition_indexes_count = 1;
	r = sim_answer(s, sim_send(s, SL_API_OFFSET_FETCH, 7, &m));
	cr_assert_eq(r->error_code, 0);
	cr_assert_eq(r->topics_count, 1);
	cr_assert_eq(r->topics[0].partitions[0].error_code, 0);
	return r->topics[0].partitions[0].committed_offset;
}

int64_t sim_stable_offset(struct sim *s, const char *group, int32_t topic, int32_t partition)
{
	const struct sl_offset_fetch_resp *r;
	struct sl_offset_fetch_req_topic t;
	struct sl_offset_fetch_req m;
	char name[16];

	snprintf(name, sizeof(name), "t%d", topic);
	sl_offset_fetch_req_init(&m);
	sl_offset_fetch_req_topic_init(&t);
	m.group_id = or_empty(group);
	m.require_stable = true;
	m.topics = &t;
	m.topics_count = 1;
	t.name = sl_str_from(name);
	t.partition_indexes = &partition;
	t.partition_indexes_count = 1;
	r = sim_answer(s, sim_send(s, SL_API_OFFSET_FETCH, 7, &m));
	cr_assert_eq(r->error_code, 0);
	if (r->topics[0].partitions[0].error_code != 0) {
		cr_assert_eq(r->topics[0].partitions[0].committed_offset, -1);
		return -1000 - r->topics[0].partitions[0].error_code;
	}
	return r->topics[0].partitions[0].committed_offset;
}

uint64_t sim_txn_commit(struct sim *s, int16_t version, int64_t producer_id, struct sim_commit k)
{
	struct sl_txn_offset_commit_req_topic_partition p;
	struct sl_txn_offset_commit_req_topic t;
	struct sl_txn_offset_commit_req m;
	char name[16];

	snprintf(name, sizeof(name), "t%d", k.topic);
	sl_txn_offset_commit_req_init(&m);
	sl_txn_offset_commit_req_topic_init(&t);
	sl_txn_offset_commit_req_topic_partition_init(&p);
	m.transactional_id = sl_str_from("tx");
	m.group_id = or_empty(k.group);
	m.producer_id = producer_id;
	m.producer_epoch = 3;
	m.member_id = or_empty(k.member);
	m.group_instance_id = sl_str_from(k.instance);
	m.generation_id_or_member_epoch = k.generation;
	m.topics = &t;
	m.topics_count = 1;
	t.name = sl_str_from(name);
	t.partitions = &p;
	t.partitions_count = 1;
	p.partition_index = k.partition;
	p.committed_offset = k.offset;
	p.committed_leader_epoch = 3;
	p.committed_metadata = sl_str_from(k.metadata);
	return sim_send(s, SL_API_TXN_OFFSET_COMMIT, version, &m);
}

int16_t sim_txn_committed(struct sim *s, uint64_t handle)
{
	const struct sl_txn_offset_commit_resp *r = sim_answer(s, handle);

	cr_assert_eq(r->topics_count, 1);
	cr_assert_eq(r->topics[0].partitions_count, 1);
	return r->topics[0].partitions[0].error_code;
}

uint64_t sim_end_txn(struct sim *s, const char *group, int64_t producer_id, bool is_commit)
{
	struct group_event ev = {
		.type = GROUP_EV_MARK,
		.partition = group_partition(s->c, sl_str_from(group)),
		.handle = s->marks_count++,
		.marker = {producer_id, 3, 5, is_commit},
	};

	cr_assert_lt(ev.handle, SIM_MARKS);
	s->marked[ev.handle] = SIM_NOT_MARKED;
	sim_step(s, &ev);
	return ev.handle;
}

int16_t sim_delete_group(struct sim *s, const char *group)
{
	const struct sl_delete_groups_resp *r;
	struct sl_str name = sl_str_from(group);
	struct sl_delete_groups_req m;

	sl_delete_groups_req_init(&m);
	m.groups_names = &name;
	m.groups_names_count = 1;
	r = sim_answer(s, sim_send(s, SL_API_DELETE_GROUPS, 2, &m));
	cr_assert_eq(r->results_count, 1);
	cr_assert(sim_str_is(r->results[0].group_id, group));
	return r->results[0].error_code;
}

const struct sl_describe_groups_resp_group *sim_describe(struct sim *s, const char *group)
{
	const struct sl_describe_groups_resp *r;
	struct sl_str name = sl_str_from(group);
	struct sl_describe_groups_req m;

	sl_describe_groups_req_init(&m);
	m.groups = &name;
	m.groups_count = 1;
	r = sim_answer(s, sim_send(s, SL_API_DESCRIBE_GROUPS, 5, &m));
	cr_assert_eq(r->groups_count, 1);
	return &r->groups[0];
}

const char *sim_group_state(struct sim *s, const char *group)
{
	return sim_text(s, sim_describe(s, group)->group_state);
}

void sim_make_single(struct sim *s, const char *group, struct sim_pair *out)
{
	char assign[256];
	uint64_t join = sim_join_twice(s, 5, (struct sim_join){.group = group}, out->a);
	const struct sl_join_group_resp *r;
	uint64_t sync;

	sim_advance(s, SIM_DELAY_MS);
	r = sim_joined(s, join);
	cr_assert_eq(r->error_code, 0);
	out->generation = r->generation_id;
	snprintf(assign, sizeof(assign), "%s=mine", out->a);
	sync = sim_sync(s, 5, group, out->a, out->generation, assign);
	cr_assert_eq(sim_synced(s, sync)->error_code, 0);
}

void sim_make_pair(struct sim *s, const char *group, struct sim_pair *out)
{
	char assign[512];
	uint64_t a = sim_join_twice(s, 5, (struct sim_join){.group = group}, out->a);
	uint64_t b = sim_join_twice(s, 5, (struct sim_join){.group = group}, out->b);
	uint64_t sync_a;
	uint64_t sync_b;

	sim_advance(s, 2 * SIM_DELAY_MS);
	cr_assert_eq(sim_joined(s, a)->error_code, 0);
	cr_assert_eq(sim_joined(s, b)->error_code, 0);
	out->generation = sim_joined(s, a)->generation_id;
	snprintf(assign, sizeof(assign), "%s=one;%s=two", out->a, out->b);
	sync_b = sim_sync(s, 5, group, out->b, out->generation, NULL);
	cr_assert_eq(sim_state(s, sync_b), SIM_WAITING);
	sync_a = sim_sync(s, 5, group, out->a, out->generation, assign);
	cr_assert_eq(sim_synced(s, sync_a)->error_code, 0);
	cr_assert_eq(sim_synced(s, sync_b)->error_code, 0);
}
