/* SPDX-License-Identifier: Apache-2.0 */
/* The handlers behind the table of method.c, and what they share. */
#ifndef CONTROL_RPC_METHODS_H
#define CONTROL_RPC_METHODS_H

#include "sluice/base/arena.h"
#include "sluice/ipc/shm.h"
#include "sluice/wire/apis.h"

#include "call.h"
#include "rpc.h"

struct meta_topic;

/* status.c */
rpc_handler rpc_status, rpc_counters;
/* lanes.c */
rpc_handler rpc_lanes;
/* topics.c */
rpc_handler rpc_topics_list, rpc_topics_describe, rpc_topics_create, rpc_topics_delete;
/* configs.c */
rpc_handler rpc_configs_get, rpc_configs_set, rpc_group_configs_get, rpc_group_configs_set;
/* partitions.c */
rpc_handler rpc_partitions_list;
/* groups.c */
rpc_handler rpc_groups_list, rpc_groups_describe, rpc_groups_delete;
/* txns.c */
rpc_handler rpc_txns_list, rpc_txns_describe, rpc_txns_find_hanging, rpc_txns_abort;
/* reset.c */
rpc_handler rpc_reset_offsets;
/* delete_offsets.c */
rpc_handler rpc_delete_offsets;
/* doctor.c */
rpc_handler rpc_doctor;
/* query.c */
rpc_handler rpc_connections, rpc_steer, rpc_steer_change, rpc_count_sites;
/* levels.c */
rpc_handler rpc_log_level;
/* method.c */
rpc_handler rpc_help, rpc_discover;

/* Scratch for a request of our own: more than the elements of the longest line take. */
#define RPC_CREATE_SCRATCH ((size_t)RPC_REQUEST_MAX * 16)

/* A partition's slot, read once.  Zeroed: there is none. */
struct slot_view {
	enum sl_slot_state state;
	int32_t lane;
	int32_t leader_epoch;
	uint32_t log_dir;
	uint32_t segments;
	int64_t log_start;
	int64_t high_watermark;
	int64_t log_end;
	int64_t flushed;
	uint64_t log_bytes;
	int64_t clean_offset;
	enum sl_slot_cleaner cleaner;
	uint32_t dirty_ppm;
};
/* Return: false when the data plane has no such partition; then *out is zeroed. */
bool partitions_slot(const struct control *c, const struct sl_uuid *topic_id, int32_t partition,
                     struct slot_view *out);
/* One element of partitions.list. */
json_t *partitions_row(struct control *c, const struct meta_topic *topic, int32_t partition);
/* Lag of a committed offset; -1 when it is not known. */
int64_t partitions_lag(const struct control *c, struct sl_str topic, int32_t partition,
                       int64_t offset);

/* ---- Questions to the data plane ---- */

/* @answer: NULL when there is none; may be there, with a text, when @error is not 0.  Ends the call
 * or goes on. */
typedef void query_fn(struct rpc_call *call, int error, json_t *answer);
/* Asks the host thread {"method": @method} with the members of @params added (taken; may be NULL).
 * A client that is gone meanwhile ends the call, @fn is then not called. */
void query_host(struct rpc_call *call, const char *method, json_t *params, query_fn *fn);
/* Ends @call with what @error means.  @answer: what came with it; may be NULL. */
void query_failed(struct rpc_call *call, int error, json_t *answer);

/* ---- Kafka's own handlers, called with frames of our own ---- */

struct kafka_frame {
	const struct sl_api *api;
	int16_t version;
	struct sl_buf buf;
};
/* Begins a request at @version; the body is encoded into the result. */
struct sl_buf *kafka_begin(struct kafka_frame *frame, int16_t api_key, int16_t version);
/* @body: the answer's body, decoded into @arena.  Ends the call or goes on. */
typedef void kafka_fn(struct rpc_call *call, struct sl_cursor *body, struct sl_arena *arena,
                      int16_t version);
/* Runs the request; takes what @frame holds.  Failure ends the call without @fn. */
void kafka_send(struct rpc_call *call, struct kafka_frame *frame, kafka_fn *fn);
/* Ends the call: the answer made no sense. */
void kafka_malformed(struct rpc_call *call);

#endif
