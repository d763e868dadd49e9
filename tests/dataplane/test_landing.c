/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records that are received into the log: which requests do, that a client cannot tell, and that
 * nothing is left of those that do not arrive, give way, or have to wait.
 */
#include "request/landing.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "duplex.h"
#include "sluice/wire/produce_gen.h"

#define FRAME_MAX ((size_t)512 << 10)
#define VALUE     60000 /* bytes of a record: half of it is more than a buffer takes at first */
#define HEAD_MAX  256   /* of the frames here */

/* ---- Frames ---- */

struct shape {
	int16_t version;
	int16_t acks;
	int32_t partition;
	const char *topic; /* NULL: "t" */
	const struct sl_uuid *topic_id;
	const char *transactional_id;
	const char *client_id; /* NULL: "me" */
	const struct fx_batch *batch;
	int topics, partitions; /* 0: one */
};

/* A frame with its size and correlation id 9.  Return: bytes. */
static size_t make_frame(const struct shape *s, uint8_t *p)
{
	const struct fx_batch usual = {.value_bytes = VALUE};
	struct sl_records records = fx_records(s->batch ? s->batch : &usual);
	struct sl_produce_req_topic_data_partition_data parts[2] = {
		{.index = s->partition, .records = records},
		{.index = s->partition + 1, .records = records}};
	struct sl_produce_req_topic_data topic = {.name = sl_str_from(s->topic ? s->topic : "t"),
	                                          .partition_data = parts,
	                                          .partition_data_count =
	                                                  s->partitions ? s->partitions : 1};
	struct sl_produce_req_topic_data topics[2];
	struct sl_produce_req body = {.acks = s->acks,
	                              .timeout_ms = 1000,
	                              .transactional_id = sl_str_from(s->transactional_id),
	                              .topic_data = topics,
	                              .topic_data_count = s->topics ? s->topics : 1};
	struct sl_request_head head = {.api_key = SL_API_PRODUCE,
	                               .api_version = s->version,
	                               .correlation_id = 9,
	                               .client_id = sl_str_from(s->client_id ? s->client_id
	                                                                     : "me")};
	struct sl_buf buf;
	size_t bytes;

	if (s->topic_id)
		topic.topic_id = *s->topic_id;
	topics[0] = topics[1] = topic;
	sl_buf_init_grow(&buf, FRAME_MAX);
	sl_buf_put_be32(&buf, 0);
	sl_request_head_encode(&buf, sl_api_find(SL_API_PRODUCE), &head);
	sl_produce_req_encode(&body, &buf, s->version);
	cr_assert(sl_buf_ok(&buf));
	bytes = buf.len;
	sl_store_be32(buf.p, (uint32_t)bytes - 4);
	memcpy(p, buf.p, bytes);
	sl_buf_fini(&buf);
	free((void *)(uintptr_t)records.p);
	return bytes;
}

static enum landing_verdict verdict_of(const uint8_t *frame, size_t frame_bytes,
                                       struct landing_head *head)
{
	return landing_parse(frame + 4, frame_bytes - 4, frame_bytes - 4, head);
}

/* ---- The parser ---- */

/* Decodes the whole frame as produce.c would, and compares. */
static bool is_same(const uint8_t *frame, size_t bytes, const struct landing_head *head)
{
	struct sl_cursor c = sl_cursor_from(frame + 4, bytes - 4);
	const struct sl_produce_req_topic_data_partition_data *part;
	struct sl_request_head decoded;
	struct sl_produce_req body;

	if (sl_request_head_decode(&decoded, &c) != 0 ||
	    sl_produce_req_decode(&body, &c, fx_arena(), decoded.api_version) != 0 ||
	    !sl_cursor_is_done(&c) || body.topic_data_count != 1 ||
	    body.topic_data[0].partition_data_count != 1)
		return false;
	part = body.topic_data[0].partition_data;
	return sl_str_is_null(body.transactional_id) && body.acks == head->acks &&
	       body.timeout_ms == head->timeout_ms && part->index == head->partition &&
	       sl_str_eq(decoded.client_id, head->head.client_id) &&
	       decoded.correlation_id == head->head.correlation_id &&
	       (decoded.api_version >= 13
	                ? sl_uuid_eq(&body.topic_data[0].topic_id, &head->topic_id)
	                : sl_str_eq(body.topic_data[0].name, head->topic)) &&
	       part->records.p == frame + 4 + head->records_pos &&
	       part->records.len == (int32_t)head->records_bytes;
}

Test(landing, knows_every_version_as_soon_as_the_batch_header_is_there)
{
	static uint8_t frame[FRAME_MAX];
	const struct sl_uuid id = {{1, 2, 3}};

	for (int16_t version = 3; version <= 13; version++) {
		const struct shape s = {
			.version = version, .acks = -1, .partition = 7, .topic_id = &id};
		size_t bytes = make_frame(&s, frame);
		struct landing_head head;
		size_t pos = 0;

		for (; landing_parse(frame + 4, pos, bytes - 4, &head) == LANDING_MORE; pos++)
			cr_assert(pos < HEAD_MAX);
		cr_assert(landing_parse(frame + 4, pos, bytes - 4, &head) == LANDING_YES,
		          "version %d", version);
		cr_expect(pos == head.records_pos + SL_BATCH_HEADER_BYTES);
		cr_expect(head.trailer_bytes == (version >= 9 ? 3 : 0));
		cr_expect(is_same(frame, bytes, &head), "version %d", version);
		for (; pos < bytes - 4; pos += 1000)
			cr_expect(landing_parse(frame + 4, pos, bytes - 4, &head) == LANDING_YES);
		cr_expect(landing_decode(frame + 4, head.records_pos, bytes - 4, &head));
	}
}

Test(landing, leaves_alone_whatever_is_not_one_batch_for_one_partition)
{
	static uint8_t frame[FRAME_MAX];
	static char long_id[3000];
	const struct fx_batch transactional = {.value_bytes = VALUE,
	                                       .attributes = SL_BATCH_TRANSACTIONAL};
	const struct shape shapes[] = {{.version = 9, .topics = 2},
	                               {.version = 9, .partitions = 2},
	                               {.version = 9, .transactional_id = "me too"},
	                               {.version = 9, .client_id = long_id},
	                               {.version = 3, .batch = &transactional}};
	const struct shape good = {.version = 8};
	struct landing_head head;
	size_t bytes, pos;

	memset(long_id, 'x', sizeof(long_id) - 1);
	for (size_t i = 0; i < SL_ARRAY_SIZE(shapes); i++) {
		bytes = make_frame(&shapes[i], frame);
		cr_expect(verdict_of(frame, bytes, &head) == LANDING_NO, "case %zu", i);
	}
	bytes = make_frame(&good, frame);
	cr_assert(verdict_of(frame, bytes, &head) == LANDING_YES);
	pos = 4 + head.records_pos;
	frame[pos + SL_BATCH_POS_MAGIC] = 1;
	cr_expect(verdict_of(frame, bytes, &head) == LANDING_NO, "an old message set");
	frame[pos + SL_BATCH_POS_MAGIC] = 2;
	frame[pos + SL_BATCH_POS_LENGTH + 3]++;
	cr_expect(verdict_of(frame, bytes, &head) == LANDING_NO, "a batch that ends elsewhere");
	frame[pos + SL_BATCH_POS_LENGTH + 3]--;
	frame[pos - 1]++;
	cr_expect(verdict_of(frame, bytes, &head) == LANDING_NO, "records that end elsewhere");
	frame[pos - 1]--;
	sl_store_be16(frame + 6, 2);
	cr_expect(verdict_of(frame, bytes, &head) == LANDING_NO, "a version that is not served");
	sl_store_be16(frame + 4, SL_API_FETCH);
	cr_expect(verdict_of(frame, bytes, &head) == LANDING_NO, "another request");
}

static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

Test(landing, agrees_with_the_decoder_whatever_the_bytes)
{
	static uint8_t frame[FRAME_MAX], broken[FRAME_MAX];
	const struct fx_batch small = {.value_bytes = 20};
	uint64_t random = 1;
	unsigned landed = 0;

	for (unsigned n = 0; n < 200000; n++) {
		const struct shape s = {.version = (int16_t)(3 + n % 11), .batch = &small};
		size_t bytes = n < 11 || n % 1000 < 11 ? make_frame(&s, frame) : 0;
		static size_t sizes[11];
		static uint8_t frames[11][HEAD_MAX];
		struct landing_head head;
		size_t have;

		if (bytes) {
			sizes[n % 11] = bytes;
			memcpy(frames[n % 11], frame, bytes);
		}
		bytes = sizes[n % 11];
		memcpy(broken, frames[n % 11], bytes);
		for (uint64_t k = next_random(&random) % 4; k > 0; k--) {
			size_t pos = 4 + next_random(&random) % (bytes - 4);

			uint64_t r = next_random(&random);

			broken[pos] = (uint8_t)(r % 3 ? broken[pos] + 1u : r >> 8);
		}
		have = next_random(&random) % (bytes - 3);
		if (landing_parse(broken + 4, have, bytes - 4, &head) != LANDING_YES)
			continue;
		/* The trailer is looked at when it is there. */
		memset(broken + 4 + head.records_pos + head.records_bytes, 0, head.trailer_bytes);
		cr_assert(is_same(broken, bytes, &head), "input %u", n);
		landed++;
	}
	cr_expect(landed > 1000, "%u say little", landed);
}

/* ---- Clients ---- */

static size_t read_raw(struct duplex *d, int fd, uint8_t *p)
{
	ssize_t n;

	duplex_settle(d);
	n = recv(fd, p, FRAME_MAX, 0);
	return n > 0 ? (size_t)n : 0;
}

static struct sl_produce_resp_response_partition_response answer_of(struct duplex *d, int fd,
                                                                    int16_t version)
{
	static uint8_t p[FRAME_MAX];
	size_t bytes = read_raw(d, fd, p);
	struct sl_cursor c;
	struct sl_produce_resp resp;
	int32_t id;

	cr_assert(bytes > 8, "no answer");
	c = sl_cursor_from(p + 4, bytes - 4);
	cr_assert(sl_response_head_decode(&c, sl_api_find(SL_API_PRODUCE), version, &id) == 0);
	cr_assert(id == 9);
	cr_assert(sl_produce_resp_decode(&resp, &c, fx_arena(), version) == 0);
	return resp.responses[0].partition_responses[0];
}

/* With acks=all the disk is waited for. */
static size_t settled_answer(struct duplex *d, int fd, uint8_t *p)
{
	duplex_settle(d);
	fx_settle(d->fx);
	return read_raw(d, fd, p);
}

/* Compares the log with the record set of @frame, whatever the broker may patch. */
static void check_log(struct partition *p, int64_t offset, const uint8_t *frame)
{
	static uint8_t got[FRAME_MAX];
	struct sl_log_range range;
	struct landing_head head;
	const uint8_t *records;
	const size_t bytes = 4 + (size_t)sl_load_be32(frame);

	cr_assert(verdict_of(frame, bytes, &head) == LANDING_YES);
	records = frame + 4 + head.records_pos;
	cr_assert(sl_log_read(p->log, offset, offset + 1, FRAME_MAX, true, &range) == 0);
	cr_assert(range.bytes == head.records_bytes);
	cr_assert(sl_log_range_copy(p->log, &range, got, sizeof(got)) == (ssize_t)range.bytes);
	sl_log_range_put(p->log, &range);
	cr_expect(memcmp(got + SL_BATCH_POS_MAGIC, records + SL_BATCH_POS_MAGIC,
	                 head.records_bytes - SL_BATCH_POS_MAGIC) == 0);
}

static bool is_idle(struct duplex *d, struct partition *p)
{
	return !p->reservation && p->refs == 1 && d->fx->ctx.pool.used == 0;
}

/* ---- What a client sees ---- */

/* The answer to a frame that arrives in two parts, landed or not. */
static size_t answer_to_parts(const uint8_t *frame, size_t bytes, size_t split, bool is_tier,
                              uint8_t *answer)
{
	struct partition *p;
	struct duplex d;
	size_t n;
	int fd;

	duplex_open(&d, 8 << 20);
	if (is_tier)
		fx_tier(d.fx, false);
	p = fx_partition(fx_topic(d.fx, "t", 1, NULL), 0);
	fd = duplex_client(&d);
	duplex_write(&d, fd, frame, split);
	duplex_settle(&d);
	duplex_write(&d, fd, frame + split, bytes - split);
	n = settled_answer(&d, fd, answer);
	if (sl_log_end(p->log) == 1)
		check_log(p, 0, frame);
	cr_expect(sl_log_end(p->log) <= 1);
	cr_expect(is_idle(&d, p), "something is left");
	close(fd);
	duplex_settle(&d);
	duplex_close(&d);
	return n;
}

static void compare_parts(const uint8_t *frame, size_t bytes, size_t split)
{
	static uint8_t staged[FRAME_MAX], landed[FRAME_MAX];
	size_t staged_bytes = answer_to_parts(frame, bytes, split, false, staged);
	size_t landed_bytes = answer_to_parts(frame, bytes, split, true, landed);

	cr_assert(staged_bytes == landed_bytes && memcmp(staged, landed, staged_bytes) == 0,
	          "split %zu", split);
}

Test(landing, answers_what_staging_answers_wherever_the_frame_is_split)
{
	static uint8_t frame[FRAME_MAX];
	static const int16_t versions[] = {3, 9};

	for (size_t v = 0; v < SL_ARRAY_SIZE(versions); v++) {
		const struct shape s = {.version = versions[v], .acks = -1};
		size_t bytes = make_frame(&s, frame);
		struct landing_head head;
		size_t head_bytes;

		cr_assert(verdict_of(frame, bytes, &head) == LANDING_YES);
		head_bytes = 4 + head.records_pos + SL_BATCH_HEADER_BYTES;
		for (size_t split = 1; split < bytes;
		     split += split < head_bytes + 4 || split >= bytes - 8 ? 1 : 1777) {
			if (split > bytes - 1777 && split < bytes - 8)
				split = bytes - 8;
			compare_parts(frame, bytes, split);
		}
	}
}

Test(landing, answers_what_staging_answers_to_every_kind_of_acks_and_error)
{
	static uint8_t frame[FRAME_MAX];
	const struct fx_batch early = {.value_bytes = VALUE, .timestamp = FX_WALL_MS + 7200000};
	const struct shape shapes[] = {
		{.version = 9, .acks = 0},
		{.version = 9, .acks = 1},
		{.version = 9, .acks = -1},
		{.version = 9, .acks = 2},
		{.version = 9, .acks = 1, .partition = 1},
		{.version = 9, .acks = 1, .topic = "nope"},
		{.version = 9, .acks = 0, .topic = "nope"},
		{.version = 9, .acks = 1, .batch = &early},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(shapes); i++)
		compare_parts(frame, make_frame(&shapes[i], frame), HEAD_MAX);
}

Test(landing, refuses_a_wrong_crc_and_lands_the_next)
{
	static uint8_t frame[FRAME_MAX];
	const struct shape s = {.version = 9, .acks = 1};
	size_t bytes = make_frame(&s, frame);
	struct partition *p;
	struct duplex d;
	int fd;

	frame[bytes - 10] ^= 1;
	compare_parts(frame, bytes, HEAD_MAX);
	duplex_open(&d, 8 << 20);
	fx_tier(d.fx, false);
	p = fx_partition(fx_topic(d.fx, "t", 1, NULL), 0);
	fd = duplex_client(&d);
	duplex_write(&d, fd, frame, bytes);
	cr_expect(answer_of(&d, fd, 9).error_code == SL_KERR_CORRUPT_MESSAGE);
	cr_expect(is_idle(&d, p) && sl_log_end(p->log) == 0);
	frame[bytes - 10] ^= 1;
	duplex_write(&d, fd, frame, bytes);
	cr_expect(answer_of(&d, fd, 9).error_code == 0);
	cr_expect(duplex_stat(&d, SL_STAT_produces_landed) == 2);
	cr_expect(duplex_stat(&d, SL_STAT_produces_staged) == 0);
	check_log(p, 0, frame);
	close(fd);
	duplex_settle(&d);
	duplex_close(&d);
}

Test(landing, closes_on_a_wrong_trailer_with_nothing_appended)
{
	static uint8_t frame[FRAME_MAX];
	const struct shape s = {.version = 9, .acks = 1};
	size_t bytes = make_frame(&s, frame);

	for (size_t i = 1; i <= 3; i++) {
		struct partition *p;
		struct duplex d;
		int fd;

		frame[bytes - i] = 1;
		compare_parts(frame, bytes, HEAD_MAX);
		duplex_open(&d, 8 << 20);
		p = fx_partition(fx_topic(d.fx, "t", 1, NULL), 0);
		fd = duplex_client(&d);
		duplex_write(&d, fd, frame, bytes);
		duplex_settle(&d);
		cr_expect(duplex_read(&d, fd) == -2);
		cr_expect(duplex_stat(&d, SL_STAT_closed_malformed) == 1);
		cr_expect(is_idle(&d, p) && sl_log_end(p->log) == 0);
		close(fd);
		duplex_close(&d);
		frame[bytes - i] = 0;
	}
}

Test(landing, recognises_a_duplicate_and_gives_the_place_back)
{
	static uint8_t frame[FRAME_MAX];
	const struct fx_batch batch = {
		.value_bytes = VALUE, .has_producer = true, .producer_id = 7};
	const struct shape s = {.version = 9, .acks = 1, .batch = &batch};
	size_t bytes = make_frame(&s, frame);
	struct partition *p;
	struct duplex d;
	int fd;

	duplex_open(&d, 8 << 20);
	fx_tier(d.fx, false);
	p = fx_partition(fx_topic(d.fx, "t", 1, NULL), 0);
	fd = duplex_client(&d);
	for (int i = 0; i < 2; i++) {
		struct sl_produce_resp_response_partition_response got;

		duplex_write(&d, fd, frame, bytes);
		got = answer_of(&d, fd, 9);
		cr_expect(got.error_code == 0 && got.base_offset == 0);
		cr_expect(is_idle(&d, p) && sl_log_end(p->log) == 1);
	}
	cr_expect(duplex_stat(&d, SL_STAT_duplicates) == 1);
	cr_expect(duplex_stat(&d, SL_STAT_produces_landed) == 2);
	close(fd);
	duplex_settle(&d);
	duplex_close(&d);
}

Test(landing, receives_pipelined_frames_with_one_call_each)
{
	static uint8_t frames[4 * FRAME_MAX];
	/* As many as fit into the socket. */
	const struct fx_batch batch = {.value_bytes = 50000};
	const struct shape s = {.version = 9, .acks = 1, .batch = &batch};
	size_t bytes = make_frame(&s, frames);
	const int count = 3;
	struct partition *p;
	struct duplex d;
	uint64_t calls;
	int fd;

	for (int i = 1; i < count; i++)
		memcpy(frames + (size_t)i * bytes, frames, bytes);
	duplex_open(&d, 8 << 20);
	fx_tier(d.fx, false);
	p = fx_partition(fx_topic(d.fx, "t", 1, NULL), 0);
	fd = duplex_client(&d);
	/* The first teaches the connection. */
	duplex_write(&d, fd, frames, bytes);
	cr_assert(answer_of(&d, fd, 9).base_offset == 0);
	calls = duplex_stat(&d, SL_STAT_recv_calls);
	duplex_write(&d, fd, frames, (size_t)count * bytes);
	duplex_settle(&d);
	cr_expect(sl_log_end(p->log) == 1 + count);
	cr_expect(duplex_stat(&d, SL_STAT_produces_landed) == 1 + (uint64_t)count);
	/* One more for the first head. */
	calls = duplex_stat(&d, SL_STAT_recv_calls) - calls;
	cr_expect(calls <= (uint64_t)count + 1, "%llu calls", (unsigned long long)calls);
	for (int i = 1; i <= count; i++)
		check_log(p, i, frames);
	close(fd);
	duplex_settle(&d);
	duplex_close(&d);
}

/* ---- Giving way ---- */

/* A lane with a client whose frame has landed by half. */
struct half {
	struct duplex d;
	struct topic *topic;
	struct partition *p;
	int fd;
	uint8_t frame[FRAME_MAX];
	size_t bytes;
};

static struct half *half_create(int16_t acks)
{
	const struct shape s = {.version = 9, .acks = acks};
	struct half *h = calloc(1, sizeof(*h));

	duplex_open(&h->d, 8 << 20);
	fx_tier(h->d.fx, false);
	h->topic = fx_topic(h->d.fx, "t", 2, NULL);
	h->p = fx_partition(h->topic, 0);
	h->fd = duplex_client(&h->d);
	h->bytes = make_frame(&s, h->frame);
	duplex_write(&h->d, h->fd, h->frame, h->bytes / 2);
	duplex_settle(&h->d);
	cr_assert(h->p->reservation && h->p->refs == 2);
	cr_assert(h->d.sessions->conns[0].landing.bytes > VALUE);
	return h;
}

static void half_send_rest(struct half *h)
{
	duplex_write(&h->d, h->fd, h->frame + h->bytes / 2, h->bytes - h->bytes / 2);
	duplex_settle(&h->d);
}

static void half_destroy(struct half *h)
{
	close(h->fd);
	duplex_settle(&h->d);
	fx_settle(h->d.fx);
	cr_expect(is_idle(&h->d, h->p));
	duplex_close(&h->d);
	free(h);
}

Test(landing, gives_way_to_another_append_and_goes_on)
{
	struct half *h = half_create(1);

	cr_expect(fx_append(h->d.fx, h->p, 100) == 0);
	cr_expect(!h->p->reservation && h->p->refs == 1);
	cr_expect(duplex_stat(&h->d, SL_STAT_landings_displaced) == 1);
	half_send_rest(h);
	cr_expect(answer_of(&h->d, h->fd, 9).base_offset == 1);
	check_log(h->p, 1, h->frame);
	cr_expect(duplex_stat(&h->d, SL_STAT_produces_staged) == 1);
	half_destroy(h);
}

Test(landing, gives_way_to_another_connection)
{
	struct half *h = half_create(-1);
	int other = duplex_client(&h->d);
	static uint8_t frame[FRAME_MAX];
	const struct shape s = {.version = 3, .acks = 1};

	duplex_write(&h->d, other, frame, make_frame(&s, frame));
	cr_expect(answer_of(&h->d, other, 3).base_offset == 0);
	half_send_rest(h);
	fx_settle(h->d.fx);
	cr_expect(answer_of(&h->d, h->fd, 9).base_offset == 1);
	check_log(h->p, 0, frame);
	check_log(h->p, 1, h->frame);
	cr_expect(duplex_stat(&h->d, SL_STAT_landings_displaced) == 1);
	close(other);
	half_destroy(h);
}

Test(landing, waits_where_others_append_until_all_has_arrived)
{
	struct half *h = half_create(1);

	(void)fx_append(h->d.fx, h->p, 100);
	half_send_rest(h);
	cr_assert(answer_of(&h->d, h->fd, 9).base_offset == 1);
	/* Half of a frame: into the buffer, where nobody can displace it. */
	duplex_write(&h->d, h->fd, h->frame, h->bytes / 2);
	duplex_settle(&h->d);
	cr_expect(!h->p->reservation);
	half_send_rest(h);
	cr_assert(answer_of(&h->d, h->fd, 9).base_offset == 2);
	cr_expect(duplex_stat(&h->d, SL_STAT_produces_landed) == 0);
	/* All of it: in one call, with which nobody can interfere. */
	duplex_write(&h->d, h->fd, h->frame, h->bytes);
	cr_assert(answer_of(&h->d, h->fd, 9).base_offset == 3);
	/* And a second later as if nothing had been. */
	h->d.fx->ctx.now_ms += 1000;
	duplex_write(&h->d, h->fd, h->frame, h->bytes / 2);
	duplex_settle(&h->d);
	cr_expect(h->p->reservation);
	half_send_rest(h);
	cr_assert(answer_of(&h->d, h->fd, 9).base_offset == 4);
	cr_expect(duplex_stat(&h->d, SL_STAT_produces_landed) == 2);
	cr_expect(duplex_stat(&h->d, SL_STAT_landings_displaced) == 1);
	half_destroy(h);
}

/* All memory of the lane. */
struct squeeze {
	void *blocks[256];
	unsigned count;
};

static void squeeze(struct duplex *d, struct squeeze *q)
{
	size_t cap;

	q->count = 0;
	for (size_t bytes = 8 << 20; bytes >= 512; bytes /= 2)
		while (q->count < SL_ARRAY_SIZE(q->blocks) &&
		       (q->blocks[q->count] = pool_get(&d->fx->ctx.pool, bytes, &cap)))
			q->count++;
}

static void release(struct duplex *d, struct squeeze *q)
{
	while (q->count > 0)
		pool_put(&d->fx->ctx.pool, q->blocks[--q->count]);
}

Test(landing, keeps_its_place_while_there_is_no_memory_to_move_to)
{
	struct half *h = half_create(1);
	const struct fx_batch b = {.value_bytes = 10};
	struct sl_records r = fx_records(&b);
	struct ctx *ctx = &h->d.fx->ctx;
	struct sl_log_append io = {0};
	enum sl_kerr kerr;
	struct squeeze q;
	uint64_t relief;

	squeeze(&h->d, &q);
	cr_expect(partition_append(ctx, h->p, (void *)(uintptr_t)r.p, (size_t)r.len, &io, &kerr) ==
	          PARTITION_NO_BUFFER);
	cr_expect(kerr == SL_KERR_NONE && h->p->reservation && sl_log_end(h->p->log) == 0);
	release(&h->d, &q);
	/* It ends in its own way: who waited for the place is told. */
	relief = ctx_relief(ctx, CTX_LACK_BUFFERS) - ctx->pool.puts;
	half_send_rest(h);
	cr_expect(ctx_relief(ctx, CTX_LACK_BUFFERS) - ctx->pool.puts > relief);
	cr_expect(answer_of(&h->d, h->fd, 9).base_offset == 0);
	cr_expect(partition_append(ctx, h->p, (void *)(uintptr_t)r.p, (size_t)r.len, &io, &kerr) ==
	          PARTITION_APPENDED);
	free((void *)(uintptr_t)r.p);
	half_destroy(h);
}

Test(landing, leaves_nothing_behind_when_the_client_goes)
{
	struct half *h = half_create(1);

	close(h->fd);
	duplex_settle(&h->d);
	cr_expect(is_idle(&h->d, h->p) && sl_log_end(h->p->log) == 0);
	cr_expect(fx_append(h->d.fx, h->p, 10) == 0);
	h->fd = duplex_client(&h->d);
	half_destroy(h);
}

Test(landing, leaves_nothing_behind_when_the_lane_ends)
{
	struct half *h = half_create(1);

	duplex_close(&h->d);
	close(h->fd);
	free(h);
}

Test(landing, is_closed_when_the_rest_does_not_come)
{
	struct half *h = half_create(1);

	h->d.fx->ctx.now_ms += h->d.fx->config.frame_ms;
	duplex_settle(&h->d);
	cr_expect(duplex_stat(&h->d, SL_STAT_closed_slow_frame) == 1);
	cr_expect(is_idle(&h->d, h->p));
	half_destroy(h);
}

static void take_back(struct half *h)
{
	struct ctx *ctx = &h->d.fx->ctx;
	struct partition *p = sl_list_first(&ctx->released, struct partition, lane_link);

	cr_assert(p == h->p, "nobody gave it up");
	sl_list_del(&p->lane_link);
	partition_attach(ctx, p);
}

Test(landing, is_told_that_its_partition_has_left)
{
	struct half *h = half_create(1);

	partition_detach(&h->d.fx->ctx, h->p);
	cr_expect(!h->p->reservation && h->p->refs == 0);
	half_send_rest(h);
	cr_expect(answer_of(&h->d, h->fd, 9).error_code == SL_KERR_NOT_LEADER_OR_FOLLOWER);
	take_back(h);
	cr_expect(sl_log_end(h->p->log) == 0);
	half_destroy(h);
}

Test(landing, holds_a_partition_that_leaves_while_there_is_no_memory_to_move_to)
{
	struct half *h = half_create(1);
	struct fx *fx = h->d.fx;
	const uint8_t *memory = h->p->reservation->memory;
	struct squeeze q;

	squeeze(&h->d, &q);
	partition_detach(&fx->ctx, h->p);
	cr_expect(h->p->reservation && sl_list_is_empty(&fx->ctx.released));
	release(&h->d, &q);
	/* The others take all the memory there is: not that which records still arrive in. */
	fx_tier(fx, true);
	for (uint32_t i = 0; i < fx->hogs_count; i++)
		cr_expect(memory < fx->hogs[i]->p || memory >= fx->hogs[i]->p + fx->hogs[i]->bytes,
		          "it was given away");
	half_send_rest(h);
	fx_tier(fx, false);
	cr_expect(answer_of(&h->d, h->fd, 9).error_code == SL_KERR_NOT_LEADER_OR_FOLLOWER);
	take_back(h);
	cr_expect(sl_log_end(h->p->log) == 0);
	half_destroy(h);
}

Test(landing, is_told_that_its_partition_is_offline)
{
	struct half *h = half_create(1);

	partition_dir_offline(&h->d.fx->ctx, 0, -EIO);
	half_send_rest(h);
	cr_expect(answer_of(&h->d, h->fd, 9).error_code == SL_KERR_KAFKA_STORAGE_ERROR);
	half_destroy(h);
}

Test(landing, takes_the_leader_epoch_that_holds_when_it_is_complete)
{
	struct half *h = half_create(1);

	h->p->leader_epoch++;
	half_send_rest(h);
	cr_expect(answer_of(&h->d, h->fd, 9).error_code == 0);
	cr_expect(sl_log_epoch(h->p->log) == h->p->leader_epoch);
	half_destroy(h);
}

/* ---- Waiting for room ---- */

/* A landing connection whose partition is all on disk, so that no sync of its own makes room. */
static struct half *whole_create(void)
{
	struct half *h = half_create(-1);

	half_send_rest(h);
	fx_settle(h->d.fx);
	cr_assert(answer_of(&h->d, h->fd, 9).base_offset == 0);
	return h;
}

/* A group commit on another partition. */
static void sync_other(struct half *h)
{
	static uint8_t frame[FRAME_MAX];
	const struct fx_batch b = {.value_bytes = 1};
	const struct shape s = {.version = 9, .acks = -1, .partition = 1, .batch = &b};
	int fd = duplex_client(&h->d);

	duplex_write(&h->d, fd, frame, make_frame(&s, frame));
	duplex_settle(&h->d);
	fx_settle(h->d.fx);
	cr_expect(answer_of(&h->d, fd, 9).error_code == 0);
	close(fd);
	duplex_settle(&h->d);
}

Test(landing, rests_while_the_tier_is_full_and_goes_on_after_a_write)
{
	struct half *h = whole_create();

	fx_tier(h->d.fx, true);
	duplex_write(&h->d, h->fd, h->frame, h->bytes);
	duplex_settle(&h->d);
	cr_expect(sl_log_end(h->p->log) == 1 && !h->p->reservation);
	cr_expect(duplex_stat(&h->d, SL_STAT_hot_exhausted) == 1);
	cr_expect(sessions_next_ms(h->d.sessions) > h->d.fx->ctx.now_ms, "the lane may sleep");
	fx_tier(h->d.fx, false);
	duplex_settle(&h->d);
	cr_expect(sl_log_end(h->p->log) == 1, "nobody has said that there is room");
	sync_other(h);
	fx_settle(h->d.fx);
	cr_expect(answer_of(&h->d, h->fd, 9).base_offset == 1);
	check_log(h->p, 1, h->frame);
	cr_expect(duplex_stat(&h->d, SL_STAT_produces_landed) == 2);
	half_destroy(h);
}

Test(landing, looks_after_a_while_whether_the_tier_has_room)
{
	struct half *h = whole_create();

	fx_tier(h->d.fx, true);
	duplex_write(&h->d, h->fd, h->frame, h->bytes);
	duplex_settle(&h->d);
	fx_tier(h->d.fx, false);
	h->d.fx->ctx.now_ms = sessions_next_ms(h->d.sessions);
	duplex_settle(&h->d);
	fx_settle(h->d.fx);
	cr_expect(answer_of(&h->d, h->fd, 9).base_offset == 1);
	half_destroy(h);
}

Test(landing, appends_a_staged_batch_once_when_the_tier_has_room_again)
{
	struct half *h = whole_create();
	static uint8_t frame[FRAME_MAX];
	const struct fx_batch b = {.value_bytes = 100};
	const struct shape s = {.version = 9, .acks = 1, .batch = &b};

	fx_tier(h->d.fx, true);
	duplex_write(&h->d, h->fd, frame, make_frame(&s, frame));
	duplex_settle(&h->d);
	cr_expect(sl_log_end(h->p->log) == 1);
	cr_expect(h->d.sessions->conns[0].holder, "its frame must stay");
	cr_expect(sessions_next_ms(h->d.sessions) > h->d.fx->ctx.now_ms);
	fx_tier(h->d.fx, false);
	sync_other(h);
	cr_expect(answer_of(&h->d, h->fd, 9).base_offset == 1);
	cr_expect(sl_log_end(h->p->log) == 2);
	half_destroy(h);
}

Test(landing, rests_while_the_pool_is_empty_and_goes_on_when_memory_comes_back)
{
	struct half *h = whole_create();
	struct squeeze q;
	int fd;

	squeeze(&h->d, &q);
	duplex_write(&h->d, h->fd, h->frame, h->bytes);
	fd = duplex_client(&h->d);
	duplex_write(&h->d, fd, h->frame, h->bytes);
	duplex_settle(&h->d);
	cr_expect(duplex_stat(&h->d, SL_STAT_buffer_exhausted) >= 2);
	cr_expect(sessions_next_ms(h->d.sessions) > h->d.fx->ctx.now_ms, "the lane may sleep");
	release(&h->d, &q);
	cr_expect(sessions_next_ms(h->d.sessions) == h->d.fx->ctx.now_ms);
	duplex_settle(&h->d);
	fx_settle(h->d.fx);
	cr_expect(answer_of(&h->d, h->fd, 9).error_code == 0);
	cr_expect(answer_of(&h->d, fd, 9).error_code == 0);
	cr_expect(sl_log_end(h->p->log) == 3);
	close(fd);
	half_destroy(h);
}
