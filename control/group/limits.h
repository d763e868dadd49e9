/* SPDX-License-Identifier: Apache-2.0 */
/* What one coordinator holds at most.  Each refusal has its own counter. */
#ifndef CONTROL_GROUP_LIMITS_H
#define CONTROL_GROUP_LIMITS_H

#include <stdint.h>

#include "sluice/base/base.h"

/* Of a group id that a request may create or change; older records on the log may be longer. */
#define LIMIT_GROUP_ID_BYTES     249
#define LIMIT_GROUPS             100000u
/* Also bounded by group.max.size, which may be lower. */
#define LIMIT_MEMBERS            16384u
/* Members of one group that were told their id and did not come back yet. */
#define LIMIT_PENDING            16384u
#define LIMIT_PROTOCOLS          256
/* Protocol metadata of all members of one group: the leader's answer carries it. */
#define LIMIT_METADATA_BYTES     (64u << 20)
/* Committed offsets of one group. */
#define LIMIT_OFFSETS            1000000u
/* Offsets of open transactions in one partition of __consumer_offsets. */
#define LIMIT_TXN_OFFSETS        1000000u
/* Requests whose answer is held back. */
#define LIMIT_PARKED             65536u
/* Bytes of requests that are kept for their answers. */
#define LIMIT_HELD_BYTES         (256u << 20)
/* Topics that one member of a consumer group names, and that one pattern may match. */
#define LIMIT_SUBSCRIBED         10000
/* Of a pattern; longer ones than any topic name are of no use but to hurt. */
#define LIMIT_PATTERN_BYTES      1024
/* Answers in which a member of a consumer group is told a new assignment that it does not confirm.
 */
#define LIMIT_TELLS              5u
/* Topics deleted while one partition is being loaded. */
#define LIMIT_DELETED_TOPICS     10000u
/* A batch is closed when it has reached this; one record may make it larger. */
#define LIMIT_BATCH_BYTES        (512u << 10)
/* Decoded requests and responses of one step; memory is touched only as far as it is used. */
#define LIMIT_ARENA_BYTES        (256u << 20)
#define LIMIT_OUT_BYTES          (512u << 20)
/* Scratch memory above this is given back after the step that needed it. */
#define LIMIT_KEEP_BYTES         (8u << 20)
/* A member that joined for the first time is dropped when no rebalance completes within this; as
 * Kafka's coordinator does.  Its answer may be of no use to anybody any more. */
#define LIMIT_NEW_MEMBER_JOIN_MS INT64_C(300000)
/* Of a member id: text before the random part, so that the whole still is a Kafka string. */
#define LIMIT_ID_PREFIX_BYTES    32000

_Static_assert(LIMIT_BATCH_BYTES < LIMIT_KEEP_BYTES, "a batch must fit into kept memory");
_Static_assert(LIMIT_OUT_BYTES < INT32_MAX, "lengths of actions are int32_t");

#endif
