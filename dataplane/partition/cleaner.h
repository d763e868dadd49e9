/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cleaner: one thread that compacts logs for all lanes, one log at a time, with memory of its
 * own, at low priority and no faster than it is told.  A lane talks to it through its port, which
 * holds one cleaning; it goes back and forth as sluice/store/clean.h says.
 */
#ifndef DATAPLANE_PARTITION_CLEANER_H
#define DATAPLANE_PARTITION_CLEANER_H

#include <sched.h>

#include "sluice/base/base.h"
#include "sluice/store/clean.h"

struct cleaner;
struct cleaner_port;

struct cleaner_opts {
	struct sl_files files;
	uint64_t map_bytes;       /* log.cleaner.dedupe.buffer.size */
	uint32_t window_bytes;    /* log.cleaner.io.buffer.size */
	int64_t bytes_per_second; /* log.cleaner.io.max.bytes.per.second */
	uint32_t lanes_count;
};

/* Without a thread yet.  Return: 0; -EINVAL the map is too small; -ENOMEM; -errno. */
int cleaner_create(struct cleaner **out, const struct cleaner_opts *o) SL_MUST_CHECK;
/**
 * cleaner_start() - run it on a thread of its own
 * @cpus: where it may run
 * Return: 0 or -errno.
 */
int cleaner_start(struct cleaner *c, const cpu_set_t *cpus) SL_MUST_CHECK;
/* After every port has got its cleaning back.  NULL is a no-op. */
void cleaner_destroy(struct cleaner *c);
/* What the thread does: takes one cleaning on, the dirtiest of those that wait, until its owner is
 * needed.  Return: false when there is none. */
bool cleaner_turn(struct cleaner *c);
/* One of each lane.  Borrowed. */
struct cleaner_port *cleaner_port(struct cleaner *c, uint32_t lane);

/* ---- The lane's side ---- */

/* @wake_fd: an eventfd, written when a cleaning comes back; borrowed.  Before the first submit. */
void cleaner_port_open(struct cleaner_port *port, int wake_fd);
/* Ownership: @clean is the cleaner's until cleaner_reap().  One at a time. */
void cleaner_submit(struct cleaner_port *port, struct sl_clean *clean, uint32_t dirty_ppm);
/* The cleaning, come back with the result of sl_clean_run(); NULL: not yet.  After 1 it must be
 * submitted again: the cleaner waits for it. */
struct sl_clean *cleaner_reap(struct cleaner_port *port, int *result);

#endif
