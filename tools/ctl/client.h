/* SPDX-License-Identifier: Apache-2.0 */
/* One connection to the control socket: calls, one after the other. */
#ifndef CTL_CLIENT_H
#define CTL_CLIENT_H

#include <jansson.h>

#include "sluice/base/base.h"

/* A doctor or a large list may take a while; longer than this is a hang. */
#define CLIENT_TIMEOUT_S 60
#define CLIENT_ERROR_MAX 1024

struct client {
	int fd;
	int64_t next_id;
	char *in; /* Owned: bytes read and not yet used */
	size_t in_len;
	size_t in_cap;
};

/**
 * client_open() - connect
 * @path: NULL: $SLUICE_SOCKET, else the first that is there of ./sluice-data/run/sluice.sock and
 * /run/sluice/sluice.sock
 * @error: on failure what was tried, why it failed and what to do
 * Return: 0; -errno.
 */
int client_open(struct client *c, const char *path, char error[CLIENT_ERROR_MAX]) SL_MUST_CHECK;
void client_close(struct client *c);

/**
 * client_call() - call @method
 * @params: taken; may be NULL
 * @out: on success the result, on -EREMOTEIO the error object; Ownership: the caller's
 * @error: on any other failure why
 * Return: 0; -EREMOTEIO the server answered with an error; -EPROTO it answered with something else;
 * -ETIMEDOUT; -EPIPE it closed the connection; -errno.
 */
int client_call(struct client *c, const char *method, json_t *params, json_t **out,
                char error[CLIENT_ERROR_MAX]) SL_MUST_CHECK;

#endif
