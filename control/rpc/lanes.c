/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters of the lanes.  Ratios here are over the data plane's life; who wants those of the last
 * second asks twice and divides the differences, as sluicectl does.
 */
#include <errno.h>

#include "methods.h"
#include "value.h"

static uint64_t stat(const struct sl_lane_stats *s, enum sl_stat stat)
{
	return atomic_load_explicit(&s->v[stat], memory_order_relaxed);
}

static json_t *ratio(uint64_t part, double whole)
{
	return whole > 0 ? json_real((double)part / whole) : json_null();
}

static json_t *ratios(const struct control *c, const struct sl_lane_stats *s)
{
	const struct sl_shm *shm = link_shm(c->link);
	double alive_s = (double)(loop_wall_ms(c->loop) - shm->started_ms) / 1000;
	uint64_t calls = stat(s, SL_STAT_recv_calls) + stat(s, SL_STAT_send_calls) +
	                 stat(s, SL_STAT_sendfile_calls);

	return json_pack("{s:o, s:o, s:o, s:o}", "busy",
	                 ratio(stat(s, SL_STAT_cycles_busy),
	                       alive_s * (double)stat(s, SL_STAT_tsc_hz)),
	                 "requests_per_busy_poll",
	                 ratio(stat(s, SL_STAT_requests), (double)stat(s, SL_STAT_polls_busy)),
	                 "socket_calls_per_request",
	                 ratio(calls, (double)stat(s, SL_STAT_requests)), "batches_per_sync",
	                 ratio(stat(s, SL_STAT_batches_in), (double)stat(s, SL_STAT_syncs)));
}

void rpc_lanes(struct rpc_call *call)
{
	struct control *c = call->c;
	json_t *list = json_array();

	if (!link_is_up(c->link)) {
		json_decref(list);
		query_failed(call, -ENOTCONN, NULL);
		return;
	}
	for (uint32_t lane = 0; lane < control_lanes_count(c); lane++) {
		const struct sl_lane_stats *s = control_lane_stats(c, lane);
		json_t *stats = json_object();

		for (unsigned i = 0; s && i < SL_STAT_NR; i++)
			value_set(&stats, sl_stat_defs[i].name,
			          json_integer((json_int_t)stat(s, (enum sl_stat)i)));
		value_append(&list,
		             json_pack("{s:i, s:i, s:i, s:o, s:o}", "lane", (int)lane, "node_id",
		                       control_node_id(c, lane), "port", control_node_port(c, lane),
		                       "ratios", s ? ratios(c, s) : json_null(), "stats", stats));
	}
	rpc_call_result(call, json_pack("{s:I, s:o}", "mono_ms", (json_int_t)loop_mono_ms(c->loop),
	                                "lanes", list));
}
