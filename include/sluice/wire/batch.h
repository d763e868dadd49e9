/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Record batch v2: header, checks on produce, patches in place, iteration over records, building.
 * Layout: Kafka protocol guide, "Record Batch" and "Record".
 */
#ifndef SLUICE_WIRE_BATCH_H
#define SLUICE_WIRE_BATCH_H

#include "sluice/base/base.h"
#include "sluice/base/buf.h"
#include "sluice/wire/codec.h"
#include "sluice/wire/compress.h"
#include "sluice/wire/kerr.h"

#define SL_BATCH_HEADER_BYTES          61
#define SL_BATCH_LOG_OVERHEAD          12 /* base offset and length, which batch_length does not count */

/* Byte positions in the header. */
#define SL_BATCH_POS_BASE_OFFSET       0
#define SL_BATCH_POS_LENGTH            8
#define SL_BATCH_POS_LEADER_EPOCH      12
#define SL_BATCH_POS_MAGIC             16
#define SL_BATCH_POS_CRC               17
#define SL_BATCH_POS_ATTRIBUTES        21 /* the CRC covers everything from here on */
#define SL_BATCH_POS_LAST_OFFSET_DELTA 23
#define SL_BATCH_POS_BASE_TIMESTAMP    27
#define SL_BATCH_POS_MAX_TIMESTAMP     35
#define SL_BATCH_POS_PRODUCER_ID       43
#define SL_BATCH_POS_PRODUCER_EPOCH    51
#define SL_BATCH_POS_BASE_SEQUENCE     53
#define SL_BATCH_POS_RECORDS_COUNT     57

#define SL_BATCH_CODEC_MASK            0x07
#define SL_BATCH_LOG_APPEND_TIME       0x08
#define SL_BATCH_TRANSACTIONAL         0x10
#define SL_BATCH_CONTROL               0x20
#define SL_BATCH_DELETE_HORIZON        0x40

#define SL_BATCH_NO_TIMESTAMP          INT64_C(-1)
#define SL_BATCH_NO_PRODUCER_ID        INT64_C(-1)

/* Types of control records (the second int16 of their key). */
enum sl_control_type {
	SL_CONTROL_ABORT = 0,
	SL_CONTROL_COMMIT = 1,
	SL_CONTROL_LEADER_CHANGE = 2,
};

/* The decoded header. */
struct sl_batch_head {
	int64_t base_offset;
	int32_t batch_length; /* total size - 12 */
	int32_t leader_epoch;
	int8_t magic;
	uint32_t crc;
	uint16_t attributes;
	int32_t last_offset_delta;
	int64_t base_timestamp; /* the delete horizon when SL_BATCH_DELETE_HORIZON is set */
	int64_t max_timestamp;
	int64_t producer_id;
	int16_t producer_epoch;
	int32_t base_sequence;
	int32_t records_count;
};

/* Size on disk and on the wire. */
static inline size_t sl_batch_bytes(const struct sl_batch_head *h)
{
	return (size_t)h->batch_length + SL_BATCH_LOG_OVERHEAD;
}

static inline int64_t sl_batch_last_offset(const struct sl_batch_head *h)
{
	return h->base_offset + h->last_offset_delta;
}

/* May be a number that is no codec; see sl_codec_name(). */
static inline enum sl_codec sl_batch_codec(const struct sl_batch_head *h)
{
	return (enum sl_codec)(h->attributes & SL_BATCH_CODEC_MASK);
}

static inline bool sl_batch_is_log_append_time(const struct sl_batch_head *h)
{
	return h->attributes & SL_BATCH_LOG_APPEND_TIME;
}

static inline bool sl_batch_is_transactional(const struct sl_batch_head *h)
{
	return h->attributes & SL_BATCH_TRANSACTIONAL;
}

static inline bool sl_batch_is_control(const struct sl_batch_head *h)
{
	return h->attributes & SL_BATCH_CONTROL;
}

static inline bool sl_batch_has_producer(const struct sl_batch_head *h)
{
	return h->producer_id > SL_BATCH_NO_PRODUCER_ID;
}

/* Sequence of the record @n after one with @sequence; wraps from INT32_MAX to 0. */
static inline int32_t sl_batch_sequence_add(int32_t sequence, int32_t n)
{
	return (int32_t)(((uint32_t)sequence + (uint32_t)n) & INT32_MAX);
}

/**
 * sl_batch_peek() - decode the header of the batch at @p
 * @len: bytes readable at @p
 *
 * Return: 0, and the whole batch lies in @len; -EAGAIN it does not (@out->magic is 2 and @out is
 * filled if at least the header does, else @out is zeroed); -EBADMSG no batch of magic 2 begins
 * here, or its length is impossible.  The CRC is not looked at.
 */
int sl_batch_peek(const void *p, size_t len, struct sl_batch_head *out) SL_MUST_CHECK;

/**
 * sl_batch_next() - take the first batch off a run of batches
 * @rest: bytes that begin with a batch; afterwards what lies behind it
 * @p: the batch
 *
 * Return: 1; 0 nothing is left; -EAGAIN, -EBADMSG as sl_batch_peek(), @rest as it was.
 */
int sl_batch_next(struct sl_bytes *rest, const uint8_t **p, struct sl_batch_head *h) SL_MUST_CHECK;

/* @p: a whole batch, as sl_batch_peek() found it. */
bool sl_batch_check_crc(const void *p, const struct sl_batch_head *h);

/* Patches bytes 0-7 and 12-15, which the CRC does not cover. */
void sl_batch_set_offset(void *p, int64_t base_offset, int32_t leader_epoch);

/* Makes it a LogAppendTime batch of time @now_ms and derives the new CRC without reading the
 * records (a CRC is linear in the bytes that change).  @h is updated too. */
void sl_batch_set_append_time(void *p, struct sl_batch_head *h, int64_t now_ms);
/* The same for a wrong max timestamp of a CreateTime batch. */
void sl_batch_set_max_timestamp(void *p, struct sl_batch_head *h, int64_t max_timestamp);

/* X(name, Kafka's code, what the client is told).  Why a produced record set is refused. */
/* clang-format off */
#define SL_BATCH_FAULTS(X) \
	X(OK,             NONE,               "") \
	X(EMPTY,          INVALID_RECORD,     "Record set has no batch") \
	X(TRUNCATED,      INVALID_RECORD,     "Record batch is cut short") \
	X(LENGTH,         CORRUPT_MESSAGE,    "Record batch has an impossible length") \
	X(MAGIC,          INVALID_RECORD,     "Record batch does not have magic 2") \
	X(TRAILING,       INVALID_RECORD,     "Record set has more than exactly one batch") \
	X(BASE_OFFSET,    INVALID_RECORD,     "Base offset of a produced batch is not 0") \
	X(TOO_LARGE,      MESSAGE_TOO_LARGE,  "Record batch is larger than max.message.bytes") \
	X(CRC,            CORRUPT_MESSAGE,    "Record batch has a wrong CRC") \
	X(COUNT,          INVALID_RECORD,     "Record count and last offset delta disagree or are not positive") \
	X(CONTROL,        INVALID_RECORD,     "Clients may not write control records") \
	X(SEQUENCE,       INVALID_RECORD,     "Producer id without a sequence number") \
	X(CODEC,          UNSUPPORTED_COMPRESSION_TYPE, "Unknown compression codec") \
	X(COMPRESSED,     INVALID_RECORD,     "Compressed records cannot be decompressed") \
	X(EXPANDS,        MESSAGE_TOO_LARGE,  "Compressed records expand beyond the limit") \
	X(RECORD,         INVALID_RECORD,     "A record is malformed or their count is wrong") \
	X(RECORD_OFFSET,  INVALID_RECORD,     "Record offsets do not count 0, 1, 2, ...") \
	X(RECORD_KEY,     INVALID_RECORD,     "Compacted topic cannot accept message without key") \
	X(TIMESTAMP,      INVALID_TIMESTAMP,  "Timestamp is out of the range that the topic accepts") \
	X(TIMESTAMP_TYPE, INVALID_TIMESTAMP,  "Producer should not set timestamp type to LogAppendTime") \
	X(MEMORY,         UNKNOWN_SERVER_ERROR, "No memory to check the batch")
/* clang-format on */

enum sl_batch_fault {
#define SL_BATCH_FAULT_ENUM(name, kerr, text) SL_BATCH_FAULT_##name,
	SL_BATCH_FAULTS(SL_BATCH_FAULT_ENUM)
#undef SL_BATCH_FAULT_ENUM
	SL_BATCH_FAULT_NR
};

/* In errmap.c. */
enum sl_kerr sl_kerr_from_batch(enum sl_batch_fault fault);
/* Text for ErrorMessage and BatchIndexErrorMessage; constant. */
const char *sl_batch_fault_text(enum sl_batch_fault fault);
/* For counters and logs: "CRC", "RECORD_KEY", ...; constant. */
const char *sl_batch_fault_name(enum sl_batch_fault fault);

/* The topic's rules. */
struct sl_batch_rules {
	bool is_compacted;        /* keys must not be null */
	bool is_log_append_time;  /* message.timestamp.type */
	int64_t before_max_ms;    /* message.timestamp.before.max.ms */
	int64_t after_max_ms;     /* message.timestamp.after.max.ms */
	uint32_t batch_bytes_max; /* max.message.bytes; 0: no limit */
	bool is_internal; /* written by a coordinator of ours: control records are allowed */
};

/* What the check found. */
struct sl_batch_info {
	struct sl_batch_head head;
	int64_t max_timestamp;       /* largest of the records, -1 if none has one */
	int32_t max_timestamp_delta; /* offset of that record - base offset */
	int32_t error_index;         /* the record at fault, -1: the batch as a whole */
	uint64_t records_bytes;      /* of the records when decompressed */
};

/**
 * sl_batch_validate() - check a produced record set by Kafka's rules (reference §3.1, steps 3,
 * 7-11)
 * @p: the partition's record set, @len bytes
 * @rules: of the topic
 * @now_ms: wall clock
 * @ctx: for compressed batches
 * @out: filled as far as the check went; error_index is set for faults of single records
 *
 * Decompresses as a stream and looks at every record, as Kafka does.  Changes nothing: afterwards
 * the caller lets sl_batch_stamp() patch the times.
 *
 * Context: owner of @ctx.  Allocates nothing but a snappy block larger than any before.
 * Return: SL_BATCH_FAULT_OK or the first fault.
 */
enum sl_batch_fault sl_batch_validate(const void *p, size_t len, const struct sl_batch_rules *rules,
                                      int64_t now_ms, struct sl_codec_ctx *ctx,
                                      struct sl_batch_info *out) SL_MUST_CHECK;

/**
 * sl_batch_stamp() - patch the times of a validated batch as its topic wants them
 * @p, @info: of sl_batch_validate(); @info->head is updated
 *
 * LogAppendTime: attribute, max timestamp.  CreateTime: max timestamp, where the client's is wrong.
 * Return: the time for LogAppendTimeMs of the response: @now_ms, or -1 for CreateTime.
 */
int64_t sl_batch_stamp(void *p, struct sl_batch_info *info, const struct sl_batch_rules *rules,
                       int64_t now_ms);

/* One record.  Key, value and headers borrow the batch, or the iterator's arena if it is
 * compressed. */
struct sl_record {
	int64_t offset;
	int64_t timestamp; /* max timestamp of the batch when that is LogAppendTime */
	struct sl_bytes key;
	struct sl_bytes value;
	int32_t headers_count;
	struct sl_bytes headers; /* undecoded; see sl_record_header_next() */
};

/* Iterates over the records of one batch whose header and CRC are right. */
struct sl_record_iter {
	struct sl_batch_head head;
	struct sl_cursor c;
	int32_t index;
};

/**
 * sl_record_iter_init() - begin with the first record
 * @p: a whole batch, as sl_batch_peek() found it; borrowed while iterating
 * @ctx: used for compressed batches only, during this call
 * @arena: gets the decompressed records of compressed batches; may be NULL otherwise
 *
 * Return: 0; -EBADMSG cannot be decompressed; -E2BIG above a cap of @ctx; -ENOMEM arena full;
 * -ENOTSUP unknown codec.
 */
int sl_record_iter_init(struct sl_record_iter *it, const void *p, const struct sl_batch_head *h,
                        struct sl_codec_ctx *ctx, struct sl_arena *arena) SL_MUST_CHECK;
/* Return: 1 and a record; 0 the end; -EBADMSG malformed. */
int sl_record_iter_next(struct sl_record_iter *it, struct sl_record *out) SL_MUST_CHECK;

/* Takes the next header off @headers.  Return: 1; 0 no more; -EBADMSG. */
int sl_record_header_next(struct sl_bytes *headers, struct sl_str *key,
                          struct sl_bytes *value) SL_MUST_CHECK;

struct sl_record_header {
	struct sl_str key;
	struct sl_bytes value;
};

/*
 * Builds one batch in a buffer.  Zero or more records between begin and end; the caller's @head
 * gives everything but lengths, counts, deltas, max timestamp and CRC.
 */
struct sl_batch_builder {
	struct sl_buf *buf;
	size_t start; /* of the batch in buf */
	struct sl_batch_head head;
};

/* Defaults: base offset 0, epoch -1, no producer, uncompressed, CreateTime. */
void sl_batch_head_init(struct sl_batch_head *h);

/* @head: base_offset, leader_epoch, attributes, producer fields are used.  Ownership: @buf is
 * borrowed until the end; failure is sticky in it. */
void sl_batch_begin(struct sl_batch_builder *b, struct sl_buf *buf,
                    const struct sl_batch_head *head);
/* The first record's timestamp becomes the base. */
void sl_batch_add(struct sl_batch_builder *b, int64_t timestamp, struct sl_bytes key,
                  struct sl_bytes value);
void sl_batch_add_headers(struct sl_batch_builder *b, int64_t timestamp, struct sl_bytes key,
                          struct sl_bytes value, const struct sl_record_header *headers,
                          int32_t headers_count);
/**
 * sl_batch_end() - compress if the attributes say so, fill in the header
 *
 * Context: allocates for compressed batches.
 * Return: 0; -ENOSPC the buffer failed; -ENOMEM; -ENOTSUP unknown codec.
 */
int sl_batch_end(struct sl_batch_builder *b) SL_MUST_CHECK;

#endif
