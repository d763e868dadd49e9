/* SPDX-License-Identifier: Apache-2.0 */
/* The rate limit of one log call site, apart from the clock so that tests choose the time. */
#ifndef LIB_BASE_LOG_LIMIT_H
#define LIB_BASE_LOG_LIMIT_H

#include "sluice/base/log.h"

#define LOG_LINES_PER_WINDOW 20u
#define LOG_WINDOW_MS        1000

/**
 * log_limit_admit() - may this call site write a line now?
 * @site: the call site; shared by all threads
 * @now_ms: monotonic time
 * @suppressed: how many lines were lost since the last window; 0 unless this line begins a new one
 *
 * Return: true when the line may be written; false when it was counted as suppressed.
 */
bool log_limit_admit(struct sl_log_site *site, uint64_t now_ms, uint32_t *suppressed);

#endif
