/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transactional ids: finding, making and dropping them, and the one place where a state changes.
 * An id belongs to one shard; it is in the coordinator's map, and in the list of its state, as long
 * as it lives.
 */
#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"

#include "state.h"

const char *table_state_name(enum txn_state state)
{
	static const char *const names[] = {
#define TXN_STATE_NAME(name, text) [TXN_##name] = text,
		TXN_STATES(TXN_STATE_NAME)
#undef TXN_STATE_NAME
	};

	SL_ASSERT(state < TXN_STATE_NR);
	return names[state];
}

bool table_can_move(enum txn_state from, enum txn_state to)
{
	static const bool previous[TXN_STATE_NR][TXN_STATE_NR] = {
		[TXN_EMPTY] = {[TXN_EMPTY] = true,
	                       [TXN_COMPLETE_COMMIT] = true,
	                       [TXN_COMPLETE_ABORT] = true},
		[TXN_ONGOING] = {[TXN_ONGOING] = true,
	                         [TXN_EMPTY] = true,
	                         [TXN_COMPLETE_COMMIT] = true,
	                         [TXN_COMPLETE_ABORT] = true},
		[TXN_PREPARE_COMMIT] = {[TXN_ONGOING] = true},
		[TXN_PREPARE_ABORT] = {[TXN_ONGOING] = true,
	                               [TXN_PREPARE_EPOCH_FENCE] = true,
	                               [TXN_EMPTY] = true,
	                               [TXN_COMPLETE_COMMIT] = true,
	                               [TXN_COMPLETE_ABORT] = true},
		[TXN_COMPLETE_COMMIT] = {[TXN_PREPARE_COMMIT] = true},
		[TXN_COMPLETE_ABORT] = {[TXN_PREPARE_ABORT] = true},
		[TXN_DEAD] = {[TXN_EMPTY] = true,
	                      [TXN_COMPLETE_COMMIT] = true,
	                      [TXN_COMPLETE_ABORT] = true},
		[TXN_PREPARE_EPOCH_FENCE] = {[TXN_ONGOING] = true},
	};

	SL_ASSERT(from < TXN_STATE_NR && to < TXN_STATE_NR);
	return previous[to][from];
}

struct shard *table_shard(const struct txn_coord *c, struct sl_str id)
{
	return &c->shards[sl_java_partition(id, c->opts.partitions_count)];
}

enum sl_kerr table_check_shard(struct txn_coord *c, struct sl_str id)
{
	enum sl_kerr kerr = txn_check(c, id);

	if (kerr != SL_KERR_NONE)
		coord_count(c, COUNT_refused_not_loaded);
	return kerr;
}

struct txn *table_find(const struct txn_coord *c, struct sl_str id)
{
	return sl_map_get(&c->txns, id.p, (size_t)id.len);
}

int table_create(struct txn_coord *c, struct sl_str id, struct txn **out)
{
	struct txn *t;

	if (c->txns.count >= LIMIT_IDS)
		return -ENOSPC;
	t = calloc(1, sizeof(*t));
	if (!t || text_dup(&t->id, id))
		goto err_free;
	if (sl_map_put(&c->txns, t->id.p, (size_t)t->id.len, t))
		goto err_free_id;
	t->shard = table_shard(c, id);
	t->now = (struct image){.producer_id = -1,
	                        .prev_producer_id = -1,
	                        .next_producer_id = -1,
	                        .producer_epoch = -1,
	                        .last_epoch = -1,
	                        .start_ms = -1};
	sl_list_init(&t->parts);
	sl_list_init(&t->waiters);
	sl_list_init(&t->held);
	sl_list_push_back(&c->idle, &t->link);
	sl_list_push_back(&t->shard->txns, &t->shard_link);
	*out = t;
	return 0;

err_free_id:
	text_free(&t->id);
err_free:
	free(t);
	return -ENOMEM;
}

static void count_state(struct txn_coord *c, enum txn_state state, uint32_t n)
{
	if (state == TXN_ONGOING)
		c->ongoing_count += n;
	else if (table_is_preparing(state))
		c->preparing_count += n;
}

void table_destroy(struct txn_coord *c, struct txn *t, enum sl_kerr kerr)
{
	answer_all(c, &t->waiters, kerr, NULL);
	answer_all(c, &t->held, kerr, NULL);
	if (t->is_pending)
		sl_map_del(&c->appends, &t->cookie, sizeof(t->cookie));
	partset_clear(c, t);
	sl_map_fini(&t->parts_by_key);
	count_state(c, t->now.state, (uint32_t)-1);
	sl_map_del(&c->txns, t->id.p, (size_t)t->id.len);
	sl_list_del(&t->link);
	sl_list_del(&t->shard_link);
	text_free(&t->id);
	free(t);
}

void table_set(struct txn_coord *c, struct txn *t, const struct image *image)
{
	struct sl_list *list = &c->idle;

	count_state(c, t->now.state, (uint32_t)-1);
	t->now = *image;
	count_state(c, t->now.state, 1);
	if (t->now.state == TXN_ONGOING)
		list = &c->ongoing;
	else if (table_is_preparing(t->now.state))
		list = &c->preparing;
	sl_list_del(&t->link);
	sl_list_push_back(list, &t->link);
}

int table_take_producer_id(struct txn_coord *c, int64_t *out)
{
	if (c->ids_next >= c->ids_end) {
		answer_ask_ids(c);
		return -EAGAIN;
	}
	*out = c->ids_next++;
	return 0;
}
