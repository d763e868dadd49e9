/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log-linear histogram.  Values below 128 have a bucket each; above, every power of two is cut into
 * 128 equal parts.  One writer; readers take a copy.
 */
#include "sluice/base/hist.h"

#include "sluice/base/assert.h"

#define SUB_COUNT (1u << SL_HIST_SUB_BITS)

static unsigned bucket_of(uint64_t value)
{
	unsigned shift;

	if (value < SUB_COUNT)
		return (unsigned)value;
	shift = 63u - (unsigned)__builtin_clzll(value) - SL_HIST_SUB_BITS;
	/* value >> shift lies in [128,256): its low bits are the part, the 128 counts as one
	 * octave.
	 */
	return shift * SUB_COUNT + (unsigned)(value >> shift);
}

/* Largest value that falls into @bucket. */
static uint64_t bucket_max(unsigned bucket)
{
	unsigned shift;

	if (bucket < SUB_COUNT)
		return bucket;
	shift = bucket / SUB_COUNT - 1;
	return ((uint64_t)(bucket - shift * SUB_COUNT) << shift) + ((uint64_t)1 << shift) - 1;
}

void sl_hist_add(struct sl_hist *h, uint64_t value)
{
	h->count++;
	h->sum += value;
	h->max = SL_MAX(h->max, value);
	h->buckets[bucket_of(value)]++;
}

void sl_hist_merge(struct sl_hist *into, const struct sl_hist *from)
{
	into->count += from->count;
	into->sum += from->sum;
	into->max = SL_MAX(into->max, from->max);
	for (unsigned i = 0; i < SL_HIST_BUCKETS; i++)
		into->buckets[i] += from->buckets[i];
}

uint64_t sl_hist_quantile(const struct sl_hist *h, double q)
{
	uint64_t seen = 0;
	uint64_t rank;
	double want;

	SL_ASSERT(q >= 0.0 && q <= 1.0);
	if (h->count == 0)
		return 0;
	/*
	 * Rank of the wanted value, 1..count, rounded up: the median of two values is the lower
	 * one. The factor takes back rounding errors: 0.07 * 100 is a little more than 7.
	 */
	want = q * (double)h->count * (1.0 - 1e-12);
	rank = (uint64_t)want;
	if ((double)rank < want || rank == 0)
		rank++;
	for (unsigned i = 0; i < SL_HIST_BUCKETS; i++) {
		seen += h->buckets[i];
		if (seen >= rank)
			return SL_MIN(bucket_max(i), h->max);
	}
	return h->max;
}
