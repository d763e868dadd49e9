/* SPDX-License-Identifier: Apache-2.0 */
/* Records with keys for a fixture's log, cleanings of it, and what must be left. */
#ifndef TEST_STORE_COMPACTION_H
#define TEST_STORE_COMPACTION_H

#include "fixture.h"
#include "sluice/store/clean.h"

#define KV_RECORDS_MAX 32768

/* A record that was appended. */
struct kv_record {
	int64_t offset;
	int64_t timestamp;
	int32_t key;   /* -1: none */
	int32_t value; /* -1: null */
	bool is_seen;
};

/* Everything that was ever appended, by offset. */
struct kv {
	struct fixture *f;
	struct sl_cleaner *cleaner;
	struct kv_record records[KV_RECORDS_MAX];
	uint32_t count;
	uint32_t value_bytes;
	uint64_t rng;
};

/* One record of a batch. */
struct kv_pair {
	int32_t key;
	int32_t value;
};

/* How a batch is made; zeroed: plain, of no producer. */
struct kv_batch {
	enum sl_codec codec;
	uint16_t attributes;
	int64_t producer_id; /* 0: none */
	int16_t producer_epoch;
	int32_t base_sequence;
	int64_t timestamp; /* 0: the fixture's time; every record one more */
};

void kv_init(struct kv *kv, struct fixture *f);
void kv_fini(struct kv *kv);
uint32_t kv_random(struct kv *kv, uint32_t below);
/* Return: base offset. */
int64_t kv_append(struct kv *kv, const struct kv_batch *b, const struct kv_pair *pairs,
                  uint32_t count);
/* One plain record. */
int64_t kv_put(struct kv *kv, int32_t key, int32_t value);
/* A marker, of epoch 0 and the coordinator's epoch 1; returns its offset. */
int64_t kv_marker(struct kv *kv, int64_t producer_id, enum sl_control_type type);
struct kv_marker {
	int64_t producer_id;
	enum sl_control_type type;
	int16_t producer_epoch;
	uint8_t coordinator_epoch;
};
int64_t kv_marker_of(struct kv *kv, const struct kv_marker *m);
/* Closes the active segment and makes everything durable. */
void kv_seal(struct kv *kv);

/* A whole cleaning, swaps included.  Return: of the last sl_clean_run(), or of begin. */
int kv_clean(struct kv *kv);
/* The same, after kv_seal(), and it must end well. */
void kv_must_clean(struct kv *kv);

/* What is in the log now. */
struct kv_left {
	uint32_t batches;
	uint32_t empty;
	uint32_t records;
	uint32_t markers;
	uint64_t bytes;
};
/* Reads everything: what is there was appended, under its offset and with its contents; of the
 * cleaned part the last of each key is there, unless there is one behind it, and nothing but the
 * last. @with_tombstones: those of the cleaned part must be there. */
void kv_check(struct kv *kv, bool with_tombstones, struct kv_left *out);
/* Reads everything and checks what is there; kv_record.is_seen says what was. */
void kv_read(struct kv *kv);
/* After a crash: the last of each key is there, of the others some may be. */
void kv_check_last(struct kv *kv);
/* The process ends, with the power unless @power_seed is 0, and the log is opened again.  What was
 * flushed must be there; what else is lost is forgotten. */
void kv_crash(struct kv *kv, uint64_t power_seed);
/* Another cleaner, with the disk that is left and a map of any size. */
void kv_new_cleaner(struct kv *kv);
/* The log lost what lies behind its end, which was not promised. */
void kv_cut(struct kv *kv);

/* The batch that contains @offset; @p gets its bytes, to be freed. */
struct sl_batch_head kv_batch_at(struct kv *kv, int64_t offset, uint8_t **p);

#endif
