/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libmicrohttpd without threads: its epoll descriptor lies in the loop's, and each turn gives it
 * one run.  /metrics is rendered piece by piece as the client takes it, so neither memory nor the
 * time of one turn grows with the number of partitions.
 */
#include "http.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "group/group.h"
#include "sluice/base/log.h"
#include "txn/txn.h"

#include "busy.h"
#include "control.h"
#include "metrics.h"
#include "publish.h"
#include "render.h"

#define LISTEN_QUEUE      64
/* Asked of render_next() at once; the library allocates it for each scrape. */
#define BLOCK_BYTES       32768
#define CONNECTION_MEMORY ((size_t)16384)
#define ADDRESS_MAX       256

struct http {
	struct control *c;
	struct MHD_Daemon *daemon;
	struct loop_fd fd;
	struct loop_timer timer;
	struct busy busy;
	int listen_fd;
	uint16_t port;
};

/* ---- Answers ---- */

static enum MHD_Result answer_text(struct http *h, struct MHD_Connection *conn, unsigned status,
                                   const char *text)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(
		strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
	enum MHD_Result rc = MHD_NO;

	if (status >= 400)
		control_count(h->c, COUNTER_http_refused);
	if (!response)
		return MHD_NO;
	if (MHD_add_response_header(response, "Content-Type", "text/plain; charset=utf-8") ==
	            MHD_YES &&
	    (status != MHD_HTTP_METHOD_NOT_ALLOWED ||
	     MHD_add_response_header(response, "Allow", "GET, HEAD") == MHD_YES))
		rc = MHD_queue_response(conn, status, response);
	MHD_destroy_response(response);
	return rc;
}

static ssize_t metrics_piece(void *arg, uint64_t pos, char *out, size_t max)
{
	ssize_t n = render_next(arg, out, max);

	(void)pos;
	if (n == 0)
		return MHD_CONTENT_READER_END_OF_STREAM;
	return n < 0 ? MHD_CONTENT_READER_END_WITH_ERROR : n;
}

static void metrics_done(void *arg)
{
	render_destroy(arg);
}

static enum MHD_Result answer_metrics(struct http *h, struct MHD_Connection *conn)
{
	struct MHD_Response *response;
	struct render *r;
	enum MHD_Result rc = MHD_NO;

	if (render_create(&r, h->c, &h->busy) < 0)
		return MHD_NO;
	response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES, metrics_piece,
	                                             r, metrics_done);
	if (!response) {
		render_destroy(r);
		return MHD_NO;
	}
	if (MHD_add_response_header(response, "Content-Type",
	                            "text/plain; version=0.0.4; charset=utf-8") == MHD_YES)
		rc = MHD_queue_response(conn, MHD_HTTP_OK, response);
	MHD_destroy_response(response);
	return rc;
}

static enum MHD_Result answer_ready(struct http *h, struct MHD_Connection *conn)
{
	if (!link_is_up(h->c->link))
		return answer_text(h, conn, MHD_HTTP_SERVICE_UNAVAILABLE,
		                   "not ready: the data plane is not attached\n");
	if (!publish_is_served(h->c->publish))
		return answer_text(h, conn, MHD_HTTP_SERVICE_UNAVAILABLE,
		                   "not ready: the data plane does not serve the metadata yet\n");
	return answer_text(h, conn, MHD_HTTP_OK, "ready\n");
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *conn, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_bytes, void **state)
{
	static char seen;
	struct http *h = arg;

	(void)version;
	(void)upload;
	/* The first call comes before the body, if there is one; bodies are thrown away. */
	if (!*state) {
		*state = &seen;
		return MHD_YES;
	}
	if (*upload_bytes > 0) {
		*upload_bytes = 0;
		return MHD_YES;
	}
	control_count(h->c, COUNTER_http_requests);
	if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
		return answer_text(h, conn, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
	if (strcmp(url, "/metrics") == 0)
		return answer_metrics(h, conn);
	if (strcmp(url, "/healthz") == 0)
		return answer_text(h, conn, MHD_HTTP_OK, "ok\n");
	if (strcmp(url, "/readyz") == 0)
		return answer_ready(h, conn);
	return answer_text(h, conn, MHD_HTTP_NOT_FOUND,
	                   "there are /metrics, /healthz and /readyz\n");
}

/* ---- The loop ---- */

static void on_ready(void *arg, uint32_t events);

static void on_timer(void *arg)
{
	on_ready(arg, 0);
}

static void on_ready(void *arg, uint32_t events)
{
	struct http *h = arg;
	MHD_UNSIGNED_LONG_LONG timeout_ms;

	(void)events;
	(void)MHD_run(h->daemon);
	loop_timer_stop(h->c->loop, &h->timer);
	/* Also says 0 when a connection has more to send and its socket would take it. */
	if (MHD_get_timeout(h->daemon, &timeout_ms) == MHD_YES &&
	    loop_timer_set(h->c->loop, &h->timer,
	                   loop_mono_ms(h->c->loop) +
	                           (int64_t)SL_MIN(timeout_ms, HTTP_TIMEOUT_S * 1000ULL)) < 0)
		sl_log(ERR, http, "miss timer reason=\"out of memory\"");
}

/* ---- Start ---- */

/* "host:port", "[IPv6]:port", ":port".  Return: 0 or -EINVAL. */
static int split(const char *listen, char host[ADDRESS_MAX], const char **port)
{
	const char *colon = strrchr(listen, ':');
	size_t len;

	if (!colon || !colon[1])
		return -EINVAL;
	len = (size_t)(colon - listen);
	if (len >= 2 && listen[0] == '[' && listen[len - 1] == ']') {
		listen++;
		len -= 2;
	} else if (memchr(listen, ':', len)) {
		return -EINVAL;
	}
	if (len >= ADDRESS_MAX)
		return -EINVAL;
	memcpy(host, listen, len);
	host[len] = '\0';
	*port = colon + 1;
	return 0;
}

static int open_socket(const struct addrinfo *ai)
{
	int one = 1, rc;
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
	    bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, LISTEN_QUEUE) == 0)
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

static int open_listener(const char *listen)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
	                         .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	struct addrinfo *list;
	char host[ADDRESS_MAX];
	const char *port;
	int rc = split(listen, host, &port);

	if (rc < 0)
		return rc;
	if (getaddrinfo(host[0] ? host : NULL, port, &hints, &list) != 0)
		return -EINVAL;
	rc = open_socket(list);
	freeaddrinfo(list);
	return rc;
}

static uint16_t port_of(int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char port[16];

	if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0 ||
	    getnameinfo((struct sockaddr *)&ss, len, NULL, 0, port, sizeof(port), NI_NUMERICSERV) !=
	            0)
		return 0;
	return (uint16_t)strtoul(port, NULL, 10);
}

/* Takes h->listen_fd. */
static int start_daemon(struct http *h)
{
	const union MHD_DaemonInfo *info;

	h->daemon = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, h,
	                             MHD_OPTION_LISTEN_SOCKET, h->listen_fd,
	                             MHD_OPTION_CONNECTION_LIMIT, (unsigned)HTTP_CONNECTIONS_MAX,
	                             MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)HTTP_TIMEOUT_S,
	                             MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY,
	                             MHD_OPTION_END);
	if (!h->daemon) {
		close(h->listen_fd);
		return -ENOMEM;
	}
	info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info)
		return -ENOTSUP;
	h->fd = (struct loop_fd){info->epoll_fd, on_ready, h};
	return loop_fd_add(h->c->loop, &h->fd, EPOLLIN);
}

int http_create(struct http **out, struct control *c, const char *listen)
{
	struct http *h;
	int rc;

	if (!listen)
		listen = sl_conf_str(c->conf, SL_CK_http_listen);
	if (!*listen) {
		*out = NULL;
		return 0;
	}
	h = calloc(1, sizeof(*h));
	if (!h)
		return -ENOMEM;
	h->c = c;
	h->timer = (struct loop_timer){.fn = on_timer, .arg = h};
	rc = busy_start(&h->busy, c);
	if (rc == 0)
		rc = h->listen_fd = open_listener(listen);
	if (rc >= 0) {
		h->port = port_of(h->listen_fd);
		rc = start_daemon(h);
	}
	if (rc < 0) {
		sl_log(ERR, http, "refuse listen address=%s error=\"%s\"", listen, strerror(-rc));
		http_destroy(h);
		return rc;
	}
	sl_log(INFO, http, "listen address=%s port=%u", listen, h->port);
	*out = h;
	return 0;
}

void http_destroy(struct http *h)
{
	if (!h)
		return;
	if (h->fd.fn)
		loop_fd_del(h->c->loop, &h->fd);
	loop_timer_stop(h->c->loop, &h->timer);
	if (h->daemon)
		MHD_stop_daemon(h->daemon);
	busy_stop(&h->busy);
	free(h);
}

uint16_t http_port(const struct http *h)
{
	return h->port;
}

/* ---- Documentation ---- */

static const char introduction[] =
	"`http.listen` (127.0.0.1:9644 unless configured) serves\n"
	"\n"
	"| path | what |\n"
	"|---|---|\n"
	"| `/metrics` | everything below, Prometheus text format 0.0.4 |\n"
	"| `/healthz` | 200 while the control process runs |\n"
	"| `/readyz` | 200 while clients can be served, else 503 with the reason |\n"
	"\n"
	"The first names are those that dashboards for Kafka ask for: Strimzi's form of Kafka's own metrics, and\n"
	"kafka_exporter's, so consumer lag needs no sidecar. A name is there only when the number is really measured; a sample\n"
	"is left out while it is not known (no data plane attached, a partition not open). A lane is a Kafka broker, so counters\n"
	"that Kafka has per broker carry `lane` and `node_id` here; `sum()` gives those of the server. Numbers of lanes are read\n"
	"from shared memory and cost the lanes nothing. Counters of lanes start anew with the data plane, those of the control\n"
	"process with it. What Kafka has as a rate is here as the count it is the rate of: `rate()` gives the former. Times\n"
	"are quantiles of the last half to whole minute, in milliseconds with fractions, and left out when there were none.\n"
	"\n"
	"Cost: about half a microsecond for a sample, in pieces of about a millisecond between which the control process does its\n"
	"work; 10,000 partitions are about 145,000 samples, 9 MB and 0.1 s.\n"
	"\n"
	"| metric | type | labels | meaning |\n"
	"|---|---|---|---|\n";

static const char *labels_of(const struct metric *m)
{
	switch (m->scope) {
	case METRIC_SERVER:
		return m->value == metric_server_info ? "version, cluster_id" : "";
	case METRIC_LANE:
		return "lane, node_id";
	case METRIC_LOG_DIR:
		return "dir";
	case METRIC_TOPIC:
		return "topic";
	case METRIC_PARTITION:
		return "topic, partition";
	case METRIC_GROUP:
		return "consumergroup";
	case METRIC_GROUP_TOPIC:
		return "consumergroup, topic";
	case METRIC_GROUP_PARTITION:
		return "consumergroup, topic, partition";
	}
	return "";
}

static void print_row(FILE *file, const struct metric *m)
{
	const char *labels = m->label ? m->label : labels_of(m);

	/* Of `name="value"` the name. */
	fprintf(file, "| `%s` | %s | %.*s | %s |\n", m->name, m->kind == 'C' ? "counter" : "gauge",
	        (int)strcspn(labels, "="), labels, m->text);
}

/* No topics: this coordinator only names its counters. */
static bool no_partition(void *ctx, struct sl_str topic, int32_t partition)
{
	(void)ctx;
	(void)topic;
	(void)partition;
	return false;
}

static bool no_topic_name(void *ctx, const struct sl_uuid *id, struct sl_str *name)
{
	(void)ctx;
	(void)id;
	(void)name;
	return false;
}

static bool no_topic_id(void *ctx, struct sl_str name, struct sl_uuid *id)
{
	(void)ctx;
	(void)name;
	(void)id;
	return false;
}

static int32_t no_topic_partitions(void *ctx, struct sl_str name)
{
	(void)ctx;
	(void)name;
	return 0;
}

static bool no_topic_next(void *ctx, uint32_t *pos, struct sl_str *name)
{
	(void)ctx;
	(void)pos;
	(void)name;
	return false;
}

int http_print_markdown(FILE *file)
{
	/* The coordinator's counters are known only through one. */
	struct group_opts opts = {.partitions_count = 1,
	                          .session_timeout_min_ms = 1,
	                          .session_timeout_max_ms = 1,
	                          .offsets_retention_ms = 1,
	                          .offsets_retention_check_ms = 1,
	                          .group_size_max = 1,
	                          .has_partition = no_partition,
	                          .topic_name = no_topic_name,
	                          .topic_id = no_topic_id,
	                          .topic_partitions = no_topic_partitions,
	                          .topic_next = no_topic_next,
	                          .consumer = {1, 1},
	                          .consumer_size_max = 1,
	                          .assignors_count = 1};
	struct txn_opts txn_opts = {.partitions_count = 1,
	                            .offsets_partitions_count = 1,
	                            .timeout_max_ms = 1,
	                            .id_expiration_ms = 1,
	                            .id_expiration_check_ms = 1,
	                            .abort_check_ms = 1,
	                            .has_partition = no_partition};
	struct metric_coords coords;
	struct group_coord *groups = NULL;
	struct txn_coord *txns = NULL;
	char name[METRIC_NAME_MAX];
	char family[METRIC_NAME_MAX] = "";
	struct metric m;
	int rc = group_create(&groups, &opts);

	if (rc == 0)
		rc = txn_create(&txns, &txn_opts);
	if (rc < 0) {
		group_destroy(groups);
		return rc;
	}
	coords = (struct metric_coords){groups, txns};
	fputs(introduction, file);
	for (unsigned i = 0; metrics_at(i, &coords, &m, name); i++) {
		if (strcmp(family, m.name) != 0)
			print_row(file, &m);
		snprintf(family, sizeof(family), "%s", m.name);
	}
	txn_destroy(txns);
	group_destroy(groups);
	return 0;
}
