/* SPDX-License-Identifier: Apache-2.0 */
/* Repeatable pseudo-random numbers for tests (a Weyl sequence, finalised). */
#ifndef TESTS_LIB_BASE_RNG_H
#define TESTS_LIB_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t rng_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static inline void rng_fill(uint64_t *state, void *p, size_t len)
{
	uint8_t *at = p;

	for (size_t i = 0; i < len; i++)
		at[i] = (uint8_t)rng_next(state);
}

#endif
