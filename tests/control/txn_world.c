/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread, one virtual clock, one heap of messages.  The rings to the lanes and back keep their
 * order, as the real ones do; client connections do not, as after a reconnect.
 *
 * Clients of the newer flow may have a request arrive after they have sent it again; those of the
 * older one may not, because that flow cannot tell such a request from the next transaction's.
 */
#include "txn_world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "group/group.h"
#include "sluice/base/arena.h"
#include "sluice/base/assert.h"
#include "sluice/base/hash.h"
#include "sluice/wire/add_offsets_to_txn_gen.h"
#include "sluice/wire/add_partitions_to_txn_gen.h"
#include "sluice/wire/apis.h"
#include "sluice/wire/batch.h"
#include "sluice/wire/end_txn_gen.h"
#include "sluice/wire/init_producer_id_gen.h"
#include "sluice/wire/offset_commit_key_gen.h"
#include "sluice/wire/offset_commit_value_gen.h"
#include "sluice/wire/transaction_log_key_gen.h"
#include "sluice/wire/transaction_log_value_gen.h"
#include "sluice/wire/txn_offset_commit_gen.h"
#include "txn/txn.h"

#define CLIENTS      5
#define IDS          4 /* transactional ids; the last client shares the first one's */
#define TXN_PARTS    2
#define GROUP_PARTS  2
#define DATA_PARTS   3
#define PIDS_MAX     256
#define RECORDS_MAX  4096
#define TXNS_MAX     1024
#define LIFE_MS      12000
#define TIMEOUT_MS   1500 /* of a transaction */
#define PATIENCE_MS  300  /* of a client for an answer */
#define EVENTS_MAX   40000
#define TOLD_MAX     1024
#define WALL_BASE    INT64_C(1700000000000)
#define GROUP        "g"
#define TOPIC        "t"
#define OFFSETS      "__consumer_offsets"
#define ARENA_BYTES  (UINT64_C(4) << 20)

enum msg_kind {
	MSG_REQUEST = 0, /* client -> control */
	MSG_PRODUCE,     /* client -> lane */
	MSG_RESPONSE,    /* -> client */
	MSG_WAKE,        /* of a client */
	MSG_APPEND,      /* control -> lane */
	MSG_VERIFIED,    /* control -> lane */
	MSG_APPENDED,    /* lane -> control */
	MSG_VERIFY,      /* lane -> control */
	MSG_MARKED,      /* within control, after the present step */
	MSG_IDS,         /* producer ids are durable */
	MSG_LOAD,        /* a partition has been read */
	MSG_FAULT,
};

enum source {
	FROM_TXN = 0,
	FROM_GROUP,
	FROM_MARK, /* the transaction coordinator's markers */
};

struct msg {
	int64_t at_ms;
	uint64_t order;
	enum msg_kind kind;
	uint64_t life; /* of the link; 0: of no matter */
	enum source source;
	int32_t client;
	uint64_t number; /* of the client's request */
	uint64_t cookie;
	int32_t partition;
	enum sl_kerr kerr;
	int16_t api_key;
	int16_t version;
	struct sl_txn_end marker;
	/* PRODUCE, VERIFY, VERIFIED */
	int64_t pid;
	int16_t epoch;
	bool is_add;
	uint32_t record;
	void *bytes; /* Owned. */
	int32_t len;
};

enum op {
	OP_INIT = 0,
	OP_ADD,
	OP_PRODUCE,
	OP_ADD_OFFSETS,
	OP_COMMIT_OFFSETS,
	OP_END,
};

enum told {
	TOLD_NOTHING = 0,
	TOLD_COMMIT,
	TOLD_ABORT,
};

/* A transaction as its client sees it. */
struct ctxn {
	enum told told;
	bool has_sent_commit;
	bool has_offset; /* acknowledged */
	int32_t client;
	bool is_in[DATA_PARTS];       /* acknowledged */
	uint32_t record[DATA_PARTS];
	int outcome; /* found on the logs: 0 none, 1 commit, 2 abort */
};

struct client {
	int32_t index;
	char id[8];
	bool is_new_flow;
	bool has_producer;
	int64_t pid;
	int16_t epoch;
	struct ctxn *txn; /* NULL: none */
	bool wants_commit;
	bool wants_offsets;
	bool is_wanted[DATA_PARTS];
	bool is_added[DATA_PARTS];
	bool is_offsets_added;
	bool is_ending;
	/* The request that is waited for. */
	enum op op;
	int32_t op_partition;
	uint64_t number;
	bool is_waiting;
	int tries;
};

struct entry {
	int64_t pid;
	int16_t epoch;
	bool is_marker;
	bool is_commit;
	uint32_t record;
};

struct producer_state {
	int64_t pid;
	int16_t epoch;
	bool is_open;
};

struct data_part {
	struct entry *log;
	uint32_t count;
	uint32_t cap;
	struct producer_state states[PIDS_MAX];
	uint32_t states_count;
};

struct blob {
	uint8_t *bytes;
	size_t len;
	size_t cap;
	int64_t next_offset;
	size_t last_pos; /* of the last batch */
};

/* Where an answer goes. */
struct handle {
	int32_t client;
	uint64_t number;
	int16_t api_key;
	int16_t version;
	void *body; /* Owned: a TxnOffsetCommit that waits to be verified */
	int32_t len;
	bool is_lane;
	uint64_t lane_cookie;
	bool is_used;
};

/* A produce that waits for its verification. */
struct held {
	struct msg msg;
	bool is_used;
};

struct world {
	uint64_t rng;
	enum world_bug bug;
	struct world_stats *stats;
	char *text;
	bool has_failed;
	int64_t now_ms;
	int64_t wall_shift_ms;
	struct msg **heap;
	uint32_t heap_count;
	uint32_t heap_cap;
	uint64_t order;
	int64_t lane_at_ms;
	int64_t ctrl_at_ms;
	uint64_t life;
	bool is_up;
	bool is_healed;
	bool has_restarted;
	struct txn_coord *txn;
	struct group_coord *group;
	int64_t txn_next_ms;
	int64_t group_next_ms;
	int64_t ids_next;
	struct blob txn_log[TXN_PARTS];
	struct blob group_log[GROUP_PARTS];
	struct data_part data[DATA_PARTS];
	struct client clients[CLIENTS];
	struct ctxn txns[TXNS_MAX];
	uint32_t txns_count;
	uint32_t records_count;
	uint32_t record_txn[RECORDS_MAX];
	struct handle *handles;
	uint32_t handles_count;
	uint32_t handles_cap;
	struct held *helds;
	uint32_t helds_count;
	uint32_t helds_cap;
	int64_t logged[IDS][2]; /* last producer and epoch of an id on the log */
	int64_t told[TOLD_MAX][2]; /* producers and epochs that InitProducerId gave away */
	uint32_t told_count;
	int64_t decided[PIDS_MAX][3]; /* pid, state, epoch of the last decision on the log */
	uint32_t decided_count;
	struct sl_arena arena;
	uint64_t events;
};

static void fail(struct world *w, const char *fmt, ...) SL_PRINTF(2, 3);

static void fail(struct world *w, const char *fmt, ...)
{
	va_list ap;

	if (w->has_failed)
		return;
	w->has_failed = true;
	va_start(ap, fmt);
	vsnprintf(w->text, WORLD_TEXT_MAX, fmt, ap);
	va_end(ap);
}

static uint64_t rnd(struct world *w)
{
	uint64_t z = (w->rng += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static int64_t pick(struct world *w, int64_t n)
{
	return (int64_t)(rnd(w) % (uint64_t)n);
}

static void *grow(void *p, uint32_t count, uint32_t *cap, size_t bytes)
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

static void push(struct world *w, const struct msg *from, int64_t at_ms)
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

static struct msg *pop(struct world *w)
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

static void *copy_bytes(struct sl_bytes b)
{
	void *p = malloc((size_t)SL_MAX(b.len, 1));

	SL_ASSERT(p);
	if (b.len > 0)
		memcpy(p, b.p, (size_t)b.len);
	return p;
}

/* The rings keep their order. */
static void to_lane(struct world *w, struct msg *m)
{
	m->life = w->life;
	w->lane_at_ms = SL_MAX(w->lane_at_ms, w->now_ms + pick(w, 4));
	push(w, m, w->lane_at_ms);
}

static void to_control(struct world *w, struct msg *m)
{
	m->life = w->life;
	w->ctrl_at_ms = SL_MAX(w->ctrl_at_ms, w->now_ms + pick(w, 4));
	push(w, m, w->ctrl_at_ms);
}

/* An answer may be lost. */
static void to_client(struct world *w, int32_t client, uint64_t number, enum sl_kerr kerr,
                      struct sl_bytes bytes)
{
	struct msg m = {.kind = MSG_RESPONSE, .client = client, .number = number, .kerr = kerr};

	if (!w->is_healed && pick(w, 25) == 0)
		return;
	m.bytes = copy_bytes(bytes);
	m.len = bytes.len;
	push(w, &m, w->now_ms + pick(w, 10));
}

/* ---- Logs ---- */

static int64_t blob_append(struct blob *b, const void *p, int32_t len)
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
static void note_decision(struct world *w, const void *p)
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
	if (v.producer_id < last[0] ||
	    (v.producer_id == last[0] && v.producer_epoch < last[1]))
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
static void check_marker(struct world *w, const struct sl_txn_end *m)
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

static bool has_record(const struct data_part *part, uint32_t record)
{
	for (uint32_t i = 0; i < part->count; i++) {
		if (!part->log[i].is_marker && part->log[i].record == record)
			return true;
	}
	return false;
}

/* ---- Lanes ---- */

static enum sl_kerr lane_mark(struct world *w, int32_t partition, const struct sl_txn_end *m)
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

static void lane_append(struct world *w, const struct msg *m)
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

static void lane_produce(struct world *w, const struct msg *m)
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

static void lane_verified(struct world *w, const struct msg *m)
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

static void make_coordinators(struct world *w)
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
	};

	SL_ASSERT(txn_create(&w->txn, &txn) == 0);
	SL_ASSERT(group_create(&w->group, &group) == 0);
	w->txn_next_ms = INT64_MAX;
	w->group_next_ms = INT64_MAX;
}

static void txn_do(struct world *w, struct txn_event *ev);

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

static void group_do(struct world *w, struct group_event *ev)
{
	struct group_actions out;

	ev->now_ms = w->now_ms;
	ev->wall_ms = WALL_BASE + w->now_ms + w->wall_shift_ms;
	ev->random = rnd(w);
	group_step(w->group, ev, &out);
	w->group_next_ms = out.next_ms;
	for (uint32_t i = 0; i < out.count; i++) {
		const struct group_action *a = &out.list[i];
		struct msg m = {.source = FROM_GROUP, .cookie = a->cookie, .partition = a->partition};

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

static void txn_do(struct world *w, struct txn_event *ev)
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

static void control_request(struct world *w, const struct msg *m)
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

static void control_verify(struct world *w, const struct msg *m)
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

static void control_appended(struct world *w, const struct msg *m)
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

static void drop_waiting(struct world *w)
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

static void begin_loading(struct world *w)
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

static void control_load(struct world *w, int32_t i)
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
static void lose(struct world *w, bool is_control)
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

static void fault(struct world *w)
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

/* ---- Clients ---- */

static void send_request(struct world *w, struct client *k, int16_t key, int16_t version,
                         struct sl_buf *b)
{
	struct msg m = {.kind = MSG_REQUEST,
	                .client = k->index,
	                .number = k->number,
	                .api_key = key,
	                .version = version};

	SL_ASSERT(sl_buf_ok(b));
	if (w->is_healed || pick(w, 25) != 0) {
		/* Now and then very late. */
		bool is_late = k->is_new_flow && !w->is_healed && pick(w, 12) == 0;

		m.bytes = copy_bytes((struct sl_bytes){b->p, (int32_t)b->len});
		m.len = (int32_t)b->len;
		push(w, &m, w->now_ms + 1 + pick(w, is_late ? 3 * PATIENCE_MS : 10));
	}
	sl_buf_fini(b);
}

static void send_init(struct world *w, struct client *k)
{
	struct sl_init_producer_id_req req;
	struct sl_buf b;

	sl_buf_init_grow(&b, 4096);
	sl_init_producer_id_req_init(&req);
	req.transactional_id = sl_str_from(k->id);
	req.transaction_timeout_ms = TIMEOUT_MS;
	req.producer_epoch = -1;
	sl_init_producer_id_req_encode(&req, &b, 4);
	send_request(w, k, SL_API_INIT_PRODUCER_ID, 4, &b);
}

static void send_add(struct world *w, struct client *k)
{
	struct sl_add_partitions_to_txn_req_v3_and_below_topic topic = {sl_str_from(TOPIC),
	                                                                &k->op_partition, 1};
	struct sl_add_partitions_to_txn_req req;
	struct sl_buf b;

	sl_buf_init_grow(&b, 4096);
	sl_add_partitions_to_txn_req_init(&req);
	req.v3_and_below_transactional_id = sl_str_from(k->id);
	req.v3_and_below_producer_id = k->pid;
	req.v3_and_below_producer_epoch = k->epoch;
	req.v3_and_below_topics = &topic;
	req.v3_and_below_topics_count = 1;
	sl_add_partitions_to_txn_req_encode(&req, &b, 3);
	send_request(w, k, SL_API_ADD_PARTITIONS_TO_TXN, 3, &b);
}

static void send_add_offsets(struct world *w, struct client *k)
{
	const struct sl_add_offsets_to_txn_req req = {sl_str_from(k->id), k->pid, k->epoch,
	                                              sl_str_from(GROUP)};
	struct sl_buf b;

	sl_buf_init_grow(&b, 4096);
	sl_add_offsets_to_txn_req_encode(&req, &b, 3);
	send_request(w, k, SL_API_ADD_OFFSETS_TO_TXN, 3, &b);
}

/* The offset is the number of the transaction; the partition that of the id. */
static void send_offsets(struct world *w, struct client *k)
{
	int16_t version = k->is_new_flow ? 5 : 3;
	struct sl_txn_offset_commit_req_topic_partition part;
	struct sl_txn_offset_commit_req_topic topic;
	struct sl_txn_offset_commit_req req;
	struct sl_buf b;

	sl_buf_init_grow(&b, 4096);
	sl_txn_offset_commit_req_init(&req);
	sl_txn_offset_commit_req_topic_init(&topic);
	sl_txn_offset_commit_req_topic_partition_init(&part);
	part.partition_index = k->index % IDS;
	part.committed_offset = k->txn - w->txns;
	topic.name = sl_str_from(TOPIC);
	topic.partitions = &part;
	topic.partitions_count = 1;
	req.transactional_id = sl_str_from(k->id);
	req.group_id = sl_str_from(GROUP);
	req.producer_id = k->pid;
	req.producer_epoch = k->epoch;
	req.topics = &topic;
	req.topics_count = 1;
	sl_txn_offset_commit_req_encode(&req, &b, version);
	send_request(w, k, SL_API_TXN_OFFSET_COMMIT, version, &b);
}

static void send_end(struct world *w, struct client *k)
{
	const struct sl_end_txn_req req = {sl_str_from(k->id), k->pid, k->epoch, k->wants_commit};
	int16_t version = k->is_new_flow ? 5 : 3;
	struct sl_buf b;

	k->txn->has_sent_commit |= k->wants_commit;
	sl_buf_init_grow(&b, 4096);
	sl_end_txn_req_encode(&req, &b, version);
	send_request(w, k, SL_API_END_TXN, version, &b);
}

static void send_record(struct world *w, struct client *k)
{
	bool is_late = k->is_new_flow && !w->is_healed && pick(w, 12) == 0;
	struct msg m = {.kind = MSG_PRODUCE,
	                .client = k->index,
	                .number = k->number,
	                .partition = k->op_partition,
	                .pid = k->pid,
	                .epoch = k->epoch,
	                .is_add = k->is_new_flow,
	                .record = k->txn->record[k->op_partition]};

	if (w->is_healed || pick(w, 25) != 0)
		push(w, &m, w->now_ms + 1 + pick(w, is_late ? 3 * PATIENCE_MS : 10));
}

static void send_op(struct world *w, struct client *k)
{
	struct msg wake = {.kind = MSG_WAKE, .client = k->index};

	k->number++;
	k->is_waiting = true;
	wake.number = k->number;
	switch (k->op) {
	case OP_INIT:
		send_init(w, k);
		break;
	case OP_ADD:
		send_add(w, k);
		break;
	case OP_PRODUCE:
		send_record(w, k);
		break;
	case OP_ADD_OFFSETS:
		send_add_offsets(w, k);
		break;
	case OP_COMMIT_OFFSETS:
		send_offsets(w, k);
		break;
	case OP_END:
		send_end(w, k);
		break;
	}
	push(w, &wake, w->now_ms + PATIENCE_MS);
}

static void forget_txn(struct world *w, struct client *k)
{
	if (k->txn && k->txn->told == TOLD_NOTHING)
		w->stats->unknown++;
	k->txn = NULL;
	k->is_ending = false;
}

static void begin_txn(struct world *w, struct client *k)
{
	SL_ASSERT(w->txns_count < TXNS_MAX);
	k->txn = &w->txns[w->txns_count++];
	*k->txn = (struct ctxn){.client = k->index};
	k->wants_commit = pick(w, 3) != 0;
	k->wants_offsets = pick(w, 2);
	k->is_offsets_added = false;
	for (int32_t i = 0; i < DATA_PARTS; i++) {
		k->is_wanted[i] = pick(w, 2);
		k->is_added[i] = false;
		SL_ASSERT(w->records_count < RECORDS_MAX);
		k->txn->record[i] = w->records_count;
		w->record_txn[w->records_count++] = (uint32_t)(k->txn - w->txns);
	}
	k->is_wanted[pick(w, DATA_PARTS)] = true;
}

/* What the client does next. */
static void choose(struct world *w, struct client *k)
{
	k->tries = 0;
	k->op = OP_INIT;
	if (!k->has_producer)
		return;
	if (!k->txn)
		begin_txn(w, k);
	for (int32_t i = 0; i < DATA_PARTS && !k->is_ending; i++) {
		if (!k->is_wanted[i] || k->txn->is_in[i])
			continue;
		k->op = k->is_new_flow || k->is_added[i] ? OP_PRODUCE : OP_ADD;
		k->op_partition = i;
		return;
	}
	k->op = OP_END;
	if (k->wants_offsets && !k->txn->has_offset && !k->is_ending)
		k->op = k->is_new_flow || k->is_offsets_added ? OP_COMMIT_OFFSETS : OP_ADD_OFFSETS;
	else
		k->is_ending = true;
}

static void go_on(struct world *w, struct client *k, int64_t delay_ms)
{
	struct msg wake = {.kind = MSG_WAKE, .client = k->index};

	k->is_waiting = false;
	wake.number = k->number;
	push(w, &wake, w->now_ms + delay_ms);
}

static void give_up(struct world *w, struct client *k)
{
	forget_txn(w, k);
	k->has_producer = false;
	choose(w, k);
	go_on(w, k, 20 + pick(w, 100));
}

static void client_wake(struct world *w, struct client *k, uint64_t number)
{
	if (number != k->number || w->is_healed)
		return;
	/* In vain. */
	if (k->is_waiting && (++k->tries > 8 || pick(w, 40) == 0)) {
		give_up(w, k);
		return;
	}
	if (k->is_waiting && !k->is_new_flow) {
		/* The old request is dead before the new one is sent. */
		for (uint32_t i = 0; i < w->heap_count; i++) {
			struct msg *m = w->heap[i];

			if ((m->kind == MSG_REQUEST || m->kind == MSG_PRODUCE) &&
			    m->client == k->index)
				m->client = -1;
		}
	}
	send_op(w, k);
}

static bool is_retriable(enum sl_kerr kerr)
{
	return kerr == SL_KERR_CONCURRENT_TRANSACTIONS || kerr == SL_KERR_NOT_COORDINATOR ||
	       kerr == SL_KERR_COORDINATOR_LOAD_IN_PROGRESS ||
	       kerr == SL_KERR_COORDINATOR_NOT_AVAILABLE || kerr == SL_KERR_NOT_ENOUGH_REPLICAS;
}

static void see_init(struct world *w, struct client *k, int64_t pid, int16_t epoch)
{
	/* Answers may overtake each other, but no two are the same. */
	for (uint32_t i = 0; i < w->told_count; i++) {
		if (w->told[i][0] == pid && w->told[i][1] == epoch)
			fail(w, "id %s: producer %lld epoch %d is given twice", k->id,
			     (long long)pid, epoch);
	}
	SL_ASSERT(w->told_count < TOLD_MAX);
	w->told[w->told_count][0] = pid;
	w->told[w->told_count++][1] = epoch;
	k->pid = pid;
	k->epoch = epoch;
	k->has_producer = true;
}

static void see_end(struct world *w, struct client *k, int64_t pid, int16_t epoch)
{
	k->txn->told = k->wants_commit ? TOLD_COMMIT : TOLD_ABORT;
	if (k->wants_commit)
		w->stats->told_commit++;
	else
		w->stats->told_abort++;
	if (k->is_new_flow) {
		if (pid == k->pid && epoch <= k->epoch)
			fail(w, "id %s: epoch %d after %d", k->id, epoch, k->epoch);
		k->pid = pid;
		k->epoch = epoch;
	}
	forget_txn(w, k);
}

/* The error; what is told besides. */
static enum sl_kerr decode(struct world *w, struct client *k, const struct msg *m, int64_t *pid,
                           int16_t *epoch)
{
	static const int16_t keys[] = {SL_API_INIT_PRODUCER_ID,   SL_API_ADD_PARTITIONS_TO_TXN, 0,
	                               SL_API_ADD_OFFSETS_TO_TXN, SL_API_TXN_OFFSET_COMMIT,
	                               SL_API_END_TXN};
	int16_t version = k->op == OP_INIT ? 4 : k->is_new_flow ? 5 : 3;
	struct sl_cursor c = sl_cursor_from(m->bytes, (size_t)SL_MAX(m->len, 0));
	struct sl_add_partitions_to_txn_resp add;
	struct sl_add_offsets_to_txn_resp add_offsets;
	struct sl_txn_offset_commit_resp offsets;
	struct sl_init_producer_id_resp init;
	struct sl_end_txn_resp end;
	int32_t correlation_id;

	if (m->len <= 0)
		return m->kerr;
	sl_arena_reset(&w->arena);
	SL_ASSERT(sl_response_head_decode(&c, sl_api_find(keys[k->op]), version,
	                                  &correlation_id) == 0);
	switch (k->op) {
	case OP_INIT:
		SL_ASSERT(sl_init_producer_id_resp_decode(&init, &c, &w->arena, version) == 0);
		*pid = init.producer_id;
		*epoch = init.producer_epoch;
		return (enum sl_kerr)init.error_code;
	case OP_ADD:
		SL_ASSERT(sl_add_partitions_to_txn_resp_decode(&add, &c, &w->arena, version) == 0);
		return (enum sl_kerr)add.results_by_topic_v3_and_below[0]
			.results_by_partition[0]
			.partition_error_code;
	case OP_ADD_OFFSETS:
		SL_ASSERT(sl_add_offsets_to_txn_resp_decode(&add_offsets, &c, &w->arena, version) ==
		          0);
		return (enum sl_kerr)add_offsets.error_code;
	case OP_COMMIT_OFFSETS:
		SL_ASSERT(sl_txn_offset_commit_resp_decode(&offsets, &c, &w->arena, version) == 0);
		return (enum sl_kerr)offsets.topics[0].partitions[0].error_code;
	case OP_PRODUCE:
		break;
	case OP_END:
		SL_ASSERT(sl_end_txn_resp_decode(&end, &c, &w->arena, version) == 0);
		*pid = end.producer_id;
		*epoch = end.producer_epoch;
		return (enum sl_kerr)end.error_code;
	}
	return m->kerr;
}

static void see_success(struct world *w, struct client *k, int64_t pid, int16_t epoch)
{
	switch (k->op) {
	case OP_INIT:
		if (w->bug == WORLD_EPOCHS_GO_BACK && epoch > 0 && pick(w, 4) == 0)
			epoch--;
		see_init(w, k, pid, epoch);
		break;
	case OP_ADD:
		k->is_added[k->op_partition] = true;
		break;
	case OP_PRODUCE:
		k->txn->is_in[k->op_partition] = true;
		w->stats->records++;
		break;
	case OP_ADD_OFFSETS:
		k->is_offsets_added = true;
		break;
	case OP_COMMIT_OFFSETS:
		k->txn->has_offset = true;
		w->stats->offsets++;
		break;
	case OP_END:
		see_end(w, k, pid, epoch);
		break;
	}
}

static void client_response(struct world *w, const struct msg *m)
{
	struct client *k = &w->clients[m->client];
	int64_t pid = -1;
	int16_t epoch = -1;
	enum sl_kerr kerr;

	if (m->number != k->number || !k->is_waiting)
		return;
	kerr = decode(w, k, m, &pid, &epoch);
	if (is_retriable(kerr)) {
		go_on(w, k, 5 + pick(w, 30));
		return;
	}
	if (kerr == SL_KERR_NONE) {
		see_success(w, k, pid, epoch);
		choose(w, k);
		go_on(w, k, pick(w, 30));
		return;
	}
	if (kerr == SL_KERR_TRANSACTION_ABORTABLE && k->txn && !k->is_ending) {
		k->wants_commit = false;
		k->is_ending = true;
		choose(w, k);
		go_on(w, k, 1);
		return;
	}
	w->stats->fenced++;
	give_up(w, k);
}

/* ---- The world goes on ---- */

static void run_ticks(struct world *w, int64_t until_ms)
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

static void deliver(struct world *w, const struct msg *m)
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
		client_response(w, m);
		break;
	case MSG_WAKE:
		client_wake(w, &w->clients[m->client], m->number);
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
		ev = (struct txn_event){.type = TXN_EV_PRODUCER_IDS,
		                        .ids_first = w->ids_next,
		                        .ids_count = 4};
		w->ids_next += 4;
		txn_do(w, &ev);
		break;
	case MSG_LOAD:
		control_load(w, m->partition);
		break;
	case MSG_FAULT:
		fault(w);
		break;
	}
}

static void run_until(struct world *w, int64_t end_ms)
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

/* ---- What must hold ---- */

static void check_outcome(struct world *w, struct ctxn *t, bool is_commit, const char *where,
                          int32_t number)
{
	int outcome = is_commit ? 1 : 2;
	int index = (int)(t - w->txns);

	if (t->outcome != 0 && t->outcome != outcome)
		fail(w, "transaction %d: committed in one place, aborted in another (%s-%d)", index,
		     where, number);
	t->outcome = outcome;
	if (is_commit && !t->has_sent_commit)
		fail(w, "transaction %d: committed although nobody asked for it", index);
	if (is_commit && t->told == TOLD_ABORT)
		fail(w, "transaction %d: visible although its client was told it aborted", index);
	if (!is_commit && t->told == TOLD_COMMIT)
		fail(w, "transaction %d: lost although its client was told it committed (%s-%d)",
		     index, where, number);
}

static void check_partition(struct world *w, int32_t number)
{
	struct data_part *part = &w->data[number];

	for (uint32_t i = 0; i < part->count; i++) {
		const struct entry *e = &part->log[i];
		uint32_t k = i + 1;

		while (k < part->count && part->log[k].pid != e->pid)
			k++;
		if (k < part->count && part->log[k].epoch < e->epoch)
			fail(w, "t-%d: the epoch of producer %lld goes back", number,
			     (long long)e->pid);
		if (e->is_marker)
			continue;
		while (k < part->count && (part->log[k].pid != e->pid || !part->log[k].is_marker))
			k++;
		if (k == part->count)
			fail(w, "t-%d: the transaction of producer %lld hangs", number,
			     (long long)e->pid);
		else
			check_outcome(w, &w->txns[w->record_txn[e->record]],
			              part->log[k].is_commit, TOPIC, number);
	}
}

static void check_acknowledged(struct world *w)
{
	for (uint32_t i = 0; i < w->txns_count; i++) {
		const struct ctxn *t = &w->txns[i];

		for (int32_t p = 0; p < DATA_PARTS; p++) {
			if (t->is_in[p] && !has_record(&w->data[p], t->record[p]))
				fail(w, "transaction %u: an acknowledged record is not in t-%d", i, p);
		}
	}
}

/* The offsets of open transactions, as the log's reader finds them. */
struct reader {
	int64_t pending[PIDS_MAX][3]; /* pid, partition, offset */
	uint32_t count;
	int64_t committed[IDS];
	int64_t place[IDS]; /* on the log */
	int64_t pending_place[PIDS_MAX];
};

static void read_marker(struct world *w, struct reader *r, const struct sl_txn_end *m)
{
	for (uint32_t i = 0; i < r->count;) {
		int64_t partition = r->pending[i][1];
		int64_t offset = r->pending[i][2];

		if (r->pending[i][0] != m->producer_id) {
			i++;
			continue;
		}
		check_outcome(w, &w->txns[offset], m->is_commit, OFFSETS, (int32_t)partition);
		if (m->is_commit && r->pending_place[i] > r->place[partition]) {
			r->place[partition] = r->pending_place[i];
			r->committed[partition] = offset;
		}
		r->count--;
		memcpy(r->pending[i], r->pending[r->count], sizeof(r->pending[i]));
		r->pending_place[i] = r->pending_place[r->count];
	}
}

static void read_offset(struct world *w, struct reader *r, const struct sl_batch_head *h,
                        const struct sl_record *rec)
{
	struct sl_cursor key = sl_cursor_from(rec->key.p, (size_t)rec->key.len);
	struct sl_cursor value = sl_cursor_from(rec->value.p, (size_t)rec->value.len);
	struct sl_offset_commit_value v;
	struct sl_offset_commit_key k;
	int16_t version;

	(void)sl_cursor_i16(&key);
	version = sl_cursor_i16(&value);
	SL_ASSERT(sl_offset_commit_key_decode(&k, &key, &w->arena, 0) == 0);
	SL_ASSERT(sl_offset_commit_value_decode(&v, &value, &w->arena, version) == 0);
	SL_ASSERT(r->count < PIDS_MAX);
	r->pending[r->count][0] = h->producer_id;
	r->pending[r->count][1] = k.partition;
	r->pending[r->count][2] = v.offset;
	r->pending_place[r->count++] = rec->offset;
}

static void read_log(struct world *w, struct reader *r, const struct blob *b)
{
	size_t pos = 0;

	while (pos < b->len) {
		struct sl_txn_end marker;
		struct sl_record_iter it;
		struct sl_batch_head h;
		struct sl_record rec;

		SL_ASSERT(sl_batch_peek(b->bytes + pos, b->len - pos, &h) == 0);
		sl_arena_reset(&w->arena);
		if (sl_batch_is_control(&h)) {
			SL_ASSERT(sl_txn_end_decode(&marker, b->bytes + pos, &h) == 1);
			read_marker(w, r, &marker);
		} else {
			SL_ASSERT(sl_record_iter_init(&it, b->bytes + pos, &h, NULL, NULL) == 0);
			while (sl_record_iter_next(&it, &rec) == 1)
				read_offset(w, r, &h, &rec);
		}
		pos += sl_batch_bytes(&h);
	}
}

static int64_t offset_of(struct world *w, int32_t partition)
{
	struct group_offset_view v;
	uint32_t pos = 0;

	while (group_next_offset(w->group, sl_str_from(GROUP), &pos, &v)) {
		if (v.partition == partition)
			return v.offset;
	}
	return -1;
}

static void check_offsets(struct world *w, const char *when)
{
	struct reader *r = calloc(1, sizeof(*r));

	SL_ASSERT(r);
	for (int32_t i = 0; i < IDS; i++)
		r->committed[i] = r->place[i] = -1;
	for (int32_t i = 0; i < GROUP_PARTS; i++)
		read_log(w, r, &w->group_log[i]);
	if (r->count > 0)
		fail(w, "offsets of producer %lld are pending for ever", (long long)r->pending[0][0]);
	for (int32_t i = 0; i < IDS; i++) {
		if (offset_of(w, i) != r->committed[i])
			fail(w, "%s: offset %lld of partition %d, the log says %lld", when,
			     (long long)offset_of(w, i), i, (long long)r->committed[i]);
	}
	free(r);
}

static void check_finished(struct world *w)
{
	struct txn_gauges g;

	txn_gauges(w->txn, &g);
	if (g.ongoing || g.preparing || g.markers_queued || g.markers_in_flight || g.held)
		fail(w, "not finished: %u ongoing, %u prepared, %u + %u markers, %u held", g.ongoing,
		     g.preparing, g.markers_queued, g.markers_in_flight, g.held);
}

static void check_all(struct world *w)
{
	check_finished(w);
	for (int32_t i = 0; i < DATA_PARTS; i++)
		check_partition(w, i);
	check_acknowledged(w);
	check_offsets(w, "in memory");
	/* A coordinator made of the log knows the same. */
	lose(w, true);
	begin_loading(w);
	run_until(w, w->now_ms + 1000);
	check_offsets(w, "after a restart");
	check_finished(w);
}

/* ---- Life ---- */

/* Ids whose producers have few epochs left, as another coordinator left them. */
static void write_old_ids(struct world *w)
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
		sl_batch_add(&builder, WALL_BASE, (struct sl_bytes){bufs[0].p, (int32_t)bufs[0].len},
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

static struct world *make(uint64_t seed, enum world_bug bug, struct world_stats *stats, char *text)
{
	struct world *w = calloc(1, sizeof(*w));
	struct msg m = {.kind = MSG_FAULT};

	SL_ASSERT(w && sl_arena_create(&w->arena, ARENA_BYTES) == 0);
	w->rng = seed;
	w->bug = bug;
	w->stats = stats;
	w->text = text;
	w->life = 1;
	w->now_ms = 1;
	for (int32_t i = 0; i < IDS; i++)
		w->logged[i][0] = w->logged[i][1] = -1;
	make_coordinators(w);
	if (pick(w, 2))
		write_old_ids(w);
	begin_loading(w);
	push(w, &m, 500 + pick(w, 2000));
	for (int32_t i = 0; i < CLIENTS; i++) {
		struct client *k = &w->clients[i];

		k->index = i;
		snprintf(k->id, sizeof(k->id), "tx%d", i % IDS);
		k->is_new_flow = i % 2 == 0;
		choose(w, k);
		/* The one that shares an id comes later. */
		go_on(w, k, i < IDS ? pick(w, 100) : 2000 + pick(w, 6000));
	}
	return w;
}

static void destroy(struct world *w)
{
	drop_waiting(w);
	while (w->heap_count > 0) {
		struct msg *m = pop(w);

		free(m->bytes);
		free(m);
	}
	txn_destroy(w->txn);
	group_destroy(w->group);
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

bool world_run(uint64_t seed, enum world_bug bug, struct world_stats *stats,
               char text[WORLD_TEXT_MAX])
{
	struct world *w = make(seed, bug, stats, text);
	bool is_sound;

	text[0] = '\0';
	run_until(w, LIFE_MS);
	/* Everything works from here on and nobody asks for more: what is open must come to an end.
	 */
	w->is_healed = true;
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
