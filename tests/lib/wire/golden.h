/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes that other programs wrote, from tests/lib/wire/golden. */
#ifndef TESTS_WIRE_GOLDEN_H
#define TESTS_WIRE_GOLDEN_H

#include <stddef.h>
#include <stdint.h>

#include "fill_gen.h"

struct golden_line {
	const char *message; /* name in fill_messages */
	int version;
	uint8_t *bytes;
	size_t len;
	const char *note; /* last word of the line, or "" */
};

/* Calls @each for every line of a file; fails the test when the file is not there.  Return: lines.
 */
size_t golden_each(const char *file, void (*each)(const struct golden_line *line, void *arg),
                   void *arg);

/* Bytes of a hex text; spaces are skipped.  The result is malloc'ed. */
uint8_t *golden_hex(const char *hex, size_t *len);

/* The message of this name; fails the test when there is none. */
const struct fill_message *golden_message(const char *name);

#endif
