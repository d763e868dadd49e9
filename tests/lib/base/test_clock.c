/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <time.h>

#include "sluice/base/clock.h"

Test(clock, monotonic_never_goes_back)
{
	uint64_t last = sl_mono_ns();

	for (int i = 0; i < 100000; i++) {
		uint64_t now = sl_mono_ns();

		cr_assert(now >= last);
		last = now;
	}
}

Test(clock, units_agree)
{
	uint64_t before_ns = sl_mono_ns();
	int64_t ms = sl_mono_ms();
	uint64_t after_ns = sl_mono_ns();
	time_t before_s = time(NULL);
	int64_t wall_ms = sl_wall_ms();

	cr_assert(ms >= (int64_t)(before_ns / 1000000) && ms <= (int64_t)(after_ns / 1000000));
	/* time(2) may lag the fine clock by a tick, so the far side gets a second of room. */
	cr_assert(wall_ms >= (int64_t)before_s * 1000);
	cr_assert(wall_ms <= (int64_t)(time(NULL) + 1) * 1000);
}

Test(clock, a_threads_time_is_that_of_its_work)
{
	const uint64_t begin_ns = sl_mono_ns();
	const uint64_t before_ns = sl_thread_cpu_ns();

	while (sl_thread_cpu_ns() == before_ns)
		;
	cr_assert(sl_thread_cpu_ns() - before_ns <= sl_mono_ns() - begin_ns);
}
