/* SPDX-License-Identifier: Apache-2.0 */
/* The two forms of output: lines with Kafka's names, or one JSON object a line. */
#ifndef DUMPLOG_PRINT_H
#define DUMPLOG_PRINT_H

#include "dump.h"
#include "sluice/store/txnindex.h"
#include "sluice/wire/marker.h"

/* A batch about to be printed. */
struct print_batch {
	const struct sl_batch_head *head;
	uint64_t pos;
	bool is_valid;
};

void print_file_begin(const struct dump_opts *opts, const char *path, int64_t base_offset);
void print_batch_begin(const struct dump_opts *opts, const struct print_batch *batch);
void print_record(const struct dump_opts *opts, const struct sl_batch_head *head,
                  const struct sl_record *record, bool is_first);
/* Behind print_record(); @marker: what the control record says, NULL: it is none. */
void print_record_end(const struct dump_opts *opts, const struct sl_txn_marker *marker);
void print_aborted(const struct dump_opts *opts, const struct sl_txnindex_entry *entry);
void print_batch_end(const struct dump_opts *opts);
void print_file_end(const struct dump_opts *opts, const char *path,
                    const struct dump_result *result);

#endif
