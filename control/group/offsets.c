/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Committed offsets of a group.  An entry exists while something is committed or a change of it is
 * on its way to the log, so that a deletion also sees a commit that was not acknowledged yet.
 */
#include "coord.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"

#define KEY_HEAD_BYTES sizeof(int32_t)
/* Topic names are at most 249 bytes; the rest of a key that is longer lies in no map. */
#define KEY_TOPIC_MAX  32767

static uint32_t make_key(uint8_t *key, struct sl_str topic, int32_t partition)
{
	int32_t len = topic.len > 0 ? topic.len : 0;

	SL_ASSERT(len <= KEY_TOPIC_MAX);
	sl_store_be32(key, (uint32_t)partition);
	if (len > 0)
		memcpy(key + KEY_HEAD_BYTES, topic.p, (size_t)len);
	return (uint32_t)(KEY_HEAD_BYTES + (size_t)len);
}

struct offset *offsets_find(const struct group *g, struct sl_str topic, int32_t partition)
{
	uint8_t key[KEY_HEAD_BYTES + KEY_TOPIC_MAX];
	uint32_t key_len = make_key(key, topic, partition);

	return sl_map_get(&g->offsets, key, key_len);
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
	o = calloc(1, sizeof(*o) + KEY_HEAD_BYTES + (size_t)(topic.len > 0 ? topic.len : 0));
	if (!o)
		return -ENOMEM;
	o->partition = partition;
	o->topic_len = topic.len > 0 ? topic.len : 0;
	o->key_len = make_key(o->key, topic, partition);
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
	return (struct sl_str){(const char *)o->key + KEY_HEAD_BYTES, o->topic_len};
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
	size_t common = (size_t)SL_MIN(x->topic_len, y->topic_len);
	int order = memcmp(x->key + KEY_HEAD_BYTES, y->key + KEY_HEAD_BYTES, common);

	if (order == 0)
		order = (x->topic_len > y->topic_len) - (x->topic_len < y->topic_len);
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
