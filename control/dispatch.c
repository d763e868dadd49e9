/* SPDX-License-Identifier: Apache-2.0 */
/* The table of handlers.  Constant data. */
#include "dispatch.h"

#include "admin/admin.h"
#include "offsets.h"
#include "txns.h"

static request_handler *const handlers[SL_API_KEY_MAX + 1] = {
	[SL_API_METADATA] = admin_metadata,
	[SL_API_OFFSET_COMMIT] = offsets_request,
	[SL_API_OFFSET_FETCH] = offsets_request,
	[SL_API_FIND_COORDINATOR] = admin_find_coordinator,
	[SL_API_JOIN_GROUP] = offsets_request,
	[SL_API_HEARTBEAT] = offsets_request,
	[SL_API_LEAVE_GROUP] = offsets_request,
	[SL_API_SYNC_GROUP] = offsets_request,
	[SL_API_DESCRIBE_GROUPS] = offsets_request,
	[SL_API_LIST_GROUPS] = offsets_request,
	[SL_API_CREATE_TOPICS] = admin_create_topics,
	[SL_API_DELETE_TOPICS] = admin_delete_topics,
	[SL_API_INIT_PRODUCER_ID] = admin_init_producer_id,
	[SL_API_ADD_PARTITIONS_TO_TXN] = txns_request,
	[SL_API_ADD_OFFSETS_TO_TXN] = txns_request,
	[SL_API_END_TXN] = txns_request,
	[SL_API_WRITE_TXN_MARKERS] = admin_write_txn_markers,
	[SL_API_TXN_OFFSET_COMMIT] = txns_offset_commit,
	[SL_API_DESCRIBE_CONFIGS] = admin_describe_configs,
	[SL_API_ALTER_CONFIGS] = admin_alter_configs,
	[SL_API_DESCRIBE_LOG_DIRS] = admin_describe_log_dirs,
	[SL_API_CREATE_PARTITIONS] = admin_create_partitions,
	[SL_API_DELETE_GROUPS] = offsets_request,
	[SL_API_INCREMENTAL_ALTER_CONFIGS] = admin_incremental_alter_configs,
	[SL_API_OFFSET_DELETE] = offsets_request,
	[SL_API_DESCRIBE_CLUSTER] = admin_describe_cluster,
	[SL_API_DESCRIBE_TRANSACTIONS] = admin_describe_transactions,
	[SL_API_LIST_TRANSACTIONS] = admin_list_transactions,
	[SL_API_LIST_CONFIG_RESOURCES] = admin_list_config_resources,
	[SL_API_CONSUMER_GROUP_HEARTBEAT] = offsets_request,
	[SL_API_CONSUMER_GROUP_DESCRIBE] = offsets_request,
	[SL_API_DESCRIBE_TOPIC_PARTITIONS] = admin_describe_topic_partitions,
};

request_handler *dispatch_handler(int16_t api_key)
{
	return api_key >= 0 && api_key <= SL_API_KEY_MAX ? handlers[api_key] : NULL;
}
