/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The partitions of a transaction.  One that is being added is there already, so that the record on
 * its way to the log has it, and so that it is not added twice.
 */
#include <errno.h>
#include <stdlib.h>

#include "state.h"

struct part *partset_find(const struct txn *t, struct sl_str topic, int32_t partition)
{
	return partkey_find(&t->parts_by_key, topic, partition);
}

int partset_add(struct txn *t, struct sl_str topic, int32_t partition)
{
	struct part *p;

	if (partset_find(t, topic, partition))
		return 0;
	if (t->parts_by_key.count >= LIMIT_PARTS)
		return -ENOSPC;
	p = calloc(1, sizeof(*p) + partkey_bytes(topic));
	if (!p)
		return -ENOMEM;
	p->txn = t;
	p->state = PART_ADDING;
	p->partition = partition;
	p->key_len = partkey_make(p->key, topic, partition);
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
	return partkey_topic(p->key, p->key_len);
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
