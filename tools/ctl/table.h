/* SPDX-License-Identifier: Apache-2.0 */
/* Aligned columns of text.  Control characters of peers do not reach the terminal. */
#ifndef CTL_TABLE_H
#define CTL_TABLE_H

#include <stdio.h>

#include "sluice/base/base.h"

#define TABLE_COLUMNS_MAX 16

/* Zeroed memory is a table without columns. */
struct table {
	const char *heads[TABLE_COLUMNS_MAX]; /* without the mark */
	bool is_right[TABLE_COLUMNS_MAX];
	uint32_t columns_count;
	char **cells; /* Owned, each; row by row */
	uint32_t cells_count;
	uint32_t cells_max;
};

/* @heads: NULL at the end; a head that begins with '>' makes a column of numbers, to the right. */
void table_init(struct table *t, const char *const *heads);
void table_fini(struct table *t);
/* The next cell; rows begin by themselves.  Running out of memory ends the program. */
void table_cell(struct table *t, const char *fmt, ...) SL_PRINTF(2, 3);
/* Prints and ends the table. */
void table_print(struct table *t, FILE *out);

#endif
