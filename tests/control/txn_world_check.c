/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold once everything has come to rest: the logs against what clients were told. */
#include "txn_world_parts.h"

#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/wire/offset_commit_key_gen.h"
#include "sluice/wire/offset_commit_value_gen.h"

/* ---- What must hold ---- */

static void check_outcome(struct world *w, struct ctxn *t, bool is_commit, const char *where,
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

static void check_partition(struct world *w, int32_t number)
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

static void check_acknowledged(struct world *w)
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
	int64_t pending[PIDS_MAX][3]; /* pid, partition, offset */
	uint32_t count;
	int64_t committed[IDS];
	int64_t place[IDS]; /* on the log */
	int64_t pending_place[PIDS_MAX];
};

static void read_marker(struct world *w, struct reader *r, const struct sl_txn_marker *m)
{
	for (uint32_t i = 0; i < r->count;) {
		int64_t partition = r->pending[i][1];
		int64_t offset = r->pending[i][2];

		if (r->pending[i][0] != m->producer_id) {
			i++;
			continue;
		}
		check_outcome(w, &w->txns[offset], m->is_commit, OFFSETS, (int32_t)partition);
		if (m->is_commit && r->pending_place[i] > r->place[partition]) {
			r->place[partition] = r->pending_place[i];
			r->committed[partition] = offset;
		}
		r->count--;
		memcpy(r->pending[i], r->pending[r->count], sizeof(r->pending[i]));
		r->pending_place[i] = r->pending_place[r->count];
	}
}

static void read_offset(struct world *w, struct reader *r, const struct sl_batch_head *h,
                        const struct sl_record *rec)
{
	struct sl_cursor key = sl_cursor_from(rec->key.p, (size_t)rec->key.len);
	struct sl_cursor value = sl_cursor_from(rec->value.p, (size_t)rec->value.len);
	struct sl_offset_commit_value v;
	struct sl_offset_commit_key k;
	int16_t version;

	(void)sl_cursor_i16(&key);
	version = sl_cursor_i16(&value);
	SL_ASSERT(sl_offset_commit_key_decode(&k, &key, &w->arena, 0) == 0);
	SL_ASSERT(sl_offset_commit_value_decode(&v, &value, &w->arena, version) == 0);
	SL_ASSERT(r->count < PIDS_MAX);
	r->pending[r->count][0] = h->producer_id;
	r->pending[r->count][1] = k.partition;
	r->pending[r->count][2] = v.offset;
	r->pending_place[r->count++] = rec->offset;
}

static void read_log(struct world *w, struct reader *r, const struct blob *b)
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

static int64_t offset_of(struct world *w, int32_t partition)
{
	struct group_offset_view v;
	uint32_t pos = 0;

	while (group_next_offset(w->group, sl_str_from(GROUP), &pos, &v)) {
		if (v.partition == partition)
			return v.offset;
	}
	return -1;
}

static void check_offsets(struct world *w, const char *when)
{
	struct reader *r = calloc(1, sizeof(*r));

	SL_ASSERT(r);
	for (int32_t i = 0; i < IDS; i++)
		r->committed[i] = r->place[i] = -1;
	for (int32_t i = 0; i < GROUP_PARTS; i++)
		read_log(w, r, &w->group_log[i]);
	if (r->count > 0)
		fail(w, "offsets of producer %lld are pending for ever",
		     (long long)r->pending[0][0]);
	for (int32_t i = 0; i < IDS; i++) {
		if (offset_of(w, i) != r->committed[i])
			fail(w, "%s: offset %lld of partition %d, the log says %lld", when,
			     (long long)offset_of(w, i), i, (long long)r->committed[i]);
	}
	free(r);
}

static void check_finished(struct world *w)
{
	struct txn_gauges g;

	txn_gauges(w->txn, &g);
	if (g.ongoing || g.preparing || g.markers_queued || g.markers_in_flight || g.held)
		fail(w, "not finished: %u ongoing, %u prepared, %u + %u markers, %u held",
		     g.ongoing, g.preparing, g.markers_queued, g.markers_in_flight, g.held);
}

void check_all(struct world *w)
{
	check_finished(w);
	for (int32_t i = 0; i < DATA_PARTS; i++)
		check_partition(w, i);
	check_acknowledged(w);
	check_offsets(w, "in memory");
	/* A coordinator made of the log knows the same. */
	lose(w, true);
	begin_loading(w);
	run_until(w, w->now_ms + 1000);
	check_offsets(w, "after a restart");
	check_finished(w);
}
