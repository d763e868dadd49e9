/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections that read.  One fetch is under way on each; its answer is parsed while it arrives.
 * Records that nobody wants to look at are thrown away in the kernel.  Each consumer belongs to one
 * worker thread.
 */
#include "consume.h"

#include <errno.h>
#include <stdlib.h>

#include "errors.h"
#include "sluice/base/clock.h"
#include "sluice/wire/fetch_gen.h"
#include "sluice/wire/kerr.h"

#define IN_BYTES      ((size_t)256 << 10)
#define IN_BYTES_MAX  ((size_t)1 << 30)
#define OUT_BYTES_MAX ((size_t)16 << 20)
/* From this size on records are discarded in the kernel: a call more costs less than copying. */
#define DISCARD_BYTES ((size_t)16 << 10)
/* Enough for the heads between the records of two batches. */
#define PEEK_BYTES    ((size_t)512)

static const struct conn_ops consumer_ops;

int consumer_create(struct worker *w, int reader, const struct sockaddr_storage *addr,
                    struct consumer **out)
{
	struct consumer *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->worker = w;
	c->reader = reader;
	c->addr = *addr;
	c->version = client_version(&w->run->cluster.versions, SL_API_FETCH);
	conn_init(&c->conn, &consumer_ops, c);
	sl_buf_init_grow(&c->out, OUT_BYTES_MAX);
	if (worker_append(&w->consumers, &w->consumers_count, &w->consumers_cap, c) != 0) {
		consumer_destroy(c);
		return -ENOMEM;
	}
	*out = c;
	return conn_reserve(&c->conn, IN_BYTES, IN_BYTES_MAX);
}

int consumer_add(struct consumer *c, int32_t partition, int64_t offset, bool is_whole)
{
	struct fetch_partition *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	*p = (struct fetch_partition){
		.index = partition, .offset = offset, .log_start = -1, .is_whole = is_whole};
	return worker_append(&c->partitions, &c->partitions_count, &c->partitions_cap, p);
}

void consumer_destroy(struct consumer *c)
{
	if (!c)
		return;
	conn_fini(&c->conn);
	sl_buf_fini(&c->out);
	for (int i = 0; i < c->partitions_count; i++) {
		verify_partition_fini(&c->partitions[i]->verify);
		free(c->partitions[i]);
	}
	free(c->partitions);
	free(c);
}

static bool is_same(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* ---- Failure ----------------------------------------------------------------------------------
 */

static void wait_for_leader(struct consumer *c, uint64_t now_ns)
{
	struct run *run = c->worker->run;

	c->state = CONSUMER_WAITING;
	c->wait_version = run_version(run);
	c->wait_until_ns = now_ns + LOAD_BACKOFF_NS;
	run_refresh(run, c->wait_version);
}

static void note_failure(struct consumer *c, uint64_t now_ns)
{
	worker_error(c->worker);
	if (!c->failing_since_ns)
		c->failing_since_ns = now_ns;
}

static void lose_connection(struct consumer *c, uint64_t now_ns)
{
	conn_close(&c->conn);
	note_failure(c, now_ns);
	wait_for_leader(c, now_ns);
}

void consumer_start(struct consumer *c, uint64_t now_ns)
{
	if (conn_open(&c->conn, c->worker->epoll_fd, &c->addr, NULL, now_ns) == 0)
		c->state = CONSUMER_CONNECTING;
	else
		lose_connection(c, now_ns);
}

/* ---- Asking -----------------------------------------------------------------------------------
 */

static int encode_fetch(struct consumer *c)
{
	const struct options *o = c->worker->run->opts;
	struct sl_fetch_req_topic_partition *parts;
	struct sl_arena *arena = &c->worker->arena;
	struct sl_fetch_req_topic topic;
	struct sl_fetch_req req;

	sl_arena_reset(arena);
	parts = sl_arena_alloc_array(arena, (size_t)c->partitions_count, sizeof(*parts));
	if (!parts)
		return -ENOMEM;
	sl_fetch_req_init(&req);
	sl_fetch_req_topic_init(&topic);
	for (int i = 0; i < c->partitions_count; i++) {
		sl_fetch_req_topic_partition_init(&parts[i]);
		parts[i].partition = c->partitions[i]->index;
		parts[i].fetch_offset = c->partitions[i]->offset;
		parts[i].partition_max_bytes = (int32_t)o->max_partition_bytes;
	}
	topic.topic = sl_str_from(o->topic);
	topic.partitions = parts;
	topic.partitions_count = c->partitions_count;
	req.max_wait_ms = (int32_t)o->max_wait_ms;
	req.min_bytes = (int32_t)o->min_bytes;
	req.max_bytes = (int32_t)o->max_bytes;
	req.session_epoch = -1;
	req.topics = &topic;
	req.topics_count = 1;
	sl_buf_reset(&c->out);
	client_begin(&c->out, SL_API_FETCH, c->version, c->next_id);
	sl_fetch_req_encode(&req, &c->out, c->version);
	if (!sl_buf_ok(&c->out))
		return -ENOMEM;
	sl_store_be32(c->out.p, (uint32_t)(c->out.len - 4));
	return 0;
}

/* Writes what is left of the request.  Return: 0, also when the socket is full; -errno. */
static int flush_fetch(struct consumer *c)
{
	while (c->out_pos < c->out.len && c->conn.can_write) {
		struct iovec iov = {c->out.p + c->out_pos, c->out.len - c->out_pos};
		ssize_t n = conn_send(&c->conn, &iov, 1);

		if (n == -EAGAIN || n == -EINTR)
			continue;
		if (n < 0)
			return (int)n;
		c->out_pos += (size_t)n;
	}
	return 0;
}

static int send_fetch(struct consumer *c, uint64_t now_ns)
{
	const struct options *o = c->worker->run->opts;
	int rc = encode_fetch(c);

	if (rc != 0)
		return rc;
	c->state = CONSUMER_FETCHING;
	fetch_begin(&c->fetch, c->version, c->next_id++, o->is_verifying);
	c->out_pos = 0;
	c->sent_ns = now_ns;
	c->fetch_records = c->fetch_bytes = 0;
	c->is_failing = c->is_reset = false;
	return flush_fetch(c);
}

/* ---- What was found ---------------------------------------------------------------------------
 */

static struct fetch_partition *find_partition(void *arg, int32_t index)
{
	struct consumer *c = arg;

	for (int i = 0; i < c->partitions_count; i++)
		if (c->partitions[i]->index == index)
			return c->partitions[i];
	return NULL;
}

static void take_error(void *arg, struct fetch_partition *p, int code)
{
	struct consumer *c = arg;
	struct run *run = c->worker->run;

	if (code == SL_KERR_OFFSET_OUT_OF_RANGE && p) {
		/* Retention was faster: go on with what is left. */
		c->is_reset = true;
		p->offset = -1;
	} else if (!errors_is_retriable(code)) {
		run_fail(run, "fetch from %s-%d: the broker says %s", run->opts->topic,
		         p ? p->index : -1, sl_kerr_name(code));
	}
	c->is_failing = true;
}

/* One value: check it, and time it when that is what the run is for. */
static void see_value(struct consumer *c, struct fetch_partition *p, struct sl_bytes value,
                      uint64_t now_ns)
{
	struct worker *w = c->worker;
	struct verify_mark mark;

	w->total.verify.checked++;
	if (verify_open(value.p, value.len > 0 ? (size_t)value.len : 0, &mark) != 0 ||
	    mark.partition != p->index) {
		w->total.verify.corrupt++;
		return;
	}
	if (!verify_see(&p->verify, &w->total.verify, &mark, p->is_whole))
		return;
	atomic_fetch_add_explicit(&w->run->records_new, 1, memory_order_relaxed);
	if (w->run->opts->mode == LOAD_E2E && run_counts(w->run, mark.due_ns))
		worker_latency(w, now_ns - SL_MIN(mark.due_ns, now_ns));
}

static int see_records(struct consumer *c, struct fetch_partition *p,
                       const struct sl_batch_head *head, const uint8_t *whole)
{
	struct worker *w = c->worker;
	uint64_t now_ns = sl_mono_ns();
	struct sl_record_iter it;
	struct sl_record r;
	int rc;

	sl_arena_reset(&w->arena);
	if (!sl_batch_check_crc(whole, head) ||
	    sl_record_iter_init(&it, whole, head, w->codec, &w->arena) != 0) {
		w->total.verify.checked += (uint64_t)head->records_count;
		w->total.verify.corrupt += (uint64_t)head->records_count;
		return 0;
	}
	while ((rc = sl_record_iter_next(&it, &r)) == 1)
		if (r.offset >= p->offset)
			see_value(c, p, r.value, now_ns);
	w->total.verify.corrupt += rc != 0;
	return 0;
}

static int take_batch(void *arg, struct fetch_partition *p, const struct sl_batch_head *head,
                      const uint8_t *whole)
{
	struct consumer *c = arg;
	/* A fetch begins with the batch that holds the offset, and so perhaps with records before.
	 */
	int64_t before = SL_MAX(p->offset - head->base_offset, INT64_C(0));

	c->fetch_bytes += sl_batch_bytes(head);
	if (sl_batch_is_control(head) || before >= head->records_count)
		return 0;
	c->fetch_records += (uint64_t)(head->records_count - before);
	return whole ? see_records(c, p, head, whole) : 0;
}

/* ---- Receiving --------------------------------------------------------------------------------
 */

/* Receives a piece.  Return: 0; -EAGAIN; -errno. */
static int receive_piece(struct consumer *c)
{
	struct conn *conn = &c->conn;
	struct fetch *f = &c->fetch;
	size_t bytes;
	ssize_t n;
	int rc;

	if (conn_left(conn) == 0 && f->skip >= DISCARD_BYTES) {
		n = conn_discard(conn, f->skip);
		if (n < 0)
			return (int)n;
		f->skip -= (size_t)n;
		f->frame_left -= (size_t)n;
		return 0;
	}
	rc = conn_reserve(conn, SL_MAX(f->wanted, PEEK_BYTES), IN_BYTES_MAX);
	if (rc != 0)
		return rc;
	/* Behind a large batch comes another one, whose records shall stay in the kernel. */
	bytes = f->with_records || f->last_batch_bytes < DISCARD_BYTES ? conn->in_cap
	                                                               : f->skip + PEEK_BYTES;
	n = conn_receive(conn, bytes);
	return n < 0 ? (int)n : 0;
}

/* The end of a finite topic: begin again, as the measurement is longer. */
static void loop_partitions(struct consumer *c)
{
	for (int i = 0; i < c->partitions_count; i++) {
		struct fetch_partition *p = c->partitions[i];

		if (p->offset >= p->high_watermark && p->high_watermark > p->log_start)
			p->offset = SL_MAX(p->log_start, INT64_C(0));
	}
}

/* The answer is complete.  Return: 0; -errno of the next fetch. */
static int end_fetch(struct consumer *c, uint64_t now_ns)
{
	struct worker *w = c->worker;
	struct run *run = w->run;
	uint64_t seen;

	if (run->opts->mode == LOAD_CONSUME && run_counts(run, now_ns))
		worker_latency(w, now_ns - c->sent_ns);
	/* In e2e the requests are those of the producers. */
	worker_count(w, run->opts->mode == LOAD_CONSUME, c->fetch_records, c->fetch_bytes, now_ns);
	seen = c->fetch_records + atomic_fetch_add_explicit(&run->records_seen, c->fetch_records,
	                                                    memory_order_relaxed);
	if (run->opts->mode == LOAD_CONSUME && run->opts->records > 0 &&
	    seen >= (uint64_t)run->opts->records)
		run_stop(run);
	if (c->is_failing) {
		note_failure(c, now_ns);
		wait_for_leader(c, now_ns);
		return 0;
	}
	c->failing_since_ns = 0;
	if (run->opts->is_looping)
		loop_partitions(c);
	return worker_is_over(w, now_ns) ? 0 : send_fetch(c, now_ns);
}

static int read_answers(struct consumer *c, uint64_t *now_ns)
{
	const struct fetch_sink sink = {find_partition, take_error, take_batch, c};
	struct conn *conn = &c->conn;

	while (conn->can_read) {
		int rc = receive_piece(c);
		int64_t n;

		if (rc == -EAGAIN || rc == -EINTR)
			continue;
		if (rc != 0)
			return rc;
		n = fetch_read(&c->fetch, conn->in + conn->in_start, conn_left(conn), &sink);
		if (n < 0)
			return (int)n;
		conn->in_start += (size_t)n;
		if (c->fetch.step != FETCH_END || c->fetch.frame_left > 0)
			continue;
		*now_ns = sl_mono_ns();
		rc = end_fetch(c, *now_ns);
		if (rc != 0 || c->state != CONSUMER_FETCHING)
			return rc;
	}
	return 0;
}

/* ---- Events -----------------------------------------------------------------------------------
 */

static void on_opened(struct conn *conn, uint64_t now_ns)
{
	struct consumer *c = conn->owner;

	if (send_fetch(c, now_ns) != 0)
		lose_connection(c, now_ns);
}

static void on_ready(struct conn *conn, uint64_t now_ns)
{
	struct consumer *c = conn->owner;
	int rc = flush_fetch(c);

	if (rc == 0)
		rc = read_answers(c, &now_ns);
	if (rc != 0)
		lose_connection(c, now_ns);
}

static void on_refused(struct conn *conn, uint64_t now_ns, int err)
{
	(void)err;
	lose_connection(conn->owner, now_ns);
}

static const struct conn_ops consumer_ops = {on_opened, on_ready, on_refused};

/* ---- The way back -----------------------------------------------------------------------------
 */

static struct consumer *consumer_at(struct worker *w, int reader,
                                    const struct sockaddr_storage *addr, uint64_t now_ns)
{
	struct consumer *c;

	for (int i = 0; i < w->consumers_count; i++)
		if (w->consumers[i]->reader == reader && is_same(&w->consumers[i]->addr, addr))
			return w->consumers[i];
	if (consumer_create(w, reader, addr, &c) != 0)
		return NULL;
	consumer_start(c, now_ns);
	return c;
}

/* Newer metadata is there: the partitions go where their leaders are now. */
static void reroute(struct consumer *c, uint64_t now_ns)
{
	struct worker *w = c->worker;
	struct sockaddr_storage own, addr;

	for (int i = 0; i < c->partitions_count; i++)
		if (c->partitions[i]->offset < 0)
			c->partitions[i]->offset = run_earliest(w->run, c->partitions[i]->index);
	if (c->partitions_count > 0 && run_leader(w->run, c->partitions[0]->index, &own) &&
	    !is_same(&own, &c->addr)) {
		conn_close(&c->conn);
		c->addr = own;
	}
	w->total.retries++;
	for (int i = c->partitions_count - 1; i > 0; i--) {
		struct fetch_partition *p = c->partitions[i];
		struct consumer *to;

		if (!run_leader(w->run, p->index, &addr) || is_same(&addr, &c->addr))
			continue;
		to = consumer_at(w, c->reader, &addr, now_ns);
		if (!to || worker_append(&to->partitions, &to->partitions_count,
		                         &to->partitions_cap, p) != 0) {
			run_fail(w->run, "no memory for a connection");
			return;
		}
		c->partitions[i] = c->partitions[--c->partitions_count];
	}
	if (c->conn.state != CONN_OPEN)
		consumer_start(c, now_ns);
	else if (send_fetch(c, now_ns) != 0)
		lose_connection(c, now_ns);
}

/* The pause is over: go on with newer metadata, or ask for it once more, as another thread may have
 * overwritten our word with that of an older version. */
static void go_on(struct consumer *c, uint64_t now_ns)
{
	struct run *run = c->worker->run;

	if (run_version(run) != c->wait_version)
		reroute(c, now_ns);
	else
		run_refresh(run, c->wait_version);
}

void consumer_tick(struct consumer *c, uint64_t now_ns)
{
	struct run *run = c->worker->run;

	if (c->failing_since_ns && now_ns > c->failing_since_ns + LOAD_GIVE_UP_NS)
		run_fail(run, "fetch from %s: no success for %llu s", run->opts->topic,
		         (unsigned long long)(LOAD_GIVE_UP_NS / 1000000000));
	else if (c->state == CONSUMER_WAITING && now_ns >= c->wait_until_ns)
		go_on(c, now_ns);
	else if ((c->state == CONSUMER_FETCHING && now_ns > c->sent_ns + LOAD_ANSWER_NS) ||
	         (c->state == CONSUMER_CONNECTING && now_ns > c->conn.began_ns + LOAD_ANSWER_NS))
		lose_connection(c, now_ns);
}
