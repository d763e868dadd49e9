/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections that write.  A request is a frame head of its own, the shared or built records and a
 * constant tail, handed to the socket in one sendmsg() with those behind it.  After an error
 * nothing new is sent until all answers are in; then what failed is sent again in its old order, so
 * that the numbers of idempotent producers stay in order.  Each producer belongs to one worker
 * thread.
 */
#include "produce.h"

#include <errno.h>
#include <stdlib.h>

#include "errors.h"
#include "sluice/base/assert.h"
#include "sluice/base/clock.h"
#include "sluice/wire/kerr.h"
#include "sluice/wire/produce_gen.h"

#define PRODUCE_TIMEOUT_MS    30000
#define PRODUCE_IN_BYTES      65536
#define PRODUCE_IN_MAX        ((size_t)1 << 20)
#define PRODUCE_GATHER        64 /* requests in one sendmsg() */
#define POS_CORRELATION_ID    8  /* in a frame: size, key, version before it */
#define PRODUCE_FLEXIBLE_FROM 9

struct request {
	struct sl_list link;
	struct stream *stream;
	int32_t records;
	int32_t id; /* correlation id of the last attempt */
	bool is_repeated;
	uint64_t first; /* the stream's number of the first record */
	uint64_t began_ns;
	uint64_t sent_ns; /* the last attempt */
	size_t batch_bytes;
	const uint8_t *body; /* shared or in own */
	size_t body_bytes;   /* 0: all is in head */
	size_t tail_bytes;
	size_t head_bytes;
	uint8_t head[PRODUCE_HEAD_BYTES];
	struct sl_buf own;
};

/* The empty tag sections behind the records of a flexible version. */
static const uint8_t tail[3];

static const struct conn_ops producer_ops;

int producer_create(struct worker *w, const struct sockaddr_storage *addr, struct producer **out)
{
	struct producer *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->worker = w;
	p->addr = *addr;
	p->version = client_version(&w->run->cluster.versions, SL_API_PRODUCE);
	conn_init(&p->conn, &producer_ops, p);
	sl_list_init(&p->ready);
	sl_list_init(&p->sent);
	sl_list_init(&p->failed);
	sl_list_init(&p->resend);
	if (worker_append(&w->producers, &w->producers_count, &w->producers_cap, p) != 0 ||
	    conn_reserve(&p->conn, PRODUCE_IN_BYTES, PRODUCE_IN_MAX) != 0) {
		producer_destroy(p);
		return -ENOMEM;
	}
	*out = p;
	return 0;
}

int producer_add(struct producer *p, int32_t partition, uint64_t id,
                 const struct cluster_producer *producer_id)
{
	struct worker *w = p->worker;
	struct stream *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	sl_list_init(&s->link);
	s->producer = p;
	s->partition = partition;
	s->index = w->streams_count;
	s->id = id;
	s->producer_id = producer_id ? producer_id->id : SL_BATCH_NO_PRODUCER_ID;
	s->producer_epoch = producer_id ? producer_id->epoch : -1;
	if (worker_append(&w->streams, &w->streams_count, &w->streams_cap, s) != 0) {
		free(s);
		return -ENOMEM;
	}
	if (worker_append(&p->streams, &p->streams_count, &p->streams_cap, s) != 0)
		return -ENOMEM;
	if (w->run->opts->rate <= 0)
		producer_ready(s);
	return 0;
}

static void free_list(struct sl_list *list)
{
	struct sl_list *pos, *tmp;

	sl_list_for_each_safe(pos, tmp, list) {
		struct request *r = sl_list_entry(pos, struct request, link);

		sl_buf_fini(&r->own);
		free(r);
	}
	sl_list_init(list);
}

void producer_destroy(struct producer *p)
{
	if (!p)
		return;
	conn_fini(&p->conn);
	free_list(&p->sent);
	free_list(&p->failed);
	free_list(&p->resend);
	free(p->streams);
	free(p);
}

void producer_free_requests(struct worker *w)
{
	free_list(&w->free_requests);
}

bool producer_is_idle(const struct producer *p)
{
	return sl_list_is_empty(&p->sent) && sl_list_is_empty(&p->failed) &&
	       sl_list_is_empty(&p->resend);
}

/* ---- Failure and what follows -----------------------------------------------------------------
 */

static void move_all(struct sl_list *to, struct sl_list *from)
{
	while (!sl_list_is_empty(from)) {
		struct sl_list *e = from->next;

		sl_list_del(e);
		sl_list_push_back(to, e);
	}
}

/* All that was under way is known to be done or failed: wait for the leaders to be known again. */
static void wait_for_leader(struct producer *p, uint64_t now_ns)
{
	struct run *run = p->worker->run;

	/* What failed was begun before what still waited to be sent again. */
	move_all(&p->failed, &p->resend);
	move_all(&p->resend, &p->failed);
	p->state = PRODUCER_WAITING;
	p->wait_version = run_version(run);
	p->wait_until_ns = now_ns + LOAD_BACKOFF_NS;
	run_refresh(run, p->wait_version);
}

static void note_failure(struct producer *p, uint64_t now_ns)
{
	worker_error(p->worker);
	if (!p->failing_since_ns)
		p->failing_since_ns = now_ns;
}

static void lose_connection(struct producer *p, uint64_t now_ns)
{
	conn_close(&p->conn);
	p->unsent = NULL;
	p->unsent_pos = 0;
	p->in_flight = 0;
	p->repeating = 0;
	move_all(&p->failed, &p->sent);
	note_failure(p, now_ns);
	wait_for_leader(p, now_ns);
}

void producer_start(struct producer *p, uint64_t now_ns)
{
	if (conn_open(&p->conn, p->worker->epoll_fd, &p->addr, NULL, now_ns) == 0)
		p->state = PRODUCER_CONNECTING;
	else
		lose_connection(p, now_ns);
}

static void take_request(struct worker *w, struct request *r)
{
	sl_list_del(&r->link);
	sl_list_push_back(&w->free_requests, &r->link);
}

/* ---- Building and sending ---------------------------------------------------------------------
 */

void producer_ready(struct stream *s)
{
	if (sl_list_is_empty(&s->link))
		sl_list_push_back(&s->producer->ready, &s->link);
}

static struct request *get_request(struct worker *w)
{
	struct request *r = sl_list_first(&w->free_requests, struct request, link);

	if (r) {
		sl_list_del(&r->link);
		return r;
	}
	r = calloc(1, sizeof(*r));
	if (r) {
		sl_list_init(&r->link);
		sl_buf_init_grow(&r->own, (size_t)LOAD_BATCH_BYTES_MAX * 3);
	}
	return r;
}

/* The frame up to the records, whose length is part of it.  Return: 0; -ENOMEM. */
static int make_prefix(struct producer *p, struct stream *s, size_t records_bytes)
{
	const struct options *o = p->worker->run->opts;
	struct sl_produce_req_topic_data_partition_data part;
	struct sl_produce_req_topic_data topic;
	struct sl_buf_hole hole;
	struct sl_produce_req req;
	struct sl_buf b;

	sl_buf_init_fixed(&b, s->prefix, sizeof(s->prefix));
	b.holes = &hole;
	b.holes_max = 1;
	sl_produce_req_init(&req);
	sl_produce_req_topic_data_init(&topic);
	sl_produce_req_topic_data_partition_data_init(&part);
	part.index = s->partition;
	part.records = (struct sl_records){.len = (int32_t)records_bytes, .external = true};
	topic.name = sl_str_from(o->topic);
	topic.partition_data = &part;
	topic.partition_data_count = 1;
	req.acks = (int16_t)o->acks;
	req.timeout_ms = PRODUCE_TIMEOUT_MS;
	req.topic_data = &topic;
	req.topic_data_count = 1;
	client_begin(&b, SL_API_PRODUCE, p->version, 0);
	sl_produce_req_encode(&req, &b, p->version);
	if (!sl_buf_ok(&b))
		return -ENOMEM;
	sl_store_be32(s->prefix, (uint32_t)(sl_buf_wire_bytes(&b) - 4));
	s->prefix_bytes = hole.pos;
	s->prefix_records_bytes = records_bytes;
	return 0;
}

/* Puts the frame together: prefix and batch header in head, and the rest as well if it fits. */
static int make_frame(struct producer *p, struct request *r, const struct content_batch *batch)
{
	struct stream *s = r->stream;

	r->batch_bytes = sizeof(batch->head) + batch->records_bytes;
	r->tail_bytes = p->version >= PRODUCE_FLEXIBLE_FROM ? sizeof(tail) : 0;
	if (s->prefix_records_bytes != r->batch_bytes && make_prefix(p, s, r->batch_bytes) != 0)
		return -ENOMEM;
	memcpy(r->head, s->prefix, s->prefix_bytes);
	memcpy(r->head + s->prefix_bytes, batch->head, sizeof(batch->head));
	r->head_bytes = s->prefix_bytes + sizeof(batch->head);
	r->body = batch->records;
	r->body_bytes = batch->records_bytes;
	if (r->head_bytes + r->body_bytes + r->tail_bytes <= sizeof(r->head)) {
		/* copy: a small batch costs less than two more entries of a gather list */
		memcpy(r->head + r->head_bytes, r->body, r->body_bytes);
		memcpy(r->head + r->head_bytes + r->body_bytes, tail, r->tail_bytes);
		r->head_bytes += r->body_bytes + r->tail_bytes;
		r->body_bytes = r->tail_bytes = 0;
	}
	return 0;
}

/* When the stream's record number @i is due. */
static uint64_t due_ns(const struct worker *w, const struct stream *s, uint64_t i)
{
	return schedule_due_ns(&w->schedule, i * (uint64_t)w->streams_count + (uint64_t)s->index);
}

void producer_count_unsent(struct worker *w)
{
	struct run *run = w->run;
	uint64_t end_ns = SL_MIN(run->end_ns, sl_mono_ns());

	for (int i = 0; i < w->streams_count; i++) {
		struct stream *s = w->streams[i];

		for (; s->pending > 0; s->pending--, s->issued++) {
			uint64_t due = due_ns(w, s, s->issued);

			if (run_counts(run, due) && run->opts->mode == LOAD_PRODUCE)
				worker_latency(w, end_ns - SL_MIN(due, end_ns));
		}
	}
}

/* A request with the next @count records of @s.  NULL without memory. */
static struct request *begin_request(struct producer *p, struct stream *s, int32_t count,
                                     uint64_t now_ns)
{
	struct worker *w = p->worker;
	bool is_timed = w->run->opts->rate > 0;
	struct content_source source = {
		.stream = s->id,
		.first = s->issued,
		.partition = s->partition,
		.count = count,
		.producer_id = s->producer_id,
		.producer_epoch = s->producer_epoch,
		.base_sequence = s->producer_id >= 0 ? s->sequence : -1,
		.due_ns = is_timed ? due_ns(w, s, s->issued) : now_ns,
		.interval_ns = is_timed ? w->schedule.interval_ns * w->streams_count : 0,
	};
	struct request *r = get_request(w);
	struct content_batch batch;

	if (!r)
		return NULL;
	r->stream = s;
	r->records = count;
	r->first = s->issued;
	r->began_ns = now_ns;
	if (content_make(&w->content, &source, &r->own, &batch) != 0 ||
	    make_frame(p, r, &batch) != 0) {
		take_request(w, r);
		return NULL;
	}
	s->issued += (uint64_t)count;
	s->sequence = sl_batch_sequence_add(s->sequence, count);
	return r;
}

/* How many records the next batch of @s may have now. */
static int32_t next_count(struct worker *w, struct stream *s)
{
	uint64_t count = (uint64_t)w->content.records_max;

	count = SL_MIN(count, w->run->opts->rate > 0 ? s->pending : w->budget);
	return (int32_t)count;
}

/*
 * A broker that does not know a producer takes any number as its first.  Were the first batch
 * refused and the second one accepted, the first could never follow; so it goes alone.
 */
static bool has_to_wait(const struct stream *s)
{
	return s->producer_id >= 0 && s->issued > 0 && s->acked == 0;
}

/* The next stream that may send, taken off the ready list, and how many records; or NULL. */
static struct stream *next_stream(struct producer *p, int32_t *count)
{
	struct stream *s;

	while ((s = sl_list_first(&p->ready, struct stream, link)) != NULL) {
		*count = next_count(p->worker, s);
		sl_list_del(&s->link);
		/* One that has to wait is made ready again by complete(). */
		if (*count > 0 && !has_to_wait(s))
			break;
	}
	return s;
}

/* The next request to be sent for the first time; NULL when there is nothing to send. */
static struct request *new_request(struct producer *p, uint64_t now_ns)
{
	struct worker *w = p->worker;
	bool is_timed = w->run->opts->rate > 0;
	struct request *r;
	struct stream *s;
	int32_t count;

	if (now_ns >= w->run->end_ns || run_is_stopping(w->run))
		return NULL;
	s = next_stream(p, &count);
	if (!s)
		return NULL;
	r = begin_request(p, s, count, now_ns);
	if (!r) {
		run_fail(w->run, "no memory for a batch");
		return NULL;
	}
	if (is_timed)
		s->pending -= (uint64_t)count;
	else
		w->budget -= (uint64_t)count;
	/* Streams take turns. */
	if (!is_timed || s->pending > 0)
		sl_list_push_back(&p->ready, &s->link);
	return r;
}

static int gather(const struct producer *p, struct iovec *iov)
{
	size_t skip = p->unsent_pos;
	struct request *r = p->unsent;
	int count = 0;

	for (int i = 0; i < PRODUCE_GATHER; i++) {
		struct iovec pieces[3] = {{r->head, r->head_bytes},
		                          {(void *)r->body, r->body_bytes},
		                          {(void *)tail, r->tail_bytes}};

		for (int k = 0; k < 3; k++) {
			size_t n = SL_MIN(skip, pieces[k].iov_len);

			skip -= n;
			if (pieces[k].iov_len == n)
				continue;
			iov[count++] = (struct iovec){(char *)pieces[k].iov_base + n,
			                              pieces[k].iov_len - n};
		}
		if (r->link.next == &p->sent)
			break;
		r = sl_list_entry(r->link.next, struct request, link);
	}
	return count;
}

static void complete(struct producer *p, struct request *r, uint64_t now_ns);

/* @bytes went out: moves on to the first request that is not wholly written. */
static void advance(struct producer *p, size_t bytes, uint64_t now_ns)
{
	p->unsent_pos += bytes;
	while (p->unsent) {
		struct request *r = p->unsent;
		size_t whole = r->head_bytes + r->body_bytes + r->tail_bytes;

		if (p->unsent_pos < whole)
			break;
		p->unsent_pos -= whole;
		p->unsent = r->link.next == &p->sent
		                    ? NULL
		                    : sl_list_entry(r->link.next, struct request, link);
		/* No answer will come: what the socket took is done. */
		if (p->worker->run->opts->acks == 0)
			complete(p, r, now_ns);
	}
}

/* Return: 0, also when the socket is full; -errno. */
static int flush_requests(struct producer *p)
{
	struct iovec iov[PRODUCE_GATHER * 3];

	while (p->unsent && p->conn.can_write) {
		ssize_t n = conn_send(&p->conn, iov, gather(p, iov));

		if (n == -EAGAIN || n == -EINTR)
			continue;
		if (n < 0)
			return (int)n;
		advance(p, (size_t)n, p->worker->run->opts->acks == 0 ? sl_mono_ns() : 0);
	}
	return 0;
}

static void queue_request(struct producer *p, struct request *r, uint64_t now_ns)
{
	r->id = p->next_id++;
	r->sent_ns = now_ns;
	sl_store_be32(r->head + POS_CORRELATION_ID, (uint32_t)r->id);
	sl_list_push_back(&p->sent, &r->link);
	if (!p->unsent)
		p->unsent = r;
	p->in_flight++;
}

/* Numbered batches that are repeated go one by one, as in Kafka's own producer: what became of the
 * ones before decides whether the next one is in order. */
static int in_flight_max(const struct producer *p)
{
	const struct options *o = p->worker->run->opts;
	bool is_repeating = p->repeating > 0 || !sl_list_is_empty(&p->resend);

	return o->is_idempotent && is_repeating ? 1 : (int)o->in_flight;
}

/* The next request to be sent for another time; NULL when there is none. */
static struct request *next_repeated(struct producer *p)
{
	struct request *r = sl_list_first(&p->resend, struct request, link);

	if (!r)
		return NULL;
	sl_list_del(&r->link);
	r->is_repeated = true;
	p->repeating++;
	p->worker->total.retries++;
	return r;
}

void producer_fill(struct producer *p, uint64_t now_ns)
{
	/* Without answers nothing but the socket's buffer ends the loop, so the time has to. */
	int rounds = 16;

	while (p->state == PRODUCER_OPEN && p->conn.can_write && rounds-- > 0) {
		while (p->in_flight < in_flight_max(p)) {
			struct request *r = next_repeated(p);

			if (!r)
				r = new_request(p, now_ns);
			if (!r)
				break;
			queue_request(p, r, now_ns);
		}
		if (!p->unsent)
			return;
		if (flush_requests(p) != 0)
			lose_connection(p, now_ns);
	}
}

/* ---- Answers ----------------------------------------------------------------------------------
 */

/* Latency of each record from when it was due, or of the request when nothing has a time. */
static void count_latency(struct worker *w, const struct request *r, uint64_t now_ns)
{
	struct run *run = w->run;

	if (run->opts->rate <= 0) {
		if (run_counts(run, now_ns))
			worker_latency(w, now_ns - r->began_ns);
		return;
	}
	for (int32_t i = 0; i < r->records; i++) {
		uint64_t due = due_ns(w, r->stream, r->first + (uint64_t)i);

		if (run_counts(run, due))
			worker_latency(w, now_ns - SL_MIN(due, now_ns));
	}
}

static void end_attempt(struct producer *p, struct request *r)
{
	p->in_flight--;
	p->repeating -= r->is_repeated;
	r->is_repeated = false;
}

static void complete(struct producer *p, struct request *r, uint64_t now_ns)
{
	struct worker *w = p->worker;
	struct stream *s = r->stream;
	/* In e2e what the consumer receives counts. */
	bool is_produce = w->run->opts->mode == LOAD_PRODUCE;

	p->failing_since_ns = 0;
	end_attempt(p, r);
	/* See has_to_wait(). */
	if (s->acked == 0)
		producer_ready(s);
	s->acked += (uint64_t)r->records;
	worker_count(w, 1, is_produce ? (uint64_t)r->records : 0, is_produce ? r->batch_bytes : 0,
	             now_ns);
	if (is_produce)
		count_latency(w, r, now_ns);
	atomic_fetch_add_explicit(&w->run->records_acked, (uint64_t)r->records,
	                          memory_order_relaxed);
	take_request(w, r);
}

static void fail_request(struct producer *p, struct request *r, int code, uint64_t now_ns)
{
	struct stream *s = r->stream;
	struct run *run = p->worker->run;
	/* Behind a batch that was refused, the numbers of the next ones leave a gap. */
	bool is_echo = code == SL_KERR_OUT_OF_ORDER_SEQUENCE_NUMBER && s->producer_id >= 0 &&
	               p->state == PRODUCER_DRAINING;

	if (!errors_is_retriable(code) && !is_echo) {
		run_fail(run, "produce to %s-%d: the broker says %s", run->opts->topic,
		         s->partition, sl_kerr_name(code));
		return;
	}
	note_failure(p, now_ns);
	end_attempt(p, r);
	sl_list_del(&r->link);
	sl_list_push_back(&p->failed, &r->link);
	p->state = PRODUCER_DRAINING;
}

/* One answer.  Return: 0; -EBADMSG. */
static int take_answer(struct producer *p, struct sl_cursor frame, uint64_t now_ns)
{
	struct request *r = sl_list_first(&p->sent, struct request, link);
	struct sl_produce_resp resp;
	struct sl_arena *arena = &p->worker->arena;
	int32_t id;
	int rc = sl_response_head_decode(&frame, sl_api_find(SL_API_PRODUCE), p->version, &id);

	sl_arena_reset(arena);
	if (rc == 0)
		rc = sl_produce_resp_decode(&resp, &frame, arena, p->version);
	if (rc != 0 || !r || r->id != id || r == p->unsent || resp.responses_count != 1 ||
	    resp.responses[0].partition_responses_count != 1)
		return -EBADMSG;

	int code = resp.responses[0].partition_responses[0].error_code;

	/* Written by an earlier attempt whose answer was lost. */
	if (code == SL_KERR_NONE || code == SL_KERR_DUPLICATE_SEQUENCE_NUMBER)
		complete(p, r, now_ns);
	else
		fail_request(p, r, code, now_ns);
	return 0;
}

/* Takes every whole frame off the receive buffer.  Return: 0; -EBADMSG; -E2BIG; -ENOMEM. */
static int take_answers(struct producer *p, uint64_t now_ns)
{
	struct conn *c = &p->conn;

	while (conn_left(c) >= 4) {
		size_t bytes = sl_load_be32(c->in + c->in_start);
		int rc;

		if (conn_left(c) - 4 < bytes)
			return conn_reserve(c, bytes + 4, PRODUCE_IN_MAX);
		rc = take_answer(p, sl_cursor_from(c->in + c->in_start + 4, bytes), now_ns);
		if (rc != 0)
			return rc;
		c->in_start += 4 + bytes;
	}
	return conn_reserve(c, 4096, PRODUCE_IN_MAX);
}

static int read_answers(struct producer *p, uint64_t *now_ns)
{
	while (p->conn.can_read) {
		ssize_t n = conn_receive(&p->conn, p->conn.in_cap);
		int rc;

		if (n == -EAGAIN || n == -EINTR)
			continue;
		if (n < 0)
			return (int)n;
		*now_ns = sl_mono_ns();
		rc = take_answers(p, *now_ns);
		if (rc != 0)
			return rc;
	}
	return 0;
}

/* ---- Events -----------------------------------------------------------------------------------
 */

static void on_opened(struct conn *c, uint64_t now_ns)
{
	struct producer *p = c->owner;

	(void)now_ns;
	p->state = PRODUCER_OPEN;
}

static void on_ready(struct conn *c, uint64_t now_ns)
{
	struct producer *p = c->owner;
	int rc = read_answers(p, &now_ns);

	if (rc != 0) {
		lose_connection(p, now_ns);
		return;
	}
	if (p->state == PRODUCER_DRAINING && sl_list_is_empty(&p->sent))
		wait_for_leader(p, now_ns);
	if (flush_requests(p) != 0)
		lose_connection(p, now_ns);
	else
		producer_fill(p, now_ns);
}

static void on_refused(struct conn *c, uint64_t now_ns, int err)
{
	(void)err;
	lose_connection(c->owner, now_ns);
}

static const struct conn_ops producer_ops = {on_opened, on_ready, on_refused};

/* ---- The way back -----------------------------------------------------------------------------
 */

static bool is_same(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* The worker's producer for the leader at @addr, made if there is none. */
static struct producer *producer_at(struct worker *w, const struct sockaddr_storage *addr,
                                    uint64_t now_ns)
{
	struct producer *p;

	for (int i = 0; i < w->producers_count; i++)
		if (is_same(&w->producers[i]->addr, addr))
			return w->producers[i];
	if (producer_create(w, addr, &p) != 0)
		return NULL;
	producer_start(p, now_ns);
	return p;
}

/* Moves stream number @i of @from to @to, with what it has to send again. */
static int move_stream(struct producer *from, int i, struct producer *to)
{
	struct stream *s = from->streams[i];
	struct sl_list *pos, *tmp;

	if (worker_append(&to->streams, &to->streams_count, &to->streams_cap, s) != 0)
		return -ENOMEM;
	from->streams[i] = from->streams[--from->streams_count];
	s->producer = to;
	if (!sl_list_is_empty(&s->link)) {
		sl_list_del(&s->link);
		sl_list_push_back(&to->ready, &s->link);
	}
	sl_list_for_each_safe(pos, tmp, &from->resend) {
		struct request *r = sl_list_entry(pos, struct request, link);

		if (r->stream == s) {
			sl_list_del(pos);
			sl_list_push_back(&to->resend, pos);
		}
	}
	return 0;
}

/* Newer metadata is there: the streams go where their leaders are now. */
static void reroute(struct producer *p, uint64_t now_ns)
{
	struct run *run = p->worker->run;
	struct sockaddr_storage own, addr;

	if (p->streams_count > 0 && run_leader(run, p->streams[0]->partition, &own) &&
	    !is_same(&own, &p->addr)) {
		conn_close(&p->conn);
		p->addr = own;
	}
	for (int i = p->streams_count - 1; i > 0; i--) {
		struct producer *to;

		if (!run_leader(run, p->streams[i]->partition, &addr) || is_same(&addr, &p->addr))
			continue;
		to = producer_at(p->worker, &addr, now_ns);
		if (!to || move_stream(p, i, to) != 0)
			run_fail(run, "no memory for a connection");
	}
	if (p->conn.state == CONN_OPEN) {
		p->state = PRODUCER_OPEN;
		producer_fill(p, now_ns);
	} else {
		producer_start(p, now_ns);
	}
}

/* The pause is over: go on with newer metadata, or ask for it once more, as another thread may have
 * overwritten our word with that of an older version. */
static void go_on(struct producer *p, uint64_t now_ns)
{
	struct run *run = p->worker->run;

	if (run_version(run) != p->wait_version)
		reroute(p, now_ns);
	else
		run_refresh(run, p->wait_version);
}

/* The oldest request has waited too long, or the connection does not come to stand. */
static bool is_stalled(const struct producer *p, uint64_t now_ns)
{
	const struct request *r = sl_list_first(&p->sent, struct request, link);

	if (p->state == PRODUCER_CONNECTING)
		return now_ns > p->conn.began_ns + LOAD_ANSWER_NS;
	return p->conn.state == CONN_OPEN && r && now_ns > r->sent_ns + LOAD_ANSWER_NS;
}

void producer_tick(struct producer *p, uint64_t now_ns)
{
	struct run *run = p->worker->run;

	if (p->failing_since_ns && now_ns > p->failing_since_ns + LOAD_GIVE_UP_NS)
		run_fail(run, "produce to %s: no success for %llu s", run->opts->topic,
		         (unsigned long long)(LOAD_GIVE_UP_NS / 1000000000));
	else if (p->state == PRODUCER_WAITING && now_ns >= p->wait_until_ns)
		go_on(p, now_ns);
	else if (is_stalled(p, now_ns))
		lose_connection(p, now_ns);
}
