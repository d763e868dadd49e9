/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Record batches to be produced.  One template is built, compressed and summed at the start and
 * sent again and again; what has to differ each time (marks of --verify, keys) makes a batch that
 * is built for one request.
 */
#ifndef LOAD_CONTENT_H
#define LOAD_CONTENT_H

#include "keys.h"
#include "sluice/base/buf.h"
#include "sluice/wire/batch.h"

/* The first records of the template as a batch of their own. */
struct content_prefix {
	uint32_t end;   /* of the last record, in the template's records */
	uint32_t crc;   /* of these records */
	uint32_t power; /* for sl_crc32c_join(); 0: not yet computed */
};

/* One thread's. */
struct content {
	const struct options *opts;
	int32_t records_max; /* of a full batch */
	uint8_t *pool;       /* Owned; what values are cut from */
	size_t pool_bytes;
	uint8_t *value; /* Owned; the value being built */
	char *key;      /* Owned; the key being built */
	struct keys keys;
	uint64_t random;
	bool is_shared;                  /* batches come from the template */
	struct sl_buf template;          /* a full batch, uncompressed or compressed */
	struct content_prefix *prefixes; /* Owned; by count - 1; only the last when compressed */
};

/* Whose records a batch holds. */
struct content_source {
	uint64_t stream;
	uint64_t first; /* sequence number in the stream */
	int32_t partition;
	int32_t count;       /* records, 1 .. records_max */
	int64_t producer_id; /* or SL_BATCH_NO_PRODUCER_ID */
	int16_t producer_epoch;
	int32_t base_sequence;
	uint64_t due_ns;    /* of the first record */
	double interval_ns; /* between two records of the stream */
};

/* A batch in two pieces, of which the second may be shared. */
struct content_batch {
	uint8_t head[SL_BATCH_HEADER_BYTES];
	const uint8_t *records; /* borrowed from the template, or from the buffer it was built in */
	size_t records_bytes;
};

/* @seed: different for each thread.  Return: 0; -ENOMEM; -ENOTSUP. */
int content_init(struct content *c, const struct options *opts, uint64_t seed) SL_MUST_CHECK;
void content_fini(struct content *c);
/**
 * content_make() - the batch for one request
 * @own: buffer of the request, used when the batch cannot be shared
 *
 * Ownership: @out borrows @c or @own.
 * Return: 0; -ENOMEM.
 */
int content_make(struct content *c, const struct content_source *source, struct sl_buf *own,
                 struct content_batch *out) SL_MUST_CHECK;

#endif
