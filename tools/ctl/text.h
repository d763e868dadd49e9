/* SPDX-License-Identifier: Apache-2.0 */
/* Values of answers as text for people.  What is missing or null reads "-". */
#ifndef CTL_TEXT_H
#define CTL_TEXT_H

#include <jansson.h>

#include "sluice/base/base.h"

#define TEXT_MAX 64

/* The member's string, "-" when it has none; with control characters, so only for tables. */
const char *text_str(json_t *object, const char *key);
/* The member's whole number. */
const char *text_num(json_t *object, const char *key, char out[TEXT_MAX]);
/* Bytes: "1.5 MiB". */
const char *text_size(json_t *object, const char *key, char out[TEXT_MAX]);
const char *text_bytes(double bytes, char out[TEXT_MAX]);
/* "2d 3h", "4m 5s", "350 ms". */
const char *text_duration(int64_t ms, char out[TEXT_MAX]);
/* A count per second: "950", "12.3k", "4.56M". */
const char *text_rate(double n, char out[TEXT_MAX]);
/* 0 when missing. */
int64_t text_int(json_t *object, const char *key);
/* The member as compact JSON, whatever it is; strings without quotes.  To be freed; never NULL. */
char *text_any(json_t *value);

#endif
