/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata image as the data plane has it: sent in full after each attachment, then change by
 * change; who waits for a revision to be served; and the slots that came back for the partitions.
 */
#ifndef CONTROL_PUBLISH_H
#define CONTROL_PUBLISH_H

#include "control.h"

/* How long an answer waits for the data plane to serve the change it reports. */
#define PUBLISH_WAIT_MS 5000

struct publish;

/* One who waits.  Caller's memory, zeroed before its first use. */
struct publish_wait {
	struct sl_list link;
	uint64_t revision;
	struct loop_timer timer;
	struct loop_work work;
	struct publish *publish;
	loop_fn *fn;
	void *arg;
	bool is_waiting;
};

int publish_create(struct publish **out, struct control *c) SL_MUST_CHECK;
/* Nobody may wait any more. */
void publish_destroy(struct publish *p);

/* Events of the link and of the metadata. */
void publish_attached(struct publish *p);
void publish_lost(struct publish *p);
void publish_changed(struct publish *p, const struct meta_change *change);
void publish_ack(struct publish *p, uint64_t revision);
void publish_partition(struct publish *p, const struct sl_ipc_partition *part);

/**
 * publish_wait() - call @fn once the data plane serves @revision
 * Also when @timeout_ms has passed or the data plane went away: the change is durable and will be
 * in its next image.  Never calls from within.
 */
void publish_wait(struct publish *p, struct publish_wait *w, uint64_t revision, int64_t timeout_ms);
void publish_wait_stop(struct publish_wait *w);

/* Whether the data plane serves an image of this attachment. */
bool publish_is_served(const struct publish *p);
/* Last revision it has acknowledged in this attachment. */
uint64_t publish_acked(const struct publish *p);
const struct sl_slot *publish_slot(const struct publish *p, const struct sl_uuid *topic_id,
                                   int32_t partition);

#endif
