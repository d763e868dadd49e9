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

struct partition;

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
	bool is_flush_lazy;
	int64_t flush_ms;
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
	struct sl_map by_name; /* name -> struct topic */
	struct sl_map by_id;   /* id -> struct topic */
};

/* NULL when unknown. */
const struct topic *image_topic(const struct image *image, struct sl_str name);
const struct topic *image_topic_by_id(const struct image *image, const struct sl_uuid *id);

#endif
