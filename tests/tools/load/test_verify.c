/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>

#include "verify.h"

static struct verify_partition part;
static struct verify_counts counts;

static bool see_of(uint64_t stream, uint64_t sequence)
{
	struct verify_mark mark = {.stream = stream, .sequence = sequence};

	return verify_see(&part, &counts, &mark, true);
}

static void see(uint64_t sequence)
{
	see_of(1, sequence);
}

static void see_range(uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i < to; i++)
		see(i);
}

static void expect(uint64_t lost, uint64_t duplicated, uint64_t reordered)
{
	cr_assert_eq(counts.lost, lost, "lost %d", (int)counts.lost);
	cr_assert_eq(counts.duplicated, duplicated, "duplicated %d", (int)counts.duplicated);
	cr_assert_eq(counts.reordered, reordered, "reordered %d", (int)counts.reordered);
}

static void teardown(void)
{
	verify_partition_fini(&part);
}

TestSuite(verify, .fini = teardown);

Test(verify, accepts_an_unbroken_sequence)
{
	see_range(0, 10000);
	expect(0, 0, 0);
}

Test(verify, counts_every_record_of_a_gap_as_lost)
{
	see_range(0, 10);
	see_range(17, 20);
	expect(7, 0, 0);
}

Test(verify, counts_a_missing_beginning_only_where_the_stream_began)
{
	struct verify_mark mark = {.stream = 2, .sequence = 5};

	see(3);
	expect(3, 0, 0);
	/* A reader that begins in the middle cannot know what was before. */
	verify_see(&part, &counts, &mark, false);
	expect(3, 0, 0);
	mark.sequence = 7;
	verify_see(&part, &counts, &mark, false);
	expect(4, 0, 0);
}

Test(verify, counts_a_repeated_record_as_duplicated)
{
	see_range(0, 10);
	cr_assert_not(see_of(1, 9));
	cr_assert_not(see_of(1, 0));
	expect(0, 2, 0);
	see(10);
	expect(0, 2, 0);
}

Test(verify, counts_a_late_record_as_reordered_and_not_lost)
{
	see_range(0, 5);
	see(7);
	expect(2, 0, 0);
	cr_assert(see_of(1, 5));
	expect(1, 0, 1);
	cr_assert(see_of(1, 6));
	expect(0, 0, 2);
	/* Late a second time is once too often. */
	cr_assert_not(see_of(1, 6));
	expect(0, 1, 2);
}

Test(verify, fills_a_gap_from_the_middle)
{
	see(0);
	see(100);
	see(50);
	see(49);
	see(51);
	see(1);
	see(99);
	expect(94, 0, 5);
	for (uint64_t i = 2; i < 99; i++)
		if (i < 49 || i > 51)
			see(i);
	expect(0, 0, 99);
	see(101);
	expect(0, 0, 99);
}

Test(verify, keeps_streams_apart)
{
	for (uint64_t stream = 10; stream < 20; stream++)
		for (uint64_t i = 0; i < 5; i++)
			see_of(stream, i);
	expect(0, 0, 0);
	see_of(12, 6);
	expect(1, 0, 0);
	see_of(13, 5);
	expect(1, 0, 0);
}

Test(verify, remembers_a_bounded_number_of_gaps_and_streams)
{
	for (uint64_t i = 0; i < 3 * VERIFY_GAPS_MAX; i++)
		see(2 * i + 1);
	expect(3 * VERIFY_GAPS_MAX, 0, 0);
	cr_assert_eq(part.streams[0].gaps_count, VERIFY_GAPS_MAX);
	/* The newest gaps can be filled, the oldest are forgotten. */
	cr_assert(see_of(1, 2 * (3 * VERIFY_GAPS_MAX - 1)));
	cr_assert_not(see_of(1, 0));
	for (uint64_t stream = 0; stream < 3 * VERIFY_STREAMS_MAX; stream++)
		see_of(1000 + stream, 0);
	cr_assert_eq(part.count, VERIFY_STREAMS_MAX);
}

Test(verify, opens_what_it_sealed)
{
	uint8_t value[100] = {1, 2, 3};
	struct verify_mark mark = {
		.stream = 77, .sequence = UINT64_MAX - 1, .due_ns = 123, .partition = 9};
	struct verify_mark got;

	verify_seal(value, sizeof(value), &mark);
	cr_assert_eq(verify_open(value, sizeof(value), &got), 0);
	cr_assert(got.stream == 77 && got.sequence == UINT64_MAX - 1 && got.due_ns == 123 &&
	          got.partition == 9);
}

Test(verify, refuses_a_value_with_any_bit_changed)
{
	uint8_t value[VERIFY_HEAD_BYTES + 3] = {0};
	struct verify_mark mark = {.stream = 1};

	verify_seal(value, sizeof(value), &mark);
	for (size_t i = 0; i < sizeof(value) * 8; i++) {
		value[i / 8] ^= (uint8_t)(1u << i % 8);
		cr_assert_eq(verify_open(value, sizeof(value), &mark), -EBADMSG, "bit %d", (int)i);
		value[i / 8] ^= (uint8_t)(1u << i % 8);
	}
	cr_assert_eq(verify_open(value, sizeof(value), &mark), 0);
	cr_assert_eq(verify_open(value, sizeof(value) - 1, &mark), -EBADMSG);
	cr_assert_eq(verify_open(value, 10, &mark), -EBADMSG);
}
