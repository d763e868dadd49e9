/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small blocking Kafka client: one connection, one request at a time, every wait bounded by the
 * socket's timeouts.  Used by the main thread only, for what is asked before and between
 * measurements.
 */
#include "client.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

#include "sluice/base/file.h"
#include "sluice/wire/api_versions_gen.h"

#define CLIENT_OUT_MAX      ((size_t)16 << 20)
#define CLIENT_IN_MAX       ((size_t)64 << 20)
#define CLIENT_ARENA        ((size_t)256 << 20)
#define CLIENT_WAIT_SECONDS 10

/* The newest version of each API that the load generator speaks.  Above these, topics have ids
 * instead of names in Produce and Fetch, and the others say nothing new to us. */
static const struct {
	int16_t key, min, max;
} spoken[] = {
	{SL_API_PRODUCE, 3, 12},         {SL_API_FETCH, 4, 12},       {SL_API_LIST_OFFSETS, 1, 7},
	{SL_API_METADATA, 1, 9},         {SL_API_API_VERSIONS, 0, 3}, {SL_API_CREATE_TOPICS, 2, 7},
	{SL_API_INIT_PRODUCER_ID, 0, 4},
};

int client_resolve(const char *host, uint16_t port, struct sockaddr_storage *addr,
                   socklen_t *addr_bytes)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *list;
	char text[8];

	snprintf(text, sizeof(text), "%u", port);
	memset(addr, 0, sizeof(*addr));
	if (getaddrinfo(host, text, &hints, &list) != 0)
		return -EHOSTUNREACH;
	/* An IPv4 address where there is one: "localhost" is often ::1 first, where many brokers do
	 * not listen. */
	const struct addrinfo *best = list;

	for (const struct addrinfo *ai = list; ai; ai = ai->ai_next) {
		if (ai->ai_family == AF_INET) {
			best = ai;
			break;
		}
	}
	if (best) {
		memcpy(addr, best->ai_addr, best->ai_addrlen);
		*addr_bytes = best->ai_addrlen;
	}
	freeaddrinfo(list);
	return best ? 0 : -EHOSTUNREACH;
}

void client_begin(struct sl_buf *b, int16_t key, int16_t version, int32_t correlation_id)
{
	struct sl_request_head head = {.api_key = key,
	                               .api_version = version,
	                               .correlation_id = correlation_id,
	                               .client_id = sl_str_from(LOAD_CLIENT_ID)};

	sl_buf_put_be32(b, 0);
	sl_request_head_encode(b, sl_api_find(key), &head);
}

int16_t client_start(struct client *c, int16_t key)
{
	int16_t version = key == SL_API_API_VERSIONS ? 0 : c->versions.max[key];

	sl_buf_reset(&c->out);
	if (version >= 0)
		client_begin(&c->out, key, version, ++c->next_id);
	return version;
}

static int receive_all(int fd, uint8_t *p, size_t bytes)
{
	while (bytes > 0) {
		ssize_t n = recv(fd, p, bytes, 0);

		if (n == 0)
			return -ECONNRESET;
		if (n < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		p += n;
		bytes -= (size_t)n;
	}
	return 0;
}

static int receive(struct client *c, size_t *bytes)
{
	uint8_t size[4];
	int rc = receive_all(c->fd, size, sizeof(size));

	if (rc != 0)
		return rc;
	*bytes = sl_load_be32(size);
	if (*bytes > CLIENT_IN_MAX)
		return -EBADMSG;
	if (*bytes > c->in_cap) {
		uint8_t *p = realloc(c->in, *bytes);

		if (!p)
			return -ENOMEM;
		c->in = p;
		c->in_cap = *bytes;
	}
	return receive_all(c->fd, c->in, *bytes);
}

int client_ask(struct client *c, int16_t key, struct sl_cursor *body)
{
	int16_t version = key == SL_API_API_VERSIONS ? 0 : c->versions.max[key];
	size_t bytes;
	int32_t id;
	int rc;

	if (version < 0)
		return -EPROTO;
	if (!sl_buf_ok(&c->out))
		return -ENOMEM;
	sl_store_be32(c->out.p, (uint32_t)(c->out.len - 4));
	rc = sl_write_all(c->fd, c->out.p, c->out.len);
	if (rc == 0)
		rc = receive(c, &bytes);
	if (rc != 0)
		return rc == -EAGAIN ? -ETIMEDOUT : rc;
	sl_arena_reset(&c->arena);
	*body = sl_cursor_from(c->in, bytes);
	rc = sl_response_head_decode(body, sl_api_find(key), version, &id);
	return rc == 0 && id != c->next_id ? -EBADMSG : rc;
}

/* ApiVersions 0, which every broker since 0.10 answers. */
static int negotiate(struct client *c)
{
	struct sl_api_versions_resp resp;
	struct sl_api_versions_req req;
	struct sl_cursor body;
	int rc;

	for (int k = 0; k <= SL_API_KEY_MAX; k++)
		c->versions.max[k] = -1;
	sl_api_versions_req_init(&req);
	client_start(c, SL_API_API_VERSIONS);
	sl_api_versions_req_encode(&req, &c->out, 0);
	rc = client_ask(c, SL_API_API_VERSIONS, &body);
	if (rc == 0)
		rc = sl_api_versions_resp_decode(&resp, &body, &c->arena, 0);
	if (rc != 0 || resp.error_code != 0)
		return rc != 0 ? rc : -EPROTO;
	for (int32_t i = 0; i < resp.api_keys_count; i++) {
		const struct sl_api_versions_resp_api_key *theirs = &resp.api_keys[i];

		for (size_t k = 0; k < SL_ARRAY_SIZE(spoken); k++) {
			int16_t max = SL_MIN(theirs->max_version, spoken[k].max);

			if (theirs->api_key == spoken[k].key && max >= spoken[k].min &&
			    max >= theirs->min_version)
				c->versions.max[spoken[k].key] = max;
		}
	}
	return c->versions.max[SL_API_METADATA] < 0 ? -EPROTO : 0;
}

int client_open(struct client *c, const struct sockaddr_storage *addr, socklen_t addr_bytes)
{
	struct timeval wait = {.tv_sec = CLIENT_WAIT_SECONDS};
	int one = 1;
	int rc;

	memset(c, 0, sizeof(*c));
	sl_buf_init_grow(&c->out, CLIENT_OUT_MAX);
	c->fd = socket(addr->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return -errno;
	/* The timeout for sending bounds connect() too (socket(7)). */
	(void)setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	(void)setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(c->fd, (const struct sockaddr *)addr, addr_bytes) != 0)
		return errno == EINPROGRESS ? -ETIMEDOUT : -errno;
	rc = sl_arena_create(&c->arena, CLIENT_ARENA);
	return rc != 0 ? rc : negotiate(c);
}

void client_close(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	sl_buf_fini(&c->out);
	sl_arena_destroy(&c->arena);
	free(c->in);
	c->in = NULL;
	c->fd = -1;
}
