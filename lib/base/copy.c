/* SPDX-License-Identifier: Apache-2.0 */
/* Non-temporal stores: Intel SDM vol. 1, 10.4.6.2. */
#include "sluice/base/copy.h"

#include <stdint.h>
#include <string.h>

#include "sluice/base/base.h"

#ifdef __SSE2__
#include <emmintrin.h>

/* Whole lines to @to, which is at the begin of one. */
static void copy_lines(uint8_t *to, const uint8_t *from, size_t lines)
{
	for (; lines > 0; lines--, to += SL_CACHE_LINE, from += SL_CACHE_LINE) {
		const __m128i *f = (const void *)from;
		__m128i *t = (void *)to;
		__m128i a = _mm_loadu_si128(f);
		__m128i b = _mm_loadu_si128(f + 1);
		__m128i c = _mm_loadu_si128(f + 2);
		__m128i d = _mm_loadu_si128(f + 3);

		_mm_stream_si128(t, a);
		_mm_stream_si128(t + 1, b);
		_mm_stream_si128(t + 2, c);
		_mm_stream_si128(t + 3, d);
	}
	/* These stores keep no order with others, not even with a release. */
	_mm_sfence();
}

_Static_assert(SL_CACHE_LINE == 4 * sizeof(__m128i), "a line is four stores");

void sl_copy_around(void *to, const void *from, size_t bytes)
{
	const size_t head = -(uintptr_t)to % SL_CACHE_LINE;
	const uint8_t *f = from;
	uint8_t *t = to;
	size_t body;

	/* Overlaps are rare, and memmove(3) knows from which end to begin. */
	if (bytes < SL_COPY_AROUND_MIN || (uintptr_t)t - (uintptr_t)f < bytes ||
	    (uintptr_t)f - (uintptr_t)t < bytes) {
		/* copy: the caller's */
		memmove(to, from, bytes);
		return;
	}
	body = (bytes - head) / SL_CACHE_LINE * SL_CACHE_LINE;
	/* copy: the lines at both ends have other bytes, too */
	memcpy(t, f, head);
	memcpy(t + head + body, f + head + body, bytes - head - body);
	copy_lines(t + head, f + head, body / SL_CACHE_LINE);
}
#else
void sl_copy_around(void *to, const void *from, size_t bytes)
{
	/* copy: the caller's */
	memmove(to, from, bytes);
}
#endif
