/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: JSON-RPC 2.0 in lines over a unix stream socket, for sluicectl and programs
 * of the operator.  Only root and the user the server runs as get in.
 */
#ifndef CONTROL_RPC_RPC_H
#define CONTROL_RPC_RPC_H

#include <stdio.h>

#include "sluice/base/base.h"

#define RPC_CLIENTS_MAX 64
/* Longest line, without its newline. */
#define RPC_REQUEST_MAX (UINT32_C(1) << 20)
/* Largest answer, and most that waits for a client that does not read. */
#define RPC_ANSWER_MAX  (UINT32_C(64) << 20)
/* Calls of one client that are being answered; further lines wait. */
#define RPC_CALLS_MAX   32
/* Calls in one batch. */
#define RPC_BATCH_MAX   64
/* Answers waiting for a client above which no further line of it is looked at. */
#define RPC_OUT_PAUSE   (UINT32_C(1) << 20)

_Static_assert(RPC_BATCH_MAX >= RPC_CALLS_MAX, "a batch may be the whole of what is running");
_Static_assert(RPC_OUT_PAUSE < RPC_ANSWER_MAX, "reading stops before the client is dropped");

struct control;
struct rpc;

/**
 * rpc_create() - listen on @path
 * @path: NULL or "": control.socket, or <data>/run/sluice.sock; an old socket there is replaced
 * The folder is made with mode 0700 when it is not there; the socket has mode 0600.
 *
 * Return: 0; -EADDRINUSE another process listens there; -EPERM others may write to the folder;
 * -EEXIST @path is not a socket; -ENAMETOOLONG; -errno; -ENOMEM.
 */
int rpc_create(struct rpc **out, struct control *c, const char *path) SL_MUST_CHECK;
/* Before control_destroy().  Calls that still wait for something end later by themselves.  No-op on
 * NULL. */
void rpc_destroy(struct rpc *rpc);
/* Where it listens. */
const char *rpc_path(const struct rpc *rpc);

/* Writes Documentation/admin-guide/control-socket.md's text to @file. */
void rpc_print_markdown(FILE *file);

#endif
