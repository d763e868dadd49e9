/* SPDX-License-Identifier: Apache-2.0 */
/* How idle each lane was in about the last minute. */
#ifndef CONTROL_HTTP_BUSY_H
#define CONTROL_HTTP_BUSY_H

#include "sluice/ipc/shm.h"

#include "control.h"

#define BUSY_EVERY_MS 5000
#define BUSY_SAMPLES  12

struct busy {
	const struct control *c;
	struct loop_timer timer;
	uint64_t incarnation; /* of the data plane the samples are from */
	uint32_t count;       /* samples taken in this incarnation */
	struct {
		int64_t mono_ms;
		uint64_t cycles[SL_SHM_LANES_MAX];
	} samples[BUSY_SAMPLES];
};

/* @b: zeroed.  Return: 0 or -ENOMEM. */
int busy_start(struct busy *b, const struct control *c) SL_MUST_CHECK;
void busy_stop(struct busy *b);
/* Share of the time in which the lane found no work, 0 to 1.  Return: false too early to say. */
bool busy_idle(const struct busy *b, uint32_t lane, double *out);

#endif
