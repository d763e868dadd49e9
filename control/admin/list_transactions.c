/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ListTransactions, with Kafka's filters: state, producer id, age, and a pattern that the whole id
 * must match.  A lane lists those that FindCoordinator sends to it: clients ask every node and put
 * the answers together.
 */
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>

#include "sluice/wire/list_transactions_gen.h"

#include "admin.h"
#include "txn/txn.h"

/* Longer patterns, and repetition counts, could make the compiled form arbitrarily large. */
#define PATTERN_MAX 256
#define ID_MAX      (32 * 1024)

struct filter {
	const struct sl_list_transactions_req *req;
	int64_t wall_ms;
	bool has_pattern;
	regex_t pattern;
};

/* A POSIX extended regular expression, where Kafka's is Java's. */
static enum sl_kerr compile(struct filter *f)
{
	struct sl_str p = f->req->transactional_id_pattern;
	char text[PATTERN_MAX + 8];

	if (p.len <= 0)
		return SL_KERR_NONE;
	if (p.len > PATTERN_MAX || memchr(p.p, '{', (size_t)p.len) ||
	    memchr(p.p, '\0', (size_t)p.len))
		return SL_KERR_INVALID_REGULAR_EXPRESSION;
	snprintf(text, sizeof(text), "^(%.*s)$", SL_STR_ARG(p));
	if (regcomp(&f->pattern, text, REG_EXTENDED | REG_NOSUB) != 0)
		return SL_KERR_INVALID_REGULAR_EXPRESSION;
	f->has_pattern = true;
	return SL_KERR_NONE;
}

static bool matches(const struct filter *f, struct sl_str id)
{
	static char text[ID_MAX];

	if (id.len >= ID_MAX)
		return false;
	memcpy(text, id.p, (size_t)id.len);
	text[id.len] = '\0';
	return regexec(&f->pattern, text, 0, NULL, 0) == 0;
}

static bool is_wanted(const struct request *r, const struct filter *f, const struct txn_view *v)
{
	const struct sl_list_transactions_req *req = f->req;
	bool is_state = req->state_filters_count <= 0;
	bool is_producer = req->producer_id_filters_count <= 0;

	for (int32_t i = 0; !is_state && i < req->state_filters_count; i++)
		is_state = sl_str_eq_c(req->state_filters[i], v->state);
	for (int32_t i = 0; !is_producer && i < req->producer_id_filters_count; i++)
		is_producer = req->producer_id_filters[i] == v->producer_id;
	return is_state && is_producer &&
	       control_is_listed_on(r->c, r->lane, v->transactional_id) &&
	       (req->duration_filter < 0 || f->wall_ms - v->start_ms > req->duration_filter) &&
	       (!f->has_pattern || matches(f, v->transactional_id));
}

/* Return: whether the request has room for the answer. */
static bool list(struct request *r, const struct filter *f, struct sl_list_transactions_resp *resp)
{
	struct txn_coord *coord = control_txns(r->c);
	struct txn_view v;
	uint32_t pos = 0;
	int32_t n = 0;

	while (txn_next(coord, &pos, &v))
		n += is_wanted(r, f, &v);
	if (!request_has_room(r, (size_t)n * sizeof(*resp->transaction_states)))
		return false;
	resp->transaction_states = request_alloc(r, (size_t)n, sizeof(*resp->transaction_states));
	pos = 0;
	while (resp->transaction_states_count < n && txn_next(coord, &pos, &v)) {
		if (!is_wanted(r, f, &v))
			continue;
		resp->transaction_states[resp->transaction_states_count++] =
			(struct sl_list_transactions_resp_transaction_state){
				.transactional_id = v.transactional_id,
				.producer_id = v.producer_id,
				.transaction_state = sl_str_from(v.state),
			};
	}
	return true;
}

static void find_unknown_states(struct request *r, const struct sl_list_transactions_req *req,
                                struct sl_list_transactions_resp *resp)
{
	resp->unknown_state_filters = request_alloc(r, (size_t)req->state_filters_count,
	                                            sizeof(*resp->unknown_state_filters));
	for (int32_t i = 0; i < req->state_filters_count; i++) {
		if (!txn_is_state(req->state_filters[i]))
			resp->unknown_state_filters[resp->unknown_state_filters_count++] =
				req->state_filters[i];
	}
}

enum request_result admin_list_transactions(struct control *c, struct request *r)
{
	struct sl_list_transactions_resp resp;
	struct sl_list_transactions_req req;
	struct filter f = {.req = &req, .wall_ms = loop_wall_ms(c->loop)};
	bool has_room = true;

	if (!request_decode(r, &req) ||
	    !request_has_room(r, (size_t)req.state_filters_count * sizeof(struct sl_str)))
		return REQUEST_CLOSE;
	sl_list_transactions_resp_init(&resp);
	if (txn_is_loading(control_txns(c)))
		resp.error_code = SL_KERR_COORDINATOR_LOAD_IN_PROGRESS;
	else
		resp.error_code = (int16_t)compile(&f);
	if (resp.error_code == SL_KERR_NONE) {
		find_unknown_states(r, &req, &resp);
		has_room = list(r, &f, &resp);
	}
	if (f.has_pattern)
		regfree(&f.pattern);
	if (!has_room)
		return REQUEST_CLOSE;
	sl_list_transactions_resp_encode(&resp, request_answer(r), r->wire.api_version);
	return REQUEST_DONE;
}
