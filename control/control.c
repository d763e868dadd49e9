/* SPDX-License-Identifier: Apache-2.0 */
/* Puts the parts of the control process together and passes events between them. */
#include "control.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "sluice/base/assert.h"
#include "sluice/base/hash.h"
#include "sluice/base/log.h"
#include "sluice/base/uuid.h"

#include "markers.h"
#include "offsets.h"
#include "publish.h"
#include "request.h"
#include "txns.h"

#define CLUSTER_ID_MAX 100

static int SL_PRINTF(3, 4) fail(char *error, int rc, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(error, CONTROL_ERROR_MAX, fmt, ap);
	va_end(ap);
	return rc;
}

/* ---- Events ---- */

static void on_attached(void *arg)
{
	struct control *c = arg;

	for (uint32_t i = 0; i < c->log_dirs_count; i++)
		c->log_dir_errors[i] = 0;
	publish_attached(c->publish);
	statelog_attached(offsets_log(c->offsets));
	statelog_attached(txns_log(c->txns));
}

static void on_lost(void *arg)
{
	struct control *c = arg;

	publish_lost(c->publish);
	statelog_lost(offsets_log(c->offsets));
	statelog_lost(txns_log(c->txns));
}

static void on_request(void *arg, uint32_t lane, const struct sl_ipc_request *head,
                       struct sl_bytes frame)
{
	struct control *c = arg;

	request_receive(c->requests, lane, head, frame);
}

static void on_cancel(void *arg, uint32_t lane, const struct sl_ipc_request *head)
{
	struct control *c = arg;

	request_cancel(c->requests, lane, head);
}

static void on_image_ack(void *arg, uint64_t revision)
{
	struct control *c = arg;

	publish_ack(c->publish, revision);
	statelog_served(offsets_log(c->offsets));
	statelog_served(txns_log(c->txns));
}

static void on_partition(void *arg, const struct sl_ipc_partition *part)
{
	struct control *c = arg;

	publish_partition(c->publish, part);
	/* A log that was long in opening comes after the acknowledgement of its image. */
	statelog_opened(offsets_log(c->offsets), &part->topic_id);
	statelog_opened(txns_log(c->txns), &part->topic_id);
}

static void on_verify(void *arg, uint32_t lane, const struct sl_ipc_txn_verify *head,
                      struct sl_str transactional_id)
{
	struct control *c = arg;

	txns_verify(c->txns, lane, head, transactional_id);
}

static void on_log_dir(void *arg, const struct sl_ipc_log_dir *d)
{
	struct control *c = arg;

	if (d->log_dir >= c->log_dirs_count)
		return;
	c->log_dir_errors[d->log_dir] = d->error < 0 ? -d->error : EIO;
	sl_log(ERR, meta, "lose log dir path=%s cause=\"%s\"", c->log_dirs[d->log_dir],
	       strerror(c->log_dir_errors[d->log_dir]));
}

static void on_meta_wake(void *arg)
{
	struct control *c = arg;

	loop_work_post(c->loop, &c->meta_work);
}

static void on_meta_work(void *arg)
{
	struct control *c = arg;

	(void)meta_poll(c->meta);
}

static void on_meta_changed(void *arg, const struct meta_change *change)
{
	struct control *c = arg;

	/* None of them exists while the cluster id is written at the first start. */
	if (c->publish)
		publish_changed(c->publish, change);
	if (c->offsets)
		offsets_changed(c->offsets, change);
	if (c->txns)
		txns_changed(c->txns, change);
}

/* ---- Configuration ---- */

/* "PLAINTEXT://host:port"; host may be empty or [IPv6]. */
static int parse_listener(const char *text, char **host, int32_t *port, char *error)
{
	static const char scheme[] = "PLAINTEXT://";
	const char *start = text + sizeof(scheme) - 1;
	const char *colon;
	char *end;
	long number;
	size_t len;

	if (strncmp(text, scheme, sizeof(scheme) - 1) != 0)
		return fail(error, -EINVAL, "listeners = \"%s\": must begin with %s", text, scheme);
	colon = strrchr(start, ':');
	if (!colon)
		return fail(error, -EINVAL, "listeners = \"%s\": has no port", text);
	errno = 0;
	number = strtol(colon + 1, &end, 10);
	if (errno || end == colon + 1 || *end || number < 1 || number > 65535)
		return fail(error, -EINVAL, "listeners = \"%s\": bad port", text);
	len = (size_t)(colon - start);
	if (len >= 2 && start[0] == '[' && start[len - 1] == ']') {
		start++;
		len -= 2;
	}
	*host = strndup(start, len);
	*port = (int32_t)number;
	return *host ? 0 : fail(error, -ENOMEM, "out of memory");
}

static bool is_any_address(const char *host)
{
	return !host[0] || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

static int read_addresses(struct control *c, char *error)
{
	const char *advertised = sl_conf_str(c->conf, SL_CK_advertised_host);
	char name[HOST_NAME_MAX + 1] = "";
	char *host = NULL;
	int32_t port = 0;
	int rc = parse_listener(sl_conf_str(c->conf, SL_CK_listeners), &host, &port, error);

	if (rc < 0)
		return rc;
	c->server_id = (int32_t)sl_conf_int(c->conf, SL_CK_server_id);
	c->lane_port_base = (int32_t)sl_conf_int(c->conf, SL_CK_lane_port_base);
	if (c->lane_port_base == 0)
		c->lane_port_base = port + 1;
	if (!advertised[0])
		advertised = host;
	/* Nobody can connect to "any address". */
	if (is_any_address(advertised) && gethostname(name, sizeof(name) - 1) == 0)
		advertised = name;
	c->advertised_host = strdup(advertised);
	free(host);
	return c->advertised_host ? 0 : fail(error, -ENOMEM, "out of memory");
}

static int add_log_dir(struct control *c, const char *path, size_t len)
{
	char **dirs = reallocarray(c->log_dirs, c->log_dirs_count + 2, sizeof(*dirs));

	if (!dirs)
		return -ENOMEM;
	c->log_dirs = dirs;
	dirs[c->log_dirs_count] = strndup(path, len);
	dirs[c->log_dirs_count + 1] = NULL;
	return dirs[c->log_dirs_count++] ? 0 : -ENOMEM;
}

static int read_log_dirs(struct control *c, char *error)
{
	const char *p = sl_conf_str(c->conf, SL_CK_log_dirs);
	char fallback[PATH_MAX];
	int rc = 0;

	if (!p[0]) {
		char *real = realpath(c->data_dir, NULL);

		snprintf(fallback, sizeof(fallback), "%s/log", real ? real : c->data_dir);
		free(real);
		rc = add_log_dir(c, fallback, strlen(fallback));
	}
	while (rc == 0 && *p) {
		size_t len;

		p += strspn(p, ", \t");
		len = strcspn(p, ", \t");
		if (len > 0)
			rc = add_log_dir(c, p, len);
		p += len;
	}
	c->log_dir_errors = calloc(c->log_dirs_count + 1, sizeof(*c->log_dir_errors));
	if (rc < 0 || !c->log_dir_errors)
		return fail(error, -ENOMEM, "out of memory");
	return 0;
}

/* ---- Life ---- */

static int open_meta(struct control *c, char *error)
{
	char path[PATH_MAX];
	char why[META_ERROR_MAX];
	struct meta_recovery rec;
	struct meta_opts opts = {
		.ops = &meta_local_ops,
		.dir = path,
		.wake = on_meta_wake,
		.changed = on_meta_changed,
		.arg = c,
		.counters = c->counters,
	};
	int rc;

	snprintf(path, sizeof(path), "%s/meta", c->data_dir);
	rc = meta_open(&c->meta, &opts, &rec, why);
	if (rc < 0)
		return fail(error, rc, "metadata: %s", why);
	sl_log(INFO, meta, "recover metadata revision=%llu records=%llu topics=%u cut_bytes=%llu",
	       (unsigned long long)rec.revision, (unsigned long long)rec.records,
	       meta_topics_count(c->meta), (unsigned long long)rec.cut_bytes);
	return 0;
}

/* The cluster gets its id at the first start and keeps it. */
static int identify(struct control *c, char *error)
{
	const char *wanted = sl_conf_str(c->conf, SL_CK_cluster_id);
	const char *have = meta_cluster_id(c->meta);
	char text[SL_UUID_TEXT_MAX];
	struct sl_uuid id;
	struct meta_txn *txn;

	if (have[0]) {
		if (wanted[0] && strcmp(wanted, have) != 0)
			return fail(
				error, -EINVAL,
				"cluster.id = \"%s\", but the metadata in %s/meta belongs to \"%s\"",
				wanted, c->data_dir, have);
		return 0;
	}
	if (strlen(wanted) > CLUSTER_ID_MAX)
		return fail(error, -EINVAL, "cluster.id = \"%s\": longer than %d characters",
		            wanted, CLUSTER_ID_MAX);
	sl_uuid_random(&id);
	txn = meta_txn_begin(c->meta);
	meta_txn_put_cluster_id(txn, wanted[0] ? wanted : sl_uuid_text(&id, text));
	meta_txn_commit(txn, NULL, NULL);
	(void)meta_poll(c->meta);
	if (!meta_cluster_id(c->meta)[0])
		return fail(error, -EIO, "%s/meta: cannot write the cluster id", c->data_dir);
	sl_log(INFO, meta, "create cluster id=%s", meta_cluster_id(c->meta));
	return 0;
}

static int make_parts(struct control *c, char *error)
{
	char path[PATH_MAX];
	struct link_opts opts = {
		.loop = c->loop,
		.path = path,
		.counters = c->counters,
		.events = {.arg = c,
	                   .attached = on_attached,
	                   .lost = on_lost,
	                   .request = on_request,
	                   .cancel = on_cancel,
	                   .image_ack = on_image_ack,
	                   .partition = on_partition,
	                   .verify = on_verify,
	                   .log_dir = on_log_dir},
	};
	int rc;

	snprintf(path, sizeof(path), "%s/run/attach.sock", c->data_dir);
	rc = publish_create(&c->publish, c);
	if (rc == 0)
		rc = request_table_create(&c->requests, c);
	if (rc == 0)
		rc = markers_create(&c->markers, c);
	if (rc == 0)
		rc = offsets_create(&c->offsets, c);
	if (rc == 0)
		rc = txns_create(&c->txns, c);
	if (rc == 0)
		rc = link_create(&c->link, &opts);
	return rc < 0 ? fail(error, rc, "cannot start: %s", strerror(-rc)) : 0;
}

int control_create(struct control **out, const struct control_opts *opts,
                   char error[CONTROL_ERROR_MAX])
{
	struct control *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return fail(error, -ENOMEM, "out of memory");
	c->loop = opts->loop;
	c->conf = opts->conf;
	c->started_mono_ms = loop_mono_ms(c->loop);
	c->started_wall_ms = loop_wall_ms(c->loop);
	loop_work_init(&c->meta_work, on_meta_work, c);
	c->data_dir = strdup(opts->data_dir);
	rc = c->data_dir ? read_addresses(c, error) : fail(error, -ENOMEM, "out of memory");
	if (rc == 0)
		rc = read_log_dirs(c, error);
	if (rc == 0)
		rc = open_meta(c, error);
	if (rc == 0)
		rc = identify(c, error);
	if (rc == 0)
		rc = make_parts(c, error);
	if (rc < 0) {
		control_destroy(c);
		return rc;
	}
	*out = c;
	return 0;
}

void control_destroy(struct control *c)
{
	if (!c)
		return;
	c->is_stopping = true;
	link_destroy(c->link);
	/* Ends the transactions of requests, so before the requests. */
	meta_close(c->meta);
	request_table_destroy(c->requests);
	markers_destroy(c->markers);
	txns_destroy(c->txns);
	offsets_destroy(c->offsets);
	publish_destroy(c->publish);
	loop_work_cancel(&c->meta_work);
	for (uint32_t i = 0; i < c->log_dirs_count; i++)
		free(c->log_dirs[i]);
	free(c->log_dirs);
	free(c->log_dir_errors);
	free(c->advertised_host);
	free(c->data_dir);
	free(c);
}

/* ---- What others ask ---- */

uint32_t control_lanes_count(const struct control *c)
{
	return link_lanes_count(c->link);
}

int control_lane_of(const struct control *c, int32_t node_id)
{
	int32_t lane = node_id - CONTROL_NODE_ID(c->server_id, 0);

	return lane >= 0 && lane < (int32_t)control_lanes_count(c) ? lane : -1;
}

bool control_is_own_node(const struct control *c, int32_t node_id)
{
	return control_lane_of(c, node_id) >= 0;
}

int32_t control_node_id(const struct control *c, uint32_t lane)
{
	return CONTROL_NODE_ID(c->server_id, lane);
}

int32_t control_node_port(const struct control *c, uint32_t lane)
{
	return c->lane_port_base + (int32_t)lane;
}

struct sl_str control_node_rack(const struct control *c, int32_t node_id)
{
	const char *rack = sl_conf_str(c->conf, SL_CK_broker_rack);

	/* Lanes that are not attached yet are in it too. */
	return CONTROL_SERVER_ID(node_id) == c->server_id && *rack ? sl_str_from(rack)
	                                                           : SL_STR_NULL;
}

uint32_t control_lane_of_key(const struct control *c, struct sl_str key)
{
	uint32_t lanes = control_lanes_count(c);

	return lanes ? (uint32_t)sl_java_partition(key, (int32_t)lanes) : 0;
}

bool control_is_listed_on(const struct control *c, uint32_t lane, struct sl_str key)
{
	return lane >= control_lanes_count(c) || control_lane_of_key(c, key) == lane;
}

const struct sl_slot *control_slot(const struct control *c, const struct sl_uuid *topic_id,
                                   int32_t partition)
{
	return publish_slot(c->publish, topic_id, partition);
}

const struct sl_lane_stats *control_lane_stats(const struct control *c, uint32_t lane)
{
	struct sl_shm *shm = link_shm(c->link);

	return shm && lane < shm->lanes_count ? sl_shm_stats(shm, lane) : NULL;
}

struct group_coord *control_groups(const struct control *c)
{
	return offsets_coordinator(c->offsets);
}

struct txn_coord *control_txns(const struct control *c)
{
	return txns_coordinator(c->txns);
}

uint32_t control_log_dirs(const struct control *c, char *const **out)
{
	*out = c->log_dirs;
	return c->log_dirs_count;
}

int control_log_dir_error(const struct control *c, uint32_t log_dir)
{
	return log_dir < c->log_dirs_count ? c->log_dir_errors[log_dir] : 0;
}
