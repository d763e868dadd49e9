/* SPDX-License-Identifier: Apache-2.0 */
/* The doctor's checks that this process can make by itself: of the machine and its limits. */
#ifndef CONTROL_RPC_CHECKS_H
#define CONTROL_RPC_CHECKS_H

#include <jansson.h>

#include "sluice/base/base.h"

struct control;
struct probe_result;

/* Appends one check.  @cost and @fix: NULL when all is well. */
struct check_text {
	const char *state; /* "ok", "warn", "bad" */
	const char *cause;
	const char *cost;
	const char *fix;
};
void checks_add(json_t **list, const char *name, const struct check_text *text);
/* Hugepages, limits, io_uring, NUMA, clock source. */
void checks_machine(json_t **list, struct control *c);
/* What the disks took. */
void checks_disk(json_t **list, const struct probe_result *r);

#endif
