/* SPDX-License-Identifier: Apache-2.0 */
/* What the server is, and whether it is well. */
#include <unistd.h>

#include "sluice/base/version.h"

#include "group/group.h"
#include "methods.h"
#include "publish.h"
#include "txn/txn.h"
#include "value.h"

static uint64_t lanes_sum(const struct control *c, enum sl_stat stat)
{
	uint64_t sum = 0;

	for (uint32_t lane = 0; lane < control_lanes_count(c); lane++) {
		const struct sl_lane_stats *s = control_lane_stats(c, lane);

		if (s)
			sum += atomic_load_explicit(&s->v[stat], memory_order_relaxed);
	}
	return sum;
}

static json_t *nodes(const struct control *c)
{
	json_t *list = json_array();

	for (uint32_t lane = 0; lane < control_lanes_count(c); lane++)
		value_append(&list,
		             json_pack("{s:i, s:i, s:s, s:i}", "node_id", control_node_id(c, lane),
		                       "lane", (int)lane, "host", c->advertised_host, "port",
		                       control_node_port(c, lane)));
	return list;
}

static json_t *data_plane(const struct control *c)
{
	uint64_t attachments = link_attach_count(c->link);
	const struct sl_shm *shm = link_is_up(c->link) ? link_shm(c->link) : NULL;
	json_t *v = json_pack("{s:b, s:b, s:I, s:I, s:i}", "attached", shm ? 1 : 0, "serving",
	                      publish_is_served(c->publish) ? 1 : 0, "attachments",
	                      (json_int_t)attachments, "reattachments",
	                      (json_int_t)(attachments > 0 ? attachments - 1 : 0), "lanes",
	                      (int)control_lanes_count(c));

	if (shm) {
		value_set(&v, "pid", json_integer(shm->pid));
		value_set(&v, "started_ms", json_integer(shm->started_ms));
		value_set(&v, "incarnation",
		          json_sprintf("%016llx", (unsigned long long)shm->incarnation));
	}
	return v;
}

static json_t *counts(const struct control *c)
{
	struct group_coord *coord = control_groups(c);
	struct group_view view;
	json_int_t groups = 0;
	uint32_t pos = 0;

	while (coord && group_next(coord, &pos, &view))
		groups++;
	return json_pack("{s:I, s:I, s:I, s:I}", "topics", (json_int_t)meta_topics_count(c->meta),
	                 "partitions", (json_int_t)meta_partitions_count(c->meta), "groups", groups,
	                 "connections", (json_int_t)lanes_sum(c, SL_STAT_connections));
}

/* Reasons for not being well; `down` when no client can be served. */
static json_t *health(const struct control *c)
{
	json_t *reasons = json_array();
	uint64_t offline = lanes_sum(c, SL_STAT_partitions_offline);
	char *const *dirs;
	uint32_t dirs_count = control_log_dirs(c, &dirs);
	bool is_down = false;

	if (!link_is_up(c->link)) {
		is_down = true;
		value_append(&reasons, json_string("the data plane is not attached"));
	} else if (!publish_is_served(c->publish)) {
		is_down = true;
		value_append(&reasons,
		             json_string("the data plane does not serve the metadata yet"));
	}
	for (uint32_t i = 0; i < dirs_count; i++) {
		int error = control_log_dir_error(c, i);

		if (error != 0)
			value_append(&reasons, json_sprintf("log dir %s is offline: %s", dirs[i],
			                                    strerror(error)));
	}
	if (offline > 0)
		value_append(&reasons, json_sprintf("%llu partitions are offline",
		                                    (unsigned long long)offline));
	if (!reasons)
		return NULL;
	return json_pack("{s:s, s:o}", "state",
	                 is_down                        ? "down"
	                 : json_array_size(reasons) > 0 ? "degraded"
	                                                : "ok",
	                 "reasons", reasons);
}

void rpc_status(struct rpc_call *call)
{
	struct control *c = call->c;
	json_int_t uptime_ms = loop_mono_ms(c->loop) - c->started_mono_ms;

	rpc_call_result(call, json_pack("{s:s, s:i, s:I, s:i, s:s, s:o, s:o, s:o, s:o}", "version",
	                                SL_VERSION, "pid", (int)getpid(), "uptime_ms", uptime_ms,
	                                "server_id", c->server_id, "cluster_id",
	                                meta_cluster_id(c->meta), "nodes", nodes(c), "data_plane",
	                                data_plane(c), "counts", counts(c), "health", health(c)));
}

void rpc_counters(struct rpc_call *call)
{
	struct control *c = call->c;
	struct group_coord *coord = control_groups(c);
	struct txn_coord *txns = control_txns(c);
	json_t *own = json_object(), *group = json_object(), *txn = json_object();
	const char *name;
	uint64_t value;

	for (unsigned i = 0; i < COUNTER_NR; i++)
		value_set(&own, counter_defs[i].name, json_integer((json_int_t)c->counters[i]));
	for (uint32_t i = 0; coord && (name = group_counter(coord, i, &value)); i++)
		value_set(&group, name, json_integer((json_int_t)value));
	for (uint32_t i = 0; txns && (name = txn_counter(txns, i, &value)); i++)
		value_set(&txn, name, json_integer((json_int_t)value));
	rpc_call_result(call,
	                json_pack("{s:o, s:o, s:o}", "control", own, "group", group, "txn", txn));
}
