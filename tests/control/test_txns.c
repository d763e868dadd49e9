/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions end to end: frames and questions in, records and markers on the data plane's logs,
 * across the loss of either process. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "sluice/wire/add_offsets_to_txn_gen.h"
#include "sluice/wire/add_partitions_to_txn_gen.h"
#include "sluice/wire/describe_transactions_gen.h"
#include "sluice/wire/end_txn_gen.h"
#include "sluice/wire/find_coordinator_gen.h"
#include "sluice/wire/init_producer_id_gen.h"
#include "sluice/wire/list_transactions_gen.h"
#include "sluice/wire/offset_fetch_gen.h"
#include "sluice/wire/txn_offset_commit_gen.h"
#include "sluice/wire/write_txn_markers_gen.h"
#include "txn/txn.h"

#include "harness.h"
#include "txns.h"

#define GROUP "readers"

static struct harness h;

struct producer {
	int64_t id;
	int16_t epoch;
};

static bool is_loaded(struct harness *unused, void *arg)
{
	uint32_t loaded, total, loaded2, total2;

	(void)arg;
	statelog_progress(txns_log(unused->control->txns), &loaded, &total);
	offsets_progress(unused->control->offsets, &loaded2, &total2);
	return total > 0 && loaded == total && total2 > 0 && loaded2 == total2;
}

static void until_loaded(void)
{
	harness_until_served(&h);
	harness_until(&h, is_loaded, NULL, "coordinators loaded");
}

static void find_coordinator(int8_t type, const char *key)
{
	struct sl_find_coordinator_req req;
	struct sl_find_coordinator_resp resp;

	sl_find_coordinator_req_init(&req);
	req.key = sl_str_from(key);
	req.key_type = type;
	CALL(&h, find_coordinator, FIND_COORDINATOR, 2, &req, &resp);
	cr_assert_eq(resp.error_code, 0);
}

static void setup(void)
{
	harness_init(&h, 2);
	harness_create_topic(&h, "t", 3);
	find_coordinator(0, GROUP);
	find_coordinator(1, "tx");
	until_loaded();
}

static void teardown(void)
{
	harness_fini(&h);
}

TestSuite(txns, .init = setup, .fini = teardown);

static int16_t init_producer(const char *id, struct producer *out)
{
	struct sl_init_producer_id_req req;
	struct sl_init_producer_id_resp resp;

	sl_init_producer_id_req_init(&req);
	req.transactional_id = sl_str_from(id);
	req.transaction_timeout_ms = 60000;
	CALL(&h, init_producer_id, INIT_PRODUCER_ID, 4, &req, &resp);
	*out = (struct producer){resp.producer_id, resp.producer_epoch};
	return resp.error_code;
}

static struct producer producer(const char *id)
{
	struct producer p;

	cr_assert_eq(init_producer(id, &p), 0);
	return p;
}

static int16_t add(const char *id, struct producer p, int32_t partition)
{
	struct sl_add_partitions_to_txn_req_v3_and_below_topic topic = {sl_str_from("t"),
	                                                                &partition, 1};
	struct sl_add_partitions_to_txn_req req;
	struct sl_add_partitions_to_txn_resp resp;

	sl_add_partitions_to_txn_req_init(&req);
	req.v3_and_below_transactional_id = sl_str_from(id);
	req.v3_and_below_producer_id = p.id;
	req.v3_and_below_producer_epoch = p.epoch;
	req.v3_and_below_topics = &topic;
	req.v3_and_below_topics_count = 1;
	CALL(&h, add_partitions_to_txn, ADD_PARTITIONS_TO_TXN, 1, &req, &resp);
	return resp.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code;
}

static int16_t end(const char *id, struct producer p, bool is_commit, int16_t version,
                   struct producer *out)
{
	struct sl_end_txn_req req = {sl_str_from(id), p.id, p.epoch, is_commit};
	struct sl_end_txn_resp resp;

	CALL(&h, end_txn, END_TXN, version, &req, &resp);
	if (out)
		*out = (struct producer){resp.producer_id, resp.producer_epoch};
	return resp.error_code;
}

struct wanted {
	const char *id;
	const char *state;
};

static bool is_in_state(struct harness *unused, void *arg)
{
	const struct wanted *w = arg;
	struct txn_view v;

	return txn_find(control_txns(unused->control), sl_str_from(w->id), &v) &&
	       strcmp(v.state, w->state) == 0;
}

static void until_state(const char *id, const char *state)
{
	struct wanted w = {id, state};

	harness_until(&h, is_in_state, &w, state);
}

struct asked {
	uint64_t cookie;
	int32_t kerr;
};

static bool is_told(struct harness *unused, void *arg)
{
	struct asked *a = arg;

	return fake_take_verified(unused->fake, a->cookie, &a->kerr);
}

static int32_t ask(const char *id, struct producer p, int32_t partition, uint16_t flags)
{
	static uint64_t cookie = 1;
	struct asked a = {cookie++, 0};
	struct sl_ipc_txn_verify head = {.cookie = a.cookie,
	                                 .producer_id = p.id,
	                                 .producer_epoch = p.epoch,
	                                 .partition = partition,
	                                 .flags = flags};
	struct fake_topic topic;

	cr_assert(fake_topic(h.fake, "t", &topic));
	head.topic_id = topic.id;
	free(topic.configs);
	fake_verify(h.fake, 1, &head, id);
	harness_until(&h, is_told, &a, "a question answered");
	return a.kerr;
}

static void expect_marker(int32_t partition, uint32_t index, struct producer p)
{
	struct sl_batch_head head;

	cr_assert(fake_batch(h.fake, "t", partition, index, &head), "no marker on t-%d", partition);
	cr_assert(sl_batch_is_control(&head) && sl_batch_is_transactional(&head));
	cr_assert_eq(head.producer_id, p.id);
	cr_assert_eq(head.producer_epoch, p.epoch);
}

/* ---- The two flows ---- */

Test(txns, commits_in_the_older_flow)
{
	struct producer p = producer("tx");

	cr_assert_eq(add("tx", p, 0), 0);
	cr_assert_eq(add("tx", p, 2), 0);
	cr_assert_eq(ask("tx", p, 0, 0), 0);
	cr_assert_eq(ask("tx", p, 1, 0), SL_KERR_TRANSACTION_ABORTABLE);
	cr_assert_eq(end("tx", p, true, 1, NULL), 0);
	until_state("tx", "CompleteCommit");
	expect_marker(0, 0, p);
	expect_marker(2, 0, p);
	cr_assert_eq(fake_batches(h.fake, "t"), 2);
	cr_assert_eq(h.control->counters[COUNTER_txn_markers], 2);
	cr_assert_eq(add("tx", p, 0), 0, "the next one");
}

Test(txns, commits_and_aborts_in_the_newer_flow)
{
	struct producer p = producer("tx");
	struct producer next;

	for (int i = 0; i < 4; i++) {
		cr_assert_eq(ask("tx", p, 1, SL_IPC_TXN_ADD), 0);
		cr_assert_eq(end("tx", p, i % 2 == 0, 5, &next), 0);
		cr_assert(next.id == p.id && next.epoch == p.epoch + 1);
		until_state("tx", i % 2 == 0 ? "CompleteCommit" : "CompleteAbort");
		expect_marker(1, (uint32_t)i, next);
		p = next;
	}
	cr_assert_eq(h.control->counters[COUNTER_txn_questions], 4);
}

Test(txns, has_the_decision_on_the_log_before_a_marker_goes_out)
{
	struct producer p = producer("tx");
	uint32_t n;

	cr_assert_eq(add("tx", p, 0), 0);
	n = fake_appends_count(h.fake);
	fake_fail_topic(h.fake, TXNS_TOPIC, SL_KERR_KAFKA_STORAGE_ERROR);
	cr_assert_eq(end("tx", p, true, 1, NULL), SL_KERR_NOT_COORDINATOR);
	harness_spin(&h, 20);
	cr_assert_eq(fake_appends_count(h.fake), n, "nothing decided, nothing written");
	fake_fail_topic(h.fake, NULL, 0);
	cr_assert_eq(end("tx", p, true, 1, NULL), 0);
	until_state("tx", "CompleteCommit");
	cr_assert_eq(fake_appends_count(h.fake), n + 3);
	cr_assert_str_eq(fake_append_topic(h.fake, n), TXNS_TOPIC);
	cr_assert_str_eq(fake_append_topic(h.fake, n + 1), "t");
	cr_assert_str_eq(fake_append_topic(h.fake, n + 2), TXNS_TOPIC);
}

/* ---- Loss of a process ---- */

Test(txns, repeats_markers_until_they_are_written)
{
	struct producer p = producer("tx");

	cr_assert_eq(add("tx", p, 0), 0);
	fake_fail_topic(h.fake, "t", SL_KERR_KAFKA_STORAGE_ERROR);
	cr_assert_eq(end("tx", p, true, 1, NULL), 0);
	for (int i = 0; i < 5; i++) {
		harness_advance(&h, 600);
		harness_spin(&h, 10);
	}
	cr_assert_geq(h.control->counters[COUNTER_txn_marker_errors], 2);
	cr_assert_eq(fake_batches(h.fake, "t"), 0);
	until_state("tx", "PrepareCommit");
	fake_fail_topic(h.fake, NULL, 0);
	harness_advance(&h, 600);
	until_state("tx", "CompleteCommit");
	cr_assert_eq(fake_batches(h.fake, "t"), 1);
}

Test(txns, writes_markers_after_the_data_plane_was_lost)
{
	struct producer p = producer("tx");

	cr_assert_eq(add("tx", p, 0), 0);
	fake_fail_topic(h.fake, "t", SL_KERR_KAFKA_STORAGE_ERROR);
	cr_assert_eq(end("tx", p, false, 1, NULL), 0);
	fake_fail_topic(h.fake, NULL, 0);
	harness_restart_fake(&h, 2);
	until_loaded();
	until_state("tx", "CompleteAbort");
	expect_marker(0, 0, p);
}

Test(txns, writes_markers_after_the_control_process_was_lost)
{
	struct producer p = producer("tx");

	cr_assert_eq(add("tx", p, 1), 0);
	fake_fail_topic(h.fake, "t", SL_KERR_KAFKA_STORAGE_ERROR);
	cr_assert_eq(end("tx", p, true, 1, NULL), 0);
	harness_stop_control(&h);
	fake_fail_topic(h.fake, NULL, 0);
	harness_start_control(&h);
	until_loaded();
	until_state("tx", "CompleteCommit");
	expect_marker(1, 0, p);
}

Test(txns, goes_on_with_an_ongoing_transaction_after_a_loss)
{
	struct producer p = producer("tx");
	struct producer other;

	cr_assert_eq(add("tx", p, 1), 0);
	harness_stop_control(&h);
	harness_restart_fake(&h, 2);
	harness_start_control(&h);
	until_loaded();
	until_state("tx", "Ongoing");
	cr_assert_eq(ask("tx", p, 1, 0), 0);
	cr_assert_eq(end("tx", p, true, 1, NULL), 0);
	until_state("tx", "CompleteCommit");
	other = producer("other");
	cr_assert_neq(other.id, p.id, "no producer id is given twice");
}

Test(txns, aborts_after_the_time_out)
{
	struct producer p = producer("tx");

	cr_assert_eq(add("tx", p, 1), 0);
	harness_advance(&h, 71000);
	until_state("tx", "CompleteAbort");
	p.epoch++;
	expect_marker(1, 0, p);
}

/* Ends with the control process started again, under other configs. */
static void restart_with(const char *key, const char *value)
{
	harness_stop_control(&h);
	harness_set(&h, key, value);
	harness_start_control(&h);
	until_loaded();
}

Test(txns, looks_for_time_outs_as_often_as_is_configured)
{
	struct txn_view view;
	struct producer p;

	restart_with("transaction.abort.timed.out.transaction.cleanup.interval.ms", "300000");
	p = producer("tx");
	cr_assert_eq(add("tx", p, 0), 0);
	harness_advance(&h, 280000);
	harness_spin(&h, 20);
	cr_assert(txn_find(control_txns(h.control), sl_str_from("tx"), &view));
	cr_assert_str_eq(view.state, "Ongoing");
	harness_advance(&h, 20000);
	until_state("tx", "CompleteAbort");
}

Test(txns, lets_no_transaction_last_longer_than_is_configured)
{
	struct producer p;

	restart_with("transaction.max.timeout.ms", "59999");
	cr_assert_eq(init_producer("tx", &p), SL_KERR_INVALID_TRANSACTION_TIMEOUT);
	restart_with("transaction.max.timeout.ms", "60000");
	cr_assert_eq(init_producer("tx", &p), 0);
}

Test(txns, forgets_ids_after_the_time_that_is_configured)
{
	struct txn_view view;

	harness_stop_control(&h);
	harness_set(&h, "transactional.id.expiration.ms", "20000");
	harness_set(&h, "transaction.remove.expired.transaction.cleanup.interval.ms", "1000");
	harness_start_control(&h);
	until_loaded();
	(void)producer("tx");
	harness_advance(&h, 18000);
	cr_assert(txn_find(control_txns(h.control), sl_str_from("tx"), &view));
	harness_advance(&h, 3000);
	harness_spin(&h, 20);
	cr_assert(!txn_find(control_txns(h.control), sl_str_from("tx"), &view));
}

Test(txns, shares_no_producer_id_with_another_who_takes_a_block)
{
	const struct sl_request_head head = {SL_API_INIT_PRODUCER_ID, 4, 4711, sl_str_from("me")};
	const struct sl_ipc_request from = {.seq = ++h.seq};
	struct meta_txn *other = meta_txn_begin(h.control->meta);
	const int64_t next = meta_next_producer_id(h.control->meta);
	struct sl_init_producer_id_req req;
	struct sl_init_producer_id_resp resp;
	uint8_t bytes[256];
	struct sl_buf b;

	/* Both see the same next id, and only one gets it. */
	meta_txn_put_producer_ids(other, next + 1000, next);
	meta_txn_commit(other, NULL, NULL);
	sl_init_producer_id_req_init(&req);
	req.transactional_id = sl_str_from("tx");
	req.transaction_timeout_ms = 60000;
	sl_buf_init_fixed(&b, bytes, sizeof(bytes));
	sl_request_head_encode(&b, sl_api_find(SL_API_INIT_PRODUCER_ID), &head);
	sl_init_producer_id_req_encode(&req, &b, 4);
	request_receive(h.control->requests, 0, &from, (struct sl_bytes){b.p, (int32_t)b.len});
	harness_wait(&h, from.seq);
	TAKE(&h, init_producer_id, INIT_PRODUCER_ID, 4, &resp);
	cr_assert_eq(resp.error_code, 0);
	cr_assert_eq(resp.producer_id, next + 1000);
}

Test(txns, answers_questions_about_partitions_that_are_not_there)
{
	struct producer p = producer("tx");

	cr_assert_eq(ask("tx", p, 3, SL_IPC_TXN_ADD), SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	cr_assert_eq(ask("tx", p, -1, SL_IPC_TXN_ADD), SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	cr_assert_eq(ask("nobody", p, 0, SL_IPC_TXN_ADD), SL_KERR_INVALID_PRODUCER_ID_MAPPING);
}

/* ---- Offsets ---- */

static int16_t commit(const char *id, struct producer p, int64_t offset, int16_t version)
{
	struct sl_txn_offset_commit_req_topic_partition part;
	struct sl_txn_offset_commit_req_topic topic;
	struct sl_txn_offset_commit_req req;
	struct sl_txn_offset_commit_resp resp;

	sl_txn_offset_commit_req_init(&req);
	sl_txn_offset_commit_req_topic_init(&topic);
	sl_txn_offset_commit_req_topic_partition_init(&part);
	part.partition_index = 0;
	part.committed_offset = offset;
	topic.name = sl_str_from("t");
	topic.partitions = &part;
	topic.partitions_count = 1;
	req.transactional_id = sl_str_from(id);
	req.group_id = sl_str_from(GROUP);
	req.producer_id = p.id;
	req.producer_epoch = p.epoch;
	req.topics = &topic;
	req.topics_count = 1;
	CALL(&h, txn_offset_commit, TXN_OFFSET_COMMIT, version, &req, &resp);
	cr_assert_eq(resp.topics_count, 1);
	return resp.topics[0].partitions[0].error_code;
}

/* Committed offset, or -1000 - code. */
static int64_t fetch(bool is_stable)
{
	struct sl_offset_fetch_req_topic topic;
	struct sl_offset_fetch_req req;
	struct sl_offset_fetch_resp resp;
	int32_t partition = 0;

	sl_offset_fetch_req_init(&req);
	sl_offset_fetch_req_topic_init(&topic);
	topic.name = sl_str_from("t");
	topic.partition_indexes = &partition;
	topic.partition_indexes_count = 1;
	req.group_id = sl_str_from(GROUP);
	req.topics = &topic;
	req.topics_count = 1;
	req.require_stable = is_stable;
	CALL(&h, offset_fetch, OFFSET_FETCH, 7, &req, &resp);
	if (resp.topics[0].partitions[0].error_code)
		return -1000 - resp.topics[0].partitions[0].error_code;
	return resp.topics[0].partitions[0].committed_offset;
}

Test(txns, commits_offsets_with_the_transaction)
{
	struct producer p = producer("tx");

	cr_assert_eq(commit("tx", p, 5, 5), 0);
	until_state("tx", "Ongoing");
	cr_assert_eq(fetch(false), -1);
	cr_assert_eq(fetch(true), -1000 - SL_KERR_UNSTABLE_OFFSET_COMMIT);
	cr_assert_eq(end("tx", p, true, 5, &p), 0);
	until_state("tx", "CompleteCommit");
	cr_assert_eq(fetch(true), 5);
	cr_assert_eq(commit("tx", p, 9, 5), 0);
	cr_assert_eq(end("tx", p, false, 5, &p), 0);
	until_state("tx", "CompleteAbort");
	cr_assert_eq(fetch(true), 5);
	/* All of it is on the log. */
	harness_stop_control(&h);
	harness_start_control(&h);
	until_loaded();
	cr_assert_eq(fetch(true), 5);
}

Test(txns, takes_offsets_only_of_what_joined_in_the_older_flow)
{
	struct sl_add_offsets_to_txn_resp resp;
	struct producer p = producer("tx");
	struct sl_add_offsets_to_txn_req req = {sl_str_from("tx"), p.id, p.epoch,
	                                        sl_str_from(GROUP)};

	cr_assert_eq(commit("tx", p, 5, 3), SL_KERR_INVALID_TXN_STATE);
	cr_assert_eq(commit("tx", p, 5, 4), SL_KERR_TRANSACTION_ABORTABLE);
	CALL(&h, add_offsets_to_txn, ADD_OFFSETS_TO_TXN, 2, &req, &resp);
	cr_assert_eq(resp.error_code, 0);
	cr_assert_eq(commit("tx", p, 5, 3), 0);
	p.epoch = 7;
	cr_assert_eq(commit("tx", p, 6, 3), SL_KERR_INVALID_PRODUCER_EPOCH);
	p.epoch = 0;
	cr_assert_eq(end("tx", p, true, 3, NULL), 0);
	until_state("tx", "CompleteCommit");
	cr_assert_eq(fetch(true), 5);
}

Test(txns, resolves_pending_offsets_after_both_processes_were_lost)
{
	struct producer p = producer("tx");

	cr_assert_eq(commit("tx", p, 5, 5), 0);
	fake_fail_topic(h.fake, OFFSETS_TOPIC, SL_KERR_KAFKA_STORAGE_ERROR);
	cr_assert_eq(end("tx", p, true, 5, NULL), 0);
	harness_stop_control(&h);
	fake_fail_topic(h.fake, NULL, 0);
	harness_restart_fake(&h, 2);
	harness_start_control(&h);
	until_loaded();
	until_state("tx", "CompleteCommit");
	cr_assert_eq(fetch(true), 5);
}

/* ---- Admin ---- */

static int16_t write_marker(const char *topic, int32_t partition, struct producer p,
                            int16_t version)
{
	struct sl_write_txn_markers_req_marker_topic t = {sl_str_from(topic), &partition, 1};
	struct sl_write_txn_markers_req_marker marker;
	struct sl_write_txn_markers_req req = {&marker, 1};
	struct sl_write_txn_markers_resp resp;

	sl_write_txn_markers_req_marker_init(&marker);
	marker.producer_id = p.id;
	marker.producer_epoch = p.epoch;
	marker.topics = &t;
	marker.topics_count = 1;
	CALL(&h, write_txn_markers, WRITE_TXN_MARKERS, version, &req, &resp);
	cr_assert_eq(resp.markers_count, 1);
	cr_assert_eq(resp.markers[0].producer_id, p.id);
	return resp.markers[0].topics[0].partitions[0].error_code;
}

Test(txns, ends_a_hanging_transaction_by_hand)
{
	struct producer p = {12345, 3};

	cr_assert_eq(write_marker("t", 2, p, 1), 0);
	expect_marker(2, 0, p);
	cr_assert_eq(write_marker(OFFSETS_TOPIC, 1, p, 2), 0);
	cr_assert_eq(fake_batches(h.fake, OFFSETS_TOPIC), 1);
	cr_assert_eq(write_marker("t", 9, p, 1), SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	cr_assert_eq(write_marker("none", 0, p, 1), SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	fake_fail_topic(h.fake, "t", SL_KERR_INVALID_PRODUCER_EPOCH);
	cr_assert_eq(write_marker("t", 0, p, 1), SL_KERR_INVALID_PRODUCER_EPOCH);
}

Test(txns, writes_the_marker_that_was_asked_for)
{
	int32_t partition = 1;
	struct sl_write_txn_markers_req_marker_topic t = {sl_str_from("t"), &partition, 1};
	struct sl_write_txn_markers_req_marker markers[2];
	struct sl_write_txn_markers_req req = {markers, 2};
	struct sl_write_txn_markers_resp resp;
	struct sl_txn_marker m;

	for (int i = 0; i < 2; i++) {
		sl_write_txn_markers_req_marker_init(&markers[i]);
		markers[i].producer_id = 7 + i;
		markers[i].producer_epoch = 3;
		markers[i].coordinator_epoch = 5;
		markers[i].transaction_result = i == 0;
		markers[i].topics = &t;
		markers[i].topics_count = 1;
	}
	CALL(&h, write_txn_markers, WRITE_TXN_MARKERS, 1, &req, &resp);
	for (uint32_t i = 0; i < 2; i++) {
		cr_assert(fake_marker(h.fake, "t", partition, i, &m));
		cr_assert_eq(m.producer_id, 7 + i);
		cr_assert_eq(m.producer_epoch, 3);
		cr_assert_eq(m.coordinator_epoch, 5);
		cr_assert_eq(m.is_commit, i == 0);
	}
}

Test(txns, markers_have_the_epoch_of_the_coordinators_partition)
{
	unsigned seen = 0;
	char id[16];

	/* One lane less: what it led has another leader, and a higher epoch with it. */
	harness_restart_fake(&h, 1);
	until_loaded();
	for (int i = 0; seen != 3; i++) {
		struct sl_txn_marker m;
		struct txn_view view;
		struct producer p;
		int32_t epoch;

		cr_assert_lt(i, 100);
		snprintf(id, sizeof(id), "tx%d", i);
		p = producer(id);
		cr_assert_eq(add(id, p, 0), 0);
		cr_assert_eq(end(id, p, true, 3, NULL), 0);
		until_state(id, "CompleteCommit");
		cr_assert(txn_find(control_txns(h.control), sl_str_from(id), &view));
		epoch = statelog_epoch(txns_log(h.control->txns), view.partition);
		cr_assert(fake_marker(h.fake, "t", 0, (uint32_t)i, &m));
		cr_assert_eq(m.coordinator_epoch, epoch);
		cr_assert(epoch == 0 || epoch == 1);
		seen |= 1u << epoch;
	}
}

Test(txns, describes_a_transaction)
{
	struct sl_str ids[] = {sl_str_from("tx"), sl_str_from("unknown"), sl_str_from("")};
	struct sl_describe_transactions_req req = {ids, 3};
	struct sl_describe_transactions_resp resp;
	struct producer p = producer("tx");

	cr_assert_eq(add("tx", p, 2), 0);
	cr_assert_eq(add("tx", p, 0), 0);
	CALL(&h, describe_transactions, DESCRIBE_TRANSACTIONS, 0, &req, &resp);
	cr_assert_eq(resp.transaction_states_count, 3);
	cr_assert_eq(resp.transaction_states[0].error_code, 0);
	cr_assert(sl_str_eq_c(resp.transaction_states[0].transaction_state, "Ongoing"));
	cr_assert_eq(resp.transaction_states[0].producer_id, p.id);
	cr_assert_eq(resp.transaction_states[0].transaction_timeout_ms, 60000);
	cr_assert_gt(resp.transaction_states[0].transaction_start_time_ms, 0);
	cr_assert_eq(resp.transaction_states[0].topics_count, 1);
	cr_assert_eq(resp.transaction_states[0].topics[0].partitions_count, 2);
	cr_assert_eq(resp.transaction_states[0].topics[0].partitions[0], 0);
	cr_assert_eq(resp.transaction_states[0].topics[0].partitions[1], 2);
	cr_assert_eq(resp.transaction_states[1].error_code, SL_KERR_TRANSACTIONAL_ID_NOT_FOUND);
	cr_assert_eq(resp.transaction_states[2].error_code, SL_KERR_INVALID_REQUEST);
}

/* What all lanes say together. */
struct listed {
	int count;
	int unknown_states;
	int16_t error;
	char first[64];
};

static struct listed list(const char *state, int64_t producer, int64_t duration,
                          const char *pattern)
{
	struct sl_list_transactions_req req;
	struct sl_str name = sl_str_from(state);
	struct listed all = {0};

	sl_list_transactions_req_init(&req);
	req.state_filters = &name;
	req.state_filters_count = state ? 1 : 0;
	req.producer_id_filters = &producer;
	req.producer_id_filters_count = producer >= 0 ? 1 : 0;
	req.duration_filter = duration;
	req.transactional_id_pattern = sl_str_from(pattern);
	for (uint32_t lane = 0; lane < 2; lane++) {
		struct sl_list_transactions_resp resp;

		harness_wait(&h, SEND(&h, lane, list_transactions, LIST_TRANSACTIONS, 2, &req));
		TAKE(&h, list_transactions, LIST_TRANSACTIONS, 2, &resp);
		if (resp.transaction_states_count > 0)
			snprintf(all.first, sizeof(all.first), "%.*s",
			         SL_STR_ARG(resp.transaction_states[0].transactional_id));
		all.count += resp.transaction_states_count;
		all.unknown_states = resp.unknown_state_filters_count;
		all.error = resp.error_code;
	}
	return all;
}

Test(txns, lists_transactions_by_every_filter)
{
	struct producer a = producer("alpha");
	struct producer b = producer("beta");

	cr_assert_eq(add("beta", b, 0), 0);
	cr_assert_eq(list(NULL, -1, -1, NULL).count, 2, "each by one lane");
	cr_assert_eq(list("Ongoing", -1, -1, NULL).count, 1);
	cr_assert_eq(list("Ongoing", -1, -1, NULL).unknown_states, 0);
	cr_assert_eq(list("PrepareCommit", -1, -1, NULL).count, 0);
	cr_assert_eq(list("Nonsense", -1, -1, NULL).unknown_states, 1);
	cr_assert_eq(list("Nonsense", -1, -1, NULL).count, 0);
	cr_assert_str_eq(list(NULL, a.id, -1, NULL).first, "alpha");
	cr_assert_eq(list("Ongoing", -1, 10000, NULL).count, 0);
	harness_advance(&h, 20000);
	cr_assert_eq(list("Ongoing", -1, 10000, NULL).count, 1);
	cr_assert_eq(list(NULL, -1, -1, "al.*").count, 1);
	cr_assert_eq(list(NULL, -1, -1, "al").count, 0, "the whole id");
	cr_assert_eq(list(NULL, -1, -1, "").count, 2);
	cr_assert_eq(list(NULL, -1, -1, "(").error, SL_KERR_INVALID_REGULAR_EXPRESSION);
	cr_assert_eq(list(NULL, -1, -1, "a{9999}").error, SL_KERR_INVALID_REGULAR_EXPRESSION);
}

Test(txns, lists_nothing_while_it_is_loading)
{
	(void)producer("tx");
	harness_stop_control(&h);
	fake_hold_acks(h.fake, true);
	harness_start_control(&h);
	while (!link_is_up(h.control->link))
		harness_spin(&h, 1);
	cr_assert_eq(list(NULL, -1, -1, NULL).error, SL_KERR_COORDINATOR_LOAD_IN_PROGRESS);
	cr_assert_eq(list(NULL, -1, -1, NULL).count, 0);
	fake_hold_acks(h.fake, false);
	until_loaded();
	cr_assert_eq(list(NULL, -1, -1, NULL).error, 0);
	cr_assert_eq(list(NULL, -1, -1, NULL).count, 1);
}

static bool is_gone(struct harness *unused, void *arg)
{
	(void)arg;
	return request_table_count(unused->control->requests) == 0;
}

Test(txns, survives_clients_that_leave)
{
	struct sl_write_txn_markers_req_marker_topic t;
	struct sl_write_txn_markers_req_marker marker;
	struct sl_write_txn_markers_req req = {&marker, 1};
	struct producer p = producer("tx");
	int32_t partition = 0;
	struct sl_end_txn_req end_req = {sl_str_from("tx"), p.id, p.epoch, true};
	uint64_t seq;

	cr_assert_eq(add("tx", p, 0), 0);
	seq = SEND(&h, 0, end_txn, END_TXN, 1, &end_req);
	fake_cancel(h.fake, 0, seq);
	until_state("tx", "CompleteCommit");
	t = (struct sl_write_txn_markers_req_marker_topic){sl_str_from("t"), &partition, 1};
	sl_write_txn_markers_req_marker_init(&marker);
	marker.topics = &t;
	marker.topics_count = 1;
	seq = SEND(&h, 0, write_txn_markers, WRITE_TXN_MARKERS, 1, &req);
	fake_cancel(h.fake, 0, seq);
	harness_until(&h, is_gone, NULL, "requests gone");
	harness_spin(&h, 20);
	cr_assert_eq(fake_batches(h.fake, "t"), 2);
}
