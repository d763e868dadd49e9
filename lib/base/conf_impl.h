/* SPDX-License-Identifier: Apache-2.0 */
/* What conf.c and conf_file.c share, and what the tests feed with bytes. */
#ifndef LIB_BASE_CONF_IMPL_H
#define LIB_BASE_CONF_IMPL_H

#include "sluice/base/conf.h"

#define CONF_QUOTE_MAX 64 /* of a value or key inside an error text, with the NUL */

/* Copies @s for an error text: short, and without bytes that could disturb a terminal or a log. */
const char *conf_quote(char out[CONF_QUOTE_MAX], struct sl_str s);
/* Sets every key to "not given" with the value of its default. */
void conf_defaults(struct sl_conf *conf);

/**
 * conf_parse() - set keys from the text of a properties file
 * @conf: initialised
 * @name: what to call the file in @error
 * @text: writable, @len bytes and one more behind them; destroyed
 * @error: on failure "name:line: reason"
 *
 * Return: 0; -EINVAL; -ENOMEM.  Keys before the bad line stay set.
 */
int conf_parse(struct sl_conf *conf, const char *name, char *text, size_t len,
               char error[SL_CONF_ERROR_MAX]) SL_MUST_CHECK;

#endif
