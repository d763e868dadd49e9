/* SPDX-License-Identifier: Apache-2.0 */
/* Rounds of the image, with lanes that obey when the test says so. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <criterion/criterion.h>

#include "rig.h"
#include "sluice/wire/image_broker_gen.h"

static const struct rig_topic two = {"two", 1, 2, 100, 3, NULL};

static unsigned posted_count(const struct rig *r, enum lane_msg_type type)
{
	const struct sl_list *pos;
	unsigned count = 0;

	for (pos = r->posted.next; pos != &r->posted; pos = pos->next)
		count += sl_list_entry(pos, struct lane_msg, link)->type == type;
	return count;
}

/* The topic's partitions are with their lanes, and control was told. */
static void expect_served(struct rig *r, const char *name, int32_t partitions)
{
	const struct topic *t = rig_seen(r, name);

	cr_assert(t, "%s is in the image", name);
	cr_expect(t->partitions_count == (uint32_t)partitions);
	for (uint32_t i = 0; i < t->partitions_count; i++) {
		const struct partition *p = t->partitions[i].partition;

		cr_assert(p, "%s-%u has a log", name, i);
		cr_expect(p->refs == 1 && p->log && p->slot);
		cr_expect(p->index == (int32_t)i);
		cr_expect(p->lane == t->partitions[i].leader_id - RIG_NODE_BASE);
		cr_expect(p->leader_epoch == t->partitions[i].leader_epoch);
		cr_expect(sl_log_epoch(p->log) == p->leader_epoch);
	}
}

Test(apply, hands_partitions_over_before_the_image_and_acks_last)
{
	struct rig *r = rig_create(NULL);
	unsigned images = 0, attaches = 0;
	struct lane_msg *msg;

	rig_publish(r, 7, true, &two);
	cr_assert(rig_poll(r) == 0);
	while ((msg = rig_posted(r))) {
		cr_expect(rig_told(r, SL_IPC_IMAGE_ACK, NULL) == 0, "not before every lane has it");
		images += msg->type == LANE_MSG_IMAGE;
		attaches += msg->type == LANE_MSG_ATTACH;
		cr_expect(msg->type == LANE_MSG_IMAGE || images == 0, "partitions come first");
		rig_obey(r, msg);
		cr_assert(rig_poll(r) == 0);
	}
	cr_expect(images == RIG_LANES && attaches == 2);
	expect_served(r, "two", 2);
	cr_expect(r->seen[1] == r->seen[0] && r->seen[0]->revision == 7);
	cr_assert(r->told_count == 3);
	for (unsigned i = 0; i < 2; i++) {
		const struct sl_ipc_partition *p = &r->told[i].partition;

		cr_expect(r->told[i].type == SL_IPC_PARTITION && p->error == 0);
		cr_expect(sl_shm_slot(r->shm, p->slot)->partition == p->partition);
	}
	cr_expect(r->told[2].type == SL_IPC_IMAGE_ACK && r->told[2].image.revision == 7);
	cr_expect(rig_exists(r->root, "log/two-0") && rig_exists(r->root, "log/two-1"));
	rig_destroy(r);
}

Test(apply, a_delta_keeps_what_it_does_not_name)
{
	struct rig *r = rig_create(NULL);
	const struct partition *before;

	rig_publish(r, 1, true, &two);
	cr_assert(rig_settle(r) == 0);
	before = rig_seen(r, "two")->partitions[0].partition;
	rig_publish(r, 2, false, &(struct rig_topic){"one", 2, 1, 101, 0, NULL});
	cr_assert(rig_poll(r) == 0);
	cr_expect(posted_count(r, LANE_MSG_ATTACH) == 1 && posted_count(r, LANE_MSG_DETACH) == 0);
	cr_assert(rig_settle(r) == 0);
	expect_served(r, "one", 1);
	expect_served(r, "two", 2);
	cr_expect(rig_seen(r, "two")->partitions[0].partition == before);
	cr_expect(rig_told(r, SL_IPC_PARTITION, NULL) == 3, "only the new one again");
	rig_destroy(r);
}

Test(apply, more_partitions_join_a_topic)
{
	struct rig *r = rig_create(NULL);
	const struct partition *before;

	rig_publish(r, 1, true, &two);
	cr_assert(rig_settle(r) == 0);
	before = rig_seen(r, "two")->partitions[1].partition;
	rig_publish(r, 2, false, &(struct rig_topic){"two", 1, 5, 100, 3, NULL});
	cr_assert(rig_settle(r) == 0);
	expect_served(r, "two", 5);
	cr_expect(rig_seen(r, "two")->partitions[1].partition == before);
	rig_destroy(r);
}

Test(apply, takes_a_deleted_topic_away_only_after_every_lane_has_the_image)
{
	struct rig *r = rig_create(NULL);
	struct lane_msg *msg;

	rig_publish(r, 1, true, &two);
	cr_assert(rig_settle(r) == 0);
	rig_begin(r, 2, false);
	rig_delete(r, 1);
	rig_end(r, 2);
	cr_assert(rig_poll(r) == 0);
	for (unsigned i = 0; i < RIG_LANES; i++) {
		cr_expect(posted_count(r, LANE_MSG_DETACH) == 0);
		msg = rig_posted(r);
		cr_assert(msg && msg->type == LANE_MSG_IMAGE);
		rig_obey(r, msg);
		cr_assert(rig_poll(r) == 0);
	}
	cr_expect_null(rig_seen(r, "two"));
	cr_expect(posted_count(r, LANE_MSG_DETACH) == 2);
	cr_expect(rig_exists(r->root, "log/two-0"), "its lane may still use it");
	cr_assert(rig_settle(r) == 0);
	cr_expect(rig_count(r->root, "log", "two-") == 2);
	cr_expect(rig_count(r->root, "log", "-delete") == 2);
	while (logdirs_sweep(r->dirs))
		;
	cr_expect(rig_count(r->root, "log", "two-") == 0, "swept");
	cr_expect(apply_table(r->apply)->free_slots_count == r->shm->slots_count);
	rig_destroy(r);
}

Test(apply, a_new_topic_of_an_old_name_waits_for_the_folder)
{
	struct rig *r = rig_create(NULL);
	const struct rig_told *told = NULL;
	struct lane_msg *detach;

	rig_publish(r, 1, true, &(struct rig_topic){"t", 1, 1, 100, 0, NULL});
	cr_assert(rig_settle(r) == 0);
	rig_begin(r, 2, false);
	rig_delete(r, 1);
	rig_topic(r, &(struct rig_topic){"t", 2, 1, 100, 0, NULL});
	rig_end(r, 2);
	cr_assert(rig_poll(r) == 0);
	while ((detach = rig_posted(r)) && detach->type != LANE_MSG_DETACH) {
		rig_obey(r, detach);
		cr_assert(rig_poll(r) == 0);
	}
	cr_assert(detach, "the old one is to be given up");
	cr_expect(rig_told(r, SL_IPC_IMAGE_ACK, NULL) == 2, "a slow consumer holds up nobody else");
	cr_assert(rig_seen(r, "t"));
	cr_expect_null(rig_seen(r, "t")->partitions[0].partition);

	/* Meanwhile the world goes on. */
	sl_list_del(&detach->link);
	rig_publish(r, 3, false, &two);
	cr_assert(rig_settle(r) == 0);
	expect_served(r, "two", 2);
	cr_expect_null(rig_seen(r, "t")->partitions[0].partition);

	sl_list_push_back(&r->posted, &detach->link);
	cr_assert(rig_settle(r) == 0);
	expect_served(r, "t", 1);
	cr_expect(rig_told(r, SL_IPC_PARTITION, &told) == 4);
	cr_expect(told && told->partition.error == 0 && told->partition.topic_id.b[0] == 2);
	cr_expect(rig_told(r, SL_IPC_IMAGE_ACK, NULL) == 3, "no revision is acknowledged twice");
	cr_expect(r->seen[0]->revision == 3);
	rig_destroy(r);
}

Test(apply, a_topic_deleted_while_it_waits_leaves_nothing)
{
	struct rig *r = rig_create(NULL);
	struct lane_msg *msg;

	rig_publish(r, 1, true, &(struct rig_topic){"t", 1, 1, 100, 0, NULL});
	cr_assert(rig_settle(r) == 0);
	/* Moves to the other lane: the same folder, closed and opened again. */
	rig_publish(r, 2, false, &(struct rig_topic){"t", 1, 1, 101, 1, NULL});
	cr_assert(rig_poll(r) == 0);
	while ((msg = rig_posted(r)) && msg->type != LANE_MSG_DETACH) {
		rig_obey(r, msg);
		cr_assert(rig_poll(r) == 0);
	}
	cr_assert(msg);
	sl_list_del(&msg->link);
	rig_begin(r, 3, false);
	rig_delete(r, 1);
	rig_end(r, 3);
	cr_assert(rig_settle(r) == 0);
	sl_list_push_back(&r->posted, &msg->link);
	cr_assert(rig_settle(r) == 0);
	cr_expect(rig_count(r->root, "log", "-delete") == 1, "closing became deleting");
	cr_expect(!rig_exists(r->root, "log/t-0"));
	rig_destroy(r);
}

Test(apply, a_partition_moves_to_another_lane_with_its_log)
{
	struct rig *r = rig_create(NULL);

	rig_publish(r, 1, true, &(struct rig_topic){"t", 1, 1, 100, 4, NULL});
	cr_assert(rig_settle(r) == 0);
	rig_publish(r, 2, false, &(struct rig_topic){"t", 1, 1, 101, 5, NULL});
	cr_assert(rig_settle(r) == 0);
	expect_served(r, "t", 1);
	cr_expect(rig_seen(r, "t")->partitions[0].partition->lane == 1);
	cr_expect(apply_table(r->apply)->lane_counts[0] == 0);
	cr_expect(apply_table(r->apply)->lane_counts[1] == 1);
	cr_expect(rig_count(r->root, "log", "t-0") == 1);
	rig_destroy(r);
}

Test(apply, a_new_leader_epoch_begins_in_the_log)
{
	struct rig *r = rig_create(NULL);
	const struct rig_told *told = NULL;

	rig_publish(r, 1, true, &(struct rig_topic){"t", 1, 1, 100, 4, NULL});
	cr_assert(rig_settle(r) == 0);
	rig_publish(r, 2, false, &(struct rig_topic){"t", 1, 1, 100, 9, NULL});
	cr_assert(rig_settle(r) == 0);
	expect_served(r, "t", 1);
	/* Epochs only rise: an older one is refused, not obeyed. */
	rig_publish(r, 3, false, &(struct rig_topic){"t", 1, 1, 100, 8, NULL});
	cr_assert(rig_settle(r) == 0);
	cr_expect_null(rig_seen(r, "t")->partitions[0].partition);
	cr_expect(rig_told(r, SL_IPC_PARTITION, &told) == 3);
	cr_expect(told && told->partition.error == -EINVAL && told->partition.slot == UINT32_MAX);
	rig_destroy(r);
}

Test(apply, a_partition_that_nobody_here_leads_is_not_opened)
{
	struct rig *r = rig_create(NULL);

	rig_publish(r, 1, true, &(struct rig_topic){"t", 1, 1, -1, 0, NULL});
	cr_assert(rig_settle(r) == 0);
	cr_assert(rig_seen(r, "t"));
	cr_expect_null(rig_seen(r, "t")->partitions[0].partition);
	cr_expect(!rig_exists(r->root, "log/t-0"));
	cr_expect(rig_told(r, SL_IPC_IMAGE_ACK, NULL) == 1);
	rig_publish(r, 2, false, &(struct rig_topic){"t", 1, 1, 100, 1, NULL});
	cr_assert(rig_settle(r) == 0);
	expect_served(r, "t", 1);
	rig_publish(r, 3, false, &(struct rig_topic){"t", 1, 1, -1, 2, NULL});
	cr_assert(rig_settle(r) == 0);
	cr_expect_null(rig_seen(r, "t")->partitions[0].partition);
	cr_expect(rig_exists(r->root, "log/t-0"), "closed, not deleted");
	rig_destroy(r);
}

Test(apply, a_config_change_reaches_the_lane_and_nothing_else)
{
	struct rig *r = rig_create(NULL);
	struct lane_msg *msg;

	rig_publish(r, 1, true, &(struct rig_topic){"t", 1, 1, 101, 0, "retention.ms=5000"});
	cr_assert(rig_settle(r) == 0);
	rig_publish(r, 2, false, &(struct rig_topic){"t", 1, 1, 101, 0, "max.message.bytes=5"});
	cr_assert(rig_poll(r) == 0);
	cr_expect(posted_count(r, LANE_MSG_ATTACH) == 0);
	msg = rig_posted(r);
	cr_assert(msg && msg->type == LANE_MSG_CONFIG && msg->lane == 1);
	cr_expect(msg->log_config->retention_ms == 604800000, "back to the default");
	cr_assert(rig_settle(r) == 0);
	cr_expect(rig_seen(r, "t")->config.max_message_bytes == 5);
	/* What the lane need not know comes with the image alone. */
	rig_publish(r, 3, false, &(struct rig_topic){"t", 1, 1, 101, 0, "max.message.bytes=6"});
	cr_assert(rig_poll(r) == 0);
	cr_expect(posted_count(r, LANE_MSG_CONFIG) == 0);
	cr_assert(rig_settle(r) == 0);
	cr_expect(rig_seen(r, "t")->config.max_message_bytes == 6);
	rig_destroy(r);
}

Test(apply, a_full_image_keeps_the_folders_that_it_does_not_name)
{
	struct rig *r = rig_create(NULL);

	rig_begin(r, 1, true);
	rig_topic(r, &two);
	rig_topic(r, &(struct rig_topic){"one", 2, 1, 100, 0, NULL});
	rig_end(r, 1);
	cr_assert(rig_settle(r) == 0);
	r->told_count = 0;
	rig_publish(r, 2, true, &(struct rig_topic){"one", 2, 1, 100, 0, NULL});
	cr_assert(rig_settle(r) == 0);
	cr_expect_null(rig_seen(r, "two"));
	expect_served(r, "one", 1);
	cr_expect(rig_exists(r->root, "log/two-0") && rig_exists(r->root, "log/two-1"));
	cr_expect(logdirs_report_strays(r->dirs) == 2);
	cr_expect(rig_told(r, SL_IPC_PARTITION, NULL) == 1,
	          "a new control process learns of what was open before");
	/* And back again. */
	rig_publish(r, 3, false, &two);
	cr_assert(rig_settle(r) == 0);
	expect_served(r, "two", 2);
	rig_destroy(r);
}

Test(apply, deletes_logs_of_a_topic_that_it_never_served)
{
	struct rig *r = rig_create(NULL);

	rig_begin(r, 1, true);
	rig_topic(r, &two);
	rig_topic(r, &(struct rig_topic){"one", 2, 1, 100, 0, NULL});
	rig_end(r, 1);
	cr_assert(rig_settle(r) == 0);
	cr_assert(rig_restart(r) == 0);
	/* Deleted while this process was away; its successor of the same name is there already. */
	rig_begin(r, 2, true);
	rig_delete(r, 1);
	rig_topic(r, &(struct rig_topic){"two", 3, 2, 100, 0, NULL});
	rig_end(r, 2);
	cr_assert(rig_settle(r) == 0);
	expect_served(r, "two", 2);
	cr_expect(rig_count(r->root, "log", "-delete") == 2);
	cr_expect(rig_exists(r->root, "log/one-0"), "a stray is kept");
	cr_expect(rig_count(r->root, "log", "-stray") == 0);
	rig_destroy(r);
}

Test(apply, sets_aside_a_folder_of_another_topic_id)
{
	struct rig *r = rig_create(NULL);

	rig_publish(r, 1, true, &(struct rig_topic){"t", 1, 1, 100, 0, NULL});
	cr_assert(rig_settle(r) == 0);
	cr_assert(rig_restart(r) == 0);
	rig_publish(r, 2, true, &(struct rig_topic){"t", 2, 1, 100, 0, NULL});
	cr_assert(rig_settle(r) == 0);
	expect_served(r, "t", 1);
	cr_expect(rig_count(r->root, "log", "-stray") == 1, "nobody's data is thrown away");
	rig_destroy(r);
}

Test(apply, a_lane_takes_no_more_partitions_than_it_may)
{
	struct rig *r = rig_create(NULL);
	const struct rig_told *told = NULL;

	rig_publish(r, 1, true, &(struct rig_topic){"big", 1, 2 * RIG_LANE_MAX, 100, 0, NULL});
	cr_assert(rig_settle(r) == 0);
	expect_served(r, "big", 2 * RIG_LANE_MAX);
	rig_publish(r, 2, false, &(struct rig_topic){"t", 2, 1, 101, 0, NULL});
	cr_assert(rig_settle(r) == 0);
	(void)rig_told(r, SL_IPC_PARTITION, &told);
	cr_expect(told->partition.error == -EDQUOT && told->partition.slot == UINT32_MAX);
	cr_expect_null(rig_seen(r, "t")->partitions[0].partition);
	/* Room comes; the next change of the topic tries again. */
	rig_begin(r, 3, false);
	rig_delete(r, 1);
	rig_end(r, 3);
	cr_assert(rig_settle(r) == 0);
	rig_publish(r, 4, false, &(struct rig_topic){"t", 2, 1, 101, 0, NULL});
	cr_assert(rig_settle(r) == 0);
	expect_served(r, "t", 1);
	rig_destroy(r);
}

Test(apply, refuses_messages_out_of_place)
{
	struct rig *r = rig_create(NULL);
	struct sl_ipc_image head = {.revision = 1};
	const uint8_t junk[] = {1, 2, 3, 4, 5};

	cr_expect(apply_message(r->apply, SL_IPC_IMAGE_END, &head, sizeof(head)) == -EPROTO);
	cr_expect(apply_message(r->apply, SL_IPC_IMAGE_TOPIC, junk, sizeof(junk)) == -EPROTO);
	cr_expect(apply_message(r->apply, SL_IPC_IMAGE_BEGIN, &head, sizeof(head) - 1) == -EPROTO);
	rig_begin(r, 1, false);
	cr_expect(apply_message(r->apply, SL_IPC_IMAGE_BEGIN, &head, sizeof(head)) == -EPROTO);
	cr_expect(apply_message(r->apply, SL_IPC_IMAGE_TOPIC, junk, sizeof(junk)) == -EPROTO);
	cr_expect(apply_message(r->apply, SL_IPC_IMAGE_BROKER, junk, sizeof(junk)) == -EPROTO);
	cr_expect(apply_message(r->apply, SL_IPC_IMAGE_TOPIC_DELETE, junk, sizeof(junk)) ==
	          -EPROTO);
	cr_expect(apply_message(r->apply, SL_IPC_REQUEST, junk, sizeof(junk)) == -EPROTO);
	head.revision = 2;
	cr_expect(apply_message(r->apply, SL_IPC_IMAGE_END, &head, sizeof(head)) == -EPROTO);
	apply_control_lost(r->apply);
	rig_publish(r, 5, true, &two);
	cr_assert(rig_settle(r) == 0);
	expect_served(r, "two", 2);
	rig_destroy(r);
}

Test(apply, survives_every_truncation_of_a_topic)
{
	struct rig *r = rig_create(NULL);
	uint8_t copy[1024];
	size_t len;

	rig_begin(r, 1, true);
	rig_topic(r, &two);
	rig_end(r, 1);
	len = r->buf.len;
	cr_assert(len > 40 && len <= sizeof(copy));
	for (size_t cut = 0; cut < 30; cut++) {
		/* An exact copy, so that a sanitizer sees a read behind it. */
		uint8_t *exact = malloc(cut + 1);
		struct sl_ipc_image head = {.revision = 2};

		memcpy(copy, r->buf.p, len);
		memcpy(exact, copy, cut);
		cr_assert(apply_message(r->apply, SL_IPC_IMAGE_BEGIN, &head, sizeof(head)) == 0);
		cr_expect(apply_message(r->apply, SL_IPC_IMAGE_TOPIC, exact, cut) == -EPROTO);
		apply_control_lost(r->apply);
		free(exact);
	}
	rig_destroy(r);
}

Test(apply, an_image_with_two_topics_of_one_name_is_refused_as_a_whole)
{
	struct rig *r = rig_create(NULL);

	rig_publish(r, 1, true, &two);
	cr_assert(rig_settle(r) == 0);
	rig_begin(r, 2, false);
	rig_topic(r, &(struct rig_topic){"one", 2, 1, 100, 0, NULL});
	rig_topic(r, &(struct rig_topic){"two", 3, 1, 100, 0, NULL});
	rig_end(r, 2);
	cr_expect(rig_settle(r) == -EPROTO);
	cr_expect(r->seen[0]->revision == 1);
	cr_expect_null(rig_seen(r, "one"));
	expect_served(r, "two", 2);
	cr_expect(rig_settle(r) == 0, "and that is all");
	rig_destroy(r);
}

Test(apply, what_a_lost_control_process_had_not_finished_is_void)
{
	struct rig *r = rig_create(NULL);

	rig_begin(r, 1, true);
	rig_topic(r, &two);
	apply_control_lost(r->apply);
	cr_assert(rig_settle(r) == 0);
	cr_expect(r->seen[0]->revision == 0 && r->told_count == 0);
	/* A round that runs is finished, but nobody is told: the next one asks for everything. */
	rig_publish(r, 2, true, &two);
	cr_assert(rig_poll(r) == 0);
	apply_control_lost(r->apply);
	cr_assert(rig_settle(r) == 0);
	expect_served(r, "two", 2);
	cr_expect(r->told_count == 0);
	rig_publish(r, 3, true, &two);
	cr_assert(rig_settle(r) == 0);
	cr_expect(rig_told(r, SL_IPC_PARTITION, NULL) == 2 &&
	          rig_told(r, SL_IPC_IMAGE_ACK, NULL) == 1);
	rig_destroy(r);
}

Test(apply, shows_the_cluster_as_control_gives_it)
{
	struct sl_image_broker_node nodes[] = {{100, sl_str_from("h1"), 1000},
	                                       {101, sl_str_from("h2"), 1001}};
	const struct sl_image_broker rec = {.cluster_id = sl_str_from("cid"),
	                                    .controller_id = 101,
	                                    .nodes = nodes,
	                                    .nodes_count = 2,
	                                    .auto_create_topics = true};
	struct rig *r = rig_create(NULL);

	rig_begin(r, 1, true);
	sl_buf_reset(&r->buf);
	sl_image_broker_encode(&rec, &r->buf, 0);
	cr_assert(apply_message(r->apply, SL_IPC_IMAGE_BROKER, r->buf.p, r->buf.len) == 0);
	rig_end(r, 1);
	cr_assert(rig_settle(r) == 0);
	rig_publish(r, 2, false, &two);
	cr_assert(rig_settle(r) == 0);
	cr_expect_str_eq(r->seen[1]->cluster_id, "cid");
	cr_expect(r->seen[1]->controller_id == 101 && r->seen[1]->auto_create_topics);
	cr_expect(r->seen[1]->nodes_count == 2 && r->seen[1]->nodes[1].port == 1001);
	rig_destroy(r);
}

Test(apply, a_log_dir_that_failed_under_a_lane_goes_offline_everywhere_once)
{
	struct rig *r = rig_create("two dirs");
	const struct rig_told *told = NULL;
	struct partition *p;
	uint64_t bit;

	rig_publish(r, 1, true, &two);
	cr_assert(rig_settle(r) == 0);
	p = rig_seen(r, "two")->partitions[0].partition;
	bit = UINT64_C(1) << p->log_dir;
	cr_expect(p->log_dir != rig_seen(r, "two")->partitions[1].partition->log_dir,
	          "spread over the dirs");
	cr_expect(rig_told(r, SL_IPC_LOG_DIR, NULL) == 0);
	apply_dir_failed(r->apply, p->log_dir, -ENOSPC);
	cr_assert(rig_poll(r) == 0);
	cr_expect(posted_count(r, LANE_MSG_DIR_OFFLINE) == RIG_LANES);
	/* Another lane finds it too before it is told. */
	apply_dir_failed(r->apply, p->log_dir, -EIO);
	cr_assert(rig_settle(r) == 0);
	for (unsigned i = 0; i < RIG_LANES; i++)
		cr_expect(r->dirs_offline[i] == bit);
	cr_assert(rig_told(r, SL_IPC_LOG_DIR, &told) == 1);
	cr_expect(told->log_dir.log_dir == p->log_dir && told->log_dir.error == -ENOSPC);
	cr_expect(logdirs_error(r->dirs, p->log_dir) == -ENOSPC);
	cr_expect(logdirs_online(r->dirs) == 1);
	/* What is new goes to the other dir. */
	rig_publish(r, 2, false, &(struct rig_topic){"more", 2, 3, 100, 0, NULL});
	cr_assert(rig_settle(r) == 0);
	expect_served(r, "more", 3);
	for (unsigned i = 0; i < 3; i++)
		cr_expect(rig_seen(r, "more")->partitions[i].partition->log_dir != p->log_dir);
	/* With none left a partition is told as failed, and what is served stays served. */
	apply_dir_failed(r->apply, !p->log_dir, -EIO);
	rig_publish(r, 3, false, &(struct rig_topic){"late", 3, 1, 100, 0, NULL});
	cr_assert(rig_settle(r) == 0);
	cr_expect(rig_told(r, SL_IPC_LOG_DIR, NULL) == 2);
	cr_assert(rig_told(r, SL_IPC_PARTITION, &told) > 0);
	cr_expect(told->partition.error == -EIO && told->partition.slot == UINT32_MAX);
	cr_expect_null(rig_seen(r, "late")->partitions[0].partition);
	expect_served(r, "two", 2);
	rig_destroy(r);
}

Test(apply, a_message_about_a_dir_does_not_hold_up_a_round)
{
	struct rig *r = rig_create("two dirs");
	struct lane_msg *msg, *kept = NULL;

	rig_publish(r, 1, true, &two);
	cr_assert(rig_settle(r) == 0);
	apply_dir_failed(r->apply, 0, -EIO);
	rig_publish(r, 2, false, &(struct rig_topic){"one", 2, 1, 100, 0, NULL});
	cr_assert(rig_poll(r) == 0);
	while ((msg = rig_posted(r))) {
		if (msg->type == LANE_MSG_DIR_OFFLINE && !kept) {
			sl_list_del(&msg->link);
			kept = msg;
			continue;
		}
		rig_obey(r, msg);
		cr_assert(rig_poll(r) == 0);
	}
	cr_assert(kept);
	expect_served(r, "one", 1);
	cr_expect(rig_told(r, SL_IPC_IMAGE_ACK, NULL) == 2);
	rig_obey(r, kept);
	cr_assert(rig_settle(r) == 0);
	rig_destroy(r);
}

Test(apply, leaves_no_marker_in_a_dir_that_failed)
{
	struct rig *r = rig_create("two dirs");

	rig_publish(r, 1, true, &two);
	cr_assert(rig_settle(r) == 0);
	apply_dir_failed(r->apply, 0, -ENOSPC);
	cr_assert(rig_settle(r) == 0);
	cr_expect(rig_restart(r) == 0);
	/* A marker is taken away by the start, so what the start made of it is what is left. */
	cr_expect(!logdirs_find(r->dirs, "two-0")->is_clean);
	cr_expect(logdirs_find(r->dirs, "two-1")->is_clean, "the other dir is as ever");
	rig_publish(r, 2, true, &two);
	cr_assert(rig_settle(r) == 0);
	expect_served(r, "two", 2);
	rig_destroy(r);
}

static int mkdir_full(void *ctx, int dirfd, const char *name, mode_t mode)
{
	(void)ctx;
	(void)dirfd;
	(void)name;
	(void)mode;
	return -ENOSPC;
}

static unsigned full_writes; /* that still fail */

static ssize_t pwrite_full(void *ctx, int fd, const void *p, size_t len, uint64_t pos)
{
	if (full_writes == 0)
		return sl_file_ops_plain.pwrite(ctx, fd, p, len, pos);
	full_writes--;
	return -ENOSPC;
}

Test(apply, a_dir_in_which_no_folder_can_be_made_loses_it_to_the_next)
{
	struct rig *r = rig_create("two dirs");
	const struct rig_told *told = NULL;

	r->ops.pwrite = pwrite_full;
	full_writes = 1;
	rig_publish(r, 1, true, &two);
	cr_assert(rig_settle(r) == 0);
	expect_served(r, "two", 2);
	cr_expect(rig_count(r->root, "a", "two") + rig_count(r->root, "b", "two") == 2,
	          "nothing unfinished is left");
	cr_assert(rig_told(r, SL_IPC_LOG_DIR, &told) == 1);
	cr_expect(told->log_dir.log_dir == 0 && told->log_dir.error == -ENOSPC);
	for (unsigned i = 0; i < 2; i++)
		cr_expect(rig_seen(r, "two")->partitions[i].partition->log_dir == 1);
	cr_expect(logdirs_folders(r->dirs, 0) == 0 && logdirs_folders(r->dirs, 1) == 2);
	for (unsigned i = 0; i < RIG_LANES; i++)
		cr_expect(r->dirs_offline[i] == 1);
	rig_destroy(r);
}

Test(apply, reports_a_log_that_cannot_be_created)
{
	struct rig *r = rig_create(NULL);
	const struct rig_told *told = NULL;

	rig_publish(r, 1, true, &two);
	cr_assert(rig_settle(r) == 0);
	r->ops.mkdir = mkdir_full;
	rig_publish(r, 2, false, &(struct rig_topic){"t", 2, 1, 100, 0, NULL});
	cr_assert(rig_settle(r) == 0);
	cr_assert(rig_told(r, SL_IPC_PARTITION, &told) == 3);
	cr_expect(told->partition.error == -ENOSPC);
	cr_expect(logdirs_error(r->dirs, 0) == -ENOSPC);
	expect_served(r, "two", 2);
	cr_expect(apply_table(r->apply)->free_slots_count == r->shm->slots_count - 2);
	rig_destroy(r);
}

Test(apply, closes_everything_cleanly_at_the_end)
{
	struct rig *r = rig_create(NULL);
	const struct logdirs_folder *f;

	rig_publish(r, 1, true, &two);
	cr_assert(rig_settle(r) == 0);
	f = logdirs_find(r->dirs, "two-0");
	cr_assert(f);
	cr_expect(f->is_hosted && !f->is_clean, "open");
	cr_expect(rig_restart(r) == 0);
	f = logdirs_find(r->dirs, "two-0");
	cr_assert(f);
	cr_expect(f->is_clean && !f->is_hosted);
	/* Also with a round under way and a partition that its lane has not given up. */
	rig_publish(r, 2, true, &two);
	cr_assert(rig_settle(r) == 0);
	rig_publish(r, 3, false, &(struct rig_topic){"one", 2, 1, 100, 0, NULL});
	cr_assert(rig_poll(r) == 0);
	cr_expect(rig_restart(r) == 0);
	cr_expect(logdirs_find(r->dirs, "one-0")->is_clean);
	rig_destroy(r);
}
