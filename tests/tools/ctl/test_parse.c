/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines into parameters, by the table. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "command.h"
#include "parse.h"

#define WORDS_MAX 16

static char error[PARSE_ERROR_MAX];

/* Splits @line at blanks.  Return: parameters, or NULL with the reason in error. */
static json_t *parse(const char *line)
{
	char copy[512], *argv[WORDS_MAX], *rest = copy, *word;
	const struct command *cmd;
	json_t *params = NULL;
	int argc = 0, used;

	snprintf(copy, sizeof(copy), "%s", line);
	while ((word = strsep(&rest, " "))) {
		cr_assert_lt(argc, WORDS_MAX);
		argv[argc++] = word;
	}
	cmd = command_find(argc, argv, &used);
	cr_assert(cmd, "no command in: %s", line);
	error[0] = '\0';
	if (parse_args(cmd, argc - used, argv + used, &params, error) < 0) {
		cr_assert(error[0], "no reason for: %s", line);
		return NULL;
	}
	return params;
}

static void expect(const char *line, const char *json)
{
	json_t *expected = json_loads(json, 0, NULL), *params = parse(line);

	cr_assert(expected);
	cr_assert(params, "%s: %s", line, error);
	if (!json_equal(params, expected)) {
		char *text = json_dumps(params, 0);

		cr_assert(false, "%s gave %s", line, text);
	}
	json_decref(params);
	json_decref(expected);
}

static void refuse(const char *line, const char *reason)
{
	cr_assert_null(parse(line), "accepted: %s", line);
	cr_assert(strstr(error, reason), "%s: %s", line, error);
}

Test(parse, arguments_and_options_in_any_order)
{
	expect("status", "{}");
	expect("topics create t", "{\"name\":\"t\"}");
	expect("topics create t --partitions 3", "{\"name\":\"t\",\"partitions\":3}");
	expect("topics create --partitions=3 t", "{\"name\":\"t\",\"partitions\":3}");
	expect("topics create t --config a=1 --config b=c=d --validate-only",
	       "{\"name\":\"t\",\"configs\":{\"a\":\"1\",\"b\":\"c=d\"},\"validate_only\":true}");
	expect("topics config t --delete a --set b= --delete c",
	       "{\"name\":\"t\",\"delete\":[\"a\",\"c\"],\"set\":{\"b\":\"\"}}");
	expect("groups reset-offsets g --topic t:1 --to earliest",
	       "{\"group\":\"g\",\"topic\":\"t:1\",\"to\":\"earliest\"}");
	expect("groups reset-offsets g --topic t --to 12",
	       "{\"group\":\"g\",\"topic\":\"t\",\"to\":12}");
	expect("groups reset-offsets g --topic t --shift -12",
	       "{\"group\":\"g\",\"topic\":\"t\",\"shift\":-12}");
	expect("groups reset-offsets g --topic t --to latest --dry-run",
	       "{\"group\":\"g\",\"topic\":\"t\",\"to\":\"latest\",\"dry_run\":true}");
	expect("txns list --state Ongoing --older-than-ms 5",
	       "{\"state\":\"Ongoing\",\"older_than_ms\":5}");
	expect("txns find-hanging --topic t --older-than-ms 5",
	       "{\"topic\":\"t\",\"older_than_ms\":5}");
	expect("partitions", "{}");
	expect("log level net debug", "{\"module\":\"net\",\"level\":\"debug\"}");
	expect("help topics create", "{\"command\":[\"topics\",\"create\"]}");
}

Test(parse, names_after_two_dashes_are_never_options)
{
	expect("txns abort t 3 4000 7",
	       "{\"topic\":\"t\",\"partition\":3,\"producer_id\":4000,\"producer_epoch\":7}");
	expect("groups delete -- --group", "{\"group\":\"--group\"}");
	expect("groups delete -- --", "{\"group\":\"--\"}");
	expect("groups delete -", "{\"group\":\"-\"}");
}

Test(parse, says_what_is_wrong)
{
	refuse("topics create", "needs NAME");
	refuse("topics create a b", "does not take \"b\"");
	refuse("status now", "does not take \"now\"");
	refuse("topics create t --partition 3", "has no option --partition");
	refuse("topics create t --partitions", "needs a value: N");
	refuse("topics create t --partitions x", "is not a number");
	refuse("topics create t --partitions 3x", "is not a number");
	refuse("topics create t --partitions 99999999999999999999", "is not a number");
	refuse("topics create t --partitions=", "is not a number");
	refuse("topics create t --partitions 1 --partitions 2", "given twice");
	refuse("topics create t --config a", "is not KEY=VALUE");
	refuse("topics create t --config =a", "is not KEY=VALUE");
	refuse("topics create t --validate-only=yes", "takes no value");
	refuse("topics create t\xff", "not UTF-8");
	refuse("topics config t --delete \xff", "not UTF-8");
	refuse("topics config t --set a=\xff", "not UTF-8");
}

/* ---- The table ---- */

Test(parse, the_longest_words_win)
{
	char words[4][16] = {"steer", "ban", "10.0.0.0/8", "topics"};
	char *ban[] = {words[0], words[1], words[2]}, *steer[] = {words[0]}, *none[] = {words[3]};
	int used;

	cr_assert_str_eq(command_find(3, ban, &used)->words, "steer ban");
	cr_assert_eq(used, 2);
	cr_assert_str_eq(command_find(1, steer, &used)->words, "steer");
	cr_assert_eq(used, 1);
	cr_assert_null(command_find(1, none, &used));
	cr_assert_null(command_find(0, none, &used));
}

Test(parse, the_table_is_sound)
{
	const struct command *cmd;

	for (unsigned i = 0; (cmd = command_at(i)); i++) {
		bool was_optional = false;

		cr_assert(cmd->text[0] && cmd->text[strlen(cmd->text) - 1] != '.', "%s",
		          cmd->words);
		cr_assert(cmd->run || (cmd->method && cmd->show), "%s does nothing", cmd->words);
		for (unsigned n = 0; n < COMMAND_ARGS_MAX && cmd->args[n].name; n++) {
			cr_assert(cmd->args[n].key);
			cr_assert(!was_optional || cmd->args[n].is_optional, "%s", cmd->words);
			was_optional = cmd->args[n].is_optional;
		}
		for (unsigned n = 0; n < COMMAND_OPTIONS_MAX && cmd->options[n].name; n++) {
			const struct command_option *o = &cmd->options[n];

			cr_assert(strncmp(o->name, "--", 2) == 0 && o->key && o->text, "%s",
			          cmd->words);
			cr_assert_eq(!o->arg, o->type == COMMAND_FLAG, "%s %s", cmd->words,
			             o->name);
		}
		for (unsigned n = 0; n < i; n++)
			cr_assert_str_neq(cmd->words, command_at(n)->words);
	}
}
