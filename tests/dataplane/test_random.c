/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients that do anything in any order against sessions with little memory, and a control process
 * that answers late, twice, wrongly or never, and comes and goes.  What must hold all the while:
 * responses come in the order of requests, each once, whole; who keeps the rules is never closed;
 * what was asked is answered in the end; and nothing is left when everybody has gone.
 *
 * The seed is printed when something fails; SL_SEED=number runs that one.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "duplex.h"
#include "sluice/wire/fetch_gen.h"
#include "sluice/wire/metadata_gen.h"
#include "sluice/wire/produce_gen.h"

#define SEEDS         24
#define STEPS         1500
#define CLIENTS       20 /* more than connections */
#define PARTITIONS    3
#define OUT_MAX       ((size_t)4 << 20)
#define IN_MAX        ((size_t)8 << 20)
#define ASKED_MAX     4096
#define PENDING_MAX   4096
#define QUESTIONS_MAX 256
#define HELD_MAX      10
#define SQUEEZED_MAX  256
#define POOL_BYTES    ((size_t)8 << 20)
#define LAST_ROUNDS   20000

/* A response that a client still expects. */
struct asked {
	int32_t correlation_id;
	int16_t key;
	int16_t version;
};

struct client {
	int fd;         /* -1: none */
	bool is_rude;   /* sent what is no request: what comes back is not looked at */
	bool may_close; /* or was told to go, or was slow: it may be closed */
	bool has_shut;  /* its side */
	uint8_t *out;   /* bytes that it has yet to send */
	size_t out_len, out_pos;
	uint8_t *in;
	size_t in_len;
	struct asked asked[ASKED_MAX];
	uint32_t asked_head, asked_tail;
	int32_t next_id;
};

struct pending {
	struct sl_ipc_request head;
	int32_t correlation_id;
};

struct world {
	uint64_t seed, rng;
	struct duplex d;
	struct topic *topic;
	bool is_timed; /* time-outs are short: anybody may be closed by them */
	struct client clients[CLIENTS];
	struct pending pending[PENDING_MAX];
	uint32_t pending_count;
	uint64_t questions[QUESTIONS_MAX]; /* cookies: about a transaction */
	uint32_t questions_count;
	void *held[HELD_MAX];
	void *held_long[4];
	void *squeezed[SQUEEZED_MAX]; /* all there was, for a while */
	unsigned squeezed_count;
	uint64_t answers;
};

static uint64_t landed, displaced, stalled, verified, ended; /* in all runs */

static uint64_t roll(struct world *w, uint64_t below)
{
	uint64_t z = w->rng += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (z ^ (z >> 31)) % below;
}

#define must(w, cond, ...) \
	cr_assert(cond, "seed %llu: %s", (unsigned long long)(w)->seed, __VA_ARGS__)

/* ---- Requests ---- */

typedef void encode_fn(const void *body, struct sl_buf *buf, int16_t version);

/* Queues a frame.  @is_answered: a response is to come. */
static void ask(struct world *w, struct client *c, int16_t key, int16_t version, encode_fn *encode,
                const void *body, bool is_answered)
{
	const int32_t number = (int32_t)(c - w->clients);
	struct sl_request_head head = {.api_key = key,
	                               .api_version = version,
	                               .correlation_id = number << 20 | c->next_id,
	                               .client_id = sl_str_from("me")};
	struct sl_buf buf;

	sl_buf_init_grow(&buf, OUT_MAX);
	sl_buf_put_be32(&buf, 0);
	sl_request_head_encode(&buf, sl_api_find(key), &head);
	if (encode)
		encode(body, &buf, version);
	cr_assert(sl_buf_ok(&buf));
	sl_store_be32(buf.p, (uint32_t)buf.len - 4);
	if (c->out_len + buf.len <= OUT_MAX && c->asked_tail - c->asked_head < ASKED_MAX) {
		memcpy(c->out + c->out_len, buf.p, buf.len);
		c->out_len += buf.len;
		if (is_answered)
			c->asked[c->asked_tail++ % ASKED_MAX] = (struct asked){head.correlation_id,
			                                                       key, version};
		c->next_id++;
	}
	sl_buf_fini(&buf);
}

static void encode_produce(const void *body, struct sl_buf *buf, int16_t version)
{
	sl_produce_req_encode(body, buf, version);
}

static void ask_produce(struct world *w, struct client *c)
{
	static const int16_t acks[] = {-1, -1, -1, 1, 0};
	static const int32_t timeouts[] = {0, 30, 30000};
	const struct fx_batch b = {
		.value_bytes = (uint32_t)(roll(w, 8) ? roll(w, 300)
	                                             : roll(w, roll(w, 2) ? 60000 : 250000))};
	struct sl_produce_req_topic_data_partition_data part = {
		.index = (int32_t)roll(w, PARTITIONS), .records = fx_records(&b)};
	struct sl_produce_req_topic_data topic = {
		.name = sl_str_from("t"), .partition_data = &part, .partition_data_count = 1};
	struct sl_produce_req body = {.acks = acks[roll(w, SL_ARRAY_SIZE(acks))],
	                              .timeout_ms = timeouts[roll(w, SL_ARRAY_SIZE(timeouts))],
	                              .transactional_id = SL_STR_NULL,
	                              .topic_data = &topic,
	                              .topic_data_count = 1};

	if (roll(w, 16) == 0)
		topic.name = sl_str_from("unknown");
	/* An error, be it that the partition moved away, can only be told by closing. */
	c->may_close |= body.acks == 0;
	ask(w, c, SL_API_PRODUCE, 9, encode_produce, &body, body.acks != 0);
	free((void *)(uintptr_t)part.records.p);
}

/* Of a transaction that may be open or not, or over long ago. */
static void ask_txn(struct world *w, struct client *c)
{
	const struct fx_batch b = {.value_bytes = (uint32_t)roll(w, 300),
	                           .has_producer = true,
	                           .producer_id = 1 + (int64_t)roll(w, 4),
	                           .producer_epoch = (int16_t)roll(w, 2),
	                           .base_sequence = (int32_t)roll(w, 2),
	                           .attributes = SL_BATCH_TRANSACTIONAL};
	struct sl_produce_req_topic_data_partition_data parts[PARTITIONS];
	struct sl_produce_req_topic_data topic = {.name = sl_str_from("t"),
	                                          .partition_data = parts,
	                                          .partition_data_count =
	                                                  1 + (int32_t)roll(w, PARTITIONS)};
	struct sl_produce_req body = {.acks = roll(w, 2) ? -1 : 1,
	                              .timeout_ms = 30000,
	                              .transactional_id = sl_str_from("tx"),
	                              .topic_data = &topic,
	                              .topic_data_count = 1};

	for (int32_t i = 0; i < topic.partition_data_count; i++)
		parts[i] = (struct sl_produce_req_topic_data_partition_data){
			.index = i, .records = fx_records(&b)};
	ask(w, c, SL_API_PRODUCE, 9 + (int16_t)roll(w, 4), encode_produce, &body, true);
	for (int32_t i = 0; i < topic.partition_data_count; i++)
		free((void *)(uintptr_t)parts[i].records.p);
}

static void encode_fetch(const void *body, struct sl_buf *buf, int16_t version)
{
	sl_fetch_req_encode(body, buf, version);
}

static void ask_fetch(struct world *w, struct client *c)
{
	static const int32_t waits[] = {0, 20, 500};
	static const int32_t mins[] = {0, 1, 1, 100000, INT32_MAX};
	struct sl_fetch_req_topic_partition parts[PARTITIONS];
	struct sl_fetch_req_topic topic = {.topic = sl_str_from("t"), .partitions = parts};
	struct sl_fetch_req body;

	sl_fetch_req_init(&body);
	for (int32_t i = 0; i < PARTITIONS; i++) {
		struct sl_fetch_req_topic_partition *p = &parts[topic.partitions_count];
		int64_t end = sl_log_end(fx_partition(w->topic, i)->log);

		if (roll(w, 3) == 0)
			continue;
		topic.partitions_count++;
		sl_fetch_req_topic_partition_init(p);
		p->partition = i;
		p->fetch_offset = (int64_t)roll(w, (uint64_t)end + 2);
		if (roll(w, 2))
			p->fetch_offset = end;
		p->partition_max_bytes = (int32_t)roll(w, 300000);
	}
	body.replica_id = -1;
	body.session_epoch = -1;
	body.max_wait_ms = waits[roll(w, SL_ARRAY_SIZE(waits))];
	body.min_bytes = mins[roll(w, SL_ARRAY_SIZE(mins))];
	body.max_bytes = (int32_t)roll(w, 500000);
	body.isolation_level = (int8_t)roll(w, 2);
	body.topics = &topic;
	body.topics_count = 1;
	ask(w, c, SL_API_FETCH, 11, encode_fetch, &body, true);
}

static void encode_zeroes(const void *body, struct sl_buf *buf, int16_t version)
{
	const size_t *bytes = body;
	uint8_t *p = sl_buf_take(buf, *bytes);

	(void)version;
	if (p)
		memset(p, 0, *bytes);
}

static void ask_forwarded(struct world *w, struct client *c)
{
	size_t bytes = roll(w, 6) ? roll(w, 200) : roll(w, 300000);

	ask(w, c, SL_API_HEARTBEAT, 0, encode_zeroes, &bytes, true);
}

static void ask_metadata(struct world *w, struct client *c)
{
	const size_t bytes = 4; /* an empty array: nodes only */

	ask(w, c, SL_API_METADATA, 1, encode_zeroes, &bytes, true);
}

/* Bytes that are no request, or one that is broken. */
static void ask_nonsense(struct world *w, struct client *c)
{
	size_t bytes = 1 + roll(w, 100);
	uint8_t *p = c->out + c->out_len;

	if (c->out_len + bytes > OUT_MAX)
		return;
	for (size_t i = 0; i < bytes; i++)
		p[i] = (uint8_t)roll(w, 256);
	if (roll(w, 2) && bytes > 8) {
		sl_store_be32(p, (uint32_t)bytes - 4);
		sl_store_be16(p + 4, (uint16_t)roll(w, 20));
		sl_store_be16(p + 6, (uint16_t)roll(w, 12));
	}
	c->out_len += bytes;
	c->is_rude = c->may_close = true;
}

/* ---- Clients ---- */

static void forget(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->is_rude = c->may_close = c->has_shut = false;
	c->out_len = c->out_pos = c->in_len = 0;
	c->asked_head = c->asked_tail = 0;
}

static void arrive(struct world *w, struct client *c)
{
	/* Refused ones are closed at once, which tells nothing about the rest. */
	bool is_full = duplex_stat(&w->d, SL_STAT_connections) >= FX_REQUESTS;

	forget(c);
	c->fd = duplex_client(&w->d);
	c->may_close = is_full || w->is_timed;
}

static void send_some(struct world *w, struct client *c, size_t most)
{
	size_t left = SL_MIN(c->out_len - c->out_pos, most);
	ssize_t n = left ? send(c->fd, c->out + c->out_pos, left, MSG_NOSIGNAL) : 0;

	(void)w;
	if (n > 0)
		c->out_pos += (size_t)n;
	if (c->out_pos == c->out_len)
		c->out_pos = c->out_len = 0;
	if (n < 0 && errno != EAGAIN)
		must(w, c->may_close, "a client was closed while it sent");
}

/* The batches of a fetch are whole, or cut at the end, and their CRCs are right. */
static void check_records(struct world *w, const struct sl_records *r)
{
	const uint8_t *p = r->p;
	size_t left = r->len > 0 ? (size_t)r->len : 0;
	struct sl_batch_head head;

	while (left > 0 && sl_batch_peek(p, left, &head) == 0) {
		must(w, sl_batch_check_crc(p, &head), "a batch arrived broken");
		p += sl_batch_bytes(&head);
		left -= sl_batch_bytes(&head);
	}
	must(w, left < SL_BATCH_HEADER_BYTES || head.magic == 2, "records lost their place");
}

static void check_fetch(struct world *w, const struct asked *a, const uint8_t *p, size_t bytes)
{
	struct sl_cursor cursor = sl_cursor_from(p, bytes);
	struct sl_fetch_resp resp;

	must(w,
	     sl_fetch_resp_decode(&resp, &cursor, fx_arena(), a->version) == 0 &&
	             sl_cursor_is_done(&cursor),
	     "a fetch response cannot be read");
	for (int32_t i = 0; i < resp.responses_count; i++)
		for (int32_t j = 0; j < resp.responses[i].partitions_count; j++)
			check_records(w, &resp.responses[i].partitions[j].records);
}

static void check_response(struct world *w, struct client *c, const uint8_t *p, size_t bytes)
{
	const struct asked *a = &c->asked[c->asked_head % ASKED_MAX];

	if (c->is_rude)
		return;
	must(w, c->asked_head < c->asked_tail, "an answer that nobody asked for");
	must(w, bytes >= 4, "a response without a header");
	must(w, (int32_t)sl_load_be32(p) == a->correlation_id, "an answer out of turn");
	c->asked_head++;
	w->answers++;
	if (a->key == SL_API_FETCH)
		check_fetch(w, a, p + 4, bytes - 4);
}

static void gone(struct world *w, struct client *c)
{
	must(w, c->may_close || (c->has_shut && c->asked_head == c->asked_tail),
	     "a client that keeps the rules was closed");
	forget(c);
}

static void read_some(struct world *w, struct client *c, size_t most)
{
	size_t pos = 0;
	ssize_t n = recv(c->fd, c->in + c->in_len, SL_MIN(most, IN_MAX - c->in_len), 0);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		gone(w, c);
		return;
	}
	c->in_len += (size_t)n;
	while (c->in_len - pos >= 4) {
		size_t bytes = sl_load_be32(c->in + pos);

		must(w, bytes <= IN_MAX - 4, "a response of impossible size");
		if (c->in_len - pos - 4 < bytes)
			break;
		check_response(w, c, c->in + pos + 4, bytes);
		pos += 4 + bytes;
	}
	memmove(c->in, c->in + pos, c->in_len - pos);
	c->in_len -= pos;
}

static void client_step(struct world *w)
{
	struct client *c = &w->clients[roll(w, CLIENTS)];

	if (c->fd < 0) {
		arrive(w, c);
		return;
	}
	switch (roll(w, 40)) {
	case 0:
		forget(c);
		break;
	case 1:
		send_some(w, c, SIZE_MAX);
		if (c->out_len > 0 || roll(w, 3))
			break;
		(void)shutdown(c->fd, SHUT_WR);
		c->has_shut = true;
		break;
	case 2:
		if (!c->has_shut && roll(w, 3) == 0)
			ask_nonsense(w, c);
		break;
	case 3 ... 12:
		send_some(w, c, 1 + roll(w, 50));
		break;
	case 13 ... 20:
		send_some(w, c, SIZE_MAX);
		break;
	case 21 ... 24:
		read_some(w, c, 1 + roll(w, 1000));
		break;
	case 25 ... 28:
		read_some(w, c, SIZE_MAX);
		break;
	default:
		if (c->has_shut)
			break;
		for (uint64_t n = roll(w, 8) ? 1 : roll(w, 40); n > 0; n--) {
			static void (*const kinds[])(struct world *, struct client *) = {
				ask_produce, ask_produce, ask_fetch,    ask_txn,
				ask_fetch,   ask_fetch,   ask_metadata, ask_forwarded};

			kinds[roll(w, SL_ARRAY_SIZE(kinds))](w, c);
		}
		break;
	}
}

/* ---- The control process ---- */

static void take_messages(struct world *w)
{
	uint32_t type;
	const void *p;
	size_t bytes;
	int rc;

	while (w->d.lane_end && w->pending_count < PENDING_MAX &&
	       (rc = sl_channel_peek(w->d.control_end, &type, &p, &bytes)) != 0) {
		struct pending *q = &w->pending[w->pending_count];

		must(w, rc == 1, "the lane broke the ring");
		if (type == SL_IPC_REQUEST) {
			memcpy(&q->head, p, sizeof(q->head));
			q->correlation_id =
				(int32_t)sl_load_be32((const uint8_t *)p + sizeof(q->head) + 4);
			w->pending_count++;
		}
		/* One too many is never answered. */
		if (type == SL_IPC_TXN_VERIFY && w->questions_count < QUESTIONS_MAX)
			memcpy(&w->questions[w->questions_count++], p, sizeof(uint64_t));
		sl_channel_release(w->d.control_end);
	}
}

static void answer_one(struct world *w, bool is_kind)
{
	struct sl_ipc_response close_it = {.flags = SL_IPC_RESPONSE_CLOSE};
	struct sl_ipc_request wrong;
	struct pending *q;

	if (!w->d.lane_end || w->pending_count == 0)
		return;
	q = &w->pending[roll(w, w->pending_count)];
	switch (is_kind ? 9 : roll(w, 10)) {
	case 0: /* the wrong life of the connection, or the wrong request */
		wrong = q->head;
		if (roll(w, 2))
			wrong.conn_gen++;
		else
			wrong.seq += 1 + roll(w, 3);
		duplex_answer(&w->d, &wrong, -7, 6);
		return;
	case 1:
		close_it.conn = q->head.conn;
		close_it.conn_gen = q->head.conn_gen;
		close_it.seq = q->head.seq;
		must(w,
		     sl_channel_send(w->d.control_end, SL_IPC_RESPONSE, &close_it, sizeof(close_it),
		                     NULL, 0) == 0,
		     "no room to answer");
		w->clients[(uint32_t)q->correlation_id >> 20].may_close = true;
		break;
	case 2: /* twice */
		duplex_answer(&w->d, &q->head, q->correlation_id, 6);
		duplex_answer(&w->d, &q->head, q->correlation_id, 6);
		break;
	default:
		duplex_answer(&w->d, &q->head, q->correlation_id, roll(w, 8) ? 6 : roll(w, 200000));
		break;
	}
	*q = w->pending[--w->pending_count];
}

static void answer_question(struct world *w, bool is_kind)
{
	static const enum sl_kerr errors[] = {SL_KERR_CONCURRENT_TRANSACTIONS,
	                                      SL_KERR_INVALID_TXN_STATE, SL_KERR_NOT_COORDINATOR,
	                                      SL_KERR_PRODUCER_FENCED};
	struct sl_ipc_txn_verify_done done = {0};
	uint64_t *q;

	if (!w->d.lane_end || w->questions_count == 0)
		return;
	q = &w->questions[roll(w, w->questions_count)];
	done.cookie = *q;
	if (!is_kind && roll(w, 4) == 0)
		done.kerr = (int32_t)errors[roll(w, SL_ARRAY_SIZE(errors))];
	/* Sometimes one that nobody has asked, and then nobody else's. */
	if (!is_kind && roll(w, 10) == 0)
		done.cookie += UINT64_C(1) << 32;
	else
		*q = w->questions[--w->questions_count];
	must(w,
	     sl_channel_send(w->d.control_end, SL_IPC_TXN_VERIFY_DONE, &done, sizeof(done), NULL,
	                     0) == 0,
	     "no room to answer");
}

static void ask_lane(struct world *w)
{
	const struct fx_batch b = {.value_bytes = (uint32_t)roll(w, 500)};
	struct sl_ipc_append append = {.cookie = roll(w, 100),
	                               .topic_id = w->topic->id,
	                               .partition = (int32_t)roll(w, PARTITIONS + 1)};
	struct sl_ipc_read read = {.cookie = 1,
	                           .topic_id = w->topic->id,
	                           .partition = (int32_t)roll(w, PARTITIONS + 1),
	                           .bytes_max = (uint32_t)roll(w, 100000)};
	struct sl_records r;

	if (!w->d.lane_end)
		return;
	if (roll(w, 2)) {
		must(w,
		     sl_channel_send(w->d.control_end, SL_IPC_READ, &read, sizeof(read), NULL, 0) ==
		             0,
		     "no room to ask");
		return;
	}
	/* A plain batch is refused: the topic is the clients'. */
	r = roll(w, 8) ? fx_marker(1 + (int64_t)roll(w, 4), (int16_t)roll(w, 2), roll(w, 2), 0)
	               : fx_records(&b);
	must(w,
	     sl_channel_send(w->d.control_end, SL_IPC_APPEND, &append, sizeof(append), r.p,
	                     (size_t)r.len) == 0,
	     "no room to ask");
	free((void *)(uintptr_t)r.p);
}

static void control_step(struct world *w)
{
	switch (roll(w, 40)) {
	case 0:
		if (w->d.lane_end)
			duplex_detach(&w->d);
		w->pending_count = 0;
		w->questions_count = 0;
		break;
	case 1 ... 4:
		if (!w->d.lane_end)
			duplex_attach(&w->d);
		break;
	case 5 ... 9:
		ask_lane(w);
		break;
	default:
		take_messages(w);
		answer_one(w, false);
		answer_question(w, false);
		break;
	}
}

/* ---- The machine ---- */

/* A partition leaves its lane, and comes back once nobody refers to it. */
static void move_partition(struct world *w)
{
	struct partition *p = fx_partition(w->topic, (int32_t)roll(w, PARTITIONS));

	if (!p->is_closing)
		partition_detach(&w->d.fx->ctx, p);
}

static void bring_back(struct world *w)
{
	struct ctx *ctx = &w->d.fx->ctx;
	struct partition *p;

	while ((p = sl_list_first(&ctx->released, struct partition, lane_link))) {
		sl_list_del(&p->lane_link);
		partition_attach(ctx, p);
	}
}

static void squeeze(struct world *w)
{
	size_t cap;

	for (size_t bytes = POOL_BYTES; bytes >= 512; bytes /= 2)
		while (w->squeezed_count < SQUEEZED_MAX &&
		       (w->squeezed[w->squeezed_count] = pool_get(&w->d.fx->ctx.pool, bytes,
		                                                  &cap)) != NULL)
			w->squeezed_count++;
}

static void release(struct world *w)
{
	while (w->squeezed_count > 0)
		pool_put(&w->d.fx->ctx.pool, w->squeezed[--w->squeezed_count]);
}

static void set_now(struct ctx *ctx, int64_t ms)
{
	ctx->now_ms = ms;
	ctx->now_ns = (uint64_t)ms * 1000000;
}

static void machine_step(struct world *w)
{
	struct ctx *ctx = &w->d.fx->ctx;
	void **held = &w->held[roll(w, HELD_MAX)];
	size_t cap;

	switch (roll(w, 16)) {
	case 0: /* somebody else has the memory */
		pool_put(&ctx->pool, *held);
		*held = pool_get(&ctx->pool, (size_t)512 << roll(w, 14), &cap);
		break;
	case 1 ... 2:
		pool_put(&ctx->pool, *held);
		*held = NULL;
		break;
	case 3:
		if (roll(w, 30) == 0)
			move_partition(w);
		break;
	case 4:
		bring_back(w);
		break;
	case 6:
		if (roll(w, 4) == 0)
			squeeze(w);
		break;
	case 7:
		release(w);
		break;
	case 5: /* the disk catches up */
		if (roll(w, 3) == 0)
			fx_settle(w->d.fx);
		break;
	case 8:
		/* The hot tier: mostly room, sometimes none. */
		if (w->d.fx->hot)
			fx_tier(w->d.fx, roll(w, 4) == 0);
		break;
	default:
		set_now(ctx, ctx->now_ms + (int64_t)roll(w, 20));
		break;
	}
}

/* ---- A run ---- */

static void begin(struct world *w, uint64_t seed)
{
	static const size_t long_bytes[] = {4 << 20, 2 << 20, 512 << 10, 128 << 10};
	size_t cap;

	memset(w, 0, sizeof(*w));
	w->seed = w->rng = seed;
	duplex_open(&w->d, POOL_BYTES);
	w->is_timed = seed % 3 == 0;
	w->d.fx->config.request_bytes_max = 1 << 20;
	w->d.fx->config.frame_ms = w->is_timed ? 300 : INT32_MAX;
	w->d.fx->config.idle_ms = w->is_timed ? 500 : INT32_MAX;
	w->d.fx->config.control_grace_ms = w->is_timed ? 100 : INT32_MAX;
	if (seed % 4)
		fx_tier(w->d.fx, false);
	w->topic = fx_topic(w->d.fx, "t", PARTITIONS, NULL);
	/* Half of the runs have to do with what is left of the first 7 MiB, or with less. */
	for (unsigned i = 0; seed % 2 && i < SL_ARRAY_SIZE(w->held_long); i++)
		w->held_long[i] = pool_get(&w->d.fx->ctx.pool, long_bytes[i], &cap);
	for (unsigned i = 0; i < CLIENTS; i++) {
		w->clients[i].fd = -1;
		w->clients[i].out = malloc(OUT_MAX);
		w->clients[i].in = malloc(IN_MAX);
		cr_assert(w->clients[i].out && w->clients[i].in);
	}
}

static bool is_all_answered(const struct world *w)
{
	for (unsigned i = 0; i < CLIENTS; i++) {
		const struct client *c = &w->clients[i];

		if (c->fd >= 0 && !c->is_rude && (c->out_len > 0 || c->asked_head < c->asked_tail))
			return false;
	}
	return true;
}

/* Everybody behaves: what was asked must be answered now. */
static void finish(struct world *w)
{
	struct ctx *ctx = &w->d.fx->ctx;

	for (unsigned i = 0; i < HELD_MAX; i++)
		pool_put(&ctx->pool, w->held[i]);
	for (unsigned i = 0; i < SL_ARRAY_SIZE(w->held_long); i++)
		pool_put(&ctx->pool, w->held_long[i]);
	release(w);
	if (w->d.fx->hot)
		fx_tier(w->d.fx, false);
	if (!w->d.lane_end)
		duplex_attach(&w->d);
	for (unsigned n = 0; n < LAST_ROUNDS && !is_all_answered(w); n++) {
		for (unsigned i = 0; i < CLIENTS; i++) {
			struct client *c = &w->clients[i];

			if (c->fd >= 0)
				send_some(w, c, SIZE_MAX);
			if (c->fd >= 0)
				read_some(w, c, SIZE_MAX);
		}
		(void)duplex_poll(&w->d);
		fx_settle(w->d.fx);
		bring_back(w);
		take_messages(w);
		for (unsigned i = 0; i < 16; i++) {
			answer_one(w, true);
			answer_question(w, true);
		}
		set_now(ctx, ctx->now_ms + 1);
	}
	must(w, is_all_answered(w), "a request was never answered");
}

static void end(struct world *w)
{
	for (unsigned i = 0; i < CLIENTS; i++)
		forget(&w->clients[i]);
	/* What partitions and the control process still want is done, then all connections go. */
	for (unsigned n = 0; n < 100; n++) {
		(void)duplex_poll(&w->d);
		fx_settle(w->d.fx);
		bring_back(w);
		take_messages(w);
		w->pending_count = 0;
		w->questions_count = 0;
	}
	must(w, duplex_stat(&w->d, SL_STAT_connections) == 0, "a connection is left");
	landed += duplex_stat(&w->d, SL_STAT_produces_landed);
	displaced += duplex_stat(&w->d, SL_STAT_landings_displaced);
	stalled += duplex_stat(&w->d, SL_STAT_hot_exhausted);
	verified += duplex_stat(&w->d, SL_STAT_txn_verifies);
	ended += duplex_stat(&w->d, SL_STAT_txn_markers);
	duplex_close(&w->d);
	for (unsigned i = 0; i < CLIENTS; i++) {
		free(w->clients[i].out);
		free(w->clients[i].in);
	}
}

static void run_seed(uint64_t seed)
{
	static struct world w;

	begin(&w, seed);
	for (unsigned step = 0; step < STEPS; step++) {
		for (uint64_t n = roll(&w, 8); n > 0; n--)
			client_step(&w);
		control_step(&w);
		machine_step(&w);
		(void)duplex_poll(&w.d);
	}
	finish(&w);
	cr_expect(w.answers > STEPS / 20, "seed %llu: %llu answers show little",
	          (unsigned long long)seed, (unsigned long long)w.answers);
	end(&w);
}

Test(random, clients_and_control_do_anything)
{
	const char *text = getenv("SL_SEED");

	if (text) {
		run_seed(strtoull(text, NULL, 10));
		return;
	}
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		run_seed(seed);
	cr_expect(landed > SEEDS && displaced > 0 && stalled > SEEDS,
	          "%llu landed, %llu displaced, %llu stalls show little",
	          (unsigned long long)landed, (unsigned long long)displaced,
	          (unsigned long long)stalled);
	cr_expect(verified > SEEDS && ended > SEEDS, "%llu verified, %llu ended show little",
	          (unsigned long long)verified, (unsigned long long)ended);
}
