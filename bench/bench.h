/* SPDX-License-Identifier: Apache-2.0 */
/* What the profiles of sluice-bench share: options, threads that run for a set time, JSON output.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdatomic.h>

#include "sluice/base/base.h"
#include "sluice/base/hist.h"

#define BENCH_THREADS_MAX 64

struct bench_opts {
	const char *host;
	uint16_t port;
	const char *topic;
	double seconds; /* measured, after a warm-up of a fifth of it */
	int connections;
	int partitions;
	int record_bytes;
	int batch_bytes;
	int in_flight; /* requests per connection */
	int acks;
	double rate;     /* records per second (e2e) */
	const char *dir; /* folder for the disk limit */
};

/* One profile each.  Prints one JSON object on standard output.  Return: 0 or -errno. */
int bench_produce(const struct bench_opts *o);
int bench_fetch(const struct bench_opts *o);
int bench_e2e(const struct bench_opts *o);
/* The machine's own limits: loopback TCP, sendfile, TCP round trip, fdatasync. */
int bench_limits(const struct bench_opts *o);

/* A worker's share of the result.  Only counted between start_ns and end_ns. */
struct bench_worker {
	const struct bench_opts *opts;
	int index;
	int (*run)(struct bench_worker *w);
	void *arg;
	uint64_t start_ns, end_ns;
	uint64_t requests, records, bytes;
	struct sl_hist latency_ns;
	int error;
} SL_CACHE_ALIGNED;

/* Runs @count workers in threads of their own and adds their results up in @sum.  Return: 0 or the
 * first worker's -errno. */
int bench_run(struct bench_worker *workers, int count, struct bench_worker *sum);
/* Whether work finished at @now_ns counts. */
static inline bool bench_counts(const struct bench_worker *w, uint64_t now_ns)
{
	return now_ns >= w->start_ns && now_ns < w->end_ns;
}
void bench_print(const char *profile, const struct bench_worker *sum);

#endif
