/* SPDX-License-Identifier: Apache-2.0 */
/* Deadlines in a binary heap.  One owner, the coordinator; no clock is read here. */
#include "deadline.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"

#define HEAP_CAP_MIN 64u

void deadline_fini(struct deadline_heap *heap)
{
	free(heap->slots);
	*heap = (struct deadline_heap){0};
}

int deadline_reserve(struct deadline_heap *heap, uint32_t n)
{
	uint32_t need = heap->reserved + n;
	uint32_t cap = SL_MAX(heap->cap, HEAP_CAP_MIN);
	struct deadline **slots;

	SL_ASSERT(need >= n);
	while (cap < need)
		cap *= 2;
	if (cap > heap->cap) {
		slots = realloc(heap->slots, cap * sizeof(*slots));
		if (!slots)
			return -ENOMEM;
		heap->slots = slots;
		heap->cap = cap;
	}
	heap->reserved = need;
	return 0;
}

void deadline_unreserve(struct deadline_heap *heap, uint32_t n)
{
	SL_ASSERT(heap->reserved >= n && heap->reserved - n >= heap->count);
	heap->reserved -= n;
}

static bool is_before(const struct deadline *a, const struct deadline *b)
{
	return a->at_ms < b->at_ms || (a->at_ms == b->at_ms && a->order < b->order);
}

static void put(struct deadline_heap *heap, uint32_t i, struct deadline *d)
{
	heap->slots[i] = d;
	d->slot = i + 1;
}

static uint32_t sift_up(struct deadline_heap *heap, uint32_t i, struct deadline *d)
{
	while (i > 0) {
		uint32_t parent = (i - 1) / 2;

		if (!is_before(d, heap->slots[parent]))
			break;
		put(heap, i, heap->slots[parent]);
		i = parent;
	}
	put(heap, i, d);
	return i;
}

static void sift_down(struct deadline_heap *heap, uint32_t i, struct deadline *d)
{
	for (;;) {
		uint32_t child = 2 * i + 1;

		if (child >= heap->count)
			break;
		if (child + 1 < heap->count &&
		    is_before(heap->slots[child + 1], heap->slots[child]))
			child++;
		if (!is_before(heap->slots[child], d))
			break;
		put(heap, i, heap->slots[child]);
		i = child;
	}
	put(heap, i, d);
}

void deadline_arm(struct deadline_heap *heap, struct deadline *d, int64_t at_ms)
{
	deadline_disarm(heap, d);
	SL_ASSERT(heap->count < heap->reserved);
	d->at_ms = at_ms;
	d->order = heap->order_next++;
	heap->count++;
	sift_up(heap, heap->count - 1, d);
}

void deadline_disarm(struct deadline_heap *heap, struct deadline *d)
{
	uint32_t i = d->slot - 1;
	struct deadline *last;

	if (d->slot == 0)
		return;
	SL_ASSERT(i < heap->count && heap->slots[i] == d);
	d->slot = 0;
	last = heap->slots[--heap->count];
	if (last == d)
		return;
	if (sift_up(heap, i, last) == i)
		sift_down(heap, i, last);
}

struct deadline *deadline_first(const struct deadline_heap *heap)
{
	return heap->count > 0 ? heap->slots[0] : NULL;
}
