/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mode connections.  Connections are opened on a schedule and pinged round robin, so that at any
 * rate and number the work is spread evenly over time.  A connection that is refused or lost counts
 * as failed and is opened again.  Owned by one worker thread.
 */
#include "pinger.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>

#include "sluice/base/clock.h"
#include "sluice/wire/api_versions_gen.h"

/* Opened and not yet standing, at most: a listener's backlog is finite. */
#define CONNECTING_MAX    512
/* From one address to one port there are 28,000 ports; more connections need more addresses. */
#define PORTS_PER_ADDRESS 20000
#define PING_BYTES        128
#define PING_IN_BYTES     4096

struct ping {
	struct conn conn;
	struct pinger *pinger;
	int64_t number;
	bool is_asking;
	uint64_t sent_ns;
	uint64_t retry_ns;
	size_t skip; /* bytes of the answer that are still to come; 0 with is_asking: size unknown
	              */
};

struct pinger {
	struct worker *worker;
	struct ping *pings; /* Owned */
	int64_t count, opened;
	int64_t first;
	int64_t connecting;
	struct schedule opening;
	struct schedule pinging;
	uint64_t pinged; /* of the schedule */
	uint8_t frame[PING_BYTES];
	size_t frame_bytes;
};

static const struct conn_ops ping_ops;

int pinger_create(struct pinger **out, struct worker *w, int64_t first, int64_t count, double rate)
{
	const struct options *o = w->run->opts;
	struct pinger *p = calloc(1, sizeof(*p));
	struct sl_api_versions_req req;
	struct sl_buf b;

	if (!p)
		return -ENOMEM;
	p->worker = w;
	p->first = first;
	p->count = count;
	p->pings = calloc((size_t)SL_MAX(count, INT64_C(1)), sizeof(*p->pings));
	if (!p->pings) {
		free(p);
		return -ENOMEM;
	}
	for (int64_t i = 0; i < count; i++) {
		conn_init(&p->pings[i].conn, &ping_ops, &p->pings[i]);
		p->pings[i].pinger = p;
		p->pings[i].number = first + i;
	}
	p->opening.interval_ns = rate > 0 ? 1e9 / rate : 1;
	if (o->ping_ms > 0 && count > 0)
		p->pinging.interval_ns = (double)o->ping_ms * 1e6 / (double)count;
	sl_buf_init_fixed(&b, p->frame, sizeof(p->frame));
	sl_api_versions_req_init(&req);
	client_begin(&b, SL_API_API_VERSIONS, 0, 1);
	sl_api_versions_req_encode(&req, &b, 0);
	sl_store_be32(p->frame, (uint32_t)(b.len - 4));
	p->frame_bytes = b.len;
	*out = p;
	return 0;
}

void pinger_destroy(struct pinger *p)
{
	if (!p)
		return;
	for (int64_t i = 0; i < p->count; i++)
		conn_fini(&p->pings[i].conn);
	free(p->pings);
	free(p);
}

/* 127.0.0.1 serves the first connections, 127.0.0.2 the next, when all are on this machine. */
static bool local_address(const struct sockaddr_storage *to, int64_t number,
                          struct sockaddr_storage *local)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)to;
	struct sockaddr_in *from = (struct sockaddr_in *)local;

	if (to->ss_family != AF_INET || ntohl(in->sin_addr.s_addr) >> 24 != 127)
		return false;
	memset(local, 0, sizeof(*local));
	from->sin_family = AF_INET;
	from->sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)(number / PORTS_PER_ADDRESS));
	return true;
}

static void open_ping(struct ping *g, uint64_t now_ns)
{
	struct pinger *p = g->pinger;
	const struct cluster *cluster = &p->worker->run->cluster;
	const struct cluster_node *n = &cluster->nodes[g->number % cluster->nodes_count];
	struct sockaddr_storage local;
	bool is_local = local_address(&n->addr, g->number / cluster->nodes_count, &local);

	g->is_asking = false;
	g->skip = 0;
	if (conn_open(&g->conn, p->worker->epoll_fd, &n->addr, is_local ? &local : NULL, now_ns)) {
		p->worker->total.failed++;
		g->retry_ns = now_ns + LOAD_BACKOFF_NS;
		return;
	}
	p->connecting++;
}

static void lose(struct ping *g, uint64_t now_ns)
{
	conn_close(&g->conn);
	worker_error(g->pinger->worker);
	g->retry_ns = now_ns + LOAD_BACKOFF_NS;
}

static void send_ping(struct ping *g, uint64_t now_ns)
{
	struct iovec iov = {g->pinger->frame, g->pinger->frame_bytes};

	/* A socket that cannot take 40 bytes has an answer outstanding for long. */
	if (conn_send(&g->conn, &iov, 1) != (ssize_t)iov.iov_len) {
		lose(g, now_ns);
		return;
	}
	g->is_asking = true;
	g->sent_ns = now_ns;
}

static void on_opened(struct conn *c, uint64_t now_ns)
{
	struct ping *g = c->owner;
	struct worker *w = g->pinger->worker;

	g->pinger->connecting--;
	w->total.opened++;
	w->total.opened_ns = now_ns;
	sl_hist_add(&w->total.connect_ns, now_ns - c->began_ns);
}

static void on_refused(struct conn *c, uint64_t now_ns, int err)
{
	struct ping *g = c->owner;

	(void)err;
	g->pinger->connecting--;
	g->pinger->worker->total.failed++;
	g->retry_ns = now_ns + LOAD_BACKOFF_NS;
}

/* Looks at no more of the answer than its size. */
static int read_pong(struct ping *g)
{
	struct conn *c = &g->conn;
	ssize_t n;

	if (g->skip == 0) {
		int rc = conn_reserve(c, 4, PING_IN_BYTES);

		if (rc != 0)
			return rc;
		n = conn_receive(c, 4 - conn_left(c));
		if (n < 0 || conn_left(c) < 4)
			return n < 0 ? (int)n : 0;
		g->skip = sl_load_be32(c->in + c->in_start);
		c->in_start = c->in_end = 0;
		return g->skip > 0 && g->is_asking ? 0 : -EBADMSG;
	}
	n = conn_discard(c, g->skip);
	if (n < 0)
		return (int)n;
	g->skip -= (size_t)n;
	if (g->skip == 0) {
		uint64_t now_ns = sl_mono_ns();

		g->is_asking = false;
		worker_count(g->pinger->worker, 1, 0, 0, now_ns);
		worker_latency(g->pinger->worker, now_ns - g->sent_ns);
	}
	return 0;
}

static void on_ready(struct conn *c, uint64_t now_ns)
{
	struct ping *g = c->owner;

	while (c->can_read) {
		int rc = read_pong(g);

		if (rc != 0 && rc != -EAGAIN && rc != -EINTR) {
			lose(g, now_ns);
			return;
		}
	}
}

static const struct conn_ops ping_ops = {on_opened, on_ready, on_refused};

/* Pings the next connection of the round; one that was lost is opened again instead. */
static void visit(struct pinger *p, struct ping *g, uint64_t now_ns)
{
	if (g->conn.state == CONN_CLOSED) {
		if (now_ns >= g->retry_ns && p->connecting < CONNECTING_MAX) {
			p->worker->total.retries++;
			open_ping(g, now_ns);
		}
	} else if (g->conn.state == CONN_OPEN && !g->is_asking) {
		send_ping(g, now_ns);
	} else if (g->conn.state == CONN_OPEN && now_ns > g->sent_ns + LOAD_ANSWER_NS) {
		lose(g, now_ns);
	}
}

uint64_t pinger_poll(struct pinger *p, uint64_t now_ns)
{
	uint64_t due, next_ns = UINT64_MAX;

	if (p->opening.start_ns == 0) {
		p->opening.start_ns = now_ns;
		p->pinging.start_ns = now_ns;
	}
	due = SL_MIN(schedule_count(&p->opening, now_ns), (uint64_t)p->count);
	while ((uint64_t)p->opened < due && p->connecting < CONNECTING_MAX)
		open_ping(&p->pings[p->opened++], now_ns);
	if (p->opened < p->count)
		next_ns = p->connecting < CONNECTING_MAX
		                  ? schedule_due_ns(&p->opening, (uint64_t)p->opened)
		                  : now_ns + 1000000;
	if (p->pinging.interval_ns <= 0)
		return next_ns;
	due = schedule_count(&p->pinging, now_ns);
	for (; p->pinged < due; p->pinged++) {
		int64_t at = (int64_t)(p->pinged % (uint64_t)p->count);

		if (at < p->opened)
			visit(p, &p->pings[at], now_ns);
	}
	return SL_MIN(next_ns, schedule_due_ns(&p->pinging, p->pinged));
}
