/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Samples of the lanes' busy cycles in a ring, taken by a timer, so that any number of readers get
 * the same answer.  A sleep is counted when it ends, so idle is what is not busy.
 */
#include "busy.h"

#define SPAN_MIN_MS 1000

static void take(struct busy *b)
{
	uint32_t at = b->count % BUSY_SAMPLES;

	b->samples[at].mono_ms = loop_mono_ms(b->c->loop);
	for (uint32_t lane = 0; lane < SL_SHM_LANES_MAX; lane++) {
		const struct sl_lane_stats *s = control_lane_stats(b->c, lane);

		b->samples[at].cycles[lane] = s ? atomic_load_explicit(&s->v[SL_STAT_cycles_busy],
		                                                       memory_order_relaxed)
		                                : 0;
	}
	b->count++;
}

static void on_timer(void *arg)
{
	struct busy *b = arg;
	uint64_t incarnation = link_incarnation(b->c->link);

	if (incarnation != b->incarnation)
		b->count = 0;
	b->incarnation = incarnation;
	if (incarnation != 0)
		take(b);
	/* The timer's place in the heap is still there, so this cannot fail. */
	(void)!loop_timer_set(b->c->loop, &b->timer, loop_mono_ms(b->c->loop) + BUSY_EVERY_MS);
}

int busy_start(struct busy *b, const struct control *c)
{
	b->c = c;
	b->timer = (struct loop_timer){.fn = on_timer, .arg = b};
	return loop_timer_set(c->loop, &b->timer, loop_mono_ms(c->loop));
}

void busy_stop(struct busy *b)
{
	if (b->c)
		loop_timer_stop(b->c->loop, &b->timer);
}

bool busy_idle(const struct busy *b, uint32_t lane, double *out)
{
	const struct sl_lane_stats *s = control_lane_stats(b->c, lane);
	uint32_t oldest = b->count > BUSY_SAMPLES ? b->count % BUSY_SAMPLES : 0;
	double hz, share;
	int64_t ms;

	if (!s || b->count == 0 || lane >= SL_SHM_LANES_MAX ||
	    b->incarnation != link_incarnation(b->c->link))
		return false;
	ms = loop_mono_ms(b->c->loop) - b->samples[oldest].mono_ms;
	hz = (double)atomic_load_explicit(&s->v[SL_STAT_tsc_hz], memory_order_relaxed);
	if (ms < SPAN_MIN_MS || hz <= 0)
		return false;
	share = (double)(atomic_load_explicit(&s->v[SL_STAT_cycles_busy], memory_order_relaxed) -
	                 b->samples[oldest].cycles[lane]) /
	        (hz * (double)ms / 1000);
	*out = 1 - SL_MIN(share, 1.0);
	return true;
}
