/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the hot tier: the layout of its file, and what hot*.c share. */
#ifndef STORE_HOT_IMPL_H
#define STORE_HOT_IMPL_H

#include <stdatomic.h>

#include "sluice/store/hot.h"

#include "bounds.h"
#include "hot_buddy.h"

/*
 * The file: header page; one descriptor per unit (SL_HOT_CHUNK_BYTES_MIN) of every slice, in order;
 * from the next huge page on the slices.  Little-endian; a reader checks everything it uses.
 */
#define HOT_MAGIC        UINT64_C(0x31544f48434c53) /* "SLCHOT1" */
#define HOT_VERSION      1u
#define HOT_HEADER_BYTES 4096u
#define HOT_HUGE_BYTES   ((uint64_t)2 << 20)
#define HOT_UNITS_PER_HUGE                                                    \
	((uint32_t)(HOT_HUGE_BYTES / SL_HOT_CHUNK_BYTES_MIN)) /* power of two \
	                                                       */
#define HOT_HUGE_ORDER 6u                                     /* of a chunk of HOT_HUGE_BYTES */

_Static_assert(HOT_UNITS_PER_HUGE == 1u << HOT_HUGE_ORDER, "order of a huge page");
_Static_assert(SL_HOT_CHUNK_BYTES_MAX == SL_HOT_CHUNK_BYTES_MIN << (HOT_ORDERS_MAX - 1),
               "orders cover the chunk sizes");
_Static_assert(SL_HOT_BYTES_MIN / 4 >= HOT_HUGE_BYTES, "every slice has chunks of a huge page");

/* Where the file came from. */
enum hot_origin {
	HOT_TMPFS_HUGE = 1, /* a tmpfs of its own with huge=always */
	HOT_MEMFD = 2,      /* huge pages as the system's policy for shared memory has it */
	HOT_MEMFD_SMALL = 3 /* the caller wanted none */
};

struct hot_header {
	uint64_t magic;
	uint32_t version;
	uint32_t header_bytes; /* of struct hot_header */
	uint64_t file_bytes;
	uint64_t slice_bytes;
	uint32_t slices;
	uint32_t unit_bytes;
	uint32_t desc_bytes;
	uint32_t block_bytes;
	uint32_t origin; /* enum hot_origin */
	uint32_t check;  /* CRC-32C of all before it */
};
_Static_assert(sizeof(struct hot_header) == 56, "no padding");

/*
 * What the chunk that begins at a unit holds.  Written by the slice's lane alone, in an order that
 * makes a process killed at any instruction leave something to trust or nothing:
 *   given out    end, durable and the identity, then state (release)
 *   appended     the bytes, then end (release): one store says how far they are whole
 *   written      durable; behind by any amount only means that bytes are written twice
 *   given back   state = 0, before anything may be written to the memory
 */
struct hot_desc {
	_Atomic uint64_t end;
	_Atomic uint64_t durable;
	uint64_t
		begin; /* from here to partition: fixed while the state stands, and checked by it */
	uint64_t pos;
	struct sl_uuid topic_id;
	int64_t base_offset;
	int32_t partition;
	_Atomic uint32_t state; /* 0: not a chunk; else hot_desc_state() */
};
_Static_assert(sizeof(struct hot_desc) == 64, "one cache line");
_Static_assert(HOT_UNITS_PER_HUGE * sizeof(struct hot_desc) == HOT_HEADER_BYTES,
               "a page of the table per huge page of memory");

#define HOT_STATE_IS_CHUNK    0x80u
#define HOT_STATE_ORDER_MASK  0x1fu
#define HOT_STATE_CHECK_MASK  0xffffff00u
#define HOT_DESC_CHECKED_POS  offsetof(struct hot_desc, begin)
#define HOT_DESC_CHECKED_SIZE (offsetof(struct hot_desc, state) - HOT_DESC_CHECKED_POS)

/* State word of a chunk of @order at @slot: what it is, and a checksum of its identity and place,
 * so that a stray store does not send bytes to another segment. */
uint32_t hot_desc_state(const struct hot_desc *desc, uint64_t slot, uint32_t order);

/* Positions that follow from size and number of the slices. */
struct hot_layout {
	uint32_t slices;
	uint32_t units; /* of a slice */
	uint64_t slice_bytes;
	uint64_t data_pos; /* of slice 0 in the file */
	uint64_t file_bytes;
};
/* -EINVAL: too small, too large, too many slices. */
int hot_layout_init(struct hot_layout *layout, uint64_t bytes, uint32_t slices) SL_MUST_CHECK;
/* Reads and checks the header of @fd.  -EPROTO not a tier, or its size is not what it says. */
int hot_header_read(int fd, struct hot_header *header, struct hot_layout *layout) SL_MUST_CHECK;

/* ---- hot_slice.c ---- */

struct hot_pool_opts {
	int fd;                 /* borrowed, with the two below, until hot_pool_destroy() */
	uint8_t *memory;        /* of the slice */
	struct hot_desc *descs; /* of the slice */
	uint64_t file_pos;      /* of the slice */
	uint32_t units;
	uint32_t slot_first;
};
/* A slice and its books.  The lane's, but for the two atomics. */
struct sl_hot_pool {
	struct hot_buddy buddy;
	struct hot_pool_opts opts;
	struct sl_hot_chunk *chunks; /* Owned. By first unit; gen stays when one is made anew. */
	struct hot_desc *descs_all;  /* by slot */
	struct sl_hot_pool_ops ops;
	struct sl_list clean;       /* first to become clean first */
	struct sl_list quarantined; /* longest without a look first */
	uint64_t bytes[HOT_KINDS_NR];
	uint32_t tails;         /* chunks that their owners still fill */
	struct sl_list directs; /* struct direct that no write uses; longest unused first */
	uint32_t directs_count;
	uint32_t directs_max;
	uint64_t directs_opened; /* since the pool is there */
	uint64_t recycled_count;
	uint64_t quarantined_count;
	uint64_t punched_count;
	/* Populating thread -> lane; hints to the lane, so no order is needed. */
	_Atomic uint64_t populated SL_CACHE_ALIGNED;
	_Atomic bool is_ended;
};

int hot_pool_create(struct sl_hot_pool **out, const struct hot_pool_opts *opts) SL_MUST_CHECK;
void hot_pool_destroy(struct sl_hot_pool *pool);
/* Bytes at the begin of the slice that have been touched.  Context: the populating thread. */
void hot_pool_set_populated(struct sl_hot_pool *pool, uint64_t bytes);
uint64_t hot_pool_populated(const struct sl_hot_pool *pool);
/* No memory behind what is populated is handed out from now on.  Context: the same. */
void hot_pool_set_end(struct sl_hot_pool *pool);
/* First unit that is not handed out any more. */
uint32_t hot_pool_units_end(const struct sl_hot_pool *pool);

#endif
