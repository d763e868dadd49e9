/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP port: /metrics for Prometheus, /healthz and /readyz for supervisors. */
#ifndef CONTROL_HTTP_HTTP_H
#define CONTROL_HTTP_HTTP_H

#include <stdio.h>

#include "sluice/base/base.h"

#define HTTP_CONNECTIONS_MAX 64
#define HTTP_TIMEOUT_S       30
#define HTTP_ERROR_MAX       256

struct control;
struct http;

/**
 * http_create() - serve on @listen
 * @listen: "host:port" or "[IPv6]:port"; NULL: http.listen; "": nothing is served, *out is NULL
 *
 * Return: 0; -EINVAL @listen has another form or names no address; -EADDRINUSE; -errno; -ENOMEM.
 */
int http_create(struct http **out, struct control *c, const char *listen) SL_MUST_CHECK;
/* Before control_destroy().  No-op on NULL. */
void http_destroy(struct http *h);
/* Port it listens on (of interest when @listen had port 0). */
uint16_t http_port(const struct http *h);

/* Writes Documentation/admin-guide/metrics.md's text to @file.  Return: 0; -ENOMEM. */
int http_print_markdown(FILE *file) SL_MUST_CHECK;

#endif
