/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups of the consumer protocol and their members: what they are made of, who holds which
 * partition, and what becomes of members whose time is up.
 *
 * Relies on: a partition is in assigned or revoking of one member at most, and the map of owners
 * says of which; consumer_hold() is the only place where either changes.
 */
#include "consumer.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"

/* A member's session and rebalance deadlines. */
#define MEMBER_DEADLINES     2u
/* What identifies a partition in a map. */
#define PART_KEY_BYTES       offsetof(struct part, epoch)
#define MEMBERS_CAP_MIN      16u
/* From this version on OffsetCommit knows member epochs: KIP-848. */
#define VERSION_MEMBER_EPOCH 9

_Static_assert(PART_KEY_BYTES == sizeof(struct sl_uuid) + sizeof(int32_t), "no padding in keys");

static void move_gone(struct sl_list *to, struct sl_list *from, uint64_t seq)
{
	struct gone *gone;

	while ((gone = sl_list_first(from, struct gone, link)) != NULL) {
		gone->seq = seq;
		sl_list_del(&gone->link);
		sl_list_push_back(to, &gone->link);
	}
}

int consumer_create(struct group_coord *c, struct group *g)
{
	struct cgroup *cg = calloc(1, sizeof(*cg));

	SL_ASSERT(!g->consumer);
	if (!cg)
		return -ENOMEM;
	cg->group = g;
	cg->serial = ++c->serial_next;
	sl_list_init(&cg->changed);
	sl_list_init(&cg->gone);
	move_gone(&cg->gone, &g->ghosts, 0);
	sl_list_init(&cg->gone_sent);
	sl_list_init(&cg->waiters);
	g->consumer = cg;
	return 0;
}

static int32_t place_of(const struct cgroup *cg, struct sl_str id, bool *is_there)
{
	uint32_t low = 0;
	uint32_t high = cg->members_count;

	*is_there = false;
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		struct sl_str other = cg->members[mid]->id;
		int32_t common = SL_MIN(id.len, other.len);
		int order = common > 0 ? memcmp(other.p, id.p, (size_t)common) : 0;

		if (order == 0)
			order = (other.len > id.len) - (other.len < id.len);
		if (order == 0) {
			*is_there = true;
			return (int32_t)mid;
		}
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return (int32_t)low;
}

static int list_member(struct cgroup *cg, struct cmember *m)
{
	bool is_there;
	uint32_t at = (uint32_t)place_of(cg, m->id, &is_there);

	SL_ASSERT(!is_there);
	if (cg->members_count == cg->members_cap) {
		uint32_t cap = cg->members_cap ? cg->members_cap * 2 : MEMBERS_CAP_MIN;
		struct cmember **list = realloc(cg->members, cap * sizeof(*list));

		if (!list)
			return -ENOMEM;
		cg->members = list;
		cg->members_cap = cap;
	}
	memmove(&cg->members[at + 1], &cg->members[at],
	        (cg->members_count - at) * sizeof(*cg->members));
	cg->members[at] = m;
	cg->members_count++;
	return 0;
}

static void unlist_member(struct cgroup *cg, const struct cmember *m)
{
	bool is_there;
	uint32_t at = (uint32_t)place_of(cg, m->id, &is_there);

	SL_ASSERT(is_there && cg->members[at] == m);
	cg->members_count--;
	memmove(&cg->members[at], &cg->members[at + 1],
	        (cg->members_count - at) * sizeof(*cg->members));
}

struct cmember *consumer_find(const struct cgroup *cg, struct sl_str id)
{
	return sl_map_get(&cg->by_id, id.p, (size_t)SL_MAX(id.len, 0));
}

struct cmember *consumer_find_instance(const struct cgroup *cg, struct sl_str instance_id)
{
	return sl_map_get(&cg->by_instance, instance_id.p, (size_t)SL_MAX(instance_id.len, 0));
}

static void free_names(struct cmember *m)
{
	for (uint32_t i = 0; i < m->names_count; i++)
		text_free(&m->names[i]);
	free(m->names);
	m->names = NULL;
	m->names_count = 0;
}

static void drop_pattern(struct cgroup *cg, struct pattern *p)
{
	struct gone *gone;

	SL_ASSERT(p->refs > 0);
	if (--p->refs > 0)
		return;
	sl_map_del(&cg->patterns, p->text.p, (size_t)p->text.len);
	for (uint32_t i = 0; i < p->topics_count; i++)
		text_free(&p->topics[i]);
	free(p->topics);
	gone = calloc(1, sizeof(*gone));
	if (gone) {
		/* Without memory its record stays until the group goes. */
		*gone = (struct gone){.text = p->text, .is_pattern = true};
		sl_list_push_back(&cg->gone, &gone->link);
	} else {
		text_free(&p->text);
	}
	free(p);
}

static void destroy(struct cmember *m)
{
	text_free(&m->id);
	text_free(&m->instance_id);
	text_free(&m->rack_id);
	text_free(&m->client_id);
	text_free(&m->client_host);
	text_free(&m->assignor);
	free_names(m);
	parts_free(&m->target);
	parts_free(&m->assigned);
	parts_free(&m->revoking);
	free(m);
}

static struct cmember *create(struct cgroup *cg, struct sl_str id, struct sl_str instance_id)
{
	struct cmember *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->cg = cg;
	m->rack_id = SL_STR_NULL;
	m->client_id = SL_STR_NULL;
	m->client_host = SL_STR_NULL;
	m->assignor = SL_STR_NULL;
	m->rebalance_timeout_ms = -1;
	m->session.kind = DEADLINE_CONSUMER_SESSION;
	m->rebalance.kind = DEADLINE_CONSUMER_REBALANCE;
	sl_list_init(&m->changed);
	if (text_dup(&m->id, id) || text_dup(&m->instance_id, instance_id)) {
		destroy(m);
		return NULL;
	}
	return m;
}

int consumer_add(struct group_coord *c, struct cgroup *cg, struct sl_str id,
                 struct sl_str instance_id, struct cmember **out)
{
	struct cmember *m = create(cg, id, instance_id);

	if (!m)
		return -ENOMEM;
	if (deadline_reserve(&c->heap, MEMBER_DEADLINES))
		goto err_destroy;
	if (sl_map_put(&cg->by_id, m->id.p, (size_t)m->id.len, m))
		goto err_unreserve;
	if (!sl_str_is_null(m->instance_id) &&
	    sl_map_put(&cg->by_instance, m->instance_id.p, (size_t)m->instance_id.len, m))
		goto err_unmap;
	if (list_member(cg, m))
		goto err_unmap_instance;
	*out = m;
	return 0;

err_unmap_instance:
	if (!sl_str_is_null(m->instance_id))
		sl_map_del(&cg->by_instance, m->instance_id.p, (size_t)m->instance_id.len);
err_unmap:
	sl_map_del(&cg->by_id, m->id.p, (size_t)m->id.len);
err_unreserve:
	deadline_unreserve(&c->heap, MEMBER_DEADLINES);
err_destroy:
	destroy(m);
	return -ENOMEM;
}

static void forget_id(struct cgroup *cg, struct sl_str id)
{
	struct gone *gone = calloc(1, sizeof(*gone));

	if (!gone || text_dup(&gone->text, id)) {
		free(gone);
		return;
	}
	sl_list_push_back(&cg->gone, &gone->link);
}

static void disown(struct cgroup *cg, const struct parts *p, const struct cmember *m)
{
	for (uint32_t i = 0; i < p->count; i++) {
		struct owner *o = sl_map_get(&cg->owners, &p->list[i], PART_KEY_BYTES);

		if (!o || o->m != m)
			continue;
		sl_map_del(&cg->owners, &p->list[i], PART_KEY_BYTES);
		free(o);
	}
}

void consumer_remove(struct group_coord *c, struct cmember *m)
{
	struct cgroup *cg = m->cg;

	if (PLANTED(fence_pending))
		pending_drop_group(cg->group);
	disown(cg, &m->assigned, m);
	disown(cg, &m->revoking, m);
	target_unsubscribe(m);
	if (m->pattern)
		drop_pattern(cg, m->pattern);
	consumer_set_classic(m, NULL);
	sl_list_del(&m->changed);
	deadline_disarm(&c->heap, &m->session);
	deadline_disarm(&c->heap, &m->rebalance);
	deadline_unreserve(&c->heap, MEMBER_DEADLINES);
	sl_map_del(&cg->by_id, m->id.p, (size_t)m->id.len);
	if (!sl_str_is_null(m->instance_id) && consumer_find_instance(cg, m->instance_id) == m)
		sl_map_del(&cg->by_instance, m->instance_id.p, (size_t)m->instance_id.len);
	unlist_member(cg, m);
	forget_id(cg, m->id);
	destroy(m);
}

int consumer_rename(struct group_coord *c, struct cmember *m, struct sl_str id)
{
	struct cgroup *cg = m->cg;
	struct sl_str copy;

	(void)c;
	if (text_dup(&copy, id))
		return -ENOMEM;
	if (sl_map_put(&cg->by_id, copy.p, (size_t)copy.len, m)) {
		text_free(&copy);
		return -ENOMEM;
	}
	/* There is room for it where it was. */
	unlist_member(cg, m);
	sl_map_del(&cg->by_id, m->id.p, (size_t)m->id.len);
	forget_id(cg, m->id);
	text_free(&m->id);
	m->id = copy;
	SL_ASSERT(list_member(cg, m) == 0);
	return 0;
}

void consumer_lay_ghosts(struct group *g, uint64_t serial)
{
	struct sl_list *pos;
	struct sl_list *tmp;

	sl_list_for_each_safe(pos, tmp, &g->ghosts) {
		struct gone *gone = sl_list_entry(pos, struct gone, link);

		if (serial != 0 && gone->seq != serial)
			continue;
		sl_list_del(&gone->link);
		text_free(&gone->text);
		free(gone);
	}
}

void consumer_destroy(struct group_coord *c, struct group *g, enum sl_kerr kerr)
{
	struct cgroup *cg = g->consumer;

	if (!cg)
		return;
	persist_fail_waiters(c, cg, kerr);
	while (cg->members_count > 0)
		consumer_remove(c, cg->members[cg->members_count - 1]);
	move_gone(&g->ghosts, &cg->gone, cg->serial);
	move_gone(&g->ghosts, &cg->gone_sent, cg->serial);
	SL_ASSERT(cg->owners.count == 0 && cg->subs.count == 0 && cg->patterns.count == 0);
	sl_map_fini(&cg->by_id);
	sl_map_fini(&cg->by_instance);
	sl_map_fini(&cg->owners);
	sl_map_fini(&cg->subs);
	sl_map_fini(&cg->patterns);
	free(cg->members);
	free(cg);
	g->consumer = NULL;
}

bool consumer_is_empty(const struct group *g)
{
	return !g->consumer || g->consumer->members_count == 0;
}

enum cgroup_state consumer_state(const struct group *g)
{
	const struct cgroup *cg = g->consumer;

	if (cg->members_count == 0)
		return CGROUP_EMPTY;
	if (cg->epoch > cg->target_epoch)
		return CGROUP_ASSIGNING;
	for (uint32_t i = 0; i < cg->members_count; i++) {
		if (!reconcile_is_done(cg->members[i]))
			return CGROUP_RECONCILING;
	}
	return CGROUP_STABLE;
}

const char *consumer_state_name(const struct group *g)
{
	static const char *const names[CGROUP_STATE_NR] = {
#define CGROUP_STATE_NAME(name, text) [CGROUP_##name] = (text),
		CGROUP_STATES(CGROUP_STATE_NAME)
#undef CGROUP_STATE_NAME
	};

	return names[consumer_state(g)];
}

bool consumer_is_subscribed(const struct group *g, struct sl_str topic)
{
	return sl_map_get(&g->consumer->subs, topic.p, (size_t)topic.len) != NULL;
}

int consumer_set_text(struct sl_str *to, struct sl_str from)
{
	struct sl_str copy;

	if (sl_str_eq(*to, from))
		return 0;
	if (text_dup(&copy, from))
		return -ENOMEM;
	text_free(to);
	*to = copy;
	return 1;
}

static int compare_names(const void *a, const void *b)
{
	const struct sl_str *x = a;
	const struct sl_str *y = b;
	int32_t common = SL_MIN(x->len, y->len);
	int order = common > 0 ? memcmp(x->p, y->p, (size_t)common) : 0;

	return order ? order : (x->len > y->len) - (x->len < y->len);
}

/* Sorts in place and drops repetitions.  Return: how many are left. */
static uint32_t sort_names(struct sl_str *list, uint32_t count)
{
	uint32_t kept = 0;

	if (count < 2)
		return count;
	qsort(list, count, sizeof(*list), compare_names);
	for (uint32_t i = 1; i < count; i++) {
		if (!sl_str_eq(list[kept], list[i]))
			list[++kept] = list[i];
	}
	return kept + 1;
}

static bool are_names(const struct cmember *m, const struct sl_str *list, uint32_t count)
{
	if (m->names_count != count)
		return false;
	for (uint32_t i = 0; i < count; i++) {
		if (!sl_str_eq(m->names[i], list[i]))
			return false;
	}
	return true;
}

int consumer_set_names(struct cmember *m, const struct sl_str *names, int32_t count)
{
	uint32_t n = (uint32_t)SL_MAX(count, 0);
	struct sl_str *list = calloc((size_t)n + 1, sizeof(*list));
	uint32_t copied = 0;

	if (!list)
		return -ENOMEM;
	if (n > 0)
		memcpy(list, names, n * sizeof(*list));
	n = sort_names(list, n);
	if (are_names(m, list, n)) {
		free(list);
		return 0;
	}
	while (copied < n && text_dup(&list[copied], list[copied]) == 0)
		copied++;
	if (copied < n) {
		for (uint32_t i = 0; i < copied; i++)
			text_free(&list[i]);
		free(list);
		return -ENOMEM;
	}
	free_names(m);
	m->names = list;
	m->names_count = n;
	return 1;
}

static int find_pattern(struct cgroup *cg, struct sl_str text, struct pattern **out)
{
	struct pattern *p = sl_map_get(&cg->patterns, text.p, (size_t)text.len);
	struct regex *re;
	int err;

	if (!p) {
		err = regex_create(&re, text);
		if (err)
			return err;
		regex_destroy(re);
		p = calloc(1, sizeof(*p));
		if (!p)
			return -ENOMEM;
		if (text_dup(&p->text, text) ||
		    sl_map_put(&cg->patterns, p->text.p, (size_t)p->text.len, p)) {
			text_free(&p->text);
			free(p);
			return -ENOMEM;
		}
		p->is_changed = true;
	}
	p->refs++;
	*out = p;
	return 0;
}

int consumer_set_pattern(struct cmember *m, struct sl_str text)
{
	struct pattern *p = NULL;
	int err;

	if (m->pattern ? sl_str_eq(m->pattern->text, text) : text.len <= 0)
		return 0;
	if (text.len > 0) {
		err = find_pattern(m->cg, text, &p);
		if (err)
			return err;
	}
	if (m->pattern)
		drop_pattern(m->cg, m->pattern);
	m->pattern = p;
	return 1;
}

void consumer_set_classic(struct cmember *m, struct cclassic *classic)
{
	m->cg->classic_count += (classic != NULL) - (uint32_t)(m->classic != NULL);
	if (m->classic)
		free(m->classic->protocols);
	free(m->classic);
	m->classic = classic;
}

void consumer_mark(struct cmember *m)
{
	if (sl_list_is_empty(&m->changed))
		sl_list_push_back(&m->cg->changed, &m->changed);
}

struct cmember *consumer_owner(const struct cgroup *cg, const struct part *what)
{
	const struct owner *o = sl_map_get(&cg->owners, what, PART_KEY_BYTES);

	return o ? o->m : NULL;
}

static void cut(struct parts *p, const struct part *what)
{
	const struct part *at = parts_find(p, what);
	uint32_t i;

	if (!at)
		return;
	i = (uint32_t)(at - p->list);
	p->count--;
	memmove(&p->list[i], &p->list[i + 1], (p->count - i) * sizeof(*p->list));
}

void consumer_release(struct cmember *m, const struct part *what)
{
	const struct parts one = {(struct part *)(uintptr_t)what, 1};

	disown(m->cg, &one, m);
	cut(&m->assigned, what);
	cut(&m->revoking, what);
}

/* Makes @m the owner of those of @p that nobody has; the others are left out of @p. */
static int own(struct cmember *m, struct parts *p)
{
	struct cgroup *cg = m->cg;
	uint32_t kept = 0;
	int err = 0;

	for (uint32_t i = 0; i < p->count; i++) {
		const struct cmember *has = consumer_owner(cg, &p->list[i]);
		struct owner *o = NULL;

		if (!has) {
			o = calloc(1, sizeof(*o));
			if (o)
				*o = (struct owner){p->list[i], m};
			if (!o || sl_map_put(&cg->owners, &o->what, PART_KEY_BYTES, o)) {
				free(o);
				err = -ENOMEM;
				continue;
			}
		} else if (has != m && !PLANTED(give_held)) {
			continue;
		}
		p->list[kept++] = p->list[i];
	}
	p->count = kept;
	return err;
}

int consumer_hold(struct cmember *m, const struct parts *assigned, const struct parts *revoking)
{
	struct parts new_assigned;
	struct parts new_revoking;
	struct parts old[2] = {m->assigned, m->revoking};
	int err;

	if (parts_dup(&new_assigned, assigned))
		return -ENOMEM;
	if (parts_dup(&new_revoking, revoking)) {
		parts_free(&new_assigned);
		return -ENOMEM;
	}
	/* An answer may be lost, and the request that led to it may be one nobody waits for. */
	if (!parts_eq(assigned, &m->assigned))
		m->tells_left = LIMIT_TELLS;
	err = own(m, &new_assigned);
	if (own(m, &new_revoking))
		err = -ENOMEM;
	m->assigned = new_assigned;
	m->revoking = new_revoking;
	for (uint32_t k = 0; k < 2; k++) {
		for (uint32_t i = 0; i < old[k].count; i++) {
			struct parts one = {&old[k].list[i], 1};

			if (!parts_find(&m->assigned, one.list) &&
			    !parts_find(&m->revoking, one.list))
				disown(m->cg, &one, m);
		}
		parts_free(&old[k]);
	}
	return err;
}

void consumer_bump(struct group_coord *c, struct cgroup *cg)
{
	cg->epoch = cg->epoch == INT32_MAX ? 1 : cg->epoch + 1;
	cg->is_group_changed = true;
	coord_count(c, COUNT_consumer_rebalances);
}

struct group_conf consumer_conf(const struct group_coord *c, const struct group *g)
{
	struct group_conf conf = c->opts.consumer;

	if (c->opts.group_conf)
		c->opts.group_conf(c->opts.ctx, g->id, &conf);
	return conf;
}

void consumer_arm_session(struct group_coord *c, struct cmember *m)
{
	int32_t timeout_ms = m->classic ? m->classic->session_timeout_ms
	                                : consumer_conf(c, m->cg->group).session_timeout_ms;

	deadline_arm(&c->heap, &m->session, c->now_ms + timeout_ms);
}

void consumer_due(struct group_coord *c, struct deadline *d)
{
	struct cmember *m = d->kind == DEADLINE_CONSUMER_SESSION
	                            ? SL_CONTAINER_OF(d, struct cmember, session)
	                            : SL_CONTAINER_OF(d, struct cmember, rebalance);
	struct cgroup *cg = m->cg;
	struct group *g = cg->group;

	deadline_disarm(&c->heap, d);
	coord_count(c, d->kind == DEADLINE_CONSUMER_SESSION ? COUNT_members_expired
	                                                    : COUNT_members_not_rejoined);
	consumer_remove(c, m);
	if (migrate_downgrade(c, g))
		return;
	consumer_bump(c, cg);
	persist_flush(c, cg);
}

/* Whoever is to give up something, and may not know it yet, still has all that it had before. */
static bool is_epoch_of(const struct cmember *m, int32_t epoch)
{
	return epoch == m->epoch ||
	       (m->state == CMEMBER_UNREVOKED && !m->classic && epoch == m->epoch_before);
}

enum sl_kerr consumer_check_commit(struct group_coord *c, const struct group *g,
                                   struct sl_str member_id, int32_t epoch, int16_t version)
{
	const struct cgroup *cg = g->consumer;
	struct cmember *m;

	/* An administrator moves the offsets of a group that nobody is in. */
	if (epoch < 0 && cg->members_count == 0)
		return SL_KERR_NONE;
	/* As in Kafka the instance id says nothing here: who replaced a member has another id. */
	m = consumer_find(cg, member_id);
	if (!m)
		return SL_KERR_UNKNOWN_MEMBER_ID;
	if (m->classic) {
		if (epoch != m->epoch)
			return SL_KERR_ILLEGAL_GENERATION;
		consumer_arm_session(c, m);
		return SL_KERR_NONE;
	}
	if (version < VERSION_MEMBER_EPOCH)
		return SL_KERR_UNSUPPORTED_VERSION;
	if (is_epoch_of(m, epoch) || PLANTED(stale_commit))
		return SL_KERR_NONE;
	coord_count(c, COUNT_consumer_stale_epochs);
	return SL_KERR_STALE_MEMBER_EPOCH;
}

enum sl_kerr consumer_check_txn_commit(struct group_coord *c, const struct group *g,
                                       struct sl_str member_id, struct sl_str instance_id,
                                       int32_t epoch)
{
	enum sl_kerr kerr;

	/* -1 exactly, unlike in classic groups: other negative numbers are epochs of members. */
	if (epoch == EPOCH_NONE && member_id.len <= 0 && sl_str_is_null(instance_id))
		return SL_KERR_NONE;
	kerr = consumer_check_commit(c, g, member_id, epoch, VERSION_MEMBER_EPOCH);
	if ((kerr == SL_KERR_STALE_MEMBER_EPOCH && PLANTED(txn_stale)) ||
	    (kerr == SL_KERR_UNKNOWN_MEMBER_ID && PLANTED(txn_unknown)))
		return SL_KERR_NONE;
	return kerr == SL_KERR_STALE_MEMBER_EPOCH ? SL_KERR_ILLEGAL_GENERATION : kerr;
}

enum sl_kerr consumer_check_fetch(const struct group *g, struct sl_str member_id, int32_t epoch)
{
	const struct cmember *m;

	if (sl_str_is_null(member_id) && epoch < 0)
		return SL_KERR_NONE;
	m = consumer_find(g->consumer, member_id);
	if (!m)
		return SL_KERR_UNKNOWN_MEMBER_ID;
	if (is_epoch_of(m, epoch))
		return SL_KERR_NONE;
	return m->classic ? SL_KERR_ILLEGAL_GENERATION : SL_KERR_STALE_MEMBER_EPOCH;
}
