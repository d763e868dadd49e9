/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Committed offsets of a group.  An entry exists while something is committed or a change of it is
 * on its way to the log, so that a deletion also sees a commit that was not acknowledged yet.
 */
#include "coord.h"

#include <errno.h>
#include <stdlib.h>

struct offset *offsets_find(const struct group *g, struct sl_str topic, int32_t partition)
{
	return partkey_find(&g->offsets, topic, partition);
}

int offsets_get(struct group *g, struct sl_str topic, int32_t partition, struct offset **out)
{
	struct offset *o = offsets_find(g, topic, partition);

	if (o) {
		*out = o;
		return 0;
	}
	if (g->offsets.count >= LIMIT_OFFSETS)
		return -ENOSPC;
	o = calloc(1, sizeof(*o) + partkey_bytes(topic));
	if (!o)
		return -ENOMEM;
	o->partition = partition;
	o->key_len = partkey_make(o->key, topic, partition);
	sl_list_init(&o->txn_offsets);
	if (sl_map_put(&g->offsets, o->key, o->key_len, o)) {
		free(o);
		return -ENOMEM;
	}
	*out = o;
	return 0;
}

struct sl_str offsets_topic(const struct offset *o)
{
	return partkey_topic(o->key, o->key_len);
}

void offsets_drop_unused(struct group *g, struct offset *o)
{
	if (o->committed || o->in_flight > 0 || pending_has_offset(o))
		return;
	sl_map_del(&g->offsets, o->key, o->key_len);
	free(o);
}

void offsets_set(struct group *g, struct offset *o, struct committed *committed)
{
	g->shard->offsets_count += (uint64_t)(committed != NULL) - (uint64_t)(o->committed != NULL);
	free(o->committed);
	o->committed = committed;
	offsets_drop_unused(g, o);
}

void offsets_clear(struct group *g)
{
	uint32_t pos = 0;
	struct offset *o;

	while ((o = sl_map_next(&g->offsets, &pos)) != NULL) {
		sl_map_del(&g->offsets, o->key, o->key_len);
		pending_drop_offset(o);
		g->shard->offsets_count -= o->committed != NULL;
		free(o->committed);
		free(o);
	}
	sl_map_fini(&g->offsets);
}

struct committed *offsets_make(const struct committed *head, struct sl_str metadata)
{
	int32_t len = metadata.len > 0 ? metadata.len : 0;
	struct committed *v = malloc(sizeof(*v) + (size_t)len);

	if (!v)
		return NULL;
	*v = *head;
	v->metadata_len = len;
	if (len > 0)
		memcpy(v->metadata, metadata.p, (size_t)len);
	return v;
}

/* By topic, then by partition as a number. */
static int compare(const void *a, const void *b)
{
	const struct offset *x = *(struct offset *const *)a;
	const struct offset *y = *(struct offset *const *)b;
	struct sl_str tx = offsets_topic(x);
	struct sl_str ty = offsets_topic(y);
	int order = memcmp(tx.p, ty.p, (size_t)SL_MIN(tx.len, ty.len));

	if (order == 0)
		order = (tx.len > ty.len) - (tx.len < ty.len);
	return order ? order : (x->partition > y->partition) - (x->partition < y->partition);
}

int offsets_sorted(struct group_coord *c, const struct group *g, enum offsets_which which,
                   struct offset ***out, uint32_t *count)
{
	struct offset **list = sl_arena_alloc_array(&c->arena, g->offsets.count, sizeof(*list));
	struct offset *o;
	uint32_t pos = 0;
	uint32_t n = 0;

	if (!list)
		return -ENOMEM;
	while ((o = sl_map_next(&g->offsets, &pos)) != NULL) {
		if (o->committed || which == OFFSETS_ALL)
			list[n++] = o;
	}
	if (n > 1)
		qsort(list, n, sizeof(struct offset *), compare);
	*out = list;
	*count = n;
	return 0;
}
