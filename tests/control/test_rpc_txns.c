/* SPDX-License-Identifier: Apache-2.0 */
/* txns.* of the control socket. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "rpc/call.h"
#include "rpc_client.h"
#include "sluice/wire/end_txn_gen.h"
#include "sluice/wire/find_coordinator_gen.h"
#include "sluice/wire/init_producer_id_gen.h"
#include "txn/txn.h"

#include "txns.h"

static struct harness h;
static struct rpc *rpc;
static struct rpc_client c;

static bool is_loaded(struct harness *unused, void *arg)
{
	uint32_t loaded, total;

	(void)arg;
	statelog_progress(txns_log(unused->control->txns), &loaded, &total);
	return total > 0 && loaded == total;
}

static void setup(void)
{
	struct sl_find_coordinator_req req;
	struct sl_find_coordinator_resp resp;

	harness_init(&h, 2);
	harness_create_topic(&h, "t", 2);
	sl_find_coordinator_req_init(&req);
	req.key = sl_str_from("tx");
	req.key_type = 1;
	CALL(&h, find_coordinator, FIND_COORDINATOR, 2, &req, &resp);
	harness_until(&h, is_loaded, NULL, "transactions loaded");
	cr_assert_eq(rpc_create(&rpc, h.control, NULL), 0);
	rpc_client_open(&c, &h, rpc);
}

static void teardown(void)
{
	rpc_client_close(&c);
	rpc_destroy(rpc);
	harness_fini(&h);
}

TestSuite(rpc_txns, .init = setup, .fini = teardown);

static int64_t begin(const char *id, int32_t partition)
{
	const struct meta_topic *t = meta_topic_by_name(h.control->meta, sl_str_from("t"));
	struct sl_ipc_txn_verify head = {.cookie = 77,
	                                 .topic_id = t->rec.topic_id,
	                                 .partition = partition,
	                                 .flags = SL_IPC_TXN_ADD};
	struct sl_init_producer_id_req req;
	struct sl_init_producer_id_resp resp;

	sl_init_producer_id_req_init(&req);
	req.transactional_id = sl_str_from(id);
	req.transaction_timeout_ms = 60000;
	CALL(&h, init_producer_id, INIT_PRODUCER_ID, 4, &req, &resp);
	cr_assert_eq(resp.error_code, 0);
	head.producer_id = resp.producer_id;
	head.producer_epoch = resp.producer_epoch;
	if (partition >= 0)
		txns_verify(h.control->txns, 0, &head, sl_str_from(id));
	harness_spin(&h, 20);
	return resp.producer_id;
}

Test(rpc_txns, lists_and_describes)
{
	int64_t id = begin("busy", 1);
	json_t *v;

	(void)begin("idle", -1);
	v = rpc_client_result(&c, "txns.list", NULL);
	cr_assert_eq(json_array_size(rpc_client_at(v, "transactions")), 2);
	json_decref(v);
	v = rpc_client_result(&c, "txns.list", "{\"state\":\"Ongoing\"}");
	cr_assert_eq(json_array_size(rpc_client_at(v, "transactions")), 1);
	cr_assert_str_eq(rpc_client_str(v, "transactions.0.transactional_id"), "busy");
	cr_assert_eq(rpc_client_int(v, "transactions.0.producer_id"), id);
	cr_assert_eq(rpc_client_int(v, "transactions.0.partitions"), 1);
	json_decref(v);
	v = rpc_client_result(&c, "txns.list", "{\"older_than_ms\":10000}");
	cr_assert_eq(json_array_size(rpc_client_at(v, "transactions")), 0);
	json_decref(v);
	v = rpc_client_result(&c, "txns.describe", "{\"id\":\"busy\"}");
	cr_assert_str_eq(rpc_client_str(v, "state"), "Ongoing");
	cr_assert_eq(rpc_client_int(v, "timeout_ms"), 60000);
	cr_assert_str_eq(rpc_client_str(v, "topics.0.topic"), "t");
	cr_assert_eq(rpc_client_int(v, "topics.0.partitions.0"), 1);
	json_decref(v);
	v = rpc_client_error(&c, "txns.describe", "{\"id\":\"nobody\"}");
	cr_assert_str_eq(rpc_client_str(v, "data.kafka_error"), "TRANSACTIONAL_ID_NOT_FOUND");
	json_decref(v);
	v = rpc_client_error(&c, "txns.list", "{\"state\":\"Busy\"}");
	cr_assert_eq(rpc_client_int(v, "code"), RPC_INVALID_PARAMS);
	json_decref(v);
}

static void appended(void *arg, enum sl_kerr kerr, int64_t base_offset)
{
	bool *is_done = arg;

	(void)base_offset;
	cr_assert_eq(kerr, SL_KERR_NONE);
	*is_done = true;
}

static bool is_true(struct harness *unused, void *arg)
{
	(void)unused;
	return *(bool *)arg;
}

/* What a lane may have let in: a batch of a transaction. */
static void put_in(const char *topic, int32_t partition, int64_t producer_id)
{
	const struct meta_topic *t = meta_topic_by_name(h.control->meta, sl_str_from(topic));
	struct sl_batch_builder builder;
	struct sl_batch_head head;
	uint8_t bytes[256];
	struct sl_buf b;
	bool is_done = false;

	sl_buf_init_fixed(&b, bytes, sizeof(bytes));
	sl_batch_head_init(&head);
	head.attributes = SL_BATCH_TRANSACTIONAL;
	head.producer_id = producer_id;
	head.producer_epoch = 4;
	sl_batch_begin(&builder, &b, &head);
	sl_batch_add(&builder, loop_wall_ms(h.loop), SL_BYTES_NULL, (struct sl_bytes){"x", 1});
	cr_assert_eq(sl_batch_end(&builder), 0);
	link_append(h.control->link, 0, &t->rec.topic_id, partition,
	            (struct sl_bytes){b.p, (int32_t)b.len}, appended, &is_done);
	harness_until(&h, is_true, &is_done, "a batch appended");
}

static void put_batch(int32_t partition, int64_t producer_id)
{
	put_in("t", partition, producer_id);
}

Test(rpc_txns, knows_a_transaction_by_its_partitions)
{
	int64_t known = begin("tx", 0);
	json_t *v;

	put_batch(0, known);
	put_batch(1, known);
	harness_create_topic(&h, "u", 1);
	put_in("u", 0, known);
	harness_advance(&h, 5000);
	v = rpc_client_result(&c, "txns.find-hanging", "{\"older_than_ms\":1000}");
	cr_assert_eq(json_array_size(rpc_client_at(v, "transactions")), 2);
	cr_assert_str_eq(rpc_client_str(v, "transactions.0.topic"), "t");
	cr_assert_eq(rpc_client_int(v, "transactions.0.partition"), 1);
	cr_assert_str_eq(rpc_client_str(v, "transactions.1.topic"), "u");
	json_decref(v);
	v = rpc_client_result(&c, "txns.find-hanging", "{\"older_than_ms\":1000,\"topic\":\"t\"}");
	cr_assert_eq(json_array_size(rpc_client_at(v, "transactions")), 1);
	cr_assert_str_eq(rpc_client_str(v, "transactions.0.topic"), "t");
	json_decref(v);
}

Test(rpc_txns, ends_with_the_highest_epoch_of_the_coordinator)
{
	struct sl_txn_marker m;
	json_t *v;

	/* One lane less: what it led has another leader, and a higher epoch with it. */
	harness_restart_fake(&h, 1);
	harness_until_served(&h);
	harness_until(&h, is_loaded, NULL, "transactions loaded");
	put_batch(1, 999);
	v = rpc_client_result(&c, "txns.abort",
	                      "{\"topic\":\"t\",\"partition\":1,\"producer_id\":999,"
	                      "\"producer_epoch\":4}");
	json_decref(v);
	cr_assert(fake_marker(h.fake, "t", 1, 1, &m));
	cr_assert_eq(m.producer_id, 999);
	cr_assert_eq(m.coordinator_epoch, 1);
	cr_assert(!m.is_commit);
}

Test(rpc_txns, finds_and_ends_a_transaction_that_hangs)
{
	int64_t known = begin("tx", 0);
	struct sl_batch_head head;
	json_t *v;

	put_batch(0, known);
	put_batch(1, 999);
	v = rpc_client_result(&c, "txns.find-hanging", NULL);
	cr_assert_eq(json_array_size(rpc_client_at(v, "transactions")), 0, "none is old enough");
	json_decref(v);
	harness_advance(&h, 5000);
	v = rpc_client_result(&c, "txns.find-hanging", "{\"older_than_ms\":1000}");
	cr_assert_eq(json_array_size(rpc_client_at(v, "transactions")), 1);
	cr_assert_str_eq(rpc_client_str(v, "transactions.0.topic"), "t");
	cr_assert_eq(rpc_client_int(v, "transactions.0.partition"), 1);
	cr_assert_eq(rpc_client_int(v, "transactions.0.producer_id"), 999);
	cr_assert_eq(rpc_client_int(v, "transactions.0.producer_epoch"), 4);
	json_decref(v);
	v = rpc_client_error(&c, "txns.find-hanging", "{\"topic\":\"none\"}");
	cr_assert_eq(rpc_client_int(v, "code"), RPC_NOT_FOUND);
	json_decref(v);
	v = rpc_client_result(&c, "txns.abort",
	                      "{\"topic\":\"t\",\"partition\":1,\"producer_id\":999,"
	                      "\"producer_epoch\":4}");
	cr_assert_eq(rpc_client_int(v, "partition"), 1);
	json_decref(v);
	cr_assert(fake_batch(h.fake, "t", 1, 1, &head));
	cr_assert(sl_batch_is_control(&head) && head.producer_id == 999);
	v = rpc_client_error(&c, "txns.abort",
	                     "{\"topic\":\"t\",\"partition\":9,\"producer_id\":999,"
	                     "\"producer_epoch\":4}");
	cr_assert_str_eq(rpc_client_str(v, "data.kafka_error"), "UNKNOWN_TOPIC_OR_PARTITION");
	json_decref(v);
	v = rpc_client_error(&c, "txns.abort",
	                     "{\"topic\":\"t\",\"partition\":1,\"producer_id\":1,"
	                     "\"producer_epoch\":99999}");
	cr_assert_eq(rpc_client_int(v, "code"), RPC_INVALID_PARAMS);
	json_decref(v);
}
