/* SPDX-License-Identifier: Apache-2.0 */
/* The coordinator with its log, alone in its world. */
#include <errno.h>
#include <stdlib.h>

#include "sluice/base/hash.h"
#include "sluice/wire/batch.h"

#include "world.h"

#define WALL_BASE_MS INT64_C(1700000000000)
#define ARENA_BYTES  (8u << 20)

/* ---- Its log ---- */

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
			network_take(w, &out.list[i]);
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
	uint32_t kept = w->batches_count > 0 ? world_below(w, (int32_t)w->batches_count + 1) : 0;

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
	network_lose(w);
	load(w);
	w->is_loading = false;
	check_loaded(w);
	check_step(w);
}

/* ---- The world goes on ---- */

static void place_replicas(struct world *w, int32_t topic)
{
	for (int32_t p = 0; p < PARTS; p++)
		w->topics[topic].racks[p] = w->has_racks ? (uint8_t)world_below(w, 1 << RACKS) : 0;
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

void world_run(struct world *w)
{
	bool has_more = true;

	while (has_more && !w->failure) {
		has_more = network_deliver(w);
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
	w->has_commits = true;
	w->times = (struct world_times){SESSION_MS, HEARTBEAT_MS, REBALANCE_MS, REQUEST_MS};
	w->opts = (struct group_opts){
		.partitions_count = 1,
		.session_timeout_min_ms = 1000,
		.session_timeout_max_ms = 1800000,
		.initial_rebalance_delay_ms = 500,
		.offsets_retention_ms = INT64_C(604800000),
		.offsets_retention_check_ms = 600000,
		.offset_metadata_bytes_max = 64,
		.group_size_max = 100,
		.consumer = {w->times.session_ms, w->times.heartbeat_ms},
		.consumer_size_max = 100,
		.migration = policies[world_below(w, (int32_t)SL_ARRAY_SIZE(policies))],
		.assignors = {GROUP_ASSIGN_UNIFORM, GROUP_ASSIGN_RANGE},
		.assignors_count = 2,
	};
	world_show_topics(w, &w->opts);
	w->is_eager = world_below(w, 2) == 0;
	w->has_classic = world_below(w, 2) == 0;
	w->has_consumer = !w->has_classic || world_below(w, 6) > 0;
	w->has_racks = world_below(w, 3) > 0;
	w->is_loaded = world_below(w, 4) == 0;
	if (world_below(w, 2) == 0)
		w->times.rebalance_ms = REBALANCE_LONG_MS;
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
