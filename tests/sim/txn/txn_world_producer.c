/* SPDX-License-Identifier: Apache-2.0 */
/* Producers of both flows: what they do next, when they give up, what they were told. */
#include "txn_world.h"

#include "sluice/base/assert.h"
#include "sluice/wire/add_offsets_to_txn_gen.h"
#include "sluice/wire/add_partitions_to_txn_gen.h"
#include "sluice/wire/apis.h"
#include "sluice/wire/end_txn_gen.h"
#include "sluice/wire/init_producer_id_gen.h"
#include "sluice/wire/offset_fetch_gen.h"
#include "sluice/wire/txn_offset_commit_gen.h"

static void forget_txn(struct txn_world *w, struct producer *k)
{
	if (k->txn && k->txn->told == TOLD_NOTHING)
		w->stats->unknown++;
	k->txn = NULL;
	k->is_ending = false;
	/* Whether its offsets count, the coordinator knows. */
	memset(k->position, 0xff, sizeof(k->position));
}

/* One of those that it reads, and knows from where on. */
static struct input take_input(struct txn_world *w, struct producer *k)
{
	int32_t p = (int32_t)pick(w, INPUTS);

	while (!((k->reads >> p) & 1))
		p = (p + 1) % INPUTS;
	if (!((k->txn_reads >> p) & 1))
		k->next[p] = k->position[p];
	k->txn_reads |= 1u << p;
	return (struct input){p, k->next[p]++};
}

static void begin_txn(struct txn_world *w, struct producer *k)
{
	SL_ASSERT(w->txns_count < TXNS_MAX);
	k->txn = &w->txns[w->txns_count++];
	*k->txn = (struct ctxn){.client = k->index};
	k->wants_commit = pick(w, 3) != 0;
	k->is_offsets_added = false;
	k->is_slow = pick(w, 4) == 0;
	k->txn_reads = 0;
	k->has_lost = false;
	for (int32_t i = 0; i < DATA_PARTS; i++)
		k->is_wanted[i] = pick(w, 2);
	k->is_wanted[pick(w, DATA_PARTS)] = true;
	for (int32_t i = 0; i < DATA_PARTS; i++) {
		struct input *input = &w->record_input[w->records_count];

		k->is_added[i] = false;
		SL_ASSERT(w->records_count < RECORDS_MAX);
		*input = (struct input){-1, 0};
		if (k->is_wanted[i] && k->wants_offsets)
			*input = take_input(w, k);
		k->txn->record[i] = w->records_count;
		w->record_txn[w->records_count++] = (uint32_t)(k->txn - w->txns);
	}
}

/* Some transactions read nothing.  Return: whether it has to ask first where to go on. */
static bool wants_position(struct txn_world *w, struct producer *k)
{
	k->wants_offsets = k->reads != 0 && pick(w, 4) != 0;
	for (int32_t p = 0; p < INPUTS && k->wants_offsets; p++) {
		if (((k->reads >> p) & 1) && k->position[p] < 0)
			return true;
	}
	return false;
}

/* Who it is when it commits what it read, also when it says so again. */
static void take_member(const struct txn_world *w, struct producer *k)
{
	const struct client *member = &w->members.clients[k->index];

	memcpy(k->member.id, member->id, sizeof(k->member.id));
	memcpy(k->member_instance, member->instance, sizeof(k->member_instance));
	k->member.epoch = member->epoch;
}

/* What the client does next. */
void choose(struct txn_world *w, struct producer *k)
{
	k->tries = 0;
	k->op = OP_INIT;
	if (!k->has_producer)
		return;
	if (!k->txn) {
		k->op = OP_FETCH_OFFSETS;
		if (wants_position(w, k))
			return;
		begin_txn(w, k);
	}
	/* What it has read another one reads, too. */
	if (k->has_lost && !k->txn->has_offset && !k->is_ending) {
		k->wants_commit = false;
		k->is_ending = true;
	}
	for (int32_t i = 0; i < DATA_PARTS && !k->is_ending; i++) {
		if (!k->is_wanted[i] || k->txn->is_in[i])
			continue;
		k->op = k->is_new_flow || k->is_added[i] ? OP_PRODUCE : OP_ADD;
		k->op_partition = i;
		return;
	}
	k->op = OP_END;
	if (!k->wants_offsets || k->txn->has_offset || k->is_ending) {
		k->is_ending = true;
		return;
	}
	k->op = k->is_new_flow || k->is_offsets_added ? OP_COMMIT_OFFSETS : OP_ADD_OFFSETS;
	if (k->op == OP_COMMIT_OFFSETS)
		take_member(w, k);
}

void go_on(struct txn_world *w, struct producer *k, int64_t delay_ms)
{
	struct msg wake = {.kind = MSG_WAKE, .client = k->index};

	k->is_waiting = false;
	wake.number = k->number;
	push(w, &wake, w->now_ms + delay_ms);
}

void give_up(struct txn_world *w, struct producer *k)
{
	forget_txn(w, k);
	k->has_producer = false;
	choose(w, k);
	go_on(w, k, 20 + pick(w, 100));
}

void producer_wake(struct txn_world *w, struct producer *k, uint64_t number)
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

/* The transaction, but not its producer, is over.  The latter three: its member is fenced. */
static bool is_abortable(enum sl_kerr kerr)
{
	return kerr == SL_KERR_TRANSACTION_ABORTABLE || kerr == SL_KERR_ILLEGAL_GENERATION ||
	       kerr == SL_KERR_UNKNOWN_MEMBER_ID || kerr == SL_KERR_FENCED_INSTANCE_ID;
}

static void abort_txn(struct txn_world *w, struct producer *k)
{
	k->wants_commit = false;
	k->is_ending = true;
	choose(w, k);
	go_on(w, k, 1);
}

static void see_init(struct txn_world *w, struct producer *k, int64_t pid, int16_t epoch)
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
	memset(k->position, 0xff, sizeof(k->position));
}

static void see_end(struct txn_world *w, struct producer *k, int64_t pid, int16_t epoch)
{
	int64_t position[INPUTS];

	memcpy(position, k->position, sizeof(position));
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
	for (int32_t p = 0; p < INPUTS && k->wants_commit; p++) {
		/* What was lost meanwhile is no more known than before. */
		if (((k->txn_reads >> p) & 1) && position[p] >= 0)
			position[p] = k->next[p];
	}
	if (!k->wants_commit)
		memset(position, 0xff, sizeof(position));
	forget_txn(w, k);
	memcpy(k->position, position, sizeof(position));
}

/* Where it goes on, as far as nothing was lost while it asked. */
static enum sl_kerr see_positions(struct txn_world *w, struct producer *k,
                                  const struct sl_offset_fetch_resp *resp)
{
	const struct sl_offset_fetch_resp_group *group = &resp->groups[0];
	enum sl_kerr kerr = (enum sl_kerr)group->error_code;

	for (int32_t i = 0; kerr == SL_KERR_NONE && i < group->topics[0].partitions_count; i++) {
		const struct sl_offset_fetch_resp_group_topic_partition *p =
			&group->topics[0].partitions[i];

		kerr = (enum sl_kerr)p->error_code;
		if (kerr == SL_KERR_UNSTABLE_OFFSET_COMMIT)
			w->stats->unstable++;
		else if (kerr == SL_KERR_NONE && ((k->asked >> p->partition_index) & 1))
			k->position[p->partition_index] = SL_MAX(p->committed_offset, 0);
	}
	return kerr;
}

/* The error; what is told besides. */
static enum sl_kerr decode(struct txn_world *w, struct producer *k, const struct msg *m,
                           int64_t *pid, int16_t *epoch)
{
	static const int16_t keys[] = {SL_API_INIT_PRODUCER_ID,
	                               SL_API_OFFSET_FETCH,
	                               SL_API_ADD_PARTITIONS_TO_TXN,
	                               0,
	                               SL_API_ADD_OFFSETS_TO_TXN,
	                               SL_API_TXN_OFFSET_COMMIT,
	                               SL_API_END_TXN};
	int16_t version = k->op == OP_INIT            ? 4
	                  : k->op == OP_FETCH_OFFSETS ? 9
	                  : k->is_new_flow            ? 5
	                                              : 3;
	struct sl_cursor c = sl_cursor_from(m->bytes, (size_t)SL_MAX(m->len, 0));
	struct sl_add_partitions_to_txn_resp add;
	struct sl_add_offsets_to_txn_resp add_offsets;
	struct sl_txn_offset_commit_resp offsets;
	struct sl_init_producer_id_resp init;
	struct sl_offset_fetch_resp fetch;
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
	case OP_FETCH_OFFSETS:
		SL_ASSERT(sl_offset_fetch_resp_decode(&fetch, &c, &w->arena, version) == 0);
		return see_positions(w, k, &fetch);
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

static void see_success(struct txn_world *w, struct producer *k, int64_t pid, int16_t epoch)
{
	switch (k->op) {
	case OP_INIT:
		if (world_plant == WORLD_epochs_go_back && epoch > 0 && pick(w, 4) == 0)
			epoch--;
		see_init(w, k, pid, epoch);
		break;
	case OP_FETCH_OFFSETS:
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

/* Who has nothing to read is in no hurry. */
static int64_t pause_ms(const struct txn_world *w, const struct producer *k)
{
	if (w->has_members && !k->wants_offsets)
		return 200;
	/* Offsets that wait long for their marker. */
	if (k->is_slow && k->op == OP_END && k->wants_offsets)
		return TIMEOUT_MS;
	return k->is_slow ? 200 : 30;
}

void producer_response(struct txn_world *w, const struct msg *m)
{
	struct producer *k = &w->producers[m->client];
	int64_t pid = -1;
	int16_t epoch = -1;
	enum sl_kerr kerr;

	if (m->number != k->number || !k->is_waiting)
		return;
	kerr = decode(w, k, m, &pid, &epoch);
	if (k->op == OP_FETCH_OFFSETS && kerr != SL_KERR_NONE) {
		/* A transaction may change them, or the member is not what it was. */
		choose(w, k);
		go_on(w, k, 20 + pick(w, 60));
		return;
	}
	if (is_retriable(kerr)) {
		go_on(w, k, 5 + pick(w, 30));
		return;
	}
	if (kerr == SL_KERR_NONE) {
		see_success(w, k, pid, epoch);
		choose(w, k);
		go_on(w, k, pick(w, pause_ms(w, k)));
		return;
	}
	if (is_abortable(kerr) && k->txn && !k->is_ending) {
		abort_txn(w, k);
		return;
	}
	w->stats->fenced++;
	give_up(w, k);
}
