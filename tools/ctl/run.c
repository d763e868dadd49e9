/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that are more than one call with its answer. */
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "text.h"

#define PAGE_ROWS      5000
#define INTERVAL_MAX_S 3600

/* ---- Lists in pages ---- */

/* Appends @key of the next page to @all.  Return: exit status; *next: where to go on, or NULL. */
static int next_page(struct ctl *ctl, const struct command *cmd, json_t *params, json_t *all,
                     json_t **next)
{
	const char *key = strcmp(cmd->method, "topics.list") == 0 ? "topics" : "partitions";
	json_t *page;
	int status = command_call(ctl, cmd->method, json_incref(params), &page);

	if (status != EXIT_OK)
		return status;
	*next = json_incref(json_object_get(page, "next"));
	if (json_array_extend(all, json_object_get(page, key)) < 0)
		status = EXIT_CONNECT;
	json_decref(page);
	return status;
}

static int read_pages(struct ctl *ctl, const struct command *cmd, json_t *params, json_t *all)
{
	json_t *next = NULL;
	int status;

	json_object_set_new(params, "limit", json_integer(PAGE_ROWS));
	for (;;) {
		status = next_page(ctl, cmd, params, all, &next);
		if (status != EXIT_OK || !next || json_is_null(next))
			break;
		if (json_is_string(next)) {
			json_object_set(params, "after", next);
		} else {
			json_object_set(params, "after_topic", json_object_get(next, "topic"));
			json_object_set(params, "after_partition",
			                json_object_get(next, "partition"));
		}
		json_decref(next);
		next = NULL;
	}
	json_decref(next);
	return status;
}

static int run_list(struct ctl *ctl, const struct command *cmd, json_t *params, const char *key,
                    command_show *show)
{
	json_t *all = json_array();
	json_t *result = json_pack("{s:O, s:n}", key, all, "next");
	int status = read_pages(ctl, cmd, params, all);

	if (status == EXIT_OK)
		command_print(ctl, result, show);
	json_decref(all);
	json_decref(result);
	return status;
}

int run_topics_list(struct ctl *ctl, const struct command *cmd, json_t *params)
{
	return run_list(ctl, cmd, params, "topics", show_topics);
}

int run_partitions(struct ctl *ctl, const struct command *cmd, json_t *params)
{
	return run_list(ctl, cmd, params, "partitions", show_partitions);
}

/* ---- topics config, groups config, groups reset-offsets, groups delete-offsets ---- */

/* @who: the parameter that names what is configured. */
static int run_config(struct ctl *ctl, const char *get, const char *set, const char *who,
                      json_t *params)
{
	bool is_change = json_object_get(params, "set") || json_object_get(params, "delete");
	json_t *name = json_object_get(params, who);
	json_t *result;
	int status;

	if (is_change) {
		status = command_call(ctl, set, json_incref(params), &result);
		if (status != EXIT_OK)
			return status;
		json_decref(result);
	} else if (json_object_get(params, "validate_only")) {
		fprintf(ctl->err, "sluicectl: --validate-only goes with --set or --delete\n");
		return EXIT_USAGE;
	}
	status = command_call(ctl, get, json_pack("{s:O}", who, name), &result);
	if (status == EXIT_OK) {
		command_print(ctl, result, show_configs);
		json_decref(result);
	}
	return status;
}

int run_topics_config(struct ctl *ctl, const struct command *cmd, json_t *params)
{
	(void)cmd;
	return run_config(ctl, "topics.config.get", "topics.config.set", "name", params);
}

int run_groups_config(struct ctl *ctl, const struct command *cmd, json_t *params)
{
	(void)cmd;
	return run_config(ctl, "groups.config.get", "groups.config.set", "group", params);
}

/* "topic:3" into topic and partition.  Topic names have no colon. */
static int split_topic(json_t *params)
{
	const char *text = json_string_value(json_object_get(params, "topic"));
	const char *colon = text ? strrchr(text, ':') : NULL;
	char *end;
	long long partition;

	if (!text)
		return -ENOENT;
	if (!colon)
		return 0;
	errno = 0;
	partition = strtoll(colon + 1, &end, 10);
	if (errno || end == colon + 1 || *end || partition < 0)
		return -EINVAL;
	json_object_set_new(params, "partition", json_integer(partition));
	return json_object_set_new(params, "topic", json_stringn(text, (size_t)(colon - text)));
}

/* Return: EXIT_OK, or EXIT_USAGE after saying what is wrong. */
static int take_topic(struct ctl *ctl, json_t *params)
{
	int rc = split_topic(params);

	if (rc == 0)
		return EXIT_OK;
	fprintf(ctl->err, "sluicectl: --topic %s\n",
	        rc == -ENOENT ? "is needed" : "is TOPIC or TOPIC:PARTITION");
	return EXIT_USAGE;
}

static int call_and_show(struct ctl *ctl, const struct command *cmd, json_t *params)
{
	json_t *result;
	int status = command_call(ctl, cmd->method, json_incref(params), &result);

	if (status == EXIT_OK) {
		command_print(ctl, result, cmd->show);
		json_decref(result);
	}
	return status;
}

int run_reset(struct ctl *ctl, const struct command *cmd, json_t *params)
{
	if (take_topic(ctl, params) != EXIT_OK)
		return EXIT_USAGE;
	if (!json_object_get(params, "to") == !json_object_get(params, "shift")) {
		fprintf(ctl->err, "sluicectl: give --to or --shift\n");
		return EXIT_USAGE;
	}
	return call_and_show(ctl, cmd, params);
}

int run_delete_offsets(struct ctl *ctl, const struct command *cmd, json_t *params)
{
	if (take_topic(ctl, params) != EXIT_OK)
		return EXIT_USAGE;
	return call_and_show(ctl, cmd, params);
}

/* ---- lanes, top ---- */

static void wait_ms(int64_t ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) == EINTR)
		;
}

/* Return: milliseconds, or -1 after saying what is wrong. */
static int64_t interval_ms(struct ctl *ctl, json_t *params)
{
	json_t *v = json_object_get(params, "interval");
	json_int_t s = v ? json_integer_value(v) : 1;

	if (s >= 1 && s <= INTERVAL_MAX_S)
		return s * 1000;
	fprintf(ctl->err, "sluicectl: --interval is 1 to %d seconds\n", INTERVAL_MAX_S);
	return -1;
}

int run_lanes(struct ctl *ctl, const struct command *cmd, json_t *params)
{
	int64_t ms = interval_ms(ctl, params);
	json_t *before, *after;
	int status;

	if (ms < 0)
		return EXIT_USAGE;
	status = command_call(ctl, cmd->method, NULL, &before);
	if (status != EXIT_OK)
		return status;
	if (ctl->is_json) {
		command_print(ctl, before, NULL);
		json_decref(before);
		return EXIT_OK;
	}
	wait_ms(ms);
	status = command_call(ctl, cmd->method, NULL, &after);
	if (status == EXIT_OK) {
		show_lanes_between(ctl->out, before, after);
		json_decref(after);
	}
	json_decref(before);
	return status;
}

/* One picture; *before is replaced by the lanes of now. */
static int show_picture(struct ctl *ctl, json_t **before)
{
	json_t *state, *lanes;
	int status = command_call(ctl, "status", NULL, &state);

	if (status != EXIT_OK)
		return status;
	/* Clear the screen, cursor to the top. */
	if (isatty(fileno(ctl->out)))
		fputs("\033[H\033[2J", ctl->out);
	show_status(ctl->out, state);
	json_decref(state);
	status = command_call(ctl, "lanes", NULL, &lanes);
	/* The data plane may be away for a while; the next picture shows it again. */
	if (status == EXIT_SERVER)
		return EXIT_OK;
	if (status != EXIT_OK)
		return status;
	if (*before) {
		fputc('\n', ctl->out);
		show_lanes_between(ctl->out, *before, lanes);
	}
	fflush(ctl->out);
	json_decref(*before);
	*before = lanes;
	return EXIT_OK;
}

int run_top(struct ctl *ctl, const struct command *cmd, json_t *params)
{
	int64_t ms = interval_ms(ctl, params);
	json_t *count = json_object_get(params, "count");
	json_int_t left = count ? json_integer_value(count) : -1;
	json_t *before = NULL;
	int status = EXIT_OK;

	(void)cmd;
	if (ms < 0)
		return EXIT_USAGE;
	if (ctl->is_json) {
		fprintf(ctl->err, "sluicectl: top is for people; use \"--json lanes\"\n");
		return EXIT_USAGE;
	}
	while (status == EXIT_OK && left != 0) {
		status = show_picture(ctl, &before);
		left -= left > 0;
		if (status == EXIT_OK && left != 0)
			wait_ms(ms);
	}
	json_decref(before);
	return status;
}
