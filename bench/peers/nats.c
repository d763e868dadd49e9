/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A publisher and a reader of NATS JetStream, for the comparison of bench/peers: NATS does not
 * speak Kafka's protocol, so sluice-load cannot measure it.  One thread, epoll, many messages for
 * each system call, answers counted but hardly looked at: it must cost less than the server it
 * measures. Wire API: docs.nats.io, "JetStream wire API reference".
 */
#include "peers/nats.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "sluice/base/clock.h"

#define WINDOW_MAX    BENCH_IN_FLIGHT_MAX
#define EVENTS_MAX    64
#define WAIT_NS       100000000
#define DRAIN_NS      UINT64_C(5000000000) /* for the last acknowledgements */
#define PULL_MESSAGES 1000
#define PULLS_AHEAD   4
#define STREAM        "BENCH"
#define SUBJECT       "bench.records"

struct peer {
	struct nats_conn conn;
	struct nats *nats;
	char inbox[64], reply[80];
	unsigned first, last; /* publishes under way: due_ns[first .. last) */
	uint64_t due_ns[WINDOW_MAX];
	char consumer[128];         /* reader: subject to ask for more */
	uint64_t asked, come, ends; /* reader: messages, and how many the stream holds */
};

struct nats {
	struct bench_side *side;
	struct peer *peers;
	int count;
	uint64_t begin_ns, published, acknowledged;
	struct sl_str payload;
};

static void count_one(struct bench_side *side, uint64_t now, uint64_t began)
{
	if (!bench_counts(side, now))
		return;
	side->requests++;
	side->bytes += side->opts->request_bytes;
	sl_hist_add(&side->latency_ns, now - began);
}

/* ---- Publishing -------------------------------------------------------------------------------
 */

/* Acknowledgements of one connection to one stream come in the order of its publishes. */
static int on_ack(struct nats_conn *c, struct sl_str subject, struct sl_str body, int status)
{
	struct peer *p = c->arg;

	(void)subject;
	if (status != 0 || p->first == p->last ||
	    memmem(body.p, (size_t)body.len, "\"seq\"", 5) == NULL) {
		fprintf(stderr, "sluice-bench: publish refused: status=%d %.*s\n", status,
		        SL_STR_ARG(body));
		return -EPROTO;
	}
	p->nats->acknowledged++;
	count_one(p->nats->side, sl_mono_ns(), p->due_ns[p->first++ % WINDOW_MAX]);
	return 0;
}

/* When the next message is due; 0: at once. */
static uint64_t next_due(const struct nats *n)
{
	double rate = n->side->opts->rate;

	return rate > 0 ? n->begin_ns + (uint64_t)((double)n->published * 1e9 / rate) : 0;
}

static void publish_due(struct nats *n, struct peer *p)
{
	const int window = n->side->opts->in_flight;
	uint64_t now = sl_mono_ns();

	while ((int)(p->last - p->first) < window) {
		uint64_t due = next_due(n);

		if (due > now || !nats_publish(&p->conn, SUBJECT, p->reply, n->payload))
			break;
		p->due_ns[p->last++ % WINDOW_MAX] = due > 0 ? due : now;
		n->published++;
	}
}

static int create_stream(struct nats *n)
{
	char answer[4096];
	struct peer *p = &n->peers[0];
	int rc = nats_request(&p->conn, p->inbox, "$JS.API.STREAM.CREATE." STREAM,
	                      "{\"name\":\"" STREAM "\",\"subjects\":[\"" SUBJECT "\"],"
	                      "\"storage\":\"file\",\"retention\":\"limits\",\"num_replicas\":1,"
	                      "\"discard\":\"old\"}",
	                      answer, sizeof(answer));

	if (rc == 0 && strstr(answer, "\"error\"")) {
		fprintf(stderr, "sluice-bench: %s\n", answer);
		rc = -EPROTO;
	}
	return rc;
}

/* ---- Reading ----------------------------------------------------------------------------------
 */

static int on_record(struct nats_conn *c, struct sl_str subject, struct sl_str body, int status)
{
	struct peer *p = c->arg;

	(void)subject;
	(void)body;
	/* 408: a pull ran out of time, which happens at the end of the stream only. */
	if (status != 0)
		return status == 408 || status == 404 ? 0 : -EPROTO;
	p->come++;
	count_one(p->nats->side, sl_mono_ns(), sl_mono_ns());
	return 0;
}

/* The number behind @key in a JSON text, 0 without. */
static uint64_t number_of(const char *json, const char *key)
{
	const char *at = strstr(json, key);

	return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

/* A consumer that starts at the first message and needs no acknowledgements. */
static int create_consumer(struct peer *p)
{
	char answer[4096], name[64];
	const char *at;
	int rc = nats_request(&p->conn, p->inbox, "$JS.API.CONSUMER.CREATE." STREAM,
	                      "{\"stream_name\":\"" STREAM
	                      "\",\"config\":{\"deliver_policy\":\"all\","
	                      "\"ack_policy\":\"none\",\"replay_policy\":\"instant\","
	                      "\"mem_storage\":true}}",
	                      answer, sizeof(answer));

	if (rc != 0)
		return rc;
	at = strstr(answer, "\"name\":\"");
	if (!at || sscanf(at, "\"name\":\"%63[^\"]", name) != 1) {
		fprintf(stderr, "sluice-bench: %s\n", answer);
		return -EPROTO;
	}
	snprintf(p->consumer, sizeof(p->consumer), "$JS.API.CONSUMER.MSG.NEXT." STREAM ".%s", name);
	p->asked = p->come = 0;
	p->ends = number_of(answer, "\"num_pending\":");
	return p->ends > 0 ? 0 : -ENODATA;
}

/* Keeps pulls ahead of what has come; starts over at the end of the stream. */
static int pull(struct peer *p)
{
	char body[64];
	int rc = 0;

	if (p->come >= p->ends)
		rc = create_consumer(p);
	while (rc == 0 && p->asked < p->ends && p->asked < p->come + PULLS_AHEAD * PULL_MESSAGES) {
		uint64_t want = SL_MIN((uint64_t)PULL_MESSAGES, p->ends - p->asked);

		snprintf(body, sizeof(body), "{\"batch\":%llu,\"expires\":30000000000}",
		         (unsigned long long)want);
		if (!nats_publish(&p->conn, p->consumer, p->reply, sl_str_from(body)))
			break;
		p->asked += want;
	}
	return rc;
}

/* ---- Both -------------------------------------------------------------------------------------
 */

static int turn(struct nats *n, int epoll, bool is_reader)
{
	struct epoll_event events[EVENTS_MAX];
	struct timespec wait = {.tv_nsec = WAIT_NS};
	uint64_t now = sl_mono_ns();
	int rc = 0;

	(void)bench_counts(n->side, now);
	for (int i = 0; rc == 0 && i < n->count; i++) {
		if (is_reader)
			rc = pull(&n->peers[i]);
		else if (now < n->side->end_ns)
			publish_due(n,
			            &n->peers[(n->published + (uint64_t)i) % (uint64_t)n->count]);
	}
	for (int i = 0; rc == 0 && i < n->count; i++)
		rc = nats_flush(&n->peers[i].conn);
	if (n->side->opts->rate > 0 && !is_reader) {
		uint64_t due = next_due(n);

		now = sl_mono_ns();
		wait.tv_nsec = due > now ? (long)SL_MIN(due - now, (uint64_t)WAIT_NS) : 0;
	}
	if (rc != 0)
		return rc;
	int count = epoll_pwait2(epoll, events, EVENTS_MAX, &wait, NULL);

	for (int i = 0; rc == 0 && i < count; i++)
		rc = nats_receive(events[i].data.ptr);
	return rc;
}

static int loop(struct nats *n, bool is_reader)
{
	int epoll = -1;
	int rc = 0;

	for (int i = 0; rc == 0 && i < n->count; i++) {
		struct nats_conn *c = &n->peers[i].conn;

		epoll = bench_watch(epoll, c->fd, EPOLLIN | EPOLLOUT | EPOLLET, c);
		rc = SL_MIN(epoll, 0);
	}
	n->begin_ns = sl_mono_ns();
	while (rc == 0) {
		uint64_t now = sl_mono_ns();

		if (now >= n->side->end_ns && (is_reader || n->acknowledged == n->published ||
		                               now > n->side->end_ns + DRAIN_NS))
			break;
		rc = turn(n, epoll, is_reader);
	}
	if (rc == 0 && !is_reader && n->acknowledged != n->published)
		rc = -ETIMEDOUT;
	if (epoll >= 0)
		close(epoll);
	return rc;
}

static int nats_run(struct bench_side *side, bool is_reader)
{
	struct nats n = {.side = side, .count = side->opts->connections};
	char *payload = malloc(side->opts->request_bytes);
	int rc = payload ? 0 : -ENOMEM;

	n.peers = calloc((size_t)n.count, sizeof(*n.peers));
	if (!n.peers)
		rc = -ENOMEM;
	for (size_t i = 0; rc == 0 && i < side->opts->request_bytes; i++)
		payload[i] = (char)(i * 31 + 7);
	n.payload = (struct sl_str){payload, (int32_t)side->opts->request_bytes};
	for (int i = 0; rc == 0 && i < n.count; i++) {
		struct peer *p = &n.peers[i];

		p->nats = &n;
		/* One of its own: a pull of an earlier reader may still be answered. */
		snprintf(p->inbox, sizeof(p->inbox), "_INBOX.%d.%d", (int)getpid(), i);
		snprintf(p->reply, sizeof(p->reply), "%s.data", p->inbox);
		rc = nats_open(&p->conn, side->opts->port, p->inbox);
		p->conn.on_message = is_reader ? on_record : on_ack;
		p->conn.arg = p;
	}
	if (rc == 0 && !is_reader)
		rc = create_stream(&n);
	if (rc == 0)
		rc = loop(&n, is_reader);
	for (int i = 0; n.peers && i < n.count; i++)
		if (n.peers[i].conn.out)
			nats_close(&n.peers[i].conn);
	free(n.peers);
	free(payload);
	return rc;
}

static int publish_run(struct bench_side *side)
{
	return nats_run(side, false);
}

static int read_run(struct bench_side *side)
{
	return nats_run(side, true);
}

static int measure(const struct bench_opts *o, const char *name, int (*run)(struct bench_side *))
{
	struct bench_side *side = bench_sides(o, 0, 1);
	int rc = side ? 0 : -ENOMEM;

	if (rc == 0) {
		side->run = run;
		rc = bench_run(side, 1);
	}
	if (rc == 0)
		bench_print(name, side, 1, false);
	free(side);
	return rc;
}

int bench_nats_publish(const struct bench_opts *o)
{
	return o->in_flight <= WINDOW_MAX ? measure(o, "nats-publish", publish_run) : -EINVAL;
}

int bench_nats_read(const struct bench_opts *o)
{
	return measure(o, "nats-read", read_run);
}
