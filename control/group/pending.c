/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Offsets that open transactions commit: on the log, but not valid before the marker of their
 * producer is there too (KIP-98).  Until then OffsetFetch can tell that they are unstable, and
 * neither they nor their group expire.
 *
 * A later plain commit wins over an earlier transactional one, whichever comes into force last:
 * what counts is the place on the log, because compaction keeps the last record of a key.
 */
#include "coord.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"

static struct txn *find(const struct shard *shard, int64_t producer_id)
{
	return sl_map_get(&shard->txns, &producer_id, sizeof(producer_id));
}

static struct txn *find_or_create(struct shard *shard, int64_t producer_id)
{
	struct txn *t = find(shard, producer_id);

	if (t)
		return t;
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->producer_id = producer_id;
	t->shard = shard;
	sl_list_init(&t->offsets);
	if (sl_map_put(&shard->txns, &t->producer_id, sizeof(t->producer_id), t)) {
		free(t);
		return NULL;
	}
	return t;
}

static void forget_unused(struct txn *t)
{
	if (!sl_list_is_empty(&t->offsets))
		return;
	sl_map_del(&t->shard->txns, &t->producer_id, sizeof(t->producer_id));
	free(t);
}

static struct txn_offset *find_offset(const struct offset *o, const struct txn *t)
{
	struct sl_list *pos;

	sl_list_for_each(pos, &o->txn_offsets) {
		struct txn_offset *p = sl_list_entry(pos, struct txn_offset, offset_link);

		if (p->txn == t)
			return p;
	}
	return NULL;
}

int pending_add(struct group_coord *c, struct group *g, struct offset *o, int64_t producer_id,
                struct committed *committed)
{
	struct txn *t = find_or_create(g->shard, producer_id);
	struct txn_offset *p = t ? find_offset(o, t) : NULL;

	if (p) {
		free(p->committed);
		p->committed = committed;
		return 0;
	}
	p = t ? calloc(1, sizeof(*p)) : NULL;
	if (!p) {
		if (t)
			forget_unused(t);
		return -ENOMEM;
	}
	*p = (struct txn_offset){.txn = t, .group = g, .offset = o, .committed = committed};
	sl_list_push_back(&t->offsets, &p->link);
	sl_list_push_back(&o->txn_offsets, &p->offset_link);
	t->shard->txn_offsets_count++;
	coord_count(c, COUNT_txn_offsets_pending);
	return 0;
}

/* Leaves @p's committed to the caller. */
static struct committed *take(struct txn_offset *p)
{
	struct committed *committed = p->committed;

	p->txn->shard->txn_offsets_count--;
	sl_list_del(&p->link);
	sl_list_del(&p->offset_link);
	free(p);
	return committed;
}

void pending_drop_offset(struct offset *o)
{
	struct txn_offset *p;

	while ((p = sl_list_first(&o->txn_offsets, struct txn_offset, offset_link)) != NULL) {
		struct txn *t = p->txn;

		free(take(p));
		forget_unused(t);
	}
}

#ifdef SL_SIM_PLANTS
void pending_drop_group(struct group *g)
{
	struct offset *o;
	uint32_t pos = 0;

	while ((o = sl_map_next(&g->offsets, &pos)) != NULL)
		pending_drop_offset(o);
}
#endif

static void settle(struct group_coord *c, struct group *g, struct offset *o,
                   struct committed *committed, bool is_commit)
{
	bool is_newest = !o->committed || committed->record_offset > o->committed->record_offset;

	if (is_commit && is_newest) {
		coord_count(c, COUNT_txn_offsets_committed);
		offsets_set(g, o, committed);
		return;
	}
	coord_count(c, is_commit ? COUNT_txn_offsets_superseded : COUNT_txn_offsets_aborted);
	free(committed);
	offsets_drop_unused(g, o);
}

void pending_end(struct group_coord *c, struct shard *shard, int64_t producer_id, bool is_commit)
{
	struct txn *t = find(shard, producer_id);
	struct txn_offset *p;

	coord_count(c, COUNT_txn_markers);
	if (!t)
		return; /* it committed no offsets here, or has been ended before */
	while ((p = sl_list_first(&t->offsets, struct txn_offset, link)) != NULL) {
		struct offset *o = p->offset;
		struct group *g = p->group;

		settle(c, g, o, take(p), is_commit);
	}
	forget_unused(t);
}

void pending_mark(struct group_coord *c, const struct group_event *ev)
{
	enum sl_kerr kerr = SL_KERR_NONE;
	struct shard *shard;

	SL_ASSERT(ev->partition >= 0 && ev->partition < c->opts.partitions_count);
	shard = &c->shards[ev->partition];
	/* Kafka's answer to a transaction coordinator while the group coordinator is not ready. */
	if (shard->state != SHARD_ACTIVE)
		kerr = SL_KERR_NOT_LEADER_OR_FOLLOWER;
	else if (append_marker(c, shard, &ev->marker, ev->handle))
		kerr = SL_KERR_COORDINATOR_NOT_AVAILABLE;
	if (kerr == SL_KERR_NONE)
		return;
	coord_count(c, COUNT_txn_markers_refused);
	reply_marked(c, ev->handle, kerr);
}
