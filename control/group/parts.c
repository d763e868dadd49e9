/* SPDX-License-Identifier: Apache-2.0 */
/* Set operations on sorted arrays of partitions.  Everything is linear but the sort. */
#include "parts.h"

#include <errno.h>
#include <stdlib.h>

int parts_compare(const struct part *a, const struct part *b)
{
	int order = memcmp(&a->topic, &b->topic, sizeof(a->topic));

	return order ? order : (a->partition > b->partition) - (a->partition < b->partition);
}

static int compare(const void *a, const void *b)
{
	return parts_compare(a, b);
}

void parts_sort(struct parts *p)
{
	uint32_t kept = 0;

	if (p->count < 2)
		return;
	qsort(p->list, p->count, sizeof(*p->list), compare);
	for (uint32_t i = 1; i < p->count; i++) {
		if (parts_compare(&p->list[kept], &p->list[i]) != 0)
			p->list[++kept] = p->list[i];
	}
	p->count = kept + 1;
}

const struct part *parts_find(const struct parts *p, const struct part *what)
{
	if (p->count == 0)
		return NULL;
	return bsearch(what, p->list, p->count, sizeof(*p->list), compare);
}

bool parts_eq(const struct parts *a, const struct parts *b)
{
	if (a->count != b->count)
		return false;
	for (uint32_t i = 0; i < a->count; i++) {
		if (parts_compare(&a->list[i], &b->list[i]) != 0)
			return false;
	}
	return true;
}

bool parts_is_within(const struct parts *a, const struct parts *b)
{
	uint32_t k = 0;

	for (uint32_t i = 0; i < a->count; i++) {
		while (k < b->count && parts_compare(&b->list[k], &a->list[i]) < 0)
			k++;
		if (k == b->count || parts_compare(&b->list[k], &a->list[i]) != 0)
			return false;
	}
	return true;
}

bool parts_meet(const struct parts *a, const struct parts *b)
{
	uint32_t i = 0;
	uint32_t k = 0;

	while (i < a->count && k < b->count) {
		int order = parts_compare(&a->list[i], &b->list[k]);

		if (order == 0)
			return true;
		if (order < 0)
			i++;
		else
			k++;
	}
	return false;
}

/* The parts of @a that are in @b, or those that are not. */
static int filter(struct sl_arena *arena, const struct parts *a, const struct parts *b,
                  bool is_in_both, struct parts *out)
{
	struct part *list = sl_arena_alloc_array(arena, a->count, sizeof(*list));
	uint32_t count = 0;
	uint32_t k = 0;

	if (!list)
		return -ENOMEM;
	for (uint32_t i = 0; i < a->count; i++) {
		while (k < b->count && parts_compare(&b->list[k], &a->list[i]) < 0)
			k++;
		if ((k < b->count && parts_compare(&b->list[k], &a->list[i]) == 0) == is_in_both)
			list[count++] = a->list[i];
	}
	*out = (struct parts){list, count};
	return 0;
}

int parts_common(struct sl_arena *arena, const struct parts *a, const struct parts *b,
                 struct parts *out)
{
	return filter(arena, a, b, true, out);
}

int parts_less(struct sl_arena *arena, const struct parts *a, const struct parts *b,
               struct parts *out)
{
	return filter(arena, a, b, false, out);
}

int parts_union(struct sl_arena *arena, const struct parts *a, const struct parts *b,
                struct parts *out)
{
	size_t count = (size_t)a->count + b->count;
	struct part *list = sl_arena_alloc_array(arena, count + 1, sizeof(*list));

	if (!list)
		return -ENOMEM;
	if (a->count > 0)
		memcpy(list, a->list, a->count * sizeof(*list));
	if (b->count > 0)
		memcpy(list + a->count, b->list, b->count * sizeof(*list));
	*out = (struct parts){list, (uint32_t)count};
	parts_sort(out);
	return 0;
}

int parts_dup(struct parts *out, const struct parts *from)
{
	struct part *list;

	if (from->count == 0) {
		*out = (struct parts){0};
		return 0;
	}
	list = malloc(from->count * sizeof(*list));
	if (!list)
		return -ENOMEM;
	memcpy(list, from->list, from->count * sizeof(*list));
	*out = (struct parts){list, from->count};
	return 0;
}

void parts_free(struct parts *p)
{
	free(p->list);
	*p = (struct parts){0};
}

uint32_t parts_topic_end(const struct parts *p, uint32_t i)
{
	uint32_t end = i;

	while (end < p->count && sl_uuid_eq(&p->list[end].topic, &p->list[i].topic))
		end++;
	return end;
}

uint32_t parts_topics(const struct parts *p)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < p->count; i = parts_topic_end(p, i))
		n++;
	return n;
}
