/* SPDX-License-Identifier: Apache-2.0 */
/* Names of the counters.  Constant data. */
#include "counters.h"

const struct counter_def counter_defs[COUNTER_NR] = {
#define DEF(name, text) [COUNTER_##name] = {#name, text},
	CONTROL_COUNTERS(DEF)
#undef DEF
};
