/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON-RPC 2.0: from a line to calls, and from their ends to answers.  Sockets are rpc.c's.
 * A call is owned by itself: its end frees it, whether or not its client is still there.
 */
#include "call.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/base/log.h"

#include "rpc.h"
#include "value.h"

/* The parser bounds the depth itself (2,048). */
#define PARSE_FLAGS (JSON_REJECT_DUPLICATES | JSON_DECODE_ANY)

_Static_assert(RPC_BATCH_MAX == 64, "start_batch() names the limit");

/* Answers of a batch are collected: "the Server should respond with an Array" (section 6). */
struct call_batch {
	json_t *answers;  /* Owned; NULL after running out of memory */
	uint32_t running; /* calls, and 1 while they are being started */
};

void call_sink_init(struct call_sink *sink, struct control *c,
                    void (*send)(struct call_sink *sink, const char *p, size_t len),
                    void (*ended)(struct call_sink *sink))
{
	sink->c = c;
	sink->send = send;
	sink->ended = ended;
	sink->calls_count = 0;
	sl_list_init(&sink->calls);
}

void call_sink_fini(struct call_sink *sink)
{
	struct sl_list *pos, *tmp;

	sl_list_for_each_safe(pos, tmp, &sink->calls) {
		struct rpc_call *call = sl_list_entry(pos, struct rpc_call, link);

		sl_list_del(&call->link);
		call->sink = NULL;
		if (call->cancel)
			call->cancel(call);
	}
	sink->calls_count = 0;
}

/* ---- Answers ---- */

static void send_json(struct call_sink *sink, json_t *message)
{
	char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
	static const char no_memory[] =
		"{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32603,\"message\":\"out of memory\"}}";

	json_decref(message);
	if (text)
		sink->send(sink, text, strlen(text));
	else
		sink->send(sink, no_memory, sizeof(no_memory) - 1);
	free(text);
}

static json_t *error_answer(json_t *id, enum rpc_code code, const char *message, json_t *data)
{
	json_t *error = json_pack("{s:i, s:s}", "code", (int)code, "message", message);

	if (data)
		value_set(&error, "data", data);
	return json_pack("{s:s, s:O?, s:o}", "jsonrpc", "2.0", "id", id, "error", error);
}

void call_refuse(struct call_sink *sink, enum rpc_code code, const char *message)
{
	control_count(sink->c, COUNTER_rpc_errors);
	send_json(sink, json_pack("{s:s, s:n, s:{s:i, s:s}}", "jsonrpc", "2.0", "id", "error",
	                          "code", (int)code, "message", message));
}

/* One of a batch's calls has ended, or has been started. */
static void batch_put(struct call_batch *batch, struct call_sink *sink)
{
	SL_ASSERT(batch->running > 0);
	if (--batch->running > 0)
		return;
	/* "If the batch rpc call itself ... only contains notifications, nothing is returned." */
	if (sink && (!batch->answers || json_array_size(batch->answers) > 0))
		send_json(sink, json_incref(batch->answers));
	json_decref(batch->answers);
	free(batch);
}

static void end(struct rpc_call *call, json_t *answer)
{
	struct call_sink *sink = call->sink;

	if (sink) {
		sl_list_del(&call->link);
		sink->calls_count--;
	}
	if (call->batch) {
		if (call->id)
			value_append(&call->batch->answers, answer);
		else
			json_decref(answer);
		batch_put(call->batch, sink);
	} else if (sink && call->id) {
		send_json(sink, answer);
	} else {
		json_decref(answer);
	}
	if (sink)
		sink->ended(sink);
	if (call->state)
		call->state_free(call->state);
	json_decref(call->params);
	json_decref(call->id);
	free(call);
}

void rpc_call_result(struct rpc_call *call, json_t *result)
{
	if (!result) {
		rpc_call_error(call, RPC_INTERNAL, "out of memory");
		return;
	}
	end(call,
	    json_pack("{s:s, s:O?, s:o}", "jsonrpc", "2.0", "id", call->id, "result", result));
}

void rpc_call_error(struct rpc_call *call, enum rpc_code code, const char *fmt, ...)
{
	char message[RPC_MESSAGE_MAX];
	json_t *text;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	n = n < 0 ? 0 : SL_MIN(n, (int)sizeof(message) - 1);
	/* Cutting may have split a character. */
	text = value_str((struct sl_str){message, n});
	control_count(call->c, COUNTER_rpc_errors);
	end(call, error_answer(call->id, code, text ? json_string_value(text) : "", NULL));
	json_decref(text);
}

static enum rpc_code code_of(int kerr)
{
	switch (kerr) {
	case SL_KERR_UNKNOWN_TOPIC_OR_PARTITION:
	case SL_KERR_UNKNOWN_TOPIC_ID:
	case SL_KERR_GROUP_ID_NOT_FOUND:
	case SL_KERR_RESOURCE_NOT_FOUND:
		return RPC_NOT_FOUND;
	case SL_KERR_COORDINATOR_LOAD_IN_PROGRESS:
	case SL_KERR_COORDINATOR_NOT_AVAILABLE:
	case SL_KERR_NOT_COORDINATOR:
		return RPC_UNAVAILABLE;
	default:
		return RPC_FAILED;
	}
}

/* For the errors that Kafka's handlers leave without a message. */
static const char *text_of(int kerr)
{
	switch (kerr) {
	case SL_KERR_UNKNOWN_TOPIC_OR_PARTITION:
		return "there is no such topic or partition";
	case SL_KERR_GROUP_ID_NOT_FOUND:
		return "there is no such group";
	case SL_KERR_INVALID_GROUP_ID:
		return "the id of the group is not valid";
	case SL_KERR_COORDINATOR_LOAD_IN_PROGRESS:
		return "the group's offsets are being loaded; try again";
	case SL_KERR_COORDINATOR_NOT_AVAILABLE:
	case SL_KERR_NOT_COORDINATOR:
		return "the group's partition of __consumer_offsets is not served now, or nobody ever "
		       "used a group";
	default:
		return sl_kerr_name(kerr);
	}
}

void rpc_call_kerr(struct rpc_call *call, int kerr, struct sl_str message)
{
	json_t *text = value_str(message.len > 0 ? message : sl_str_from(text_of(kerr)));
	json_t *data = json_pack("{s:s, s:i}", "kafka_error", sl_kerr_name(kerr), "kafka_code",
	                         kerr);

	control_count(call->c, COUNTER_rpc_errors);
	end(call, error_answer(call->id, code_of(kerr), text ? json_string_value(text) : "", data));
	json_decref(text);
}

void rpc_call_drop(struct rpc_call *call)
{
	rpc_call_error(call, RPC_FAILED, "the client is gone");
}

bool rpc_call_is_wanted(const struct rpc_call *call)
{
	return call->sink != NULL;
}

void rpc_call_keep(struct rpc_call *call, void *state, void (*fn)(void *state))
{
	SL_ASSERT(!call->state && state && fn);
	call->state = state;
	call->state_free = fn;
}

/* ---- Parameters ---- */

json_t *rpc_call_param(const struct rpc_call *call, const char *name)
{
	return json_object_get(call->params, name);
}

const char *rpc_call_str(const struct rpc_call *call, const char *name)
{
	return json_string_value(json_object_get(call->params, name));
}

int64_t rpc_call_int(const struct rpc_call *call, const char *name, int64_t otherwise)
{
	json_t *v = json_object_get(call->params, name);

	return json_is_integer(v) ? json_integer_value(v) : otherwise;
}

bool rpc_call_bool(const struct rpc_call *call, const char *name, bool otherwise)
{
	json_t *v = json_object_get(call->params, name);

	return json_is_boolean(v) ? json_is_true(v) : otherwise;
}

static bool is_all_strings(json_t *v)
{
	const char *key;
	size_t index;
	json_t *item;

	if (json_is_array(v)) {
		json_array_foreach(v, index, item) {
			if (!json_is_string(item))
				return false;
		}
		return true;
	}
	json_object_foreach(v, key, item) {
		if (!json_is_string(item))
			return false;
	}
	return true;
}

static bool has_type(json_t *v, enum rpc_type type)
{
	switch (type) {
	case RPC_STRING:
		return json_is_string(v);
	case RPC_INT:
		return json_is_integer(v);
	case RPC_BOOL:
		return json_is_boolean(v);
	case RPC_OBJECT:
		return json_is_object(v) && is_all_strings(v);
	case RPC_ARRAY:
		return json_is_array(v) && is_all_strings(v);
	case RPC_INT_OR_STR:
		return json_is_integer(v) || json_is_string(v);
	}
	return false;
}

static const struct rpc_param *find_param(const struct rpc_method *m, const char *name)
{
	for (unsigned i = 0; i < RPC_PARAMS_MAX && m->params[i].name; i++) {
		if (strcmp(m->params[i].name, name) == 0)
			return &m->params[i];
	}
	return NULL;
}

/* Return: false with the reason in @why. */
static bool check_params(const struct rpc_method *m, json_t *params, char why[RPC_MESSAGE_MAX])
{
	const char *key;
	json_t *v;

	json_object_foreach(params, key, v) {
		const struct rpc_param *p = find_param(m, key);

		if (!p) {
			snprintf(why, RPC_MESSAGE_MAX, "%s has no parameter \"%.100s\"", m->name,
			         key);
			return false;
		}
		if (!has_type(v, p->type)) {
			snprintf(why, RPC_MESSAGE_MAX, "parameter \"%s\" of %s must be %s", key,
			         m->name, method_type_name(p->type));
			return false;
		}
	}
	for (unsigned i = 0; i < RPC_PARAMS_MAX && m->params[i].name; i++) {
		if (m->params[i].is_required && !json_object_get(params, m->params[i].name)) {
			snprintf(why, RPC_MESSAGE_MAX, "%s needs the parameter \"%s\"", m->name,
			         m->params[i].name);
			return false;
		}
	}
	return true;
}

/* ---- Requests ---- */

static struct rpc_call *make_call(struct call_sink *sink, json_t *id, struct call_batch *batch)
{
	struct rpc_call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	call->c = sink->c;
	call->id = json_incref(id);
	call->batch = batch;
	call->sink = sink;
	if (batch)
		batch->running++;
	sl_list_push_back(&sink->calls, &call->link);
	sink->calls_count++;
	control_count(sink->c, COUNTER_rpc_calls);
	return call;
}

static void run(struct rpc_call *call, const char *name, json_t *params)
{
	char why[RPC_MESSAGE_MAX];

	call->method = method_find(name);
	if (!call->method) {
		rpc_call_error(call, RPC_NO_METHOD,
		               "there is no method \"%.100s\"; \"help\" lists them", name);
		return;
	}
	if (params && !json_is_object(params)) {
		rpc_call_error(call, RPC_INVALID_PARAMS,
		               "parameters are given by name, in an object");
		return;
	}
	call->params = params ? json_incref(params) : json_object();
	if (!call->params) {
		rpc_call_error(call, RPC_INTERNAL, "out of memory");
		return;
	}
	if (!check_params(call->method, call->params, why)) {
		rpc_call_error(call, RPC_INVALID_PARAMS, "%s", why);
		return;
	}
	sl_log(DEBUG, rpc, "call method=%s", name);
	call->method->handler(call);
}

/* Why a request object is not one, or NULL. */
static const char *request_fault(json_t *request)
{
	const char *version = json_string_value(json_object_get(request, "jsonrpc"));
	json_t *id = json_object_get(request, "id");

	if (!json_is_object(request))
		return "a request is an object";
	if (!version || strcmp(version, "2.0") != 0)
		return "\"jsonrpc\" must be \"2.0\"";
	if (!json_is_string(json_object_get(request, "method")))
		return "\"method\" must be a string";
	if (id && !json_is_string(id) && !json_is_number(id) && !json_is_null(id))
		return "\"id\" must be a string, a number or null";
	return NULL;
}

static void start(struct call_sink *sink, json_t *request, struct call_batch *batch)
{
	const char *fault = request_fault(request);
	json_t *id = json_object_get(request, "id");
	struct rpc_call *call;

	if (fault) {
		/* "If there was an error in detecting the id in the Request object ... Null." */
		if (!batch) {
			call_refuse(sink, RPC_INVALID_REQUEST, fault);
			return;
		}
		control_count(sink->c, COUNTER_rpc_errors);
		value_append(&batch->answers, error_answer(NULL, RPC_INVALID_REQUEST, fault, NULL));
		return;
	}
	call = make_call(sink, id, batch);
	if (!call) {
		call_refuse(sink, RPC_INTERNAL, "out of memory");
		return;
	}
	run(call, json_string_value(json_object_get(request, "method")),
	    json_object_get(request, "params"));
}

static void start_batch(struct call_sink *sink, json_t *requests)
{
	struct call_batch *batch;
	size_t index;
	json_t *request;

	if (json_array_size(requests) == 0 || json_array_size(requests) > RPC_BATCH_MAX) {
		call_refuse(sink, RPC_INVALID_REQUEST, "a batch has 1 to 64 requests");
		return;
	}
	batch = calloc(1, sizeof(*batch));
	if (!batch) {
		call_refuse(sink, RPC_INTERNAL, "out of memory");
		return;
	}
	batch->answers = json_array();
	batch->running = 1;
	json_array_foreach(requests, index, request)
		start(sink, request, batch);
	batch_put(batch, sink);
}

void call_receive(struct call_sink *sink, struct sl_str line)
{
	json_error_t error;
	json_t *message;

	if (line.len == 0)
		return;
	message = json_loadb(line.p, (size_t)line.len, PARSE_FLAGS, &error);
	if (!message) {
		char why[RPC_MESSAGE_MAX];

		snprintf(why, sizeof(why), "not JSON: column %d: %s", error.column, error.text);
		call_refuse(sink, RPC_PARSE_ERROR, why);
		return;
	}
	if (json_is_array(message))
		start_batch(sink, message);
	else
		start(sink, message, NULL);
	json_decref(message);
}
