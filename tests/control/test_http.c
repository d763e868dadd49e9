/* SPDX-License-Identifier: Apache-2.0 */
/* /metrics must be text that Prometheus takes, whatever names topics and groups have. */
#include <criterion/criterion.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "group/group.h"
#include "http/http.h"
#include "http/metrics.h"
#include "http/render.h"
#include "sluice/base/hash.h"
#include "sluice/wire/delete_topics_gen.h"
#include "sluice/wire/find_coordinator_gen.h"
#include "sluice/wire/offset_commit_gen.h"

#include "harness.h"

static struct harness h;
static struct http *http;

static void setup(void)
{
	harness_init(&h, 2);
	cr_assert_eq(http_create(&http, h.control, "127.0.0.1:0"), 0);
}

static void teardown(void)
{
	http_destroy(http);
	harness_fini(&h);
}

TestSuite(http, .init = setup, .fini = teardown);

/* ---- A reader of the text format ---- */

struct sample {
	char key[1024]; /* name and labels */
	double value;
	struct sample *next;
};

struct reading {
	struct sl_map samples; /* by key */
	struct sample *all;
	char family[256]; /* named by the last TYPE */
	bool has_help;
	bool is_counter;
	struct sl_map families; /* that are over; values are strings */
	uint32_t count;
};

static const char *skip_name(const char *p)
{
	cr_assert(isalpha((unsigned char)*p) || *p == '_', "bad name: %.40s", p);
	while (isalnum((unsigned char)*p) || *p == '_')
		p++;
	return p;
}

static const char *skip_labels(const char *p)
{
	cr_assert_eq(*p, '{');
	do {
		p = skip_name(p + 1);
		cr_assert(p[0] == '=' && p[1] == '"', "bad label: %.40s", p);
		for (p += 2; *p != '"'; p++) {
			cr_assert(*p && *p != '\n' && (unsigned char)*p < 0x80);
			if (*p == '\\') {
				p++;
				cr_assert(*p == '\\' || *p == '"' || *p == 'n', "bad escape");
			}
		}
		p++;
	} while (*p == ',');
	cr_assert_eq(*p, '}');
	return p + 1;
}

static void read_head(struct reading *r, const char *line)
{
	char name[256], kind[32];

	if (sscanf(line, "# HELP %255s", name) == 1) {
		char *copy = strdup(name);

		cr_assert_eq(sl_map_put(&r->families, copy, strlen(copy), copy), 0,
		             "%s is there twice", name);
		snprintf(r->family, sizeof(r->family), "%s", name);
		r->has_help = true;
		return;
	}
	cr_assert_eq(sscanf(line, "# TYPE %255s %31s", name, kind), 2, "%s", line);
	cr_assert(r->has_help && strcmp(name, r->family) == 0, "TYPE without HELP: %s", line);
	r->is_counter = strcmp(kind, "counter") == 0;
	cr_assert(r->is_counter || strcmp(kind, "gauge") == 0);
	/* Kafka's own counters are named so. */
	cr_assert(!r->is_counter || strcmp(name + strlen(name) - 6, "_total") == 0 ||
	                  (strncmp(name, "kafka_", 6) == 0 &&
	                   strcmp(name + strlen(name) - 6, "_count") == 0),
	          "%s", name);
}

static void read_sample(struct reading *r, const char *line)
{
	struct sample *s = calloc(1, sizeof(*s));
	const char *p = skip_name(line);
	char *end;

	cr_assert_eq((size_t)(p - line), strlen(r->family), "%s after %s", line, r->family);
	cr_assert_eq(memcmp(line, r->family, strlen(r->family)), 0, "%s after %s", line, r->family);
	if (*p == '{')
		p = skip_labels(p);
	cr_assert_eq(*p, ' ', "%s", line);
	snprintf(s->key, sizeof(s->key), "%.*s", (int)(p - line), line);
	s->value = strtod(p + 1, &end);
	cr_assert(end > p + 1 && *end == '\0', "bad value: %s", line);
	cr_assert(!r->is_counter || s->value >= 0);
	s->next = r->all;
	r->all = s;
	r->count++;
	cr_assert_eq(sl_map_put(&r->samples, s->key, strlen(s->key), s), 0, "twice: %s", line);
}

static void read_text(struct reading *r, char *text)
{
	char *line, *rest = text;

	cr_assert_eq(text[strlen(text) - 1], '\n');
	while ((line = strsep(&rest, "\n")) && rest) {
		if (line[0] == '#' && line[1] == ' ')
			read_head(r, line);
		else if (line[0] != '#')
			read_sample(r, line);
	}
}

static void reading_fini(struct reading *r)
{
	uint32_t pos = 0;
	char *name;

	while ((name = sl_map_next(&r->families, &pos)))
		free(name);
	while (r->all) {
		struct sample *next = r->all->next;

		free(r->all);
		r->all = next;
	}
	sl_map_fini(&r->samples);
	sl_map_fini(&r->families);
}

static double value_of(const struct reading *r, const char *key)
{
	const struct sample *s = sl_map_get(&r->samples, key, strlen(key));

	cr_assert(s, "no sample %s", key);
	return s->value;
}

/* ---- A client ---- */

/* The whole answer, to be freed. */
static char *fetch(const char *request)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(http_port(http))};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sl_buf b;
	ssize_t n = -1;

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	cr_assert_eq(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	cr_assert_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	cr_assert_eq(send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
	sl_buf_init_grow(&b, 64 << 20);
	for (int round = 0; n != 0; round++) {
		char p[4096];

		cr_assert_lt(round, 20000, "no end of the answer");
		cr_assert_geq(loop_poll(h.loop, 1), 0);
		n = recv(fd, p, sizeof(p), 0);
		cr_assert(n >= 0 || errno == EAGAIN);
		if (n > 0)
			sl_buf_put(&b, p, (size_t)n);
	}
	sl_buf_put_u8(&b, '\0');
	cr_assert(sl_buf_ok(&b));
	close(fd);
	return (char *)b.p;
}

static void expect(const char *request, const char *status, const char *body)
{
	char *answer = fetch(request);

	cr_assert(strncmp(answer, "HTTP/1.", 7) == 0 && strncmp(answer + 9, status, 3) == 0,
	          "%s: %.60s", request, answer);
	cr_assert(strstr(answer, body), "%s: %s", request, answer);
	free(answer);
}

/* Takes the chunks of the answer together, in place. */
static char *body_of(char *answer)
{
	char *p = strstr(answer, "\r\n\r\n") + 4, *out = p, *body = p;

	cr_assert(strstr(answer, "chunked") || strstr(answer, "HTTP/1.0"));
	if (!strstr(answer, "chunked"))
		return body;
	for (;;) {
		char *end;
		size_t n = strtoul(p, &end, 16);

		cr_assert(end > p && end[0] == '\r' && end[1] == '\n');
		if (n == 0)
			break;
		memmove(out, end + 2, n);
		out += n;
		p = end + 2 + n + 2;
	}
	*out = '\0';
	return body;
}

static void scrape(struct reading *r)
{
	char *answer = fetch("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");

	*r = (struct reading){0};
	cr_assert(strstr(answer, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
	read_text(r, body_of(answer));
	free(answer);
}

/* ---- Groups ---- */

static bool is_loaded(struct harness *unused, void *arg)
{
	uint32_t loaded, total;

	(void)arg;
	offsets_progress(unused->control->offsets, &loaded, &total);
	return total > 0 && loaded == total;
}

static void load_groups(void)
{
	struct sl_find_coordinator_req req;
	struct sl_find_coordinator_resp resp;

	sl_find_coordinator_req_init(&req);
	req.key = sl_str_from("g");
	CALL(&h, find_coordinator, FIND_COORDINATOR, 2, &req, &resp);
	cr_assert_eq(resp.error_code, 0);
	harness_until(&h, is_loaded, NULL, "offsets loaded");
}

static void commit(const char *group, const char *name, int32_t partition, int64_t offset)
{
	struct sl_offset_commit_req_topic_partition part;
	struct sl_offset_commit_req_topic topic;
	struct sl_offset_commit_req req;
	struct sl_offset_commit_resp resp;

	sl_offset_commit_req_init(&req);
	sl_offset_commit_req_topic_init(&topic);
	sl_offset_commit_req_topic_partition_init(&part);
	part.partition_index = partition;
	part.committed_offset = offset;
	part.committed_metadata = sl_str_from("");
	topic.name = sl_str_from(name);
	topic.partitions = &part;
	topic.partitions_count = 1;
	req.group_id = sl_str_from(group);
	req.generation_id_or_member_epoch = -1;
	req.topics = &topic;
	req.topics_count = 1;
	CALL(&h, offset_commit, OFFSET_COMMIT, 7, &req, &resp);
	cr_assert_eq(resp.topics[0].partitions[0].error_code, 0);
}

/* ---- Tests ---- */

/* After four commits to two groups. */
static void expect_coordinators(struct reading *r)
{
	static const struct {
		const char *key;
		double value;
	} expected[] = {
		{"group_count{protocol=\"classic\"}", 2},
		{"group_count{protocol=\"consumer\"}", 0},
		{"classic_group_count{state=\"Empty\"}", 2},
		{"classic_group_count{state=\"Stable\"}", 0},
		{"consumer_group_count{state=\"Reconciling\"}", 0},
		{"offset_count", 4},
		{"offset_commit_count", 4},
		{"offset_deletion_count", 0},
		{"group_completed_rebalance_count", 0},
		{"num_partitions{state=\"loading\"}", 0},
	};
	char key[256];

	for (unsigned i = 0; i < SL_ARRAY_SIZE(expected); i++) {
		snprintf(key, sizeof(key), "kafka_server_group_coordinator_metrics_%s",
		         expected[i].key);
		cr_assert_eq(value_of(r, key), expected[i].value, "%s", key);
	}
	cr_assert_gt(value_of(r, "kafka_server_group_coordinator_metrics_num_partitions"
	                         "{state=\"active\"}"),
	             0);
	cr_assert_gt(value_of(r, "kafka_server_group_coordinator_metrics_"
	                         "event_processing_time_ms_max"),
	             0);
	cr_assert_gt(value_of(r, "kafka_server_group_coordinator_metrics_batch_flush_time_ms_p50"),
	             0);
	cr_assert_eq(value_of(r, "kafka_coordinator_group_groupmetadatamanager_numoffsets"), 4);
	cr_assert_eq(value_of(r, "kafka_server_addpartitionstotxnmanager_verificationtimems_count"),
	             0);
}

Test(http, metrics_are_valid_and_true)
{
	int64_t looked_ms, longest_ms;
	struct reading r;
	double since_ms;

	load_groups();
	harness_create_topic(&h, "a.topic-x", 3);
	harness_create_topic(&h, "t", 2);
	commit("g\"quo\\te\nline", "t", 0, 7);
	commit("g\"quo\\te\nline", "t", 1, 5);
	commit("g\"quo\\te\nline", "a.topic-x", 2, 1);
	commit("gr\xc3\xbcn", "t", 1, 9);
	fake_stat(h.fake, 1, SL_STAT_cycles_asleep, 77);
	looked_ms = loop_wall_ms(h.control->loop) - 5000;
	fake_stat(h.fake, 1, SL_STAT_clean_looked_ms, (uint64_t)looked_ms);
	scrape(&r);
	longest_ms = loop_wall_ms(h.control->loop) - looked_ms;
	cr_assert_eq(value_of(&r, "kafka_brokers"), 2);
	cr_assert_eq(value_of(&r, "kafka_topic_partitions{topic=\"a.topic-x\"}"), 3);
	cr_assert_eq(value_of(&r, "kafka_topic_partition_replicas{topic=\"t\",partition=\"1\"}"),
	             1);
	cr_assert_eq(value_of(&r, "kafka_topic_partition_leader_is_preferred"
	                          "{topic=\"t\",partition=\"1\"}"),
	             1);
	cr_assert_eq(value_of(&r,
	                      "kafka_topic_partition_current_offset{topic=\"t\",partition=\"0\"}"),
	             0);
	cr_assert_eq(value_of(&r, "kafka_cluster_partition_atminisr{topic=\"t\",partition=\"0\"}"),
	             1);
	cr_assert_eq(value_of(&r, "kafka_consumergroup_current_offset{consumergroup="
	                          "\"g\\\"quo\\\\te\\nline\",topic=\"t\",partition=\"0\"}"),
	             7);
	cr_assert_eq(value_of(&r, "kafka_consumergroup_current_offset_sum{consumergroup="
	                          "\"g\\\"quo\\\\te\\nline\",topic=\"t\"}"),
	             12);
	cr_assert_eq(value_of(&r,
	                      "kafka_consumergroup_lag_sum{consumergroup=\"gr??n\",topic=\"t\"}"),
	             0);
	cr_assert_eq(value_of(&r, "kafka_consumergroup_members{consumergroup=\"gr??n\"}"), 0);
	cr_assert_eq(value_of(&r, "sluice_control_offsets_appends_total"), 4);
	cr_assert_eq(value_of(&r, "sluice_groups"), 2);
	expect_coordinators(&r);
	cr_assert_eq(value_of(&r, "sluice_dataplane_attached"), 1);
	cr_assert_eq(value_of(&r, "kafka_controller_kafkacontroller_offlinepartitionscount"), 0);
	cr_assert_gt(value_of(&r, "process_resident_memory_bytes"), 100000);
	cr_assert_gt(value_of(&r, "process_start_time_seconds"), 1.6e9);
	cr_assert_eq(value_of(&r, "sluice_lane_connections{lane=\"1\",node_id=\"101\"}"), 0);
	cr_assert_eq(value_of(&r, "sluice_lane_cycles_asleep_total{lane=\"1\",node_id=\"101\"}"),
	             77);
	since_ms = value_of(&r, "kafka_log_logcleanermanager_time_since_last_run_ms"
	                        "{lane=\"1\",node_id=\"101\"}");
	cr_assert(since_ms >= 5000 && since_ms <= (double)longest_ms);
	cr_assert_eq(value_of(&r, "sluice_lane_cycles_asleep_total{lane=\"0\",node_id=\"100\"}"),
	             0);
	reading_fini(&r);
}

/* Names that dashboards ask for, as the issue and research/field.md list them. */
Test(http, has_the_names_of_dashboards)
{
	static const char *const names[] = {
		"kafka_server_brokertopicmetrics_bytesin_total",
		"kafka_server_brokertopicmetrics_bytesout_total",
		"kafka_server_brokertopicmetrics_messagesin_total",
		"kafka_server_brokertopicmetrics_totalproducerequests_total",
		"kafka_server_brokertopicmetrics_totalfetchrequests_total",
		"kafka_server_brokertopicmetrics_failedproducerequests_total",
		"kafka_server_brokertopicmetrics_failedfetchrequests_total",
		"kafka_server_replicamanager_underreplicatedpartitions",
		"kafka_server_replicamanager_partitioncount",
		"kafka_server_replicamanager_leadercount",
		"kafka_controller_kafkacontroller_activecontrollercount",
		"kafka_controller_kafkacontroller_offlinepartitionscount",
		"kafka_cluster_partition_underminisr",
		"kafka_cluster_partition_atminisr",
		"kafka_cluster_partition_replicascount",
		"kafka_log_log_size",
		"kafka_server_socket_server_metrics_connection_count",
		"kafka_network_socketserver_networkprocessoravgidle_percent",
		"kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent",
		"kafka_server_kafkaserver_linux_disk_read_bytes",
		"kafka_server_kafkaserver_linux_disk_write_bytes",
		"kafka_brokers",
		"kafka_topic_partitions",
		"kafka_topic_partition_current_offset",
		"kafka_topic_partition_oldest_offset",
		"kafka_topic_partition_in_sync_replica",
		"kafka_topic_partition_leader",
		"kafka_topic_partition_leader_is_preferred",
		"kafka_topic_partition_replicas",
		"kafka_topic_partition_under_replicated_partition",
		"kafka_consumergroup_current_offset",
		"kafka_consumergroup_current_offset_sum",
		"kafka_consumergroup_lag",
		"kafka_consumergroup_lag_sum",
		"kafka_consumergroup_members",
		("kafka_coordinator_transaction_transactionmarkerchannelmanager_"
	         "logappendretryqueuesize"),
		("kafka_coordinator_transaction_transactionmarkerchannelmanager_"
	         "unknowndestinationqueuesize"),
		"kafka_server_transaction_coordinator_metrics_partition_load_time_max",
		"kafka_server_group_coordinator_metrics_partition_load_time_max",
		"kafka_server_group_coordinator_metrics_consumer_group_rebalance_count",
		"kafka_server_group_coordinator_metrics_offset_expiration_count",
		"kafka_server_addpartitionstotxnmanager_verificationtimems",
		"kafka_server_addpartitionstotxnmanager_verificationfailurerate_count",
		"kafka_server_replicamanager_produceridcount",
		"kafka_server_replicamanager_partitionswithlatetransactionscount",
		"kafka_log_logcleanermanager_uncleanable_bytes",
		"sluice_transactions_ongoing",
		"sluice_group_requests_total",
		"sluice_txn_requests_total",
		"sluice_txn_load_completions_total",
	};
	const struct metric_coords coords = {control_groups(h.control), control_txns(h.control)};

	for (unsigned i = 0; i < SL_ARRAY_SIZE(names); i++) {
		char name[METRIC_NAME_MAX];
		struct metric m = {0};
		bool found = false;

		for (unsigned n = 0; !found && metrics_at(n, &coords, &m, name); n++)
			found = strcmp(m.name, names[i]) == 0;
		cr_assert(found, "no %s", names[i]);
	}
}

Test(http, leaves_out_what_it_cannot_know)
{
	struct reading r;

	harness_create_topic(&h, "t", 2);
	fake_stop(h.fake);
	harness_spin(&h, 50);
	scrape(&r);
	cr_assert_eq(value_of(&r, "sluice_dataplane_attached"), 0);
	cr_assert_eq(value_of(&r, "kafka_brokers"), 0);
	cr_assert_eq(value_of(&r, "kafka_controller_kafkacontroller_offlinepartitionscount"), 2);
	cr_assert_eq(value_of(&r, "kafka_topic_partitions{topic=\"t\"}"), 2);
	cr_assert_null(sl_map_get(&r.samples, "kafka_log_log_size{topic=\"t\",partition=\"0\"}",
	                          strlen("kafka_log_log_size{topic=\"t\",partition=\"0\"}")));
	reading_fini(&r);
}

static void delete_topic(const char *name)
{
	struct sl_delete_topics_req_topic topic;
	struct sl_delete_topics_req req;
	struct sl_delete_topics_resp resp;

	sl_delete_topics_req_init(&req);
	sl_delete_topics_req_topic_init(&topic);
	topic.name = sl_str_from(name);
	req.topics = &topic;
	req.topics_count = 1;
	CALL(&h, delete_topics, DELETE_TOPICS, 6, &req, &resp);
	cr_assert_eq(resp.responses[0].error_code, 0);
}

/* Prometheus refuses a scrape that has a sample twice. */
Test(http, no_sample_comes_twice_while_topics_come_and_go)
{
	struct render *r;
	struct busy busy = {.c = h.control};
	struct reading reading = {0};
	struct sl_buf text;
	char name[32], piece[300];
	ssize_t n;
	int turn = 0;

	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "m%02d", i);
		harness_create_topic(&h, name, 3);
	}
	sl_buf_init_grow(&text, 16 << 20);
	cr_assert_eq(render_create(&r, h.control, &busy), 0);
	while ((n = render_next(r, piece, sizeof(piece))) > 0) {
		sl_buf_put(&text, piece, (size_t)n);
		/* In front, in the middle and at the end of the list. */
		if (++turn % 7 == 0 && turn < 600) {
			snprintf(name, sizeof(name), "%c%04d", "amz"[turn % 3], turn);
			harness_create_topic(&h, name, 2);
		}
		if (turn % 31 == 0 && turn / 31 <= 15) {
			snprintf(name, sizeof(name), "m%02d", turn / 31);
			delete_topic(name);
		}
	}
	cr_assert_eq(n, 0);
	cr_assert_eq(render_next(r, piece, sizeof(piece)), 0);
	render_destroy(r);
	sl_buf_put_u8(&text, '\0');
	read_text(&reading, (char *)text.p);
	cr_assert_gt(reading.count, 1000);
	/* A topic that was there all the time is in every metric. */
	cr_assert_eq(value_of(&reading, "kafka_log_log_size{topic=\"m18\",partition=\"2\"}"), 0);
	cr_assert_eq(value_of(&reading, "kafka_topic_partitions{topic=\"m19\"}"), 3);
	reading_fini(&reading);
	sl_buf_fini(&text);
}

Test(http, answers_what_supervisors_ask)
{
	expect("GET /healthz HTTP/1.0\r\n\r\n", "200", "ok");
	expect("GET /readyz HTTP/1.0\r\n\r\n", "200", "ready");
	expect("GET / HTTP/1.0\r\n\r\n", "404", "/metrics");
	expect("POST /metrics HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", "405", "Allow: GET, HEAD");
	fake_stop(h.fake);
	harness_spin(&h, 50);
	expect("GET /healthz HTTP/1.0\r\n\r\n", "200", "ok");
	expect("GET /readyz HTTP/1.0\r\n\r\n", "503", "not attached");
	cr_assert_eq(h.control->counters[COUNTER_http_requests], 6);
	cr_assert_eq(h.control->counters[COUNTER_http_refused], 3);
}

Test(http, survives_a_client_that_leaves_in_the_middle)
{
	static const char request[] = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(http_port(http))};

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	/* Cut anywhere, and whole with the answer on its way. */
	for (size_t i = 1; i < sizeof(request) + 20; i++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		cr_assert_eq(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
		cr_assert_gt(send(fd, request, SL_MIN(i, sizeof(request) - 1), MSG_NOSIGNAL), 0);
		harness_spin(&h, (int)(i % 3));
		close(fd);
	}
	harness_spin(&h, 20);
	expect("GET /healthz HTTP/1.0\r\n\r\n", "200", "ok");
}

Test(http, refuses_bad_addresses)
{
	static const char *const bad[] = {"9644", "127.0.0.1:", "::1:80", "127.0.0.1:x",
	                                  "no host:1"};
	char same[32];
	struct http *other = NULL;

	for (unsigned i = 0; i < SL_ARRAY_SIZE(bad); i++)
		cr_assert_eq(http_create(&other, h.control, bad[i]), -EINVAL, "%s", bad[i]);
	snprintf(same, sizeof(same), "127.0.0.1:%u", http_port(http));
	cr_assert_eq(http_create(&other, h.control, same), -EADDRINUSE);
	cr_assert_eq(http_create(&other, h.control, ""), 0);
	cr_assert_null(other);
}

Test(http, idle_share_is_not_guessed)
{
	struct busy b = {0};
	double idle;

	cr_assert_eq(busy_start(&b, h.control), 0);
	harness_spin(&h, 2);
	cr_assert_not(busy_idle(&b, 0, &idle));
	cr_assert_not(busy_idle(&b, 99, &idle));
	busy_stop(&b);
}
