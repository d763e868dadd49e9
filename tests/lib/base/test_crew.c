/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdatomic.h>

#include <criterion/criterion.h>

#include "sluice/base/assert.h"
#include "sluice/base/crew.h"

#define ITEMS 1000

struct tally {
	uint32_t calls[ITEMS];                      /* each item has its own: no two threads meet */
	_Atomic uint32_t busy[SL_CREW_THREADS_MAX]; /* calls that a worker is in */
	_Atomic uint32_t shared;                    /* times that a worker was in two */
	uint32_t workers;                           /* that there may be */
	pthread_barrier_t meet;
};

static void count(void *arg, uint32_t index, uint32_t worker)
{
	struct tally *t = arg;

	if (worker >= t->workers || atomic_fetch_add(&t->busy[worker], 1) != 0)
		atomic_fetch_add(&t->shared, 1);
	t->calls[index]++;
	atomic_fetch_sub(&t->busy[worker], 1);
}

static void expect_each_once(const struct tally *t, uint32_t items)
{
	for (uint32_t i = 0; i < ITEMS; i++)
		cr_assert_eq(t->calls[i], i < items, "item %u", i);
	cr_assert_eq(t->shared, 0);
}

Test(crew, calls_for_each_item_once)
{
	static const uint32_t items[] = {0, 1, 2, 15, 16, 17, ITEMS};

	for (uint32_t i = 0; i < SL_ARRAY_SIZE(items); i++) {
		for (uint32_t threads = 1; threads <= SL_CREW_THREADS_MAX; threads++) {
			struct tally t = {.workers = threads};

			sl_crew_run(items[i], threads, count, &t);
			expect_each_once(&t, items[i]);
		}
	}
}

/* Ends only if as many are in it at once as the barrier wants. */
static void meet(void *arg, uint32_t index, uint32_t worker)
{
	struct tally *t = arg;

	(void)index;
	(void)worker;
	(void)pthread_barrier_wait(&t->meet);
}

Test(crew, threads_work_at_the_same_time)
{
	struct tally t = {0};

	cr_assert(pthread_barrier_init(&t.meet, NULL, 8) == 0);
	sl_crew_run(64, 8, meet, &t);
	pthread_barrier_destroy(&t.meet);
}

static void one_thread(void *arg, uint32_t index, uint32_t worker)
{
	const pthread_t *self = arg;

	(void)index;
	cr_expect(worker == 0 && pthread_equal(*self, pthread_self()));
}

Test(crew, one_thread_is_the_caller_itself)
{
	pthread_t self = pthread_self();

	sl_crew_run(10, 1, one_thread, &self);
}

Test(crew, a_system_without_threads_gets_the_work_done_all_the_same)
{
	struct tally t = {.workers = SL_CREW_THREADS_MAX};
	pthread_attr_t attr;

	/* No address space is large enough for a stack. */
	cr_assert(pthread_attr_init(&attr) == 0);
	cr_assert(pthread_attr_setstacksize(&attr, (size_t)1 << 48) == 0);
	cr_assert(pthread_setattr_default_np(&attr) == 0);
	cr_assert(pthread_attr_destroy(&attr) == 0);
	sl_crew_run(ITEMS, SL_CREW_THREADS_MAX, count, &t);
	expect_each_once(&t, ITEMS);
	cr_assert(sl_count_sites(), "no thread was refused");
}
