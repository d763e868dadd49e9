/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <math.h>

#include "keys.h"

enum {
	KEYS = 1000,
	DRAWS = 400000
};

static uint32_t seen[KEYS];

static void draw_all(enum load_keys kind, double skew)
{
	struct keys k;

	memset(seen, 0, sizeof(seen));
	keys_init(&k, kind, KEYS, skew, 7);
	for (int i = 0; i < DRAWS; i++) {
		uint64_t rank = keys_draw(&k);

		cr_assert(rank < KEYS, "rank %llu", (unsigned long long)rank);
		seen[rank]++;
	}
}

/* Six standard deviations: with a fixed seed this does not fail by chance. */
static void expect_share(uint64_t rank, double share)
{
	double expected = share * DRAWS;

	cr_assert(fabs(seen[rank] - expected) < 6 * sqrt(expected) + 1, "rank %d: %u, expected %f",
	          (int)rank, seen[rank], expected);
}

Test(keys, sequential_counts_up)
{
	struct keys k;

	keys_init(&k, LOAD_KEYS_SEQUENTIAL, 0, 0, 1);
	for (uint64_t i = 0; i < 1000; i++)
		cr_assert_eq(keys_draw(&k), i);
}

Test(keys, uniform_gives_every_key_its_share)
{
	draw_all(LOAD_KEYS_UNIFORM, 0);
	for (uint64_t rank = 0; rank < KEYS; rank++)
		expect_share(rank, 1.0 / KEYS);
}

static void expect_zipf(double skew)
{
	double sum = 0;

	for (int i = 1; i <= KEYS; i++)
		sum += pow(i, -skew);
	draw_all(LOAD_KEYS_ZIPF, skew);
	for (uint64_t rank = 0; rank < KEYS; rank++)
		expect_share(rank, pow((double)rank + 1, -skew) / sum);
}

Test(keys, zipf_follows_its_law_at_every_skew)
{
	expect_zipf(0.5);
	expect_zipf(0.99);
	expect_zipf(1.0);
	expect_zipf(1.5);
	expect_zipf(3.0);
}

Test(keys, zipf_of_one_key_always_draws_it)
{
	struct keys k;

	keys_init(&k, LOAD_KEYS_ZIPF, 1, 1.1, 3);
	for (int i = 0; i < 1000; i++)
		cr_assert_eq(keys_draw(&k), 0);
}

Test(keys, same_seed_draws_the_same_keys)
{
	struct keys a, b, c;
	int equal = 0;

	keys_init(&a, LOAD_KEYS_UNIFORM, UINT64_C(1) << 40, 0, 5);
	keys_init(&b, LOAD_KEYS_UNIFORM, UINT64_C(1) << 40, 0, 5);
	keys_init(&c, LOAD_KEYS_UNIFORM, UINT64_C(1) << 40, 0, 6);
	for (int i = 0; i < 100; i++) {
		uint64_t rank = keys_draw(&a);

		cr_assert_eq(rank, keys_draw(&b));
		equal += rank == keys_draw(&c);
	}
	cr_assert(equal < 5);
}

Test(keys, text_differs_between_ranks_and_between_partitions)
{
	char a[16], b[16];

	for (uint64_t rank = 0; rank < 2000; rank++) {
		keys_text(a, sizeof(a), rank, 3);
		keys_text(b, sizeof(b), rank + 1, 3);
		cr_assert(memcmp(a, b, sizeof(a)) != 0);
		keys_text(b, sizeof(b), rank, 4);
		cr_assert(memcmp(a, b, sizeof(a)) != 0);
		keys_text(b, sizeof(b), rank, 3);
		cr_assert(memcmp(a, b, sizeof(a)) == 0);
	}
}
