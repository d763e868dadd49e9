/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a regular expression into a tree, by recursive descent.  The depth of groups is bounded, so
 * the stack is; every byte makes a bounded number of nodes, so their array is sized once.
 * Source: RE2's syntax page.
 */
#include "regex_parse.h"

#include <errno.h>
#include <stdlib.h>

/* A byte gives its own node, one that joins it to what was before, and perhaps an empty one. */
#define NODES_PER_BYTE 3u
#define NODES_SPARE    4u

struct flags {
	bool is_caseless;
	bool is_multiline;
	bool is_dot_all;
};

struct parser {
	const char *p;
	const char *end;
	struct regex_tree *tree;
	uint32_t nodes_max;
	uint32_t depth;
	struct flags flags;
	bool is_bad;
};

static uint32_t parse_alternatives(struct parser *ps);

bool regex_set_has(const struct regex_set *set, uint8_t byte)
{
	return (set->bits[byte >> 6] >> (byte & 63)) & 1;
}

static void set_add(struct regex_set *set, uint8_t byte)
{
	set->bits[byte >> 6] |= UINT64_C(1) << (byte & 63);
}

static void set_add_range(struct regex_set *set, uint32_t first, uint32_t last)
{
	for (uint32_t b = first; b <= last; b++)
		set_add(set, (uint8_t)b);
}

static void set_invert(struct regex_set *set)
{
	for (uint32_t i = 0; i < SL_ARRAY_SIZE(set->bits); i++)
		set->bits[i] = ~set->bits[i];
}

static void set_merge(struct regex_set *to, const struct regex_set *from)
{
	for (uint32_t i = 0; i < SL_ARRAY_SIZE(to->bits); i++)
		to->bits[i] |= from->bits[i];
}

static void set_fold(struct regex_set *set)
{
	for (uint8_t b = 'a'; b <= 'z'; b++) {
		uint8_t upper = (uint8_t)(b - 'a' + 'A');

		if (regex_set_has(set, b))
			set_add(set, upper);
		else if (regex_set_has(set, upper))
			set_add(set, b);
	}
}

static uint32_t add_node(struct parser *ps, struct regex_node node)
{
	if (ps->tree->count == ps->nodes_max) {
		ps->is_bad = true;
		return 0;
	}
	ps->tree->nodes[ps->tree->count] = node;
	return ps->tree->count++;
}

static uint32_t add_set(struct parser *ps, struct regex_set set)
{
	if (ps->flags.is_caseless)
		set_fold(&set);
	return add_node(ps, (struct regex_node){.kind = REGEX_NODE_CLASS, .set = set});
}

static uint32_t add_literal(struct parser *ps, uint8_t byte)
{
	struct regex_set set = {{0}};

	set_add(&set, byte);
	return add_set(ps, set);
}

static uint32_t add_assertion(struct parser *ps, enum regex_assertion assertion)
{
	return add_node(ps, (struct regex_node){.kind = REGEX_NODE_ASSERT, .assertion = assertion});
}

static bool is_at_end(const struct parser *ps)
{
	return ps->p == ps->end;
}

static bool accept(struct parser *ps, char ch)
{
	if (is_at_end(ps) || *ps->p != ch)
		return false;
	ps->p++;
	return true;
}

static bool accept_text(struct parser *ps, const char *text)
{
	size_t len = strlen(text);

	if ((size_t)(ps->end - ps->p) < len || memcmp(ps->p, text, len) != 0)
		return false;
	ps->p += len;
	return true;
}

static uint32_t fail(struct parser *ps)
{
	ps->is_bad = true;
	return 0;
}

/* \d and its kind.  False: another letter. */
static bool perl_set(char letter, struct regex_set *set)
{
	*set = (struct regex_set){{0}};
	switch (letter | 0x20) {
	case 'd':
		set_add_range(set, '0', '9');
		break;
	case 'w':
		set_add_range(set, '0', '9');
		set_add_range(set, 'A', 'Z');
		set_add_range(set, 'a', 'z');
		set_add(set, '_');
		break;
	case 's':
		set_add_range(set, '\t', '\n');
		set_add_range(set, '\f', '\r');
		set_add(set, ' ');
		break;
	default:
		return false;
	}
	if (letter < 'a')
		set_invert(set);
	return true;
}

static int hex_digit(char ch)
{
	if (ch >= '0' && ch <= '9')
		return ch - '0';
	ch |= 0x20;
	return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

/* After "\x": two digits, or any number of them in braces. */
static int32_t parse_hex(struct parser *ps)
{
	bool is_braced = accept(ps, '{');
	int32_t value = 0;
	uint32_t digits = 0;

	while (!is_at_end(ps) && hex_digit(*ps->p) >= 0 && (is_braced || digits < 2)) {
		value = value * 16 + hex_digit(*ps->p++);
		if (value > 0x7f)
			return -1;
		digits++;
	}
	if (digits == 0 || (!is_braced && digits != 2) || (is_braced && !accept(ps, '}')))
		return -1;
	return value;
}

/* The byte behind a backslash that stands for one byte; -1: not of that kind. */
static int32_t parse_escaped_byte(struct parser *ps)
{
	static const char letters[] = "aftnrv";
	static const char bytes[] = "\a\f\t\n\r\v";
	char ch;
	const char *at;

	if (is_at_end(ps))
		return -1;
	ch = *ps->p++;
	if (ch == 'x')
		return parse_hex(ps);
	at = ch != '\0' ? strchr(letters, ch) : NULL;
	if (at)
		return bytes[at - letters];
	/* Punctuation stands for itself; other letters and digits have no meaning here. */
	if (ch <= ' ' || ch == 0x7f || (ch >= '0' && ch <= '9') ||
	    ((ch | 0x20) >= 'a' && (ch | 0x20) <= 'z'))
		return -1;
	return ch;
}

static bool parse_named_class(struct parser *ps, struct regex_set *set)
{
	static const struct {
		const char *name;
		const char *ranges; /* pairs of first and last */
	} classes[] = {
		{"alnum:]", "09AZaz"},
		{"alpha:]", "AZaz"},
		{"ascii:]", "\x01\x7f"},
		{"blank:]", "\t\t  "},
		{"cntrl:]", "\x01\x1f\x7f\x7f"},
		{"digit:]", "09"},
		{"graph:]", "!~"},
		{"lower:]", "az"},
		{"print:]", " ~"},
		{"punct:]", "!/:@[`{~"},
		{"space:]", "\t\r  "},
		{"upper:]", "AZ"},
		{"word:]", "09AZaz__"},
		{"xdigit:]", "09AFaf"},
	};
	bool is_negated;

	if (!accept_text(ps, "[:"))
		return false;
	is_negated = accept(ps, '^');
	for (uint32_t i = 0; i < SL_ARRAY_SIZE(classes); i++) {
		struct regex_set named = {{0}};

		if (!accept_text(ps, classes[i].name))
			continue;
		for (const char *r = classes[i].ranges; *r; r += 2)
			set_add_range(&named, (uint8_t)r[0], (uint8_t)r[1]);
		if (is_negated)
			set_invert(&named);
		set_merge(set, &named);
		return true;
	}
	ps->is_bad = true;
	return true;
}

/* One end of a range in a class; -1: a whole set was added, or the expression is bad. */
static int32_t parse_class_item(struct parser *ps, struct regex_set *set)
{
	struct regex_set escaped;
	int32_t byte;

	if (parse_named_class(ps, set))
		return -1;
	if (!accept(ps, '\\'))
		return (uint8_t)*ps->p++;
	if (!is_at_end(ps) && perl_set(*ps->p, &escaped)) {
		ps->p++;
		set_merge(set, &escaped);
		return -1;
	}
	byte = parse_escaped_byte(ps);
	ps->is_bad |= byte < 0;
	return byte;
}

static uint32_t parse_class(struct parser *ps)
{
	bool is_negated = accept(ps, '^');
	struct regex_set set = {{0}};
	bool is_first = true;

	for (; !ps->is_bad; is_first = false) {
		int32_t first;
		int32_t last;

		if (is_at_end(ps))
			return fail(ps);
		if (!is_first && accept(ps, ']'))
			break;
		first = parse_class_item(ps, &set);
		last = first;
		if (ps->end - ps->p >= 2 && ps->p[0] == '-' && ps->p[1] != ']') {
			ps->p++;
			last = parse_class_item(ps, &set);
			if (first < 0 || last < first)
				return fail(ps);
		}
		if (first >= 0 && !ps->is_bad)
			set_add_range(&set, (uint32_t)first, (uint32_t)last);
	}
	if (ps->flags.is_caseless)
		set_fold(&set);
	if (is_negated)
		set_invert(&set);
	return add_node(ps, (struct regex_node){.kind = REGEX_NODE_CLASS, .set = set});
}

/* "i", "ms-i" and the like, up to ')' or ':'. */
static void parse_flags(struct parser *ps)
{
	bool is_on = true;
	bool has_any = false;

	while (!is_at_end(ps) && *ps->p != ')' && *ps->p != ':') {
		switch (*ps->p++) {
		case 'i':
			ps->flags.is_caseless = is_on;
			break;
		case 'm':
			ps->flags.is_multiline = is_on;
			break;
		case 's':
			ps->flags.is_dot_all = is_on;
			break;
		case 'U': /* which of equal matches is of no interest */
			break;
		case '-':
			ps->is_bad |= !is_on;
			is_on = false;
			has_any = false;
			continue;
		default:
			ps->is_bad = true;
			return;
		}
		has_any = true;
	}
	ps->is_bad |= !has_any && !is_on;
}

static void parse_group_name(struct parser *ps)
{
	const char *start = ps->p;

	while (!is_at_end(ps) && *ps->p != '>') {
		struct regex_set word;

		if (!perl_set('w', &word) || !regex_set_has(&word, (uint8_t)*ps->p)) {
			ps->is_bad = true;
			return;
		}
		ps->p++;
	}
	if (ps->p == start || !accept(ps, '>'))
		ps->is_bad = true;
}

static uint32_t parse_group(struct parser *ps)
{
	struct flags before = ps->flags;
	uint32_t node;

	if (++ps->depth > REGEX_DEPTH_MAX)
		return fail(ps);
	if (accept_text(ps, "?P<") || accept_text(ps, "?<")) {
		parse_group_name(ps);
	} else if (accept(ps, '?')) {
		parse_flags(ps);
		if (!ps->is_bad && accept(ps, ')')) {
			/* They hold until the enclosing group ends. */
			ps->depth--;
			return add_node(ps, (struct regex_node){.kind = REGEX_NODE_EMPTY});
		}
		if (!accept(ps, ':'))
			return fail(ps);
	}
	if (ps->is_bad)
		return 0;
	node = parse_alternatives(ps);
	if (!accept(ps, ')'))
		return fail(ps);
	ps->flags = before;
	ps->depth--;
	return node;
}

static uint32_t join(struct parser *ps, uint32_t left, uint32_t right)
{
	if (left == REGEX_NODE_NONE)
		return right;
	return add_node(ps,
	                (struct regex_node){.kind = REGEX_NODE_CAT, .left = left, .right = right});
}

/* Everything up to \E, or to the end, as it stands. */
static uint32_t parse_quoted(struct parser *ps)
{
	uint32_t node = REGEX_NODE_NONE;

	while (!is_at_end(ps) && !accept_text(ps, "\\E") && !ps->is_bad)
		node = join(ps, node, add_literal(ps, (uint8_t)*ps->p++));
	if (node == REGEX_NODE_NONE)
		node = add_node(ps, (struct regex_node){.kind = REGEX_NODE_EMPTY});
	return node;
}

static uint32_t parse_escape(struct parser *ps)
{
	struct regex_set set;
	int32_t byte;

	if (is_at_end(ps))
		return fail(ps);
	if (perl_set(*ps->p, &set)) {
		ps->p++;
		return add_node(ps, (struct regex_node){.kind = REGEX_NODE_CLASS, .set = set});
	}
	switch (*ps->p) {
	case 'A':
		ps->p++;
		return add_assertion(ps, REGEX_TEXT_BEGIN);
	case 'z':
		ps->p++;
		return add_assertion(ps, REGEX_TEXT_END);
	case 'b':
		ps->p++;
		return add_assertion(ps, REGEX_WORD);
	case 'B':
		ps->p++;
		return add_assertion(ps, REGEX_NO_WORD);
	case 'Q':
		ps->p++;
		return parse_quoted(ps);
	default:
		byte = parse_escaped_byte(ps);
		return byte < 0 ? fail(ps) : add_literal(ps, (uint8_t)byte);
	}
}

static uint32_t parse_atom(struct parser *ps)
{
	struct regex_set set = {{0}};
	char ch = *ps->p++;

	switch (ch) {
	case '(':
		return parse_group(ps);
	case '[':
		return parse_class(ps);
	case '\\':
		return parse_escape(ps);
	case '.':
		if (!ps->flags.is_dot_all)
			set_add(&set, '\n');
		set_invert(&set);
		return add_node(ps, (struct regex_node){.kind = REGEX_NODE_CLASS, .set = set});
	case '^':
		return add_assertion(ps,
		                     ps->flags.is_multiline ? REGEX_LINE_BEGIN : REGEX_TEXT_BEGIN);
	case '$':
		return add_assertion(ps, ps->flags.is_multiline ? REGEX_LINE_END : REGEX_TEXT_END);
	case '*':
	case '+':
	case '?':
		return fail(ps);
	default:
		return add_literal(ps, (uint8_t)ch);
	}
}

/* A number in a counted repetition; -1: none. */
static int32_t parse_count(struct parser *ps)
{
	int32_t value = -1;

	while (!is_at_end(ps) && *ps->p >= '0' && *ps->p <= '9') {
		value = SL_MAX(value, 0) * 10 + (*ps->p++ - '0');
		if (value > REGEX_REPEAT_MAX)
			value = REGEX_REPEAT_MAX + 1;
	}
	return value;
}

/* "{n}", "{n,}", "{n,m}".  False: the brace is a literal, nothing was read. */
static bool parse_braces(struct parser *ps, int32_t *min, int32_t *max)
{
	const char *start = ps->p;

	if (!accept(ps, '{'))
		return false;
	*min = parse_count(ps);
	*max = *min;
	if (accept(ps, ','))
		*max = parse_count(ps);
	if (*min < 0 || !accept(ps, '}')) {
		ps->p = start;
		return false;
	}
	if (*min > REGEX_REPEAT_MAX || *max > REGEX_REPEAT_MAX || (*max >= 0 && *max < *min))
		ps->is_bad = true;
	return true;
}

static bool parse_repetition(struct parser *ps, int32_t *min, int32_t *max)
{
	*min = 0;
	*max = -1;
	if (accept(ps, '*'))
		return true;
	if (accept(ps, '+')) {
		*min = 1;
		return true;
	}
	if (accept(ps, '?')) {
		*max = 1;
		return true;
	}
	return parse_braces(ps, min, max);
}

static uint32_t parse_repeated(struct parser *ps)
{
	uint32_t node = parse_atom(ps);
	int32_t min;
	int32_t max;

	if (ps->is_bad || !parse_repetition(ps, &min, &max))
		return node;
	(void)accept(ps, '?');
	node = add_node(ps,
	                (struct regex_node){
				.kind = REGEX_NODE_REPEAT, .left = node, .min = min, .max = max});
	/* As in RE2, "a**" is a mistake and not a star of a star. */
	if (parse_repetition(ps, &min, &max))
		return fail(ps);
	return node;
}

static uint32_t parse_alternatives(struct parser *ps)
{
	uint32_t all = REGEX_NODE_NONE;

	do {
		uint32_t one = REGEX_NODE_NONE;

		while (!ps->is_bad && !is_at_end(ps) && *ps->p != '|' && *ps->p != ')')
			one = join(ps, one, parse_repeated(ps));
		if (one == REGEX_NODE_NONE)
			one = add_node(ps, (struct regex_node){.kind = REGEX_NODE_EMPTY});
		if (all == REGEX_NODE_NONE)
			all = one;
		else
			all = add_node(ps, (struct regex_node){.kind = REGEX_NODE_ALT,
			                                       .left = all,
			                                       .right = one});
	} while (!ps->is_bad && accept(ps, '|'));
	return all;
}

int regex_parse(struct regex_tree *tree, struct sl_str text)
{
	struct parser ps = {.p = text.p, .end = text.p + text.len, .tree = tree};

	*tree = (struct regex_tree){0};
	if (text.len <= 0 || text.len > REGEX_BYTES_MAX)
		return -EINVAL;
	for (int32_t i = 0; i < text.len; i++) {
		if ((uint8_t)text.p[i] >= 0x80)
			return -EINVAL;
	}
	ps.nodes_max = (uint32_t)text.len * NODES_PER_BYTE + NODES_SPARE;
	tree->nodes = calloc(ps.nodes_max, sizeof(*tree->nodes));
	if (!tree->nodes)
		return -ENOMEM;
	tree->root = parse_alternatives(&ps);
	if (!ps.is_bad && is_at_end(&ps))
		return 0;
	free(tree->nodes);
	tree->nodes = NULL;
	return -EINVAL;
}
