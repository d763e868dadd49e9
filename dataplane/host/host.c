/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host thread: creates the data plane's parts, runs their events, takes them down.  Lanes are
 * reached by messages only; this thread may sleep on the disk, they may not.
 */
#include "host.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <rte_launch.h>

#include "host_impl.h"
#include "partition/cleaner.h"
#include "partition/writer.h"
#include "query.h"
#include "sluice/base/assert.h"
#include "sluice/base/clock.h"
#include "sluice/base/log.h"
#include "telemetry.h"

#define HOST_EVENTS_MAX       16
/* Messages that a lane may hold: half of either ring of lane.c, so that none can overflow. */
#define HOST_IN_FLIGHT_MAX    32768
#define HOST_REAPS_MAX        64 /* returned messages in a row; some mean a close or a delete */
#define HOST_CONTROL_GRACE_MS 30000
#define HOST_HOUSEKEEP_MS     1000
#define HOST_LOCK_WAIT_MS     2000 /* for what a killed predecessor still writes */
#define HOST_SWEEP_MS         20   /* while deleted folders are being removed */
#define HOST_FULL_MS          10   /* while the control ring is not read */
/* Kafka's allowance for a transaction that its coordinator ought to have aborted. */
#define HOST_TXN_LATE_MS      INT64_C(300000)

/* epoll_event.data.u64; those of attach.h begin behind them. */
enum host_fd {
	HOST_FD_SIGNAL = 0,
	HOST_FD_WAKE,
	HOST_FD_EAL,
	HOST_FD_NR
};
_Static_assert((int)HOST_FD_NR <= (int)ATTACH_FD_LISTEN, "descriptors have different tags");

/* ---- Lanes ---- */

static void send_backlog(struct host_lane *l)
{
	while (!sl_list_is_empty(&l->backlog) && l->in_flight < HOST_IN_FLIGHT_MAX) {
		struct lane_msg *msg = sl_list_first(&l->backlog, struct lane_msg, link);

		sl_list_del(&msg->link);
		if (!lane_post(l->lane, msg)) {
			sl_list_push_front(&l->backlog, &msg->link);
			return;
		}
		l->in_flight++;
	}
}

void host_post(struct host *h, struct lane_msg *msg)
{
	struct host_lane *l = &h->lanes[msg->lane];

	SL_ASSERT(msg->lane < h->opts.lanes_count);
	sl_list_push_back(&l->backlog, &msg->link);
	if (h->are_lanes_running)
		send_backlog(l);
}

static void dispatch_returned(struct host *h, struct lane_msg *msg)
{
	switch (msg->type) {
	case LANE_MSG_CONTROL:
		attach_returned(h->attach, msg);
		break;
	case LANE_MSG_CONNECTIONS:
		query_returned(h, msg);
		break;
	case LANE_MSG_HOT:
		break;
	case LANE_MSG_STOP:
		SL_ASSERT(h->stops_left > 0);
		h->stops_left--;
		break;
	default:
		apply_returned(h->apply, msg);
		break;
	}
}

static unsigned reap_lanes(struct host *h)
{
	unsigned done = 0;

	for (uint32_t i = 0; h->are_lanes_running && i < h->opts.lanes_count; i++) {
		struct host_lane *l = &h->lanes[i];
		struct lane_msg *msg;
		uint32_t dir;
		int error;

		while (lane_failed_dir(l->lane, &dir, &error)) {
			apply_dir_failed(h->apply, dir, error);
			done++;
		}
		for (unsigned n = 0; n < HOST_REAPS_MAX && (msg = lane_reap(l->lane)); n++) {
			SL_ASSERT(l->in_flight > 0);
			l->in_flight--;
			dispatch_returned(h, msg);
			done++;
		}
		send_backlog(l);
	}
	return done;
}

/* A lane's writes may outlive the process that is killed, and its locks must outlive them. */
static int hold_locks(struct host *h, struct writer *w)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < logdirs_count(h->dirs); i++) {
		int fd = logdirs_lock_fd(h->dirs, i);

		if (fd >= 0)
			rc = writer_hold_fd(w, fd);
	}
	return rc;
}

/* All lanes have the same kind: what refuses io_uring refuses it to the process. */
static void log_writer(const struct host *h)
{
	const struct writer *w = lane_writer(h->lanes[0].lane);

	if (*writer_reason(w))
		sl_log(INFO, host, "io_uring off: %s", writer_reason(w));
	else
		sl_log(INFO, host, "io_uring on");
}

static int start_cleaner(struct host *h, char error[SL_CONF_ERROR_MAX])
{
	int rc = h->cleaner ? cleaner_start(h->cleaner, &h->cleaner_cpus) : 0;

	if (rc != 0)
		snprintf(error, SL_CONF_ERROR_MAX, "start cleaner: %s", strerror(-rc));
	return rc;
}

int host_create_lanes(struct host *h, const struct host_memory *memory,
                      char error[SL_CONF_ERROR_MAX])
{
	const struct sl_conf *conf = h->opts.conf;
	struct lane_opts o = {
		.lanes_count = h->opts.lanes_count,
		.node_id_base = (int32_t)sl_conf_int(conf, SL_CK_server_id) * 100,
		.config = &h->config,
		.buffer_bytes = (size_t)sl_conf_int(conf, SL_CK_lane_buffer_bytes),
		.partitions_max = (uint32_t)sl_conf_int(conf, SL_CK_lane_partitions_max),
		.image = apply_image(h->apply),
		.files = &h->files,
		.host_wake_fd = h->wake_fd,
	};

	h->memory = *memory;
	for (uint32_t i = 0; i < o.lanes_count; i++) {
		int rc;

		o.index = i;
		o.numa_node = h->opts.numa_nodes[i];
		o.stats = sl_shm_stats(h->shm, i);
		o.bootstrap_fd = steer_bootstrap_fd(h->steer, i);
		o.lane_fd = steer_lane_fd(h->steer, i);
		o.cleaner = h->cleaner ? cleaner_port(h->cleaner, i) : NULL;
		rc = lane_create(&h->lanes[i].lane, &o);
		if (rc == 0)
			rc = hold_locks(h, lane_writer(h->lanes[i].lane));
		if (rc == 0)
			continue;
		snprintf(error, SL_CONF_ERROR_MAX,
		         "create lane %u: %s; lane.buffer.bytes=%zu may not fit", i, strerror(-rc),
		         o.buffer_bytes);
		return rc;
	}
	log_writer(h);
	return start_cleaner(h, error);
}

/* ---- What the parts call back ---- */

static void on_post(void *arg, struct lane_msg *msg)
{
	host_post(arg, msg);
}

static void on_tell(void *arg, enum sl_ipc_type type, const void *head, size_t bytes)
{
	struct host *h = arg;

	attach_send(h->attach, type, (struct sl_bytes){head, (int32_t)bytes}, (struct sl_bytes){0});
}

static void stop(struct host *h)
{
	h->is_stopping = true;
	steer_stop(h->steer);
	/* Lanes that do not run yet never will. */
	for (uint32_t i = 0; h->are_lanes_running && i < h->opts.lanes_count; i++) {
		h->stop_msgs[i].type = LANE_MSG_STOP;
		h->stop_msgs[i].lane = i;
		sl_list_init(&h->stop_msgs[i].link);
		h->stops_left++;
		host_post(h, &h->stop_msgs[i]);
	}
}

/* Before any log is opened, since what was left in a tier belongs into the files first. */
static int open_tier(struct host *h, const struct sl_ipc_tiers *offered)
{
	struct sl_hot_pool *const *pools = tier_pools(h->tier);
	struct memory memory;
	int rc;

	memory_read(&memory);
	rc = tier_open(h->tier, &memory, offered, h->dirs);
	if (rc != 0) {
		sl_log(ERR, host, "replay hot tier: %s; the control process keeps it%s",
		       strerror(-rc),
		       rc == -ENOSPC || rc == -EDQUOT ? "; fix: make room in the log dirs" : "");
		h->error = rc;
		stop(h);
		return rc;
	}
	if (h->are_lanes_running)
		tier_populate(h->tier);
	apply_set_hot(h->apply, pools);
	for (uint32_t i = 0; i < h->opts.lanes_count; i++) {
		h->hot_msgs[i] = (struct lane_msg){.type = LANE_MSG_HOT, .lane = i};
		h->hot_msgs[i].hot = pools[i];
		sl_list_init(&h->hot_msgs[i].link);
		host_post(h, &h->hot_msgs[i]);
	}
	return 0;
}

static int on_greeted(void *arg, const struct sl_ipc_tiers *offered, struct sl_ipc_tiers *used)
{
	struct host *h = arg;
	int rc = h->is_stopping ? -ESHUTDOWN : 0;

	if (rc == 0 && !tier_is_open(h->tier))
		rc = open_tier(h, offered);
	if (rc == 0)
		tier_list(h->tier, used);
	return rc;
}

static void on_attached(void *arg)
{
	struct host *h = arg;

	for (uint32_t i = 0; i < logdirs_count(h->dirs); i++) {
		struct sl_ipc_log_dir head = {.log_dir = i, .error = logdirs_error(h->dirs, i)};

		if (head.error)
			on_tell(h, SL_IPC_LOG_DIR, &head, sizeof(head));
	}
}

static void on_lost(void *arg)
{
	struct host *h = arg;

	apply_control_lost(h->apply);
}

static int on_message(void *arg, uint32_t type, const void *p, size_t bytes)
{
	struct host *h = arg;

	if (type == SL_IPC_QUERY)
		return query_take(h, p, bytes);
	return apply_message(h->apply, (enum sl_ipc_type)type, p, bytes);
}

/* ---- Creation ---- */

static void fill_config(struct host *h)
{
	const struct sl_conf *conf = h->opts.conf;
	int64_t spin_us = sl_conf_int(conf, SL_CK_lane_idle_spin_us);

	h->config = (struct ctx_config){
		.request_bytes_max = (uint32_t)sl_conf_int(conf, SL_CK_socket_request_max_bytes),
		.fetch_bytes_max = (uint32_t)sl_conf_int(conf, SL_CK_fetch_max_bytes),
		.idle_ms = sl_conf_int(conf, SL_CK_connections_max_idle_ms),
		.frame_ms = sl_conf_int(conf, SL_CK_connection_request_timeout_ms),
		.connections_max = (uint32_t)sl_conf_int(conf, SL_CK_lane_connections_max),
		.connections_per_ip_max = (uint32_t)sl_conf_int(conf, SL_CK_max_connections_per_ip),
		.idle_spin_ns = spin_us < 0 ? -1 : spin_us * 1000,
		.control_grace_ms = HOST_CONTROL_GRACE_MS,
		.tick_ms = sl_conf_int(conf, SL_CK_log_retention_check_interval_ms),
		.clean_backoff_ms = sl_conf_int(conf, SL_CK_log_cleaner_backoff_ms),
		.txn_late_ms = sl_conf_int(conf, SL_CK_transaction_max_timeout_ms) +
	                       HOST_TXN_LATE_MS,
	};
}

static int watch(const struct host *h, int fd, uint64_t tag)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = tag};

	return epoll_ctl(h->epoll_fd, EPOLL_CTL_ADD, fd, &ev) == 0 ? 0 : -errno;
}

static int create_events(struct host *h)
{
	sigset_t set;
	int rc;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	h->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	h->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	h->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (h->epoll_fd < 0 || h->wake_fd < 0 || h->signal_fd < 0)
		return -errno;
	rc = watch(h, h->signal_fd, HOST_FD_SIGNAL);
	return rc == 0 ? watch(h, h->wake_fd, HOST_FD_WAKE) : rc;
}

static int create_steer(struct host *h, char error[SL_CONF_ERROR_MAX])
{
	const struct steer_opts o = {
		.conf = h->opts.conf,
		.host = h->opts.listen_host,
		.bootstrap_port = h->opts.listen_port,
		.lane_port_base = h->opts.lane_port_base,
		.lanes_count = h->opts.lanes_count,
	};

	return steer_create(&h->steer, &o, error);
}

static int create_apply(struct host *h)
{
	const struct apply_opts o = {
		.conf = h->opts.conf,
		.dirs = h->dirs,
		.shm = h->shm,
		.node_id_base = (int32_t)sl_conf_int(h->opts.conf, SL_CK_server_id) * 100,
		.partitions_max = (uint32_t)sl_conf_int(h->opts.conf, SL_CK_lane_partitions_max),
		.post = on_post,
		.tell = on_tell,
		.arg = h,
	};

	return apply_create(&h->apply, &o);
}

static int create_tier(struct host *h)
{
	const struct tier_opts o = {
		.conf = h->opts.conf,
		.lanes_count = h->opts.lanes_count,
		.numa_nodes = h->opts.numa_nodes,
	};

	return tier_create(&h->tier, &o);
}

static int create_attach(struct host *h, char error[SL_CONF_ERROR_MAX])
{
	struct attach_opts o = {
		.shm = h->shm,
		.shm_bytes = h->shm_bytes,
		.shm_fd = h->shm_fd,
		.epoll_fd = h->epoll_fd,
		.post = on_post,
		.greeted = on_greeted,
		.attached = on_attached,
		.lost = on_lost,
		.message = on_message,
		.arg = h,
	};
	int rc;

	if (asprintf(&h->attach_path, "%s/run/attach.sock", h->opts.data_dir) < 0) {
		h->attach_path = NULL;
		return -ENOMEM;
	}
	o.path = h->attach_path;
	rc = attach_create(&h->attach, &o);
	if (rc != 0)
		snprintf(error, SL_CONF_ERROR_MAX, "listen for the control process on %s: %s",
		         h->attach_path, strerror(-rc));
	return rc;
}

/* Beside the lanes, where this process has more cpus than those. */
static int create_cleaner(struct host *h)
{
	const struct sl_conf *conf = h->opts.conf;
	const struct cleaner_opts o = {
		.files = h->files,
		.map_bytes = (uint64_t)sl_conf_int(conf, SL_CK_log_cleaner_dedupe_buffer_size),
		.window_bytes = (uint32_t)sl_conf_int(conf, SL_CK_log_cleaner_io_buffer_size),
		.bytes_per_second = sl_conf_int(conf, SL_CK_log_cleaner_io_max_bytes_per_second),
		.lanes_count = h->opts.lanes_count,
	};
	cpu_set_t all;

	if (!sl_conf_bool(conf, SL_CK_log_cleaner_enable))
		return 0;
	if (sched_getaffinity(0, sizeof(all), &all) != 0)
		return -errno;
	h->cleaner_cpus = all;
	for (uint32_t i = 0; i < h->opts.lanes_count; i++)
		if (h->opts.cpus[i] >= 0 && h->opts.cpus[i] < CPU_SETSIZE)
			CPU_CLR(h->opts.cpus[i], &h->cleaner_cpus);
	if (CPU_COUNT(&h->cleaner_cpus) == 0)
		h->cleaner_cpus = all;
	return cleaner_create(&h->cleaner, &o);
}

/* The order is that of what can be refused: a second data plane on the same folder fails at the
 * lock of its log dirs, before it takes a port or a socket path from the first. */
static int create_parts(struct host *h, char error[SL_CONF_ERROR_MAX])
{
	const struct sl_conf *conf = h->opts.conf;
	uint32_t lanes = h->opts.lanes_count;
	uint32_t slots = lanes * (uint32_t)sl_conf_int(conf, SL_CK_lane_partitions_max);
	int rc = create_events(h);

	if (rc == 0)
		rc = logdirs_create(&h->dirs, sl_conf_str(conf, SL_CK_log_dirs), h->opts.data_dir,
		                    h->files, HOST_LOCK_WAIT_MS, error);
	if (rc == 0)
		logdirs_set_recycle(h->dirs, (uint64_t)sl_conf_int(conf, SL_CK_log_recycle_bytes),
		                    lanes);
	if (rc == 0)
		rc = sl_ipc_shm_create(&h->shm, &h->shm_bytes, &h->shm_fd, lanes, slots);
	if (rc == 0)
		rc = create_steer(h, error);
	if (rc == 0)
		rc = create_tier(h);
	if (rc == 0)
		rc = create_cleaner(h);
	if (rc == 0)
		rc = create_apply(h);
	return rc == 0 ? create_attach(h, error) : rc;
}

int host_create(struct host **out, const struct host_opts *opts, char error[SL_CONF_ERROR_MAX])
{
	struct host *h = calloc(1, sizeof(*h));
	int rc;

	if (!h)
		return -ENOMEM;
	SL_ASSERT(opts->lanes_count >= 1 && opts->lanes_count <= HOST_LANES_MAX);
	h->opts = *opts;
	h->files = (struct sl_files){.ops = &sl_file_ops_plain};
	h->epoll_fd = h->signal_fd = h->wake_fd = h->shm_fd = -1;
	sl_list_init(&h->queries);
	for (unsigned i = 0; i < HOST_LANES_MAX; i++)
		sl_list_init(&h->lanes[i].backlog);
	fill_config(h);
	rc = create_parts(h, error);
	if (rc != 0) {
		host_destroy(h);
		return rc;
	}
	*out = h;
	return 0;
}

/* ---- The lanes' threads ---- */

/* On the main lcore. */
static int launch_lanes(void *arg)
{
	struct host *h = arg;
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < h->opts.lanes_count; i++)
		rc = lane_create_rings(h->lanes[i].lane);
	/* All or none: nobody could stop those that run. */
	for (uint32_t i = 0; rc == 0 && i < h->opts.lanes_count; i++)
		SL_ASSERT(rte_eal_remote_launch(lane_main, h->lanes[i].lane, i + 1) == 0);
	return rc;
}

/* On the main lcore.  It spins. */
static int wait_lanes(void *arg)
{
	(void)arg;
	rte_eal_mp_wait_lcore();
	return 0;
}

static int start_lanes(struct host *h)
{
	int rc = eal_wait(h->eal, h->error_text);

	if (rc != 0)
		return rc;
	rc = eal_call(h->eal, launch_lanes, h);
	if (rc != 0) {
		snprintf(h->error_text, SL_CONF_ERROR_MAX,
		         "create the rings of %u lanes: %s; fix: more hugepages.bytes",
		         h->opts.lanes_count, strerror(-rc));
		return rc;
	}
	h->are_lanes_running = true;
	telemetry_start(h);
	if (tier_is_open(h->tier))
		tier_populate(h->tier);
	sl_log(INFO, host, "serve host=%s port=%u lanes=%u lane_ports=%u-%u", h->opts.listen_host,
	       h->opts.listen_port, h->opts.lanes_count, h->opts.lane_port_base,
	       h->opts.lane_port_base + h->opts.lanes_count - 1);
	return 0;
}

/* ---- Running ---- */

static void begin_stop(struct host *h)
{
	struct signalfd_siginfo info;
	ssize_t n = read(h->signal_fd, &info, sizeof(info));

	if (n != (ssize_t)sizeof(info) || h->is_stopping)
		return;
	sl_log(INFO, host, "stop signal=%u pid=%u", info.ssi_signo, info.ssi_pid);
	stop(h);
}

static void housekeep(struct host *h, int64_t now_ms)
{
	if (now_ms < h->housekeep_ms)
		return;
	h->housekeep_ms = now_ms + (logdirs_sweep(h->dirs) ? HOST_SWEEP_MS : HOST_HOUSEKEEP_MS);
}

/* One turn of everything.  Return: work done. */
static unsigned poll_parts(struct host *h)
{
	unsigned work = reap_lanes(h);
	int rc = 0;

	work += attach_poll(h->attach, !apply_is_full(h->apply));
	/* Lanes that end give nothing back: no round begins or goes on then. */
	if (!h->is_stopping)
		rc = apply_poll(h->apply);
	if (rc < 0)
		attach_drop(h->attach, "its image cannot be applied");
	work += rc != 0;
	housekeep(h, sl_mono_ms());
	return work;
}

static int idle_timeout(struct host *h, unsigned work)
{
	int64_t ms = h->housekeep_ms - sl_mono_ms();

	if (work > 0)
		return 0;
	if (apply_is_full(h->apply))
		ms = SL_MIN(ms, HOST_FULL_MS);
	else if (!attach_may_sleep(h->attach))
		return 0;
	return (int)SL_MAX(ms, 0);
}

static void take_eal(struct host *h)
{
	(void)epoll_ctl(h->epoll_fd, EPOLL_CTL_DEL, eal_fd(h->eal), NULL);
	if (h->is_stopping)
		return;
	h->error = start_lanes(h);
	if (h->error != 0)
		stop(h);
}

static void take_events(struct host *h, int timeout_ms)
{
	struct epoll_event events[HOST_EVENTS_MAX];
	int n = epoll_wait(h->epoll_fd, events, HOST_EVENTS_MAX, timeout_ms);

	for (int i = 0; i < n; i++) {
		uint64_t tag = events[i].data.u64;
		uint64_t drained;

		if (tag == HOST_FD_SIGNAL)
			begin_stop(h);
		else if (tag == HOST_FD_EAL)
			take_eal(h);
		else if (tag == HOST_FD_WAKE)
			/* What it counted is found by reap_lanes(); EAGAIN is as good. */
			(void)SL_COUNT_IF(read(h->wake_fd, &drained, sizeof(drained)) < 0 &&
			                  errno != EAGAIN);
		else
			attach_event(h->attach, (enum attach_fd)tag);
	}
}

static void destroy_lanes(struct host *h)
{
	for (uint32_t i = 0; i < h->opts.lanes_count; i++) {
		lane_destroy(h->lanes[i].lane);
		h->lanes[i].lane = NULL;
	}
}

int host_run(struct host *h, struct eal *eal, char error[SL_CONF_ERROR_MAX])
{
	int64_t begun_ms;
	int rc, dirs_rc;

	h->eal = eal;
	h->error_text = error;
	rc = watch(h, eal_fd(eal), HOST_FD_EAL);
	if (rc != 0)
		return rc;
	while (!h->is_stopping || h->stops_left > 0)
		take_events(h, idle_timeout(h, poll_parts(h)));
	/* A lane's last message is not its last instruction. */
	if (h->are_lanes_running)
		SL_ASSERT(eal_call(eal, wait_lanes, NULL) == 0);
	telemetry_stop();
	destroy_lanes(h);
	cleaner_destroy(h->cleaner);
	h->cleaner = NULL;
	begun_ms = sl_mono_ms();
	rc = apply_destroy(h->apply);
	h->apply = NULL;
	dirs_rc = logdirs_destroy(h->dirs);
	h->dirs = NULL;
	rc = rc ? rc : dirs_rc;
	sl_log(INFO, host, "closed all logs clean=%s ms=%lld", rc ? "no" : "yes",
	       (long long)(sl_mono_ms() - begun_ms));
	return h->error ? h->error : rc;
}

void host_destroy(struct host *h)
{
	int rc;

	if (!h)
		return;
	destroy_lanes(h);
	cleaner_destroy(h->cleaner);
	query_drop_all(h);
	attach_destroy(h->attach);
	rc = apply_destroy(h->apply);
	rc = rc ? rc : logdirs_destroy(h->dirs);
	if (rc != 0)
		sl_log(ERR, host, "close logs: %s", strerror(-rc));
	tier_destroy(h->tier);
	steer_destroy(h->steer);
	sl_ipc_shm_destroy(h->shm, h->shm_bytes, h->shm_fd);
	if (h->signal_fd >= 0)
		close(h->signal_fd);
	if (h->wake_fd >= 0)
		close(h->wake_fd);
	if (h->epoll_fd >= 0)
		close(h->epoll_fd);
	free(h->attach_path);
	free(h);
}
