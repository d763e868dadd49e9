/* SPDX-License-Identifier: Apache-2.0 */
/* sluicectl: shows and changes a running server over its control socket. */
#include <errno.h>
#include <stdlib.h>

#include "sluice/base/version.h"

#include "command.h"
#include "help.h"
#include "parse.h"

/* Takes the options that belong to no command out of @argv.  Return: -1 go on, else exit status. */
static int take_globals(struct ctl *ctl, int *argc, char **argv)
{
	bool is_help = false;
	int kept = 0;

	for (int i = 0; i < *argc; i++) {
		if (strcmp(argv[i], "--") == 0) {
			while (i < *argc)
				argv[kept++] = argv[i++];
		} else if (strcmp(argv[i], "--json") == 0) {
			ctl->is_json = true;
		} else if (strncmp(argv[i], "--socket=", 9) == 0) {
			ctl->socket = argv[i] + 9;
		} else if (strcmp(argv[i], "--socket") == 0) {
			if (++i == *argc) {
				fprintf(ctl->err, "sluicectl: --socket needs a path\n");
				return EXIT_USAGE;
			}
			ctl->socket = argv[i];
		} else if (strcmp(argv[i], "--help") == 0) {
			is_help = true;
		} else if (strcmp(argv[i], "--version") == 0) {
			fprintf(ctl->out, "sluicectl %s\n", SL_VERSION);
			return EXIT_OK;
		} else {
			argv[kept++] = argv[i];
		}
	}
	*argc = kept;
	if (!is_help)
		return -1;
	help_option(ctl->out, kept, argv);
	return EXIT_OK;
}

static int run_command(struct ctl *ctl, const struct command *cmd, int argc, char **argv)
{
	char error[PARSE_ERROR_MAX];
	json_t *params, *result;
	int status;

	if (parse_args(cmd, argc, argv, &params, error) < 0) {
		fprintf(ctl->err, "sluicectl: %s\nusage: sluicectl ", error);
		command_usage(ctl->err, cmd);
		fputc('\n', ctl->err);
		return EXIT_USAGE;
	}
	if (cmd->run) {
		status = cmd->run(ctl, cmd, params);
	} else {
		status = command_call(ctl, cmd->method, json_incref(params), &result);
		if (status == EXIT_OK) {
			command_print(ctl, result, cmd->show);
			json_decref(result);
		}
	}
	json_decref(params);
	return status;
}

int main(int argc, char **argv)
{
	struct ctl ctl = {.out = stdout, .err = stderr};
	const struct command *cmd;
	int status, used;

	argc--;
	argv++;
	status = take_globals(&ctl, &argc, argv);
	if (status >= 0)
		return status;
	cmd = command_find(argc, argv, &used);
	if (!cmd) {
		if (argc > 0)
			fprintf(stderr, "sluicectl: there is no command \"%s\"\n\n", argv[0]);
		help_list(stderr);
		return EXIT_USAGE;
	}
	status = run_command(&ctl, cmd, argc - used, argv + used);
	if (ctl.is_connected)
		client_close(&ctl.client);
	/* A full disk or a closed pipe must not look like success. */
	if (fflush(stdout) != 0 && status == EXIT_OK)
		status = EXIT_CONNECT;
	return status;
}
