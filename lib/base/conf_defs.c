/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of configuration keys, made from conf_keys.h, and their printed form.  Read-only data.
 */
#include <stdio.h>

#include "sluice/base/conf.h"

/* clang-format off */
#define BROKER_(id, name_, scope_, type_, def_, min_, max_, words_, text_) \
	[SL_CK_##id] = {name_, SL_CONF_##scope_, SL_CONF_##type_, def_, min_, max_, words_, "", text_},
#define TOPIC_(id, name_, type_, def_, min_, max_, words_, synonym_, text_) \
	[SL_CT_##id] = {name_, SL_CONF_TOPIC, SL_CONF_##type_, def_, min_, max_, words_, synonym_, text_},
#define GROUP_(id, name_, type_, def_, min_, max_, words_, synonym_, text_) \
	[SL_CG_##id] = {name_, SL_CONF_GROUP, SL_CONF_##type_, def_, min_, max_, words_, synonym_, text_},
/* clang-format on */

const struct sl_conf_def sl_conf_broker_defs[SL_CK_NR] = {SL_CONF_BROKER_KEYS(BROKER_)};
const struct sl_conf_def sl_conf_topic_defs[SL_CT_NR] = {SL_CONF_TOPIC_KEYS(TOPIC_)};
const struct sl_conf_def sl_conf_group_defs[SL_CG_NR] = {SL_CONF_GROUP_KEYS(GROUP_)};

static int find(const struct sl_conf_def *defs, int defs_count, struct sl_str name)
{
	for (int i = 0; i < defs_count; i++)
		if (sl_str_eq_c(name, defs[i].name))
			return i;
	return -1;
}

int sl_conf_find_broker(struct sl_str name)
{
	return find(sl_conf_broker_defs, SL_CK_NR, name);
}

int sl_conf_find_topic(struct sl_str name)
{
	return find(sl_conf_topic_defs, SL_CT_NR, name);
}

int sl_conf_find_group(struct sl_str name)
{
	return find(sl_conf_group_defs, SL_CG_NR, name);
}

/* A '|' would end the table's cell, so words are printed with "or" between. */
static void print_words(FILE *file, const char *words)
{
	while (*words) {
		size_t len = strcspn(words, "|");

		fprintf(file, "`%.*s`", (int)len, words);
		words += len;
		if (*words) {
			fputs(" or ", file);
			words++;
		}
	}
}

static void print_type(FILE *file, const struct sl_conf_def *def)
{
	switch (def->type) {
	case SL_CONF_BOOL:
		fputs("`true` or `false`", file);
		break;
	case SL_CONF_INT:
		if (def->max == INT64_MAX)
			fprintf(file, "integer from %lld", (long long)def->min);
		else
			fprintf(file, "integer, %lld to %lld", (long long)def->min,
			        (long long)def->max);
		break;
	case SL_CONF_DOUBLE:
		fprintf(file, "decimal, %g to %g", (double)def->min / 1e6, (double)def->max / 1e6);
		break;
	case SL_CONF_STRING:
		fputs("text", file);
		break;
	case SL_CONF_ENUM:
		print_words(file, def->words);
		break;
	case SL_CONF_LIST:
		fputs("list", file);
		if (def->words[0])
			fputs(" of ", file);
		print_words(file, def->words);
		break;
	}
}

static void print_default(FILE *file, const struct sl_conf_def *def)
{
	if (def->def[0])
		fprintf(file, "`%s`", def->def);
	else
		fputs("empty", file);
}

/* Keys of what broker keys have the defaults of. */
static void print_keys(FILE *file, const char *title, const struct sl_conf_def *defs, int count)
{
	fprintf(file,
	        "\n## %s keys\n\n"
	        "| key | default | value | broker key with the default | meaning |\n"
	        "|---|---|---|---|---|\n",
	        title);
	for (int i = 0; i < count; i++) {
		const struct sl_conf_def *def = &defs[i];

		fprintf(file, "| `%s` | ", def->name);
		print_default(file, def);
		fputs(" | ", file);
		print_type(file, def);
		if (def->synonym[0])
			fprintf(file, " | `%s` | %s |\n", def->synonym, def->text);
		else
			fprintf(file, " | none | %s |\n", def->text);
	}
}

void sl_conf_print_markdown(FILE *file)
{
	fputs("## Broker keys\n\n"
	      "| key | default | value | change | meaning |\n|---|---|---|---|---|\n",
	      file);
	for (int i = 0; i < SL_CK_NR; i++) {
		const struct sl_conf_def *def = &sl_conf_broker_defs[i];

		fprintf(file, "| `%s` | ", def->name);
		print_default(file, def);
		fputs(" | ", file);
		print_type(file, def);
		fprintf(file, " | %s | %s |\n",
		        def->scope == SL_CONF_DYNAMIC ? "at run time" : "restart", def->text);
	}
	print_keys(file, "Topic", sl_conf_topic_defs, SL_CT_NR);
	print_keys(file, "Group", sl_conf_group_defs, SL_CG_NR);
}
