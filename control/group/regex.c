/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs regular expressions: the tree becomes a program of steps, and a match follows all paths
 * through it at once, one byte after the other.  A step is entered once per byte at most.
 * Source: Thompson 1968; Pike's machine without captures.
 */
#include "regex.h"

#include <errno.h>
#include <stdlib.h>

#include "regex_parse.h"

enum step_kind {
	STEP_CLASS = 0, /* one byte of @set, then the next step */
	STEP_SPLIT,     /* both @to and @other */
	STEP_ASSERT,    /* the next step if @assertion holds */
	STEP_MATCH,
};

struct step {
	enum step_kind kind;
	enum regex_assertion assertion;
	uint32_t to;
	uint32_t other;
	struct regex_set set;
};

struct regex {
	struct step *steps; /* Owned. */
	uint32_t count;
	uint32_t cap;
	uint32_t start;
	bool is_full; /* more steps than may be */
	bool has_no_memory;
	uint64_t round;
	uint64_t *seen_at; /* Owned. */
	uint32_t *now;     /* Owned. */
	uint32_t *next;    /* Owned. */
	uint32_t *stack;   /* Owned.  Room for two entries per step. */
};

static uint32_t emit(struct regex *re, struct step step)
{
	if (re->count == REGEX_STEPS_MAX)
		re->is_full = true;
	if (re->is_full || re->has_no_memory)
		return 0;
	if (re->count == re->cap) {
		uint32_t cap = re->cap ? re->cap * 2 : 64;
		struct step *steps = realloc(re->steps, cap * sizeof(*steps));

		if (!steps) {
			re->has_no_memory = true;
			return 0;
		}
		re->steps = steps;
		re->cap = cap;
	}
	re->steps[re->count] = step;
	return re->count++;
}

static bool is_failed(const struct regex *re)
{
	return re->is_full || re->has_no_memory;
}

static uint32_t compile(struct regex *re, const struct regex_tree *tree, uint32_t node,
                        uint32_t next);

/* Programs are made from their end: each part is told where it goes on. */
static uint32_t compile_repeat(struct regex *re, const struct regex_tree *tree,
                               const struct regex_node *n, uint32_t next)
{
	uint32_t at = next;

	if (n->max < 0) {
		uint32_t loop = emit(re, (struct step){.kind = STEP_SPLIT, .other = next});
		uint32_t body = compile(re, tree, n->left, loop);

		if (is_failed(re))
			return 0;
		re->steps[loop].to = body;
		at = loop;
	}
	for (int32_t i = n->min; i < n->max && !is_failed(re); i++) {
		uint32_t body = compile(re, tree, n->left, at);

		at = emit(re, (struct step){.kind = STEP_SPLIT, .to = body, .other = next});
	}
	for (int32_t i = 0; i < n->min && !is_failed(re); i++) {
		uint32_t before = re->count;

		at = compile(re, tree, n->left, at);
		/* Nothing, repeated, is nothing; nested repetitions of it would take for ever. */
		if (re->count == before)
			break;
	}
	return at;
}

/* Deep only to the left of sequences and alternatives, by the length of the expression at most. */
static uint32_t compile(struct regex *re, const struct regex_tree *tree, uint32_t node,
                        uint32_t next)
{
	const struct regex_node *n = &tree->nodes[node];
	uint32_t right;

	if (is_failed(re))
		return 0;
	switch (n->kind) {
	case REGEX_NODE_EMPTY:
		return next;
	case REGEX_NODE_CLASS:
		return emit(re, (struct step){.kind = STEP_CLASS, .set = n->set, .to = next});
	case REGEX_NODE_ASSERT:
		return emit(re, (struct step){.kind = STEP_ASSERT,
		                              .assertion = n->assertion,
		                              .to = next});
	case REGEX_NODE_CAT:
		return compile(re, tree, n->left, compile(re, tree, n->right, next));
	case REGEX_NODE_ALT:
		right = compile(re, tree, n->right, next);
		return emit(re, (struct step){.kind = STEP_SPLIT,
		                              .to = compile(re, tree, n->left, next),
		                              .other = right});
	case REGEX_NODE_REPEAT:
		break;
	}
	return compile_repeat(re, tree, n, next);
}

int regex_create(struct regex **out, struct sl_str text)
{
	struct regex_tree tree;
	struct regex *re;
	int err = regex_parse(&tree, text);

	if (err)
		return err;
	re = calloc(1, sizeof(*re));
	if (!re) {
		free(tree.nodes);
		return -ENOMEM;
	}
	re->start = compile(re, &tree, tree.root, emit(re, (struct step){.kind = STEP_MATCH}));
	free(tree.nodes);
	re->seen_at = calloc((size_t)re->count + 1, sizeof(*re->seen_at));
	re->now = calloc((size_t)re->count + 1, sizeof(*re->now));
	re->next = calloc((size_t)re->count + 1, sizeof(*re->next));
	re->stack = calloc((size_t)re->count * 2 + 1, sizeof(*re->stack));
	if (!is_failed(re) && re->seen_at && re->now && re->next && re->stack) {
		*out = re;
		return 0;
	}
	err = re->is_full ? -EINVAL : -ENOMEM;
	regex_destroy(re);
	return err;
}

void regex_destroy(struct regex *re)
{
	if (!re)
		return;
	free(re->steps);
	free(re->seen_at);
	free(re->now);
	free(re->next);
	free(re->stack);
	free(re);
}

static bool is_word(struct sl_str text, int32_t at)
{
	char ch;

	if (at < 0 || at >= text.len)
		return false;
	ch = text.p[at];
	return ch == '_' || (ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'z') ||
	       (ch >= 'A' && ch <= 'Z');
}

static bool holds(enum regex_assertion assertion, struct sl_str text, int32_t at)
{
	switch (assertion) {
	case REGEX_TEXT_BEGIN:
		return at == 0;
	case REGEX_TEXT_END:
		return at == text.len;
	case REGEX_LINE_BEGIN:
		return at == 0 || text.p[at - 1] == '\n';
	case REGEX_LINE_END:
		return at == text.len || text.p[at] == '\n';
	case REGEX_WORD:
		return is_word(text, at - 1) != is_word(text, at);
	case REGEX_NO_WORD:
		break;
	}
	return is_word(text, at - 1) == is_word(text, at);
}

/* Enters a step and whatever is reached from it without a byte.  Return: whether that is the end.
 */
static bool enter(struct regex *re, uint32_t *list, uint32_t *count, uint32_t step,
                  struct sl_str text, int32_t at)
{
	bool is_match = false;
	uint32_t depth = 0;

	re->stack[depth++] = step;
	while (depth > 0) {
		const struct step *s;

		step = re->stack[--depth];
		if (re->seen_at[step] == re->round)
			continue;
		re->seen_at[step] = re->round;
		s = &re->steps[step];
		if (s->kind == STEP_MATCH) {
			is_match = true;
		} else if (s->kind == STEP_CLASS) {
			list[(*count)++] = step;
		} else if (s->kind == STEP_SPLIT) {
			re->stack[depth++] = s->to;
			re->stack[depth++] = s->other;
		} else if (holds(s->assertion, text, at)) {
			re->stack[depth++] = s->to;
		}
	}
	return is_match;
}

bool regex_matches(struct regex *re, struct sl_str text)
{
	uint32_t *now = re->now;
	uint32_t *next = re->next;
	uint32_t count = 0;
	bool is_match;

	text.len = SL_MAX(text.len, 0);
	re->round++;
	is_match = enter(re, now, &count, re->start, text, 0);
	for (int32_t at = 0; at < text.len; at++) {
		uint32_t next_count = 0;
		uint32_t *swap = now;

		is_match = false;
		re->round++;
		for (uint32_t i = 0; i < count; i++) {
			const struct step *s = &re->steps[now[i]];

			if (regex_set_has(&s->set, (uint8_t)text.p[at]) &&
			    enter(re, next, &next_count, s->to, text, at + 1))
				is_match = true;
		}
		now = next;
		next = swap;
		count = next_count;
		if (count == 0 && !is_match)
			return false;
	}
	return is_match;
}
