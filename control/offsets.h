/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The group coordinator's surroundings: reads __consumer_offsets into it after each attachment,
 * appends what it wants appended, gives it time, randomness and requests, and sends its answers.
 */
#ifndef CONTROL_OFFSETS_H
#define CONTROL_OFFSETS_H

#include "control.h"
#include "request.h"

#define OFFSETS_TOPIC "__consumer_offsets"

struct offsets;

/* Return: 0; -ENOMEM; -EINVAL. */
int offsets_create(struct offsets **out, struct control *c) SL_MUST_CHECK;
void offsets_destroy(struct offsets *o);

/* Groups answer "loading" from here on. */
void offsets_attached(struct offsets *o);
/* The data plane serves an image: partitions that are not loaded can be. */
void offsets_served(struct offsets *o);
/* A partition of this topic has a slot now. */
void offsets_opened(struct offsets *o, const struct sl_uuid *topic_id);
void offsets_lost(struct offsets *o);
void offsets_changed(struct offsets *o, const struct meta_change *change);

/* Handler of all group APIs. */
enum request_result offsets_request(struct control *c, struct request *r);
/* The client of a request that the coordinator may hold is gone. */
void offsets_cancel(struct offsets *o, uint64_t request_id);

struct group_coord *offsets_coordinator(const struct offsets *o);
/* Partitions that are loaded, and that exist. */
void offsets_progress(const struct offsets *o, uint32_t *loaded, uint32_t *total);

#endif
