/* SPDX-License-Identifier: Apache-2.0 */
/* Columns two blanks apart, no lines: easy to read and to cut. */
#include "table.h"

#include <stdarg.h>
#include <stdlib.h>

#include "sluice/base/assert.h"

void table_init(struct table *t, const char *const *heads)
{
	*t = (struct table){0};
	for (; heads[t->columns_count]; t->columns_count++) {
		const char *head = heads[t->columns_count];

		SL_ASSERT(t->columns_count < TABLE_COLUMNS_MAX);
		t->is_right[t->columns_count] = head[0] == '>';
		t->heads[t->columns_count] = head[0] == '>' ? head + 1 : head;
	}
}

void table_fini(struct table *t)
{
	for (uint32_t i = 0; i < t->cells_count; i++)
		free(t->cells[i]);
	free(t->cells);
	*t = (struct table){0};
}

void table_cell(struct table *t, const char *fmt, ...)
{
	va_list ap;
	char *cell;
	int n;

	if (t->cells_count == t->cells_max) {
		t->cells_max = t->cells_max ? t->cells_max * 2 : 64;
		t->cells = reallocarray(t->cells, t->cells_max, sizeof(*t->cells));
		SL_ASSERT(t->cells);
	}
	va_start(ap, fmt);
	n = vasprintf(&cell, fmt, ap);
	va_end(ap);
	SL_ASSERT(n >= 0);
	for (char *p = cell; *p; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	}
	t->cells[t->cells_count++] = cell;
}

/* Characters, not bytes. */
static int width_of(const char *text)
{
	int n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static void print_row(const struct table *t, FILE *out, char *const *cells, const int *widths)
{
	for (uint32_t i = 0; i < t->columns_count; i++) {
		int pad = widths[i] - width_of(cells[i]);
		bool is_last = i + 1 == t->columns_count;

		if (t->is_right[i])
			fprintf(out, "%*s%s", pad, "", cells[i]);
		else
			fprintf(out, "%s%*s", cells[i], is_last ? 0 : pad, "");
		fputs(is_last ? "\n" : "  ", out);
	}
}

void table_print(struct table *t, FILE *out)
{
	char *heads[TABLE_COLUMNS_MAX];
	int widths[TABLE_COLUMNS_MAX];

	SL_ASSERT(t->columns_count > 0 && t->cells_count % t->columns_count == 0);
	for (uint32_t i = 0; i < t->columns_count; i++) {
		heads[i] = (char *)(uintptr_t)t->heads[i];
		widths[i] = width_of(heads[i]);
	}
	for (uint32_t i = 0; i < t->cells_count; i++)
		widths[i % t->columns_count] = SL_MAX(widths[i % t->columns_count],
		                                      width_of(t->cells[i]));
	print_row(t, out, heads, widths);
	for (uint32_t i = 0; i < t->cells_count; i += t->columns_count)
		print_row(t, out, t->cells + i, widths);
	table_fini(t);
}
