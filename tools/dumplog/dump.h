/* SPDX-License-Identifier: Apache-2.0 */
/* Walks one segment file, checks it and prints what it holds. */
#ifndef DUMPLOG_DUMP_H
#define DUMPLOG_DUMP_H

#include <stdio.h>

#include "sluice/wire/batch.h"

struct dump_opts {
	FILE *out;
	bool is_json;
	bool is_quiet;     /* --verify: one line a file */
	bool with_records; /* print records; --verify decodes them all the same */
};

struct dump_result {
	uint64_t batches;
	uint64_t records;
	uint64_t bytes;      /* of whole batches */
	uint64_t file_bytes; /* larger than bytes: a torn or foreign tail */
	uint64_t invalid;    /* batches with a wrong checksum, order or records */
	char error[160];     /* first thing found wrong, "" when all is well */
};

static inline bool dump_is_valid(const struct dump_result *result)
{
	return result->error[0] == '\0';
}

/**
 * dump_file() - print and check one segment file
 *
 * Return: 0 it was read, @result says whether it is valid; -errno it could not be read.
 */
int dump_file(const char *path, const struct dump_opts *opts,
              struct dump_result *result) SL_MUST_CHECK;

/**
 * dump_index() - check an offset index against the log beside it
 * @path: of the .log file; no .index beside it is no error
 */
int dump_index(const char *path, struct dump_result *result) SL_MUST_CHECK;

/**
 * dump_txnindex() - print and check an index of aborted transactions
 * @path: of the .txnindex file
 *
 * Return: as dump_file().
 */
int dump_txnindex(const char *path, const struct dump_opts *opts,
                  struct dump_result *result) SL_MUST_CHECK;
/**
 * dump_txnindex_of() - check the index of aborted transactions against the log beside it
 * @path: of the .log file; no .txnindex beside it is no error
 */
int dump_txnindex_of(const char *path, struct dump_result *result) SL_MUST_CHECK;

#endif
