/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lane: one core that polls its connections, its control channel and its partitions.  The host
 * thread talks to it by messages only; each message comes back when it has been obeyed.
 */
#ifndef DATAPLANE_LANE_H
#define DATAPLANE_LANE_H

#include "ctx.h"

struct cleaner_port;
struct lane;
struct sl_files;
struct sl_hot_pool;
struct sl_log_config;
struct writer;

struct lane_opts {
	uint32_t index;
	uint32_t lanes_count;
	int32_t node_id_base;            /* node id of lane 0 */
	int numa_node;                   /* -1: any */
	const struct ctx_config *config; /* borrowed for ever */
	size_t buffer_bytes;             /* lane.buffer.bytes */
	uint32_t partitions_max;
	struct sl_lane_stats *stats;
	const struct image *image;    /* the empty image to start with */
	const struct sl_files *files; /* for the writer */
	struct cleaner_port
		*cleaner;          /* NULL: nothing is compacted; borrowed until the lane ended */
	int bootstrap_fd, lane_fd; /* listening sockets; owned by the host */
	int host_wake_fd;          /* written when a message goes back; owned by the host */
};

enum lane_msg_type {
	LANE_MSG_IMAGE =
		0, /* use msg->image from now on; back = no pointer into the old one is left */
	LANE_MSG_ATTACH,      /* serve msg->partition */
	LANE_MSG_DETACH,      /* stop serving it; back = nobody refers to it any more */
	LANE_MSG_CONFIG,      /* msg->partition has a new configuration */
	LANE_MSG_DIR_OFFLINE, /* msg->log_dir failed: no appends to its partitions any more */
	LANE_MSG_HOT,         /* msg->hot is the lane's; once, before its first partition */
	LANE_MSG_CONTROL, /* use msg->channel (NULL: none); back = the old one is not used any more
	                   */
	LANE_MSG_CONNECTIONS, /* fill msg->text with JSON objects, one per connection, ',' between
	                       */
	LANE_MSG_STOP,        /* finish what is under way, close all connections, leave the loop */
	LANE_MSG_NR
};

struct lane_msg {
	enum lane_msg_type type;
	uint32_t lane;
	struct sl_list link; /* the lane's own */
	union {
		const struct image *image;
		struct sl_hot_pool *hot; /* NULL: there is none */
		struct {
			struct partition *partition;
			const struct sl_log_config *log_config; /* with CONFIG */
			struct flush_policy flush;
		};
		struct {
			uint32_t log_dir;
			int error; /* -errno */
		};
		struct {
			struct sl_channel *channel;
			int wake_fd;
		};
		struct {
			struct sl_buf *text; /* Owned by the host; grows are the host's memory */
			uint64_t cookie;     /* the host's own */
		};
	};
	void *owner; /* the host's own */
};

/* Cold: allocates everything the lane will ever use, but its rings with the host.  Context: host
 * thread; needs nothing of DPDK. */
int lane_create(struct lane **out, const struct lane_opts *opts) SL_MUST_CHECK;
/* The rings, in DPDK's memory: before lane_main() and the first message.  Return: 0 or -ENOMEM. */
int lane_create_rings(struct lane *lane) SL_MUST_CHECK;
/* To be prepared before lane_main(), and asked for its name at any time. */
struct writer *lane_writer(const struct lane *lane);
/* After its thread ended. */
void lane_destroy(struct lane *lane);
/* The thread's function (lcore_function_t): returns 0 after LANE_MSG_STOP. */
int lane_main(void *lane);
/* Host -> lane.  Ownership: moves to the lane until lane_reap() returns it.  Return: false queue
 * full. */
bool lane_post(struct lane *lane, struct lane_msg *msg);
/* Lane -> host: a message that came back, NULL none. */
struct lane_msg *lane_reap(struct lane *lane);
/* Lane -> host: a log dir that failed under the lane, once each; host_wake_fd was written.
 * Return: false when there is none. */
bool lane_failed_dir(struct lane *lane, uint32_t *dir, int *error);

#endif
