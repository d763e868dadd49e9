/* SPDX-License-Identifier: Apache-2.0 */
/* What the command line of sluice-load may say. */
#ifndef LOAD_OPTIONS_H
#define LOAD_OPTIONS_H

#include <stdio.h>

#include "load.h"
#include "sluice/wire/compress.h"

enum load_mode {
	LOAD_PRODUCE = 0,
	LOAD_CONSUME,
	LOAD_E2E,
	LOAD_CONNECTIONS,
	LOAD_MODE_NR
};

/* What the bytes of a value are. */
enum load_value {
	LOAD_VALUE_RANDOM = 0, /* no codec makes it smaller */
	LOAD_VALUE_TEXT,       /* words; codecs make it two to five times smaller */
	LOAD_VALUE_ZERO,
};

enum load_keys {
	LOAD_KEYS_SEQUENTIAL = 0,
	LOAD_KEYS_UNIFORM,
	LOAD_KEYS_ZIPF,
};

/* Where a consumer begins; any other number is an offset. */
#define LOAD_FROM_LATEST   (-1)
#define LOAD_FROM_EARLIEST (-2)

/* Texts borrow argv. */
struct options {
	enum load_mode mode;
	char host[256];
	uint16_t port;
	const char *topic;
	int64_t partitions;
	int64_t replication;
	const char *configs[LOAD_CONFIGS_MAX]; /* "key=value" */
	int configs_count;
	int64_t connections; /* 0: chosen by how many partitions there are */
	int64_t threads;
	double rate;     /* records a second in all (connections: opened a second); 0: flat out */
	int64_t records; /* 0: for duration_s */
	double duration_s;
	double warmup_s; /* 1; 0 when --records is given, and in mode connections */
	int64_t record_bytes;
	int64_t key_bytes;
	enum load_keys keys;
	uint64_t keys_count;
	double keys_skew;
	int64_t batch_bytes;
	int64_t batch_records; /* 0: as many as fit */
	double linger_ms;
	enum sl_codec codec;
	enum load_value value;
	int64_t acks; /* -1 is all */
	int64_t in_flight;
	int64_t max_bytes;
	int64_t max_partition_bytes;
	int64_t min_bytes;
	int64_t max_wait_ms;
	int64_t from;
	int64_t fan_out;
	int64_t ping_ms;
	uint64_t seed;
	bool is_duration_set;
	bool is_idempotent;
	bool is_looping;
	bool is_verifying;
	bool is_progress;
	bool is_json;
	bool is_quiet;
};

enum options_result {
	OPTIONS_RUN = 0,
	OPTIONS_HELP,  /* asked for; the caller prints it */
	OPTIONS_WRONG, /* @wrong says what */
};

/**
 * options_parse() - read the command line
 * @o: filled, with defaults for what is not given
 * @argc, @argv: of main()
 * @wrong: @wrong_bytes for one line without a newline, for OPTIONS_WRONG
 */
enum options_result options_parse(struct options *o, int argc, char **argv, char *wrong,
                                  size_t wrong_bytes);
/* @mode: LOAD_MODE_NR for the page that lists the modes. */
void options_help(FILE *out, enum load_mode mode);
const char *options_mode_name(enum load_mode mode);

#endif
