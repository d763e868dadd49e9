/* SPDX-License-Identifier: Apache-2.0 */
/* What the handlers that make topics have in common: names, limits and placement. */
#ifndef CONTROL_ADMIN_TOPICS_H
#define CONTROL_ADMIN_TOPICS_H

#include "request.h"

/* Partitions that one request may create (Kafka's limit). */
#define TOPICS_PARTITIONS_PER_REQUEST 10000
/* Partitions that one topic may have: its image must fit into one message to the data plane, and
 * takes 23 bytes for each. */
#define TOPICS_PARTITIONS_MAX         200000
#define TOPICS_OFFSETS_NAME           "__consumer_offsets"
#define TOPICS_TXNS_NAME              "__transaction_state"

/* Why a name is not allowed; NULL when it is.  Source: Kafka's Topic.java rules, reference 4.1. */
const char *topics_name_error(struct sl_str name);
/* Partitions for which the lanes have room. */
uint64_t topics_room(const struct control *c);
/* Fills @count partitions: leaders round robin from a random lane on, one replica each, epoch 0. */
void topics_place(struct request *r, struct sl_meta_topic_partition *parts, int32_t count);
/* One partition on one node. */
void topics_place_on(struct request *r, struct sl_meta_topic_partition *part, int32_t node_id);
/* A new topic with placed partitions and no configs; one of Kafka's internal topics gets theirs. */
void topics_make(struct request *r, struct sl_meta_topic *out, struct sl_str name,
                 int32_t partitions);
/* Whether @name is one of the topics that coordinators keep their state on. */
bool topics_is_state(struct sl_str name);
/* One of those as configured. */
void topics_make_state(struct request *r, struct sl_meta_topic *out, struct sl_str name);

#endif
