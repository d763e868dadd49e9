/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How metadata transactions lie in the log: one frame each, whose head and body have checksums of
 * their own, so that a damaged length cannot hide what follows it.
 *
 *   u32 magic  u32 body bytes  u64 revision  u32 records  u32 crc32c(body)  u32 crc32c(the head so
 * far) body: records of { u16 type, i16 version, u32 bytes, payload }
 *
 * Integers are big-endian.
 */
#ifndef CONTROL_META_FRAME_H
#define CONTROL_META_FRAME_H

#include "sluice/base/buf.h"

#include "meta.h"

#define FRAME_HEAD_BYTES 28
/* Largest body; a transaction that needs more is refused. */
#define FRAME_BODY_MAX   (UINT32_C(256) << 20)

struct frame {
	uint64_t revision;
	uint32_t records_count;
	struct sl_bytes body;
	size_t bytes; /* head and body */
};

enum frame_state {
	FRAME_WHOLE = 0,
	FRAME_SHORT,   /* the head is good, the body ends early */
	FRAME_DAMAGED, /* checksum wrong, or too short for a head */
};

/* Reads the frame at the start of @p. */
enum frame_state frame_parse(struct frame *out, const void *p, size_t len);
/* Whether a good frame head with a revision above @after lies anywhere in @p; *pos says where. */
bool frame_find(const void *p, size_t len, uint64_t after, size_t *pos);
/* Appends a frame to @buf; failure is sticky there. */
void frame_put(struct sl_buf *buf, uint64_t revision, const struct meta_record *recs,
               uint32_t count);

/* Appends one record. */
void frame_put_record(struct sl_buf *buf, const struct meta_record *rec);
/* Takes the next record off *p.  Return: 1; 0 at the end; -EBADMSG. */
int frame_next_record(const uint8_t **p, size_t *left, struct meta_record *out) SL_MUST_CHECK;

#endif
