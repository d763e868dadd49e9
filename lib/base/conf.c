/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values of configuration keys: checking text against a key's definition, keeping it, reading it.
 * The owner of a struct sl_conf changes it only before its threads start.
 */
#include "sluice/base/conf.h"

#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#include "conf_impl.h"
#include "sluice/base/assert.h"

#define PAIR_KEY_MAX 128 /* with the NUL; no key is nearly as long */
#define SUGGEST_MAX  64  /* longer keys get no suggestion */
#define WORDS_MAX    128 /* of a definition's words inside an error text */
#define DOUBLE_UNIT  INT64_C(1000000)

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\f' || c == '\r' || c == '\n';
}

static struct sl_str trim(struct sl_str s)
{
	while (s.len > 0 && is_blank(s.p[0])) {
		s.p++;
		s.len--;
	}
	while (s.len > 0 && is_blank(s.p[s.len - 1]))
		s.len--;
	return s;
}

const char *conf_quote(char out[CONF_QUOTE_MAX], struct sl_str s)
{
	const int32_t room = CONF_QUOTE_MAX - 4;
	int32_t n = SL_MIN(s.len, room);
	int32_t i;

	for (i = 0; i < n; i++)
		out[i] = (unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f ? '?' : s.p[i];
	memcpy(out + i, s.len > room ? "..." : "", s.len > room ? 4 : 1);
	return out;
}

static bool parse_int(struct sl_str s, int64_t *out)
{
	bool negative = s.len > 0 && s.p[0] == '-';
	int64_t v = 0;
	int32_t i = s.len > 0 && (s.p[0] == '-' || s.p[0] == '+') ? 1 : 0;

	if (i >= s.len)
		return false;
	/* Counts downwards, because INT64_MIN has no positive twin. */
	for (; i < s.len; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		if (__builtin_mul_overflow(v, (int64_t)10, &v) ||
		    __builtin_sub_overflow(v, (int64_t)(s.p[i] - '0'), &v))
			return false;
	}
	if (!negative && v == INT64_MIN)
		return false;
	*out = negative ? v : -v;
	return true;
}

/* "0.5", "1", ".25": what is behind the sixth decimal does not count. */
static bool parse_double(struct sl_str s, int64_t *out)
{
	int64_t v = 0, unit = DOUBLE_UNIT;
	bool has_digit = false, has_point = false;

	for (int32_t i = 0; i < s.len; i++) {
		if (s.p[i] == '.' && !has_point) {
			has_point = true;
			continue;
		}
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		has_digit = true;
		if (has_point)
			unit /= 10;
		if (__builtin_mul_overflow(v, has_point ? 1 : (int64_t)10, &v) ||
		    __builtin_add_overflow(v, (s.p[i] - '0') * unit, &v))
			return false;
	}
	*out = v;
	return has_digit;
}

static bool parse_bool(struct sl_str s, int64_t *out)
{
	bool is_true = s.len == 4 && strncasecmp(s.p, "true", 4) == 0;
	bool is_false = s.len == 5 && strncasecmp(s.p, "false", 5) == 0;

	*out = is_true;
	return is_true || is_false;
}

/* Is @s one of the words, '|' between? */
static bool is_word(const char *words, struct sl_str s)
{
	while (*words) {
		size_t len = strcspn(words, "|");

		if (sl_str_eq(s, (struct sl_str){words, (int32_t)len}))
			return true;
		words += len;
		if (*words)
			words++;
	}
	return false;
}

static bool is_list(const char *words, struct sl_str s)
{
	if (s.len == 0)
		return true;
	for (;;) {
		const char *comma = memchr(s.p, ',', (size_t)s.len);
		int32_t len = comma ? (int32_t)(comma - s.p) : s.len;
		struct sl_str item = trim((struct sl_str){s.p, len});

		if (item.len == 0 || (words[0] && !is_word(words, item)))
			return false;
		if (!comma)
			return true;
		s = (struct sl_str){comma + 1, s.len - len - 1};
		if (s.len == 0)
			return false;
	}
}

static int refuse(const struct sl_conf_def *def, struct sl_str text, char error[SL_CONF_ERROR_MAX])
{
	char quoted[CONF_QUOTE_MAX];
	int n = snprintf(error, SL_CONF_ERROR_MAX, "%.64s = \"%s\": must be ", def->name,
	                 conf_quote(quoted, text));
	char *end = error + n;
	size_t room = SL_CONF_ERROR_MAX - (size_t)n;

	switch (def->type) {
	case SL_CONF_BOOL:
		snprintf(end, room, "true or false");
		break;
	case SL_CONF_INT:
		snprintf(end, room, "an integer from %lld to %lld", (long long)def->min,
		         (long long)def->max);
		break;
	case SL_CONF_DOUBLE:
		snprintf(end, room, "a decimal number from %g to %g",
		         (double)def->min / DOUBLE_UNIT, (double)def->max / DOUBLE_UNIT);
		break;
	case SL_CONF_STRING:
		snprintf(end, room, "text");
		break;
	case SL_CONF_ENUM:
		snprintf(end, room, "one of %.*s", WORDS_MAX, def->words);
		break;
	case SL_CONF_LIST:
		snprintf(end, room, "a list of %.*s with ',' between", WORDS_MAX,
		         def->words[0] ? def->words : "words");
		break;
	}
	return -EINVAL;
}

int sl_conf_check(const struct sl_conf_def *def, struct sl_str text, struct sl_conf_value *out,
                  char error[SL_CONF_ERROR_MAX])
{
	char quoted[CONF_QUOTE_MAX];
	const char *why = NULL;
	int64_t v = 0;
	bool ok = true;

	if (sl_str_is_null(text)) {
		snprintf(error, SL_CONF_ERROR_MAX, "%.64s: has no value", def->name);
		return -EINVAL;
	}
	text = trim(text);
	if (text.len > SL_CONF_VALUE_MAX)
		why = "is too long";
	else if (text.len > 0 && memchr(text.p, '\0', (size_t)text.len))
		why = "contains a NUL byte";
	if (why) {
		snprintf(error, SL_CONF_ERROR_MAX, "%.64s = \"%s\": %s", def->name,
		         conf_quote(quoted, text), why);
		return -EINVAL;
	}
	switch (def->type) {
	case SL_CONF_BOOL:
		ok = parse_bool(text, &v);
		break;
	case SL_CONF_INT:
		ok = parse_int(text, &v) && v >= def->min && v <= def->max;
		break;
	case SL_CONF_DOUBLE:
		ok = parse_double(text, &v) && v >= def->min && v <= def->max;
		break;
	case SL_CONF_STRING:
		break;
	case SL_CONF_ENUM:
		ok = is_word(def->words, text);
		break;
	case SL_CONF_LIST:
		ok = is_list(def->words, text);
		break;
	}
	if (!ok)
		return refuse(def, text, error);
	if (def->type == SL_CONF_BOOL || def->type == SL_CONF_INT || def->type == SL_CONF_DOUBLE)
		out->i = v;
	return 0;
}

/* Number of characters to insert, delete or replace between two words (Levenshtein). */
static unsigned distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	unsigned row[SUGGEST_MAX + 1];

	SL_ASSERT(b_len <= SUGGEST_MAX);
	for (unsigned j = 0; j <= b_len; j++)
		row[j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		unsigned diagonal = row[0];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= b_len; j++) {
			unsigned replace = diagonal + (a[i - 1] != b[j - 1]);
			unsigned shift = 1 + SL_MIN(row[j], row[j - 1]);

			diagonal = row[j];
			row[j] = SL_MIN(replace, shift);
		}
	}
	return row[b_len];
}

/* The known key that looks most like @key, or NULL when none is close. */
static const char *nearest_key(const char *key)
{
	size_t len = strlen(key);
	unsigned best = SL_MAX(2u, (unsigned)len / 5) + 1;
	const char *found = NULL;

	if (len > SUGGEST_MAX)
		return NULL;
	for (int i = 0; i < SL_CK_NR; i++) {
		const char *name = sl_conf_broker_defs[i].name;
		size_t name_len = strlen(name);
		unsigned d;

		if (name_len > SUGGEST_MAX)
			continue;
		d = distance(key, len, name, name_len);
		if (d < best) {
			best = d;
			found = name;
		}
	}
	return found;
}

static int refuse_key(const char *key, char error[SL_CONF_ERROR_MAX])
{
	int topic = sl_conf_find_topic(sl_str_from(key));
	const char *synonym = topic >= 0 ? sl_conf_topic_defs[topic].synonym : "";
	const char *near = nearest_key(key);
	char quoted[CONF_QUOTE_MAX];

	conf_quote(quoted, sl_str_from(key));
	if (synonym[0])
		snprintf(error, SL_CONF_ERROR_MAX,
		         "%s: is a key of topics; its default for all topics is %.64s", quoted,
		         synonym);
	else if (near)
		snprintf(error, SL_CONF_ERROR_MAX, "%s: unknown key; did you mean %.64s?", quoted,
		         near);
	else
		snprintf(error, SL_CONF_ERROR_MAX, "%s: unknown key", quoted);
	return -EINVAL;
}

int sl_conf_set(struct sl_conf *conf, const char *key, const char *value,
                char error[SL_CONF_ERROR_MAX])
{
	int index = sl_conf_find_broker(sl_str_from(key));
	struct sl_conf_value *v;
	struct sl_str text;
	char *copy;
	int err;

	if (index < 0)
		return refuse_key(key, error);
	v = &conf->v[index];
	text = trim((struct sl_str){value, (int32_t)strnlen(value, INT32_MAX)});
	err = sl_conf_check(&sl_conf_broker_defs[index], text, v, error);
	if (err)
		return err;
	copy = strndup(text.p, (size_t)text.len);
	if (!copy) {
		snprintf(error, SL_CONF_ERROR_MAX, "out of memory");
		return -ENOMEM;
	}
	free(v->s);
	v->s = copy;
	v->is_set = true;
	return 0;
}

int sl_conf_set_pair(struct sl_conf *conf, const char *pair, char error[SL_CONF_ERROR_MAX])
{
	const char *eq = strchr(pair, '=');
	char key[PAIR_KEY_MAX];

	if (!eq || eq == pair || (size_t)(eq - pair) >= sizeof(key)) {
		snprintf(error, SL_CONF_ERROR_MAX, "--set %s: not KEY=VALUE", pair);
		return -EINVAL;
	}
	snprintf(key, sizeof(key), "%.*s", (int)(eq - pair), pair);
	return sl_conf_set(conf, key, eq + 1, error);
}

void conf_defaults(struct sl_conf *conf)
{
	char error[SL_CONF_ERROR_MAX];

	*conf = (struct sl_conf){0};
	for (int i = 0; i < SL_CK_NR; i++) {
		const struct sl_conf_def *def = &sl_conf_broker_defs[i];

		/* The table is ours: a default that its own row refuses is a bug, not bad input. */
		SL_ASSERT(sl_conf_check(def, sl_str_from(def->def), &conf->v[i], error) == 0);
	}
}

void sl_conf_fini(struct sl_conf *conf)
{
	for (int i = 0; i < SL_CK_NR; i++)
		free(conf->v[i].s);
	*conf = (struct sl_conf){0};
}

int64_t sl_conf_int(const struct sl_conf *conf, enum sl_conf_key key)
{
	SL_ASSERT(sl_conf_broker_defs[key].type == SL_CONF_INT);
	return conf->v[key].i;
}

bool sl_conf_bool(const struct sl_conf *conf, enum sl_conf_key key)
{
	SL_ASSERT(sl_conf_broker_defs[key].type == SL_CONF_BOOL);
	return conf->v[key].i != 0;
}

const char *sl_conf_str(const struct sl_conf *conf, enum sl_conf_key key)
{
	SL_ASSERT((unsigned)key < SL_CK_NR);
	return conf->v[key].s ? conf->v[key].s : sl_conf_broker_defs[key].def;
}
