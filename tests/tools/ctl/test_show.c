/* SPDX-License-Identifier: Apache-2.0 */
/* Groups and transactions as tables: each column shows what its head says. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "command.h"

typedef void show_fn(FILE *out, json_t *result);

static void expect(show_fn *show, const char *json, const char *expected)
{
	json_error_t error;
	json_t *result = json_loads(json, 0, &error);
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	cr_assert(result, "%s", error.text);
	show(f, result);
	fclose(f);
	cr_assert_str_eq(text, expected);
	free(text);
	json_decref(result);
}

Test(show, groups_with_what_they_lag)
{
	expect(show_groups,
	       "{\"groups\": [{\"group\": \"g\", \"type\": \"classic\", \"state\": \"Stable\","
	       "  \"protocol\": \"range\", \"members\": 2, \"generation\": 3, \"lag\": 40},"
	       " {\"group\": \"h\", \"type\": \"consumer\", \"state\": \"Empty\","
	       "  \"protocol\": null, \"members\": 0, \"generation\": 5, \"lag\": null}]}",
	       "GROUP  TYPE      STATE   PROTOCOL  MEMBERS  GENERATION  LAG\n"
	       "g      classic   Stable  range           2           3   40\n"
	       "h      consumer  Empty   -               0           5    -\n");
}

Test(show, the_lag_of_a_group_as_a_sum)
{
	expect(show_group_lag,
	       "{\"group\": \"g\", \"offsets\": ["
	       " {\"topic\": \"t\", \"partition\": 0, \"offset\": 1, \"log_end\": 6, \"lag\": 5},"
	       " {\"topic\": \"t\", \"partition\": 1, \"offset\": 2, \"log_end\": 9, \"lag\": 7},"
	       " {\"topic\": \"u\", \"partition\": 0, \"offset\": 3, \"log_end\": null,"
	       "  \"lag\": null}]}",
	       "TOPIC  PART  COMMITTED  END  LAG\n"
	       "t         0          1    6    5\n"
	       "t         1          2    9    7\n"
	       "u         0          3    -    -\n"
	       "\n"
	       "g is 12 records behind in 3 partitions\n");
}

Test(show, offsets_before_and_after_a_reset)
{
	expect(show_reset,
	       "{\"offsets\": ["
	       " {\"topic\": \"t\", \"partition\": 0, \"before\": 11, \"after\": 22},"
	       " {\"topic\": \"t\", \"partition\": 1, \"before\": null, \"after\": 33}]}",
	       "TOPIC  PART  BEFORE  AFTER\n"
	       "t         0      11     22\n"
	       "t         1       -     33\n");
}

Test(show, transactions)
{
	expect(show_txns,
	       "{\"transactions\": [{\"transactional_id\": \"tx\", \"state\": \"Ongoing\","
	       "  \"producer_id\": 1, \"producer_epoch\": 2, \"partitions\": 3, \"age_ms\": 4,"
	       "  \"timeout_ms\": 5}]}",
	       "ID  STATE    PRODUCER  EPOCH  PARTITIONS  AGE-MS  TIMEOUT-MS\n"
	       "tx  Ongoing         1      2           3       4           5\n");
}

Test(show, transactions_that_hang)
{
	expect(show_hanging, "{\"transactions\": []}", "no transaction hangs\n");
	expect(show_hanging,
	       "{\"transactions\": [{\"topic\": \"t\", \"partition\": 1, \"producer_id\": 2,"
	       "  \"producer_epoch\": 3, \"offset\": 4, \"age_ms\": 5}]}",
	       "TOPIC  PARTITION  PRODUCER  EPOCH  OFFSET  AGE-MS\n"
	       "t              1         2      3       4       5\n");
}
