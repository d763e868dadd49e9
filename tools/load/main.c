/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sluice-load: loads a Kafka broker and measures it.  The main thread finds the leaders, starts the
 * workers, asks for newer metadata when one of them is lost, watches the clock and prints.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "plan.h"
#include "result.h"
#include "sluice/base/clock.h"
#include "worker.h"

enum status {
	STATUS_DONE = 0,
	STATUS_FAILED = 1, /* the broker refused, or --verify found something */
	STATUS_USAGE = 2,
};

#define PROGRESS_NS        UINT64_C(1000000000)
/* Threads' epolls, standard streams, what the main thread asks through. */
#define DESCRIPTORS_BESIDE 128
/* How often the main thread looks around. */
#define LOOK_NS            UINT64_C(10000000)

static struct run run;

static void on_signal(int number)
{
	(void)number;
	run_stop(&run);
}

static int die(const char *text)
{
	fprintf(stderr, "sluice-load: %s\n", text);
	return STATUS_FAILED;
}

static void sleep_until(uint64_t at_ns)
{
	struct timespec ts = {(time_t)(at_ns / 1000000000), (long)(at_ns % 1000000000)};

	/* A signal ends it early, which is as well. */
	(void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
}

/* Whether to ask again after @rc: right after its start a broker may know no leaders and have no
 * producer ids. */
static bool try_again(int64_t rc, uint64_t give_up_ns)
{
	if (rc != -EAGAIN || sl_mono_ns() >= give_up_ns || run_is_stopping(&run))
		return false;
	sleep_until(sl_mono_ns() + LOAD_BACKOFF_NS);
	return true;
}

/* Asks until the brokers answer, the topic is there and every partition has a leader. */
static int find_cluster(const struct options *o, char *wrong, size_t wrong_bytes)
{
	/* Thousands of partitions are not there at once. */
	uint64_t give_up_ns = sl_mono_ns() + LOAD_GIVE_UP_NS / 3 +
	                      (uint64_t)o->partitions * LOAD_PARTITION_NS;
	int rc;

	do {
		rc = cluster_load(&run.cluster, o, true, wrong, wrong_bytes);
	} while (try_again(rc, give_up_ns));
	return rc;
}

static int64_t plan_connections(struct worker *workers, char *wrong, size_t wrong_bytes)
{
	uint64_t give_up_ns = sl_mono_ns() + LOAD_GIVE_UP_NS / 3;
	int64_t rc;

	do {
		rc = plan_workers(&run, workers, wrong, wrong_bytes);
	} while (try_again(rc, give_up_ns));
	return rc;
}

/* A worker has lost its leader: ask again, and publish what the brokers say. */
static void refresh_cluster(uint64_t now_ns)
{
	static uint64_t again_ns;
	uint32_t version = atomic_load_explicit(&run.cluster_version, memory_order_relaxed);
	struct cluster fresh = {0};
	char wrong[512];

	if (now_ns < again_ns ||
	    atomic_load_explicit(&run.stale_version, memory_order_relaxed) != version)
		return;
	again_ns = now_ns + LOAD_BACKOFF_NS;
	/* The old nodes are tried when the bootstrap broker is the one that is gone. */
	fresh.nodes = calloc((size_t)run.cluster.nodes_count, sizeof(*fresh.nodes));
	if (!fresh.nodes)
		return;
	memcpy(fresh.nodes, run.cluster.nodes,
	       (size_t)run.cluster.nodes_count * sizeof(*fresh.nodes));
	fresh.nodes_count = run.cluster.nodes_count;
	if (cluster_load(&fresh, run.opts, false, wrong, sizeof(wrong)) == 0) {
		pthread_mutex_lock(&run.lock);
		cluster_move(&run.cluster, &fresh);
		pthread_mutex_unlock(&run.lock);
		atomic_store_explicit(&run.cluster_version, version + 1, memory_order_release);
	}
	cluster_fini(&fresh);
}

/* ---- Progress ---------------------------------------------------------------------------------
 */

struct progress {
	uint32_t asked;
	uint64_t asked_ns, last_ns;
	bool is_waiting;
	struct result *sum; /* Owned */
};

static void print_progress(struct progress *p, struct worker *workers, int64_t count)
{
	char text[512];
	struct sl_buf b;

	for (int64_t i = 0; i < count; i++)
		/* Pairs with share_interval() in worker.c. */
		if (atomic_load_explicit(&workers[i].shared.done, memory_order_acquire) != p->asked)
			return;
	memset(p->sum, 0, sizeof(*p->sum));
	for (int64_t i = 0; i < count; i++)
		result_merge(p->sum, &workers[i].shared.copy);
	sl_buf_init_fixed(&b, text, sizeof(text));
	result_progress(&b, p->sum, (double)(p->asked_ns - p->last_ns) / 1e9,
	                (double)(p->asked_ns - run.start_ns) / 1e9);
	fwrite(text, 1, b.len, stderr);
	p->last_ns = p->asked_ns;
	p->is_waiting = false;
}

static void run_progress(struct progress *p, struct worker *workers, uint64_t now_ns)
{
	int64_t count = run.opts->threads;

	if (p->is_waiting) {
		print_progress(p, workers, count);
		return;
	}
	if (now_ns < p->last_ns + PROGRESS_NS)
		return;
	p->asked++;
	p->asked_ns = now_ns;
	p->is_waiting = true;
	for (int64_t i = 0; i < count; i++)
		atomic_store_explicit(&workers[i].shared.wanted, p->asked, memory_order_release);
}

/* ---- The run ----------------------------------------------------------------------------------
 */

static bool are_done(struct worker *workers)
{
	for (int64_t i = 0; i < run.opts->threads; i++)
		if (!atomic_load_explicit(&workers[i].is_done, memory_order_relaxed))
			return false;
	return true;
}

static void set_times(const struct options *o)
{
	run.start_ns = sl_mono_ns();
	run.count_from_ns = run.start_ns + (uint64_t)(o->warmup_s * 1e9);
	run.end_ns = run.count_from_ns + (uint64_t)(o->duration_s * 1e9);
	if (o->records > 0 && !o->is_duration_set)
		run.end_ns = UINT64_MAX;
}

struct usage {
	struct rusage from, to;
	uint64_t to_ns;
	bool has_from, has_to;
};

/* Takes the processor time at the two ends of the measured time. */
static void take_usage(struct usage *u, uint64_t now_ns, bool is_end)
{
	if (!u->has_from && now_ns >= run.count_from_ns) {
		getrusage(RUSAGE_SELF, &u->from);
		u->has_from = true;
	}
	if (!u->has_to && u->has_from && (is_end || now_ns >= run.end_ns)) {
		getrusage(RUSAGE_SELF, &u->to);
		u->to_ns = SL_MIN(now_ns, run.end_ns);
		u->has_to = true;
	}
}

static uint64_t next_look_ns(uint64_t now_ns)
{
	uint64_t at_ns = now_ns + LOOK_NS;

	if (now_ns < run.count_from_ns)
		at_ns = SL_MIN(at_ns, run.count_from_ns);
	if (now_ns < run.end_ns)
		at_ns = SL_MIN(at_ns, run.end_ns);
	return at_ns;
}

static void watch(struct worker *workers, struct usage *u)
{
	struct progress progress = {.sum = calloc(1, sizeof(struct result)),
	                            .last_ns = run.start_ns};

	while (!are_done(workers)) {
		uint64_t now_ns = sl_mono_ns();

		take_usage(u, now_ns, run_is_stopping(&run));
		refresh_cluster(now_ns);
		if (run.opts->is_progress && progress.sum)
			run_progress(&progress, workers, now_ns);
		sleep_until(next_look_ns(now_ns));
	}
	take_usage(u, sl_mono_ns(), true);
	free(progress.sum);
}

static void join(struct worker *workers, int started, struct result *sum)
{
	for (int i = 0; i < started; i++) {
		pthread_join(workers[i].thread, NULL);
		result_merge(sum, &workers[i].total);
	}
}

/* Records that were acknowledged or asked for and never seen: no later one betrays them. */
static void count_tail_loss(struct result *sum)
{
	const struct options *o = run.opts;
	uint64_t want = 0;
	uint64_t got = atomic_load_explicit(&run.records_new, memory_order_relaxed);

	if (o->mode == LOAD_E2E)
		want = atomic_load_explicit(&run.records_acked, memory_order_relaxed);
	else if (o->mode == LOAD_CONSUME && o->is_verifying && o->records > 0)
		want = (uint64_t)o->records;
	if (want > got)
		sum->verify.lost = SL_MAX(sum->verify.lost, want - got);
}

static void print_result(const struct result *sum, const struct usage *u, int64_t connections)
{
	const struct options *o = run.opts;
	struct result_frame f = {.opts = o, .connections = connections};
	uint64_t to_ns = o->records > 0 && sum->last_ns ? sum->last_ns : u->to_ns;
	struct sl_buf b;

	f.partitions = run.cluster.partitions_count;
	if (u->has_to && to_ns > run.count_from_ns)
		f.seconds = (double)(to_ns - run.count_from_ns) / 1e9;
	if (u->has_to) {
		f.cpu_user_s = result_cpu_s(&u->from.ru_utime, &u->to.ru_utime);
		f.cpu_system_s = result_cpu_s(&u->from.ru_stime, &u->to.ru_stime);
	}
	if (sum->opened_ns > run.start_ns)
		f.connects_s = (double)sum->opened /
		               ((double)(sum->opened_ns - run.start_ns) / 1e9);
	sl_buf_init_grow(&b, 65536);
	if (o->is_json)
		result_json(&b, sum, &f);
	else
		result_table(&b, sum, &f);
	fwrite(b.p, 1, b.len, stdout);
	sl_buf_fini(&b);
}

static int run_workers(struct worker *workers, int64_t connections)
{
	struct result *sum = calloc(1, sizeof(*sum));
	struct usage usage = {0};
	int started = 0;
	int status;

	if (!sum)
		return die("no memory");
	atomic_store_explicit(&run.producing, (int32_t)run.opts->threads, memory_order_relaxed);
	set_times(run.opts);
	for (; started < run.opts->threads; started++) {
		workers[started].schedule.start_ns = run.start_ns;
		if (pthread_create(&workers[started].thread, NULL, worker_main, &workers[started]))
			break;
	}
	if (started == run.opts->threads)
		watch(workers, &usage);
	else
		run_fail(&run, "cannot start %lld threads", (long long)run.opts->threads);
	join(workers, started, sum);
	count_tail_loss(sum);
	status = result_is_violated(sum) ? STATUS_FAILED : STATUS_DONE;
	if (run.fatal[0])
		status = die(run.fatal);
	print_result(sum, &usage, connections);
	free(sum);
	return status;
}

static int load(const struct options *o)
{
	struct worker *workers = aligned_alloc(SL_CACHE_LINE,
	                                       (size_t)o->threads * sizeof(*workers));
	int status = STATUS_FAILED;
	int64_t connections = 0;
	char wrong[512] = "no memory";
	int rc = workers ? find_cluster(o, wrong, sizeof(wrong)) : -ENOMEM;

	if (workers)
		memset(workers, 0, (size_t)o->threads * sizeof(*workers));
	for (int64_t i = 0; rc == 0 && i < o->threads; i++) {
		rc = worker_init(&workers[i], &run, (int)i);
		if (rc != 0)
			snprintf(wrong, sizeof(wrong), "cannot set up a thread: %s", strerror(-rc));
	}
	if (rc == 0) {
		connections = plan_connections(workers, wrong, sizeof(wrong));
		rc = connections < 0 ? (int)connections : 0;
	}
	status = rc == 0 ? run_workers(workers, connections) : die(wrong);
	for (int64_t i = 0; workers && i < o->threads; i++)
		worker_fini(&workers[i]);
	free(workers);
	cluster_fini(&run.cluster);
	return status;
}

/* Return: 0; -EMFILE so many connections would not be opened. */
static int raise_descriptor_limit(const struct options *o)
{
	struct rlimit limit;
	uint64_t wanted = (uint64_t)(o->connections * o->fan_out) + DESCRIPTORS_BESIDE;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return 0;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur >= wanted)
		return 0;
	fprintf(stderr,
	        "sluice-load: %lld connections need %llu descriptors, %llu are allowed; fix: ulimit "
	        "-Hn %llu\n",
	        (long long)(o->connections * o->fan_out), (unsigned long long)wanted,
	        (unsigned long long)limit.rlim_cur, (unsigned long long)wanted);
	return -EMFILE;
}

int main(int argc, char **argv)
{
	/* The second signal finds the default again, for when the first one takes too long. */
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
	struct options o;
	char wrong[512];

	switch (options_parse(&o, argc, argv, wrong, sizeof(wrong))) {
	case OPTIONS_HELP:
		options_help(stdout, o.mode);
		return STATUS_DONE;
	case OPTIONS_WRONG:
		fprintf(stderr, "sluice-load: %s\n", wrong);
		return STATUS_USAGE;
	default:
		break;
	}
	o.is_progress = !o.is_quiet && (o.is_progress || isatty(STDERR_FILENO));
	signal(SIGPIPE, SIG_IGN);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	if (raise_descriptor_limit(&o) != 0)
		return STATUS_USAGE;
	run.opts = &o;
	pthread_mutex_init(&run.lock, NULL);
	atomic_store_explicit(&run.cluster_version, 1, memory_order_relaxed);
	return load(&o);
}
