/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proof that nothing is lost, twice, out of order or damaged.  Each stream remembers the next
 * number that it expects and the gaps behind it; a number inside a gap is late, any other one
 * behind is a duplicate.  Memory is bounded: gaps and streams beyond the limit are forgotten,
 * oldest first, and what was missing then stays lost.  One reader's data, touched by its thread
 * only.
 */
#include "verify.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/base/crc32c.h"

#define POS_CRC       4
#define POS_STREAM    8
#define POS_SEQUENCE  16
#define POS_DUE       24
#define POS_PARTITION 32

void verify_seal(uint8_t *value, size_t bytes, const struct verify_mark *mark)
{
	SL_ASSERT(bytes >= VERIFY_HEAD_BYTES);
	sl_store_be32(value, VERIFY_MAGIC);
	sl_store_be64(value + POS_STREAM, mark->stream);
	sl_store_be64(value + POS_SEQUENCE, mark->sequence);
	sl_store_be64(value + POS_DUE, mark->due_ns);
	sl_store_be64(value + POS_PARTITION, (uint64_t)(uint32_t)mark->partition);
	sl_store_be32(value + POS_CRC, sl_crc32c(0, value + POS_STREAM, bytes - POS_STREAM));
}

int verify_open(const void *value, size_t bytes, struct verify_mark *mark)
{
	const uint8_t *v = value;

	if (bytes < VERIFY_HEAD_BYTES || sl_load_be32(v) != VERIFY_MAGIC ||
	    sl_load_be32(v + POS_CRC) != sl_crc32c(0, v + POS_STREAM, bytes - POS_STREAM))
		return -EBADMSG;
	mark->stream = sl_load_be64(v + POS_STREAM);
	mark->sequence = sl_load_be64(v + POS_SEQUENCE);
	mark->due_ns = sl_load_be64(v + POS_DUE);
	mark->partition = (int32_t)sl_load_be64(v + POS_PARTITION);
	return 0;
}

void verify_partition_fini(struct verify_partition *p)
{
	for (uint32_t i = 0; i < p->count; i++)
		free(p->streams[i].gaps);
	free(p->streams);
	*p = (struct verify_partition){0};
}

/* Room for one more element; NULL without memory.  *cap grows by doubling, up to @max. */
static void *grow(void *array, uint32_t count, uint32_t *cap, uint32_t max, size_t elem_bytes)
{
	uint32_t wanted = SL_MIN(SL_MAX(*cap * 2, 4u), max);

	if (count < *cap)
		return array;
	array = realloc(array, wanted * elem_bytes);
	if (array)
		*cap = wanted;
	return array;
}

static struct verify_stream *find_stream(struct verify_partition *p, uint64_t id, bool *is_new)
{
	struct verify_stream *s;

	*is_new = false;
	/* The newest are the ones that are being written. */
	for (uint32_t i = p->count; i > 0; i--)
		if (p->streams[i - 1].id == id)
			return &p->streams[i - 1];
	*is_new = true;
	if (p->count < VERIFY_STREAMS_MAX) {
		void *grown = grow(p->streams, p->count, &p->cap, VERIFY_STREAMS_MAX, sizeof(*s));

		if (!grown)
			return NULL;
		p->streams = grown;
		s = &p->streams[p->count++];
	} else {
		s = &p->streams[p->oldest];
		p->oldest = (p->oldest + 1) % VERIFY_STREAMS_MAX;
		free(s->gaps);
	}
	*s = (struct verify_stream){.id = id};
	return s;
}

static void add_gap(struct verify_stream *s, uint64_t from, uint64_t to)
{
	if (s->gaps_count == VERIFY_GAPS_MAX) {
		memmove(s->gaps, s->gaps + 1, (VERIFY_GAPS_MAX - 1) * sizeof(*s->gaps));
		s->gaps_count--;
	}

	void *grown = grow(s->gaps, s->gaps_count, &s->gaps_cap, VERIFY_GAPS_MAX, sizeof(*s->gaps));

	if (!grown)
		return;
	s->gaps = grown;
	s->gaps[s->gaps_count++] = (struct verify_gap){from, to};
}

/* Takes @sequence out of the gap that holds it.  Return: false when none does. */
static bool fill_gap(struct verify_stream *s, uint64_t sequence)
{
	for (uint32_t i = s->gaps_count; i > 0; i--) {
		struct verify_gap *g = &s->gaps[i - 1];
		struct verify_gap rest = {sequence + 1, g->to};

		if (sequence < g->from || sequence >= g->to)
			continue;
		g->to = sequence;
		if (g->from == g->to) {
			*g = rest;
			rest.from = rest.to;
		}
		if (g->from == g->to) {
			memmove(g, g + 1, (s->gaps_count - i) * sizeof(*g));
			s->gaps_count--;
		}
		if (rest.from < rest.to)
			add_gap(s, rest.from, rest.to);
		return true;
	}
	return false;
}

bool verify_see(struct verify_partition *p, struct verify_counts *c, const struct verify_mark *mark,
                bool is_whole)
{
	bool is_new;
	struct verify_stream *s = find_stream(p, mark->stream, &is_new);

	if (!s)
		return true;
	if (is_new && !is_whole)
		s->next = mark->sequence;
	if (mark->sequence == s->next) {
		s->next++;
		return true;
	}
	if (mark->sequence > s->next) {
		c->lost += mark->sequence - s->next;
		add_gap(s, s->next, mark->sequence);
		s->next = mark->sequence + 1;
		return true;
	}
	if (!fill_gap(s, mark->sequence)) {
		c->duplicated++;
		return false;
	}
	c->reordered++;
	c->lost--;
	return true;
}
