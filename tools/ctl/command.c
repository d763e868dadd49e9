/* SPDX-License-Identifier: Apache-2.0 */
/* What every command does with the table and the server. */
#include "command.h"

#include <errno.h>
#include <stdlib.h>

/* How many words of @words begin @argv; 0 when they do not. */
static int match(const char *words, int argc, char *const *argv)
{
	int n = 0;

	while (*words) {
		size_t len = strcspn(words, " ");

		if (n >= argc || strlen(argv[n]) != len || memcmp(argv[n], words, len) != 0)
			return 0;
		n++;
		words += len;
		words += strspn(words, " ");
	}
	return n;
}

const struct command *command_find(int argc, char *const *argv, int *used)
{
	const struct command *cmd, *found = NULL;

	*used = 0;
	for (unsigned i = 0; (cmd = command_at(i)); i++) {
		int n = match(cmd->words, argc, argv);

		/* "steer ban" before "steer". */
		if (n > *used) {
			*used = n;
			found = cmd;
		}
	}
	return found;
}

void command_usage(FILE *out, const struct command *cmd)
{
	fputs(cmd->words, out);
	for (unsigned i = 0; i < COMMAND_ARGS_MAX && cmd->args[i].name; i++) {
		const struct command_arg *a = &cmd->args[i];

		fprintf(out, a->is_optional ? " [%s]" : " %s", a->name);
		if (a->type == COMMAND_LIST)
			fputs("...", out);
	}
	for (unsigned i = 0; i < COMMAND_OPTIONS_MAX && cmd->options[i].name; i++) {
		const struct command_option *o = &cmd->options[i];

		fprintf(out, " [%s%s%s]", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
		if (o->type == COMMAND_PAIRS || o->type == COMMAND_LIST)
			fputs("...", out);
	}
}

int command_call(struct ctl *ctl, const char *method, json_t *params, json_t **out)
{
	char error[CLIENT_ERROR_MAX];
	int rc = 0;

	if (!ctl->is_connected)
		rc = client_open(&ctl->client, ctl->socket, error);
	if (rc < 0) {
		json_decref(params);
		fprintf(ctl->err, "sluicectl: %s\n", error);
		return EXIT_CONNECT;
	}
	ctl->is_connected = true;
	rc = client_call(&ctl->client, method, params, out, error);
	if (rc == 0)
		return EXIT_OK;
	if (rc != -EREMOTEIO) {
		fprintf(ctl->err, "sluicectl: %s\n", error);
		return EXIT_CONNECT;
	}
	fprintf(ctl->err, "sluicectl: %s\n", json_string_value(json_object_get(*out, "message")));
	json_decref(*out);
	return EXIT_SERVER;
}

void command_print(struct ctl *ctl, json_t *result, command_show *show)
{
	if (ctl->is_json) {
		(void)json_dumpf(result, ctl->out, JSON_INDENT(2));
		fputc('\n', ctl->out);
	} else {
		show(ctl->out, result);
	}
}
