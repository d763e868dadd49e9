/* SPDX-License-Identifier: Apache-2.0 */
/* Two histograms that take turns.  Runs on the loop's thread. */
#include "recent.h"

void recent_add(struct recent *r, int64_t now_ms, uint64_t value)
{
	if (r->count == 0 || now_ms - r->begun_ms >= 2 * RECENT_SPAN_MS)
		r->spans[r->current] = (struct sl_hist){0};
	if (r->count == 0 || now_ms - r->begun_ms >= RECENT_SPAN_MS) {
		r->current ^= 1;
		r->spans[r->current] = (struct sl_hist){0};
		r->begun_ms = now_ms;
	}
	sl_hist_add(&r->spans[r->current], value);
	r->count++;
}

bool recent_quantile(const struct recent *r, int64_t now_ms, double q, uint64_t *out)
{
	struct sl_hist both;

	if (r->count == 0 || now_ms - r->begun_ms >= 2 * RECENT_SPAN_MS)
		return false;
	both = r->spans[r->current];
	if (now_ms - r->begun_ms < RECENT_SPAN_MS)
		sl_hist_merge(&both, &r->spans[r->current ^ 1]);
	*out = sl_hist_quantile(&both, q);
	return true;
}
