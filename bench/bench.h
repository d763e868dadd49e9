/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the limits of sluice-bench share: options, threads that are pinned and run for a set time,
 * connected sockets, recycled huge pages, and the one line of JSON.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "sluice/base/base.h"
#include "sluice/base/hist.h"

#define BENCH_CONNECTIONS_MAX 1024
#define BENCH_IN_FLIGHT_MAX   4096
#define BENCH_THREADS_MAX     16
#define BENCH_REQUEST_MAX     ((size_t)16 << 20)

struct bench_opts {
	double seconds; /* measured, after the warm-up */
	double warmup_seconds;
	double rate; /* requests per second; nats-publish: 0 is flat out */
	size_t request_bytes;
	size_t answer_bytes;
	size_t piece_bytes; /* of one sendfile */
	size_t block_bytes; /* of one producer's durable write */
	size_t file_bytes; /* of the file or the pages that are worked on; 0: the limit's own choice
	                    */
	int connections;
	int threads; /* client side; 0: one per cpu that is not the server's, at most connections */
	int in_flight;   /* requests per connection */
	int producers;   /* of the durable limit */
	int groups;      /* durable writes in flight; 0: 1 to 4 are tried and the best is shown */
	int spin_us;     /* how long the round-trip server polls before it sleeps */
	const char *dir; /* folder on the disk that is measured; NULL: memory */
	bool cold;       /* the file is not in the page cache */
	bool ask;        /* each piece of sendfile is asked for, one at a time, as a fetch is */
	uint16_t port;   /* of a NATS server */
};

/* One thread of a limit.  Zeroed memory with run, opts set is ready for bench_run(). */
struct bench_side {
	const struct bench_opts *opts;
	int (*run)(struct bench_side *side); /* returns 0 or -errno soon after end_ns */
	void *arg;
	bool is_server;            /* pinned to the last cpu; the others share the rest */
	uint64_t start_ns, end_ns; /* only what finishes in between counts */
	uint64_t began_ns;         /* CPU clock of this thread at start_ns */
	uint64_t requests, bytes, cpu_ns;
	struct sl_hist latency_ns;
	int error;
} SL_CACHE_ALIGNED;

/* The limits, one line of JSON each.  Return: 0 or -errno. */
int bench_sink(const struct bench_opts *o);
int bench_receive(const struct bench_opts *o);
int bench_echo(const struct bench_opts *o);
int bench_sendfile(const struct bench_opts *o);
int bench_durable(const struct bench_opts *o);
int bench_direct_write(const struct bench_opts *o);
int bench_round_trip(const struct bench_opts *o);
/* Nanoseconds per call of the hot functions, one line each. */
int bench_micro(const struct bench_opts *o);
/* JetStream of a NATS server on 127.0.0.1:port, for the comparison of bench/peers. */
int bench_nats_publish(const struct bench_opts *o);
int bench_nats_read(const struct bench_opts *o);

/* Makes @count sides, the first @servers of them servers.  Return: the array, to be freed; NULL. */
struct bench_side *bench_sides(const struct bench_opts *o, int servers, int count);
/* How many client threads share @o->connections. */
int bench_client_threads(const struct bench_opts *o);
/* Runs all sides to their end.  Return: 0 or the first side's -errno. */
int bench_run(struct bench_side *sides, int count);
/* Whether work finished at @now_ns counts.  Also takes the thread's CPU time at the two borders, so
 * every loop calls it at least once a turn. */
bool bench_counts(struct bench_side *side, uint64_t now_ns);
/* @counted is where requests, bytes and latency are taken from: the servers or the clients. */
void bench_print(const char *limit, struct bench_side *sides, int count, bool from_servers);

/* @count connected pairs of nonblocking TCP sockets over the loopback address: [i].server,
 * [i].client. */
struct bench_pair {
	int server;
	int client;
};
int bench_pairs_open(struct bench_pair *pairs, int count) SL_MUST_CHECK;
void bench_pairs_close(struct bench_pair *pairs, int count);
/* Adds @fd to a new or given (>= 0) epoll set.  Return: the set or -errno. */
int bench_watch(int epoll, int fd, uint32_t events, void *data) SL_MUST_CHECK;

/* What a side does with the connections that it polls. */
struct bench_polling {
	int count;
	size_t conn_bytes; /* of what is known of one connection; zeroed before @open */
	uint32_t events;   /* that are waited for, see epoll_ctl(2) */
	uint64_t spin_ns;  /* without an event it polls this long before it sleeps */
	/* Return: the descriptor of the connection with this index; -errno. */
	int (*open)(struct bench_side *side, void *conn, int index);
	/* Return: 0; -errno ends the side. */
	int (*step)(struct bench_side *side, void *conn, uint32_t events);
};
/* Steps through connections that have events, until the side's end.  Return: 0 or -errno. */
int bench_poll(struct bench_side *side, const struct bench_polling *polling) SL_MUST_CHECK;

/* What a client's thread gets as its argument: its part of the connections. */
struct bench_share {
	const struct bench_pair *pairs;
	int count;
	const uint8_t *request; /* opts->request_bytes; NULL: the client has its own */
};
/* One server and the clients of all connections. */
struct bench_service {
	const char *limit;
	struct bench_pair *pairs; /* opts->connections */
	int (*server)(struct bench_side *side);
	void *server_arg;
	int (*client)(struct bench_side *side);
	const uint8_t *request;
	bool from_servers; /* see bench_print() */
};
/* Connects them, runs them and prints the line.  Return: 0 or -errno. */
int bench_serve(const struct bench_opts *o, const struct bench_service *service) SL_MUST_CHECK;

/* Pages that were touched before, as those of the broker's hot tier: a tmpfs file with huge pages,
 * a memfd where that is refused. */
struct bench_pages {
	int fd;
	uint8_t *p;
	size_t bytes;
	bool is_huge;
};
int bench_pages_open(struct bench_pages *pages, size_t bytes) SL_MUST_CHECK;
void bench_pages_close(struct bench_pages *pages);
/* A file of @bytes written bytes in @dir, already unlinked; @flags for open(2) afterwards.
 * Return: descriptor or -errno. */
int bench_file_open(const char *dir, size_t bytes, int flags) SL_MUST_CHECK;

/* The client side of sink, receive and echo: requests of a fixed size, a window for each
 * connection. in_flight 0: it never waits for answers. */
int bench_flood_run(struct bench_side *side);

#endif
