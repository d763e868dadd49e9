/* SPDX-License-Identifier: Apache-2.0 */
/* What one coordinator holds at most.  Each refusal has its own counter. */
#ifndef CONTROL_TXN_LIMITS_H
#define CONTROL_TXN_LIMITS_H

#include <stdint.h>

#include "sluice/base/base.h"

/* Of a transactional id that a request may create; older records on the log may be longer. */
#define LIMIT_ID_BYTES      1024
#define LIMIT_IDS           1000000u
/* Partitions of one transaction: all of them are in each of its records. */
#define LIMIT_PARTS         10000u
/* Requests and questions whose answer is held back. */
#define LIMIT_HELD          65536u
/* Bytes of requests that are kept for their answers. */
#define LIMIT_HELD_BYTES    (64u << 20)
/* Markers that are on their way at the same time. */
#define LIMIT_MARKERS       1024u
/* Ids that one tick lets expire. */
#define LIMIT_EXPIRE        1000u
/* Decoded requests and responses of one step; memory is touched only as far as it is used. */
#define LIMIT_ARENA_BYTES   (64u << 20)
#define LIMIT_OUT_BYTES     (256u << 20)
/* Scratch memory above this is given back after the step that needed it. */
#define LIMIT_KEEP_BYTES    (8u << 20)
/* A marker or a record that was refused is tried again after this. */
#define LIMIT_RETRY_MS      INT64_C(500)
/* A question waits this long for the transaction before it to be complete. */
#define LIMIT_HOLD_MS       INT64_C(5000)
/* The next ids that are to expire follow after this. */
#define LIMIT_EXPIRE_GAP_MS INT64_C(100)

_Static_assert(LIMIT_OUT_BYTES < INT32_MAX, "lengths of actions are int32_t");

#endif
