/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Functions that every request goes through, one at a time, on data of the size that they meet.
 * Timed by the thread's CPU clock, so that a neighbour on the core costs cache lines but not
 * nanoseconds.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "sluice/base/arena.h"
#include "sluice/base/clock.h"
#include "sluice/base/copy.h"
#include "sluice/base/crc32c.h"
#include "sluice/wire/batch.h"
#include "sluice/wire/produce_gen.h"

#define BATCH_BYTES     65536
#define ARENA_BYTES     65536
#define PRODUCE_VERSION 9
#define RUN_NS          10000000 /* of one timed run; long enough to hide the clock */
#define RUNS            9
#define NOW_MS          INT64_C(1700000000000)
#define COPY_BYTES      16384
#define COPY_AREA_BYTES ((size_t)256 << 20) /* more than caches have */

/* Everything that the timed functions read. */
struct micro {
	struct sl_buf small, large; /* batches: one record of 100 B; 64 KiB of 1 KiB records */
	struct sl_buf request;      /* Produce with the small one */
	struct sl_buf out;
	struct sl_batch_head head; /* of large */
	struct sl_batch_rules rules;
	struct sl_arena arena;
	struct sl_hist hist;
	uint8_t *area; /* that is copied to, one place behind the other */
	size_t area_pos;
};

static int run_crc_small(struct micro *m)
{
	return sl_crc32c(0, m->small.p, m->small.len) == 0;
}

static int run_crc_large(struct micro *m)
{
	return sl_crc32c(0, m->large.p, m->large.len) == 0;
}

static int run_peek(struct micro *m)
{
	return sl_batch_peek(m->large.p, m->large.len, &m->head);
}

static int run_validate_small(struct micro *m)
{
	struct sl_batch_info info;

	return (int)sl_batch_validate(m->small.p, m->small.len, &m->rules, NOW_MS, NULL, &info);
}

static int run_validate_large(struct micro *m)
{
	struct sl_batch_info info;

	return (int)sl_batch_validate(m->large.p, m->large.len, &m->rules, NOW_MS, NULL, &info);
}

static int run_decode(struct micro *m)
{
	struct sl_cursor c = sl_cursor_from(m->request.p, m->request.len);
	struct sl_produce_req req;

	sl_arena_reset(&m->arena);
	return sl_produce_req_decode(&req, &c, &m->arena, PRODUCE_VERSION);
}

static int run_encode(struct micro *m)
{
	struct sl_produce_resp_response_partition_response p;
	struct sl_produce_resp_response t;
	struct sl_produce_resp resp;

	sl_produce_resp_init(&resp);
	sl_produce_resp_response_init(&t);
	sl_produce_resp_response_partition_response_init(&p);
	t.name = sl_str_from("orders");
	t.partition_responses = &p;
	t.partition_responses_count = 1;
	resp.responses = &t;
	resp.responses_count = 1;
	sl_buf_reset(&m->out);
	sl_produce_resp_encode(&resp, &m->out, PRODUCE_VERSION);
	return sl_buf_ok(&m->out) ? 0 : -ENOMEM;
}

static int run_hist(struct micro *m)
{
	sl_hist_add(&m->hist, 12345 + (m->hist.count & 1023));
	return 0;
}

static uint8_t *next_place(struct micro *m)
{
	m->area_pos = m->area_pos + 2 * COPY_BYTES < COPY_AREA_BYTES
	                      ? m->area_pos + COPY_BYTES + 100
	                      : 1;
	return m->area + m->area_pos;
}

static int run_memcpy(struct micro *m)
{
	/* copy: what is timed */
	memcpy(next_place(m), m->large.p, COPY_BYTES);
	return 0;
}

static int run_copy_around(struct micro *m)
{
	sl_copy_around(next_place(m), m->large.p, COPY_BYTES);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(struct micro *m);
	bool is_large; /* works through all bytes of the large batch */
} functions[] = {
	{"crc32c 168 B", run_crc_small, false},
	{"crc32c 64 KiB", run_crc_large, true},
	{"batch_peek", run_peek, false},
	{"batch_validate 1 record", run_validate_small, false},
	{"batch_validate 64 KiB", run_validate_large, true},
	{"produce_req_decode", run_decode, false},
	{"produce_resp_encode", run_encode, false},
	{"hist_add", run_hist, false},
	{"memcpy 16 KiB to cold memory", run_memcpy, false},
	{"copy_around 16 KiB to cold memory", run_copy_around, false},
};

static int build_batch(struct sl_buf *buf, int record_bytes, size_t batch_bytes)
{
	struct sl_batch_builder b;
	struct sl_batch_head head;
	uint8_t *value = malloc((size_t)record_bytes);

	if (!value)
		return -ENOMEM;
	for (int i = 0; i < record_bytes; i++)
		value[i] = (uint8_t)(i * 31 + 7);
	sl_buf_init_grow(buf, (size_t)1 << 20);
	sl_batch_head_init(&head);
	sl_batch_begin(&b, buf, &head);
	do {
		sl_batch_add(&b, NOW_MS, SL_BYTES_NULL, (struct sl_bytes){value, record_bytes});
	} while (sl_buf_ok(buf) && buf->len + (size_t)record_bytes + 16 <= batch_bytes);
	free(value);
	return sl_batch_end(&b);
}

static void build_request(struct micro *m)
{
	struct sl_produce_req_topic_data_partition_data p;
	struct sl_produce_req_topic_data t;
	struct sl_produce_req req;

	sl_produce_req_init(&req);
	sl_produce_req_topic_data_init(&t);
	sl_produce_req_topic_data_partition_data_init(&p);
	p.records = (struct sl_records){.p = m->small.p, .len = (int32_t)m->small.len};
	t.name = sl_str_from("orders");
	t.partition_data = &p;
	t.partition_data_count = 1;
	req.acks = 1;
	req.topic_data = &t;
	req.topic_data_count = 1;
	sl_buf_init_grow(&m->request, (size_t)1 << 20);
	sl_produce_req_encode(&req, &m->request, PRODUCE_VERSION);
}

static int prepare(struct micro *m)
{
	int rc = build_batch(&m->small, 100, 0);

	if (rc == 0)
		rc = build_batch(&m->large, 1024, BATCH_BYTES);
	if (rc == 0)
		rc = sl_arena_create(&m->arena, ARENA_BYTES);
	if (rc != 0)
		return rc;
	m->area = malloc(COPY_AREA_BYTES);
	if (!m->area)
		return -ENOMEM;
	memset(m->area, 1, COPY_AREA_BYTES);
	m->rules.before_max_ms = m->rules.after_max_ms = INT64_MAX;
	build_request(m);
	sl_buf_init_grow(&m->out, (size_t)1 << 20);
	return sl_buf_ok(&m->request) ? 0 : -ENOMEM;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Median nanoseconds per call in @ns.  Return: 0 or what the function returned. */
static int time_calls(struct micro *m, int (*run)(struct micro *), double *ns)
{
	double results[RUNS] = {0};
	uint64_t calls = 1;
	int rc = 0;

	/* The first round of the loop finds how many calls fill the time. */
	for (int i = -1; i < RUNS && rc == 0; i++) {
		uint64_t began = sl_thread_cpu_ns();
		uint64_t took = 0;

		if (i < 0)
			for (; rc == 0 && took < RUN_NS; calls++, took = sl_thread_cpu_ns() - began)
				rc = run(m);
		else
			for (uint64_t n = 0; rc == 0 && n < calls; n++)
				rc = run(m);
		if (i >= 0)
			results[i] = (double)(sl_thread_cpu_ns() - began) / (double)calls;
	}
	qsort(results, RUNS, sizeof(results[0]), compare);
	*ns = results[RUNS / 2];
	return rc;
}

int bench_micro(const struct bench_opts *o)
{
	struct micro *m = calloc(1, sizeof(*m));
	int rc = m ? prepare(m) : -ENOMEM;

	(void)o;
	for (size_t i = 0; rc == 0 && i < SL_ARRAY_SIZE(functions); i++) {
		double ns = 0;

		rc = time_calls(m, functions[i].run, &ns);
		if (rc == 0)
			printf("{\"micro\":\"%s\",\"ns\":%.1f,\"mb_s\":%.0f}\n", functions[i].name,
			       ns, functions[i].is_large ? (double)m->large.len * 1e3 / ns : 0.0);
	}
	if (m) {
		sl_buf_fini(&m->small);
		sl_buf_fini(&m->large);
		sl_buf_fini(&m->request);
		sl_buf_fini(&m->out);
		sl_arena_destroy(&m->arena);
		free(m->area);
	}
	free(m);
	return rc;
}
