/* SPDX-License-Identifier: Apache-2.0 */
/* sluice-bench: one profile per call, one JSON object out; bench/run.py makes the table. */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "sluice/base/clock.h"

static void *thread_main(void *arg)
{
	struct bench_worker *w = arg;

	w->error = w->run(w);
	return NULL;
}

int bench_run(struct bench_worker *workers, int count, struct bench_worker *sum)
{
	pthread_t threads[BENCH_THREADS_MAX];
	uint64_t now = sl_mono_ns();
	uint64_t span = (uint64_t)(workers[0].opts->seconds * 1e9);
	int started = 0;

	memset(sum, 0, sizeof(*sum));
	sum->opts = workers[0].opts;
	for (; started < count && started < BENCH_THREADS_MAX; started++) {
		struct bench_worker *w = &workers[started];

		w->start_ns = now + span / 5;
		w->end_ns = w->start_ns + span;
		if (pthread_create(&threads[started], NULL, thread_main, w) != 0) {
			sum->error = -EAGAIN;
			break;
		}
	}
	for (int i = 0; i < started; i++) {
		pthread_join(threads[i], NULL);
		sum->requests += workers[i].requests;
		sum->records += workers[i].records;
		sum->bytes += workers[i].bytes;
		sl_hist_merge(&sum->latency_ns, &workers[i].latency_ns);
		if (sum->error == 0)
			sum->error = workers[i].error;
	}
	return sum->error;
}

void bench_print(const char *profile, const struct bench_worker *sum)
{
	const struct bench_opts *o = sum->opts;
	const struct sl_hist *h = &sum->latency_ns;

	printf("{\"profile\":\"%s\",\"connections\":%d,\"record_bytes\":%d,\"batch_bytes\":%d,\"acks\":%d,"
	       "\"seconds\":%.1f,\"mb_s\":%.1f,\"records_s\":%.0f,\"requests_s\":%.0f,\"p50_us\":%.1f,"
	       "\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f}\n",
	       profile, o->connections, o->record_bytes, o->batch_bytes, o->acks, o->seconds,
	       (double)sum->bytes / 1e6 / o->seconds, (double)sum->records / o->seconds,
	       (double)sum->requests / o->seconds, (double)sl_hist_quantile(h, 0.5) / 1e3,
	       (double)sl_hist_quantile(h, 0.99) / 1e3, (double)sl_hist_quantile(h, 0.999) / 1e3,
	       (double)h->max / 1e3);
}

static const struct {
	const char *name;
	int (*run)(const struct bench_opts *o);
} profiles[] = {{"produce", bench_produce},
                {"fetch", bench_fetch},
                {"e2e", bench_e2e},
                {"limits", bench_limits}};

static int usage(void)
{
	fprintf(stderr,
	        "usage: sluice-bench produce|fetch|e2e|limits [--host H] [--port P] [--topic T] [--seconds S]\n"
	        "    [--connections N] [--partitions N] [--record-bytes N] [--batch-bytes N] [--in-flight N]\n"
	        "    [--acks 0|1|-1] [--rate RECORDS_PER_SECOND] [--dir FOLDER]\n");
	return 2;
}

static int parse(struct bench_opts *o, int argc, char **argv)
{
	static const struct option options[] = {{"host", 1, NULL, 'h'},
	                                        {"port", 1, NULL, 'p'},
	                                        {"topic", 1, NULL, 't'},
	                                        {"seconds", 1, NULL, 's'},
	                                        {"connections", 1, NULL, 'c'},
	                                        {"partitions", 1, NULL, 'n'},
	                                        {"record-bytes", 1, NULL, 'r'},
	                                        {"batch-bytes", 1, NULL, 'b'},
	                                        {"in-flight", 1, NULL, 'i'},
	                                        {"acks", 1, NULL, 'a'},
	                                        {"rate", 1, NULL, 'R'},
	                                        {"dir", 1, NULL, 'd'},
	                                        {NULL, 0, NULL, 0}};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		const double v = c == '?' ? 0 : strtod(optarg, NULL);

		switch (c) {
		case 'h':
			o->host = optarg;
			break;
		case 'p':
			o->port = (uint16_t)v;
			break;
		case 't':
			o->topic = optarg;
			break;
		case 's':
			o->seconds = v;
			break;
		case 'c':
			o->connections = (int)v;
			break;
		case 'n':
			o->partitions = (int)v;
			break;
		case 'r':
			o->record_bytes = (int)v;
			break;
		case 'b':
			o->batch_bytes = (int)v;
			break;
		case 'i':
			o->in_flight = (int)v;
			break;
		case 'a':
			o->acks = (int)v;
			break;
		case 'R':
			o->rate = v;
			break;
		case 'd':
			o->dir = optarg;
			break;
		default:
			return -EINVAL;
		}
	}
	return optind == argc && o->seconds > 0 && o->seconds <= 600 && o->connections >= 1 &&
	                       o->connections <= BENCH_THREADS_MAX && o->partitions >= 1 &&
	                       o->record_bytes >= 16 && o->batch_bytes <= 100000000 &&
	                       o->in_flight >= 1 && o->in_flight <= 1000 && o->rate > 0
	               ? 0
	               : -EINVAL;
}

int main(int argc, char **argv)
{
	struct bench_opts o = {.host = "127.0.0.1",
	                       .port = 9092,
	                       .topic = "bench",
	                       .seconds = 3,
	                       .connections = 4,
	                       .partitions = 4,
	                       .record_bytes = 1024,
	                       .batch_bytes = 65536,
	                       .in_flight = 5,
	                       .acks = 1,
	                       .rate = 5000,
	                       .dir = "."};

	signal(SIGPIPE, SIG_IGN);
	if (argc < 2 || parse(&o, argc - 1, argv + 1) != 0)
		return usage();
	for (size_t i = 0; i < SL_ARRAY_SIZE(profiles); i++) {
		if (strcmp(argv[1], profiles[i].name) != 0)
			continue;
		int rc = profiles[i].run(&o);

		if (rc != 0)
			fprintf(stderr, "sluice-bench %s: %s\n", argv[1], strerror(-rc));
		return rc == 0 ? 0 : 1;
	}
	return usage();
}
