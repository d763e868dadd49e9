/* SPDX-License-Identifier: Apache-2.0 */
/* Blocking JSON-RPC in lines over a unix socket. */
#include "client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define READ_BYTES 65536
/* The server's largest answer, and its newline. */
#define ANSWER_MAX ((size_t)(64u << 20) + 1)

static const char *const usual_paths[] = {"sluice-data/run/sluice.sock", "/run/sluice/sluice.sock"};

/* ---- Connecting ---- */

/* Return: a descriptor or -errno. */
static int try_path(const char *path)
{
	struct timeval timeout = {.tv_sec = CLIENT_TIMEOUT_S};
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(sun.sun_path))
		return -ENAMETOOLONG;
	memcpy(sun.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0) {
		int rc = -errno;

		close(fd);
		return rc;
	}
	return fd;
}

static const char *hint_for(int rc)
{
	switch (rc) {
	case -ENOENT:
		return "is Sluice running? --socket PATH or SLUICE_SOCKET says where its socket is";
	case -ECONNREFUSED:
		return "the server that made this socket has ended; start it again";
	case -EACCES:
	case -EPERM:
		return "only root and the server's own user may use it";
	default:
		return "look at the server's log";
	}
}

int client_open(struct client *c, const char *path, char error[CLIENT_ERROR_MAX])
{
	const char *env = getenv("SLUICE_SOCKET");
	int rc = -ENOENT;

	*c = (struct client){.fd = -1, .next_id = 1};
	if (!path && env && *env)
		path = env;
	if (path) {
		rc = try_path(path);
		if (rc < 0)
			snprintf(error, CLIENT_ERROR_MAX, "cannot connect to %s: %s; %s", path,
			         strerror(-rc), hint_for(rc));
	}
	for (unsigned i = 0; !path && i < SL_ARRAY_SIZE(usual_paths) && rc == -ENOENT; i++) {
		rc = try_path(usual_paths[i]);
		if (rc < 0 && rc != -ENOENT)
			snprintf(error, CLIENT_ERROR_MAX, "cannot connect to %s: %s; %s",
			         usual_paths[i], strerror(-rc), hint_for(rc));
	}
	if (!path && rc == -ENOENT)
		snprintf(error, CLIENT_ERROR_MAX, "there is neither ./%s nor %s; %s",
		         usual_paths[0], usual_paths[1], hint_for(rc));
	if (rc < 0)
		return rc;
	c->fd = rc;
	return 0;
}

void client_close(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	free(c->in);
	*c = (struct client){.fd = -1};
}

/* ---- Calling ---- */

static int send_all(struct client *c, const char *p, size_t len)
{
	while (len > 0) {
		ssize_t n = send(c->fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int read_more(struct client *c)
{
	ssize_t n;

	if (c->in_cap - c->in_len < READ_BYTES) {
		size_t cap = c->in_cap * 2 + READ_BYTES;
		char *p = cap <= 2 * ANSWER_MAX ? realloc(c->in, cap) : NULL;

		if (!p)
			return -ENOMEM;
		c->in = p;
		c->in_cap = cap;
	}
	do
		n = recv(c->fd, c->in + c->in_len, c->in_cap - c->in_len, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	c->in_len += (size_t)n;
	return n == 0 ? -EPIPE : 0;
}

/* Reads one line as JSON. */
static int read_answer(struct client *c, json_t **out)
{
	size_t scanned = 0;
	char *end;
	int rc;

	for (;;) {
		end = c->in_len > scanned ? memchr(c->in + scanned, '\n', c->in_len - scanned)
		                          : NULL;
		if (end)
			break;
		scanned = c->in_len;
		rc = read_more(c);
		if (rc < 0)
			return rc;
	}
	*out = json_loadb(c->in, (size_t)(end - c->in), 0, NULL);
	c->in_len -= (size_t)(end + 1 - c->in);
	memmove(c->in, end + 1, c->in_len);
	return *out ? 0 : -EPROTO;
}

/* Return: 0, -EREMOTEIO or -EPROTO. */
static int take_result(json_t *answer, int64_t id, json_t **out)
{
	json_t *result = json_object_get(answer, "result");
	json_t *error = json_object_get(answer, "error");
	json_t *answered = json_object_get(answer, "id");

	if (json_is_object(error) && json_is_string(json_object_get(error, "message")) &&
	    (json_is_null(answered) || json_integer_value(answered) == id)) {
		*out = json_incref(error);
		return -EREMOTEIO;
	}
	if (!result || json_integer_value(answered) != id)
		return -EPROTO;
	*out = json_incref(result);
	return 0;
}

static int exchange(struct client *c, json_t *request, int64_t id, json_t **out)
{
	char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
	json_t *answer = NULL;
	int rc;

	if (!text)
		return -ENOMEM;
	rc = send_all(c, text, strlen(text));
	free(text);
	if (rc == 0)
		rc = send_all(c, "\n", 1);
	if (rc == 0)
		rc = read_answer(c, &answer);
	if (rc < 0)
		return rc;
	rc = take_result(answer, id, out);
	json_decref(answer);
	return rc;
}

int client_call(struct client *c, const char *method, json_t *params, json_t **out,
                char error[CLIENT_ERROR_MAX])
{
	int64_t id = c->next_id++;
	json_t *request = json_pack("{s:s, s:I, s:s, s:o*}", "jsonrpc", "2.0", "id", (json_int_t)id,
	                            "method", method, "params", params);
	int rc = exchange(c, request, id, out);

	json_decref(request);
	switch (rc) {
	case 0:
	case -EREMOTEIO:
		break;
	case -EPROTO:
		snprintf(error, CLIENT_ERROR_MAX,
		         "the answer is not one of Sluice's control socket");
		break;
	case -ETIMEDOUT:
		snprintf(error, CLIENT_ERROR_MAX, "no answer within %d s", CLIENT_TIMEOUT_S);
		break;
	case -EPIPE:
	case -ECONNRESET:
		snprintf(error, CLIENT_ERROR_MAX,
		         "the server closed the connection: too many clients, another user, or it "
		         "stopped");
		break;
	default:
		snprintf(error, CLIENT_ERROR_MAX, "%s: %s", method, strerror(-rc));
		break;
	}
	return rc;
}
