/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line.  One table says what each option is called, which modes have it, what it may
 * be and what --help says, so that the three cannot disagree.
 */
#include "options.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "sluice/wire/batch.h"
#include "verify.h"

#define P   (1u << LOAD_PRODUCE)
#define C   (1u << LOAD_CONSUME)
#define E   (1u << LOAD_E2E)
#define N   (1u << LOAD_CONNECTIONS)
#define PE  (P | E)
#define CE  (C | E)
#define PCE (P | C | E)
#define ALL (P | C | E | N)

enum kind {
	KIND_FLAG,
	KIND_INT,
	KIND_REAL,
	KIND_TEXT,
	KIND_SPECIAL, /* a function of its own reads it */
};

struct row {
	const char *name;
	const char *argument; /* as --help shows it */
	enum kind kind;
	unsigned int modes;
	size_t at; /* of the field in struct options */
	double min, max;
	int (*read)(struct options *o, const char *text);
	const char *help;
};

static const char *const mode_names[LOAD_MODE_NR] = {"produce", "consume", "e2e", "connections"};

const char *options_mode_name(enum load_mode mode)
{
	return mode_names[mode];
}

/* ---- Values with a form of their own ----------------------------------------------------------
 */

static int read_real(const char *text, double *out)
{
	char *end;

	errno = 0;
	*out = strtod(text, &end);
	return end == text || *end || errno || !isfinite(*out) ? -EINVAL : 0;
}

static int read_int(const char *text, int64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoll(text, &end, 10);
	return end == text || *end || errno ? -EINVAL : 0;
}

/* HOST:PORT, [IPV6]:PORT, HOST. */
static int read_bootstrap(struct options *o, const char *text)
{
	const char *colon = strrchr(text, ':');
	const char *end = colon ? colon : text + strlen(text);
	int64_t port = 9092;

	if (colon && (read_int(colon + 1, &port) != 0 || port < 1 || port > 65535))
		return -EINVAL;
	if (*text == '[' && end > text && end[-1] == ']') {
		text++;
		end--;
	}
	if (end <= text || (size_t)(end - text) >= sizeof(o->host))
		return -EINVAL;
	snprintf(o->host, sizeof(o->host), "%.*s", (int)(end - text), text);
	o->port = (uint16_t)port;
	return 0;
}

static int read_topic(struct options *o, const char *text)
{
	o->topic = text;
	return *text && strlen(text) <= LOAD_TOPIC_MAX ? 0 : -EINVAL;
}

static int read_config(struct options *o, const char *text)
{
	const char *equals = strchr(text, '=');

	if (!equals || equals == text || o->configs_count == LOAD_CONFIGS_MAX)
		return -EINVAL;
	o->configs[o->configs_count++] = text;
	return 0;
}

/* The index of @text in @names, or -EINVAL. */
static int read_word(const char *text, const char *const *names, int count)
{
	for (int i = 0; i < count; i++)
		if (strcmp(text, names[i]) == 0)
			return i;
	return -EINVAL;
}

static int read_codec(struct options *o, const char *text)
{
	for (unsigned int i = 0; i < SL_CODEC_NR; i++) {
		if (strcmp(text, sl_codec_name(i)) == 0) {
			o->codec = (enum sl_codec)i;
			return 0;
		}
	}
	return -EINVAL;
}

static int read_value(struct options *o, const char *text)
{
	static const char *const names[] = {"random", "text", "zero"};
	int i = read_word(text, names, SL_ARRAY_SIZE(names));

	o->value = (enum load_value)i;
	return i < 0 ? i : 0;
}

static int read_acks(struct options *o, const char *text)
{
	static const char *const names[] = {"0", "1", "all", "-1"};
	int i = read_word(text, names, SL_ARRAY_SIZE(names));

	o->acks = i < 2 ? i : -1;
	return i < 0 ? i : 0;
}

static int read_from(struct options *o, const char *text)
{
	if (strcmp(text, "earliest") == 0)
		o->from = LOAD_FROM_EARLIEST;
	else if (strcmp(text, "latest") == 0)
		o->from = LOAD_FROM_LATEST;
	else
		return read_int(text, &o->from) != 0 || o->from < 0 ? -EINVAL : 0;
	return 0;
}

/* sequential, uniform:N, zipf:N,S */
static int read_keys(struct options *o, const char *text)
{
	char *end;

	if (strcmp(text, "sequential") == 0) {
		o->keys = LOAD_KEYS_SEQUENTIAL;
		return 0;
	}
	if (strncmp(text, "uniform:", 8) == 0)
		o->keys = LOAD_KEYS_UNIFORM;
	else if (strncmp(text, "zipf:", 5) == 0)
		o->keys = LOAD_KEYS_ZIPF;
	else
		return -EINVAL;
	text = strchr(text, ':') + 1;
	errno = 0;
	o->keys_count = strtoull(text, &end, 10);
	if (end == text || errno || *text == '-' || o->keys_count < 1 || o->keys_count >> 52)
		return -EINVAL;
	if (o->keys == LOAD_KEYS_UNIFORM)
		return *end ? -EINVAL : 0;
	return *end != ',' || read_real(end + 1, &o->keys_skew) != 0 || o->keys_skew <= 0 ||
	                       o->keys_skew > 10
	               ? -EINVAL
	               : 0;
}

static int read_seed(struct options *o, const char *text)
{
	char *end;

	errno = 0;
	o->seed = strtoull(text, &end, 0);
	return end == text || *end || errno ? -EINVAL : 0;
}

/* ---- The table --------------------------------------------------------------------------------
 */

#define AT(field) offsetof(struct options, field)

/* clang-format off */
static const struct row rows[] = {
	{"bootstrap", "HOST:PORT", KIND_SPECIAL, ALL, 0, 0, 0, read_bootstrap, "a broker of the cluster (127.0.0.1:9092)"},
	{"topic", "NAME", KIND_SPECIAL, PCE, 0, 0, 0, read_topic, "topic (sluice-load)"},
	{"partitions", "N", KIND_INT, PCE, AT(partitions), 1, LOAD_PARTITIONS_MAX, NULL, "partitions of the topic when it has to be created (1)"},
	{"replication", "N", KIND_INT, PCE, AT(replication), 1, 100, NULL, "replicas of the topic when it has to be created (1)"},
	{"topic-config", "K=V", KIND_SPECIAL, PCE, 0, 0, 0, read_config, "configuration of the topic when it has to be created; repeatable"},
	{"connections", "N", KIND_INT, PCE, AT(connections), 1, LOAD_CONNECTIONS_MAX, NULL, "connections, spread over the leaders (as many as partitions, at most 8)"},
	{"connections", "N", KIND_INT, N, AT(connections), 1, LOAD_CONNECTIONS_MAX, NULL, "connections, spread over the brokers (100)"},
	{"threads", "N", KIND_INT, ALL, AT(threads), 1, LOAD_THREADS_MAX, NULL, "threads, each with connections of its own (1)"},
	{"rate", "R", KIND_REAL, PE, AT(rate), 0, 1e9, NULL, "records a second in all, each due at its time; 0: flat out (0)"},
	{"rate", "R", KIND_REAL, N, AT(rate), 0, 1e9, NULL, "connections opened a second; 0: flat out (0)"},
	{"records", "N", KIND_INT, PCE, AT(records), 1, 1e12, NULL, "end after so many records; no warm-up then"},
	{"duration", "SECONDS", KIND_REAL, ALL, AT(duration_s), 0.01, 1e7, NULL, "end after this time (10)"},
	{"warmup", "SECONDS", KIND_REAL, PCE, AT(warmup_s), 0, 1e6, NULL, "time before the duration that does not count (1)"},
	{"record-bytes", "N", KIND_INT, PE, AT(record_bytes), 0, LOAD_BATCH_BYTES_MAX, NULL, "size of a value (1024)"},
	{"key-bytes", "N", KIND_INT, PE, AT(key_bytes), 0, 32768, NULL, "size of a key; 0: none (0)"},
	{"keys", "KEYS", KIND_SPECIAL, PE, 0, 0, 0, read_keys, "which keys: sequential, uniform:N or zipf:N,S with N keys in each partition (sequential)"},
	{"batch-bytes", "N", KIND_INT, PE, AT(batch_bytes), 0, LOAD_BATCH_BYTES_MAX, NULL, "most bytes of a batch before compression; 0: one record (65536)"},
	{"batch-records", "N", KIND_INT, PE, AT(batch_records), 1, 1000000, NULL, "most records of a batch (as many as fit)"},
	{"linger-ms", "MS", KIND_REAL, PE, AT(linger_ms), 0, 60000, NULL, "how long a record may wait for others, with --rate (0)"},
	{"compression", "CODEC", KIND_SPECIAL, PE, 0, 0, 0, read_codec, "none, gzip, snappy, lz4 or zstd (none)"},
	{"value", "KIND", KIND_SPECIAL, PE, 0, 0, 0, read_value, "what values hold: random, text or zero (random)"},
	{"acks", "0|1|all", KIND_SPECIAL, PE, 0, 0, 0, read_acks, "whose acknowledgement counts (all)"},
	{"idempotent", NULL, KIND_FLAG, PE, AT(is_idempotent), 0, 0, NULL, "producer ids and sequence numbers, so that a retry writes nothing twice"},
	{"in-flight", "N", KIND_INT, PE, AT(in_flight), 1, LOAD_IN_FLIGHT_MAX, NULL, "requests under way on a connection (5)"},
	{"max-bytes", "N", KIND_INT, CE, AT(max_bytes), 1, INT32_MAX, NULL, "most bytes of a fetch (52428800)"},
	{"max-partition-bytes", "N", KIND_INT, CE, AT(max_partition_bytes), 1, INT32_MAX, NULL, "most bytes of one partition in a fetch (1048576)"},
	{"min-bytes", "N", KIND_INT, CE, AT(min_bytes), 0, INT32_MAX, NULL, "a fetch waits for so many bytes (1)"},
	{"max-wait-ms", "MS", KIND_INT, CE, AT(max_wait_ms), 0, 25000, NULL, "but no longer than this (500)"},
	{"from", "WHERE", KIND_SPECIAL, C, 0, 0, 0, read_from, "earliest, latest or an offset (earliest)"},
	{"fan-out", "N", KIND_INT, C, AT(fan_out), 1, 10000, NULL, "readers that each read everything (1)"},
	{"loop", NULL, KIND_FLAG, C, AT(is_looping), 0, 0, NULL, "start over at the end of a partition"},
	{"verify", NULL, KIND_FLAG, PCE, AT(is_verifying), 0, 0, NULL, "number and sum every value, and check that none is lost, twice, out of order or damaged"},
	{"ping-ms", "MS", KIND_INT, N, AT(ping_ms), 0, 1000000, NULL, "time between two requests of a connection; 0: none (1000)"},
	{"seed", "N", KIND_SPECIAL, ALL, 0, 0, 0, read_seed, "of everything random; the same seed gives the same values and keys (1)"},
	{"progress", NULL, KIND_FLAG, ALL, AT(is_progress), 0, 0, NULL, "a line a second on stderr (when stderr is a terminal)"},
	{"json", NULL, KIND_FLAG, ALL, AT(is_json), 0, 0, NULL, "the result as one JSON object on stdout"},
	{"quiet", NULL, KIND_FLAG, ALL, AT(is_quiet), 0, 0, NULL, "nothing on stderr but errors"},
};
/* clang-format on */

static void set_defaults(struct options *o)
{
	*o = (struct options){
		.host = "127.0.0.1",
		.port = 9092,
		.topic = "sluice-load",
		.partitions = 1,
		.replication = 1,
		.threads = 1,
		.duration_s = 10,
		.warmup_s = -1,
		.record_bytes = 1024,
		.batch_bytes = -1,
		.acks = -1,
		.in_flight = 5,
		.max_bytes = 50 << 20,
		.max_partition_bytes = 1 << 20,
		.min_bytes = 1,
		.max_wait_ms = 500,
		.from = LOAD_FROM_EARLIEST,
		.fan_out = 1,
		.ping_ms = 1000,
		.seed = 1,
	};
}

static int store(struct options *o, const struct row *row, const char *text)
{
	void *field = (char *)o + row->at;
	double real;
	int64_t n;

	switch (row->kind) {
	case KIND_FLAG:
		*(bool *)field = true;
		return 0;
	case KIND_INT:
		if (read_int(text, &n) != 0 || (double)n < row->min || (double)n > row->max)
			return -EINVAL;
		*(int64_t *)field = n;
		return 0;
	case KIND_REAL:
		if (read_real(text, &real) != 0 || real < row->min || real > row->max)
			return -EINVAL;
		*(double *)field = real;
		return 0;
	default:
		return row->read(o, text);
	}
}

/* What no single option can tell. */
static const char *contradiction(struct options *o)
{
	if (o->mode == LOAD_E2E && o->rate <= 0)
		return "e2e needs --rate: latency is counted from when a record is due";
	if (o->linger_ms > 0 && o->rate <= 0)
		return "--linger-ms needs --rate: flat out no record waits for others";
	if (o->is_idempotent && (o->acks != -1 || o->in_flight > 5))
		return "--idempotent needs --acks all and at most --in-flight 5, as Kafka does";
	if (o->is_verifying && o->mode != LOAD_CONSUME && o->record_bytes < VERIFY_HEAD_BYTES)
		return "--verify and e2e need --record-bytes 40 or more for what they check";
	if (o->is_verifying && o->is_looping)
		return "--verify and --loop exclude each other: a second round repeats every record";
	if (o->keys_count > 0 && o->key_bytes == 0)
		return "--keys needs --key-bytes";
	if (o->mode == LOAD_E2E && o->acks == 0)
		return "e2e needs --acks 1 or all: what was never acknowledged cannot be missed";
	return NULL;
}

static void finish(struct options *o)
{
	if (o->warmup_s < 0)
		o->warmup_s = o->records > 0 || o->mode == LOAD_CONNECTIONS ? 0 : 1;
	if (o->batch_bytes == 0)
		o->batch_records = 1;
	/* --batch-records alone is not cut short by the default of the other. */
	if (o->batch_bytes <= 0)
		o->batch_bytes = o->batch_records > 0 ? LOAD_BATCH_BYTES_MAX : 65536;
}

static const struct row *find_row(const char *name, size_t name_len, enum load_mode mode)
{
	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++)
		if (rows[i].modes & 1u << mode && strlen(rows[i].name) == name_len &&
		    memcmp(rows[i].name, name, name_len) == 0)
			return &rows[i];
	return NULL;
}

/* One option, at argv[*at]; moves *at behind it.  Return: 0; -EINVAL and @wrong. */
static int parse_one(struct options *o, int argc, char **argv, int *at, char *wrong,
                     size_t wrong_bytes)
{
	const char *word = argv[(*at)++];
	const char *equals = strchr(word, '=');
	size_t len = equals ? (size_t)(equals - word) : strlen(word);
	const struct row *row = len > 2 && memcmp(word, "--", 2) == 0
	                                ? find_row(word + 2, len - 2, o->mode)
	                                : NULL;
	const char *text = equals ? equals + 1 : NULL;

	if (!row) {
		snprintf(wrong, wrong_bytes, "%s has no option %.*s; see sluice-load %s --help",
		         mode_names[o->mode], (int)len, word, mode_names[o->mode]);
		return -EINVAL;
	}
	if (row->argument && !text)
		text = *at < argc ? argv[(*at)++] : NULL;
	if (row->argument ? !text : text != NULL) {
		snprintf(wrong, wrong_bytes, "--%s takes %s", row->name,
		         row->argument ? row->argument : "no value");
		return -EINVAL;
	}
	if (store(o, row, text) == 0) {
		o->is_duration_set |= row->at == AT(duration_s);
		return 0;
	}
	if (row->kind == KIND_INT || row->kind == KIND_REAL)
		snprintf(wrong, wrong_bytes, "--%s %s: a number from %.15g to %.15g is wanted",
		         row->name, text, row->min, row->max);
	else
		snprintf(wrong, wrong_bytes, "--%s %s: %s is wanted: %s", row->name, text,
		         row->argument, row->help);
	return -EINVAL;
}

static bool is_help(const char *word)
{
	return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0;
}

enum options_result options_parse(struct options *o, int argc, char **argv, char *wrong,
                                  size_t wrong_bytes)
{
	const char *problem;
	int mode, at = 2;

	set_defaults(o);
	o->mode = LOAD_MODE_NR;
	if (argc >= 2 && is_help(argv[1]))
		return OPTIONS_HELP;
	mode = argc >= 2 ? read_word(argv[1], mode_names, LOAD_MODE_NR) : -EINVAL;
	if (mode < 0) {
		snprintf(wrong, wrong_bytes,
		         "first comes what to do: produce, consume, e2e or connections; see "
		         "sluice-load --help");
		return OPTIONS_WRONG;
	}
	o->mode = (enum load_mode)mode;
	while (at < argc) {
		if (is_help(argv[at]))
			return OPTIONS_HELP;
		if (parse_one(o, argc, argv, &at, wrong, wrong_bytes) != 0)
			return OPTIONS_WRONG;
	}
	/* The clock of e2e travels in the same bytes that are checked. */
	o->is_verifying |= o->mode == LOAD_E2E;
	problem = contradiction(o);
	if (problem) {
		snprintf(wrong, wrong_bytes, "%s", problem);
		return OPTIONS_WRONG;
	}
	finish(o);
	return OPTIONS_RUN;
}

/* ---- Help -------------------------------------------------------------------------------------
 */

static const char front_text[] =
	"usage: sluice-load produce|consume|e2e|connections [OPTION...]\n"
	"\n"
	"Loads a Kafka broker and measures it: Sluice, Apache Kafka, Redpanda.\n"
	"\n"
	"  produce      writes record batches, flat out or at a rate\n"
	"  consume      reads a topic, once, in a loop or many times over\n"
	"  e2e          writes at a rate and reads, and times each record from one to the other\n"
	"  connections  opens connections and keeps them alive\n"
	"\n"
	"sluice-load MODE --help lists the mode's options.\n";

static const char about_produce[] =
	"Writes record batches to every partition of a topic.\n"
	"\n"
	"Without --rate each connection keeps --in-flight requests under way, and latency is that\n"
	"of a request. With --rate a record is due at its time whatever the broker does, and\n"
	"latency counts from then, so that a stall is seen by every record that it held up.\n";
static const char about_consume[] =
	"Reads every partition of a topic. Latency is that of a fetch.\n"
	"\n"
	"Records are counted by the headers of their batches and discarded in the kernel; with\n"
	"--verify they are received, summed and checked.\n";
static const char about_e2e[] =
	"Writes at --rate and reads back. Latency is from when a record was due until the\n"
	"consumer has it. Every value is checked; the exit status is 1 when one is lost, twice,\n"
	"out of order or damaged.\n";
static const char about_connections[] =
	"Opens connections to every broker of the cluster in turn, and asks each one for\n"
	"ApiVersions now and then. Latency is that of a ping.\n";
static const char *const about[LOAD_MODE_NR] = {about_produce, about_consume, about_e2e,
                                                about_connections};

static const char examples_produce[] =
	"  sluice-load produce --partitions 4 --duration 30\n"
	"  sluice-load produce --record-bytes 100 --batch-records 1 --in-flight 64\n"
	"  sluice-load produce --rate 50000 --linger-ms 1 --acks all\n"
	"  sluice-load produce --compression lz4 --value text --json\n"
	"  sluice-load produce --verify --idempotent --records 1000000\n";
static const char examples_consume[] = "  sluice-load consume --loop --duration 30\n"
				       "  sluice-load consume --fan-out 10 --from earliest --loop\n"
				       "  sluice-load consume --verify --records 1000000\n";
static const char examples_e2e[] =
	"  sluice-load e2e --rate 1000 --duration 60\n"
	"  sluice-load e2e --rate 50000 --partitions 8 --threads 2 --acks all --json\n";
static const char examples_connections[] =
	"  sluice-load connections --connections 10000 --rate 2000 --duration 60\n";
static const char *const examples[LOAD_MODE_NR] = {examples_produce, examples_consume, examples_e2e,
                                                   examples_connections};

static void print_rows(FILE *out, enum load_mode mode)
{
	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		const struct row *row = &rows[i];
		char left[64];

		if (!(row->modes & 1u << mode))
			continue;
		snprintf(left, sizeof(left), "--%s%s%s", row->name, row->argument ? " " : "",
		         row->argument ? row->argument : "");
		fprintf(out, "  %-26s %s\n", left, row->help);
	}
}

void options_help(FILE *out, enum load_mode mode)
{
	if (mode == LOAD_MODE_NR) {
		fputs(front_text, out);
		return;
	}
	fprintf(out, "usage: sluice-load %s [OPTION...]\n\n%s\n", mode_names[mode], about[mode]);
	print_rows(out, mode);
	fprintf(out,
	        "  %-26s this page\n\nExamples:\n%s\n"
	        "Exit status: 0 done; 1 the broker refused or --verify found something; 2 usage.\n",
	        "--help", examples[mode]);
}
