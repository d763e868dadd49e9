/* SPDX-License-Identifier: Apache-2.0 */
/* The network, the log, the clock and the topics. */
#include "world.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "sluice/base/hash.h"
#include "sluice/wire/batch.h"

#define WALL_BASE_MS INT64_C(1700000000000)
#define ARENA_BYTES  (8u << 20)

uint64_t world_random(struct world *w)
{
	uint64_t z = (w->rng += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint32_t world_below(struct world *w, uint32_t n)
{
	return (uint32_t)(world_random(w) % n);
}

bool world_fault(struct world *w, uint32_t per_mille)
{
	return !w->is_calm && world_below(w, 1000) < per_mille;
}

void world_fail(struct world *w, const char *format, ...)
{
	va_list args;

	if (w->failure)
		return;
	va_start(args, format);
	vsnprintf(w->failure_text, sizeof(w->failure_text), format, args);
	va_end(args);
	w->failure = w->failure_text;
	world_trace(w, "FAILURE %s", w->failure);
}

void world_trace(const struct world *w, const char *format, ...)
{
	va_list args;

	if (!w->is_traced)
		return;
	printf("%8lld ", (long long)w->now_ms);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

/* ---- Topics ---- */

struct sl_str client_topic_name(int32_t topic)
{
	static const char names[TOPICS][3] = {"t0", "t1", "t2", "t3"};

	return sl_str_from(names[topic]);
}

struct sl_uuid world_topic_id(const struct world *w, int32_t topic)
{
	struct sl_uuid id = {{'t'}};

	id.b[1] = (uint8_t)topic;
	sl_store_be32(&id.b[12], w->topics[topic].incarnation);
	return id;
}

int32_t world_topic(const struct world *w, const struct sl_uuid *id)
{
	for (int32_t t = 0; t < TOPICS; t++) {
		struct sl_uuid known = world_topic_id(w, t);

		if (w->topics[t].partitions > 0 && sl_uuid_eq(id, &known))
			return t;
	}
	return -1;
}

static int32_t number_of(const struct world *w, struct sl_str name)
{
	for (int32_t t = 0; t < TOPICS; t++) {
		if (sl_str_eq(name, client_topic_name(t)) && w->topics[t].partitions > 0)
			return t;
	}
	return -1;
}

static bool has_partition(void *ctx, struct sl_str topic, int32_t partition)
{
	const struct world *w = ctx;
	int32_t t = number_of(w, topic);

	return t >= 0 && partition >= 0 && partition < w->topics[t].partitions;
}

static bool topic_name(void *ctx, const struct sl_uuid *id, struct sl_str *name)
{
	int32_t t = world_topic(ctx, id);

	if (t >= 0)
		*name = client_topic_name(t);
	return t >= 0;
}

static bool topic_id(void *ctx, struct sl_str name, struct sl_uuid *id)
{
	int32_t t = number_of(ctx, name);

	if (t >= 0)
		*id = world_topic_id(ctx, t);
	return t >= 0;
}

static int32_t topic_partitions(void *ctx, struct sl_str name)
{
	const struct world *w = ctx;
	int32_t t = number_of(w, name);

	return t >= 0 ? w->topics[t].partitions : 0;
}

static bool topic_next(void *ctx, uint32_t *pos, struct sl_str *name)
{
	const struct world *w = ctx;

	while (*pos < TOPICS) {
		int32_t t = (int32_t)(*pos)++;

		if (w->topics[t].partitions == 0)
			continue;
		*name = client_topic_name(t);
		return true;
	}
	return false;
}

struct sl_str world_rack(uint8_t rack)
{
	static const char names[RACKS][3] = {"r0", "r1", "r2"};

	return rack < RACKS ? sl_str_from(names[rack]) : SL_STR_NULL;
}

static void topic_racks(void *ctx, struct sl_str name, group_rack_fn *fn, void *arg)
{
	const struct world *w = ctx;
	int32_t t = number_of(w, name);

	for (int32_t p = 0; t >= 0 && p < w->topics[t].partitions; p++) {
		for (uint8_t r = 0; r < RACKS; r++) {
			if ((w->topics[t].racks[p] >> r) & 1)
				fn(arg, p, world_rack(r));
		}
	}
}

static void place_replicas(struct world *w, int32_t topic)
{
	for (int32_t p = 0; p < PARTS; p++)
		w->topics[topic].racks[p] = w->has_racks ? (uint8_t)world_below(w, 1u << RACKS) : 0;
}

void world_move_replicas(struct world *w)
{
	int32_t t = (int32_t)world_below(w, TOPICS);
	struct group_event ev = {.type = GROUP_EV_TOPICS_CHANGED, .topic = client_topic_name(t)};

	if (!w->has_racks)
		return;
	place_replicas(w, t);
	world_trace(w, "replicas of topic %d move", t);
	world_step(w, &ev);
}

static void forget_commits(struct world *w, int32_t topic)
{
	for (int32_t p = 0; p < PARTS; p++)
		w->acked[topic][p] = -1;
	for (int32_t i = 0; i < w->commits_count; i++) {
		if (w->commits[i].topic == topic)
			w->commits[i].state = COMMIT_SENT;
	}
}

void world_change_topics(struct world *w)
{
	int32_t t = (int32_t)world_below(w, TOPICS);
	struct group_event ev = {.type = GROUP_EV_TOPICS_CHANGED, .topic = client_topic_name(t)};

	if (w->topics[t].partitions == 0) {
		w->topics[t].partitions = 1 + (int32_t)world_below(w, PARTS);
		w->topics[t].incarnation++;
		place_replicas(w, t);
	} else if (w->topics[t].partitions < PARTS && world_below(w, 3) > 0) {
		w->topics[t].partitions++;
	} else {
		w->topics[t].partitions = 0;
		forget_commits(w, t);
		ev.type = GROUP_EV_TOPIC_DELETED;
	}
	world_trace(w, "topic %d has %d", t, w->topics[t].partitions);
	world_step(w, &ev);
}

/* ---- The coordinator ---- */

struct group *world_group(const struct world *w)
{
	return state_find(w->coord, sl_str_from(GROUP));
}

static void add_message(struct world *w, bool is_request, uint64_t handle, int64_t due_ms,
                        struct sl_bytes bytes)
{
	struct message *m;

	if (w->messages_count == MESSAGES_MAX) {
		world_fail(w, "too many messages");
		return;
	}
	m = &w->messages[w->messages_count++];
	*m = (struct message){due_ms, is_request, handle, malloc((size_t)bytes.len + 1), bytes.len};
	memcpy(m->bytes, bytes.p, (size_t)bytes.len);
}

static void take_answer(struct world *w, const struct group_action *a)
{
	struct sent *s = &w->sent[a->handle];

	if (s->state != REQUEST_HELD) {
		world_fail(w, "second answer to a request");
		return;
	}
	s->state = REQUEST_DONE;
	if (a->type == GROUP_ACT_CLOSE) {
		world_fail(w, "a request was closed");
		return;
	}
	if (s->commit >= 0)
		check_commit_answer(w, s, a->bytes);
	if (s->client >= 0 && !world_fault(w, 20))
		add_message(w, false, a->handle, w->now_ms + world_below(w, 30), a->bytes);
}

static void take_batch(struct world *w, const struct group_action *a)
{
	int64_t due_ms = w->now_ms + 1 + world_below(w, 20);

	if (world_fault(w, 20))
		due_ms += world_below(w, 2000);
	if (w->batches_count == SL_ARRAY_SIZE(w->batches)) {
		world_fail(w, "too many batches");
		return;
	}
	/* Outcomes come in the order of the batches. */
	if (w->batches_count > 0)
		due_ms = SL_MAX(due_ms, w->batches[w->batches_count - 1].due_ms);
	w->batches[w->batches_count] = (struct batch){due_ms, a->cookie,
	                                              malloc((size_t)a->bytes.len), a->bytes.len};
	memcpy(w->batches[w->batches_count++].bytes, a->bytes.p, (size_t)a->bytes.len);
}

void world_step(struct world *w, struct group_event *ev)
{
	struct group_actions out;

	w->steps++;
	ev->now_ms = w->now_ms;
	ev->wall_ms = w->wall_ms;
	ev->random = world_random(w);
	group_step(w->coord, ev, &out);
	w->next_tick_ms = out.next_ms;
	for (uint32_t i = 0; i < out.count; i++) {
		if (out.list[i].type == GROUP_ACT_APPEND)
			take_batch(w, &out.list[i]);
		else
			take_answer(w, &out.list[i]);
	}
	if (!w->is_loading)
		check_step(w);
}

static void write_log(struct world *w, const struct batch *b)
{
	struct sl_batch_head h;

	if (sl_batch_peek(b->bytes, (size_t)b->len, &h)) {
		world_fail(w, "a batch cannot be read");
		return;
	}
	if (w->log_len + (size_t)b->len > w->log_cap) {
		w->log_cap = 2 * (w->log_len + (size_t)b->len);
		w->log = realloc(w->log, w->log_cap);
	}
	memcpy(w->log + w->log_len, b->bytes, (size_t)b->len);
	sl_batch_set_offset(w->log + w->log_len, w->log_next, 0);
	w->log_len += (size_t)b->len;
	w->log_next += h.last_offset_delta + 1;
}

static void settle_batch(struct world *w)
{
	struct group_event ev = {.type = GROUP_EV_APPENDED, .kerr = SL_KERR_NONE};
	struct batch b = w->batches[0];
	bool is_refused = world_fault(w, 15);
	/* The log has it, but the answer to it got lost. */
	bool is_unknown = is_refused && world_below(w, 4) == 0;

	w->batches_count--;
	memmove(&w->batches[0], &w->batches[1], w->batches_count * sizeof(b));
	ev.cookie = b.cookie;
	ev.base_offset = w->log_next;
	if (is_refused)
		ev.kerr = is_unknown ? SL_KERR_REQUEST_TIMED_OUT : SL_KERR_NOT_ENOUGH_REPLICAS;
	if (!is_refused || is_unknown)
		write_log(w, &b);
	if (is_refused)
		world_trace(w, "log refuses a batch%s", is_unknown ? ", but has it" : "");
	free(b.bytes);
	world_step(w, &ev);
}

static void load(struct world *w)
{
	struct group_event ev = {.type = GROUP_EV_LOAD_BEGIN};

	world_step(w, &ev);
	ev = (struct group_event){.type = GROUP_EV_LOAD_BATCHES,
	                          .batches = {w->log, (int32_t)w->log_len}};
	world_step(w, &ev);
	ev = (struct group_event){.type = GROUP_EV_LOAD_END};
	world_step(w, &ev);
}

/* What was not written yet is lost, or part of it is. */
void world_restart(struct world *w)
{
	uint32_t kept = w->batches_count > 0 ? world_below(w, w->batches_count + 1) : 0;

	world_trace(w, "restart");
	w->restarts++;
	for (uint32_t i = 0; i < w->batches_count; i++) {
		if (i < kept)
			write_log(w, &w->batches[i]);
		free(w->batches[i].bytes);
	}
	w->batches_count = 0;
	w->is_loading = true;
	group_destroy(w->coord);
	if (group_create(&w->coord, &w->opts))
		abort();
	for (uint32_t i = 0; i < w->messages_count; i++)
		free(w->messages[i].bytes);
	w->messages_count = 0;
	for (int8_t i = 0; i < CLIENTS; i++)
		client_give_up(w, i);
	load(w);
	w->is_loading = false;
	check_loaded(w);
	check_step(w);
}

/* ---- The network ---- */

uint64_t world_send(struct world *w, int8_t client, int16_t api, int16_t version,
                    const struct sl_buf *body, int32_t commit)
{
	struct sl_bytes bytes = {body->p, (int32_t)body->len};
	uint64_t handle = w->handle_next++;
	int64_t due_ms = w->now_ms + world_below(w, 30);
	/* A late join of the classic protocol tells its leader what the member read long ago; that
	 * protocol has no answer to it. */
	bool is_ordered = api == SL_API_JOIN_GROUP;
	/* Joins may come very late; reports of one epoch cannot be told apart, by nobody. */
	bool is_join = client >= 0 && api == SL_API_CONSUMER_GROUP_HEARTBEAT &&
	               w->clients[client].epoch == 0;

	if (handle + 2 >= REQUESTS_MAX) {
		world_fail(w, "too many requests");
		return handle;
	}
	w->sent[handle] =
		(struct sent){.client = client, .api = api, .version = version, .commit = commit};
	if (!is_ordered && world_fault(w, 20))
		due_ms += world_below(w, 2 * REQUEST_MS);
	if (!world_fault(w, 20))
		add_message(w, true, handle, due_ms, bytes);
	/* A repeated commit of the same epoch counts again; clients do not repeat them. */
	if (commit < 0 && !is_ordered && world_fault(w, is_join ? 100 : 10)) {
		uint64_t twin = w->handle_next++;

		w->sent[twin] =
			(struct sent){.client = -1, .api = api, .version = version, .commit = -1};
		add_message(w, true, twin, due_ms + world_below(w, (is_join ? 4 : 1) * REQUEST_MS),
		            bytes);
	}
	return handle;
}

static void deliver_request(struct world *w, const struct message *m)
{
	struct sent *s = &w->sent[m->handle];
	struct group_event ev = {
		.type = GROUP_EV_REQUEST,
		.handle = m->handle,
		.api_key = s->api,
		.version = s->version,
		.client_id = sl_str_from("client"),
		.client_host = sl_str_from("/127.0.0.1"),
		.body = {m->bytes, m->len},
	};

	s->state = REQUEST_HELD;
	if (s->commit >= 0)
		s->is_stale_commit = check_is_stale(w, &w->commits[s->commit]);
	world_step(w, &ev);
}

static void deliver_answer(struct world *w, const struct message *m)
{
	const struct sent *s = &w->sent[m->handle];
	struct sl_cursor cur = sl_cursor_from(m->bytes, (size_t)m->len);
	struct client *c;
	int32_t correlation_id;

	/* The twin of a request belongs to no client. */
	if (s->client < 0)
		return;
	c = &w->clients[s->client];
	if (!c->is_alive || c->waits_for != m->handle)
		return;
	if (sl_response_head_decode(&cur, sl_api_find(s->api), s->version, &correlation_id)) {
		world_fail(w, "the head of an answer cannot be read");
		return;
	}
	c->waits_for = 0;
	sl_arena_reset(&w->arena);
	client_answer(w, s->client, s->api, s->version, &cur);
}

static bool deliver_one(struct world *w)
{
	uint32_t first = UINT32_MAX;
	struct message m;

	for (uint32_t i = 0; i < w->messages_count; i++) {
		if (w->messages[i].due_ms <= w->now_ms &&
		    (first == UINT32_MAX || w->messages[i].due_ms < w->messages[first].due_ms))
			first = i;
	}
	if (first == UINT32_MAX)
		return false;
	m = w->messages[first];
	w->messages[first] = w->messages[--w->messages_count];
	if (m.is_request)
		deliver_request(w, &m);
	else
		deliver_answer(w, &m);
	free(m.bytes);
	return true;
}

void world_run(struct world *w)
{
	bool has_more = true;

	while (has_more && !w->failure) {
		has_more = deliver_one(w);
		if (w->batches_count > 0 && w->batches[0].due_ms <= w->now_ms) {
			settle_batch(w);
			has_more = true;
		}
		if (w->next_tick_ms <= w->now_ms) {
			struct group_event ev = {.type = GROUP_EV_TICK};

			world_step(w, &ev);
			has_more = true;
		}
	}
}

void world_init(struct world *w, uint64_t seed, bool is_traced)
{
	static const enum group_migration policies[] = {
		GROUP_MIGRATE_BOTH,    GROUP_MIGRATE_BOTH,      GROUP_MIGRATE_BOTH,
		GROUP_MIGRATE_UPGRADE, GROUP_MIGRATE_DOWNGRADE, GROUP_MIGRATE_NONE};

	memset(w, 0, sizeof(*w));
	w->seed = seed;
	w->rng = seed * UINT64_C(0x2545f4914f6cdd1d);
	w->is_traced = is_traced;
	w->now_ms = 1000;
	w->wall_ms = WALL_BASE_MS;
	w->handle_next = 1;
	w->next_tick_ms = INT64_MAX;
	memset(w->acked, 0xff, sizeof(w->acked));
	sl_map_seed(seed);
	w->opts = (struct group_opts){
		.partitions_count = 1,
		.session_timeout_min_ms = 1000,
		.session_timeout_max_ms = 1800000,
		.initial_rebalance_delay_ms = 500,
		.offsets_retention_ms = INT64_C(604800000),
		.offsets_retention_check_ms = 600000,
		.offset_metadata_bytes_max = 64,
		.group_size_max = 100,
		.consumer = {SESSION_MS, HEARTBEAT_MS},
		.consumer_size_max = 100,
		.migration = policies[world_below(w, SL_ARRAY_SIZE(policies))],
		.assignors = {GROUP_ASSIGN_UNIFORM, GROUP_ASSIGN_RANGE},
		.assignors_count = 2,
		.ctx = w,
		.has_partition = has_partition,
		.topic_name = topic_name,
		.topic_id = topic_id,
		.topic_partitions = topic_partitions,
		.topic_next = topic_next,
		.topic_racks = topic_racks,
	};
	w->is_eager = world_below(w, 2) == 0;
	w->has_classic = world_below(w, 2) == 0;
	w->has_consumer = !w->has_classic || world_below(w, 6) > 0;
	w->has_racks = world_below(w, 3) > 0;
	for (int32_t t = 0; t < TOPICS; t++) {
		w->topics[t].partitions = (int32_t)world_below(w, PARTS + 1);
		w->topics[t].incarnation = 1;
		place_replicas(w, t);
	}
	if (sl_arena_create(&w->arena, ARENA_BYTES) || group_create(&w->coord, &w->opts))
		abort();
	load(w);
}

void world_fini(struct world *w)
{
	group_destroy(w->coord);
	for (uint32_t i = 0; i < w->messages_count; i++)
		free(w->messages[i].bytes);
	for (uint32_t i = 0; i < w->batches_count; i++)
		free(w->batches[i].bytes);
	for (int8_t i = 0; i < CLIENTS; i++)
		sl_buf_fini(&w->clients[i].plan);
	sl_arena_destroy(&w->arena);
	free(w->log);
}
