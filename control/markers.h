/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ends transactions on partitions: a control batch through the lane that leads the partition, or,
 * for __consumer_offsets, through the group coordinator, whose batches it must stay in order with.
 */
#ifndef CONTROL_MARKERS_H
#define CONTROL_MARKERS_H

#include "sluice/wire/marker.h"

#include "control.h"

struct markers;

/* @kerr: NONE: on the log, and the offsets it ends are in force. */
typedef void markers_fn(void *arg, enum sl_kerr kerr);

int markers_create(struct markers **out, struct control *c) SL_MUST_CHECK;
/* What is on its way is called back with an error. */
void markers_destroy(struct markers *x);

struct markers_target {
	struct sl_str topic;
	int32_t partition;
};
/* @fn is called exactly once, never from within. */
void markers_write(struct markers *x, const struct markers_target *to,
                   const struct sl_txn_marker *marker, markers_fn *fn, void *arg);
/* The group coordinator's word on one of its partitions. */
void markers_told(struct markers *x, uint64_t handle, enum sl_kerr kerr);

#endif
