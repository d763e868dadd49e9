/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logging: one line per event, "verb object key=value ...", no newline, no full stop.
 * Levels can be changed per module at run time; each call site has a token bucket, so that a fault
 * in a loop cannot fill the disk.
 */
#ifndef SLUICE_BASE_LOG_H
#define SLUICE_BASE_LOG_H

#include <stdatomic.h>
#include <stdint.h>

#include "sluice/base/base.h"

enum sl_log_level {
	SL_LOG_ERR = 0, /* an operator must act */
	SL_LOG_WARN,    /* will heal by itself */
	SL_LOG_INFO,    /* state change */
	SL_LOG_DEBUG,
	SL_LOG_LEVEL_NR
};

/* Modules, so that `sluicectl log level MODULE LEVEL` has a closed list.  Order is not stable. */
/* clang-format off */
#define SL_LOG_MODULES(X) \
	X(main) X(base) X(wire) X(store) X(ipc) X(kern) X(lane) X(net) X(session) X(request) \
	X(partition) X(image) X(host) X(meta) X(group) X(admin) X(http) X(rpc) X(launcher)
/* clang-format on */

#define SL_LOG_ENUM_(m) SL_LOGM_##m,
enum sl_log_module {
	SL_LOG_MODULES(SL_LOG_ENUM_) SL_LOGM_NR
};
#undef SL_LOG_ENUM_

struct sl_log_site {
	_Atomic uint64_t window_ms; /* start of the current one-second window */
	_Atomic uint32_t in_window;
	_Atomic uint32_t suppressed;
};

extern _Atomic uint8_t sl_log_levels[SL_LOGM_NR];

/**
 * sl_log_init() - name this process in log lines and choose the default level
 * @program: short name, borrowed for ever ("dataplane")
 * @level: level of every module
 */
void sl_log_init(const char *program, enum sl_log_level level);

/**
 * sl_log_set_level() - change one module's level, or all of them
 * @module: module name, or "all"
 * @level: "err", "warn", "info" or "debug"
 *
 * Return: 0; -ENOENT no such module; -EINVAL no such level.
 */
int sl_log_set_level(const char *module, const char *level) SL_MUST_CHECK;
const char *sl_log_module_name(enum sl_log_module module);
const char *sl_log_level_name(enum sl_log_level level);

void sl_log_write(struct sl_log_site *site, enum sl_log_level level, enum sl_log_module module,
                  const char *fmt, ...) SL_PRINTF(4, 5);

static inline bool sl_log_is_on(enum sl_log_level level, enum sl_log_module module)
{
	return level <= (enum sl_log_level)atomic_load_explicit(&sl_log_levels[module],
	                                                        memory_order_relaxed);
}

/* sl_log(WARN, store, "cut log topic=%s part=%d", ...) */
#define sl_log(level, module, ...)                                                              \
	do {                                                                                    \
		static struct sl_log_site sl_site_;                                             \
		if (sl_log_is_on(SL_LOG_##level, SL_LOGM_##module))                             \
			sl_log_write(&sl_site_, SL_LOG_##level, SL_LOGM_##module, __VA_ARGS__); \
	} while (0)

#endif
