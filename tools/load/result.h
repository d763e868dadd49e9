/* SPDX-License-Identifier: Apache-2.0 */
/* What was measured, and how it is printed. */
#ifndef LOAD_RESULT_H
#define LOAD_RESULT_H

#include <sys/resource.h>

#include "options.h"
#include "sluice/base/buf.h"
#include "sluice/base/hist.h"
#include "verify.h"

/* Zeroed memory is a valid empty result. */
struct result {
	uint64_t requests; /* in the measured time, as records and bytes */
	uint64_t records;
	uint64_t bytes;  /* of record batches, as on the wire */
	uint64_t errors; /* of the whole run, as all below: error codes and lost connections */
	uint64_t retries;
	uint64_t opened;    /* connections */
	uint64_t failed;    /* could not be opened */
	uint64_t last_ns;   /* when the last counted answer came */
	uint64_t opened_ns; /* when the last connection stood */
	struct verify_counts verify;
	struct sl_hist latency_ns;
	struct sl_hist connect_ns;
};

void result_merge(struct result *into, const struct result *from);

/* Beside the sum of all threads. */
struct result_frame {
	const struct options *opts;
	int64_t connections; /* as used */
	int64_t partitions;
	double seconds;                  /* measured */
	double cpu_user_s, cpu_system_s; /* of this process in the measured time */
	double connects_s;               /* connections opened a second */
};

double result_cpu_s(const struct timeval *from, const struct timeval *to);
/* One JSON object and a newline. */
void result_json(struct sl_buf *b, const struct result *r, const struct result_frame *f);
void result_table(struct sl_buf *b, const struct result *r, const struct result_frame *f);
/* One line about an interval of @seconds. */
void result_progress(struct sl_buf *b, const struct result *interval, double seconds,
                     double since_start_s);
/* Whether --verify found something. */
bool result_is_violated(const struct result *r);

#endif
