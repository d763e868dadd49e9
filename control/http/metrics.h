/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every metric, once: name, kind, text, what it is counted for, and how its value is found.
 * Rendering and documentation both go over this table.
 */
#ifndef CONTROL_HTTP_METRICS_H
#define CONTROL_HTTP_METRICS_H

#include "group/group.h"
#include "txn/txn.h"

#include "busy.h"
#include "control.h"
#include "process.h"
#include "snapshot.h"

#define METRIC_NAME_MAX 128

/* What a metric has one sample for, and so its labels. */
enum metric_scope {
	METRIC_SERVER = 0,
	METRIC_LANE,
	METRIC_LOG_DIR,
	METRIC_TOPIC,
	METRIC_PARTITION,
	METRIC_GROUP,
	METRIC_GROUP_TOPIC,
	METRIC_GROUP_PARTITION,
};

struct metric_value {
	bool is_real;
	int64_t i;
	double d;
};

/* What is worked out once for a scrape, when it is first needed. */
struct metric_scrape {
	struct control *c;
	const struct busy *busy;
	struct snapshot groups;
	bool has_groups;
	bool has_totals;
	uint64_t under_replicated; /* totals over all partitions */
	uint64_t offline;
	bool has_group_gauges;
	struct group_gauges group_gauges;
	bool has_txn_gauges;
	struct txn_gauges txn_gauges;
	bool has_processes;
	struct process own;
	struct process dataplane;
	/* Effective min.insync.replicas of the last topic; forgotten between turns of the loop. */
	const struct meta_topic *min_isr_topic;
	int64_t min_isr;
};

/* Which sample. */
struct metric_at {
	struct metric_scrape *scrape;
	const struct control *c;
	unsigned index; /* of the row behind a derived metric */
	uint32_t lane;  /* LANE; LOG_DIR: the folder */
	const struct meta_topic *topic;
	int32_t partition;
	uint32_t group;  /* in the snapshot */
	uint32_t offset; /* in the snapshot; GROUP_TOPIC: the first one of the topic */
};

/* Return: false: there is no such sample now. */
typedef bool metric_fn(const struct metric_at *at, struct metric_value *out);

struct metric {
	const char *name;
	char kind; /* 'C' counter, 'G' gauge */
	enum metric_scope scope;
	metric_fn *value;
	const char *text;
	unsigned index;
	const char *label; /* one more, `name="value"`; NULL: none.  For the scope SERVER only. */
};

/* The coordinators, whose counters have names of their own. */
struct metric_coords {
	const struct group_coord *groups;
	const struct txn_coord *txns;
};

/**
 * metrics_at() - the metric with number @number
 * @coords: whose counters are listed; NULL in it: none of them
 * @name: room for a name that is put together
 * Return: false: there are no more.
 */
bool metrics_at(unsigned number, const struct metric_coords *coords, struct metric *out,
                char name[METRIC_NAME_MAX]);
void metrics_scrape_fini(struct metric_scrape *s);

/* Values of the single scopes, for the table. */
metric_fn metric_server_info, metric_server_attached, metric_server_serving, metric_server_start,
	metric_server_topics, metric_server_partitions, metric_server_under_replicated,
	metric_server_offline, metric_server_controller, metric_server_brokers,
	metric_server_counter, metric_server_group_counter, metric_server_dataplane_start,
	metric_server_dataplane_cpu, metric_server_dataplane_resident, metric_server_disk_read,
	metric_server_disk_write, metric_server_cpu, metric_server_resident, metric_server_virtual,
	metric_server_threads, metric_server_fds, metric_server_fds_max;
/* Of the coordinators.  The index of a time is its quantile, in thousandths. */
metric_fn metric_group_gauge, metric_group_all, metric_group_count, metric_group_load_max,
	metric_group_load_avg, metric_group_step_time, metric_group_append_time;
metric_fn metric_txn_gauge, metric_txn_load_max, metric_txn_load_avg, metric_txn_append_time,
	metric_txn_verify_time, metric_txn_verify_count, metric_txn_counter;
metric_fn metric_lane_stat, metric_lane_idle, metric_lane_since_cleaning, metric_dir_online,
	metric_dir_free, metric_dir_size;
metric_fn metric_topic_partitions;
metric_fn metric_part_current, metric_part_oldest, metric_part_stable_lag, metric_part_log_end,
	metric_part_segments, metric_part_size, metric_part_leader, metric_part_preferred,
	metric_part_replicas, metric_part_in_sync, metric_part_under_replicated,
	metric_part_under_min_isr, metric_part_at_min_isr;
metric_fn metric_group_members, metric_group_offset, metric_group_lag, metric_group_offset_sum,
	metric_group_lag_sum;

#endif
