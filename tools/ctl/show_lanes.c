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

/* Of the time between the samples; a lane that is asleep has not counted its sleep yet, so that
 * is what remains. */
static void cells_time(struct table *t, const struct pair *p)
{
	double cycles = (double)text_int(p->after, "tsc_hz") * p->seconds;
	double busy = delta(p, "cycles_busy") / cycles;
	double idle = delta(p, "cycles_idle") / cycles;

	if (cycles <= 0) {
		for (int i = 0; i < 3; i++)
			table_cell(t, "-");
		return;
	}
	table_cell(t, "%.0f%%", 100 * busy);
	table_cell(t, "%.0f%%", 100 * idle);
	table_cell(t, "%.0f%%", 100 * SL_MAX(1 - busy - idle, 0.0));
}

static void load_row(struct table *t, json_t *lane, const struct pair *p)
{
	double syncs = delta(p, "syncs");
	char a[TEXT_MAX];

	table_cell(t, "%s", text_num(lane, "lane", a));
	table_cell(t, "%s", text_num(lane, "node_id", a));
	table_cell(t, "%s", text_num(lane, "port", a));
	table_cell(t, "%s", text_num(p->after, "partitions", a));
	table_cell(t, "%s", text_num(p->after, "connections", a));
	cells_time(t, p);
	cell_rate(t, p, "requests");
	cell_rate(t, p, "messages_in");
	cell_bytes(t, p, "bytes_in");
	cell_bytes(t, p, "bytes_out");
	table_cell(t, "%s", text_rate(syncs / p->seconds, a));
	if (syncs > 0)
		table_cell(t, "%.0f us", delta(p, "sync_us") / syncs);
	else
		table_cell(t, "-");
}

/* What one of something took: a sum of counters divided by another, as the method's ratios. */
struct cost {
	const char *head;
	const char *parts[6]; /* NULL at the end */
	const char *wholes[3];
};

/* clang-format off */
static const struct cost costs[] = {
	{">CYC/REQ", {"cycles_busy"}, {"requests"}},
	{">CYC/MSG IN", {"cycles_busy"}, {"messages_in"}},
	{">CYC/BYTE", {"cycles_busy"}, {"bytes_received", "bytes_sent"}},
	{">MSG/BATCH", {"messages_in"}, {"batches_in"}},
	{">BATCH/PROD", {"batches_in"}, {"requests_produce"}},
	{">REQ/POLL", {"requests"}, {"polls_busy"}},
	{">CALLS/REQ", {"recv_calls", "send_calls", "sendfile_calls", "epoll_calls_busy", "uring_calls"}, {"requests"}},
	{">B/RECV", {"bytes_received"}, {"recv_calls"}},
	{">B/SEND", {"bytes_sent"}, {"send_calls", "sendfile_calls"}},
	{">EV/EPOLL", {"epoll_events"}, {"epoll_calls_busy"}},
};
/* clang-format on */

static double sum(const struct pair *p, const char *const *stats)
{
	double n = 0;

	for (; *stats; stats++)
		n += delta(p, *stats);
	return n;
}

/* Three digits that count. */
static void cell_quotient(struct table *t, double part, double whole)
{
	double q = whole > 0 ? part / whole : 0;
	char a[TEXT_MAX];

	if (whole <= 0)
		table_cell(t, "-");
	else if (q >= 1000)
		table_cell(t, "%s", text_rate(q, a));
	else
		table_cell(t, "%.*f", q < 10 ? 2 : q < 100 ? 1 : 0, q);
}

static void cost_row(struct table *t, json_t *lane, const struct pair *p)
{
	char a[TEXT_MAX];

	table_cell(t, "%s", text_num(lane, "lane", a));
	for (size_t i = 0; i < SL_ARRAY_SIZE(costs); i++)
		cell_quotient(t, sum(p, costs[i].parts), sum(p, costs[i].wholes));
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

typedef void row_fn(struct table *t, json_t *lane, const struct pair *p);

static void rows(struct table *t, row_fn *fn, json_t *before, json_t *after)
{
	double seconds = (double)(text_int(after, "mono_ms") - text_int(before, "mono_ms")) / 1000;
	size_t i;
	json_t *lane;

	json_array_foreach(json_object_get(after, "lanes"), i, lane) {
		struct pair p = {
			.before = stats_of(json_object_get(before, "lanes"),
		                           text_int(lane, "lane")),
			.after = json_object_get(lane, "stats"),
			.seconds = seconds > 0.001 ? seconds : 0.001,
		};

		fn(t, lane, &p);
	}
}

void show_lanes_between(FILE *out, json_t *before, json_t *after)
{
	const char *heads[SL_ARRAY_SIZE(costs) + 2] = {">LANE"};
	struct table t;

	table_init(&t, (const char *const[]){">LANE", ">NODE", ">PORT", ">PARTS", ">CONNS", ">BUSY",
	                                     ">IDLE", ">ASLEEP", ">REQ/S", ">MSG/S IN", ">IN/S",
	                                     ">OUT/S", ">SYNC/S", ">SYNC", NULL});
	rows(&t, load_row, before, after);
	table_print(&t, out);
	fputc('\n', out);
	for (size_t i = 0; i < SL_ARRAY_SIZE(costs); i++)
		heads[i + 1] = costs[i].head;
	table_init(&t, heads);
	rows(&t, cost_row, before, after);
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
