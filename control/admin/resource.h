/* SPDX-License-Identifier: Apache-2.0 */
/* What a config resource of a request means, and changing its dynamic configs. */
#ifndef CONTROL_ADMIN_RESOURCE_H
#define CONTROL_ADMIN_RESOURCE_H

#include "sluice/base/hash.h"

#include "request.h"

/* A topic, a group, a server, or the cluster-wide defaults. */
struct resource {
	const struct meta_topic *topic; /* NULL: of a group, or broker configs of @server_id */
	struct sl_str group;            /* its id; null: no group.  It need not exist. */
	int32_t server_id;              /* META_ALL_SERVERS for the defaults */
	/* Why it is refused. */
	enum sl_kerr kerr;
	struct sl_str text;
};

/* Return: false: refused, kerr and text say why. */
bool resource_find(struct request *r, int8_t type, struct sl_str name, struct resource *out);

/* The dynamic configs of a resource while they are being changed. */
struct resource_edit {
	struct resource *resource;
	struct sl_meta_topic_config *list; /* in the request's scratch */
	int32_t count;
	int32_t max;
	uint64_t mod_revision;
};

/* @changes_max: how many sets will follow at most.  @is_empty: begin without what is set now. */
void resource_edit_begin(struct request *r, struct resource_edit *e, struct resource *resource,
                         int32_t changes_max, bool is_empty);
/* Definition of a key that can be changed on this resource; NULL: refused, resource->kerr says why.
 */
const struct sl_conf_def *resource_edit_def(struct request *r, struct resource_edit *e,
                                            struct sl_str name);
/* Value that is set now, or null. */
struct sl_str resource_edit_get(const struct resource_edit *e, struct sl_str name);
/* Value that counts now, whoever sets it. */
struct sl_str resource_edit_effective(struct request *r, const struct resource_edit *e,
                                      const struct sl_conf_def *def);
/* Checks and sets.  Return: false: refused. */
bool resource_edit_set(struct request *r, struct resource_edit *e, const struct sl_conf_def *def,
                       struct sl_str value);
void resource_edit_unset(struct resource_edit *e, struct sl_str name);
/* Do the values go together?  To be asked when all are set.  Return: false: refused. */
bool resource_edit_check(struct request *r, struct resource_edit *e);
/* Adds the outcome to a transaction. */
void resource_edit_put(struct request *r, const struct resource_edit *e, struct meta_txn *txn);

/* Whether the resource was seen before; remembers it.  @seen: of struct resource_key, in scratch.
 */
bool resource_is_twice(struct request *r, struct sl_map *seen, const struct resource *resource);

#endif
