/* SPDX-License-Identifier: Apache-2.0 */
/* Counters: what the lanes did between two moments, and those of the control process. */
#include <inttypes.h>

#include "command.h"
#include "table.h"
#include "text.h"

/* Two samples of one lane. */
struct pair {
	json_t *before;
	json_t *after;
	double seconds;
};

static double delta(const struct pair *p, const char *stat)
{
	int64_t d = text_int(p->after, stat) - text_int(p->before, stat);

	/* The data plane was started anew in between. */
	return d < 0 ? 0 : (double)d;
}

static void cell_rate(struct table *t, const struct pair *p, const char *stat)
{
	char a[TEXT_MAX];

	table_cell(t, "%s", text_rate(delta(p, stat) / p->seconds, a));
}

static void cell_bytes(struct table *t, const struct pair *p, const char *stat)
{
	char a[TEXT_MAX];

	table_cell(t, "%s", text_bytes(delta(p, stat) / p->seconds, a));
}

static void cell_ratio(struct table *t, double part, double whole)
{
	if (whole > 0)
		table_cell(t, "%.1f", part / whole);
	else
		table_cell(t, "-");
}

static void lane_row(struct table *t, json_t *lane, const struct pair *p)
{
	double hz = (double)text_int(p->after, "tsc_hz");
	double syncs = delta(p, "syncs");
	char a[TEXT_MAX];

	table_cell(t, "%s", text_num(lane, "lane", a));
	table_cell(t, "%s", text_num(lane, "node_id", a));
	table_cell(t, "%s", text_num(lane, "port", a));
	if (hz > 0)
		table_cell(t, "%.0f%%", 100 * delta(p, "cycles_busy") / (hz * p->seconds));
	else
		table_cell(t, "-");
	table_cell(t, "%s", text_num(p->after, "connections", a));
	cell_rate(t, p, "requests");
	cell_ratio(t, delta(p, "requests"), delta(p, "polls_busy"));
	cell_ratio(t, delta(p, "recv_calls") + delta(p, "send_calls") + delta(p, "sendfile_calls"),
	           delta(p, "requests"));
	cell_rate(t, p, "messages_in");
	cell_bytes(t, p, "bytes_in");
	cell_bytes(t, p, "bytes_out");
	table_cell(t, "%s", text_rate(syncs / p->seconds, a));
	if (syncs > 0)
		table_cell(t, "%.0f us", delta(p, "sync_us") / syncs);
	else
		table_cell(t, "-");
	table_cell(t, "%s", text_num(p->after, "partitions", a));
}

static json_t *stats_of(json_t *lanes, int64_t number)
{
	size_t i;
	json_t *lane;

	json_array_foreach(lanes, i, lane) {
		if (text_int(lane, "lane") == number)
			return json_object_get(lane, "stats");
	}
	return NULL;
}

void show_lanes_between(FILE *out, json_t *before, json_t *after)
{
	double seconds = (double)(text_int(after, "mono_ms") - text_int(before, "mono_ms")) / 1000;
	struct table t;
	size_t i;
	json_t *lane;

	table_init(&t, (const char *const[]){">LANE", ">NODE", ">PORT", ">BUSY", ">CONNS", ">REQ/S",
	                                     ">REQ/POLL", ">CALLS/REQ", ">MSG/S IN", ">IN/S",
	                                     ">OUT/S", ">SYNC/S", ">SYNC", ">PARTS", NULL});
	json_array_foreach(json_object_get(after, "lanes"), i, lane) {
		struct pair p = {
			.before = stats_of(json_object_get(before, "lanes"),
		                           text_int(lane, "lane")),
			.after = json_object_get(lane, "stats"),
			.seconds = seconds > 0.001 ? seconds : 0.001,
		};

		lane_row(&t, lane, &p);
	}
	table_print(&t, out);
}

static void counter_rows(struct table *t, const char *who, json_t *counters)
{
	const char *name;
	json_t *v;

	json_object_foreach(counters, name, v) {
		if (json_integer_value(v) == 0)
			continue;
		table_cell(t, "%s", who);
		table_cell(t, "%s", name);
		table_cell(t, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
	}
}

void show_counters(FILE *out, json_t *result)
{
	struct table t;

	table_init(&t, (const char *const[]){"WHO", "COUNTER", ">VALUE", NULL});
	counter_rows(&t, "control", json_object_get(result, "control"));
	counter_rows(&t, "group", json_object_get(result, "group"));
	table_print(&t, out);
}
