/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard's questions: rtnetlink(7) for the way to a peer and the nature of the interface,
 * sock_diag(7) for what a peer on this host has read.  The kernel answers within send(2), so that
 * nothing here waits for anything but the kernel's own locks.  Owner lane only.
 */
#include "net/peer.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define PEER_ANSWER_BYTES 16384
#define PEER_DEPTH_MAX    3   /* a VLAN on a VLAN on a bond */
#define PEER_PARTS_MAX    256 /* datagrams of one answer */

/* ---- Asking ---- */

/* One message of an answer.  Return: 0 or what the question ends with. */
typedef int answer_fn(void *arg, const struct nlmsghdr *h);

struct answer {
	uint8_t bytes[PEER_ANSWER_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
};

static int open_netlink(int protocol)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);

	return fd < 0 ? -errno : fd;
}

int peer_open(struct peer_oracle *o)
{
	*o = (struct peer_oracle){.route_fd = -1, .diag_fd = -1};
	o->route_fd = open_netlink(NETLINK_ROUTE);
	o->diag_fd = open_netlink(NETLINK_SOCK_DIAG);
	if (o->route_fd >= 0 && o->diag_fd >= 0)
		return 0;

	int err = SL_MIN(o->route_fd, o->diag_fd);

	peer_close(o);
	return err;
}

void peer_close(struct peer_oracle *o)
{
	if (o->route_fd >= 0)
		close(o->route_fd);
	if (o->diag_fd >= 0)
		close(o->diag_fd);
	o->route_fd = o->diag_fd = -1;
}

/* What one datagram says.  Return: 1 there is more; 0 the end; -errno. */
static int take_answer(const struct answer *a, size_t bytes, uint32_t seq, answer_fn *each,
                       void *arg)
{
	const struct nlmsghdr *h = (const void *)a->bytes;
	bool is_multi = false;

	for (size_t left = bytes; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
		int rc;

		if (h->nlmsg_seq != seq) {
			is_multi = true; /* the rest of a question that was given up */
			continue;
		}
		if (h->nlmsg_type == NLMSG_DONE)
			return 0;
		if (h->nlmsg_type == NLMSG_ERROR) {
			const struct nlmsgerr *e = NLMSG_DATA(h);

			return h->nlmsg_len < NLMSG_LENGTH(sizeof(*e)) ? -EPROTO : e->error;
		}
		rc = each(arg, h);
		if (rc != 0)
			return rc;
		is_multi = h->nlmsg_flags & NLM_F_MULTI;
	}
	return is_multi ? 1 : 0;
}

static int ask(struct peer_oracle *o, int fd, struct nlmsghdr *h, answer_fn *each, void *arg)
{
	struct answer a;

	h->nlmsg_seq = ++o->seq;
	h->nlmsg_flags |= NLM_F_REQUEST;
	if (send(fd, h, h->nlmsg_len, MSG_DONTWAIT) < 0)
		return -errno;
	for (unsigned i = 0; i < PEER_PARTS_MAX; i++) {
		ssize_t n = recv(fd, a.bytes, sizeof(a.bytes), MSG_DONTWAIT);
		int rc;

		if (n < 0)
			return -errno;
		rc = take_answer(&a, (size_t)n, h->nlmsg_seq, each, arg);
		if (rc <= 0)
			return rc;
	}
	return -EPROTO;
}

/* ---- Interfaces ---- */

struct link {
	struct {
		struct nlmsghdr h;
		struct ifinfomsg info;
		struct rtattr attr;
		uint32_t value;
	} ask;
	uint32_t ifindex;
	uint32_t lower;
	bool has_device; /* of a bus: PCI, virtio */
	bool is_vlan;
	bool is_bond;
	bool is_foreign; /* the lower one is in another network namespace */
	uint32_t members;
	uint32_t members_physical;
};

static void take_kind(struct link *l, const struct rtattr *info)
{
	const struct rtattr *a = RTA_DATA(info);

	for (size_t left = RTA_PAYLOAD(info); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		const char *kind = RTA_DATA(a);
		const size_t len = RTA_PAYLOAD(a);

		if (a->rta_type != IFLA_INFO_KIND)
			continue;
		l->is_vlan = len >= 4 && memcmp(kind, "vlan", SL_MIN(len, (size_t)5)) == 0;
		l->is_bond = (len >= 4 && memcmp(kind, "bond", SL_MIN(len, (size_t)5)) == 0) ||
		             (len >= 4 && memcmp(kind, "team", SL_MIN(len, (size_t)5)) == 0);
	}
}

static int take_link(void *arg, const struct nlmsghdr *h)
{
	const struct ifinfomsg *info = NLMSG_DATA(h);
	struct link *l = arg;

	if (h->nlmsg_type != RTM_NEWLINK || h->nlmsg_len < NLMSG_LENGTH(sizeof(*info)))
		return -EPROTO;

	size_t left = h->nlmsg_len - NLMSG_LENGTH(sizeof(*info));

	l->ifindex = (uint32_t)info->ifi_index;
	for (const struct rtattr *a = IFLA_RTA(info); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		if (a->rta_type == IFLA_PARENT_DEV_NAME)
			l->has_device = true;
		else if (a->rta_type == IFLA_LINK && RTA_PAYLOAD(a) >= sizeof(l->lower))
			memcpy(&l->lower, RTA_DATA(a), sizeof(l->lower));
		else if (a->rta_type == IFLA_LINK_NETNSID)
			l->is_foreign = true;
		else if ((a->rta_type & NLA_TYPE_MASK) == IFLA_LINKINFO)
			take_kind(l, a);
	}
	return 0;
}

static int take_member(void *arg, const struct nlmsghdr *h)
{
	struct link *bond = arg;
	struct link member = {0};
	int rc = take_link(&member, h);

	bond->members++;
	bond->members_physical += rc == 0 && member.has_device;
	return rc;
}

static int ask_link(struct peer_oracle *o, struct link *l, uint32_t ifindex)
{
	*l = (struct link){0};
	l->ask.h.nlmsg_type = RTM_GETLINK;
	l->ask.h.nlmsg_len = NLMSG_LENGTH(sizeof(l->ask.info));
	l->ask.info.ifi_index = (int)ifindex;
	return ask(o, o->route_fd, &l->ask.h, take_link, l);
}

/* Every member of a bond is a card. */
static bool is_bond_physical(struct peer_oracle *o, struct link *bond)
{
	const uint32_t ifindex = bond->ifindex;

	bond->ask.h.nlmsg_type = RTM_GETLINK;
	bond->ask.h.nlmsg_flags = NLM_F_DUMP;
	bond->ask.h.nlmsg_len = sizeof(bond->ask);
	bond->ask.info.ifi_index = 0;
	bond->ask.attr.rta_type = IFLA_MASTER;
	bond->ask.attr.rta_len = RTA_LENGTH(sizeof(ifindex));
	bond->ask.value = ifindex;
	return ask(o, o->route_fd, &bond->ask.h, take_member, bond) == 0 && bond->members > 0 &&
	       bond->members == bond->members_physical;
}

/* Whether what leaves by this interface leaves the machine, or at least its memory: the device
 * copies it out.  A bridge, a veth or a tunnel may hand the pages to another socket here. */
static bool is_physical(struct peer_oracle *o, uint32_t ifindex)
{
	struct link l;

	for (unsigned depth = 0; depth < PEER_DEPTH_MAX; depth++) {
		if (ask_link(o, &l, ifindex) != 0)
			return false;
		if (l.has_device)
			return true;
		if (l.is_bond)
			return is_bond_physical(o, &l);
		if (!l.is_vlan || l.is_foreign || l.lower == 0)
			return false;
		ifindex = l.lower;
	}
	return false;
}

static bool is_physical_cached(struct peer_oracle *o, uint32_t ifindex)
{
	const uint32_t known = SL_MIN(o->links_count, (uint32_t)PEER_LINKS_MAX);
	uint32_t at;

	for (uint32_t i = 0; i < known; i++)
		if (o->links[i].ifindex == ifindex)
			return o->links[i].is_physical;
	at = o->links_count++ % PEER_LINKS_MAX;
	o->links[at].ifindex = ifindex;
	o->links[at].is_physical = is_physical(o, ifindex);
	return o->links[at].is_physical;
}

/* ---- Routes ---- */

/* An address as netlink wants it: IPv4 also where the socket is an IPv6 one. */
struct address {
	uint8_t family; /* 0: neither */
	uint8_t len;
	uint8_t bytes[16];
	uint16_t port; /* network order */
	uint32_t scope;
};

static struct address address_of(const struct sockaddr_storage *ss)
{
	struct address a = {0};

	if (ss->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)ss;

		a.family = AF_INET;
		a.len = 4;
		a.port = in->sin_port;
		memcpy(a.bytes, &in->sin_addr, 4);
	} else if (ss->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)ss;
		const bool is_v4 = IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr);

		a.family = is_v4 ? AF_INET : AF_INET6;
		a.len = is_v4 ? 4 : 16;
		a.port = in6->sin6_port;
		a.scope = in6->sin6_scope_id;
		memcpy(a.bytes, (const uint8_t *)&in6->sin6_addr + 16 - a.len, a.len);
	}
	return a;
}

struct route {
	struct {
		struct nlmsghdr h;
		struct rtmsg rtm;
		uint8_t attrs[64];
	} ask;
	uint8_t type;
	uint32_t oif;
};

static void put_attr(struct nlmsghdr *h, uint16_t type, const void *p, size_t bytes)
{
	struct rtattr *a = (void *)((uint8_t *)h + NLMSG_ALIGN(h->nlmsg_len));

	a->rta_type = type;
	a->rta_len = (uint16_t)RTA_LENGTH(bytes);
	memcpy(RTA_DATA(a), p, bytes);
	h->nlmsg_len = (uint32_t)(NLMSG_ALIGN(h->nlmsg_len) + RTA_SPACE(bytes));
}

static int take_route(void *arg, const struct nlmsghdr *h)
{
	const struct rtmsg *rtm = NLMSG_DATA(h);
	struct route *r = arg;

	if (h->nlmsg_type != RTM_NEWROUTE || h->nlmsg_len < NLMSG_LENGTH(sizeof(*rtm)))
		return -EPROTO;

	size_t left = h->nlmsg_len - NLMSG_LENGTH(sizeof(*rtm));

	r->type = rtm->rtm_type;
	for (const struct rtattr *a = RTM_RTA(rtm); RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == RTA_OIF && RTA_PAYLOAD(a) >= sizeof(r->oif))
			memcpy(&r->oif, RTA_DATA(a), sizeof(r->oif));
	return 0;
}

enum peer_class peer_classify(struct peer_oracle *o, const struct sockaddr_storage *local,
                              const struct sockaddr_storage *peer)
{
	const struct address from = address_of(local);
	const struct address to = address_of(peer);
	struct route r = {0};

	if (o->route_fd < 0 || !to.family || from.family != to.family)
		return PEER_HIDDEN;
	r.ask.h.nlmsg_type = RTM_GETROUTE;
	r.ask.h.nlmsg_len = NLMSG_LENGTH(sizeof(r.ask.rtm));
	r.ask.rtm.rtm_family = to.family;
	r.ask.rtm.rtm_dst_len = r.ask.rtm.rtm_src_len = (uint8_t)(8 * to.len);
	put_attr(&r.ask.h, RTA_DST, to.bytes, to.len);
	put_attr(&r.ask.h, RTA_SRC, from.bytes, from.len);
	if (to.scope)
		put_attr(&r.ask.h, RTA_OIF, &to.scope, sizeof(to.scope));
	if (ask(o, o->route_fd, &r.ask.h, take_route, &r) != 0)
		return PEER_HIDDEN;
	if (r.type == RTN_LOCAL)
		return PEER_LOCAL;
	return r.type == RTN_UNICAST && r.oif && is_physical_cached(o, r.oif) ? PEER_REMOTE
	                                                                      : PEER_HIDDEN;
}

/* ---- Sockets ---- */

struct diag {
	struct {
		struct nlmsghdr h;
		struct inet_diag_req_v2 req;
	} ask;
	struct inet_diag_msg msg;
};

static int take_diag(void *arg, const struct nlmsghdr *h)
{
	struct diag *d = arg;

	if (h->nlmsg_type != SOCK_DIAG_BY_FAMILY || h->nlmsg_len < NLMSG_LENGTH(sizeof(d->msg)))
		return -EPROTO;
	memcpy(&d->msg, NLMSG_DATA(h), sizeof(d->msg));
	return 0;
}

static int ask_diag(struct peer_oracle *o, struct diag *d, const struct peer_id *id)
{
	d->ask.h.nlmsg_type = SOCK_DIAG_BY_FAMILY;
	d->ask.h.nlmsg_len = sizeof(d->ask);
	d->ask.req.sdiag_family = id->family;
	d->ask.req.sdiag_protocol = IPPROTO_TCP;
	d->ask.req.idiag_states = UINT32_MAX;
	d->ask.req.id = id->sock;
	return o->diag_fd < 0 ? -EBADF : ask(o, o->diag_fd, &d->ask.h, take_diag, d);
}

int peer_find(struct peer_oracle *o, struct peer_id *id, const struct sockaddr_storage *local,
              const struct sockaddr_storage *peer)
{
	const struct address from = address_of(peer);
	const struct address to = address_of(local);
	struct diag d = {0};
	int rc;

	if (!to.family || from.family != to.family)
		return -EAFNOSUPPORT;
	*id = (struct peer_id){.family = to.family};
	id->sock.idiag_sport = from.port;
	id->sock.idiag_dport = to.port;
	memcpy(id->sock.idiag_src, from.bytes, from.len);
	memcpy(id->sock.idiag_dst, to.bytes, to.len);
	id->sock.idiag_cookie[0] = id->sock.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
	rc = ask_diag(o, &d, id);
	if (rc != 0)
		return rc;
	/* Where no connection has these addresses the kernel shows who listens there. */
	if (d.msg.idiag_state != TCP_ESTABLISHED || d.msg.id.idiag_dport != to.port)
		return -ENOENT;
	memcpy(id->sock.idiag_cookie, d.msg.id.idiag_cookie, sizeof(id->sock.idiag_cookie));
	return 0;
}

int peer_unread(struct peer_oracle *o, const struct peer_id *id, uint32_t *unread)
{
	struct diag d = {0};
	int rc = ask_diag(o, &d, id);

	*unread = 0;
	/* ESTALE: another socket has the addresses now (its cookie differs). */
	if (rc == -ESTALE)
		return -ENOENT;
	if (rc != 0)
		return rc;
	switch (d.msg.idiag_state) {
	case TCP_ESTABLISHED:
	case TCP_FIN_WAIT1:
	case TCP_FIN_WAIT2:
	case TCP_CLOSE_WAIT:
	case TCP_CLOSING:
	case TCP_LAST_ACK:
		*unread = d.msg.idiag_rqueue;
		return 0;
	default:
		return -ENOENT;
	}
}
