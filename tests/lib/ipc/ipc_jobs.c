/* SPDX-License-Identifier: Apache-2.0 */
#include "ipc_jobs.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>

#include "sluice/base/assert.h"
#include "sluice/ipc/msg.h"

/* Tries again for a while and then sleeps, so that sleeping meets sending at every point. */
static int pause_job(const struct job *j, unsigned *idle, uint64_t *random)
{
	if ((*idle)++ < random_next(random) % (j->spin_max + 1))
		return 0;
	*idle = 0;
	return sleep_once(j->pair->ch[j->side], j->pair->wake_fd[j->side]) ? 0 : -ETIMEDOUT;
}

int jobs_send(const struct job *j)
{
	struct stream s = {4242, 0, SL_CHANNEL_MESSAGE_MAX(PAIR_RING_BYTES) / 4};
	uint64_t random = 1;
	unsigned idle = 0;
	int rc = 0;

	while (rc >= 0 && s.seq < j->count) {
		rc = stream_send(&s, j->pair->ch[j->side]);
		if (rc == 0)
			rc = pause_job(j, &idle, &random);
	}
	return rc < 0 ? rc : 0;
}

int jobs_recv(const struct job *j)
{
	struct stream s = {4242, 0, SL_CHANNEL_MESSAGE_MAX(PAIR_RING_BYTES) / 4};
	uint64_t random = 2;
	unsigned idle = 0;
	int rc = 0;

	while (rc >= 0 && s.seq < j->count) {
		rc = stream_recv(&s, j->pair->ch[j->side]);
		if (rc == 0)
			rc = pause_job(j, &idle, &random);
	}
	return rc < 0 ? rc : 0;
}

int jobs_play(const struct job *j)
{
	struct stream out = {j->answers ? 8 : 7, 0, 200}, in = {j->answers ? 7 : 8, 0, 200};
	struct sl_channel *ch = j->pair->ch[j->side];
	uint64_t random = 3;
	unsigned idle = 0;
	int rc = 0;

	if (!j->answers)
		rc = stream_send(&out, ch);
	while (rc >= 0 && in.seq < j->count) {
		rc = stream_recv(&in, ch);
		if (rc == 0)
			rc = pause_job(j, &idle, &random);
		else if (rc == 1 && out.seq < j->count)
			rc = stream_send(&out, ch) == 1 ? 1 : -ENOSPC;
	}
	return rc < 0 ? rc : 0;
}

static void *send_thread(void *arg)
{
	struct job *j = arg;

	j->rc = jobs_send(j);
	return NULL;
}

static void *play_thread(void *arg)
{
	struct job *j = arg;

	j->rc = jobs_play(j);
	return NULL;
}

/* Runs @other in a thread and @own here. */
static int run_two(void *(*other_fn)(void *), struct job *other, int (*own_fn)(const struct job *),
                   struct job *own)
{
	pthread_t thread;
	int rc;

	if (pthread_create(&thread, NULL, other_fn, other) != 0)
		return -EAGAIN;
	rc = own_fn(own);
	if (pthread_join(thread, NULL) != 0)
		return -EDEADLK;
	return rc < 0 ? rc : other->rc;
}

int jobs_stream_threads(uint64_t count, unsigned spin_max)
{
	struct pair p;
	struct job sender = {&p, SL_CHANNEL_DATAPLANE, count, spin_max, false, -EIO};
	struct job receiver = {&p, SL_CHANNEL_CONTROL, count, spin_max, false, -EIO};
	int rc;

	pair_open(&p, PAIR_RING_BYTES);
	rc = run_two(send_thread, &sender, jobs_recv, &receiver);
	pair_close(&p);
	return rc;
}

int jobs_play_threads(uint64_t count, unsigned first_spin_max, unsigned second_spin_max)
{
	struct pair p;
	struct job first = {&p, SL_CHANNEL_DATAPLANE, count, first_spin_max, false, -EIO};
	struct job second = {&p, SL_CHANNEL_CONTROL, count, second_spin_max, true, -EIO};
	int rc;

	pair_open(&p, PAIR_RING_BYTES);
	rc = run_two(play_thread, &second, jobs_play, &first);
	pair_close(&p);
	return rc;
}

/* Two threads that start each step at the same moment. */
struct race {
	struct pair pair;
	unsigned rounds;
	_Atomic unsigned step[2];
};

static void meet(struct race *r, int who)
{
	unsigned step = atomic_fetch_add_explicit(&r->step[who], 1, memory_order_release) + 1;

	for (int spins = 0; atomic_load_explicit(&r->step[!who], memory_order_acquire) < step;)
		if (++spins % 4096 == 0)
			sched_yield();
}

/*
 * Shifts one side against the other by up to some tens of nanoseconds.  Having the sleeper's flag
 * in its cache beforehand lets the waker's load finish before its store: the order that must not
 * happen.
 */
static void stagger(struct race *r, enum sl_channel_side sleeper, uint64_t *random)
{
	(void)atomic_load_explicit(&r->pair.shm->end[sleeper].waiting, memory_order_acquire);
	for (uint64_t n = random_next(random) % 32; n > 0; n--)
		atomic_signal_fence(memory_order_seq_cst);
}

static void drop(struct sl_channel *ch)
{
	uint32_t type;
	const void *p;
	size_t bytes;

	SL_ASSERT(sl_channel_peek(ch, &type, &p, &bytes) == 1);
	sl_channel_release(ch);
}

/* Return: 1 the sleeper may sleep and nobody woke it; 0. */
static int sleep_in_race(struct race *r, enum sl_channel_side side, uint64_t *random)
{
	bool may_sleep;

	meet(r, 0);
	stagger(r, side, random);
	may_sleep = sl_channel_sleep(r->pair.ch[side]);
	meet(r, 0);
	if (may_sleep && wakes_taken(r->pair.wake_fd[side]) == 0)
		return 1;
	sl_channel_wake(r->pair.ch[side]);
	return 0;
}

static void *commit_in_race(void *arg)
{
	struct race *r = arg;
	uint64_t random = 11;

	for (unsigned i = 0; i < r->rounds; i++) {
		SL_ASSERT(sl_channel_reserve(r->pair.ch[SL_CHANNEL_DATAPLANE], 0));
		meet(r, 1);
		stagger(r, SL_CHANNEL_CONTROL, &random);
		sl_channel_commit(r->pair.ch[SL_CHANNEL_DATAPLANE], SL_IPC_REQUEST, 0);
		meet(r, 1);
	}
	return NULL;
}

int jobs_race_commit(unsigned rounds)
{
	struct race r = {.rounds = rounds};
	uint64_t random = 12;
	pthread_t thread;
	int lost = 0;

	pair_open(&r.pair, PAIR_RING_BYTES);
	if (pthread_create(&thread, NULL, commit_in_race, &r) != 0)
		return -EAGAIN;
	for (unsigned i = 0; i < rounds; i++) {
		lost += sleep_in_race(&r, SL_CHANNEL_CONTROL, &random);
		drop(r.pair.ch[SL_CHANNEL_CONTROL]);
	}
	if (pthread_join(thread, NULL) != 0)
		return -EDEADLK;
	pair_close(&r.pair);
	return lost;
}

static void *release_in_race(void *arg)
{
	struct race *r = arg;
	struct sl_channel *ch = r->pair.ch[SL_CHANNEL_CONTROL];
	uint64_t random = 13;
	uint32_t type;
	const void *p;
	size_t bytes;

	for (unsigned i = 0; i < r->rounds; i++) {
		meet(r, 1); /* the ring is full */
		SL_ASSERT(sl_channel_peek(ch, &type, &p, &bytes) == 1);
		meet(r, 1);
		stagger(r, SL_CHANNEL_DATAPLANE, &random);
		sl_channel_release(ch);
		meet(r, 1);
		drop(ch);
		meet(r, 1); /* the ring is empty */
	}
	return NULL;
}

/* Two of the largest messages fill the ring; releasing the first makes room for a small one. */
int jobs_race_release(unsigned rounds)
{
	const size_t max = SL_CHANNEL_MESSAGE_MAX(PAIR_RING_BYTES);
	struct race r = {.rounds = rounds};
	uint64_t random = 14;
	pthread_t thread;
	int lost = 0;

	pair_open(&r.pair, PAIR_RING_BYTES);
	if (pthread_create(&thread, NULL, release_in_race, &r) != 0)
		return -EAGAIN;
	for (unsigned i = 0; i < rounds; i++) {
		struct sl_channel *ch = r.pair.ch[SL_CHANNEL_DATAPLANE];

		for (int n = 0; n < 2; n++) {
			SL_ASSERT(sl_channel_reserve(ch, max));
			sl_channel_commit(ch, SL_IPC_REQUEST, max);
		}
		SL_ASSERT(!sl_channel_reserve(ch, 1000));
		meet(&r, 0);
		lost += sleep_in_race(&r, SL_CHANNEL_DATAPLANE, &random);
		meet(&r, 0);
	}
	if (pthread_join(thread, NULL) != 0)
		return -EDEADLK;
	pair_close(&r.pair);
	return lost;
}
