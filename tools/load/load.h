/* SPDX-License-Identifier: Apache-2.0 */
/* Limits of sluice-load that several of its files share. */
#ifndef LOAD_LOAD_H
#define LOAD_LOAD_H

#include "sluice/base/base.h"

#define LOAD_PARTITIONS_MAX  100000
#define LOAD_CONNECTIONS_MAX 1000000
#define LOAD_THREADS_MAX     64
#define LOAD_IN_FLIGHT_MAX   1000
#define LOAD_CONFIGS_MAX     32
#define LOAD_BATCH_BYTES_MAX (100 << 20)
#define LOAD_TOPIC_MAX       249 /* Kafka's */
/* What has failed for so long without one success in between is given up. */
#define LOAD_GIVE_UP_NS      (UINT64_C(30) * 1000000000)
#define LOAD_PARTITION_NS    (UINT64_C(5) * 1000000) /* that a new one may take to be there */
/* Between a failure and the next attempt. */
#define LOAD_BACKOFF_NS      (UINT64_C(100) * 1000000)
/* How long a connection may owe an answer before it is closed and opened again. */
#define LOAD_ANSWER_NS       (UINT64_C(30) * 1000000000)

#define LOAD_CLIENT_ID       "sluice-load"

#endif
