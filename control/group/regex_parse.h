/* SPDX-License-Identifier: Apache-2.0 */
/* The tree of a regular expression: from regex_parse.c to regex.c. */
#ifndef CONTROL_GROUP_REGEX_PARSE_H
#define CONTROL_GROUP_REGEX_PARSE_H

#include "regex.h"

#define REGEX_NODE_NONE UINT32_MAX

enum regex_node_kind {
	REGEX_NODE_EMPTY = 0,
	REGEX_NODE_CLASS,  /* one byte of @set */
	REGEX_NODE_CAT,    /* @left, then @right */
	REGEX_NODE_ALT,    /* @left or @right */
	REGEX_NODE_REPEAT, /* @left, @min to @max times; -1 without end */
	REGEX_NODE_ASSERT, /* @assertion holds here */
};

enum regex_assertion {
	REGEX_TEXT_BEGIN = 0,
	REGEX_TEXT_END,
	REGEX_LINE_BEGIN,
	REGEX_LINE_END,
	REGEX_WORD,
	REGEX_NO_WORD,
};

struct regex_set {
	uint64_t bits[4];
};

struct regex_node {
	enum regex_node_kind kind;
	enum regex_assertion assertion;
	uint32_t left;
	uint32_t right;
	int32_t min;
	int32_t max;
	struct regex_set set;
};

struct regex_tree {
	struct regex_node *nodes; /* Owned. */
	uint32_t count;
	uint32_t root;
};

/* Return: 0, free(tree->nodes) after use; -EINVAL; -ENOMEM. */
int regex_parse(struct regex_tree *tree, struct sl_str text) SL_MUST_CHECK;
bool regex_set_has(const struct regex_set *set, uint8_t byte);

#endif
