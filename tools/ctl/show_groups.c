/* SPDX-License-Identifier: Apache-2.0 */
/* Consumer groups as tables. */
#include <inttypes.h>
#include <stdlib.h>

#include "command.h"
#include "table.h"
#include "text.h"

void show_groups(FILE *out, json_t *result)
{
	struct table t;
	char a[TEXT_MAX];
	size_t i;
	json_t *g;

	table_init(&t, (const char *const[]){"GROUP", "TYPE", "STATE", "PROTOCOL", ">MEMBERS",
	                                     ">GENERATION", ">LAG", NULL});
	json_array_foreach(json_object_get(result, "groups"), i, g) {
		table_cell(&t, "%s", text_str(g, "group"));
		table_cell(&t, "%s", text_str(g, "type"));
		table_cell(&t, "%s", text_str(g, "state"));
		table_cell(&t, "%s", text_str(g, "protocol"));
		table_cell(&t, "%s", text_num(g, "members", a));
		table_cell(&t, "%s", text_num(g, "generation", a));
		table_cell(&t, "%s", text_num(g, "lag", a));
	}
	table_print(&t, out);
}

/* "topic 0,1,2; other 3" */
static void put_assignment(struct table *t, json_t *assignment)
{
	size_t i, n, len = 0;
	char *text = NULL;
	json_t *topic, *p;
	FILE *f = open_memstream(&text, &len);

	if (!f) {
		table_cell(t, "-");
		return;
	}
	json_array_foreach(assignment, i, topic) {
		fprintf(f, "%s%s ", i ? "; " : "", text_str(topic, "topic"));
		json_array_foreach(json_object_get(topic, "partitions"), n, p)
			fprintf(f, "%s%" JSON_INTEGER_FORMAT, n ? "," : "", json_integer_value(p));
	}
	fclose(f);
	table_cell(t, "%s", len > 0 ? text : "-");
	free(text);
}

/* Members of the consumer protocol have an epoch each, and something they shall have. */
static void consumer_rows(FILE *out, json_t *members)
{
	struct table t;
	char a[TEXT_MAX];
	size_t i;
	json_t *m;

	table_init(&t, (const char *const[]){"MEMBER", "INSTANCE", "CLIENT", "HOST", "TYPE",
	                                     ">EPOCH", "ASSIGNED", "TARGET", NULL});
	json_array_foreach(members, i, m) {
		table_cell(&t, "%s", text_str(m, "member_id"));
		table_cell(&t, "%s", text_str(m, "instance_id"));
		table_cell(&t, "%s", text_str(m, "client_id"));
		table_cell(&t, "%s", text_str(m, "host"));
		table_cell(&t, "%s", text_str(m, "type"));
		table_cell(&t, "%s", text_num(m, "epoch", a));
		put_assignment(&t, json_object_get(m, "assignment"));
		put_assignment(&t, json_object_get(m, "target"));
	}
	table_print(&t, out);
}

static void member_rows(FILE *out, json_t *members)
{
	struct table t;
	size_t i;
	json_t *m;

	table_init(&t,
	           (const char *const[]){"MEMBER", "INSTANCE", "CLIENT", "HOST", "ASSIGNED", NULL});
	json_array_foreach(members, i, m) {
		table_cell(&t, "%s", text_str(m, "member_id"));
		table_cell(&t, "%s", text_str(m, "instance_id"));
		table_cell(&t, "%s", text_str(m, "client_id"));
		table_cell(&t, "%s", text_str(m, "host"));
		put_assignment(&t, json_object_get(m, "assignment"));
	}
	table_print(&t, out);
}

static void offset_rows(FILE *out, json_t *offsets)
{
	struct table t;
	char a[TEXT_MAX];
	size_t i;
	json_t *o;

	table_init(&t, (const char *const[]){"TOPIC", ">PART", ">COMMITTED", ">END", ">LAG", NULL});
	json_array_foreach(offsets, i, o) {
		table_cell(&t, "%s", text_str(o, "topic"));
		table_cell(&t, "%s", text_num(o, "partition", a));
		table_cell(&t, "%s", text_num(o, "offset", a));
		table_cell(&t, "%s", text_num(o, "log_end", a));
		table_cell(&t, "%s", text_num(o, "lag", a));
	}
	table_print(&t, out);
}

void show_group(FILE *out, json_t *result)
{
	json_t *members = json_object_get(result, "members");
	bool is_consumer = json_object_get(result, "epoch") != NULL;
	struct table t;

	table_init(&t, (const char *const[]){"GROUP", "TYPE", "STATE", "PROTOCOL", NULL});
	table_cell(&t, "%s", text_str(result, "group"));
	table_cell(&t, "%s", text_str(result, "type"));
	table_cell(&t, "%s", text_str(result, "state"));
	table_cell(&t, "%s", text_str(result, "protocol"));
	table_print(&t, out);
	fputc('\n', out);
	if (json_array_size(members) > 0) {
		if (is_consumer)
			consumer_rows(out, members);
		else
			member_rows(out, members);
		fputc('\n', out);
	}
	offset_rows(out, json_object_get(result, "offsets"));
}

void show_group_lag(FILE *out, json_t *result)
{
	json_t *offsets = json_object_get(result, "offsets");
	json_int_t sum = 0;
	size_t i;
	json_t *o;

	json_array_foreach(offsets, i, o)
		sum += json_integer_value(json_object_get(o, "lag"));
	offset_rows(out, offsets);
	fprintf(out, "\n%s is %" JSON_INTEGER_FORMAT " records behind in %zu partitions\n",
	        text_str(result, "group"), sum, json_array_size(offsets));
}

void show_group_deleted(FILE *out, json_t *result)
{
	fprintf(out, "deleted %s\n", text_str(result, "group"));
}

void show_reset(FILE *out, json_t *result)
{
	struct table t;
	char a[TEXT_MAX];
	size_t i;
	json_t *o;

	table_init(&t, (const char *const[]){"TOPIC", ">PART", ">BEFORE", ">AFTER", NULL});
	json_array_foreach(json_object_get(result, "offsets"), i, o) {
		table_cell(&t, "%s", text_str(o, "topic"));
		table_cell(&t, "%s", text_num(o, "partition", a));
		table_cell(&t, "%s", text_num(o, "before", a));
		table_cell(&t, "%s", text_num(o, "after", a));
	}
	table_print(&t, out);
}

void show_offsets_deleted(FILE *out, json_t *result)
{
	struct table t;
	char a[TEXT_MAX];
	size_t i;
	json_t *o;

	table_init(&t, (const char *const[]){"TOPIC", ">PART", ">BEFORE", NULL});
	json_array_foreach(json_object_get(result, "offsets"), i, o) {
		table_cell(&t, "%s", text_str(o, "topic"));
		table_cell(&t, "%s", text_num(o, "partition", a));
		table_cell(&t, "%s", text_num(o, "before", a));
	}
	table_print(&t, out);
}
