/* SPDX-License-Identifier: Apache-2.0 */
/* Arguments into a JSON object whose keys the table names. */
#include "parse.h"

#include <errno.h>
#include <stdlib.h>

struct parse {
	const struct command *cmd;
	json_t *params;
	unsigned args; /* positional ones seen */
	char *error;
};

static int parse_number(const char *text, json_int_t *out)
{
	char *end;

	errno = 0;
	*out = strtoll(text, &end, 10);
	return errno || end == text || *end ? -EINVAL : 0;
}

static int put(struct parse *p, const char *key, json_t *value)
{
	return json_object_set_new(p->params, key, value) < 0 ? -ENOMEM : 0;
}

static int put_pair(struct parse *p, const char *what, const char *key, const char *text)
{
	const char *eq = strchr(text, '=');
	json_t *map = json_object_get(p->params, key);
	char name[256];

	if (!eq || eq == text || (size_t)(eq - text) >= sizeof(name)) {
		snprintf(p->error, PARSE_ERROR_MAX, "%s %.100s: is not KEY=VALUE", what, text);
		return -EINVAL;
	}
	memcpy(name, text, (size_t)(eq - text));
	name[eq - text] = '\0';
	if (!map) {
		map = json_object();
		if (put(p, key, map) < 0)
			return -ENOMEM;
	}
	if (json_object_set_new(map, name, json_string(eq + 1)) < 0) {
		snprintf(p->error, PARSE_ERROR_MAX, "%s: not UTF-8", what);
		return -EINVAL;
	}
	return 0;
}

static int put_item(struct parse *p, const char *what, const char *key, const char *text)
{
	json_t *list = json_object_get(p->params, key);

	if (!list) {
		list = json_array();
		if (put(p, key, list) < 0)
			return -ENOMEM;
	}
	if (json_array_append_new(list, json_string(text)) == 0)
		return 0;
	snprintf(p->error, PARSE_ERROR_MAX, "%s: not UTF-8", what);
	return -EINVAL;
}

static int put_value(struct parse *p, const char *what, enum command_type type, const char *key,
                     const char *text)
{
	json_int_t number;
	bool is_number = parse_number(text, &number) == 0;

	switch (type) {
	case COMMAND_PAIRS:
		return put_pair(p, what, key, text);
	case COMMAND_LIST:
		return put_item(p, what, key, text);
	case COMMAND_FLAG:
		return put(p, key, json_true());
	case COMMAND_NUMBER:
		if (!is_number) {
			snprintf(p->error, PARSE_ERROR_MAX, "%s %.100s: is not a number", what,
			         text);
			return -EINVAL;
		}
		return put(p, key, json_integer(number));
	case COMMAND_NUMBER_OR_TEXT:
		if (is_number)
			return put(p, key, json_integer(number));
		break;
	case COMMAND_TEXT:
		break;
	}
	if (put(p, key, json_string(text)) == 0)
		return 0;
	snprintf(p->error, PARSE_ERROR_MAX, "%s: not UTF-8", what);
	return -EINVAL;
}

static const struct command_option *find_option(const struct command *cmd, const char *text,
                                                size_t len)
{
	for (unsigned i = 0; i < COMMAND_OPTIONS_MAX && cmd->options[i].name; i++) {
		if (strlen(cmd->options[i].name) == len &&
		    memcmp(cmd->options[i].name, text, len) == 0)
			return &cmd->options[i];
	}
	return NULL;
}

/* Return: how many of @argv it took, or -errno. */
static int parse_option(struct parse *p, int argc, char *const *argv)
{
	size_t len = strcspn(argv[0], "=");
	const struct command_option *o = find_option(p->cmd, argv[0], len);
	const char *value = argv[0][len] ? argv[0] + len + 1 : NULL;
	int used = 1, rc;

	if (!o) {
		snprintf(p->error, PARSE_ERROR_MAX, "\"%s\" has no option %.100s", p->cmd->words,
		         argv[0]);
		return -EINVAL;
	}
	if (!o->arg && value) {
		snprintf(p->error, PARSE_ERROR_MAX, "%s takes no value", o->name);
		return -EINVAL;
	}
	if (o->arg && !value) {
		if (argc < 2) {
			snprintf(p->error, PARSE_ERROR_MAX, "%s needs a value: %s", o->name,
			         o->arg);
			return -EINVAL;
		}
		value = argv[1];
		used = 2;
	}
	if (o->type != COMMAND_PAIRS && o->type != COMMAND_LIST &&
	    json_object_get(p->params, o->key)) {
		snprintf(p->error, PARSE_ERROR_MAX, "%s is given twice", o->name);
		return -EINVAL;
	}
	rc = put_value(p, o->name, o->type, o->key, value ? value : "");
	return rc < 0 ? rc : used;
}

static int parse_arg(struct parse *p, const char *text)
{
	const struct command_arg *a = p->args < COMMAND_ARGS_MAX ? &p->cmd->args[p->args] : NULL;

	if (!a || !a->name) {
		snprintf(p->error, PARSE_ERROR_MAX, "\"%s\" does not take \"%.100s\"",
		         p->cmd->words, text);
		return -EINVAL;
	}
	/* A list takes all that come. */
	if (a->type != COMMAND_LIST)
		p->args++;
	return put_value(p, a->name, a->type, a->key, text);
}

int parse_args(const struct command *cmd, int argc, char *const *argv, json_t **params,
               char error[PARSE_ERROR_MAX])
{
	struct parse p = {.cmd = cmd, .params = json_object(), .error = error};
	bool has_options = true;
	int rc = p.params ? 0 : -ENOMEM;

	snprintf(error, PARSE_ERROR_MAX, "out of memory");
	for (int i = 0; rc == 0 && i < argc;) {
		if (has_options && strcmp(argv[i], "--") == 0) {
			has_options = false;
			i++;
			continue;
		}
		if (has_options && strncmp(argv[i], "--", 2) == 0) {
			rc = parse_option(&p, argc - i, argv + i);
			i += SL_MAX(rc, 0);
			rc = SL_MIN(rc, 0);
			continue;
		}
		rc = parse_arg(&p, argv[i++]);
	}
	for (unsigned i = 0; rc == 0 && i < COMMAND_ARGS_MAX && cmd->args[i].name; i++) {
		if (!cmd->args[i].is_optional && !json_object_get(p.params, cmd->args[i].key)) {
			snprintf(error, PARSE_ERROR_MAX, "\"%s\" needs %s", cmd->words,
			         cmd->args[i].name);
			rc = -EINVAL;
		}
	}
	if (rc < 0)
		json_decref(p.params);
	else
		*params = p.params;
	return rc;
}
