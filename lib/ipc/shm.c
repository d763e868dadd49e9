/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layout of the memory that the data plane publishes: header, counters of the lanes, partition
 * slots. Positions follow from constants and the counts alone, so the ones in the header are only
 * checked.
 */
#include "sluice/ipc/shm.h"

#include <errno.h>
#include <unistd.h>

#include "sluice/base/assert.h"
#include "sluice/base/clock.h"
#include "sluice/base/uuid.h"

#define STATS_POS SL_SHM_HEADER_BYTES

_Static_assert(sizeof(struct sl_shm) <= SL_SHM_HEADER_BYTES, "the header fits its pages");
_Static_assert(STATS_POS % SL_CACHE_LINE == 0, "counters start on a cache line");
_Static_assert(sizeof(struct sl_lane_stats) % SL_CACHE_LINE == 0, "lanes share no cache line");

static uint64_t slots_pos(uint32_t lanes_count)
{
	/* A slot is two cache lines and starts at the first of an adjacent pair. */
	return SL_ALIGN_UP(STATS_POS + (uint64_t)lanes_count * sizeof(struct sl_lane_stats),
	                   sizeof(struct sl_slot));
}

size_t sl_shm_bytes(uint32_t lanes_count, uint32_t slots_count)
{
	return slots_pos(lanes_count) + (size_t)slots_count * sizeof(struct sl_slot);
}

void sl_shm_init(struct sl_shm *shm, uint32_t lanes_count, uint32_t slots_count)
{
	struct sl_uuid random;

	SL_ASSERT(lanes_count > 0 && lanes_count <= SL_SHM_LANES_MAX);
	sl_uuid_random(&random);
	memcpy(&shm->incarnation, random.b, sizeof(shm->incarnation));
	shm->bytes = sl_shm_bytes(lanes_count, slots_count);
	shm->lanes_count = lanes_count;
	shm->slots_count = slots_count;
	shm->stats_pos = STATS_POS;
	shm->slots_pos = slots_pos(lanes_count);
	shm->started_ms = sl_wall_ms();
	shm->pid = (int32_t)getpid();
	shm->magic = SL_SHM_MAGIC;
}

int sl_shm_check(const struct sl_shm *shm, size_t mapped_bytes)
{
	struct sl_shm h;

	if (mapped_bytes < SL_SHM_HEADER_BYTES)
		return -EPROTO;
	memcpy(&h, shm, sizeof(h)); /* once: the other process could change it between two looks */
	if (h.magic != SL_SHM_MAGIC || h.bytes != mapped_bytes)
		return -EPROTO;
	if (h.lanes_count == 0 || h.lanes_count > SL_SHM_LANES_MAX)
		return -EPROTO;
	if (h.stats_pos != STATS_POS || h.slots_pos != slots_pos(h.lanes_count) ||
	    h.bytes != sl_shm_bytes(h.lanes_count, h.slots_count))
		return -EPROTO;
	return 0;
}

struct sl_slot *sl_shm_slot(struct sl_shm *shm, uint32_t index)
{
	if (index >= shm->slots_count)
		return NULL;
	return (struct sl_slot *)(void *)((uint8_t *)shm + slots_pos(shm->lanes_count)) + index;
}

struct sl_lane_stats *sl_shm_stats(struct sl_shm *shm, uint32_t lane)
{
	if (lane >= shm->lanes_count)
		return NULL;
	return (struct sl_lane_stats *)(void *)((uint8_t *)shm + STATS_POS) + lane;
}
