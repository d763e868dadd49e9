/* SPDX-License-Identifier: Apache-2.0 */
/* AlterConfigs: replaces all dynamic configs of a resource. */
#include "sluice/wire/alter_configs_gen.h"

#include "admin.h"
#include "resource.h"

struct alteration {
	struct sl_alter_configs_req req;
	struct sl_alter_configs_resp resp;
	bool *is_made;
};

static void answer(struct sl_alter_configs_resp_response *res, enum sl_kerr kerr,
                   struct sl_str text)
{
	res->error_code = (int16_t)kerr;
	res->error_message = text;
}

/* Return: whether the new set is good. */
static bool replace(struct request *r, const struct sl_alter_configs_req_resource *q,
                    struct resource_edit *e)
{
	for (int32_t i = 0; i < q->configs_count; i++) {
		const struct sl_conf_def *def = resource_edit_def(r, e, q->configs[i].name);

		if (!def)
			return false;
		if (sl_str_is_null(q->configs[i].value)) {
			e->resource->kerr = SL_KERR_INVALID_REQUEST;
			e->resource->text = request_printf(r, "Null value not supported for: %s",
			                                   def->name);
			return false;
		}
		if (!resource_edit_set(r, e, def, q->configs[i].value))
			return false;
	}
	return resource_edit_check(r, e);
}

static struct meta_txn *check_all(struct request *r, struct alteration *a)
{
	struct meta_txn *txn = NULL;
	struct sl_map seen = {0};

	for (int32_t i = 0; i < a->req.resources_count; i++) {
		const struct sl_alter_configs_req_resource *q = &a->req.resources[i];
		struct sl_alter_configs_resp_response *res = &a->resp.responses[i];
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
		resource_edit_begin(r, &edit, &resource, q->configs_count, true);
		if (!replace(r, q, &edit)) {
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
	sl_alter_configs_resp_encode(&a->resp, request_answer(r), r->wire.api_version);
}

enum request_result admin_alter_configs(struct control *c, struct request *r)
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
	sl_alter_configs_resp_init(&a->resp);
	a->is_made = request_alloc(r, (size_t)count, sizeof(bool));
	a->resp.responses = request_alloc(r, (size_t)count, sizeof(*a->resp.responses));
	a->resp.responses_count = count;
	for (int32_t i = 0; i < count; i++)
		a->resp.responses[i] = (struct sl_alter_configs_resp_response){
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
