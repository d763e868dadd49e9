/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes a balanced assignment cheaper: members exchange partitions in circles, until no circle
 * saves a miss, or saves a move without costing a miss.
 */
#ifndef CONTROL_GROUP_EXCHANGE_H
#define CONTROL_GROUP_EXCHANGE_H

#include "assign.h"

/* Who may have one partition more than another stays as it is. */
#define EXCHANGE_COUNTS_STAY UINT32_MAX

struct exchange;

/**
 * exchange_create() - prepare exchanges in the arena
 * @s: with racks
 * @owner: of each partition, a subscriber; ASSIGN_NONE where there is none
 * @count: of each member
 * @share: each member has this many partitions or one more, all subscribe to the same topics, and
 *         who has one more may change; or EXCHANGE_COUNTS_STAY
 *
 * Ownership: borrows all of them, and changes @owner and @count in exchange_run().
 * Return: NULL the arena is full.
 */
struct exchange *exchange_create(const struct assign_spec *s, struct sl_arena *arena,
                                 uint32_t *owner, uint32_t *count, uint32_t share);
/* Return: 0 no circle is left; 1 ASSIGN_WORK_MAX was reached. */
int exchange_run(struct exchange *x);

#endif
