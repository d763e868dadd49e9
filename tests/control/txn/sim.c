/* SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "sluice/base/hash.h"
#include "sluice/wire/batch.h"

#define ARENA_BYTES (UINT64_C(64) << 20)

static void append_to_log(struct sim *s, int32_t partition, const void *p, int32_t len)
{
	struct sim_log *log = &s->logs[partition];
	struct sl_batch_head h;

	if (log->len + (size_t)len > log->cap) {
		log->cap = (log->len + (size_t)len) * 2;
		log->bytes = realloc(log->bytes, log->cap);
		cr_assert(log->bytes);
	}
	memcpy(log->bytes + log->len, p, (size_t)len);
	sl_batch_set_offset(log->bytes + log->len, log->next_offset, 0);
	if (sl_batch_peek(p, (size_t)len, &h) == 0)
		log->next_offset += h.last_offset_delta + 1;
	log->len += (size_t)len;
	s->appended++;
}

static bool has_partition(void *ctx, struct sl_str topic, int32_t partition)
{
	const struct sim *s = ctx;

	if (sl_str_eq_c(topic, "__consumer_offsets"))
		return partition >= 0 && partition < SIM_OFFSETS;
	if (topic.len != 2 || topic.p[0] != 't' || topic.p[1] < '0' || topic.p[1] > '7')
		return false;
	return !s->is_topic_gone[topic.p[1] - '0'] && partition >= 0 && partition < SIM_TOPIC_PARTS;
}

struct txn_opts sim_default_opts(struct sim *s)
{
	return (struct txn_opts){
		.partitions_count = SIM_PARTITIONS,
		.offsets_partitions_count = SIM_OFFSETS,
		.timeout_max_ms = SIM_MAX_MS,
		.id_expiration_ms = SIM_EXPIRY_MS,
		.id_expiration_check_ms = 3600000,
		.abort_check_ms = SIM_ABORT_MS,
		.ctx = s,
		.has_partition = has_partition,
	};
}

void sim_init_opts(struct sim *s, const struct txn_opts *opts)
{
	*s = (struct sim){.now_ms = 1000, .ids_next = 1000, .ids_block = 1000};
	s->opts = opts ? *opts : sim_default_opts(s);
	s->opts.ctx = s;
	cr_assert_eq(txn_create(&s->c, &s->opts), 0);
	cr_assert_eq(sl_arena_create(&s->arena, ARENA_BYTES), 0);
}

void sim_init(struct sim *s)
{
	sim_init_opts(s, NULL);
	sim_load_all(s);
}

void sim_fini(struct sim *s)
{
	txn_destroy(s->c);
	for (uint32_t i = 0; i < s->mails_count; i++)
		free(s->mails[i].bytes);
	for (uint32_t i = 0; i < s->queue_count; i++)
		free(s->queue[i].bytes);
	for (int i = 0; i < SIM_PARTITIONS; i++)
		free(s->logs[i].bytes);
	free(s->mails);
	free(s->queue);
	free(s->marks);
	sl_arena_destroy(&s->arena);
}

static void *grow(void *p, uint32_t count, uint32_t *cap, size_t bytes)
{
	if (count < *cap)
		return p;
	*cap = *cap ? *cap * 2 : 16;
	p = realloc(p, *cap * bytes);
	cr_assert(p);
	return p;
}

static void take_append(struct sim *s, const struct txn_action *a)
{
	struct sl_batch_head h;
	struct sim_batch *b;

	cr_assert_eq(sl_batch_peek(a->bytes.p, (size_t)a->bytes.len, &h), 0);
	cr_assert_eq(sl_batch_bytes(&h), (size_t)a->bytes.len, "one batch, whole");
	cr_assert(sl_batch_check_crc(a->bytes.p, &h));
	s->queue = grow(s->queue, s->queue_count, &s->queue_cap, sizeof(*s->queue));
	b = &s->queue[s->queue_count++];
	*b = (struct sim_batch){a->cookie, a->partition, malloc((size_t)a->bytes.len),
	                        a->bytes.len};
	memcpy(b->bytes, a->bytes.p, (size_t)a->bytes.len);
}

static void take_mark(struct sim *s, const struct txn_action *a)
{
	struct sim_mark *m;

	s->marks = grow(s->marks, s->marks_count, &s->marks_cap, sizeof(*s->marks));
	m = &s->marks[s->marks_count++];
	*m = (struct sim_mark){.cookie = a->cookie, .partition = a->partition, .marker = a->marker};
	snprintf(m->topic, sizeof(m->topic), "%.*s", SL_STR_ARG(a->topic));
	cr_assert_eq(a->marker.coordinator_epoch, SIM_EPOCH);
}

static void take_answer(struct sim *s, const struct txn_action *a)
{
	struct sim_mail *m;

	cr_assert_lt(a->handle, s->mails_count);
	m = &s->mails[a->handle];
	cr_assert_neq(m->state, SIM_ANSWERED, "answered twice");
	cr_assert_neq(m->state, SIM_CLOSED, "answered after it was closed");
	cr_assert_neq(m->state, SIM_CANCELLED, "answered after it was cancelled");
	m->state = a->type == TXN_ACT_CLOSE ? SIM_CLOSED : SIM_ANSWERED;
	if (a->type == TXN_ACT_VERIFIED) {
		cr_assert_eq(m->api_key, 0);
		m->kerr = a->kerr;
	} else if (a->type == TXN_ACT_RESPOND) {
		m->bytes = malloc((size_t)a->bytes.len);
		m->len = a->bytes.len;
		memcpy(m->bytes, a->bytes.p, (size_t)a->bytes.len);
	}
}

static void raw_step(struct sim *s, struct txn_event *ev)
{
	struct txn_actions out;

	ev->now_ms = s->now_ms;
	ev->wall_ms = SIM_WALL_BASE + s->now_ms + s->wall_shift_ms;
	txn_step(s->c, ev, &out);
	s->next_ms = out.next_ms;
	for (uint32_t i = 0; i < out.count; i++) {
		const struct txn_action *a = &out.list[i];

		if (a->type == TXN_ACT_APPEND)
			take_append(s, a);
		else if (a->type == TXN_ACT_MARK)
			take_mark(s, a);
		else if (a->type == TXN_ACT_PRODUCER_IDS)
			s->wants_ids = true;
		else
			take_answer(s, a);
	}
}

/* Until nothing is left that is not held. */
void sim_step(struct sim *s, struct txn_event *ev)
{
	raw_step(s, ev);
	for (;;) {
		uint32_t told = 0;

		if (s->wants_ids && !s->is_holding_ids) {
			sim_give_ids(s, SL_KERR_NONE);
			continue;
		}
		if (s->queue_count > 0 && !s->is_holding) {
			sim_flush(s, SL_KERR_NONE);
			continue;
		}
		while (told < s->marks_count && s->marks[told].is_told)
			told++;
		if (told == s->marks_count || s->is_holding_marks)
			return;
		sim_mark_one(s, told, SL_KERR_NONE);
	}
}

void sim_flush(struct sim *s, enum sl_kerr kerr)
{
	uint32_t count = s->queue_count;

	/* A step may flush what is left itself. */
	for (uint32_t i = 0; i < count && s->queue_count > 0; i++) {
		struct sim_batch b = s->queue[0];
		struct txn_event ev = {.type = TXN_EV_APPENDED, .cookie = b.cookie, .kerr = kerr};

		s->queue_count--;
		memmove(s->queue, s->queue + 1, s->queue_count * sizeof(*s->queue));
		if (kerr == SL_KERR_NONE)
			append_to_log(s, b.partition, b.bytes, b.len);
		free(b.bytes);
		sim_step(s, &ev);
	}
}

void sim_mark_one(struct sim *s, uint32_t index, enum sl_kerr kerr)
{
	struct txn_event ev = {
		.type = TXN_EV_MARKED, .cookie = s->marks[index].cookie, .kerr = kerr};

	s->marks[index].is_told = true;
	sim_step(s, &ev);
}

void sim_mark(struct sim *s, enum sl_kerr kerr)
{
	uint32_t count = s->marks_count;

	for (uint32_t i = 0; i < count; i++) {
		if (!s->marks[i].is_told)
			sim_mark_one(s, i, kerr);
	}
}

void sim_give_ids(struct sim *s, enum sl_kerr kerr)
{
	struct txn_event ev = {.type = TXN_EV_PRODUCER_IDS,
	                       .kerr = kerr,
	                       .ids_first = s->ids_next,
	                       .ids_count = s->ids_block};

	cr_assert(s->wants_ids);
	s->wants_ids = false;
	if (kerr == SL_KERR_NONE)
		s->ids_next += s->ids_block;
	sim_step(s, &ev);
}

void sim_partition(struct sim *s, enum txn_event_type type, int32_t partition)
{
	struct txn_event ev = {
		.type = type, .partition = partition, .coordinator_epoch = SIM_EPOCH};

	ev.batches = (struct sl_bytes){s->logs[partition].bytes, (int32_t)s->logs[partition].len};
	sim_step(s, &ev);
}

void sim_load_all(struct sim *s)
{
	for (int32_t i = 0; i < SIM_PARTITIONS; i++) {
		sim_partition(s, TXN_EV_LOAD_BEGIN, i);
		sim_partition(s, TXN_EV_LOAD_BATCHES, i);
		sim_partition(s, TXN_EV_LOAD_END, i);
	}
}

void sim_reload(struct sim *s)
{
	txn_destroy(s->c);
	for (uint32_t i = 0; i < s->queue_count; i++)
		free(s->queue[i].bytes);
	s->queue_count = 0;
	for (uint32_t i = 0; i < s->marks_count; i++)
		s->marks[i].is_told = true;
	for (uint32_t i = 0; i < s->mails_count; i++) {
		if (s->mails[i].state == SIM_WAITING)
			s->mails[i].state = SIM_CANCELLED;
	}
	s->wants_ids = false;
	cr_assert_eq(txn_create(&s->c, &s->opts), 0);
	sim_load_all(s);
}

void sim_advance(struct sim *s, int64_t ms)
{
	int64_t end_ms = s->now_ms + ms;

	while (s->next_ms <= end_ms) {
		struct txn_event ev = {.type = TXN_EV_TICK};

		s->now_ms = SL_MAX(s->now_ms, s->next_ms);
		sim_step(s, &ev);
	}
	s->now_ms = end_ms;
}

void sim_cancel(struct sim *s, uint64_t handle)
{
	struct txn_event ev = {.type = TXN_EV_CANCEL, .handle = handle};

	s->mails[handle].state = SIM_CANCELLED;
	sim_step(s, &ev);
}

uint64_t sim_counter(const struct sim *s, const char *name)
{
	const char *at;
	uint64_t value;

	for (uint32_t i = 0; (at = txn_counter(s->c, i, &value)) != NULL; i++) {
		if (strcmp(at, name) == 0)
			return value;
	}
	cr_assert_fail("no counter %s", name);
	return 0;
}

void sim_put(struct sim *s, const char *id, const void *p, size_t len)
{
	append_to_log(s, txn_partition(s->c, sl_str_from(id)), p, (int32_t)len);
}

static uint64_t new_mail(struct sim *s, int16_t api_key, int16_t version)
{
	s->mails = grow(s->mails, s->mails_count, &s->mails_cap, sizeof(*s->mails));
	s->mails[s->mails_count] = (struct sim_mail){.api_key = api_key, .version = version};
	return s->mails_count++;
}

uint64_t sim_send_raw(struct sim *s, int16_t api_key, int16_t version, const void *p, size_t len)
{
	uint64_t handle = new_mail(s, api_key, version);
	struct txn_event ev = {
		.type = TXN_EV_REQUEST,
		.handle = handle,
		.api_key = api_key,
		.version = version,
		.correlation_id = (int32_t)handle,
		.body = {p, (int32_t)len},
	};

	sim_step(s, &ev);
	return handle;
}

uint64_t sim_send(struct sim *s, int16_t api_key, int16_t version, const void *req)
{
	struct sl_buf b;
	uint64_t handle;

	sl_buf_init_grow(&b, ARENA_BYTES);
	if (api_key == SL_API_INIT_PRODUCER_ID)
		sl_init_producer_id_req_encode(req, &b, version);
	else if (api_key == SL_API_ADD_PARTITIONS_TO_TXN)
		sl_add_partitions_to_txn_req_encode(req, &b, version);
	else if (api_key == SL_API_ADD_OFFSETS_TO_TXN)
		sl_add_offsets_to_txn_req_encode(req, &b, version);
	else
		sl_end_txn_req_encode(req, &b, version);
	cr_assert(sl_buf_ok(&b));
	handle = sim_send_raw(s, api_key, version, b.p, b.len);
	sl_buf_fini(&b);
	return handle;
}

enum sim_mail_state sim_state(const struct sim *s, uint64_t handle)
{
	return s->mails[handle].state;
}

const void *sim_answer(struct sim *s, uint64_t handle)
{
	const struct sim_mail *m = &s->mails[handle];
	const struct sl_api *api = sl_api_find(m->api_key);
	struct sl_cursor c = sl_cursor_from(m->bytes, (size_t)m->len);
	int32_t correlation_id;
	void *resp;
	int err;

	cr_assert_eq(m->state, SIM_ANSWERED, "request %" PRIu64 " is not answered", handle);
	sl_arena_reset(&s->arena);
	cr_assert_eq(sl_response_head_decode(&c, api, m->version, &correlation_id), 0);
	cr_assert_eq(correlation_id, (int32_t)handle);
	resp = sl_arena_alloc(&s->arena, 1024);
	if (m->api_key == SL_API_INIT_PRODUCER_ID)
		err = sl_init_producer_id_resp_decode(resp, &c, &s->arena, m->version);
	else if (m->api_key == SL_API_ADD_PARTITIONS_TO_TXN)
		err = sl_add_partitions_to_txn_resp_decode(resp, &c, &s->arena, m->version);
	else if (m->api_key == SL_API_ADD_OFFSETS_TO_TXN)
		err = sl_add_offsets_to_txn_resp_decode(resp, &c, &s->arena, m->version);
	else
		err = sl_end_txn_resp_decode(resp, &c, &s->arena, m->version);
	cr_assert_eq(err, 0);
	cr_assert(sl_cursor_is_done(&c));
	return resp;
}

/* ---- Requests ---- */

uint64_t sim_init_send(struct sim *s, int16_t version, const char *id, struct sim_producer from,
                       int32_t timeout_ms)
{
	struct sl_init_producer_id_req req;

	sl_init_producer_id_req_init(&req);
	req.transactional_id = sl_str_from(id);
	req.transaction_timeout_ms = timeout_ms;
	req.producer_id = from.id;
	req.producer_epoch = from.epoch;
	return sim_send(s, SL_API_INIT_PRODUCER_ID, version, &req);
}

int16_t sim_inited(struct sim *s, uint64_t handle, struct sim_producer *out)
{
	const struct sl_init_producer_id_resp *r = sim_answer(s, handle);

	if (r->error_code == 0 && out)
		*out = (struct sim_producer){r->producer_id, r->producer_epoch};
	if (r->error_code != 0)
		cr_assert(r->producer_id == -1 && r->producer_epoch == -1);
	return r->error_code;
}

struct sim_producer sim_producer(struct sim *s, const char *id)
{
	struct sim_producer p = {-1, -1};
	uint64_t h = sim_init_send(s, 4, id, p, SIM_TIMEOUT_MS);

	cr_assert_eq(sim_inited(s, h, &p), SL_KERR_NONE);
	return p;
}

uint64_t sim_add_send(struct sim *s, int16_t version, const char *id, struct sim_producer p,
                      int32_t topic, int32_t partition)
{
	char name[] = {'t', (char)('0' + topic), '\0'};
	struct sl_add_partitions_to_txn_req_v3_and_below_topic t = {sl_str_from(name), &partition,
	                                                            1};
	struct sl_add_partitions_to_txn_req req;

	sl_add_partitions_to_txn_req_init(&req);
	req.v3_and_below_transactional_id = sl_str_from(id);
	req.v3_and_below_producer_id = p.id;
	req.v3_and_below_producer_epoch = p.epoch;
	req.v3_and_below_topics = &t;
	req.v3_and_below_topics_count = 1;
	return sim_send(s, SL_API_ADD_PARTITIONS_TO_TXN, version, &req);
}

int16_t sim_added(struct sim *s, uint64_t handle)
{
	const struct sl_add_partitions_to_txn_resp *r = sim_answer(s, handle);

	cr_assert_eq(r->results_by_topic_v3_and_below_count, 1);
	cr_assert_eq(r->results_by_topic_v3_and_below[0].results_by_partition_count, 1);
	return r->results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code;
}

int16_t sim_add(struct sim *s, const char *id, struct sim_producer p, int32_t topic,
                int32_t partition)
{
	return sim_added(s, sim_add_send(s, 3, id, p, topic, partition));
}

uint64_t sim_add_offsets_send(struct sim *s, int16_t version, const char *id, struct sim_producer p,
                              const char *group)
{
	struct sl_add_offsets_to_txn_req req = {sl_str_from(id), p.id, p.epoch, sl_str_from(group)};

	return sim_send(s, SL_API_ADD_OFFSETS_TO_TXN, version, &req);
}

int16_t sim_added_offsets(struct sim *s, uint64_t handle)
{
	const struct sl_add_offsets_to_txn_resp *r = sim_answer(s, handle);

	return r->error_code;
}

uint64_t sim_end_send(struct sim *s, int16_t version, const char *id, struct sim_producer p,
                      bool is_commit)
{
	struct sl_end_txn_req req = {sl_str_from(id), p.id, p.epoch, is_commit};

	return sim_send(s, SL_API_END_TXN, version, &req);
}

int16_t sim_ended(struct sim *s, uint64_t handle, struct sim_producer *out)
{
	const struct sl_end_txn_resp *r = sim_answer(s, handle);

	if (r->error_code == 0 && out)
		*out = (struct sim_producer){r->producer_id, r->producer_epoch};
	return r->error_code;
}

uint64_t sim_ask(struct sim *s, const char *id, struct sim_producer p, int32_t topic,
                 int32_t partition, bool is_add)
{
	char name[] = {'t', (char)('0' + topic), '\0'};
	uint64_t handle = new_mail(s, 0, 0);
	struct txn_event ev = {
		.type = TXN_EV_VERIFY,
		.handle = handle,
		.verify = {sl_str_from(id), p.id, p.epoch, sl_str_from(name), partition, is_add},
	};

	sim_step(s, &ev);
	return handle;
}

int sim_told(struct sim *s, uint64_t handle)
{
	return s->mails[handle].state == SIM_ANSWERED ? (int)s->mails[handle].kerr : -1;
}

const char *sim_txn_state(struct sim *s, const char *id)
{
	struct txn_view v;

	return txn_find(s->c, sl_str_from(id), &v) ? v.state : "none";
}

uint32_t sim_parts(struct sim *s, const char *id)
{
	struct txn_view v;

	return txn_find(s->c, sl_str_from(id), &v) ? v.parts : 0;
}
