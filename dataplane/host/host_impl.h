/* SPDX-License-Identifier: Apache-2.0 */
/* The host thread's parts, for the files of this folder that show or steer them. */
#ifndef DATAPLANE_HOST_HOST_IMPL_H
#define DATAPLANE_HOST_HOST_IMPL_H

#include <sched.h>

#include "apply.h"
#include "attach.h"
#include "host.h"
#include "logdirs.h"
#include "steer.h"
#include "tier.h"

struct cleaner;

struct host_lane {
	struct lane *lane;      /* Owned */
	struct sl_list backlog; /* struct lane_msg.link: waits for room */
	uint32_t in_flight;     /* messages that the lane has */
};

struct host {
	struct host_opts opts;
	struct host_memory memory;
	struct ctx_config config;
	struct sl_files files;
	struct logdirs *dirs;    /* Owned */
	struct tier *tier;       /* Owned */
	struct cleaner *cleaner; /* Owned; NULL: log.cleaner.enable=false */
	cpu_set_t cleaner_cpus;  /* where it runs */
	struct sl_shm *shm;      /* Owned */
	size_t shm_bytes;
	int shm_fd;
	struct steer *steer;   /* Owned */
	struct apply *apply;   /* Owned */
	struct attach *attach; /* Owned */
	char *attach_path;     /* Owned */
	struct host_lane lanes[HOST_LANES_MAX];
	struct eal *eal;        /* borrowed; of host_run() */
	char *error_text;       /* the same */
	bool are_lanes_running; /* until then messages stay in their backlogs */
	int epoll_fd;
	int signal_fd;
	int wake_fd;            /* lanes write it */
	struct sl_list queries; /* of struct query, Owned: waiting for lanes */
	uint32_t queries_count;
	struct lane_msg hot_msgs[HOST_LANES_MAX];
	struct lane_msg stop_msgs[HOST_LANES_MAX];
	uint32_t stops_left; /* lanes that have not ended */
	bool is_stopping;
	int error;            /* -errno: why it ends by itself; 0 */
	int64_t housekeep_ms; /* when to look at disks and deleted folders next */
};

void host_post(struct host *host, struct lane_msg *msg);

#endif
