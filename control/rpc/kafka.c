/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of Kafka's protocol that the control socket makes itself, so that what an operator does
 * runs through the handlers that clients' requests run through.
 */
#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/ipc/msg.h"

#include "methods.h"
#include "request.h"

#define CLIENT_ID      "sluicectl"
/* Scratch for an answer, touched as it is used. */
#define ANSWER_SCRATCH (UINT64_C(64) << 20)

struct kafka_call {
	struct rpc_call *call;
	const struct sl_api *api;
	int16_t version;
	kafka_fn *fn;
};

struct sl_buf *kafka_begin(struct kafka_frame *frame, int16_t api_key, int16_t version)
{
	struct sl_request_head head = {
		.api_key = api_key, .api_version = version, .client_id = sl_str_from(CLIENT_ID)};

	frame->api = sl_api_find(api_key);
	frame->version = version;
	SL_ASSERT(frame->api && sl_api_serves(frame->api, version));
	sl_buf_init_grow(&frame->buf, SL_IPC_REQUEST_MAX);
	sl_request_head_encode(&frame->buf, frame->api, &head);
	return &frame->buf;
}

void kafka_malformed(struct rpc_call *call)
{
	rpc_call_error(call, RPC_INTERNAL, "the answer of the request's handler makes no sense");
}

static void answered(void *arg, struct sl_bytes answer)
{
	struct kafka_call k = *(struct kafka_call *)arg;
	struct sl_cursor body = sl_cursor_from(answer.p, (size_t)SL_MAX(answer.len, 0));
	struct sl_arena arena;
	int32_t correlation_id;

	free(arg);
	if (!rpc_call_is_wanted(k.call)) {
		rpc_call_drop(k.call);
	} else if (answer.len < 0) {
		rpc_call_error(k.call, RPC_FAILED, "%s was refused as malformed or cut short",
		               k.api->name);
	} else if (sl_response_head_decode(&body, k.api, k.version, &correlation_id) < 0) {
		kafka_malformed(k.call);
	} else if (sl_arena_create(&arena, ANSWER_SCRATCH) < 0) {
		rpc_call_error(k.call, RPC_INTERNAL, "out of memory");
	} else {
		k.fn(k.call, &body, &arena, k.version);
		sl_arena_destroy(&arena);
	}
}

void kafka_send(struct rpc_call *call, struct kafka_frame *frame, kafka_fn *fn)
{
	struct sl_bytes bytes = {frame->buf.p, (int32_t)frame->buf.len};
	struct kafka_call *k = malloc(sizeof(*k));

	if (!k || !sl_buf_ok(&frame->buf)) {
		bool is_big = k != NULL;

		sl_buf_fini(&frame->buf);
		free(k);
		if (is_big)
			rpc_call_error(call, RPC_INVALID_PARAMS, "the request is too big");
		else
			rpc_call_error(call, RPC_INTERNAL, "out of memory");
		return;
	}
	*k = (struct kafka_call){call, frame->api, frame->version, fn};
	request_local(call->c->requests, bytes, answered, k);
	sl_buf_fini(&frame->buf);
}
