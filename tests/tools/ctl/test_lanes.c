/* SPDX-License-Identifier: Apache-2.0 */
/* What `sluicectl lanes` makes of two samples. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "command.h"

#define COLUMNS_MAX 120

/* One lane at @mono_ms, whose counters are @n times those of its first second. */
static json_t *sample(int mono_ms, int n, json_int_t scale)
{
	static const struct {
		const char *name;
		json_int_t each;
	} stats[] = {
		{"cycles_busy", 600000000}, {"cycles_idle", 100000000},  {"requests", 2000},
		{"polls_busy", 500},        {"messages_in", 30000},      {"batches_in", 3000},
		{"requests_produce", 1500}, {"bytes_received", 4000000}, {"bytes_sent", 2000000},
		{"bytes_in", 3900000},      {"bytes_out", 1900000},      {"recv_calls", 2500},
		{"send_calls", 1800},       {"sendfile_calls", 200},     {"epoll_calls_busy", 500},
		{"epoll_calls", 90000},     {"epoll_events", 1900},      {"syncs", 100},
		{"sync_us", 25000},         {"uring_calls", 100},
	};
	json_t *s = json_object();

	for (size_t i = 0; i < SL_ARRAY_SIZE(stats); i++)
		json_object_set_new(s, stats[i].name, json_integer(n * scale * stats[i].each));
	json_object_set_new(s, "tsc_hz", json_integer(1000000000 * scale));
	json_object_set_new(s, "connections", json_integer(n * 1000));
	json_object_set_new(s, "partitions", json_integer(n * 1000));
	return json_pack("{s:i, s:[{s:i, s:i, s:i, s:o}]}", "mono_ms", mono_ms, "lanes", "lane", 63,
	                 "node_id", 163, "port", 65535, "stats", s);
}

static char *shown(json_t *before, json_t *after)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	show_lanes_between(f, before, after);
	fclose(f);
	json_decref(before);
	json_decref(after);
	return text;
}

Test(lanes, differences_become_shares_rates_and_costs)
{
	char *text = shown(sample(5000, 3, 1), sample(6000, 4, 1));

	cr_assert_str_eq(
		text,
		"LANE  NODE   PORT  PARTS  CONNS  BUSY  IDLE  ASLEEP  REQ/S  MSG/S IN     IN/S    OUT/S"
		"  SYNC/S    SYNC\n"
		"  63   163  65535   4000   4000   60%   10%     30%   2.0k     30.0k  3.7 MiB  1.8 MiB"
		"     100  250 us\n"
		"\n"
		"LANE  CYC/REQ  CYC/MSG IN  CYC/BYTE  MSG/BATCH  BATCH/PROD  REQ/POLL  CALLS/REQ"
		"  B/RECV  B/SEND  EV/EPOLL\n"
		"  63   300.0k       20.0k       100       10.0        2.00      4.00       2.55"
		"    1.6k    1.0k      3.80\n",
		"%s", text);
	free(text);
}

Test(lanes, a_lane_that_did_nothing_has_no_costs)
{
	char *text = shown(sample(5000, 3, 1), sample(6000, 3, 1));

	cr_assert_not_null(strstr(text, "    0%    0%    100%      0 "), "%s", text);
	cr_assert_not_null(strstr(text, "  63        -           - "), "%s", text);
	free(text);
}

Test(lanes, no_line_is_wider_than_a_terminal)
{
	/* A million requests a second at 4 GHz, and large numbers of everything else. */
	char *text = shown(sample(5000, 1, 4000), sample(6000, 2, 4000));

	for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
		cr_assert_leq(strcspn(line, "\n"), COLUMNS_MAX, "%s", text);
	free(text);
}
