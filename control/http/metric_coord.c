/* SPDX-License-Identifier: Apache-2.0 */
/* Values of the two coordinators: what they have, what they did, how long it took. */
#include "metrics.h"

#include "offsets.h"
#include "txns.h"

static bool whole(struct metric_value *out, int64_t n)
{
	*out = (struct metric_value){.i = n};
	return true;
}

static bool loads_max(const struct statelog *log, struct metric_value *out)
{
	struct statelog_loads loads;

	statelog_loads(log, &loads);
	return whole(out, loads.max_ms);
}

static bool loads_avg(const struct statelog *log, struct metric_value *out)
{
	struct statelog_loads loads;

	statelog_loads(log, &loads);
	return loads.count > 0 && whole(out, loads.sum_ms / (int64_t)loads.count);
}

/* Microseconds there, milliseconds here. */
static bool quantile(const struct metric_at *at, const struct recent *r, struct metric_value *out)
{
	uint64_t us;

	if (!recent_quantile(r, loop_mono_ms(at->c->loop), (double)at->index / 1000, &us))
		return false;
	*out = (struct metric_value){.is_real = true, .d = (double)us / 1000};
	return true;
}

/* ---- Groups ---- */

/* NULL: there are none. */
static const struct group_gauges *group_gauges_of(const struct metric_at *at)
{
	const struct group_coord *coord = control_groups(at->c);
	struct metric_scrape *s = at->scrape;

	if (!coord)
		return NULL;
	if (!s->has_group_gauges)
		group_gauges(coord, &s->group_gauges);
	s->has_group_gauges = true;
	return &s->group_gauges;
}

/* @at->index: enum group_gauge. */
bool metric_group_gauge(const struct metric_at *at, struct metric_value *out)
{
	const struct group_gauges *g = group_gauges_of(at);

	return g && whole(out, (int64_t)g->v[at->index]);
}

bool metric_group_all(const struct metric_at *at, struct metric_value *out)
{
	const struct group_gauges *g = group_gauges_of(at);

	return g && whole(out, (int64_t)(g->v[GROUP_GAUGE_CLASSIC] + g->v[GROUP_GAUGE_CONSUMER]));
}

/* @at->index: enum group_total. */
bool metric_group_count(const struct metric_at *at, struct metric_value *out)
{
	const struct group_coord *coord = control_groups(at->c);

	return coord && whole(out, (int64_t)group_total(coord, at->index));
}

bool metric_group_load_max(const struct metric_at *at, struct metric_value *out)
{
	return loads_max(offsets_log(at->c->offsets), out);
}

bool metric_group_load_avg(const struct metric_at *at, struct metric_value *out)
{
	return loads_avg(offsets_log(at->c->offsets), out);
}

bool metric_group_step_time(const struct metric_at *at, struct metric_value *out)
{
	return quantile(at, offsets_steps(at->c->offsets), out);
}

bool metric_group_append_time(const struct metric_at *at, struct metric_value *out)
{
	return quantile(at, statelog_appends(offsets_log(at->c->offsets)), out);
}

/* ---- Transactions ---- */

/* @at->index: where in struct txn_gauges. */
bool metric_txn_gauge(const struct metric_at *at, struct metric_value *out)
{
	struct metric_scrape *s = at->scrape;
	uint32_t n;

	if (!s->has_txn_gauges)
		txn_gauges(control_txns(at->c), &s->txn_gauges);
	s->has_txn_gauges = true;
	memcpy(&n, (const char *)&s->txn_gauges + at->index, sizeof(n));
	return whole(out, n);
}

bool metric_txn_load_max(const struct metric_at *at, struct metric_value *out)
{
	return loads_max(txns_log(at->c->txns), out);
}

bool metric_txn_load_avg(const struct metric_at *at, struct metric_value *out)
{
	return loads_avg(txns_log(at->c->txns), out);
}

bool metric_txn_append_time(const struct metric_at *at, struct metric_value *out)
{
	return quantile(at, statelog_appends(txns_log(at->c->txns)), out);
}

bool metric_txn_verify_time(const struct metric_at *at, struct metric_value *out)
{
	return quantile(at, txns_verifies(at->c->txns), out);
}

bool metric_txn_verify_count(const struct metric_at *at, struct metric_value *out)
{
	return whole(out, (int64_t)txns_verifies(at->c->txns)->count);
}

bool metric_txn_counter(const struct metric_at *at, struct metric_value *out)
{
	uint64_t value = 0;

	return txn_counter(control_txns(at->c), at->index, &value) && whole(out, (int64_t)value);
}
