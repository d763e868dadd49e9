/* SPDX-License-Identifier: Apache-2.0 */
/* One log on simulated files, batches for it, and a model of what it must contain. */
#ifndef TEST_STORE_FIXTURE_H
#define TEST_STORE_FIXTURE_H

#include "sluice/store/hot.h"
#include "sluice/store/log.h"
#include "sluice/wire/batch.h"

#include "simfs.h"

#define FIXTURE_BATCHES_MAX 4096
#define FIXTURE_FOLDER      "logs/orders-3"

/* A batch that was accepted. */
struct fixture_batch {
	int64_t base_offset;
	int64_t last_offset;
	int64_t max_timestamp;
	uint8_t *bytes; /* Owned. As stored: offset and epoch patched. */
	uint32_t len;
};

struct fixture {
	struct simfs *fs;
	struct sl_files files;
	int dirfd;
	struct sl_hot *hot; /* Owned; NULL: logs go through the page cache */
	int killed_fd;      /* Owned; the tier as fixture_kill() left it, 0: none */
	struct sl_log *log;
	struct sl_log_opts opts;
	struct sl_log_recovery report;
	int64_t now_ms;
	int32_t leader_epoch;
	struct fixture_batch batches[FIXTURE_BATCHES_MAX];
	uint32_t batches_count;
};

/* What a batch is made of; zeroed fields have useful meanings but for records. */
struct fixture_spec {
	int32_t records;
	uint32_t value_bytes;
	int64_t timestamp;   /* of the first record; the others follow by 1 ms */
	int64_t producer_id; /* 0: none; ids in tests begin at 1 */
	int16_t producer_epoch;
	int32_t base_sequence;
	enum sl_codec codec;
	bool is_transactional;
	bool is_unverified; /* the coordinator was not asked */
	bool is_epoch_per_txn;
	/* It ends the producer's transaction; records is 1. */
	bool is_marker;
	bool is_abort;
	int32_t coordinator_epoch;
};

/* A new simulated disk with an empty log dir; no log yet. */
void fixture_init(struct fixture *f);
/* The same with a hot tier of @bytes, in one slice. */
void fixture_init_hot(struct fixture *f, uint64_t bytes);
void fixture_fini(struct fixture *f);
/* Return: of sl_log_open(). */
int fixture_open(struct fixture *f, bool was_clean);
void fixture_must_open(struct fixture *f, bool was_clean);
void fixture_close(struct fixture *f, bool is_clean);
/* Process killed: descriptors gone, the log's memory released without touching the disk. */
void fixture_kill(struct fixture *f);

/* Builds a batch into @buf; returns its size. */
size_t fixture_build(const struct fixture_spec *spec, void *buf, size_t cap);
/* Appends and, when accepted, adds to the model.  Return: of sl_log_append(). */
int fixture_append(struct fixture *f, const struct fixture_spec *spec, struct sl_log_append *io);
/* A plain batch that must be accepted. */
void fixture_must_append(struct fixture *f, int32_t records, uint32_t value_bytes,
                         int64_t timestamp);
/* So many of them, of one to three records. */
void fixture_append_many(struct fixture *f, int count, uint32_t value_bytes);
/* Group commit with the result of the simulated disk. */
int fixture_sync(struct fixture *f);
/* The model forgets batches that contain or follow @end, or lie wholly below @start. */
void fixture_model_cut(struct fixture *f, int64_t start, int64_t end);

/* Reads the whole log in pieces of @bytes_max and compares every byte with the model. */
void fixture_check(struct fixture *f, uint32_t bytes_max);
/* Path of a file of segment @base. */
const char *fixture_path(int64_t base, const char *suffix);

#endif
