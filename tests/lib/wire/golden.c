/* SPDX-License-Identifier: Apache-2.0 */
#include "golden.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int digit(char c)
{
	const char *digits = "0123456789abcdef";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

uint8_t *golden_hex(const char *hex, size_t *len)
{
	uint8_t *out = malloc(strlen(hex) / 2 + 1);
	size_t n = 0;

	cr_assert(out);
	for (; *hex; hex++) {
		if (*hex == ' ')
			continue;
		cr_assert(digit(hex[0]) >= 0 && digit(hex[1]) >= 0, "not hex: %s", hex);
		out[n++] = (uint8_t)(digit(hex[0]) << 4 | digit(hex[1]));
		hex++;
	}
	*len = n;
	return out;
}

const struct fill_message *golden_message(const char *name)
{
	for (size_t i = 0; i < FILL_MESSAGES_COUNT; i++) {
		if (strcmp(fill_messages[i]->name, name) == 0)
			return fill_messages[i];
	}
	cr_assert_fail("no message %s", name);
	return NULL;
}

/* The data lies beside this file; tests run in the project's root. */
static FILE *open_beside(const char *file)
{
	char path[512];
	const char *slash = strrchr(__FILE__, '/');

	cr_assert(slash);
	snprintf(path, sizeof(path), "%.*s/golden/%s", (int)(slash - __FILE__), __FILE__, file);

	FILE *f = fopen(path, "re");

	cr_assert(f, "cannot open %s (tests run in the project's root)", path);
	return f;
}

size_t golden_each(const char *file, void (*each)(const struct golden_line *line, void *arg),
                   void *arg)
{
	FILE *f = open_beside(file);
	char *text = NULL;
	size_t cap = 0;
	size_t lines = 0;

	while (getline(&text, &cap, f) > 0) {
		struct golden_line line = {.note = ""};
		char *save;

		if (*text == '#')
			continue;
		line.message = strtok_r(text, " \n", &save);
		line.version = (int)strtol(strtok_r(NULL, " \n", &save), NULL, 10);
		/* A message without fields has no hex. */
		char *hex = strtok_r(NULL, " \n", &save);
		char *note = hex ? strtok_r(NULL, " \n", &save) : NULL;

		if (note)
			line.note = note;
		line.bytes = golden_hex(hex ? hex : "", &line.len);
		each(&line, arg);
		free(line.bytes);
		lines++;
	}
	free(text);
	fclose(f);
	return lines;
}
