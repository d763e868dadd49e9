/* SPDX-License-Identifier: Apache-2.0 */
/*
 * groups.reset-offsets: an OffsetCommit without a member (generation -1), which the coordinator
 * takes only for a group without members (as Kafka's own tool relies on).
 */
#include <stdlib.h>

#include "sluice/wire/offset_commit_gen.h"

#include "group/group.h"
#include "methods.h"
#include "value.h"

#define COMMIT_VERSION 9

/* What is wanted. */
enum target {
	TO_EARLIEST = 0,
	TO_LATEST,
	TO_OFFSET,
	TO_SHIFT, /* by `number` from what is committed */
};

struct change {
	int64_t before; /* -1: nothing was committed */
	int64_t after;
	int32_t partition;
};

struct reset {
	enum target target;
	int64_t number;
	int32_t count;
	struct change changes[];
};

/* Return: why not, or NULL. */
static const char *parse_target(const struct rpc_call *call, enum target *target, int64_t *number)
{
	json_t *to = rpc_call_param(call, "to"), *shift = rpc_call_param(call, "shift");
	const char *word = json_string_value(to);

	if (!to == !shift)
		return "give \"to\" or \"shift\"";
	if (shift) {
		*target = TO_SHIFT;
		*number = json_integer_value(shift);
	} else if (word && strcmp(word, "earliest") == 0) {
		*target = TO_EARLIEST;
	} else if (word && strcmp(word, "latest") == 0) {
		*target = TO_LATEST;
	} else if (word) {
		return "\"to\" is \"earliest\", \"latest\" or an offset";
	} else {
		*target = TO_OFFSET;
		*number = json_integer_value(to);
	}
	return NULL;
}

/* Fills `before` of the changes, which are in order of partitions and without gaps. */
static void read_committed(struct rpc_call *call, struct reset *r)
{
	struct group_coord *coord = control_groups(call->c);
	struct sl_str group = sl_str_from(rpc_call_str(call, "group"));
	struct sl_str topic = sl_str_from(rpc_call_str(call, "topic"));
	struct group_offset_view o;
	uint32_t pos = 0;

	while (coord && group_next_offset(coord, group, &pos, &o)) {
		int32_t i = o.partition - r->changes[0].partition;

		if (i >= 0 && i < r->count && sl_str_eq(o.topic, topic))
			r->changes[i].before = o.offset;
	}
}

static int64_t choose(const struct reset *r, const struct slot_view *v, int64_t before)
{
	int64_t wanted = r->number;

	if (r->target == TO_EARLIEST)
		wanted = v->log_start;
	else if (r->target == TO_LATEST)
		wanted = v->high_watermark;
	else if (r->target == TO_SHIFT && __builtin_add_overflow(before, r->number, &wanted))
		wanted = r->number < 0 ? 0 : INT64_MAX;
	return SL_MAX(SL_MIN(wanted, v->high_watermark), v->log_start);
}

/* Return: false when the call was ended. */
static bool plan(struct rpc_call *call, const struct meta_topic *t, struct reset *r, int32_t first,
                 int32_t end)
{
	int32_t kept = 0;

	for (int32_t p = first; p < end; p++)
		r->changes[r->count++] = (struct change){.before = -1, .partition = p};
	if (r->count > 0)
		read_committed(call, r);
	for (int32_t i = 0; i < r->count; i++) {
		struct change ch = r->changes[i];
		struct slot_view v;

		if (!partitions_slot(call->c, &t->rec.topic_id, ch.partition, &v)) {
			rpc_call_error(
				call, RPC_UNAVAILABLE,
				"partition %d is not served now, so its offsets are not known",
				ch.partition);
			return false;
		}
		if (r->target == TO_SHIFT && ch.before < 0)
			continue;
		ch.after = choose(r, &v, ch.before);
		r->changes[kept++] = ch;
	}
	r->count = kept;
	if (kept == 0)
		rpc_call_error(call, RPC_NOT_FOUND, "the group has no offsets there to shift");
	return kept > 0;
}

static json_t *changes_value(const struct rpc_call *call, const struct reset *r,
                             const struct sl_offset_commit_resp_topic *done)
{
	json_t *list = json_array();

	for (int32_t i = 0; i < r->count; i++) {
		const struct change *ch = &r->changes[i];
		int kerr = done ? done->partitions[i].error_code : SL_KERR_NONE;
		json_t *row = json_pack("{s:s, s:i, s:o, s:I}", "topic",
		                        rpc_call_str(call, "topic"), "partition", ch->partition,
		                        "before", value_offset(ch->before), "after",
		                        (json_int_t)ch->after);

		if (kerr != SL_KERR_NONE)
			value_set(&row, "error", json_string(sl_kerr_name(kerr)));
		value_append(&list, row);
	}
	return json_pack("{s:s, s:o}", "group", rpc_call_str(call, "group"), "offsets", list);
}

static void committed_all(struct rpc_call *call, struct sl_cursor *body, struct sl_arena *arena,
                          int16_t version)
{
	const struct reset *r = call->state;
	struct sl_offset_commit_resp resp;
	const struct sl_offset_commit_resp_topic *t;
	int first_error = SL_KERR_NONE;

	if (sl_offset_commit_resp_decode(&resp, body, arena, version) < 0 ||
	    resp.topics_count != 1 || resp.topics[0].partitions_count != r->count) {
		kafka_malformed(call);
		return;
	}
	t = &resp.topics[0];
	for (int32_t i = 0; i < r->count; i++) {
		if (t->partitions[i].partition_index != r->changes[i].partition) {
			kafka_malformed(call);
			return;
		}
		if (first_error == SL_KERR_NONE)
			first_error = t->partitions[i].error_code;
	}
	if (first_error == SL_KERR_UNKNOWN_MEMBER_ID || first_error == SL_KERR_ILLEGAL_GENERATION)
		rpc_call_kerr(call, SL_KERR_NON_EMPTY_GROUP,
		              sl_str_from("the group has members; stop them first"));
	else if (first_error != SL_KERR_NONE)
		rpc_call_kerr(call, first_error, SL_STR_NULL);
	else
		rpc_call_result(call, changes_value(call, r, t));
}

static void commit(struct rpc_call *call, const struct reset *r)
{
	struct sl_offset_commit_req req;
	struct sl_offset_commit_req_topic topic;
	struct kafka_frame frame;

	sl_offset_commit_req_init(&req);
	sl_offset_commit_req_topic_init(&topic);
	req.group_id = sl_str_from(rpc_call_str(call, "group"));
	req.generation_id_or_member_epoch = -1;
	req.member_id = sl_str_from("");
	req.topics = &topic;
	req.topics_count = 1;
	topic.name = sl_str_from(rpc_call_str(call, "topic"));
	topic.partitions = calloc((size_t)r->count, sizeof(*topic.partitions));
	if (!topic.partitions) {
		rpc_call_error(call, RPC_INTERNAL, "out of memory");
		return;
	}
	for (int32_t i = 0; i < r->count; i++) {
		sl_offset_commit_req_topic_partition_init(&topic.partitions[i]);
		topic.partitions[i].partition_index = r->changes[i].partition;
		topic.partitions[i].committed_offset = r->changes[i].after;
		topic.partitions[i].committed_metadata = sl_str_from("");
	}
	topic.partitions_count = r->count;
	sl_offset_commit_req_encode(&req, kafka_begin(&frame, SL_API_OFFSET_COMMIT, COMMIT_VERSION),
	                            COMMIT_VERSION);
	free(topic.partitions);
	kafka_send(call, &frame, committed_all);
}

void rpc_reset_offsets(struct rpc_call *call)
{
	const struct meta_topic *t = meta_topic_by_name(call->c->meta,
	                                                sl_str_from(rpc_call_str(call, "topic")));
	int64_t only = rpc_call_int(call, "partition", -1);
	enum target target = TO_EARLIEST;
	int64_t number = 0;
	const char *fault = parse_target(call, &target, &number);
	struct reset *r;

	if (fault) {
		rpc_call_error(call, RPC_INVALID_PARAMS, "%s", fault);
		return;
	}
	if (!t ||
	    (rpc_call_param(call, "partition") && (only < 0 || only >= t->rec.partitions_count))) {
		rpc_call_kerr(call, SL_KERR_UNKNOWN_TOPIC_OR_PARTITION, SL_STR_NULL);
		return;
	}
	r = calloc(1, sizeof(*r) + (size_t)t->rec.partitions_count * sizeof(r->changes[0]));
	if (!r) {
		rpc_call_error(call, RPC_INTERNAL, "out of memory");
		return;
	}
	r->target = target;
	r->number = number;
	rpc_call_keep(call, r, free);
	if (!plan(call, t, r, only < 0 ? 0 : (int32_t)only,
	          only < 0 ? t->rec.partitions_count : (int32_t)only + 1))
		return;
	if (rpc_call_bool(call, "dry_run", false))
		rpc_call_result(call, changes_value(call, r, NULL));
	else
		commit(call, r);
}
