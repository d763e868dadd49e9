/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The attachment to the data plane, as the control process sees it.  Runs on the loop's thread.
 *
 * The data plane is the exposed process, so nothing it says is believed: a message is copied to
 * memory of our own before its first byte is looked at, its size is checked against its type, and
 * an answer is matched with a question by a cookie that we made.  What breaks the rules ends the
 * attachment.
 */
#include "link.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "sluice/base/assert.h"
#include "sluice/base/hash.h"
#include "sluice/base/log.h"
#include "sluice/ipc/channel.h"

#include "counters.h"

#define BACKOFF_MIN_MS    20
#define BACKOFF_MAX_MS    50
/* An attachment that lived this long was a good one: the next attempt comes soon. */
#define GOOD_LIFE_MS      5000
#define QUEUE_BYTES_MAX   (UINT64_C(64) << 20)
/* Messages of one channel that one iteration handles. */
#define MESSAGES_PER_POLL 64
#define RX_BYTES_MAX      SL_CHANNEL_MESSAGE_MAX(SL_IPC_RING_BYTES)

/* A message that waits for room in its ring. */
struct queued {
	struct sl_list link;
	uint32_t type;
	size_t bytes;
	uint8_t data[];
};

struct queue {
	struct sl_list list;
	size_t bytes;
};

enum op_kind {
	OP_APPEND = 0,
	OP_READ,
	OP_QUERY
};

/* A question to the data plane. */
struct op {
	struct sl_list failed; /* in struct link's list when it failed before it was sent */
	uint64_t cookie;
	enum op_kind kind;
	int error;
	union {
		link_append_fn *append;
		link_read_fn *read;
		link_query_fn *query;
	} fn;
	void *arg;
	struct loop_timer timer; /* queries */
	struct link *owner;
};

struct link {
	struct link_opts opts;
	char *path;               /* Owned */
	int sock;                 /* Owned; connected, the answer has not come; else -1 */
	struct loop_fd answer_fd; /* of @sock */
	/* Owned.  Memory of the data plane's records: it outlives the data plane because it is
	 * here. */
	struct sl_ipc_tiers held;
	struct sl_ipc_link *ipc; /* Owned; NULL while down */
	struct queue *queues;    /* Owned; one per channel */
	const char *doom;        /* why the attachment must end; NULL: it is well */
	struct loop_fd sock_fd;
	struct loop_fd wake_fd;
	struct loop_work poll_work;
	struct loop_work failed_work;
	struct loop_timer retry_timer;
	int64_t backoff_ms;
	int64_t attached_ms;
	uint32_t lanes_count;
	uint64_t attach_count;
	int last_error; /* of the last attempt, so that it is logged once */
	uint64_t next_cookie;
	struct sl_map ops;     /* cookie -> struct op, Owned */
	struct sl_list failed; /* of struct op, Owned */
	uint8_t *rx;           /* Owned; private copy of the message being handled */
	size_t rx_max;
};

static void poll_channels(void *arg);
static void run_failed(void *arg);
static void try_attach(void *arg);

static void count(struct link *l, enum counter counter)
{
	if (l->opts.counters)
		l->opts.counters[counter]++;
}

int link_create(struct link **out, const struct link_opts *opts)
{
	struct link *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->opts = *opts;
	if (l->opts.queue_bytes_max == 0)
		l->opts.queue_bytes_max = QUEUE_BYTES_MAX;
	l->path = strdup(opts->path);
	if (!l->path) {
		free(l);
		return -ENOMEM;
	}
	l->sock = -1;
	sl_list_init(&l->failed);
	loop_work_init(&l->poll_work, poll_channels, l);
	loop_work_init(&l->failed_work, run_failed, l);
	l->retry_timer = (struct loop_timer){.fn = try_attach, .arg = l};
	l->backoff_ms = BACKOFF_MIN_MS;
	l->next_cookie = 1;
	if (loop_timer_set(opts->loop, &l->retry_timer, loop_mono_ms(opts->loop)) < 0) {
		free(l->path);
		free(l);
		return -ENOMEM;
	}
	*out = l;
	return 0;
}

bool link_is_up(const struct link *l)
{
	return l->ipc && !l->doom;
}

uint32_t link_lanes_count(const struct link *l)
{
	return l->lanes_count;
}

uint64_t link_incarnation(const struct link *l)
{
	return l->ipc ? l->ipc->incarnation : 0;
}

struct sl_shm *link_shm(const struct link *l)
{
	return l->ipc ? l->ipc->shm : NULL;
}

uint64_t link_attach_count(const struct link *l)
{
	return l->attach_count;
}

const struct sl_ipc_tiers *link_held(const struct link *l)
{
	return &l->held;
}

/* ---- Questions and their ends ---- */

static void op_end(struct op *op, int error, const struct link_read_result *read, int64_t offset,
                   struct sl_str json)
{
	static const struct link_read_result lost = {.kerr = SL_KERR_COORDINATOR_NOT_AVAILABLE};
	enum sl_kerr kerr = error ? SL_KERR_COORDINATOR_NOT_AVAILABLE : SL_KERR_NONE;

	if (error == -EMSGSIZE)
		kerr = SL_KERR_MESSAGE_TOO_LARGE;
	loop_timer_stop(op->owner->opts.loop, &op->timer);
	switch (op->kind) {
	case OP_APPEND:
		op->fn.append(op->arg, read ? read->kerr : kerr, offset);
		break;
	case OP_READ:
		op->fn.read(op->arg, read ? read : &lost);
		break;
	case OP_QUERY:
		op->fn.query(op->arg, error, json);
		break;
	}
	free(op);
}

static void op_fail(struct op *op, int error)
{
	op_end(op, error, NULL, -1, (struct sl_str){"", 0});
}

static struct op *op_take(struct link *l, uint64_t cookie)
{
	struct op *op = sl_map_del(&l->ops, &cookie, sizeof(cookie));

	if (!op)
		count(l, COUNTER_link_stale_answers);
	return op;
}

static void run_failed(void *arg)
{
	struct link *l = arg;

	while (!sl_list_is_empty(&l->failed)) {
		struct op *op = sl_list_entry(l->failed.next, struct op, failed);

		sl_list_del(&op->failed);
		op_fail(op, op->error);
	}
}

/* Calls back later: nothing may run inside the call that asked. */
static void op_fail_later(struct link *l, struct op *op, int error)
{
	op->error = error;
	/* It has ended: a time-out before its callback would free it under the list. */
	loop_timer_stop(l->opts.loop, &op->timer);
	sl_list_push_back(&l->failed, &op->failed);
	loop_work_post(l->opts.loop, &l->failed_work);
}

static void query_timed_out(void *arg)
{
	struct op *op = arg;
	struct link *l = op->owner;

	count(l, COUNTER_queries_timed_out);
	(void)sl_map_del(&l->ops, &op->cookie, sizeof(op->cookie));
	op_fail(op, -ETIMEDOUT);
}

/* Never NULL: a process without memory for it stops. */
static struct op *op_new(struct link *l, enum op_kind kind, void *arg)
{
	struct op *op = calloc(1, sizeof(*op));

	SL_ASSERT(op);
	sl_list_init(&op->failed);
	op->kind = kind;
	op->arg = arg;
	op->owner = l;
	op->cookie = l->next_cookie++;
	op->timer = (struct loop_timer){.fn = query_timed_out, .arg = op};
	return op;
}

/* ---- Sending ---- */

static void doom(struct link *l, const char *why, enum counter counter)
{
	if (l->doom)
		return;
	l->doom = why;
	count(l, counter);
	loop_work_post(l->opts.loop, &l->poll_work);
}

static int enqueue(struct link *l, uint32_t channel, uint32_t type, struct sl_bytes head,
                   struct sl_bytes body)
{
	struct queue *q = &l->queues[channel];
	size_t head_bytes = (size_t)SL_MAX(head.len, 0);
	size_t body_bytes = (size_t)SL_MAX(body.len, 0);
	struct queued *m;

	if (q->bytes + head_bytes + body_bytes > l->opts.queue_bytes_max) {
		doom(l, "the data plane does not read its ring", COUNTER_link_queue_overflow);
		return -ENOTCONN;
	}
	m = malloc(sizeof(*m) + head_bytes + body_bytes);
	if (!m) {
		doom(l, "no memory for waiting messages", COUNTER_link_queue_overflow);
		return -ENOTCONN;
	}
	m->type = type;
	m->bytes = head_bytes + body_bytes;
	if (head_bytes)
		memcpy(m->data, head.p, head_bytes);
	if (body_bytes)
		memcpy(m->data + head_bytes, body.p, body_bytes);
	sl_list_push_back(&q->list, &m->link);
	q->bytes += m->bytes;
	count(l, COUNTER_link_queued);
	/* The poll ends in sl_channel_sleep(), which asks the peer to wake us when there is room.
	 */
	loop_work_post(l->opts.loop, &l->poll_work);
	return 0;
}

static int transmit(struct link *l, uint32_t channel, uint32_t type, struct sl_bytes head,
                    struct sl_bytes body)
{
	int rc;

	if (!link_is_up(l))
		return -ENOTCONN;
	SL_ASSERT(channel <= l->ipc->lanes_count);
	if ((size_t)SL_MAX(head.len, 0) + (size_t)SL_MAX(body.len, 0) > RX_BYTES_MAX)
		return -EMSGSIZE;
	if (!sl_list_is_empty(&l->queues[channel].list))
		return enqueue(l, channel, type, head, body);
	rc = sl_channel_send(l->ipc->channels[channel], type, head.p, (size_t)SL_MAX(head.len, 0),
	                     body.p, (size_t)SL_MAX(body.len, 0));
	if (rc == -EAGAIN)
		return enqueue(l, channel, type, head, body);
	if (rc == -EPROTO) {
		doom(l, "the channel failed", COUNTER_link_protocol_errors);
		return -ENOTCONN;
	}
	return rc;
}

static void flush_queue(struct link *l, uint32_t channel)
{
	struct queue *q = &l->queues[channel];

	while (!sl_list_is_empty(&q->list)) {
		struct queued *m = sl_list_entry(q->list.next, struct queued, link);
		int rc = sl_channel_send(l->ipc->channels[channel], m->type, m->data, m->bytes,
		                         NULL, 0);

		if (rc < 0) {
			if (rc != -EAGAIN)
				doom(l, "the channel failed", COUNTER_link_protocol_errors);
			return;
		}
		sl_list_del(&m->link);
		q->bytes -= m->bytes;
		free(m);
	}
}

#define HEAD(h) ((struct sl_bytes){&(h), (int32_t)sizeof(h)})

int link_send_host(struct link *l, enum sl_ipc_type type, struct sl_bytes head,
                   struct sl_bytes body)
{
	return transmit(l, 0, type, head, body);
}

int link_respond(struct link *l, uint32_t lane, const struct sl_ipc_response *head,
                 struct sl_bytes body)
{
	if (l->ipc && lane >= l->ipc->lanes_count)
		return -ENOTCONN;
	return transmit(l, 1 + lane, SL_IPC_RESPONSE, HEAD(*head), body);
}

int link_verified(struct link *l, uint32_t lane, uint64_t cookie, enum sl_kerr kerr)
{
	struct sl_ipc_txn_verify_done head = {.cookie = cookie, .kerr = kerr};

	if (l->ipc && lane >= l->ipc->lanes_count)
		return -ENOTCONN;
	return transmit(l, 1 + lane, SL_IPC_TXN_VERIFY_DONE, HEAD(head),
	                (struct sl_bytes){NULL, 0});
}

/* Sends a question; the operation waits under its cookie. */
static void ask(struct link *l, struct op *op, uint32_t channel, uint32_t type,
                struct sl_bytes head, struct sl_bytes body)
{
	int rc = -ENOTCONN;

	if (link_is_up(l) && channel <= l->ipc->lanes_count)
		rc = sl_map_put(&l->ops, &op->cookie, sizeof(op->cookie), op);
	if (rc == 0) {
		rc = transmit(l, channel, type, head, body);
		if (rc < 0)
			(void)sl_map_del(&l->ops, &op->cookie, sizeof(op->cookie));
	}
	if (rc < 0)
		op_fail_later(l, op, rc);
}

void link_append(struct link *l, uint32_t lane, const struct sl_uuid *topic_id, int32_t partition,
                 struct sl_bytes batch, link_append_fn *fn, void *arg)
{
	struct op *op = op_new(l, OP_APPEND, arg);
	struct sl_ipc_append head = {
		.cookie = op->cookie, .topic_id = *topic_id, .partition = partition};

	op->fn.append = fn;
	ask(l, op, 1 + lane, SL_IPC_APPEND, HEAD(head), batch);
}

void link_read(struct link *l, const struct link_read_opts *opts, link_read_fn *fn, void *arg)
{
	struct op *op = op_new(l, OP_READ, arg);
	struct sl_ipc_read head = {
		.cookie = op->cookie,
		.topic_id = opts->topic_id,
		.partition = opts->partition,
		.bytes_max = opts->bytes_max,
		.offset = opts->offset,
	};

	op->fn.read = fn;
	ask(l, op, 1 + opts->lane, SL_IPC_READ, HEAD(head), (struct sl_bytes){NULL, 0});
}

void link_query(struct link *l, int lane, struct sl_str json, link_query_fn *fn, void *arg)
{
	struct op *op = op_new(l, OP_QUERY, arg);
	struct sl_ipc_query head = {.cookie = op->cookie};

	op->fn.query = fn;
	if (loop_timer_set(l->opts.loop, &op->timer,
	                   loop_mono_ms(l->opts.loop) + LINK_QUERY_TIMEOUT_MS) < 0) {
		op_fail_later(l, op, -ENOMEM);
		return;
	}
	ask(l, op, (uint32_t)(lane + 1), SL_IPC_QUERY, HEAD(head),
	    (struct sl_bytes){json.p, json.len});
}

/* ---- Receiving ---- */

static enum sl_kerr kerr_of(int32_t code)
{
	return code >= SL_KERR_MIN && code <= SL_KERR_MAX ? (enum sl_kerr)code
	                                                  : SL_KERR_UNKNOWN_SERVER_ERROR;
}

static void on_append_done(struct link *l, const struct sl_ipc_append_done *head)
{
	struct op *op = op_take(l, head->cookie);
	struct link_read_result r = {.kerr = kerr_of(head->kerr)};

	if (!op)
		return;
	if (op->kind != OP_APPEND) {
		op_fail_later(l, op, -EPROTO);
		doom(l, "answer of the wrong kind", COUNTER_link_protocol_errors);
		return;
	}
	op_end(op, 0, &r, head->base_offset, (struct sl_str){"", 0});
}

static void on_read_done(struct link *l, const struct sl_ipc_read_done *head, struct sl_bytes body)
{
	struct op *op = op_take(l, head->cookie);
	struct link_read_result r = {.kerr = kerr_of(head->kerr),
	                             .log_start = head->log_start,
	                             .log_end = head->log_end,
	                             .batches = body};

	if (!op)
		return;
	if (op->kind != OP_READ) {
		op_fail_later(l, op, -EPROTO);
		doom(l, "answer of the wrong kind", COUNTER_link_protocol_errors);
		return;
	}
	op_end(op, 0, &r, -1, (struct sl_str){"", 0});
}

static void on_query_done(struct link *l, const struct sl_ipc_query *head, struct sl_bytes body)
{
	struct op *op = op_take(l, head->cookie);

	if (!op)
		return;
	if (op->kind != OP_QUERY) {
		op_fail_later(l, op, -EPROTO);
		doom(l, "answer of the wrong kind", COUNTER_link_protocol_errors);
		return;
	}
	op_end(op, head->error < 0 ? head->error : 0, NULL, -1, (struct sl_str){body.p, body.len});
}

/* Size of the head of a message that may come on this channel; 0: it may not. */
static size_t head_bytes(uint32_t channel, uint32_t type)
{
	bool is_host = channel == 0;

	switch (type) {
	case SL_IPC_REQUEST:
	case SL_IPC_CANCEL:
		return is_host ? 0 : sizeof(struct sl_ipc_request);
	case SL_IPC_APPEND_DONE:
		return is_host ? 0 : sizeof(struct sl_ipc_append_done);
	case SL_IPC_READ_DONE:
		return is_host ? 0 : sizeof(struct sl_ipc_read_done);
	case SL_IPC_TXN_VERIFY:
		return is_host ? 0 : sizeof(struct sl_ipc_txn_verify);
	case SL_IPC_QUERY_DONE:
		return sizeof(struct sl_ipc_query);
	case SL_IPC_IMAGE_ACK:
		return is_host ? sizeof(struct sl_ipc_image) : 0;
	case SL_IPC_PARTITION:
		return is_host ? sizeof(struct sl_ipc_partition) : 0;
	case SL_IPC_LOG_DIR:
		return is_host ? sizeof(struct sl_ipc_log_dir) : 0;
	default:
		return 0;
	}
}

/* Heads, aligned for access. */
union head {
	struct sl_ipc_request request;
	struct sl_ipc_append_done append_done;
	struct sl_ipc_read_done read_done;
	struct sl_ipc_txn_verify verify;
	struct sl_ipc_query query;
	struct sl_ipc_image image;
	struct sl_ipc_partition partition;
	struct sl_ipc_log_dir log_dir;
};

static void handle(struct link *l, uint32_t channel, uint32_t type, const uint8_t *p, size_t bytes)
{
	const struct link_events *ev = &l->opts.events;
	size_t want = head_bytes(channel, type);
	struct sl_bytes body;
	union head h;

	if (want == 0 || bytes < want) {
		sl_log(ERR, ipc,
		       "drop link channel=%u type=%u bytes=%zu reason=\"message out of place\"",
		       channel, type, bytes);
		doom(l, "message out of place", COUNTER_link_protocol_errors);
		return;
	}
	memcpy(&h, p, want);
	body = (struct sl_bytes){p + want, (int32_t)(bytes - want)};
	switch (type) {
	case SL_IPC_REQUEST:
		ev->request(ev->arg, channel - 1, &h.request, body);
		break;
	case SL_IPC_CANCEL:
		ev->cancel(ev->arg, channel - 1, &h.request);
		break;
	case SL_IPC_APPEND_DONE:
		on_append_done(l, &h.append_done);
		break;
	case SL_IPC_READ_DONE:
		on_read_done(l, &h.read_done, body);
		break;
	case SL_IPC_QUERY_DONE:
		on_query_done(l, &h.query, body);
		break;
	case SL_IPC_TXN_VERIFY:
		ev->verify(ev->arg, channel - 1, &h.verify, (struct sl_str){body.p, body.len});
		break;
	case SL_IPC_IMAGE_ACK:
		ev->image_ack(ev->arg, h.image.revision);
		break;
	case SL_IPC_PARTITION:
		ev->partition(ev->arg, &h.partition);
		break;
	default:
		ev->log_dir(ev->arg, &h.log_dir);
		break;
	}
}

static int grow_rx(struct link *l, size_t bytes)
{
	uint8_t *p;

	if (bytes <= l->rx_max)
		return 0;
	p = realloc(l->rx, bytes);
	if (!p)
		return -ENOMEM;
	l->rx = p;
	l->rx_max = bytes;
	return 0;
}

/* Handles a bounded number of messages.  Return: whether there may be more. */
static bool drain(struct link *l, uint32_t channel)
{
	struct sl_channel *ch = l->ipc->channels[channel];
	const void *p;
	uint32_t type;
	size_t bytes;

	for (int i = 0; i < MESSAGES_PER_POLL && !l->doom; i++) {
		int rc = sl_channel_peek(ch, &type, &p, &bytes);

		if (rc == 0)
			return false;
		if (rc < 0) {
			doom(l, "the channel failed", COUNTER_link_protocol_errors);
			return false;
		}
		if (grow_rx(l, bytes) < 0) {
			doom(l, "no memory for a message", COUNTER_link_protocol_errors);
			return false;
		}
		/* copy: the peer could change the bytes between our check and our use. */
		memcpy(l->rx, p, bytes);
		sl_channel_release(ch);
		handle(l, channel, type, l->rx, bytes);
	}
	return !l->doom;
}

/* ---- Life of the attachment ---- */

static void free_queues(struct link *l)
{
	for (uint32_t i = 0; l->queues && i <= l->lanes_count; i++) {
		while (!sl_list_is_empty(&l->queues[i].list)) {
			struct queued *m = sl_list_entry(l->queues[i].list.next, struct queued,
			                                 link);

			sl_list_del(&m->link);
			free(m);
		}
	}
	free(l->queues);
	l->queues = NULL;
}

static void detach(struct link *l)
{
	loop_fd_del(l->opts.loop, &l->sock_fd);
	loop_fd_del(l->opts.loop, &l->wake_fd);
	loop_work_cancel(&l->poll_work);
	sl_ipc_close(l->ipc);
	l->ipc = NULL;
	l->doom = NULL;
	free_queues(l);
}

/* Every question ends; a callback may ask again, which then fails later. */
static void fail_ops(struct link *l)
{
	struct sl_map ops = l->ops;
	uint32_t pos = 0;
	struct op *op;

	l->ops = (struct sl_map){0};
	while ((op = sl_map_next(&ops, &pos)))
		op_fail(op, -ENOTCONN);
	sl_map_fini(&ops);
}

static void retry_later(struct link *l)
{
	int rc = loop_timer_set(l->opts.loop, &l->retry_timer,
	                        loop_mono_ms(l->opts.loop) + l->backoff_ms);

	/* Without memory for the timer there would be no attachment ever again. */
	SL_ASSERT(rc == 0);
	l->backoff_ms = SL_MIN(l->backoff_ms * 2, BACKOFF_MAX_MS);
}

static void lose(struct link *l, const char *why)
{
	sl_log(WARN, ipc, "lose dataplane pid=%d reason=\"%s\"", l->ipc->peer_pid, why);
	count(l, COUNTER_link_lost);
	detach(l);
	if (loop_mono_ms(l->opts.loop) - l->attached_ms >= GOOD_LIFE_MS)
		l->backoff_ms = BACKOFF_MIN_MS;
	fail_ops(l);
	l->opts.events.lost(l->opts.events.arg);
	retry_later(l);
}

static void poll_channels(void *arg)
{
	struct link *l = arg;
	bool is_busy = false;

	for (uint32_t i = 0; l->ipc && !l->doom && i <= l->ipc->lanes_count; i++) {
		flush_queue(l, i);
		is_busy |= drain(l, i);
		if (!l->doom && !sl_channel_sleep(l->ipc->channels[i]))
			is_busy = true;
	}
	if (l->doom) {
		lose(l, l->doom);
		return;
	}
	if (l->ipc && is_busy)
		loop_work_post(l->opts.loop, &l->poll_work);
}

static void on_wake(void *arg, uint32_t events)
{
	struct link *l = arg;

	(void)events;
	/* All channels wake through one eventfd; draining it through one of them is enough. */
	sl_channel_wake(l->ipc->channels[0]);
	poll_channels(l);
}

/* The data plane never writes to the socket: anything there is its end. */
static void on_sock(void *arg, uint32_t events)
{
	struct link *l = arg;

	(void)events;
	lose(l, "it went away");
}

static int watch(struct link *l)
{
	int rc;

	l->sock_fd = (struct loop_fd){l->ipc->sock, on_sock, l};
	l->wake_fd = (struct loop_fd){l->ipc->control_wake_fd, on_wake, l};
	l->queues = calloc(l->ipc->lanes_count + 1, sizeof(*l->queues));
	if (!l->queues)
		return -ENOMEM;
	for (uint32_t i = 0; i <= l->ipc->lanes_count; i++)
		sl_list_init(&l->queues[i].list);
	rc = loop_fd_add(l->opts.loop, &l->sock_fd, EPOLLIN | EPOLLRDHUP);
	if (rc == 0)
		rc = loop_fd_add(l->opts.loop, &l->wake_fd, EPOLLIN);
	return rc;
}

/* Logs an attempt that failed, once per reason: it is repeated several times a second. */
static void note_failure(struct link *l, int rc)
{
	bool is_absent = rc == -ENOENT || rc == -ECONNREFUSED;

	if (!is_absent)
		count(l, COUNTER_attach_failed);
	if (rc == l->last_error)
		return;
	l->last_error = rc;
	if (is_absent)
		sl_log(INFO, ipc, "wait for dataplane path=%s", l->path);
	else
		sl_log(ERR, ipc, "fail attach path=%s cause=\"%s\"", l->path, strerror(-rc));
}

static void attempt_failed(struct link *l, int rc)
{
	note_failure(l, rc);
	retry_later(l);
}

static void begin(struct link *l)
{
	int rc;

	l->lanes_count = l->ipc->lanes_count;
	rc = watch(l);
	if (rc < 0) {
		detach(l);
		attempt_failed(l, rc);
		return;
	}
	l->last_error = 0;
	l->attach_count++;
	l->attached_ms = loop_mono_ms(l->opts.loop);
	count(l, COUNTER_attachments);
	sl_log(INFO, ipc, "attach dataplane pid=%d lanes=%u incarnation=%016llx tiers=%u",
	       l->ipc->peer_pid, l->lanes_count, (unsigned long long)l->ipc->incarnation,
	       l->held.count);
	l->opts.events.attached(l->opts.events.arg);
	loop_work_post(l->opts.loop, &l->poll_work);
}

/* The answer, or the end of a data plane that gave none. */
static void on_answer(void *arg, uint32_t events)
{
	struct link *l = arg;
	struct sl_ipc_tiers used;
	int rc;

	(void)events;
	/* Before the call that may close the descriptor. */
	loop_fd_del(l->opts.loop, &l->answer_fd);
	rc = sl_ipc_read_answer(&l->ipc, l->sock, &used);
	if (rc == -EAGAIN) {
		rc = loop_fd_add(l->opts.loop, &l->answer_fd, EPOLLIN | EPOLLRDHUP);
		if (rc == 0)
			return;
		close(l->sock);
	}
	l->sock = -1;
	if (rc < 0) {
		attempt_failed(l, rc);
		return;
	}
	/* Only now: a data plane that died before it answered may not have saved what is in them.
	 */
	sl_ipc_tiers_close(&l->held);
	l->held = used;
	begin(l);
}

static void try_attach(void *arg)
{
	struct link *l = arg;
	int rc = sl_ipc_connect(l->path, &l->held);

	if (rc < 0) {
		attempt_failed(l, rc);
		return;
	}
	l->sock = rc;
	l->answer_fd = (struct loop_fd){rc, on_answer, l};
	rc = loop_fd_add(l->opts.loop, &l->answer_fd, EPOLLIN | EPOLLRDHUP);
	if (rc == 0)
		return;
	close(l->sock);
	l->sock = -1;
	attempt_failed(l, rc);
}

void link_destroy(struct link *l)
{
	if (!l)
		return;
	loop_timer_stop(l->opts.loop, &l->retry_timer);
	if (l->sock >= 0) {
		loop_fd_del(l->opts.loop, &l->answer_fd);
		close(l->sock);
	}
	if (l->ipc)
		detach(l);
	sl_ipc_tiers_close(&l->held);
	fail_ops(l);
	run_failed(l);
	loop_work_cancel(&l->failed_work);
	loop_work_cancel(&l->poll_work);
	sl_map_fini(&l->ops);
	free(l->rx);
	free(l->path);
	free(l);
}
