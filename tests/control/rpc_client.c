/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc_client.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ROUNDS_MAX 20000

void rpc_client_open(struct rpc_client *c, struct harness *h, const struct rpc *rpc)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};

	*c = (struct rpc_client){.h = h};
	sl_buf_init_grow(&c->in, 256u << 20);
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", rpc_path(rpc));
	c->fd = socket(AF_UNIX, SOCK_STREAM, 0);
	cr_assert_geq(c->fd, 0);
	cr_assert_eq(connect(c->fd, (struct sockaddr *)&sun, sizeof(sun)), 0, "%s",
	             strerror(errno));
	cr_assert_eq(fcntl(c->fd, F_SETFL, O_NONBLOCK), 0);
}

void rpc_client_close(struct rpc_client *c)
{
	close(c->fd);
	sl_buf_fini(&c->in);
	harness_spin(c->h, 5);
}

void rpc_client_send(struct rpc_client *c, const void *p, size_t len)
{
	const char *at = p;

	for (int round = 0; len > 0; round++) {
		ssize_t n = send(c->fd, at, len, MSG_NOSIGNAL);

		cr_assert(n >= 0 || errno == EAGAIN, "%s", strerror(errno));
		cr_assert_lt(round, ROUNDS_MAX, "the server does not read");
		if (n < 0) {
			cr_assert_geq(loop_poll(c->h->loop, 2), 0);
			continue;
		}
		at += n;
		len -= (size_t)n;
	}
}

void rpc_client_puts(struct rpc_client *c, const char *text)
{
	rpc_client_send(c, text, strlen(text));
}

/* Return: bytes; 0 the end; -EAGAIN. */
static ssize_t receive(struct rpc_client *c)
{
	char p[65536];
	ssize_t n = recv(c->fd, p, sizeof(p), 0);

	if (n < 0 && errno == ECONNRESET)
		return 0;
	if (n < 0)
		return -errno;
	sl_buf_put(&c->in, p, (size_t)n);
	cr_assert(sl_buf_ok(&c->in));
	return n;
}

json_t *rpc_client_take(struct rpc_client *c)
{
	json_error_t error;
	uint8_t *end;
	json_t *v;

	for (int round = 0; c->in.len == 0 || !(end = memchr(c->in.p, '\n', c->in.len)); round++) {
		cr_assert_lt(round, ROUNDS_MAX, "no answer");
		cr_assert_geq(loop_poll(c->h->loop, 2), 0);
		cr_assert_neq(receive(c), 0, "the server closed the connection");
	}
	v = json_loadb((char *)c->in.p, (size_t)(end - c->in.p), 0, &error);
	cr_assert(v, "%s", error.text);
	c->in.len -= (size_t)(end + 1 - c->in.p);
	memmove(c->in.p, end + 1, c->in.len);
	return v;
}

bool rpc_client_is_ended(struct rpc_client *c)
{
	ssize_t n = -EAGAIN;

	for (int round = 0; round < 500 && n < 0; round++) {
		cr_assert_geq(loop_poll(c->h->loop, 2), 0);
		n = receive(c);
	}
	return n == 0 && c->in.len == 0;
}

static json_t *call(struct rpc_client *c, const char *method, const char *params, const char *part)
{
	json_t *answer, *v;
	char head[256];

	snprintf(head, sizeof(head), "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"%s\"", method);
	rpc_client_puts(c, head);
	if (params) {
		rpc_client_puts(c, ",\"params\":");
		rpc_client_puts(c, params);
	}
	rpc_client_puts(c, "}\n");
	answer = rpc_client_take(c);
	v = json_object_get(answer, part);
	if (!v)
		(void)json_dumpf(answer, stderr, 0);
	cr_assert(v, "the answer has no %s", part);
	json_incref(v);
	json_decref(answer);
	return v;
}

json_t *rpc_client_result(struct rpc_client *c, const char *method, const char *params)
{
	return call(c, method, params, "result");
}

json_t *rpc_client_error(struct rpc_client *c, const char *method, const char *params)
{
	return call(c, method, params, "error");
}

json_t *rpc_client_at(json_t *v, const char *path)
{
	char key[128];

	while (*path && v) {
		size_t len = strcspn(path, ".");

		cr_assert_lt(len, sizeof(key));
		memcpy(key, path, len);
		key[len] = '\0';
		v = json_is_array(v) ? json_array_get(v, strtoul(key, NULL, 10))
		                     : json_object_get(v, key);
		path += len + (path[len] == '.');
	}
	return v;
}

json_int_t rpc_client_int(json_t *v, const char *path)
{
	json_t *at = rpc_client_at(v, path);

	cr_assert(json_is_integer(at), "no number at %s", path);
	return json_integer_value(at);
}

const char *rpc_client_str(json_t *v, const char *path)
{
	json_t *at = rpc_client_at(v, path);

	cr_assert(json_is_string(at), "no text at %s", path);
	return json_string_value(at);
}
