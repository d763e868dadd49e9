/* SPDX-License-Identifier: Apache-2.0 */
/* Answers as tables: server, topics, partitions, connections. */
#include <inttypes.h>
#include <stdlib.h>

#include "command.h"
#include "table.h"
#include "text.h"

/* One line "NAME  value" of a two-column table. */
static void line(struct table *t, const char *name, const char *value)
{
	table_cell(t, "%s", name);
	table_cell(t, "%s", value);
}

void show_done(FILE *out, json_t *result)
{
	(void)result;
	fputs("done\n", out);
}

void show_status(FILE *out, json_t *result)
{
	json_t *plane = json_object_get(result, "data_plane");
	json_t *counts = json_object_get(result, "counts");
	json_t *health = json_object_get(result, "health");
	json_t *reasons = json_object_get(health, "reasons");
	struct table t;
	char a[TEXT_MAX];
	size_t i;
	json_t *reason;

	table_init(&t, (const char *const[]){"SLUICE", text_str(result, "version"), NULL});
	line(&t, "health", text_str(health, "state"));
	json_array_foreach(reasons, i, reason)
		line(&t, "", json_string_value(reason) ? json_string_value(reason) : "-");
	line(&t, "cluster", text_str(result, "cluster_id"));
	line(&t, "server", text_num(result, "server_id", a));
	line(&t, "uptime", text_duration(text_int(result, "uptime_ms"), a));
	table_cell(&t, "data plane");
	table_cell(&t, "%s, %" PRId64 " lanes, attached again %" PRId64 " times",
	           json_is_true(json_object_get(plane, "attached")) ? "attached" : "not attached",
	           text_int(plane, "lanes"), text_int(plane, "reattachments"));
	table_cell(&t, "counts");
	table_cell(&t,
	           "%" PRId64 " topics, %" PRId64 " partitions, %" PRId64 " groups, %" PRId64
	           " connections",
	           text_int(counts, "topics"), text_int(counts, "partitions"),
	           text_int(counts, "groups"), text_int(counts, "connections"));
	json_array_foreach(json_object_get(result, "nodes"), i, reason) {
		table_cell(&t, "node %" PRId64, text_int(reason, "node_id"));
		table_cell(&t, "%s:%" PRId64 " (lane %" PRId64 ")", text_str(reason, "host"),
		           text_int(reason, "port"), text_int(reason, "lane"));
	}
	table_print(&t, out);
}

void show_doctor(FILE *out, json_t *result)
{
	struct table t;
	unsigned bad = 0;
	size_t i;
	json_t *check;

	table_init(&t, (const char *const[]){"STATE", "CHECK", "WHAT", NULL});
	json_array_foreach(json_object_get(result, "checks"), i, check) {
		const char *const more[][2] = {{"cost", "cost: "}, {"fix", "fix:  "}};

		table_cell(&t, "%s", text_str(check, "state"));
		table_cell(&t, "%s", text_str(check, "name"));
		table_cell(&t, "%s", text_str(check, "cause"));
		bad += strcmp(text_str(check, "state"), "ok") != 0;
		for (unsigned m = 0; m < SL_ARRAY_SIZE(more); m++) {
			const char *text = json_string_value(json_object_get(check, more[m][0]));

			if (!text)
				continue;
			line(&t, "", "");
			table_cell(&t, "%s%s", more[m][1], text);
		}
	}
	table_print(&t, out);
	if (bad == 0)
		fputs("\nAll is well.\n", out);
	else
		fprintf(out, "\n%u of %zu need a look.\n", bad,
		        json_array_size(json_object_get(result, "checks")));
}

void show_topics(FILE *out, json_t *result)
{
	struct table t;
	char a[TEXT_MAX];
	size_t i;
	json_t *topic;

	table_init(&t, (const char *const[]){"TOPIC", ">PARTITIONS", ">ONLINE", ">REPLICAS",
	                                     ">SIZE", "ID", NULL});
	json_array_foreach(json_object_get(result, "topics"), i, topic) {
		table_cell(&t, "%s", text_str(topic, "name"));
		table_cell(&t, "%s", text_num(topic, "partitions", a));
		table_cell(&t, "%s", text_num(topic, "online", a));
		table_cell(&t, "%s", text_num(topic, "replication_factor", a));
		table_cell(&t, "%s", text_size(topic, "size_bytes", a));
		table_cell(&t, "%s", text_str(topic, "topic_id"));
	}
	table_print(&t, out);
}

void show_topic_created(FILE *out, json_t *result)
{
	fprintf(out, "created %s: %" PRId64 " partitions, id %s\n", text_str(result, "name"),
	        text_int(result, "partitions"), text_str(result, "topic_id"));
}

void show_topic_deleted(FILE *out, json_t *result)
{
	fprintf(out, "deleted %s\n", text_str(result, "name"));
}

static void put_numbers(struct table *t, json_t *list)
{
	char text[256] = "";
	size_t len = 0, i;
	json_t *n;

	json_array_foreach(list, i, n) {
		int more = snprintf(text + len, sizeof(text) - len, "%s%" JSON_INTEGER_FORMAT,
		                    i ? "," : "", json_integer_value(n));

		if (more < 0 || (size_t)more >= sizeof(text) - len)
			break;
		len += (size_t)more;
	}
	table_cell(t, "%s", text);
}

static void partition_rows(FILE *out, json_t *list)
{
	static const char *const numbers[] = {"partition", "leader", "leader_epoch"};
	static const char *const offsets[] = {"log_start", "high_watermark", "log_end", "flushed"};
	struct table t;
	char a[TEXT_MAX];
	size_t i;
	json_t *p;

	table_init(&t, (const char *const[]){"TOPIC", ">PART", ">LEADER", ">EPOCH", "REPLICAS",
	                                     "ISR", "STATE", ">START", ">HIGH-WATERMARK", ">END",
	                                     ">FLUSHED", ">SIZE", ">SEGMENTS", "CLEANER", ">DIRTY%",
	                                     "FOLDER", NULL});
	json_array_foreach(list, i, p) {
		table_cell(&t, "%s", text_str(p, "topic"));
		for (unsigned n = 0; n < SL_ARRAY_SIZE(numbers); n++)
			table_cell(&t, "%s", text_num(p, numbers[n], a));
		put_numbers(&t, json_object_get(p, "replicas"));
		put_numbers(&t, json_object_get(p, "isr"));
		table_cell(&t, "%s", text_str(p, "state"));
		for (unsigned n = 0; n < SL_ARRAY_SIZE(offsets); n++)
			table_cell(&t, "%s", text_num(p, offsets[n], a));
		table_cell(&t, "%s", text_size(p, "size_bytes", a));
		table_cell(&t, "%s", text_num(p, "segments", a));
		table_cell(&t, "%s", text_str(p, "cleaner"));
		table_cell(&t, "%s", text_num(p, "dirty_percent", a));
		table_cell(&t, "%s", text_str(p, "dir"));
	}
	table_print(&t, out);
}

void show_partitions(FILE *out, json_t *result)
{
	partition_rows(out, json_object_get(result, "partitions"));
}

void show_topic(FILE *out, json_t *result)
{
	json_t *configs = json_object_get(result, "configs");
	struct table t;
	const char *key;
	json_t *v;

	table_init(&t, (const char *const[]){"TOPIC", text_str(result, "name"), NULL});
	line(&t, "id", text_str(result, "topic_id"));
	line(&t, "internal", json_is_true(json_object_get(result, "internal")) ? "yes" : "no");
	json_object_foreach(configs, key, v)
		line(&t, key, json_string_value(v) ? json_string_value(v) : "-");
	table_print(&t, out);
	fputc('\n', out);
	partition_rows(out, json_object_get(result, "partitions"));
}

void show_configs(FILE *out, json_t *result)
{
	struct table t;
	size_t i;
	json_t *c;

	table_init(&t, (const char *const[]){"CONFIG", "VALUE", "FROM", NULL});
	json_array_foreach(json_object_get(result, "configs"), i, c) {
		table_cell(&t, "%s", text_str(c, "name"));
		table_cell(&t, "%s", text_str(c, "value"));
		table_cell(&t, "%s", text_str(c, "source"));
	}
	table_print(&t, out);
}

void show_connections(FILE *out, json_t *result)
{
	static const char *const numbers[] = {"local_port", "requests", "in_flight"};
	struct table t;
	char a[TEXT_MAX];
	size_t i;
	json_t *c;

	table_init(&t, (const char *const[]){">LANE", "PEER", ">PORT", ">REQUESTS", ">IN-FLIGHT",
	                                     ">AGE", ">IDLE", "TRANSPORT", NULL});
	json_array_foreach(json_object_get(result, "connections"), i, c) {
		table_cell(&t, "%s", text_num(c, "lane", a));
		table_cell(&t, "%s:%" PRId64, text_str(c, "peer"), text_int(c, "peer_port"));
		for (unsigned n = 0; n < SL_ARRAY_SIZE(numbers); n++)
			table_cell(&t, "%s", text_num(c, numbers[n], a));
		table_cell(&t, "%s", text_duration(text_int(c, "age_ms"), a));
		table_cell(&t, "%s", text_duration(text_int(c, "idle_ms"), a));
		table_cell(&t, "%s", text_str(c, "transport"));
	}
	table_print(&t, out);
	if (json_is_true(json_object_get(result, "truncated")))
		fputs("\nThere are more.\n", out);
}

/* Members of members as "a.b", one line each. */
static void flat_lines(struct table *t, const char *prefix, json_t *object)
{
	const char *key;
	json_t *v;

	json_object_foreach(object, key, v) {
		char name[256];

		snprintf(name, sizeof(name), "%s%s%s", prefix, *prefix ? "." : "", key);
		if (json_is_object(v)) {
			flat_lines(t, name, v);
		} else {
			char *text = text_any(v);

			line(t, name, text);
			free(text);
		}
	}
}

void show_steer(FILE *out, json_t *result)
{
	struct table t;

	table_init(&t, (const char *const[]){"STEERING", "VALUE", NULL});
	flat_lines(&t, "", result);
	table_print(&t, out);
}

void show_levels(FILE *out, json_t *result)
{
	json_t *own = json_object_get(result, "control");
	json_t *theirs = json_object_get(result, "dataplane");
	struct table t;
	const char *module;
	json_t *level;

	table_init(&t, (const char *const[]){"MODULE", "CONTROL", "DATAPLANE", NULL});
	json_object_foreach(json_is_object(own) ? own : theirs, module, level) {
		table_cell(&t, "%s", module);
		table_cell(&t, "%s", text_str(own, module));
		table_cell(&t, "%s", text_str(theirs, module));
	}
	table_print(&t, out);
}

static void site_rows(struct table *t, const char *process, json_t *sites)
{
	char a[TEXT_MAX];
	size_t i;
	json_t *s;

	json_array_foreach(sites, i, s) {
		table_cell(t, "%s", process);
		table_cell(t, "%s", text_num(s, "hits", a));
		table_cell(t, "%s:%" PRId64, text_str(s, "file"), text_int(s, "line"));
		table_cell(t, "%s", text_str(s, "expr"));
	}
}

void show_count_sites(FILE *out, json_t *result)
{
	struct table t;

	table_init(&t, (const char *const[]){"PROCESS", ">HITS", "PLACE", "CONDITION", NULL});
	site_rows(&t, "control", json_object_get(result, "control"));
	site_rows(&t, "dataplane", json_object_get(result, "dataplane"));
	table_print(&t, out);
}
