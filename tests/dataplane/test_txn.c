/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transactions as a lane serves them: the coordinator's word before the first append, with a
 * control process that the test plays; markers; readers of committed records.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <unistd.h>

#include "duplex.h"
#include "request/verify.h"
#include "sluice/wire/describe_producers_gen.h"
#include "sluice/wire/fetch_gen.h"
#include "sluice/wire/list_offsets_gen.h"
#include "sluice/wire/produce_gen.h"

static struct duplex d;
static struct topic *t;
static struct partition *p;

static void setup(void)
{
	duplex_open(&d, 0);
	duplex_attach(&d);
	t = fx_topic(d.fx, "t", 2, NULL);
	p = fx_partition(t, 0);
}

static void teardown(void)
{
	duplex_close(&d);
}

TestSuite(txn, .init = setup, .fini = teardown);

/* ---- Produce ---- */

static struct sl_records txn_records(int64_t producer_id, int32_t sequence)
{
	const struct fx_batch b = {.has_producer = true,
	                           .producer_id = producer_id,
	                           .base_sequence = sequence,
	                           .attributes = SL_BATCH_TRANSACTIONAL,
	                           .value_bytes = 10};

	return fx_records(&b);
}

static void free_records(struct sl_records r)
{
	free((void *)(uintptr_t)r.p);
}

static void encode_produce(const void *body, struct sl_buf *buf, int16_t version)
{
	sl_produce_req_encode(body, buf, version);
}

/* A request with one batch for each of @count partitions, which are freed. */
static struct request *produce(int16_t version, const char *id, struct sl_records *r, int32_t count)
{
	struct sl_produce_req_topic_data_partition_data parts[2];
	struct sl_produce_req_topic_data topic = {
		.name = sl_str_from("t"),
		.topic_id = t->id,
		.partition_data = parts,
		.partition_data_count = count,
	};
	struct sl_produce_req body = {
		.transactional_id = sl_str_from(id),
		.acks = 1,
		.topic_data = &topic,
		.topic_data_count = 1,
	};
	struct request *req;

	for (int32_t i = 0; i < count; i++)
		parts[i] = (struct sl_produce_req_topic_data_partition_data){.index = i,
		                                                             .records = r[i]};
	req = fx_request(d.fx, SL_API_PRODUCE, version, encode_produce, &body);
	for (int32_t i = 0; i < count; i++)
		free_records(r[i]);
	return req;
}

static struct request *produce_one(int16_t version, int64_t producer_id, int32_t sequence)
{
	struct sl_records r = txn_records(producer_id, sequence);

	return produce(version, "tx", &r, 1);
}

/* The error of partition @i; the request is freed with the last one. */
static int error_of(struct request *req, int32_t i, bool is_last)
{
	struct sl_produce_resp resp;
	uint8_t *block;
	struct sl_cursor c = fx_reply(d.fx, req, &block);
	int error;

	cr_assert(sl_produce_resp_decode(&resp, &c, fx_arena(), req->head.api_version) == 0);
	cr_assert(resp.responses[0].partition_responses_count > i);
	error = resp.responses[0].partition_responses[i].error_code;
	free(block);
	if (is_last) {
		fx_release(d.fx, req);
		if (req == &d.fx->requests[d.fx->requests_count - 1])
			d.fx->requests_count--;
	}
	return error;
}

/* The next question, which there must be. */
static struct sl_ipc_txn_verify take_question(void)
{
	struct {
		struct sl_ipc_txn_verify head;
		char id[2];
	} SL_PACKED q;

	cr_assert(duplex_take(&d, &q, sizeof(q)) == SL_IPC_TXN_VERIFY);
	cr_expect(memcmp(q.id, "tx", 2) == 0);
	return q.head;
}

static void expect_no_question(void)
{
	uint64_t nothing;

	cr_expect(duplex_take(&d, &nothing, 0) == SL_IPC_NONE);
}

static void answer(uint64_t cookie, enum sl_kerr kerr)
{
	const struct sl_ipc_txn_verify_done done = {.cookie = cookie, .kerr = kerr};

	cr_assert(sl_channel_send(d.control_end, SL_IPC_TXN_VERIFY_DONE, &done, sizeof(done), NULL,
	                          0) == 0);
	(void)control_poll(&d.fx->ctx, 16);
}

/* Begins the transaction of @producer_id in partition 0 with a batch of one record. */
static void begin(int64_t producer_id)
{
	cr_assert(fx_put(d.fx, p, txn_records(producer_id, 0)) == SL_KERR_NONE);
}

Test(txn, asks_once_before_the_first_batch)
{
	struct request *req = produce_one(9, 7, 0);
	struct sl_ipc_txn_verify q;

	cr_assert(fx_run(d.fx, req) == REQUEST_PARK);
	cr_expect(req->state == REQUEST_PARKED_VERIFY);
	cr_expect(fx_stat(d.fx, SL_STAT_verifies_parked) == 1);
	cr_expect(sl_log_end(p->log) == 0);
	q = take_question();
	cr_expect(sl_uuid_eq(&q.topic_id, &t->id) && q.partition == 0 && q.producer_id == 7);
	cr_expect(q.producer_epoch == 0 && q.flags == 0);
	expect_no_question();
	/* An answer to something else changes nothing. */
	answer(q.cookie + 1, SL_KERR_NONE);
	answer(q.cookie + (UINT64_C(1) << 32), SL_KERR_NONE);
	answer(0, SL_KERR_NONE);
	cr_expect(fx_run_woken(d.fx) == -1);
	answer(q.cookie, SL_KERR_NONE);
	cr_assert(fx_run_woken(d.fx) == REQUEST_REPLY);
	cr_expect(error_of(req, 0, true) == 0);
	cr_expect(sl_log_end(p->log) == 1 && p->last_stable == 0 && p->high_watermark == 1);
	cr_expect(atomic_load(&p->slot->last_stable) == 0);
	/* The second batch, and the first again, need no answer. */
	req = produce_one(9, 7, 1);
	cr_assert(fx_run(d.fx, req) == REQUEST_REPLY);
	cr_expect(error_of(req, 0, true) == 0);
	req = produce_one(9, 7, 0);
	cr_assert(fx_run(d.fx, req) == REQUEST_REPLY);
	cr_expect(error_of(req, 0, true) == 0);
	cr_expect(sl_log_end(p->log) == 2 && fx_stat(d.fx, SL_STAT_duplicates) == 1);
	expect_no_question();
	answer(q.cookie, SL_KERR_NONE); /* twice */
	cr_expect(fx_stat(d.fx, SL_STAT_txn_verifies) == 1);
}

Test(txn, adds_the_partition_from_version_12_on)
{
	for (int16_t version = 3; version <= 13; version++) {
		struct request *req = produce_one(version, version, 0);
		struct sl_ipc_txn_verify q;

		cr_assert(fx_run(d.fx, req) == REQUEST_PARK);
		q = take_question();
		cr_expect(q.flags == (version >= 12 ? SL_IPC_TXN_ADD : 0));
		answer(q.cookie, SL_KERR_NONE);
		cr_assert(fx_run_woken(d.fx) == REQUEST_REPLY);
		cr_expect(error_of(req, 0, true) == 0, "version %d", version);
	}
	cr_expect(sl_log_end(p->log) == 11);
}

Test(txn, asks_about_all_partitions_at_once_and_fails_each_alone)
{
	struct sl_records r[] = {txn_records(7, 0), txn_records(7, 0)};
	struct request *req = produce(12, "tx", r, 2);
	struct sl_ipc_txn_verify q[2];

	cr_assert(fx_run(d.fx, req) == REQUEST_PARK);
	for (int i = 0; i < 2; i++) {
		q[i] = take_question();
		cr_expect(q[i].partition == i);
	}
	answer(q[1].cookie, SL_KERR_NONE);
	cr_expect(fx_run_woken(d.fx) == -1);
	answer(q[0].cookie, SL_KERR_INVALID_TXN_STATE);
	cr_assert(fx_run_woken(d.fx) == REQUEST_REPLY);
	cr_expect(error_of(req, 0, false) == SL_KERR_INVALID_TXN_STATE);
	cr_expect(error_of(req, 1, true) == 0);
	cr_expect(sl_log_end(p->log) == 0 && sl_log_end(fx_partition(t, 1)->log) == 1);
}

struct error_row {
	enum sl_kerr said;
	int16_t version;
	enum sl_kerr told;
};

static const struct error_row errors[] = {
	{SL_KERR_PRODUCER_FENCED, 9, SL_KERR_INVALID_PRODUCER_EPOCH},
	{SL_KERR_PRODUCER_FENCED, 12, SL_KERR_INVALID_PRODUCER_EPOCH},
	{SL_KERR_INVALID_PRODUCER_EPOCH, 9, SL_KERR_INVALID_PRODUCER_EPOCH},
	{SL_KERR_INVALID_PRODUCER_ID_MAPPING, 9, SL_KERR_INVALID_PRODUCER_ID_MAPPING},
	{SL_KERR_INVALID_TXN_STATE, 9, SL_KERR_INVALID_TXN_STATE},
	{SL_KERR_TRANSACTION_ABORTABLE, 10, SL_KERR_INVALID_TXN_STATE},
	{SL_KERR_TRANSACTION_ABORTABLE, 11, SL_KERR_TRANSACTION_ABORTABLE},
	{SL_KERR_TRANSACTION_ABORTABLE, 12, SL_KERR_TRANSACTION_ABORTABLE},
	{SL_KERR_CONCURRENT_TRANSACTIONS, 11, SL_KERR_NOT_ENOUGH_REPLICAS},
	{SL_KERR_COORDINATOR_NOT_AVAILABLE, 12, SL_KERR_NOT_ENOUGH_REPLICAS},
	{SL_KERR_COORDINATOR_LOAD_IN_PROGRESS, 9, SL_KERR_NOT_ENOUGH_REPLICAS},
	{SL_KERR_NOT_COORDINATOR, 9, SL_KERR_NOT_ENOUGH_REPLICAS},
	{SL_KERR_CLUSTER_AUTHORIZATION_FAILED, 9, SL_KERR_INVALID_TXN_STATE},
	{(enum sl_kerr)99999, 9, SL_KERR_UNKNOWN_SERVER_ERROR},
};

Test(txn, tells_a_client_what_it_understands)
{
	for (size_t i = 0; i < SL_ARRAY_SIZE(errors); i++) {
		struct request *req = produce_one(errors[i].version, 7, 0);
		int error;

		cr_assert(fx_run(d.fx, req) == REQUEST_PARK);
		answer(take_question().cookie, errors[i].said);
		cr_assert(fx_run_woken(d.fx) == REQUEST_REPLY);
		error = error_of(req, 0, true);
		cr_expect(error == (int)errors[i].told, "%s at %d: %s",
		          sl_kerr_name(errors[i].said), errors[i].version, sl_kerr_name(error));
	}
	cr_expect(sl_log_end(p->log) == 0);
	cr_expect(fx_stat(d.fx, SL_STAT_txn_verifies_refused) == SL_ARRAY_SIZE(errors));
}

Test(txn, waits_a_little_for_the_end_of_the_last_transaction)
{
	struct request *req = produce_one(12, 7, 0);
	unsigned tries = 0;

	/* Kafka's 20 ms between tries, 100 ms in all. */
	cr_assert(fx_run(d.fx, req) == REQUEST_PARK);
	while (req->state == REQUEST_PARKED_VERIFY) {
		answer(take_question().cookie, SL_KERR_CONCURRENT_TRANSACTIONS);
		tries++;
		cr_assert(fx_run_woken(d.fx) >= 0);
		d.fx->ctx.now_ms += 20;
		if (req->state == REQUEST_PARKED_VERIFY)
			cr_assert(fx_run_woken(d.fx) == REQUEST_PARK);
	}
	cr_expect(tries == 6, "%u", tries);
	cr_expect(error_of(req, 0, true) == SL_KERR_CONCURRENT_TRANSACTIONS);

	req = produce_one(12, 7, 0);
	cr_assert(fx_run(d.fx, req) == REQUEST_PARK);
	answer(take_question().cookie, SL_KERR_CONCURRENT_TRANSACTIONS);
	cr_assert(fx_run_woken(d.fx) == REQUEST_PARK);
	expect_no_question();
	d.fx->ctx.now_ms += 20;
	cr_assert(fx_run_woken(d.fx) == REQUEST_PARK);
	answer(take_question().cookie, SL_KERR_NONE);
	cr_assert(fx_run_woken(d.fx) == REQUEST_REPLY);
	cr_expect(error_of(req, 0, true) == 0);
}

Test(txn, does_not_wait_for_ever)
{
	struct request *req = produce_one(9, 7, 0);
	uint64_t cookie;

	cr_assert(fx_run(d.fx, req) == REQUEST_PARK);
	cookie = take_question().cookie;
	d.fx->ctx.now_ms += 9999;
	cr_expect(fx_run_woken(d.fx) == -1);
	d.fx->ctx.now_ms += 1;
	cr_assert(fx_run_woken(d.fx) == REQUEST_REPLY);
	cr_expect(error_of(req, 0, true) == SL_KERR_NOT_ENOUGH_REPLICAS);
	cr_expect(fx_stat(d.fx, SL_STAT_txn_verifies_lost) == 1);
	answer(cookie, SL_KERR_NONE);
	cr_expect(sl_log_end(p->log) == 0);
}

Test(txn, gives_up_when_the_control_process_is_lost)
{
	struct request *req = produce_one(9, 7, 0);

	cr_assert(fx_run(d.fx, req) == REQUEST_PARK);
	duplex_detach(&d);
	cr_assert(fx_run_woken(d.fx) == REQUEST_REPLY);
	cr_expect(error_of(req, 0, true) == SL_KERR_NOT_ENOUGH_REPLICAS);
	/* And does not begin to wait while it is away. */
	req = produce_one(9, 7, 0);
	cr_assert(fx_run(d.fx, req) == REQUEST_REPLY);
	cr_expect(error_of(req, 0, true) == SL_KERR_NOT_ENOUGH_REPLICAS);
	cr_expect(fx_stat(d.fx, SL_STAT_txn_verifies_refused_limit) == 1);
	cr_expect(sl_log_end(p->log) == 0);
}

Test(txn, gives_up_when_the_ring_is_full)
{
	static const uint8_t zeroes[1 << 20];
	struct request *req = produce_one(9, 7, 0);

	for (size_t n = sizeof(zeroes); n >= 8; n /= 2)
		while (sl_channel_send(d.lane_end, SL_IPC_CANCEL, zeroes, n, NULL, 0) == 0)
			;
	cr_assert(fx_run(d.fx, req) == REQUEST_REPLY);
	cr_expect(error_of(req, 0, true) == SL_KERR_NOT_ENOUGH_REPLICAS);
	cr_expect(fx_stat(d.fx, SL_STAT_ring_full) == 1);
}

Test(txn, gives_up_when_the_partition_leaves)
{
	struct request *req = produce_one(10, 7, 0);
	uint64_t cookie;

	cr_assert(fx_run(d.fx, req) == REQUEST_PARK);
	cookie = take_question().cookie;
	partition_detach(&d.fx->ctx, p);
	cr_assert(fx_run_woken(d.fx) == REQUEST_REPLY);
	cr_expect(error_of(req, 0, true) == SL_KERR_NOT_LEADER_OR_FOLLOWER);
	answer(cookie, SL_KERR_NONE);
	/* For the end of the fixture, which looks at what is left. */
	sl_list_del(&p->lane_link);
	partition_attach(&d.fx->ctx, p);
}

Test(txn, forgets_the_question_of_a_lost_connection)
{
	struct request *req = produce_one(9, 7, 0);
	uint64_t cookie;

	cr_assert(fx_run(d.fx, req) == REQUEST_PARK);
	cookie = take_question().cookie;
	fx_release(d.fx, req);
	cr_expect(sl_list_is_empty(&p->verify_waiters));
	answer(cookie, SL_KERR_NONE);
	cr_expect(fx_run_woken(d.fx) == -1 && sl_log_end(p->log) == 0);
	cr_expect(fx_stat(d.fx, SL_STAT_verifies_parked) == 0);
}

Test(txn, has_a_limit_of_questions)
{
	static struct verify_item items[VERIFY_QUESTIONS_MAX + 1];
	struct verify v = {.items = items, .count = SL_ARRAY_SIZE(items)};
	struct request req = {.verify = &v, .state = REQUEST_PARKED_FETCH};

	for (uint32_t i = 0; i < VERIFY_QUESTIONS_MAX; i++)
		cr_assert(verify_ask(&d.fx->ctx, &req, &items[i], p, sl_str_from("tx"), 0) ==
		          SL_KERR_NONE);
	cr_expect(verify_ask(&d.fx->ctx, &req, &items[VERIFY_QUESTIONS_MAX], p, sl_str_from("tx"),
	                     0) == SL_KERR_COORDINATOR_LOAD_IN_PROGRESS);
	answer(take_question().cookie, SL_KERR_NONE);
	cr_expect(v.left == VERIFY_QUESTIONS_MAX - 1);
	cr_expect(verify_ask(&d.fx->ctx, &req, &items[VERIFY_QUESTIONS_MAX], p, sl_str_from("tx"),
	                     0) == SL_KERR_NONE);
	verify_lost(&d.fx->ctx);
	cr_expect(v.left == 0 && items[5].kerr == SL_KERR_COORDINATOR_NOT_AVAILABLE);
	cr_expect(sl_list_is_empty(&p->verify_waiters));
}

Test(txn, a_marker_from_before_the_question_voids_nothing)
{
	for (int16_t version = 9; version <= 12; version += 3) {
		struct request *req;

		begin(version);
		cr_assert(fx_put(d.fx, p, fx_marker(version, 0, true, 1)) == SL_KERR_NONE);
		req = produce_one(version, version, 1);
		cr_assert(fx_run(d.fx, req) == REQUEST_PARK);
		answer(take_question().cookie, SL_KERR_NONE);
		cr_assert(fx_run_woken(d.fx) == REQUEST_REPLY);
		cr_expect(error_of(req, 0, true) == 0, "version %d", version);
	}
	cr_expect(sl_log_end(p->log) == 6);
}

Test(txn, an_answer_from_before_a_marker_is_void)
{
	struct request *req;
	uint64_t cookie;

	begin(7);
	cr_assert(fx_put(d.fx, p, fx_marker(7, 0, true, 1)) == SL_KERR_NONE);
	req = produce_one(9, 7, 1);
	cr_assert(fx_run(d.fx, req) == REQUEST_PARK);
	cookie = take_question().cookie;
	/* Another producer's is none of its business. */
	cr_assert(fx_put(d.fx, p, fx_marker(8, 0, true, 1)) == SL_KERR_NONE);
	cr_assert(fx_put(d.fx, p, fx_marker(7, 0, true, 1)) == SL_KERR_NONE);
	answer(cookie, SL_KERR_NONE);
	cr_assert(fx_run_woken(d.fx) == REQUEST_REPLY);
	cr_expect(error_of(req, 0, true) == SL_KERR_INVALID_TXN_STATE);
	cr_expect(sl_log_end(p->log) == 4);
}

/* The coordinator held the question until the transaction before was over, whose marker came
 * meanwhile: not the client's fault. */
Test(txn, an_answer_from_before_a_marker_makes_a_new_client_ask_again)
{
	struct request *req;
	uint64_t cookie;

	begin(7);
	cr_assert(fx_put(d.fx, p, fx_marker(7, 0, true, 1)) == SL_KERR_NONE);
	req = produce_one(12, 7, 1);
	cr_assert(fx_run(d.fx, req) == REQUEST_PARK);
	cookie = take_question().cookie;
	cr_assert(fx_put(d.fx, p, fx_marker(7, 0, true, 1)) == SL_KERR_NONE);
	answer(cookie, SL_KERR_NONE);
	cr_assert(fx_run_woken(d.fx) == REQUEST_REPLY);
	cr_expect(error_of(req, 0, true) == SL_KERR_CONCURRENT_TRANSACTIONS);
	cr_expect(sl_log_end(p->log) == 3);
}

Test(txn, refuses_what_is_in_no_transaction)
{
	const struct fx_batch plain = {
		.has_producer = true, .producer_id = 7, .base_sequence = 1, .value_bytes = 10};
	struct sl_records two[] = {txn_records(7, 0), txn_records(8, 0)};
	struct sl_records r;
	struct request *req = produce(9, "tx", two, 2);

	/* Two producers in one request. */
	cr_assert(fx_run(d.fx, req) == REQUEST_REPLY);
	cr_expect(error_of(req, 0, false) == SL_KERR_INVALID_PRODUCER_ID_MAPPING);
	cr_expect(error_of(req, 1, true) == SL_KERR_INVALID_PRODUCER_ID_MAPPING);
	/* A batch without transactional id, an id without transactional batch. */
	r = txn_records(7, 0);
	req = produce(9, NULL, &r, 1);
	cr_assert(fx_run(d.fx, req) == REQUEST_REPLY);
	cr_expect(error_of(req, 0, true) == SL_KERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
	begin(7);
	r = fx_records(&plain);
	req = produce(9, "tx", &r, 1);
	cr_assert(fx_run(d.fx, req) == REQUEST_REPLY);
	cr_expect(error_of(req, 0, true) == SL_KERR_INVALID_TXN_STATE);
	cr_assert(fx_put(d.fx, p, fx_marker(7, 0, false, 1)) == SL_KERR_NONE);
	r = fx_records(&plain);
	req = produce(9, "tx", &r, 1);
	cr_assert(fx_run(d.fx, req) == REQUEST_REPLY);
	cr_expect(error_of(req, 0, true) == 0);
	/* Markers are the coordinator's. */
	r = fx_marker(7, 0, false, 1);
	req = produce(9, NULL, &r, 1);
	cr_assert(fx_run(d.fx, req) == REQUEST_REPLY);
	cr_expect(error_of(req, 0, true) == SL_KERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
	r = fx_marker(9, 0, false, 1);
	req = produce(9, "tx", &r, 1);
	cr_assert(fx_run(d.fx, req) == REQUEST_PARK);
	answer(take_question().cookie, SL_KERR_NONE);
	cr_assert(fx_run_woken(d.fx) == REQUEST_REPLY);
	cr_expect(error_of(req, 0, true) == SL_KERR_INVALID_RECORD);
}

Test(txn, a_producer_whose_epochs_rise_begins_with_0)
{
	struct request *req = produce_one(12, 7, 3);

	cr_assert(fx_run(d.fx, req) == REQUEST_PARK);
	answer(take_question().cookie, SL_KERR_NONE);
	cr_assert(fx_run_woken(d.fx) == REQUEST_REPLY);
	cr_expect(error_of(req, 0, true) == SL_KERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
	req = produce_one(11, 7, 3);
	cr_assert(fx_run(d.fx, req) == REQUEST_PARK);
	answer(take_question().cookie, SL_KERR_NONE);
	cr_assert(fx_run_woken(d.fx) == REQUEST_REPLY);
	cr_expect(error_of(req, 0, true) == 0);
}

/* ---- On a connection ---- */

/* A produce of version 9 as a frame with its size. */
static struct sl_buf frame_of(int32_t correlation_id, const char *id, struct sl_records r)
{
	struct sl_produce_req_topic_data_partition_data part = {.records = r};
	struct sl_produce_req_topic_data topic = {
		.name = sl_str_from("t"), .partition_data = &part, .partition_data_count = 1};
	struct sl_produce_req body = {
		.transactional_id = sl_str_from(id),
		.acks = 1,
		.topic_data = &topic,
		.topic_data_count = 1,
	};
	struct sl_request_head head = {.api_key = SL_API_PRODUCE,
	                               .api_version = 9,
	                               .correlation_id = correlation_id,
	                               .client_id = sl_str_from("me")};
	struct sl_buf buf;

	sl_buf_init_grow(&buf, 1 << 20);
	sl_buf_put_be32(&buf, 0);
	sl_request_head_encode(&buf, sl_api_find(SL_API_PRODUCE), &head);
	sl_produce_req_encode(&body, &buf, 9);
	cr_assert(sl_buf_ok(&buf));
	sl_store_be32(buf.p, (uint32_t)buf.len - 4);
	free_records(r);
	return buf;
}

static void write_frame(int fd, struct sl_buf buf)
{
	duplex_write(&d, fd, buf.p, buf.len);
	sl_buf_fini(&buf);
}

Test(txn, keeps_the_order_of_its_connection_and_holds_up_no_other)
{
	const struct fx_batch plain = {.value_bytes = 10};
	int waiting = duplex_client(&d);
	int other = duplex_client(&d);
	struct sl_ipc_txn_verify q;

	write_frame(waiting, frame_of(1, "tx", txn_records(7, 0)));
	write_frame(waiting, frame_of(2, "tx", txn_records(7, 1)));
	duplex_settle(&d);
	q = take_question();
	expect_no_question();
	write_frame(other, frame_of(3, NULL, fx_records(&plain)));
	duplex_settle(&d);
	cr_expect(duplex_read(&d, other) == 3);
	cr_expect(duplex_read(&d, waiting) == -1);
	cr_expect(sl_log_end(p->log) == 1);
	answer(q.cookie, SL_KERR_NONE);
	duplex_settle(&d);
	cr_expect(duplex_read(&d, waiting) == 1);
	cr_expect(duplex_read(&d, waiting) == 2);
	cr_expect(sl_log_end(p->log) == 3);
	close(waiting);
	close(other);
	duplex_settle(&d);
}

Test(txn, a_closed_connection_asks_no_more)
{
	int fd = duplex_client(&d);

	write_frame(fd, frame_of(1, "tx", txn_records(7, 0)));
	duplex_settle(&d);
	cr_expect(fx_stat(d.fx, SL_STAT_verifies_parked) == 1);
	close(fd);
	duplex_settle(&d);
	cr_expect(fx_stat(d.fx, SL_STAT_verifies_parked) == 0);
	answer(take_question().cookie, SL_KERR_NONE);
	duplex_settle(&d);
	cr_expect(sl_log_end(p->log) == 0);
}

/* ---- Markers of the control process ---- */

static struct sl_ipc_append_done append_from_control(const struct topic *topic, int32_t index,
                                                     struct sl_records r)
{
	struct sl_ipc_append head = {.cookie = 5, .topic_id = topic->id, .partition = index};
	struct sl_ipc_append_done done;

	cr_assert(sl_channel_send(d.control_end, SL_IPC_APPEND, &head, sizeof(head), r.p,
	                          (size_t)r.len) == 0);
	free_records(r);
	(void)control_poll(&d.fx->ctx, 16);
	fx_settle(d.fx);
	cr_assert(duplex_take(&d, &done, sizeof(done)) == SL_IPC_APPEND_DONE);
	cr_expect(done.cookie == 5);
	return done;
}

Test(txn, the_control_process_ends_transactions_in_any_topic)
{
	const struct fx_batch plain = {.value_bytes = 10};
	struct topic *internal = fx_topic(d.fx, "__consumer_offsets", 1, NULL);
	struct sl_ipc_append_done done;
	struct sl_records r;

	internal->is_internal = true;
	begin(7);
	done = append_from_control(t, 0, fx_marker(7, 0, false, 3));
	cr_expect(done.kerr == 0 && done.base_offset == 1);
	cr_expect(sl_log_flushed(p->log) == 2 && p->last_stable == 2);
	cr_expect(fx_stat(d.fx, SL_STAT_txn_markers) == 1);
	/* Of nothing, and again. */
	cr_expect(append_from_control(t, 1, fx_marker(7, 0, true, 3)).kerr == 0);
	cr_expect(append_from_control(t, 0, fx_marker(7, 0, false, 3)).kerr == 0);
	cr_expect(append_from_control(t, 0, fx_marker(7, 0, false, 2)).kerr ==
	          SL_KERR_TRANSACTION_COORDINATOR_FENCED);
	cr_assert(append_from_control(t, 0, fx_marker(7, 1, false, 3)).kerr == 0);
	cr_expect(append_from_control(t, 0, fx_marker(7, 0, false, 3)).kerr ==
	          SL_KERR_INVALID_PRODUCER_EPOCH);
	cr_expect(append_from_control(t, 2, fx_marker(7, 1, false, 3)).kerr ==
	          SL_KERR_NOT_LEADER_OR_FOLLOWER);
	/* Everything else only where the coordinators keep their own. */
	cr_expect(append_from_control(t, 0, fx_records(&plain)).kerr ==
	          SL_KERR_INVALID_TOPIC_EXCEPTION);
	cr_expect(append_from_control(internal, 0, fx_records(&plain)).kerr == 0);
	cr_expect(append_from_control(internal, 0, txn_records(7, 0)).kerr == 0);
	cr_expect(append_from_control(internal, 0, fx_marker(7, 0, true, 3)).kerr == 0);
	r = fx_records(&(struct fx_batch){.has_producer = true,
	                                  .producer_id = 7,
	                                  .attributes = SL_BATCH_CONTROL | SL_BATCH_TRANSACTIONAL});
	cr_expect(append_from_control(t, 0, r).kerr == SL_KERR_INVALID_RECORD);
}

/* ---- Readers ---- */

static void encode_fetch(const void *body, struct sl_buf *buf, int16_t version)
{
	sl_fetch_req_encode(body, buf, version);
}

static struct request *fetch(int64_t offset, bool is_committed, int32_t max_wait_ms)
{
	struct sl_fetch_req_topic_partition part;
	struct sl_fetch_req_topic topic = {
		.topic = sl_str_from("t"), .partitions = &part, .partitions_count = 1};
	struct sl_fetch_req body;

	sl_fetch_req_topic_partition_init(&part);
	part.fetch_offset = offset;
	part.partition_max_bytes = 1 << 20;
	sl_fetch_req_init(&body);
	body.replica_id = -1;
	body.max_wait_ms = max_wait_ms;
	body.min_bytes = 1;
	body.isolation_level = is_committed;
	body.topics = &topic;
	body.topics_count = 1;
	return fx_request(d.fx, SL_API_FETCH, 11, encode_fetch, &body);
}

/* The partition's part of the reply, good until the next call; the request is freed. */
static const struct sl_fetch_resp_response_partition *fetched(struct request *req)
{
	static struct sl_fetch_resp resp;
	static uint8_t *block;
	struct sl_cursor c;

	free(block);
	c = fx_reply(d.fx, req, &block);
	cr_assert(sl_fetch_resp_decode(&resp, &c, fx_arena(), 11) == 0);
	fx_release(d.fx, req);
	if (req == &d.fx->requests[d.fx->requests_count - 1])
		d.fx->requests_count--;
	return resp.responses[0].partitions;
}

static const struct sl_fetch_resp_response_partition *fetch_now(int64_t offset, bool is_committed)
{
	struct request *req = fetch(offset, is_committed, 0);

	cr_assert(fx_run(d.fx, req) == REQUEST_REPLY);
	return fetched(req);
}

/* Offsets of the first and behind the last batch of what was fetched. */
static int64_t begin_of(const struct sl_records *r)
{
	return r->len > 0 ? (int64_t)sl_load_be64(r->p) : -1;
}

static int64_t end_of(const struct sl_records *r)
{
	struct sl_batch_head head;
	int64_t end = -1;

	for (size_t at = 0; at < (size_t)SL_MAX(r->len, 0); at += sl_batch_bytes(&head)) {
		cr_assert(sl_batch_peek((const uint8_t *)r->p + at, (size_t)r->len - at, &head) ==
		          0);
		end = sl_batch_last_offset(&head) + 1;
	}
	return end;
}

Test(txn, committed_readers_stop_at_the_first_open_transaction)
{
	const struct sl_fetch_resp_response_partition *r;

	(void)fx_append(d.fx, p, 10); /* 0 */
	begin(7);                     /* 1 */
	(void)fx_append(d.fx, p, 10); /* 2 */
	begin(8);                     /* 3 */
	r = fetch_now(0, true);
	cr_expect(r->high_watermark == 4 && r->last_stable_offset == 1);
	cr_expect(begin_of(&r->records) == 0 && end_of(&r->records) == 1);
	cr_expect(r->aborted_transactions_count == 0);
	r = fetch_now(0, false);
	cr_expect(r->last_stable_offset == 1 && end_of(&r->records) == 4);
	cr_expect(r->aborted_transactions_count == -1);
	/* Between the two ends: nothing, and no error. */
	r = fetch_now(3, true);
	cr_expect(r->error_code == 0 && r->records.len == 0);
	cr_assert(fx_put(d.fx, p, fx_marker(8, 0, true, 0)) == SL_KERR_NONE);  /* 4 */
	cr_assert(fx_put(d.fx, p, fx_marker(7, 0, false, 0)) == SL_KERR_NONE); /* 5 */
	r = fetch_now(0, true);
	cr_expect(r->last_stable_offset == 6 && end_of(&r->records) == 6);
	cr_expect(r->aborted_transactions_count == 1);
	cr_expect(r->aborted_transactions[0].producer_id == 8);
	cr_expect(r->aborted_transactions[0].first_offset == 3);
	/* Behind its marker nobody needs it. */
	cr_expect(fetch_now(5, true)->aborted_transactions_count == 0);
	cr_expect(fetch_now(4, true)->aborted_transactions_count == 1);
}

Test(txn, aborted_transactions_are_sorted_by_their_first_offset)
{
	const struct sl_fetch_resp_response_partition *r;

	for (int64_t id = 1; id <= 20; id++)
		begin(id);
	for (int64_t id = 20; id >= 1; id -= 2)
		cr_assert(fx_put(d.fx, p, fx_marker(id, 0, true, 0)) == SL_KERR_NONE);
	for (int64_t id = 1; id <= 20; id += 2)
		cr_assert(fx_put(d.fx, p, fx_marker(id, 0, id % 3 == 0, 0)) == SL_KERR_NONE);
	r = fetch_now(0, true);
	cr_expect(r->aborted_transactions_count == 13);
	for (int32_t i = 1; i < r->aborted_transactions_count; i++)
		cr_expect(r->aborted_transactions[i - 1].first_offset <
		          r->aborted_transactions[i].first_offset);
}

Test(txn, a_committed_reader_wakes_when_its_end_moves)
{
	struct request *req;
	struct request *other;

	begin(7);
	req = fetch(0, true, 500);
	cr_assert(fx_run(d.fx, req) == REQUEST_PARK);
	other = fetch(1, false, 500);
	cr_assert(fx_run(d.fx, other) == REQUEST_PARK);
	/* More of the transaction is news for one of them only. */
	cr_assert(fx_put(d.fx, p, txn_records(7, 1)) == SL_KERR_NONE);
	cr_assert(fx_run_woken(d.fx) == REQUEST_REPLY);
	cr_expect(other->state == REQUEST_DONE && req->state == REQUEST_PARKED_FETCH);
	cr_expect(end_of(&fetched(other)->records) == 2);
	cr_assert(fx_put(d.fx, p, fx_marker(7, 0, true, 0)) == SL_KERR_NONE);
	cr_assert(fx_run_woken(d.fx) == REQUEST_REPLY);
	cr_expect(req->state == REQUEST_DONE);
	cr_expect(fetched(req)->aborted_transactions_count == 1);
	/* One at the end of a log without transactions is woken by any record. */
	req = fetch(3, true, 500);
	cr_assert(fx_run(d.fx, req) == REQUEST_PARK);
	(void)fx_append(d.fx, p, 10);
	cr_assert(fx_run_woken(d.fx) == REQUEST_REPLY);
	cr_expect(end_of(&fetched(req)->records) == 4);
}

Test(txn, a_committed_reader_wakes_when_its_partition_leaves)
{
	struct request *req;

	begin(7);
	req = fetch(0, true, 500);
	cr_assert(fx_run(d.fx, req) == REQUEST_PARK);
	partition_detach(&d.fx->ctx, p);
	cr_assert(fx_run_woken(d.fx) == REQUEST_REPLY);
	cr_expect(fetched(req)->error_code == SL_KERR_NOT_LEADER_OR_FOLLOWER);
	sl_list_del(&p->lane_link);
	partition_attach(&d.fx->ctx, p);
}

static void encode_list(const void *body, struct sl_buf *buf, int16_t version)
{
	sl_list_offsets_req_encode(body, buf, version);
}

static int64_t list(int64_t timestamp, bool is_committed)
{
	struct sl_list_offsets_req_topic_partition part = {0, -1, timestamp};
	struct sl_list_offsets_req_topic topic = {sl_str_from("t"), &part, 1};
	struct sl_list_offsets_req body;
	struct sl_list_offsets_resp resp;
	struct request *req;
	struct sl_cursor c;
	uint8_t *block;
	int64_t offset;

	sl_list_offsets_req_init(&body);
	body.replica_id = -1;
	body.isolation_level = is_committed;
	body.topics = &topic;
	body.topics_count = 1;
	req = fx_request(d.fx, SL_API_LIST_OFFSETS, 8, encode_list, &body);
	cr_assert(fx_run(d.fx, req) == REQUEST_REPLY);
	c = fx_reply(d.fx, req, &block);
	cr_assert(sl_list_offsets_resp_decode(&resp, &c, fx_arena(), 8) == 0);
	cr_expect(resp.topics[0].partitions[0].error_code == 0);
	offset = resp.topics[0].partitions[0].offset;
	free(block);
	fx_release(d.fx, req);
	d.fx->requests_count--;
	return offset;
}

Test(txn, offsets_of_committed_readers_end_at_the_last_stable_one)
{
	const struct fx_batch late = {.timestamp = FX_WALL_MS + 5};

	(void)fx_append(d.fx, p, 10);
	begin(7);
	cr_assert(fx_put(d.fx, p, fx_records(&late)) == SL_KERR_NONE);
	cr_expect(list(-1, false) == 3 && list(-1, true) == 1);
	cr_expect(list(-2, true) == 0);
	cr_expect(list(FX_WALL_MS, true) == 0);
	cr_expect(list(FX_WALL_MS + 1, false) == 2 && list(FX_WALL_MS + 1, true) == -1);
	cr_expect(list(-3, false) == 2 && list(-3, true) == -1);
	cr_assert(fx_put(d.fx, p, fx_marker(7, 0, false, 0)) == SL_KERR_NONE);
	cr_expect(list(-1, true) == 4 && list(-3, true) == 2);
}

/* ---- DescribeProducers ---- */

static void encode_describe(const void *body, struct sl_buf *buf, int16_t version)
{
	sl_describe_producers_req_encode(body, buf, version);
}

static void look(void)
{
	d.fx->ctx.now_ms += 1000;
	(void)partition_tick(&d.fx->ctx);
}

Test(txn, producers_and_late_transactions_are_counted)
{
	d.fx->config.txn_late_ms = 60000;
	begin(7);
	begin(8);
	look();
	cr_expect(fx_stat(d.fx, SL_STAT_producers) == 2);
	cr_expect(fx_stat(d.fx, SL_STAT_partitions_late_txns) == 0);
	d.fx->ctx.wall_ms += 60000;
	look();
	cr_expect(fx_stat(d.fx, SL_STAT_partitions_late_txns) == 0);
	d.fx->ctx.wall_ms++;
	look();
	cr_expect(fx_stat(d.fx, SL_STAT_partitions_late_txns) == 1, "one partition");
	cr_assert(fx_put(d.fx, p, fx_marker(7, 0, false, 1)) == SL_KERR_NONE);
	look();
	cr_expect(fx_stat(d.fx, SL_STAT_partitions_late_txns) == 1, "the other one");
	cr_assert(fx_put(d.fx, p, fx_marker(8, 0, false, 1)) == SL_KERR_NONE);
	look();
	cr_expect(fx_stat(d.fx, SL_STAT_partitions_late_txns) == 0);
	cr_expect(fx_stat(d.fx, SL_STAT_producers) == 2);
	begin(9);
	d.fx->ctx.wall_ms += 60001;
	look();
	cr_expect(fx_stat(d.fx, SL_STAT_partitions_late_txns) == 1);
	partition_detach(&d.fx->ctx, p);
	cr_expect(fx_stat(d.fx, SL_STAT_producers) == 0);
	cr_expect(fx_stat(d.fx, SL_STAT_partitions_late_txns) == 0);
	/* For the end of the fixture, which looks at what is left. */
	sl_list_del(&p->lane_link);
	partition_attach(&d.fx->ctx, p);
	cr_expect(fx_stat(d.fx, SL_STAT_producers) == 3, "what a log brings along");
}

Test(txn, describes_producers)
{
	int32_t indexes[] = {0, 1, 2};
	struct sl_describe_producers_req_topic topics[] = {
		{.name = sl_str_from("t"),
	         .partition_indexes = indexes,
	         .partition_indexes_count = 3},
		{.name = sl_str_from("far"),
	         .partition_indexes = indexes,
	         .partition_indexes_count = 1},
		{.name = sl_str_from("no"),
	         .partition_indexes = indexes,
	         .partition_indexes_count = 1},
	};
	struct sl_describe_producers_req body = {.topics = topics, .topics_count = 3};
	const struct sl_describe_producers_resp_topic_partition_active_producer *a;
	struct sl_describe_producers_resp resp;
	struct request *req;
	struct sl_cursor c;
	uint8_t *block;

	fx_foreign_topic(d.fx, "far", FX_NODE + 1);
	(void)fx_append(d.fx, p, 10);
	cr_assert(fx_put(d.fx, p, fx_marker(6, 4, false, 9)) == SL_KERR_NONE);
	begin(7);
	req = fx_request(d.fx, SL_API_DESCRIBE_PRODUCERS, 0, encode_describe, &body);
	cr_assert(fx_run(d.fx, req) == REQUEST_REPLY);
	c = fx_reply(d.fx, req, &block);
	cr_assert(sl_describe_producers_resp_decode(&resp, &c, fx_arena(), 0) == 0);
	cr_assert(sl_cursor_is_done(&c) && resp.topics_count == 3);
	cr_assert(resp.topics[0].partitions_count == 3);
	cr_assert(resp.topics[0].partitions[0].active_producers_count == 2);
	a = resp.topics[0].partitions[0].active_producers;
	cr_expect(a[0].producer_id == 6 && a[0].producer_epoch == 4 && a[0].coordinator_epoch == 9);
	cr_expect(a[0].last_sequence == -1 && a[0].current_txn_start_offset == -1);
	cr_expect(a[0].last_timestamp == FX_WALL_MS);
	cr_expect(a[1].producer_id == 7 && a[1].last_sequence == 0 && a[1].coordinator_epoch == -1);
	cr_expect(a[1].current_txn_start_offset == 2);
	cr_expect(resp.topics[0].partitions[1].error_code == 0);
	cr_expect(resp.topics[0].partitions[1].active_producers_count == 0);
	cr_expect(resp.topics[0].partitions[2].error_code == SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	cr_expect(resp.topics[1].partitions[0].error_code == SL_KERR_NOT_LEADER_OR_FOLLOWER);
	cr_expect(resp.topics[2].partitions[0].error_code == SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	free(block);
	fx_release(d.fx, req);
}
