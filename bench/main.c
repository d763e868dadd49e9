/* SPDX-License-Identifier: Apache-2.0 */
/* sluice-bench: what this machine can do without a broker.  One limit per call, one JSON object
 * out; bench/run.py puts them beside what sluice-load measures. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"

static const struct {
	const char *name;
	int (*run)(const struct bench_opts *o);
	const char *text;
} limits[] = {
	{"sink", bench_sink, "receive over loopback TCP and throw away"},
	{"receive", bench_receive, "receive into recycled pages, CRC-32C, answer"},
	{"echo", bench_echo, "receive and answer: small requests"},
	{"sendfile", bench_sendfile,
         "sendfile from huge pages, or a file in --dir [--cold] [--ask]"},
	{"durable", bench_durable, "group commit of --producers to a file in --dir"},
	{"direct-write", bench_direct_write, "O_DIRECT in 1 MiB writes, not waited for"},
	{"round-trip", bench_round_trip, "there and back at --rate, open loop"},
	{"nats-publish", bench_nats_publish,
         "JetStream of a NATS server on --port: publish at --rate"},
	{"nats-read", bench_nats_read,
         "JetStream of a NATS server on --port: read again and again"},
	{"micro", bench_micro, "nanoseconds per call of the hot functions"},
};

static int usage(void)
{
	fprintf(stderr, "usage: sluice-bench LIMIT [options]\n");
	for (size_t i = 0; i < SL_ARRAY_SIZE(limits); i++)
		fprintf(stderr, "    %-14s %s\n", limits[i].name, limits[i].text);
	fprintf(stderr, "  --seconds S --warmup S --connections N --threads N --in-flight N\n"
	                "  --request-bytes N --answer-bytes N --piece-bytes N --block-bytes N\n"
	                "  --producers N --groups N --rate N --spin-us N --port N\n"
	                "  --file-bytes N --dir FOLDER --cold --ask\n");
	return 2;
}

static const struct option options[] = {
	{"seconds", 1, NULL, 's'},
	{"warmup", 1, NULL, 'w'},
	{"connections", 1, NULL, 'c'},
	{"threads", 1, NULL, 't'},
	{"in-flight", 1, NULL, 'i'},
	{"request-bytes", 1, NULL, 'q'},
	{"answer-bytes", 1, NULL, 'a'},
	{"piece-bytes", 1, NULL, 'p'},
	{"block-bytes", 1, NULL, 'b'},
	{"producers", 1, NULL, 'P'},
	{"groups", 1, NULL, 'g'},
	{"rate", 1, NULL, 'R'},
	{"spin-us", 1, NULL, 'S'},
	{"port", 1, NULL, 'o'},
	{"dir", 1, NULL, 'd'},
	{"ask", 0, NULL, 'A'},
	{"file-bytes", 1, NULL, 'f'},
	{"cold", 0, NULL, 'C'},
	{NULL, 0, NULL, 0},
};

static int set_number(struct bench_opts *o, int option, double v)
{
	switch (option) {
	case 's':
		o->seconds = v;
		return 0;
	case 'w':
		o->warmup_seconds = v;
		return 0;
	case 'c':
		o->connections = (int)v;
		return 0;
	case 't':
		o->threads = (int)v;
		return 0;
	case 'i':
		o->in_flight = (int)v;
		return 0;
	case 'q':
		o->request_bytes = (size_t)v;
		return 0;
	case 'a':
		o->answer_bytes = (size_t)v;
		return 0;
	case 'p':
		o->piece_bytes = (size_t)v;
		return 0;
	case 'b':
		o->block_bytes = (size_t)v;
		return 0;
	case 'P':
		o->producers = (int)v;
		return 0;
	case 'g':
		o->groups = (int)v;
		return 0;
	case 'R':
		o->rate = v;
		return 0;
	case 'o':
		o->port = (uint16_t)v;
		return 0;
	case 'f':
		o->file_bytes = (size_t)v;
		return 0;
	case 'S':
		o->spin_us = (int)v;
		return 0;
	default:
		return -EINVAL;
	}
}

static bool are_sound(const struct bench_opts *o)
{
	return o->seconds > 0 && o->seconds <= 600 && o->warmup_seconds >= 0 &&
	       o->warmup_seconds <= 60 && o->connections >= 1 &&
	       o->connections <= BENCH_CONNECTIONS_MAX && o->in_flight >= 1 &&
	       o->in_flight <= BENCH_IN_FLIGHT_MAX && o->request_bytes >= 1 &&
	       o->request_bytes <= BENCH_REQUEST_MAX && o->answer_bytes >= 1 &&
	       o->piece_bytes >= 1 && o->block_bytes >= 4096 && o->block_bytes % 4096 == 0 &&
	       o->block_bytes <= BENCH_REQUEST_MAX && o->producers >= 1 && o->producers <= 1024 &&
	       o->groups >= 0 && o->groups <= 16 && o->rate >= 0 && o->spin_us >= 0 &&
	       o->file_bytes % ((size_t)1 << 20) == 0;
}

static int parse(struct bench_opts *o, int argc, char **argv)
{
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		char *end = NULL;
		double v;

		if (c == 'd') {
			o->dir = optarg;
			continue;
		}
		if (c == 'C' || c == 'A') {
			*(c == 'C' ? &o->cold : &o->ask) = true;
			continue;
		}
		v = c != '?' ? strtod(optarg, &end) : 0;
		if (!end || end == optarg || *end != '\0' || !(v >= 0 && v < 1e11) ||
		    set_number(o, c, v) != 0)
			return -EINVAL;
	}
	return optind == argc && are_sound(o) ? 0 : -EINVAL;
}

int main(int argc, char **argv)
{
	struct bench_opts o = {.seconds = 2,
	                       .warmup_seconds = 0.5,
	                       .rate = 5000,
	                       .request_bytes = 65536,
	                       .answer_bytes = 50,
	                       .piece_bytes = 65536,
	                       .block_bytes = 16384,
	                       .connections = 4,
	                       .in_flight = 5,
	                       .producers = 64,
	                       .spin_us = 50};

	signal(SIGPIPE, SIG_IGN);
	if (argc < 2 || parse(&o, argc - 1, argv + 1) != 0)
		return usage();
	for (size_t i = 0; i < SL_ARRAY_SIZE(limits); i++) {
		int rc;

		if (strcmp(argv[1], limits[i].name) != 0)
			continue;
		rc = limits[i].run(&o);
		if (rc != 0)
			fprintf(stderr, "sluice-bench %s: %s\n", argv[1], strerror(-rc));
		return rc == 0 ? 0 : 1;
	}
	return usage();
}
