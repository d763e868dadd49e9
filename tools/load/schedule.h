/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When records are due in an open loop.  A worker has one schedule of evenly spaced records; they
 * are dealt to its streams in turn, so that the j-th record of stream s is the schedule's record
 * j * streams + s.  Pure: the time is an argument.
 */
#ifndef LOAD_SCHEDULE_H
#define LOAD_SCHEDULE_H

#include "sluice/base/base.h"

/* Zeroed: a schedule in which nothing is ever due. */
struct schedule {
	uint64_t start_ns;
	double interval_ns;   /* between two records; 0: nothing is due */
	uint64_t records_max; /* how many it has; 0: no end */
};

/* When record @index is due. */
uint64_t schedule_due_ns(const struct schedule *s, uint64_t index);
/* How many records are due at @now_ns or before: those with index 0 .. result - 1. */
uint64_t schedule_count(const struct schedule *s, uint64_t now_ns);

#endif
