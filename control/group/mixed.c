/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Members of a consumer group that speak the classic protocol, while a group changes over.
 *
 * A join is one heartbeat of the consumer protocol: it brings the subscription and what the member
 * holds, and is answered at once, without a leader.  The sync fetches what it was given; the
 * heartbeat tells it to join again when there is something to give up or to take.
 */
#include <errno.h>
#include <stdlib.h>

#include "sluice/wire/consumer_protocol_assignment_gen.h"
#include "sluice/wire/consumer_protocol_subscription_gen.h"

#include "consumer.h"

#define TYPE_CONSUMER              "consumer"
#define VERSION_MEMBER_ID_REQUIRED 4
#define MEMBER_ID_BYTES            (LIMIT_ID_PREFIX_BYTES + 64)
#define SUBSCRIPTION_VERSION_MAX   SL_CONSUMER_PROTOCOL_SUBSCRIPTION_VERSION_MAX
#define ASSIGNMENT_BYTES_MAX       (16u << 20)

/* A join that is being handled. */
struct mixed {
	struct group_coord *c;
	const struct request *rq;
	const struct sl_join_group_req *m;
	struct group *g;
	struct cgroup *cg;
	struct cmember *member;
	struct sl_consumer_protocol_subscription sub;
	struct parts owned;
	bool is_new;
	bool is_bump;
};

int mixed_read_subscription(struct group_coord *c, struct sl_bytes metadata,
                            struct sl_consumer_protocol_subscription *out)
{
	struct sl_cursor cur = sl_cursor_from(metadata.p,
	                                      metadata.len > 0 ? (size_t)metadata.len : 0);
	int16_t version = sl_cursor_i16(&cur);

	if (cur.failed || version < 0)
		return -EBADMSG;
	/* Newer ones only add at their end. */
	return sl_consumer_protocol_subscription_decode(
		out, &cur, &c->arena, SL_MIN(version, (int16_t)SUBSCRIPTION_VERSION_MAX));
}

int mixed_read_owned(struct group_coord *c, const struct sl_consumer_protocol_subscription *sub,
                     struct parts *out)
{
	size_t n = 0;

	*out = (struct parts){0};
	for (int32_t i = 0; i < sub->owned_partitions_count; i++)
		n += (size_t)SL_MAX(sub->owned_partitions[i].partitions_count, 0);
	out->list = sl_arena_alloc_array(&c->arena, n + 1, sizeof(*out->list));
	if (!out->list)
		return -ENOMEM;
	for (int32_t i = 0; i < sub->owned_partitions_count; i++) {
		struct sl_uuid id;

		/* Of a topic that is gone there is nothing to hold. */
		if (!c->opts.topic_id(c->opts.ctx, sub->owned_partitions[i].topic, &id))
			continue;
		for (int32_t k = 0; k < sub->owned_partitions[i].partitions_count; k++)
			out->list[out->count++] =
				(struct part){id, sub->owned_partitions[i].partitions[k], 0};
	}
	parts_sort(out);
	return 0;
}

/* Has it a protocol that all classic members have? */
static bool is_supported(const struct mixed *x)
{
	for (int32_t i = 0; i < x->m->protocols_count; i++) {
		bool is_common = true;

		for (uint32_t k = 0; is_common && k < x->cg->members_count; k++) {
			const struct cmember *other = x->cg->members[k];

			if (other->classic && !sl_str_eq(other->id, x->m->member_id))
				is_common = protocol_metadata(other->classic->protocols,
				                              x->m->protocols[i].name)
				                    .len >= 0;
		}
		if (is_common)
			return true;
	}
	return false;
}

static enum sl_kerr check(const struct mixed *x)
{
	const struct group_opts *opts = &x->c->opts;

	if (!sl_str_eq_c(x->m->protocol_type, TYPE_CONSUMER) || x->m->protocols_count <= 0 ||
	    !is_supported(x))
		return SL_KERR_INCONSISTENT_GROUP_PROTOCOL;
	if (x->m->session_timeout_ms < opts->session_timeout_min_ms ||
	    x->m->session_timeout_ms > opts->session_timeout_max_ms)
		return SL_KERR_INVALID_SESSION_TIMEOUT;
	return SL_KERR_NONE;
}

static enum sl_kerr add(struct mixed *x, struct sl_str id)
{
	uint32_t max = SL_MIN((uint32_t)SL_MAX(x->c->opts.consumer_size_max, 1), LIMIT_MEMBERS);

	if (x->cg->members_count >= max) {
		coord_count(x->c, COUNT_refused_group_full);
		return SL_KERR_GROUP_MAX_SIZE_REACHED;
	}
	if (consumer_add(x->c, x->cg, id, x->m->group_instance_id, &x->member))
		return SL_KERR_COORDINATOR_NOT_AVAILABLE;
	x->is_new = true;
	return SL_KERR_NONE;
}

static enum sl_kerr take_over(struct mixed *x, struct cmember *before, struct sl_str id)
{
	if (consumer_rename(x->c, before, id))
		return SL_KERR_COORDINATOR_NOT_AVAILABLE;
	coord_count(x->c, COUNT_static_replaced);
	before->epoch = 0;
	before->is_target_changed = true;
	before->is_current_changed = true;
	x->member = before;
	return SL_KERR_NONE;
}

static enum sl_kerr find(struct mixed *x, struct sl_str id, bool is_unknown)
{
	struct sl_str instance_id = x->m->group_instance_id;

	if (sl_str_is_null(instance_id)) {
		x->member = consumer_find(x->cg, id);
		if (x->member)
			return SL_KERR_NONE;
		/* One that lost its place and does not know it reads what others have by now. */
		if (!is_unknown && (x->sub.generation_id >= 0 || x->owned.count > 0))
			return SL_KERR_UNKNOWN_MEMBER_ID;
		return add(x, id);
	}
	x->member = consumer_find_instance(x->cg, instance_id);
	if (!x->member)
		return is_unknown ? add(x, id) : SL_KERR_UNKNOWN_MEMBER_ID;
	if (is_unknown)
		return take_over(x, x->member, id);
	if (sl_str_eq(x->member->id, id))
		return SL_KERR_NONE;
	coord_count(x->c, COUNT_static_fenced);
	return SL_KERR_FENCED_INSTANCE_ID;
}

static int set_classic(struct mixed *x)
{
	struct cclassic *classic = calloc(1, sizeof(*classic));

	if (!classic)
		return -ENOMEM;
	classic->session_timeout_ms = x->m->session_timeout_ms;
	classic->protocols = protocol_dup(x->m->protocols, x->m->protocols_count);
	if (!classic->protocols) {
		free(classic);
		return -ENOMEM;
	}
	consumer_set_classic(x->member, classic);
	return 0;
}

static int update(struct mixed *x)
{
	struct cmember *m = x->member;
	int rc;

	if (set_classic(x) || consumer_set_names(m, x->sub.topics, x->sub.topics_count) < 0 ||
	    consumer_set_pattern(m, SL_STR_NULL) < 0 ||
	    consumer_set_text(&m->client_id, sl_str_is_null(x->rq->client_id)
	                                             ? (struct sl_str){"", 0}
	                                             : x->rq->client_id) < 0 ||
	    consumer_set_text(&m->client_host, x->rq->client_host) < 0)
		return -ENOMEM;
	rc = consumer_set_text(&m->rack_id, x->sub.rack_id);
	if (rc < 0)
		return rc;
	x->is_bump |= rc > 0 && target_has_racks(x->cg);
	m->rebalance_timeout_ms = x->m->rebalance_timeout_ms;
	m->is_member_changed = true;
	consumer_mark(m);
	rc = target_subscribe(x->c, m);
	x->is_bump |= rc > 0;
	return rc < 0 ? rc : 0;
}

/* The group's epoch rises if the topics are others, or @is_bump. */
static int update_epoch(struct group_coord *c, struct cgroup *cg, bool is_bump)
{
	int rc = target_refresh(c, cg);
	int64_t hash = target_hash(cg);

	if (rc < 0)
		return rc;
	if (rc > 0 || is_bump || hash != cg->hash) {
		cg->hash = hash;
		consumer_bump(c, cg);
	}
	return 0;
}

static int update_group(struct mixed *x)
{
	int rc = update_epoch(x->c, x->cg, x->is_bump || x->is_new);

	return rc ? rc : target_update(x->c, x->cg);
}

/* A join that knows an older generation is late, or the answer to it was lost: what it says about
 * partitions may be out of date.  The next one is asked for at once. */
static bool is_owned_known(const struct mixed *x)
{
	return x->is_new || x->member->epoch == 0 || x->sub.generation_id < 0 ||
	       x->sub.generation_id == x->member->epoch;
}

static void fail(const struct mixed *x, enum sl_kerr kerr, struct sl_str member_id)
{
	reply_join_error(x->c, &x->rq->to, kerr, member_id);
}

static void join(struct mixed *x)
{
	struct cmember *m = x->member;
	struct sl_join_group_resp resp;
	int rc = update(x);

	if (!rc)
		rc = update_group(x);
	if (!rc)
		rc = reconcile_member(x->c, m, is_owned_known(x) ? &x->owned : NULL);
	consumer_arm_session(x->c, m);
	/* The sync is due now. */
	deadline_arm(&x->c->heap, &m->rebalance, x->c->now_ms + m->rebalance_timeout_ms);
	if (migrate_downgrade(x->c, x->g)) {
		fail(x, SL_KERR_REBALANCE_IN_PROGRESS, x->m->member_id);
		return;
	}
	persist_flush(x->c, x->cg);
	if (rc < 0) {
		coord_count(x->c, COUNT_refused_no_memory);
		fail(x, SL_KERR_COORDINATOR_NOT_AVAILABLE, x->m->member_id);
		return;
	}
	reply_join_fill(&resp, SL_KERR_NONE, m->id);
	resp.generation_id = m->epoch;
	resp.protocol_type = sl_str_from(TYPE_CONSUMER);
	resp.protocol_name = m->classic->protocols->list[0].name;
	persist_answer(x->c, x->cg, &x->rq->to, &resp);
}

void mixed_join(struct group_coord *c, const struct request *rq, const struct sl_join_group_req *m,
                struct group *g)
{
	struct mixed x = {.c = c, .rq = rq, .m = m, .g = g, .cg = g->consumer};
	bool is_unknown = m->member_id.len == 0;
	struct sl_str id = m->member_id;
	char text[MEMBER_ID_BYTES];
	enum sl_kerr kerr = check(&x);

	if (kerr == SL_KERR_NONE && (mixed_read_subscription(c, m->protocols[0].metadata, &x.sub) ||
	                             mixed_read_owned(c, &x.sub, &x.owned)))
		kerr = SL_KERR_INCONSISTENT_GROUP_PROTOCOL;
	if (kerr != SL_KERR_NONE) {
		fail(&x, kerr, m->member_id);
		return;
	}
	if (is_unknown) {
		bool is_static = !sl_str_is_null(m->group_instance_id);

		id = (struct sl_str){text, (int32_t)member_id_make(c,
		                                                   is_static ? m->group_instance_id
		                                                             : rq->client_id,
		                                                   text, sizeof(text))};
		if (!is_static && rq->to.version >= VERSION_MEMBER_ID_REQUIRED) {
			fail(&x, SL_KERR_MEMBER_ID_REQUIRED, id);
			return;
		}
	}
	kerr = find(&x, id, is_unknown);
	if (kerr == SL_KERR_NONE)
		join(&x);
	else
		fail(&x, kerr, m->member_id);
}

static enum sl_kerr find_classic(struct group_coord *c, const struct group *g,
                                 struct sl_str member_id, struct sl_str instance_id,
                                 struct cmember **out)
{
	struct cmember *m = consumer_find(g->consumer, member_id);

	if (!sl_str_is_null(instance_id)) {
		const struct cmember *known = consumer_find_instance(g->consumer, instance_id);

		if (!known)
			return SL_KERR_UNKNOWN_MEMBER_ID;
		if (known != m) {
			coord_count(c, COUNT_static_fenced);
			return SL_KERR_FENCED_INSTANCE_ID;
		}
	}
	if (!m || !m->classic)
		return SL_KERR_UNKNOWN_MEMBER_ID;
	*out = m;
	return SL_KERR_NONE;
}

/* It must join before it goes on, and loses its place if it does not in time. */
static enum sl_kerr ask_to_join(struct group_coord *c, struct cmember *m)
{
	if (!deadline_is_armed(&m->rebalance))
		deadline_arm(&c->heap, &m->rebalance, c->now_ms + m->rebalance_timeout_ms);
	return SL_KERR_REBALANCE_IN_PROGRESS;
}

struct sl_bytes mixed_assignment(struct group_coord *c, const struct parts *p)
{
	struct sl_consumer_protocol_assignment a;
	struct sl_bytes out = SL_BYTES_NULL;
	struct sl_buf b;
	uint32_t end;
	char *copy;

	sl_consumer_protocol_assignment_init(&a);
	a.assigned_partitions = sl_arena_alloc_array(&c->arena, parts_topics(p) + 1,
	                                             sizeof(*a.assigned_partitions));
	for (uint32_t i = 0; a.assigned_partitions && i < p->count; i = end) {
		int32_t *list;
		struct sl_str name;

		end = parts_topic_end(p, i);
		if (!c->opts.topic_name(c->opts.ctx, &p->list[i].topic, &name))
			continue;
		list = sl_arena_alloc_array(&c->arena, end - i, sizeof(*list));
		for (uint32_t k = i; list && k < end; k++)
			list[k - i] = p->list[k].partition;
		a.assigned_partitions[a.assigned_partitions_count++] =
			(struct sl_consumer_protocol_assignment_assigned_partition){
				name, list, (int32_t)(end - i)};
	}
	if (c->arena.failed)
		return out;
	sl_buf_init_grow(&b, ASSIGNMENT_BYTES_MAX);
	sl_put_i16(&b, 0);
	sl_consumer_protocol_assignment_encode(&a, &b, 0);
	copy = sl_buf_ok(&b) ? sl_arena_strndup(&c->arena, (const char *)b.p, b.len) : NULL;
	if (copy)
		out = (struct sl_bytes){copy, (int32_t)b.len};
	sl_buf_fini(&b);
	return out;
}

static enum sl_kerr check_sync(struct group_coord *c, const struct sl_sync_group_req *m,
                               struct group *g, struct cmember **out)
{
	enum sl_kerr kerr = find_classic(c, g, m->member_id, m->group_instance_id, out);

	if (kerr != SL_KERR_NONE)
		return kerr;
	if (m->generation_id != (*out)->epoch)
		return SL_KERR_ILLEGAL_GENERATION;
	if ((!sl_str_is_null(m->protocol_type) && !sl_str_eq_c(m->protocol_type, TYPE_CONSUMER)) ||
	    (!sl_str_is_null(m->protocol_name) &&
	     !sl_str_eq(m->protocol_name, (*out)->classic->protocols->list[0].name)))
		return SL_KERR_INCONSISTENT_GROUP_PROTOCOL;
	if (g->consumer->epoch > (*out)->epoch && (*out)->state != CMEMBER_UNREVOKED)
		return ask_to_join(c, *out);
	return SL_KERR_NONE;
}

void mixed_sync(struct group_coord *c, const struct request *rq, const struct sl_sync_group_req *m,
                struct group *g)
{
	struct sl_sync_group_resp resp;
	struct cmember *member;
	enum sl_kerr kerr = check_sync(c, m, g, &member);

	sl_sync_group_resp_init(&resp);
	if (kerr == SL_KERR_NONE) {
		resp.protocol_type = sl_str_from(TYPE_CONSUMER);
		resp.protocol_name = member->classic->protocols->list[0].name;
		resp.assignment = mixed_assignment(c, &member->assigned);
		if (resp.assignment.len < 0)
			kerr = SL_KERR_COORDINATOR_NOT_AVAILABLE;
	}
	if (kerr != SL_KERR_NONE) {
		reply_sync_error(c, &rq->to, kerr);
		return;
	}
	deadline_disarm(&c->heap, &member->rebalance);
	consumer_arm_session(c, member);
	persist_flush(c, g->consumer);
	persist_answer(c, g->consumer, &rq->to, &resp);
}

/* Are all partitions free that it waits for? */
static bool is_released(const struct cmember *m)
{
	for (uint32_t i = 0; i < m->target.count; i++) {
		const struct cmember *owner = consumer_owner(m->cg, &m->target.list[i]);

		if (owner && owner != m)
			return false;
	}
	return true;
}

enum sl_kerr mixed_heartbeat(struct group_coord *c, struct group *g, struct sl_str member_id,
                             struct sl_str instance_id, int32_t generation)
{
	struct cmember *m;
	enum sl_kerr kerr = find_classic(c, g, member_id, instance_id, &m);

	if (kerr != SL_KERR_NONE)
		return kerr;
	if (generation != m->epoch)
		return SL_KERR_ILLEGAL_GENERATION;
	consumer_arm_session(c, m);
	/* There may be no member of the consumer protocol left to notice other topics. */
	if (update_epoch(c, g->consumer, false))
		return SL_KERR_COORDINATOR_NOT_AVAILABLE;
	if (m->epoch < g->consumer->epoch || m->state == CMEMBER_UNREVOKED ||
	    (m->state == CMEMBER_UNRELEASED && is_released(m)))
		return ask_to_join(c, m);
	return SL_KERR_NONE;
}

enum sl_kerr mixed_leave(struct group_coord *c, struct group *g, struct sl_str member_id,
                         struct sl_str instance_id)
{
	struct cmember *m = NULL;
	enum sl_kerr kerr = SL_KERR_NONE;

	if (member_id.len == 0) {
		/* An administrator names static members by their instance, of either protocol. */
		m = sl_str_is_null(instance_id) ? NULL
		                                : consumer_find_instance(g->consumer, instance_id);
		kerr = m ? SL_KERR_NONE : SL_KERR_UNKNOWN_MEMBER_ID;
	} else {
		kerr = find_classic(c, g, member_id, instance_id, &m);
	}
	if (kerr == SL_KERR_NONE)
		consumer_remove(c, m);
	return kerr;
}
