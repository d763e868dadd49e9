/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The group coordinator's surroundings: reads __consumer_offsets into it after each attachment,
 * appends what it wants appended, gives it time, randomness and requests, and sends its answers.
 */
#ifndef CONTROL_OFFSETS_H
#define CONTROL_OFFSETS_H

#include "sluice/wire/marker.h"

#include "control.h"
#include "request.h"
#include "statelog.h"

#define OFFSETS_TOPIC "__consumer_offsets"

struct offsets;

/* Return: 0; -ENOMEM; -EINVAL. */
int offsets_create(struct offsets **out, struct control *c) SL_MUST_CHECK;
void offsets_destroy(struct offsets *o);

/* For the events of the attachment. */
struct statelog *offsets_log(const struct offsets *o);
void offsets_changed(struct offsets *o, const struct meta_change *change);

/* Handler of all group APIs. */
enum request_result offsets_request(struct control *c, struct request *r);
/* A transaction ends on a partition of __consumer_offsets; markers_told() hears of @handle, maybe
 * before this returns. */
void offsets_mark(struct offsets *o, int32_t partition, const struct sl_txn_marker *marker,
                  uint64_t handle);
/* The client of a request that the coordinator may hold is gone. */
void offsets_cancel(struct offsets *o, uint64_t request_id);

struct group_coord *offsets_coordinator(const struct offsets *o);
/* How long the coordinator took for each event, in microseconds. */
const struct recent *offsets_steps(const struct offsets *o);
/* Partitions that are loaded, and that exist. */
void offsets_progress(const struct offsets *o, uint32_t *loaded, uint32_t *total);

#endif
