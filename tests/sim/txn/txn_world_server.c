/* SPDX-License-Identifier: Apache-2.0 */
/* The lanes with their partitions, and the control process around the coordinators. */
#include "txn_world.h"

#include <stdio.h>
#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/base/hash.h"
#include "sluice/wire/apis.h"
#include "sluice/wire/transaction_log_value_gen.h"
#include "sluice/wire/txn_offset_commit_gen.h"

/* ---- Logs ---- */

int64_t blob_append(struct blob *b, const void *p, int32_t len)
{
	struct sl_batch_head h;
	int64_t base = b->next_offset;

	if (b->len + (size_t)len > b->cap) {
		b->cap = (b->len + (size_t)len) * 2;
		b->bytes = realloc(b->bytes, b->cap);
		SL_ASSERT(b->bytes);
	}
	memcpy(b->bytes + b->len, p, (size_t)len);
	sl_batch_set_offset(b->bytes + b->len, base, 0);
	SL_ASSERT(sl_batch_peek(b->bytes + b->len, (size_t)len, &h) == 0);
	b->next_offset += h.last_offset_delta + 1;
	b->last_pos = b->len;
	b->len += (size_t)len;
	return base;
}

/* What the log says was decided about a producer. */
void note_decision(struct txn_world *w, const void *p)
{
	struct sl_transaction_log_value v;
	struct sl_record_iter it;
	struct sl_batch_head h;
	struct sl_record r;
	struct sl_cursor c;
	int64_t *last;
	uint32_t i = 0;
	int16_t version;

	sl_arena_reset(&w->arena);
	if (sl_batch_peek(p, INT32_MAX, &h) || sl_record_iter_init(&it, p, &h, NULL, NULL) ||
	    sl_record_iter_next(&it, &r) != 1 || r.value.len < 0)
		return;
	c = sl_cursor_from(r.value.p, (size_t)r.value.len);
	version = sl_cursor_i16(&c);
	SL_ASSERT(sl_transaction_log_value_decode(&v, &c, &w->arena, version) == 0);
	last = w->logged[((const char *)r.key.p)[r.key.len - 1] - '0'];
	if (v.producer_id < last[0] || (v.producer_id == last[0] && v.producer_epoch < last[1]))
		fail(w, "producer %lld epoch %d is on the log after %lld epoch %lld",
		     (long long)v.producer_id, v.producer_epoch, (long long)last[0],
		     (long long)last[1]);
	last[0] = v.producer_id;
	last[1] = v.producer_epoch;
	while (i < w->decided_count && w->decided[i][0] != v.producer_id)
		i++;
	SL_ASSERT(i < PIDS_MAX);
	w->decided_count = SL_MAX(w->decided_count, i + 1);
	w->decided[i][0] = v.producer_id;
	w->decided[i][1] = v.transaction_status;
	w->decided[i][2] = v.producer_epoch;
}

/* A marker goes to a partition: it must have been decided, and decided like this. */
static void check_marker(struct txn_world *w, const struct sl_txn_marker *m)
{
	int64_t wanted = m->is_commit ? 2 : 3;

	for (uint32_t i = 0; i < w->decided_count; i++) {
		if (w->decided[i][0] != m->producer_id)
			continue;
		if (w->decided[i][1] != wanted || w->decided[i][2] != m->producer_epoch)
			fail(w, "marker of producer %lld epoch %d without its decision",
			     (long long)m->producer_id, m->producer_epoch);
		return;
	}
	fail(w, "marker of an unknown producer");
}

static struct producer_state *state_of(struct data_part *part, int64_t pid)
{
	for (uint32_t i = 0; i < part->states_count; i++) {
		if (part->states[i].pid == pid)
			return &part->states[i];
	}
	SL_ASSERT(part->states_count < PIDS_MAX);
	part->states[part->states_count] = (struct producer_state){pid, -1, false};
	return &part->states[part->states_count++];
}

static void data_append(struct data_part *part, const struct entry *e)
{
	part->log = grow(part->log, part->count, &part->cap, sizeof(*part->log));
	part->log[part->count++] = *e;
}

bool has_record(const struct data_part *part, uint32_t record)
{
	for (uint32_t i = 0; i < part->count; i++) {
		if (!part->log[i].is_marker && part->log[i].record == record)
			return true;
	}
	return false;
}

/* ---- Lanes ---- */

static enum sl_kerr lane_mark(struct txn_world *w, int32_t partition, const struct sl_txn_marker *m)
{
	struct data_part *part = &w->data[partition];
	struct producer_state *s = state_of(part, m->producer_id);
	const struct entry e = {m->producer_id, m->producer_epoch, true, m->is_commit, 0};

	if (m->producer_epoch < s->epoch)
		return SL_KERR_INVALID_PRODUCER_EPOCH;
	check_marker(w, m);
	data_append(part, &e);
	s->epoch = m->producer_epoch;
	s->is_open = false;
	return SL_KERR_NONE;
}

void lane_append(struct txn_world *w, const struct msg *m)
{
	struct msg done = {.kind = MSG_APPENDED, .source = m->source, .cookie = m->cookie};
	bool is_refused = !w->is_healed && pick(w, 30) == 0;

	if (is_refused) {
		w->stats->refused++;
		done.kerr = pick(w, 2) ? SL_KERR_KAFKA_STORAGE_ERROR : SL_KERR_NOT_ENOUGH_REPLICAS;
	} else if (m->source == FROM_MARK) {
		if (world_plant == WORLD_marker_not_written && pick(w, 20) == 0)
			done.kerr = SL_KERR_NONE;
		else
			done.kerr = lane_mark(w, m->partition, &m->marker);
	} else if (m->source == FROM_GROUP) {
		done.number = (uint64_t)blob_append(&w->group_log[m->partition], m->bytes, m->len);
	} else if (world_plant != WORLD_record_not_written || pick(w, 30) != 0) {
		(void)blob_append(&w->txn_log[m->partition], m->bytes, m->len);
		note_decision(w, m->bytes);
	}
	to_control(w, &done);
}

static void lane_store(struct txn_world *w, const struct msg *m)
{
	struct data_part *part = &w->data[m->partition];
	struct producer_state *s = state_of(part, m->pid);
	const struct entry e = {m->pid, m->epoch, false, false, m->record};

	if (s->is_open && s->epoch < m->epoch)
		fail(w, "t-%d: a producer goes on while its transaction is open", m->partition);
	s->epoch = m->epoch;
	s->is_open = true;
	data_append(part, &e);
	to_client(w, m->client, m->number, SL_KERR_NONE, SL_BYTES_NULL);
}

void lane_produce(struct txn_world *w, const struct msg *m)
{
	struct data_part *part = &w->data[m->partition];
	struct producer_state *s = state_of(part, m->pid);
	struct msg ask = *m;

	if (!w->is_up)
		return;
	if (has_record(part, m->record)) {
		to_client(w, m->client, m->number, SL_KERR_NONE, SL_BYTES_NULL);
		return;
	}
	if (m->epoch < s->epoch) {
		to_client(w, m->client, m->number, SL_KERR_INVALID_PRODUCER_EPOCH, SL_BYTES_NULL);
		return;
	}
	if (s->is_open && s->epoch == m->epoch) {
		lane_store(w, m);
		return;
	}
	w->helds = grow(w->helds, w->helds_count, &w->helds_cap, sizeof(*w->helds));
	w->helds[w->helds_count] = (struct held){*m, true};
	ask.kind = MSG_VERIFY;
	ask.cookie = w->helds_count++;
	to_control(w, &ask);
}

void lane_verified(struct txn_world *w, const struct msg *m)
{
	struct held *h = &w->helds[m->cookie];
	struct data_part *part = &w->data[h->msg.partition];
	enum sl_kerr kerr = m->kerr;

	if (!h->is_used)
		return;
	h->is_used = false;
	if (world_plant == WORLD_everything_verified)
		kerr = SL_KERR_NONE;
	if (kerr == SL_KERR_NONE && h->msg.epoch < state_of(part, h->msg.pid)->epoch)
		kerr = SL_KERR_INVALID_PRODUCER_EPOCH;
	if (kerr != SL_KERR_NONE)
		to_client(w, h->msg.client, h->msg.number, kerr, SL_BYTES_NULL);
	else if (has_record(part, h->msg.record))
		to_client(w, h->msg.client, h->msg.number, SL_KERR_NONE, SL_BYTES_NULL);
	else
		lane_store(w, &h->msg);
}

/* ---- Control ---- */

static int32_t offsets_partition(void)
{
	return sl_java_partition(sl_str_from(GROUP), GROUP_PARTS);
}

static bool has_partition(void *ctx, struct sl_str topic, int32_t partition)
{
	(void)ctx;
	if (sl_str_eq_c(topic, OFFSETS))
		return partition >= 0 && partition < GROUP_PARTS;
	return sl_str_eq_c(topic, TOPIC) && partition >= 0 && partition < DATA_PARTS;
}

void make_coordinators(struct txn_world *w)
{
	const struct txn_opts txn = {
		.partitions_count = TXN_PARTS,
		.offsets_partitions_count = GROUP_PARTS,
		.timeout_max_ms = 900000,
		.id_expiration_ms = INT64_C(604800000),
		.id_expiration_check_ms = 3600000,
		.abort_check_ms = 200,
		.ctx = w,
		.has_partition = has_partition,
	};

	SL_ASSERT(txn_create(&w->txn, &txn) == 0);
	SL_ASSERT(group_create(&w->members.coord, &w->members.opts) == 0);
	w->txn_next_ms = INT64_MAX;
	w->group_next_ms = INT64_MAX;
}

static struct handle *handle_of(struct txn_world *w, uint64_t handle)
{
	SL_ASSERT(handle < w->handles_count && w->handles[handle].is_used);
	return &w->handles[handle];
}

/* The member that commits must be who it says when its offsets are taken. */
static void check_fencing(struct txn_world *w, const struct handle *h, struct sl_bytes bytes)
{
	struct sl_cursor c = sl_cursor_from(bytes.p, (size_t)bytes.len);
	struct sl_txn_offset_commit_resp resp;
	int32_t correlation_id;

	sl_arena_reset(&w->arena);
	SL_ASSERT(sl_response_head_decode(&c, sl_api_find(h->api_key), h->version,
	                                  &correlation_id) == 0);
	SL_ASSERT(sl_txn_offset_commit_resp_decode(&resp, &c, &w->arena, h->version) == 0);
	if (resp.topics[0].partitions[0].error_code != SL_KERR_NONE)
		w->stats->stale += h->is_stale;
	else if (h->is_stale)
		fail(w, "offsets of member %s were taken at epoch %d, which is over", h->member.id,
		     h->member.epoch);
}

static void answer(struct txn_world *w, uint64_t handle, struct sl_bytes bytes)
{
	struct handle *h = handle_of(w, handle);

	if (h->api_key == SL_API_TXN_OFFSET_COMMIT && bytes.len > 0)
		check_fencing(w, h, bytes);
	h->is_used = false;
	to_client(w, h->client, h->number, SL_KERR_NONE, bytes);
	free(h->body);
	h->body = NULL;
}

static void group_act(struct txn_world *w, struct group_action *a)
{
	struct msg m = {.source = FROM_GROUP, .cookie = a->cookie, .partition = a->partition};

	if ((a->type == GROUP_ACT_RESPOND || a->type == GROUP_ACT_CLOSE) &&
	    a->handle >= HANDLE_MEMBERS) {
		a->handle -= HANDLE_MEMBERS;
		network_take(&w->members, a);
	} else if (a->type == GROUP_ACT_RESPOND) {
		answer(w, a->handle, a->bytes);
	} else if (a->type == GROUP_ACT_APPEND) {
		m.kind = MSG_APPEND;
		m.bytes = copy_bytes(a->bytes);
		m.len = a->bytes.len;
		to_lane(w, &m);
	} else if (a->type == GROUP_ACT_MARKED) {
		m.kind = MSG_MARKED;
		m.cookie = a->handle;
		m.kerr = a->kerr;
		m.life = w->life;
		push(w, &m, w->now_ms);
	} else {
		fail(w, "the group coordinator closes a connection");
	}
}

void group_do(struct txn_world *w, struct group_event *ev)
{
	struct group_actions out;

	w->members.now_ms = w->now_ms;
	ev->now_ms = w->now_ms;
	ev->wall_ms = WALL_BASE + w->now_ms + w->wall_shift_ms;
	ev->random = rnd(w);
	group_step(w->members.coord, ev, &out);
	w->group_next_ms = out.next_ms;
	for (uint32_t i = 0; i < out.count; i++)
		group_act(w, &out.list[i]);
	if (!w->is_group_loaded)
		return;
	check_step(&w->members);
	check_committed(w);
	if (w->members.failure)
		fail(w, "%s", w->members.failure);
}

/* What a member sends, or what it calls back. */
void world_step(struct world *members, struct group_event *ev)
{
	struct txn_world *w = SL_CONTAINER_OF(members, struct txn_world, members);

	if (!w->is_up)
		return;
	ev->handle += HANDLE_MEMBERS;
	group_do(w, ev);
}

static void mark_offsets(struct txn_world *w, const struct txn_action *a)
{
	struct group_event ev = {.type = GROUP_EV_MARK,
	                         .partition = a->partition,
	                         .marker = a->marker,
	                         .handle = a->cookie};
	struct msg m = {.kind = MSG_MARKED, .cookie = a->cookie, .life = w->life};

	check_marker(w, &a->marker);
	if (world_plant == WORLD_offsets_marker_lost && pick(w, 8) == 0) {
		push(w, &m, w->now_ms);
		return;
	}
	if (world_plant == WORLD_offsets_marker_flipped && pick(w, 8) == 0)
		ev.marker.is_commit = !ev.marker.is_commit;
	group_do(w, &ev);
}

static void mark(struct txn_world *w, const struct txn_action *a)
{
	struct msg m = {.kind = MSG_APPEND,
	                .source = FROM_MARK,
	                .cookie = a->cookie,
	                .partition = a->partition,
	                .marker = a->marker};

	if (sl_str_eq_c(a->topic, OFFSETS)) {
		mark_offsets(w, a);
		return;
	}
	if (world_plant == WORLD_marker_flipped && w->has_restarted && a->partition == 1)
		m.marker.is_commit = !m.marker.is_commit;
	to_lane(w, &m);
}

static void commit_offsets(struct txn_world *w, uint64_t handle)
{
	struct handle *h = handle_of(w, handle);
	struct group_event ev = {
		.type = GROUP_EV_REQUEST,
		.handle = handle,
		.api_key = SL_API_TXN_OFFSET_COMMIT,
		.version = h->version,
		.client_id = sl_str_from("c"),
		.client_host = sl_str_from("/127.0.0.1"),
		.body = {h->body, h->len},
	};

	h->is_stale = h->member.epoch >= 0 && check_is_stale(&w->members, &h->member);
	group_do(w, &ev);
}

static void verified(struct txn_world *w, const struct txn_action *a)
{
	struct handle *h = handle_of(w, a->handle);
	struct msg m = {.kind = MSG_VERIFIED, .cookie = h->lane_cookie, .kerr = a->kerr};

	if (h->is_lane) {
		h->is_used = false;
		to_lane(w, &m);
	} else if (a->kerr == SL_KERR_NONE) {
		commit_offsets(w, a->handle);
	} else {
		h->is_used = false;
		to_client(w, h->client, h->number, a->kerr, SL_BYTES_NULL);
		free(h->body);
		h->body = NULL;
	}
}

static void append_record(struct txn_world *w, const struct txn_action *a)
{
	struct msg m = {.kind = MSG_APPEND,
	                .source = FROM_TXN,
	                .cookie = a->cookie,
	                .partition = a->partition,
	                .bytes = copy_bytes(a->bytes),
	                .len = a->bytes.len};
	struct txn_event ev = {.type = TXN_EV_APPENDED, .cookie = a->cookie};

	to_lane(w, &m);
	/* The coordinator hears at once of what is not on the log yet. */
	if (world_plant == WORLD_marker_early && pick(w, 10) == 0) {
		m = (struct msg){.kind = MSG_APPENDED, .source = FROM_TXN, .cookie = ev.cookie};
		m.life = w->life;
		push(w, &m, w->now_ms);
	}
}

void txn_do(struct txn_world *w, struct txn_event *ev)
{
	struct txn_actions out;

	ev->now_ms = w->now_ms;
	ev->wall_ms = WALL_BASE + w->now_ms + w->wall_shift_ms;
	txn_step(w->txn, ev, &out);
	w->txn_next_ms = out.next_ms;
	for (uint32_t i = 0; i < out.count; i++) {
		const struct txn_action *a = &out.list[i];
		struct msg m = {.kind = MSG_IDS, .life = w->life};

		switch (a->type) {
		case TXN_ACT_RESPOND:
			answer(w, a->handle, a->bytes);
			break;
		case TXN_ACT_CLOSE:
			fail(w, "the transaction coordinator closes a connection");
			break;
		case TXN_ACT_APPEND:
			append_record(w, a);
			break;
		case TXN_ACT_MARK:
			mark(w, a);
			break;
		case TXN_ACT_VERIFIED:
			verified(w, a);
			break;
		case TXN_ACT_PRODUCER_IDS:
			push(w, &m, w->now_ms + pick(w, 20));
			break;
		}
	}
}

static uint64_t new_handle(struct txn_world *w, const struct handle *h)
{
	w->handles = grow(w->handles, w->handles_count, &w->handles_cap, sizeof(*w->handles));
	w->handles[w->handles_count] = *h;
	w->handles[w->handles_count].is_used = true;
	return w->handles_count++;
}

/* As the driver does: the transaction first, then the group. */
static void take_commit(struct txn_world *w, const struct msg *m)
{
	struct handle h = {.client = m->client,
	                   .number = m->number,
	                   .api_key = m->api_key,
	                   .version = m->version,
	                   .body = copy_bytes((struct sl_bytes){m->bytes, m->len}),
	                   .len = m->len};
	struct sl_cursor c = sl_cursor_from(h.body, (size_t)h.len);
	struct sl_txn_offset_commit_req req;
	struct txn_event ev = {.type = TXN_EV_VERIFY};
	uint64_t handle;

	sl_arena_reset(&w->arena);
	SL_ASSERT(sl_txn_offset_commit_req_decode(&req, &c, &w->arena, m->version) == 0);
	h.member.epoch = req.generation_id_or_member_epoch;
	snprintf(h.member.id, sizeof(h.member.id), "%.*s", SL_STR_ARG(req.member_id));
	handle = new_handle(w, &h);
	ev.handle = handle;
	ev.verify = (struct txn_verify){
		.transactional_id = req.transactional_id,
		.producer_id = req.producer_id,
		.producer_epoch = req.producer_epoch,
		.topic = sl_str_from(OFFSETS),
		.partition = offsets_partition(),
		.is_add = m->version >= 5,
	};
	/* The offsets go without waiting for the transaction: a marker may come before them. */
	if (world_plant == WORLD_offsets_overtaken)
		commit_offsets(w, handle);
	else
		txn_do(w, &ev);
}

static void fetch_offsets(struct txn_world *w, const struct msg *m, uint64_t handle)
{
	struct group_event ev = {
		.type = GROUP_EV_REQUEST,
		.handle = handle,
		.api_key = m->api_key,
		.version = m->version,
		.client_id = sl_str_from("c"),
		.client_host = sl_str_from("/127.0.0.1"),
		.body = {m->bytes, m->len},
	};

	group_do(w, &ev);
}

void control_request(struct txn_world *w, const struct msg *m)
{
	const struct handle h = {.client = m->client,
	                         .number = m->number,
	                         .api_key = m->api_key,
	                         .version = m->version};
	struct txn_event ev = {
		.type = TXN_EV_REQUEST,
		.api_key = m->api_key,
		.version = m->version,
		.body = {m->bytes, m->len},
	};

	if (!w->is_up)
		return;
	if (m->api_key == SL_API_TXN_OFFSET_COMMIT) {
		take_commit(w, m);
		return;
	}
	ev.handle = new_handle(w, &h);
	if (m->api_key == SL_API_OFFSET_FETCH)
		fetch_offsets(w, m, ev.handle);
	else
		txn_do(w, &ev);
}

void control_verify(struct txn_world *w, const struct msg *m)
{
	const struct handle h = {.is_lane = true, .lane_cookie = m->cookie};
	const struct producer *k = &w->producers[m->client];
	struct txn_event ev = {.type = TXN_EV_VERIFY};

	ev.handle = new_handle(w, &h);
	ev.verify = (struct txn_verify){
		.transactional_id = sl_str_from(k->id),
		.producer_id = m->pid,
		.producer_epoch = m->epoch,
		.topic = sl_str_from(TOPIC),
		.partition = m->partition,
		.is_add = m->is_add,
	};
	txn_do(w, &ev);
}

void control_appended(struct txn_world *w, const struct msg *m)
{
	struct txn_event ev = {.type = TXN_EV_APPENDED, .cookie = m->cookie, .kerr = m->kerr};
	struct group_event gev = {.type = GROUP_EV_APPENDED,
	                          .cookie = m->cookie,
	                          .kerr = m->kerr,
	                          .base_offset = (int64_t)m->number};

	if (m->source == FROM_GROUP) {
		group_do(w, &gev);
		return;
	}
	if (m->source == FROM_MARK)
		ev.type = TXN_EV_MARKED;
	txn_do(w, &ev);
}

/* ---- Loss and loading ---- */

void drop_waiting(struct txn_world *w)
{
	for (uint32_t i = 0; i < w->handles_count; i++) {
		free(w->handles[i].body);
		w->handles[i].body = NULL;
		w->handles[i].is_used = false;
	}
	for (uint32_t i = 0; i < w->helds_count; i++)
		w->helds[i].is_used = false;
}

/* What is in the ring to the lanes may still be done by them, although nobody hears of it. */
static void finish_ring(struct txn_world *w)
{
	for (uint32_t i = 0; i < w->heap_count; i++) {
		struct msg *m = w->heap[i];

		/* In any order of the heap: only what is independent of the order. */
		if (m->kind == MSG_APPEND && m->life == w->life && m->source == FROM_MARK)
			(void)lane_mark(w, m->partition, &m->marker);
	}
}

void begin_loading(struct txn_world *w)
{
	for (int32_t i = 0; i < TXN_PARTS + GROUP_PARTS; i++) {
		struct msg m = {.kind = MSG_LOAD, .partition = i, .life = w->life};
		struct txn_event ev = {.type = TXN_EV_LOAD_BEGIN, .partition = i};
		struct group_event gev = {.type = GROUP_EV_LOAD_BEGIN, .partition = i - TXN_PARTS};

		if (i < TXN_PARTS)
			txn_do(w, &ev);
		else
			group_do(w, &gev);
		push(w, &m, w->now_ms + 1 + pick(w, 100));
	}
	w->is_up = true;
}

void control_load(struct txn_world *w, int32_t i)
{
	const struct blob *b = i < TXN_PARTS ? &w->txn_log[i] : &w->group_log[i - TXN_PARTS];
	size_t len = world_plant == WORLD_record_forgotten && i < TXN_PARTS ? b->last_pos : b->len;
	struct txn_event ev = {.type = TXN_EV_LOAD_BATCHES, .partition = i};
	struct group_event gev = {.type = GROUP_EV_LOAD_BATCHES, .partition = i - TXN_PARTS};

	ev.batches = gev.batches = (struct sl_bytes){b->bytes, (int32_t)len};
	if (i < TXN_PARTS) {
		txn_do(w, &ev);
		ev.type = TXN_EV_LOAD_END;
		txn_do(w, &ev);
	} else {
		group_do(w, &gev);
		gev.type = GROUP_EV_LOAD_END;
		/* Looked at as soon as it is there. */
		w->is_group_loaded |= gev.partition == offsets_partition();
		group_do(w, &gev);
	}
}

static void count(struct txn_world *w)
{
	const char *name;
	uint64_t value;

	for (uint32_t i = 0; (name = txn_counter(w->txn, i, &value)) != NULL; i++) {
		if (strcmp(name, "producers_rotated") == 0)
			w->stats->rotated += value;
	}
	for (uint32_t i = 0; (name = group_counter(w->members.coord, i, &value)) != NULL; i++) {
		if (strcmp(name, "consumer_upgrades") == 0)
			w->stats->upgrades += value;
		else if (strcmp(name, "consumer_downgrades") == 0)
			w->stats->downgrades += value;
	}
}

/* The data plane, or the control process, is killed. */
void lose(struct txn_world *w, bool is_control)
{
	world_trace(&w->members, "the %s is lost", is_control ? "control process" : "data plane");
	count(w);
	w->stats->restarts++;
	w->has_restarted = true;
	if (is_control && pick(w, 2))
		finish_ring(w);
	drop_waiting(w);
	w->life++;
	w->lane_at_ms = w->now_ms;
	w->ctrl_at_ms = w->now_ms;
	txn_destroy(w->txn);
	w->is_up = false;
	w->is_group_loaded = false;
	network_lose(&w->members);
	group_destroy(w->members.coord);
	make_coordinators(w);
}

void fault(struct txn_world *w)
{
	struct msg m = {.kind = MSG_FAULT};

	if (w->is_healed)
		return;
	if (!w->is_up) {
		begin_loading(w);
	} else {
		switch (pick(w, 6)) {
		case 0:
		case 1:
			lose(w, false);
			break;
		case 2:
		case 3:
			lose(w, true);
			break;
		case 4:
			w->wall_shift_ms += pick(w, 7200000) - 3600000;
			break;
		default:
			break;
		}
	}
	/* Members need a while to find to each other again. */
	push(w, &m,
	     w->now_ms + (w->is_up ? 100 + pick(w, w->has_members ? 4000 : 1500) : pick(w, 200)));
}
