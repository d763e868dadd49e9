/* SPDX-License-Identifier: Apache-2.0 */
/* JSON values from ours. */
#include "value.h"

#include <stdlib.h>

/* Every byte above ASCII is doubtful once one sequence is bad. */
static json_t *defused(struct sl_str s)
{
	json_t *value;
	char *copy = malloc((size_t)s.len);

	if (!copy)
		return NULL;
	for (int32_t i = 0; i < s.len; i++)
		copy[i] = (unsigned char)s.p[i] < 0x80 ? s.p[i] : '?';
	value = json_stringn(copy, (size_t)s.len);
	free(copy);
	return value;
}

json_t *value_str(struct sl_str s)
{
	json_t *value;

	if (sl_str_is_null(s))
		return json_null();
	if (s.len == 0)
		return json_string("");
	value = json_stringn(s.p, (size_t)s.len);
	return value ? value : defused(s);
}

void value_append(json_t **array, json_t *value)
{
	if (!*array) {
		json_decref(value);
		return;
	}
	if (json_array_append_new(*array, value) < 0) {
		json_decref(*array);
		*array = NULL;
	}
}

void value_set(json_t **object, const char *key, json_t *value)
{
	if (!*object) {
		json_decref(value);
		return;
	}
	if (json_object_set_new(*object, key, value) < 0) {
		json_decref(*object);
		*object = NULL;
	}
}

json_t *value_offset(int64_t n)
{
	return n < 0 ? json_null() : json_integer(n);
}
