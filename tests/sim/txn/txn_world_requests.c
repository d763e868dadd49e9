/* SPDX-License-Identifier: Apache-2.0 */
/* What producers of both flows send. */
#include "txn_world.h"

#include <stdio.h>

#include "sluice/base/assert.h"
#include "sluice/wire/add_offsets_to_txn_gen.h"
#include "sluice/wire/add_partitions_to_txn_gen.h"
#include "sluice/wire/apis.h"
#include "sluice/wire/end_txn_gen.h"
#include "sluice/wire/init_producer_id_gen.h"
#include "sluice/wire/offset_fetch_gen.h"
#include "sluice/wire/txn_offset_commit_gen.h"

#define FETCH_VERSION 9

static void send_request(struct txn_world *w, struct producer *k, int16_t key, int16_t version,
                         struct sl_buf *b)
{
	struct msg m = {.kind = MSG_REQUEST,
	                .client = k->index,
	                .number = k->number,
	                .api_key = key,
	                .version = version};

	SL_ASSERT(sl_buf_ok(b));
	if (w->is_healed || pick(w, 25) != 0) {
		/* Now and then very late. */
		bool is_late = k->is_new_flow && !w->is_healed && pick(w, 12) == 0;

		m.bytes = copy_bytes((struct sl_bytes){b->p, (int32_t)b->len});
		m.len = (int32_t)b->len;
		push(w, &m, w->now_ms + 1 + pick(w, is_late ? 3 * PATIENCE_MS : 10));
	}
	sl_buf_fini(b);
}

static void send_init(struct txn_world *w, struct producer *k)
{
	struct sl_init_producer_id_req req;
	struct sl_buf b;

	sl_buf_init_grow(&b, 4096);
	sl_init_producer_id_req_init(&req);
	req.transactional_id = sl_str_from(k->id);
	req.transaction_timeout_ms = TIMEOUT_MS;
	req.producer_epoch = -1;
	sl_init_producer_id_req_encode(&req, &b, 4);
	send_request(w, k, SL_API_INIT_PRODUCER_ID, 4, &b);
}

static void send_add(struct txn_world *w, struct producer *k)
{
	struct sl_add_partitions_to_txn_req_v3_and_below_topic topic = {sl_str_from(TOPIC),
	                                                                &k->op_partition, 1};
	struct sl_add_partitions_to_txn_req req;
	struct sl_buf b;

	sl_buf_init_grow(&b, 4096);
	sl_add_partitions_to_txn_req_init(&req);
	req.v3_and_below_transactional_id = sl_str_from(k->id);
	req.v3_and_below_producer_id = k->pid;
	req.v3_and_below_producer_epoch = k->epoch;
	req.v3_and_below_topics = &topic;
	req.v3_and_below_topics_count = 1;
	sl_add_partitions_to_txn_req_encode(&req, &b, 3);
	send_request(w, k, SL_API_ADD_PARTITIONS_TO_TXN, 3, &b);
}

static void send_add_offsets(struct txn_world *w, struct producer *k)
{
	const struct sl_add_offsets_to_txn_req req = {sl_str_from(k->id), k->pid, k->epoch,
	                                              sl_str_from(GROUP)};
	struct sl_buf b;

	sl_buf_init_grow(&b, 4096);
	sl_add_offsets_to_txn_req_encode(&req, &b, 3);
	send_request(w, k, SL_API_ADD_OFFSETS_TO_TXN, 3, &b);
}

/* Of all that it has to read.  A member of the consumer protocol says which it is. */
static void send_fetch_offsets(struct txn_world *w, struct producer *k)
{
	const struct client *member = &w->members.clients[k->index];
	int32_t numbers[INPUTS];
	struct sl_offset_fetch_req_group_topic topic;
	struct sl_offset_fetch_req_group group;
	struct sl_offset_fetch_req req;
	struct sl_buf b;

	sl_buf_init_grow(&b, 4096);
	sl_offset_fetch_req_init(&req);
	sl_offset_fetch_req_group_init(&group);
	sl_offset_fetch_req_group_topic_init(&topic);
	topic.name = client_topic_name(0);
	topic.partition_indexes = numbers;
	for (int32_t p = 0; p < INPUTS; p++) {
		if ((k->reads >> p) & 1)
			numbers[topic.partition_indexes_count++] = p;
	}
	group.group_id = sl_str_from(GROUP);
	if (w->has_members && !member->is_classic) {
		group.member_id = sl_str_from(member->id);
		group.member_epoch = member->epoch;
	}
	group.topics = &topic;
	group.topics_count = 1;
	req.groups = &group;
	req.groups_count = 1;
	req.require_stable = true;
	k->asked = k->reads;
	sl_offset_fetch_req_encode(&req, &b, FETCH_VERSION);
	send_request(w, k, SL_API_OFFSET_FETCH, FETCH_VERSION, &b);
}

/* The metadata is the number of the transaction. */
static void send_offsets(struct txn_world *w, struct producer *k)
{
	int16_t version = k->is_new_flow ? 5 : 3;
	struct sl_txn_offset_commit_req_topic_partition parts[INPUTS];
	struct sl_txn_offset_commit_req_topic topic;
	struct sl_txn_offset_commit_req req;
	struct sl_buf b;
	char text[16];

	snprintf(text, sizeof(text), "%d", (int)(k->txn - w->txns));
	sl_buf_init_grow(&b, 4096);
	sl_txn_offset_commit_req_init(&req);
	sl_txn_offset_commit_req_topic_init(&topic);
	topic.name = client_topic_name(0);
	topic.partitions = parts;
	for (int32_t p = 0; p < INPUTS; p++) {
		struct sl_txn_offset_commit_req_topic_partition *part =
			&parts[topic.partitions_count];

		if (!((k->txn_reads >> p) & 1))
			continue;
		sl_txn_offset_commit_req_topic_partition_init(part);
		part->partition_index = p;
		part->committed_offset = k->next[p];
		part->committed_metadata = sl_str_from(text);
		topic.partitions_count++;
	}
	req.transactional_id = sl_str_from(k->id);
	req.group_id = sl_str_from(GROUP);
	req.producer_id = k->pid;
	req.producer_epoch = k->epoch;
	if (w->has_members) {
		req.member_id = sl_str_from(k->member.id);
		req.generation_id_or_member_epoch = k->member.epoch;
		if (k->member_instance[0])
			req.group_instance_id = sl_str_from(k->member_instance);
	}
	req.topics = &topic;
	req.topics_count = 1;
	sl_txn_offset_commit_req_encode(&req, &b, version);
	send_request(w, k, SL_API_TXN_OFFSET_COMMIT, version, &b);
}

static void send_end(struct txn_world *w, struct producer *k)
{
	const struct sl_end_txn_req req = {sl_str_from(k->id), k->pid, k->epoch, k->wants_commit};
	int16_t version = k->is_new_flow ? 5 : 3;
	struct sl_buf b;

	k->txn->has_sent_commit |= k->wants_commit;
	sl_buf_init_grow(&b, 4096);
	sl_end_txn_req_encode(&req, &b, version);
	send_request(w, k, SL_API_END_TXN, version, &b);
}

static void send_record(struct txn_world *w, struct producer *k)
{
	bool is_late = k->is_new_flow && !w->is_healed && pick(w, 12) == 0;
	struct msg m = {.kind = MSG_PRODUCE,
	                .client = k->index,
	                .number = k->number,
	                .partition = k->op_partition,
	                .pid = k->pid,
	                .epoch = k->epoch,
	                .is_add = k->is_new_flow,
	                .record = k->txn->record[k->op_partition]};

	if (w->is_healed || pick(w, 25) != 0)
		push(w, &m, w->now_ms + 1 + pick(w, is_late ? 3 * PATIENCE_MS : 10));
}

void send_op(struct txn_world *w, struct producer *k)
{
	struct msg wake = {.kind = MSG_WAKE, .client = k->index};

	k->number++;
	k->is_waiting = true;
	wake.number = k->number;
	switch (k->op) {
	case OP_INIT:
		send_init(w, k);
		break;
	case OP_FETCH_OFFSETS:
		send_fetch_offsets(w, k);
		break;
	case OP_ADD:
		send_add(w, k);
		break;
	case OP_PRODUCE:
		send_record(w, k);
		break;
	case OP_ADD_OFFSETS:
		send_add_offsets(w, k);
		break;
	case OP_COMMIT_OFFSETS:
		send_offsets(w, k);
		break;
	case OP_END:
		send_end(w, k);
		break;
	}
	push(w, &wake, w->now_ms + PATIENCE_MS);
}
