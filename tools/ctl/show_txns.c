/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions as tables. */
#include <inttypes.h>
#include <stdlib.h>

#include "command.h"
#include "table.h"
#include "text.h"

void show_txns(FILE *out, json_t *result)
{
	struct table t;
	char a[TEXT_MAX];
	size_t i;
	json_t *x;

	table_init(&t, (const char *const[]){"ID", "STATE", ">PRODUCER", ">EPOCH", ">PARTITIONS",
	                                     ">AGE-MS", ">TIMEOUT-MS", NULL});
	json_array_foreach(json_object_get(result, "transactions"), i, x) {
		table_cell(&t, "%s", text_str(x, "transactional_id"));
		table_cell(&t, "%s", text_str(x, "state"));
		table_cell(&t, "%s", text_num(x, "producer_id", a));
		table_cell(&t, "%s", text_num(x, "producer_epoch", a));
		table_cell(&t, "%s", text_num(x, "partitions", a));
		table_cell(&t, "%s", text_num(x, "age_ms", a));
		table_cell(&t, "%s", text_num(x, "timeout_ms", a));
	}
	table_print(&t, out);
}

void show_txn(FILE *out, json_t *result)
{
	json_t *topics = json_object_get(result, "topics");
	struct table t;
	char a[TEXT_MAX];
	size_t i, n;
	json_t *topic, *p;

	table_init(&t, (const char *const[]){"ID", "STATE", ">PRODUCER", ">EPOCH", ">TIMEOUT-MS",
	                                     NULL});
	table_cell(&t, "%s", text_str(result, "transactional_id"));
	table_cell(&t, "%s", text_str(result, "state"));
	table_cell(&t, "%s", text_num(result, "producer_id", a));
	table_cell(&t, "%s", text_num(result, "producer_epoch", a));
	table_cell(&t, "%s", text_num(result, "timeout_ms", a));
	table_print(&t, out);
	if (json_array_size(topics) == 0)
		return;
	fputc('\n', out);
	table_init(&t, (const char *const[]){"TOPIC", ">PARTITION", NULL});
	json_array_foreach(topics, i, topic) {
		json_array_foreach(json_object_get(topic, "partitions"), n, p) {
			table_cell(&t, "%s", text_str(topic, "topic"));
			table_cell(&t, "%" JSON_INTEGER_FORMAT, json_integer_value(p));
		}
	}
	table_print(&t, out);
}

void show_hanging(FILE *out, json_t *result)
{
	json_t *list = json_object_get(result, "transactions");
	struct table t;
	char a[TEXT_MAX];
	size_t i;
	json_t *x;

	if (json_array_size(list) == 0) {
		fputs("no transaction hangs\n", out);
		return;
	}
	table_init(&t, (const char *const[]){"TOPIC", ">PARTITION", ">PRODUCER", ">EPOCH",
	                                     ">OFFSET", ">AGE-MS", NULL});
	json_array_foreach(list, i, x) {
		table_cell(&t, "%s", text_str(x, "topic"));
		table_cell(&t, "%s", text_num(x, "partition", a));
		table_cell(&t, "%s", text_num(x, "producer_id", a));
		table_cell(&t, "%s", text_num(x, "producer_epoch", a));
		table_cell(&t, "%s", text_num(x, "offset", a));
		table_cell(&t, "%s", text_num(x, "age_ms", a));
	}
	table_print(&t, out);
}

void show_txn_aborted(FILE *out, json_t *result)
{
	char a[TEXT_MAX];

	fprintf(out, "ended the transaction on %s-%s\n", text_str(result, "topic"),
	        text_num(result, "partition", a));
}
