/* SPDX-License-Identifier: Apache-2.0 */
/* What the two ends do while both run; without Criterion, which cannot start under tsan. */
#ifndef TESTS_IPC_JOBS_H
#define TESTS_IPC_JOBS_H

#include "ipc_pair.h"

struct job {
	struct pair *pair;
	enum sl_channel_side side;
	uint64_t count;    /* messages */
	unsigned spin_max; /* polls before sleeping, at most */
	bool answers;      /* sends each received message's successor back */
	int rc;
};

/* Each returns 0, or: -EPROTO; -EBADMSG wrong message; -ETIMEDOUT a wake-up was lost. */
int jobs_send(const struct job *j);
int jobs_recv(const struct job *j);
/* Ping-pong: at any time one side sleeps or is about to, and the other wakes it. */
int jobs_play(const struct job *j);

/* Both ends in two threads of this process.  Return: 0 or the first error. */
int jobs_stream_threads(uint64_t count, unsigned spin_max);
int jobs_play_threads(uint64_t count, unsigned first_spin_max, unsigned second_spin_max);

/*
 * Races one sl_channel_commit(), or one release that makes room, against one sl_channel_sleep(),
 * @rounds times, starting both at the same moment.  Return: how often the sleeper was told that it
 * may sleep and was not woken; -errno.
 */
int jobs_race_commit(unsigned rounds);
int jobs_race_release(unsigned rounds);

#endif
