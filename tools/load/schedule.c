/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When records are due in an open loop.  Pure functions.
 */
#include "schedule.h"

uint64_t schedule_due_ns(const struct schedule *s, uint64_t index)
{
	/* Multiplied, not added up: rounding does not grow, and record 10^9 is due in time. */
	return s->start_ns + (uint64_t)((double)index * s->interval_ns);
}

uint64_t schedule_count(const struct schedule *s, uint64_t now_ns)
{
	uint64_t count;

	if (s->interval_ns <= 0 || now_ns < s->start_ns)
		return 0;
	count = (uint64_t)((double)(now_ns - s->start_ns) / s->interval_ns) + 1;
	/* The division may round to the neighbour of what the multiplication says. */
	while (count > 0 && schedule_due_ns(s, count - 1) > now_ns)
		count--;
	while (schedule_due_ns(s, count) <= now_ns)
		count++;
	return s->records_max > 0 ? SL_MIN(count, s->records_max) : count;
}
