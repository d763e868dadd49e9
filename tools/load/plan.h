/* SPDX-License-Identifier: Apache-2.0 */
/* Which connection of which thread serves which partitions. */
#ifndef LOAD_PLAN_H
#define LOAD_PLAN_H

#include "worker.h"

/**
 * plan_shares() - divide connections among leaders
 * @parts: partitions of each of @count leaders; leaders without one get no connection
 * @connections: wanted; each leader with partitions gets at least one
 * @is_capped: no leader gets more connections than it has partitions
 * @shares: filled, one number for each leader
 *
 * Return: the sum of @shares.
 */
int64_t plan_shares(const int32_t *parts, int32_t count, int64_t connections, bool is_capped,
                    int64_t *shares);

/* Gives the workers their connections and their share of rate and records.  @wrong: as
 * cluster_load().  Return: connections in all; -EAGAIN no producer ids yet, nothing is done;
 * -errno. */
int64_t plan_workers(struct run *run, struct worker *workers, char *wrong, size_t wrong_bytes);

#endif
