/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Assertions.  SL_ASSERT is on in every build; SL_ASSERT_HOT only where SL_DEBUG is defined;
 * SL_COUNT_IF counts, per call site, what is odd but survivable.
 */
#ifndef SLUICE_BASE_ASSERT_H
#define SLUICE_BASE_ASSERT_H

#include <stdatomic.h>
#include <stdint.h>

#include "sluice/base/base.h"

SL_NORETURN void sl_assert_fail(const char *expr, const char *file, int line, const char *func);

#define SL_ASSERT(expr) \
	(sl_likely(expr) ? (void)0 : sl_assert_fail(#expr, __FILE__, __LINE__, __func__))

#ifdef SL_DEBUG
#define SL_ASSERT_HOT(expr) SL_ASSERT(expr)
#else
#define SL_ASSERT_HOT(expr) ((void)sizeof((expr) ? 1 : 0))
#endif

/* One call site of SL_COUNT_IF; the sites form a list that the CLI prints. */
struct sl_count_site {
	const char *expr;
	const char *file;
	int line;
	_Atomic uint64_t hits;
	struct sl_count_site *next;
};

void sl_count_hit(struct sl_count_site *site);
/* First site that was ever hit, or NULL; follow ->next. */
const struct sl_count_site *sl_count_sites(void);

/* True when @cond is true; counts it.  Usable as an if condition. */
#define SL_COUNT_IF(cond)                                                                    \
	(__extension__({                                                                     \
		static struct sl_count_site sl_site_ = {#cond, __FILE__, __LINE__, 0, NULL}; \
		bool sl_hit_ = (cond);                                                       \
		if (sl_unlikely(sl_hit_))                                                    \
			sl_count_hit(&sl_site_);                                             \
		sl_hit_;                                                                     \
	}))

#endif
