/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions on the metadata. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "meta_bench.h"

static struct meta_bench bench;

static void setup(void)
{
	meta_bench_init(&bench);
	cr_assert_eq(meta_bench_open(&bench), 0, "%s", bench.error);
}

static void teardown(void)
{
	meta_bench_fini(&bench);
}

TestSuite(meta, .init = setup, .fini = teardown);

static const struct meta_topic *by_name(const char *name)
{
	return meta_topic_by_name(bench.meta, sl_str_from(name));
}

Test(meta, keeps_topics_sorted_and_finds_them)
{
	const char *const names[] = {"m", "b", "z.z", "a", "b-2", "m_1"};
	const char *const sorted[] = {"a", "b", "b-2", "m", "m_1", "z.z"};

	for (size_t i = 0; i < SL_ARRAY_SIZE(names); i++)
		meta_bench_create(&bench, names[i], 2);
	cr_assert_eq(meta_topics_count(bench.meta), 6);
	cr_assert_eq(meta_partitions_count(bench.meta), 12);
	for (uint32_t i = 0; i < 6; i++) {
		const struct meta_topic *t = meta_topic_at(bench.meta, i);

		cr_assert(sl_str_eq_c(t->rec.name, sorted[i]));
		cr_assert_eq(t, by_name(sorted[i]));
		cr_assert_eq(t, meta_topic_by_id(bench.meta, &t->rec.topic_id));
	}
	cr_assert_eq(meta_topic_lower_bound(bench.meta, sl_str_from("b-")), 2);
	cr_assert_eq(meta_topic_lower_bound(bench.meta, sl_str_from("zzz")), 6);
	cr_assert_null(by_name("z_z"));
	cr_assert_eq(meta_topic_colliding(bench.meta, sl_str_from("z_z")), by_name("z.z"));
}

Test(meta, refuses_what_was_decided_on_an_old_image)
{
	struct sl_meta_topic rec = meta_bench_topic("t", 1);
	struct sl_meta_topic other = meta_bench_topic("t", 1);
	struct meta_txn *a = meta_txn_begin(bench.meta);
	struct meta_txn *b = meta_txn_begin(bench.meta);
	uint64_t revision;

	meta_txn_put_topic(a, &rec, 0);
	meta_txn_put_topic(b, &other, 0);
	cr_assert_eq(meta_bench_commit(&bench, a), META_COMMITTED);
	revision = by_name("t")->mod_revision;
	cr_assert_eq(meta_bench_commit(&bench, b), META_CONFLICT);
	a = meta_txn_begin(bench.meta);
	b = meta_txn_begin(bench.meta);
	rec.partitions[0].leader_epoch = 1;
	meta_txn_put_topic(a, &rec, revision);
	meta_txn_delete_topic(b, &rec.topic_id, revision);
	cr_assert_eq(meta_bench_commit(&bench, a), META_COMMITTED);
	cr_assert_eq(meta_bench_commit(&bench, b), META_CONFLICT);
	cr_assert_eq(by_name("t")->rec.partitions[0].leader_epoch, 1);
	free(rec.partitions);
	free(other.partitions);
}

Test(meta, applies_all_of_a_transaction_or_nothing)
{
	struct sl_meta_topic a = meta_bench_topic("a", 1);
	struct sl_meta_topic b = meta_bench_topic("b", 1);
	struct meta_txn *txn = meta_txn_begin(bench.meta);

	meta_bench_create(&bench, "b", 1);
	meta_txn_put_topic(txn, &a, 0);
	meta_txn_put_topic(txn, &b, 0);
	cr_assert_eq(meta_bench_commit(&bench, txn), META_CONFLICT);
	cr_assert_null(by_name("a"));
	cr_assert_eq(meta_topics_count(bench.meta), 1);
	free(a.partitions);
	free(b.partitions);
}

Test(meta, refuses_two_new_topics_that_collide)
{
	struct sl_meta_topic a = meta_bench_topic("x.y", 1);
	struct sl_meta_topic b = meta_bench_topic("x_y", 1);
	struct meta_txn *txn = meta_txn_begin(bench.meta);

	meta_txn_put_topic(txn, &a, 0);
	meta_txn_put_topic(txn, &b, 0);
	cr_assert_neq(meta_bench_commit(&bench, txn), META_COMMITTED);
	cr_assert_eq(meta_topics_count(bench.meta), 0);
	free(a.partitions);
	free(b.partitions);
}

static enum meta_result put_again(const struct meta_topic *t, int32_t leader, int32_t epoch,
                                  int32_t count)
{
	struct sl_meta_topic rec = t->rec;
	struct sl_meta_topic_partition parts[3];
	struct meta_txn *txn = meta_txn_begin(bench.meta);

	for (int32_t i = 0; i < count; i++) {
		parts[i] = t->rec.partitions[0];
		parts[i].leader_id = leader;
		parts[i].leader_epoch = epoch;
	}
	rec.partitions = parts;
	rec.partitions_count = count;
	meta_txn_put_topic(txn, &rec, t->mod_revision);
	return meta_bench_commit(&bench, txn);
}

Test(meta, lets_leader_epochs_only_rise)
{
	meta_bench_create(&bench, "t", 2);
	cr_assert_eq(put_again(by_name("t"), 101, 3, 2), META_COMMITTED);
	cr_assert_eq(put_again(by_name("t"), 101, 2, 2), META_FAILED, "an epoch fell");
	cr_assert_eq(put_again(by_name("t"), 100, 3, 2), META_FAILED, "new leader, old epoch");
	cr_assert_eq(put_again(by_name("t"), 101, 3, 1), META_FAILED, "a partition vanished");
	cr_assert_eq(put_again(by_name("t"), 101, 3, 3), META_COMMITTED);
	cr_assert_eq(put_again(by_name("t"), 100, 4, 3), META_COMMITTED);
	cr_assert_eq(meta_partitions_count(bench.meta), 3);
}

Test(meta, never_takes_a_deleted_topics_id_back)
{
	struct sl_meta_topic rec = meta_bench_topic("t", 1);
	struct meta_txn *txn = meta_txn_begin(bench.meta);
	struct sl_uuid id;
	uint32_t pos = 0;

	meta_txn_put_topic(txn, &rec, 0);
	cr_assert_eq(meta_bench_commit(&bench, txn), META_COMMITTED);
	txn = meta_txn_begin(bench.meta);
	meta_txn_delete_topic(txn, &rec.topic_id, by_name("t")->mod_revision);
	cr_assert_eq(meta_bench_commit(&bench, txn), META_COMMITTED);
	cr_assert(meta_deleted_next(bench.meta, &pos, &id));
	cr_assert(sl_uuid_eq(&id, &rec.topic_id));
	txn = meta_txn_begin(bench.meta);
	meta_txn_put_topic(txn, &rec, 0);
	cr_assert_neq(meta_bench_commit(&bench, txn), META_COMMITTED);
	txn = meta_txn_begin(bench.meta);
	meta_txn_purge_topic(txn, &rec.topic_id);
	cr_assert_eq(meta_bench_commit(&bench, txn), META_COMMITTED);
	pos = 0;
	cr_assert_not(meta_deleted_next(bench.meta, &pos, &id));
	free(rec.partitions);
}

Test(meta, guards_producer_ids_and_broker_configs)
{
	struct sl_meta_broker_config_config pair = {sl_str_from("log.retention.ms"),
	                                            sl_str_from("5")};
	struct sl_meta_broker_config rec = {META_ALL_SERVERS, &pair, 1};
	struct meta_txn *txn = meta_txn_begin(bench.meta);

	meta_txn_put_producer_ids(txn, 1000, 0);
	meta_txn_put_broker_config(txn, &rec, 0);
	cr_assert_eq(meta_bench_commit(&bench, txn), META_COMMITTED);
	txn = meta_txn_begin(bench.meta);
	meta_txn_put_producer_ids(txn, 1000, 0);
	cr_assert_eq(meta_bench_commit(&bench, txn), META_CONFLICT);
	txn = meta_txn_begin(bench.meta);
	meta_txn_put_broker_config(txn, &rec, 0);
	cr_assert_eq(meta_bench_commit(&bench, txn), META_CONFLICT);
	txn = meta_txn_begin(bench.meta);
	meta_txn_put_broker_config(txn, &rec, meta_broker_config(bench.meta, -1)->mod_revision);
	meta_txn_put_producer_ids(txn, 2000, 1000);
	cr_assert_eq(meta_bench_commit(&bench, txn), META_COMMITTED);
	cr_assert_eq(meta_next_producer_id(bench.meta), 2000);
	cr_assert_eq(meta_broker_config(bench.meta, 7)->mod_revision, 0);
}

static void on_late(void *arg, enum meta_result result, uint64_t revision)
{
	(void)revision;
	*(enum meta_result *)arg = result;
}

static enum meta_result put_group(const char *id, const char *value, uint64_t expected)
{
	struct sl_meta_group_config_config pair = {sl_str_from("consumer.session.timeout.ms"),
	                                           sl_str_from(value)};
	struct sl_meta_group_config rec = {sl_str_from(id), &pair, value ? 1 : 0};
	struct meta_txn *txn = meta_txn_begin(bench.meta);

	meta_txn_put_group_config(txn, &rec, expected);
	return meta_bench_commit(&bench, txn);
}

static const struct meta_group_config *group(const char *id)
{
	return meta_group_config(bench.meta, sl_str_from(id));
}

Test(meta, keeps_configs_of_groups_until_they_are_taken_back)
{
	uint32_t pos = 0;

	cr_assert_eq(put_group("g", "50000", 0), META_COMMITTED);
	cr_assert_eq(put_group("g", "51000", 0), META_CONFLICT, "it is there");
	cr_assert_eq(put_group("g", "52000", group("g")->mod_revision), META_COMMITTED);
	cr_assert_eq(put_group("other", "53000", 0), META_COMMITTED);
	cr_assert_eq(put_group("", "54000", 0), META_FAILED);
	meta_bench_close(&bench);
	cr_assert_eq(meta_bench_open(&bench), 0, "%s", bench.error);
	cr_assert_eq(meta_group_configs_count(bench.meta), 2);
	cr_assert_eq(group("g")->rec.configs_count, 1);
	cr_assert(sl_str_eq_c(group("g")->rec.configs[0].value, "52000"));
	cr_assert_eq(put_group("g", NULL, group("g")->mod_revision), META_COMMITTED);
	cr_assert_eq(group("g")->mod_revision, 0);
	cr_assert_eq(group("g")->rec.configs_count, 0);
	cr_assert_eq(put_group("g", NULL, 0), META_COMMITTED, "there was none");
	meta_bench_close(&bench);
	cr_assert_eq(meta_bench_open(&bench), 0, "%s", bench.error);
	cr_assert_eq(meta_group_configs_count(bench.meta), 1);
	cr_assert(sl_str_eq_c(meta_group_config_next(bench.meta, &pos)->rec.group_id, "other"));
	cr_assert_null(meta_group_config_next(bench.meta, &pos));
}

Test(meta, fails_waiting_transactions_when_it_closes)
{
	enum meta_result result = META_COMMITTED;
	struct meta_txn *txn = meta_txn_begin(bench.meta);

	meta_txn_put_producer_ids(txn, 1, 0);
	meta_txn_commit(txn, on_late, &result);
	meta_bench_close(&bench);
	cr_assert_eq(result, META_FAILED);
}
