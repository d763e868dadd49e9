/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Quantiles of what was measured in the last half to whole minute, the same for any number of
 * readers.  Zeroed memory is a valid empty one.
 */
#ifndef CONTROL_RECENT_H
#define CONTROL_RECENT_H

#include "sluice/base/hist.h"

#define RECENT_SPAN_MS 30000

struct recent {
	struct sl_hist spans[2];
	unsigned current;
	int64_t begun_ms; /* of the current one, monotonic */
	uint64_t count;   /* of all values ever */
};

void recent_add(struct recent *r, int64_t now_ms, uint64_t value);
/* @q: 0 to 1.  Return: false: nothing was measured lately. */
bool recent_quantile(const struct recent *r, int64_t now_ms, double q, uint64_t *out);

#endif
