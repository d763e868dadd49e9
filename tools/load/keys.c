/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key distributions.  Zipf by rejection-inversion (Hörmann and Derflinger 1996): constant time and
 * memory for any number of keys and any skew.
 */
#include "keys.h"

#include <math.h>

/* (exp(x) - 1) / x and log(1 + x) / x, which have the limit 1 at 0. */
static double expm1_over(double x)
{
	return fabs(x) > 1e-8 ? expm1(x) / x : 1 + x / 2;
}

static double log1p_over(double x)
{
	return fabs(x) > 1e-8 ? log1p(x) / x : 1 - x / 2;
}

/* The integral of x^-skew, in a form that also holds for skew 1, and its inverse. */
static double integral(const struct keys *k, double x)
{
	double log_x = log(x);

	return expm1_over((1 - k->skew) * log_x) * log_x;
}

static double integral_inverse(const struct keys *k, double y)
{
	double t = fmax(y * (1 - k->skew), -1);

	return exp(log1p_over(t) * y);
}

static double density(const struct keys *k, double x)
{
	return exp(-k->skew * log(x));
}

void keys_init(struct keys *k, enum load_keys kind, uint64_t count, double skew, uint64_t seed)
{
	*k = (struct keys){.kind = kind, .count = count, .skew = skew, .state = seed};
	if (kind != LOAD_KEYS_ZIPF)
		return;
	k->h_low = integral(k, 1.5) - 1;
	k->h_high = integral(k, (double)count + 0.5);
	k->accept = 2 - integral_inverse(k, integral(k, 2.5) - density(k, 2));
}

/* 0 <= result < 1. */
static double unit(uint64_t *state)
{
	return (double)(keys_random(state) >> 11) * 0x1p-53;
}

static uint64_t draw_zipf(struct keys *k)
{
	/* Each round is refused with a chance below a half, so the bound is never met. */
	for (int round = 0; round < 1000; round++) {
		double u = k->h_high + unit(&k->state) * (k->h_low - k->h_high);
		double x = integral_inverse(k, u);
		double rank = fmin(fmax(floor(x + 0.5), 1), (double)k->count);

		if (rank - x <= k->accept || u >= integral(k, rank + 0.5) - density(k, rank))
			return (uint64_t)rank - 1;
	}
	return 0;
}

uint64_t keys_draw(struct keys *k)
{
	switch (k->kind) {
	case LOAD_KEYS_UNIFORM:
		return (uint64_t)(unit(&k->state) * (double)k->count);
	case LOAD_KEYS_ZIPF:
		return draw_zipf(k);
	default:
		return k->next++;
	}
}

void keys_text(char *out, size_t bytes, uint64_t rank, int32_t partition)
{
	static const char digits[] = "0123456789abcdef";
	/* Scrambled, so that neighbours in rank are no neighbours in text, without a collision. */
	uint64_t scrambled = (rank << 20 | (uint32_t)partition) * UINT64_C(0x9e3779b97f4a7c15);

	for (size_t i = 0; i < bytes; i++)
		out[i] = i < 16 ? digits[scrambled >> (60 - 4 * i) & 15] : 'k';
}
