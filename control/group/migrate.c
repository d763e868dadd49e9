/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups that change between the protocols.  With members they do so as far as
 * group.consumer.migration.policy allows; without members the next one to join decides.
 *
 * A group that changes keeps what its members read: to a consumer group they come as its members
 * of the classic protocol, each at the epoch that was the generation; from one they come back as
 * members of a classic group that rebalances at once.
 */
#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/wire/consumer_protocol_assignment_gen.h"

#include "consumer.h"

#define TYPE_CONSUMER "consumer"

bool migrate_can_upgrade(const struct group_coord *c, const struct group *g)
{
	return (c->opts.migration == GROUP_MIGRATE_UPGRADE ||
	        c->opts.migration == GROUP_MIGRATE_BOTH) &&
	       sl_str_eq_c(g->protocol_type, TYPE_CONSUMER) &&
	       g->members_by_id.count < (uint32_t)SL_MAX(c->opts.consumer_size_max, 1);
}

/* ---- To the consumer protocol ---- */

/* Also before there is a generation: then the first protocol tells what the member reads. */
static struct sl_bytes metadata_of(const struct member *m)
{
	struct sl_bytes metadata = SL_BYTES_NULL;

	if (!sl_str_is_null(m->group->protocol))
		metadata = protocol_metadata(m->protocols, m->group->protocol);
	return metadata.len >= 0 || m->protocols->count == 0 ? metadata
	                                                     : m->protocols->list[0].metadata;
}

static int read_assignment(struct group_coord *c, struct sl_bytes bytes, struct parts *out)
{
	struct sl_cursor cur = sl_cursor_from(bytes.p, bytes.len > 0 ? (size_t)bytes.len : 0);
	int16_t version = sl_cursor_i16(&cur);
	struct sl_consumer_protocol_assignment a;
	size_t n = 0;

	*out = (struct parts){0};
	if (cur.failed || version < 0 ||
	    sl_consumer_protocol_assignment_decode(&a, &cur, &c->arena, 0))
		return 0;
	for (int32_t i = 0; i < a.assigned_partitions_count; i++)
		n += (size_t)a.assigned_partitions[i].partitions_count;
	out->list = sl_arena_alloc_array(&c->arena, n + 1, sizeof(*out->list));
	if (!out->list)
		return -ENOMEM;
	for (int32_t i = 0; i < a.assigned_partitions_count; i++) {
		struct sl_uuid id;

		if (!c->opts.topic_id(c->opts.ctx, a.assigned_partitions[i].topic, &id))
			continue;
		for (int32_t k = 0; k < a.assigned_partitions[i].partitions_count; k++)
			out->list[out->count++] =
				(struct part){id, a.assigned_partitions[i].partitions[k], 0};
	}
	parts_sort(out);
	return 0;
}

static int copy_classic(struct cmember *to, const struct member *from)
{
	size_t count = (size_t)from->protocols->count;
	struct sl_join_group_req_protocol *list = calloc(count + 1, sizeof(*list));
	struct cclassic *classic = calloc(1, sizeof(*classic));

	if (!list || !classic)
		goto err_free;
	for (size_t i = 0; i < count; i++)
		list[i] = (struct sl_join_group_req_protocol){from->protocols->list[i].name,
		                                              from->protocols->list[i].metadata};
	classic->session_timeout_ms = from->session_timeout_ms;
	classic->protocols = protocol_dup(list, (int32_t)count);
	if (!classic->protocols)
		goto err_free;
	free(list);
	consumer_set_classic(to, classic);
	return 0;
err_free:
	free(list);
	free(classic);
	return -ENOMEM;
}

/* What the leader last gave it, and what it said to hold when it joined: it may not have heard of
 * the one, and may not have given up the other. */
static int copy_assignment(struct group_coord *c, struct cmember *to, const struct member *from,
                           const struct sl_consumer_protocol_subscription *sub)
{
	static const struct parts none;
	struct parts held;
	struct parts owned;

	if (read_assignment(c, from->assignment, &held))
		return -ENOMEM;
	if (mixed_read_owned(c, sub, &owned) || parts_union(&c->arena, &held, &owned, &held))
		return -ENOMEM;
	if (PLANTED(upgrade_forgets))
		held.count = 0;
	for (uint32_t i = 0; i < held.count; i++)
		held.list[i].epoch = to->epoch;
	if (consumer_hold(to, &held, &none))
		return -ENOMEM;
	return parts_dup(&to->target, &to->assigned);
}

static int copy_member(struct group_coord *c, struct cgroup *cg, const struct member *from)
{
	struct sl_consumer_protocol_subscription sub;
	struct cmember *m;

	/* One that cannot be read says nothing; its member says more when it joins again. */
	if (mixed_read_subscription(c, metadata_of(from), &sub))
		sl_consumer_protocol_subscription_init(&sub);
	if (consumer_add(c, cg, from->id, from->instance_id, &m))
		return -ENOMEM;
	m->epoch = cg->epoch;
	m->epoch_before = cg->epoch;
	m->rebalance_timeout_ms = from->rebalance_timeout_ms;
	if (copy_classic(m, from) || consumer_set_text(&m->client_id, from->client_id) < 0 ||
	    consumer_set_text(&m->client_host, from->client_host) < 0 ||
	    consumer_set_text(&m->rack_id, sub.rack_id) < 0 ||
	    consumer_set_names(m, sub.topics, sub.topics_count) < 0 || target_subscribe(c, m) < 0 ||
	    copy_assignment(c, m, from, &sub))
		return -ENOMEM;
	m->is_member_changed = true;
	m->is_target_changed = true;
	m->is_current_changed = true;
	consumer_mark(m);
	return 0;
}

static void drop_members(struct group_coord *c, struct group *g)
{
	struct sl_list *pos;
	struct sl_list *tmp;

	sl_list_for_each_safe(pos, tmp, &g->members) {
		struct member *m = sl_list_entry(pos, struct member, link);

		member_fail_join(c, m, SL_KERR_REBALANCE_IN_PROGRESS, m->id);
		if (m->sync)
			member_answer_sync(c, m, SL_KERR_REBALANCE_IN_PROGRESS);
		member_remove(c, m);
	}
	sl_list_for_each_safe(pos, tmp, &g->pendings)
		member_remove_pending(c, sl_list_entry(pos, struct pending, link));
}

/* No trace of the classic group is left but its offsets. */
static void clear_classic(struct group_coord *c, struct group *g)
{
	drop_members(c, g);
	protocol_unsubscribe(g);
	text_free(&g->protocol_type);
	text_free(&g->protocol);
	deadline_disarm(&c->heap, &g->join_deadline);
	deadline_disarm(&c->heap, &g->sync_deadline);
	g->is_initial_delay = false;
	g->leader = NULL;
	g->generation = 0;
	g->sync_generation = -1;
	g->state = GROUP_EMPTY;
	g->state_before = GROUP_DEAD;
}

void migrate_forget_classic(struct group_coord *c, struct group *g)
{
	SL_ASSERT(g->consumer);
	g->consumer->is_classic_gone = g->is_in_log;
	clear_classic(c, g);
}

void migrate_forget_all(struct group_coord *c, struct group *g)
{
	consumer_destroy(c, g, SL_KERR_NONE);
	/* Its members' tombstones came before. */
	consumer_lay_ghosts(g, 0);
	if (g->offsets.count == 0)
		state_destroy(c, g);
	else
		clear_classic(c, g);
}

int migrate_upgrade(struct group_coord *c, struct group *g)
{
	struct cgroup *cg;
	struct sl_list *pos;

	if (consumer_create(c, g))
		return -ENOMEM;
	cg = g->consumer;
	cg->epoch = SL_MAX(g->generation, 1);
	cg->target_epoch = cg->epoch;
	sl_list_for_each(pos, &g->members) {
		if (!copy_member(c, cg, sl_list_entry(pos, struct member, link)))
			continue;
		coord_count(c, COUNT_refused_no_memory);
		consumer_destroy(c, g, SL_KERR_NONE);
		return -ENOMEM;
	}
	cg->hash = target_hash(cg);
	cg->is_group_changed = true;
	cg->is_target_changed = true;
	cg->is_classic_gone = true;
	clear_classic(c, g);
	if (PLANTED(upgrade_pending))
		pending_drop_group(g);
	for (uint32_t i = 0; i < cg->members_count; i++)
		consumer_arm_session(c, cg->members[i]);
	coord_count(c, COUNT_consumer_upgrades);
	return 0;
}

/* ---- To the classic protocol ---- */

static bool can_downgrade(const struct group_coord *c, const struct cgroup *cg)
{
	return (c->opts.migration == GROUP_MIGRATE_DOWNGRADE ||
	        c->opts.migration == GROUP_MIGRATE_BOTH) &&
	       cg->members_count > 0 && cg->classic_count == cg->members_count &&
	       cg->members_count <= (uint32_t)SL_MAX(c->opts.group_size_max, 1);
}

/* A member for which there is no memory is left out; its client joins again. */
static void restore_member(struct group_coord *c, struct group *g, struct cmember *from)
{
	struct member_opts opts = {
		.id = from->id,
		.instance_id = from->instance_id,
		.client_id = from->client_id,
		.client_host = from->client_host,
		.protocol_type = sl_str_from(TYPE_CONSUMER),
		.rebalance_timeout_ms = from->rebalance_timeout_ms,
		.session_timeout_ms = from->classic->session_timeout_ms,
		.protocols = from->classic->protocols,
	};
	struct parts held;
	struct member *m;

	if (member_add(c, g, &opts, &m)) {
		coord_count(c, COUNT_refused_no_memory);
		return;
	}
	from->classic->protocols = NULL;
	/* What it may be reading, not what it shall: the group may change back before it joins. */
	if (parts_union(&c->arena, &from->assigned, &from->revoking, &held) ||
	    text_dup_bytes(&m->assignment, mixed_assignment(c, &held)))
		coord_count(c, COUNT_refused_no_memory);
	member_arm_session(c, m);
}

static struct op *begin_gone(struct group_coord *c, struct group *g, struct append_writer *w)
{
	struct op *op = append_op_create(OP_GONE);

	if (!op) {
		/* The records of the new kind, which come later, outweigh these. */
		coord_count(c, COUNT_refused_no_memory);
		return NULL;
	}
	op->group = g;
	op->serial = g->consumer->serial;
	append_begin(w, c, g->shard, op);
	persist_all_gone(w, g);
	return op;
}

void migrate_finish_gone(struct group_coord *c, struct op *op)
{
	if (!op->group)
		return;
	if (op->kerr == SL_KERR_NONE)
		consumer_lay_ghosts(op->group, op->serial);
	state_forget_unused(c, op->group);
}

bool migrate_downgrade(struct group_coord *c, struct group *g)
{
	struct cgroup *cg = g->consumer;
	struct append_writer w;
	struct op *op;
	int32_t epoch = cg->epoch;

	if (!can_downgrade(c, cg))
		return false;
	/* Before the batch begins: answers go into the same buffer. */
	persist_fail_waiters(c, cg, SL_KERR_COORDINATOR_NOT_AVAILABLE);
	g->in_flight++;
	op = begin_gone(c, g, &w);
	for (uint32_t i = 0; i < cg->members_count; i++)
		restore_member(c, g, cg->members[i]);
	consumer_destroy(c, g, SL_KERR_COORDINATOR_NOT_AVAILABLE);
	if (PLANTED(downgrade_pending))
		pending_drop_group(g);
	g->generation = epoch;
	g->state_since_ms = c->wall_ms;
	if (!sl_list_is_empty(&g->members)) {
		if (text_dup(&g->protocol, protocol_select(g)))
			coord_count(c, COUNT_refused_no_memory);
		g->state = GROUP_STABLE;
		protocol_subscribe(c, g);
	}
	if (op) {
		struct member *leader = g->leader;

		/* No leader: whoever loads this begins with the rebalance.  Else nobody would ever
		 * get what the members of the consumer protocol had. */
		g->leader = NULL;
		append_group(&w, g, RECORDS_CURRENT);
		g->leader = leader;
		append_end(&w);
	}
	coord_count(c, COUNT_consumer_downgrades);
	append_op_release(c, op);
	g->in_flight--;
	if (g->state == GROUP_STABLE)
		append_op_release(c, rebalance_prepare(c, g));
	return true;
}

void migrate_forget_consumer(struct group_coord *c, struct group *g)
{
	struct append_writer w;
	struct op *op;

	g->in_flight++;
	op = begin_gone(c, g, &w);
	if (op)
		append_end(&w);
	consumer_destroy(c, g, SL_KERR_COORDINATOR_NOT_AVAILABLE);
	append_op_release(c, op);
	g->in_flight--;
}
