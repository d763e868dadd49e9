/* SPDX-License-Identifier: Apache-2.0 */
/* A metadata store in a folder of its own, driven by hand. */
#ifndef TESTS_CONTROL_META_BENCH_H
#define TESTS_CONTROL_META_BENCH_H

#include "meta/meta.h"

struct meta_bench {
	char dir[64];
	struct meta *meta;
	struct meta_recovery recovery;
	char error[META_ERROR_MAX];
	int wakes;
	int changes;
	enum meta_result result; /* of the last transaction */
	int results;
};

/* A new folder; not opened yet. */
void meta_bench_init(struct meta_bench *b);
/* Removes the folder. */
void meta_bench_fini(struct meta_bench *b);
/* Return: what meta_open() returned. */
int meta_bench_open(struct meta_bench *b);
void meta_bench_close(struct meta_bench *b);
/* Commits and waits for the end. */
enum meta_result meta_bench_commit(struct meta_bench *b, struct meta_txn *txn);

/* A topic record with @partitions partitions led by node 100; @configs pairs "name", "value". */
struct sl_meta_topic meta_bench_topic(const char *name, int32_t partitions);
struct sl_uuid meta_bench_id(int n);
/* Creates a topic; asserts that it works. */
void meta_bench_create(struct meta_bench *b, const char *name, int32_t partitions);
/* All of the image as text, for comparing. */
char *meta_bench_text(struct meta_bench *b);

/* Path of a file in the folder. */
void meta_bench_path(const struct meta_bench *b, const char *name, char out[128]);

#endif
