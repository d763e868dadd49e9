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

void query_failed(struct rpc_call *call, int error)
{
	switch (error) {
	case -ENOTCONN:
		rpc_call_error(call, RPC_UNAVAILABLE, "the data plane is not attached");
		break;
	case -ETIMEDOUT:
		rpc_call_error(call, RPC_UNAVAILABLE, "the data plane did not answer in time");
		break;
	case -ENOENT:
		rpc_call_error(call, RPC_NOT_FOUND, "the data plane does not know what is named");
		break;
	case -EINVAL:
		rpc_call_error(call, RPC_INVALID_PARAMS, "the data plane refuses the parameters");
		break;
	default:
		rpc_call_error(call, RPC_FAILED, "the data plane: %s", strerror(-error));
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
	if (error == 0) {
		answer = json_loadb(json.p, (size_t)SL_MAX(json.len, 0), JSON_DECODE_ANY, NULL);
		error = answer ? 0 : -EBADMSG;
	}
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
		query_failed(call, error);
	else
		rpc_call_result(call, json_incref(answer));
}

void rpc_connections(struct rpc_call *call)
{
	query_host(call, "connections", json_copy(call->params), pass_on);
}

void rpc_steer(struct rpc_call *call)
{
	query_host(call, "steer", NULL, pass_on);
}

/* ---- count-sites ---- */

static json_t *own_sites(void)
{
	json_t *list = json_array();

	for (const struct sl_count_site *s = sl_count_sites(); s; s = s->next)
		value_append(&list, json_pack("{s:s, s:i, s:s, s:I}", "file", s->file, "line",
		                              s->line, "condition", s->expr, "hits",
		                              (json_int_t)atomic_load_explicit(
						      &s->hits, memory_order_relaxed)));
	return list;
}

static void add_own_sites(struct rpc_call *call, int error, json_t *answer)
{
	json_t *theirs = error == 0 ? json_incref(answer) : json_null();

	rpc_call_result(call, json_pack("{s:o, s:o}", "control", own_sites(), "dataplane", theirs));
}

void rpc_count_sites(struct rpc_call *call)
{
	query_host(call, "count-sites", NULL, add_own_sites);
}
