/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Landing: the records of a produce are received straight into the end of the partition's log, so
 * that appending them moves nothing.  What this needs of a request is in its first bytes.
 */
#ifndef DATAPLANE_REQUEST_LANDING_H
#define DATAPLANE_REQUEST_LANDING_H

#include "net/transport.h"
#include "partition/partition.h"
#include "sluice/wire/apis.h"

/* Smaller requests are received in the buffer: a call takes several of them there, and the copy
 * that landing saves costs less than what it takes. */
#define LANDING_BYTES_MIN   ((uint32_t)32 << 10)
/* Larger ones reserve what they declare only when half of it is there, since a length field must
 * not size memory on its own. */
#define LANDING_BYTES_EAGER ((uint32_t)2 << 20)
/* The batch header must have ended here. */
#define LANDING_HEAD_MAX    ((size_t)2048)

enum landing_verdict {
	LANDING_MORE = 0, /* the head has not arrived as far as its batch header */
	LANDING_NO,       /* received whole, like any other request */
	LANDING_YES,
};

/* What a produce of one record set says before its records.  Strings borrow the frame. */
struct landing_head {
	struct sl_request_head head;
	struct sl_str topic; /* of versions below 13 */
	struct sl_uuid topic_id;
	int32_t timeout_ms;
	int32_t partition;
	int16_t acks;
	uint32_t records_pos; /* in the frame without its size */
	uint32_t records_bytes;
	uint32_t trailer_bytes; /* behind the records: empty tag sections, or nothing */
};

/**
 * landing_parse() - look at the first bytes of a frame
 * @p: frame without its size, as far as it has arrived; @have bytes
 * @frame_bytes: of the whole frame
 * @out: filled with LANDING_YES only
 *
 * YES means: a produce of one topic with one partition, whose records are one batch of magic 2 that
 * reaches to the end of the frame.  A pure function.
 */
enum landing_verdict landing_parse(const uint8_t *p, size_t have, size_t frame_bytes,
                                   struct landing_head *out);
/* The same without a look at the batch, for the frame of a landed request, whose @have bytes end at
 * the records.  Return: false: no such request. */
bool landing_decode(const uint8_t *p, size_t have, size_t frame_bytes, struct landing_head *out);

/*
 * The records of the request that a connection receives, or that waits.  Legal states: bytes == 0
 * nothing; reserved.partition set: they lie in the log; else in @block.
 */
struct landing {
	struct reservation reserved;
	uint8_t *block; /* Owned: pool block, for a landing that was displaced */
	uint32_t bytes;
	uint32_t got;
};

static inline uint8_t *landing_memory(const struct landing *l)
{
	return l->block ? l->block : l->reserved.memory;
}

/**
 * landing_begin() - reserve the log's end for the records of a request
 * @l: of the connection; empty
 * @io: of the connection, asked how much has arrived where that decides
 * @have: bytes of the records that are there already, which the caller copies
 *
 * Return: 0; -EAGAIN the hot tier is full, try again when it has room; -EBUSY not this time; other:
 * this partition takes no landing.  Without success the request is received whole.
 */
int landing_begin(struct ctx *ctx, struct landing *l, const struct landing_head *head,
                  struct net_io *io, size_t have) SL_MUST_CHECK;
/* The records are appended, refused, or given up.  A no-op on an empty one. */
void landing_release(struct ctx *ctx, struct landing *l);

#endif
