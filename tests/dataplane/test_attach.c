/* SPDX-License-Identifier: Apache-2.0 */
/* The attachment with real control processes' ends, made by a thread, and lanes played by hand. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "host/attach.h"
#include "rig.h"

#define EVENT_MS 30000 /* an event that takes longer is lost */

struct bench {
	char root[64];
	char path[128];
	int epoll_fd;
	struct sl_shm *shm;
	size_t shm_bytes;
	int shm_fd;
	struct attach *a;
	struct sl_list posted;
	unsigned greeted, attached, lost;
	uint32_t offered_count;
	struct sl_ipc_tiers used; /* what the next one is answered */
	int greeting;             /* what greeted() returns */
	unsigned messages;
	uint32_t type; /* of the last message */
	uint8_t text[32];
	size_t bytes;
	int answer; /* what the next message handler returns */
};

static void on_post(void *arg, struct lane_msg *msg)
{
	sl_list_push_back(&((struct bench *)arg)->posted, &msg->link);
}

static int on_greeted(void *arg, const struct sl_ipc_tiers *offered, struct sl_ipc_tiers *used)
{
	struct bench *b = arg;

	b->greeted++;
	b->offered_count = offered->count;
	*used = b->used;
	return b->greeting;
}

static void on_attached(void *arg)
{
	((struct bench *)arg)->attached++;
}

static void on_lost(void *arg)
{
	((struct bench *)arg)->lost++;
}

static int on_message(void *arg, uint32_t type, const void *p, size_t bytes)
{
	struct bench *b = arg;

	b->messages++;
	b->type = type;
	b->bytes = bytes;
	memcpy(b->text, p, SL_MIN(bytes, sizeof(b->text)));
	return b->answer;
}

static struct bench *bench_create(void)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct attach_opts o = {.post = on_post,
	                        .greeted = on_greeted,
	                        .attached = on_attached,
	                        .lost = on_lost,
	                        .message = on_message,
	                        .arg = b};

	cr_assert(b);
	rig_root(b->root);
	snprintf(b->path, sizeof(b->path), "%s/run/attach.sock", b->root);
	sl_list_init(&b->posted);
	b->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	cr_assert(sl_ipc_shm_create(&b->shm, &b->shm_bytes, &b->shm_fd, RIG_LANES, 16) == 0);
	o.path = b->path;
	o.shm = b->shm;
	o.shm_bytes = b->shm_bytes;
	o.shm_fd = b->shm_fd;
	o.epoll_fd = b->epoll_fd;
	cr_assert(attach_create(&b->a, &o) == 0);
	return b;
}

static void bench_destroy(struct bench *b)
{
	attach_destroy(b->a);
	cr_expect(access(b->path, F_OK) != 0, "no socket is left behind");
	sl_ipc_shm_destroy(b->shm, b->shm_bytes, b->shm_fd);
	close(b->epoll_fd);
	rig_root_remove(b->root);
	free(b);
}

/* Waits for one burst of events and handles it. */
static void pump(struct bench *b)
{
	struct epoll_event ev[8];
	int n = epoll_wait(b->epoll_fd, ev, 8, EVENT_MS);

	cr_assert(n > 0, "an event");
	for (int i = 0; i < n; i++)
		attach_event(b->a, (enum attach_fd)ev[i].data.u64);
	(void)attach_poll(b->a, true);
}

/* Lanes obey everything: give back what they were given. */
static unsigned obey_all(struct bench *b)
{
	unsigned done = 0;

	while (!sl_list_is_empty(&b->posted)) {
		struct lane_msg *msg = sl_list_first(&b->posted, struct lane_msg, link);

		sl_list_del(&msg->link);
		cr_assert(msg->type == LANE_MSG_CONTROL);
		attach_returned(b->a, msg);
		done++;
	}
	return done;
}

struct peer {
	const char *path;
	const struct sl_ipc_tiers *held;
	struct sl_ipc_link *link;
	int rc;
	uint32_t used_count;
	pthread_t thread;
};

static void *connect_peer(void *arg)
{
	struct peer *p = arg;

	struct sl_ipc_tiers used;
	int sock = sl_ipc_connect(p->path, p->held);

	p->rc = sock;
	while (sock >= 0 && (p->rc = sl_ipc_read_answer(&p->link, sock, &used)) == -EAGAIN) {
		struct pollfd pfd = {.fd = sock, .events = POLLIN};

		(void)poll(&pfd, 1, EVENT_MS);
	}
	if (p->rc == 0) {
		p->used_count = used.count;
		sl_ipc_tiers_close(&used);
	}
	return NULL;
}

static void peer_start_with(struct peer *p, const struct bench *b, const struct sl_ipc_tiers *held)
{
	*p = (struct peer){.path = b->path, .held = held};
	cr_assert(pthread_create(&p->thread, NULL, connect_peer, p) == 0);
}

static void peer_start(struct peer *p, const struct bench *b)
{
	peer_start_with(p, b, NULL);
}

static int peer_join(struct peer *p)
{
	pthread_join(p->thread, NULL);
	return p->rc;
}

static struct sl_ipc_link *attach_one(struct bench *b)
{
	struct peer p;

	peer_start(&p, b);
	while (!attach_is_up(b->a))
		pump(b);
	cr_assert(peer_join(&p) == 0);
	return p.link;
}

Test(attach, gives_each_lane_its_channel)
{
	struct bench *b = bench_create();
	struct sl_ipc_link *link = attach_one(b);
	const struct sl_list *pos;
	uint32_t lane = 0;

	cr_expect(b->attached == 1 && attach_pid(b->a) == getpid());
	for (pos = b->posted.next; pos != &b->posted; pos = pos->next) {
		const struct lane_msg *msg = sl_list_entry(pos, struct lane_msg, link);

		cr_expect(msg->type == LANE_MSG_CONTROL && msg->lane == lane);
		cr_assert(msg->channel);
		cr_expect(msg->wake_fd >= 0);
		/* It is the lane's own: what the peer sends there arrives here. */
		cr_assert(sl_channel_send(link->channels[1 + lane], SL_IPC_RESPONSE, &lane,
		                          sizeof(lane), NULL, 0) == 0);
		{
			const void *p;
			size_t bytes;
			uint32_t type, got;

			cr_assert(sl_channel_peek(msg->channel, &type, &p, &bytes) == 1);
			memcpy(&got, p, sizeof(got));
			cr_expect(type == SL_IPC_RESPONSE && got == lane);
			sl_channel_release(msg->channel);
		}
		lane++;
	}
	cr_expect(lane == RIG_LANES);
	cr_expect(obey_all(b) == RIG_LANES);
	sl_ipc_close(link);
	bench_destroy(b);
}

Test(attach, carries_messages_of_channel_0_both_ways)
{
	struct bench *b = bench_create();
	struct sl_ipc_link *link = attach_one(b);
	const struct sl_ipc_image ack = {.revision = 42};
	const void *p;
	size_t bytes;
	uint32_t type;

	obey_all(b);
	cr_expect(attach_may_sleep(b->a));
	cr_assert(sl_channel_send(link->channels[0], SL_IPC_QUERY, "abc", 3, "defg", 4) == 0);
	pump(b);
	cr_expect(b->messages == 1 && b->type == SL_IPC_QUERY && b->bytes == 7);
	cr_expect(memcmp(b->text, "abcdefg", 7) == 0);
	attach_send(b->a, SL_IPC_IMAGE_ACK, (struct sl_bytes){&ack, sizeof(ack)},
	            (struct sl_bytes){0});
	cr_assert(sl_channel_peek(link->channels[0], &type, &p, &bytes) == 1);
	cr_expect(type == SL_IPC_IMAGE_ACK && bytes == sizeof(ack));
	sl_ipc_close(link);
	bench_destroy(b);
}

Test(attach, does_not_read_while_it_shall_not)
{
	struct bench *b = bench_create();
	struct sl_ipc_link *link = attach_one(b);

	obey_all(b);
	cr_assert(sl_channel_send(link->channels[0], SL_IPC_QUERY, "a", 1, NULL, 0) == 0);
	cr_expect(attach_poll(b->a, false) == 0 && b->messages == 0);
	cr_expect(!attach_may_sleep(b->a));
	cr_expect(attach_poll(b->a, true) == 1 && b->messages == 1);
	sl_ipc_close(link);
	bench_destroy(b);
}

Test(attach, refuses_a_second_control_process)
{
	struct bench *b = bench_create();
	struct sl_ipc_link *link = attach_one(b);
	struct peer second;

	obey_all(b);
	peer_start(&second, b);
	pump(b);
	cr_expect(peer_join(&second) == -EBUSY);
	cr_expect(attach_is_up(b->a) && b->attached == 1 && b->lost == 0);
	sl_ipc_close(link);
	bench_destroy(b);
}

Test(attach, a_successor_waits_until_every_lane_has_let_go)
{
	struct bench *b = bench_create();
	struct sl_ipc_link *link = attach_one(b);
	struct peer next;
	struct lane_msg *last;

	obey_all(b);
	sl_ipc_close(link);
	while (attach_is_up(b->a))
		pump(b);
	cr_expect(b->lost == 1 && attach_pid(b->a) == 0);
	last = sl_list_first(&b->posted, struct lane_msg, link);
	cr_assert(last);
	cr_expect_null(last->channel);
	sl_list_del(&last->link);
	cr_expect(obey_all(b) == RIG_LANES - 1);

	peer_start(&next, b);
	pump(b);
	cr_expect(!attach_is_up(b->a) && b->attached == 1, "a lane still has the old channel");
	attach_returned(b->a, last);
	while (!attach_is_up(b->a))
		pump(b);
	cr_expect(peer_join(&next) == 0);
	cr_expect(b->attached == 2 && attach_generation(b->a) == 2);
	cr_expect(obey_all(b) == RIG_LANES);
	sl_ipc_close(next.link);
	bench_destroy(b);
}

Test(attach, lost_before_the_lanes_took_their_channels)
{
	struct bench *b = bench_create();
	struct sl_ipc_link *link = attach_one(b);

	sl_ipc_close(link);
	while (attach_is_up(b->a))
		pump(b);
	cr_expect(obey_all(b) == 2 * RIG_LANES, "each gets its channel and loses it again");
	link = attach_one(b);
	cr_expect(b->attached == 2);
	obey_all(b);
	sl_ipc_close(link);
	bench_destroy(b);
}

Test(attach, tells_each_control_process_which_tiers_are_in_use)
{
	struct bench *b = bench_create();
	struct sl_ipc_tiers held = {.count = 1};
	struct peer p;

	held.fds[0] = memfd_create("held", MFD_CLOEXEC);
	b->used = (struct sl_ipc_tiers){.count = 2};
	b->used.fds[0] = memfd_create("used", MFD_CLOEXEC);
	b->used.fds[1] = b->used.fds[0];
	for (unsigned i = 0; i < 2; i++) {
		peer_start_with(&p, b, &held);
		while (!attach_is_up(b->a))
			pump(b);
		cr_assert(peer_join(&p) == 0);
		cr_expect(b->greeted == i + 1 && b->attached == i + 1);
		cr_expect(b->offered_count == 1 && p.used_count == 2);
		sl_ipc_close(p.link);
		while (attach_is_up(b->a))
			pump(b);
		obey_all(b);
	}
	close(held.fds[0]);
	close(b->used.fds[0]);
	bench_destroy(b);
}

Test(attach, one_that_cannot_be_answered_yet_may_come_again)
{
	struct bench *b = bench_create();
	struct sl_ipc_link *link;
	struct peer p;

	b->greeting = -ENOSPC;
	peer_start(&p, b);
	while (b->greeted == 0)
		pump(b);
	cr_expect(peer_join(&p) == -ECONNREFUSED);
	cr_expect(!attach_is_up(b->a) && b->attached == 0 && sl_list_is_empty(&b->posted));
	b->greeting = 0;
	link = attach_one(b);
	cr_expect(b->greeted == 2 && b->attached == 1);
	obey_all(b);
	sl_ipc_close(link);
	bench_destroy(b);
}

/* Connected, and without a word. */
static int connect_silently(const struct bench *b)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	memcpy(address.sun_path, b->path, strlen(b->path) + 1);
	cr_assert(connect(sock, (const struct sockaddr *)&address, sizeof(address)) == 0);
	return sock;
}

Test(attach, one_that_says_nothing_keeps_nobody_out)
{
	struct bench *b = bench_create();
	struct sl_ipc_link *link;
	int silent = connect_silently(b);
	char byte;

	pump(b);
	cr_expect(b->greeted == 0 && !attach_is_up(b->a));
	link = attach_one(b);
	cr_expect(b->greeted == 1 && b->attached == 1);
	cr_expect(recv(silent, &byte, 1, 0) == 1, "it is told");
	cr_expect(recv(silent, &byte, 1, 0) == 0, "and put out");
	obey_all(b);
	close(silent);
	sl_ipc_close(link);
	bench_destroy(b);
}

Test(attach, one_that_goes_without_a_word_is_forgotten)
{
	struct bench *b = bench_create();
	struct sl_ipc_link *link;
	int silent = connect_silently(b);

	pump(b);
	close(silent);
	pump(b);
	cr_expect(b->greeted == 0 && !attach_is_up(b->a) && b->lost == 0);
	link = attach_one(b);
	obey_all(b);
	sl_ipc_close(link);
	bench_destroy(b);
}

Test(attach, one_with_another_hello_is_turned_away)
{
	struct bench *b = bench_create();
	struct sl_ipc_hello hello = {.version = SL_IPC_VERSION + 1};
	int sock = connect_silently(b);

	cr_assert(send(sock, &hello, sizeof(hello), 0) == (ssize_t)sizeof(hello));
	pump(b);
	cr_expect(b->greeted == 0 && !attach_is_up(b->a));
	cr_assert(recv(sock, &hello, sizeof(hello), 0) == (ssize_t)sizeof(hello));
	cr_expect(hello.version == SL_IPC_VERSION && hello.lanes_count == 0);
	close(sock);
	bench_destroy(b);
}

Test(attach, ends_when_a_message_breaks_the_rules)
{
	struct bench *b = bench_create();
	struct sl_ipc_link *link = attach_one(b);
	char byte;

	obey_all(b);
	b->answer = -EPROTO;
	cr_assert(sl_channel_send(link->channels[0], SL_IPC_IMAGE_END, "x", 1, NULL, 0) == 0);
	cr_assert(sl_channel_send(link->channels[0], SL_IPC_IMAGE_END, "y", 1, NULL, 0) == 0);
	(void)attach_poll(b->a, true);
	cr_expect(!attach_is_up(b->a) && b->lost == 1);
	cr_expect(b->messages == 1, "nothing after it is looked at");
	cr_expect(recv(link->sock, &byte, 1, 0) == 0, "the peer learns of it");
	cr_expect(obey_all(b) == RIG_LANES);
	sl_ipc_close(link);
	bench_destroy(b);
}

Test(attach, keeps_what_the_ring_has_no_room_for_in_order)
{
	enum {
		MESSAGES = 40
	};
	struct bench *b = bench_create();
	struct sl_ipc_link *link = attach_one(b);
	size_t body_bytes = (size_t)1 << 20;
	uint8_t *body = calloc(1, body_bytes);
	unsigned got = 0;

	obey_all(b);
	cr_assert(body);
	for (uint32_t i = 0; i < MESSAGES; i++)
		attach_send(b->a, SL_IPC_QUERY_DONE, (struct sl_bytes){&i, sizeof(i)},
		            (struct sl_bytes){body, (int32_t)body_bytes});
	cr_expect(attach_is_up(b->a));
	while (got < MESSAGES) {
		const void *p;
		size_t bytes;
		uint32_t type, number;

		(void)attach_poll(b->a, true);
		cr_assert(sl_channel_peek(link->channels[0], &type, &p, &bytes) == 1);
		memcpy(&number, p, sizeof(number));
		cr_expect(number == got && bytes == sizeof(number) + body_bytes);
		sl_channel_release(link->channels[0]);
		got++;
	}
	/* One that never reads is put out, so that memory stays bounded. */
	for (uint32_t i = 0; i < 100 && attach_is_up(b->a); i++)
		attach_send(b->a, SL_IPC_QUERY_DONE, (struct sl_bytes){&i, sizeof(i)},
		            (struct sl_bytes){body, (int32_t)body_bytes});
	cr_expect(!attach_is_up(b->a) && b->lost == 1);
	free(body);
	sl_ipc_close(link);
	bench_destroy(b);
}
