/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Produce, fetch and end-to-end profiles.  A connection has a thread and a partition of its own.
 * Latency of e2e is counted from when a record was due, not from when it could be sent, so that a
 * stall is not hidden (no coordinated omission).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bench.h"
#include "client.h"
#include "sluice/base/clock.h"
#include "sluice/wire/batch.h"
#include "sluice/wire/fetch_gen.h"
#include "sluice/wire/kerr.h"
#include "sluice/wire/produce_gen.h"

#define PROFILES_PRODUCE_VERSION 9
#define PROFILES_FETCH_VERSION   12
#define PROFILES_FETCH_BYTES     (8 << 20)

static int find_places(const struct bench_opts *o, struct client_place *places)
{
	struct client c;
	int rc = client_open(&c, o->host, o->port);

	if (rc == 0) {
		rc = client_create_topic(&c, o->topic, o->partitions);
		if (rc == 0 || rc == -EEXIST)
			rc = client_places(&c, o->topic, places, BENCH_THREADS_MAX);
	}
	client_close(&c);
	return rc;
}

/* Runs one worker per connection against the partitions' leaders. */
static int run_all(const struct bench_opts *o, const char *name, int (*run)(struct bench_worker *))
{
	struct client_place places[BENCH_THREADS_MAX];
	struct bench_worker *w = aligned_alloc(SL_CACHE_LINE, sizeof(*w) * (BENCH_THREADS_MAX + 1));
	int rc = find_places(o, places);

	if (!w || rc <= 0) {
		free(w);
		return rc < 0 ? rc : -ENOENT;
	}
	memset(w, 0, sizeof(*w) * (BENCH_THREADS_MAX + 1));
	for (int i = 0; i < o->connections; i++)
		w[i] = (struct bench_worker){
			.opts = o, .index = i % rc, .run = run, .arg = &places[i % rc]};
	rc = bench_run(w, o->connections, &w[BENCH_THREADS_MAX]);
	if (rc == 0)
		bench_print(name, &w[BENCH_THREADS_MAX]);
	free(w);
	return rc;
}

/* ---- Produce ---- */

/* Return: records in the batch, or -errno. */
static int build_batch(struct sl_buf *buf, int record_bytes, int batch_bytes)
{
	struct sl_batch_builder b;
	struct sl_batch_head head;
	uint8_t *value = malloc((size_t)record_bytes);
	int count = 0;

	if (!value)
		return -ENOMEM;
	for (int i = 0; i < record_bytes; i++)
		value[i] = (uint8_t)(i * 31 + 7);
	sl_batch_head_init(&head);
	sl_batch_begin(&b, buf, &head);
	do {
		sl_batch_add(&b, sl_wall_ms(), SL_BYTES_NULL,
		             (struct sl_bytes){value, record_bytes});
		count++;
	} while (sl_buf_ok(buf) && (count + 1) * (record_bytes + 12) <= batch_bytes);
	free(value);
	return sl_batch_end(&b) == 0 ? count : -ENOMEM;
}

static void put_produce(struct client *c, const struct bench_worker *w, const struct sl_buf *batch)
{
	struct sl_produce_req_topic_data_partition_data p;
	struct sl_produce_req_topic_data t;
	struct sl_produce_req req;

	sl_produce_req_init(&req);
	sl_produce_req_topic_data_init(&t);
	sl_produce_req_topic_data_partition_data_init(&p);
	p.index = w->index;
	p.records = (struct sl_records){.p = batch->p, .len = (int32_t)batch->len};
	t.name = sl_str_from(w->opts->topic);
	t.partition_data = &p;
	t.partition_data_count = 1;
	req.acks = (int16_t)w->opts->acks;
	req.timeout_ms = 30000;
	req.topic_data = &t;
	req.topic_data_count = 1;
	client_begin(c, sl_api_find(SL_API_PRODUCE), PROFILES_PRODUCE_VERSION);
	sl_produce_req_encode(&req, &c->out, PROFILES_PRODUCE_VERSION);
}

static int take_produce(struct client *c)
{
	struct sl_produce_resp resp;
	struct sl_cursor body;
	int rc = client_receive(c, sl_api_find(SL_API_PRODUCE), PROFILES_PRODUCE_VERSION, &body);

	if (rc == 0)
		rc = sl_produce_resp_decode(&resp, &body, &c->arena, PROFILES_PRODUCE_VERSION);
	if (rc != 0)
		return rc;
	if (resp.responses_count != 1 || resp.responses[0].partition_responses_count != 1)
		return -EBADMSG;
	if (resp.responses[0].partition_responses[0].error_code == SL_KERR_NONE)
		return 0;
	fprintf(stderr, "produce: %s\n",
	        sl_kerr_name(resp.responses[0].partition_responses[0].error_code));
	return -EIO;
}

/* Keeps in_flight requests under way and times each from its sending. */
static int produce_loop(struct bench_worker *w, struct client *c, const struct sl_buf *frame,
                        int records, size_t batch_bytes)
{
	uint64_t sent_ns[1000];
	uint64_t sent = 0, got = 0;
	uint64_t now = sl_mono_ns();
	int rc = 0;

	while (rc == 0 && now < w->end_ns) {
		while (rc == 0 && sent - got < (uint64_t)w->opts->in_flight) {
			sent_ns[sent++ % SL_ARRAY_SIZE(sent_ns)] = sl_mono_ns();
			rc = client_send_raw(c, frame->p, frame->len);
		}
		if (rc == 0)
			rc = take_produce(c);
		now = sl_mono_ns();
		if (rc == 0 && bench_counts(w, now)) {
			w->requests++;
			w->records += (uint64_t)records;
			w->bytes += batch_bytes;
			sl_hist_add(&w->latency_ns, now - sent_ns[got % SL_ARRAY_SIZE(sent_ns)]);
		}
		got++;
	}
	while (rc == 0 && got++ < sent)
		rc = take_produce(c);
	return rc;
}

static int produce_run(struct bench_worker *w)
{
	const struct client_place *place = w->arg;
	struct sl_buf batch;
	struct client c;
	int records, rc;

	sl_buf_init_grow(&batch,
	                 (size_t)w->opts->batch_bytes + (size_t)w->opts->record_bytes + 4096);
	records = build_batch(&batch, w->opts->record_bytes, w->opts->batch_bytes);
	rc = client_open(&c, place->host, place->port);
	if (rc == 0 && records < 0)
		rc = records;
	if (rc == 0) {
		put_produce(&c, w, &batch);
		if (!sl_buf_ok(&c.out))
			rc = -ENOMEM;
	}
	if (rc == 0) {
		sl_store_be32(c.out.p, (uint32_t)(c.out.len - 4));
		rc = produce_loop(w, &c, &c.out, records, batch.len);
	}
	client_close(&c);
	sl_buf_fini(&batch);
	return rc;
}

int bench_produce(const struct bench_opts *o)
{
	return run_all(o, "produce", produce_run);
}

/* ---- Fetch ---- */

static int ask_fetch(struct client *c, const struct bench_worker *w, int64_t offset)
{
	struct sl_fetch_req_topic_partition p;
	struct sl_fetch_req_topic t;
	struct sl_fetch_req req;

	sl_fetch_req_init(&req);
	sl_fetch_req_topic_init(&t);
	sl_fetch_req_topic_partition_init(&p);
	p.partition = w->index;
	p.fetch_offset = offset;
	p.partition_max_bytes = PROFILES_FETCH_BYTES;
	t.topic = sl_str_from(w->opts->topic);
	t.partitions = &p;
	t.partitions_count = 1;
	req.max_wait_ms = 500;
	req.min_bytes = 1;
	req.max_bytes = PROFILES_FETCH_BYTES;
	req.session_epoch = -1;
	req.topics = &t;
	req.topics_count = 1;
	client_begin(c, sl_api_find(SL_API_FETCH), PROFILES_FETCH_VERSION);
	sl_fetch_req_encode(&req, &c->out, PROFILES_FETCH_VERSION);
	return client_send(c);
}

/* The records of the answer and the high watermark. */
static int take_fetch(struct client *c, struct sl_records *records, int64_t *high_watermark)
{
	struct sl_fetch_resp resp;
	struct sl_cursor body;
	int rc = client_receive(c, sl_api_find(SL_API_FETCH), PROFILES_FETCH_VERSION, &body);

	if (rc == 0)
		rc = sl_fetch_resp_decode(&resp, &body, &c->arena, PROFILES_FETCH_VERSION);
	if (rc != 0)
		return rc;
	if (resp.error_code != SL_KERR_NONE || resp.responses_count != 1 ||
	    resp.responses[0].partitions_count != 1)
		return -EBADMSG;
	if (resp.responses[0].partitions[0].error_code != SL_KERR_NONE) {
		fprintf(stderr, "fetch: %s\n",
		        sl_kerr_name(resp.responses[0].partitions[0].error_code));
		return -EIO;
	}
	*records = resp.responses[0].partitions[0].records;
	*high_watermark = resp.responses[0].partitions[0].high_watermark;
	return 0;
}

/* Walks complete batches.  Return: offset after the last one; *count its records. */
static int64_t walk(const struct sl_records *records, int64_t offset, uint64_t *count)
{
	const uint8_t *p = records->p;
	size_t left = records->len > 0 ? (size_t)records->len : 0;
	struct sl_batch_head h;

	*count = 0;
	while (left > 0 && sl_batch_peek(p, left, &h) == 0) {
		offset = sl_batch_last_offset(&h) + 1;
		*count += (uint64_t)h.records_count;
		left -= sl_batch_bytes(&h);
		p += sl_batch_bytes(&h);
	}
	return offset;
}

static int fetch_run(struct bench_worker *w)
{
	const struct client_place *place = w->arg;
	int64_t offset = 0, high_watermark;
	uint64_t now = 0;
	struct client c;
	int rc = client_open(&c, place->host, place->port);

	while (rc == 0 && now < w->end_ns) {
		uint64_t began = sl_mono_ns();
		struct sl_records records;
		uint64_t count;

		rc = ask_fetch(&c, w, offset);
		if (rc == 0)
			rc = take_fetch(&c, &records, &high_watermark);
		if (rc != 0)
			break;
		offset = walk(&records, offset, &count);
		now = sl_mono_ns();
		if (bench_counts(w, now)) {
			w->requests++;
			w->records += count;
			w->bytes += (uint64_t)SL_MAX(records.len, 0);
			sl_hist_add(&w->latency_ns, now - began);
		}
		if (offset >= high_watermark)
			offset = 0; /* Read it all again: the topic is finite, the measurement is
			               not. */
	}
	client_close(&c);
	return rc;
}

int bench_fetch(const struct bench_opts *o)
{
	return run_all(o, "fetch", fetch_run);
}

/* ---- End to end ---- */

/* Consumes from the end of its partition; each value begins with when it was due. */
static int e2e_consume(struct bench_worker *w)
{
	const struct client_place *place = w->arg;
	int64_t offset = INT64_MAX, high_watermark;
	struct client c;
	int rc = client_open(&c, place->host, place->port);

	offset = 0;
	while (rc == 0 && sl_mono_ns() < w->end_ns + 100000000) {
		struct sl_record_iter it;
		struct sl_records records;
		struct sl_batch_head h;
		struct sl_record r;

		rc = ask_fetch(&c, w, offset);
		if (rc == 0)
			rc = take_fetch(&c, &records, &high_watermark);
		uint64_t now = sl_mono_ns();
		const uint8_t *p = records.p;
		size_t left = rc == 0 && records.len > 0 ? (size_t)records.len : 0;

		while (left > 0 && sl_batch_peek(p, left, &h) == 0) {
			if (sl_record_iter_init(&it, p, &h, NULL, NULL) != 0)
				return -EBADMSG;
			while (sl_record_iter_next(&it, &r) == 1) {
				uint64_t due = r.value.len >= 8 ? sl_load_be64(r.value.p) : 0;

				if (!bench_counts(w, due))
					continue;
				w->records++;
				w->bytes += (uint64_t)r.value.len;
				sl_hist_add(&w->latency_ns, now - SL_MIN(due, now));
			}
			offset = sl_batch_last_offset(&h) + 1;
			left -= sl_batch_bytes(&h);
			p += sl_batch_bytes(&h);
		}
	}
	client_close(&c);
	return rc;
}

static void sleep_until(uint64_t due_ns)
{
	struct timespec ts = {.tv_sec = (time_t)(due_ns / 1000000000),
	                      .tv_nsec = (long)(due_ns % 1000000000)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

/* Open loop: record i is due at start + i / rate, whatever happened to the ones before. */
static int e2e_produce(struct bench_worker *w)
{
	const struct client_place *place = w->arg;
	uint64_t step = (uint64_t)(1e9 / w->opts->rate * w->opts->connections);
	uint8_t *value = calloc(1, (size_t)w->opts->record_bytes);
	uint64_t due = sl_mono_ns();
	struct sl_buf batch;
	struct client c;
	int rc = client_open(&c, place->host, place->port);

	if (!value)
		rc = -ENOMEM;
	sl_buf_init_grow(&batch, (size_t)w->opts->record_bytes + 4096);
	for (; rc == 0 && due < w->end_ns; due += step) {
		struct sl_batch_builder b;
		struct sl_batch_head head;

		sleep_until(due);
		sl_store_be64(value, due);
		sl_buf_reset(&batch);
		sl_batch_head_init(&head);
		sl_batch_begin(&b, &batch, &head);
		sl_batch_add(&b, sl_wall_ms(), SL_BYTES_NULL,
		             (struct sl_bytes){value, w->opts->record_bytes});
		rc = sl_batch_end(&b);
		put_produce(&c, w, &batch);
		if (rc == 0)
			rc = client_send(&c);
		if (rc == 0)
			rc = take_produce(&c);
	}
	client_close(&c);
	sl_buf_fini(&batch);
	free(value);
	return rc;
}

int bench_e2e(const struct bench_opts *o)
{
	struct client_place places[BENCH_THREADS_MAX];
	struct bench_worker *w = aligned_alloc(SL_CACHE_LINE, sizeof(*w) * (BENCH_THREADS_MAX + 1));
	struct bench_worker *sum = &w[BENCH_THREADS_MAX];
	int pairs = SL_MIN(o->connections, BENCH_THREADS_MAX / 2);
	int rc = w ? find_places(o, places) : -ENOMEM;

	if (rc <= 0) {
		free(w);
		return rc < 0 ? rc : -ENOENT;
	}
	memset(w, 0, sizeof(*w) * (BENCH_THREADS_MAX + 1));
	for (int i = 0; i < 2 * pairs; i++)
		w[i] = (struct bench_worker){.opts = o,
		                             .index = (i / 2) % rc,
		                             .run = i % 2 ? e2e_produce : e2e_consume,
		                             .arg = &places[(i / 2) % rc]};
	rc = bench_run(w, 2 * pairs, sum);
	if (rc == 0)
		bench_print("e2e", sum);
	free(w);
	return rc;
}
