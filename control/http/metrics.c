/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table.  Names that dashboards for Kafka (Strimzi's, and those for kafka_exporter) already ask
 * for come first; a name of theirs is here only when the number is really measured.
 */
#include "metrics.h"

#include <stddef.h>
#include <stdio.h>

#include "group/group.h"
#include "txn/txn.h"

/* clang-format off */
static const struct metric table[] = {
	/* Strimzi's names for Kafka's own metrics.  A lane is a broker, so its counters carry lane and node_id. */
	{"kafka_server_brokertopicmetrics_bytesin_total", 'C', METRIC_LANE, metric_lane_stat, "Record batch bytes appended", SL_STAT_bytes_in, NULL},
	{"kafka_server_brokertopicmetrics_bytesout_total", 'C', METRIC_LANE, metric_lane_stat, "Record batch bytes sent to consumers", SL_STAT_bytes_out, NULL},
	{"kafka_server_brokertopicmetrics_messagesin_total", 'C', METRIC_LANE, metric_lane_stat, "Records appended", SL_STAT_messages_in, NULL},
	{"kafka_server_brokertopicmetrics_totalproducerequests_total", 'C', METRIC_LANE, metric_lane_stat, "Produce requests", SL_STAT_requests_produce, NULL},
	{"kafka_server_brokertopicmetrics_totalfetchrequests_total", 'C', METRIC_LANE, metric_lane_stat, "Fetch requests", SL_STAT_requests_fetch, NULL},
	{"kafka_server_brokertopicmetrics_failedproducerequests_total", 'C', METRIC_LANE, metric_lane_stat, "Partitions of Produce requests answered with an error", SL_STAT_produce_failed, NULL},
	{"kafka_server_brokertopicmetrics_failedfetchrequests_total", 'C', METRIC_LANE, metric_lane_stat, "Partitions of Fetch requests answered with an error", SL_STAT_fetch_failed, NULL},
	{"kafka_server_replicamanager_partitioncount", 'G', METRIC_LANE, metric_lane_stat, "Partitions on this lane", SL_STAT_partitions, NULL},
	{"kafka_server_replicamanager_leadercount", 'G', METRIC_LANE, metric_lane_stat, "Partitions led by this lane", SL_STAT_partitions, NULL},
	{"kafka_server_replicamanager_underreplicatedpartitions", 'G', METRIC_SERVER, metric_server_under_replicated, "Partitions with fewer in-sync replicas than replicas", 0, NULL},
	{"kafka_server_replicamanager_produceridcount", 'G', METRIC_LANE, metric_lane_stat, "Producer ids that partitions remember, each counted in each partition", SL_STAT_producers, NULL},
	{"kafka_server_replicamanager_partitionswithlatetransactionscount", 'G', METRIC_LANE, metric_lane_stat, "Partitions whose oldest open transaction got no record for transaction.max.timeout.ms and five minutes", SL_STAT_partitions_late_txns, NULL},
	{"kafka_controller_kafkacontroller_activecontrollercount", 'G', METRIC_SERVER, metric_server_controller, "1: this control process is the active controller", 0, NULL},
	{"kafka_controller_kafkacontroller_offlinepartitionscount", 'G', METRIC_SERVER, metric_server_offline, "Partitions that nobody serves now", 0, NULL},
	{"kafka_cluster_partition_replicascount", 'G', METRIC_PARTITION, metric_part_replicas, "Replicas of the partition", 0, NULL},
	{"kafka_cluster_partition_underminisr", 'G', METRIC_PARTITION, metric_part_under_min_isr, "1: fewer in-sync replicas than min.insync.replicas", 0, NULL},
	{"kafka_cluster_partition_atminisr", 'G', METRIC_PARTITION, metric_part_at_min_isr, "1: exactly min.insync.replicas in-sync replicas", 0, NULL},
	{"kafka_cluster_partition_laststableoffsetlag", 'G', METRIC_PARTITION, metric_part_stable_lag, "Records below the high watermark that wait for the end of a transaction", 0, NULL},
	{"kafka_log_log_size", 'G', METRIC_PARTITION, metric_part_size, "Bytes of the partition's log", 0, NULL},
	{"kafka_log_log_logstartoffset", 'G', METRIC_PARTITION, metric_part_oldest, "First offset of the log", 0, NULL},
	{"kafka_log_log_logendoffset", 'G', METRIC_PARTITION, metric_part_log_end, "Offset of the next record", 0, NULL},
	{"kafka_log_log_numlogsegments", 'G', METRIC_PARTITION, metric_part_segments, "Segments of the log", 0, NULL},
	{"kafka_log_logcleaner_cleaner_recopy_percent", 'G', METRIC_LANE, metric_lane_stat, "Bytes that the last compaction kept, of those it went through", SL_STAT_clean_recopy_percent, NULL},
	{"kafka_log_logcleaner_max_buffer_utilization_percent", 'G', METRIC_LANE, metric_lane_stat, "How full log.cleaner.dedupe.buffer.size was in the last compaction", SL_STAT_clean_map_percent, NULL},
	{"kafka_log_logcleaner_max_clean_time_secs", 'G', METRIC_LANE, metric_lane_stat, "How long the last compaction took", SL_STAT_clean_seconds, NULL},
	{"kafka_log_logcleaner_max_compaction_delay_secs", 'G', METRIC_LANE, metric_lane_stat, "How far max.compaction.lag.ms was exceeded at most", SL_STAT_clean_max_delay_seconds, NULL},
	{"kafka_log_logcleanermanager_max_dirty_percent", 'G', METRIC_LANE, metric_lane_stat, "Share of the dirtiest compacted log that was not compacted yet", SL_STAT_clean_max_dirty_percent, NULL},
	{"kafka_log_logcleanermanager_uncleanable_partitions_count", 'G', METRIC_LANE, metric_lane_stat, "Partitions taken out of compaction after an error", SL_STAT_clean_uncleanable, NULL},
	{"kafka_log_logcleanermanager_uncleanable_bytes", 'G', METRIC_LANE, metric_lane_stat, "Bytes of them that would be compacted", SL_STAT_clean_uncleanable_bytes, NULL},
	{"kafka_log_logcleanermanager_time_since_last_run_ms", 'G', METRIC_LANE, metric_lane_since_cleaning, "Since the lane last looked at all of its compacted logs", SL_STAT_clean_looked_ms, NULL},
	{"kafka_server_socket_server_metrics_connection_count", 'G', METRIC_LANE, metric_lane_stat, "Open client connections", SL_STAT_connections, NULL},
	{"kafka_network_socketserver_networkprocessoravgidle_percent", 'G', METRIC_LANE, metric_lane_idle, "Share of the last minute in which the lane found no work, 0 to 1", 0, NULL},
	{"kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent", 'G', METRIC_LANE, metric_lane_idle, "The same: a lane is network thread and request handler in one", 0, NULL},
	{"kafka_server_kafkaserver_linux_disk_read_bytes", 'G', METRIC_SERVER, metric_server_disk_read, "Bytes the data plane has read from disks, since its start", 0, NULL},
	{"kafka_server_kafkaserver_linux_disk_write_bytes", 'G', METRIC_SERVER, metric_server_disk_write, "Bytes the data plane has written to disks, since its start", 0, NULL},
	{"kafka_server_group_coordinator_metrics_group_count", 'G', METRIC_SERVER, metric_group_gauge, "Groups, by protocol; classic: also those with offsets only", GROUP_GAUGE_CLASSIC, "protocol=\"classic\""},
	{"kafka_server_group_coordinator_metrics_group_count", 'G', METRIC_SERVER, metric_group_gauge, "Groups, by protocol; classic: also those with offsets only", GROUP_GAUGE_CONSUMER, "protocol=\"consumer\""},
	{"kafka_server_group_coordinator_metrics_classic_group_count", 'G', METRIC_SERVER, metric_group_gauge, "Groups of the classic protocol, by state", GROUP_GAUGE_CLASSIC_EMPTY, "state=\"Empty\""},
	{"kafka_server_group_coordinator_metrics_classic_group_count", 'G', METRIC_SERVER, metric_group_gauge, "Groups of the classic protocol, by state", GROUP_GAUGE_CLASSIC_PREPARING, "state=\"PreparingRebalance\""},
	{"kafka_server_group_coordinator_metrics_classic_group_count", 'G', METRIC_SERVER, metric_group_gauge, "Groups of the classic protocol, by state", GROUP_GAUGE_CLASSIC_COMPLETING, "state=\"CompletingRebalance\""},
	{"kafka_server_group_coordinator_metrics_classic_group_count", 'G', METRIC_SERVER, metric_group_gauge, "Groups of the classic protocol, by state", GROUP_GAUGE_CLASSIC_STABLE, "state=\"Stable\""},
	{"kafka_server_group_coordinator_metrics_consumer_group_count", 'G', METRIC_SERVER, metric_group_gauge, "Groups of the consumer protocol, by state", GROUP_GAUGE_CONSUMER_EMPTY, "state=\"Empty\""},
	{"kafka_server_group_coordinator_metrics_consumer_group_count", 'G', METRIC_SERVER, metric_group_gauge, "Groups of the consumer protocol, by state", GROUP_GAUGE_CONSUMER_ASSIGNING, "state=\"Assigning\""},
	{"kafka_server_group_coordinator_metrics_consumer_group_count", 'G', METRIC_SERVER, metric_group_gauge, "Groups of the consumer protocol, by state", GROUP_GAUGE_CONSUMER_RECONCILING, "state=\"Reconciling\""},
	{"kafka_server_group_coordinator_metrics_consumer_group_count", 'G', METRIC_SERVER, metric_group_gauge, "Groups of the consumer protocol, by state", GROUP_GAUGE_CONSUMER_STABLE, "state=\"Stable\""},
	{"kafka_server_group_coordinator_metrics_offset_count", 'G', METRIC_SERVER, metric_group_gauge, "Committed offsets of all groups", GROUP_GAUGE_OFFSETS, NULL},
	{"kafka_server_group_coordinator_metrics_offset_commit_count", 'C', METRIC_SERVER, metric_group_count, "Offsets committed", GROUP_TOTAL_OFFSET_COMMITS, NULL},
	{"kafka_server_group_coordinator_metrics_offset_expiration_count", 'C', METRIC_SERVER, metric_group_count, "Offsets that expired", GROUP_TOTAL_OFFSET_EXPIRATIONS, NULL},
	{"kafka_server_group_coordinator_metrics_offset_deletion_count", 'C', METRIC_SERVER, metric_group_count, "Offsets deleted by somebody", GROUP_TOTAL_OFFSET_DELETIONS, NULL},
	{"kafka_server_group_coordinator_metrics_group_completed_rebalance_count", 'C', METRIC_SERVER, metric_group_count, "Rebalances that classic groups have completed", GROUP_TOTAL_CLASSIC_REBALANCES, NULL},
	{"kafka_server_group_coordinator_metrics_consumer_group_rebalance_count", 'C', METRIC_SERVER, metric_group_count, "Rebalances of groups of the consumer protocol: new group epochs", GROUP_TOTAL_CONSUMER_REBALANCES, NULL},
	{"kafka_server_group_coordinator_metrics_num_partitions", 'G', METRIC_SERVER, metric_group_gauge, "Partitions of __consumer_offsets, by state", GROUP_GAUGE_PARTITIONS_LOADING, "state=\"loading\""},
	{"kafka_server_group_coordinator_metrics_num_partitions", 'G', METRIC_SERVER, metric_group_gauge, "Partitions of __consumer_offsets, by state", GROUP_GAUGE_PARTITIONS_ACTIVE, "state=\"active\""},
	{"kafka_server_group_coordinator_metrics_num_partitions", 'G', METRIC_SERVER, metric_group_gauge, "Partitions of __consumer_offsets, by state", GROUP_GAUGE_PARTITIONS_FAILED, "state=\"failed\""},
	{"kafka_server_group_coordinator_metrics_partition_load_time_max", 'G', METRIC_SERVER, metric_group_load_max, "Longest time that reading a partition of __consumer_offsets took, in ms, since the start", 0, NULL},
	{"kafka_server_group_coordinator_metrics_partition_load_time_avg", 'G', METRIC_SERVER, metric_group_load_avg, "Mean of that time, in ms", 0, NULL},
	{"kafka_server_group_coordinator_metrics_event_processing_time_ms_p50", 'G', METRIC_SERVER, metric_group_step_time, "Time the group coordinator took for an event and what followed from it, p50 of the last minute", 500, NULL},
	{"kafka_server_group_coordinator_metrics_event_processing_time_ms_p95", 'G', METRIC_SERVER, metric_group_step_time, "Time the group coordinator took for an event and what followed from it, p95 of the last minute", 950, NULL},
	{"kafka_server_group_coordinator_metrics_event_processing_time_ms_p99", 'G', METRIC_SERVER, metric_group_step_time, "Time the group coordinator took for an event and what followed from it, p99 of the last minute", 990, NULL},
	{"kafka_server_group_coordinator_metrics_event_processing_time_ms_p999", 'G', METRIC_SERVER, metric_group_step_time, "Time the group coordinator took for an event and what followed from it, p999 of the last minute", 999, NULL},
	{"kafka_server_group_coordinator_metrics_event_processing_time_ms_max", 'G', METRIC_SERVER, metric_group_step_time, "Time the group coordinator took for an event and what followed from it, the longest of the last minute", 1000, NULL},
	{"kafka_server_group_coordinator_metrics_batch_flush_time_ms_p50", 'G', METRIC_SERVER, metric_group_append_time, "Time until a batch was on __consumer_offsets, p50 of the last minute", 500, NULL},
	{"kafka_server_group_coordinator_metrics_batch_flush_time_ms_p95", 'G', METRIC_SERVER, metric_group_append_time, "Time until a batch was on __consumer_offsets, p95 of the last minute", 950, NULL},
	{"kafka_server_group_coordinator_metrics_batch_flush_time_ms_p99", 'G', METRIC_SERVER, metric_group_append_time, "Time until a batch was on __consumer_offsets, p99 of the last minute", 990, NULL},
	{"kafka_server_group_coordinator_metrics_batch_flush_time_ms_p999", 'G', METRIC_SERVER, metric_group_append_time, "Time until a batch was on __consumer_offsets, p999 of the last minute", 999, NULL},
	{"kafka_server_group_coordinator_metrics_batch_flush_time_ms_max", 'G', METRIC_SERVER, metric_group_append_time, "Time until a batch was on __consumer_offsets, the longest of the last minute", 1000, NULL},
	{"kafka_coordinator_group_groupmetadatamanager_numoffsets", 'G', METRIC_SERVER, metric_group_gauge, "Committed offsets of all groups", GROUP_GAUGE_OFFSETS, NULL},
	{"kafka_coordinator_group_groupmetadatamanager_numgroups", 'G', METRIC_SERVER, metric_group_gauge, "Groups of the classic protocol, or with offsets only", GROUP_GAUGE_CLASSIC, NULL},
	{"kafka_coordinator_group_groupmetadatamanager_numgroupspreparingrebalance", 'G', METRIC_SERVER, metric_group_gauge, "Of them, those in that state", GROUP_GAUGE_CLASSIC_PREPARING, NULL},
	{"kafka_coordinator_group_groupmetadatamanager_numgroupscompletingrebalance", 'G', METRIC_SERVER, metric_group_gauge, "Of them, those in that state", GROUP_GAUGE_CLASSIC_COMPLETING, NULL},
	{"kafka_coordinator_group_groupmetadatamanager_numgroupsstable", 'G', METRIC_SERVER, metric_group_gauge, "Of them, those in that state", GROUP_GAUGE_CLASSIC_STABLE, NULL},
	{"kafka_coordinator_group_groupmetadatamanager_numgroupsempty", 'G', METRIC_SERVER, metric_group_gauge, "Of them, those in that state", GROUP_GAUGE_CLASSIC_EMPTY, NULL},
	/* kafka_exporter's names. */
	{"kafka_brokers", 'G', METRIC_SERVER, metric_server_brokers, "Lanes that serve now; each is a Kafka broker", 0, NULL},
	{"kafka_topic_partitions", 'G', METRIC_TOPIC, metric_topic_partitions, "Partitions of the topic", 0, NULL},
	{"kafka_topic_partition_current_offset", 'G', METRIC_PARTITION, metric_part_current, "High watermark: what consumers can read ends here", 0, NULL},
	{"kafka_topic_partition_oldest_offset", 'G', METRIC_PARTITION, metric_part_oldest, "First offset of the log", 0, NULL},
	{"kafka_topic_partition_in_sync_replica", 'G', METRIC_PARTITION, metric_part_in_sync, "In-sync replicas", 0, NULL},
	{"kafka_topic_partition_leader", 'G', METRIC_PARTITION, metric_part_leader, "Node id of the leader", 0, NULL},
	{"kafka_topic_partition_leader_is_preferred", 'G', METRIC_PARTITION, metric_part_preferred, "1: the leader is the first replica", 0, NULL},
	{"kafka_topic_partition_replicas", 'G', METRIC_PARTITION, metric_part_replicas, "Replicas of the partition", 0, NULL},
	{"kafka_topic_partition_under_replicated_partition", 'G', METRIC_PARTITION, metric_part_under_replicated, "1: fewer in-sync replicas than replicas", 0, NULL},
	{"kafka_consumergroup_members", 'G', METRIC_GROUP, metric_group_members, "Members of the group", 0, NULL},
	{"kafka_consumergroup_current_offset", 'G', METRIC_GROUP_PARTITION, metric_group_offset, "Committed offset", 0, NULL},
	{"kafka_consumergroup_current_offset_sum", 'G', METRIC_GROUP_TOPIC, metric_group_offset_sum, "Committed offsets, sum over the topic's partitions", 0, NULL},
	{"kafka_consumergroup_lag", 'G', METRIC_GROUP_PARTITION, metric_group_lag, "Records between the committed offset and the high watermark", 0, NULL},
	{"kafka_consumergroup_lag_sum", 'G', METRIC_GROUP_TOPIC, metric_group_lag_sum, "Lag, sum over the topic's partitions", 0, NULL},
	{"kafka_coordinator_transaction_transactionmarkerchannelmanager_unknowndestinationqueuesize", 'G', METRIC_SERVER, metric_txn_gauge, "Ends of transactions that their partition could not take and that are sent again", (unsigned)offsetof(struct txn_gauges, markers_retry), NULL},
	{"kafka_coordinator_transaction_transactionmarkerchannelmanager_logappendretryqueuesize", 'G', METRIC_SERVER, metric_txn_gauge, "Transactions ended everywhere whose last record __transaction_state has refused", (unsigned)offsetof(struct txn_gauges, completions_retry), NULL},
	{"kafka_server_addpartitionstotxnmanager_verificationtimems", 'G', METRIC_SERVER, metric_txn_verify_time, "Time until a lane's question whether a transaction may reach a partition was answered, of the last minute", 500, "quantile=\"0.50\""},
	{"kafka_server_addpartitionstotxnmanager_verificationtimems", 'G', METRIC_SERVER, metric_txn_verify_time, "Time until a lane's question whether a transaction may reach a partition was answered, of the last minute", 750, "quantile=\"0.75\""},
	{"kafka_server_addpartitionstotxnmanager_verificationtimems", 'G', METRIC_SERVER, metric_txn_verify_time, "Time until a lane's question whether a transaction may reach a partition was answered, of the last minute", 950, "quantile=\"0.95\""},
	{"kafka_server_addpartitionstotxnmanager_verificationtimems", 'G', METRIC_SERVER, metric_txn_verify_time, "Time until a lane's question whether a transaction may reach a partition was answered, of the last minute", 980, "quantile=\"0.98\""},
	{"kafka_server_addpartitionstotxnmanager_verificationtimems", 'G', METRIC_SERVER, metric_txn_verify_time, "Time until a lane's question whether a transaction may reach a partition was answered, of the last minute", 990, "quantile=\"0.99\""},
	{"kafka_server_addpartitionstotxnmanager_verificationtimems", 'G', METRIC_SERVER, metric_txn_verify_time, "Time until a lane's question whether a transaction may reach a partition was answered, of the last minute", 999, "quantile=\"0.999\""},
	{"kafka_server_addpartitionstotxnmanager_verificationtimems_count", 'C', METRIC_SERVER, metric_txn_verify_count, "Such questions answered", 0, NULL},
	{"kafka_server_addpartitionstotxnmanager_verificationfailurerate_count", 'C', METRIC_LANE, metric_lane_stat, "Such questions answered with an error", SL_STAT_txn_verifies_refused, NULL},
	{"kafka_server_transaction_coordinator_metrics_partition_load_time_max", 'G', METRIC_SERVER, metric_txn_load_max, "Longest time that reading a partition of __transaction_state took, in ms, since the start", 0, NULL},
	{"kafka_server_transaction_coordinator_metrics_partition_load_time_avg", 'G', METRIC_SERVER, metric_txn_load_avg, "Mean of that time, in ms", 0, NULL},
	/* Our own. */
	{"sluice_transactional_ids", 'G', METRIC_SERVER, metric_txn_gauge, "Transactional ids that the coordinator knows", (unsigned)offsetof(struct txn_gauges, ids), NULL},
	{"sluice_transactions_ongoing", 'G', METRIC_SERVER, metric_txn_gauge, "Transactions that are open", (unsigned)offsetof(struct txn_gauges, ongoing), NULL},
	{"sluice_transactions_preparing", 'G', METRIC_SERVER, metric_txn_gauge, "Transactions that are decided and not yet ended on all of their partitions", (unsigned)offsetof(struct txn_gauges, preparing), NULL},
	{"sluice_transaction_requests_held", 'G', METRIC_SERVER, metric_txn_gauge, "Requests and questions that wait in the transaction coordinator", (unsigned)offsetof(struct txn_gauges, held), NULL},
	{"sluice_transaction_markers_queued", 'G', METRIC_SERVER, metric_txn_gauge, "Ends of transactions that wait to be sent to partitions, for the first time or again", (unsigned)offsetof(struct txn_gauges, markers_queued), NULL},
	{"sluice_transaction_markers_in_flight", 'G', METRIC_SERVER, metric_txn_gauge, "Ends of transactions on their way to partitions", (unsigned)offsetof(struct txn_gauges, markers_in_flight), NULL},
	{"sluice_transaction_append_time_ms_p50", 'G', METRIC_SERVER, metric_txn_append_time, "Time until a record was on __transaction_state, p50 of the last minute", 500, NULL},
	{"sluice_transaction_append_time_ms_p95", 'G', METRIC_SERVER, metric_txn_append_time, "Time until a record was on __transaction_state, p95 of the last minute", 950, NULL},
	{"sluice_transaction_append_time_ms_p99", 'G', METRIC_SERVER, metric_txn_append_time, "Time until a record was on __transaction_state, p99 of the last minute", 990, NULL},
	{"sluice_transaction_append_time_ms_p999", 'G', METRIC_SERVER, metric_txn_append_time, "Time until a record was on __transaction_state, p999 of the last minute", 999, NULL},
	{"sluice_transaction_append_time_ms_max", 'G', METRIC_SERVER, metric_txn_append_time, "Time until a record was on __transaction_state, the longest of the last minute", 1000, NULL},
	{"sluice_build_info", 'G', METRIC_SERVER, metric_server_info, "Always 1; version and cluster are labels", 0, NULL},
	{"sluice_dataplane_attached", 'G', METRIC_SERVER, metric_server_attached, "1: the data plane is attached to the control process", 0, NULL},
	{"sluice_dataplane_serving", 'G', METRIC_SERVER, metric_server_serving, "1: the data plane serves the metadata of this attachment", 0, NULL},
	{"sluice_dataplane_start_time_seconds", 'G', METRIC_SERVER, metric_server_dataplane_start, "When the data plane was started, seconds since 1970", 0, NULL},
	{"sluice_dataplane_cpu_seconds_total", 'C', METRIC_SERVER, metric_server_dataplane_cpu, "CPU time of the data plane", 0, NULL},
	{"sluice_dataplane_resident_memory_bytes", 'G', METRIC_SERVER, metric_server_dataplane_resident, "Resident memory of the data plane", 0, NULL},
	{"sluice_topics", 'G', METRIC_SERVER, metric_server_topics, "Topics", 0, NULL},
	{"sluice_partitions", 'G', METRIC_SERVER, metric_server_partitions, "Partitions of all topics", 0, NULL},
	{"sluice_groups", 'G', METRIC_SERVER, metric_group_all, "Groups that are loaded", 0, NULL},
	{"sluice_log_dir_online", 'G', METRIC_LOG_DIR, metric_dir_online, "1: the log dir works", 0, NULL},
	{"sluice_log_dir_free_bytes", 'G', METRIC_LOG_DIR, metric_dir_free, "Bytes that the server's user may still write", 0, NULL},
	{"sluice_log_dir_size_bytes", 'G', METRIC_LOG_DIR, metric_dir_size, "Size of the file system", 0, NULL},
	/* Prometheus's conventional names, of the control process. */
	{"process_cpu_seconds_total", 'C', METRIC_SERVER, metric_server_cpu, "CPU time of the control process", 0, NULL},
	{"process_resident_memory_bytes", 'G', METRIC_SERVER, metric_server_resident, "Resident memory of the control process", 0, NULL},
	{"process_virtual_memory_bytes", 'G', METRIC_SERVER, metric_server_virtual, "Virtual memory of the control process", 0, NULL},
	{"process_threads", 'G', METRIC_SERVER, metric_server_threads, "Threads of the control process", 0, NULL},
	{"process_open_fds", 'G', METRIC_SERVER, metric_server_fds, "Open descriptors of the control process", 0, NULL},
	{"process_max_fds", 'G', METRIC_SERVER, metric_server_fds_max, "Limit on its descriptors", 0, NULL},
	{"process_start_time_seconds", 'G', METRIC_SERVER, metric_server_start, "When the control process was started, seconds since 1970", 0, NULL},
};
/* clang-format on */

#define ROWS SL_ARRAY_SIZE(table)

static bool lane_row(unsigned i, struct metric *out, char name[METRIC_NAME_MAX])
{
	const struct sl_stat_def *d = &sl_stat_defs[i];

	snprintf(name, METRIC_NAME_MAX, "sluice_lane_%s%s", d->name,
	         d->kind == 'C' ? "_total" : "");
	*out = (struct metric){name, d->kind, METRIC_LANE, metric_lane_stat, d->text, i, NULL};
	return true;
}

static bool control_row(unsigned i, struct metric *out, char name[METRIC_NAME_MAX])
{
	snprintf(name, METRIC_NAME_MAX, "sluice_control_%s_total", counter_defs[i].name);
	*out = (struct metric){
		name, 'C', METRIC_SERVER, metric_server_counter, counter_defs[i].text, i, NULL};
	return true;
}

static bool group_row(unsigned i, const struct group_coord *coord, struct metric *out,
                      char name[METRIC_NAME_MAX])
{
	uint64_t value;
	const char *counter = coord ? group_counter(coord, i, &value) : NULL;

	if (!counter)
		return false;
	snprintf(name, METRIC_NAME_MAX, "sluice_group_%s_total", counter);
	*out = (struct metric){name,
	                       'C',
	                       METRIC_SERVER,
	                       metric_server_group_counter,
	                       "Counter of the group coordinator, by its name",
	                       i,
	                       NULL};
	return true;
}

static bool txn_row(unsigned i, const struct txn_coord *coord, struct metric *out,
                    char name[METRIC_NAME_MAX])
{
	uint64_t value;
	const char *counter = coord ? txn_counter(coord, i, &value) : NULL;

	if (!counter)
		return false;
	snprintf(name, METRIC_NAME_MAX, "sluice_txn_%s_total", counter);
	*out = (struct metric){name,
	                       'C',
	                       METRIC_SERVER,
	                       metric_txn_counter,
	                       "Counter of the transaction coordinator, by its name",
	                       i,
	                       NULL};
	return true;
}

static unsigned group_rows(const struct group_coord *coord)
{
	uint64_t value;
	unsigned n = 0;

	while (coord && group_counter(coord, n, &value))
		n++;
	return n;
}

bool metrics_at(unsigned number, const struct metric_coords *coords, struct metric *out,
                char name[METRIC_NAME_MAX])
{
	if (number < ROWS) {
		*out = table[number];
		return true;
	}
	number -= ROWS;
	if (number < SL_STAT_NR)
		return lane_row(number, out, name);
	number -= SL_STAT_NR;
	if (number < COUNTER_NR)
		return control_row(number, out, name);
	number -= COUNTER_NR;
	if (group_row(number, coords->groups, out, name))
		return true;
	return txn_row(number - group_rows(coords->groups), coords->txns, out, name);
}

void metrics_scrape_fini(struct metric_scrape *s)
{
	snapshot_fini(&s->groups);
	s->has_groups = false;
}
