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

/* A sum of counters divided by another.  Zero ends a list: connections is in no ratio. */
struct ratio {
	const char *name;
	enum sl_stat parts[5];
	enum sl_stat wholes[3];
};
_Static_assert(SL_STAT_connections == 0, "zero is no counter that a ratio is made of");

/* clang-format off */
static const struct ratio ratios[] = {
	{"busy", {SL_STAT_cycles_busy}, {SL_STAT_cycles_busy, SL_STAT_cycles_idle, SL_STAT_cycles_asleep}},
	{"idle", {SL_STAT_cycles_idle}, {SL_STAT_cycles_busy, SL_STAT_cycles_idle, SL_STAT_cycles_asleep}},
	{"asleep", {SL_STAT_cycles_asleep}, {SL_STAT_cycles_busy, SL_STAT_cycles_idle, SL_STAT_cycles_asleep}},
	{"cycles_per_request", {SL_STAT_cycles_busy}, {SL_STAT_requests}},
	{"cycles_per_message_in", {SL_STAT_cycles_busy}, {SL_STAT_messages_in}},
	{"cycles_per_byte", {SL_STAT_cycles_busy}, {SL_STAT_bytes_received, SL_STAT_bytes_sent}},
	{"messages_per_batch", {SL_STAT_messages_in}, {SL_STAT_batches_in}},
	{"batches_per_produce", {SL_STAT_batches_in}, {SL_STAT_requests_produce}},
	{"requests_per_busy_poll", {SL_STAT_requests}, {SL_STAT_polls_busy}},
	{"calls_per_request", {SL_STAT_recv_calls, SL_STAT_send_calls, SL_STAT_sendfile_calls, SL_STAT_epoll_calls_busy, SL_STAT_uring_calls}, {SL_STAT_requests}},
	{"bytes_per_recv", {SL_STAT_bytes_received}, {SL_STAT_recv_calls}},
	{"bytes_per_send", {SL_STAT_bytes_sent}, {SL_STAT_send_calls, SL_STAT_sendfile_calls}},
	{"events_per_epoll", {SL_STAT_epoll_events}, {SL_STAT_epoll_calls_busy}},
	{"batches_per_sync", {SL_STAT_batches_in}, {SL_STAT_syncs}},
};
/* clang-format on */

static double sum(const struct sl_lane_stats *s, const enum sl_stat *list, size_t max)
{
	uint64_t n = 0;

	for (size_t i = 0; i < max && list[i]; i++)
		n += stat(s, list[i]);
	return (double)n;
}

static json_t *lane_ratios(const struct sl_lane_stats *s)
{
	json_t *object = json_object();

	for (size_t i = 0; i < SL_ARRAY_SIZE(ratios); i++) {
		const struct ratio *r = &ratios[i];
		double part = sum(s, r->parts, SL_ARRAY_SIZE(r->parts));
		double whole = sum(s, r->wholes, SL_ARRAY_SIZE(r->wholes));

		value_set(&object, r->name, whole > 0 ? json_real(part / whole) : json_null());
	}
	return object;
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
		                       "ratios", s ? lane_ratios(s) : json_null(), "stats", stats));
	}
	rpc_call_result(call, json_pack("{s:I, s:o}", "mono_ms", (json_int_t)loop_mono_ms(c->loop),
	                                "lanes", list));
}
