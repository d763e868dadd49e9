/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the members of a group read together, and what each of them shall have.
 *
 * Topics are looked up when the coordinator was told that topics changed, at the next request of
 * the group, as members ask every few seconds anyway.
 */
#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"

#include "assign.h"
#include "consumer.h"

/* Fixed: the hash is compared with one that was written before. */
#define HASH_SEED UINT64_C(0x736c756963652e31)

static int compare_text(struct sl_str a, struct sl_str b)
{
	int32_t common = SL_MIN(a.len, b.len);
	int order = common > 0 ? memcmp(a.p, b.p, (size_t)common) : 0;

	return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* ---- Topics ---- */

/* The racks of one topic, as they are told. */
struct rack_hash {
	int32_t partition;
	uint64_t seen[ASSIGN_RACKS_MAX]; /* of the partition */
	uint32_t seen_count;
	uint64_t sum;
};

/* Replicas in one rack, and their order, change nothing. */
static void hash_rack(void *arg, int32_t partition, struct sl_str rack)
{
	struct rack_hash *r = arg;
	uint64_t h = sl_hash(&partition, sizeof(partition), HASH_SEED);

	if (sl_str_is_null(rack))
		return;
	if (r->partition != partition)
		r->seen_count = 0;
	r->partition = partition;
	h = sl_hash(rack.p, (size_t)rack.len, h);
	for (uint32_t i = 0; i < r->seen_count; i++) {
		if (r->seen[i] == h)
			return;
	}
	if (r->seen_count < ASSIGN_RACKS_MAX)
		r->seen[r->seen_count++] = h;
	r->sum += h;
}

static void look_up(struct group_coord *c, struct sub *s)
{
	struct rack_hash racks = {.partition = -1};

	s->partitions = SL_MAX(c->opts.topic_partitions(c->opts.ctx, s->name), 0);
	if (s->partitions > 0 && !c->opts.topic_id(c->opts.ctx, s->name, &s->id))
		s->partitions = 0;
	if (s->partitions > 0 && c->opts.topic_racks)
		c->opts.topic_racks(c->opts.ctx, s->name, hash_rack, &racks);
	s->racks_hash = racks.sum;
}

static struct sub *get_sub(struct group_coord *c, struct cgroup *cg, struct sl_str name)
{
	struct sub *s = sl_map_get(&cg->subs, name.p, (size_t)SL_MAX(name.len, 0));

	if (s) {
		s->refs++;
		return s;
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	if (text_dup(&s->name, name) || sl_map_put(&cg->subs, s->name.p, (size_t)s->name.len, s)) {
		text_free(&s->name);
		free(s);
		return NULL;
	}
	s->refs = 1;
	look_up(c, s);
	return s;
}

static void put_sub(struct cgroup *cg, struct sub *s)
{
	SL_ASSERT(s->refs > 0);
	if (--s->refs > 0)
		return;
	sl_map_del(&cg->subs, s->name.p, (size_t)s->name.len);
	text_free(&s->name);
	free(s);
}

void target_unsubscribe(struct cmember *m)
{
	for (uint32_t i = 0; i < m->subs_count; i++)
		put_sub(m->cg, m->subs[i]);
	free(m->subs);
	m->subs = NULL;
	m->subs_count = 0;
}

static void free_topics(struct sl_str *topics, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		text_free(&topics[i]);
	free(topics);
}

static int collect_topics(struct group_coord *c, struct regex *re, struct sl_str **out,
                          uint32_t *count)
{
	struct sl_str *topics = NULL;
	struct sl_str name;
	uint32_t cap = 0;
	uint32_t n = 0;
	uint32_t pos = 0;

	while (c->opts.topic_next(c->opts.ctx, &pos, &name)) {
		if (n == LIMIT_SUBSCRIBED) {
			coord_count(c, COUNT_refused_subscription_full);
			break;
		}
		if (!regex_matches(re, name))
			continue;
		if (n == cap) {
			struct sl_str *more = realloc(topics, (cap + 16) * 2 * sizeof(*topics));

			if (!more)
				goto err_free;
			topics = more;
			cap = (cap + 16) * 2;
		}
		if (text_dup(&topics[n], name))
			goto err_free;
		n++;
	}
	*out = topics;
	*count = n;
	return 0;
err_free:
	free_topics(topics, n);
	return -ENOMEM;
}

static bool are_topics(const struct pattern *p, const struct sl_str *topics, uint32_t count)
{
	if (p->topics_count != count)
		return false;
	for (uint32_t i = 0; i < count; i++) {
		if (!sl_str_eq(p->topics[i], topics[i]))
			return false;
	}
	return true;
}

/* Return: 1 it matches other topics than before; 0; -ENOMEM. */
static int resolve(struct group_coord *c, struct pattern *p)
{
	struct sl_str *topics;
	struct regex *re;
	uint32_t count;
	int err = regex_create(&re, p->text);

	/* One that Kafka took and that is not known here, from an old log, matches nothing. */
	if (err == -EINVAL) {
		p->is_resolved = true;
		return 0;
	}
	if (err)
		return err;
	err = collect_topics(c, re, &topics, &count);
	regex_destroy(re);
	if (err)
		return err;
	p->is_resolved = true;
	p->resolved_ms = c->wall_ms;
	if (are_topics(p, topics, count)) {
		free_topics(topics, count);
		return 0;
	}
	free_topics(p->topics, p->topics_count);
	p->topics = topics;
	p->topics_count = count;
	p->is_changed = true;
	return 1;
}

/* Names and topics of the pattern, each once, by name.  In the arena. */
static int merge_names(struct group_coord *c, const struct cmember *m, struct sl_str **out,
                       uint32_t *count)
{
	const struct pattern *p = m->pattern;
	uint32_t p_count = p ? p->topics_count : 0;
	struct sl_str *list = sl_arena_alloc_array(&c->arena, (size_t)m->names_count + p_count + 1,
	                                           sizeof(*list));
	uint32_t i = 0;
	uint32_t k = 0;
	uint32_t n = 0;

	if (!list)
		return -ENOMEM;
	while (i < m->names_count || k < p_count) {
		int order = i == m->names_count ? 1
		            : k == p_count      ? -1
		                                : compare_text(m->names[i], p->topics[k]);

		list[n++] = order <= 0 ? m->names[i] : p->topics[k];
		i += order <= 0;
		k += order >= 0;
	}
	*out = list;
	*count = n;
	return 0;
}

int target_subscribe(struct group_coord *c, struct cmember *m)
{
	struct sl_str *names;
	struct sub **subs;
	uint32_t count;
	uint32_t n = 0;
	bool is_same;

	if (m->pattern && !m->pattern->is_resolved && resolve(c, m->pattern) < 0)
		return -ENOMEM;
	if (merge_names(c, m, &names, &count))
		return -ENOMEM;
	is_same = count == m->subs_count;
	for (uint32_t i = 0; is_same && i < count; i++)
		is_same = sl_str_eq(names[i], m->subs[i]->name);
	if (is_same)
		return 0;
	subs = calloc((size_t)count + 1, sizeof(*subs));
	while (subs && n < count && (subs[n] = get_sub(c, m->cg, names[n])) != NULL)
		n++;
	if (!subs || n < count) {
		while (n > 0)
			put_sub(m->cg, subs[--n]);
		free(subs);
		return -ENOMEM;
	}
	target_unsubscribe(m);
	m->subs = subs;
	m->subs_count = count;
	return 1;
}

int target_refresh(struct group_coord *c, struct cgroup *cg)
{
	bool has_changed = false;
	struct pattern *p;
	struct sub *s;
	uint32_t pos = 0;
	int rc;

	if (cg->topics_seq == c->topics_seq || (PLANTED(topics_unseen) && cg->topics_seq > 0))
		return 0;
	while ((s = sl_map_next(&cg->subs, &pos)) != NULL)
		look_up(c, s);
	pos = 0;
	while ((p = sl_map_next(&cg->patterns, &pos)) != NULL) {
		if (resolve(c, p) < 0)
			return -ENOMEM;
	}
	for (uint32_t i = 0; cg->patterns.count > 0 && i < cg->members_count; i++) {
		if (!cg->members[i]->pattern)
			continue;
		rc = target_subscribe(c, cg->members[i]);
		if (rc < 0)
			return rc;
		has_changed |= rc > 0;
	}
	cg->topics_seq = c->topics_seq;
	return has_changed;
}

/* Independent of the order of the topics.  Without racks as it was before there were any: groups
 * need no new target after an upgrade.  Source: KIP-1101. */
int64_t target_hash(const struct cgroup *cg)
{
	uint64_t sum = 0;
	uint32_t pos = 0;
	struct sub *s;

	while ((s = sl_map_next(&cg->subs, &pos)) != NULL) {
		uint64_t h;

		if (s->partitions == 0)
			continue;
		h = sl_hash(s->name.p, (size_t)s->name.len, HASH_SEED);
		h = sl_hash(&s->id, sizeof(s->id), h);
		h = sl_hash(&s->partitions, sizeof(s->partitions), h);
		sum += s->racks_hash && !PLANTED(racks_unseen)
		               ? sl_hash(&s->racks_hash, sizeof(s->racks_hash), h)
		               : h;
	}
	return (int64_t)sum;
}

bool target_has_racks(const struct cgroup *cg)
{
	uint32_t pos = 0;
	struct sub *s;

	while ((s = sl_map_next(&cg->subs, &pos)) != NULL) {
		if (s->racks_hash)
			return true;
	}
	return false;
}

/* ---- The target ---- */

/* What an assignor is told, and what it says. */
struct plan {
	struct assign_spec spec;
	struct sub **by_name; /* topics that exist, as numbered */
	struct sub **by_id;
	uint32_t *before;
	uint32_t *owner;
	struct sl_str racks[ASSIGN_RACKS_MAX]; /* of members, by name */
	uint32_t racks_count;
	uint64_t work;
};

static int compare_by_name(const void *a, const void *b)
{
	return compare_text((*(struct sub *const *)a)->name, (*(struct sub *const *)b)->name);
}

static int compare_by_id(const void *a, const void *b)
{
	const struct sub *x = *(struct sub *const *)a;
	const struct sub *y = *(struct sub *const *)b;

	return memcmp(&x->id, &y->id, sizeof(x->id));
}

/* Numbered by name, as the members' lists are sorted by it. */
static int plan_topics(struct group_coord *c, struct cgroup *cg, struct plan *p)
{
	size_t n = cg->subs.count;
	struct assign_topic *topics = sl_arena_alloc_array(&c->arena, n + 1, sizeof(*topics));
	uint32_t count = 0;
	uint32_t pos = 0;
	struct sub *s;

	p->by_name = sl_arena_alloc_array(&c->arena, n + 1, sizeof(*p->by_name));
	p->by_id = sl_arena_alloc_array(&c->arena, n + 1, sizeof(*p->by_id));
	if (!topics || !p->by_name || !p->by_id)
		return -ENOMEM;
	while ((s = sl_map_next(&cg->subs, &pos)) != NULL) {
		s->index = ASSIGN_NONE;
		if (s->partitions > 0)
			p->by_name[count++] = s;
	}
	if (count > 1)
		qsort(p->by_name, count, sizeof(struct sub *), compare_by_name);
	for (uint32_t i = 0; i < count; i++) {
		p->by_name[i]->index = i;
		p->by_id[i] = p->by_name[i];
		topics[i] = (struct assign_topic){p->spec.partitions_count,
		                                  (uint32_t)p->by_name[i]->partitions};
		p->spec.partitions_count += topics[i].partitions;
	}
	if (count > 1)
		qsort(p->by_id, count, sizeof(struct sub *), compare_by_id);
	p->spec.topics = topics;
	p->spec.topics_count = count;
	return 0;
}

/* Where the rack is, or belongs. */
static uint32_t rack_place(const struct plan *p, struct sl_str rack, bool *is_known)
{
	uint32_t low = 0;
	uint32_t high = p->racks_count;

	*is_known = false;
	while (low < high && !*is_known) {
		uint32_t mid = low + (high - low) / 2;
		int order = compare_text(p->racks[mid], rack);

		*is_known = order == 0;
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return high;
}

/* The members' racks: others are none of an assignor's business.  The last ones by name are
 * ignored if they are too many. */
static void plan_racks(struct group_coord *c, const struct cgroup *cg, struct plan *p)
{
	for (uint32_t i = 0; i < cg->members_count; i++) {
		struct sl_str rack = cg->members[i]->rack_id;
		bool is_known;
		uint32_t at;

		if (rack.len <= 0)
			continue;
		at = rack_place(p, rack, &is_known);
		if (is_known)
			continue;
		if (p->racks_count == ASSIGN_RACKS_MAX)
			coord_count(c, COUNT_assign_racks_ignored);
		else
			p->racks_count++;
		if (at == ASSIGN_RACKS_MAX)
			continue;
		memmove(&p->racks[at + 1], &p->racks[at],
		        (p->racks_count - 1 - at) * sizeof(p->racks[0]));
		p->racks[at] = rack;
	}
}

static uint64_t rack_bit(const struct plan *p, struct sl_str rack)
{
	bool is_known = false;
	uint32_t at = rack.len > 0 ? rack_place(p, rack, &is_known) : 0;

	return is_known ? UINT64_C(1) << at : 0;
}

/* While the racks of a topic's partitions are told. */
struct rack_marks {
	const struct plan *p;
	uint64_t *racks; /* of the topic's partitions */
	int32_t partitions;
};

static void mark_rack(void *arg, int32_t partition, struct sl_str rack)
{
	const struct rack_marks *m = arg;

	if (partition >= 0 && partition < m->partitions)
		m->racks[partition] |= rack_bit(m->p, rack);
}

static int plan_partition_racks(struct group_coord *c, const struct cgroup *cg, struct plan *p)
{
	uint64_t *racks;

	if (!c->opts.topic_racks || !target_has_racks(cg))
		return 0;
	plan_racks(c, cg, p);
	if (p->racks_count == 0)
		return 0;
	racks = sl_arena_alloc_array(&c->arena, (size_t)p->spec.partitions_count + 1,
	                             sizeof(*racks));
	if (!racks)
		return -ENOMEM;
	for (uint32_t t = 0; t < p->spec.topics_count; t++) {
		struct rack_marks marks = {p, &racks[p->spec.topics[t].first],
		                           p->by_name[t]->partitions};

		c->opts.topic_racks(c->opts.ctx, p->by_name[t]->name, mark_rack, &marks);
	}
	p->spec.racks = racks;
	return 0;
}

static int plan_members(struct group_coord *c, const struct cgroup *cg, struct plan *p)
{
	struct assign_member *list = sl_arena_alloc_array(&c->arena, cg->members_count,
	                                                  sizeof(*list));

	if (!list)
		return -ENOMEM;
	for (uint32_t i = 0; i < cg->members_count; i++) {
		const struct cmember *m = cg->members[i];
		uint32_t *topics = sl_arena_alloc_array(&c->arena, (size_t)m->subs_count + 1,
		                                        sizeof(*topics));
		uint32_t n = 0;

		if (!topics)
			return -ENOMEM;
		for (uint32_t k = 0; k < m->subs_count; k++) {
			if (m->subs[k]->index != ASSIGN_NONE)
				topics[n++] = m->subs[k]->index;
		}
		list[i] = (struct assign_member){m->id, m->instance_id, topics, n,
		                                 rack_bit(p, m->rack_id)};
	}
	p->spec.members = list;
	p->spec.members_count = cg->members_count;
	return 0;
}

/* Both are in order of topic ids. */
static void plan_before_of(struct plan *p, const struct cmember *m, uint32_t number)
{
	uint32_t k = 0;

	for (uint32_t i = 0; i < m->target.count; i++) {
		const struct part *part = &m->target.list[i];
		int order = -1;

		while (k < p->spec.topics_count &&
		       (order = memcmp(&p->by_id[k]->id, &part->topic, sizeof(part->topic))) < 0)
			k++;
		if (k < p->spec.topics_count && order == 0 &&
		    part->partition < p->by_id[k]->partitions)
			p->before[p->spec.topics[p->by_id[k]->index].first +
			          (uint32_t)part->partition] = number;
	}
}

static int plan_before(struct group_coord *c, const struct cgroup *cg, struct plan *p)
{
	size_t n = p->spec.partitions_count;

	p->before = sl_arena_alloc_array(&c->arena, n + 1, sizeof(*p->before));
	p->owner = sl_arena_alloc_array(&c->arena, n + 1, sizeof(*p->owner));
	if (!p->before || !p->owner)
		return -ENOMEM;
	for (uint32_t i = 0; i < p->spec.partitions_count; i++)
		p->before[i] = ASSIGN_NONE;
	for (uint32_t i = 0; i < cg->members_count; i++)
		plan_before_of(p, cg->members[i], i);
	p->spec.before = p->before;
	return 0;
}

/* Sorted lists of what each member shall have, as the assignor's answer is walked by topic id. */
static int list_targets(struct group_coord *c, const struct plan *p, struct parts **out)
{
	uint32_t members = p->spec.members_count;
	struct parts *lists = sl_arena_alloc_array(&c->arena, (size_t)members + 1, sizeof(*lists));
	struct part *all = sl_arena_alloc_array(&c->arena, (size_t)p->spec.partitions_count + 1,
	                                        sizeof(*all));
	uint32_t at = 0;

	if (!lists || !all)
		return -ENOMEM;
	for (uint32_t i = 0; i < p->spec.partitions_count; i++) {
		if (p->owner[i] != ASSIGN_NONE)
			lists[p->owner[i]].count++;
	}
	for (uint32_t i = 0; i < members; i++) {
		lists[i].list = &all[at];
		at += lists[i].count;
		lists[i].count = 0;
	}
	for (uint32_t t = 0; t < p->spec.topics_count; t++) {
		const struct sub *s = p->by_id[t];
		const uint32_t *owner = &p->owner[p->spec.topics[s->index].first];

		for (int32_t k = 0; k < s->partitions; k++) {
			struct parts *to = owner[k] != ASSIGN_NONE ? &lists[owner[k]] : NULL;

			if (to)
				to->list[to->count++] = (struct part){s->id, k, 0};
		}
	}
	*out = lists;
	return 0;
}

static int set_target(struct cmember *m, const struct parts *to)
{
	struct parts copy;

	if (parts_eq(&m->target, to))
		return 0;
	if (parts_dup(&copy, to))
		return -ENOMEM;
	parts_free(&m->target);
	m->target = copy;
	m->is_target_changed = true;
	consumer_mark(m);
	return 0;
}

static const char *const assignor_names[GROUP_ASSIGN_NR] = {
	[GROUP_ASSIGN_UNIFORM] = "uniform",
	[GROUP_ASSIGN_RANGE] = "range",
};

bool target_has_assignor(const struct group_coord *c, struct sl_str name)
{
	for (uint32_t i = 0; i < c->opts.assignors_count; i++) {
		if (sl_str_eq_c(name, assignor_names[c->opts.assignors[i]]))
			return true;
	}
	return false;
}

/* The one that most members ask for; of equals the one that is configured first. */
static enum group_assignor choose_assignor(const struct group_coord *c, const struct cgroup *cg)
{
	enum group_assignor best = c->opts.assignors[0];
	uint32_t best_votes = 0;

	for (uint32_t i = 0; i < c->opts.assignors_count; i++) {
		const char *name = assignor_names[c->opts.assignors[i]];
		uint32_t votes = 0;

		for (uint32_t k = 0; k < cg->members_count; k++)
			votes += sl_str_eq_c(cg->members[k]->assignor, name);
		if (votes > best_votes) {
			best_votes = votes;
			best = c->opts.assignors[i];
		}
	}
	return best;
}

const char *target_assignor(const struct group_coord *c, const struct cgroup *cg)
{
	return assignor_names[choose_assignor(c, cg)];
}

int target_update(struct group_coord *c, struct cgroup *cg)
{
	static assign_fn *const assignors[GROUP_ASSIGN_NR] = {
		[GROUP_ASSIGN_UNIFORM] = uniform_assign,
		[GROUP_ASSIGN_RANGE] = range_assign,
	};
	struct plan p = {.spec.work = &p.work};
	struct parts *lists;
	int rc;

	if (cg->epoch == cg->target_epoch)
		return 0;
	if (plan_topics(c, cg, &p) || plan_partition_racks(c, cg, &p) || plan_members(c, cg, &p) ||
	    plan_before(c, cg, &p))
		return -ENOMEM;
	rc = assignors[choose_assignor(c, cg)](&p.spec, &c->arena, p.owner);
	if (rc < 0 || list_targets(c, &p, &lists))
		return -ENOMEM;
	if (rc > 0)
		coord_count(c, COUNT_assign_work_exceeded);
	for (uint32_t i = 0; i < cg->members_count; i++) {
		if (set_target(cg->members[i], &lists[i]))
			return -ENOMEM;
	}
	cg->target_epoch = cg->epoch;
	cg->target_ms = c->wall_ms;
	cg->is_target_changed = true;
	return 0;
}
