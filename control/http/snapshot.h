/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The groups and their committed offsets at one moment.  A scrape goes over several turns of the
 * loop, and the coordinator's own views end with its next step.
 */
#ifndef CONTROL_HTTP_SNAPSHOT_H
#define CONTROL_HTTP_SNAPSHOT_H

#include "sluice/base/base.h"
#include "sluice/base/buf.h"

struct group_coord;

struct snapshot_group {
	uint32_t name_pos; /* in text */
	int32_t name_len;
	uint32_t members;
};

/* In order of group, topic and partition. */
struct snapshot_offset {
	uint32_t group; /* index */
	uint32_t topic_pos;
	int32_t topic_len;
	int32_t partition;
	int64_t offset;
};

/* Zeroed memory is a valid empty one. */
struct snapshot {
	struct sl_buf text;
	struct snapshot_group *groups; /* Owned */
	uint32_t groups_count;
	uint32_t groups_max;
	struct snapshot_offset *offsets; /* Owned */
	uint32_t offsets_count;
	uint32_t offsets_max;
};

/* @coord: may be NULL.  Return: 0 or -ENOMEM; the snapshot is to be ended either way. */
int snapshot_take(struct snapshot *s, const struct group_coord *coord) SL_MUST_CHECK;
void snapshot_fini(struct snapshot *s);

struct sl_str snapshot_group_name(const struct snapshot *s, uint32_t group);
struct sl_str snapshot_topic(const struct snapshot *s, uint32_t offset);
/* Index behind the last offset of the same group and topic. */
uint32_t snapshot_topic_end(const struct snapshot *s, uint32_t offset);

#endif
