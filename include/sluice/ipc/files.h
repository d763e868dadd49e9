/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many descriptors the data plane may have open.  It asks for them at the start, and the
 * doctors of both processes compare them with RLIMIT_NOFILE (getrlimit(2)).
 */
#ifndef SLUICE_IPC_FILES_H
#define SLUICE_IPC_FILES_H

#include "sluice/base/base.h"

#define SL_LANE_SYNCS       1024 /* group commits under way */
#define SL_LANE_KEPT_FILES  1024 /* kept open for the next write-outs */
/* Of a partition its segments, the active one and two that are read; while it is written out or
 * synced three more. */
#define SL_LANE_PART_FILES  3
#define SL_LANE_WRITE_FILES (SL_LANE_SYNCS * 3 + SL_LANE_KEPT_FILES)
#define SL_LANE_SPARE_FILES 1024 /* of the process: listeners, rings, log dirs */

/* Each of @lanes serves @connections, together they have @partitions. */
static inline uint64_t sl_lane_files(uint32_t lanes, uint64_t connections, uint64_t partitions)
{
	return lanes * connections + partitions * SL_LANE_PART_FILES +
	       SL_MIN(partitions * SL_LANE_PART_FILES, (uint64_t)lanes * SL_LANE_WRITE_FILES) +
	       SL_LANE_SPARE_FILES;
}

#endif
