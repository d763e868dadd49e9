/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads of a limit: one side plays the server and has the last cpu to itself, as a lane of the
 * broker has; the other side shares the remaining cpus, as the load generator does.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "bench.h"
#include "sluice/base/clock.h"

/* The last cpu this process may use is the server's; with only one, nothing is pinned. */
static void pin(bool is_server)
{
	cpu_set_t all, mine;
	int last = -1;

	if (sched_getaffinity(0, sizeof(all), &all) != 0 || CPU_COUNT(&all) < 2)
		return;
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &all))
			last = i;
	if (is_server) {
		CPU_ZERO(&mine);
		CPU_SET(last, &mine);
	} else {
		mine = all;
		CPU_CLR(last, &mine);
	}
	(void)pthread_setaffinity_np(pthread_self(), sizeof(mine), &mine);
}

bool bench_counts(struct bench_side *side, uint64_t now_ns)
{
	if (now_ns < side->start_ns)
		return false;
	if (side->began_ns == 0)
		side->began_ns = sl_thread_cpu_ns();
	if (now_ns < side->end_ns)
		return true;
	if (side->cpu_ns == 0)
		side->cpu_ns = sl_thread_cpu_ns() - side->began_ns;
	return false;
}

static void *thread_main(void *arg)
{
	struct bench_side *side = arg;

	pin(side->is_server);
	/* The default slack of 50 us would be most of a round trip. */
	(void)prctl(PR_SET_TIMERSLACK, 1);
	side->error = side->run(side);
	(void)bench_counts(side, sl_mono_ns());
	return NULL;
}

struct bench_side *bench_sides(const struct bench_opts *o, int servers, int count)
{
	struct bench_side *sides = aligned_alloc(SL_CACHE_LINE, (size_t)count * sizeof(*sides));

	if (!sides)
		return NULL;
	memset(sides, 0, (size_t)count * sizeof(*sides));
	for (int i = 0; i < count; i++) {
		sides[i].opts = o;
		sides[i].is_server = i < servers;
	}
	return sides;
}

int bench_client_threads(const struct bench_opts *o)
{
	cpu_set_t all;
	int cpus = 2;

	if (sched_getaffinity(0, sizeof(all), &all) == 0)
		cpus = SL_MAX(CPU_COUNT(&all), 2);
	return SL_MIN(SL_MIN(o->threads > 0 ? o->threads : cpus - 1, o->connections),
	              BENCH_THREADS_MAX);
}

int bench_run(struct bench_side *sides, int count)
{
	pthread_t threads[BENCH_THREADS_MAX + 1];
	const struct bench_opts *o = sides[0].opts;
	uint64_t start = sl_mono_ns() + (uint64_t)(o->warmup_seconds * 1e9);
	int started = 0;
	int rc = 0;

	for (; started < count && started < (int)SL_ARRAY_SIZE(threads); started++) {
		sides[started].start_ns = start;
		sides[started].end_ns = start + (uint64_t)(o->seconds * 1e9);
		rc = -pthread_create(&threads[started], NULL, thread_main, &sides[started]);
		if (rc != 0)
			break;
	}
	for (int i = 0; i < started; i++) {
		pthread_join(threads[i], NULL);
		if (rc == 0)
			rc = sides[i].error;
	}
	return rc;
}

static void print_latency(const struct sl_hist *h)
{
	static const struct {
		const char *name;
		double q;
	} quantiles[] = {
		{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"p99.99", 0.9999}};

	printf("\"latency_us\":{");
	for (size_t i = 0; i < SL_ARRAY_SIZE(quantiles); i++)
		printf("\"%s\":%.1f,", quantiles[i].name,
		       (double)sl_hist_quantile(h, quantiles[i].q) / 1e3);
	printf("\"max\":%.1f,\"mean\":%.1f}", (double)h->max / 1e3,
	       h->count > 0 ? (double)h->sum / (double)h->count / 1e3 : 0.0);
}

void bench_print(const char *limit, struct bench_side *sides, int count, bool from_servers)
{
	const struct bench_opts *o = sides[0].opts;
	uint64_t requests = 0, bytes = 0, server_ns = 0, client_ns = 0;
	struct sl_hist *latency = NULL;

	for (int i = 0; i < count; i++) {
		*(sides[i].is_server ? &server_ns : &client_ns) += sides[i].cpu_ns;
		if (sides[i].is_server != from_servers)
			continue;
		requests += sides[i].requests;
		bytes += sides[i].bytes;
		if (latency)
			sl_hist_merge(latency, &sides[i].latency_ns);
		else
			latency = &sides[i].latency_ns;
	}
	printf("{\"limit\":\"%s\",\"connections\":%d,\"request_bytes\":%zu,\"in_flight\":%d,"
	       "\"piece_bytes\":%zu,\"block_bytes\":%zu,\"producers\":%d,\"groups\":%d,\"seconds\":%.2f,"
	       "\"requests\":%llu,\"requests_s\":%.1f,\"bytes\":%llu,\"mb_s\":%.2f,",
	       limit, o->connections, o->request_bytes, o->in_flight, o->piece_bytes,
	       o->block_bytes, o->producers, o->groups, o->seconds, (unsigned long long)requests,
	       (double)requests / o->seconds, (unsigned long long)bytes,
	       (double)bytes / 1e6 / o->seconds);
	if (latency)
		print_latency(latency);
	printf(",\"server_cpu_s\":%.6f,\"client_cpu_s\":%.6f}\n", (double)server_ns / 1e9,
	       (double)client_ns / 1e9);
	fflush(stdout);
}
