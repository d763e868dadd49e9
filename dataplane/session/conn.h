/* SPDX-License-Identifier: Apache-2.0 */
/* Private to session/: one connection, and what session.c and stream.c call of each other. */
#ifndef DATAPLANE_SESSION_CONN_H
#define DATAPLANE_SESSION_CONN_H

#include "net/pace.h"
#include "request/landing.h"
#include "session/session.h"

#define CONN_EPOLL_TAG \
	(UINT64_C(1) << 32) /* in epoll_event.data.u64: a connection; low half its number */

/* Legal states: io.fd < 0 free (in free_conns); else open and in sessions.idle. */
struct conn {
	struct net_io io;
	uint32_t index;
	uint32_t gen;              /* rises with every use of this slot */
	struct sl_list ready_link; /* sessions.ready: can go on; or sessions.free_conns */
	struct sl_list idle_link;  /* sessions.idle: by active_ms */
	struct sl_list
		frame_link; /* sessions.frames: a frame has begun to arrive, by frame_started_ms */
	struct sl_list cold_link;    /* sessions.cold: what it is to be sent comes from the disk */
	int64_t cold_ms;             /* when to look whether it has come */
	struct sl_list starved_link; /* sessions.starved[]: readied by relief, or any event */
	bool is_readable;            /* edge-triggered: nothing says so twice */
	bool is_writable;
	bool is_hup; /* the peer has shut down its side; data may still be unread */
	bool is_eof; /* and all of it was read */
	/* Receive buffer: a pool block, or NULL while there is nothing in it. */
	uint8_t *rx; /* Owned */
	size_t rx_cap, rx_head, rx_tail;
	size_t rx_hint; /* size the last frames needed */
	/* The records of the frame at the head of the buffer, which has the rest of it
	 * (@is_landing), or of @holder. */
	struct landing landing;
	bool is_landing;
	bool is_staged;     /* the frame at the head does not land: it was looked at */
	bool is_head_first; /* the last large one did: the next is looked at before it is received
	                     */
	/* Requests in order of arrival.  @holder is the one whose frame lies in the buffer while it
	 * is parked or waits: until it is done nothing is read or parsed (Kafka mutes the channel).
	 */
	struct sl_list requests;
	uint32_t requests_count;
	struct request *holder;
	uint64_t next_seq;
	struct sl_list tx; /* struct reply.link */
	size_t tx_bytes;   /* wire bytes put on tx since it was last empty */
	int64_t active_ms, frame_started_ms, connected_ms;
	uint64_t requests_total;
	uint8_t peer[16];
	uint16_t peer_port, local_port;
};

/* From this size on the call that receives the head of a frame by itself costs less than the copy
 * of its records. */
#define CONN_HEAD_FIRST_BYTES ((size_t)48 << 10)
#define CONN_LAND_RX_BYTES    ((size_t)4096) /* buffer for heads and trailers of such frames */
#define CONN_LAND_AHEAD_BYTES ((size_t)512)  /* of the next frame, received along with one */

struct sessions {
	struct ctx *ctx;
	int epoll_fd;
	bool is_draining;
	char pacing[PACE_NAME_MAX]; /* of pace_system() */
	struct conn *conns;         /* Owned */
	uint32_t conns_max;
	struct request *requests; /* Owned */
	uint32_t requests_max;
	struct sl_list free_conns, free_requests;
	struct sl_list ready, idle, frames, cold;
	struct sl_list starved[CTX_LACK_NR]; /* struct conn.starved_link */
	uint64_t relief[CTX_LACK_NR];        /* ctx_relief() when they were last let go */
	int64_t relief_ms;                   /* when those who wait for the tier look anyway */
	int64_t sweep_ms;                    /* next look at time-outs */
	uint32_t frame_bytes_max; /* request_bytes_max, or what fits below receive_bytes_max */
};

/* Counts @why (SL_STAT_NR: counted already) and frees everything the connection has. */
void conn_close(struct sessions *s, struct conn *c, enum sl_stat why);
/* Queues it for conn_serve(). */
void conn_ready(struct sessions *s, struct conn *c);
/* Its send goes on in a millisecond: nothing tells when the disk has answered. */
void conn_cold(struct sessions *s, struct conn *c);
/* It can go on when some of @lack came back: that readies it. */
void conn_starve(struct sessions *s, struct conn *c, enum ctx_lack lack);
/* It did something: moves to the end of sessions.idle. */
void conn_active(struct sessions *s, struct conn *c);
/* Sends, reads and runs what can be, within one turn's limits. */
void conn_serve(struct sessions *s, struct conn *c);
/* Whether a request that begins with @frame may start now. */
bool conn_may_start(const struct sessions *s, const struct conn *c, const uint8_t *frame);

/* ---- land.c: frames whose records are received into the log ---- */

/* Decides about the incomplete frame of @frame_bytes at the head of the buffer, if what is there
 * tells, and begins its landing.  Return: 0; -EAGAIN the connection was starved. */
int conn_land(struct sessions *s, struct conn *c, size_t frame_bytes);
/* Whether the frame at the head, if it is incomplete, may yet land. */
bool conn_may_land(const struct conn *c);
/* How much should be received behind rx_tail, which has room for @room. */
size_t conn_land_room(const struct conn *c, size_t room, size_t frame_left);
/* Receives into the log and, behind it, @room bytes into the buffer.  Return: bytes received or
 * -errno; *asked: how many were asked for. */
ssize_t conn_land_recv(struct conn *c, size_t room, size_t most, size_t *asked);

/* Runs one request (again) and acts on the result. */
void conn_run(struct sessions *s, struct conn *c, struct request *req);
/* A parked request is done. */
void conn_finished(struct sessions *s, struct conn *c, struct request *req);
void conn_free_request(struct sessions *s, struct request *req);

#endif
