/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration in Java-properties form: "key = value" or "key: value", '#' and '!' comments, '\'
 * at the end of a line continues it.  What keys exist, with type, default, range and text, is the
 * table SL_CONF_KEYS in conf_keys.h, from which Documentation/admin-guide/configuration.md is
 * generated.
 */
#ifndef SLUICE_BASE_CONF_H
#define SLUICE_BASE_CONF_H

#include <stdio.h>

#include "sluice/base/base.h"

#define SL_CONF_ERROR_MAX 512
#define SL_CONF_VALUE_MAX 4096

enum sl_conf_type {
	SL_CONF_BOOL = 0, /* true|false, in any case */
	SL_CONF_INT,      /* int64 within [min,max] */
	SL_CONF_DOUBLE,   /* decimal; value and [min,max] in millionths */
	SL_CONF_STRING,   /* any text */
	SL_CONF_ENUM,     /* one of the words in `words`, '|' between */
	SL_CONF_LIST,     /* comma-separated words, each one of `words` when that is not "" */
};

/* Who reads the key. */
enum sl_conf_scope {
	SL_CONF_STATIC = 0, /* sluice.conf, needs a restart */
	SL_CONF_DYNAMIC,    /* broker key that AlterConfigs can change at run time */
	SL_CONF_TOPIC,      /* topic key; `synonym` names its broker key, or "" */
	SL_CONF_GROUP,      /* key of a consumer group; `synonym` names its broker key */
};

struct sl_conf_def {
	const char *name;
	enum sl_conf_scope scope;
	enum sl_conf_type type;
	const char *def; /* default, as text */
	int64_t min;
	int64_t max;
	const char *words;   /* ENUM, LIST */
	const char *synonym; /* TOPIC, GROUP: broker key with the default; else "" */
	const char *text;    /* one sentence for configuration.md */
};

/* Index of every key: SL_CK_num_partitions, SL_CT_retention_ms. */
#include "sluice/base/conf_keys.h"

extern const struct sl_conf_def sl_conf_broker_defs[SL_CK_NR];
extern const struct sl_conf_def sl_conf_topic_defs[SL_CT_NR];
extern const struct sl_conf_def sl_conf_group_defs[SL_CG_NR];

/* One value of a key. */
struct sl_conf_value {
	bool is_set; /* given explicitly, not the default */
	int64_t i;   /* BOOL, INT, DOUBLE */
	char *s; /* Owned.  The text as given, for every type; NULL: not set, use the default. */
};

/* Broker configuration of one process. */
struct sl_conf {
	struct sl_conf_value v[SL_CK_NR];
};

/**
 * sl_conf_load() - defaults, then the file
 * @conf: uninitialised
 * @path: file, or NULL for defaults only
 * @error: on failure "file:line: reason"
 *
 * Return: 0; -EINVAL unknown key or bad value; -errno of open or read; -ENOMEM.
 */
int sl_conf_load(struct sl_conf *conf, const char *path,
                 char error[SL_CONF_ERROR_MAX]) SL_MUST_CHECK;
void sl_conf_fini(struct sl_conf *conf);
/* Sets one key from text, as the file or the command line does.  Same errors; @error gets the
 * reason. */
int sl_conf_set(struct sl_conf *conf, const char *key, const char *value,
                char error[SL_CONF_ERROR_MAX]) SL_MUST_CHECK;

/* The same from one "KEY=VALUE", as --set takes it. */
int sl_conf_set_pair(struct sl_conf *conf, const char *pair,
                     char error[SL_CONF_ERROR_MAX]) SL_MUST_CHECK;

int64_t sl_conf_int(const struct sl_conf *conf, enum sl_conf_key key);
bool sl_conf_bool(const struct sl_conf *conf, enum sl_conf_key key);
/* Never NULL. */
const char *sl_conf_str(const struct sl_conf *conf, enum sl_conf_key key);

/* Definition lookup by name; -1 when absent. */
int sl_conf_find_broker(struct sl_str name);
int sl_conf_find_topic(struct sl_str name);
int sl_conf_find_group(struct sl_str name);
/**
 * sl_conf_check() - parse @text by @def
 * @text: surrounding blanks do not count, as in Kafka
 * @out: i is filled for BOOL, INT and DOUBLE; nothing else is touched
 * Return: 0 or -EINVAL with the reason in @error.
 */
int sl_conf_check(const struct sl_conf_def *def, struct sl_str text, struct sl_conf_value *out,
                  char error[SL_CONF_ERROR_MAX]) SL_MUST_CHECK;
/* Writes Documentation/admin-guide/configuration.md's tables to @file. */
void sl_conf_print_markdown(FILE *file);

#endif
