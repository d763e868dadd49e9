/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread of the load.  It owns its connections, its content and its counts; what it shares with
 * the main thread is struct run and the interval that --progress asks for.
 */
#include "worker.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "consume.h"
#include "pinger.h"
#include "produce.h"
#include "sluice/base/clock.h"

#define EVENTS_MAX  256
#define TICK_NS     UINT64_C(20000000)
/* After the end, for answers to come in, and for consumers of e2e to receive what was written. */
#define DRAIN_NS    (UINT64_C(30) * 1000000000)
#define GRACE_NS    (UINT64_C(5) * 1000000000)
#define ARENA_BYTES ((size_t)512 << 20)

int worker_append(void *array, int *count, int *cap, void *item)
{
	void **items = *(void ***)array;

	if (*count == *cap) {
		int wanted = SL_MAX(*cap * 2, 4);

		items = realloc(items, (size_t)wanted * sizeof(*items));
		if (!items)
			return -ENOMEM;
		*(void ***)array = items;
		*cap = wanted;
	}
	items[(*count)++] = item;
	return 0;
}

int worker_init(struct worker *w, struct run *run, int index)
{
	const struct options *o = run->opts;
	int rc = 0;

	*w = (struct worker){.run = run, .index = index, .budget = UINT64_MAX};
	sl_list_init(&w->free_requests);
	w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (w->epoll_fd < 0)
		return -errno;
	/* Touched only as far as it is used. */
	rc = sl_arena_create(&w->arena, ARENA_BYTES);
	if (rc == 0 && (o->mode == LOAD_PRODUCE || o->mode == LOAD_E2E))
		rc = content_init(&w->content, o, o->seed * 1000 + (uint64_t)index);
	if (rc == 0 && o->mode != LOAD_PRODUCE && o->is_verifying)
		rc = sl_codec_ctx_create(&w->codec, NULL);
	return rc;
}

void worker_fini(struct worker *w)
{
	for (int i = 0; i < w->producers_count; i++)
		producer_destroy(w->producers[i]);
	for (int i = 0; i < w->consumers_count; i++)
		consumer_destroy(w->consumers[i]);
	for (int i = 0; i < w->streams_count; i++)
		free(w->streams[i]);
	free(w->producers);
	free(w->consumers);
	free(w->streams);
	pinger_destroy(w->pinger);
	if (w->free_requests.next)
		producer_free_requests(w);
	content_fini(&w->content);
	sl_codec_ctx_destroy(w->codec);
	sl_arena_destroy(&w->arena);
	if (w->epoll_fd > 0)
		close(w->epoll_fd);
}

/* ---- Counting ---------------------------------------------------------------------------------
 */

void worker_count(struct worker *w, uint64_t requests, uint64_t records, uint64_t bytes,
                  uint64_t now_ns)
{
	if (w->run->opts->is_progress) {
		w->interval.requests += requests;
		w->interval.records += records;
		w->interval.bytes += bytes;
	}
	if (!run_counts(w->run, now_ns))
		return;
	w->total.requests += requests;
	w->total.records += records;
	w->total.bytes += bytes;
	w->total.last_ns = now_ns;
}

void worker_latency(struct worker *w, uint64_t latency_ns)
{
	sl_hist_add(&w->total.latency_ns, latency_ns);
	if (w->run->opts->is_progress)
		sl_hist_add(&w->interval.latency_ns, latency_ns);
}

void worker_error(struct worker *w)
{
	w->total.errors++;
	w->interval.errors++;
}

/* Hands the counts since the last time to the main thread, when it has asked. */
static void share_interval(struct worker *w)
{
	struct worker_interval *s = &w->shared;
	/* Pairs with run_progress() in main.c. */
	uint32_t wanted = atomic_load_explicit(&s->wanted, memory_order_acquire);

	if (wanted == atomic_load_explicit(&s->done, memory_order_relaxed))
		return;
	s->copy = w->interval;
	memset(&w->interval, 0, sizeof(w->interval));
	atomic_store_explicit(&s->done, wanted, memory_order_release);
}

/* ---- The schedule -----------------------------------------------------------------------------
 */

static uint64_t linger_ns(const struct worker *w)
{
	return (uint64_t)(w->run->opts->linger_ms * 1e6);
}

/* Gives the records that are due to their streams. */
static void mark_due(struct worker *w, uint64_t now_ns)
{
	uint64_t linger = linger_ns(w);
	uint64_t until = SL_MIN(now_ns, w->run->end_ns);
	uint64_t due = schedule_count(&w->schedule, until);

	for (; w->due < due; w->due++) {
		struct stream *s = w->streams[w->due % (uint64_t)w->streams_count];

		s->pending++;
		if (linger == 0 || s->pending >= (uint64_t)w->content.records_max)
			producer_ready(s);
	}
	if (linger == 0 || until < linger)
		return;
	due = schedule_count(&w->schedule, until - linger);
	for (; w->lingered < due; w->lingered++) {
		struct stream *s = w->streams[w->lingered % (uint64_t)w->streams_count];

		if (s->pending > 0)
			producer_ready(s);
	}
}

/* When mark_due() has something to do next. */
static uint64_t next_due_ns(const struct worker *w)
{
	uint64_t linger = linger_ns(w);
	uint64_t some;

	if (linger == 0)
		return schedule_due_ns(&w->schedule, w->due);
	/* Batches may fill before they have lingered: look a few times while one fills. */
	some = (uint64_t)w->streams_count * (uint64_t)SL_MAX(w->content.records_max / 4, 1);
	return SL_MIN(schedule_due_ns(&w->schedule, w->lingered) + linger,
	              schedule_due_ns(&w->schedule, w->due + some));
}

/* ---- The loop ---------------------------------------------------------------------------------
 */

static bool is_pushing(const struct worker *w)
{
	const struct options *o = w->run->opts;

	return w->streams_count > 0 && (o->rate > 0 || o->acks == 0);
}

/* Fills what has records.  Return: true when a connection could take more at once. */
static bool push(struct worker *w, uint64_t now_ns)
{
	bool has_more = false;

	if (w->run->opts->rate > 0)
		mark_due(w, now_ns);
	for (int i = 0; i < w->producers_count; i++) {
		struct producer *p = w->producers[i];

		if (sl_list_is_empty(&p->ready))
			continue;
		producer_fill(p, now_ns);
		has_more |= w->run->opts->acks == 0 && p->state == PRODUCER_OPEN &&
		            p->conn.can_write && !sl_list_is_empty(&p->ready);
	}
	return has_more;
}

static void wait_for_events(struct worker *w, uint64_t until_ns)
{
	struct epoll_event events[EVENTS_MAX];
	uint64_t now_ns = sl_mono_ns();
	uint64_t wait_ns = until_ns > now_ns ? until_ns - now_ns : 0;
	struct timespec ts = {(time_t)(wait_ns / 1000000000), (long)(wait_ns % 1000000000)};
	int n = epoll_pwait2(w->epoll_fd, events, EVENTS_MAX, &ts, NULL);

	now_ns = sl_mono_ns();
	for (int i = 0; i < n; i++)
		conn_event(events[i].data.ptr, events[i].events, now_ns);
}

static bool are_producers_idle(const struct worker *w)
{
	for (int i = 0; i < w->producers_count; i++)
		if (!producer_is_idle(w->producers[i]))
			return false;
	return true;
}

/* Whether records may still be begun. */
static bool may_begin(const struct worker *w, uint64_t now_ns)
{
	if (now_ns >= w->run->end_ns || run_is_stopping(w->run))
		return false;
	if (w->schedule.interval_ns <= 0)
		return w->budget > 0;
	return w->schedule.records_max == 0 || w->due < w->schedule.records_max;
}

static bool has_pending(const struct worker *w)
{
	for (int i = 0; i < w->streams_count; i++)
		if (w->streams[i]->pending > 0)
			return true;
	return false;
}

/* Notes that this worker's producers are done, once. */
static void check_producers(struct worker *w, uint64_t now_ns)
{
	struct run *run = w->run;
	bool is_ended = now_ns >= run->end_ns || run_is_stopping(run);

	if (w->has_drained || may_begin(w, now_ns) || (!is_ended && has_pending(w)))
		return;
	if (!are_producers_idle(w)) {
		if (run->end_ns == UINT64_MAX || now_ns < run->end_ns + DRAIN_NS)
			return;
		run_fail(run, "requests are not answered %llu s after the end",
		         (unsigned long long)(DRAIN_NS / 1000000000));
	}
	if (run->opts->rate > 0)
		producer_count_unsent(w);
	w->has_drained = true;
	/* Pairs with is_over(). */
	atomic_fetch_sub_explicit(&run->producing, 1, memory_order_release);
}

/* Whether this worker's consumers are done; with @ended_ns kept for the grace of e2e. */
static bool are_consumers_over(struct worker *w, uint64_t now_ns, uint64_t *drained_ns)
{
	struct run *run = w->run;

	if (run->opts->mode != LOAD_E2E)
		return worker_is_over(w, now_ns);
	/* Pairs with check_producers(). */
	if (atomic_load_explicit(&run->producing, memory_order_acquire) > 0)
		return false;
	if (*drained_ns == 0)
		*drained_ns = now_ns;
	return now_ns - *drained_ns > GRACE_NS ||
	       atomic_load_explicit(&run->records_new, memory_order_relaxed) >=
	               atomic_load_explicit(&run->records_acked, memory_order_relaxed);
}

static bool has_failed(struct run *run)
{
	bool is_set;

	if (!run_is_stopping(run))
		return false;
	pthread_mutex_lock(&run->lock);
	is_set = run->fatal[0] != 0;
	pthread_mutex_unlock(&run->lock);
	return is_set;
}

static bool is_over(struct worker *w, uint64_t now_ns, uint64_t *drained_ns)
{
	if (has_failed(w->run))
		return true;
	if (w->pinger)
		return worker_is_over(w, now_ns);
	check_producers(w, now_ns);
	if (!w->has_drained)
		return false;
	return w->consumers_count == 0 || are_consumers_over(w, now_ns, drained_ns);
}

static void tick(struct worker *w, uint64_t now_ns)
{
	for (int i = 0; i < w->producers_count; i++)
		producer_tick(w->producers[i], now_ns);
	for (int i = 0; i < w->consumers_count; i++)
		consumer_tick(w->consumers[i], now_ns);
}

static void start(struct worker *w, uint64_t now_ns)
{
	for (int i = 0; i < w->producers_count; i++)
		producer_start(w->producers[i], now_ns);
	for (int i = 0; i < w->consumers_count; i++)
		consumer_start(w->consumers[i], now_ns);
	/* A worker without producers has nothing to wait for. */
	if (w->streams_count == 0) {
		w->has_drained = true;
		atomic_fetch_sub_explicit(&w->run->producing, 1, memory_order_release);
	}
}

void *worker_main(void *arg)
{
	struct worker *w = arg;
	uint64_t now_ns = sl_mono_ns();
	uint64_t tick_ns = now_ns;
	uint64_t drained_ns = 0;

	/* The default slack of 50 us would be seen in every latency of an open loop. */
	(void)prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
	start(w, now_ns);
	while (!is_over(w, now_ns, &drained_ns)) {
		uint64_t until_ns = tick_ns + TICK_NS;

		share_interval(w);
		if (w->pinger)
			until_ns = SL_MIN(until_ns, pinger_poll(w->pinger, now_ns));
		if (is_pushing(w) && push(w, now_ns))
			until_ns = now_ns;
		if (w->schedule.interval_ns > 0 && may_begin(w, now_ns))
			until_ns = SL_MIN(until_ns, next_due_ns(w));
		wait_for_events(w, until_ns);
		now_ns = sl_mono_ns();
		if (now_ns >= tick_ns + TICK_NS) {
			tick_ns = now_ns;
			tick(w, now_ns);
		}
	}
	atomic_store_explicit(&w->is_done, true, memory_order_relaxed);
	return NULL;
}
