/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replaying the records of consumer groups.
 *
 * Compaction leaves the records of a group in any order, so each of them makes what it speaks of;
 * what has no record of a member in the end is dropped.  Where two members hold a partition the
 * later record tells the truth: a change of the former one was refused by the log, and it is no
 * member any more.
 */
#include <errno.h>

#include "sluice/wire/consumer_group_current_member_assignment_key_gen.h"
#include "sluice/wire/consumer_group_current_member_assignment_value_gen.h"
#include "sluice/wire/consumer_group_member_metadata_key_gen.h"
#include "sluice/wire/consumer_group_member_metadata_value_gen.h"
#include "sluice/wire/consumer_group_metadata_key_gen.h"
#include "sluice/wire/consumer_group_metadata_value_gen.h"
#include "sluice/wire/consumer_group_partition_metadata_key_gen.h"
#include "sluice/wire/consumer_group_regular_expression_key_gen.h"
#include "sluice/wire/consumer_group_target_assignment_member_key_gen.h"
#include "sluice/wire/consumer_group_target_assignment_member_value_gen.h"
#include "sluice/wire/consumer_group_target_assignment_metadata_key_gen.h"
#include "sluice/wire/consumer_group_target_assignment_metadata_value_gen.h"

#include "consumer.h"

#include <stdlib.h>

/* One record; the member's kinds have keys of the same form. */
struct record {
	struct group_coord *c;
	const struct shard *shard;
	struct sl_str group_id;
	struct sl_str member_id;
	struct sl_cursor value;
	int16_t version;
	bool is_tombstone;
};

static int get_group(struct record *r, struct cgroup **out)
{
	struct group *g = state_find(r->c, r->group_id);
	int err = 0;

	if (!g)
		err = state_create(r->c, r->group_id, &g);
	if (err)
		return err;
	g->is_in_log = true;
	if (!g->consumer) {
		err = consumer_create(r->c, g);
		if (err)
			return err;
		/* It was of the other protocol before. */
		migrate_forget_classic(r->c, g);
		g->consumer->is_classic_gone = false;
	}
	*out = g->consumer;
	return 0;
}

static struct cgroup *find_group(const struct record *r)
{
	struct group *g = state_find(r->c, r->group_id);

	return g ? g->consumer : NULL;
}

static int get_member(struct record *r, struct cmember **out)
{
	struct cgroup *cg;
	int err = get_group(r, &cg);

	if (err)
		return err;
	*out = consumer_find(cg, r->member_id);
	return *out ? 0 : consumer_add(r->c, cg, r->member_id, SL_STR_NULL, out);
}

static int revive_group(struct record *r)
{
	struct sl_consumer_group_metadata_value v;
	struct cgroup *cg = find_group(r);
	int err;

	if (r->is_tombstone) {
		if (cg)
			migrate_forget_all(r->c, cg->group);
		return 0;
	}
	err = sl_consumer_group_metadata_value_decode(&v, &r->value, &r->c->arena, r->version);
	if (!err)
		err = get_group(r, &cg);
	if (err)
		return err;
	cg->epoch = v.epoch;
	cg->hash = v.metadata_hash;
	return 0;
}

static int revive_target_epoch(struct record *r)
{
	struct sl_consumer_group_target_assignment_metadata_value v;
	struct cgroup *cg = find_group(r);
	int err;

	if (r->is_tombstone) {
		if (cg)
			cg->target_epoch = 0;
		return 0;
	}
	err = sl_consumer_group_target_assignment_metadata_value_decode(&v, &r->value, &r->c->arena,
	                                                                r->version);
	if (!err)
		err = get_group(r, &cg);
	if (err)
		return err;
	cg->target_epoch = v.assignment_epoch;
	cg->target_ms = v.assignment_timestamp;
	return 0;
}

/* Another member may have had the instance before, whose tombstone comes after this. */
static int take_instance(struct record *r, struct cmember *m, struct sl_str instance_id)
{
	struct cgroup *cg = m->cg;

	if (sl_str_eq(m->instance_id, instance_id))
		return 0;
	if (!sl_str_is_null(m->instance_id) && consumer_find_instance(cg, m->instance_id) == m)
		sl_map_del(&cg->by_instance, m->instance_id.p, (size_t)m->instance_id.len);
	if (consumer_set_text(&m->instance_id, instance_id) < 0)
		return -ENOMEM;
	if (sl_str_is_null(m->instance_id))
		return 0;
	(void)r;
	sl_map_del(&cg->by_instance, m->instance_id.p, (size_t)m->instance_id.len);
	return sl_map_put(&cg->by_instance, m->instance_id.p, (size_t)m->instance_id.len, m);
}

static int revive_classic(
	struct cmember *m,
	const struct sl_consumer_group_member_metadata_value_classic_member_metadata *v)
{
	size_t count = v ? (size_t)v->supported_protocols_count : 0;
	struct sl_join_group_req_protocol *list = calloc(count + 1, sizeof(*list));
	struct cclassic *classic = calloc(1, sizeof(*classic));

	if (!list || !classic)
		goto err_free;
	for (size_t i = 0; i < count; i++)
		list[i] = (struct sl_join_group_req_protocol){v->supported_protocols[i].name,
		                                              v->supported_protocols[i].metadata};
	if (count > 0) {
		classic->session_timeout_ms = v->session_timeout_ms;
		classic->protocols = protocol_dup(list, (int32_t)count);
		if (!classic->protocols)
			goto err_free;
		consumer_set_classic(m, classic);
	} else {
		free(classic);
		consumer_set_classic(m, NULL);
	}
	free(list);
	return 0;
err_free:
	free(list);
	free(classic);
	return -ENOMEM;
}

static int revive_member(struct record *r)
{
	struct sl_consumer_group_member_metadata_value v;
	struct cgroup *cg = find_group(r);
	struct cmember *m = cg ? consumer_find(cg, r->member_id) : NULL;
	int err;

	if (r->is_tombstone) {
		if (m)
			consumer_remove(r->c, m);
		return 0;
	}
	err = sl_consumer_group_member_metadata_value_decode(&v, &r->value, &r->c->arena,
	                                                     r->version);
	if (!err)
		err = get_member(r, &m);
	if (!err)
		err = take_instance(r, m, v.instance_id);
	if (!err)
		err = revive_classic(m, v.classic_member_metadata);
	if (err)
		return err;
	m->rebalance_timeout_ms = v.rebalance_timeout_ms;
	m->is_known = true;
	if (consumer_set_text(&m->rack_id, v.rack_id) < 0 ||
	    consumer_set_text(&m->client_id, v.client_id) < 0 ||
	    consumer_set_text(&m->client_host, v.client_host) < 0 ||
	    consumer_set_text(&m->assignor, v.server_assignor) < 0 ||
	    consumer_set_names(m, v.subscribed_topic_names, v.subscribed_topic_names_count) < 0)
		return -ENOMEM;
	/* An expression of another engine that is none for this one matches nothing here. */
	err = consumer_set_pattern(m, v.subscribed_topic_regex);
	return err == -ENOMEM ? err : 0;
}

static int add_parts(struct sl_arena *arena, struct parts *to, const struct sl_uuid *topic,
                     const int32_t *partitions, const int32_t *epochs, int32_t count)
{
	struct part *list = sl_arena_alloc_array(arena, (size_t)to->count + (size_t)count + 1,
	                                         sizeof(*list));

	if (!list)
		return -ENOMEM;
	if (to->count > 0)
		memcpy(list, to->list, to->count * sizeof(*list));
	for (int32_t i = 0; i < count; i++)
		list[to->count + (uint32_t)i] = (struct part){*topic, partitions[i],
		                                              epochs ? epochs[i] : 0};
	*to = (struct parts){list, to->count + (uint32_t)count};
	return 0;
}

static int revive_target(struct record *r)
{
	struct sl_consumer_group_target_assignment_member_value v;
	struct cgroup *cg = find_group(r);
	struct cmember *m = cg ? consumer_find(cg, r->member_id) : NULL;
	struct parts target = {0};
	int err;

	if (r->is_tombstone) {
		if (m)
			parts_free(&m->target);
		return 0;
	}
	err = sl_consumer_group_target_assignment_member_value_decode(&v, &r->value, &r->c->arena,
	                                                              r->version);
	if (!err)
		err = get_member(r, &m);
	for (int32_t i = 0; !err && i < v.topic_partitions_count; i++)
		err = add_parts(&r->c->arena, &target, &v.topic_partitions[i].topic_id,
		                v.topic_partitions[i].partitions, NULL,
		                v.topic_partitions[i].partitions_count);
	if (err)
		return err;
	parts_sort(&target);
	parts_free(&m->target);
	return parts_dup(&m->target, &target);
}

/* The list that goes with the partitions, if it does. */
static const int32_t *epochs_of(const int32_t *epochs, int32_t epochs_count, int32_t count)
{
	return epochs_count == count ? epochs : NULL;
}

static int read_current(struct record *r,
                        struct sl_consumer_group_current_member_assignment_value *v,
                        struct parts *assigned, struct parts *revoking)
{
	int err = sl_consumer_group_current_member_assignment_value_decode(
		v, &r->value, &r->c->arena, r->version);

	for (int32_t i = 0; !err && i < v->assigned_partitions_count; i++)
		err = add_parts(&r->c->arena, assigned, &v->assigned_partitions[i].topic_id,
		                v->assigned_partitions[i].partitions,
		                epochs_of(v->assigned_partitions[i].assignment_epochs,
		                          v->assigned_partitions[i].assignment_epochs_count,
		                          v->assigned_partitions[i].partitions_count),
		                v->assigned_partitions[i].partitions_count);
	for (int32_t i = 0; !err && i < v->partitions_pending_revocation_count; i++)
		err = add_parts(
			&r->c->arena, revoking, &v->partitions_pending_revocation[i].topic_id,
			v->partitions_pending_revocation[i].partitions,
			epochs_of(v->partitions_pending_revocation[i].assignment_epochs,
		                  v->partitions_pending_revocation[i].assignment_epochs_count,
		                  v->partitions_pending_revocation[i].partitions_count),
			v->partitions_pending_revocation[i].partitions_count);
	parts_sort(assigned);
	parts_sort(revoking);
	return err;
}

static void seize(struct cmember *m, const struct parts *p)
{
	for (uint32_t i = 0; i < p->count; i++) {
		struct cmember *other = consumer_owner(m->cg, &p->list[i]);

		if (!other || other == m)
			continue;
		consumer_release(other, &p->list[i]);
		other->is_overtaken = true;
	}
}

static int revive_current(struct record *r)
{
	struct sl_consumer_group_current_member_assignment_value v;
	struct cgroup *cg = find_group(r);
	struct cmember *m = cg ? consumer_find(cg, r->member_id) : NULL;
	struct parts assigned = {0};
	struct parts revoking = {0};
	int err;

	if (r->is_tombstone)
		return m ? consumer_hold(m, &assigned, &revoking) : 0;
	err = read_current(r, &v, &assigned, &revoking);
	if (!err && (v.state < 0 || v.state >= CMEMBER_STATE_NR))
		err = -EBADMSG;
	if (!err)
		err = get_member(r, &m);
	if (err)
		return err;
	m->is_overtaken = false;
	seize(m, &assigned);
	seize(m, &revoking);
	m->epoch = v.member_epoch;
	m->epoch_before = v.previous_member_epoch;
	m->state = (enum cmember_state)v.state;
	return consumer_hold(m, &assigned, &revoking);
}

/* Patterns are resolved anew after loading; what they matched before is of no use. */
static int revive_nothing(struct record *r)
{
	(void)r;
	return 0;
}

typedef int revive_fn(struct record *r);

static revive_fn *find_kind(int16_t type, bool *has_member)
{
	*has_member = type == SL_CONSUMER_GROUP_MEMBER_METADATA_KEY_TYPE ||
	              type == SL_CONSUMER_GROUP_TARGET_ASSIGNMENT_MEMBER_KEY_TYPE ||
	              type == SL_CONSUMER_GROUP_CURRENT_MEMBER_ASSIGNMENT_KEY_TYPE;
	switch (type) {
	case SL_CONSUMER_GROUP_METADATA_KEY_TYPE:
		return revive_group;
	case SL_CONSUMER_GROUP_MEMBER_METADATA_KEY_TYPE:
		return revive_member;
	case SL_CONSUMER_GROUP_TARGET_ASSIGNMENT_METADATA_KEY_TYPE:
		return revive_target_epoch;
	case SL_CONSUMER_GROUP_TARGET_ASSIGNMENT_MEMBER_KEY_TYPE:
		return revive_target;
	case SL_CONSUMER_GROUP_CURRENT_MEMBER_ASSIGNMENT_KEY_TYPE:
		return revive_current;
	case SL_CONSUMER_GROUP_PARTITION_METADATA_KEY_TYPE:
	case SL_CONSUMER_GROUP_REGULAR_EXPRESSION_KEY_TYPE:
		return revive_nothing;
	default:
		return NULL;
	}
}

int revive_record(struct group_coord *c, const struct shard *shard, int16_t type,
                  struct sl_cursor *key, struct sl_bytes value)
{
	struct record r = {.c = c, .shard = shard, .is_tombstone = value.len < 0};
	struct sl_consumer_group_member_metadata_key with_member;
	struct sl_consumer_group_metadata_key plain;
	bool has_member;
	revive_fn *fn = find_kind(type, &has_member);
	int err;

	if (!fn)
		return 1;
	if (has_member) {
		err = sl_consumer_group_member_metadata_key_decode(&with_member, key, &c->arena, 0);
		r.group_id = with_member.group_id;
		r.member_id = with_member.member_id;
	} else {
		err = sl_consumer_group_metadata_key_decode(&plain, key, &c->arena, 0);
		r.group_id = plain.group_id;
	}
	if (err)
		return err;
	if (state_shard(c, r.group_id) != shard) {
		coord_count(c, COUNT_load_skipped_misplaced);
		return 0;
	}
	r.value = sl_cursor_from(value.p, value.len > 0 ? (size_t)value.len : 0);
	if (!r.is_tombstone)
		r.version = sl_cursor_i16(&r.value);
	return r.value.failed ? -EBADMSG : fn(&r);
}

/* Who lost a partition to a later record may read it still, or never have been told to give it up:
 * that it left, or gave it up, was refused by the log.  It has to join anew. */
static void drop_members(struct group_coord *c, struct cgroup *cg)
{
	bool has_overtaken = false;
	uint32_t i = 0;

	while (i < cg->members_count) {
		struct cmember *m = cg->members[i];

		if (m->is_known && !m->is_overtaken) {
			i++;
			continue;
		}
		has_overtaken |= m->is_known;
		consumer_remove(c, m);
	}
	if (has_overtaken)
		consumer_bump(c, cg);
}

/* A rise of the epoch that the log refused may be missing under what rests on it.  Then everything
 * is to be computed anew, under an epoch that nobody has seen. */
static void mend_epoch(struct group_coord *c, struct cgroup *cg)
{
	int32_t highest = cg->target_epoch;

	for (uint32_t i = 0; i < cg->members_count; i++)
		highest = SL_MAX(highest, cg->members[i]->epoch);
	if (highest <= cg->epoch)
		return;
	cg->epoch = highest;
	consumer_bump(c, cg);
}

void revive_end(struct group_coord *c, struct group *g)
{
	struct cgroup *cg = g->consumer;
	int err = 0;

	drop_members(c, cg);
	mend_epoch(c, cg);
	for (uint32_t i = 0; i < cg->members_count; i++) {
		struct cmember *m = cg->members[i];

		sl_arena_reset(&c->arena);
		if (target_subscribe(c, m) < 0)
			err = -ENOMEM;
		if (!PLANTED(no_session))
			consumer_arm_session(c, m);
		if (m->state == CMEMBER_UNREVOKED || (m->classic && m->epoch < cg->epoch))
			deadline_arm(&c->heap, &m->rebalance, c->now_ms + m->rebalance_timeout_ms);
	}
	/* Without memory the topics are looked up at the next request. */
	cg->topics_seq = err ? 0 : c->topics_seq;
}
