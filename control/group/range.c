/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The range assignor: the partitions of each topic in contiguous ranges, so that members that read
 * topics of equally many partitions get the same numbers of each.
 */
#include <errno.h>
#include <stdlib.h>

#include "assign.h"

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

static void cut_topic(const struct assign_spec *s, const struct assign_member *const *order,
                      uint32_t subscribers, uint32_t topic, uint32_t *owner)
{
	uint32_t per_member = s->topics[topic].partitions / subscribers;
	uint32_t extra = s->topics[topic].partitions % subscribers;
	uint32_t at = s->topics[topic].first;

	for (uint32_t i = 0; i < s->members_count; i++) {
		uint32_t n = per_member;

		if (!assign_has_topic(order[i], topic))
			continue;
		if (extra > 0) {
			extra--;
			n++;
		}
		for (; n > 0; n--)
			owner[at++] = (uint32_t)(order[i] - s->members);
	}
}

int range_assign(const struct assign_spec *s, struct sl_arena *arena, uint32_t *owner)
{
	const struct assign_member **order = sl_arena_alloc_array(arena, s->members_count,
	                                                          sizeof(*order));
	uint32_t *subscribers = sl_arena_alloc_array(arena, s->topics_count, sizeof(*subscribers));

	if (!order || !subscribers)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->partitions_count; i++)
		owner[i] = ASSIGN_NONE;
	for (uint32_t i = 0; i < s->members_count; i++) {
		order[i] = &s->members[i];
		for (uint32_t k = 0; k < s->members[i].topics_count; k++)
			subscribers[s->members[i].topics[k]]++;
	}
	if (s->members_count > 1)
		qsort(order, s->members_count, sizeof(struct assign_member *), compare);
	for (uint32_t t = 0; t < s->topics_count; t++) {
		if (subscribers[t] > 0)
			cut_topic(s, order, subscribers[t], t, owner);
	}
	return 0;
}
