/* SPDX-License-Identifier: Apache-2.0 */
/* help, and the page of the admin guide, from the table of commands. */
#include "help.h"

#include <stdlib.h>

static const char global_options[] =
	"  --socket PATH  control socket; else $SLUICE_SOCKET, ./sluice-data/run/sluice.sock,\n"
	"                 /run/sluice/sluice.sock\n"
	"  --json         print the answer of the server as JSON\n"
	"  --version      print the version\n"
	"  --help         print this, or behind a command what it takes\n";

/* Commands whose first word is @word; NULL: all.  Return: how many. */
static unsigned list_commands(FILE *out, const char *word)
{
	size_t len = word ? strlen(word) : 0;
	const struct command *cmd;
	unsigned n = 0;

	for (unsigned i = 0; (cmd = command_at(i)); i++) {
		if (word && (strncmp(cmd->words, word, len) != 0 || cmd->words[len] != ' '))
			continue;
		fprintf(out, "  %-22s %s\n", cmd->words, cmd->text);
		n++;
	}
	return n;
}

void help_list(FILE *out)
{
	fputs("usage: sluicectl [--socket PATH] [--json] COMMAND\n\ncommands:\n", out);
	(void)list_commands(out, NULL);
	fprintf(out, "\noptions:\n%s\nsluicectl help COMMAND describes one command.\n",
	        global_options);
}

static void help_one(FILE *out, const struct command *cmd)
{
	fputs("usage: sluicectl ", out);
	command_usage(out, cmd);
	fprintf(out, "\n\n%s.\n", cmd->text);
	if (cmd->options[0].name)
		fputc('\n', out);
	for (unsigned i = 0; i < COMMAND_OPTIONS_MAX && cmd->options[i].name; i++) {
		const struct command_option *o = &cmd->options[i];

		fprintf(out, "  %s%s%s\n      %s\n", o->name, o->arg ? " " : "",
		        o->arg ? o->arg : "", o->text);
	}
	if (cmd->method)
		fprintf(out, "\nCalls %s of the control socket.\n", cmd->method);
}

/* ---- The page ---- */

static const char introduction[] =
	"`sluicectl` talks to a running server over its [control socket](control-socket.md).\n"
	"\n"
	"    sluicectl [--socket PATH] [--json] COMMAND\n"
	"\n"
	"Without `--socket` the environment variable `SLUICE_SOCKET` says where the socket is; else\n"
	"`./sluice-data/run/sluice.sock` and `/run/sluice/sluice.sock` are tried. Tables are for people and may change;\n"
	"`--json` prints the server's answer and is for programs. Sizes are in powers of 1024.\n"
	"\n"
	"| exit status | meaning |\n"
	"|---|---|\n"
	"| 0 | done |\n"
	"| 1 | the server refused or failed; why is on stderr |\n"
	"| 2 | the command line is wrong |\n"
	"| 3 | no connection to the server, or it broke |\n"
	"\n"
	"`make install` installs the bash completion; `sluicectl completion bash` prints it. It completes commands and options,\n"
	"and asks the server for names of topics and groups.\n"
	"\n"
	"## Commands\n";

static void markdown(FILE *out)
{
	const struct command *cmd;

	fputs(introduction, out);
	for (unsigned i = 0; (cmd = command_at(i)); i++) {
		fprintf(out, "\n### %s\n\n    sluicectl ", cmd->words);
		command_usage(out, cmd);
		fprintf(out, "\n\n%s.\n", cmd->text);
		if (cmd->options[0].name)
			fputs("\n| option | meaning |\n|---|---|\n", out);
		for (unsigned n = 0; n < COMMAND_OPTIONS_MAX && cmd->options[n].name; n++) {
			const struct command_option *o = &cmd->options[n];

			/* A bar would end the cell. */
			fprintf(out, "| `%s%s", o->name, o->arg ? " " : "");
			for (const char *p = o->arg ? o->arg : ""; *p; p++)
				fputs(*p == '|' ? "\\|" : (const char[]){*p, '\0'}, out);
			fprintf(out, "` | %s |\n", o->text);
		}
	}
}

/* ---- help ---- */

static int help_words(struct ctl *ctl, json_t *words)
{
	char *argv[4] = {NULL};
	int argc = 0, used = 0;
	const struct command *cmd;
	size_t i;
	json_t *word;

	json_array_foreach(words, i, word) {
		if (argc < (int)SL_ARRAY_SIZE(argv))
			argv[argc++] = (char *)(uintptr_t)json_string_value(word);
	}
	cmd = command_find(argc, argv, &used);
	if (cmd && used == (int)json_array_size(words)) {
		help_one(ctl->out, cmd);
		return EXIT_OK;
	}
	/* "help topics": those that begin so. */
	if (argc == 1 && list_commands(ctl->out, argv[0]) > 0)
		return EXIT_OK;
	fprintf(ctl->err, "sluicectl: there is no such command; \"sluicectl help\" lists them\n");
	return EXIT_USAGE;
}

void help_option(FILE *out, int argc, char *const *argv)
{
	int used;
	const struct command *cmd = command_find(argc, argv, &used);

	if (cmd)
		help_one(out, cmd);
	else if (argc == 0 || list_commands(out, argv[0]) == 0)
		help_list(out);
}

int help_run(struct ctl *ctl, const struct command *cmd, json_t *params)
{
	json_t *words = json_object_get(params, "command");

	(void)cmd;
	if (json_object_get(params, "markdown")) {
		markdown(ctl->out);
		return EXIT_OK;
	}
	if (words)
		return help_words(ctl, words);
	help_list(ctl->out);
	return EXIT_OK;
}
