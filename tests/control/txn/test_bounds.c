/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "limits.h"
#include "sim.h"

static bool has_any(void *ctx, struct sl_str topic, int32_t partition)
{
	(void)ctx;
	return topic.len > 0 && partition >= 0;
}

Test(txn_bounds, refuses_more_partitions_than_a_transaction_may_have)
{
	struct sl_add_partitions_to_txn_req_v3_and_below_topic topic = {sl_str_from("t"), NULL, 0};
	const struct sl_add_partitions_to_txn_resp *r;
	struct sl_add_partitions_to_txn_req req;
	struct sim_producer p;
	struct sim s;

	sim_init_opts(&s, NULL);
	txn_destroy(s.c);
	s.opts.has_partition = has_any;
	cr_assert_eq(txn_create(&s.c, &s.opts), 0);
	sim_load_all(&s);
	p = sim_producer(&s, "tx");
	topic.partitions = calloc(LIMIT_PARTS + 1, sizeof(*topic.partitions));
	for (uint32_t i = 0; i <= LIMIT_PARTS; i++)
		topic.partitions[i] = (int32_t)i;
	sl_add_partitions_to_txn_req_init(&req);
	req.v3_and_below_transactional_id = sl_str_from("tx");
	req.v3_and_below_producer_id = p.id;
	req.v3_and_below_producer_epoch = p.epoch;
	req.v3_and_below_topics = &topic;
	req.v3_and_below_topics_count = 1;
	topic.partitions_count = LIMIT_PARTS + 1;
	r = sim_answer(&s, sim_send(&s, SL_API_ADD_PARTITIONS_TO_TXN, 3, &req));
	cr_assert_eq(
		r->results_by_topic_v3_and_below[0].results_by_partition[7].partition_error_code,
		SL_KERR_POLICY_VIOLATION);
	cr_assert_eq(sim_parts(&s, "tx"), 0);
	topic.partitions_count = LIMIT_PARTS;
	r = sim_answer(&s, sim_send(&s, SL_API_ADD_PARTITIONS_TO_TXN, 3, &req));
	cr_assert_eq(
		r->results_by_topic_v3_and_below[0].results_by_partition[7].partition_error_code,
		0);
	cr_assert_eq(sim_parts(&s, "tx"), LIMIT_PARTS);
	cr_assert_eq(sim_told(&s, sim_ask(&s, "tx", p, 0, 1, true)), SL_KERR_POLICY_VIOLATION);
	cr_assert_eq(sim_counter(&s, "refused_parts_full"), 2);
	sim_reload(&s);
	cr_assert_eq(sim_parts(&s, "tx"), LIMIT_PARTS);
	free(topic.partitions);
	sim_fini(&s);
}

Test(txn_bounds, refuses_more_questions_than_it_may_hold)
{
	struct sim_producer next;
	struct sim_producer p;
	struct txn_gauges g;
	struct sim s;

	sim_init(&s);
	p = sim_producer(&s, "tx");
	cr_assert_eq(sim_told(&s, sim_ask(&s, "tx", p, 0, 1, true)), 0);
	s.is_holding_marks = true;
	cr_assert_eq(sim_ended(&s, sim_end_send(&s, 5, "tx", p, true), &next), 0);
	for (uint32_t i = 0; i < LIMIT_HELD; i++)
		(void)sim_ask(&s, "tx", next, 0, 1, true);
	txn_gauges(s.c, &g);
	cr_assert_eq(g.held, LIMIT_HELD);
	cr_assert_eq(sim_told(&s, sim_ask(&s, "tx", next, 0, 1, true)),
	             SL_KERR_COORDINATOR_NOT_AVAILABLE);
	cr_assert_eq(sim_counter(&s, "refused_held_full"), 1);
	sim_mark(&s, SL_KERR_NONE);
	txn_gauges(s.c, &g);
	cr_assert_eq(g.held, 0);
	sim_fini(&s);
}

Test(txn_bounds, closes_connections_of_malformed_and_unknown_requests)
{
	struct sim s;
	uint64_t h;

	sim_init(&s);
	h = sim_send_raw(&s, SL_API_END_TXN, 3, "\x01", 1);
	cr_assert_eq(sim_state(&s, h), SIM_CLOSED);
	h = sim_send_raw(&s, SL_API_END_TXN, 9, "", 0);
	cr_assert_eq(sim_state(&s, h), SIM_CLOSED);
	h = sim_send_raw(&s, SL_API_METADATA, 9, "", 0);
	cr_assert_eq(sim_state(&s, h), SIM_CLOSED);
	cr_assert_eq(sim_counter(&s, "closed_malformed"), 1);
	cr_assert_eq(sim_counter(&s, "closed_unsupported"), 2);
	sim_fini(&s);
}

Test(txn_bounds, survives_the_end_of_requests_that_wait)
{
	struct sim s;

	sim_init(&s);
	s.is_holding_ids = true;
	(void)sim_init_send(&s, 4, "one", (struct sim_producer){-1, -1}, 1000);
	sim_cancel(&s, 0);
	sim_cancel(&s, 0);
	cr_assert_eq(sim_counter(&s, "cancels"), 1);
	cr_assert_eq(sim_counter(&s, "cancels_unknown"), 1);
	sim_fini(&s);
}
