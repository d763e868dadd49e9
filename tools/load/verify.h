/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What --verify writes into values, and what the consumer makes of it.  A stream is what one
 * producer connection writes to one partition; its records are numbered 0, 1, 2 ...
 */
#ifndef LOAD_VERIFY_H
#define LOAD_VERIFY_H

#include "sluice/base/base.h"

/* In front of a value: magic, CRC-32C of all behind it, then the fields of struct verify_mark. */
#define VERIFY_HEAD_BYTES  40
#define VERIFY_MAGIC       UINT32_C(0x534c5631) /* "SLV1" */

/* Streams of one partition that a consumer tells apart; beyond, the oldest is forgotten. */
#define VERIFY_STREAMS_MAX 1024
/* Gaps of one stream that may still be filled by records out of order. */
#define VERIFY_GAPS_MAX    1024

struct verify_mark {
	uint64_t stream;
	uint64_t sequence;
	uint64_t due_ns; /* CLOCK_MONOTONIC of the producer; only e2e reads it */
	int32_t partition;
};

struct verify_counts {
	uint64_t checked;    /* values looked at, whatever came out */
	uint64_t lost;       /* sequence numbers passed over and not seen since */
	uint64_t duplicated; /* seen before */
	uint64_t reordered;  /* seen after a later one */
	uint64_t corrupt;    /* no mark, a wrong CRC or another partition's */
};

/* Sequence numbers from .. to - 1 were passed over. */
struct verify_gap {
	uint64_t from, to;
};

struct verify_stream {
	uint64_t id;
	uint64_t next;
	struct verify_gap *gaps; /* Owned */
	uint32_t gaps_count, gaps_cap;
};

/* What one reader knows of one partition.  Zeroed memory is a valid empty one. */
struct verify_partition {
	struct verify_stream *streams; /* Owned */
	uint32_t count, cap;
	uint32_t oldest; /* next to be forgotten when all places are taken */
};

void verify_partition_fini(struct verify_partition *p);

/* Writes the mark and the CRC into the first VERIFY_HEAD_BYTES of a value of @bytes. */
void verify_seal(uint8_t *value, size_t bytes, const struct verify_mark *mark);
/* Return: 0; -EBADMSG not a value of ours, or damaged. */
int verify_open(const void *value, size_t bytes, struct verify_mark *mark) SL_MUST_CHECK;

/**
 * verify_see() - count one value that verify_open() found whole
 * @p: of the partition that it was read from
 * @c: counted into; lost goes down again when a missing record comes late
 * @is_whole: the reader began where the stream began, so that a stream which does not begin with 0
 * has lost something
 *
 * Return: true when the record is new, false for a duplicate.
 */
bool verify_see(struct verify_partition *p, struct verify_counts *c, const struct verify_mark *mark,
                bool is_whole);

#endif
