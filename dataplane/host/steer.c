/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listeners and steering.  Each lane has two sockets: one on the bootstrap port, which the lanes
 * share, and one on its own port.  Without eBPF the kernel spreads bootstrap connections over the
 * lanes by hash; with it the active lanes get them in turn and a lane's port can be moved.
 */
#include "steer.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/pace.h"
#include "sluice/base/assert.h"
#include "sluice/base/log.h"
#include "sluice/ipc/shm.h"
#include "sluice/kern/loader.h"

#define LISTEN_BACKLOG 4096
#define BANS_SHOWN_MAX 1000

_Static_assert(SL_SHM_LANES_MAX <= SL_STEER_LANES_MAX, "every lane can be steered to");

struct steer {
	struct steer_opts opts;
	struct sockaddr_storage addr; /* of the listener; the port is filled in per socket */
	socklen_t addr_len;
	char pacing[PACE_NAME_MAX]; /* of pace_system() */
	int bootstrap_fds[SL_SHM_LANES_MAX];
	int lane_fds[SL_SHM_LANES_MAX];
	struct sl_steer *program;   /* Owned; NULL: off */
	struct sl_ingress *ingress; /* Owned; NULL: off */
	const char *iface;          /* steer.xdp.iface; "" none is wanted */
	struct sl_kern_reason why_no_program;
	struct sl_kern_reason why_no_ingress;
};

/* ---- Sockets ---- */

static int resolve(struct steer *s, char error[SL_CONF_ERROR_MAX])
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	struct addrinfo *found;
	int rc = getaddrinfo(s->opts.host, NULL, &hints, &found);

	if (rc != 0) {
		snprintf(error, SL_CONF_ERROR_MAX, "listeners: find the address of \"%s\": %s",
		         s->opts.host, gai_strerror(rc));
		return -EINVAL;
	}
	SL_ASSERT(found->ai_addrlen <= sizeof(s->addr));
	memcpy(&s->addr, found->ai_addr, found->ai_addrlen);
	s->addr_len = found->ai_addrlen;
	freeaddrinfo(found);
	return 0;
}

static void set_port(struct sockaddr_storage *addr, uint16_t port)
{
	if (addr->ss_family == AF_INET6)
		((struct sockaddr_in6 *)addr)->sin6_port = htons(port);
	else
		((struct sockaddr_in *)addr)->sin_port = htons(port);
}

/* Return: a bound socket or -errno. */
static int bind_socket(const struct steer *s, uint16_t port, bool is_shared)
{
	struct sockaddr_storage addr = s->addr;
	const int on = 1;
	int fd = socket(addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int rc;

	if (fd < 0)
		return -errno;
	set_port(&addr, port);
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
	    (!is_shared || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0) &&
	    bind(fd, (struct sockaddr *)&addr, s->addr_len) == 0)
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

static int listen_on(const struct steer *s, int *out, uint16_t port, bool is_shared,
                     char error[SL_CONF_ERROR_MAX])
{
	int fd = bind_socket(s, port, is_shared);
	int rc = fd < 0 ? fd : 0;

	if (rc == 0)
		pace_listener(fd, s->pacing);
	if (rc == 0 && listen(fd, LISTEN_BACKLOG) != 0)
		rc = -errno;
	if (rc == 0) {
		*out = fd;
		return 0;
	}
	if (fd >= 0)
		close(fd);
	snprintf(error, SL_CONF_ERROR_MAX, "listeners: listen on %s port %u: %s", s->opts.host,
	         port, strerror(-rc));
	return rc;
}

/* SO_REUSEPORT would let a second server of the same user share the port without a word. */
static int check_unused(const struct steer *s, char error[SL_CONF_ERROR_MAX])
{
	int fd = -1;
	int rc = listen_on(s, &fd, s->opts.bootstrap_port, false, error);

	if (rc == 0)
		close(fd);
	return rc;
}

static int listen_all(struct steer *s, char error[SL_CONF_ERROR_MAX])
{
	bool is_shared = s->opts.lanes_count > 1;
	int rc = is_shared ? check_unused(s, error) : 0;

	pace_system(s->pacing);
	if (s->pacing[0] != '\0')
		sl_log(INFO, host, "congestion control %s, but not within this host", s->pacing);
	for (uint32_t i = 0; rc == 0 && i < s->opts.lanes_count; i++) {
		rc = listen_on(s, &s->bootstrap_fds[i], s->opts.bootstrap_port, is_shared, error);
		if (rc == 0)
			rc = listen_on(s, &s->lane_fds[i], (uint16_t)(s->opts.lane_port_base + i),
			               false, error);
	}
	return rc;
}

/* ---- Programs ---- */

static uint64_t all_lanes(const struct steer *s)
{
	return s->opts.lanes_count == 64 ? UINT64_MAX : (UINT64_C(1) << s->opts.lanes_count) - 1;
}

static int steer_port(struct steer *s, int fd, const struct sl_steer_port *to)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);

	if (getsockname(fd, (struct sockaddr *)&addr, &len) != 0)
		return -errno;
	return sl_steer_set_port(s->program, (struct sockaddr *)&addr, to);
}

static int fill_maps(struct steer *s)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < s->opts.lanes_count; i++) {
		rc = sl_steer_set_listener(s->program, i, s->lane_fds[i]);
		if (rc == 0)
			rc = steer_port(s, s->lane_fds[i],
			                &(struct sl_steer_port){SL_STEER_LANE, i});
	}
	if (rc == 0)
		rc = steer_port(s, s->bootstrap_fds[0],
		                &(struct sl_steer_port){SL_STEER_BOOTSTRAP, 0});
	return rc == 0 ? sl_steer_set_active(s->program, all_lanes(s)) : rc;
}

static void open_program(struct steer *s)
{
	int rc;

	if (strcmp(sl_conf_str(s->opts.conf, SL_CK_steer), "never") == 0) {
		snprintf(s->why_no_program.cause, sizeof(s->why_no_program.cause),
		         "steer=never in the configuration");
		sl_log(INFO, host, "steering off: %s; every lane accepts on its own listeners",
		       s->why_no_program.cause);
		return;
	}
	rc = sl_steer_open(&s->program, &s->why_no_program);
	if (rc == 0) {
		rc = fill_maps(s);
		if (rc != 0) {
			snprintf(s->why_no_program.cause, sizeof(s->why_no_program.cause),
			         "fill its tables: %s", strerror(-rc));
			sl_steer_close(s->program);
			s->program = NULL;
		}
	}
	if (rc == 0)
		sl_log(INFO, host, "steering on: sk_lookup lanes=%u", s->opts.lanes_count);
	else
		sl_log(WARN, host,
		       "steering off: %s; every lane accepts on its own listeners; fix: %s",
		       s->why_no_program.cause, s->why_no_program.fix);
}

static int set_ingress_ports(struct steer *s)
{
	int rc = sl_ingress_set_port(s->ingress, s->opts.bootstrap_port);

	for (uint32_t i = 0; rc == 0 && i < s->opts.lanes_count; i++)
		rc = sl_ingress_set_port(s->ingress, (uint16_t)(s->opts.lane_port_base + i));
	return rc;
}

static void open_ingress(struct steer *s)
{
	struct sl_ingress_opts opts = {
		.syn_rate = (uint32_t)sl_conf_int(s->opts.conf, SL_CK_steer_xdp_syn_rate)};
	int rc;

	if (!*s->iface) {
		snprintf(s->why_no_ingress.cause, sizeof(s->why_no_ingress.cause),
		         "steer.xdp.iface is not set");
		sl_log(INFO, host, "ingress off: %s", s->why_no_ingress.cause);
		return;
	}
	rc = sl_ingress_open(&s->ingress, s->iface, &opts, &s->why_no_ingress);
	if (rc == 0) {
		rc = set_ingress_ports(s);
		if (rc != 0) {
			snprintf(s->why_no_ingress.cause, sizeof(s->why_no_ingress.cause),
			         "fill its tables: %s", strerror(-rc));
			sl_ingress_close(s->ingress);
			s->ingress = NULL;
		}
	}
	if (rc == 0)
		sl_log(INFO, host, "ingress on: XDP iface=%s mode=%s syn_rate=%u", s->iface,
		       sl_ingress_mode_name(s->ingress), opts.syn_rate);
	else
		sl_log(WARN, host, "ingress off: iface=%s: %s; nothing is dropped early; fix: %s",
		       s->iface, s->why_no_ingress.cause, s->why_no_ingress.fix);
}

int steer_create(struct steer **out, const struct steer_opts *opts, char error[SL_CONF_ERROR_MAX])
{
	struct steer *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return -ENOMEM;
	SL_ASSERT(opts->lanes_count >= 1 && opts->lanes_count <= SL_SHM_LANES_MAX);
	s->opts = *opts;
	s->iface = sl_conf_str(opts->conf, SL_CK_steer_xdp_iface);
	for (unsigned i = 0; i < SL_SHM_LANES_MAX; i++)
		s->bootstrap_fds[i] = s->lane_fds[i] = -1;
	rc = resolve(s, error);
	if (rc == 0)
		rc = listen_all(s, error);
	if (rc != 0) {
		steer_destroy(s);
		return rc;
	}
	open_program(s);
	open_ingress(s);
	*out = s;
	return 0;
}

void steer_destroy(struct steer *s)
{
	if (!s)
		return;
	sl_steer_close(s->program);
	sl_ingress_close(s->ingress);
	for (unsigned i = 0; i < SL_SHM_LANES_MAX; i++) {
		if (s->bootstrap_fds[i] >= 0)
			close(s->bootstrap_fds[i]);
		if (s->lane_fds[i] >= 0)
			close(s->lane_fds[i]);
	}
	free(s);
}

int steer_bootstrap_fd(const struct steer *s, uint32_t lane)
{
	SL_ASSERT(lane < s->opts.lanes_count);
	return s->bootstrap_fds[lane];
}

int steer_lane_fd(const struct steer *s, uint32_t lane)
{
	SL_ASSERT(lane < s->opts.lanes_count);
	return s->lane_fds[lane];
}

void steer_stop(struct steer *s)
{
	/* Without a program there is nothing to clear. */
	int rc = sl_steer_set_active(s->program, 0);

	if (rc != 0 && rc != -ENOTSUP)
		sl_log(WARN, host, "stop steering: %s", strerror(-rc));
}

/* ---- Queries ---- */

static json_t *describe_reason(const struct sl_kern_reason *why)
{
	return json_pack("{s:b, s:s, s:s}", "on", 0, "cause", why->cause, "fix", why->fix);
}

static json_t *describe_program(const struct steer *s)
{
	struct sl_steer_stats stats;
	json_t *lanes;

	if (!s->program)
		return describe_reason(&s->why_no_program);
	if (sl_steer_stats(s->program, &stats) != 0)
		return json_pack("{s:b, s:s}", "on", 1, "cause", "its counters cannot be read");
	lanes = json_array();
	for (uint32_t i = 0; i < s->opts.lanes_count; i++)
		json_array_append_new(lanes, json_integer((json_int_t)stats.steered[i]));
	return json_pack("{s:b, s:o, s:I, s:I, s:I}", "on", 1, "steered", lanes, "missed_no_active",
	                 (json_int_t)stats.missed_no_active, "missed_no_listener",
	                 (json_int_t)stats.missed_no_listener, "missed_refused",
	                 (json_int_t)stats.missed_refused);
}

static json_t *describe_bans(const struct steer *s)
{
	struct sl_ingress_ban_info *bans = calloc(BANS_SHOWN_MAX, sizeof(*bans));
	json_t *out = json_array();
	int count = bans ? sl_ingress_bans(s->ingress, bans, BANS_SHOWN_MAX) : 0;

	for (int i = 0; i < count; i++)
		json_array_append_new(out, json_pack("{s:s, s:I}", "cidr", bans[i].cidr, "dropped",
		                                     (json_int_t)bans[i].dropped_packets));
	free(bans);
	return out;
}

static json_t *describe_ingress(const struct steer *s)
{
	struct sl_ingress_stats stats;
	json_t *counters;

	if (!s->ingress)
		return describe_reason(&s->why_no_ingress);
	counters = json_object();
	if (sl_ingress_stats(s->ingress, &stats) == 0)
		for (unsigned i = 0; i < SL_INGRESS_REASON_NR; i++)
			json_object_set_new(
				counters, sl_ingress_reason_name((enum sl_ingress_reason)i),
				json_pack("{s:I, s:I}", "packets",
			                  (json_int_t)stats.by_reason[i].packets, "bytes",
			                  (json_int_t)stats.by_reason[i].bytes));
	return json_pack("{s:b, s:s, s:s, s:o, s:o}", "on", 1, "iface", s->iface, "mode",
	                 sl_ingress_mode_name(s->ingress), "counters", counters, "bans",
	                 describe_bans(s));
}

json_t *steer_describe(const struct steer *s)
{
	json_t *lanes = json_array();

	for (uint32_t i = 0; i < s->opts.lanes_count; i++)
		json_array_append_new(lanes, json_pack("{s:I, s:I}", "lane", (json_int_t)i, "port",
		                                       (json_int_t)(s->opts.lane_port_base + i)));
	return json_pack("{s:s, s:i, s:o, s:o, s:o}", "host", s->opts.host, "bootstrap_port",
	                 (int)s->opts.bootstrap_port, "lanes", lanes, "sk_lookup",
	                 describe_program(s), "xdp", describe_ingress(s));
}

int steer_ban(struct steer *s, const char *cidr, bool is_on)
{
	return is_on ? sl_ingress_ban(s->ingress, cidr) : sl_ingress_unban(s->ingress, cidr);
}

int steer_redirect(struct steer *s, uint32_t from, uint32_t to)
{
	const struct sl_steer_move move = {from, to};

	if (from >= s->opts.lanes_count || to >= s->opts.lanes_count)
		return -EINVAL;
	return sl_steer_redirect(s->program, &move);
}
