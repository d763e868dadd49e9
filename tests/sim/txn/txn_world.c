/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread, one virtual clock, one heap of messages.  The rings to the lanes and back keep their
 * order, as the real ones do; client connections do not, as after a reconnect.  The members of the
 * group have messages of their own, which are looked at every few milliseconds.
 *
 * Producers of the newer flow may have a request arrive after they have sent it again; those of the
 * older one may not, because that flow cannot tell such a request from the next transaction's.
 */
#include "txn_world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/base/hash.h"
#include "sluice/wire/transaction_log_key_gen.h"
#include "sluice/wire/transaction_log_value_gen.h"

void fail(struct txn_world *w, const char *fmt, ...)
{
	va_list ap;

	if (w->has_failed)
		return;
	w->has_failed = true;
	va_start(ap, fmt);
	vsnprintf(w->text, RUNNER_TEXT_MAX, fmt, ap);
	va_end(ap);
	world_trace(&w->members, "FAILURE %s", w->text);
}

uint64_t rnd(struct txn_world *w)
{
	uint64_t z = (w->rng += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

int64_t pick(struct txn_world *w, int64_t n)
{
	return (int64_t)(rnd(w) % (uint64_t)n);
}

void *grow(void *p, uint32_t count, uint32_t *cap, size_t bytes)
{
	if (count < *cap)
		return p;
	*cap = *cap ? *cap * 2 : 64;
	p = realloc(p, *cap * bytes);
	SL_ASSERT(p);
	return p;
}

/* ---- Messages ---- */

static bool is_before(const struct msg *a, const struct msg *b)
{
	return a->at_ms < b->at_ms || (a->at_ms == b->at_ms && a->order < b->order);
}

void push(struct txn_world *w, const struct msg *from, int64_t at_ms)
{
	struct msg *m = malloc(sizeof(*m));
	uint32_t i = w->heap_count++;

	SL_ASSERT(m);
	*m = *from;
	m->at_ms = at_ms;
	m->order = w->order++;
	w->heap = grow(w->heap, i, &w->heap_cap, sizeof(struct msg *));
	while (i > 0 && is_before(m, w->heap[(i - 1) / 2])) {
		w->heap[i] = w->heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	w->heap[i] = m;
}

static struct msg *pop(struct txn_world *w)
{
	struct msg *top = w->heap[0];
	struct msg *last = w->heap[--w->heap_count];
	uint32_t i = 0;

	for (;;) {
		uint32_t child = 2 * i + 1;

		if (child >= w->heap_count)
			break;
		if (child + 1 < w->heap_count && is_before(w->heap[child + 1], w->heap[child]))
			child++;
		if (!is_before(w->heap[child], last))
			break;
		w->heap[i] = w->heap[child];
		i = child;
	}
	w->heap[i] = last;
	return top;
}

void *copy_bytes(struct sl_bytes b)
{
	void *p = malloc((size_t)SL_MAX(b.len, 1));

	SL_ASSERT(p);
	if (b.len > 0)
		memcpy(p, b.p, (size_t)b.len);
	return p;
}

/* The rings keep their order. */
void to_lane(struct txn_world *w, struct msg *m)
{
	m->life = w->life;
	w->lane_at_ms = SL_MAX(w->lane_at_ms, w->now_ms + pick(w, 4));
	push(w, m, w->lane_at_ms);
}

void to_control(struct txn_world *w, struct msg *m)
{
	m->life = w->life;
	w->ctrl_at_ms = SL_MAX(w->ctrl_at_ms, w->now_ms + pick(w, 4));
	push(w, m, w->ctrl_at_ms);
}

/* An answer may be lost. */
void to_client(struct txn_world *w, int32_t client, uint64_t number, enum sl_kerr kerr,
               struct sl_bytes bytes)
{
	struct msg m = {.kind = MSG_RESPONSE, .client = client, .number = number, .kerr = kerr};

	if (!w->is_healed && pick(w, 25) == 0)
		return;
	m.bytes = copy_bytes(bytes);
	m.len = bytes.len;
	push(w, &m, w->now_ms + pick(w, 10));
}

/* ---- The world goes on ---- */

static void run_ticks(struct txn_world *w, int64_t until_ms)
{
	while (w->is_up && SL_MIN(w->txn_next_ms, w->group_next_ms) <= until_ms) {
		struct txn_event ev = {.type = TXN_EV_TICK};
		struct group_event gev = {.type = GROUP_EV_TICK};
		bool is_txn = w->txn_next_ms <= w->group_next_ms;

		w->now_ms = SL_MAX(w->now_ms, SL_MIN(w->txn_next_ms, w->group_next_ms));
		if (is_txn)
			txn_do(w, &ev);
		else
			group_do(w, &gev);
		/* A tick may have put something in front of what was to come next. */
		if (w->heap_count > 0 && w->heap[0]->at_ms <= until_ms)
			until_ms = SL_MAX(w->now_ms, w->heap[0]->at_ms);
	}
}

static void deliver(struct txn_world *w, const struct msg *m)
{
	struct txn_event ev = {.type = TXN_EV_MARKED, .cookie = m->cookie, .kerr = m->kerr};

	switch (m->kind) {
	case MSG_REQUEST:
		if (m->client >= 0)
			control_request(w, m);
		break;
	case MSG_PRODUCE:
		if (m->client >= 0)
			lane_produce(w, m);
		break;
	case MSG_RESPONSE:
		producer_response(w, m);
		break;
	case MSG_WAKE:
		producer_wake(w, &w->producers[m->client], m->number);
		break;
	case MSG_APPEND:
		lane_append(w, m);
		break;
	case MSG_VERIFIED:
		lane_verified(w, m);
		break;
	case MSG_APPENDED:
		control_appended(w, m);
		break;
	case MSG_VERIFY:
		control_verify(w, m);
		break;
	case MSG_MARKED:
		txn_do(w, &ev);
		break;
	case MSG_IDS:
		ev = (struct txn_event){
			.type = TXN_EV_PRODUCER_IDS, .ids_first = w->ids_next, .ids_count = 4};
		w->ids_next += 4;
		txn_do(w, &ev);
		break;
	case MSG_LOAD:
		control_load(w, m->partition);
		break;
	case MSG_FAULT:
		fault(w);
		break;
	case MSG_MEMBERS:
		members_go_on(w);
		break;
	}
}

void run_until(struct txn_world *w, int64_t end_ms)
{
	while (!w->has_failed && w->events++ < EVENTS_MAX) {
		int64_t next_ms = w->heap_count > 0 ? w->heap[0]->at_ms : INT64_MAX;
		struct msg *m;

		run_ticks(w, SL_MIN(next_ms, end_ms));
		next_ms = w->heap_count > 0 ? w->heap[0]->at_ms : INT64_MAX;
		if (next_ms > end_ms)
			break;
		m = pop(w);
		w->now_ms = SL_MAX(w->now_ms, m->at_ms);
		if (m->life == 0 || m->life == w->life)
			deliver(w, m);
		free(m->bytes);
		free(m);
	}
	w->now_ms = end_ms;
}

/* ---- Life ---- */

/* Ids whose producers have few epochs left, as another coordinator left them. */
static void write_old_ids(struct txn_world *w)
{
	for (int i = 0; i < IDS; i++) {
		char id[] = {'t', 'x', (char)('0' + i), '\0'};
		const struct sl_transaction_log_key key = {sl_str_from(id)};
		struct sl_batch_builder builder;
		struct sl_transaction_log_value v;
		struct sl_batch_head head;
		struct sl_buf bufs[3];

		for (int k = 0; k < 3; k++)
			sl_buf_init_grow(&bufs[k], 4096);
		sl_transaction_log_value_init(&v);
		v.producer_id = i;
		v.producer_epoch = (int16_t)(INT16_MAX - 1 - pick(w, 12));
		v.transaction_timeout_ms = TIMEOUT_MS;
		v.transaction_partitions_count = -1;
		v.transaction_last_update_timestamp_ms = WALL_BASE;
		v.transaction_start_timestamp_ms = -1;
		sl_put_i16(&bufs[0], SL_TRANSACTION_LOG_KEY_TYPE);
		sl_transaction_log_key_encode(&key, &bufs[0], 0);
		sl_put_i16(&bufs[1], 1);
		sl_transaction_log_value_encode(&v, &bufs[1], 1);
		sl_batch_head_init(&head);
		sl_batch_begin(&builder, &bufs[2], &head);
		sl_batch_add(&builder, WALL_BASE,
		             (struct sl_bytes){bufs[0].p, (int32_t)bufs[0].len},
		             (struct sl_bytes){bufs[1].p, (int32_t)bufs[1].len});
		SL_ASSERT(sl_batch_end(&builder) == 0);
		(void)blob_append(&w->txn_log[txn_partition(w->txn, sl_str_from(id))], bufs[2].p,
		                  (int32_t)bufs[2].len);
		note_decision(w, bufs[2].p);
		for (int k = 0; k < 3; k++)
			sl_buf_fini(&bufs[k]);
	}
	w->ids_next = IDS;
}

static struct txn_world *make(uint64_t seed, bool is_traced, struct world_stats *stats, char *text)
{
	struct txn_world *w = calloc(1, sizeof(*w));
	struct msg m = {.kind = MSG_FAULT};

	SL_ASSERT(w && sl_arena_create(&w->arena, ARENA_BYTES) == 0);
	/* What a seed does must not depend on the process. */
	sl_map_seed(seed);
	w->rng = seed;
	w->stats = stats;
	w->text = text;
	w->life = 1;
	w->now_ms = 1;
	for (int32_t i = 0; i < IDS; i++)
		w->logged[i][0] = w->logged[i][1] = -1;
	memset(w->committed, 0xff, sizeof(w->committed));
	for (int8_t i = 0; i < PRODUCERS; i++) {
		w->producers[i].index = i;
		memset(w->producers[i].position, 0xff, sizeof(w->producers[i].position));
	}
	members_start(w, seed, is_traced);
	make_coordinators(w);
	if (pick(w, 2))
		write_old_ids(w);
	begin_loading(w);
	members_look(w);
	push(w, &m, 500 + pick(w, 2000));
	for (int8_t i = 0; i < PRODUCERS; i++) {
		struct producer *k = &w->producers[i];

		snprintf(k->id, sizeof(k->id), "tx%d", i % IDS);
		k->is_new_flow = i % 2 == 0;
		choose(w, k);
		/* The one that shares an id comes later. */
		go_on(w, k, i < IDS ? pick(w, 100) : 2000 + pick(w, 6000));
	}
	return w;
}

static void destroy(struct txn_world *w)
{
	w->is_up = false;
	drop_waiting(w);
	while (w->heap_count > 0) {
		struct msg *m = pop(w);

		free(m->bytes);
		free(m);
	}
	txn_destroy(w->txn);
	network_lose(&w->members);
	group_destroy(w->members.coord);
	sl_arena_destroy(&w->members.arena);
	for (int8_t i = 0; i < CLIENTS; i++)
		sl_buf_fini(&w->members.clients[i].plan);
	for (int32_t i = 0; i < TXN_PARTS; i++)
		free(w->txn_log[i].bytes);
	for (int32_t i = 0; i < GROUP_PARTS; i++)
		free(w->group_log[i].bytes);
	for (int32_t i = 0; i < DATA_PARTS; i++)
		free(w->data[i].log);
	free(w->heap);
	free(w->handles);
	free(w->helds);
	sl_arena_destroy(&w->arena);
	free(w);
}

bool txn_world_run(uint64_t seed, bool is_traced, struct world_stats *stats,
                   char text[RUNNER_TEXT_MAX])
{
	struct txn_world *w = make(seed, is_traced, stats, text);
	bool is_sound;

	text[0] = '\0';
	run_until(w, LIFE_MS);
	/* Everything works from here on and nobody asks for more: what is open must come to an end,
	 * and the members to rest. */
	world_trace(&w->members, "calm");
	w->is_healed = true;
	w->members.is_calm = true;
	w->wall_shift_ms += 7200000;
	if (!w->has_failed && !w->is_up)
		begin_loading(w);
	run_until(w, w->now_ms + 20000);
	if (w->events >= EVENTS_MAX)
		fail(w, "it does not come to rest");
	if (!w->has_failed)
		check_all(w);
	stats->events += w->events;
	is_sound = !w->has_failed;
	destroy(w);
	return is_sound;
}
