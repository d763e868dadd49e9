/* SPDX-License-Identifier: Apache-2.0 */
/* Asks the control process whether the broker serves clients. */
#ifndef LAUNCHER_READY_H
#define LAUNCHER_READY_H

#include <stdbool.h>
#include <sys/types.h>

struct ready_pids {
	pid_t dataplane;
	pid_t control;
};

/**
 * ready_ask() - does the control process behind @socket serve clients with our two children?
 *
 * Whether ports take connections says nothing: another server may hold them.  Waits up to 250 ms
 * for the answer.
 */
bool ready_ask(const char *socket, const struct ready_pids *pids);

#endif
