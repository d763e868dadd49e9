/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Buddy allocator of the hot tier's slices.  A set per order holds the free runs, so that the
 * lowest one is found in a few looks and a buddy is known to be free by one bit.  Owned and used by
 * one lane; no system call after hot_buddy_init().
 */
#include "hot_buddy.h"

#include <errno.h>
#include <sys/mman.h>

#include "sluice/base/assert.h"

static void add_free(struct hot_buddy *buddy, uint32_t unit, uint32_t order)
{
	buddy->runs[unit] = (struct hot_run){.kind = HOT_FREE, .order = (uint8_t)order};
	hot_bits_add(&buddy->free[order], unit >> order);
}

int hot_buddy_init(struct hot_buddy *buddy, uint32_t units, uint32_t order_max)
{
	size_t runs_bytes = SL_ALIGN_UP(units * sizeof(struct hot_run), sizeof(uint64_t));
	size_t words = 0;
	uint64_t *next;
	void *p;

	SL_ASSERT(units > 0 && order_max < HOT_ORDERS_MAX);
	for (uint32_t order = 0; order <= order_max; order++)
		words += hot_bits_words((units >> order) + 1);
	*buddy = (struct hot_buddy){.units = units, .order_max = order_max};
	buddy->map_bytes = runs_bytes + words * sizeof(uint64_t);
	/* Of a big slice whose memory is used in big chunks most pages of this stay untouched. */
	p = mmap(NULL, buddy->map_bytes, PROT_READ | PROT_WRITE,
	         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return -ENOMEM;
	buddy->runs = p;
	next = (uint64_t *)(void *)((uint8_t *)p + runs_bytes);
	for (uint32_t order = 0; order <= order_max; order++) {
		hot_bits_init(&buddy->free[order], next, (units >> order) + 1);
		next += hot_bits_words((units >> order) + 1);
	}
	for (uint32_t unit = 0; unit < units;) {
		uint32_t order = order_max;

		while (unit + (1u << order) > units)
			order--;
		add_free(buddy, unit, order);
		unit += 1u << order;
	}
	return 0;
}

void hot_buddy_fini(struct hot_buddy *buddy)
{
	if (!buddy->runs)
		return;
	munmap(buddy->runs, buddy->map_bytes);
	*buddy = (struct hot_buddy){0};
}

uint32_t hot_buddy_take(struct hot_buddy *buddy, uint32_t order, uint32_t limit)
{
	uint32_t unit = HOT_NO_UNIT;
	uint32_t found;

	for (found = order; found <= buddy->order_max; found++) {
		uint32_t index = hot_bits_first(&buddy->free[found]);

		/* The lowest one of an order is the only one worth a look: the others end behind
		 * it.  Of a larger one the lower end is taken. */
		if (index == UINT32_MAX || (index << found) + (1u << order) > limit)
			continue;
		unit = index << found;
		hot_bits_remove(&buddy->free[found], index);
		break;
	}
	if (unit == HOT_NO_UNIT)
		return unit;
	while (found > order) {
		found--;
		add_free(buddy, unit + (1u << found), found);
	}
	buddy->runs[unit] = (struct hot_run){.kind = HOT_DIRTY, .order = (uint8_t)order};
	return unit;
}

void hot_buddy_give(struct hot_buddy *buddy, uint32_t unit)
{
	uint32_t order = buddy->runs[unit].order;

	SL_ASSERT(unit < buddy->units && buddy->runs[unit].kind > HOT_FREE);
	for (; order < buddy->order_max; order++) {
		uint32_t other = unit ^ (1u << order);

		/* A run cut off by the end of the slice is never in the set. */
		if (other >= buddy->units || !hot_bits_has(&buddy->free[order], other >> order))
			break;
		hot_bits_remove(&buddy->free[order], other >> order);
		buddy->runs[other].kind = HOT_INSIDE;
		buddy->runs[unit].kind = HOT_INSIDE;
		unit = SL_MIN(unit, other);
	}
	add_free(buddy, unit, order);
}
