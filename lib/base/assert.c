/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens when an assertion fails, and the list of odd events that were counted.  The sites
 * are static data of their callers; any thread may hit one at any time.
 */
#include "sluice/base/assert.h"

#include <stdlib.h>

#include "sluice/base/log.h"

static struct sl_count_site *_Atomic sites_head;

void sl_assert_fail(const char *expr, const char *file, int line, const char *func)
{
	sl_log(ERR, base, "assertion failed at=%s:%d func=%s expr=%s", file, line, func, expr);
	abort();
}

void sl_count_hit(struct sl_count_site *site)
{
	struct sl_count_site *head;

	/* Only the first hit of a site sees 0, so each site is pushed once. */
	if (atomic_fetch_add_explicit(&site->hits, 1, memory_order_relaxed) != 0)
		return;
	head = atomic_load_explicit(&sites_head, memory_order_relaxed);
	do {
		site->next = head;
		/* Release: pairs with the acquire in sl_count_sites(), which then sees site->next.
		 */
	} while (!atomic_compare_exchange_weak_explicit(
		&sites_head, &head, site, memory_order_release, memory_order_relaxed));
}

const struct sl_count_site *sl_count_sites(void)
{
	/* Acquire: pairs with the release in sl_count_hit(). */
	return atomic_load_explicit(&sites_head, memory_order_acquire);
}
