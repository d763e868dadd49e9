/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of questions under way.  A cookie names a place in it and how often that was used, so
 * that an answer which comes too late finds nobody.  Owner lane only.
 */
#include "request/verify.h"

#include <errno.h>
#include <stdlib.h>

#include "request/request.h"
#include "sluice/base/assert.h"
#include "sluice/ipc/msg.h"

struct place {
	struct verify_item *item; /* NULL: free */
	uint32_t times;           /* it was used */
	uint32_t next_free;       /* number + 1; 0: none */
};

struct verify_table {
	uint32_t free_head;
	uint32_t used;
	struct place places[VERIFY_QUESTIONS_MAX];
};

int verify_create(struct verify_table **out)
{
	struct verify_table *table = calloc(1, sizeof(*table));

	if (!table)
		return -ENOMEM;
	for (uint32_t i = 0; i < VERIFY_QUESTIONS_MAX; i++)
		table->places[i].next_free = i + 1 < VERIFY_QUESTIONS_MAX ? i + 2 : 0;
	table->free_head = 1;
	*out = table;
	return 0;
}

void verify_destroy(struct verify_table *table)
{
	free(table);
}

/* Never 0. */
static uint64_t take_place(struct verify_table *table, struct verify_item *item)
{
	const uint32_t number = table->free_head;
	struct place *place = &table->places[number - 1];

	SL_ASSERT(number > 0 && !place->item);
	table->free_head = place->next_free;
	table->used++;
	place->item = item;
	place->times++;
	return (uint64_t)place->times << 32 | number;
}

/* NULL: nobody waits for it. */
static struct place *find_place(struct verify_table *table, uint64_t cookie)
{
	const uint32_t number = (uint32_t)cookie;
	struct place *place;

	if (number == 0 || number > VERIFY_QUESTIONS_MAX)
		return NULL;
	place = &table->places[number - 1];
	return place->item && place->times == cookie >> 32 ? place : NULL;
}

/* The question of @item is over: it is in no list and no table any more. */
static void forget(struct ctx *ctx, struct verify_item *item)
{
	struct verify_table *table = ctx->verifies;
	struct place *place = find_place(table, item->wait.cookie);

	SL_ASSERT(place && place->item == item);
	place->item = NULL;
	place->next_free = table->free_head;
	table->free_head = (uint32_t)(place - table->places) + 1;
	table->used--;
	item->wait.cookie = 0;
	partition_unwait(&item->wait);
}

static void end(struct ctx *ctx, struct verify_item *item, enum sl_kerr kerr)
{
	struct request *req = item->wait.owner;

	forget(ctx, item);
	item->kerr = (int16_t)kerr;
	SL_ASSERT(req->verify->left > 0);
	if (--req->verify->left == 0 && req->state == REQUEST_PARKED_VERIFY)
		request_wake(ctx, req);
}

/* The partition leaves the lane. */
static void left(struct ctx *ctx, struct waiter *w, enum sl_kerr kerr)
{
	ctx_count(ctx, SL_STAT_txn_verifies_lost, 1);
	end(ctx, SL_CONTAINER_OF(w, struct verify_item, wait), kerr);
}

enum sl_kerr verify_ask(struct ctx *ctx, struct request *req, struct verify_item *item,
                        struct partition *p, struct sl_str transactional_id, uint16_t flags)
{
	struct sl_ipc_txn_verify head = {
		.topic_id = p->topic_id,
		.producer_id = item->producer_id,
		.partition = p->index,
		.producer_epoch = item->producer_epoch,
		.flags = flags,
	};
	enum sl_kerr kerr = SL_KERR_COORDINATOR_NOT_AVAILABLE;

	SL_ASSERT(!item->wait.cookie && !item->wait.partition);
	item->is_asked = true;
	item->topic_id = p->topic_id;
	item->marker_offset = sl_log_txn_marker(p->log, item->producer_id);
	if (ctx->verifies->used == VERIFY_QUESTIONS_MAX) {
		kerr = SL_KERR_COORDINATOR_LOAD_IN_PROGRESS;
		goto refused;
	}
	if (!ctx->control)
		goto refused;
	head.cookie = take_place(ctx->verifies, item);
	item->wait = (struct waiter){.wake = left, .owner = req, .cookie = head.cookie};
	sl_list_init(&item->wait.link);
	if (sl_channel_send(ctx->control, SL_IPC_TXN_VERIFY, &head, sizeof(head),
	                    transactional_id.p, (size_t)SL_MAX(transactional_id.len, 0)) != 0) {
		forget(ctx, item);
		ctx_count(ctx, SL_STAT_ring_full, 1);
		goto refused;
	}
	partition_wait_verify(p, &item->wait);
	req->verify->left++;
	ctx_count(ctx, SL_STAT_txn_verifies, 1);
	return SL_KERR_NONE;
refused:
	ctx_count(ctx, SL_STAT_txn_verifies_refused_limit, 1);
	return kerr;
}

void verify_give_up(struct ctx *ctx, struct verify *v, enum sl_kerr kerr)
{
	for (uint32_t i = 0; i < v->count && v->left > 0; i++) {
		struct verify_item *item = &v->items[i];

		if (!item->wait.cookie)
			continue;
		forget(ctx, item);
		item->kerr = (int16_t)kerr;
		v->left--;
		ctx_count(ctx, SL_STAT_txn_verifies_lost, 1);
	}
	SL_ASSERT(v->left == 0);
}

void verify_answer(struct ctx *ctx, const void *p, size_t bytes)
{
	struct sl_ipc_txn_verify_done done;
	struct place *place;

	if (bytes < sizeof(done))
		return;
	memcpy(&done, p, sizeof(done));
	place = find_place(ctx->verifies, done.cookie);
	if (!place)
		return;
	if (done.kerr != SL_KERR_NONE)
		ctx_count(ctx, SL_STAT_txn_verifies_refused, 1);
	/* It goes into a response: only a code that is one. */
	if (done.kerr < SL_KERR_UNKNOWN_SERVER_ERROR || done.kerr > INT16_MAX)
		done.kerr = SL_KERR_UNKNOWN_SERVER_ERROR;
	end(ctx, place->item, (enum sl_kerr)done.kerr);
}

void verify_lost(struct ctx *ctx)
{
	struct verify_table *table = ctx->verifies;

	for (uint32_t i = 0; i < VERIFY_QUESTIONS_MAX && table->used > 0; i++) {
		if (!table->places[i].item)
			continue;
		ctx_count(ctx, SL_STAT_txn_verifies_lost, 1);
		end(ctx, table->places[i].item, SL_KERR_COORDINATOR_NOT_AVAILABLE);
	}
}
