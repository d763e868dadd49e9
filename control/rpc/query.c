/* SPDX-License-Identifier: Apache-2.0 */
/* Questions to the data plane's host thread, in JSON over the channel. */
#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"

#include "methods.h"
#include "value.h"

struct query {
	struct rpc_call *call;
	query_fn *fn;
};

void query_failed(struct rpc_call *call, int error, json_t *answer)
{
	const char *text = json_string_value(json_object_get(answer, "error"));

	switch (error) {
	case -ENOTCONN:
		rpc_call_error(call, RPC_UNAVAILABLE, "the data plane is not attached");
		break;
	case -ETIMEDOUT:
		rpc_call_error(call, RPC_UNAVAILABLE, "the data plane did not answer in time");
		break;
	case -EBUSY:
		rpc_call_error(call, RPC_BUSY, "the data plane: %.200s", text ? text : "busy");
		break;
	case -EINVAL:
		rpc_call_error(call, RPC_INVALID_PARAMS,
		               "the data plane refuses the parameters: %.200s",
		               text ? text : "not valid");
		break;
	default:
		rpc_call_error(call, RPC_FAILED, "the data plane: %.200s",
		               text ? text : strerror(-error));
		break;
	}
}

static void answered(void *arg, int error, struct sl_str json)
{
	struct query q = *(struct query *)arg;
	json_t *answer = NULL;

	free(arg);
	if (!rpc_call_is_wanted(q.call)) {
		rpc_call_drop(q.call);
		return;
	}
	if (json.len > 0)
		answer = json_loadb(json.p, (size_t)json.len, 0, NULL);
	if (error == 0 && !answer)
		error = -EBADMSG;
	q.fn(q.call, error, answer);
	json_decref(answer);
}

void query_host(struct rpc_call *call, const char *method, json_t *params, query_fn *fn)
{
	json_t *request = params ? params : json_object();
	struct query *q = malloc(sizeof(*q));
	char *text = NULL;

	value_set(&request, "method", json_string(method));
	if (request)
		text = json_dumps(request, JSON_COMPACT);
	json_decref(request);
	if (!q || !text) {
		free(q);
		free(text);
		rpc_call_error(call, RPC_INTERNAL, "out of memory");
		return;
	}
	*q = (struct query){call, fn};
	link_query(call->c->link, LINK_HOST, sl_str_from(text), answered, q);
	free(text);
}

static void pass_on(struct rpc_call *call, int error, json_t *answer)
{
	if (error != 0)
		query_failed(call, error, answer);
	else
		rpc_call_result(call, json_incref(answer));
}

/* ---- connections ---- */

static void show_connections(struct rpc_call *call, int error, json_t *answer)
{
	json_t *all = json_object_get(answer, "connections");
	int64_t limit = rpc_call_int(call, "limit", INT64_MAX);
	int64_t lane = rpc_call_int(call, "lane", -1);
	json_t *list = json_array();
	bool is_cut = json_is_true(json_object_get(answer, "truncated"));
	size_t index;
	json_t *conn;

	if (error != 0) {
		json_decref(list);
		query_failed(call, error, answer);
		return;
	}
	json_array_foreach(all, index, conn) {
		if (lane >= 0 && json_integer_value(json_object_get(conn, "lane")) != lane)
			continue;
		if (limit-- <= 0) {
			is_cut = true;
			break;
		}
		value_append(&list, json_incref(conn));
	}
	rpc_call_result(call,
	                json_pack("{s:o, s:b}", "connections", list, "truncated", (int)is_cut));
}

void rpc_connections(struct rpc_call *call)
{
	query_host(call, "connections", NULL, show_connections);
}

/* ---- steer ---- */

void rpc_steer(struct rpc_call *call)
{
	query_host(call, "steer", NULL, pass_on);
}

/* ban, unban and redirect: the data plane has them under the same names. */
void rpc_steer_change(struct rpc_call *call)
{
	query_host(call, call->method->name, json_copy(call->params), pass_on);
}

/* ---- count-sites ---- */

static json_t *own_sites(void)
{
	json_t *list = json_array();

	for (const struct sl_count_site *s = sl_count_sites(); s; s = s->next)
		value_append(&list, json_pack("{s:s, s:i, s:s, s:I}", "file", s->file, "line",
		                              s->line, "expr", s->expr, "hits",
		                              (json_int_t)atomic_load_explicit(
						      &s->hits, memory_order_relaxed)));
	return list;
}

static void add_own_sites(struct rpc_call *call, int error, json_t *answer)
{
	json_t *sites = json_object_get(answer, "sites");
	json_t *theirs = error == 0 && sites ? json_incref(sites) : json_null();

	rpc_call_result(call, json_pack("{s:o, s:o}", "control", own_sites(), "dataplane", theirs));
}

void rpc_count_sites(struct rpc_call *call)
{
	query_host(call, "count-sites", NULL, add_own_sites);
}
