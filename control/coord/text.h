/* SPDX-License-Identifier: Apache-2.0 */
/* Owned copies of borrowed strings and bytes. */
#ifndef CONTROL_COORD_TEXT_H
#define CONTROL_COORD_TEXT_H

#include "sluice/base/base.h"

/* Null stays null.  Return: 0; -ENOMEM, @out untouched. */
int text_dup(struct sl_str *out, struct sl_str s) SL_MUST_CHECK;
void text_free(struct sl_str *s);
int text_dup_bytes(struct sl_bytes *out, struct sl_bytes b) SL_MUST_CHECK;
void text_free_bytes(struct sl_bytes *b);

#endif
