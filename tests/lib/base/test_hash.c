/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "rng.h"
#include "sluice/base/hash.h"

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

Test(hash, depends_on_every_byte_the_length_and_the_seed)
{
	uint8_t bytes[70];
	uint64_t rng = 1;

	rng_fill(&rng, bytes, sizeof(bytes));
	for (size_t len = 0; len <= 64; len++) {
		uint64_t h = sl_hash(bytes, len, 0);

		cr_assert(sl_hash(bytes, len, 0) == h);
		cr_assert(sl_hash(bytes, len, 1) != h);
		cr_assert(sl_hash(bytes, len + 1, 0) != h);
		for (size_t bit = 0; bit < len * 8; bit++) {
			bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
			cr_assert(sl_hash(bytes, len, 0) != h, "len=%zu bit=%zu", len, bit);
			bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
	}
}

Test(hash, similar_keys_do_not_collide_and_spread_evenly)
{
	enum {
		COUNT = 1 << 16,
		BUCKETS = 256
	};
	uint64_t *hashes = malloc(COUNT * sizeof(*hashes));
	unsigned buckets[BUCKETS] = {0};

	for (int i = 0; i < COUNT; i++) {
		char key[32];
		int n = snprintf(key, sizeof(key), "orders-%d", i);

		hashes[i] = sl_hash(key, (size_t)n, 0);
		buckets[hashes[i] % BUCKETS]++;
	}
	qsort(hashes, COUNT, sizeof(*hashes), compare);
	for (int i = 1; i < COUNT; i++)
		cr_assert(hashes[i] != hashes[i - 1]);
	/* 256 expected in each; six standard deviations are 96. */
	for (int i = 0; i < BUCKETS; i++)
		cr_assert(buckets[i] > 256 - 96 && buckets[i] < 256 + 96, "bucket %d has %u", i,
		          buckets[i]);
	free(hashes);
}

struct java_case {
	const char *text;
	int32_t hash;
};

Test(hash, java_hash_is_over_utf16_units)
{
	static const struct java_case cases[] = {
		{"", 0},
		{"hello", 99162322},
		{"Aa", 2112},
		{"BB", 2112},
		{"consumer-group", -1738392088},
		{"polygenelubricants", INT32_MIN},
		{"Gr\xc3\xbc\xc3\x9f"
	         "e",
	         69215351},
		{"\xe6\x97\xa5\xe6\x9c\xac", 835047},
		{"a\xf0\x9f\x98\x80"
	         "b",
	         57849694},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(cases); i++)
		cr_assert(sl_java_hash(sl_str_from(cases[i].text)) == cases[i].hash, "%s gives %d",
		          cases[i].text, sl_java_hash(sl_str_from(cases[i].text)));
	cr_assert(sl_java_hash(SL_STR_NULL) == 0);
}

Test(hash, java_hash_takes_each_invalid_byte_for_the_replacement_character)
{
	const int32_t one = 0xfffd;
	const int32_t two = (int32_t)(0xfffdu * 31 + 0xfffdu);
	const int32_t three = (int32_t)((0xfffdu * 31 + 0xfffdu) * 31 + 0xfffdu);

	cr_assert(sl_java_hash(sl_str_from("\x80")) == one);
	cr_assert(sl_java_hash(sl_str_from("\xff")) == one);
	cr_assert(sl_java_hash(sl_str_from("\xef\xbf\xbd")) == one); /* U+FFFD itself */
	cr_assert(sl_java_hash(sl_str_from("\xc3")) == one);         /* cut off */
	cr_assert(sl_java_hash(sl_str_from("\xc0\x80")) == two);     /* longer than needed */
	cr_assert(sl_java_hash(sl_str_from("\xe2\x82")) == two);
	cr_assert(sl_java_hash(sl_str_from("\xed\xa0\x80")) == three); /* a surrogate */
	cr_assert(sl_java_hash(sl_str_from("\xc3"
	                                   "A")) == (int32_t)(0xfffdu * 31 + 'A'));
	/* Above U+10FFFF: four bytes. */
	cr_assert(sl_java_hash(sl_str_from("\xf4\x90\x80\x80")) ==
	          (int32_t)((uint32_t)three * 31 + 0xfffdu));
}

Test(hash, java_partition_uses_kafkas_abs)
{
	cr_assert(sl_java_partition(sl_str_from("hello"), 50) == 22);
	/* A negative hash: masking the sign bit would give 10. */
	cr_assert(sl_java_partition(sl_str_from("consumer-group"), 50) == 38);
	cr_assert(sl_java_partition(sl_str_from("polygenelubricants"), 50) == 0);
	cr_assert(sl_java_partition(sl_str_from("anything"), 1) == 0);
}

Test(map, empty_map_has_nothing)
{
	struct sl_map m = {0};
	uint32_t pos = 0;

	cr_assert(sl_map_get(&m, "a", 1) == NULL);
	cr_assert(sl_map_del(&m, "a", 1) == NULL);
	cr_assert(sl_map_next(&m, &pos) == NULL);
	sl_map_fini(&m);
}

Test(map, keys_are_byte_strings)
{
	struct sl_map m = {0};
	int values[4];

	cr_assert(sl_map_put(&m, "a\0b", 3, &values[0]) == 0);
	cr_assert(sl_map_put(&m, "a\0c", 3, &values[1]) == 0);
	cr_assert(sl_map_put(&m, "a", 1, &values[2]) == 0);
	cr_assert(sl_map_put(&m, NULL, 0, &values[3]) == 0);
	cr_assert(sl_map_put(&m, "a", 1, &values[0]) == -EEXIST);
	cr_assert(sl_map_put(&m, "a", (size_t)UINT32_MAX + 2, &values[0]) == -EINVAL);
	cr_assert(sl_map_get(&m, "a\0b", 3) == &values[0]);
	cr_assert(sl_map_get(&m, "a\0c", 3) == &values[1]);
	cr_assert(sl_map_get(&m, "a", 1) == &values[2]);
	cr_assert(sl_map_get(&m, "", 0) == &values[3]);
	cr_assert(m.count == 4);
	cr_assert(sl_map_del(&m, "a", 1) == &values[2]);
	cr_assert(sl_map_del(&m, "a", 1) == NULL);
	cr_assert(m.count == 3);
	sl_map_fini(&m);
	cr_assert(m.slots == NULL && m.count == 0);
}

#define KEYS_COUNT 3000

struct value {
	uint32_t key;
	bool is_in;
	bool is_seen;
};

static struct value values[KEYS_COUNT];

static void reset_values(void)
{
	for (uint32_t i = 0; i < KEYS_COUNT; i++)
		values[i] = (struct value){.key = i};
}

static void put(struct sl_map *m, uint32_t i)
{
	cr_assert(sl_map_put(m, &values[i].key, sizeof(values[i].key), &values[i]) ==
	          (values[i].is_in ? -EEXIST : 0));
	values[i].is_in = true;
}

static void del(struct sl_map *m, uint32_t i)
{
	cr_assert(sl_map_del(m, &values[i].key, sizeof(values[i].key)) ==
	          (values[i].is_in ? &values[i] : NULL));
	values[i].is_in = false;
}

static void expect_exact(const struct sl_map *m)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < KEYS_COUNT; i++) {
		cr_assert(sl_map_get(m, &i, sizeof(i)) == (values[i].is_in ? &values[i] : NULL));
		count += values[i].is_in;
	}
	cr_assert(m->count == count);
}

Test(map, random_puts_and_deletes_match_a_plain_table)
{
	struct sl_map m = {0};
	uint64_t rng = 11;

	reset_values();
	for (int round = 0; round < 60; round++) {
		/* Rounds lean to one side, so that the map fills and empties. */
		unsigned put_percent = round % 2 ? 75 : 30;

		for (int i = 0; i < 2000; i++) {
			uint32_t key = (uint32_t)(rng_next(&rng) % KEYS_COUNT);

			if (rng_next(&rng) % 100 < put_percent)
				put(&m, key);
			else
				del(&m, key);
		}
		expect_exact(&m);
	}
	sl_map_fini(&m);
}

/* Goes through the map once and deletes each entry with the given chance. */
static void sweep(struct sl_map *m, uint64_t *rng, unsigned del_percent)
{
	uint32_t expected = m->count;
	uint32_t count = 0;
	uint32_t pos = 0;
	struct value *v;

	while ((v = sl_map_next(m, &pos)) != NULL) {
		cr_assert(v->is_in && !v->is_seen, "key %u came twice", v->key);
		v->is_seen = true;
		count++;
		if (rng_next(rng) % 100 < del_percent)
			del(m, v->key);
	}
	cr_assert(count == expected, "%u of %u entries came", count, expected);
	cr_assert(sl_map_next(m, &pos) == NULL);
	for (uint32_t i = 0; i < KEYS_COUNT; i++)
		values[i].is_seen = false;
}

/*
 * Small maps near their fill limit: with many seeds, runs that go on from the last slot to the
 * first one appear in every shape.
 */
Test(map, iteration_may_delete_the_entry_it_returned)
{
	static const unsigned percents[] = {0, 30, 50, 100};
	uint64_t rng = 12;

	for (uint64_t seed = 0; seed < 400; seed++) {
		struct sl_map m = {0};
		uint32_t count = 1 + (uint32_t)(rng_next(&rng) % (seed % 10 ? 12 : 400));

		sl_map_seed(seed);
		reset_values();
		for (uint32_t i = 0; i < count; i++)
			put(&m, (uint32_t)(rng_next(&rng) % KEYS_COUNT));
		for (size_t i = 0; i < SL_ARRAY_SIZE(percents); i++) {
			sweep(&m, &rng, percents[i]);
			expect_exact(&m);
		}
		cr_assert(m.count == 0);
		sl_map_fini(&m);
	}
}

static void list_order(uint64_t seed, uint32_t order[100])
{
	struct sl_map m = {0};
	uint32_t pos = 0;

	sl_map_seed(seed);
	reset_values();
	for (uint32_t i = 0; i < 100; i++)
		put(&m, i);
	for (uint32_t i = 0; i < 100; i++)
		order[i] = ((struct value *)sl_map_next(&m, &pos))->key;
	sl_map_fini(&m);
}

Test(map, order_is_repeatable_for_a_seed_and_changes_with_it)
{
	uint32_t first[100];
	uint32_t again[100];
	uint32_t other[100];

	list_order(5, first);
	list_order(5, again);
	list_order(6, other);
	cr_assert(memcmp(first, again, sizeof(first)) == 0);
	cr_assert(memcmp(first, other, sizeof(first)) != 0);
}
