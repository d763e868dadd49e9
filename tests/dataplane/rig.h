/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host thread's parts without lanes and without a control process: messages to lanes are kept
 * until the test obeys them, and what the control process would be told is written down.
 */
#ifndef TESTS_DATAPLANE_RIG_H
#define TESTS_DATAPLANE_RIG_H

#include "host/apply.h"
#include "host/logdirs.h"

#define RIG_LANES     2
#define RIG_LANE_MAX  80 /* partitions a lane may have */
#define RIG_NODE_BASE 100
#define RIG_TOLD_MAX  512

struct rig_told {
	enum sl_ipc_type type;
	union {
		struct sl_ipc_image image;
		struct sl_ipc_partition partition;
		struct sl_ipc_log_dir log_dir;
	};
};

struct rig {
	char root[64]; /* temporary folder; the log dir is <root>/log */
	struct sl_conf conf;
	struct sl_file_ops ops; /* the plain ones, for faults */
	struct logdirs *dirs;
	struct sl_shm *shm;
	size_t shm_bytes;
	int shm_fd;
	struct apply *apply;
	struct sl_list posted; /* struct lane_msg.link, in order */
	const struct image *seen[RIG_LANES];
	uint64_t dirs_offline[RIG_LANES]; /* as each lane was told */
	struct rig_told told[RIG_TOLD_MAX];
	unsigned told_count;
	struct sl_buf buf;
};

/* A fresh temporary folder in @root. */
void rig_root(char root[64]);
/* Removes it with all that is in it. */
void rig_root_remove(const char *root);
/* Whether <root>/<name> exists. */
bool rig_exists(const char *root, const char *name);
/* How many entries of <root>/<folder> contain @part. */
unsigned rig_count(const char *root, const char *folder, const char *part);

/* @dirs: log.dirs, each "%s" stands for the root; NULL: the default. */
struct rig *rig_create(const char *dirs);
void rig_destroy(struct rig *r);
/* Stops and starts again on the same folder.  Return: what closing said. */
int rig_restart(struct rig *r);

struct rig_topic {
	const char *name;
	uint8_t id; /* every byte of the topic id */
	int32_t partitions;
	int32_t leader; /* node of partition 0; the others take turns over the lanes */
	int32_t epoch;
	const char *config; /* "key=value", NULL none */
};

/* Messages of the control process; each asserts that it is taken. */
void rig_begin(struct rig *r, uint64_t revision, bool is_full);
void rig_topic(struct rig *r, const struct rig_topic *t);
void rig_delete(struct rig *r, uint8_t id);
void rig_end(struct rig *r, uint64_t revision);
/* A whole batch with one topic. */
void rig_publish(struct rig *r, uint64_t revision, bool is_full, const struct rig_topic *t);

/* Polls until there is nothing to do without lanes.  Return: the last result, 0 or -errno. */
int rig_poll(struct rig *r);
/* The oldest message that no lane has obeyed; NULL none. */
struct lane_msg *rig_posted(struct rig *r);
/* Lets its lane obey it and give it back. */
void rig_obey(struct rig *r, struct lane_msg *msg);
/* Polls and obeys until nothing is left.  Return: as rig_poll(). */
int rig_settle(struct rig *r);

struct sl_uuid rig_id(uint8_t id);
/* Of the image that lane 0 serves; NULL: no such topic. */
const struct topic *rig_seen(const struct rig *r, const char *name);
/* How often a type was told; *last is the last one. */
unsigned rig_told(const struct rig *r, enum sl_ipc_type type, const struct rig_told **last);

#endif
