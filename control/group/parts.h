/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sets of partitions, as sorted arrays: what a member of a consumer group has, shall have or must
 * give up.  Pure; no state of the coordinator is touched.
 */
#ifndef CONTROL_GROUP_PARTS_H
#define CONTROL_GROUP_PARTS_H

#include "sluice/base/arena.h"
#include "sluice/base/base.h"

struct part {
	struct sl_uuid topic;
	int32_t partition;
	int32_t epoch; /* at which it was given to its member; no part of its identity */
};

/* Legal states: zeroed = empty; list sorted by topic and partition, each once. */
struct parts {
	struct part *list;
	uint32_t count;
};

int parts_compare(const struct part *a, const struct part *b);
/* Sorts and drops duplicates, in place. */
void parts_sort(struct parts *p);
const struct part *parts_find(const struct parts *p, const struct part *what);
bool parts_eq(const struct parts *a, const struct parts *b);
/* Is each of @a in @b? */
bool parts_is_within(const struct parts *a, const struct parts *b);
/* Have they any in common? */
bool parts_meet(const struct parts *a, const struct parts *b);
/* In @a and in @b, with the epochs of @a.  In the arena.  Return: 0; -ENOMEM. */
int parts_common(struct sl_arena *arena, const struct parts *a, const struct parts *b,
                 struct parts *out) SL_MUST_CHECK;
/* In @a but not in @b.  In the arena.  Return: 0; -ENOMEM. */
int parts_less(struct sl_arena *arena, const struct parts *a, const struct parts *b,
               struct parts *out) SL_MUST_CHECK;
/* In @a or in @b.  In the arena; @out may be one of them.  Return: 0; -ENOMEM. */
int parts_union(struct sl_arena *arena, const struct parts *a, const struct parts *b,
                struct parts *out) SL_MUST_CHECK;
/* A copy of its own.  Return: 0; -ENOMEM, @out untouched. */
int parts_dup(struct parts *out, const struct parts *from) SL_MUST_CHECK;
void parts_free(struct parts *p);
/* Index behind the last part of the topic that begins at @i. */
uint32_t parts_topic_end(const struct parts *p, uint32_t i);
/* How many topics there are. */
uint32_t parts_topics(const struct parts *p);

#endif
