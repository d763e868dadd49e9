# SPDX-License-Identifier: Apache-2.0
src-y := main.c counters.c recent.c loop.c link.c control.c config.c publish.c request.c dispatch.c statelog.c offsets.c \
	markers.c txns.c \
	meta/meta.c meta/image.c meta/local.c meta/frame.c \
	admin/topics.c admin/resource.c admin/create_topics.c admin/delete_topics.c \
	admin/create_partitions.c admin/describe_configs.c admin/alter_configs.c \
	admin/incremental_alter_configs.c admin/describe_cluster.c \
	admin/describe_topic_partitions.c admin/describe_log_dirs.c \
	admin/list_config_resources.c admin/init_producer_id.c admin/find_coordinator.c \
	admin/metadata.c admin/write_txn_markers.c admin/describe_transactions.c \
	admin/list_transactions.c
src-y += rpc/rpc.c rpc/call.c rpc/lines.c rpc/value.c rpc/method.c rpc/kafka.c rpc/query.c rpc/status.c rpc/lanes.c
src-y += rpc/partitions.c rpc/topics.c rpc/configs.c rpc/groups.c rpc/txns.c rpc/reset.c rpc/delete_offsets.c rpc/levels.c rpc/probe.c rpc/checks.c rpc/doctor.c
src-y += http/http.c http/busy.c http/process.c http/snapshot.c http/metrics.c http/metric_server.c http/metric_topic.c http/metric_coord.c http/render.c
