/* SPDX-License-Identifier: Apache-2.0 */
/* DescribeTransactions: state, producer and partitions of transactional ids. */
#include <stdlib.h>

#include "sluice/wire/describe_transactions_gen.h"

#include "admin.h"
#include "txn/txn.h"

static int compare(const void *a, const void *b)
{
	const struct txn_part_view *x = a;
	const struct txn_part_view *y = b;
	int order = memcmp(x->topic.p, y->topic.p, (size_t)SL_MIN(x->topic.len, y->topic.len));

	if (order == 0)
		order = (x->topic.len > y->topic.len) - (x->topic.len < y->topic.len);
	return order ? order : (x->partition > y->partition) - (x->partition < y->partition);
}

/* In order of topic and partition.  Return: whether the request has room for them. */
static bool fill_topics(struct request *r, const struct txn_view *v,
                        struct sl_describe_transactions_resp_transaction_state *to)
{
	struct sl_describe_transactions_resp_transaction_state_topic *topic = NULL;
	struct txn_coord *coord = control_txns(r->c);
	struct txn_part_view *parts;
	int32_t *numbers;
	uint32_t pos = 0;
	uint32_t n = 0;

	if (!request_has_room(r, v->parts * (sizeof(*parts) + sizeof(*numbers) + sizeof(*topic))))
		return false;
	parts = request_alloc(r, v->parts, sizeof(*parts));
	numbers = request_alloc(r, v->parts, sizeof(*numbers));
	/* As many topics as partitions at most. */
	to->topics = request_alloc(r, v->parts, sizeof(*to->topics));
	while (n < v->parts && txn_next_part(coord, v->transactional_id, &pos, &parts[n]))
		n++;
	if (n > 1)
		qsort(parts, n, sizeof(*parts), compare);
	for (uint32_t i = 0; i < n; i++) {
		if (!topic || !sl_str_eq(topic->topic, parts[i].topic)) {
			topic = &to->topics[to->topics_count++];
			topic->topic = parts[i].topic;
			topic->partitions = &numbers[i];
		}
		numbers[i] = parts[i].partition;
		topic->partitions_count++;
	}
	return true;
}

static bool describe(struct request *r, struct sl_str id,
                     struct sl_describe_transactions_resp_transaction_state *to)
{
	struct txn_coord *coord = control_txns(r->c);
	enum sl_kerr kerr = id.len <= 0 ? SL_KERR_INVALID_REQUEST : txn_check(coord, id);
	struct txn_view v;

	to->transactional_id = id;
	if (kerr == SL_KERR_NONE && !txn_find(coord, id, &v))
		kerr = SL_KERR_TRANSACTIONAL_ID_NOT_FOUND;
	to->error_code = (int16_t)kerr;
	if (kerr != SL_KERR_NONE)
		return true;
	to->transaction_state = sl_str_from(v.state);
	to->transaction_timeout_ms = v.timeout_ms;
	to->transaction_start_time_ms = v.start_ms;
	to->producer_id = v.producer_id;
	to->producer_epoch = v.producer_epoch;
	return fill_topics(r, &v, to);
}

enum request_result admin_describe_transactions(struct control *c, struct request *r)
{
	struct sl_describe_transactions_resp resp;
	struct sl_describe_transactions_req req;

	(void)c;
	if (!request_decode(r, &req) ||
	    !request_has_room(r, (size_t)req.transactional_ids_count *
	                                 sizeof(*resp.transaction_states)))
		return REQUEST_CLOSE;
	sl_describe_transactions_resp_init(&resp);
	resp.transaction_states_count = req.transactional_ids_count;
	resp.transaction_states = request_alloc(r, (size_t)req.transactional_ids_count,
	                                        sizeof(*resp.transaction_states));
	for (int32_t i = 0; i < req.transactional_ids_count; i++) {
		if (!describe(r, req.transactional_ids[i], &resp.transaction_states[i]))
			return REQUEST_CLOSE;
	}
	sl_describe_transactions_resp_encode(&resp, request_answer(r), r->wire.api_version);
	return REQUEST_DONE;
}
