/* SPDX-License-Identifier: Apache-2.0 */
/* DescribeCluster: every lane is a broker. */
#include "sluice/wire/describe_cluster_gen.h"

#include "admin.h"

#define ENDPOINT_BROKERS 1

enum request_result admin_describe_cluster(struct control *c, struct request *r)
{
	uint32_t lanes = control_lanes_count(c);
	struct sl_describe_cluster_req req;
	struct sl_describe_cluster_resp resp;

	if (!request_decode(r, &req))
		return REQUEST_CLOSE;
	sl_describe_cluster_resp_init(&resp);
	resp.endpoint_type = req.endpoint_type;
	resp.error_message = SL_STR_NULL;
	if (r->wire.api_version >= 1 && req.endpoint_type != ENDPOINT_BROKERS) {
		/* Source: KIP-919. */
		resp.error_code = SL_KERR_MISMATCHED_ENDPOINT_TYPE;
		resp.error_message = sl_str_from("This endpoint is a broker");
		sl_describe_cluster_resp_encode(&resp, request_answer(r), r->wire.api_version);
		return REQUEST_DONE;
	}
	resp.cluster_id = sl_str_from(meta_cluster_id(c->meta));
	resp.controller_id = control_node_id(c, 0);
	resp.brokers = request_alloc(r, lanes, sizeof(*resp.brokers));
	resp.brokers_count = (int32_t)lanes;
	for (uint32_t i = 0; i < lanes; i++)
		resp.brokers[i] = (struct sl_describe_cluster_resp_broker){
			.broker_id = control_node_id(c, i),
			.host = sl_str_from(c->advertised_host),
			.port = control_node_port(c, i),
			.rack = control_node_rack(c, control_node_id(c, i)),
		};
	if (req.include_cluster_authorized_operations)
		resp.cluster_authorized_operations = ADMIN_CLUSTER_OPERATIONS;
	sl_describe_cluster_resp_encode(&resp, request_answer(r), r->wire.api_version);
	return REQUEST_DONE;
}
