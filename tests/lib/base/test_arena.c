/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sluice/base/arena.h"

Test(arena, zeroed_arena_fails_every_allocation)
{
	struct sl_arena a = {0};

	cr_assert(sl_arena_alloc(&a, 1) == NULL && a.failed);
	sl_arena_reset(&a);
	cr_assert(sl_arena_alloc(&a, 0) == NULL && a.failed);
	sl_arena_reset(&a);
	cr_assert(sl_arena_printf(&a, "x") == NULL && a.failed);
	sl_arena_reset(&a);
	cr_assert(sl_arena_strndup(&a, "", 0) == NULL && a.failed);
}

Test(arena, memory_is_aligned_zeroed_and_inside_at_any_base)
{
	static uint8_t block[512];

	for (size_t shift = 0; shift < 16; shift++) {
		struct sl_arena a;
		uint8_t *last = block + shift;

		memset(block, 0xee, sizeof(block));
		sl_arena_init(&a, block + shift, 256);
		for (size_t size = 1; size <= 33; size += 8) {
			uint8_t *p = sl_arena_alloc(&a, size);

			cr_assert(p != NULL);
			cr_assert(((uintptr_t)p & 15) == 0);
			cr_assert(p >= last && p + size <= block + shift + 256);
			for (size_t i = 0; i < size; i++)
				cr_assert(p[i] == 0);
			memset(p, 0x55, size);
			last = p + size;
		}
		cr_assert(a.used <= a.size && !a.failed);
		/* The arena wrote nothing outside. */
		for (size_t i = shift + 256; i < sizeof(block); i++)
			cr_assert(block[i] == 0xee);
	}
}

Test(arena, exact_fit_succeeds_and_one_more_byte_fails_until_reset)
{
	static _Alignas(16) uint8_t block[64];
	struct sl_arena a;

	sl_arena_init(&a, block, sizeof(block));
	cr_assert(sl_arena_alloc(&a, 64) == block);
	cr_assert(sl_arena_alloc(&a, 0) != NULL);
	cr_assert(!a.failed);
	cr_assert(sl_arena_alloc(&a, 1) == NULL);
	cr_assert(a.failed);
	sl_arena_reset(&a);
	cr_assert(!a.failed && a.used == 0);
	block[3] = 9;
	cr_assert(sl_arena_alloc(&a, 64) == block);
	cr_assert(block[3] == 0);
}

Test(arena, refuses_sizes_that_overflow)
{
	static uint8_t block[64];
	struct sl_arena a;

	sl_arena_init(&a, block, sizeof(block));
	cr_assert(sl_arena_alloc(&a, SIZE_MAX) == NULL && a.failed);
	sl_arena_reset(&a);
	cr_assert(sl_arena_alloc_array(&a, SIZE_MAX / 4, 8) == NULL && a.failed);
	sl_arena_reset(&a);
	cr_assert(sl_arena_alloc_array(&a, 3, 8) != NULL && !a.failed);
	cr_assert(sl_arena_strndup(&a, "x", SIZE_MAX) == NULL && a.failed);
}

Test(arena, strings_are_copied_and_terminated)
{
	static uint8_t block[64];
	struct sl_arena a;

	sl_arena_init(&a, block, sizeof(block));
	cr_assert(strcmp(sl_arena_strndup(&a, "abcdef", 3), "abc") == 0);
	cr_assert(strcmp(sl_arena_strndup(&a, NULL, 0), "") == 0);
	cr_assert(strcmp(sl_arena_printf(&a, "%s-%d", "part", 7), "part-7") == 0);
	cr_assert(!a.failed);
	cr_assert(sl_arena_printf(&a, "%0100d", 1) == NULL);
	cr_assert(a.failed);
}

Test(arena, created_arena_is_usable_to_its_end)
{
	struct sl_arena a;
	uint8_t *p;

	cr_assert(sl_arena_create(&a, 1 << 20) == 0);
	p = sl_arena_alloc(&a, 1 << 20);
	cr_assert(p != NULL);
	p[(1 << 20) - 1] = 1;
	sl_arena_destroy(&a);
	cr_assert(a.base == NULL && a.size == 0);
	sl_arena_destroy(&a);
	cr_assert(sl_arena_create(&a, (size_t)1 << 62) != 0);
}

Test(arena, trim_gives_back_what_is_beyond)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct sl_arena a;
	unsigned char in[8];
	uint8_t *p;

	cr_assert_eq(sl_arena_create(&a, 8 * page), 0);
	p = sl_arena_alloc(&a, 8 * page);
	cr_assert_not_null(p);
	memset(p, 0x55, 8 * page);
	cr_assert(sl_arena_alloc(&a, 1) == NULL);
	/* Not only what was used last counts. */
	sl_arena_reset(&a);
	cr_assert_not_null(sl_arena_alloc(&a, 1));
	sl_arena_trim(&a, page + 1);
	cr_assert(a.used == 0 && !a.failed);
	cr_assert_eq(mincore(a.base, 8 * page, in), 0);
	for (size_t i = 0; i < 8; i++)
		cr_assert_eq(in[i] & 1, i < 2, "page %zu", i);
	cr_assert_eq(a.base[2 * page - 1], 0x55);
	sl_arena_destroy(&a);
}
