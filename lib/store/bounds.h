/* SPDX-License-Identifier: Apache-2.0 */
/* Limits of the store.  Every loop, table and file that outside data can grow has its maximum here.
 */
#ifndef STORE_BOUNDS_H
#define STORE_BOUNDS_H

#include <stdint.h>

#include "sluice/base/base.h"

/* "<topic>-<partition>/<20 digits>.timeindex.deleted" with room to spare; NAME_MAX twice. */
#define STORE_PATH_MAX           512
#define STORE_NAME_MAX           255
/* Small text files: epochs, metadata, checkpoint. */
#define STORE_TEXT_BYTES_MAX     (4u << 20)

/* A batch is found by its index entry and a scan of at most one index interval of headers. */
#define STORE_WALK_WINDOW_BYTES  4096u
#define STORE_WALK_STEP_BYTES    (16u << 10) /* first read of a longer walk */
#define STORE_SCAN_WINDOW_BYTES  (256u << 10)
#define STORE_TAIL_BATCHES       16u /* power of two */
#define STORE_SEALED_OPEN_MAX    2u  /* per log, while nobody refers to them */
#define STORE_SEGMENTS_MAX       (1u << 20)
#define STORE_RETAIN_PER_TICK    16u
#define STORE_EXPIRE_PER_TICK    256u
#define STORE_UNLINK_PER_TICK    16u
#define STORE_SNAPSHOTS_KEPT     2u
#define STORE_CLEAN_GROUP_MAX    16u /* segments that a swap renames at once */

/* Idempotent producers per partition; above it the longest silent one is forgotten. */
#define STORE_PRODUCERS_MAX      (1u << 16)
#define STORE_PRODUCER_WINDOW    5u /* KIP-98: batches a producer may have in flight */
#define STORE_EPOCHS_MAX         (1u << 16)
/* Transactions that are open or end above the high watermark, per partition. */
#define STORE_TXNS_MAX           (2 * STORE_PRODUCERS_MAX)
/* Aborted transactions of a segment, above which a new one is begun; a log that another broker
 * wrote may have more in one of its segments, up to the hard limit. */
#define STORE_ABORTED_ROLL       (1u << 16)
#define STORE_ABORTED_MAX        (1u << 23)
/* A control batch that ends a transaction takes 78 bytes as Kafka writes it; a larger one is none.
 */
#define STORE_MARKER_BYTES_MAX   256u

/* Hot tier: work of one sl_hot_get(). */
#define STORE_HOT_SLICE_MAX      (UINT64_C(1) << 44)
#define STORE_HOT_EVICTS         64u /* chunks recycled for the sake of a large one */
#define STORE_HOT_PLACES         4u  /* places looked at for each size */
/* Clean chunks passed over for each place. */
#define STORE_HOT_LOOKS          128u
#define STORE_HOT_SETTLES        4u /* chunks in quarantine asked after */
#define STORE_HOT_HELD_SHARE     8u /* above 1/8 of the slice pages are exchanged */
#define STORE_HOT_TAILS_SHARE    2u /* chunks that are being filled: 1/2 of the slice */
/* Steps of populating: short enough for the slices to grow evenly. */
#define STORE_HOT_POPULATE_STEP  ((uint64_t)16 << 20)
#define STORE_HOT_POPULATE_TRIES 20u /* failures before the tier ends */
#define STORE_HOT_REPLAY_STEP    (1u << 20)

_Static_assert((STORE_TAIL_BATCHES & (STORE_TAIL_BATCHES - 1)) == 0, "ring index is a mask");
_Static_assert((STORE_TXNS_MAX & (STORE_TXNS_MAX - 1)) == 0, "the pool grows by doubling");
_Static_assert((STORE_PRODUCERS_MAX & (STORE_PRODUCERS_MAX - 1)) == 0,
               "the pool grows by doubling");
_Static_assert(STORE_ABORTED_ROLL <= STORE_ABORTED_MAX, "a segment ends before it is full");
_Static_assert(STORE_MARKER_BYTES_MAX <= STORE_WALK_WINDOW_BYTES, "a window holds a marker");
_Static_assert(STORE_PATH_MAX >= 2 * STORE_NAME_MAX + 2, "folder, slash, name, NUL");

#endif
