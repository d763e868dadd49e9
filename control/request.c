/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of unanswered requests.  Runs on the loop's thread.  A request is owned by the table
 * and freed by its end; a cancelled one lives on until the transaction or wait that refers to it is
 * over.
 */
#include "request.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/base/hash.h"
#include "sluice/base/log.h"
#include "sluice/ipc/channel.h"

#include "admin/admin.h"
#include "dispatch.h"
#include "offsets.h"
#include "txns.h"

/* Scratch of one request, touched as it is used; 7 MiB of a frame's arrays decode into less. */
#define ARENA_BYTES  (UINT64_C(256) << 20)
/* A scratch that has grown beyond this is given back instead of kept. */
#define ARENA_KEEP   (UINT64_C(1) << 20)
#define ARENAS_KEPT  32
#define ANSWER_MAX   (SL_CHANNEL_MESSAGE_MAX(SL_IPC_RING_BYTES) - sizeof(struct sl_ipc_response))
#define ATTEMPTS_MAX 16

/* Where a request came from. */
struct place {
	uint32_t lane;
	uint32_t conn;
	uint32_t conn_gen;
	uint32_t pad;
	uint64_t seq;
	uint64_t attach; /* after a loss the data plane sends the unanswered ones again */
};

struct entry {
	struct request request; /* first */
	struct place place;
};

struct request_table {
	struct control *c;
	struct sl_map by_id;    /* of struct request, Owned */
	struct sl_map by_place; /* of struct request */
	uint64_t next_id;
	struct sl_arena kept[ARENAS_KEPT];
	uint32_t kept_count;
};

static struct entry *entry_of(struct request *r)
{
	return SL_CONTAINER_OF(r, struct entry, request);
}

static struct place place_of(const struct request_table *t, uint32_t lane,
                             const struct sl_ipc_request *head)
{
	return (struct place){.lane = lane,
	                      .conn = head->conn,
	                      .conn_gen = head->conn_gen,
	                      .seq = head->seq,
	                      .attach = link_attach_count(t->c->link)};
}

int request_table_create(struct request_table **out, struct control *c)
{
	struct request_table *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->c = c;
	t->next_id = 1;
	*out = t;
	return 0;
}

uint32_t request_table_count(const struct request_table *t)
{
	return t->by_id.count;
}

struct request *request_find(struct request_table *t, uint64_t id)
{
	return sl_map_get(&t->by_id, &id, sizeof(id));
}

/* ---- Scratch memory ---- */

static int take_arena(struct request *r)
{
	struct request_table *t = r->c->requests;
	int rc = 0;

	if (r->has_arena)
		return 0;
	if (t->kept_count > 0)
		r->arena = t->kept[--t->kept_count];
	else
		rc = sl_arena_create(&r->arena, ARENA_BYTES);
	r->has_arena = rc == 0;
	return rc;
}

static void give_arena(struct request *r)
{
	struct request_table *t = r->c->requests;

	if (!r->has_arena)
		return;
	r->has_arena = false;
	if (r->arena.used > ARENA_KEEP || t->kept_count == ARENAS_KEPT) {
		sl_arena_destroy(&r->arena);
		return;
	}
	sl_arena_reset(&r->arena);
	t->kept[t->kept_count++] = r->arena;
}

bool request_has_room(struct request *r, size_t bytes)
{
	/* Rounding of the single allocations is part of the spare room. */
	return take_arena(r) == 0 && bytes <= (r->arena.size - r->arena.used) / 2;
}

void *request_alloc(struct request *r, size_t count, size_t elem_bytes)
{
	void *p;
	int rc = take_arena(r);

	SL_ASSERT(rc == 0);
	p = sl_arena_alloc_array(&r->arena, count, elem_bytes);
	SL_ASSERT(p);
	return p;
}

struct sl_str request_copy(struct request *r, struct sl_str s)
{
	char *copy;

	if (s.len <= 0)
		return s;
	copy = request_alloc(r, (size_t)s.len, 1);
	memcpy(copy, s.p, (size_t)s.len);
	return (struct sl_str){copy, s.len};
}

struct sl_str request_printf(struct request *r, const char *fmt, ...)
{
	char text[1024];
	char *copy;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	n = n < 0 ? 0 : SL_MIN(n, (int)sizeof(text) - 1);
	if (!request_has_room(r, (size_t)n))
		return sl_str_from("more messages than fit");
	copy = request_alloc(r, (size_t)n + 1, 1);
	memcpy(copy, text, (size_t)n);
	return (struct sl_str){copy, n};
}

bool request_decode(struct request *r, void *m)
{
	struct sl_cursor c = sl_cursor_from(r->body.p, (size_t)r->body.len);
	int rc = take_arena(r);

	if (rc == 0)
		rc = r->api->req_decode(m, &c, &r->arena, r->wire.api_version);
	if (rc == -ENOMEM)
		control_count(r->c, COUNTER_requests_too_big);
	return rc == 0;
}

/* ---- Ends ---- */

static void answer_local(struct request *r, struct sl_bytes bytes)
{
	request_local_fn *fn = r->local;

	r->local = NULL;
	if (fn)
		fn(r->local_arg, bytes);
}

static void forget(struct request *r)
{
	struct entry *e = entry_of(r);
	struct request_table *t = r->c->requests;

	(void)sl_map_del(&t->by_id, &r->id, sizeof(r->id));
	(void)sl_map_del(&t->by_place, &e->place, sizeof(e->place));
	publish_wait_stop(&r->wait);
	answer_local(r, SL_BYTES_NULL);
	give_arena(r);
	sl_buf_fini(&r->out);
	free(r->frame);
	free(e);
}

static void respond(struct request *r, uint32_t flags, struct sl_bytes bytes)
{
	struct sl_ipc_response head = {.conn = r->head.conn,
	                               .conn_gen = r->head.conn_gen,
	                               .seq = r->head.seq,
	                               .flags = flags};
	struct control *c = r->c;
	int rc = -ENOTCONN;

	if (r->local) {
		answer_local(r, flags & SL_IPC_RESPONSE_CLOSE ? SL_BYTES_NULL : bytes);
		return;
	}
	if (!r->is_cancelled && !c->is_stopping && r->attach == link_attach_count(c->link))
		rc = link_respond(c->link, r->lane, &head, bytes);
	if (rc == -EMSGSIZE && !(flags & SL_IPC_RESPONSE_CLOSE)) {
		control_count(c, COUNTER_requests_too_big);
		sl_log(WARN, admin,
		       "close connection api=%s version=%d reason=\"answer of %d bytes\"",
		       r->api->name, r->wire.api_version, bytes.len);
		respond(r, SL_IPC_RESPONSE_CLOSE, (struct sl_bytes){NULL, 0});
		return;
	}
	control_count(c, rc == 0 ? COUNTER_responses : COUNTER_responses_dropped);
}

void request_finish(struct request *r)
{
	if (!sl_buf_ok(&r->out)) {
		control_count(r->c, COUNTER_requests_too_big);
		sl_log(WARN, admin, "close connection api=%s version=%d reason=\"answer too big\"",
		       r->api->name, r->wire.api_version);
		request_close(r);
		return;
	}
	request_finish_bytes(r, (struct sl_bytes){r->out.p, (int32_t)r->out.len});
}

void request_finish_bytes(struct request *r, struct sl_bytes bytes)
{
	respond(r, 0, bytes);
	forget(r);
}

void request_close(struct request *r)
{
	respond(r, SL_IPC_RESPONSE_CLOSE, (struct sl_bytes){NULL, 0});
	forget(r);
}

struct sl_buf *request_answer(struct request *r)
{
	sl_buf_reset(&r->out);
	sl_response_head_encode(&r->out, r->api, r->wire.api_version, r->wire.correlation_id);
	return &r->out;
}

/* ---- Running ---- */

static void run(struct request *r)
{
	switch (r->handler(r->c, r)) {
	case REQUEST_DONE:
		request_finish(r);
		break;
	case REQUEST_CLOSE:
		control_count(r->c, COUNTER_requests_malformed);
		sl_log(INFO, admin,
		       "close connection api=%s version=%d reason=\"malformed request\"",
		       r->api->name, r->wire.api_version);
		request_close(r);
		break;
	case REQUEST_PARKED:
		break;
	}
}

static void second_half(struct request *r, enum sl_kerr kerr)
{
	r->finish(r->c, r, kerr);
	request_finish(r);
}

static void image_served(void *arg)
{
	second_half(arg, SL_KERR_NONE);
}

static void txn_done(void *arg, enum meta_result result, uint64_t revision)
{
	struct request *r = arg;

	r->is_committing = false;
	if (r->is_cancelled || r->c->is_stopping) {
		forget(r);
		return;
	}
	if (result == META_COMMITTED && r->wait_ms == 0) {
		second_half(r, SL_KERR_NONE);
		return;
	}
	if (result == META_COMMITTED) {
		r->wait.fn = image_served;
		r->wait.arg = r;
		publish_wait(r->c->publish, &r->wait, revision, r->wait_ms);
		return;
	}
	if (result == META_CONFLICT && ++r->attempts < ATTEMPTS_MAX) {
		control_count(r->c, COUNTER_requests_retried);
		sl_arena_reset(&r->arena);
		run(r);
		return;
	}
	second_half(r, SL_KERR_KAFKA_STORAGE_ERROR);
}

enum request_result request_commit(struct request *r, struct meta_txn *txn, int64_t wait_ms,
                                   request_finish_fn *finish)
{
	r->finish = finish;
	r->wait_ms = SL_MAX(0, SL_MIN(wait_ms, (int64_t)PUBLISH_WAIT_MS));
	r->is_committing = true;
	meta_txn_commit(txn, txn_done, r);
	return REQUEST_PARKED;
}

/* Fills the request's header.  Return: 0; -EBADMSG; -ENOTSUP. */
static int parse_head(struct request *r, struct sl_bytes frame)
{
	struct sl_cursor c;
	int rc;

	r->frame = malloc(SL_MAX((size_t)frame.len, (size_t)1));
	if (!r->frame)
		return -ENOMEM;
	memcpy(r->frame, frame.p, (size_t)frame.len);
	c = sl_cursor_from(r->frame, (size_t)frame.len);
	rc = sl_request_head_decode(&r->wire, &c);
	if (rc < 0)
		return rc;
	r->api = sl_api_find(r->wire.api_key);
	r->handler = dispatch_handler(r->wire.api_key);
	if (!r->api || !r->handler || !sl_api_serves(r->api, r->wire.api_version))
		return -ENOTSUP;
	r->body = (struct sl_bytes){c.p, (int32_t)sl_cursor_left(&c)};
	return 0;
}

static struct request *add(struct request_table *t, uint32_t lane,
                           const struct sl_ipc_request *head)
{
	struct entry *e = calloc(1, sizeof(*e));
	struct request *r;

	SL_ASSERT(e);
	r = &e->request;
	e->place = place_of(t, lane, head);
	r->c = t->c;
	r->id = t->next_id++;
	r->lane = lane;
	r->head = *head;
	r->attach = link_attach_count(t->c->link);
	sl_buf_init_grow(&r->out, ANSWER_MAX);
	if (sl_map_put(&t->by_place, &e->place, sizeof(e->place), r) < 0) {
		/* The same request twice: the lane broke the rules. */
		control_count(t->c, COUNTER_requests_malformed);
		free(e);
		return NULL;
	}
	if (sl_map_put(&t->by_id, &r->id, sizeof(r->id), r) < 0) {
		forget(r);
		return NULL;
	}
	return r;
}

static void start(struct request *r, struct sl_bytes frame)
{
	int rc = parse_head(r, frame);

	if (rc == 0) {
		run(r);
		return;
	}
	control_count(r->c,
	              rc == -ENOTSUP ? COUNTER_requests_unserved : COUNTER_requests_malformed);
	sl_log(INFO, admin, "close connection key=%d version=%d reason=\"%s\"", r->wire.api_key,
	       r->wire.api_version, rc == -ENOTSUP ? "not served" : "malformed header");
	request_close(r);
}

void request_receive(struct request_table *t, uint32_t lane, const struct sl_ipc_request *head,
                     struct sl_bytes frame)
{
	struct request *r = add(t, lane, head);

	control_count(t->c, COUNTER_requests);
	if (!r)
		return;
	if (head->flags & SL_IPC_REQUEST_AGAIN)
		control_count(t->c, COUNTER_requests_again);
	start(r, frame);
}

void request_local(struct request_table *t, struct sl_bytes frame, request_local_fn *fn, void *arg)
{
	struct sl_ipc_request head = {
		.seq = t->next_id, /* makes its place its own */
		.peer = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1},
	};
	struct request *r = add(t, UINT32_MAX, &head);

	SL_ASSERT(r);
	r->local = fn;
	r->local_arg = arg;
	start(r, frame);
}

void request_cancel(struct request_table *t, uint32_t lane, const struct sl_ipc_request *head)
{
	struct place place = place_of(t, lane, head);
	struct request *r = sl_map_get(&t->by_place, &place, sizeof(place));
	request_handler *handler;
	bool is_held;
	uint64_t id;

	if (!r || r->is_cancelled)
		return;
	control_count(t->c, COUNTER_requests_cancelled);
	r->is_cancelled = true;
	if (r->is_committing)
		return; /* freed by the end of its transaction */
	id = r->id;
	handler = r->handler;
	is_held = !r->wait.is_waiting;
	forget(r);
	/* A TxnOffsetCommit that is still being verified is dropped when it is not found any more;
	 * the group coordinator counts it as one that it does not know. */
	if (is_held && (handler == txns_request || handler == admin_init_producer_id))
		txns_cancel(t->c->txns, id);
	else if (is_held && handler != admin_write_txn_markers)
		offsets_cancel(t->c->offsets, id);
}

void request_table_destroy(struct request_table *t)
{
	struct request *r;
	uint32_t pos = 0;

	if (!t)
		return;
	while ((r = sl_map_next(&t->by_id, &pos)))
		forget(r);
	while (t->kept_count > 0)
		sl_arena_destroy(&t->kept[--t->kept_count]);
	sl_map_fini(&t->by_id);
	sl_map_fini(&t->by_place);
	free(t);
}
