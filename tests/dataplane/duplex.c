/* SPDX-License-Identifier: Apache-2.0 */
#include "duplex.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define DUPLEX_HEAP   16384
#define DUPLEX_ROUNDS 20000
#define DUPLEX_EVENTS 32

void duplex_open(struct duplex *d, size_t pool_bytes)
{
	struct ctx *ctx;

	memset(d, 0, sizeof(*d));
	d->fx = fx_create();
	ctx = &d->fx->ctx;
	d->fx->config.idle_ms = 60000;
	d->fx->config.frame_ms = 5000;
	d->fx->config.connections_per_ip_max = UINT32_MAX;
	/* Every request of the sessions may wait at once, which the fixture does not expect. */
	free(ctx->deadlines.heap);
	ctx->deadlines.max = DUPLEX_HEAP;
	ctx->deadlines.heap = calloc(DUPLEX_HEAP, sizeof(struct request *));
	if (pool_bytes) {
		pool_fini(&ctx->pool);
		cr_assert(pool_init(&ctx->pool, pool_bytes, -1) == 0);
	}
	d->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	cr_assert(sessions_create(&d->sessions, ctx, d->epoll_fd) == 0);
}

void duplex_close(struct duplex *d)
{
	struct ctx *ctx = &d->fx->ctx;

	sessions_destroy(d->sessions);
	if (d->lane_end)
		duplex_detach(d);
	fx_settle(d->fx);
	cr_expect(ctx->pool.used == 0, "%zu bytes of buffers leaked", ctx->pool.used);
	cr_expect(ctx->deadlines.count == 0);
	cr_expect(sl_list_is_empty(&ctx->runnable) && sl_list_is_empty(&ctx->done));
	cr_expect(duplex_stat(d, SL_STAT_connections) == 0);
	cr_expect(duplex_stat(d, SL_STAT_fetches_parked) == 0);
	cr_expect(duplex_stat(d, SL_STAT_produces_parked) == 0);
	cr_expect(duplex_stat(d, SL_STAT_control_parked) == 0);
	cr_expect(duplex_stat(d, SL_STAT_verifies_parked) == 0);
	for (uint32_t i = 0; i < d->fx->config.connections_max; i++)
		cr_expect(ctx->control_parked[i] == NULL);
	for (uint32_t i = 0; i < d->fx->partitions_count; i++)
		cr_expect(d->fx->partitions[i]->refs == 1, "a range of %s was not put back",
		          d->fx->partitions[i]->name);
	close(d->epoll_fd);
	fx_destroy(d->fx);
}

uint64_t duplex_stat(const struct duplex *d, enum sl_stat stat)
{
	return fx_stat(d->fx, stat);
}

/* ---- The lane ---- */

int duplex_client(struct duplex *d)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fds[2];

	cr_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
	sessions_accept(d->sessions, fds[1], (struct sockaddr *)&in, 9092);
	return fds[0];
}

unsigned duplex_poll(struct duplex *d)
{
	struct epoll_event events[DUPLEX_EVENTS];
	struct ctx *ctx = &d->fx->ctx;
	int n = epoll_wait(d->epoll_fd, events, DUPLEX_EVENTS, 0);
	unsigned work = n > 0 ? (unsigned)n : 0;

	for (int i = 0; i < n; i++)
		sessions_event(d->sessions, (uint32_t)events[i].data.u64, events[i].events);
	work += control_poll(ctx, 128);
	work += sessions_poll(d->sessions);
	return work + partition_poll(ctx);
}

void duplex_settle(struct duplex *d)
{
	for (unsigned i = 0; i < DUPLEX_ROUNDS; i++)
		if (duplex_poll(d) == 0)
			return;
	cr_assert_fail("the lane does not come to rest");
}

/* ---- The control process ---- */

void duplex_attach(struct duplex *d)
{
	cr_assert(!d->lane_end);
	d->shm = mmap(NULL, sl_channel_shm_bytes(DUPLEX_RING_BYTES), PROT_READ | PROT_WRITE,
	              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert(d->shm != MAP_FAILED);
	for (int i = 0; i < 2; i++)
		d->wake_fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	cr_assert(sl_channel_create(&d->lane_end, SL_CHANNEL_DATAPLANE, d->shm, DUPLEX_RING_BYTES,
	                            d->wake_fds[0], d->wake_fds[1]) == 0);
	cr_assert(sl_channel_create(&d->control_end, SL_CHANNEL_CONTROL, d->shm, DUPLEX_RING_BYTES,
	                            d->wake_fds[1], d->wake_fds[0]) == 0);
	control_set(&d->fx->ctx, d->lane_end);
}

void duplex_detach(struct duplex *d)
{
	control_set(&d->fx->ctx, NULL);
	sl_channel_destroy(d->lane_end);
	sl_channel_destroy(d->control_end);
	d->lane_end = d->control_end = NULL;
	close(d->wake_fds[0]);
	close(d->wake_fds[1]);
	cr_assert(munmap(d->shm, sl_channel_shm_bytes(DUPLEX_RING_BYTES)) == 0);
}

enum sl_ipc_type duplex_take(struct duplex *d, void *head, size_t head_bytes)
{
	const void *p;
	uint32_t type;
	size_t bytes;
	int rc = sl_channel_peek(d->control_end, &type, &p, &bytes);

	cr_assert(rc >= 0);
	if (rc == 0)
		return SL_IPC_NONE;
	cr_assert(bytes >= head_bytes);
	memcpy(head, p, head_bytes);
	sl_channel_release(d->control_end);
	return (enum sl_ipc_type)type;
}

void duplex_answer(struct duplex *d, const struct sl_ipc_request *to, int32_t correlation_id,
                   size_t bytes)
{
	struct sl_ipc_response head = {.conn = to->conn, .conn_gen = to->conn_gen, .seq = to->seq};
	uint8_t *body = calloc(1, bytes + 4);

	sl_store_be32(body, (uint32_t)correlation_id);
	cr_assert(sl_channel_send(d->control_end, SL_IPC_RESPONSE, &head, sizeof(head), body,
	                          bytes + 4) == 0);
	free(body);
}

/* ---- The client ---- */

size_t duplex_frame(uint8_t *p, int16_t key, int16_t version, int32_t correlation_id,
                    size_t body_bytes)
{
	memset(p, 0, 16 + body_bytes);
	sl_store_be32(p, (uint32_t)(12 + body_bytes));
	sl_store_be16(p + 4, (uint16_t)key);
	sl_store_be16(p + 6, (uint16_t)version);
	sl_store_be32(p + 8, (uint32_t)correlation_id);
	sl_store_be16(p + 12, 2);
	memcpy(p + 14, "me", 2);
	return 16 + body_bytes;
}

void duplex_write(struct duplex *d, int fd, const void *p, size_t bytes)
{
	const uint8_t *at = p;
	unsigned idle = 0;

	while (bytes > 0) {
		ssize_t n = send(fd, at, bytes, MSG_NOSIGNAL);

		if (n > 0) {
			at += n;
			bytes -= (size_t)n;
			idle = 0;
			continue;
		}
		cr_assert(errno == EAGAIN, "write: %s", strerror(errno));
		cr_assert(idle++ < DUPLEX_ROUNDS, "nobody reads");
		(void)duplex_poll(d);
	}
}

int32_t duplex_read(struct duplex *d, int fd)
{
	uint8_t head[8];
	uint8_t rest[4096];
	ssize_t n = recv(fd, head, sizeof(head), 0);
	size_t left;

	if (n == 0)
		return -2;
	if (n < 0)
		return errno == ECONNRESET ? -2 : -1;
	cr_assert(n == (ssize_t)sizeof(head));
	left = sl_load_be32(head) - 4;
	for (unsigned idle = 0; left > 0;) {
		n = recv(fd, rest, SL_MIN(left, sizeof(rest)), 0);
		cr_assert(n != 0);
		cr_assert(n > 0 || idle++ < DUPLEX_ROUNDS, "the rest of a response is missing");
		left -= n > 0 ? (size_t)n : 0;
		(void)duplex_poll(d);
	}
	return (int32_t)sl_load_be32(head + 4);
}
