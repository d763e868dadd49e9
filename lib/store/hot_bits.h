/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A set of small numbers that finds its least member in one look per level: a bit per number, above
 * it a bit per word that has one, and so on.  The memory is the caller's and zeroed.
 */
#ifndef STORE_HOT_BITS_H
#define STORE_HOT_BITS_H

#include "sluice/base/base.h"

#define HOT_BITS_LEVELS_MAX 5u /* 64^5: a slice of 32 TiB */

struct hot_bits {
	uint64_t *levels[HOT_BITS_LEVELS_MAX]; /* Borrowed. */
	uint32_t depth;
};

/* Words that a set of numbers below @count takes. */
static inline size_t hot_bits_words(uint32_t count)
{
	size_t words = 0;

	do {
		count = (uint32_t)(((uint64_t)count + 63) / 64);
		words += count;
	} while (count > 1);
	return words;
}

/* Takes hot_bits_words() from @words. */
static inline void hot_bits_init(struct hot_bits *bits, uint64_t *words, uint32_t count)
{
	bits->depth = 0;
	do {
		count = (uint32_t)(((uint64_t)count + 63) / 64);
		bits->levels[bits->depth++] = words;
		words += count;
	} while (count > 1 && bits->depth < HOT_BITS_LEVELS_MAX);
}

static inline bool hot_bits_has(const struct hot_bits *bits, uint32_t number)
{
	return bits->levels[0][number / 64] >> (number % 64) & 1;
}

static inline void hot_bits_add(struct hot_bits *bits, uint32_t number)
{
	for (uint32_t level = 0; level < bits->depth; level++, number /= 64) {
		uint64_t *word = &bits->levels[level][number / 64];
		uint64_t before = *word;

		*word |= UINT64_C(1) << (number % 64);
		if (before)
			return;
	}
}

static inline void hot_bits_remove(struct hot_bits *bits, uint32_t number)
{
	for (uint32_t level = 0; level < bits->depth; level++, number /= 64) {
		uint64_t *word = &bits->levels[level][number / 64];

		*word &= ~(UINT64_C(1) << (number % 64));
		if (*word)
			return;
	}
}

/* The least member; UINT32_MAX: none. */
static inline uint32_t hot_bits_first(const struct hot_bits *bits)
{
	uint32_t number = 0;

	for (uint32_t level = bits->depth; level > 0; level--) {
		uint64_t word = bits->levels[level - 1][number];

		if (!word)
			return UINT32_MAX;
		number = number * 64 + (uint32_t)__builtin_ctzll(word);
	}
	return number;
}

#endif
