/* SPDX-License-Identifier: Apache-2.0 */
/* A small blocking Kafka client for what is asked before and between measurements. */
#ifndef LOAD_CLIENT_H
#define LOAD_CLIENT_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "load.h"
#include "sluice/base/arena.h"
#include "sluice/base/buf.h"
#include "sluice/wire/apis.h"

/* Versions of the APIs that both sides know; zeroed: none. */
struct client_versions {
	int16_t max[SL_API_KEY_MAX + 1]; /* -1: none in common */
};

/* One connection. */
struct client {
	int fd; /* -1: none */
	int32_t next_id;
	const char *step; /* what is being asked, for error texts */
	struct sl_buf out;
	uint8_t *in; /* Owned; the last response */
	size_t in_cap;
	struct sl_arena arena; /* decoded response; reset by each */
	struct client_versions versions;
};

/* Address of @host.  Return: 0; -EHOSTUNREACH it cannot be resolved. */
int client_resolve(const char *host, uint16_t port, struct sockaddr_storage *addr,
                   socklen_t *addr_bytes) SL_MUST_CHECK;
/* Connects and negotiates versions.  Every wait is bounded.  The caller calls client_close() also
 * after a failure.  Return: 0; -EPROTO the broker knows too few APIs; -errno. */
int client_open(struct client *c, const struct sockaddr_storage *addr,
                socklen_t addr_bytes) SL_MUST_CHECK;
void client_close(struct client *c);

/* The version to speak for @key; -1 when there is none. */
static inline int16_t client_version(const struct client_versions *v, int16_t key)
{
	return v->max[key];
}

/* Puts the frame size and header of a request into @b, which is empty. */
void client_begin(struct sl_buf *b, int16_t key, int16_t version, int32_t correlation_id);
/* Starts a request of @c in c->out; its version, or -1. */
int16_t client_start(struct client *c, int16_t key);
/* Sends c->out and receives the answer; @body is behind the header.  Return: 0; -EBADMSG; -errno.
 */
int client_ask(struct client *c, int16_t key, struct sl_cursor *body) SL_MUST_CHECK;

#endif
