/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the answer to a fetch while it arrives, without ever holding all of it: heads of the
 * answer, its partitions and their batches are looked at, records are skipped unless they are
 * wanted.
 */
#ifndef LOAD_FETCH_H
#define LOAD_FETCH_H

#include "sluice/base/base.h"
#include "sluice/wire/batch.h"
#include "verify.h"

/* A partition that is being read. */
struct fetch_partition {
	int32_t index;
	int64_t offset; /* of the next record */
	int64_t log_start;
	int64_t high_watermark;
	bool is_whole; /* see verify_see() */
	struct verify_partition verify;
};

enum fetch_step {
	FETCH_SIZE = 0,  /* of the frame */
	FETCH_HEAD,      /* header, throttle time, error, number of topics */
	FETCH_TOPIC,     /* name, number of partitions */
	FETCH_PARTITION, /* up to the length of the records */
	FETCH_BATCH,     /* a batch header, or the batch when records are wanted */
	FETCH_PARTITION_END,
	FETCH_END, /* the answer was read; the next fetch begins with FETCH_SIZE */
};

/* What was found.  Called from within fetch_read(). */
struct fetch_sink {
	/* The index of a partition of the answer.  Return: NULL when it was not asked for. */
	struct fetch_partition *(*find)(void *arg, int32_t index);
	/* An error code of the answer (@p NULL) or of one partition. */
	void (*error)(void *arg, struct fetch_partition *p, int code);
	/* A batch; @records is NULL unless they are wanted.  p->offset is still the old one. */
	int (*batch)(void *arg, struct fetch_partition *p, const struct sl_batch_head *head,
	             const uint8_t *whole);
	void *arg;
};

/* Zeroed: before the first byte of an answer.  All numbers are of bytes or elements left. */
struct fetch {
	enum fetch_step step;
	bool with_records;
	int16_t version;
	int32_t correlation_id;
	size_t frame_left;
	size_t skip; /* bytes to be thrown away before the next step */
	int32_t topics_left;
	int32_t partitions_left;
	size_t records_left;
	struct fetch_partition *partition;
	size_t wanted; /* bytes that the next step needs at least */
	size_t last_batch_bytes;
};

void fetch_begin(struct fetch *f, int16_t version, int32_t correlation_id, bool with_records);
/**
 * fetch_read() - take what has arrived
 * @f: at the step it left off
 * @p, @bytes: what has arrived and was not taken before
 * @sink: told what was found
 *
 * Return: bytes taken; f->step is FETCH_END when the answer is complete, else f->skip and f->wanted
 * say what is needed.  -EBADMSG; an error of sink->batch.
 */
int64_t fetch_read(struct fetch *f, const uint8_t *p, size_t bytes,
                   const struct fetch_sink *sink) SL_MUST_CHECK;

#endif
