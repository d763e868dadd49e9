/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The range assignor: the partitions of each topic in contiguous ranges, so that members that read
 * topics of equally many partitions get the same numbers of each.  With racks those topics are
 * assigned as if they were one.
 */
#include <errno.h>
#include <stdlib.h>

#include "assign.h"

struct range {
	const struct assign_spec *s;
	uint32_t *owner;
	const struct assign_member **order;
	uint32_t *subscribers; /* per topic, how many */
};

/* Topics that are assigned alike, as one topic of a spec of its own. */
struct bundle {
	struct assign_spec spec;
	struct assign_topic units; /* unit n: partitions n of all of them */
	struct assign_member *members;
	uint32_t *who;    /* per member of the bundle, its number among all */
	uint32_t *number; /* the other way round; ASSIGN_NONE no subscriber */
	uint64_t *racks;
	uint32_t *before;
	uint32_t *owner;
};

/* Topics, told apart by their partitions and subscribers. */
struct kinds {
	uint32_t *of;    /* per topic */
	uint32_t *size;  /* per kind: topics */
	uint32_t *hit;   /* of them, read by the member that is looked at */
	uint32_t *fresh; /* the kind that these become */
	uint32_t *list;  /* all topics, by kind */
	uint32_t count;
};

static int compare_text(struct sl_str a, struct sl_str b)
{
	int32_t common = SL_MIN(a.len, b.len);
	int order = common > 0 ? memcmp(a.p, b.p, (size_t)common) : 0;

	return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* Static members first, by instance: their place must not change with their member id. */
static int compare(const void *a, const void *b)
{
	const struct assign_member *x = *(const struct assign_member *const *)a;
	const struct assign_member *y = *(const struct assign_member *const *)b;
	bool is_x_static = !sl_str_is_null(x->instance_id);
	bool is_y_static = !sl_str_is_null(y->instance_id);

	if (is_x_static && is_y_static)
		return compare_text(x->instance_id, y->instance_id);
	if (is_x_static != is_y_static)
		return is_x_static ? -1 : 1;
	return compare_text(x->id, y->id);
}

static void cut_topic(struct range *r, uint32_t topic)
{
	const struct assign_spec *s = r->s;
	uint32_t per_member = s->topics[topic].partitions / r->subscribers[topic];
	uint32_t extra = s->topics[topic].partitions % r->subscribers[topic];
	uint32_t at = s->topics[topic].first;

	for (uint32_t i = 0; i < s->members_count; i++) {
		uint32_t n = per_member;

		if (!assign_has_topic(r->order[i], topic))
			continue;
		if (extra > 0) {
			extra--;
			n++;
		}
		for (; n > 0; n--)
			r->owner[at++] = (uint32_t)(r->order[i] - s->members);
	}
}

/* ---- Topics of equally many partitions and the same subscribers ---- */

static int kinds_by_size(struct kinds *k, const struct assign_spec *s, struct sl_arena *arena)
{
	size_t n = (size_t)s->topics_count + 1;

	k->of = sl_arena_alloc_array(arena, n, sizeof(*k->of));
	k->size = sl_arena_alloc_array(arena, n, sizeof(*k->size));
	k->hit = sl_arena_alloc_array(arena, n, sizeof(*k->hit));
	k->fresh = sl_arena_alloc_array(arena, n, sizeof(*k->fresh));
	k->list = sl_arena_alloc_array(arena, n, sizeof(*k->list));
	if (!k->of || !k->size || !k->hit || !k->fresh || !k->list)
		return -ENOMEM;
	/* fresh: the number of partitions of each kind, for now. */
	for (uint32_t t = 0; t < s->topics_count; t++) {
		uint32_t i = 0;

		while (i < k->count && k->fresh[i] != s->topics[t].partitions)
			i++;
		if (i == k->count)
			k->fresh[k->count++] = s->topics[t].partitions;
		k->of[t] = i;
		k->size[i]++;
	}
	return 0;
}

/* Those of a kind that the member reads become another kind, unless it reads all of them. */
static void kinds_split(struct kinds *k, const struct assign_member *m)
{
	for (uint32_t i = 0; i < m->topics_count; i++)
		k->hit[k->of[m->topics[i]]]++;
	for (uint32_t i = 0; i < m->topics_count; i++) {
		uint32_t t = m->topics[i];
		uint32_t kind = k->of[t];

		if (k->hit[kind] > 0) {
			k->fresh[kind] = k->hit[kind] < k->size[kind] ? k->count++ : kind;
			k->hit[kind] = 0;
		}
		k->size[kind]--;
		k->size[k->fresh[kind]]++;
		k->of[t] = k->fresh[kind];
	}
}

static void kinds_list(struct kinds *k, uint32_t topics)
{
	uint32_t *at = k->fresh; /* where the kind's next one goes */
	uint32_t sum = 0;

	for (uint32_t i = 0; i < k->count; i++) {
		at[i] = sum;
		sum += k->size[i];
	}
	for (uint32_t t = 0; t < topics; t++)
		k->list[at[k->of[t]]++] = t;
}

/* ---- Racks ---- */

static int bundle_alloc(struct bundle *b, const struct range *r, struct sl_arena *arena)
{
	uint32_t most = 0;

	for (uint32_t t = 0; t < r->s->topics_count; t++)
		most = SL_MAX(most, r->s->topics[t].partitions);
	b->members = sl_arena_alloc_array(arena, r->s->members_count, sizeof(*b->members));
	b->who = sl_arena_alloc_array(arena, r->s->members_count, sizeof(*b->who));
	b->number = sl_arena_alloc_array(arena, r->s->members_count, sizeof(*b->number));
	b->racks = sl_arena_alloc_array(arena, most, sizeof(*b->racks));
	b->before = sl_arena_alloc_array(arena, most, sizeof(*b->before));
	b->owner = sl_arena_alloc_array(arena, most, sizeof(*b->owner));
	return b->members && b->who && b->number && b->racks && b->before && b->owner ? 0 : -ENOMEM;
}

static void bundle_topic(struct bundle *b, const struct assign_spec *s, uint32_t topic,
                         bool is_first)
{
	const struct assign_topic *t = &s->topics[topic];

	for (uint32_t n = 0; n < t->partitions; n++) {
		uint64_t racks = s->racks[t->first + n];
		uint32_t before = s->before[t->first + n];

		b->racks[n] = is_first ? racks : b->racks[n] & racks;
		if (is_first || b->before[n] == before)
			b->before[n] = before;
		else
			b->before[n] = ASSIGN_NONE;
	}
	b->units = (struct assign_topic){0, t->partitions};
}

static void bundle_members(struct bundle *b, const struct range *r, uint32_t topic)
{
	static const uint32_t only;
	uint32_t count = 0;

	for (uint32_t i = 0; i < r->s->members_count; i++) {
		const struct assign_member *m = r->order[i];
		bool is_in = assign_has_topic(m, topic);

		b->number[m - r->s->members] = is_in ? count : ASSIGN_NONE;
		if (!is_in)
			continue;
		b->who[count] = (uint32_t)(m - r->s->members);
		b->members[count] = *m;
		b->members[count].topics = &only;
		b->members[count++].topics_count = 1;
	}
	for (uint32_t n = 0; n < b->units.partitions; n++) {
		if (b->before[n] != ASSIGN_NONE)
			b->before[n] = b->number[b->before[n]];
	}
	b->spec = (struct assign_spec){.topics = &b->units,
	                               .topics_count = 1,
	                               .members = b->members,
	                               .members_count = count,
	                               .before = b->before,
	                               .racks = b->racks,
	                               .partitions_count = b->units.partitions,
	                               .work = r->s->work};
}

static int assign_bundle(struct range *r, struct bundle *b, const uint32_t *topics, uint32_t count,
                         struct sl_arena *arena)
{
	int rc;

	for (uint32_t i = 0; i < count; i++)
		bundle_topic(b, r->s, topics[i], i == 0);
	if (!assign_has_racks(b->racks, b->units.partitions)) {
		for (uint32_t i = 0; i < count; i++)
			cut_topic(r, topics[i]);
		return 0;
	}
	bundle_members(b, r, topics[0]);
	rc = uniform_assign(&b->spec, arena, b->owner);
	for (uint32_t i = 0; rc >= 0 && i < count; i++) {
		uint32_t *owner = &r->owner[r->s->topics[topics[i]].first];

		for (uint32_t n = 0; n < b->units.partitions; n++)
			owner[n] = b->who[b->owner[n]];
	}
	return rc;
}

static int assign_bundles(struct range *r, struct sl_arena *arena)
{
	struct bundle b = {0};
	struct kinds k = {0};
	struct sl_arena rest;
	uint32_t at = 0;
	bool is_cut = false;
	int rc = 0;

	if (kinds_by_size(&k, r->s, arena) || bundle_alloc(&b, r, arena))
		return -ENOMEM;
	for (uint32_t i = 0; i < r->s->members_count; i++)
		kinds_split(&k, &r->s->members[i]);
	kinds_list(&k, r->s->topics_count);
	/* Each bundle needs it for itself. */
	sl_arena_init(&rest, arena->base + arena->used, arena->size - arena->used);
	for (uint32_t i = 0; i < k.count && rc >= 0; i++) {
		const uint32_t *topics = &k.list[at];

		at += k.size[i];
		if (r->subscribers[topics[0]] == 0)
			continue;
		rc = assign_bundle(r, &b, topics, k.size[i], &rest);
		is_cut |= rc > 0;
		sl_arena_reset(&rest);
	}
	return rc < 0 ? rc : is_cut;
}

int range_assign(const struct assign_spec *s, struct sl_arena *arena, uint32_t *owner)
{
	struct range r = {.s = s, .owner = owner};

	r.order = sl_arena_alloc_array(arena, s->members_count, sizeof(*r.order));
	r.subscribers = sl_arena_alloc_array(arena, s->topics_count, sizeof(*r.subscribers));
	if (!r.order || !r.subscribers)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->partitions_count; i++)
		owner[i] = ASSIGN_NONE;
	for (uint32_t i = 0; i < s->members_count; i++) {
		r.order[i] = &s->members[i];
		for (uint32_t k = 0; k < s->members[i].topics_count; k++)
			r.subscribers[s->members[i].topics[k]]++;
	}
	if (s->members_count > 1)
		qsort(r.order, s->members_count, sizeof(struct assign_member *), compare);
	if (assign_has_racks(s->racks, s->partitions_count))
		return assign_bundles(&r, arena);
	for (uint32_t t = 0; t < s->topics_count; t++) {
		if (r.subscribers[t] > 0)
			cut_topic(&r, t);
	}
	return 0;
}
