/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Building JSON.  Failure is sticky upwards: a value that could not be made is NULL, json_pack()
 * and value_append() then give NULL for the whole, and who answers with NULL says "out of memory".
 */
#ifndef CONTROL_RPC_VALUE_H
#define CONTROL_RPC_VALUE_H

#include <jansson.h>

#include "sluice/base/base.h"

/* A string of a peer: null for Kafka's null; what is not UTF-8 becomes '?'. */
json_t *value_str(struct sl_str s);
/* Appends @value, which is taken; drops *array and sets it to NULL when either is NULL. */
void value_append(json_t **array, json_t *value);
/* Same for a member of an object. */
void value_set(json_t **object, const char *key, json_t *value);
/* @n as a number, null below zero. */
json_t *value_offset(int64_t n);

#endif
