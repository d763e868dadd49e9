/* SPDX-License-Identifier: Apache-2.0 */
/* The real clocks.  Step functions never call these: time reaches them as an argument. */
#ifndef SLUICE_BASE_CLOCK_H
#define SLUICE_BASE_CLOCK_H

#include <stdint.h>

/* CLOCK_MONOTONIC, nanoseconds. */
uint64_t sl_mono_ns(void);
/* CLOCK_MONOTONIC, milliseconds. */
int64_t sl_mono_ms(void);
/* CLOCK_THREAD_CPUTIME_ID, nanoseconds: what the calling thread has used. */
uint64_t sl_thread_cpu_ns(void);
/* CLOCK_REALTIME, milliseconds since 1970: Kafka's timestamps. */
int64_t sl_wall_ms(void);

#endif
