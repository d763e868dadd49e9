/* SPDX-License-Identifier: Apache-2.0 */
/* Log-linear histogram (HDR style): 128 sub-buckets per power of two, error below 0.8 %. */
#ifndef SLUICE_BASE_HIST_H
#define SLUICE_BASE_HIST_H

#include "sluice/base/base.h"

#define SL_HIST_SUB_BITS 7
#define SL_HIST_BUCKETS  ((64 - SL_HIST_SUB_BITS + 1) * (1 << SL_HIST_SUB_BITS))

/* Zeroed memory is a valid empty histogram. */
struct sl_hist {
	uint64_t count;
	uint64_t sum;
	uint64_t max;
	uint64_t buckets[SL_HIST_BUCKETS];
};

void sl_hist_add(struct sl_hist *h, uint64_t value);
void sl_hist_merge(struct sl_hist *into, const struct sl_hist *from);
/* Upper bound of the bucket that holds the given quantile (0..1); 0 when empty. */
uint64_t sl_hist_quantile(const struct sl_hist *h, double q);

#endif
