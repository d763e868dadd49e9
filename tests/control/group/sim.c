/* SPDX-License-Identifier: Apache-2.0 */
/* The coordinator's surroundings in memory. */
#include "sim.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "sluice/base/hash.h"
#include "sluice/wire/batch.h"

#define ARENA_BYTES (256u << 20)
#define BODY_BYTES  (64u << 20)

struct sl_uuid sim_topic_id(int32_t topic)
{
	struct sl_uuid id = {{'t', 'o', 'p', 'i', 'c'}};

	id.b[15] = (uint8_t)topic;
	return id;
}

/* The number in "tN", or -1. */
static int32_t topic_number(const struct sim *s, struct sl_str name)
{
	if (name.len != 2 || name.p[0] != 't' || name.p[1] < '0' || name.p[1] >= '0' + SIM_TOPICS ||
	    s->is_topic_gone[name.p[1] - '0'])
		return -1;
	return name.p[1] - '0';
}

static bool has_partition(void *ctx, struct sl_str topic, int32_t partition)
{
	return topic_number(ctx, topic) >= 0 && partition >= 0 && partition < SIM_TOPIC_PARTS;
}

static bool topic_name(void *ctx, const struct sl_uuid *id, struct sl_str *name)
{
	static const char names[SIM_TOPICS][3] = {"t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7"};
	struct sl_uuid expected = sim_topic_id(id->b[15]);
	struct sim *s = ctx;

	if (id->b[15] >= SIM_TOPICS || !sl_uuid_eq(id, &expected) || s->is_topic_gone[id->b[15]])
		return false;
	*name = sl_str_from(names[id->b[15]]);
	return true;
}

static bool topic_id(void *ctx, struct sl_str name, struct sl_uuid *id)
{
	int32_t n = topic_number(ctx, name);

	if (n >= 0)
		*id = sim_topic_id(n);
	return n >= 0;
}

static int32_t topic_partitions(void *ctx, struct sl_str topic)
{
	const struct sim *s = ctx;
	int32_t n = topic_number(s, topic);

	if (n < 0)
		return 0;
	return s->topic_parts[n] ? s->topic_parts[n] : SIM_TOPIC_PARTS;
}

static bool topic_next(void *ctx, uint32_t *pos, struct sl_str *name)
{
	while (*pos < SIM_TOPICS) {
		struct sl_uuid id = sim_topic_id((int32_t)(*pos)++);

		if (topic_name(ctx, &id, name))
			return true;
	}
	return false;
}

static void topic_racks(void *ctx, struct sl_str topic, group_rack_fn *fn, void *arg)
{
	const struct sim *s = ctx;
	int32_t n = topic_number(s, topic);

	for (int32_t p = 0; p < (n < 0 ? 0 : SIM_TOPIC_PARTS); p++) {
		for (const char *rack = s->racks[n][p]; rack && *rack; rack++)
			fn(arg, p, (struct sl_str){rack, 1});
	}
}

struct group_opts sim_default_opts(struct sim *s)
{
	return (struct group_opts){
		.partitions_count = SIM_PARTITIONS,
		.session_timeout_min_ms = 6000,
		.session_timeout_max_ms = 1800000,
		.initial_rebalance_delay_ms = SIM_DELAY_MS,
		.offsets_retention_ms = SIM_RETENTION_MS,
		.offsets_retention_check_ms = SIM_CHECK_MS,
		.offset_metadata_bytes_max = 64,
		.group_size_max = 2000,
		.ctx = s,
		.has_partition = has_partition,
		.topic_name = topic_name,
		.topic_id = topic_id,
		.topic_partitions = topic_partitions,
		.topic_next = topic_next,
		.topic_racks = topic_racks,
		.consumer = {SIM_CONSUMER_SESSION_MS, SIM_HEARTBEAT_MS},
		.consumer_size_max = 2000,
		.migration = GROUP_MIGRATE_BOTH,
		.assignors = {GROUP_ASSIGN_UNIFORM, GROUP_ASSIGN_RANGE},
		.assignors_count = 2,
	};
}

void sim_init_opts(struct sim *s, const struct group_opts *opts)
{
	*s = (struct sim){.now_ms = 1000, .next_ms = INT64_MAX, .rng = 42};
	s->opts = *opts;
	s->opts.ctx = s;
	snprintf(s->client_id, sizeof(s->client_id), "client");
	sl_map_seed(7);
	cr_assert_eq(sl_arena_create(&s->arena, ARENA_BYTES), 0);
	cr_assert_eq(group_create(&s->c, &s->opts), 0);
}

void sim_init(struct sim *s)
{
	struct group_opts opts = sim_default_opts(s);

	sim_init_opts(s, &opts);
	sim_load_all(s);
}

void sim_fini(struct sim *s)
{
	group_destroy(s->c);
	for (uint32_t i = 0; i < s->mails_count; i++)
		free(s->mails[i].bytes);
	for (uint32_t i = 0; i < s->queue_count; i++)
		free(s->queue[i].bytes);
	for (int32_t i = 0; i < SIM_PARTITIONS; i++)
		free(s->logs[i].bytes);
	free(s->mails);
	free(s->queue);
	sl_arena_destroy(&s->arena);
}

uint64_t sim_random(struct sim *s)
{
	uint64_t z = (s->rng += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static void *copy(const void *p, int32_t len)
{
	void *to = malloc((size_t)len + 1);

	cr_assert(to);
	memcpy(to, p, (size_t)len);
	return to;
}

static void take_answer(struct sim *s, const struct group_action *a)
{
	struct sim_mail *mail = &s->mails[a->handle];

	cr_assert(a->handle < s->mails_count, "answer to a request that was never sent");
	cr_assert_eq(mail->state, SIM_WAITING, "second answer to request %llu",
	             (unsigned long long)a->handle);
	if (a->type == GROUP_ACT_CLOSE) {
		mail->state = SIM_CLOSED;
		return;
	}
	mail->state = SIM_ANSWERED;
	mail->bytes = copy(a->bytes.p, a->bytes.len);
	mail->len = a->bytes.len;
}

static void take_batch(struct sim *s, const struct group_action *a)
{
	struct sl_batch_head h;

	cr_assert(a->partition >= 0 && a->partition < SIM_PARTITIONS);
	cr_assert_eq(sl_batch_peek(a->bytes.p, (size_t)a->bytes.len, &h), 0);
	cr_assert_eq(sl_batch_bytes(&h), (size_t)a->bytes.len);
	cr_assert(sl_batch_check_crc(a->bytes.p, &h));
	cr_assert_gt(h.records_count, 0);
	if (s->queue_count == s->queue_cap) {
		s->queue_cap = s->queue_cap ? s->queue_cap * 2 : 16;
		s->queue = realloc(s->queue, s->queue_cap * sizeof(*s->queue));
		cr_assert(s->queue);
	}
	s->queue[s->queue_count++] = (struct sim_batch){
		a->cookie, a->partition, copy(a->bytes.p, a->bytes.len), a->bytes.len};
}

static void take_marked(struct sim *s, const struct group_action *a)
{
	cr_assert_lt(a->handle, SIM_MARKS);
	cr_assert_eq(s->marked[a->handle], SIM_NOT_MARKED, "told twice");
	s->marked[a->handle] = (int)a->kerr;
}

void sim_step(struct sim *s, struct group_event *ev)
{
	struct group_actions out;

	ev->now_ms = s->now_ms;
	ev->wall_ms = SIM_WALL_BASE + s->now_ms;
	ev->random = sim_random(s);
	group_step(s->c, ev, &out);
	s->next_ms = out.next_ms;
	for (uint32_t i = 0; i < out.count; i++) {
		if (out.list[i].type == GROUP_ACT_APPEND)
			take_batch(s, &out.list[i]);
		else if (out.list[i].type == GROUP_ACT_MARKED)
			take_marked(s, &out.list[i]);
		else
			take_answer(s, &out.list[i]);
	}
	if (!s->is_holding && s->queue_count > 0)
		sim_flush(s, SL_KERR_NONE);
}

static void write_log(struct sim *s, const struct sim_batch *b)
{
	struct sim_log *log = &s->logs[b->partition];
	struct sl_batch_head h;

	cr_assert_eq(sl_batch_peek(b->bytes, (size_t)b->len, &h), 0);
	if (log->len + (size_t)b->len > log->cap) {
		log->cap = 2 * (log->len + (size_t)b->len);
		log->bytes = realloc(log->bytes, log->cap);
		cr_assert(log->bytes);
	}
	memcpy(log->bytes + log->len, b->bytes, (size_t)b->len);
	sl_batch_set_offset(log->bytes + log->len, log->next_offset, 0);
	log->len += (size_t)b->len;
	log->next_offset += h.last_offset_delta + 1;
	s->appended++;
}

void sim_flush_one(struct sim *s, uint32_t index, enum sl_kerr kerr)
{
	struct group_event ev = {.type = GROUP_EV_APPENDED, .kerr = kerr};
	struct sim_batch b = s->queue[index];

	cr_assert_lt(index, s->queue_count);
	memmove(&s->queue[index], &s->queue[index + 1],
	        (s->queue_count - index - 1) * sizeof(*s->queue));
	s->queue_count--;
	ev.cookie = b.cookie;
	ev.base_offset = s->logs[b.partition].next_offset;
	if (kerr == SL_KERR_NONE)
		write_log(s, &b);
	free(b.bytes);
	sim_step(s, &ev);
}

void sim_flush(struct sim *s, enum sl_kerr kerr)
{
	bool was_holding = s->is_holding;

	s->is_holding = true;
	while (s->queue_count > 0)
		sim_flush_one(s, 0, kerr);
	s->is_holding = was_holding;
}

void sim_partition(struct sim *s, enum group_event_type type, int32_t partition)
{
	struct group_event ev = {.type = type, .partition = partition};

	if (type == GROUP_EV_LOAD_BATCHES)
		ev.batches = (struct sl_bytes){s->logs[partition].bytes,
		                               (int32_t)s->logs[partition].len};
	sim_step(s, &ev);
}

void sim_load_all(struct sim *s)
{
	for (int32_t i = 0; i < SIM_PARTITIONS; i++) {
		sim_partition(s, GROUP_EV_LOAD_BEGIN, i);
		sim_partition(s, GROUP_EV_LOAD_BATCHES, i);
		sim_partition(s, GROUP_EV_LOAD_END, i);
	}
}

void sim_reload(struct sim *s)
{
	group_destroy(s->c);
	cr_assert_eq(group_create(&s->c, &s->opts), 0);
	for (uint32_t i = 0; i < s->queue_count; i++)
		free(s->queue[i].bytes);
	s->queue_count = 0;
	for (uint32_t i = 0; i < s->mails_count; i++) {
		if (s->mails[i].state == SIM_WAITING)
			s->mails[i].state = SIM_CANCELLED;
	}
	sim_load_all(s);
}

void sim_advance(struct sim *s, int64_t ms)
{
	int64_t end_ms = s->now_ms + ms;

	while (s->next_ms <= end_ms) {
		struct group_event ev = {.type = GROUP_EV_TICK};
		int64_t before_ms = s->next_ms;

		s->now_ms = s->next_ms > s->now_ms ? s->next_ms : s->now_ms;
		sim_step(s, &ev);
		cr_assert_gt(s->next_ms, before_ms, "a tick left something due undone");
	}
	s->now_ms = end_ms;
}

void sim_cancel(struct sim *s, uint64_t handle)
{
	struct group_event ev = {.type = GROUP_EV_CANCEL, .handle = handle};

	cr_assert_eq(s->mails[handle].state, SIM_WAITING);
	s->mails[handle].state = SIM_CANCELLED;
	sim_step(s, &ev);
}

uint64_t sim_counter(const struct sim *s, const char *name)
{
	const char *n;
	uint64_t value;

	for (uint32_t i = 0; (n = group_counter(s->c, i, &value)) != NULL; i++) {
		if (strcmp(n, name) == 0)
			return value;
	}
	cr_assert_fail("no counter %s", name);
	return 0;
}

static void encode(int16_t api_key, const void *req, struct sl_buf *b, int16_t version)
{
	switch (api_key) {
	case SL_API_TXN_OFFSET_COMMIT:
		sl_txn_offset_commit_req_encode(req, b, version);
		break;
	case SL_API_OFFSET_COMMIT:
		sl_offset_commit_req_encode(req, b, version);
		break;
	case SL_API_OFFSET_FETCH:
		sl_offset_fetch_req_encode(req, b, version);
		break;
	case SL_API_JOIN_GROUP:
		sl_join_group_req_encode(req, b, version);
		break;
	case SL_API_HEARTBEAT:
		sl_heartbeat_req_encode(req, b, version);
		break;
	case SL_API_LEAVE_GROUP:
		sl_leave_group_req_encode(req, b, version);
		break;
	case SL_API_SYNC_GROUP:
		sl_sync_group_req_encode(req, b, version);
		break;
	case SL_API_DESCRIBE_GROUPS:
		sl_describe_groups_req_encode(req, b, version);
		break;
	case SL_API_LIST_GROUPS:
		sl_list_groups_req_encode(req, b, version);
		break;
	case SL_API_DELETE_GROUPS:
		sl_delete_groups_req_encode(req, b, version);
		break;
	case SL_API_CONSUMER_GROUP_HEARTBEAT:
		sl_consumer_group_heartbeat_req_encode(req, b, version);
		break;
	case SL_API_CONSUMER_GROUP_DESCRIBE:
		sl_consumer_group_describe_req_encode(req, b, version);
		break;
	default:
		sl_offset_delete_req_encode(req, b, version);
		break;
	}
}

uint64_t sim_send_raw(struct sim *s, int16_t api_key, int16_t version, const void *p, size_t len)
{
	struct group_event ev = {
		.type = GROUP_EV_REQUEST,
		.handle = s->mails_count,
		.api_key = api_key,
		.version = version,
		.correlation_id = (int32_t)s->mails_count + 1000,
		.client_id = sl_str_from(s->client_id),
		.client_host = sl_str_from("/127.0.0.1"),
	};
	/* Exactly as long as the request, so that a sanitizer sees a read past its end. */
	void *body = malloc(len ? len : 1);

	cr_assert(body);
	if (len > 0)
		memcpy(body, p, len);
	ev.body = (struct sl_bytes){body, (int32_t)len};
	if (s->mails_count == s->mails_cap) {
		s->mails_cap = s->mails_cap ? s->mails_cap * 2 : 64;
		s->mails = realloc(s->mails, s->mails_cap * sizeof(*s->mails));
		cr_assert(s->mails);
	}
	s->mails[s->mails_count++] = (struct sim_mail){.api_key = api_key, .version = version};
	sim_step(s, &ev);
	free(body);
	return ev.handle;
}

uint64_t sim_send(struct sim *s, int16_t api_key, int16_t version, const void *req)
{
	struct sl_buf b;
	uint64_t handle;

	sl_buf_init_grow(&b, BODY_BYTES);
	encode(api_key, req, &b, version);
	cr_assert(sl_buf_ok(&b));
	handle = sim_send_raw(s, api_key, version, b.p, b.len);
	sl_buf_fini(&b);
	return handle;
}

enum sim_mail_state sim_state(const struct sim *s, uint64_t handle)
{
	return s->mails[handle].state;
}

static int decode(struct sim *s, const struct sim_mail *mail, struct sl_cursor *c, void *m)
{
	int16_t v = mail->version;

	switch (mail->api_key) {
	case SL_API_TXN_OFFSET_COMMIT:
		return sl_txn_offset_commit_resp_decode(m, c, &s->arena, v);
	case SL_API_OFFSET_COMMIT:
		return sl_offset_commit_resp_decode(m, c, &s->arena, v);
	case SL_API_OFFSET_FETCH:
		return sl_offset_fetch_resp_decode(m, c, &s->arena, v);
	case SL_API_JOIN_GROUP:
		return sl_join_group_resp_decode(m, c, &s->arena, v);
	case SL_API_HEARTBEAT:
		return sl_heartbeat_resp_decode(m, c, &s->arena, v);
	case SL_API_LEAVE_GROUP:
		return sl_leave_group_resp_decode(m, c, &s->arena, v);
	case SL_API_SYNC_GROUP:
		return sl_sync_group_resp_decode(m, c, &s->arena, v);
	case SL_API_DESCRIBE_GROUPS:
		return sl_describe_groups_resp_decode(m, c, &s->arena, v);
	case SL_API_LIST_GROUPS:
		return sl_list_groups_resp_decode(m, c, &s->arena, v);
	case SL_API_DELETE_GROUPS:
		return sl_delete_groups_resp_decode(m, c, &s->arena, v);
	case SL_API_CONSUMER_GROUP_HEARTBEAT:
		return sl_consumer_group_heartbeat_resp_decode(m, c, &s->arena, v);
	case SL_API_CONSUMER_GROUP_DESCRIBE:
		return sl_consumer_group_describe_resp_decode(m, c, &s->arena, v);
	default:
		return sl_offset_delete_resp_decode(m, c, &s->arena, v);
	}
}

const void *sim_answer(struct sim *s, uint64_t handle)
{
	struct sim_mail *mail = &s->mails[handle];
	struct sl_cursor c = sl_cursor_from(mail->bytes, (size_t)mail->len);
	void *m = sl_arena_alloc(&s->arena, 512);
	int32_t correlation_id = 0;

	cr_assert_eq(mail->state, SIM_ANSWERED, "request %llu (api %d) has no answer, state %d",
	             (unsigned long long)handle, mail->api_key, mail->state);
	cr_assert_eq(sl_response_head_decode(&c, sl_api_find(mail->api_key), mail->version,
	                                     &correlation_id),
	             0);
	cr_assert_eq(correlation_id, (int32_t)handle + 1000);
	cr_assert_eq(decode(s, mail, &c, m), 0);
	cr_assert(sl_cursor_is_done(&c), "the answer has bytes that nobody reads");
	return m;
}

const char *sim_text(struct sim *s, struct sl_str text)
{
	return text.len < 0 ? "(null)" : sl_arena_strndup(&s->arena, text.p, (size_t)text.len);
}

const char *sim_bytes_text(struct sim *s, struct sl_bytes bytes)
{
	return sim_text(s, (struct sl_str){bytes.p, bytes.len});
}

bool sim_str_is(struct sl_str s, const char *text)
{
	return sl_str_eq_c(s, text);
}
