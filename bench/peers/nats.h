/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection to a NATS server: operations out through a buffer, messages in through a callback.
 * The protocol is that of docs.nats.io, "NATS Client Protocol".
 */
#ifndef BENCH_PEERS_NATS_H
#define BENCH_PEERS_NATS_H

#include "sluice/base/base.h"

#define NATS_OUT_BYTES ((size_t)256 << 10)
#define NATS_IN_BYTES  ((size_t)4 << 20)

struct nats_conn;

/* A message: subject and body borrow the buffer.  @status: of a message that has only headers, such
 * as 404 or 408; else 0.  Return: 0 or -errno, which ends nats_receive(). */
typedef int nats_message_fn(struct nats_conn *c, struct sl_str subject, struct sl_str body,
                            int status);

struct nats_conn {
	int fd;
	uint8_t *out; /* Owned; NATS_OUT_BYTES */
	size_t out_len, out_at;
	uint8_t *in; /* Owned; NATS_IN_BYTES */
	size_t in_len;
	nats_message_fn *on_message;
	void *arg;
};

/* Connects to 127.0.0.1, says hello and subscribes to "<inbox>.>".  Nonblocking afterwards.
 * Return: 0 or -errno. */
int nats_open(struct nats_conn *c, uint16_t port, const char *inbox) SL_MUST_CHECK;
void nats_close(struct nats_conn *c);
/* Room for @bytes in the buffer, sending what is in it when there is none.  Return: NULL: not now.
 */
uint8_t *nats_room(struct nats_conn *c, size_t bytes);
/* Appends "PUB subject reply len\r\nbody\r\n".  Return: whether it fitted. */
bool nats_publish(struct nats_conn *c, const char *subject, const char *reply, struct sl_str body);
/* Sends what the socket takes.  Return: 0 or -errno. */
int nats_flush(struct nats_conn *c) SL_MUST_CHECK;
/* Receives once and hands on every complete message.  Return: 0 or -errno. */
int nats_receive(struct nats_conn *c) SL_MUST_CHECK;
/* A request and its one answer, with a wait of at most 10 s; on_message must not be needed
 * meanwhile.
 * @answer: copied, cut to @answer_bytes.  Return: 0; -ETIMEDOUT; -errno. */
int nats_request(struct nats_conn *c, const char *inbox, const char *subject, const char *body,
                 char *answer, size_t answer_bytes) SL_MUST_CHECK;

#endif
