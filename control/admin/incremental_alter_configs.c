/* SPDX-License-Identifier: Apache-2.0 */
/* IncrementalAlterConfigs: SET, DELETE, APPEND and SUBTRACT on dynamic configs (reference 5.3). */
#include "sluice/wire/incremental_alter_configs_gen.h"

#include "admin.h"
#include "resource.h"

enum operation {
	OP_SET = 0,
	OP_DELETE,
	OP_APPEND,
	OP_SUBTRACT
};

struct alteration {
	struct sl_incremental_alter_configs_req req;
	struct sl_incremental_alter_configs_resp resp;
	bool *is_made;
};

static void answer(struct sl_incremental_alter_configs_resp_response *res, enum sl_kerr kerr,
                   struct sl_str text)
{
	res->error_code = (int16_t)kerr;
	res->error_message = text;
}

static bool refuse(struct resource_edit *e, enum sl_kerr kerr, struct sl_str text)
{
	e->resource->kerr = kerr;
	e->resource->text = text;
	return false;
}

/* The next word of a comma-separated list.  Return: false at the end. */
static bool next_word(struct sl_str *rest, struct sl_str *word)
{
	const char *comma;

	if (rest->len <= 0)
		return false;
	comma = memchr(rest->p, ',', (size_t)rest->len);
	word->p = rest->p;
	word->len = comma ? (int32_t)(comma - rest->p) : rest->len;
	rest->p += word->len + (comma ? 1 : 0);
	rest->len -= word->len + (comma ? 1 : 0);
	while (word->len > 0 && *word->p == ' ') {
		word->p++;
		word->len--;
	}
	while (word->len > 0 && word->p[word->len - 1] == ' ')
		word->len--;
	return true;
}

static bool has_word(struct sl_str list, struct sl_str word)
{
	struct sl_str other;

	while (next_word(&list, &other)) {
		if (sl_str_eq(other, word))
			return true;
	}
	return false;
}

/* Adds the words of @from that @to lacks and that are not in @except. */
static void add_words(char *to, int32_t *len, struct sl_str from, struct sl_str except)
{
	struct sl_str word;

	while (next_word(&from, &word)) {
		if (word.len == 0 || has_word(except, word) ||
		    has_word((struct sl_str){to, *len}, word))
			continue;
		if (*len > 0)
			to[(*len)++] = ',';
		memcpy(to + *len, word.p, (size_t)word.len);
		*len += word.len;
	}
}

static bool change_list(struct request *r, struct resource_edit *e, const struct sl_conf_def *def,
                        enum operation op, struct sl_str value)
{
	struct sl_str now = resource_edit_effective(r, e, def);
	struct sl_str none = {NULL, 0};
	int32_t len = 0;
	char *list;

	if (def->type != SL_CONF_LIST)
		return refuse(e, SL_KERR_INVALID_CONFIG,
		              request_printf(r, "Can't %s to key %s because its type is not LIST",
		                             op == OP_APPEND ? "APPEND" : "SUBTRACT", def->name));
	list = request_alloc(r, (size_t)(SL_MAX(now.len, 0) + SL_MAX(value.len, 0)) + 2, 1);
	if (op == OP_APPEND) {
		add_words(list, &len, now, none);
		add_words(list, &len, value, none);
	} else {
		add_words(list, &len, now, value);
	}
	return resource_edit_set(r, e, def, (struct sl_str){list, len});
}

static bool change_one(struct request *r, struct resource_edit *e,
                       const struct sl_incremental_alter_configs_req_resource_config *q)
{
	const struct sl_conf_def *def = resource_edit_def(r, e, q->name);

	if (!def)
		return false;
	if (q->config_operation < OP_SET || q->config_operation > OP_SUBTRACT)
		return refuse(e, SL_KERR_INVALID_REQUEST,
		              request_printf(r, "Unknown operation type %d", q->config_operation));
	if (q->config_operation == OP_DELETE) {
		resource_edit_unset(e, q->name);
		return true;
	}
	if (sl_str_is_null(q->value))
		return refuse(e, SL_KERR_INVALID_REQUEST,
		              request_printf(r, "Null value not supported for: %s", def->name));
	if (q->config_operation == OP_SET)
		return resource_edit_set(r, e, def, q->value);
	return change_list(r, e, def, (enum operation)q->config_operation, q->value);
}

static bool change_all(struct request *r, struct resource_edit *e,
                       const struct sl_incremental_alter_configs_req_resource *q)
{
	struct sl_map keys = {0};
	bool ok = true;

	for (int32_t i = 0; ok && i < q->configs_count; i++) {
		struct sl_str name = q->configs[i].name;

		if (sl_map_put(&keys, name.p, (size_t)name.len, &q->configs[i]) < 0)
			ok = refuse(e, SL_KERR_INVALID_REQUEST,
			            sl_str_from("Error due to duplicate config keys"));
		else
			ok = change_one(r, e, &q->configs[i]);
	}
	sl_map_fini(&keys);
	return ok && resource_edit_check(r, e);
}

static struct meta_txn *check_all(struct request *r, struct alteration *a)
{
	struct meta_txn *txn = NULL;
	struct sl_map seen = {0};

	for (int32_t i = 0; i < a->req.resources_count; i++) {
		const struct sl_incremental_alter_configs_req_resource *q = &a->req.resources[i];
		struct sl_incremental_alter_configs_resp_response *res = &a->resp.responses[i];
		struct resource resource;
		struct resource_edit edit;

		if (!resource_find(r, q->resource_type, q->resource_name, &resource)) {
			answer(res, resource.kerr, resource.text);
			continue;
		}
		if (resource_is_twice(r, &seen, &resource)) {
			answer(res, SL_KERR_INVALID_REQUEST,
			       sl_str_from("Each resource must appear at most once"));
			continue;
		}
		resource_edit_begin(r, &edit, &resource, q->configs_count, false);
		if (!change_all(r, &edit, q)) {
			answer(res, resource.kerr, resource.text);
			continue;
		}
		if (a->req.validate_only)
			continue;
		a->is_made[i] = true;
		if (!txn)
			txn = meta_txn_begin(r->c->meta);
		resource_edit_put(r, &edit, txn);
	}
	sl_map_fini(&seen);
	return txn;
}

static void finish(struct control *c, struct request *r, enum sl_kerr kerr)
{
	struct alteration *a = r->state;

	(void)c;
	for (int32_t i = 0; kerr != SL_KERR_NONE && i < a->resp.responses_count; i++) {
		if (a->is_made[i])
			answer(&a->resp.responses[i], kerr,
			       sl_str_from("The metadata could not be written"));
	}
	sl_incremental_alter_configs_resp_encode(&a->resp, request_answer(r), r->wire.api_version);
}

enum request_result admin_incremental_alter_configs(struct control *c, struct request *r)
{
	struct alteration *a = request_alloc(r, 1, sizeof(*a));
	struct meta_txn *txn;
	int32_t count;

	if (!request_decode(r, &a->req))
		return REQUEST_CLOSE;
	count = a->req.resources_count;
	/* Each resource's configs are listed once more, beside what it has. */
	if (!request_has_room(r, (size_t)count * 1024 + r->arena.used))
		return REQUEST_CLOSE;
	r->state = a;
	sl_incremental_alter_configs_resp_init(&a->resp);
	a->is_made = request_alloc(r, (size_t)count, sizeof(bool));
	a->resp.responses = request_alloc(r, (size_t)count, sizeof(*a->resp.responses));
	a->resp.responses_count = count;
	for (int32_t i = 0; i < count; i++)
		a->resp.responses[i] = (struct sl_incremental_alter_configs_resp_response){
			.error_message = SL_STR_NULL,
			.resource_type = a->req.resources[i].resource_type,
			.resource_name = a->req.resources[i].resource_name,
		};
	txn = check_all(r, a);
	if (txn)
		return request_commit(r, txn, PUBLISH_WAIT_MS, finish);
	finish(c, r, SL_KERR_NONE);
	return REQUEST_DONE;
}
