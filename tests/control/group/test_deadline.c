/* SPDX-License-Identifier: Apache-2.0 */
/* The heap of deadlines against a plain list. */
#include <criterion/criterion.h>

#include "deadline.h"

#define DEADLINES 50

static uint64_t next(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return *state >> 33;
}

static const struct deadline *earliest(const struct deadline *list)
{
	const struct deadline *best = NULL;

	for (int i = 0; i < DEADLINES; i++) {
		const struct deadline *d = &list[i];

		if (deadline_is_armed(d) && (!best || d->at_ms < best->at_ms ||
		                             (d->at_ms == best->at_ms && d->order < best->order)))
			best = d;
	}
	return best;
}

Test(group_deadline, first_is_always_the_earliest)
{
	struct deadline list[DEADLINES] = {0};
	struct deadline_heap heap = {0};
	uint64_t state = 1;

	cr_assert_eq(deadline_reserve(&heap, DEADLINES), 0);
	for (int i = 0; i < 20000; i++) {
		struct deadline *d = &list[next(&state) % DEADLINES];

		if (next(&state) % 3 == 0)
			deadline_disarm(&heap, d);
		else
			deadline_arm(&heap, d, (int64_t)(next(&state) % 1000));
		cr_assert_eq(deadline_first(&heap), earliest(list));
		/* Drained, a heap shows what hid deep inside. */
		while (i % 200 == 199 && deadline_first(&heap)) {
			cr_assert_eq(deadline_first(&heap), earliest(list));
			deadline_disarm(&heap, deadline_first(&heap));
		}
	}
	cr_assert_null(deadline_first(&heap));
	deadline_unreserve(&heap, DEADLINES);
	deadline_fini(&heap);
}

Test(group_deadline, equal_times_keep_the_order_of_arming)
{
	struct deadline list[3] = {0};
	struct deadline_heap heap = {0};

	cr_assert_eq(deadline_reserve(&heap, 3), 0);
	for (int i = 0; i < 3; i++)
		deadline_arm(&heap, &list[i], 5);
	deadline_arm(&heap, &list[0], 5);
	cr_assert_eq(deadline_first(&heap), &list[1]);
	deadline_disarm(&heap, &list[1]);
	cr_assert_eq(deadline_first(&heap), &list[2]);
	deadline_disarm(&heap, &list[2]);
	cr_assert_eq(deadline_first(&heap), &list[0]);
	deadline_fini(&heap);
}
