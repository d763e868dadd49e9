/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold once everything has come to rest: the logs against what clients were told. */
#include "txn_world.h"

#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/wire/offset_commit_key_gen.h"
#include "sluice/wire/offset_commit_value_gen.h"

#define PENDING_MAX 1024

/* ---- What must hold ---- */

static void check_outcome(struct txn_world *w, struct ctxn *t, bool is_commit, const char *where,
                          int32_t number)
{
	int outcome = is_commit ? 1 : 2;
	int index = (int)(t - w->txns);

	if (t->outcome != 0 && t->outcome != outcome)
		fail(w, "transaction %d: committed in one place, aborted in another (%s-%d)", index,
		     where, number);
	t->outcome = outcome;
	if (is_commit && !t->has_sent_commit)
		fail(w, "transaction %d: committed although nobody asked for it", index);
	if (is_commit && t->told == TOLD_ABORT)
		fail(w, "transaction %d: visible although its client was told it aborted", index);
	if (!is_commit && t->told == TOLD_COMMIT)
		fail(w, "transaction %d: lost although its client was told it committed (%s-%d)",
		     index, where, number);
}

static void check_partition(struct txn_world *w, int32_t number)
{
	struct data_part *part = &w->data[number];

	for (uint32_t i = 0; i < part->count; i++) {
		const struct entry *e = &part->log[i];
		uint32_t k = i + 1;

		while (k < part->count && part->log[k].pid != e->pid)
			k++;
		if (k < part->count && part->log[k].epoch < e->epoch)
			fail(w, "t-%d: the epoch of producer %lld goes back", number,
			     (long long)e->pid);
		if (e->is_marker)
			continue;
		while (k < part->count && (part->log[k].pid != e->pid || !part->log[k].is_marker))
			k++;
		if (k == part->count)
			fail(w, "t-%d: the transaction of producer %lld hangs", number,
			     (long long)e->pid);
		else
			check_outcome(w, &w->txns[w->record_txn[e->record]], part->log[k].is_commit,
			              TOPIC, number);
	}
}

static void check_acknowledged(struct txn_world *w)
{
	for (uint32_t i = 0; i < w->txns_count; i++) {
		const struct ctxn *t = &w->txns[i];

		for (int32_t p = 0; p < DATA_PARTS; p++) {
			if (t->is_in[p] && !has_record(&w->data[p], t->record[p]))
				fail(w, "transaction %u: an acknowledged record is not in t-%d", i,
				     p);
		}
	}
}

/* The offsets of open transactions, as the log's reader finds them. */
struct reader {
	struct waiting {
		int64_t pid;
		int32_t partition;
		int64_t offset;
		int32_t txn;
		int64_t place; /* on the log */
	} pending[PENDING_MAX];
	uint32_t count;
	int64_t committed[INPUTS];
	int64_t place[INPUTS];
};

static void read_marker(struct txn_world *w, struct reader *r, const struct sl_txn_marker *m)
{
	for (uint32_t i = 0; i < r->count;) {
		const struct waiting *p = &r->pending[i];

		if (p->pid != m->producer_id) {
			i++;
			continue;
		}
		check_outcome(w, &w->txns[p->txn], m->is_commit, OFFSETS, p->partition);
		if (m->is_commit && p->place > r->place[p->partition]) {
			r->place[p->partition] = p->place;
			r->committed[p->partition] = p->offset;
		}
		r->pending[i] = r->pending[--r->count];
	}
}

static void read_offset(struct txn_world *w, struct reader *r, const struct sl_batch_head *h,
                        const struct sl_record *rec)
{
	struct sl_cursor key = sl_cursor_from(rec->key.p, (size_t)rec->key.len);
	struct sl_cursor value = sl_cursor_from(rec->value.p, (size_t)SL_MAX(rec->value.len, 0));
	struct sl_offset_commit_value v;
	struct sl_offset_commit_key k;
	int16_t version;

	/* All offsets are of transactions; what else is there is of the group. */
	if (!sl_batch_is_transactional(h))
		return;
	SL_ASSERT(sl_cursor_i16(&key) <= SL_OFFSET_COMMIT_KEY_TYPE && rec->value.len > 0);
	version = sl_cursor_i16(&value);
	SL_ASSERT(sl_offset_commit_key_decode(&k, &key, &w->arena, 0) == 0);
	SL_ASSERT(sl_offset_commit_value_decode(&v, &value, &w->arena, version) == 0);
	SL_ASSERT(r->count < PENDING_MAX);
	r->pending[r->count++] = (struct waiting){
		.pid = h->producer_id,
		.partition = k.partition,
		.offset = v.offset,
		.txn = (int32_t)strtol(v.metadata.p, NULL, 10),
		.place = rec->offset,
	};
}

static void read_log(struct txn_world *w, struct reader *r, const struct blob *b)
{
	size_t pos = 0;

	while (pos < b->len) {
		struct sl_txn_marker marker;
		struct sl_record_iter it;
		struct sl_batch_head h;
		struct sl_record rec;

		SL_ASSERT(sl_batch_peek(b->bytes + pos, b->len - pos, &h) == 0);
		sl_arena_reset(&w->arena);
		if (sl_batch_is_control(&h)) {
			SL_ASSERT(sl_txn_marker_decode(&marker, b->bytes + pos, &h) == 1);
			read_marker(w, r, &marker);
		} else {
			SL_ASSERT(sl_record_iter_init(&it, b->bytes + pos, &h, NULL, NULL) == 0);
			while (sl_record_iter_next(&it, &rec) == 1)
				read_offset(w, r, &h, &rec);
		}
		pos += sl_batch_bytes(&h);
	}
}

static void known_offsets(const struct txn_world *w, int64_t offsets[INPUTS])
{
	struct group_offset_view v;
	uint32_t pos = 0;

	memset(offsets, 0xff, INPUTS * sizeof(offsets[0]));
	while (group_next_offset(w->members.coord, sl_str_from(GROUP), &pos, &v))
		offsets[v.partition] = v.offset;
}

/* Who reads a partition begins where the one before ended: nothing ever goes back. */
void check_committed(struct txn_world *w)
{
	int64_t offsets[INPUTS];

	known_offsets(w, offsets);
	for (int32_t p = 0; p < INPUTS; p++) {
		if (offsets[p] < w->committed[p])
			fail(w, "the offset of input %d goes back from %lld to %lld", p,
			     (long long)w->committed[p], (long long)offsets[p]);
		w->committed[p] = offsets[p];
	}
}

static void check_offsets(struct txn_world *w, const char *when)
{
	struct reader *r = calloc(1, sizeof(*r));
	int64_t offsets[INPUTS];

	SL_ASSERT(r);
	memset(r->committed, 0xff, sizeof(r->committed));
	memset(r->place, 0xff, sizeof(r->place));
	for (int32_t i = 0; i < GROUP_PARTS; i++)
		read_log(w, r, &w->group_log[i]);
	if (r->count > 0)
		fail(w, "offsets of producer %lld are pending for ever",
		     (long long)r->pending[0].pid);
	known_offsets(w, offsets);
	for (int32_t p = 0; p < INPUTS; p++) {
		if (offsets[p] != r->committed[p])
			fail(w, "%s: offset %lld of input %d, the log says %lld", when,
			     (long long)offsets[p], p, (long long)r->committed[p]);
	}
	free(r);
}

/* What is read and counts is, of each input, all up to the committed offset, and each once. */
static void check_inputs(struct txn_world *w)
{
	static const char *const faults[] = {"lost", NULL, "there twice"};
	uint8_t seen[INPUTS][RECORDS_MAX] = {0};

	for (int32_t i = 0; i < DATA_PARTS; i++) {
		for (uint32_t k = 0; k < w->data[i].count; k++) {
			const struct entry *e = &w->data[i].log[k];
			const struct input *input = &w->record_input[e->record];

			if (e->is_marker || input->partition < 0 ||
			    w->txns[w->record_txn[e->record]].outcome != 1)
				continue;
			seen[input->partition][input->offset] += 1;
			w->stats->inputs++;
			if (input->offset >= w->committed[input->partition])
				fail(w, "input %d, offset %lld is there without its commit",
				     input->partition, (long long)input->offset);
		}
	}
	for (int32_t p = 0; p < INPUTS; p++) {
		for (int64_t o = 0; o < w->committed[p]; o++) {
			if (seen[p][o] != 1)
				fail(w, "input %d, offset %lld is %s", p, (long long)o,
				     faults[SL_MIN(seen[p][o], 2)]);
		}
	}
}

static void check_finished(struct txn_world *w)
{
	struct txn_gauges g;

	txn_gauges(w->txn, &g);
	if (g.ongoing || g.preparing || g.markers_queued || g.markers_in_flight || g.held)
		fail(w, "not finished: %u ongoing, %u prepared, %u + %u markers, %u held",
		     g.ongoing, g.preparing, g.markers_queued, g.markers_in_flight, g.held);
}

void check_all(struct txn_world *w)
{
	check_finished(w);
	for (int32_t i = 0; i < DATA_PARTS; i++)
		check_partition(w, i);
	check_acknowledged(w);
	check_inputs(w);
	if (w->has_members) {
		check_end(&w->members);
		if (w->members.failure)
			fail(w, "%s", w->members.failure);
	}
	check_offsets(w, "in memory");
	/* A coordinator made of the log knows the same. */
	lose(w, true);
	begin_loading(w);
	run_until(w, w->now_ms + 1000);
	check_offsets(w, "after a restart");
	check_finished(w);
}
