/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata image: an immutable snapshot of all topics, built by the host thread and swapped by
 * pointer.  A lane reads ctx->image between two loop tops and keeps no pointer into it longer; the
 * host frees an old image when every lane has passed its loop top (quiescent state).
 */
#ifndef DATAPLANE_IMAGE_H
#define DATAPLANE_IMAGE_H

#include "sluice/base/base.h"
#include "sluice/base/hash.h"
#include "sluice/store/log.h"

#include "ctx.h"

struct partition;
struct sl_image_broker;
struct sl_image_topic;

struct image_node {
	int32_t node_id;
	char *host;
	int32_t port;
};

struct topic_partition {
	int32_t leader_id; /* node id; -1 none */
	int32_t leader_epoch;
	struct partition *partition; /* NULL: not on this server, or its log could not be opened */
	int32_t *replicas;           /* replicas_count, shared with isr for now: one replica */
	uint32_t replicas_count;
	int32_t *isr;
	uint32_t isr_count;
};

/* Topic configuration as the hot path wants it. */
struct topic_config {
	uint32_t max_message_bytes;
	int32_t min_insync_replicas;
	bool is_compact;
	bool is_log_append_time;
	struct flush_policy flush;
	int64_t timestamp_before_max_ms;
	int64_t timestamp_after_max_ms;
	struct sl_log_config log;
};

/* One version of a topic; immutable, shared by images, freed with the last one that has it. */
struct topic {
	struct sl_uuid id;
	char *name;
	uint32_t name_len;
	bool is_internal;
	uint32_t refs; /* host thread only */
	struct topic_config config;
	uint32_t partitions_count;
	struct topic_partition *partitions;
};

struct image {
	uint64_t revision;
	char *cluster_id;
	int32_t controller_id;
	bool auto_create_topics;
	uint32_t nodes_count;
	struct image_node *nodes;
	size_t host_bytes_max; /* the longest host of a node, with its NUL */
	struct sl_map by_name; /* name -> struct topic */
	struct sl_map by_id;   /* id -> struct topic */
};

/* NULL when unknown. */
const struct topic *image_topic(const struct image *image, struct sl_str name);
const struct topic *image_topic_by_id(const struct image *image, const struct sl_uuid *id);

/* ---- Building.  Host thread only, and only before the image is given to a lane. ---- */

/* An empty image.  Return: 0 or -ENOMEM. */
int image_create(struct image **out) SL_MUST_CHECK;
/* An image with the topics, nodes and settings of @from; topics are shared.  Return: 0 or -ENOMEM.
 */
int image_clone(struct image **out, const struct image *from) SL_MUST_CHECK;
/* When no lane has it any more; a no-op on NULL.  Puts its topics. */
void image_destroy(struct image *image);
/* Adds a topic, in place of an older version of the same id.  Ownership: takes a reference.
 * Return: 0; -EEXIST the name is that of a topic with another id; -ENOMEM.  The image is unchanged
 * on failure. */
int image_put_topic(struct image *image, struct topic *topic) SL_MUST_CHECK;
/* Return: true when there was one. */
bool image_del_topic(struct image *image, const struct sl_uuid *id);
/* The cluster's id, controller, nodes and settings, in place of those there were.  Return: 0;
 * -EINVAL a node without host or port; -ENOMEM.  The image is unchanged on failure. */
int image_set_cluster(struct image *image, const struct sl_image_broker *rec) SL_MUST_CHECK;
/* The same from another image.  Return: 0 or -ENOMEM. */
int image_copy_cluster(struct image *image, const struct image *from) SL_MUST_CHECK;

/* Partitions of one topic; far more than Kafka's clients stand. */
#define TOPIC_PARTITIONS_MAX 100000

/**
 * topic_create() - a topic version out of what the control process sent
 * @rec: borrowed; everything is copied
 * @config: of the topic
 *
 * partitions[].partition are NULL.  The caller has the only reference.
 * Return: 0; -EINVAL no legal name or id, or the partitions are not 0, 1, 2, ...; -ENOMEM.
 */
int topic_create(struct topic **out, const struct sl_image_topic *rec,
                 const struct topic_config *config) SL_MUST_CHECK;
/* A copy to be changed.  Return: 0 or -ENOMEM. */
int topic_copy(struct topic **out, const struct topic *from) SL_MUST_CHECK;
void topic_get(struct topic *topic);
/* Frees it with the last reference; a no-op on NULL. */
void topic_put(struct topic *topic);

#endif
