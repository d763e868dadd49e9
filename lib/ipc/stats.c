/* SPDX-License-Identifier: Apache-2.0 */
/* The table of lane counters, made from the list in the header. */
#include "sluice/ipc/stats.h"

#define STAT_KIND_C                'C'
#define STAT_KIND_G                'G'
#define STAT_DEF(name, kind, text) [SL_STAT_##name] = {#name, STAT_KIND_##kind, text},

const struct sl_stat_def sl_stat_defs[SL_STAT_NR] = {SL_STATS(STAT_DEF)};
