/* SPDX-License-Identifier: Apache-2.0 */
/* The lanes with their partitions, and the control process around the coordinators. */
#include "txn_world_parts.h"

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
void note_decision(struct world *w, const void *p)
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
static void check_marker(struct world *w, const struct sl_txn_marker *m)
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

static enum sl_kerr lane_mark(struct world *w, int32_t partition, const struct sl_txn_marker *m)
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

void lane_append(struct world *w, const struct msg *m)
{
	struct msg done = {.kind = MSG_APPENDED, .source = m->source, .cookie = m->cookie};
	bool is_refused = !w->is_healed && pick(w, 30) == 0;

	if (is_refused) {
		w->stats->refused++;
		done.kerr = pick(w, 2) ? SL_KERR_KAFKA_STORAGE_ERROR : SL_KERR_NOT_ENOUGH_REPLICAS;
	} else if (m->source == FROM_MARK) {
		if (w->bug == WORLD_MARKER_NOT_WRITTEN && pick(w, 20) == 0)
			done.kerr = SL_KERR_NONE;
		else
			done.kerr = lane_mark(w, m->partition, &m->marker);
	} else if (m->source == FROM_GROUP) {
		done.number = (uint64_t)blob_append(&w->group_log[m->partition], m->bytes, m->len);
	} else if (w->bug != WORLD_RECORD_NOT_WRITTEN || pick(w, 30) != 0) {
		(void)blob_append(&w->txn_log[m->partition], m->bytes, m->len);
		note_decision(w, m->bytes);
	}
	to_control(w, &done);
}

static void lane_store(struct world *w, const struct msg *m)
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

void lane_produce(struct world *w, const struct msg *m)
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

void lane_verified(struct world *w, const struct msg *m)
{
	struct held *h = &w->helds[m->cookie];
	struct data_part *part = &w->data[h->msg.partition];
	enum sl_kerr kerr = m->kerr;

	if (!h->is_used)
		return;
	h->is_used = false;
	if (w->bug == WORLD_EVERYTHING_VERIFIED)
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

static bool has_partition(void *ctx, struct sl_str topic, int32_t partition)
{
	(void)ctx;
	if (sl_str_eq_c(topic, OFFSETS))
		return partition >= 0 && partition < GROUP_PARTS;
	/* Offsets are committed for a partition of each id. */
	return sl_str_eq_c(topic, TOPIC) && partition >= 0 && partition < SL_MAX(DATA_PARTS, IDS);
}

static bool topic_name(void *ctx, const struct sl_uuid *id, struct sl_str *name)
{
	(void)ctx;
	(void)id;
	(void)name;
	return false;
}

static bool topic_id(void *ctx, struct sl_str name, struct sl_uuid *id)
{
	(void)ctx;
	(void)name;
	(void)id;
	return false;
}

static int32_t topic_partitions(void *ctx, struct sl_str topic)
{
	(void)ctx;
	(void)topic;
	return 0;
}

static bool topic_next(void *ctx, uint32_t *pos, struct sl_str *name)
{
	(void)ctx;
	(void)pos;
	(void)name;
	return false;
}

void make_coordinators(struct world *w)
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
	const struct group_opts group = {
		.partitions_count = GROUP_PARTS,
		.session_timeout_min_ms = 1,
		.session_timeout_max_ms = 1000000,
		.offsets_retention_ms = INT64_C(604800000),
		.offsets_retention_check_ms = 600000,
		.offset_metadata_bytes_max = 4096,
		.group_size_max = 10,
		.ctx = w,
		.has_partition = has_partition,
		.topic_name = topic_name,
		.topic_id = topic_id,
		.topic_partitions = topic_partitions,
		.topic_next = topic_next,
		.consumer = {45000, 5000},
		.consumer_size_max = 10,
		.assignors_count = 1,
	};

	SL_ASSERT(txn_create(&w->txn, &txn) == 0);
	SL_ASSERT(group_create(&w->group, &group) == 0);
	w->txn_next_ms = INT64_MAX;
	w->group_next_ms = INT64_MAX;
}

static struct handle *handle_of(struct world *w, uint64_t handle)
{
	SL_ASSERT(handle < w->handles_count && w->handles[handle].is_used);
	return &w->handles[handle];
}

static void answer(struct world *w, uint64_t handle, struct sl_bytes bytes)
{
	struct handle *h = handle_of(w, handle);

	h->is_used = false;
	to_client(w, h->client, h->number, SL_KERR_NONE, bytes);
	free(h->body);
	h->body = NULL;
}

void group_do(struct world *w, struct group_event *ev)
{
	struct group_actions out;

	ev->now_ms = w->now_ms;
	ev->wall_ms = WALL_BASE + w->now_ms + w->wall_shift_ms;
	ev->random = rnd(w);
	group_step(w->group, ev, &out);
	w->group_next_ms = out.next_ms;
	for (uint32_t i = 0; i < out.count; i++) {
		const struct group_action *a = &out.list[i];
		struct msg m = {
			.source = FROM_GROUP, .cookie = a->cookie, .partition = a->partition};

		if (a->type == GROUP_ACT_RESPOND) {
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
}

static void mark_offsets(struct world *w, const struct txn_action *a)
{
	struct group_event ev = {.type = GROUP_EV_MARK,
	                         .partition = a->partition,
	                         .marker = a->marker,
	                         .handle = a->cookie};
	struct msg m = {.kind = MSG_MARKED, .cookie = a->cookie, .life = w->life};

	check_marker(w, &a->marker);
	if (w->bug == WORLD_OFFSETS_MARKER_LOST && pick(w, 8) == 0) {
		push(w, &m, w->now_ms);
		return;
	}
	if (w->bug == WORLD_OFFSETS_MARKER_FLIPPED && pick(w, 8) == 0)
		ev.marker.is_commit = !ev.marker.is_commit;
	group_do(w, &ev);
}

static void mark(struct world *w, const struct txn_action *a)
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
	if (w->bug == WORLD_MARKER_FLIPPED && w->has_restarted && a->partition == 1)
		m.marker.is_commit = !m.marker.is_commit;
	to_lane(w, &m);
}

static void commit_offsets(struct world *w, uint64_t handle)
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

	group_do(w, &ev);
}

static void verified(struct world *w, const struct txn_action *a)
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

static void append_record(struct world *w, const struct txn_action *a)
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
	if (w->bug == WORLD_MARKER_EARLY && pick(w, 10) == 0) {
		m = (struct msg){.kind = MSG_APPENDED, .source = FROM_TXN, .cookie = ev.cookie};
		m.life = w->life;
		push(w, &m, w->now_ms);
	}
}

void txn_do(struct world *w, struct txn_event *ev)
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

static uint64_t new_handle(struct world *w, const struct handle *h)
{
	w->handles = grow(w->handles, w->handles_count, &w->handles_cap, sizeof(*w->handles));
	w->handles[w->handles_count] = *h;
	w->handles[w->handles_count].is_used = true;
	return w->handles_count++;
}

/* As the driver does: the transaction first, then the group. */
static void take_commit(struct world *w, const struct msg *m)
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
	uint64_t handle = new_handle(w, &h);

	sl_arena_reset(&w->arena);
	SL_ASSERT(sl_txn_offset_commit_req_decode(&req, &c, &w->arena, m->version) == 0);
	ev.handle = handle;
	ev.verify = (struct txn_verify){
		.transactional_id = req.transactional_id,
		.producer_id = req.producer_id,
		.producer_epoch = req.producer_epoch,
		.topic = sl_str_from(OFFSETS),
		.partition = sl_java_partition(req.group_id, GROUP_PARTS),
		.is_add = m->version >= 5,
	};
	/* The offsets go without waiting for the transaction: a marker may come before them. */
	if (w->bug == WORLD_OFFSETS_OVERTAKEN)
		commit_offsets(w, handle);
	else
		txn_do(w, &ev);
}

void control_request(struct world *w, const struct msg *m)
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
	txn_do(w, &ev);
}

void control_verify(struct world *w, const struct msg *m)
{
	const struct handle h = {.is_lane = true, .lane_cookie = m->cookie};
	const struct client *k = &w->clients[m->client];
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

void control_appended(struct world *w, const struct msg *m)
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

void drop_waiting(struct world *w)
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
static void finish_ring(struct world *w)
{
	for (uint32_t i = 0; i < w->heap_count; i++) {
		struct msg *m = w->heap[i];

		/* In any order of the heap: only what is independent of the order. */
		if (m->kind == MSG_APPEND && m->life == w->life && m->source == FROM_MARK)
			(void)lane_mark(w, m->partition, &m->marker);
	}
}

void begin_loading(struct world *w)
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

void control_load(struct world *w, int32_t i)
{
	const struct blob *b = i < TXN_PARTS ? &w->txn_log[i] : &w->group_log[i - TXN_PARTS];
	size_t len = w->bug == WORLD_RECORD_FORGOTTEN && i < TXN_PARTS ? b->last_pos : b->len;
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
		group_do(w, &gev);
	}
}

/* The data plane, or the control process, is killed. */
void lose(struct world *w, bool is_control)
{
	uint64_t rotated = 0;

	for (uint32_t i = 0; rotated == 0 && txn_counter(w->txn, i, &rotated); i++) {
		if (strcmp(txn_counter(w->txn, i, &rotated), "producers_rotated") != 0)
			rotated = 0;
	}
	w->stats->rotated += rotated;
	w->stats->restarts++;
	w->has_restarted = true;
	if (is_control && pick(w, 2))
		finish_ring(w);
	drop_waiting(w);
	w->life++;
	w->lane_at_ms = w->now_ms;
	w->ctrl_at_ms = w->now_ms;
	txn_destroy(w->txn);
	group_destroy(w->group);
	make_coordinators(w);
	w->is_up = false;
}

void fault(struct world *w)
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
	push(w, &m, w->now_ms + (w->is_up ? 100 + pick(w, 1500) : pick(w, 200)));
}
