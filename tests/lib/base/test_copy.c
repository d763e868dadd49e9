/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "sluice/base/base.h"
#include "sluice/base/copy.h"

#define AREA ((size_t)3 * SL_COPY_AROUND_MIN)

static void fill(uint8_t *p, size_t bytes, unsigned seed)
{
	for (size_t i = 0; i < bytes; i++)
		p[i] = (uint8_t)(seed + i * 31 + (i >> 8));
}

/* The target's neighbours keep what they have, whatever the lines at its ends. */
Test(copy, is_a_copy_at_every_alignment_and_length)
{
	uint8_t *area = aligned_alloc(SL_CACHE_LINE, AREA);
	uint8_t *model = malloc(AREA);
	uint8_t *from = malloc(AREA);

	fill(from, AREA, 7);
	for (size_t at = 0; at <= SL_CACHE_LINE; at++) {
		for (size_t more = 0; more < 300; more += 1 + more / 7) {
			const size_t bytes = SL_COPY_AROUND_MIN - 130 + more;
			const size_t skew = (at * 7 + more) % 33;

			fill(area, AREA, 1);
			fill(model, AREA, 1);
			memcpy(model + at, from + skew, bytes);
			sl_copy_around(area + at, from + skew, bytes);
			cr_assert(memcmp(area, model, AREA) == 0, "at %zu, %zu bytes", at, bytes);
		}
	}
	sl_copy_around(area, from, 0);
	cr_assert(memcmp(area, model, AREA) == 0);
	free(area);
	free(model);
	free(from);
}

Test(copy, moves_what_overlaps)
{
	uint8_t *area = aligned_alloc(SL_CACHE_LINE, AREA);
	uint8_t *model = malloc(AREA);
	const size_t bytes = AREA / 2;

	for (int by = -300; by <= 300; by += 37) {
		const size_t from = 400;
		const size_t to = (size_t)(400 + by);

		fill(area, AREA, 3);
		fill(model, AREA, 3);
		memmove(model + to, model + from, bytes);
		sl_copy_around(area + to, area + from, bytes);
		cr_assert(memcmp(area, model, AREA) == 0, "by %d", by);
	}
	free(area);
	free(model);
}
