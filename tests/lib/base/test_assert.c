/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>

#include "sluice/base/assert.h"

#define THREADS     8
#define SITES_COUNT 200

static struct sl_count_site sites[SITES_COUNT];

Test(assert, failing_assertion_aborts, .signal = SIGABRT)
{
	int one = 1;

	SL_ASSERT(one == 2);
}

Test(assert, true_assertion_goes_on)
{
	int one = 1;

	SL_ASSERT(one == 1);
	SL_ASSERT_HOT(one == 1);
	cr_assert(one == 1);
}

static bool is_odd(int i)
{
	return SL_COUNT_IF(i % 2 != 0);
}

Test(assert, count_if_counts_only_what_is_true)
{
	const struct sl_count_site *s;

	cr_assert(sl_count_sites() == NULL);
	cr_assert(!is_odd(2));
	cr_assert(sl_count_sites() == NULL);
	cr_assert(is_odd(1));
	cr_assert(is_odd(3));
	s = sl_count_sites();
	cr_assert(s != NULL && s->next == NULL);
	cr_assert(atomic_load_explicit(&s->hits, memory_order_relaxed) == 2);
	cr_assert(strcmp(s->expr, "i % 2 != 0") == 0);
	cr_assert(strstr(s->file, "test_assert.c") != NULL && s->line > 0);
}

static void *hit_all(void *arg)
{
	size_t start = (size_t)(uintptr_t)arg;

	for (size_t i = 0; i < SITES_COUNT; i++)
		sl_count_hit(&sites[(start * 7 + i) % SITES_COUNT]);
	return NULL;
}

Test(assert, sites_hit_by_many_threads_are_listed_once_each)
{
	pthread_t threads[THREADS];
	bool seen[SITES_COUNT] = {0};
	size_t count = 0;

	for (size_t i = 0; i < THREADS; i++)
		cr_assert(pthread_create(&threads[i], NULL, hit_all, (void *)i) == 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (const struct sl_count_site *s = sl_count_sites(); s; s = s->next) {
		size_t i = (size_t)(s - sites);

		cr_assert(i < SITES_COUNT && !seen[i]);
		seen[i] = true;
		cr_assert(atomic_load_explicit(&s->hits, memory_order_relaxed) == THREADS);
		count++;
	}
	cr_assert(count == SITES_COUNT);
}
