/* SPDX-License-Identifier: Apache-2.0 */
/* The two ends run at the same time: in two threads (for tsan) and in two processes. */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "sluice/ipc/msg.h"

#include "ipc_jobs.h"

#define DP  SL_CHANNEL_DATAPLANE
#define CTL SL_CHANNEL_CONTROL

#ifdef SL_SANITIZED
#define SCALE 5
#else
#define SCALE 1
#endif

static int send_child(void *arg)
{
	return child_check(jobs_send(arg) == 0, "send all") ? 0 : 1;
}

static int play_child(void *arg)
{
	return child_check(jobs_play(arg) == 0, "play") ? 0 : 1;
}

/* The bodies are in ipc_jobs.c, so that race/race_main.c can run them under tsan. */
Test(channel_threads, stream_arrives_in_order_and_no_wake_up_is_lost)
{
	static const unsigned spins[] = {0, 20, 1000};

	for (size_t i = 0; i < SL_ARRAY_SIZE(spins); i++)
		cr_assert_eq(jobs_stream_threads(20000 / SCALE, spins[i]), 0);
}

Test(channel_threads, ping_pong_asleep_loses_no_wake_up)
{
	cr_assert_eq(jobs_play_threads(20000 / SCALE, 0, 3), 0);
}

/* A round takes a microsecond; without seq_cst on both sides some of them lose the wake-up. */
Test(channel_threads, commit_and_sleep_at_the_same_moment_see_each_other)
{
	cr_assert_eq(jobs_race_commit(300000 / SCALE), 0);
}

Test(channel_threads, release_and_sleep_at_the_same_moment_see_each_other)
{
	cr_assert_eq(jobs_race_release(300000 / SCALE), 0);
}

Test(channel_fork, stream_arrives_in_order_and_no_wake_up_is_lost)
{
	static const unsigned spins[] = {0, 20, 1000};
	struct pair p;

	for (size_t i = 0; i < SL_ARRAY_SIZE(spins); i++) {
		struct job sender = {&p, CTL, 40000 / SCALE, spins[i], false, -1};
		struct job receiver = {&p, DP, 40000 / SCALE, spins[i], false, -1};
		pid_t pid;

		pair_open(&p, PAIR_RING_BYTES);
		pid = child_start(send_child, &sender);
		cr_assert_eq(jobs_recv(&receiver), 0);
		cr_assert(child_succeeded(pid));
		pair_close(&p);
	}
}

Test(channel_fork, ping_pong_loses_no_wake_up)
{
	static const unsigned spins[][2] = {{0, 0}, {0, 30}, {30, 30}, {300, 0}};
	struct pair p;

	for (size_t i = 0; i < SL_ARRAY_SIZE(spins); i++) {
		struct job a = {&p, DP, 20000 / SCALE, spins[i][0], false, -1};
		struct job b = {&p, CTL, 20000 / SCALE, spins[i][1], true, -1};
		pid_t pid;

		pair_open(&p, PAIR_RING_BYTES);
		pid = child_start(play_child, &b);
		cr_assert_eq(jobs_play(&a), 0);
		cr_assert(child_succeeded(pid));
		pair_close(&p);
	}
}

/* Dies by its own hand in the middle of writing a message, so that the test needs no timing. */
static int die_while_writing(void *arg)
{
	struct job *j = arg;
	struct stream s = {31, 0, 3000};
	struct sl_channel *ch = j->pair->ch[j->side];
	uint8_t *room;

	while (s.seq < j->count)
		if (stream_send(&s, ch) != 1)
			return 1;
	room = sl_channel_reserve(ch, 3000);
	if (!room)
		return 1;
	memset(room, 0xee, 1500);
	raise(SIGKILL);
	return 1;
}

Test(channel_fork, messages_of_a_dead_peer_are_whole_and_the_unfinished_one_is_not_seen)
{
	struct stream in = {31, 0, 3000};
	struct pair p;
	struct job j = {&p, CTL, 10, 0, false, -1};
	int status;
	pid_t pid;

	pair_open(&p, PAIR_RING_BYTES);
	pid = child_start(die_while_writing, &j);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	for (uint64_t i = 0; i < j.count; i++)
		cr_assert_eq(stream_recv(&in, p.ch[DP]), 1);
	cr_assert_eq(stream_recv(&in, p.ch[DP]), 0);
	cr_assert_not(sl_channel_is_failed(p.ch[DP]));
	pair_close(&p);
}

Test(channel_fork, peer_killed_anywhere_never_breaks_the_ring)
{
	for (uint64_t round = 0; round < 20; round++) {
		struct stream in = {4242, 0, SL_CHANNEL_MESSAGE_MAX(PAIR_RING_BYTES) / 4};
		struct pair p;
		struct job j = {&p, CTL, UINT64_MAX, 1000000, false, -1};
		int status, rc;
		pid_t pid;

		pair_open(&p, PAIR_RING_BYTES);
		pid = child_start(send_child, &j);
		/* After another number of messages each round; more are on their way. */
		while (in.seq < 50 * round + 1) {
			rc = stream_recv(&in, p.ch[DP]);
			cr_assert_geq(rc, 0);
			if (rc == 0)
				cr_assert(sleep_once(p.ch[DP], p.wake_fd[DP]));
		}
		cr_assert_eq(kill(pid, SIGKILL), 0);
		cr_assert_eq(waitpid(pid, &status, 0), pid);
		while ((rc = stream_recv(&in, p.ch[DP])) == 1)
			;
		cr_assert_eq(rc, 0);
		pair_close(&p);
	}
}
