/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers and times in the form people read. */
#include "text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "sluice/base/assert.h"

const char *text_str(json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));

	return s && *s ? s : "-";
}

int64_t text_int(json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

const char *text_num(json_t *object, const char *key, char out[TEXT_MAX])
{
	json_t *v = json_object_get(object, key);

	if (json_is_integer(v))
		snprintf(out, TEXT_MAX, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
	else
		snprintf(out, TEXT_MAX, "-");
	return out;
}

const char *text_bytes(double bytes, char out[TEXT_MAX])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	unsigned unit = 0;

	while (bytes >= 1024 && unit + 1 < SL_ARRAY_SIZE(units)) {
		bytes /= 1024;
		unit++;
	}
	snprintf(out, TEXT_MAX, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
	return out;
}

const char *text_size(json_t *object, const char *key, char out[TEXT_MAX])
{
	json_t *v = json_object_get(object, key);

	if (!json_is_integer(v))
		return "-";
	return text_bytes((double)json_integer_value(v), out);
}

const char *text_duration(int64_t ms, char out[TEXT_MAX])
{
	int64_t s = ms / 1000;

	if (ms < 1000)
		snprintf(out, TEXT_MAX, "%" PRId64 " ms", ms);
	else if (s < 60)
		snprintf(out, TEXT_MAX, "%" PRId64 "s", s);
	else if (s < 3600)
		snprintf(out, TEXT_MAX, "%" PRId64 "m %" PRId64 "s", s / 60, s % 60);
	else if (s < 86400)
		snprintf(out, TEXT_MAX, "%" PRId64 "h %" PRId64 "m", s / 3600, s % 3600 / 60);
	else
		snprintf(out, TEXT_MAX, "%" PRId64 "d %" PRId64 "h", s / 86400, s % 86400 / 3600);
	return out;
}

const char *text_rate(double n, char out[TEXT_MAX])
{
	if (n < 10 && n > 0)
		snprintf(out, TEXT_MAX, "%.1f", n);
	else if (n < 1000)
		snprintf(out, TEXT_MAX, "%.0f", n);
	else if (n < 1e6)
		snprintf(out, TEXT_MAX, "%.1fk", n / 1e3);
	else
		snprintf(out, TEXT_MAX, "%.2fM", n / 1e6);
	return out;
}

char *text_any(json_t *value)
{
	char *text;

	if (json_is_string(value))
		text = strdup(json_string_value(value));
	else if (json_is_null(value) || !value)
		text = strdup("-");
	else
		text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
	SL_ASSERT(text);
	return text;
}
