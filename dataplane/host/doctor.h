/* SPDX-License-Identifier: Apache-2.0 */
/* What on this machine makes the data plane slower or weaker than it could be. */
#ifndef DATAPLANE_HOST_DOCTOR_H
#define DATAPLANE_HOST_DOCTOR_H

#include <jansson.h>

struct host;

/* {"checks": [{"name", "state": "ok"|"warn"|"fail", "cause", "fix"}]}; NULL: no memory. */
json_t *doctor_describe(const struct host *host);

#endif
