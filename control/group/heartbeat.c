/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ConsumerGroupHeartbeat: the one request by which a member joins, reports what it reads, learns
 * what it shall read, and leaves.
 *
 * A join's empty list of partitions is no proof that they were given up: a join may be late or
 * repeated.  The report that follows the answer is.
 */
#include <errno.h>

#include "sluice/base/assert.h"
#include "sluice/wire/consumer_group_heartbeat_gen.h"

#include "consumer.h"

/* From this version on clients make their ids: KIP-1082. */
#define VERSION_CLIENT_ID 1
/* Of a generated id: a UUID. */
#define MEMBER_ID_BYTES   64

struct beat {
	struct group_coord *c;
	const struct request *rq;
	const struct sl_consumer_group_heartbeat_req *m;
	struct sl_str member_id;
	struct group *g;
	struct cgroup *cg;
	struct cmember *member;
	struct parts owned;
	bool has_owned;
	bool is_new;
	bool is_back; /* takes up the place of one that reads nothing any more */
	bool is_bump;
	int32_t epoch_known; /* the member's, before this request */
};

static enum sl_kerr refuse(const char **text, enum sl_kerr kerr, const char *why)
{
	*text = why;
	return kerr;
}

static bool is_blank(struct sl_str s)
{
	for (int32_t i = 0; i < s.len; i++) {
		if ((unsigned char)s.p[i] > ' ')
			return false;
	}
	return true;
}

static enum sl_kerr check_join(const struct sl_consumer_group_heartbeat_req *m, const char **text)
{
	if (m->rebalance_timeout_ms == -1)
		return refuse(text, SL_KERR_INVALID_REQUEST,
		              "RebalanceTimeoutMs must be provided in first request.");
	if (m->topic_partitions_count != 0)
		return refuse(text, SL_KERR_INVALID_REQUEST,
		              "TopicPartitions must be empty when (re-)joining.");
	if (m->subscribed_topic_names_count < 0 && sl_str_is_null(m->subscribed_topic_regex))
		return refuse(
			text, SL_KERR_INVALID_REQUEST,
			"Either SubscribedTopicNames or SubscribedTopicRegex must be non-null "
			"when (re-)joining.");
	return SL_KERR_NONE;
}

/* What Kafka's GroupCoordinatorService refuses, with its texts. */
static enum sl_kerr check_request(const struct beat *b, const char **text)
{
	const struct sl_consumer_group_heartbeat_req *m = b->m;

	if (is_blank(m->group_id))
		return refuse(text, SL_KERR_INVALID_REQUEST, "GroupId can't be empty.");
	if (m->group_id.len > LIMIT_GROUP_ID_BYTES) {
		coord_count(b->c, COUNT_refused_group_id);
		return refuse(text, SL_KERR_INVALID_REQUEST, "GroupId is too long.");
	}
	if (m->member_id.len == 0 &&
	    (b->rq->to.version >= VERSION_CLIENT_ID || m->member_epoch != 0))
		return refuse(text, SL_KERR_INVALID_REQUEST, "MemberId can't be empty.");
	if (!sl_str_is_null(m->instance_id) && is_blank(m->instance_id))
		return refuse(text, SL_KERR_INVALID_REQUEST, "InstanceId can't be empty.");
	if (!sl_str_is_null(m->rack_id) && is_blank(m->rack_id))
		return refuse(text, SL_KERR_INVALID_REQUEST, "RackId can't be empty.");
	if (m->member_epoch < EPOCH_LEAVE_STATIC)
		return refuse(text, SL_KERR_INVALID_REQUEST, "MemberEpoch is invalid.");
	if (m->member_epoch == EPOCH_LEAVE_STATIC && sl_str_is_null(m->instance_id))
		return refuse(text, SL_KERR_INVALID_REQUEST, "InstanceId can't be null.");
	if (m->subscribed_topic_names_count > LIMIT_SUBSCRIBED ||
	    m->subscribed_topic_regex.len > LIMIT_PATTERN_BYTES) {
		coord_count(b->c, COUNT_refused_subscription_full);
		return refuse(text, SL_KERR_INVALID_REQUEST, "The subscription is too large.");
	}
	if (!sl_str_is_null(m->server_assignor) && !target_has_assignor(b->c, m->server_assignor))
		return refuse(text, SL_KERR_UNSUPPORTED_ASSIGNOR,
		              "The ServerAssignor is not supported.");
	return m->member_epoch == 0 ? check_join(m, text) : SL_KERR_NONE;
}

static void fail(const struct beat *b, enum sl_kerr kerr, const char *text)
{
	struct sl_consumer_group_heartbeat_resp resp;

	sl_consumer_group_heartbeat_resp_init(&resp);
	resp.error_code = (int16_t)kerr;
	resp.error_message = sl_str_from(text);
	reply_send(b->c, &b->rq->to, &resp);
}

static int read_owned(struct beat *b)
{
	const struct sl_consumer_group_heartbeat_req *m = b->m;
	size_t n = 0;

	if (m->topic_partitions_count < 0)
		return 0;
	for (int32_t i = 0; i < m->topic_partitions_count; i++)
		n += (size_t)m->topic_partitions[i].partitions_count;
	b->owned.list = sl_arena_alloc_array(&b->c->arena, n + 1, sizeof(*b->owned.list));
	if (!b->owned.list)
		return -ENOMEM;
	for (int32_t i = 0; i < m->topic_partitions_count; i++) {
		for (int32_t k = 0; k < m->topic_partitions[i].partitions_count; k++)
			b->owned.list[b->owned.count++] =
				(struct part){m->topic_partitions[i].topic_id,
			                      m->topic_partitions[i].partitions[k], 0};
	}
	parts_sort(&b->owned);
	b->has_owned = true;
	return 0;
}

/* ---- Which group, which member ---- */

static enum sl_kerr make_group(struct beat *b)
{
	struct group_coord *c = b->c;
	int err = 0;

	if (!b->g)
		err = state_create(c, b->m->group_id, &b->g);
	if (err) {
		coord_count(c,
		            err == -ENOSPC ? COUNT_refused_groups_full : COUNT_refused_no_memory);
		return err == -ENOSPC ? SL_KERR_POLICY_VIOLATION
		                      : SL_KERR_COORDINATOR_NOT_AVAILABLE;
	}
	if (!sl_list_is_empty(&b->g->members)) {
		err = migrate_upgrade(c, b->g);
	} else {
		err = consumer_create(c, b->g);
		if (!err)
			migrate_forget_classic(c, b->g);
	}
	return err ? SL_KERR_COORDINATOR_NOT_AVAILABLE : SL_KERR_NONE;
}

static enum sl_kerr find_group(struct beat *b, const char **text)
{
	enum sl_kerr kerr;

	b->g = state_find(b->c, b->m->group_id);
	if (b->g && b->g->is_deleting)
		return SL_KERR_COORDINATOR_LOAD_IN_PROGRESS;
	if (!b->g || !b->g->consumer) {
		if (b->m->member_epoch != 0)
			return refuse(text, SL_KERR_GROUP_ID_NOT_FOUND,
			              b->g ? "The group is not a consumer group."
			                   : "Consumer group not found.");
		if (b->g && b->g->state != GROUP_EMPTY && !migrate_can_upgrade(b->c, b->g))
			return refuse(text, SL_KERR_GROUP_ID_NOT_FOUND,
			              "The group is not a consumer group and cannot become one.");
		kerr = make_group(b);
		if (kerr != SL_KERR_NONE)
			return kerr;
	}
	b->cg = b->g->consumer;
	return SL_KERR_NONE;
}

/* An answer with a new epoch may have been lost; then the member comes with the former one, and
 * with nothing that it may not have.  That it is to give up something it may not know. */
static bool is_former_epoch(const struct beat *b)
{
	const struct cmember *m = b->member;
	struct parts had;

	return b->m->member_epoch == m->epoch_before && b->has_owned &&
	       parts_union(&b->c->arena, &m->assigned, &m->revoking, &had) == 0 &&
	       parts_is_within(&b->owned, &had);
}

static enum sl_kerr check_epoch(const struct beat *b, const char **text)
{
	if (b->m->member_epoch == b->member->epoch || is_former_epoch(b))
		return SL_KERR_NONE;
	coord_count(b->c, COUNT_consumer_members_fenced);
	return refuse(text, SL_KERR_FENCED_MEMBER_EPOCH,
	              b->m->member_epoch > b->member->epoch
	                      ? "The consumer group member has a greater member epoch than the one "
	                        "known by the group coordinator. The member must abandon all its "
	                        "partitions and rejoin."
	                      : "The consumer group member has a smaller member epoch than the one "
	                        "known by the group coordinator. The member must abandon all its "
	                        "partitions and rejoin.");
}

static enum sl_kerr add_member(struct beat *b)
{
	uint32_t max = SL_MIN((uint32_t)SL_MAX(b->c->opts.consumer_size_max, 1), LIMIT_MEMBERS);

	if (b->cg->members_count >= max) {
		coord_count(b->c, COUNT_refused_group_full);
		return SL_KERR_GROUP_MAX_SIZE_REACHED;
	}
	if (consumer_add(b->c, b->cg, b->member_id, b->m->instance_id, &b->member))
		return SL_KERR_COORDINATOR_NOT_AVAILABLE;
	b->is_new = true;
	b->member->is_member_changed = true;
	consumer_mark(b->member);
	return SL_KERR_NONE;
}

/* The place of a static member that went for a while is taken up again, under any id. */
static enum sl_kerr return_static(struct beat *b, struct cmember *before)
{
	bool is_same = sl_str_eq(before->id, b->member_id);

	if (!is_same && before->epoch != EPOCH_LEAVE_STATIC && !before->classic) {
		coord_count(b->c, COUNT_consumer_unreleased_instances);
		return SL_KERR_UNRELEASED_INSTANCE_ID;
	}
	if (!is_same) {
		if (consumer_rename(b->c, before, b->member_id))
			return SL_KERR_COORDINATOR_NOT_AVAILABLE;
		coord_count(b->c, COUNT_static_replaced);
	}
	b->is_back = before->epoch == EPOCH_LEAVE_STATIC || !is_same;
	if (b->is_back)
		before->epoch = 0;
	before->is_member_changed = true;
	before->is_target_changed |= !is_same;
	before->is_current_changed = true;
	consumer_mark(before);
	b->member = before;
	return SL_KERR_NONE;
}

static enum sl_kerr join_member(struct beat *b)
{
	struct cmember *before = sl_str_is_null(b->m->instance_id)
	                                 ? NULL
	                                 : consumer_find_instance(b->cg, b->m->instance_id);

	if (before)
		return return_static(b, before);
	b->member = consumer_find(b->cg, b->member_id);
	if (!b->member)
		return add_member(b);
	/* It is known without an instance, or with another one. */
	if (!sl_str_is_null(b->m->instance_id))
		return SL_KERR_INVALID_REQUEST;
	return SL_KERR_NONE;
}

static enum sl_kerr find_member(struct beat *b, const char **text)
{
	const struct sl_consumer_group_heartbeat_req *m = b->m;

	if (m->member_epoch == 0)
		return join_member(b);
	b->member = consumer_find(b->cg, b->member_id);
	if (!sl_str_is_null(m->instance_id)) {
		const struct cmember *known = consumer_find_instance(b->cg, m->instance_id);

		if (!known)
			return SL_KERR_UNKNOWN_MEMBER_ID;
		if (known != b->member) {
			coord_count(b->c, COUNT_static_fenced);
			return SL_KERR_FENCED_INSTANCE_ID;
		}
	}
	if (!b->member)
		return SL_KERR_UNKNOWN_MEMBER_ID;
	/* It left by what it speaks now, and joined by the other protocol since. */
	if (b->member->classic)
		return SL_KERR_UNKNOWN_MEMBER_ID;
	return m->member_epoch < 0 ? SL_KERR_NONE : check_epoch(b, text);
}

/* ---- Leaving ---- */

static void answer_left(struct beat *b)
{
	struct sl_consumer_group_heartbeat_resp resp;

	sl_consumer_group_heartbeat_resp_init(&resp);
	resp.member_id = b->m->member_id;
	resp.member_epoch = b->m->member_epoch;
	if (b->g->consumer)
		persist_answer(b->c, b->cg, &b->rq->to, &resp);
	else
		reply_send(b->c, &b->rq->to, &resp);
}

static void leave_for_a_while(struct beat *b)
{
	static const struct parts none;
	struct cmember *m = b->member;

	/* It stopped reading: what it was to give up is free. */
	if (m->revoking.count > 0 && consumer_hold(m, &m->assigned, &none)) {
		fail(b, SL_KERR_COORDINATOR_NOT_AVAILABLE, NULL);
		return;
	}
	m->epoch_before = m->epoch;
	m->epoch = EPOCH_LEAVE_STATIC;
	m->state = CMEMBER_STABLE;
	m->is_current_changed = true;
	consumer_mark(m);
	deadline_disarm(&b->c->heap, &m->rebalance);
	persist_flush(b->c, b->cg);
	answer_left(b);
}

static void leave(struct beat *b)
{
	if (b->m->member_epoch == EPOCH_LEAVE_STATIC) {
		leave_for_a_while(b);
		return;
	}
	coord_count(b->c, COUNT_members_left);
	consumer_remove(b->c, b->member);
	if (!migrate_downgrade(b->c, b->g)) {
		consumer_bump(b->c, b->cg);
		persist_flush(b->c, b->cg);
	}
	answer_left(b);
}

/* ---- Keeping up ---- */

static int set_text(struct beat *b, struct sl_str *to, struct sl_str from)
{
	int rc = sl_str_is_null(from) ? 0 : consumer_set_text(to, from);

	if (rc > 0) {
		b->member->is_member_changed = true;
		consumer_mark(b->member);
	}
	return rc < 0 ? rc : 0;
}

/* The member speaks the consumer protocol from now on. */
static void drop_classic(struct beat *b)
{
	struct cmember *m = b->member;

	if (!m->classic)
		return;
	deadline_disarm(&b->c->heap, &m->rebalance);
	consumer_set_classic(m, NULL);
}

/* Return: 0; -ENOMEM; -EINVAL the regular expression. */
static int update_subscription(struct beat *b)
{
	const struct sl_consumer_group_heartbeat_req *r = b->m;
	struct cmember *m = b->member;
	int has_names = 0;
	int has_pattern = 0;
	int rc;

	if (!sl_str_is_null(r->subscribed_topic_regex))
		has_pattern = consumer_set_pattern(m, r->subscribed_topic_regex);
	if (has_pattern < 0)
		return has_pattern;
	if (r->subscribed_topic_names_count >= 0)
		has_names = consumer_set_names(m, r->subscribed_topic_names,
		                               r->subscribed_topic_names_count);
	if (has_names < 0)
		return has_names;
	if (has_names || has_pattern) {
		m->is_member_changed = true;
		consumer_mark(m);
	}
	rc = target_subscribe(b->c, m);
	b->is_bump |= rc > 0;
	return rc < 0 ? rc : 0;
}

/* A member that tells no rack keeps the one it has, as in Kafka. */
static int update_rack(struct beat *b)
{
	if (sl_str_is_null(b->m->rack_id) || sl_str_eq(b->m->rack_id, b->member->rack_id))
		return 0;
	b->is_bump |= target_has_racks(b->cg);
	return set_text(b, &b->member->rack_id, b->m->rack_id);
}

static int update_member(struct beat *b)
{
	const struct sl_consumer_group_heartbeat_req *r = b->m;
	struct cmember *m = b->member;
	int rc = update_subscription(b);

	if (rc)
		return rc;
	drop_classic(b);
	if (r->rebalance_timeout_ms != -1 && r->rebalance_timeout_ms != m->rebalance_timeout_ms) {
		m->rebalance_timeout_ms = r->rebalance_timeout_ms;
		m->is_member_changed = true;
		consumer_mark(m);
	}
	if (update_rack(b) || set_text(b, &m->assignor, r->server_assignor) ||
	    set_text(b, &m->client_id,
	             sl_str_is_null(b->rq->client_id) ? (struct sl_str){"", 0}
	                                              : b->rq->client_id) ||
	    set_text(b, &m->client_host, b->rq->client_host))
		return -ENOMEM;
	return 0;
}

/* The group's epoch rises with each change of who reads what, and of the topics that are read. */
static int update_group(struct beat *b)
{
	int rc = target_refresh(b->c, b->cg);
	int64_t hash;

	if (rc < 0)
		return rc;
	hash = target_hash(b->cg);
	if (rc > 0 || b->is_bump || b->is_new || hash != b->cg->hash) {
		b->cg->hash = hash;
		consumer_bump(b->c, b->cg);
	}
	return target_update(b->c, b->cg);
}

static int fill_assignment(struct beat *b, struct sl_consumer_group_heartbeat_resp *resp)
{
	const struct parts *p = &b->member->assigned;
	struct sl_consumer_group_heartbeat_resp_assignment *a = sl_arena_alloc(&b->c->arena,
	                                                                       sizeof(*a));
	uint32_t end;

	if (!a)
		return -ENOMEM;
	a->topic_partitions = sl_arena_alloc_array(&b->c->arena, parts_topics(p) + 1,
	                                           sizeof(*a->topic_partitions));
	if (!a->topic_partitions)
		return -ENOMEM;
	for (uint32_t i = 0; i < p->count; i = end) {
		int32_t *list;

		end = parts_topic_end(p, i);
		list = sl_arena_alloc_array(&b->c->arena, end - i, sizeof(*list));
		if (!list)
			return -ENOMEM;
		for (uint32_t k = i; k < end; k++)
			list[k - i] = p->list[k].partition;
		a->topic_partitions[a->topic_partitions_count++] =
			(struct sl_consumer_group_heartbeat_resp_assignment_topic_partition){
				p->list[i].topic, list, (int32_t)(end - i)};
	}
	resp->assignment = a;
	return 0;
}

static bool is_full_request(const struct sl_consumer_group_heartbeat_req *m)
{
	return m->member_epoch == 0 ||
	       (m->rebalance_timeout_ms != -1 && m->topic_partitions_count >= 0 &&
	        (m->subscribed_topic_names_count >= 0 ||
	         !sl_str_is_null(m->subscribed_topic_regex)));
}

static void answer(struct beat *b, bool has_assignment)
{
	struct sl_consumer_group_heartbeat_resp resp;

	sl_consumer_group_heartbeat_resp_init(&resp);
	resp.member_id = b->member->id;
	resp.member_epoch = b->member->epoch;
	resp.heartbeat_interval_ms = consumer_conf(b->c, b->g).heartbeat_interval_ms;
	if (has_assignment && fill_assignment(b, &resp)) {
		fail(b, SL_KERR_COORDINATOR_NOT_AVAILABLE, NULL);
		return;
	}
	persist_answer(b->c, b->cg, &b->rq->to, &resp);
}

/* What cannot be read has no place in the group, and leaves no trace in it. */
static void drop_refused(struct beat *b)
{
	if (b->is_new)
		consumer_remove(b->c, b->member);
	/* Nor has the group become another one for it. */
	if (migrate_downgrade(b->c, b->g))
		return;
	if (b->cg->members_count == 0 && b->cg->epoch == 0) {
		consumer_destroy(b->c, b->g, SL_KERR_NONE);
		state_forget_unused(b->c, b->g);
	}
}

/* Does the request prove what the member reads now?  A join may be late or repeated, and so may be
 * what was sent before the member was told its epoch: neither knows what it was given since. */
static bool is_report(const struct beat *b)
{
	if (PLANTED(join_releases))
		return b->has_owned;
	return b->has_owned && (b->is_back || b->is_new || b->m->member_epoch == b->epoch_known);
}

/* Until the member reports what it was given, it is told again. */
static bool is_told_again(const struct beat *b)
{
	struct cmember *m = b->member;

	if (is_report(b) && parts_eq(&b->owned, &m->assigned))
		m->tells_left = 0;
	if (m->tells_left == 0)
		return false;
	m->tells_left--;
	return true;
}

/* A client reports what changed, so what it never had it does not report as given up.
 *
 * After a failure it tells all there is to tell.  If it has not what it was told last, it may not
 * have heard of it, and then is told again, before it is told to give up any of it.  Likewise a
 * second join changes nothing: it may be late, and nobody would hear what it is given. */
static bool may_go_unheard(const struct beat *b)
{
	if (b->m->member_epoch == 0)
		return !b->is_new && !b->is_back && !PLANTED(join_releases);
	return is_full_request(b->m) && b->member->state != CMEMBER_UNREVOKED &&
	       b->member->tells_left > 0 && !parts_eq(&b->owned, &b->member->assigned);
}

static void keep_up(struct beat *b)
{
	struct parts before = {0};
	int rc = update_member(b);
	bool has_changed;

	b->epoch_known = b->member->epoch;
	if (rc) {
		coord_count(b->c, rc == -EINVAL ? COUNT_consumer_regexes_refused
		                                : COUNT_refused_no_memory);
		fail(b,
		     rc == -EINVAL ? SL_KERR_INVALID_REGULAR_EXPRESSION
		                   : SL_KERR_COORDINATOR_NOT_AVAILABLE,
		     rc == -EINVAL ? "SubscribedTopicRegex is not a valid regular expression."
		                   : NULL);
		drop_refused(b);
		return;
	}
	consumer_arm_session(b->c, b->member);
	/* The arena holds it: the member's own list is replaced. */
	rc = parts_common(&b->c->arena, &b->member->assigned, &b->member->assigned, &before);
	if (!rc)
		rc = update_group(b);
	if (!rc && !may_go_unheard(b))
		rc = reconcile_member(b->c, b->member, is_report(b) ? &b->owned : NULL);
	has_changed = !parts_eq(&before, &b->member->assigned) || is_told_again(b);
	persist_flush(b->c, b->cg);
	if (rc < 0) {
		coord_count(b->c, COUNT_refused_no_memory);
		fail(b, SL_KERR_COORDINATOR_NOT_AVAILABLE, NULL);
		return;
	}
	answer(b, is_full_request(b->m) || has_changed);
}

/* Members of version 0 may leave it to the server: then it is a bare UUID. */
static struct sl_str make_id(struct group_coord *c, char *text, size_t size)
{
	size_t len = member_id_make(c, (struct sl_str){"", 0}, text, size);

	return (struct sl_str){text + 1, (int32_t)len - 1};
}

void heartbeat_handle(struct group_coord *c, const struct request *rq, const void *msg)
{
	const struct sl_consumer_group_heartbeat_req *m = msg;
	struct beat b = {.c = c, .rq = rq, .m = m, .member_id = m->member_id};
	char id[MEMBER_ID_BYTES];
	const char *text = NULL;
	enum sl_kerr kerr = check_request(&b, &text);

	if (kerr == SL_KERR_NONE)
		kerr = state_check_shard(c, m->group_id);
	if (kerr == SL_KERR_NONE && read_owned(&b))
		kerr = SL_KERR_COORDINATOR_NOT_AVAILABLE;
	if (kerr == SL_KERR_NONE)
		kerr = find_group(&b, &text);
	if (kerr == SL_KERR_NONE && m->member_id.len == 0)
		b.member_id = make_id(c, id, sizeof(id));
	if (kerr == SL_KERR_NONE)
		kerr = find_member(&b, &text);
	if (kerr != SL_KERR_NONE) {
		fail(&b, kerr, text);
		if (b.cg && (b.cg->epoch == 0 || b.cg->classic_count > 0))
			drop_refused(&b);
		return;
	}
	if (m->member_epoch < 0)
		leave(&b);
	else
		keep_up(&b);
}
