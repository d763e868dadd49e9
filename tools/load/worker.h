/* SPDX-License-Identifier: Apache-2.0 */
/* One thread of the load: an epoll loop over the connections that are its own. */
#ifndef LOAD_WORKER_H
#define LOAD_WORKER_H

#include "conn.h"
#include "content.h"
#include "result.h"
#include "run.h"
#include "schedule.h"
#include "sluice/base/list.h"

struct producer;
struct consumer;
struct pinger;
struct stream;

/* A second's worth of counts for --progress. */
struct worker_interval {
	_Atomic uint32_t wanted; /* by the main thread; release/acquire with done */
	_Atomic uint32_t done;   /* by the worker, after it wrote copy */
	struct result copy;
};

struct worker {
	struct run *run;
	int index;
	int epoll_fd;
	pthread_t thread;
	struct content content;
	struct schedule schedule;
	uint64_t due;                /* records of the schedule handed to streams */
	uint64_t lingered;           /* records that have waited long enough */
	uint64_t budget;             /* records that may still be begun, flat out */
	struct producer **producers; /* Owned */
	int producers_count, producers_cap;
	struct consumer **consumers; /* Owned */
	int consumers_count, consumers_cap;
	struct stream **streams; /* Owned; of the producers, in the order of the schedule */
	int streams_count, streams_cap;
	struct pinger *pinger; /* Owned; mode connections */
	struct sl_list free_requests;
	struct sl_codec_ctx *codec; /* Owned; consumers that verify */
	struct sl_arena arena;      /* decompressed records */
	bool has_drained;
	_Atomic bool is_done; /* relaxed; for the main thread to look at */
	struct result total;
	struct result interval;
	struct worker_interval shared;
} SL_CACHE_ALIGNED;

/* Return: 0; -errno. */
int worker_init(struct worker *w, struct run *run, int index) SL_MUST_CHECK;
void worker_fini(struct worker *w);
/* The thread; runs until the time is up, the records are done or the run is stopped. */
void *worker_main(void *arg);
/* Appends @item to an array of pointers.  Return: 0; -ENOMEM. */
int worker_append(void *array, int *count, int *cap, void *item) SL_MUST_CHECK;

/* Counts an answer at @now_ns, if that is in the measured time. */
void worker_count(struct worker *w, uint64_t requests, uint64_t records, uint64_t bytes,
                  uint64_t now_ns);
/* Nothing new may be asked of the broker. */
static inline bool worker_is_over(const struct worker *w, uint64_t now_ns)
{
	/* The consumers of e2e go on until they have what was written. */
	return w->run->opts->mode != LOAD_E2E &&
	       (now_ns >= w->run->end_ns || run_is_stopping(w->run));
}
void worker_latency(struct worker *w, uint64_t latency_ns);
void worker_error(struct worker *w);

#endif
