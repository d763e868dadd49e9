/* SPDX-License-Identifier: Apache-2.0 */
/* Loading, unloading, replaying what others wrote. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim.h"

#include "sluice/wire/batch.h"
#include "sluice/wire/group_metadata_key_gen.h"
#include "sluice/wire/group_metadata_value_gen.h"
#include "sluice/wire/offset_commit_key_gen.h"
#include "sluice/wire/offset_commit_value_gen.h"

static int16_t join_error(struct sim *s, const char *group)
{
	return sim_joined(s, sim_join(s, 5, (struct sim_join){.group = group}))->error_code;
}

static int16_t commit_error(struct sim *s, const char *group)
{
	return sim_committed(s, sim_commit(s, 7,
	                                   (struct sim_commit){.group = group, .generation = -1}));
}

static int16_t fetch_error(struct sim *s, int16_t version, const char *group)
{
	const struct sl_offset_fetch_resp *r;
	struct sl_offset_fetch_req_group g;
	struct sl_offset_fetch_req_topic t;
	struct sl_offset_fetch_req m;
	int32_t part = 0;

	sl_offset_fetch_req_init(&m);
	sl_offset_fetch_req_group_init(&g);
	t = (struct sl_offset_fetch_req_topic){sl_str_from("t0"), &part, 1};
	m.group_id = g.group_id = sl_str_from(group);
	m.topics = &t;
	m.topics_count = 1;
	g.topics_count = -1;
	m.groups = &g;
	m.groups_count = 1;
	r = sim_answer(s, sim_send(s, SL_API_OFFSET_FETCH, version, &m));
	if (version >= 8)
		return r->groups[0].error_code;
	return version >= 2 ? r->error_code : r->topics[0].partitions[0].error_code;
}

static void check_errors(struct sim *s, const char *g, int16_t expected, int16_t heartbeat)
{
	struct sl_offset_delete_req d;

	cr_assert_eq(join_error(s, g), expected);
	cr_assert_eq(commit_error(s, g), expected);
	for (int16_t version = 1; version <= 10; version++)
		cr_assert_eq(fetch_error(s, version, g), expected);
	cr_assert_eq(sim_heartbeat(s, g, "m", 1), heartbeat);
	for (int16_t version = 0; version <= 5; version++)
		cr_assert_eq(sim_left(s, sim_leave(s, version, g, "m", NULL)), expected);
	cr_assert_eq(sim_synced(s, sim_sync(s, 3, g, "m", 1, NULL))->error_code, expected);
	cr_assert_eq(sim_describe(s, g)->error_code, expected);
	cr_assert_eq(sim_delete_group(s, g), expected);
	sl_offset_delete_req_init(&d);
	d.group_id = sl_str_from(g);
	cr_assert_eq(((const struct sl_offset_delete_resp *)sim_answer(
			      s, sim_send(s, SL_API_OFFSET_DELETE, 0, &d)))
	                     ->error_code,
	             expected);
}

Test(group_load, partitions_that_are_not_served_say_so_in_every_api)
{
	struct sim s;
	struct group_opts opts = sim_default_opts(&s);
	int32_t p;

	sim_init_opts(&s, &opts);
	p = group_partition(s.c, sl_str_from("g"));
	check_errors(&s, "g", SL_KERR_NOT_COORDINATOR, SL_KERR_NOT_COORDINATOR);
	sim_partition(&s, GROUP_EV_LOAD_BEGIN, p);
	check_errors(&s, "g", SL_KERR_COORDINATOR_LOAD_IN_PROGRESS, SL_KERR_NONE);
	sim_partition(&s, GROUP_EV_LOAD_END, p);
	cr_assert_eq(join_error(&s, "g"), SL_KERR_MEMBER_ID_REQUIRED);
	sim_partition(&s, GROUP_EV_UNLOAD, p);
	check_errors(&s, "g", SL_KERR_NOT_COORDINATOR, SL_KERR_NOT_COORDINATOR);
	sim_fini(&s);
}

Test(group_load, restores_stable_group_and_sessions_start_at_full_length)
{
	struct sim_pair pair;
	struct sim s;
	const struct sl_describe_groups_resp_group *g;

	sim_init(&s);
	sim_make_pair(&s, "g", &pair);
	sim_advance(&s, SIM_SESSION_MS - 1);
	sim_reload(&s);
	g = sim_describe(&s, "g");
	cr_assert(sim_str_is(g->group_state, "Stable"));
	cr_assert_eq(g->members_count, 2);
	cr_assert_str_eq(sim_bytes_text(&s, g->members[0].member_assignment), "one");
	sim_advance(&s, SIM_SESSION_MS - 1);
	cr_assert_eq(sim_heartbeat(&s, "g", pair.a, pair.generation), 0);
	sim_advance(&s, 1);
	cr_assert_eq(sim_heartbeat(&s, "g", pair.b, pair.generation), SL_KERR_UNKNOWN_MEMBER_ID);
	/* The leader is still the leader. */
	cr_assert_eq(sim_joined(&s,
	                        sim_join(&s, 5, (struct sim_join){.group = "g", .member = pair.a}))
	                     ->members_count,
	             1);
	sim_fini(&s);
}

Test(group_load, unload_answers_all_held_requests)
{
	struct sim_pair pair;
	struct sim s;
	uint64_t join;
	uint64_t sync;
	uint64_t commit;
	uint64_t first;

	sim_init(&s);
	sim_make_pair(&s, "g", &pair);
	join = sim_join(&s, 5, (struct sim_join){.group = "g", .member = pair.a});
	sim_make_pair(&s, "h", &pair);
	sync = sim_join(&s, 5, (struct sim_join){.group = "h", .member = pair.a});
	sim_join(&s, 5, (struct sim_join){.group = "h", .member = pair.b});
	cr_assert_eq(sim_joined(&s, sync)->error_code, 0);
	s.is_holding = true;
	sync = sim_sync(&s, 3, "h", pair.a, pair.generation + 1, "x=1");
	commit = sim_commit(&s, 7, (struct sim_commit){.group = "i", .generation = -1});
	first = sim_join(&s, 2, (struct sim_join){.group = "j"});
	for (int32_t i = 0; i < SIM_PARTITIONS; i++)
		sim_partition(&s, GROUP_EV_UNLOAD, i);
	cr_assert_eq(sim_joined(&s, join)->error_code, SL_KERR_NOT_COORDINATOR);
	cr_assert_eq(sim_synced(&s, sync)->error_code, SL_KERR_NOT_COORDINATOR);
	cr_assert_eq(sim_committed(&s, commit), SL_KERR_NOT_COORDINATOR);
	cr_assert_eq(sim_joined(&s, first)->error_code, SL_KERR_NOT_COORDINATOR);
	/* Outcomes that come later are of no consequence. */
	sim_flush(&s, SL_KERR_NONE);
	cr_assert_eq(sim_counter(&s, "appends_unknown"), 3);
	sim_fini(&s);
}

/* ---- Records by hand ---- */
struct hand {
	struct sl_buf log;
	struct sl_buf key;
	struct sl_buf value;
	struct sl_batch_builder b;
};

static void hand_begin(struct hand *h, uint16_t attributes)
{
	struct sl_batch_head head;

	sl_buf_init_grow(&h->log, 1 << 20);
	sl_buf_init_grow(&h->key, 1 << 20);
	sl_buf_init_grow(&h->value, 1 << 20);
	sl_batch_head_init(&head);
	head.attributes = attributes;
	if (attributes & SL_BATCH_TRANSACTIONAL) {
		head.producer_id = 5;
		head.producer_epoch = 0;
		head.base_sequence = 0;
	}
	sl_batch_begin(&h->b, &h->log, &head);
}

static void hand_add(struct hand *h, bool is_tombstone)
{
	struct sl_bytes value = {h->value.p, (int32_t)h->value.len};

	sl_batch_add(&h->b, 0, (struct sl_bytes){h->key.p, (int32_t)h->key.len},
	             is_tombstone ? SL_BYTES_NULL : value);
	sl_buf_reset(&h->key);
	sl_buf_reset(&h->value);
}

static void hand_offset(struct hand *h, int16_t key_type, int16_t version, const char *group,
                        int32_t partition, int64_t offset)
{
	struct sl_offset_commit_key key = {sl_str_from(group), sl_str_from("t0"), partition};
	struct sl_offset_commit_value value;

	sl_put_i16(&h->key, key_type);
	sl_offset_commit_key_encode(&key, &h->key, 0);
	sl_offset_commit_value_init(&value);
	value.offset = offset;
	value.commit_timestamp = SIM_WALL_BASE;
	value.topic_id = sim_topic_id(0);
	sl_put_i16(&h->value, version);
	sl_offset_commit_value_encode(&value, &h->value, version);
	hand_add(h, false);
}

static void hand_group(struct hand *h, int16_t version, const char *group)
{
	struct sl_group_metadata_value_member member[2];
	struct sl_group_metadata_key key = {sl_str_from(group)};
	struct sl_group_metadata_value value;

	sl_put_i16(&h->key, SL_GROUP_METADATA_KEY_TYPE);
	sl_group_metadata_key_encode(&key, &h->key, 0);
	sl_group_metadata_value_init(&value);
	value.protocol_type = sl_str_from("consumer");
	value.generation = 12;
	value.protocol = sl_str_from("range");
	value.leader = sl_str_from("m-1");
	for (int i = 0; i < 2; i++) {
		sl_group_metadata_value_member_init(&member[i]);
		member[i].member_id = sl_str_from(i ? "m-1" : "m-0");
		member[i].client_id = sl_str_from("c");
		member[i].client_host = sl_str_from("/h");
		member[i].session_timeout = 7000;
		member[i].rebalance_timeout = version >= 1 ? 9000 : -1;
		member[i].subscription = (struct sl_bytes){"", 0};
		member[i].assignment = (struct sl_bytes){i ? "as1" : "as0", 3};
	}
	value.members = member;
	value.members_count = 2;
	sl_put_i16(&h->value, version);
	sl_group_metadata_value_encode(&value, &h->value, version);
	hand_add(h, false);
}

/* Puts the batch on the log of the group's partition and loads it. */
static void hand_load(struct hand *h, struct sim *s, const char *group)
{
	int32_t p = group_partition(s->c, sl_str_from(group));
	struct sim_log *log = &s->logs[p];

	cr_assert_eq(sl_batch_end(&h->b), 0);
	log->cap = log->len + h->log.len;
	log->bytes = realloc(log->bytes, log->cap);
	cr_assert(log->bytes);
	memcpy(log->bytes + log->len, h->log.p, h->log.len);
	log->len += h->log.len;
	sl_buf_fini(&h->log);
	sl_buf_fini(&h->key);
	sl_buf_fini(&h->value);
	sim_partition(s, GROUP_EV_LOAD_BEGIN, p);
	sim_partition(s, GROUP_EV_LOAD_BATCHES, p);
	sim_partition(s, GROUP_EV_LOAD_END, p);
}

Test(group_load, reads_every_version_that_kafka_wrote)
{
	for (int16_t version = 0; version <= 4; version++) {
		struct hand h;
		struct sim s;

		sim_init(&s);
		hand_begin(&h, 0);
		hand_offset(&h, version == 0 ? 0 : 1, version, "g", 0, 100 + version);
		hand_group(&h, version, "g");
		hand_load(&h, &s, "g");
		cr_assert_eq(sim_offset(&s, "g", 0, 0), 100 + version);
		cr_assert_str_eq(sim_group_state(&s, "g"), "Stable");
		cr_assert_str_eq(
			sim_bytes_text(&s, sim_describe(&s, "g")->members[0].member_assignment),
			"as0");
		cr_assert_eq(sim_heartbeat(&s, "g", "m-1", 12), 0);
		/* The leader of the record leads: its join alone makes the others join, too. */
		sim_join(&s, 5,
		         (struct sim_join){.group = "g", .member = "m-1", .rebalance_ms = 9000});
		cr_assert_str_eq(sim_group_state(&s, "g"), "PreparingRebalance");
		sim_advance(&s, 7000);
		cr_assert_eq(sim_counter(&s, "members_expired"), 1);
		sim_fini(&s);
	}
}

Test(group_load, reads_compressed_batches)
{
	for (uint16_t codec = 1; codec <= 4; codec++) {
		struct hand h;
		struct sim s;

		sim_init(&s);
		hand_begin(&h, codec);
		for (int32_t i = 0; i < SIM_TOPIC_PARTS; i++)
			hand_offset(&h, 1, 3, "g", i, 1000 + i);
		hand_load(&h, &s, "g");
		for (int32_t i = 0; i < SIM_TOPIC_PARTS; i++)
			cr_assert_eq(sim_offset(&s, "g", 0, i), 1000 + i);
		sim_fini(&s);
	}
}

Test(group_load, skips_kinds_it_does_not_know_and_counts_them)
{
	struct hand h;
	struct sim s;

	sim_init(&s);
	hand_begin(&h, 0);
	sl_put_i16(&h.key, 99);
	sl_put_i32(&h.key, 77);
	hand_add(&h, false);
	hand_offset(&h, 1, 3, "g", 0, 5);
	hand_load(&h, &s, "g");
	cr_assert_eq(sim_offset(&s, "g", 0, 0), 5);
	cr_assert_eq(sim_counter(&s, "load_skipped_version"), 1);
	sim_fini(&s);
}

Test(group_load, skips_transactional_control_and_misplaced_records)
{
	const char *elsewhere = NULL;
	static const char *const names[] = {"a", "b", "c", "d", "e", "f"};
	struct hand h;
	struct sim s;

	sim_init(&s);
	for (size_t i = 0; i < SL_ARRAY_SIZE(names); i++) {
		if (group_partition(s.c, sl_str_from(names[i])) !=
		    group_partition(s.c, sl_str_from("g")))
			elsewhere = names[i];
	}
	cr_assert(elsewhere);
	hand_begin(&h, SL_BATCH_TRANSACTIONAL);
	hand_offset(&h, 1, 3, "g", 0, 5);
	hand_load(&h, &s, "g");
	hand_begin(&h, 0);
	hand_offset(&h, 1, 3, elsewhere, 0, 5);
	hand_load(&h, &s, "g");
	cr_assert_eq(sim_offset(&s, "g", 0, 0), -1);
	cr_assert_eq(sim_offset(&s, elsewhere, 0, 0), -1);
	cr_assert_geq(sim_counter(&s, "load_transactional"), 1);
	cr_assert_eq(sim_counter(&s, "load_skipped_misplaced"), 1);
	sim_fini(&s);
}

static void spoil_value(struct hand *h)
{
	struct sl_offset_commit_key key = {sl_str_from("g"), sl_str_from("t0"), 1};

	sl_put_i16(&h->key, 1);
	sl_offset_commit_key_encode(&key, &h->key, 0);
	sl_put_i16(&h->value, 3);
	sl_put_i16(&h->value, 0);
	hand_add(h, false);
}

static void spoil_value_version(struct hand *h)
{
	struct sl_offset_commit_key key = {sl_str_from("g"), sl_str_from("t0"), 1};

	sl_put_i16(&h->key, 1);
	sl_offset_commit_key_encode(&key, &h->key, 0);
	sl_put_i16(&h->value, 99);
	hand_add(h, false);
}

static void spoil_key(struct hand *h)
{
	sl_put_i16(&h->key, 1);
	sl_put_i16(&h->key, 500);
	hand_add(h, true);
}

static void spoil_no_key(struct hand *h)
{
	hand_add(h, true);
}

Test(group_load, unreadable_record_fails_the_partition_until_it_is_loaded_again)
{
	static void (*const spoil[])(struct hand *) = {spoil_value, spoil_value_version, spoil_key,
	                                               spoil_no_key};

	for (size_t i = 0; i < SL_ARRAY_SIZE(spoil); i++) {
		struct hand h;
		struct sim s;
		int32_t p;

		sim_init(&s);
		hand_begin(&h, 0);
		hand_offset(&h, 1, 3, "g", 0, 5);
		spoil[i](&h);
		hand_load(&h, &s, "g");
		check_errors(&s, "g", SL_KERR_COORDINATOR_NOT_AVAILABLE,
		             SL_KERR_COORDINATOR_NOT_AVAILABLE);
		cr_assert_eq(sim_counter(&s, "load_failed_partitions"), 1);
		p = group_partition(s.c, sl_str_from("g"));
		s.logs[p].len = 0;
		sim_partition(&s, GROUP_EV_LOAD_BEGIN, p);
		sim_partition(&s, GROUP_EV_LOAD_END, p);
		cr_assert_eq(sim_offset(&s, "g", 0, 0), -1);
		sim_fini(&s);
	}
}

Test(group_load, damaged_bytes_fail_the_partition_wherever_they_are)
{
	struct hand h;
	struct sim s;
	int32_t p;

	sim_init(&s);
	hand_begin(&h, 0);
	hand_offset(&h, 1, 3, "g", 0, 5);
	hand_group(&h, 3, "g");
	hand_load(&h, &s, "g");
	p = group_partition(s.c, sl_str_from("g"));
	for (size_t i = 0; i < s.logs[p].len; i++) {
		/* Base offset and leader epoch are no part of what the coordinator reads. */
		bool is_free = i < 8 || (i >= 12 && i < 16);

		s.logs[p].bytes[i] ^= 0x5a;
		sim_partition(&s, GROUP_EV_LOAD_BEGIN, p);
		sim_partition(&s, GROUP_EV_LOAD_BATCHES, p);
		sim_partition(&s, GROUP_EV_LOAD_END, p);
		cr_assert_eq(fetch_error(&s, 7, "g"),
		             is_free ? 0 : SL_KERR_COORDINATOR_NOT_AVAILABLE, "byte %zu", i);
		s.logs[p].bytes[i] ^= 0x5a;
	}
	sim_fini(&s);
}

Test(group_load, group_over_a_lowered_limit_rebalances)
{
	struct sim_pair pair;
	struct sim s;

	sim_init(&s);
	sim_make_pair(&s, "g", &pair);
	s.opts.group_size_max = 1;
	sim_reload(&s);
	cr_assert_str_eq(sim_group_state(&s, "g"), "PreparingRebalance");
	sim_fini(&s);
}

Test(group_load, tombstone_of_a_group_leaves_its_offsets)
{
	struct sl_group_metadata_key key = {sl_str_from("g")};
	struct hand h;
	struct sim s;

	sim_init(&s);
	hand_begin(&h, 0);
	hand_group(&h, 3, "g");
	hand_offset(&h, 1, 3, "g", 0, 5);
	sl_put_i16(&h.key, SL_GROUP_METADATA_KEY_TYPE);
	sl_group_metadata_key_encode(&key, &h.key, 0);
	hand_add(&h, true);
	hand_load(&h, &s, "g");
	/* The group may have changed over; when it is deleted its offsets get tombstones too. */
	cr_assert_str_eq(sim_group_state(&s, "g"), "Empty");
	cr_assert_eq(sim_describe(&s, "g")->members_count, 0);
	cr_assert_eq(sim_offset(&s, "g", 0, 0), 5);
	sim_fini(&s);
}

Test(group_load, tombstone_of_a_group_without_offsets_ends_it)
{
	struct sl_group_metadata_key key = {sl_str_from("g")};
	struct hand h;
	struct sim s;

	sim_init(&s);
	hand_begin(&h, 0);
	hand_group(&h, 3, "g");
	sl_put_i16(&h.key, SL_GROUP_METADATA_KEY_TYPE);
	sl_group_metadata_key_encode(&key, &h.key, 0);
	hand_add(&h, true);
	hand_load(&h, &s, "g");
	cr_assert_str_eq(sim_group_state(&s, "g"), "Dead");
	sim_fini(&s);
}
