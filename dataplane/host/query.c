/* SPDX-License-Identifier: Apache-2.0 */
/* Answers to queries.  All but "connections" are answered at once. */
#include "query.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

#include "doctor.h"
#include "host_impl.h"
#include "sluice/base/assert.h"
#include "sluice/base/log.h"
#include "sluice/base/version.h"

#define ANSWER_BYTES_MAX (SL_CHANNEL_MESSAGE_MAX(SL_IPC_RING_BYTES) - 4096)
#define QUERIES_MAX      8 /* waiting for lanes at a time */

/* A query that waits for the lanes. */
struct query {
	struct sl_list link;
	uint64_t cookie;
	uint64_t generation; /* of the control process that asked */
	uint32_t left;
	uint32_t lanes_count;
	struct part {
		struct lane_msg msg;
		struct sl_buf text; /* Owned */
	} parts[];
};

static void answer(struct host *h, uint64_t cookie, int error, const char *json, size_t bytes)
{
	struct sl_ipc_query head = {.cookie = cookie, .error = error};

	attach_send(h->attach, SL_IPC_QUERY_DONE, (struct sl_bytes){&head, (int32_t)sizeof(head)},
	            (struct sl_bytes){json, (int32_t)bytes});
}

/* Ownership: takes @json. */
static void answer_json(struct host *h, uint64_t cookie, int error, json_t *json)
{
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

	json_decref(json);
	if (!text)
		answer(h, cookie, -ENOMEM, "{}", 2);
	else
		answer(h, cookie, error, text, strlen(text));
	free(text);
}

static void answer_error(struct host *h, uint64_t cookie, int error, const char *text)
{
	answer_json(h, cookie, error, json_pack("{s:s}", "error", text));
}

/* ---- connections ---- */

static void free_query(struct host *h, struct query *q)
{
	sl_list_del(&q->link);
	h->queries_count--;
	for (uint32_t i = 0; i < q->lanes_count; i++)
		sl_buf_fini(&q->parts[i].text);
	free(q);
}

static void ask_connections(struct host *h, uint64_t cookie, const json_t *args)
{
	uint32_t lanes = h->opts.lanes_count;
	struct query *q;

	(void)args;
	if (h->queries_count >= QUERIES_MAX) {
		answer_error(h, cookie, -EBUSY, "too many queries at a time");
		return;
	}
	q = calloc(1, sizeof(*q) + lanes * sizeof(q->parts[0]));
	if (!q) {
		answer_error(h, cookie, -ENOMEM, "no memory");
		return;
	}
	q->cookie = cookie;
	q->generation = attach_generation(h->attach);
	q->left = q->lanes_count = lanes;
	sl_list_push_back(&h->queries, &q->link);
	h->queries_count++;
	for (uint32_t i = 0; i < lanes; i++) {
		struct part *part = &q->parts[i];

		sl_buf_init_grow(&part->text, ANSWER_BYTES_MAX / lanes);
		part->msg = (struct lane_msg){.type = LANE_MSG_CONNECTIONS, .lane = i, .owner = q};
		sl_list_init(&part->msg.link);
		part->msg.text = &part->text;
		host_post(h, &part->msg);
	}
}

/* A part that did not fit is cut between two connections, because each is written by one put. */
static void finish_connections(struct host *h, struct query *q)
{
	bool is_truncated = false;
	bool is_first = true;
	struct sl_buf out;

	sl_buf_init_grow(&out, ANSWER_BYTES_MAX + 256);
	sl_buf_printf(&out, "{\"connections\":[");
	for (uint32_t i = 0; i < q->lanes_count; i++) {
		const struct sl_buf *text = &q->parts[i].text;

		is_truncated |= text->failed;
		if (text->len == 0)
			continue;
		if (!is_first)
			sl_buf_put_u8(&out, ',');
		is_first = false;
		sl_buf_put(&out, text->p, text->len);
	}
	sl_buf_printf(&out, "],\"truncated\":%s}", is_truncated ? "true" : "false");
	if (sl_buf_ok(&out))
		answer(h, q->cookie, 0, (const char *)out.p, out.len);
	else
		answer_error(h, q->cookie, -ENOMEM, "no memory");
	sl_buf_fini(&out);
}

void query_returned(struct host *h, struct lane_msg *msg)
{
	struct query *q = msg->owner;

	SL_ASSERT(q->left > 0);
	if (--q->left > 0)
		return;
	if (q->generation == attach_generation(h->attach))
		finish_connections(h, q);
	free_query(h, q);
}

void query_drop_all(struct host *h)
{
	while (!sl_list_is_empty(&h->queries))
		free_query(h, sl_list_first(&h->queries, struct query, link));
}

/* ---- info ---- */

static json_t *describe_lanes(const struct host *h)
{
	json_t *out = json_array();

	for (uint32_t i = 0; i < h->opts.lanes_count; i++)
		json_array_append_new(
			out,
			json_pack("{s:I, s:I, s:I, s:i, s:i, s:I}", "lane", (json_int_t)i,
		                  "node_id",
		                  (json_int_t)sl_conf_int(h->opts.conf, SL_CK_server_id) * 100 + i,
		                  "port", (json_int_t)h->opts.lane_port_base + i, "cpu",
		                  h->opts.cpus[i], "numa_node", h->opts.numa_nodes[i], "partitions",
		                  (json_int_t)apply_table(h->apply)->lane_counts[i]));
	return out;
}

static json_t *describe_dirs(const struct host *h)
{
	json_t *out = json_array();

	for (uint32_t i = 0; i < logdirs_count(h->dirs); i++) {
		int error = logdirs_error(h->dirs, i);

		json_array_append_new(
			out, json_pack("{s:s, s:b, s:s, s:I}", "path", logdirs_path(h->dirs, i),
		                       "online", error == 0, "error", error ? strerror(-error) : "",
		                       "partitions", (json_int_t)logdirs_folders(h->dirs, i)));
	}
	return out;
}

static json_t *describe_partitions(const struct host *h)
{
	const struct hosted_table *t = apply_table(h->apply);
	json_t *out = json_object();

	for (unsigned i = 0; i < HOSTED_STATE_NR; i++)
		json_object_set_new(out, hosted_state_name((enum hosted_state)i),
		                    json_integer((json_int_t)t->states[i]));
	return out;
}

static void ask_info(struct host *h, uint64_t cookie, const json_t *args)
{
	const struct image *image = apply_image(h->apply);
	char incarnation[24];

	(void)args;
	snprintf(incarnation, sizeof(incarnation), "%016" PRIx64, h->shm->incarnation);
	answer_json(h, cookie, 0,
	            json_pack("{s:s, s:I, s:s, s:I, s:I, s:I, s:b, s:o, s:o, s:o}", "version",
	                      SL_VERSION, "pid", (json_int_t)h->shm->pid, "incarnation",
	                      incarnation, "started_ms", (json_int_t)h->shm->started_ms, "revision",
	                      (json_int_t)image->revision, "topics", (json_int_t)image->by_id.count,
	                      "hugepages", h->memory.is_huge, "lanes", describe_lanes(h),
	                      "log_dirs", describe_dirs(h), "partitions", describe_partitions(h)));
}

/* ---- The small ones ---- */

static void ask_doctor(struct host *h, uint64_t cookie, const json_t *args)
{
	(void)args;
	answer_json(h, cookie, 0, doctor_describe(h));
}

static void ask_steer(struct host *h, uint64_t cookie, const json_t *args)
{
	(void)args;
	answer_json(h, cookie, 0, steer_describe(h->steer));
}

/* What came of a change of one of the programs, "sk_lookup" or "xdp". */
static void answer_change(struct host *h, uint64_t cookie, int rc, const char *program)
{
	char text[512];
	json_t *state;
	const char *cause;

	if (rc == 0) {
		answer(h, cookie, 0, "{}", 2);
		return;
	}
	if (rc != -ENOTSUP) {
		answer_error(h, cookie, rc, strerror(-rc));
		return;
	}
	state = steer_describe(h->steer);
	cause = json_string_value(json_object_get(json_object_get(state, program), "cause"));
	snprintf(text, sizeof(text), "%s is off: %s", program, cause ? cause : "not supported");
	answer_error(h, cookie, rc, text);
	json_decref(state);
}

static void ban(struct host *h, uint64_t cookie, const json_t *args, bool is_on)
{
	const char *cidr = json_string_value(json_object_get(args, "cidr"));
	int rc = cidr ? steer_ban(h->steer, cidr, is_on) : -EINVAL;

	if (rc == -EINVAL)
		answer_error(h, cookie, rc, "not an address or a prefix like 192.0.2.0/24");
	else if (rc == -ENOENT)
		answer_error(h, cookie, rc, "there is no such ban");
	else
		answer_change(h, cookie, rc, "xdp");
}

static void ask_ban(struct host *h, uint64_t cookie, const json_t *args)
{
	ban(h, cookie, args, true);
}

static void ask_unban(struct host *h, uint64_t cookie, const json_t *args)
{
	ban(h, cookie, args, false);
}

static void ask_redirect(struct host *h, uint64_t cookie, const json_t *args)
{
	const json_t *from = json_object_get(args, "from");
	const json_t *to = json_object_get(args, "to");
	json_int_t a = json_is_integer(from) ? json_integer_value(from) : -1;
	json_int_t b = json_is_integer(to) ? json_integer_value(to) : -1;

	if (a < 0 || b < 0 || a >= h->opts.lanes_count || b >= h->opts.lanes_count)
		answer_error(h, cookie, -EINVAL, "there is no such lane");
	else
		answer_change(h, cookie, steer_redirect(h->steer, (uint32_t)a, (uint32_t)b),
		              "sk_lookup");
}

/* With module and level it sets, and always says how the levels are then. */
static void ask_log_level(struct host *h, uint64_t cookie, const json_t *args)
{
	const char *module = json_string_value(json_object_get(args, "module"));
	const char *level = json_string_value(json_object_get(args, "level"));
	json_t *levels;
	int rc = 0;

	if (level)
		rc = sl_log_set_level(module ? module : "all", level);
	if (rc != 0) {
		answer_error(h, cookie, rc, rc == -ENOENT ? "no such module" : "no such level");
		return;
	}
	levels = json_object();
	for (unsigned i = 0; i < SL_LOGM_NR; i++)
		json_object_set_new(
			levels, sl_log_module_name((enum sl_log_module)i),
			json_string(sl_log_level_name((enum sl_log_level)atomic_load_explicit(
				&sl_log_levels[i], memory_order_relaxed))));
	answer_json(h, cookie, 0, json_pack("{s:o}", "levels", levels));
}

static void ask_count_sites(struct host *h, uint64_t cookie, const json_t *args)
{
	json_t *sites = json_array();

	(void)args;
	for (const struct sl_count_site *s = sl_count_sites(); s; s = s->next)
		json_array_append_new(sites, json_pack("{s:s, s:s, s:i, s:I}", "expr", s->expr,
		                                       "file", s->file, "line", s->line, "hits",
		                                       (json_int_t)atomic_load_explicit(
							       &s->hits, memory_order_relaxed)));
	answer_json(h, cookie, 0, json_pack("{s:o}", "sites", sites));
}

static const struct {
	const char *name;
	void (*run)(struct host *h, uint64_t cookie, const json_t *args);
} methods[] = {
	{"connections", ask_connections}, {"info", ask_info},
	{"doctor", ask_doctor},           {"steer", ask_steer},
	{"steer.ban", ask_ban},           {"steer.unban", ask_unban},
	{"steer.redirect", ask_redirect}, {"log.level", ask_log_level},
	{"count-sites", ask_count_sites},
};

int query_take(struct host *h, const void *p, size_t bytes)
{
	struct sl_ipc_query head;
	const char *method;
	json_t *args;

	if (bytes < sizeof(head))
		return -EPROTO;
	memcpy(&head, p, sizeof(head));
	args = json_loadb((const char *)p + sizeof(head), bytes - sizeof(head), 0, NULL);
	method = json_string_value(json_object_get(args, "method"));
	for (size_t i = 0; method && i < SL_ARRAY_SIZE(methods); i++) {
		if (strcmp(method, methods[i].name) != 0)
			continue;
		methods[i].run(h, head.cookie, args);
		json_decref(args);
		return 0;
	}
	answer_error(h, head.cookie, method ? -ENOSYS : -EINVAL,
	             method ? "no such method" : "not a JSON object with a method");
	json_decref(args);
	return 0;
}
