/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata in memory.  A record is first prepared (decoded, checked, everything allocated),
 * then made durable by the caller, then applied, which cannot be refused any more.
 */
#ifndef CONTROL_META_IMAGE_H
#define CONTROL_META_IMAGE_H

#include "sluice/base/hash.h"

#include "meta.h"

#define IMAGE_CLUSTER_ID_MAX 128

/* A topic with the memory it lives in. */
struct image_topic;

struct image {
	uint64_t revision;
	char cluster_id[IMAGE_CLUSTER_ID_MAX];
	struct image_topic **topics; /* Owned; in order of their names */
	uint32_t topics_count;
	uint32_t topics_max;
	struct sl_map by_id;     /* topic id -> struct image_topic */
	struct sl_map by_folded; /* name with '.' as '_' -> struct image_topic */
	struct sl_map deleted;   /* topic id -> struct image_deleted, Owned */
	struct sl_map brokers;   /* server id -> struct image_broker, Owned */
	struct sl_map groups;    /* group id -> struct image_group, Owned */
	uint64_t partitions_count;
	int64_t next_producer_id;
};

/* A prepared record.  What it owns, the image takes when it is applied. */
struct image_step {
	enum meta_record_type type;
	struct sl_uuid topic_id;
	struct image_topic *topic;     /* TOPIC: Owned */
	struct image_broker *broker;   /* BROKER_CONFIG: Owned */
	struct image_group *group;     /* GROUP_CONFIG: Owned */
	struct image_deleted *deleted; /* TOPIC_DELETE: Owned */
	char cluster_id[IMAGE_CLUSTER_ID_MAX];
	int64_t next_producer_id;
};

/* Zeroed memory is a valid empty image. */
void image_fini(struct image *img);

/* Return: 0; -EBADMSG malformed; -EINVAL against the rules of the image; -ENOMEM. */
int image_prepare(const struct image *img, const struct meta_record *rec,
                  struct image_step *out) SL_MUST_CHECK;
/* Frees a step that will not be applied. */
void image_step_drop(struct image_step *step);
/* What the step would replace: its revision, 0 when nothing. */
uint64_t image_replaced(const struct image *img, const struct image_step *step);
/* Name that no other topic may share; empty when the step makes no topic. */
struct sl_str image_step_folded(const struct image_step *step);

/**
 * image_apply() - let a prepared record take effect
 * @change: filled; change->before stays valid until image_change_end()
 * Running out of memory here ends the process: the record is durable, and the next start reads it.
 */
void image_apply(struct image *img, struct image_step *step, uint64_t revision,
                 struct meta_change *change);
void image_change_end(struct meta_change *change);

const struct meta_topic *image_by_id(const struct image *img, const struct sl_uuid *id);
const struct meta_topic *image_at(const struct image *img, uint32_t index);
uint32_t image_lower_bound(const struct image *img, struct sl_str name);
const struct meta_topic *image_colliding(const struct image *img, struct sl_str name);
const struct meta_broker_config *image_broker_config(const struct image *img, int32_t server_id);
const struct meta_group_config *image_group_config(const struct image *img, struct sl_str group_id);
const struct meta_group_config *image_group_config_next(const struct image *img, uint32_t *pos);
bool image_deleted_next(const struct image *img, uint32_t *pos, struct sl_uuid *id);

/* All records that make this image again.  Return: 0, what @emit returned, -ENOMEM. */
int image_dump(const struct image *img, int (*emit)(void *arg, const struct meta_record *rec),
               void *arg);

#endif
