/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One call of a method, from its JSON to its answer, and the table of methods.
 *
 * A handler answers with exactly one rpc_call_result() or rpc_call_error(), now or later; neither
 * keeps the call alive.  The client may be gone by then: a handler that waited asks
 * rpc_call_is_wanted() before it goes on, and ends the call with rpc_call_drop() when it is not.
 */
#ifndef CONTROL_RPC_CALL_H
#define CONTROL_RPC_CALL_H

#include <jansson.h>

#include "sluice/base/base.h"
#include "sluice/wire/kerr.h"

#include "control.h"

/* Codes of the specification (JSON-RPC 2.0, section 5.1), and ours in its range for servers. */
enum rpc_code {
	RPC_PARSE_ERROR = -32700,
	RPC_INVALID_REQUEST = -32600,
	RPC_NO_METHOD = -32601,
	RPC_INVALID_PARAMS = -32602,
	RPC_INTERNAL = -32603,
	RPC_FAILED = -32000,      /* refused or failed; data has Kafka's error where there is one */
	RPC_UNAVAILABLE = -32001, /* the data plane is not there or does not answer */
	RPC_NOT_FOUND = -32002,   /* what is named does not exist */
	RPC_BUSY = -32003,        /* a limit is reached */
};

#define RPC_MESSAGE_MAX 512

struct call_sink;
struct rpc_call;
typedef void rpc_handler(struct rpc_call *call);

enum rpc_type {
	RPC_STRING = 0,
	RPC_INT,
	RPC_BOOL,
	RPC_OBJECT,     /* of strings */
	RPC_ARRAY,      /* of strings */
	RPC_INT_OR_STR, /* an integer or a string */
};

#define RPC_PARAMS_MAX 8

struct rpc_param {
	const char *name;
	enum rpc_type type;
	bool is_required;
	const char *text;
};

struct rpc_method {
	const char *name;
	const char *text;   /* what it does, one sentence without a full stop */
	const char *result; /* what it answers with */
	rpc_handler *handler;
	struct rpc_param params[RPC_PARAMS_MAX]; /* until a name is NULL */
};

/* NULL at the end of @index. */
const struct rpc_method *method_at(unsigned index);
const struct rpc_method *method_find(const char *name);
/* Name of a type in the documentation. */
const char *method_type_name(enum rpc_type type);

struct rpc_call {
	struct control *c;
	const struct rpc_method *method;
	json_t *params; /* Owned; checked against the method's table; an object, maybe empty */
	json_t *id;     /* Owned; NULL: a notification, nobody wants the answer */
	struct call_batch *batch; /* Owned by its last call; NULL: a single call */
	struct call_sink *sink;   /* where the answer goes; NULL: the client is gone */
	struct sl_list link;      /* in sink->calls */
	/* Of the handler while it waits. */
	void *state;
	void (*state_free)(void *state);
	/* Set by a handler that waits for something that would not come by itself after
	 * rpc_destroy(): called when the client is gone, ends the call. */
	void (*cancel)(struct rpc_call *call);
};

/* A client.  Its owner sets `send`; calls find it gone by the list. */
struct call_sink {
	struct control *c;
	struct sl_list calls; /* of struct rpc_call, running */
	uint32_t calls_count;
	/* One whole answer, without the newline; @len may exceed any limit. */
	void (*send)(struct call_sink *sink, const char *p, size_t len);
	/* A call has ended, with or without an answer. */
	void (*ended)(struct call_sink *sink);
};

void call_sink_init(struct call_sink *sink, struct control *c,
                    void (*send)(struct call_sink *sink, const char *p, size_t len),
                    void (*ended)(struct call_sink *sink));
/* The client is gone: its calls go on without one. */
void call_sink_fini(struct call_sink *sink);
/* Runs one line: a call, a notification, a batch, or an error. */
void call_receive(struct call_sink *sink, struct sl_str line);
/* Answers with an error that belongs to no call. */
void call_refuse(struct call_sink *sink, enum rpc_code code, const char *message);

/* Ends of a call. */

/* Takes @result; NULL: out of memory. */
void rpc_call_result(struct rpc_call *call, json_t *result);
void rpc_call_error(struct rpc_call *call, enum rpc_code code, const char *fmt, ...)
	SL_PRINTF(3, 4);
/* Kafka's error: its name and number go into data.  @message: null: the name says it. */
void rpc_call_kerr(struct rpc_call *call, int kerr, struct sl_str message);
/* Ends a call whose answer nobody wants. */
void rpc_call_drop(struct rpc_call *call);
bool rpc_call_is_wanted(const struct rpc_call *call);
/* @state: freed with the call by @fn. */
void rpc_call_keep(struct rpc_call *call, void *state, void (*fn)(void *state));

/* Parameters; absent ones give NULL or the default. */
const char *rpc_call_str(const struct rpc_call *call, const char *name);
int64_t rpc_call_int(const struct rpc_call *call, const char *name, int64_t otherwise);
bool rpc_call_bool(const struct rpc_call *call, const char *name, bool otherwise);
json_t *rpc_call_param(const struct rpc_call *call, const char *name);

#endif
