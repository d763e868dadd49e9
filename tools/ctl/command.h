/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands, once: what they are called, what they take, what they call on the server and how
 * the answer is shown.  Parsing, help, completion and sluicectl.md all go over this table.
 */
#ifndef CTL_COMMAND_H
#define CTL_COMMAND_H

#include <jansson.h>
#include <stdio.h>

#include "sluice/base/base.h"

#include "client.h"

#define COMMAND_ARGS_MAX    4
#define COMMAND_OPTIONS_MAX 5

enum command_exit {
	EXIT_OK = 0,
	EXIT_SERVER = 1,  /* the server answered with an error */
	EXIT_USAGE = 2,   /* the command line is wrong */
	EXIT_CONNECT = 3, /* no connection, or it broke */
};

enum command_type {
	COMMAND_TEXT = 0,
	COMMAND_NUMBER,
	COMMAND_NUMBER_OR_TEXT, /* a number where it is one */
	COMMAND_PAIRS,          /* KEY=VALUE, repeatable: an object */
	COMMAND_LIST,           /* repeatable: an array */
	COMMAND_FLAG,           /* takes no value */
};

/* What can be completed: words divided by blanks, or one of these. */
#define COMPLETE_TOPICS   "@topics"
#define COMPLETE_GROUPS   "@groups"
#define COMPLETE_COMMANDS "@commands"
#define COMPLETE_MODULES  "@modules"

struct command_arg {
	const char *name; /* as shown: NAME */
	const char *key;  /* of the parameter; for run functions of our own: of their options */
	bool is_optional;
	const char *complete; /* or NULL */
	enum command_type type;
};

struct command_option {
	const char *name; /* "--partitions" */
	const char *arg;  /* as shown: N; NULL for flags */
	const char *key;
	enum command_type type;
	const char *text;
	const char *complete; /* or NULL */
};

struct ctl {
	struct client client;
	const char *socket; /* NULL: the usual ones */
	bool is_connected;
	bool is_json;
	FILE *out;
	FILE *err;
};

struct command;
/* Return: exit status.  @params: borrowed. */
typedef int command_run(struct ctl *ctl, const struct command *cmd, json_t *params);
typedef void command_show(FILE *out, json_t *result);

struct command {
	const char *words;                         /* "topics create" */
	const char *text;                          /* what it does, without a full stop */
	const char *method;                        /* of the server; NULL: run alone knows */
	command_run *run;                          /* NULL: call the method, show the result */
	command_show *show;                        /* NULL with run */
	struct command_arg args[COMMAND_ARGS_MAX]; /* until a name is NULL */
	struct command_option options[COMMAND_OPTIONS_MAX]; /* until a name is NULL */
};

/* NULL at the end of @index. */
const struct command *command_at(unsigned index);
/* The command whose words begin @argv; *used says how many words.  NULL: there is none. */
const struct command *command_find(int argc, char *const *argv, int *used);
/* "NAME [--partitions N] [--config KEY=VALUE]..." */
void command_usage(FILE *out, const struct command *cmd);

/* The default of command.run, and what others are made of. */

/* Calls @method, prints errors.  @params: taken.  Return: exit status; *out is set on EXIT_OK. */
int command_call(struct ctl *ctl, const char *method, json_t *params, json_t **out);
/* Prints a result: as JSON, or by @show. */
void command_print(struct ctl *ctl, json_t *result, command_show *show);

/* run.c: commands that are more than one call. */
command_run run_topics_list, run_partitions, run_topics_config, run_groups_config, run_reset,
	run_delete_offsets, run_lanes, run_top;
/* help.c, complete.c */
command_run help_run, complete_run;
/* show.c */
command_show show_status, show_doctor, show_topics, show_topic, show_topic_created,
	show_topic_deleted, show_configs, show_partitions, show_connections, show_steer,
	show_levels, show_count_sites, show_done;
/* show_groups.c */
command_show show_groups, show_group, show_group_lag, show_group_deleted, show_reset,
	show_offsets_deleted;
/* show_txns.c */
command_show show_txns, show_txn, show_hanging, show_txn_aborted;
/* show_lanes.c */
command_show show_counters;
/* Two answers of `lanes`; what happened between them. */
void show_lanes_between(FILE *out, json_t *before, json_t *after);

#endif
