/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel says about a process. */
#ifndef CONTROL_HTTP_PROCESS_H
#define CONTROL_HTTP_PROCESS_H

#include "sluice/base/base.h"

/* Fields that could not be read are negative. */
struct process {
	double cpu_seconds;
	double start_seconds; /* since 1970 */
	int64_t resident_bytes;
	int64_t virtual_bytes;
	int64_t threads;
	int64_t open_fds;
	int64_t max_fds;
	int64_t disk_read_bytes; /* that reached the storage layer */
	int64_t disk_write_bytes;
};

/* @pid: 0: this process. */
void process_read(struct process *out, int pid);

#endif
