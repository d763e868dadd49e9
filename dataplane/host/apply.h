/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the control process's image messages to what the lanes serve.  Changes are gathered from
 * BEGIN to END, then one round applies them: build the image, open the logs of new partitions,
 * hand partitions and image to the lanes, and when every lane has them free the old image and take
 * away what is not in the new one.  One round at a time.  Host thread only.
 */
#ifndef DATAPLANE_HOST_APPLY_H
#define DATAPLANE_HOST_APPLY_H

#include "hosted.h"
#include "image.h"
#include "lane.h"
#include "logdirs.h"
#include "sluice/base/conf.h"
#include "sluice/ipc/msg.h"

struct apply;

struct apply_opts {
	const struct sl_conf *conf; /* Borrowed */
	struct logdirs *dirs;       /* Borrowed */
	struct sl_shm *shm;         /* Borrowed */
	int32_t node_id_base;       /* of lane 0 */
	uint32_t partitions_max;    /* of one lane */
	/* Sends to lane msg->lane; the message comes back through apply_returned(). */
	void (*post)(void *arg, struct lane_msg *msg);
	/* Sends a head without body to the control process, if there is one. */
	void (*tell)(void *arg, enum sl_ipc_type type, const void *head, size_t bytes);
	void *arg;
};

/* Return: 0 or -ENOMEM. */
int apply_create(struct apply **out, const struct apply_opts *opts) SL_MUST_CHECK;
/* After every lane has ended: closes all logs.  Return: 0 or the first -errno of a close. */
int apply_destroy(struct apply *a);

/* The lanes' parts of the hot tier, for logs.  @by_lane: Borrowed as long as @a; before the first
 * message. */
void apply_set_hot(struct apply *a, struct sl_hot_pool *const *by_lane);

/* What the lanes serve, or are just about to: for a lane that is being created. */
const struct image *apply_image(const struct apply *a);
const struct hosted_table *apply_table(const struct apply *a);

/**
 * apply_message() - one IMAGE_* message
 * @p: private memory, @bytes of it; not needed after the call
 * Return: 0; -EPROTO it breaks the rules of msg.h; -ENOMEM.  After an error the attachment has to
 * end.
 */
int apply_message(struct apply *a, enum sl_ipc_type type, const void *p,
                  size_t bytes) SL_MUST_CHECK;
/* So much waits to be applied that no further message should be read. */
bool apply_is_full(const struct apply *a);
/* The control process is gone: what it had not finished saying is void. */
void apply_control_lost(struct apply *a);

/* Goes on with the work, for a bounded time.  Return: 1 call again soon; 0 nothing to do until a
 * message comes; -EPROTO, -ENOMEM an image could not be applied: as for apply_message(). */
int apply_poll(struct apply *a) SL_MUST_CHECK;
/* A lane obeyed a message that post() sent. */
void apply_returned(struct apply *a, struct lane_msg *msg);
/* A lane found that a log dir failed.  @error: -errno. */
void apply_dir_failed(struct apply *a, uint32_t dir, int error);

#endif
