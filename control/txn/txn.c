/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The coordinator's front: creation, one step per event, views and counters.
 *
 * One owner calls it, one step at a time.  Everything an event leads to happens within its step;
 * the actions it gives are valid until the next one.
 */
#include "txn.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"

#include "state.h"

#define PARTITIONS_MAX 10000

typedef void request_handler(struct txn_coord *c, const struct request *rq, const void *m);

static request_handler *find_handler(int16_t api_key)
{
	switch (api_key) {
	case SL_API_INIT_PRODUCER_ID:
		return init_handle;
	case SL_API_ADD_PARTITIONS_TO_TXN:
		return add_handle_partitions;
	case SL_API_ADD_OFFSETS_TO_TXN:
		return add_handle_offsets;
	case SL_API_END_TXN:
		return end_handle;
	default:
		return NULL;
	}
}

static bool are_opts_valid(const struct txn_opts *o)
{
	return o->partitions_count > 0 && o->partitions_count <= PARTITIONS_MAX &&
	       o->offsets_partitions_count > 0 && o->timeout_max_ms > 0 &&
	       o->id_expiration_ms > 0 && o->id_expiration_check_ms > 0 && o->abort_check_ms > 0 &&
	       o->has_partition;
}

static void init_lists(struct txn_coord *c)
{
	sl_list_init(&c->idle);
	sl_list_init(&c->ongoing);
	sl_list_init(&c->preparing);
	sl_list_init(&c->to_mark);
	sl_list_init(&c->to_retry);
	sl_list_init(&c->want_ids);
	sl_list_init(&c->holding);
	for (int32_t i = 0; c->shards && i < c->opts.partitions_count; i++) {
		c->shards[i].partition = i;
		sl_list_init(&c->shards[i].txns);
	}
}

int txn_create(struct txn_coord **out, const struct txn_opts *opts)
{
	struct txn_coord *c;

	if (!are_opts_valid(opts))
		return -EINVAL;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->opts = *opts;
	c->cookie_next = 1;
	c->abort_at_ms = -1;
	c->expire_at_ms = -1;
	c->retry_at_ms = -1;
	sl_buf_init_grow(&c->out, LIMIT_OUT_BYTES);
	sl_buf_init_grow(&c->key, LIMIT_OUT_BYTES);
	sl_buf_init_grow(&c->value, LIMIT_OUT_BYTES);
	c->shards = calloc((size_t)opts->partitions_count, sizeof(*c->shards));
	init_lists(c);
	if (!c->shards || sl_arena_create(&c->arena, LIMIT_ARENA_BYTES) || !answer_has_room(c, 1)) {
		txn_destroy(c);
		return -ENOMEM;
	}
	*out = c;
	return 0;
}

/* Waiters are dropped without an answer: their owner goes as well. */
static void drop_all(struct txn_coord *c)
{
	struct waiter *w;

	c->actions_count = 0;
	sl_arena_trim(&c->arena, LIMIT_KEEP_BYTES);
	for (int32_t i = 0; i < c->opts.partitions_count; i++)
		replay_drop(c, &c->shards[i]);
	while ((w = sl_list_first(&c->want_ids, struct waiter, link)) != NULL)
		answer_forget(c, w);
}

void txn_destroy(struct txn_coord *c)
{
	if (!c)
		return;
	if (c->shards)
		drop_all(c);
	SL_ASSERT(c->txns.count == 0 && c->requests.count == 0 && c->appends.count == 0 &&
	          c->markers.count == 0 && c->queued_count == 0 && c->waiters_count == 0 &&
	          c->held_bytes == 0 && c->ongoing_count == 0 && c->preparing_count == 0);
	sl_map_fini(&c->txns);
	sl_map_fini(&c->requests);
	sl_map_fini(&c->appends);
	sl_map_fini(&c->markers);
	sl_buf_fini(&c->out);
	sl_buf_fini(&c->key);
	sl_buf_fini(&c->value);
	sl_arena_destroy(&c->arena);
	free(c->actions);
	free(c->actions_pos);
	free(c->shards);
	free(c);
}

static void run(struct txn_coord *c, const struct request *rq)
{
	const struct sl_api *api = sl_api_find(rq->to.api_key);
	request_handler *handler = find_handler(rq->to.api_key);
	struct sl_cursor cur = sl_cursor_from(rq->body.p,
	                                      rq->body.len > 0 ? (size_t)rq->body.len : 0);
	void *m;
	int err;

	if (!api || !handler || !sl_api_serves(api, rq->to.version)) {
		answer_close(c, &rq->to, COUNT_closed_unsupported);
		return;
	}
	m = sl_arena_alloc(&c->arena, api->req_bytes);
	err = m ? api->req_decode(m, &cur, &c->arena, rq->to.version) : -ENOMEM;
	if (err)
		answer_close(c, &rq->to,
		             err == -ENOMEM ? COUNT_closed_too_large : COUNT_closed_malformed);
	else
		handler(c, rq, m);
}

static void handle_request(struct txn_coord *c, const struct txn_event *ev)
{
	const struct request rq = {
		.to = {ev->handle, ev->correlation_id, ev->api_key, ev->version},
		.body = ev->body,
	};

	coord_count(c, COUNT_requests);
	run(c, &rq);
}

void txn_run_again(struct txn_coord *c, struct waiter *w)
{
	struct request rq = {.to = w->to, .body = w->body};

	if (w->is_gone) {
		coord_count(c, COUNT_answers_dropped);
		answer_forget(c, w);
		return;
	}
	/* The body must outlive the waiter, whose place the request takes. */
	rq.body.p = sl_arena_alloc(&c->arena, (size_t)w->body.len);
	if (!rq.body.p) {
		answer_waiter(c, w, SL_KERR_COORDINATOR_NOT_AVAILABLE, NULL);
		return;
	}
	memcpy((void *)(uintptr_t)rq.body.p, w->body.p, (size_t)w->body.len);
	answer_forget(c, w);
	run(c, &rq);
}

/* Those that came while this step runs wait for the next block. */
static void handle_ids(struct txn_coord *c, const struct txn_event *ev)
{
	struct sl_list list;
	struct waiter *w;

	c->is_asking_ids = false;
	sl_list_init(&list);
	while ((w = sl_list_first(&c->want_ids, struct waiter, link)) != NULL) {
		sl_list_del(&w->link);
		sl_list_push_back(&list, &w->link);
	}
	if (ev->kerr != SL_KERR_NONE || ev->ids_count <= 0) {
		coord_count(c, COUNT_blocks_failed);
		answer_all(c, &list, SL_KERR_COORDINATOR_NOT_AVAILABLE, NULL);
		return;
	}
	c->ids_next = ev->ids_first;
	c->ids_end = ev->ids_first + ev->ids_count;
	while ((w = sl_list_first(&list, struct waiter, link)) != NULL) {
		sl_arena_reset(&c->arena);
		txn_run_again(c, w);
	}
}

static struct shard *event_shard(struct txn_coord *c, const struct txn_event *ev)
{
	SL_ASSERT(ev->partition >= 0 && ev->partition < c->opts.partitions_count);
	return &c->shards[ev->partition];
}

static void dispatch(struct txn_coord *c, const struct txn_event *ev)
{
	switch (ev->type) {
	case TXN_EV_REQUEST:
		handle_request(c, ev);
		break;
	case TXN_EV_CANCEL:
		answer_cancel(c, ev->handle);
		break;
	case TXN_EV_VERIFY:
		add_handle_verify(c, ev);
		break;
	case TXN_EV_APPENDED:
		journal_done(c, ev);
		break;
	case TXN_EV_MARKED:
		marker_done(c, ev);
		break;
	case TXN_EV_PRODUCER_IDS:
		handle_ids(c, ev);
		break;
	case TXN_EV_TICK:
		scan_tick(c);
		break;
	case TXN_EV_LOAD_BEGIN:
		replay_begin(c, event_shard(c, ev));
		break;
	case TXN_EV_LOAD_BATCHES:
		replay_batches(c, event_shard(c, ev), ev->batches);
		break;
	case TXN_EV_LOAD_END:
		replay_end(c, event_shard(c, ev), ev->coordinator_epoch);
		break;
	case TXN_EV_UNLOAD:
		replay_drop(c, event_shard(c, ev));
		break;
	}
}

void txn_step(struct txn_coord *c, const struct txn_event *ev, struct txn_actions *out)
{
	c->now_ms = ev->now_ms;
	c->wall_ms = ev->wall_ms;
	c->actions_count = 0;
	sl_arena_trim(&c->arena, LIMIT_KEEP_BYTES);
	sl_buf_trim(&c->out, LIMIT_KEEP_BYTES);
	sl_buf_trim(&c->key, LIMIT_KEEP_BYTES);
	sl_buf_trim(&c->value, LIMIT_KEEP_BYTES);
	dispatch(c, ev);
	/* The buffer is where it stays only now. */
	for (uint32_t i = 0; i < c->actions_count; i++) {
		if (c->actions[i].bytes.len > 0)
			c->actions[i].bytes.p = c->out.p + c->actions_pos[i];
	}
	*out = (struct txn_actions){
		.list = c->actions,
		.count = c->actions_count,
		.next_ms = scan_next(c),
	};
}

int32_t txn_partition(const struct txn_coord *c, struct sl_str transactional_id)
{
	return sl_java_partition(transactional_id, c->opts.partitions_count);
}

void txn_set_offsets_partitions(struct txn_coord *c, int32_t count)
{
	SL_ASSERT(count > 0);
	c->opts.offsets_partitions_count = count;
}

/* ---- Views ---- */

enum sl_kerr txn_check(const struct txn_coord *c, struct sl_str transactional_id)
{
	return shard_error(table_shard(c, transactional_id)->state);
}

/* Not those that nobody was told of, and those that are expiring. */
static bool is_visible(const struct txn *t)
{
	return t->shard->state == SHARD_ACTIVE && t->is_in_log &&
	       !(t->is_pending && t->next.state == TXN_DEAD);
}

static void view(const struct txn *t, struct txn_view *out)
{
	*out = (struct txn_view){
		.transactional_id = t->id,
		.state = table_state_name(t->now.state),
		.producer_id = t->now.producer_id,
		.producer_epoch = t->now.producer_epoch,
		.timeout_ms = t->now.timeout_ms,
		.start_ms = t->now.start_ms,
		.update_ms = t->now.update_ms,
		.parts = t->parts_by_key.count,
		.partition = t->shard->partition,
		.coordinator_epoch = t->shard->epoch,
	};
}

bool txn_find(const struct txn_coord *c, struct sl_str transactional_id, struct txn_view *out)
{
	const struct txn *t = table_find(c, transactional_id);

	if (!t || !is_visible(t))
		return false;
	view(t, out);
	return true;
}

bool txn_next(const struct txn_coord *c, uint32_t *pos, struct txn_view *out)
{
	const struct txn *t;

	while ((t = sl_map_next(&c->txns, pos)) != NULL) {
		if (!is_visible(t))
			continue;
		view(t, out);
		return true;
	}
	return false;
}

bool txn_next_part(const struct txn_coord *c, struct sl_str transactional_id, uint32_t *pos,
                   struct txn_part_view *out)
{
	const struct txn *t = table_find(c, transactional_id);
	const struct part *p;

	while (t && (p = sl_map_next(&t->parts_by_key, pos)) != NULL) {
		if (p->state == PART_ADDING)
			continue;
		*out = (struct txn_part_view){partset_topic(p), p->partition};
		return true;
	}
	return false;
}

bool txn_is_loading(const struct txn_coord *c)
{
	for (int32_t i = 0; i < c->opts.partitions_count; i++) {
		if (c->shards[i].state == SHARD_LOADING)
			return true;
	}
	return false;
}

bool txn_is_state(struct sl_str name)
{
	for (enum txn_state i = 0; i < TXN_STATE_NR; i++) {
		if (sl_str_eq_c(name, table_state_name(i)))
			return true;
	}
	return false;
}

static uint32_t refused_markers(const struct txn_coord *c)
{
	struct sl_list *pos;
	uint32_t n = 0;

	sl_list_for_each(pos, &c->to_retry)
		n++;
	return n;
}

static uint32_t refused_completions(const struct txn_coord *c)
{
	struct sl_list *pos;
	uint32_t n = 0;

	sl_list_for_each(pos, &c->preparing) {
		const struct txn *t = sl_list_entry(pos, struct txn, link);

		n += !t->is_pending && t->parts_by_key.count == 0;
	}
	return n;
}

void txn_gauges(const struct txn_coord *c, struct txn_gauges *out)
{
	*out = (struct txn_gauges){
		.ids = c->txns.count,
		.ongoing = c->ongoing_count,
		.preparing = c->preparing_count,
		.markers_queued = c->queued_count,
		.markers_retry = refused_markers(c),
		.completions_retry = refused_completions(c),
		.markers_in_flight = c->markers.count,
		.held = c->waiters_count,
	};
}

const char *txn_counter(const struct txn_coord *c, uint32_t index, uint64_t *value)
{
	static const char *const names[COUNT_NR] = {
#define TXN_COUNTER_NAME(name) [COUNT_##name] = #name,
		TXN_COUNTERS(TXN_COUNTER_NAME)
#undef TXN_COUNTER_NAME
	};

	if (index >= COUNT_NR)
		return NULL;
	*value = c->counters[index];
	return names[index];
}
