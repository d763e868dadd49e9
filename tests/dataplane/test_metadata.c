/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <sys/eventfd.h>

#include <criterion/criterion.h>

#include "fixture.h"
#include "sluice/base/uuid.h"
#include "sluice/ipc/msg.h"
#include "sluice/wire/metadata_gen.h"

static void encode(const void *body, struct sl_buf *buf, int16_t version)
{
	sl_metadata_req_encode(body, buf, version);
}

static struct request *request_of(struct fx *fx, int16_t version,
                                  struct sl_metadata_req_topic *topics, int32_t count,
                                  bool is_create)
{
	struct sl_metadata_req body;

	sl_metadata_req_init(&body);
	body.topics = topics;
	body.topics_count = count;
	body.allow_auto_topic_creation = is_create;
	body.include_cluster_authorized_operations = true;
	body.include_topic_authorized_operations = true;
	return fx_request(fx, SL_API_METADATA, version, encode, &body);
}

static void decode(struct fx *fx, const struct request *req, struct sl_metadata_resp *resp)
{
	static uint8_t *block;
	struct sl_cursor c;

	free(block);
	c = fx_reply(fx, req, &block);
	cr_assert(sl_metadata_resp_decode(resp, &c, fx_arena(), req->head.api_version) == 0);
	cr_assert(sl_cursor_is_done(&c));
}

static void ask(struct fx *fx, int16_t version, struct sl_metadata_req_topic *topics, int32_t count,
                struct sl_metadata_resp *resp)
{
	struct request *req = request_of(fx, version, topics, count, false);

	cr_assert(fx_run(fx, req) == REQUEST_REPLY);
	decode(fx, req, resp);
	fx_release(fx, req);
	fx->requests_count--;
}

Test(metadata, lists_every_lane_as_a_node_with_its_port)
{
	struct fx *fx = fx_create();
	struct topic *t = fx_topic(fx, "t", 3, NULL);
	struct sl_metadata_resp resp;

	for (int16_t version = 0; version <= 13; version++) {
		/* Version 0 has no null: empty means all. */
		ask(fx, version, NULL, version == 0 ? 0 : -1, &resp);
		cr_assert(resp.brokers_count == 2 && resp.topics_count == 1);
		cr_expect(resp.brokers[1].node_id == FX_NODE + 1);
		cr_expect(resp.brokers[1].port == 19093);
		cr_expect(sl_str_eq_c(resp.brokers[1].host, "host-b"));
		cr_expect(version < 1 || resp.controller_id == FX_NODE);
		cr_expect(version < 2 || sl_str_eq_c(resp.cluster_id, "cluster"));
		cr_expect(sl_str_eq_c(resp.topics[0].name, "t"));
		cr_expect(version < 10 || sl_uuid_eq(&resp.topics[0].topic_id, &t->id));
		cr_assert(resp.topics[0].partitions_count == 3);
		for (int i = 0; i < 3; i++) {
			const struct sl_metadata_resp_topic_partition *p =
				&resp.topics[0].partitions[i];

			cr_expect(p->partition_index == i && p->leader_id == FX_NODE);
			cr_expect(p->error_code == 0 && (version < 7 || p->leader_epoch == 5));
			cr_expect(p->replica_nodes_count == 1 && p->isr_nodes_count == 1);
			cr_expect(p->offline_replicas_count == 0);
		}
	}
	cr_expect(resp.topics[0].topic_authorized_operations == 3576);
	ask(fx, 8, NULL, -1, &resp);
	cr_expect(resp.cluster_authorized_operations == 8096);
	fx_destroy(fx);
}

Test(metadata, empty_list_names_no_topic_from_version_1_on)
{
	struct fx *fx = fx_create();
	struct sl_metadata_resp resp;

	fx_topic(fx, "t", 1, NULL);
	for (int16_t version = 1; version <= 13; version++) {
		ask(fx, version, NULL, 0, &resp);
		cr_expect(resp.topics_count == 0 && resp.brokers_count == 2);
	}
	fx_destroy(fx);
}

Test(metadata, finds_topics_by_name_and_id)
{
	struct fx *fx = fx_create();
	struct topic *t = fx_topic(fx, "t", 1, NULL);
	struct sl_metadata_req_topic in[3] = {{.name = sl_str_from("t")},
	                                      {.name = SL_STR_NULL, .topic_id = t->id},
	                                      {.name = SL_STR_NULL}};
	struct sl_metadata_resp resp;

	sl_uuid_random(&in[2].topic_id);
	ask(fx, 12, in, 3, &resp);
	cr_assert(resp.topics_count == 3);
	cr_expect(resp.topics[0].error_code == 0 && resp.topics[1].error_code == 0);
	cr_expect(sl_str_eq_c(resp.topics[1].name, "t"));
	cr_expect(resp.topics[2].error_code == SL_KERR_UNKNOWN_TOPIC_ID);
	cr_expect(sl_str_is_null(resp.topics[2].name));
	cr_expect(sl_uuid_eq(&resp.topics[2].topic_id, &in[2].topic_id));
	fx_destroy(fx);
}

Test(metadata, ids_before_version_12_are_invalid)
{
	struct fx *fx = fx_create();
	struct topic *t = fx_topic(fx, "t", 1, NULL);
	struct sl_metadata_req_topic by_id = {.name = SL_STR_NULL, .topic_id = t->id};
	struct sl_metadata_req_topic both = {.name = sl_str_from("t"), .topic_id = t->id};
	struct sl_metadata_resp resp;

	ask(fx, 10, &by_id, 1, &resp);
	cr_assert(resp.topics_count == 1);
	cr_expect(resp.topics[0].error_code == SL_KERR_INVALID_REQUEST && resp.brokers_count == 0);
	ask(fx, 11, &both, 1, &resp);
	cr_expect(resp.topics[0].error_code == SL_KERR_INVALID_REQUEST);
	fx_destroy(fx);
}

Test(metadata, unknown_and_invalid_names)
{
	struct fx *fx = fx_create();
	struct sl_metadata_req_topic in[4] = {{.name = sl_str_from("nope")},
	                                      {.name = sl_str_from("a/b")},
	                                      {.name = sl_str_from("..")},
	                                      {.name = sl_str_from("")}};
	struct sl_metadata_resp resp;

	fx->image->auto_create_topics = true;
	ask(fx, 9, in, 4, &resp);
	cr_expect(resp.topics[0].error_code == SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	for (int i = 1; i < 4; i++)
		cr_expect(resp.topics[i].error_code == SL_KERR_INVALID_TOPIC_EXCEPTION);
	fx_destroy(fx);
}

Test(metadata, partitions_without_a_live_leader)
{
	struct fx *fx = fx_create();
	struct sl_metadata_resp resp;
	struct sl_metadata_req_topic in = {.name = sl_str_from("far")};

	fx_foreign_topic(fx, "far", 777);
	ask(fx, 9, &in, 1, &resp);
	cr_expect(resp.topics[0].error_code == 0);
	cr_expect(resp.topics[0].partitions[0].error_code == SL_KERR_LEADER_NOT_AVAILABLE);
	cr_expect(resp.topics[0].partitions[0].leader_id == -1);
	cr_assert(resp.topics[0].partitions[0].offline_replicas_count == 1);
	cr_expect(resp.topics[0].partitions[0].offline_replicas[0] == 777);
	fx_destroy(fx);
}

/* ---- Topics to be created ---- */

#define RING_BYTES ((size_t)1 << 20)

struct ring {
	void *shm;
	int fds[2];
	struct sl_channel *lane;
	struct sl_channel *control; /* the other end */
};

static void attach_control(struct fx *fx, struct ring *r)
{
	r->shm = aligned_alloc(4096, SL_ALIGN_UP(sl_channel_shm_bytes(RING_BYTES), (size_t)4096));
	memset(r->shm, 0, sl_channel_shm_bytes(RING_BYTES));
	r->fds[0] = eventfd(0, EFD_NONBLOCK);
	r->fds[1] = eventfd(0, EFD_NONBLOCK);
	cr_assert(sl_channel_create(&r->lane, SL_CHANNEL_DATAPLANE, r->shm, RING_BYTES, r->fds[0],
	                            r->fds[1]) == 0);
	fx->ctx.control = r->lane;
	cr_assert(sl_channel_create(&r->control, SL_CHANNEL_CONTROL, r->shm, RING_BYTES, r->fds[1],
	                            r->fds[0]) == 0);
}

static void detach_control(struct fx *fx, struct ring *r)
{
	for (uint32_t i = 0; i < fx->requests_count; i++)
		fx_release(fx, &fx->requests[i]);
	sl_channel_destroy(r->lane);
	fx->ctx.control = NULL;
	sl_channel_destroy(r->control);
	free(r->shm);
}

Test(metadata, forwards_the_whole_request_to_have_a_topic_created)
{
	struct fx *fx = fx_create();
	struct sl_metadata_req_topic in = {.name = sl_str_from("new")};
	struct request *req;
	struct ring ring;
	const void *p;
	uint32_t type;
	size_t bytes;

	attach_control(fx, &ring);
	fx->image->auto_create_topics = true;
	req = request_of(fx, 9, &in, 1, true);
	cr_assert(fx_run(fx, req) == REQUEST_PARK);
	cr_expect(req->state == REQUEST_PARKED_CONTROL);
	cr_assert(sl_channel_peek(ring.control, &type, &p, &bytes) == 1);
	cr_expect(type == SL_IPC_REQUEST);
	cr_assert(bytes == sizeof(struct sl_ipc_request) + req->frame_bytes);
	cr_expect(memcmp((const uint8_t *)p + sizeof(struct sl_ipc_request), req->frame,
	                 req->frame_bytes) == 0);
	detach_control(fx, &ring);
	fx_destroy(fx);
}

Test(metadata, answers_3_itself_when_nobody_may_create)
{
	struct fx *fx = fx_create();
	struct sl_metadata_req_topic in = {.name = sl_str_from("new")};
	struct sl_metadata_resp resp;
	struct request *req;
	struct ring ring;

	attach_control(fx, &ring);
	fx->image->auto_create_topics = true;
	req = request_of(fx, 9, &in, 1, false);
	cr_expect(fx_run(fx, req) == REQUEST_REPLY, "the client does not allow it");
	fx->image->auto_create_topics = false;
	req = request_of(fx, 9, &in, 1, true);
	cr_expect(fx_run(fx, req) == REQUEST_REPLY, "the broker does not allow it");
	detach_control(fx, &ring);
	fx->requests_count = 0;
	fx->image->auto_create_topics = true;
	req = request_of(fx, 9, &in, 1, true);
	cr_expect(fx_run(fx, req) == REQUEST_REPLY, "the control process is away");
	decode(fx, req, &resp);
	cr_expect(resp.topics[0].error_code == SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	fx_destroy(fx);
}

Test(metadata, answers_itself_when_the_control_process_stays_away)
{
	struct fx *fx = fx_create();
	struct sl_metadata_req_topic in = {.name = sl_str_from("new")};
	struct sl_metadata_resp resp;
	struct request *req;
	struct ring ring;

	attach_control(fx, &ring);
	fx->image->auto_create_topics = true;
	req = request_of(fx, 9, &in, 1, true);
	cr_assert(fx_run(fx, req) == REQUEST_PARK);
	control_set(&fx->ctx, NULL);
	fx->ctx.now_ms += fx->config.control_grace_ms;
	cr_assert(fx_run_woken(fx) == REQUEST_REPLY);
	decode(fx, req, &resp);
	cr_expect(resp.topics[0].error_code == SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	cr_expect(fx_stat(fx, SL_STAT_control_parked) == 0);
	detach_control(fx, &ring);
	fx_destroy(fx);
}

Test(metadata, is_not_forwarded_twice)
{
	struct fx *fx = fx_create();
	struct sl_metadata_req_topic in = {.name = sl_str_from("new")};
	struct request *req;
	struct ring ring;
	const void *p;
	uint32_t type;
	size_t bytes;

	attach_control(fx, &ring);
	fx->image->auto_create_topics = true;
	req = request_of(fx, 9, &in, 1, true);
	cr_assert(fx_run(fx, req) == REQUEST_PARK);
	cr_assert(sl_channel_peek(ring.control, &type, &p, &bytes) == 1);
	sl_channel_release(ring.control);
	/* A new control process is there, but its ring had no room for the repetition. */
	request_park(&fx->ctx, req, REQUEST_PARKED_CONTROL, fx->ctx.now_ms);
	cr_expect(fx_run_woken(fx) == REQUEST_REPLY);
	cr_expect(sl_channel_peek(ring.control, &type, &p, &bytes) == 0);
	detach_control(fx, &ring);
	fx_destroy(fx);
}
