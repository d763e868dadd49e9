/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every configuration key, once.  Kafka's name wherever Kafka has one; ours otherwise.  A key is
 * listed only when something obeys it.
 *
 * Broker rows: X(id, name, scope, type, default, min, max, words, text)
 * Topic rows:  X(id, name, type, default, min, max, words, broker synonym, text)
 */
#ifndef SLUICE_BASE_CONF_KEYS_H
#define SLUICE_BASE_CONF_KEYS_H

/* clang-format off */
#define SL_CONF_BROKER_KEYS(X) \
X(server_id, "server.id", STATIC, INT, "1", 0, 21474835, "", "Number of this server; lane i is Kafka node server.id * 100 + i") \
X(broker_rack, "broker.rack", STATIC, STRING, "", 0, 0, "", "Rack or zone of this server, shown to clients; groups of the consumer protocol prefer members in the racks of the replicas; empty: none") \
X(cluster_id, "cluster.id", STATIC, STRING, "", 0, 0, "", "Cluster id shown to clients; empty: made at first start and kept in the metadata") \
X(listeners, "listeners", STATIC, STRING, "PLAINTEXT://127.0.0.1:9092", 0, 0, "", "Bootstrap listener; any lane answers on it") \
X(advertised_host, "advertised.host", STATIC, STRING, "", 0, 0, "", "Host name put into Metadata; empty: the listener's host") \
X(lane_port_base, "lane.port.base", STATIC, INT, "0", 0, 65535, "", "Port of lane 0, lane i has this + i; 0: the bootstrap port + 1") \
X(log_dirs, "log.dirs", STATIC, STRING, "", 0, 0, "", "Folders of partition logs, ',' between; empty: <data>/log") \
X(log_hot_bytes, "log.hot.bytes", STATIC, INT, "0", -1, 17592186044416, "", "Memory for the newest records, of all lanes together; 0: a quarter of the machine's or the cgroup's; -1: none, records go through the page cache") \
X(lane_count, "lane.count", STATIC, INT, "0", 0, 64, "", "Data-plane cores; 0: cores - 1, at least 1") \
X(lane_cpus, "lane.cpus", STATIC, STRING, "", 0, 0, "", "CPU list for the lanes, e.g. 2-5,8; empty: the last lane.count cpus, by NUMA node") \
X(lane_idle_spin_us, "lane.idle.spin.us", STATIC, INT, "50", -1, 1000000, "", "How long an idle lane polls before it sleeps; -1: never sleeps") \
X(lane_connections_max, "lane.connections.max", STATIC, INT, "16384", 16, 1000000, "", "Connections one lane holds; more are refused") \
X(lane_buffer_bytes, "lane.buffer.bytes", STATIC, INT, "268435456", 8388608, 68719476736, "", "Receive and reply buffers of one lane; full: the lane stops reading") \
X(lane_partitions_max, "lane.partitions.max", STATIC, INT, "20000", 64, 100000, "", "Partitions one lane holds") \
X(hugepages, "hugepages", STATIC, ENUM, "auto", 0, 0, "auto|never", "auto: DPDK memory and the hot tier on huge pages where the system has them") \
X(hugepages_bytes, "hugepages.bytes", STATIC, INT, "67108864", 16777216, 68719476736, "", "DPDK memory of the data plane") \
X(steer, "steer", STATIC, ENUM, "auto", 0, 0, "auto|never", "auto: sk_lookup steering where the kernel and the privilege allow it") \
X(steer_xdp_iface, "steer.xdp.iface", STATIC, STRING, "", 0, 0, "", "Interface that gets the XDP ingress program; empty: none") \
X(steer_xdp_syn_rate, "steer.xdp.syn.rate", STATIC, INT, "0", 0, 10000000, "", "SYNs per second and source that XDP lets through; 0: no limit") \
X(socket_request_max_bytes, "socket.request.max.bytes", STATIC, INT, "104857600", 16384, 1073741824, "", "Largest request frame; larger ones close the connection") \
X(connections_max_idle_ms, "connections.max.idle.ms", STATIC, INT, "600000", 1000, 86400000, "", "An idle connection is closed after this long") \
X(connection_request_timeout_ms, "connection.request.timeout.ms", STATIC, INT, "30000", 100, 3600000, "", "A request frame must arrive completely within this time of its first byte") \
X(max_connections_per_ip, "max.connections.per.ip", STATIC, INT, "2147483647", 1, 2147483647, "", "Connections one source address may hold on one lane") \
X(num_partitions, "num.partitions", DYNAMIC, INT, "1", 1, 10000, "", "Partitions of an automatically created topic, or of -1 in CreateTopics") \
X(default_replication_factor, "default.replication.factor", STATIC, INT, "1", 1, 1, "", "Replicas when the request says -1") \
X(auto_create_topics_enable, "auto.create.topics.enable", STATIC, BOOL, "true", 0, 0, "", "Metadata for an unknown topic creates it when the client allows") \
X(delete_topic_enable, "delete.topic.enable", STATIC, BOOL, "true", 0, 0, "", "DeleteTopics is allowed") \
X(fetch_max_bytes, "fetch.max.bytes", STATIC, INT, "57671680", 1024, 1073741824, "", "Upper bound of one fetch response") \
X(offsets_topic_num_partitions, "offsets.topic.num.partitions", STATIC, INT, "50", 1, 1000, "", "Partitions of __consumer_offsets, fixed at its creation") \
X(offsets_topic_segment_bytes, "offsets.topic.segment.bytes", STATIC, INT, "104857600", 1048576, 2147483647, "", "Segment size of __consumer_offsets") \
X(offsets_retention_minutes, "offsets.retention.minutes", STATIC, INT, "10080", 1, 2147483647, "", "Committed offsets of an empty group expire after this long") \
X(offsets_retention_check_interval_ms, "offsets.retention.check.interval.ms", STATIC, INT, "600000", 10, 86400000, "", "How often expired offsets are looked for") \
X(offset_metadata_max_bytes, "offset.metadata.max.bytes", STATIC, INT, "4096", 0, 1048576, "", "Largest metadata text of a committed offset") \
X(group_initial_rebalance_delay_ms, "group.initial.rebalance.delay.ms", STATIC, INT, "3000", 0, 300000, "", "How long the first member of an empty group waits for others") \
X(group_min_session_timeout_ms, "group.min.session.timeout.ms", STATIC, INT, "6000", 1, 1800000, "", "Smallest session.timeout.ms a member may ask for") \
X(group_max_session_timeout_ms, "group.max.session.timeout.ms", STATIC, INT, "1800000", 1, 86400000, "", "Largest session.timeout.ms a member may ask for") \
X(group_max_size, "group.max.size", STATIC, INT, "2147483647", 1, 2147483647, "", "Members one group may have") \
X(group_consumer_session_timeout_ms, "group.consumer.session.timeout.ms", STATIC, INT, "45000", 1, 86400000, "", "A member of the consumer protocol that sends no heartbeat this long loses its place") \
X(group_consumer_min_session_timeout_ms, "group.consumer.min.session.timeout.ms", STATIC, INT, "45000", 1, 86400000, "", "A smaller group.consumer.session.timeout.ms counts as this") \
X(group_consumer_max_session_timeout_ms, "group.consumer.max.session.timeout.ms", STATIC, INT, "60000", 1, 86400000, "", "A larger group.consumer.session.timeout.ms counts as this") \
X(group_consumer_heartbeat_interval_ms, "group.consumer.heartbeat.interval.ms", STATIC, INT, "5000", 1, 86400000, "", "How often members of the consumer protocol are told to send heartbeats") \
X(group_consumer_min_heartbeat_interval_ms, "group.consumer.min.heartbeat.interval.ms", STATIC, INT, "5000", 1, 86400000, "", "A smaller group.consumer.heartbeat.interval.ms counts as this") \
X(group_consumer_max_heartbeat_interval_ms, "group.consumer.max.heartbeat.interval.ms", STATIC, INT, "15000", 1, 86400000, "", "A larger group.consumer.heartbeat.interval.ms counts as this") \
X(group_consumer_max_size, "group.consumer.max.size", STATIC, INT, "2147483647", 1, 2147483647, "", "Members one group of the consumer protocol may have") \
X(group_consumer_assignors, "group.consumer.assignors", STATIC, LIST, "uniform,range", 0, 0, "uniform|range", "Server-side assignors; the first is the default") \
X(group_consumer_migration_policy, "group.consumer.migration.policy", STATIC, ENUM, "bidirectional", 0, 0, "bidirectional|upgrade|downgrade|disabled", "Which way groups with members may change between the classic and the consumer protocol") \
X(producer_id_expiration_ms, "producer.id.expiration.ms", STATIC, INT, "86400000", 1, 9223372036854775807, "", "Idempotent state of a silent producer is forgotten after this long") \
X(transaction_state_log_num_partitions, "transaction.state.log.num.partitions", STATIC, INT, "50", 1, 1000, "", "Partitions of __transaction_state, fixed at its creation") \
X(transaction_state_log_segment_bytes, "transaction.state.log.segment.bytes", STATIC, INT, "104857600", 1048576, 2147483647, "", "Segment size of __transaction_state") \
X(transaction_max_timeout_ms, "transaction.max.timeout.ms", STATIC, INT, "900000", 1, 2147483647, "", "Longest transaction.timeout.ms a producer may ask for") \
X(transactional_id_expiration_ms, "transactional.id.expiration.ms", STATIC, INT, "604800000", 1, 9223372036854775807, "", "A transactional id without a transaction is forgotten after this long") \
X(transaction_abort_check_ms, "transaction.abort.timed.out.transaction.cleanup.interval.ms", STATIC, INT, "10000", 1, 86400000, "", "How often transactions past their time-out are looked for") \
X(transaction_expiry_check_ms, "transaction.remove.expired.transaction.cleanup.interval.ms", STATIC, INT, "3600000", 1, 86400000, "", "How often expired transactional ids are looked for") \
X(log_retention_check_interval_ms, "log.retention.check.interval.ms", STATIC, INT, "300000", 1, 9223372036854775807, "", "How often segments are checked for deletion") \
X(log_cleaner_enable, "log.cleaner.enable", STATIC, BOOL, "true", 0, 0, "", "Topics with cleanup.policy=compact are compacted; false: they only grow") \
X(log_cleaner_threads, "log.cleaner.threads", STATIC, INT, "1", 1, 1, "", "Threads that compact; there is one for all lanes") \
X(log_cleaner_io_max_bytes_per_second, "log.cleaner.io.max.bytes.per.second", STATIC, INT, "9223372036854775807", 1, 9223372036854775807, "", "What compaction reads and writes in a second, both together, on average") \
X(log_cleaner_dedupe_buffer_size, "log.cleaner.dedupe.buffer.size", STATIC, INT, "134217728", 1048576, 1099511627776, "", "Memory for the keys of one cleaning, 24 bytes each; more keys take several cleanings. In use only while one runs") \
X(log_cleaner_io_buffer_size, "log.cleaner.io.buffer.size", STATIC, INT, "524288", 4096, 1073741824, "", "Compaction reads and writes this much at once, or a batch that is larger") \
X(log_cleaner_backoff_ms, "log.cleaner.backoff.ms", STATIC, INT, "15000", 1, 9223372036854775807, "", "How often each lane looks for logs to compact while there are none") \
X(log_cleaner_min_cleanable_ratio, "log.cleaner.min.cleanable.ratio", DYNAMIC, DOUBLE, "0.5", 0, 1000000, "", "Default of min.cleanable.dirty.ratio") \
X(log_cleaner_min_compaction_lag_ms, "log.cleaner.min.compaction.lag.ms", DYNAMIC, INT, "0", 0, 9223372036854775807, "", "Default of min.compaction.lag.ms") \
X(log_cleaner_max_compaction_lag_ms, "log.cleaner.max.compaction.lag.ms", DYNAMIC, INT, "9223372036854775807", 1, 9223372036854775807, "", "Default of max.compaction.lag.ms") \
X(log_cleaner_delete_retention_ms, "log.cleaner.delete.retention.ms", DYNAMIC, INT, "86400000", 0, 9223372036854775807, "", "Default of delete.retention.ms") \
X(log_cleanup_policy, "log.cleanup.policy", DYNAMIC, LIST, "delete", 0, 0, "delete|compact", "Default of cleanup.policy") \
X(log_retention_ms, "log.retention.ms", DYNAMIC, INT, "604800000", -1, 9223372036854775807, "", "Default of retention.ms") \
X(log_retention_bytes, "log.retention.bytes", DYNAMIC, INT, "-1", -1, 9223372036854775807, "", "Default of retention.bytes") \
X(log_segment_bytes, "log.segment.bytes", DYNAMIC, INT, "1073741824", 1048576, 2147483647, "", "Default of segment.bytes") \
X(log_roll_ms, "log.roll.ms", DYNAMIC, INT, "604800000", 1, 9223372036854775807, "", "Default of segment.ms") \
X(log_index_interval_bytes, "log.index.interval.bytes", DYNAMIC, INT, "4096", 0, 2147483647, "", "Default of index.interval.bytes") \
X(message_max_bytes, "message.max.bytes", DYNAMIC, INT, "1048588", 0, 2147483647, "", "Default of max.message.bytes") \
X(min_insync_replicas, "min.insync.replicas", DYNAMIC, INT, "1", 1, 2147483647, "", "Default of min.insync.replicas") \
X(compression_type, "compression.type", DYNAMIC, ENUM, "producer", 0, 0, "producer", "Default of compression.type: batches are kept as the producer sent them") \
X(log_message_timestamp_type, "log.message.timestamp.type", DYNAMIC, ENUM, "CreateTime", 0, 0, "CreateTime|LogAppendTime", "Default of message.timestamp.type") \
X(log_message_timestamp_before_max_ms, "log.message.timestamp.before.max.ms", DYNAMIC, INT, "9223372036854775807", 0, 9223372036854775807, "", "Default of message.timestamp.before.max.ms") \
X(log_message_timestamp_after_max_ms, "log.message.timestamp.after.max.ms", DYNAMIC, INT, "3600000", 0, 9223372036854775807, "", "Default of message.timestamp.after.max.ms") \
X(log_recycle_bytes, "log.recycle.bytes", STATIC, INT, "2147483648", 0, 17592186044416, "", "Files of deleted segments that each lane keeps in each log dir for new ones, whose writes are faster for it; 0: none") \
X(log_segment_delete_delay_ms, "log.segment.delete.delay.ms", DYNAMIC, INT, "60000", 0, 9223372036854775807, "", "Default of file.delete.delay.ms") \
X(log_flush, "log.flush", DYNAMIC, ENUM, "ack", 0, 0, "ack|lazy", "Default of flush: ack = acks=all is answered after the data is on disk; lazy = after it is in memory") \
X(log_flush_interval_ms, "log.flush.interval.ms", DYNAMIC, INT, "9223372036854775807", 0, 9223372036854775807, "", "Default of flush.ms") \
X(log_flush_interval_bytes, "log.flush.interval.bytes", DYNAMIC, INT, "9223372036854775807", 1, 9223372036854775807, "", "Default of flush.bytes") \
X(http_listen, "http.listen", STATIC, STRING, "127.0.0.1:9644", 0, 0, "", "Address of /metrics and /healthz; empty: off") \
X(control_socket, "control.socket", STATIC, STRING, "", 0, 0, "", "Path of the control socket; empty: <data>/run/sluice.sock") \
X(log_level, "log.level", STATIC, ENUM, "info", 0, 0, "err|warn|info|debug", "Level of all modules at start")

#define SL_CONF_TOPIC_KEYS(X) \
X(cleanup_policy, "cleanup.policy", LIST, "delete", 0, 0, "delete|compact", "log.cleanup.policy", "delete: by retention; compact: keep the last record of each key (needs a key in every record)") \
X(min_cleanable_dirty_ratio, "min.cleanable.dirty.ratio", DOUBLE, "0.5", 0, 1000000, "", "log.cleaner.min.cleanable.ratio", "Share of a log that was not compacted yet, above which it is compacted") \
X(min_compaction_lag_ms, "min.compaction.lag.ms", INT, "0", 0, 9223372036854775807, "", "log.cleaner.min.compaction.lag.ms", "A record stays as it is for this long at least") \
X(max_compaction_lag_ms, "max.compaction.lag.ms", INT, "9223372036854775807", 1, 9223372036854775807, "", "log.cleaner.max.compaction.lag.ms", "A record is compacted after this long whatever the ratio is; the active segment is rolled for it") \
X(delete_retention_ms, "delete.retention.ms", INT, "86400000", 0, 9223372036854775807, "", "log.cleaner.delete.retention.ms", "How long a record with a null value, or the marker of a transaction, stays after it could be compacted away") \
X(retention_ms, "retention.ms", INT, "604800000", -1, 9223372036854775807, "", "log.retention.ms", "Age at which a segment is deleted; -1: never") \
X(retention_bytes, "retention.bytes", INT, "-1", -1, 9223372036854775807, "", "log.retention.bytes", "Size of a partition above which its oldest segments are deleted; -1: no limit") \
X(segment_bytes, "segment.bytes", INT, "1073741824", 1048576, 2147483647, "", "log.segment.bytes", "Size at which a segment is rolled") \
X(segment_ms, "segment.ms", INT, "604800000", 1, 9223372036854775807, "", "log.roll.ms", "Age at which a segment is rolled") \
X(index_interval_bytes, "index.interval.bytes", INT, "4096", 0, 2147483647, "", "log.index.interval.bytes", "Log bytes between two index entries") \
X(max_message_bytes, "max.message.bytes", INT, "1048588", 0, 2147483647, "", "message.max.bytes", "Largest record batch") \
X(min_insync_replicas, "min.insync.replicas", INT, "1", 1, 2147483647, "", "min.insync.replicas", "Replicas that must have a record before acks=all is answered; at most the replication factor counts") \
X(compression_type, "compression.type", ENUM, "producer", 0, 0, "producer", "compression.type", "producer: batches are kept as the producer sent them") \
X(message_timestamp_type, "message.timestamp.type", ENUM, "CreateTime", 0, 0, "CreateTime|LogAppendTime", "log.message.timestamp.type", "Whose clock stamps the records") \
X(message_timestamp_before_max_ms, "message.timestamp.before.max.ms", INT, "9223372036854775807", 0, 9223372036854775807, "", "log.message.timestamp.before.max.ms", "How far a CreateTime may lie in the past") \
X(message_timestamp_after_max_ms, "message.timestamp.after.max.ms", INT, "3600000", 0, 9223372036854775807, "", "log.message.timestamp.after.max.ms", "How far a CreateTime may lie in the future") \
X(file_delete_delay_ms, "file.delete.delay.ms", INT, "60000", 0, 9223372036854775807, "", "log.segment.delete.delay.ms", "Deleted segments leave the disk after this long") \
X(flush, "flush", ENUM, "ack", 0, 0, "ack|lazy", "log.flush", "ack: acks=all is answered after the data is on disk; lazy: after it is in memory") \
X(flush_ms, "flush.ms", INT, "9223372036854775807", 0, 9223372036854775807, "", "log.flush.interval.ms", "With flush=lazy: unsynced data is synced after this long") \
X(flush_bytes, "flush.bytes", INT, "9223372036854775807", 1, 9223372036854775807, "", "log.flush.interval.bytes", "With flush=lazy: synced when a partition has this much unsynced data")

#define SL_CONF_GROUP_KEYS(X) \
X(consumer_session_timeout_ms, "consumer.session.timeout.ms", INT, "45000", 1, 86400000, "", "group.consumer.session.timeout.ms", "A member that sends no heartbeat this long loses its place; within group.consumer.min.session.timeout.ms and group.consumer.max.session.timeout.ms") \
X(consumer_heartbeat_interval_ms, "consumer.heartbeat.interval.ms", INT, "5000", 1, 86400000, "", "group.consumer.heartbeat.interval.ms", "How often members are told to send heartbeats; within group.consumer.min.heartbeat.interval.ms and group.consumer.max.heartbeat.interval.ms, and less than the session time-out")
/* clang-format on */

#define SL_CONF_CK_(id, ...) SL_CK_##id,
#define SL_CONF_CG_(id, ...) SL_CG_##id,
#define SL_CONF_CT_(id, ...) SL_CT_##id,
enum sl_conf_key {
	SL_CONF_BROKER_KEYS(SL_CONF_CK_) SL_CK_NR
};
enum sl_conf_topic_key {
	SL_CONF_TOPIC_KEYS(SL_CONF_CT_) SL_CT_NR
};
enum sl_conf_group_key {
	SL_CONF_GROUP_KEYS(SL_CONF_CG_) SL_CG_NR
};
#undef SL_CONF_CK_
#undef SL_CONF_CG_
#undef SL_CONF_CT_

#endif
