/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The partitions of a transaction.  One that is being added is there already, so that the record on
 * its way to the log has it, and so that it is not added twice.
 */
#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"

#include "state.h"

#define KEY_HEAD_BYTES sizeof(int32_t)

static uint32_t make_key(uint8_t *key, struct sl_str topic, int32_t partition)
{
	int32_t len = topic.len > 0 ? topic.len : 0;

	SL_ASSERT(len <= SL_WIRE_STRING_MAX);
	sl_store_be32(key, (uint32_t)partition);
	if (len > 0)
		memcpy(key + KEY_HEAD_BYTES, topic.p, (size_t)len);
	return (uint32_t)(KEY_HEAD_BYTES + (size_t)len);
}

struct part *partset_find(const struct txn *t, struct sl_str topic, int32_t partition)
{
	uint8_t key[KEY_HEAD_BYTES + SL_WIRE_STRING_MAX];
	uint32_t key_len = make_key(key, topic, partition);

	return sl_map_get(&t->parts_by_key, key, key_len);
}

int partset_add(struct txn *t, struct sl_str topic, int32_t partition)
{
	struct part *p;

	if (partset_find(t, topic, partition))
		return 0;
	if (t->parts_by_key.count >= LIMIT_PARTS)
		return -ENOSPC;
	p = calloc(1, sizeof(*p) + KEY_HEAD_BYTES + (size_t)(topic.len > 0 ? topic.len : 0));
	if (!p)
		return -ENOMEM;
	p->txn = t;
	p->state = PART_ADDING;
	p->partition = partition;
	p->key_len = make_key(p->key, topic, partition);
	if (sl_map_put(&t->parts_by_key, p->key, p->key_len, p)) {
		free(p);
		return -ENOMEM;
	}
	sl_list_init(&p->queue);
	sl_list_push_back(&t->parts, &p->link);
	return 0;
}

struct sl_str partset_topic(const struct part *p)
{
	return (struct sl_str){(const char *)p->key + KEY_HEAD_BYTES,
	                       (int32_t)(p->key_len - KEY_HEAD_BYTES)};
}

void partset_remove(struct txn_coord *c, struct part *p)
{
	if (p->state == PART_SENT)
		sl_map_del(&c->markers, &p->cookie, sizeof(p->cookie));
	if (p->state == PART_QUEUED || p->state == PART_RETRY)
		c->queued_count--;
	sl_list_del(&p->queue);
	sl_list_del(&p->link);
	sl_map_del(&p->txn->parts_by_key, p->key, p->key_len);
	free(p);
}

void partset_clear(struct txn_coord *c, struct txn *t)
{
	struct sl_list *pos;
	struct sl_list *tmp;

	sl_list_for_each_safe(pos, tmp, &t->parts)
		partset_remove(c, sl_list_entry(pos, struct part, link));
}

void partset_settle(struct txn_coord *c, struct txn *t, bool is_in)
{
	struct sl_list *pos;
	struct sl_list *tmp;

	sl_list_for_each_safe(pos, tmp, &t->parts) {
		struct part *p = sl_list_entry(pos, struct part, link);

		if (p->state != PART_ADDING)
			continue;
		if (is_in)
			p->state = PART_IN;
		else
			partset_remove(c, p);
	}
}
