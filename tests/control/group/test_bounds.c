/* SPDX-License-Identifier: Apache-2.0 */
/* Malformed requests, limits, and sizes. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "limits.h"
#include "sim.h"

static const struct {
	int16_t key;
	int16_t max;
	bool is_empty_valid; /* a body without a byte can be decoded */
} apis[] = {
	{SL_API_OFFSET_COMMIT, 10, false},  {SL_API_OFFSET_FETCH, 10, false},
	{SL_API_JOIN_GROUP, 9, false},      {SL_API_HEARTBEAT, 4, false},
	{SL_API_LEAVE_GROUP, 5, false},     {SL_API_SYNC_GROUP, 5, false},
	{SL_API_DESCRIBE_GROUPS, 6, false}, {SL_API_LIST_GROUPS, 5, true},
	{SL_API_DELETE_GROUPS, 3, false},   {SL_API_OFFSET_DELETE, 0, false},
};

Test(group_bounds, unknown_versions_and_keys_close_the_connection)
{
	uint64_t n = 0;
	struct sim s;

	sim_init(&s);
	for (size_t i = 0; i < SL_ARRAY_SIZE(apis); i++) {
		cr_assert_eq(sim_state(&s, sim_send_raw(&s, apis[i].key, -1, "", 0)), SIM_CLOSED);
		cr_assert_eq(sim_state(&s, sim_send_raw(&s, apis[i].key, apis[i].max + 1, "", 0)),
		             SIM_CLOSED);
		n += 2;
	}
	cr_assert_eq(sim_state(&s, sim_send_raw(&s, SL_API_PRODUCE, 9, "", 0)), SIM_CLOSED);
	cr_assert_eq(sim_state(&s, sim_send_raw(&s, 1000, 0, "", 0)), SIM_CLOSED);
	cr_assert_eq(sim_state(&s, sim_send_raw(&s, SL_API_OFFSET_COMMIT, 1, "", 0)), SIM_CLOSED);
	cr_assert_eq(sim_state(&s, sim_send_raw(&s, SL_API_OFFSET_FETCH, 0, "", 0)), SIM_CLOSED);
	cr_assert_eq(sim_counter(&s, "closed_unsupported"), n + 4);
	sim_fini(&s);
}

Test(group_bounds, body_cut_anywhere_closes_the_connection_and_changes_nothing)
{
	struct sl_join_group_req_protocol protocol = {sl_str_from("range"), {"abc", 3}};
	struct sl_join_group_req m;
	struct sim s;

	sim_init(&s);
	sl_join_group_req_init(&m);
	m.group_id = sl_str_from("g");
	m.session_timeout_ms = SIM_SESSION_MS;
	m.rebalance_timeout_ms = SIM_REBALANCE_MS;
	m.protocol_type = sl_str_from("consumer");
	m.protocols = &protocol;
	m.protocols_count = 1;
	for (int16_t version = 0; version <= 9; version++) {
		struct sl_buf b;

		sl_buf_init_grow(&b, 1 << 16);
		sl_join_group_req_encode(&m, &b, version);
		for (size_t len = 0; len < b.len; len++)
			cr_assert_eq(sim_state(&s, sim_send_raw(&s, SL_API_JOIN_GROUP, version, b.p,
			                                        len)),
			             SIM_CLOSED);
		sl_buf_fini(&b);
	}
	cr_assert_str_eq(sim_group_state(&s, "g"), "Dead");
	cr_assert_gt(sim_counter(&s, "closed_malformed"), 100);
	sim_fini(&s);
}

Test(group_bounds, empty_bodies_close_the_connection)
{
	struct sim s;

	sim_init(&s);
	for (size_t i = 0; i < SL_ARRAY_SIZE(apis); i++) {
		for (int16_t v = sl_api_find(apis[i].key)->min_version; v <= apis[i].max; v++) {
			bool has_fields = !apis[i].is_empty_valid || v >= 3;

			cr_assert_eq(sim_state(&s, sim_send_raw(&s, apis[i].key, v, "", 0)),
			             has_fields ? SIM_CLOSED : SIM_ANSWERED);
		}
	}
	sim_fini(&s);
}

Test(group_bounds, garbage_is_closed_or_answered_and_never_both)
{
	struct sim s;

	sim_init(&s);
	for (int i = 0; i < 60000; i++) {
		size_t api = sim_random(&s) % SL_ARRAY_SIZE(apis);
		uint8_t bytes[96];
		size_t len = sim_random(&s) % sizeof(bytes);
		int16_t version = (int16_t)(sim_random(&s) % (uint64_t)(apis[api].max + 1));
		uint64_t h;

		for (size_t k = 0; k < len; k++) {
			/* Small numbers get further than random ones. */
			uint64_t r = sim_random(&s);

			bytes[k] = r & 0x300 ? (uint8_t)(r & 3) : (uint8_t)r;
		}
		h = sim_send_raw(&s, apis[api].key, version, bytes, len);
		if (sim_state(&s, h) == SIM_ANSWERED)
			sim_answer(&s, h);
		sl_arena_reset(&s.arena);
	}
	sim_fini(&s);
}

Test(group_bounds, too_many_protocols_or_too_much_metadata_is_refused)
{
	static struct sl_join_group_req_protocol list[LIMIT_PROTOCOLS + 1];
	static char names[LIMIT_PROTOCOLS + 1][16];
	struct sl_join_group_req m;
	struct sim s;
	uint64_t h;
	char *big = calloc(1, 40u << 20);

	cr_assert(big);
	sim_init(&s);
	for (int i = 0; i <= LIMIT_PROTOCOLS; i++) {
		snprintf(names[i], sizeof(names[i]), "p%d", i);
		list[i] = (struct sl_join_group_req_protocol){sl_str_from(names[i]), {"", 0}};
	}
	sl_join_group_req_init(&m);
	m.group_id = sl_str_from("g");
	m.session_timeout_ms = SIM_SESSION_MS;
	m.rebalance_timeout_ms = SIM_REBALANCE_MS;
	m.protocol_type = sl_str_from("consumer");
	m.protocols = list;
	m.protocols_count = LIMIT_PROTOCOLS + 1;
	h = sim_send(&s, SL_API_JOIN_GROUP, 2, &m);
	cr_assert_eq(sim_joined(&s, h)->error_code, SL_KERR_INCONSISTENT_GROUP_PROTOCOL);
	m.protocols_count = 1;
	list[0].metadata = (struct sl_bytes){big, 40 << 20};
	h = sim_send(&s, SL_API_JOIN_GROUP, 2, &m);
	cr_assert_eq(sim_state(&s, h), SIM_WAITING);
	h = sim_send(&s, SL_API_JOIN_GROUP, 2, &m);
	cr_assert_eq(sim_joined(&s, h)->error_code, SL_KERR_GROUP_MAX_SIZE_REACHED);
	cr_assert_eq(sim_counter(&s, "refused_metadata_full"), 1);
	free(big);
	sim_fini(&s);
}

Test(group_bounds, members_that_never_return_are_limited)
{
	struct sim s;
	uint64_t h;

	sim_init(&s);
	for (uint32_t i = 0; i < LIMIT_PENDING; i++) {
		h = sim_join(&s, 5, (struct sim_join){.group = "g"});
		sl_arena_reset(&s.arena);
	}
	cr_assert_eq(sim_joined(&s, h)->error_code, SL_KERR_MEMBER_ID_REQUIRED);
	h = sim_join(&s, 5, (struct sim_join){.group = "g"});
	cr_assert_eq(sim_joined(&s, h)->error_code, SL_KERR_GROUP_MAX_SIZE_REACHED);
	cr_assert_eq(sim_counter(&s, "refused_pending_full"), 1);
	/* And forgotten after their session. */
	sim_advance(&s, SIM_SESSION_MS);
	cr_assert_eq(sim_counter(&s, "members_pending_expired"), LIMIT_PENDING);
	h = sim_join(&s, 5, (struct sim_join){.group = "g"});
	cr_assert_eq(sim_joined(&s, h)->error_code, SL_KERR_MEMBER_ID_REQUIRED);
	sim_fini(&s);
}

Test(group_bounds, held_requests_are_limited)
{
	struct sim s;
	uint64_t h = 0;

	sim_init(&s);
	s.is_holding = true;
	for (uint32_t i = 0; i <= LIMIT_PARKED; i++) {
		h = sim_commit(&s, 7,
		               (struct sim_commit){.group = "g", .generation = -1, .offset = i});
		sl_arena_reset(&s.arena);
	}
	cr_assert_eq(sim_committed(&s, h), SL_KERR_COORDINATOR_NOT_AVAILABLE);
	cr_assert_eq(sim_counter(&s, "refused_parked_full"), 1);
	cr_assert_eq(s.queue_count, LIMIT_PARKED);
	for (int32_t i = 0; i < SIM_PARTITIONS; i++)
		sim_partition(&s, GROUP_EV_UNLOAD, i);
	cr_assert_eq(sim_committed(&s, h - 1), SL_KERR_NOT_COORDINATOR);
	sim_fini(&s);
}

Test(group_bounds, bytes_of_held_requests_are_limited)
{
	enum {
		TOPICS = 60000
	};
	static struct sl_offset_commit_req_topic_partition p;
	static struct sl_offset_commit_req_topic t[TOPICS];
	const struct sl_offset_commit_resp *r;
	static char name[100];
	struct sl_offset_commit_req m;
	struct sim s;
	uint64_t h;

	sim_init(&s);
	s.is_holding = true;
	memset(name, 'n', sizeof(name));
	sl_offset_commit_req_init(&m);
	sl_offset_commit_req_topic_partition_init(&p);
	m.group_id = sl_str_from("g");
	m.topics = t;
	m.topics_count = TOPICS;
	/* One partition that exists, and many bytes about others. */
	for (int i = 0; i < TOPICS; i++)
		t[i] = (struct sl_offset_commit_req_topic){
			.name = i ? (struct sl_str){name, sizeof(name)} : sl_str_from("t0"),
			.partitions = &p,
			.partitions_count = 1};
	do {
		h = sim_send(&s, SL_API_OFFSET_COMMIT, 7, &m);
	} while (sim_state(&s, h) == SIM_WAITING && s.mails_count < 1000);
	r = sim_answer(&s, h);
	cr_assert_eq(r->topics[0].partitions[0].error_code, SL_KERR_COORDINATOR_NOT_AVAILABLE);
	cr_assert_eq(sim_counter(&s, "refused_held_full"), 1);
	cr_assert_gt(s.queue_count, 20);
	sim_flush(&s, SL_KERR_NONE);
	s.is_holding = false;
	r = sim_answer(&s, sim_send(&s, SL_API_OFFSET_COMMIT, 7, &m));
	cr_assert_eq(r->topics[0].partitions[0].error_code, 0);
	sim_fini(&s);
}

Test(group_bounds, bad_options_are_refused)
{
	struct sim s;
	struct group_coord *c;
	struct group_opts good = sim_default_opts(&s);
	struct group_opts bad = good;

	bad.partitions_count = 0;
	cr_assert_eq(group_create(&c, &bad), -EINVAL);
	bad = good;
	bad.session_timeout_max_ms = 1;
	cr_assert_eq(group_create(&c, &bad), -EINVAL);
	bad = good;
	bad.topic_name = NULL;
	cr_assert_eq(group_create(&c, &bad), -EINVAL);
	bad = good;
	bad.group_size_max = 0;
	cr_assert_eq(group_create(&c, &bad), -EINVAL);
}

Test(group_scale, thousand_groups_and_hundred_thousand_offsets)
{
	enum {
		GROUPS = 1000,
		PER_GROUP = 100
	};
	struct group_offset_view o;
	struct group_view v;
	uint32_t pos = 0;
	uint64_t offsets = 0;
	uint32_t groups = 0;
	struct sim s;

	sim_init(&s);
	for (int g = 0; g < GROUPS; g++) {
		char name[32];

		snprintf(name, sizeof(name), "group-%d", g);
		for (int i = 0; i < PER_GROUP; i++) {
			struct sim_commit k = {.group = name,
			                       .generation = -1,
			                       .topic = i / SIM_TOPIC_PARTS,
			                       .partition = i % SIM_TOPIC_PARTS,
			                       .offset = i};

			cr_assert_eq(sim_committed(&s, sim_commit(&s, 7, k)), 0);
			sl_arena_reset(&s.arena);
		}
	}
	sim_reload(&s);
	while (group_next(s.c, &pos, &v)) {
		uint32_t at = 0;

		groups++;
		while (group_next_offset(s.c, v.group_id, &at, &o)) {
			offsets++;
			cr_assert_eq(o.offset,
			             (o.topic.p[1] - '0') * SIM_TOPIC_PARTS + o.partition);
		}
	}
	cr_assert_eq(groups, GROUPS);
	cr_assert_eq(offsets, GROUPS * PER_GROUP);
	/* All of it expires in one tick, in batches of bounded size. */
	s.now_ms += SIM_RETENTION_MS;
	sim_advance(&s, SIM_CHECK_MS);
	pos = 0;
	cr_assert(!group_next(s.c, &pos, &v));
	cr_assert_eq(sim_counter(&s, "offsets_expired"), GROUPS * PER_GROUP);
	sim_fini(&s);
}
