/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The coordinator's front: creation, one step per event, views and counters.
 *
 * One owner calls it, one step at a time.  Everything an event leads to happens within its step;
 * the actions it gives are valid until the next one.
 */
#include "group.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"

#include "consumer.h"

#define PARTITIONS_MAX 10000

typedef void request_handler(struct group_coord *c, const struct request *rq, const void *m);

static request_handler *find_handler(int16_t api_key)
{
	switch (api_key) {
	case SL_API_OFFSET_COMMIT:
		return commit_handle;
	case SL_API_TXN_OFFSET_COMMIT:
		return txn_commit_handle;
	case SL_API_OFFSET_FETCH:
		return fetch_handle;
	case SL_API_JOIN_GROUP:
		return join_handle;
	case SL_API_HEARTBEAT:
		return sync_handle_heartbeat;
	case SL_API_LEAVE_GROUP:
		return leave_handle;
	case SL_API_SYNC_GROUP:
		return sync_handle;
	case SL_API_DESCRIBE_GROUPS:
		return describe_handle;
	case SL_API_LIST_GROUPS:
		return describe_handle_list;
	case SL_API_DELETE_GROUPS:
		return remove_handle_groups;
	case SL_API_OFFSET_DELETE:
		return remove_handle_offsets;
	case SL_API_CONSUMER_GROUP_HEARTBEAT:
		return heartbeat_handle;
	case SL_API_CONSUMER_GROUP_DESCRIBE:
		return examine_handle;
	default:
		return NULL;
	}
}

static bool are_consumer_opts_valid(const struct group_opts *o)
{
	for (uint32_t i = 0; i < o->assignors_count && i < GROUP_ASSIGN_NR; i++) {
		if (o->assignors[i] >= GROUP_ASSIGN_NR)
			return false;
	}
	return o->consumer.session_timeout_ms > 0 && o->consumer.heartbeat_interval_ms > 0 &&
	       o->consumer_size_max > 0 && o->assignors_count > 0 &&
	       o->assignors_count <= GROUP_ASSIGN_NR && o->topic_partitions && o->topic_next;
}

static bool are_opts_valid(const struct group_opts *o)
{
	return o->partitions_count > 0 && o->partitions_count <= PARTITIONS_MAX &&
	       o->session_timeout_min_ms >= 0 &&
	       o->session_timeout_max_ms >= o->session_timeout_min_ms &&
	       o->initial_rebalance_delay_ms >= 0 && o->offsets_retention_ms > 0 &&
	       o->offsets_retention_check_ms > 0 && o->offset_metadata_bytes_max >= 0 &&
	       o->group_size_max > 0 && o->has_partition && o->topic_name && o->topic_id &&
	       are_consumer_opts_valid(o);
}

int group_create(struct group_coord **out, const struct group_opts *opts)
{
	struct group_coord *c;

	if (!are_opts_valid(opts))
		return -EINVAL;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->opts = *opts;
	c->cookie_next = 1;
	c->topics_seq = 1;
	c->expiry.kind = DEADLINE_EXPIRY;
	sl_list_init(&c->all_groups);
	sl_buf_init_grow(&c->out, LIMIT_OUT_BYTES);
	sl_buf_init_grow(&c->batch, LIMIT_OUT_BYTES);
	sl_buf_init_grow(&c->key, LIMIT_OUT_BYTES);
	sl_buf_init_grow(&c->value, LIMIT_OUT_BYTES);
	c->shards = calloc((size_t)opts->partitions_count, sizeof(*c->shards));
	for (int32_t i = 0; c->shards && i < opts->partitions_count; i++) {
		c->shards[i].partition = i;
		sl_list_init(&c->shards[i].groups);
		sl_list_init(&c->shards[i].appends);
		sl_list_init(&c->shards[i].deleted_topics);
	}
	if (!c->shards || sl_arena_create(&c->arena, LIMIT_ARENA_BYTES) ||
	    deadline_reserve(&c->heap, 1) || !reply_has_room(c)) {
		group_destroy(c);
		return -ENOMEM;
	}
	*out = c;
	return 0;
}

/* Held requests are dropped without an answer: their owner goes as well. */
static void drop_all(struct group_coord *c)
{
	c->actions_count = 0;
	sl_arena_trim(&c->arena, LIMIT_KEEP_BYTES);
	for (int32_t i = 0; i < c->opts.partitions_count; i++) {
		load_drop(c, &c->shards[i]);
		sl_map_fini(&c->shards[i].txns);
	}
}

void group_destroy(struct group_coord *c)
{
	if (!c)
		return;
	if (c->shards)
		drop_all(c);
	SL_ASSERT(c->groups.count == 0 && c->parked.count == 0 && c->appends.count == 0 &&
	          c->held_bytes == 0);
	deadline_disarm(&c->heap, &c->expiry);
	deadline_fini(&c->heap);
	sl_map_fini(&c->groups);
	sl_map_fini(&c->parked);
	sl_map_fini(&c->appends);
	sl_buf_fini(&c->out);
	sl_buf_fini(&c->batch);
	sl_buf_fini(&c->key);
	sl_buf_fini(&c->value);
	sl_codec_ctx_destroy(c->codec);
	sl_arena_destroy(&c->arena);
	free(c->actions);
	free(c->actions_pos);
	free(c->shards);
	free(c);
}

static void handle_request(struct group_coord *c, const struct group_event *ev)
{
	const struct sl_api *api = sl_api_find(ev->api_key);
	request_handler *handler = find_handler(ev->api_key);
	struct sl_cursor cur = sl_cursor_from(ev->body.p,
	                                      ev->body.len > 0 ? (size_t)ev->body.len : 0);
	const struct request rq = {
		.to = {ev->handle, ev->correlation_id, ev->api_key, ev->version},
		.client_id = ev->client_id,
		.client_host = ev->client_host,
		.body = ev->body,
	};
	void *m;
	int err;

	coord_count(c, COUNT_requests);
	if (!api || !handler || !sl_api_serves(api, ev->version)) {
		reply_close(c, &rq.to, COUNT_closed_unsupported);
		return;
	}
	m = sl_arena_alloc(&c->arena, api->req_bytes);
	err = m ? api->req_decode(m, &cur, &c->arena, ev->version) : -ENOMEM;
	if (err)
		reply_close(c, &rq.to,
		            err == -ENOMEM ? COUNT_closed_too_large : COUNT_closed_malformed);
	else
		handler(c, &rq, m);
}

static void handle_tick(struct group_coord *c)
{
	struct deadline *d;

	while ((d = deadline_first(&c->heap)) != NULL && d->at_ms <= c->now_ms) {
		sl_arena_reset(&c->arena);
		if (d->kind == DEADLINE_CONSUMER_SESSION ||
		    d->kind == DEADLINE_CONSUMER_REBALANCE) {
			consumer_due(c, d);
			continue;
		}
		if (d != &c->expiry) {
			rebalance_due(c, d);
			continue;
		}
		deadline_arm(&c->heap, d, c->now_ms + c->opts.offsets_retention_check_ms);
		remove_expired(c);
	}
}

static struct shard *event_shard(struct group_coord *c, const struct group_event *ev)
{
	SL_ASSERT(ev->partition >= 0 && ev->partition < c->opts.partitions_count);
	return &c->shards[ev->partition];
}

static void dispatch(struct group_coord *c, const struct group_event *ev)
{
	switch (ev->type) {
	case GROUP_EV_REQUEST:
		handle_request(c, ev);
		break;
	case GROUP_EV_CANCEL:
		reply_cancel(c, ev->handle);
		break;
	case GROUP_EV_APPENDED:
		append_done(c, ev);
		break;
	case GROUP_EV_TICK:
		handle_tick(c);
		break;
	case GROUP_EV_LOAD_BEGIN:
		load_begin(c, event_shard(c, ev));
		break;
	case GROUP_EV_LOAD_BATCHES:
		load_batches(c, event_shard(c, ev), ev->batches);
		break;
	case GROUP_EV_LOAD_END:
		load_end(c, event_shard(c, ev));
		break;
	case GROUP_EV_UNLOAD:
		load_drop(c, event_shard(c, ev));
		break;
	case GROUP_EV_TOPIC_DELETED:
		c->topics_seq++;
		remove_topic(c, ev->topic);
		break;
	case GROUP_EV_TOPICS_CHANGED:
		c->topics_seq++;
		break;
	case GROUP_EV_MARK:
		pending_mark(c, ev);
		break;
	}
}

void group_step(struct group_coord *c, const struct group_event *ev, struct group_actions *out)
{
	struct deadline *first;

	c->now_ms = ev->now_ms;
	c->wall_ms = ev->wall_ms;
	c->random = ev->random;
	c->actions_count = 0;
	sl_arena_trim(&c->arena, LIMIT_KEEP_BYTES);
	sl_buf_trim(&c->out, LIMIT_KEEP_BYTES);
	sl_buf_trim(&c->batch, LIMIT_KEEP_BYTES);
	sl_buf_trim(&c->key, LIMIT_KEEP_BYTES);
	sl_buf_trim(&c->value, LIMIT_KEEP_BYTES);
	if (!deadline_is_armed(&c->expiry))
		deadline_arm(&c->heap, &c->expiry, c->now_ms + c->opts.offsets_retention_check_ms);
	dispatch(c, ev);
	/* The buffer is where it stays only now. */
	for (uint32_t i = 0; i < c->actions_count; i++) {
		if (c->actions[i].bytes.len > 0)
			c->actions[i].bytes.p = c->out.p + c->actions_pos[i];
	}
	first = deadline_first(&c->heap);
	*out = (struct group_actions){
		.list = c->actions,
		.count = c->actions_count,
		.next_ms = first ? first->at_ms : INT64_MAX,
	};
}

int32_t group_partition(const struct group_coord *c, struct sl_str group_id)
{
	return sl_java_partition(group_id, c->opts.partitions_count);
}

bool group_next(const struct group_coord *c, uint32_t *pos, struct group_view *out)
{
	const struct group *g;

	while ((g = sl_map_next(&c->groups, pos)) != NULL) {
		if (g->shard->state != SHARD_ACTIVE)
			continue;
		*out = (struct group_view){
			.group_id = g->id,
			.type = "classic",
			.state = state_name(g->state),
			.protocol_type = g->protocol_type,
			.protocol = g->protocol,
			.generation = g->generation,
			.members = g->members_by_id.count,
			.partition = g->shard->partition,
		};
		if (g->consumer) {
			out->type = "consumer";
			out->state = consumer_state_name(g);
			out->protocol_type = sl_str_from("consumer");
			out->protocol = sl_str_from(target_assignor(c, g->consumer));
			out->generation = g->consumer->epoch;
			out->members = g->consumer->members_count;
		}
		return true;
	}
	return false;
}

bool group_is_consumer(const struct group_coord *c, struct sl_str group_id)
{
	const struct group *g = state_find(c, group_id);

	return g && g->consumer && g->shard->state == SHARD_ACTIVE;
}

bool group_next_offset(const struct group_coord *c, struct sl_str group_id, uint32_t *pos,
                       struct group_offset_view *out)
{
	const struct group *g = state_find(c, group_id);
	const struct offset *o;

	if (!g || g->shard->state != SHARD_ACTIVE)
		return false;
	while ((o = sl_map_next(&g->offsets, pos)) != NULL) {
		if (!o->committed)
			continue;
		*out = (struct group_offset_view){
			.topic = offsets_topic(o),
			.partition = o->partition,
			.offset = o->committed->offset,
			.commit_ms = o->committed->commit_ms,
		};
		return true;
	}
	return false;
}

const char *group_counter(const struct group_coord *c, uint32_t index, uint64_t *value)
{
	static const char *const names[COUNT_NR] = {
#define COORD_COUNTER_NAME(name) [COUNT_##name] = #name,
		COORD_COUNTERS(COORD_COUNTER_NAME)
#undef COORD_COUNTER_NAME
	};

	if (index >= COUNT_NR)
		return NULL;
	*value = c->counters[index];
	return names[index];
}
