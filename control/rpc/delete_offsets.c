/* SPDX-License-Identifier: Apache-2.0 */
/* groups.delete-offsets: what a group has committed for a topic or one partition of it is deleted.
 */
#include <errno.h>
#include <stdlib.h>

#include "sluice/wire/offset_delete_gen.h"

#include "group/group.h"
#include "methods.h"
#include "value.h"

#define OFFSET_DELETE_VERSION 0

/* What is deleted; zeroed memory is an empty one. */
struct deletion {
	struct sl_offset_delete_req_topic_partition *partitions; /* Owned */
	int64_t *before;                                         /* Owned; committed */
	int32_t count;
};

static void deletion_free(void *state)
{
	struct deletion *d = state;

	free(d->partitions);
	free(d->before);
	free(d);
}

/* @only: -1: all partitions.  Return: 0 or -ENOMEM. */
static int find_committed(struct rpc_call *call, struct deletion *d, const struct meta_topic *t,
                          int64_t only)
{
	const struct group_coord *coord = control_groups(call->c);
	struct sl_str group = sl_str_from(rpc_call_str(call, "group"));
	struct group_offset_view o;
	uint32_t pos = 0;
	/* A group has at most one offset for each partition. */
	size_t max = (size_t)t->rec.partitions_count;

	d->partitions = calloc(max, sizeof(*d->partitions));
	d->before = calloc(max, sizeof(*d->before));
	if (!d->partitions || !d->before)
		return -ENOMEM;
	while (coord && (size_t)d->count < max && group_next_offset(coord, group, &pos, &o)) {
		if (!sl_str_eq(o.topic, t->rec.name) || (only >= 0 && o.partition != only))
			continue;
		d->partitions[d->count].partition_index = o.partition;
		d->before[d->count++] = o.offset;
	}
	return 0;
}

static void deleted(struct rpc_call *call, struct sl_cursor *body, struct sl_arena *arena,
                    int16_t version)
{
	const struct deletion *d = call->state;
	struct sl_offset_delete_resp resp;
	json_t *list;

	if (sl_offset_delete_resp_decode(&resp, body, arena, version) < 0) {
		kafka_malformed(call);
		return;
	}
	if (resp.error_code != SL_KERR_NONE) {
		rpc_call_kerr(call, resp.error_code, SL_STR_NULL);
		return;
	}
	if (resp.topics_count != 1 || resp.topics[0].partitions_count != d->count) {
		kafka_malformed(call);
		return;
	}
	list = json_array();
	for (int32_t i = 0; i < d->count; i++) {
		const struct sl_offset_delete_resp_topic_partition *p =
			&resp.topics[0].partitions[i];

		if (p->error_code != SL_KERR_NONE) {
			json_decref(list);
			rpc_call_kerr(call, p->error_code,
			              p->error_code == SL_KERR_GROUP_SUBSCRIBED_TO_TOPIC
			                      ? sl_str_from("members of the group read this topic; "
			                                    "stop them first")
			                      : SL_STR_NULL);
			return;
		}
		value_append(&list,
		             json_pack("{s:s, s:i, s:I}", "topic", rpc_call_str(call, "topic"),
		                       "partition", p->partition_index, "before",
		                       (json_int_t)d->before[i]));
	}
	rpc_call_result(call, json_pack("{s:s, s:o}", "group", rpc_call_str(call, "group"),
	                                "offsets", list));
}

static void send(struct rpc_call *call, const struct deletion *d)
{
	struct sl_offset_delete_req_topic topic = {
		.name = sl_str_from(rpc_call_str(call, "topic")),
		.partitions = d->partitions,
		.partitions_count = d->count,
	};
	const struct sl_offset_delete_req req = {
		.group_id = sl_str_from(rpc_call_str(call, "group")),
		.topics = &topic,
		.topics_count = 1,
	};
	struct kafka_frame frame;

	sl_offset_delete_req_encode(
		&req, kafka_begin(&frame, SL_API_OFFSET_DELETE, OFFSET_DELETE_VERSION),
		OFFSET_DELETE_VERSION);
	kafka_send(call, &frame, deleted);
}

void rpc_delete_offsets(struct rpc_call *call)
{
	const struct meta_topic *t = meta_topic_by_name(call->c->meta,
	                                                sl_str_from(rpc_call_str(call, "topic")));
	int64_t only = rpc_call_int(call, "partition", -1);
	struct deletion *d;

	if (!t ||
	    (rpc_call_param(call, "partition") && (only < 0 || only >= t->rec.partitions_count))) {
		rpc_call_kerr(call, SL_KERR_UNKNOWN_TOPIC_OR_PARTITION, SL_STR_NULL);
		return;
	}
	d = calloc(1, sizeof(*d));
	if (!d) {
		rpc_call_error(call, RPC_INTERNAL, "out of memory");
		return;
	}
	rpc_call_keep(call, d, deletion_free);
	if (find_committed(call, d, t, only) < 0)
		rpc_call_error(call, RPC_INTERNAL, "out of memory");
	else if (d->count == 0)
		rpc_call_error(call, RPC_NOT_FOUND, "the group has committed no offset there");
	else
		send(call, d);
}
