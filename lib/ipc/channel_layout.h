/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one channel looks like in shared memory.  Private to lib/ipc and to its tests, which play
 * the hostile peer.  All zeroes, apart from @layout, is the valid empty channel.
 */
#ifndef IPC_CHANNEL_LAYOUT_H
#define IPC_CHANNEL_LAYOUT_H

#include <stdatomic.h>

#include "sluice/base/base.h"

#define CHANNEL_RING_BYTES_MIN     (UINT32_C(64) << 10)
#define CHANNEL_RING_BYTES_MAX     (UINT32_C(1) << 30)

/* Layout word: who made the memory, and for which ring size. */
#define CHANNEL_LAYOUT(ring_bytes) ((UINT64_C(0x534c4331) << 32) | (uint64_t)(ring_bytes))

/* Bits of struct channel_end::waiting: what the sleeping end wants to be woken for. */
#define CHANNEL_WAIT_MESSAGE       1u
#define CHANNEL_WAIT_SPACE         2u

/* Type of the record that fills the end of a ring when the next message does not fit there. */
#define CHANNEL_FILLER             UINT32_MAX

/* Every record starts with one of these, at a multiple of 8; read and written as one 64-bit word.
 */
union channel_head {
	struct {
		uint32_t bytes; /* of the payload, without this head and without padding */
		uint32_t type;
	};
	uint64_t word;
};
_Static_assert(sizeof(union channel_head) == 8, "a head is one atomic word");

/* Positions count bytes since the start and never wrap; position & (ring_bytes - 1) is the place.
 */
struct channel_direction {
	_Atomic uint64_t produced SL_CACHE_ALIGNED; /* written by the sender */
	_Atomic uint64_t consumed SL_CACHE_ALIGNED; /* written by the receiver */
};

struct channel_end {
	/* Set by this end before it sleeps, cleared by whoever wakes it: CHANNEL_WAIT_*. */
	_Atomic uint32_t waiting SL_CACHE_ALIGNED;
};

/* Followed by the ring of direction 0, then that of direction 1.  Indexed by enum sl_channel_side.
 */
struct channel_shm {
	_Atomic uint64_t layout SL_CACHE_ALIGNED;
	struct channel_direction dir[2]; /* [s]: sent by side s */
	struct channel_end end[2];
	uint8_t pad[4096 - 7 * SL_CACHE_LINE];
};
_Static_assert(sizeof(struct channel_shm) == 4096, "rings start on a page");

#endif
