/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a cleaning has to know of transactions: which ones were aborted, where none is open, and
 * which batches tell what a producer did last.  The owner's side, while a cleaning begins.
 */
#include <errno.h>
#include <stdlib.h>

#include "clean_impl.h"

int64_t clean_stable(const struct sl_log *log, int64_t stable)
{
	const int64_t open_first = txns_first_open(&log->producers.txns);

	/* Whatever the caller says: an open transaction may yet end either way. */
	if (open_first >= 0)
		stable = SL_MIN(stable, open_first);
	return SL_MIN(stable, log->end);
}

/* ---- Aborted transactions ---- */

static int compare_aborted(const void *a, const void *b)
{
	const struct clean_aborted *x = a, *y = b;

	return (x->first_offset > y->first_offset) - (x->first_offset < y->first_offset);
}

/* Those of one segment that touch what is cleaned. */
static int take(struct sl_clean *c, const struct aborted *list, uint32_t *cap)
{
	for (uint32_t i = 0; i < list->count; i++) {
		const struct sl_txnindex_entry *entry = &list->entries[i];

		if (entry->first_offset >= c->end)
			continue;
		if (c->aborted_count == *cap) {
			uint32_t more = *cap ? *cap * 2 : 16;
			struct clean_aborted *p = reallocarray(c->aborted, more, sizeof(*p));

			if (!p)
				return -ENOMEM;
			c->aborted = p;
			*cap = more;
		}
		c->aborted[c->aborted_count++] = (struct clean_aborted){
			entry->producer_id, entry->first_offset, entry->last_offset};
	}
	return 0;
}

/* Nobody reads the segment any more; replay passes it over, too. */
static bool is_below_start(const struct sl_log *log, uint32_t i)
{
	return i + 1 < log->segments_count && log->segments[i + 1]->base_offset <= log->start;
}

/*
 * A transaction that has begun below the end of what is cleaned is over, but its marker may lie far
 * behind: the search goes on for as long as one that reaches back was open at a segment's end.
 */
int clean_take_aborted(struct sl_log *log, struct sl_clean *c)
{
	uint32_t cap = 0;

	SL_ASSERT(c->sources_count > 0 && c->end <= log->end);
	for (uint32_t i = 0; i < log->segments_count; i++) {
		struct segment *seg = log->segments[i];
		const bool is_below = is_below_start(log, i);
		int err = 0;

		if (!is_below &&
		    (seg == log->active || !seg->is_aborted_known || seg->aborted_first < c->end)) {
			err = txnindex_use(log, seg);
			if (!err)
				err = take(c, &seg->aborted, &cap);
			if (err)
				return err;
		}
		if (i < c->sources_count) {
			SL_ASSERT(is_below || seg->is_aborted_known);
			c->sources[i].aborted_count = seg->aborted.count;
			c->sources[i].open_first = is_below ? ABORTED_NONE : seg->open_first;
		}
		if (i + 1 >= c->sources_count && (seg == log->active || seg->open_first >= c->end))
			break;
	}
	if (c->aborted_count > 0)
		qsort(c->aborted, c->aborted_count, sizeof(*c->aborted), compare_aborted);
	return 0;
}

/* ---- Producers ---- */

static int compare_producer(const void *a, const void *b)
{
	const struct clean_producer *x = a, *y = b;

	return (x->producer_id > y->producer_id) - (x->producer_id < y->producer_id);
}

static void take_producer(struct sl_clean *c, const struct producers_entry *e)
{
	struct clean_producer *p = &c->producers[c->producers_count++];

	*p = (struct clean_producer){e->producer_id, -1, e->marker_offset};
	for (uint32_t i = 0; i < e->count; i++)
		p->data_offset = SL_MAX(p->data_offset, e->batches[i].last_offset);
	/* Its marker was written in an earlier life of the log. */
	if (p->marker_offset < 0 && e->coordinator_epoch >= 0)
		p->marker_offset = !e->txn && e->last_offset > p->data_offset ? e->last_offset
		                                                              : CLEAN_MARKER_ANY;
	/* A coordinator's batches have no sequence and are not remembered one by one. */
	if (p->data_offset < 0)
		p->data_offset = e->last_offset;
}

int clean_take_producers(const struct sl_log *log, struct sl_clean *c)
{
	const struct producers *producers = &log->producers;
	const struct txns *txns = &producers->txns;

	if (producers->count == 0)
		return 0;
	c->producers = calloc(producers->count, sizeof(*c->producers));
	if (!c->producers)
		return -ENOMEM;
	for (uint32_t n = producers->oldest; n; n = producers->entries[n - 1].newer)
		take_producer(c, &producers->entries[n - 1]);
	/* Who has an open one is in no list; its last marker is below that. */
	for (uint32_t n = txns->oldest; n; n = txns_node(txns, n)->newer)
		if (txns_node(txns, n)->last_offset < 0)
			take_producer(c, producers_of_txn(producers, n));
	SL_ASSERT(c->producers_count == producers->count);
	qsort(c->producers, c->producers_count, sizeof(*c->producers), compare_producer);
	return 0;
}
