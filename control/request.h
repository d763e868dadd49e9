/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request that the control process answers.
 *
 * A handler decodes, looks at the metadata image and either fills the answer (REQUEST_DONE), or
 * hands a transaction to request_commit() and parks: then its second half runs once the change is
 * durable and the data plane serves it.  When the transaction loses against another one the handler
 * runs again from the start, so a handler changes nothing but through its transaction.
 */
#ifndef CONTROL_REQUEST_H
#define CONTROL_REQUEST_H

#include "sluice/base/arena.h"
#include "sluice/base/buf.h"
#include "sluice/wire/apis.h"
#include "sluice/wire/kerr.h"

#include "control.h"
#include "publish.h"

enum request_result {
	REQUEST_DONE = 0, /* request->out holds the answer */
	REQUEST_PARKED,   /* somebody will call request_finish() or another end */
	REQUEST_CLOSE,    /* malformed: the connection is closed */
};

struct request;
typedef enum request_result request_handler(struct control *c, struct request *r);
/* Second half after a transaction.  @kerr: NONE, or why the change was not made; what was not part
 * of the change keeps its own answer.  Fills request->out. */
typedef void request_finish_fn(struct control *c, struct request *r, enum sl_kerr kerr);

/* @answer: header and body, valid during the call; null: refused as malformed, or dropped because
 * the process stops. */
typedef void request_local_fn(void *arg, struct sl_bytes answer);

struct request {
	struct control *c;
	uint64_t id;
	uint32_t lane;
	struct sl_ipc_request head; /* first bytes of it are the request's key */
	uint64_t attach;            /* number of the attachment it came with */
	const struct sl_api *api;
	struct sl_request_head wire; /* client_id borrows the frame */
	struct sl_bytes body;        /* borrows the frame */
	uint8_t *frame;              /* Owned */
	request_handler *handler;
	struct sl_arena arena; /* scratch of the handler; Owned */
	bool has_arena;
	struct sl_buf out; /* answer with its header */
	/* While parked. */
	uint32_t attempts;
	bool is_committing;
	bool is_cancelled;
	request_finish_fn *finish;
	void *state; /* of the handler, in the arena */
	int64_t wait_ms;
	struct publish_wait wait;
	/* Of a request of this process's own; NULL once answered. */
	request_local_fn *local;
	void *local_arg;
};

struct request_table;

int request_table_create(struct request_table **out, struct control *c) SL_MUST_CHECK;
/* Drops what is unanswered. */
void request_table_destroy(struct request_table *t);
uint32_t request_table_count(const struct request_table *t);

/* Copies the frame and runs its handler. */
void request_receive(struct request_table *t, uint32_t lane, const struct sl_ipc_request *head,
                     struct sl_bytes frame);
void request_cancel(struct request_table *t, uint32_t lane, const struct sl_ipc_request *head);
/**
 * request_local() - run a request of this process's own, as if a client on this machine had sent it
 * @frame: header and body, without a size; copied
 * @fn: called exactly once, maybe before this returns; must not run another request from within,
 * because the group coordinator's actions end with its next step
 */
void request_local(struct request_table *t, struct sl_bytes frame, request_local_fn *fn, void *arg);
/* By id; NULL when it is answered or gone. */
struct request *request_find(struct request_table *t, uint64_t id);

/* ---- For handlers ---- */

/**
 * request_decode() - decode the body
 * @m: struct of the API's request
 * Return: false: malformed or too big, the handler returns REQUEST_CLOSE.
 */
bool request_decode(struct request *r, void *m) SL_MUST_CHECK;
/* Whether about @bytes more of scratch memory are there.  To be asked before allocating what a
 * client can make arbitrarily large, by naming one thing many times; on false the handler returns
 * REQUEST_CLOSE. */
bool request_has_room(struct request *r, size_t bytes) SL_MUST_CHECK;
/* Zeroed scratch memory.  Never NULL. */
void *request_alloc(struct request *r, size_t count, size_t elem_bytes);
/* A copy for an answer that is sent later: what borrows the metadata image may be gone by then. */
struct sl_str request_copy(struct request *r, struct sl_str s);
struct sl_str request_printf(struct request *r, const char *fmt, ...) SL_PRINTF(2, 3);
/* Puts the header of the answer into request->out; the body is encoded behind it. */
struct sl_buf *request_answer(struct request *r);
/**
 * request_commit() - commit a transaction, wait for the data plane, then call @finish
 * @wait_ms: longest wait for the data plane, at most PUBLISH_WAIT_MS; 0: none
 * Ownership: takes @txn.
 * Return: REQUEST_PARKED, for the handler to return.
 */
enum request_result request_commit(struct request *r, struct meta_txn *txn, int64_t wait_ms,
                                   request_finish_fn *finish);

/* ---- Ends of a parked request ---- */

/* Sends request->out. */
void request_finish(struct request *r);
/* Sends @bytes (header and body). */
void request_finish_bytes(struct request *r, struct sl_bytes bytes);
void request_close(struct request *r);

#endif
