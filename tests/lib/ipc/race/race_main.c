/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two ends of a channel in two threads, for ThreadSanitizer, under which Criterion cannot
 * start. Build it with `-fsanitize=thread` from this file, ipc_jobs.c, ipc_pair.c and the tsan
 * archives of ipc and base.  Exit status: 0; 1 a message was wrong or a wake-up was lost; 66 tsan
 * saw a race.
 */
#include <stdio.h>

#include "ipc_jobs.h"

int main(void)
{
	static const unsigned spins[] = {0, 20, 1000};
	int bad = 0;

	for (size_t i = 0; i < SL_ARRAY_SIZE(spins); i++) {
		int stream = jobs_stream_threads(10000, spins[i]);
		int play = jobs_play_threads(10000, spins[i], 3);

		printf("spin_max=%u stream=%d play=%d\n", spins[i], stream, play);
		bad |= stream != 0 || play != 0;
	}
	bad |= jobs_race_commit(20000) != 0 || jobs_race_release(20000) != 0;
	return bad;
}
