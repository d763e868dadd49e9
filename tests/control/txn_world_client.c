/* SPDX-License-Identifier: Apache-2.0 */
/* Clients of both flows: what they send, when they give up, what they were told. */
#include "txn_world_parts.h"

#include "sluice/base/assert.h"
#include "sluice/wire/add_offsets_to_txn_gen.h"
#include "sluice/wire/add_partitions_to_txn_gen.h"
#include "sluice/wire/apis.h"
#include "sluice/wire/end_txn_gen.h"
#include "sluice/wire/init_producer_id_gen.h"
#include "sluice/wire/txn_offset_commit_gen.h"

/* ---- Clients ---- */

static void send_request(struct world *w, struct client *k, int16_t key, int16_t version,
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

static void send_init(struct world *w, struct client *k)
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

static void send_add(struct world *w, struct client *k)
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

static void send_add_offsets(struct world *w, struct client *k)
{
	const struct sl_add_offsets_to_txn_req req = {sl_str_from(k->id), k->pid, k->epoch,
	                                              sl_str_from(GROUP)};
	struct sl_buf b;

	sl_buf_init_grow(&b, 4096);
	sl_add_offsets_to_txn_req_encode(&req, &b, 3);
	send_request(w, k, SL_API_ADD_OFFSETS_TO_TXN, 3, &b);
}

/* The offset is the number of the transaction; the partition that of the id. */
static void send_offsets(struct world *w, struct client *k)
{
	int16_t version = k->is_new_flow ? 5 : 3;
	struct sl_txn_offset_commit_req_topic_partition part;
	struct sl_txn_offset_commit_req_topic topic;
	struct sl_txn_offset_commit_req req;
	struct sl_buf b;

	sl_buf_init_grow(&b, 4096);
	sl_txn_offset_commit_req_init(&req);
	sl_txn_offset_commit_req_topic_init(&topic);
	sl_txn_offset_commit_req_topic_partition_init(&part);
	part.partition_index = k->index % IDS;
	part.committed_offset = k->txn - w->txns;
	topic.name = sl_str_from(TOPIC);
	topic.partitions = &part;
	topic.partitions_count = 1;
	req.transactional_id = sl_str_from(k->id);
	req.group_id = sl_str_from(GROUP);
	req.producer_id = k->pid;
	req.producer_epoch = k->epoch;
	req.topics = &topic;
	req.topics_count = 1;
	sl_txn_offset_commit_req_encode(&req, &b, version);
	send_request(w, k, SL_API_TXN_OFFSET_COMMIT, version, &b);
}

static void send_end(struct world *w, struct client *k)
{
	const struct sl_end_txn_req req = {sl_str_from(k->id), k->pid, k->epoch, k->wants_commit};
	int16_t version = k->is_new_flow ? 5 : 3;
	struct sl_buf b;

	k->txn->has_sent_commit |= k->wants_commit;
	sl_buf_init_grow(&b, 4096);
	sl_end_txn_req_encode(&req, &b, version);
	send_request(w, k, SL_API_END_TXN, version, &b);
}

static void send_record(struct world *w, struct client *k)
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

static void send_op(struct world *w, struct client *k)
{
	struct msg wake = {.kind = MSG_WAKE, .client = k->index};

	k->number++;
	k->is_waiting = true;
	wake.number = k->number;
	switch (k->op) {
	case OP_INIT:
		send_init(w, k);
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

static void forget_txn(struct world *w, struct client *k)
{
	if (k->txn && k->txn->told == TOLD_NOTHING)
		w->stats->unknown++;
	k->txn = NULL;
	k->is_ending = false;
}

static void begin_txn(struct world *w, struct client *k)
{
	SL_ASSERT(w->txns_count < TXNS_MAX);
	k->txn = &w->txns[w->txns_count++];
	*k->txn = (struct ctxn){.client = k->index};
	k->wants_commit = pick(w, 3) != 0;
	k->wants_offsets = pick(w, 2);
	k->is_offsets_added = false;
	for (int32_t i = 0; i < DATA_PARTS; i++) {
		k->is_wanted[i] = pick(w, 2);
		k->is_added[i] = false;
		SL_ASSERT(w->records_count < RECORDS_MAX);
		k->txn->record[i] = w->records_count;
		w->record_txn[w->records_count++] = (uint32_t)(k->txn - w->txns);
	}
	k->is_wanted[pick(w, DATA_PARTS)] = true;
}

/* What the client does next. */
void choose(struct world *w, struct client *k)
{
	k->tries = 0;
	k->op = OP_INIT;
	if (!k->has_producer)
		return;
	if (!k->txn)
		begin_txn(w, k);
	for (int32_t i = 0; i < DATA_PARTS && !k->is_ending; i++) {
		if (!k->is_wanted[i] || k->txn->is_in[i])
			continue;
		k->op = k->is_new_flow || k->is_added[i] ? OP_PRODUCE : OP_ADD;
		k->op_partition = i;
		return;
	}
	k->op = OP_END;
	if (k->wants_offsets && !k->txn->has_offset && !k->is_ending)
		k->op = k->is_new_flow || k->is_offsets_added ? OP_COMMIT_OFFSETS : OP_ADD_OFFSETS;
	else
		k->is_ending = true;
}

void go_on(struct world *w, struct client *k, int64_t delay_ms)
{
	struct msg wake = {.kind = MSG_WAKE, .client = k->index};

	k->is_waiting = false;
	wake.number = k->number;
	push(w, &wake, w->now_ms + delay_ms);
}

static void give_up(struct world *w, struct client *k)
{
	forget_txn(w, k);
	k->has_producer = false;
	choose(w, k);
	go_on(w, k, 20 + pick(w, 100));
}

void client_wake(struct world *w, struct client *k, uint64_t number)
{
	if (number != k->number || w->is_healed)
		return;
	/* In vain. */
	if (k->is_waiting && (++k->tries > 8 || pick(w, 40) == 0)) {
		give_up(w, k);
		return;
	}
	if (k->is_waiting && !k->is_new_flow) {
		/* The old request is dead before the new one is sent. */
		for (uint32_t i = 0; i < w->heap_count; i++) {
			struct msg *m = w->heap[i];

			if ((m->kind == MSG_REQUEST || m->kind == MSG_PRODUCE) &&
			    m->client == k->index)
				m->client = -1;
		}
	}
	send_op(w, k);
}

static bool is_retriable(enum sl_kerr kerr)
{
	return kerr == SL_KERR_CONCURRENT_TRANSACTIONS || kerr == SL_KERR_NOT_COORDINATOR ||
	       kerr == SL_KERR_COORDINATOR_LOAD_IN_PROGRESS ||
	       kerr == SL_KERR_COORDINATOR_NOT_AVAILABLE || kerr == SL_KERR_NOT_ENOUGH_REPLICAS;
}

static void see_init(struct world *w, struct client *k, int64_t pid, int16_t epoch)
{
	/* Answers may overtake each other, but no two are the same. */
	for (uint32_t i = 0; i < w->told_count; i++) {
		if (w->told[i][0] == pid && w->told[i][1] == epoch)
			fail(w, "id %s: producer %lld epoch %d is given twice", k->id,
			     (long long)pid, epoch);
	}
	SL_ASSERT(w->told_count < TOLD_MAX);
	w->told[w->told_count][0] = pid;
	w->told[w->told_count++][1] = epoch;
	k->pid = pid;
	k->epoch = epoch;
	k->has_producer = true;
}

static void see_end(struct world *w, struct client *k, int64_t pid, int16_t epoch)
{
	k->txn->told = k->wants_commit ? TOLD_COMMIT : TOLD_ABORT;
	if (k->wants_commit)
		w->stats->told_commit++;
	else
		w->stats->told_abort++;
	if (k->is_new_flow) {
		if (pid == k->pid && epoch <= k->epoch)
			fail(w, "id %s: epoch %d after %d", k->id, epoch, k->epoch);
		k->pid = pid;
		k->epoch = epoch;
	}
	forget_txn(w, k);
}

/* The error; what is told besides. */
static enum sl_kerr decode(struct world *w, struct client *k, const struct msg *m, int64_t *pid,
                           int16_t *epoch)
{
	static const int16_t keys[] = {
		SL_API_INIT_PRODUCER_ID,   SL_API_ADD_PARTITIONS_TO_TXN, 0,
		SL_API_ADD_OFFSETS_TO_TXN, SL_API_TXN_OFFSET_COMMIT,     SL_API_END_TXN};
	int16_t version = k->op == OP_INIT ? 4 : k->is_new_flow ? 5 : 3;
	struct sl_cursor c = sl_cursor_from(m->bytes, (size_t)SL_MAX(m->len, 0));
	struct sl_add_partitions_to_txn_resp add;
	struct sl_add_offsets_to_txn_resp add_offsets;
	struct sl_txn_offset_commit_resp offsets;
	struct sl_init_producer_id_resp init;
	struct sl_end_txn_resp end;
	int32_t correlation_id;

	if (m->len <= 0)
		return m->kerr;
	sl_arena_reset(&w->arena);
	SL_ASSERT(sl_response_head_decode(&c, sl_api_find(keys[k->op]), version, &correlation_id) ==
	          0);
	switch (k->op) {
	case OP_INIT:
		SL_ASSERT(sl_init_producer_id_resp_decode(&init, &c, &w->arena, version) == 0);
		*pid = init.producer_id;
		*epoch = init.producer_epoch;
		return (enum sl_kerr)init.error_code;
	case OP_ADD:
		SL_ASSERT(sl_add_partitions_to_txn_resp_decode(&add, &c, &w->arena, version) == 0);
		return (enum sl_kerr)add.results_by_topic_v3_and_below[0]
		        .results_by_partition[0]
		        .partition_error_code;
	case OP_ADD_OFFSETS:
		SL_ASSERT(sl_add_offsets_to_txn_resp_decode(&add_offsets, &c, &w->arena, version) ==
		          0);
		return (enum sl_kerr)add_offsets.error_code;
	case OP_COMMIT_OFFSETS:
		SL_ASSERT(sl_txn_offset_commit_resp_decode(&offsets, &c, &w->arena, version) == 0);
		return (enum sl_kerr)offsets.topics[0].partitions[0].error_code;
	case OP_PRODUCE:
		break;
	case OP_END:
		SL_ASSERT(sl_end_txn_resp_decode(&end, &c, &w->arena, version) == 0);
		*pid = end.producer_id;
		*epoch = end.producer_epoch;
		return (enum sl_kerr)end.error_code;
	}
	return m->kerr;
}

static void see_success(struct world *w, struct client *k, int64_t pid, int16_t epoch)
{
	switch (k->op) {
	case OP_INIT:
		if (w->bug == WORLD_EPOCHS_GO_BACK && epoch > 0 && pick(w, 4) == 0)
			epoch--;
		see_init(w, k, pid, epoch);
		break;
	case OP_ADD:
		k->is_added[k->op_partition] = true;
		break;
	case OP_PRODUCE:
		k->txn->is_in[k->op_partition] = true;
		w->stats->records++;
		break;
	case OP_ADD_OFFSETS:
		k->is_offsets_added = true;
		break;
	case OP_COMMIT_OFFSETS:
		k->txn->has_offset = true;
		w->stats->offsets++;
		break;
	case OP_END:
		see_end(w, k, pid, epoch);
		break;
	}
}

void client_response(struct world *w, const struct msg *m)
{
	struct client *k = &w->clients[m->client];
	int64_t pid = -1;
	int16_t epoch = -1;
	enum sl_kerr kerr;

	if (m->number != k->number || !k->is_waiting)
		return;
	kerr = decode(w, k, m, &pid, &epoch);
	if (is_retriable(kerr)) {
		go_on(w, k, 5 + pick(w, 30));
		return;
	}
	if (kerr == SL_KERR_NONE) {
		see_success(w, k, pid, epoch);
		choose(w, k);
		go_on(w, k, pick(w, 30));
		return;
	}
	if (kerr == SL_KERR_TRANSACTION_ABORTABLE && k->txn && !k->is_ending) {
		k->wants_commit = false;
		k->is_ending = true;
		choose(w, k);
		go_on(w, k, 1);
		return;
	}
	w->stats->fenced++;
	give_up(w, k);
}
