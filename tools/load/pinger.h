/* SPDX-License-Identifier: Apache-2.0 */
/* Mode connections: many connections that are opened, kept and pinged. */
#ifndef LOAD_PINGER_H
#define LOAD_PINGER_H

#include "worker.h"

/* One worker's share of @count connections, opened at @rate a second (0: flat out) to the cluster's
 * nodes in turn.  @first: number of its first connection.  Return: 0; -ENOMEM. */
int pinger_create(struct pinger **out, struct worker *w, int64_t first, int64_t count,
                  double rate) SL_MUST_CHECK;
void pinger_destroy(struct pinger *p);
/* Opens and pings what is due.  Return: when there is something to do next. */
uint64_t pinger_poll(struct pinger *p, uint64_t now_ns);

#endif
