/* SPDX-License-Identifier: Apache-2.0 */
/* Connection to a NATS server: see nats.h.  Owned by one thread; every wait has a limit. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peers/nats.h"
#include "sluice/base/clock.h"

#define ANSWER_MS    10000
#define SUBJECT_MAX  256
#define OVERHEAD_MAX (2 * SUBJECT_MAX + 32) /* of PUB beside its body */

int nats_flush(struct nats_conn *c)
{
	while (c->out_at < c->out_len) {
		ssize_t n = send(c->fd, c->out + c->out_at, c->out_len - c->out_at, MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		c->out_at += (size_t)n;
	}
	c->out_at = c->out_len = 0;
	return 0;
}

uint8_t *nats_room(struct nats_conn *c, size_t bytes)
{
	if (c->out_len + bytes > NATS_OUT_BYTES && nats_flush(c) != 0)
		return NULL;
	return c->out_len + bytes <= NATS_OUT_BYTES ? c->out + c->out_len : NULL;
}

bool nats_publish(struct nats_conn *c, const char *subject, const char *reply, struct sl_str body)
{
	uint8_t *p = nats_room(c, OVERHEAD_MAX + (size_t)body.len);
	int n;

	if (!p)
		return false;
	n = snprintf((char *)p, OVERHEAD_MAX, "PUB %s %s %d\r\n", subject, reply, body.len);
	if (n < 0 || n >= OVERHEAD_MAX)
		return false;
	memcpy(p + n, body.p, (size_t)body.len);
	memcpy(p + n + body.len, "\r\n", 2);
	c->out_len += (size_t)n + (size_t)body.len + 2;
	return true;
}

/* "MSG subject sid [reply] bytes" or "HMSG subject sid [reply] head_bytes bytes": the last number,
 * the one before it, and the subject.  Return: 0 or -EBADMSG. */
static int parse_head(const char *line, struct sl_str *subject, size_t *head_bytes, size_t *bytes)
{
	char words[6][SUBJECT_MAX];
	int count = sscanf(line, "%255s %255s %255s %255s %255s %255s", words[0], words[1],
	                   words[2], words[3], words[4], words[5]);
	const bool has_head = line[0] == 'H';
	const char *start = strchr(line, ' ');

	if (count < (has_head ? 5 : 4) || !start)
		return -EBADMSG;
	*subject = (struct sl_str){start + 1, (int32_t)strlen(words[1])};
	*bytes = strtoul(words[count - 1], NULL, 10);
	*head_bytes = has_head ? strtoul(words[count - 2], NULL, 10) : 0;
	return *head_bytes <= *bytes && *bytes + OVERHEAD_MAX < NATS_IN_BYTES ? 0 : -EBADMSG;
}

/* One operation at @p.  Return: its bytes; 0 it is not complete; -errno. */
static ssize_t take_one(struct nats_conn *c, uint8_t *p, size_t left)
{
	uint8_t *end = memchr(p, '\n', left);
	size_t line, head_bytes, bytes;
	struct sl_str subject;
	int status = 0;
	int rc;

	if (!end)
		return left > NATS_IN_BYTES / 2 ? -EBADMSG : 0;
	line = (size_t)(end - p) + 1;
	if (memcmp(p, "-ERR", 4) == 0)
		return -EPROTO;
	if (line >= 6 && memcmp(p, "PING\r\n", 6) == 0) {
		uint8_t *room = nats_room(c, 6);

		if (!room)
			return 0;
		memcpy(room, "PONG\r\n", 6);
		c->out_len += 6;
	}
	if (p[0] != 'M' && p[0] != 'H')
		return (ssize_t)line;
	*end = '\0'; /* for sscanf; put back, since the message may have to be parsed again */
	rc = parse_head((char *)p, &subject, &head_bytes, &bytes);
	*end = '\n';
	if (rc != 0)
		return rc;
	if (left < line + bytes + 2)
		return 0;
	if (head_bytes > 12 && head_bytes == bytes)
		status = (int)strtol((char *)p + line + sizeof("NATS/1.0"), NULL, 10);
	rc = c->on_message ? c->on_message(c, subject,
	                                   (struct sl_str){(char *)p + line + head_bytes,
	                                                   (int32_t)(bytes - head_bytes)},
	                                   status)
	                   : 0;
	return rc < 0 ? rc : (ssize_t)(line + bytes + 2);
}

int nats_receive(struct nats_conn *c)
{
	ssize_t n = recv(c->fd, c->in + c->in_len, NATS_IN_BYTES - c->in_len, 0);
	size_t at = 0;

	if (n == 0)
		return -ECONNRESET;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	c->in_len += (size_t)n;
	while (at < c->in_len) {
		ssize_t took = take_one(c, c->in + at, c->in_len - at);

		if (took < 0)
			return (int)took;
		if (took == 0)
			break;
		at += (size_t)took;
	}
	memmove(c->in, c->in + at, c->in_len - at);
	c->in_len -= at;
	return nats_flush(c);
}

int nats_open(struct nats_conn *c, uint16_t port, const char *inbox)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
	                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	                         .sin_port = htons(port)};
	int one = 1;
	int n;

	memset(c, 0, sizeof(*c));
	c->out = malloc(NATS_OUT_BYTES);
	c->in = malloc(NATS_IN_BYTES);
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (!c->out || !c->in || c->fd < 0)
		return -ENOMEM;
	if (connect(c->fd, (struct sockaddr *)&in, sizeof(in)) != 0 ||
	    fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0)
		return -errno;
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	n = snprintf((char *)c->out, NATS_OUT_BYTES,
	             "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,"
	             "\"no_responders\":true,\"protocol\":1}\r\nSUB %s.> 1\r\n",
	             inbox);
	c->out_len = (size_t)n;
	return nats_flush(c);
}

void nats_close(struct nats_conn *c)
{
	if (c->fd >= 0)
		close(c->fd);
	free(c->out);
	free(c->in);
	*c = (struct nats_conn){.fd = -1};
}

struct answer {
	char *text;
	size_t bytes;
	bool is_there;
};

static int keep_answer(struct nats_conn *c, struct sl_str subject, struct sl_str body, int status)
{
	struct answer *a = c->arg;

	(void)subject;
	if (status != 0)
		return -EPROTO;
	snprintf(a->text, a->bytes, "%.*s", SL_STR_ARG(body));
	a->is_there = true;
	return 0;
}

int nats_request(struct nats_conn *c, const char *inbox, const char *subject, const char *body,
                 char *answer, size_t answer_bytes)
{
	const uint64_t end_ns = sl_mono_ns() + (uint64_t)ANSWER_MS * 1000000;
	struct answer a = {.text = answer, .bytes = answer_bytes};
	nats_message_fn *on_message = c->on_message;
	void *arg = c->arg;
	char reply[SUBJECT_MAX];
	int rc;

	snprintf(reply, sizeof(reply), "%s.request", inbox);
	c->on_message = keep_answer;
	c->arg = &a;
	rc = nats_publish(c, subject, reply, sl_str_from(body)) ? nats_flush(c) : -ENOSPC;
	while (rc == 0 && !a.is_there) {
		struct pollfd p = {.fd = c->fd, .events = POLLIN};

		if (sl_mono_ns() >= end_ns)
			rc = -ETIMEDOUT;
		else if (poll(&p, 1, 100) > 0)
			rc = nats_receive(c);
	}
	c->on_message = on_message;
	c->arg = arg;
	return rc;
}
