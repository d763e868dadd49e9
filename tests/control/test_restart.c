/* SPDX-License-Identifier: Apache-2.0 */
/* State across restarts of either process, and lanes that come and go. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "sluice/base/file.h"

#include "harness.h"

static struct harness h;

static void setup(void)
{
	harness_init(&h, 4);
}

static void teardown(void)
{
	harness_fini(&h);
}

TestSuite(restart, .init = setup, .fini = teardown);

Test(restart, keeps_the_cluster_and_its_topics)
{
	char cluster[64];
	struct fake_topic before, after;

	snprintf(cluster, sizeof(cluster), "%s", meta_cluster_id(h.control->meta));
	harness_create_topic(&h, "kept", 8);
	cr_assert(fake_topic(h.fake, "kept", &before));
	for (int i = 0; i < 3; i++) {
		harness_stop_control(&h);
		harness_start_control(&h);
		harness_until_served(&h);
	}
	cr_assert_str_eq(meta_cluster_id(h.control->meta), cluster);
	cr_assert(fake_topic(h.fake, "kept", &after));
	cr_assert(sl_uuid_eq(&before.id, &after.id));
	for (int i = 0; i < 8; i++) {
		cr_assert_eq(before.partitions[i].leader_id, after.partitions[i].leader_id);
		cr_assert_eq(after.partitions[i].leader_epoch, 0, "no leader change");
	}
	free(before.configs);
	free(after.configs);
}

Test(restart, moves_partitions_of_missing_lanes)
{
	struct fake_topic t;
	int moved = 0;

	harness_create_topic(&h, "t", 8);
	harness_restart_fake(&h, 2);
	cr_assert(fake_topic(h.fake, "t", &t));
	for (int i = 0; i < 8; i++) {
		cr_assert_lt(t.partitions[i].leader_id, 102);
		moved += t.partitions[i].leader_epoch;
		cr_assert_leq(t.partitions[i].leader_epoch, 1);
		cr_assert_not_null(control_slot(h.control, &t.id, i));
	}
	cr_assert_eq(moved, 4, "only those that had to");
	cr_assert_eq(h.control->counters[COUNTER_partitions_moved], 4);
	free(t.configs);
	harness_restart_fake(&h, 4);
	harness_create_topic(&h, "u", 4);
	cr_assert(fake_topic(h.fake, "u", &t));
	for (int i = 0; i < 4; i++)
		moved += t.partitions[i].leader_id == 103;
	cr_assert_eq(moved, 5, "lanes that came back are used");
	free(t.configs);
}

Test(restart, deletes_logs_of_topics_deleted_while_the_data_plane_was_away)
{
	const struct meta_topic *t;
	struct meta_txn *txn;
	struct sl_uuid id;
	uint32_t pos = 0;

	harness_create_topic(&h, "gone", 3);
	harness_create_topic(&h, "stays", 2);
	fake_stop(h.fake);
	while (link_is_up(h.control->link))
		harness_spin(&h, 1);
	t = meta_topic_by_name(h.control->meta, sl_str_from("gone"));
	txn = meta_txn_begin(h.control->meta);
	meta_txn_delete_topic(txn, &t->rec.topic_id, t->mod_revision);
	meta_txn_commit(txn, NULL, NULL);
	harness_spin(&h, 2);
	harness_stop_control(&h);
	cr_assert_eq(fake_logs_count(h.fake), 5);
	fake_start(h.fake, 4);
	harness_start_control(&h);
	harness_until_served(&h);
	cr_assert_eq(fake_logs_count(h.fake), 2);
	harness_spin(&h, 3);
	cr_assert_not(meta_deleted_next(h.control->meta, &pos, &id), "and forgets it");
	cr_assert_eq(fake_deletions(h.fake), 1);
}

Test(restart, publishes_what_changed_while_the_data_plane_was_away)
{
	struct sl_meta_topic rec = {.topic_id = {{7}}, .name = sl_str_from("late")};
	struct sl_meta_topic_partition part = {.leader_id = 101};
	struct meta_txn *txn;
	int32_t node = 101;

	part.replica_nodes = part.isr_nodes = &node;
	part.replica_nodes_count = part.isr_nodes_count = 1;
	rec.partitions = &part;
	rec.partitions_count = 1;
	fake_stop(h.fake);
	while (link_is_up(h.control->link))
		harness_spin(&h, 1);
	txn = meta_txn_begin(h.control->meta);
	meta_txn_put_topic(txn, &rec, 0);
	meta_txn_commit(txn, NULL, NULL);
	harness_spin(&h, 2);
	fake_start(h.fake, 4);
	harness_until_served(&h);
	cr_assert_str_eq(harness_image_config(&h, "late", "flush"), "ack");
}

static int start_again(char error[CONTROL_ERROR_MAX])
{
	struct control_opts opts = {.loop = h.loop, .conf = &h.conf, .data_dir = h.dir};
	struct control *c;

	return control_create(&c, &opts, error);
}

Test(restart, refuses_a_second_control_process)
{
	char error[CONTROL_ERROR_MAX];

	cr_assert_eq(start_again(error), -EBUSY);
	cr_assert(strstr(error, "in use"), "%s", error);
}

Test(restart, refuses_damaged_metadata_and_another_clusters)
{
	char error[CONTROL_ERROR_MAX];
	char path[128];
	char *p;
	size_t len;

	harness_create_topic(&h, "t", 2);
	harness_stop_control(&h);
	cr_assert_eq(loop_create(&h.loop, NULL), 0);
	harness_set(&h, "cluster.id", "somebody-else");
	cr_assert_eq(start_again(error), -EINVAL);
	cr_assert(strstr(error, "cluster.id"), "%s", error);
	harness_set(&h, "cluster.id", "");
	snprintf(path, sizeof(path), "%s/meta/log-1", h.dir);
	cr_assert_eq(sl_file_read(path, 1 << 20, &p, &len), 0);
	p[40] ^= 1;
	cr_assert_eq(sl_file_write_atomic(path, p, len), 0);
	cr_assert_eq(start_again(error), -EBADMSG);
	cr_assert(strstr(error, "log-1: position 28: damaged"), "%s", error);
	free(p);
	loop_destroy(h.loop);
	h.loop = NULL;
}

struct listener {
	const char *listeners;
	const char *advertised;
	int rc;
	const char *host;
	int32_t port;
};

Test(restart, reads_its_addresses)
{
	static const struct listener cases[] = {
		{"PLAINTEXT://10.1.2.3:1234", "", 0, "10.1.2.3", 1235},
		{"PLAINTEXT://[::1]:1234", "", 0, "::1", 1235},
		{"PLAINTEXT://0.0.0.0:1234", "pub.test", 0, "pub.test", 1235},
		{"PLAINTEXT://0.0.0.0:1234", "", 0, NULL, 1235},
		{"PLAINTEXT://:1234", "", 0, NULL, 1235},
		{"SSL://h:1", "", -EINVAL, NULL, 0},
		{"PLAINTEXT://h", "", -EINVAL, NULL, 0},
		{"PLAINTEXT://h:0", "", -EINVAL, NULL, 0},
		{"PLAINTEXT://h:65536", "", -EINVAL, NULL, 0},
		{"PLAINTEXT://h:12x", "", -EINVAL, NULL, 0},
	};
	char name[256] = "";

	cr_assert_eq(gethostname(name, sizeof(name) - 1), 0);
	harness_stop_control(&h);
	cr_assert_eq(loop_create(&h.loop, NULL), 0);
	for (size_t i = 0; i < SL_ARRAY_SIZE(cases); i++) {
		struct control_opts opts = {.loop = h.loop, .conf = &h.conf, .data_dir = h.dir};
		char error[CONTROL_ERROR_MAX];
		struct control *c;
		int rc;

		harness_set(&h, "listeners", cases[i].listeners);
		harness_set(&h, "advertised.host", cases[i].advertised);
		rc = control_create(&c, &opts, error);
		cr_assert_eq(rc, cases[i].rc, "case %zu: %d", i, rc);
		if (rc < 0)
			continue;
		cr_assert_str_eq(c->advertised_host, cases[i].host ? cases[i].host : name);
		cr_assert_eq(control_node_port(c, 0), cases[i].port);
		control_destroy(c);
	}
	loop_destroy(h.loop);
	h.loop = NULL;
}
