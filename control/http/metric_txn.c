/* SPDX-License-Identifier: Apache-2.0 */
/* Values of the transaction coordinator. */
#include "metrics.h"

#include "txn/txn.h"
#include "txns.h"

static bool whole(struct metric_value *out, int64_t n)
{
	*out = (struct metric_value){.i = n};
	return true;
}

static struct txn_gauges gauges(const struct metric_at *at)
{
	struct txn_gauges g;

	txn_gauges(control_txns(at->c), &g);
	return g;
}

bool metric_txn_retry_queue(const struct metric_at *at, struct metric_value *out)
{
	return whole(out, gauges(at).markers_queued);
}

bool metric_txn_load_max(const struct metric_at *at, struct metric_value *out)
{
	struct txns_loads loads;

	txns_loads(at->c->txns, &loads);
	return whole(out, loads.max_ms);
}

bool metric_txn_load_avg(const struct metric_at *at, struct metric_value *out)
{
	struct txns_loads loads;

	txns_loads(at->c->txns, &loads);
	return loads.count > 0 && whole(out, loads.sum_ms / (int64_t)loads.count);
}

bool metric_txn_ids(const struct metric_at *at, struct metric_value *out)
{
	return whole(out, gauges(at).ids);
}

bool metric_txn_ongoing(const struct metric_at *at, struct metric_value *out)
{
	return whole(out, gauges(at).ongoing);
}

bool metric_txn_preparing(const struct metric_at *at, struct metric_value *out)
{
	return whole(out, gauges(at).preparing);
}

bool metric_txn_held(const struct metric_at *at, struct metric_value *out)
{
	return whole(out, gauges(at).held);
}

bool metric_txn_counter(const struct metric_at *at, struct metric_value *out)
{
	uint64_t value = 0;

	return txn_counter(control_txns(at->c), at->index, &value) && whole(out, (int64_t)value);
}
