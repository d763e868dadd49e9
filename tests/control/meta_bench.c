/* SPDX-License-Identifier: Apache-2.0 */
#include "meta_bench.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "sluice/base/buf.h"
#include "sluice/base/uuid.h"

void meta_bench_init(struct meta_bench *b)
{
	*b = (struct meta_bench){0};
	snprintf(b->dir, sizeof(b->dir), "/tmp/sluice-meta-XXXXXX");
	cr_assert(mkdtemp(b->dir));
}

void meta_bench_path(const struct meta_bench *b, const char *name, char out[128])
{
	snprintf(out, 128, "%s/%s", b->dir, name);
}

void meta_bench_fini(struct meta_bench *b)
{
	DIR *dir = opendir(b->dir);
	struct dirent *e;
	char path[512];

	meta_bench_close(b);
	while (dir && (e = readdir(dir))) {
		snprintf(path, sizeof(path), "%s/%s", b->dir, e->d_name);
		(void)unlink(path);
	}
	if (dir)
		closedir(dir);
	(void)rmdir(b->dir);
}

static void on_wake(void *arg)
{
	((struct meta_bench *)arg)->wakes++;
}

static void on_changed(void *arg, const struct meta_change *change)
{
	struct meta_bench *b = arg;

	cr_assert_eq(change->revision, meta_revision(b->meta));
	b->changes++;
}

int meta_bench_open(struct meta_bench *b)
{
	struct meta_opts opts = {.ops = &meta_local_ops,
	                         .dir = b->dir,
	                         .wake = on_wake,
	                         .changed = on_changed,
	                         .arg = b};

	return meta_open(&b->meta, &opts, &b->recovery, b->error);
}

void meta_bench_close(struct meta_bench *b)
{
	meta_close(b->meta);
	b->meta = NULL;
}

static void on_done(void *arg, enum meta_result result, uint64_t revision)
{
	struct meta_bench *b = arg;

	(void)revision;
	b->result = result;
	b->results++;
}

enum meta_result meta_bench_commit(struct meta_bench *b, struct meta_txn *txn)
{
	int before = b->results;

	meta_txn_commit(txn, on_done, b);
	cr_assert_eq(b->results, before, "no callback from within");
	(void)meta_poll(b->meta);
	cr_assert_eq(b->results, before + 1);
	return b->result;
}

struct sl_uuid meta_bench_id(int n)
{
	struct sl_uuid id = {{0x11}};

	id.b[14] = (uint8_t)(n >> 8);
	id.b[15] = (uint8_t)n;
	return id;
}

struct sl_meta_topic meta_bench_topic(const char *name, int32_t partitions)
{
	static int next_id;
	static int32_t node = 100;
	struct sl_meta_topic rec = {.topic_id = meta_bench_id(++next_id),
	                            .name = sl_str_from(name),
	                            .partitions_count = partitions};

	rec.partitions = calloc((size_t)partitions, sizeof(*rec.partitions));
	for (int32_t i = 0; i < partitions; i++)
		rec.partitions[i] = (struct sl_meta_topic_partition){.leader_id = node,
		                                                     .replica_nodes = &node,
		                                                     .replica_nodes_count = 1,
		                                                     .isr_nodes = &node,
		                                                     .isr_nodes_count = 1};
	return rec;
}

void meta_bench_create(struct meta_bench *b, const char *name, int32_t partitions)
{
	struct sl_meta_topic rec = meta_bench_topic(name, partitions);
	struct meta_txn *txn = meta_txn_begin(b->meta);

	meta_txn_put_topic(txn, &rec, 0);
	cr_assert_eq(meta_bench_commit(b, txn), META_COMMITTED);
	free(rec.partitions);
}

static void print_topic(struct sl_buf *buf, const struct meta_topic *t)
{
	char id[SL_UUID_TEXT_MAX];

	sl_buf_printf(buf, "topic %.*s %s", SL_STR_ARG(t->rec.name),
	              sl_uuid_text(&t->rec.topic_id, id));
	for (int32_t i = 0; i < t->rec.partitions_count; i++)
		sl_buf_printf(buf, " %d@%d", t->rec.partitions[i].leader_id,
		              t->rec.partitions[i].leader_epoch);
	for (int32_t i = 0; i < t->rec.configs_count; i++)
		sl_buf_printf(buf, " %.*s=%.*s", SL_STR_ARG(t->rec.configs[i].name),
		              SL_STR_ARG(t->rec.configs[i].value));
	sl_buf_printf(buf, "\n");
}

char *meta_bench_text(struct meta_bench *b)
{
	const struct meta_broker_config *bc = meta_broker_config(b->meta, META_ALL_SERVERS);
	struct sl_uuid id;
	struct sl_buf buf;
	uint32_t pos = 0;
	int deleted = 0;

	sl_buf_init_grow(&buf, 16 << 20);
	sl_buf_printf(&buf, "revision %llu cluster %s ids %lld partitions %llu\n",
	              (unsigned long long)meta_revision(b->meta), meta_cluster_id(b->meta),
	              (long long)meta_next_producer_id(b->meta),
	              (unsigned long long)meta_partitions_count(b->meta));
	for (uint32_t i = 0; i < meta_topics_count(b->meta); i++)
		print_topic(&buf, meta_topic_at(b->meta, i));
	for (int32_t i = 0; i < bc->rec.configs_count; i++)
		sl_buf_printf(&buf, "broker %.*s=%.*s\n", SL_STR_ARG(bc->rec.configs[i].name),
		              SL_STR_ARG(bc->rec.configs[i].value));
	while (meta_deleted_next(b->meta, &pos, &id))
		deleted++;
	sl_buf_printf(&buf, "deleted %d\n", deleted);
	sl_buf_put_u8(&buf, 0);
	cr_assert(sl_buf_ok(&buf));
	return (char *)buf.p;
}
