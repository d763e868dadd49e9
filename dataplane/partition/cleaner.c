/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cleaner's thread and the lanes' ports.  A cleaning lies in one of two places of a port, `in`
 * or `out`, or one of the two sides has it: each place is one pointer that changes hands with a
 * release store and an acquire load.
 */
#include "partition/cleaner.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "partition/worker.h"
#include "sluice/base/assert.h"
#include "sluice/base/clock.h"
#include "sluice/base/log.h"

#define CLEANER_NICE   10
/* ioprio_set(2): best effort, the lowest of its levels. */
#define CLEANER_IOPRIO (2 << 13 | 7)
/* A sleep for the bandwidth's sake ends this soon when the cleaning is cancelled. */
#define NAP_NS         UINT64_C(20000000)
/* What was not used of the bandwidth is good for this long. */
#define CREDIT_NS      UINT64_C(100000000)

struct cleaner_port {
	_Atomic(struct sl_clean *) in;  /* from the lane */
	_Atomic(struct sl_clean *) out; /* to the lane */
	uint32_t dirty_ppm;             /* of in */
	int result;                     /* of out */
	int wake_fd;                    /* the lane's */
	int event_fd;                   /* the cleaner's */
} SL_CACHE_ALIGNED;

struct cleaner {
	struct cleaner_opts opts;
	struct sl_cleaner *store;
	const struct sl_clean *running;
	struct cleaner_port *current; /* its cleaning is in the middle; NULL: none */
	uint64_t due_ns;              /* when what was read and written so far should be over */
	int event_fd;                 /* Owned; the thread sleeps on it */
	pthread_t thread;
	bool has_thread;
	_Atomic bool is_stopping;
	struct cleaner_port *ports; /* Owned; by lane */
};

/* ---- Bandwidth and page cache ---- */

static void sleep_until(const struct cleaner *c, uint64_t due_ns)
{
	uint64_t now = sl_mono_ns();

	while (now < due_ns && !sl_clean_is_cancelled(c->running)) {
		const uint64_t ns = SL_MIN(due_ns - now, NAP_NS);
		const struct timespec ts = {.tv_nsec = (long)ns};

		(void)nanosleep(&ts, NULL);
		now = sl_mono_ns();
	}
}

static void on_io(void *arg, int fd, uint64_t pos, uint64_t bytes, bool is_write)
{
	struct cleaner *c = arg;
	const uint64_t now = sl_mono_ns();
	unsigned __int128 cost;

	/* Consumers at the tail must not lose their pages to segments that are read once.  Of what
	 * was written only clean pages go: those of the last sync. */
	(void)posix_fadvise(fd, is_write ? 0 : (off_t)pos, is_write ? 0 : (off_t)bytes,
	                    POSIX_FADV_DONTNEED);
	if (c->opts.bytes_per_second == INT64_MAX)
		return;
	cost = (unsigned __int128)bytes * 1000000000u / (uint64_t)c->opts.bytes_per_second;
	c->due_ns = SL_MAX(c->due_ns, now > CREDIT_NS ? now - CREDIT_NS : 0);
	c->due_ns += (uint64_t)SL_MIN(cost, (unsigned __int128)INT64_MAX / 2);
	sleep_until(c, c->due_ns);
}

/* ---- Turns ---- */

static bool is_waiting(const struct cleaner_port *port)
{
	/* Acquire: pairs with cleaner_submit(). */
	return atomic_load_explicit(&port->in, memory_order_acquire) != NULL;
}

/* The port to serve: that of the cleaning in the middle, else the dirtiest. */
static struct cleaner_port *choose(struct cleaner *c)
{
	struct cleaner_port *best = NULL;

	if (c->current)
		return is_waiting(c->current) ? c->current : NULL;
	for (uint32_t i = 0; i < c->opts.lanes_count; i++) {
		struct cleaner_port *port = &c->ports[i];

		if (is_waiting(port) && (!best || port->dirty_ppm > best->dirty_ppm))
			best = port;
	}
	return best;
}

bool cleaner_turn(struct cleaner *c)
{
	struct cleaner_port *port = choose(c);
	struct sl_clean *clean;

	if (!port)
		return false;
	/* choose() has acquired it, and nobody else takes it. */
	clean = atomic_load_explicit(&port->in, memory_order_relaxed);
	atomic_store_explicit(&port->in, NULL, memory_order_relaxed);
	c->running = clean;
	port->result = sl_clean_run(clean, c->store);
	c->running = NULL;
	c->current = port->result == 1 ? port : NULL;
	/* Release: pairs with cleaner_reap(). */
	atomic_store_explicit(&port->out, clean, memory_order_release);
	worker_wake(port->wake_fd);
	return true;
}

static void *run(void *arg)
{
	struct cleaner *c = arg;
	uint64_t n;

	(void)pthread_setname_np(pthread_self(), "sl-cleaner");
	/* Linux gives each thread priorities of its own. */
	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), CLEANER_NICE);
	(void)syscall(SYS_ioprio_set, 1, 0, CLEANER_IOPRIO);
	while (!atomic_load_explicit(&c->is_stopping, memory_order_relaxed)) {
		if (cleaner_turn(c))
			continue;
		/* Whatever was submitted since has written to it. */
		if (read(c->event_fd, &n, sizeof(n)) < 0 && errno != EINTR) {
			sl_log(ERR, partition, "read eventfd: %s", strerror(errno));
			break;
		}
	}
	return NULL;
}

/* ---- Life ---- */

int cleaner_create(struct cleaner **out, const struct cleaner_opts *o)
{
	struct cleaner *c = calloc(1, sizeof(*c));
	const struct sl_cleaner_opts opts = {
		.files = o->files,
		.map_bytes = o->map_bytes,
		.window_bytes = o->window_bytes,
		.io = on_io,
		.arg = c,
	};
	size_t bytes = SL_ALIGN_UP(o->lanes_count * sizeof(struct cleaner_port), SL_CACHE_LINE);
	int rc;

	SL_ASSERT(o->lanes_count > 0 && o->bytes_per_second > 0);
	if (!c)
		return -ENOMEM;
	c->opts = *o;
	c->event_fd = eventfd(0, EFD_CLOEXEC);
	c->ports = aligned_alloc(SL_CACHE_LINE, bytes);
	if (c->event_fd < 0)
		rc = -errno;
	else
		rc = c->ports ? sl_cleaner_create(&c->store, &opts) : -ENOMEM;
	if (rc != 0) {
		cleaner_destroy(c);
		return rc;
	}
	memset(c->ports, 0, bytes);
	for (uint32_t i = 0; i < o->lanes_count; i++) {
		c->ports[i].wake_fd = -1;
		c->ports[i].event_fd = c->event_fd;
	}
	*out = c;
	return 0;
}

int cleaner_start(struct cleaner *c, const cpu_set_t *cpus)
{
	int rc = worker_start(&c->thread, run, c, cpus);

	c->has_thread = rc == 0;
	return rc;
}

void cleaner_destroy(struct cleaner *c)
{
	if (!c)
		return;
	atomic_store_explicit(&c->is_stopping, true, memory_order_relaxed);
	if (c->has_thread) {
		worker_wake(c->event_fd);
		(void)pthread_join(c->thread, NULL);
	}
	sl_cleaner_destroy(c->store);
	if (c->event_fd >= 0)
		close(c->event_fd);
	free(c->ports);
	free(c);
}

struct cleaner_port *cleaner_port(struct cleaner *c, uint32_t lane)
{
	SL_ASSERT(lane < c->opts.lanes_count);
	return &c->ports[lane];
}

/* ---- The lane's side ---- */

void cleaner_port_open(struct cleaner_port *port, int wake_fd)
{
	port->wake_fd = wake_fd;
}

void cleaner_submit(struct cleaner_port *port, struct sl_clean *clean, uint32_t dirty_ppm)
{
	SL_ASSERT(port->wake_fd >= 0);
	SL_ASSERT(!atomic_load_explicit(&port->in, memory_order_relaxed));
	port->dirty_ppm = dirty_ppm;
	/* Release: pairs with is_waiting(). */
	atomic_store_explicit(&port->in, clean, memory_order_release);
	worker_wake(port->event_fd);
}

struct sl_clean *cleaner_reap(struct cleaner_port *port, int *result)
{
	/* Acquire: pairs with cleaner_turn(). */
	struct sl_clean *clean = atomic_load_explicit(&port->out, memory_order_acquire);

	if (!clean)
		return NULL;
	*result = port->result;
	atomic_store_explicit(&port->out, NULL, memory_order_relaxed);
	return clean;
}
