/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transactions: what the coordinator knows, and those that hang.  A transaction hangs when a
 * partition has it open and no coordinator will ever end it; readers of committed records then
 * wait at it for ever.
 */
#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/wire/batch.h"
#include "sluice/wire/describe_transactions_gen.h"
#include "sluice/wire/write_txn_markers_gen.h"

#include "methods.h"
#include "txn/txn.h"
#include "txns.h"
#include "value.h"

#define DESCRIBE_VERSION 0
#define MARKERS_VERSION  1
/* Found in one call at most; the next call finds the rest. */
#define HANGING_MAX      1000
/* Enough for the head of a batch. */
#define READ_BYTES       4096

/* ---- list, describe ---- */

static bool is_open(const char *state)
{
	return strcmp(state, "Ongoing") == 0 || strcmp(state, "PrepareCommit") == 0 ||
	       strcmp(state, "PrepareAbort") == 0;
}

void rpc_txns_list(struct rpc_call *call)
{
	struct txn_coord *coord = control_txns(call->c);
	const char *state = rpc_call_str(call, "state");
	int64_t older_ms = rpc_call_int(call, "older_than_ms", -1);
	json_t *list = json_array();
	struct txn_view v;
	uint32_t pos = 0;

	if (state && !txn_is_state(sl_str_from(state))) {
		json_decref(list);
		rpc_call_error(call, RPC_INVALID_PARAMS, "there is no state \"%.50s\"", state);
		return;
	}
	while (txn_next(coord, &pos, &v)) {
		int64_t age_ms = is_open(v.state) ? loop_wall_ms(call->c->loop) - v.start_ms : -1;

		if ((state && strcmp(state, v.state) != 0) || (older_ms >= 0 && age_ms <= older_ms))
			continue;
		value_append(&list, json_pack("{s:o, s:s, s:I, s:i, s:o, s:i, s:i, s:i}",
		                              "transactional_id", value_str(v.transactional_id),
		                              "state", v.state, "producer_id",
		                              (json_int_t)v.producer_id, "producer_epoch",
		                              (int)v.producer_epoch, "age_ms", value_offset(age_ms),
		                              "timeout_ms", v.timeout_ms, "partitions",
		                              (int)v.parts, "coordinator_partition", v.partition));
	}
	rpc_call_result(call, json_pack("{s:o}", "transactions", list));
}

static json_t *topics_of(const struct sl_describe_transactions_resp_transaction_state *t)
{
	json_t *list = json_array();

	for (int32_t i = 0; i < t->topics_count; i++) {
		json_t *numbers = json_array();

		for (int32_t k = 0; k < t->topics[i].partitions_count; k++)
			value_append(&numbers, json_integer(t->topics[i].partitions[k]));
		value_append(&list, json_pack("{s:o, s:o}", "topic", value_str(t->topics[i].topic),
		                              "partitions", numbers));
	}
	return list;
}

/* What Kafka's handler leaves without words; null: nothing better than the error's own. */
static struct sl_str why_not(int16_t error)
{
	switch (error) {
	case SL_KERR_TRANSACTIONAL_ID_NOT_FOUND:
		return sl_str_from("there is no such transactional id");
	case SL_KERR_COORDINATOR_NOT_AVAILABLE:
	case SL_KERR_NOT_COORDINATOR:
		return sl_str_from("the id's partition of __transaction_state is not served now, "
		                   "or nobody ever used a transaction");
	case SL_KERR_COORDINATOR_LOAD_IN_PROGRESS:
		return sl_str_from("the transactions are being loaded; try again");
	default:
		return SL_STR_NULL;
	}
}

static void described(struct rpc_call *call, struct sl_cursor *body, struct sl_arena *arena,
                      int16_t version)
{
	const struct sl_describe_transactions_resp_transaction_state *t;
	struct sl_describe_transactions_resp resp;

	if (sl_describe_transactions_resp_decode(&resp, body, arena, version) < 0 ||
	    resp.transaction_states_count != 1) {
		kafka_malformed(call);
		return;
	}
	t = &resp.transaction_states[0];
	if (t->error_code != SL_KERR_NONE) {
		rpc_call_kerr(call, t->error_code, why_not(t->error_code));
		return;
	}
	rpc_call_result(call,
	                json_pack("{s:o, s:o, s:I, s:i, s:i, s:o, s:o}", "transactional_id",
	                          value_str(t->transactional_id), "state",
	                          value_str(t->transaction_state), "producer_id",
	                          (json_int_t)t->producer_id, "producer_epoch",
	                          (int)t->producer_epoch, "timeout_ms", t->transaction_timeout_ms,
	                          "start_ms", value_offset(t->transaction_start_time_ms), "topics",
	                          topics_of(t)));
}

void rpc_txns_describe(struct rpc_call *call)
{
	struct sl_str id = sl_str_from(rpc_call_str(call, "id"));
	const struct sl_describe_transactions_req req = {&id, 1};
	struct kafka_frame frame;

	sl_describe_transactions_req_encode(
		&req, kafka_begin(&frame, SL_API_DESCRIBE_TRANSACTIONS, DESCRIBE_VERSION),
		DESCRIBE_VERSION);
	kafka_send(call, &frame, described);
}

/* ---- abort ---- */

static void written(struct rpc_call *call, struct sl_cursor *body, struct sl_arena *arena,
                    int16_t version)
{
	struct sl_write_txn_markers_resp resp;
	int16_t error;

	if (sl_write_txn_markers_resp_decode(&resp, body, arena, version) < 0 ||
	    resp.markers_count != 1 || resp.markers[0].topics_count != 1 ||
	    resp.markers[0].topics[0].partitions_count != 1) {
		kafka_malformed(call);
		return;
	}
	error = resp.markers[0].topics[0].partitions[0].error_code;
	if (error != SL_KERR_NONE)
		rpc_call_kerr(call, error, SL_STR_NULL);
	else
		rpc_call_result(call,
		                json_pack("{s:o, s:i}", "topic",
		                          value_str(resp.markers[0].topics[0].name), "partition",
		                          resp.markers[0].topics[0].partitions[0].partition_index));
}

/* None of the coordinator's partitions has a higher one: a partition refuses lower ones. */
static int32_t highest_epoch(const struct control *c)
{
	const struct statelog *log = txns_log(c->txns);
	int32_t epoch = 0;

	for (int32_t i = 0; i < statelog_partitions(log); i++)
		epoch = SL_MAX(epoch, statelog_epoch(log, i));
	return epoch;
}

void rpc_txns_abort(struct rpc_call *call)
{
	int64_t partition = rpc_call_int(call, "partition", -1);
	int64_t epoch = rpc_call_int(call, "producer_epoch", -1);
	struct sl_write_txn_markers_req_marker_topic topic;
	struct sl_write_txn_markers_req_marker marker;
	const struct sl_write_txn_markers_req req = {&marker, 1};
	struct kafka_frame frame;
	int32_t number;

	if (partition < 0 || partition > INT32_MAX || epoch < 0 || epoch > INT16_MAX) {
		rpc_call_error(call, RPC_INVALID_PARAMS,
		               "partition or producer_epoch out of range");
		return;
	}
	number = (int32_t)partition;
	topic = (struct sl_write_txn_markers_req_marker_topic){
		sl_str_from(rpc_call_str(call, "topic")), &number, 1};
	sl_write_txn_markers_req_marker_init(&marker);
	marker.producer_id = rpc_call_int(call, "producer_id", -1);
	marker.producer_epoch = (int16_t)epoch;
	marker.coordinator_epoch = highest_epoch(call->c);
	marker.topics = &topic;
	marker.topics_count = 1;
	sl_write_txn_markers_req_encode(
		&req, kafka_begin(&frame, SL_API_WRITE_TXN_MARKERS, MARKERS_VERSION),
		MARKERS_VERSION);
	kafka_send(call, &frame, written);
}

/* ---- find-hanging ---- */

/* Where the search is: topics come in order of their names. */
struct search {
	char topic[256]; /* of the partition being read */
	int32_t partition;
	bool is_one_topic;
	int64_t older_ms;
	json_t *found; /* Owned */
};

static void search_free(void *state)
{
	struct search *s = state;

	json_decref(s->found);
	free(s);
}

/* Whether the coordinator has a transaction of the producer with the partition in it. */
static bool is_known(const struct control *c, const struct search *s, int64_t producer_id)
{
	struct txn_coord *coord = control_txns(c);
	struct txn_view v;
	uint32_t pos = 0;

	while (txn_next(coord, &pos, &v)) {
		struct txn_part_view part;
		uint32_t at = 0;

		if (v.producer_id != producer_id || !is_open(v.state))
			continue;
		while (txn_next_part(coord, v.transactional_id, &at, &part)) {
			if (part.partition == s->partition && sl_str_eq_c(part.topic, s->topic))
				return true;
		}
	}
	return false;
}

/* The batch at the last stable offset is the first one of the oldest open transaction. */
static void judge(struct rpc_call *call, struct search *s, struct sl_bytes batches)
{
	int64_t now_ms = loop_wall_ms(call->c->loop);
	struct sl_batch_head h;
	int rc = sl_batch_peek(batches.p, (size_t)SL_MAX(batches.len, 0), &h);

	if ((rc != 0 && rc != -EAGAIN) || h.magic != 2 || !sl_batch_is_transactional(&h) ||
	    sl_batch_is_control(&h) || !sl_batch_has_producer(&h))
		return;
	if (now_ms - h.max_timestamp <= s->older_ms || is_known(call->c, s, h.producer_id))
		return;
	value_append(&s->found,
	             json_pack("{s:s, s:i, s:I, s:i, s:I, s:I}", "topic", s->topic, "partition",
	                       s->partition, "producer_id", (json_int_t)h.producer_id,
	                       "producer_epoch", (int)h.producer_epoch, "offset",
	                       (json_int_t)h.base_offset, "age_ms",
	                       (json_int_t)(now_ms - h.max_timestamp)));
}

static void search_on(struct rpc_call *call, struct search *s);

static void search_read(void *arg, const struct link_read_result *r)
{
	struct rpc_call *call = arg;

	if (!rpc_call_is_wanted(call)) {
		rpc_call_drop(call);
		return;
	}
	/* One that cannot be read now is left out: it serves nobody either. */
	if (r->kerr == SL_KERR_NONE)
		judge(call, call->state, r->batches);
	search_on(call, call->state);
}

/* Moves on to the next partition that has an open transaction.  Return: its lane; -1: none. */
static int search_next(struct control *c, struct search *s, struct link_read_opts *opts)
{
	uint32_t i = meta_topic_lower_bound(c->meta, sl_str_from(s->topic));

	for (; i < meta_topics_count(c->meta); i++) {
		const struct meta_topic *t = meta_topic_at(c->meta, i);

		if (!sl_str_eq_c(t->rec.name, s->topic)) {
			if (s->is_one_topic || t->rec.name.len >= (int32_t)sizeof(s->topic))
				return -1;
			memcpy(s->topic, t->rec.name.p, (size_t)t->rec.name.len);
			s->topic[t->rec.name.len] = '\0';
			s->partition = -1;
		}
		while (++s->partition < t->rec.partitions_count) {
			const struct sl_slot *slot = control_slot(c, &t->rec.topic_id,
			                                          s->partition);
			int lane = control_lane_of(c, t->rec.partitions[s->partition].leader_id);
			int64_t stable;

			if (!slot || lane < 0)
				continue;
			stable = atomic_load_explicit(&slot->last_stable, memory_order_relaxed);
			if (stable >=
			    atomic_load_explicit(&slot->high_watermark, memory_order_relaxed))
				continue;
			*opts = (struct link_read_opts){
				.lane = (uint32_t)lane,
				.topic_id = t->rec.topic_id,
				.partition = s->partition,
				.offset = SL_MAX(stable,
			                         atomic_load_explicit(&slot->log_start,
			                                              memory_order_relaxed)),
				.bytes_max = READ_BYTES,
			};
			return lane;
		}
	}
	return -1;
}

static void search_on(struct rpc_call *call, struct search *s)
{
	struct link_read_opts opts;

	if (s->found && json_array_size(s->found) < HANGING_MAX &&
	    search_next(call->c, s, &opts) >= 0) {
		link_read(call->c->link, &opts, search_read, call);
		return;
	}
	rpc_call_result(call, json_pack("{s:O}", "transactions", s->found));
}

void rpc_txns_find_hanging(struct rpc_call *call)
{
	const char *topic = rpc_call_str(call, "topic");
	struct search *s = calloc(1, sizeof(*s));

	if (!s) {
		rpc_call_error(call, RPC_INTERNAL, "out of memory");
		return;
	}
	s->found = json_array();
	s->partition = -1;
	s->older_ms = rpc_call_int(call, "older_than_ms",
	                           sl_conf_int(call->c->conf, SL_CK_transaction_max_timeout_ms));
	rpc_call_keep(call, s, search_free);
	if (topic) {
		s->is_one_topic = true;
		if (strlen(topic) >= sizeof(s->topic) ||
		    !meta_topic_by_name(call->c->meta, sl_str_from(topic))) {
			rpc_call_error(call, RPC_NOT_FOUND, "there is no topic \"%.100s\"", topic);
			return;
		}
		memcpy(s->topic, topic, strlen(topic) + 1);
	}
	search_on(call, s);
}
