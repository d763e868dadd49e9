/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replaying a partition of __consumer_offsets, and letting go of it.
 *
 * Records of kinds that this release does not know are skipped and counted: newer coordinators
 * write them beside ours.  A record of a known kind that cannot be read makes the partition FAILED:
 * serving a guess would move consumers to wrong offsets, so its groups are refused until it is
 * loaded anew.
 */
#include "consumer.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/wire/group_metadata_key_gen.h"
#include "sluice/wire/group_metadata_value_gen.h"
#include "sluice/wire/offset_commit_key_gen.h"
#include "sluice/wire/offset_commit_value_gen.h"

/* The first form of an offset's key; it differs in its number only. */
#define KEY_TYPE_OFFSET_OLD 0

static struct sl_cursor cursor_over(struct sl_bytes b)
{
	return sl_cursor_from(b.p, b.len > 0 ? (size_t)b.len : 0);
}

/* A group that hashes to another partition would never be asked for here: the number of partitions
 * was another one when it was written. */
static bool is_misplaced(struct group_coord *c, const struct shard *shard, struct sl_str group_id)
{
	if (state_shard(c, group_id) == shard)
		return false;
	coord_count(c, COUNT_load_skipped_misplaced);
	return true;
}

static int get_group(struct group_coord *c, struct sl_str id, struct group **out)
{
	int err = 0;

	*out = state_find(c, id);
	if (!*out)
		err = state_create(c, id, out);
	if (!err)
		(*out)->is_in_log = true;
	return err;
}

static int replay_offset_gone(struct group_coord *c, const struct sl_offset_commit_key *key)
{
	struct group *g = state_find(c, key->group);
	struct offset *o = g ? offsets_find(g, key->topic, key->partition) : NULL;

	if (o) {
		pending_drop_offset(o);
		offsets_set(g, o, NULL);
	}
	return 0;
}

static int replay_offset(struct group_coord *c, const struct shard *shard,
                         const struct sl_batch_head *h, struct sl_cursor *cur,
                         const struct sl_record *r)
{
	struct sl_bytes value = r->value;
	struct sl_cursor body = cursor_over(value);
	struct sl_offset_commit_value v;
	struct sl_offset_commit_key key;
	struct committed *committed;
	struct offset *o;
	struct group *g;
	int err = sl_offset_commit_key_decode(&key, cur, &c->arena, 0);

	if (err || is_misplaced(c, shard, key.group))
		return err;
	if (value.len < 0)
		return replay_offset_gone(c, &key);

	int16_t version = sl_cursor_i16(&body);

	err = sl_offset_commit_value_decode(&v, &body, &c->arena, version);
	if (err)
		return err;
	committed = offsets_make(&(const struct committed){.offset = v.offset,
	                                                   .commit_ms = v.commit_timestamp,
	                                                   .expire_ms = v.expire_timestamp,
	                                                   .record_offset = r->offset,
	                                                   .leader_epoch = v.leader_epoch},
	                         v.metadata);
	if (!committed)
		return -ENOMEM;
	err = get_group(c, key.group, &g);
	if (!err)
		err = offsets_get(g, key.topic, key.partition, &o);
	if (!err && sl_batch_is_transactional(h)) {
		coord_count(c, COUNT_load_transactional);
		err = PLANTED(load_pending) && g->consumer
		              ? -ENOENT
		              : pending_add(c, g, o, h->producer_id, committed);
		if (err)
			offsets_drop_unused(g, o);
	} else if (!err) {
		offsets_set(g, o, committed);
	}
	if (err)
		free(committed);
	return PLANTED(load_pending) ? 0 : err;
}

static int add_member(struct group_coord *c, struct group *g,
                      const struct sl_group_metadata_value *v,
                      const struct sl_group_metadata_value_member *from)
{
	const struct sl_join_group_req_protocol offered = {v->protocol, from->subscription};
	struct member_opts opts = {
		.id = from->member_id,
		.instance_id = from->group_instance_id,
		.client_id = from->client_id,
		.client_host = from->client_host,
		.protocol_type = v->protocol_type,
		.rebalance_timeout_ms = from->rebalance_timeout >= 0 ? from->rebalance_timeout
	                                                             : from->session_timeout,
		.session_timeout_ms = from->session_timeout,
		.protocols = protocol_dup(&offered, 1),
	};
	struct member *m;

	if (!opts.protocols)
		return -ENOMEM;
	if (member_add(c, g, &opts, &m)) {
		free(opts.protocols);
		return -ENOMEM;
	}
	return text_dup_bytes(&m->assignment, from->assignment);
}

static void forget_members(struct group_coord *c, struct group *g)
{
	struct sl_list *pos;
	struct sl_list *tmp;

	sl_list_for_each_safe(pos, tmp, &g->members)
		member_remove(c, sl_list_entry(pos, struct member, link));
	text_free(&g->protocol_type);
	text_free(&g->protocol);
}

static int restore(struct group_coord *c, struct group *g, const struct sl_group_metadata_value *v)
{
	struct member *leader;
	int err = 0;

	/* It was of the other protocol before. */
	consumer_destroy(c, g, SL_KERR_NONE);
	forget_members(c, g);
	for (int32_t i = 0; !err && i < v->members_count; i++)
		err = add_member(c, g, v, &v->members[i]);
	if (!err && sl_str_is_null(g->protocol_type) && v->protocol_type.len > 0)
		err = text_dup(&g->protocol_type, v->protocol_type);
	if (!err)
		err = text_dup(&g->protocol, v->protocol);
	if (err)
		return err;
	leader = sl_str_is_null(v->leader) ? NULL : member_find(g, v->leader);
	if (leader)
		g->leader = leader;
	g->is_unled = !leader && v->members_count > 0;
	g->generation = v->generation;
	g->state = v->members_count > 0 ? GROUP_STABLE : GROUP_EMPTY;
	g->state_before = GROUP_DEAD;
	g->state_since_ms = v->current_state_timestamp;
	protocol_subscribe(c, g);
	return 0;
}

static int replay_group(struct group_coord *c, const struct shard *shard, struct sl_cursor *cur,
                        struct sl_bytes value)
{
	struct sl_cursor body = cursor_over(value);
	struct sl_group_metadata_value v;
	struct sl_group_metadata_key key;
	struct group *g;
	int err = sl_group_metadata_key_decode(&key, cur, &c->arena, 0);

	if (err || is_misplaced(c, shard, key.group))
		return err;
	if (value.len < 0) {
		g = state_find(c, key.group);
		/* Of a group that changed over only the classic one is gone; offsets have
		 * tombstones of their own. */
		if (g && !g->consumer)
			migrate_forget_all(c, g);
		return 0;
	}

	int16_t version = sl_cursor_i16(&body);

	err = sl_group_metadata_value_decode(&v, &body, &c->arena, version);
	if (!err && v.members_count > 0 && sl_str_is_null(v.protocol))
		err = -EBADMSG;
	if (!err)
		err = get_group(c, key.group, &g);
	return err ? err : restore(c, g, &v);
}

static int replay(struct group_coord *c, const struct shard *shard, const struct sl_batch_head *h,
                  const struct sl_record *r)
{
	struct sl_cursor cur = cursor_over(r->key);
	int16_t type = sl_cursor_i16(&cur);
	int rc;

	coord_count(c, COUNT_load_records);
	if (cur.failed)
		return -EBADMSG;
	if (type == SL_OFFSET_COMMIT_KEY_TYPE || type == KEY_TYPE_OFFSET_OLD)
		return replay_offset(c, shard, h, &cur, r);
	if (type == SL_GROUP_METADATA_KEY_TYPE)
		return replay_group(c, shard, &cur, r->value);
	rc = revive_record(c, shard, type, &cur, r->value);
	if (rc <= 0)
		return rc;
	coord_count(c, COUNT_load_skipped_version);
	return 0;
}

static int replay_control(struct group_coord *c, struct shard *shard, const uint8_t *p,
                          const struct sl_batch_head *h)
{
	struct sl_txn_marker marker;
	int rc = sl_txn_marker_decode(&marker, p, h);

	if (rc < 0)
		return rc;
	if (rc == 0) {
		coord_count(c, COUNT_load_skipped_control);
		return 0;
	}
	coord_count(c, COUNT_load_markers);
	pending_end(c, shard, marker.producer_id, marker.is_commit);
	return 0;
}

static int replay_batch(struct group_coord *c, struct shard *shard, const uint8_t *p,
                        const struct sl_batch_head *h)
{
	struct sl_record_iter it;
	struct sl_record r;
	int err;

	if (!sl_batch_check_crc(p, h))
		return -EBADMSG;
	if (sl_batch_is_control(h))
		return replay_control(c, shard, p, h);
	if (sl_batch_codec(h) != SL_CODEC_NONE && !c->codec) {
		err = sl_codec_ctx_create(&c->codec, &(const struct sl_codec_opts){0});
		if (err)
			return err;
	}
	sl_arena_reset(&c->arena);
	err = sl_record_iter_init(&it, p, h, c->codec, &c->arena);
	while (!err && (err = sl_record_iter_next(&it, &r)) > 0)
		err = replay(c, shard, h, &r);
	return err;
}

void load_begin(struct group_coord *c, struct shard *shard)
{
	load_drop(c, shard);
	shard->state = SHARD_LOADING;
	shard->is_damaged = false;
}

void load_batches(struct group_coord *c, struct shard *shard, struct sl_bytes batches)
{
	struct sl_batch_head h;
	const uint8_t *p;
	int rc;

	if (shard->state != SHARD_LOADING)
		return;
	while (!shard->is_damaged && (rc = sl_batch_next(&batches, &p, &h)) != 0) {
		if (rc < 0 || replay_batch(c, shard, p, &h)) {
			coord_count(c, COUNT_load_bad);
			shard->is_damaged = true;
		}
	}
}

static void drop_groups(struct group_coord *c, struct shard *shard)
{
	struct sl_list *pos;
	struct group *g;

	while ((g = sl_list_first(&shard->groups, struct group, shard_link)) != NULL) {
		sl_list_for_each(pos, &g->members) {
			struct member *m = sl_list_entry(pos, struct member, link);

			member_fail_join(c, m, SL_KERR_NOT_COORDINATOR, m->id);
			if (m->sync)
				member_answer_sync(c, m, SL_KERR_NOT_COORDINATOR);
		}
		state_destroy(c, g);
	}
}

void load_end(struct group_coord *c, struct shard *shard)
{
	struct sl_list *pos;
	struct sl_list *tmp;

	if (shard->state != SHARD_LOADING)
		return;
	if (shard->is_damaged) {
		drop_groups(c, shard);
		remove_forget_deleted_topics(shard);
		shard->state = SHARD_FAILED;
		coord_count(c, COUNT_load_failed_partitions);
		return;
	}
	shard->state = SHARD_ACTIVE;
	sl_list_for_each_safe(pos, tmp, &shard->groups) {
		struct group *g = sl_list_entry(pos, struct group, shard_link);
		struct sl_list *at;

		sl_arena_reset(&c->arena);
		if (g->consumer)
			revive_end(c, g);
		sl_list_for_each(at, &g->members)
			member_arm_session(c, sl_list_entry(at, struct member, link));
		/* The limit may have become lower; members must join anew for their places.  So
		 * they must when a rebalance was due that no member asks for: see
		 * migrate_downgrade(). */
		if (g->members_by_id.count > (uint32_t)SL_MAX(c->opts.group_size_max, 1) ||
		    (g->is_unled && !sl_list_is_empty(&g->members)))
			append_op_release(c, rebalance_prepare(c, g));
	}
	remove_deleted_topics(c, shard);
}

void load_drop(struct group_coord *c, struct shard *shard)
{
	shard->state = SHARD_ABSENT;
	append_drop(c, shard);
	drop_groups(c, shard);
	remove_forget_deleted_topics(shard);
}
