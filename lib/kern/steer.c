/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loader of kernel/steer.bpf.c.  It is the only writer of the maps `ports`, `listeners`, `redirect`
 * and `lanes_active`.  The program's life is the life of the link, hence of the handle.
 */
#include "loader.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "sluice/base/assert.h"
#include "sluice/base/log.h"
#include "sluice/skel/steer.skel.h"

/* An IPv6 wildcard is two keys, one per family. */
#define KEYS_MAX 2

struct sl_steer {
	struct steer_skel *skel;            /* Owned: program, maps and link. */
	struct loader_percpu percpu;        /* Owned. */
	uint32_t moves[SL_STEER_LANES_MAX]; /* as asked for; the map holds where each chain ends */
};

static int attach(struct steer_skel *skel)
{
	/* The thread's own namespace: /proc/self would be that of the process's first thread. */
	int netns_fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	struct bpf_link *link;
	int err = 0;

	if (netns_fd < 0)
		return -errno;
	link = bpf_program__attach_netns(skel->progs.sl_steer_lookup, netns_fd);
	if (link)
		skel->links.sl_steer_lookup = link;
	else
		err = -errno;
	close(netns_fd);
	return err;
}

static int load(struct sl_steer *steer)
{
	uint64_t seed;

	steer->skel = steer_skel__open();
	if (!steer->skel)
		return -errno;
	if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
		return -EIO;
	steer->skel->rodata->hash_seed = seed;
	return steer_skel__load(steer->skel);
}

int sl_steer_open(struct sl_steer **out, struct sl_kern_reason *why)
{
	struct sl_steer *steer;
	int err = -ENOMEM;

	*why = (struct sl_kern_reason){0};
	loader_capture_messages();
	steer = calloc(1, sizeof(*steer));
	if (!steer)
		goto err_explain;
	for (uint32_t lane = 0; lane < SL_STEER_LANES_MAX; lane++)
		steer->moves[lane] = lane;
	err = loader_percpu_init(&steer->percpu, 1);
	if (err)
		goto err_close;
	err = load(steer);
	if (err)
		goto err_close;
	err = attach(steer->skel);
	if (err)
		goto err_close;
	*out = steer;
	return 0;

err_close:
	sl_steer_close(steer);
err_explain:
	loader_explain(why, &loader_need_steer, err);
	return err;
}

void sl_steer_close(struct sl_steer *steer)
{
	if (!steer)
		return;
	steer_skel__destroy(steer->skel);
	loader_percpu_fini(&steer->percpu);
	free(steer);
}

/* Return: number of keys that stand for @local; -EINVAL. */
static int make_keys(const struct sockaddr *local, struct sl_steer_key keys[KEYS_MAX])
{
	const struct sockaddr_in6 *in6 = (const void *)local;
	const struct sockaddr_in *in4 = (const void *)local;
	const struct sl_steer_key any4 = {.addr = {0, 0, htonl(0xffff), 0}};

	if (local->sa_family == AF_INET && in4->sin_port != 0) {
		keys[0] = any4;
		keys[0].addr[3] = in4->sin_addr.s_addr;
		keys[0].port = ntohs(in4->sin_port);
		return 1;
	}
	if (local->sa_family != AF_INET6 || in6->sin6_port == 0)
		return -EINVAL;
	memcpy(keys[0].addr, &in6->sin6_addr, sizeof(keys[0].addr));
	keys[0].port = ntohs(in6->sin6_port);
	if (!IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr))
		return 1;
	keys[1] = any4;
	keys[1].port = keys[0].port;
	return KEYS_MAX;
}

static int ports_fd(const struct sl_steer *steer)
{
	return bpf_map__fd(steer->skel->maps.ports);
}

static bool is_target(const struct sl_steer_port *to)
{
	if (to->kind == SL_STEER_BOOTSTRAP)
		return to->lane == 0;
	return to->kind == SL_STEER_LANE && to->lane < SL_STEER_LANES_MAX;
}

int sl_steer_set_port(struct sl_steer *steer, const struct sockaddr *local,
                      const struct sl_steer_port *to)
{
	struct sl_steer_key keys[KEYS_MAX] = {0};
	int count, err;

	if (!steer)
		return -ENOTSUP;
	if (!is_target(to))
		return -EINVAL;
	count = make_keys(local, keys);
	if (count < 0)
		return count;
	for (int i = 0; i < count; i++) {
		if (bpf_map_update_elem(ports_fd(steer), &keys[i], to, BPF_ANY) == 0)
			continue;
		err = -errno;
		while (i-- > 0)
			(void)bpf_map_delete_elem(ports_fd(steer), &keys[i]);
		return err;
	}
	sl_log(DEBUG, kern, "steer port=%u kind=%s lane=%u", keys[0].port,
	       to->kind == SL_STEER_BOOTSTRAP ? "bootstrap" : "lane", to->lane);
	return 0;
}

int sl_steer_clear_port(struct sl_steer *steer, const struct sockaddr *local)
{
	struct sl_steer_key keys[KEYS_MAX] = {0};
	int count, err = 0;

	if (!steer)
		return -ENOTSUP;
	count = make_keys(local, keys);
	if (count < 0)
		return count;
	for (int i = 0; i < count; i++) {
		if (bpf_map_delete_elem(ports_fd(steer), &keys[i]) != 0)
			err = -errno;
	}
	return err;
}

int sl_steer_set_listener(struct sl_steer *steer, uint32_t lane, int listen_fd)
{
	socklen_t len = sizeof(int);
	uint64_t value = (uint64_t)listen_fd;
	int is_listening = 0;

	if (!steer)
		return -ENOTSUP;
	if (lane >= SL_STEER_LANES_MAX)
		return -EINVAL;
	/* The map takes established sockets as well; assigning one fails per connection, far from
	 * here. */
	if (getsockopt(listen_fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &len) != 0)
		return errno == EBADF ? -EBADF : -EINVAL;
	if (!is_listening)
		return -EINVAL;
	if (bpf_map_update_elem(bpf_map__fd(steer->skel->maps.listeners), &lane, &value, BPF_ANY) !=
	    0)
		return -errno;
	return 0;
}

int sl_steer_set_active(struct sl_steer *steer, uint64_t lanes)
{
	uint32_t zero = 0;

	if (!steer)
		return -ENOTSUP;
	if (bpf_map_update_elem(bpf_map__fd(steer->skel->maps.lanes_active), &zero, &lanes,
	                        BPF_ANY) != 0)
		return -errno;
	sl_log(DEBUG, kern, "set active lanes=0x%llx", (unsigned long long)lanes);
	return 0;
}

/* Return: the lane at which the chain of @lane ends; SL_STEER_LANES_MAX if it is a ring. */
static uint32_t chain_end(const uint32_t *moves, uint32_t lane)
{
	for (uint32_t hops = 0; hops <= SL_STEER_LANES_MAX; hops++) {
		if (moves[lane] == lane)
			return lane;
		lane = moves[lane];
	}
	return SL_STEER_LANES_MAX;
}

int sl_steer_redirect(struct sl_steer *steer, const struct sl_steer_move *move)
{
	uint32_t moves[SL_STEER_LANES_MAX], ends[SL_STEER_LANES_MAX];

	if (!steer)
		return -ENOTSUP;
	if (move->from >= SL_STEER_LANES_MAX || move->to >= SL_STEER_LANES_MAX)
		return -EINVAL;
	memcpy(moves, steer->moves, sizeof(moves));
	moves[move->from] = move->to;
	for (uint32_t lane = 0; lane < SL_STEER_LANES_MAX; lane++) {
		ends[lane] = chain_end(moves, lane);
		if (ends[lane] == SL_STEER_LANES_MAX)
			return -ELOOP;
	}
	for (uint32_t lane = 0; lane < SL_STEER_LANES_MAX; lane++) {
		/* The map's 0 is "itself", see kernel/steer.bpf.c. */
		uint32_t value = ends[lane] == lane ? 0 : ends[lane] + 1;

		if (bpf_map_update_elem(bpf_map__fd(steer->skel->maps.redirect), &lane, &value,
		                        BPF_ANY) != 0)
			return -errno;
	}
	memcpy(steer->moves, moves, sizeof(moves));
	sl_log(DEBUG, kern, "redirect lane=%u to=%u", move->from, move->to);
	return 0;
}

int sl_steer_stats(const struct sl_steer *steer, struct sl_steer_stats *out)
{
	uint64_t sums[SL_STEER_STAT_NR];
	int err;

	if (!steer)
		return -ENOTSUP;
	for (uint32_t i = 0; i < SL_STEER_STAT_NR; i++) {
		err = loader_percpu_sum(&steer->percpu, bpf_map__fd(steer->skel->maps.stats), i,
		                        &sums[i]);
		if (err)
			return err;
	}
	memcpy(out->steered, sums, sizeof(out->steered));
	out->missed_no_active = sums[SL_STEER_MISS_NO_ACTIVE];
	out->missed_no_listener = sums[SL_STEER_MISS_NO_LISTENER];
	out->missed_refused = sums[SL_STEER_MISS_REFUSED];
	return 0;
}
