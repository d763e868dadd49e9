/* SPDX-License-Identifier: Apache-2.0 */
/* Which key a record gets: numbers drawn from a distribution, and their text. */
#ifndef LOAD_KEYS_H
#define LOAD_KEYS_H

#include "options.h"

/* splitmix64: one 64-bit state, any seed will do. */
static inline uint64_t keys_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* Draws ranks 0 .. count - 1; of a Zipf distribution 0 is the most frequent. */
struct keys {
	enum load_keys kind;
	uint64_t count;
	double skew;
	uint64_t state;               /* of the generator */
	uint64_t next;                /* sequential */
	double h_low, h_high, accept; /* Zipf */
};

/* @skew: of a Zipf distribution, above 0; ranks are as frequent as 1 / (rank + 1)^skew. */
void keys_init(struct keys *k, enum load_keys kind, uint64_t count, double skew, uint64_t seed);
uint64_t keys_draw(struct keys *k);
/* Fills @out with @bytes of text that tells @rank and @partition, so that a key lives in one
 * partition only.  Below 16 bytes ranks may collide. */
void keys_text(char *out, size_t bytes, uint64_t rank, int32_t partition);

#endif
