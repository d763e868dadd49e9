/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One client request from its complete frame to its reply.
 *
 * A handler either replies at once, parks the request until something happens, or asks for the
 * connection to be closed.  Whoever unparks a request calls request_wake() (run the handler again)
 * or request_done() (the reply is there); the session layer picks it up in the same loop iteration.
 */
#ifndef DATAPLANE_REQUEST_REQUEST_H
#define DATAPLANE_REQUEST_REQUEST_H

#include "ctx.h"
#include "reply/reply.h"
#include "sluice/wire/apis.h"
#include "sluice/wire/kerr.h"

/* X(name): why a request is where it is. */
#define REQUEST_STATES(X)                                                                        \
	X(FREE)           /* in the lane's free list */                                          \
	X(RUNNING)        /* its handler is on the stack, or about to run */                     \
	X(PARKED_FETCH)   /* waits for data or its deadline; moved on by partition waiters,      \
	                     deadlines */                                                        \
	X(PARKED_PRODUCE) /* appended, waits for the group commit; moved on by partition waiters \
	                   */                                                                    \
	X(PARKED_CONTROL) /* forwarded; moved on by the control process's answer or its loss */  \
	X(PARKED_VERIFY)  /* waits for the transaction coordinator; moved on by its answers, the \
	                     loss of the control process or a partition, deadlines */            \
	X(DONE)           /* reply (or none, acks=0) waits for its turn on the connection */

#define REQUEST_STATE_ENUM_(s) REQUEST_##s,
enum request_state {
	REQUEST_STATES(REQUEST_STATE_ENUM_) REQUEST_STATE_NR
};
#undef REQUEST_STATE_ENUM_

enum request_result {
	REQUEST_REPLY = 0, /* ctx->out was turned into request->reply */
	REQUEST_NO_REPLY,  /* nothing is sent (acks=0) */
	REQUEST_PARK,      /* state is one of PARKED_*, deadline_ms is set */
	REQUEST_CLOSE,     /* close the connection; the handler has counted why */
	REQUEST_WAIT,      /* no memory now: run again after relief of CTX_LACK_BUFFERS */
	REQUEST_WAIT_TIER, /* no room in the hot tier: run again after relief of CTX_LACK_TIER */
	REQUEST_AGAIN,     /* no room in the ring to control: run again next iteration */
};

struct request {
	struct sl_list link;      /* in its connection's order of arrival, or the free list */
	struct sl_list done_link; /* in ctx->done, ctx->runnable or ctx->starved[] */
	enum request_state state;
	/* Its connection, as the lane and the control process name it. */
	uint32_t conn_index;
	uint32_t conn_gen;
	uint64_t seq;
	uint8_t peer[16]; /* IPv4 as ::ffff:a.b.c.d */
	uint16_t peer_port;
	uint16_t local_port;
	const struct sl_api *api;
	struct sl_request_head head; /* client_id points into the frame */
	/* The frame without its size.  Valid while the handler runs and, for every state but
	 * PARKED_PRODUCE and DONE, while parked. */
	const uint8_t *frame;
	uint32_t frame_bytes;
	uint32_t body_pos;
	/* Its records were received apart from the frame, which lacks them; the connection's. NULL:
	 * they lie in the frame. */
	struct landing *landing;

	int64_t deadline_ms; /* when PARKED_*: it is woken then, with is_final set */
	uint32_t heap_index; /* UINT32_MAX: not in ctx->deadlines */
	int64_t started_ms;

	struct reply *reply; /* Owned when DONE; NULL: no reply */
	/* Owned pool block for what must outlive the frame (produce results, waiter nodes). */
	void *mem;
	struct sl_arena mem_arena;
	void *wait; /* the handler's own state inside mem_arena */
	/* Inside mem_arena: what the transaction coordinator is asked; NULL: nothing. */
	struct verify *verify;
	struct waiter
		*waiters; /* inside mem_arena; waiters_count of them may be linked somewhere */
	uint32_t waiters_count;
	uint32_t waits_left; /* PARKED_PRODUCE: partitions still to be durable */
	bool is_close;       /* DONE: close the connection instead of replying */
	bool is_final;       /* woken by its deadline: a fetch is answered with what there is */
};

/* First run of a request whose frame is complete (decodes the header), or another run after it was
 * woken or had to wait; handlers must be able to run again without doing anything twice. */
enum request_result request_run(struct ctx *ctx, struct request *req);
/* Releases waiters, deadline, memory and reply; for a closing connection or after the reply is
 * queued. */
void request_release(struct ctx *ctx, struct request *req);

/* Parks with a deadline (monotonic ms). */
void request_park(struct ctx *ctx, struct request *req, enum request_state state,
                  int64_t deadline_ms);
/* Unlinks all its waiters. */
void request_unwait(struct request *req);
/* The parked request should run again in this iteration. */
void request_wake(struct ctx *ctx, struct request *req);
/* The request should run again when some of @lack came back. */
void request_starve(struct ctx *ctx, struct request *req, enum ctx_lack lack);
/* The parked request starts over in this iteration, as if it had never been parked. */
void request_again(struct ctx *ctx, struct request *req);
/* The reply is set (or there is none): the session layer takes over. */
void request_done(struct ctx *ctx, struct request *req);
/* Gives the request memory that outlives its frame.  Return: false when the pool is full. */
bool request_mem(struct ctx *ctx, struct request *req, size_t bytes);
/* Starts a reply in ctx->out: frame size, response header.  Then encode the body, then: */
void request_reply_begin(struct ctx *ctx, const struct request *req);
/* -> REQUEST_REPLY, or REQUEST_WAIT when the pool is full, or REQUEST_CLOSE when it cannot ever
 * fit. */
enum request_result request_reply_end(struct ctx *ctx, struct request *req,
                                      const struct reply_range *ranges, uint32_t ranges_count);

/* Deadlines: the first one (INT64_MAX: none), and the request that passed it (NULL: none has). */
int64_t request_deadline_first(const struct ctx *ctx);
struct request *request_deadline_pop(struct ctx *ctx);

/* ---- Handlers, one file each.  The frame's header has been decoded and the version checked. ----
 */
enum request_result api_versions_run(struct ctx *ctx, struct request *req);
enum request_result metadata_run(struct ctx *ctx, struct request *req);
enum request_result produce_run(struct ctx *ctx, struct request *req);
enum request_result fetch_run(struct ctx *ctx, struct request *req);
enum request_result list_offsets_run(struct ctx *ctx, struct request *req);
enum request_result epoch_end_run(struct ctx *ctx, struct request *req); /* OffsetForLeaderEpoch */
enum request_result delete_records_run(struct ctx *ctx, struct request *req);
enum request_result describe_producers_run(struct ctx *ctx, struct request *req);
enum request_result request_forward(struct ctx *ctx, struct request *req);

/* ---- The control process's side ---- */
/* Polls the channel: answers, appends and reads for internal topics.  Return: messages handled. */
unsigned control_poll(struct ctx *ctx, unsigned max);
/* The connection of a PARKED_CONTROL request is gone. */
void control_cancel(struct ctx *ctx, const struct request *req);
/* A new channel: sends every PARKED_CONTROL request again.  NULL: it is lost, they wait. */
void control_set(struct ctx *ctx, struct sl_channel *channel);

#endif
