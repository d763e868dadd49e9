/* SPDX-License-Identifier: Apache-2.0 */
/* A small blocking Kafka client for the benchmarks: one connection, raw frames in and out. */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include "sluice/base/arena.h"
#include "sluice/base/buf.h"
#include "sluice/wire/apis.h"

#define CLIENT_HOST_MAX 256

/* One connection. */
struct client {
	int fd;
	int32_t next_id;
	struct sl_buf out; /* the request being built */
	uint8_t *in;       /* Owned; the last response */
	size_t in_cap;
	struct sl_arena arena; /* decoded responses; reset by client_ask() */
};

/* Where a partition is served. */
struct client_place {
	char host[CLIENT_HOST_MAX];
	uint16_t port;
};

/* Return: 0 or -errno. */
int client_open(struct client *c, const char *host, uint16_t port) SL_MUST_CHECK;
void client_close(struct client *c);

/* Starts a request frame in c->out: size and header. */
void client_begin(struct client *c, const struct sl_api *api, int16_t version);
/* Sends what is in c->out.  Return: 0 or -errno. */
int client_send(struct client *c) SL_MUST_CHECK;
/* Sends a frame built earlier.  Return: 0 or -errno. */
int client_send_raw(struct client *c, const void *frame, size_t bytes) SL_MUST_CHECK;
/* Receives one response; @body is what follows the header.  Return: 0; -EBADMSG; -errno. */
int client_receive(struct client *c, const struct sl_api *api, int16_t version,
                   struct sl_cursor *body) SL_MUST_CHECK;

/* Leader of every partition of a topic; @places has room for @max.  Return: count or -errno. */
int client_places(struct client *c, const char *topic, struct client_place *places, int max);
/* Creates a topic.  Return: 0; -EEXIST; -EIO another error of the broker; -errno. */
int client_create_topic(struct client *c, const char *topic, int32_t partitions) SL_MUST_CHECK;

#endif
