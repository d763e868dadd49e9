/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attachment.  The control process speaks first, since what it holds decides what it is answered.
 * The rings stay mapped until every lane has said that it does not use its channel any more; until
 * then a new control process waits in the listen queue.
 */
#include "attach.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sluice/base/assert.h"
#include "sluice/base/log.h"

#define MESSAGES_PER_POLL 64
#define QUEUE_BYTES_MAX   ((size_t)64 << 20)

/* X(name) */
#define ATTACH_STATES(X)                                                                       \
	X(NONE)    /* nobody; the next connection moves it on */                               \
	X(HEARING) /* somebody has connected; its hello, its end or another one moves it on */ \
	X(UP)      /* lanes have, or are about to get, their channels; the peer's end moves it \
	              on */                                                                    \
	X(CLOSING) /* lanes are giving their channels back; moved on when all have */

#define ATTACH_STATE_ENUM_(s) ATTACH_##s,
enum attach_state {
	ATTACH_STATES(ATTACH_STATE_ENUM_) ATTACH_STATE_NR
};
#undef ATTACH_STATE_ENUM_

struct queued {
	struct sl_list link;
	enum sl_ipc_type type;
	size_t bytes;
	uint8_t data[];
};

struct attach {
	struct attach_opts opts;
	uint32_t lanes_count;
	int listen_fd;
	enum attach_state state;
	int sock;                   /* Owned; in HEARING, else -1 */
	struct sl_ipc_link *link;   /* Owned; in UP and CLOSING, else NULL */
	struct lane_msg *give_msgs; /* Owned; per lane: the channel */
	struct lane_msg *take_msgs; /* Owned; per lane: no channel */
	uint32_t awaited;           /* of both that lanes still have */
	uint64_t generation;
	struct sl_list queue; /* of struct queued, Owned */
	size_t queue_bytes;
	uint8_t *rx; /* Owned; private copy of the message at hand */
	size_t rx_max;
};

static int watch(const struct attach *a, int op, int fd, enum attach_fd tag, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.u64 = tag};

	return epoll_ctl(a->opts.epoll_fd, op, fd, &ev) == 0 ? 0 : -errno;
}

int attach_create(struct attach **out, const struct attach_opts *opts)
{
	struct attach *a = calloc(1, sizeof(*a));
	int rc = 0;

	if (!a)
		return -ENOMEM;
	a->opts = *opts;
	a->lanes_count = opts->shm->lanes_count;
	a->listen_fd = -1;
	a->sock = -1;
	sl_list_init(&a->queue);
	a->give_msgs = calloc(a->lanes_count, sizeof(*a->give_msgs));
	a->take_msgs = calloc(a->lanes_count, sizeof(*a->take_msgs));
	if (!a->give_msgs || !a->take_msgs)
		rc = -ENOMEM;
	if (rc == 0) {
		a->listen_fd = sl_ipc_listen(opts->path);
		rc = SL_MIN(a->listen_fd, 0);
	}
	if (rc == 0)
		rc = watch(a, EPOLL_CTL_ADD, a->listen_fd, ATTACH_FD_LISTEN, EPOLLIN);
	if (rc != 0) {
		attach_destroy(a);
		return rc;
	}
	*out = a;
	return 0;
}

static void drop_queue(struct attach *a)
{
	while (!sl_list_is_empty(&a->queue)) {
		struct queued *q = sl_list_first(&a->queue, struct queued, link);

		sl_list_del(&q->link);
		free(q);
	}
	a->queue_bytes = 0;
}

void attach_destroy(struct attach *a)
{
	if (!a)
		return;
	sl_ipc_close(a->link);
	drop_queue(a);
	if (a->sock >= 0)
		close(a->sock);
	if (a->listen_fd >= 0) {
		close(a->listen_fd);
		(void)unlink(a->opts.path);
	}
	free(a->give_msgs);
	free(a->take_msgs);
	free(a->rx);
	free(a);
}

bool attach_is_up(const struct attach *a)
{
	return a->state == ATTACH_UP;
}

int32_t attach_pid(const struct attach *a)
{
	return attach_is_up(a) ? a->link->peer_pid : 0;
}

uint64_t attach_generation(const struct attach *a)
{
	return a->generation;
}

/* ---- Coming and going ---- */

static void post_all(struct attach *a, struct lane_msg *msgs, const struct sl_ipc_link *link)
{
	for (uint32_t i = 0; i < a->lanes_count; i++) {
		struct lane_msg *m = &msgs[i];

		memset(m, 0, sizeof(*m));
		sl_list_init(&m->link);
		m->type = LANE_MSG_CONTROL;
		m->lane = i;
		m->channel = link ? link->channels[1 + i] : NULL;
		m->wake_fd = link ? link->channel_wake_fds[1 + i] : -1;
		a->awaited++;
		a->opts.post(a->opts.arg, m);
	}
}

static void finish_closing(struct attach *a)
{
	if (a->state != ATTACH_CLOSING || a->awaited > 0)
		return;
	sl_ipc_close(a->link);
	a->link = NULL;
	a->state = ATTACH_NONE;
	if (watch(a, EPOLL_CTL_MOD, a->listen_fd, ATTACH_FD_LISTEN, EPOLLIN) != 0)
		sl_log(ERR, host, "watch attach socket: %s", strerror(errno));
}

void attach_drop(struct attach *a, const char *why)
{
	if (a->state != ATTACH_UP)
		return;
	sl_log(WARN, host, "detach control pid=%d: %s; serving on without it", a->link->peer_pid,
	       why);
	a->state = ATTACH_CLOSING;
	drop_queue(a);
	(void)epoll_ctl(a->opts.epoll_fd, EPOLL_CTL_DEL, a->link->sock, NULL);
	(void)epoll_ctl(a->opts.epoll_fd, EPOLL_CTL_DEL, a->link->channel_wake_fds[0], NULL);
	/* The peer learns at once that it is out; the rings live on until the lanes let go. */
	(void)shutdown(a->link->sock, SHUT_RDWR);
	post_all(a, a->take_msgs, NULL);
	a->opts.lost(a->opts.arg);
	finish_closing(a);
}

void attach_returned(struct attach *a, struct lane_msg *msg)
{
	SL_ASSERT(msg->type == LANE_MSG_CONTROL && a->awaited > 0);
	a->awaited--;
	finish_closing(a);
}

static bool is_peer_gone(const struct attach *a)
{
	char byte;
	ssize_t n = recv(a->link->sock, &byte, sizeof(byte), MSG_PEEK | MSG_DONTWAIT);

	return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

static void begin(struct attach *a)
{
	int rc;

	a->state = ATTACH_UP;
	a->generation++;
	rc = watch(a, EPOLL_CTL_ADD, a->link->channel_wake_fds[0], ATTACH_FD_CHANNEL, EPOLLIN);
	sl_log(INFO, host, "attach control pid=%d", a->link->peer_pid);
	post_all(a, a->give_msgs, a->link);
	a->opts.attached(a->opts.arg);
	if (rc != 0)
		attach_drop(a, "its descriptors cannot be watched");
}

/* What it holds is dealt with before it is answered: as long as it is not, it keeps that. */
static void answer(struct attach *a, const struct sl_ipc_tiers *offered)
{
	struct sl_ipc_tiers used = {0};
	int sock = a->sock;
	int rc = a->opts.greeted(a->opts.arg, offered, &used);

	a->sock = -1;
	if (rc == 0)
		rc = sl_ipc_answer(&a->link, sock, a->opts.shm, a->opts.shm_bytes, a->opts.shm_fd,
		                   &used);
	else
		close(sock);
	if (rc == 0)
		begin(a);
	else
		sl_log(WARN, host, "refuse control: %s", strerror(-rc));
}

/* Its hello, if it has come. */
static void hear(struct attach *a)
{
	struct sl_ipc_tiers offered;
	int rc = sl_ipc_read_offer(a->sock, &offered);

	if (rc == -EAGAIN)
		return;
	a->state = ATTACH_NONE;
	if (rc == 0) {
		answer(a, &offered);
		sl_ipc_tiers_close(&offered);
		return;
	}
	sl_log(WARN, host, "refuse control: %s",
	       rc == -EPROTO ? "its hello is not of this version" : strerror(-rc));
	sl_ipc_refuse(a->sock);
	a->sock = -1;
}

static void accept_peer(struct attach *a)
{
	int rc = sl_ipc_accept(a->listen_fd);

	if (rc == -EAGAIN)
		return;
	if (rc >= 0) {
		a->sock = rc;
		rc = watch(a, EPOLL_CTL_ADD, a->sock, ATTACH_FD_SOCK, EPOLLIN | EPOLLRDHUP);
	}
	if (rc == 0) {
		a->state = ATTACH_HEARING;
		hear(a);
		return;
	}
	sl_log(WARN, host, "refuse control: %s", strerror(-rc));
	if (a->sock >= 0)
		close(a->sock);
	a->sock = -1;
}

static void refuse_second(struct attach *a)
{
	int sock = sl_ipc_accept(a->listen_fd);

	if (sock == -EAGAIN)
		return;
	sl_log(WARN, host, "refuse second control: %s, pid=%d is attached",
	       sock < 0 ? strerror(-sock) : "one is enough", a->link->peer_pid);
	if (sock >= 0)
		sl_ipc_refuse(sock);
}

/* Who says nothing does not keep out one that may have something to say. */
static void give_up_silent(struct attach *a)
{
	sl_log(WARN, host, "refuse control: it connected and said nothing");
	sl_ipc_refuse(a->sock);
	a->sock = -1;
	a->state = ATTACH_NONE;
}

static void on_listen(struct attach *a)
{
	/* Its end or its hello may be in the same burst of events, behind this one. */
	if (a->state == ATTACH_UP && is_peer_gone(a))
		attach_drop(a, "it is gone");
	if (a->state == ATTACH_HEARING)
		hear(a);
	switch (a->state) {
	case ATTACH_HEARING:
		give_up_silent(a);
		accept_peer(a);
		break;
	case ATTACH_NONE:
		accept_peer(a);
		break;
	case ATTACH_UP:
		refuse_second(a);
		break;
	case ATTACH_CLOSING:
		/* It waits in the queue; finish_closing() looks again. */
		(void)watch(a, EPOLL_CTL_MOD, a->listen_fd, ATTACH_FD_LISTEN, 0);
		break;
	case ATTACH_STATE_NR:
		break;
	}
}

void attach_event(struct attach *a, enum attach_fd fd)
{
	if (fd == ATTACH_FD_LISTEN) {
		on_listen(a);
	} else if (a->state == ATTACH_HEARING) {
		hear(a);
	} else if (a->state != ATTACH_UP) {
		return; /* of before attach_drop(), in the same burst */
	} else if (fd == ATTACH_FD_CHANNEL) {
		sl_channel_wake(a->link->channels[0]);
	} else if (is_peer_gone(a)) {
		attach_drop(a, "it is gone");
	} else {
		/* Nothing is ever said on this socket after the hello. */
		attach_drop(a, "it wrote to the attach socket");
	}
}

/* ---- Sending ---- */

static void enqueue(struct attach *a, enum sl_ipc_type type, struct sl_bytes head,
                    struct sl_bytes body)
{
	size_t head_bytes = (size_t)SL_MAX(head.len, 0);
	size_t body_bytes = (size_t)SL_MAX(body.len, 0);
	struct queued *q;

	if (a->queue_bytes + head_bytes + body_bytes > QUEUE_BYTES_MAX) {
		attach_drop(a, "it does not read its ring");
		return;
	}
	q = malloc(sizeof(*q) + head_bytes + body_bytes);
	if (!q) {
		attach_drop(a, "no memory for what it does not read");
		return;
	}
	q->type = type;
	q->bytes = head_bytes + body_bytes;
	if (head_bytes)
		memcpy(q->data, head.p, head_bytes);
	if (body_bytes)
		memcpy(q->data + head_bytes, body.p, body_bytes);
	sl_list_push_back(&a->queue, &q->link);
	a->queue_bytes += q->bytes;
}

void attach_send(struct attach *a, enum sl_ipc_type type, struct sl_bytes head,
                 struct sl_bytes body)
{
	int rc = -EAGAIN;

	if (a->state != ATTACH_UP)
		return;
	if (sl_list_is_empty(&a->queue))
		rc = sl_channel_send(a->link->channels[0], type, head.p,
		                     (size_t)SL_MAX(head.len, 0), body.p,
		                     (size_t)SL_MAX(body.len, 0));
	if (rc == -EAGAIN)
		enqueue(a, type, head, body);
	else if (SL_COUNT_IF(rc == -EMSGSIZE))
		sl_log(ERR, host, "send message type=%d: larger than the ring takes", (int)type);
	else if (rc != 0)
		attach_drop(a, "it broke its ring");
}

static unsigned flush(struct attach *a)
{
	unsigned done = 0;

	while (!sl_list_is_empty(&a->queue)) {
		struct queued *q = sl_list_first(&a->queue, struct queued, link);
		int rc = sl_channel_send(a->link->channels[0], q->type, q->data, q->bytes, NULL, 0);

		if (rc == -EAGAIN)
			break;
		if (rc != 0) {
			attach_drop(a, "it broke its ring");
			break;
		}
		sl_list_del(&q->link);
		a->queue_bytes -= q->bytes;
		free(q);
		done++;
	}
	return done;
}

/* ---- Receiving ---- */

/* Return: false without memory. */
static bool grow_rx(struct attach *a, size_t bytes)
{
	uint8_t *grown;

	if (bytes <= a->rx_max)
		return true;
	grown = realloc(a->rx, bytes);
	if (!grown)
		return false;
	a->rx = grown;
	a->rx_max = bytes;
	return true;
}

/* Return: 1 a message was handled; 0 none; -errno the attachment must end. */
static int receive(struct attach *a)
{
	struct sl_channel *ch = a->link->channels[0];
	const void *p;
	size_t bytes;
	uint32_t type;
	int rc = sl_channel_peek(ch, &type, &p, &bytes);

	if (rc <= 0)
		return rc;
	if (!grow_rx(a, bytes))
		return -ENOMEM;
	/* copy: the peer could still write to it */
	if (bytes)
		memcpy(a->rx, p, bytes);
	sl_channel_release(ch);
	rc = a->opts.message(a->opts.arg, type, a->rx, bytes);
	return rc < 0 ? rc : 1;
}

unsigned attach_poll(struct attach *a, bool is_reading)
{
	unsigned done = 0;

	if (a->state == ATTACH_UP)
		done += flush(a);
	for (unsigned i = 0; is_reading && i < MESSAGES_PER_POLL && a->state == ATTACH_UP; i++) {
		int rc = receive(a);

		if (rc == 0)
			break;
		done++;
		if (rc < 0)
			attach_drop(a, rc == -EPROTO ? "it broke the rules of its messages"
			                             : strerror(-rc));
	}
	return done;
}

bool attach_may_sleep(struct attach *a)
{
	return a->state != ATTACH_UP || sl_channel_sleep(a->link->channels[0]);
}
