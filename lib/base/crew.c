/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that share one counter: whoever is free takes the next item.  They take no signals and
 * run on the cpus of their creator.
 */
#include "sluice/base/crew.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "sluice/base/assert.h"

struct crew {
	sl_crew_fn *each;
	void *arg;
	uint32_t count;
	_Atomic uint32_t next;
};

struct member {
	struct crew *crew;
	uint32_t worker;
	pthread_t thread;
};

static void work(const struct member *m)
{
	struct crew *c = m->crew;
	uint32_t index;

	/* Relaxed: items are the caller's before the threads exist and after they were joined. */
	while ((index = atomic_fetch_add_explicit(&c->next, 1, memory_order_relaxed)) < c->count)
		c->each(c->arg, index, m->worker);
}

static void *member_main(void *arg)
{
	(void)pthread_setname_np(pthread_self(), "crew");
	work(arg);
	return NULL;
}

void sl_crew_run(uint32_t count, uint32_t threads_max, sl_crew_fn *each, void *arg)
{
	struct crew crew = {.each = each, .arg = arg, .count = count};
	struct member members[SL_CREW_THREADS_MAX] = {{.crew = &crew}};
	uint32_t started = 1;
	sigset_t all, old;

	SL_ASSERT(threads_max >= 1 && threads_max <= SL_CREW_THREADS_MAX);
	SL_ASSERT(count < UINT32_MAX - SL_CREW_THREADS_MAX);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (; started < SL_MIN(threads_max, count); started++) {
		struct member *m = &members[started];

		*m = (struct member){.crew = &crew, .worker = started};
		if (SL_COUNT_IF(pthread_create(&m->thread, NULL, member_main, m) != 0))
			break;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	work(&members[0]);
	for (uint32_t i = 1; i < started; i++)
		SL_ASSERT(pthread_join(members[i].thread, NULL) == 0);
}
