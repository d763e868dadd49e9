/* SPDX-License-Identifier: Apache-2.0 */
/* Handlers of the admin APIs, one file each.  See struct request for how a handler works. */
#ifndef CONTROL_ADMIN_ADMIN_H
#define CONTROL_ADMIN_ADMIN_H

#include "request.h"

request_handler admin_metadata;
request_handler admin_find_coordinator;
request_handler admin_create_topics;
request_handler admin_delete_topics;
request_handler admin_create_partitions;
request_handler admin_describe_configs;
request_handler admin_alter_configs;
request_handler admin_incremental_alter_configs;
request_handler admin_describe_cluster;
request_handler admin_describe_topic_partitions;
request_handler admin_describe_log_dirs;
request_handler admin_list_config_resources;
request_handler admin_init_producer_id;
request_handler admin_write_txn_markers;
request_handler admin_describe_transactions;
request_handler admin_list_transactions;

/* Resource types of the config APIs (reference 5.3). */
enum admin_resource {
	ADMIN_RESOURCE_TOPIC = 2,
	ADMIN_RESOURCE_BROKER = 4,
	ADMIN_RESOURCE_CLIENT_METRICS = 16,
	ADMIN_RESOURCE_GROUP = 32,
};

/* Operations that anybody may do while there is no authorizer, as bits: AclOperation's codes. */
#define ADMIN_TOPIC_OPERATIONS 3576 /* READ WRITE CREATE DELETE ALTER DESCRIBE and both CONFIGS */
#define ADMIN_CLUSTER_OPERATIONS \
	8096 /* CREATE ALTER DESCRIBE CLUSTER_ACTION both CONFIGS, IDEMPOTENT_WRITE */

#endif
