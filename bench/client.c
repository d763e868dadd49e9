/* SPDX-License-Identifier: Apache-2.0 */
/* Blocking client: frames built with the product's own codec, so that it costs little itself. */
#include "client.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sluice/base/file.h"
#include "sluice/wire/create_topics_gen.h"
#include "sluice/wire/kerr.h"
#include "sluice/wire/metadata_gen.h"

#define CLIENT_OUT_MAX          ((size_t)128 << 20)
#define CLIENT_IN_MAX           ((size_t)256 << 20)
#define CLIENT_ARENA            ((size_t)16 << 20)
#define CLIENT_METADATA_VERSION 12
#define CLIENT_CREATE_VERSION   5

int client_open(struct client *c, const char *host, uint16_t port)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *list;
	char text[8];
	int one = 1;

	memset(c, 0, sizeof(*c));
	c->fd = -1;
	snprintf(text, sizeof(text), "%u", port);
	if (getaddrinfo(host, text, &hints, &list) != 0)
		return -EHOSTUNREACH;
	for (const struct addrinfo *ai = list; ai && c->fd < 0; ai = ai->ai_next) {
		c->fd = socket(ai->ai_family, ai->ai_socktype, ai->ai_protocol);
		if (c->fd >= 0 && connect(c->fd, ai->ai_addr, ai->ai_addrlen) != 0) {
			close(c->fd);
			c->fd = -1;
		}
	}
	freeaddrinfo(list);
	if (c->fd < 0)
		return -ECONNREFUSED;
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	sl_buf_init_grow(&c->out, CLIENT_OUT_MAX);
	return sl_arena_create(&c->arena, CLIENT_ARENA);
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

void client_begin(struct client *c, const struct sl_api *api, int16_t version)
{
	struct sl_request_head head = {.api_key = api->key,
	                               .api_version = version,
	                               .correlation_id = c->next_id++,
	                               .client_id = sl_str_from("sluice-bench")};

	sl_buf_reset(&c->out);
	sl_buf_put_be32(&c->out, 0);
	sl_request_head_encode(&c->out, api, &head);
}

int client_send_raw(struct client *c, const void *frame, size_t bytes)
{
	return sl_write_all(c->fd, frame, bytes);
}

int client_send(struct client *c)
{
	if (!sl_buf_ok(&c->out))
		return -ENOMEM;
	sl_store_be32(c->out.p, (uint32_t)(c->out.len - 4));
	return client_send_raw(c, c->out.p, c->out.len);
}

static int receive_all(int fd, uint8_t *p, size_t bytes)
{
	while (bytes > 0) {
		ssize_t n = recv(fd, p, bytes, 0);

		if (n == 0)
			return -ECONNRESET;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		bytes -= (size_t)n;
	}
	return 0;
}

int client_receive(struct client *c, const struct sl_api *api, int16_t version,
                   struct sl_cursor *body)
{
	uint8_t size[4];
	int32_t id;
	int rc = receive_all(c->fd, size, sizeof(size));
	size_t bytes = sl_load_be32(size);

	if (rc != 0)
		return rc;
	if (bytes > CLIENT_IN_MAX)
		return -EBADMSG;
	if (bytes > c->in_cap) {
		uint8_t *p = realloc(c->in, bytes);

		if (!p)
			return -ENOMEM;
		c->in = p;
		c->in_cap = bytes;
	}
	rc = receive_all(c->fd, c->in, bytes);
	if (rc != 0)
		return rc;
	sl_arena_reset(&c->arena);
	*body = sl_cursor_from(c->in, bytes);
	return sl_response_head_decode(body, api, version, &id);
}

static int ask(struct client *c, const struct sl_api *api, int16_t version, struct sl_cursor *body)
{
	int rc = client_send(c);

	return rc != 0 ? rc : client_receive(c, api, version, body);
}

static const struct sl_metadata_resp_broker *find_broker(const struct sl_metadata_resp *m,
                                                         int32_t id)
{
	for (int32_t i = 0; i < m->brokers_count; i++)
		if (m->brokers[i].node_id == id)
			return &m->brokers[i];
	return NULL;
}

static int fill_places(const struct sl_metadata_resp *m, struct client_place *places, int max)
{
	const struct sl_metadata_resp_topic *t = &m->topics[0];

	if (m->topics_count != 1 || t->error_code != SL_KERR_NONE)
		return -ENOENT;
	for (int32_t i = 0; i < t->partitions_count && i < max; i++) {
		const struct sl_metadata_resp_broker *b = find_broker(m,
		                                                      t->partitions[i].leader_id);
		int32_t at = t->partitions[i].partition_index;

		if (!b || at < 0 || at >= max || b->host.len >= CLIENT_HOST_MAX)
			return -EBADMSG;
		snprintf(places[at].host, CLIENT_HOST_MAX, "%.*s", SL_STR_ARG(b->host));
		places[at].port = (uint16_t)b->port;
	}
	return SL_MIN(t->partitions_count, max);
}

int client_places(struct client *c, const char *topic, struct client_place *places, int max)
{
	const struct sl_api *api = sl_api_find(SL_API_METADATA);
	struct sl_metadata_req_topic t;
	struct sl_metadata_req req;
	struct sl_metadata_resp resp;
	struct sl_cursor body;
	int rc;

	sl_metadata_req_init(&req);
	sl_metadata_req_topic_init(&t);
	t.name = sl_str_from(topic);
	req.topics = &t;
	req.topics_count = 1;
	req.allow_auto_topic_creation = false;
	client_begin(c, api, CLIENT_METADATA_VERSION);
	sl_metadata_req_encode(&req, &c->out, CLIENT_METADATA_VERSION);
	rc = ask(c, api, CLIENT_METADATA_VERSION, &body);
	if (rc == 0)
		rc = sl_metadata_resp_decode(&resp, &body, &c->arena, CLIENT_METADATA_VERSION);
	return rc != 0 ? rc : fill_places(&resp, places, max);
}

int client_create_topic(struct client *c, const char *topic, int32_t partitions)
{
	const struct sl_api *api = sl_api_find(SL_API_CREATE_TOPICS);
	struct sl_create_topics_req_topic t;
	struct sl_create_topics_req req;
	struct sl_create_topics_resp resp;
	struct sl_cursor body;
	int rc;

	sl_create_topics_req_init(&req);
	sl_create_topics_req_topic_init(&t);
	t.name = sl_str_from(topic);
	t.num_partitions = partitions;
	t.replication_factor = -1;
	req.topics = &t;
	req.topics_count = 1;
	req.timeout_ms = 30000;
	client_begin(c, api, CLIENT_CREATE_VERSION);
	sl_create_topics_req_encode(&req, &c->out, CLIENT_CREATE_VERSION);
	rc = ask(c, api, CLIENT_CREATE_VERSION, &body);
	if (rc == 0)
		rc = sl_create_topics_resp_decode(&resp, &body, &c->arena, CLIENT_CREATE_VERSION);
	if (rc != 0)
		return rc;
	if (resp.topics_count != 1)
		return -EBADMSG;
	if (resp.topics[0].error_code == SL_KERR_TOPIC_ALREADY_EXISTS)
		return -EEXIST;
	return resp.topics[0].error_code == SL_KERR_NONE ? 0 : -EIO;
}
