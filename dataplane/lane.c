/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lane's life: what it allocates, its loop, how it sleeps, and the messages of the host thread.
 * Everything in struct lane belongs to the lane's core once lane_main() runs, but the two message
 * rings.
 */
#include "lane.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_ring.h>

#include "image.h"
#include "net/guard.h"
#include "partition/checkpoints.h"
#include "partition/cleaner.h"
#include "partition/dirsync.h"
#include "partition/partition.h"
#include "partition/writer.h"
#include "reply/cold.h"
#include "request/verify.h"
#include "session/session.h"
#include "sluice/base/assert.h"
#include "sluice/base/clock.h"
#include "sluice/base/log.h"
#include "sluice/ipc/files.h"
#include "sluice/store/hot.h"
#include "sluice/wire/compress.h"

#define LANE_EVENTS_MAX      256
#define LANE_ACCEPTS_MAX     64    /* per listener and poll */
#define LANE_MESSAGES        65536 /* capacity of each ring with the host */
#define LANE_ACCEPT_PAUSE_MS 100   /* without a descriptor or memory for a connection */
#define LANE_CONTROL_MAX     128
#define LANE_SCRATCH_BYTES   ((size_t)64 << 20)
#define LANE_OUT_BYTES       ((size_t)64 << 20)
#define LANE_SLEEP_MS_MAX    1000
#define LANE_DRAIN_MS        3000

_Static_assert(SL_LANE_KEPT_FILES == SL_HOT_DIRECTS_MAX, "what a slice keeps open is counted");

/* epoll_event.data.u64 of what is not a connection; connections have CONN_EPOLL_TAG. */
enum lane_fd {
	LANE_FD_BOOTSTRAP = 0,
	LANE_FD_LANE,
	LANE_FD_WAKE,
	LANE_FD_CONTROL
};

struct lane {
	struct ctx ctx;
	struct sessions *sessions; /* Owned */
	struct rte_ring *inbox;    /* Owned; host -> lane */
	struct rte_ring *outbox;   /* Owned; lane -> host */
	int epoll_fd;
	int wake_fd; /* the host and the writer write it */
	int control_wake_fd;
	int host_wake_fd;
	int listen_fds[2];
	uint16_t listen_ports[2];
	_Atomic bool is_asleep; /* the lane is in, or about to enter, epoll_wait() */
	bool is_serving;        /* the listening sockets are watched, but for pauses */
	int64_t accept_ms;      /* they are not watched until then; 0: no pause */
	bool is_stopping;
	int64_t stop_ms;
	struct lane_msg *stop_msg;
	struct sl_list detach_msgs; /* DETACH messages under way: struct lane_msg.link */
	uint64_t idle_since_ns;
	uint64_t turn_tsc;      /* when this iteration began */
	uint64_t asleep_cycles; /* of this iteration */
};

static int watch(const struct lane *lane, int fd, uint64_t tag)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = tag};

	return epoll_ctl(lane->epoll_fd, EPOLL_CTL_ADD, fd, &ev) == 0 ? 0 : -errno;
}

static uint16_t port_of(int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	if (getsockname(fd, (struct sockaddr *)&ss, &len) != 0)
		return 0;
	return ntohs(ss.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&ss)->sin6_port
	                                      : ((struct sockaddr_in *)&ss)->sin_port);
}

/* ---- Creation ---- */

static int create_ctx(struct ctx *ctx, const struct lane_opts *o)
{
	uint32_t conns = o->config->connections_max;
	void *out;
	int rc;

	ctx->index = o->index;
	ctx->lanes_count = o->lanes_count;
	ctx->node_id_base = o->node_id_base;
	ctx->node_id = o->node_id_base + (int32_t)o->index;
	ctx->config = o->config;
	ctx->stats = o->stats;
	ctx->image = o->image;
	ctx->dirs.wake_fd = o->host_wake_fd;
	sl_list_init(&ctx->done);
	sl_list_init(&ctx->runnable);
	for (unsigned i = 0; i < CTX_LACK_NR; i++)
		sl_list_init(&ctx->starved[i]);
	sl_list_init(&ctx->partitions);
	sl_list_init(&ctx->points);
	sl_list_init(&ctx->dirty);
	sl_list_init(&ctx->released);
	sl_list_init(&ctx->cleaning.logs);
	sl_list_init(&ctx->control_answers);
	rc = pool_init(&ctx->pool, o->buffer_bytes, o->numa_node);
	if (rc != 0)
		return rc;
	rc = sl_arena_create(&ctx->scratch, LANE_SCRATCH_BYTES);
	if (rc != 0)
		return rc;
	out = mmap(NULL, LANE_OUT_BYTES, PROT_READ | PROT_WRITE,
	           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (out == MAP_FAILED)
		return -ENOMEM;
	sl_buf_init_fixed(&ctx->out, out, LANE_OUT_BYTES);
	ctx->out.holes = calloc(REPLY_RANGES_MAX, sizeof(*ctx->out.holes));
	ctx->out.holes_max = REPLY_RANGES_MAX;
	/* Every parked request may have a deadline. */
	ctx->deadlines.max = conns + 65536;
	ctx->deadlines.heap = calloc(ctx->deadlines.max, sizeof(struct request *));
	ctx->control_parked = calloc(conns, sizeof(struct request *));
	if (!ctx->out.holes || !ctx->deadlines.heap || !ctx->control_parked)
		return -ENOMEM;
	rc = verify_create(&ctx->verifies);
	if (rc != 0)
		return rc;
	rc = guard_create(&ctx->guard, ctx);
	if (rc == -ENOMEM)
		return rc;
	if (rc != 0)
		sl_log(WARN, lane, "open netlink lane=%u: %s: memory is sent by copy only",
		       ctx->index, strerror(-rc));
	rc = cold_create(&ctx->cold);
	if (rc != 0)
		return rc;
	return sl_codec_ctx_create(&ctx->codec, NULL);
}

static int create_writer(struct lane *lane, const struct lane_opts *o)
{
	const struct writer_opts wo = {.files = *o->files,
	                               .wake_fd = lane->wake_fd,
	                               .depth = SL_LANE_SYNCS,
	                               .stats = o->stats};
	int rc = writer_create(&lane->ctx.writer, &wo);

	if (rc == 0)
		rc = dirsync_create(&lane->ctx.dirsync, *o->files, lane->wake_fd);
	return rc ? rc
	          : checkpoints_create(&lane->ctx.checkpoints, sl_thread_cpu_ns, lane->wake_fd);
}

int lane_create(struct lane **out, const struct lane_opts *o)
{
	struct lane *lane = aligned_alloc(SL_CACHE_LINE, SL_ALIGN_UP(sizeof(*lane), SL_CACHE_LINE));
	int rc;

	if (!lane)
		return -ENOMEM;
	memset(lane, 0, sizeof(*lane));
	lane->control_wake_fd = -1;
	lane->host_wake_fd = o->host_wake_fd;
	lane->listen_fds[LANE_FD_BOOTSTRAP] = o->bootstrap_fd;
	lane->listen_fds[LANE_FD_LANE] = o->lane_fd;
	lane->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	lane->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	sl_list_init(&lane->detach_msgs);
	lane->ctx.cleaning.port = o->cleaner;
	if (o->cleaner)
		cleaner_port_open(o->cleaner, lane->wake_fd);
	rc = create_ctx(&lane->ctx, o);
	if (rc == 0)
		rc = lane->epoll_fd < 0 || lane->wake_fd < 0 ? -errno : 0;
	if (rc == 0)
		rc = create_writer(lane, o);
	if (rc == 0)
		rc = sessions_create(&lane->sessions, &lane->ctx, lane->epoll_fd);
	for (unsigned i = LANE_FD_BOOTSTRAP; i <= LANE_FD_LANE; i++)
		lane->listen_ports[i] = port_of(lane->listen_fds[i]);
	if (rc == 0)
		rc = watch(lane, lane->wake_fd, LANE_FD_WAKE);
	if (rc != 0) {
		lane_destroy(lane);
		return rc;
	}
	*out = lane;
	return 0;
}

int lane_create_rings(struct lane *lane)
{
	char name[32];

	snprintf(name, sizeof(name), "lane_in_%u", lane->ctx.index);
	lane->inbox = rte_ring_create(name, LANE_MESSAGES, SOCKET_ID_ANY,
	                              RING_F_SP_ENQ | RING_F_SC_DEQ);
	snprintf(name, sizeof(name), "lane_out_%u", lane->ctx.index);
	lane->outbox = rte_ring_create(name, LANE_MESSAGES, SOCKET_ID_ANY,
	                               RING_F_SP_ENQ | RING_F_SC_DEQ);
	sl_stat_set(lane->ctx.stats, SL_STAT_tsc_hz, rte_get_tsc_hz());
	return lane->inbox && lane->outbox ? 0 : -ENOMEM;
}

struct writer *lane_writer(const struct lane *lane)
{
	return lane->ctx.writer;
}

void lane_destroy(struct lane *lane)
{
	if (!lane)
		return;
	sessions_destroy(lane->sessions);
	writer_destroy(lane->ctx.writer);
	dirsync_destroy(lane->ctx.dirsync);
	checkpoints_destroy(lane->ctx.checkpoints);
	rte_ring_free(lane->inbox);
	rte_ring_free(lane->outbox);
	verify_destroy(lane->ctx.verifies);
	guard_destroy(lane->ctx.guard);
	cold_destroy(lane->ctx.cold);
	sl_codec_ctx_destroy(lane->ctx.codec);
	free(lane->ctx.control_parked);
	free(lane->ctx.deadlines.heap);
	free(lane->ctx.out.holes);
	if (lane->ctx.out.p)
		munmap(lane->ctx.out.p, LANE_OUT_BYTES);
	sl_arena_destroy(&lane->ctx.scratch);
	pool_fini(&lane->ctx.pool);
	if (lane->epoll_fd >= 0)
		close(lane->epoll_fd);
	if (lane->wake_fd >= 0)
		close(lane->wake_fd);
	free(lane);
}

/* ---- Messages ---- */

static void wake(int fd)
{
	const uint64_t one = 1;

	/* EAGAIN: the counter is full, so the reader is woken already. */
	if (write(fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		sl_log(ERR, lane, "write eventfd: %s", strerror(errno));
}

bool lane_post(struct lane *lane, struct lane_msg *msg)
{
	if (rte_ring_sp_enqueue(lane->inbox, msg) != 0)
		return false;
	/* Pairs with may_sleep(): either it sees the message or we see it asleep. */
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&lane->is_asleep, memory_order_relaxed))
		wake(lane->wake_fd);
	return true;
}

struct lane_msg *lane_reap(struct lane *lane)
{
	void *msg;

	return rte_ring_sc_dequeue(lane->outbox, &msg) == 0 ? msg : NULL;
}

bool lane_failed_dir(struct lane *lane, uint32_t *dir, int *error)
{
	return partition_failed_dir(&lane->ctx.dirs, dir, error);
}

static void give_back(struct lane *lane, struct lane_msg *msg)
{
	/* As large as the inbox, and each message is in one of the two at most. */
	SL_ASSERT(rte_ring_sp_enqueue(lane->outbox, msg) == 0);
	wake(lane->host_wake_fd);
}

static void set_control(struct lane *lane, struct lane_msg *msg)
{
	if (lane->control_wake_fd >= 0)
		(void)epoll_ctl(lane->epoll_fd, EPOLL_CTL_DEL, lane->control_wake_fd, NULL);
	lane->control_wake_fd = msg->channel ? msg->wake_fd : -1;
	if (msg->channel && watch(lane, msg->wake_fd, LANE_FD_CONTROL) != 0)
		sl_log(ERR, lane, "watch control lane=%u: %s", lane->ctx.index, strerror(errno));
	control_set(&lane->ctx, msg->channel);
}

/* Accepts from the first real image on: until then clients wait in the sockets' backlogs, since an
 * empty image would tell them that their topics do not exist. */
static void serve(struct lane *lane)
{
	lane->is_serving = true;
	lane->accept_ms = 0;
	for (unsigned i = LANE_FD_BOOTSTRAP; i <= LANE_FD_LANE; i++)
		if (watch(lane, lane->listen_fds[i], i) != 0)
			sl_log(ERR, lane, "watch listener lane=%u port=%u: %s", lane->ctx.index,
			       lane->listen_ports[i], strerror(errno));
}

static void forget_listeners(struct lane *lane)
{
	for (unsigned i = 0; i < SL_ARRAY_SIZE(lane->listen_fds); i++)
		(void)epoll_ctl(lane->epoll_fd, EPOLL_CTL_DEL, lane->listen_fds[i], NULL);
}

/* Chunks belong to logs, and sockets may still show their pages: the pool asks both. */
static void set_hot(struct ctx *ctx, struct sl_hot_pool *hot)
{
	const struct sl_hot_pool_ops ops = {
		.forget = sl_log_forget,
		.settle = guard_settle,
		.settle_arg = ctx->guard,
	};

	SL_ASSERT(sl_list_is_empty(&ctx->partitions));
	ctx->hot = hot;
	if (hot)
		sl_hot_pool_set_ops(hot, &ops);
}

/* Return: true when the message is done with and goes back. */
static bool obey(struct lane *lane, struct lane_msg *msg)
{
	struct ctx *ctx = &lane->ctx;

	switch (msg->type) {
	case LANE_MSG_IMAGE:
		ctx->image = msg->image;
		if (!lane->is_serving && !lane->is_stopping && msg->image->revision > 0)
			serve(lane);
		return true;
	case LANE_MSG_ATTACH:
		partition_attach(ctx, msg->partition);
		return true;
	case LANE_MSG_DETACH:
		/* Comes back through release(), when the last reference is gone. */
		sl_list_push_back(&lane->detach_msgs, &msg->link);
		partition_detach(ctx, msg->partition);
		return false;
	case LANE_MSG_CONFIG:
		partition_configure(ctx, msg->partition, msg->log_config, &msg->flush);
		return true;
	case LANE_MSG_DIR_OFFLINE:
		partition_dir_offline(ctx, msg->log_dir, msg->error);
		return true;
	case LANE_MSG_HOT:
		set_hot(ctx, msg->hot);
		return true;
	case LANE_MSG_CONTROL:
		set_control(lane, msg);
		return true;
	case LANE_MSG_CONNECTIONS:
		sessions_print(lane->sessions, msg->text);
		return true;
	case LANE_MSG_STOP:
		lane->stop_msg = msg;
		lane->stop_ms = ctx->now_ms + LANE_DRAIN_MS;
		lane->is_stopping = true;
		lane->accept_ms = 0;
		forget_listeners(lane);
		sessions_drain(lane->sessions);
		return false;
	case LANE_MSG_NR:
		break;
	}
	SL_ASSERT(!"message of an unknown type");
	return true;
}

static unsigned poll_messages(struct lane *lane)
{
	unsigned done = 0;
	void *msg;

	while (done < LANE_MESSAGES && rte_ring_sc_dequeue(lane->inbox, &msg) == 0) {
		if (obey(lane, msg))
			give_back(lane, msg);
		done++;
	}
	return done;
}

/* Hands closed partitions that nobody refers to any more back to the host. */
static unsigned release(struct lane *lane)
{
	unsigned done = 0;

	while (!sl_list_is_empty(&lane->ctx.released)) {
		struct partition *p = sl_list_entry(lane->ctx.released.next, struct partition,
		                                    lane_link);
		struct sl_list *pos, *tmp;

		sl_list_del(&p->lane_link);
		sl_list_for_each_safe(pos, tmp, &lane->detach_msgs) {
			struct lane_msg *msg = sl_list_entry(pos, struct lane_msg, link);

			if (msg->partition != p)
				continue;
			sl_list_del(&msg->link);
			give_back(lane, msg);
			done++;
			break;
		}
	}
	return done;
}

/* ---- The loop ---- */

static void accept_some(struct lane *lane, enum lane_fd which)
{
	for (unsigned i = 0; i < LANE_ACCEPTS_MAX; i++) {
		struct sockaddr_storage ss;
		socklen_t len = sizeof(ss);
		int fd = accept4(lane->listen_fds[which], (struct sockaddr *)&ss, &len,
		                 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			/* Not the listener's: steering hands bootstrap connections to the lane's.
			 */
			sessions_accept(lane->sessions, fd, (struct sockaddr *)&ss, port_of(fd));
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			ctx_count(&lane->ctx, SL_STAT_connections_refused_memory, 1);
			sl_log(ERR, lane, "accept connection lane=%u: %s", lane->ctx.index,
			       strerror(errno));
			/* Who waits stays in the backlog, which would be readable all the while. */
			forget_listeners(lane);
			lane->accept_ms = lane->ctx.now_ms + LANE_ACCEPT_PAUSE_MS;
			return;
		}
		if (errno != ECONNABORTED && errno != EINTR)
			break;
	}
}

static void drain_eventfd(int fd)
{
	uint64_t n;

	/* EAGAIN: somebody drained it before; both are what is wanted. */
	if (read(fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		sl_log(ERR, lane, "read eventfd: %s", strerror(errno));
}

static void woke(struct lane *lane)
{
	atomic_store_explicit(&lane->is_asleep, false, memory_order_relaxed);
	writer_wake(lane->ctx.writer);
}

static unsigned poll_events(struct lane *lane, int timeout_ms)
{
	struct epoll_event events[LANE_EVENTS_MAX];
	uint64_t began = timeout_ms != 0 ? rte_rdtsc() : 0;
	int n = epoll_wait(lane->epoll_fd, events, LANE_EVENTS_MAX, timeout_ms);

	if (timeout_ms != 0) {
		woke(lane);
		lane->asleep_cycles = rte_rdtsc() - began;
	}
	ctx_count(&lane->ctx, SL_STAT_epoll_events, n > 0 ? (uint64_t)n : 0);
	for (int i = 0; i < n; i++) {
		uint64_t tag = events[i].data.u64;

		if (tag >> 32)
			sessions_event(lane->sessions, (uint32_t)tag, events[i].events);
		else if (tag <= LANE_FD_LANE)
			accept_some(lane, (enum lane_fd)tag);
		else if (tag == LANE_FD_WAKE)
			drain_eventfd(lane->wake_fd);
		else if (lane->ctx.control)
			sl_channel_wake(lane->ctx.control);
		else
			drain_eventfd(lane->control_wake_fd);
	}
	return n > 0 ? (unsigned)n : 0;
}

static void read_clocks(struct ctx *ctx)
{
	ctx->now_ns = sl_mono_ns();
	ctx->now_ms = (int64_t)(ctx->now_ns / 1000000);
	ctx->wall_ms = sl_wall_ms();
}

/* Announces sleep and looks once more at what a wake-up could have been missed for. */
static bool may_sleep(struct lane *lane)
{
	atomic_store_explicit(&lane->is_asleep, true, memory_order_relaxed);
	/* Pairs with lane_post(). */
	atomic_thread_fence(memory_order_seq_cst);
	if (rte_ring_empty(lane->inbox) && writer_sleep(lane->ctx.writer) &&
	    (!lane->ctx.control || sl_channel_sleep(lane->ctx.control)))
		return true;
	woke(lane);
	return false;
}

/*
 * Whether an idle lane polls on.  While a durable write is under way it offers the CPU to others
 * each time: on a disk without FUA the kernel ends such a write in a worker on this CPU, which else
 * has to wait until the lane's time slice is used up.
 */
static bool may_spin(const struct lane *lane)
{
	const struct ctx *ctx = &lane->ctx;

	if (ctx->config->idle_spin_ns >= 0 && ctx->gather_ns <= ctx->now_ns &&
	    (int64_t)(ctx->now_ns - lane->idle_since_ns) >= ctx->config->idle_spin_ns)
		return false;
	if (writer_is_syncing(ctx->writer))
		(void)sched_yield();
	return true;
}

/* How long the next wait for events may sleep: 0 while there was work lately. */
static int idle_timeout(struct lane *lane, unsigned work)
{
	struct ctx *ctx = &lane->ctx;
	int64_t next, ms;

	if (work > 0) {
		lane->idle_since_ns = 0;
		return 0;
	}
	if (lane->idle_since_ns == 0)
		lane->idle_since_ns = ctx->now_ns;
	if (may_spin(lane))
		return 0;
	next = SL_MIN(sessions_next_ms(lane->sessions), partition_next_ms(ctx));
	if (lane->accept_ms)
		next = SL_MIN(next, lane->accept_ms);
	ms = SL_MIN(next - ctx->now_ms, lane->is_stopping ? 10 : LANE_SLEEP_MS_MAX);
	if (ms <= 0 || !may_sleep(lane))
		return 0;
	ctx_count(ctx, SL_STAT_sleeps, 1);
	return (int)ms;
}

/* Where this iteration's time went.  The next one begins where this one ended, so that no cycle of
 * the lane's life is left out or counted twice. */
static void count_turn(struct lane *lane, unsigned work)
{
	struct ctx *ctx = &lane->ctx;
	uint64_t now = rte_rdtsc();

	ctx_count(ctx, SL_STAT_polls, 1);
	ctx_count(ctx, SL_STAT_polls_busy, work ? 1 : 0);
	ctx_count(ctx, SL_STAT_epoll_calls, 1);
	ctx_count(ctx, SL_STAT_epoll_calls_busy, work ? 1 : 0);
	ctx_count(ctx, work ? SL_STAT_cycles_busy : SL_STAT_cycles_idle,
	          now - lane->turn_tsc - lane->asleep_cycles);
	ctx_count(ctx, SL_STAT_cycles_asleep, lane->asleep_cycles);
	lane->turn_tsc = now;
	lane->asleep_cycles = 0;
}

static bool is_finished(struct lane *lane)
{
	return lane->is_stopping &&
	       (sessions_drained(lane->sessions) || lane->ctx.now_ms >= lane->stop_ms);
}

/* For ps -T, top -H and perf. */
static void name_thread(uint32_t index)
{
	char name[16];

	snprintf(name, sizeof(name), "lane-%u", index);
	/* Fails only for names that are too long. */
	(void)pthread_setname_np(pthread_self(), name);
}

int lane_main(void *arg)
{
	struct lane *lane = arg;
	struct ctx *ctx = &lane->ctx;
	unsigned work = 1;

	name_thread(ctx->index);
	read_clocks(ctx);
	sl_log(INFO, lane, "start lane=%u node=%d cpu=%d writer=%s", ctx->index, ctx->node_id,
	       sched_getcpu(), writer_name(ctx->writer));
	writer_wake(ctx->writer);
	lane->turn_tsc = rte_rdtsc();
	while (!is_finished(lane)) {
		work = poll_events(lane, idle_timeout(lane, work));
		read_clocks(ctx);
		if (lane->accept_ms && ctx->now_ms >= lane->accept_ms)
			serve(lane);
		work += poll_messages(lane);
		work += control_poll(ctx, LANE_CONTROL_MAX);
		work += sessions_poll(lane->sessions);
		work += partition_poll(ctx);
		work += partition_tick(ctx);
		work += release(lane);
		count_turn(lane, work);
		sl_stat_set(ctx->stats, SL_STAT_buffer_bytes_used, ctx->pool.used);
	}
	sessions_destroy(lane->sessions);
	lane->sessions = NULL;
	partition_stop(ctx);
	sl_log(INFO, lane, "stop lane=%u", ctx->index);
	/* Partitions stay attached: the host closes their logs when this thread has ended. */
	give_back(lane, lane->stop_msg);
	return 0;
}
