/* SPDX-License-Identifier: Apache-2.0 */
/* A client of the control socket that runs the server's loop while it waits. */
#ifndef TESTS_CONTROL_RPC_CLIENT_H
#define TESTS_CONTROL_RPC_CLIENT_H

#include <jansson.h>

#include "harness.h"
#include "rpc/rpc.h"

struct rpc_client {
	struct harness *h;
	int fd;
	struct sl_buf in;
};

void rpc_client_open(struct rpc_client *c, struct harness *h, const struct rpc *rpc);
void rpc_client_close(struct rpc_client *c);
/* Sends all of it, running the loop when the socket is full. */
void rpc_client_send(struct rpc_client *c, const void *p, size_t len);
void rpc_client_puts(struct rpc_client *c, const char *text);
/* The next line as JSON; fails the test when none comes. */
json_t *rpc_client_take(struct rpc_client *c);
/* Whether the server ends the connection without another byte. */
bool rpc_client_is_ended(struct rpc_client *c);

/* One call; @params as JSON or NULL.  Result, or error object, of the answer: to be freed. */
json_t *rpc_client_result(struct rpc_client *c, const char *method, const char *params);
json_t *rpc_client_error(struct rpc_client *c, const char *method, const char *params);
/* Whole number and text at a path such as "nodes.0.port"; fail the test when it is not there. */
json_int_t rpc_client_int(json_t *v, const char *path);
const char *rpc_client_str(json_t *v, const char *path);
json_t *rpc_client_at(json_t *v, const char *path);

#endif
