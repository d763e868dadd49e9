/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"
#include "partition/checkpoints.h"
#include "partition/dirsync.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "request/verify.h"
#include "sluice/base/uuid.h"
#include "sluice/wire/compress.h"
#include "sluice/wire/image_broker_gen.h"
#include "sluice/wire/image_topic_gen.h"

#define FX_POOL_BYTES    ((size_t)64 << 20)
#define FX_SCRATCH_BYTES ((size_t)8 << 20)
#define FX_OUT_BYTES     ((size_t)4 << 20)
#define FX_BATCH_MAX     ((size_t)4 << 20)
#define FX_WAIT_MS       20000

/* ---- File operations with faults ---- */

static ssize_t fault_pwrite(void *ctx, int fd, const void *p, size_t len, uint64_t pos)
{
	struct fx *fx = ctx;
	int err = atomic_load(&fx->pwrite_error);

	return err ? err : sl_file_ops_plain.pwrite(NULL, fd, p, len, pos);
}

static int fault_sync(void *ctx, int fd)
{
	struct fx *fx = ctx;
	int err = atomic_load(&fx->sync_error);
	uint64_t n;

	atomic_fetch_add(&fx->syncs, 1);
	if (fx->gate_fd >= 0)
		cr_assert(read(fx->gate_fd, &n, sizeof(n)) == sizeof(n));
	return err ? err : sl_file_ops_plain.sync(NULL, fd);
}

/* Where the tests' folder lies nothing has to survive. */
static int fault_sync_fs(void *ctx, int fd SL_UNUSED)
{
	struct fx *fx = ctx;
	uint64_t n;

	if (fx->gate_fs_fd >= 0)
		cr_assert(read(fx->gate_fs_fd, &n, sizeof(n)) == sizeof(n));
	return atomic_load(&fx->sync_fs_error);
}

/* ---- The lane ---- */

static void make_image(struct fx *fx)
{
	struct sl_image_broker_node nodes[] = {{FX_NODE, sl_str_from("host-a"), 19092},
	                                       {FX_NODE + 1, sl_str_from("host-b"), 19093}};
	const struct sl_image_broker rec = {.cluster_id = sl_str_from("cluster"),
	                                    .controller_id = FX_NODE,
	                                    .nodes = nodes,
	                                    .nodes_count = 2};

	cr_assert(image_create(&fx->image) == 0);
	cr_assert(image_set_cluster(fx->image, &rec) == 0);
}

void fx_writer(struct fx *fx, uint32_t depth)
{
	const struct writer_opts o = {.files = {&fx->ops, fx},
	                              .wake_fd = fx->wake_fd,
	                              .depth = depth,
	                              .stats = &fx->stats};

	writer_destroy(fx->ctx.writer);
	cr_assert(writer_create(&fx->ctx.writer, &o) == 0);
}

struct fx *fx_create(void)
{
	struct fx *fx = aligned_alloc(64, SL_ALIGN_UP(sizeof(*fx), (size_t)64));
	struct ctx *ctx = &fx->ctx;

	memset(fx, 0, sizeof(*fx));
	fx->ops = sl_file_ops_plain;
	fx->ops.pwrite = fault_pwrite;
	fx->ops.sync = fault_sync;
	fx->ops.sync_fs = fault_sync_fs;
	fx->gate_fd = -1;
	fx->gate_fs_fd = -1;
	snprintf(fx->dir, sizeof(fx->dir), "/tmp/sl-dataplane-XXXXXX");
	cr_assert(mkdtemp(fx->dir) != NULL);
	fx->dirfd = open(fx->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fx->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	fx->config = (struct ctx_config){.request_bytes_max = 100 << 20,
	                                 .fetch_bytes_max = 55 << 20,
	                                 .connections_max = FX_REQUESTS,
	                                 .control_grace_ms = 1000,
	                                 .tick_ms = 300000};
	make_image(fx);
	ctx->lanes_count = 2;
	ctx->node_id = ctx->node_id_base = FX_NODE;
	ctx->config = &fx->config;
	ctx->stats = &fx->stats;
	ctx->now_ms = 50000;
	ctx->now_ns = (uint64_t)ctx->now_ms * 1000000;
	ctx->wall_ms = FX_WALL_MS;
	ctx->image = fx->image;
	ctx->dirs.wake_fd = fx->host_wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	sl_list_init(&ctx->done);
	sl_list_init(&ctx->runnable);
	for (unsigned i = 0; i < CTX_LACK_NR; i++)
		sl_list_init(&ctx->starved[i]);
	sl_list_init(&ctx->partitions);
	sl_list_init(&ctx->points);
	sl_list_init(&ctx->dirty);
	sl_list_init(&ctx->released);
	sl_list_init(&ctx->cleaning.logs);
	sl_list_init(&ctx->control_answers);
	cr_assert(verify_create(&ctx->verifies) == 0);
	cr_assert(pool_init(&ctx->pool, FX_POOL_BYTES, -1) == 0);
	cr_assert(sl_arena_create(&ctx->scratch, FX_SCRATCH_BYTES) == 0);
	sl_buf_init_fixed(&ctx->out, malloc(FX_OUT_BYTES), FX_OUT_BYTES);
	ctx->out.holes = calloc(REPLY_RANGES_MAX, sizeof(*ctx->out.holes));
	ctx->out.holes_max = REPLY_RANGES_MAX;
	ctx->deadlines.max = FX_REQUESTS;
	ctx->deadlines.heap = calloc(FX_REQUESTS, sizeof(struct request *));
	ctx->control_parked = calloc(FX_REQUESTS, sizeof(struct request *));
	cr_assert(sl_codec_ctx_create(&ctx->codec, NULL) == 0);
	fx_writer(fx, 64);
	return fx;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void give_back_hogs(struct fx *fx);

void fx_destroy(struct fx *fx)
{
	struct ctx *ctx = &fx->ctx;

	for (uint32_t i = 0; i < fx->requests_count; i++)
		if (fx->requests[i].state != REQUEST_FREE)
			fx_release(fx, &fx->requests[i]);
	if (fx->hot)
		give_back_hogs(fx);
	partition_stop(ctx);
	writer_destroy(ctx->writer);
	dirsync_destroy(ctx->dirsync);
	checkpoints_destroy(ctx->checkpoints);
	cr_expect(ctx->pool.used == 0, "%zu bytes of the pool leaked", ctx->pool.used);
	for (uint32_t i = 0; i < fx->partitions_count; i++) {
		struct partition *p = fx->partitions[i];

		cr_expect(p->refs <= 1, "%s has %u references", p->name, p->refs);
		(void)sl_log_close(p->log, false);
		free(p->slot);
		free(p);
	}
	sl_hot_destroy(fx->hot);
	free(fx->hogs);
	image_destroy(fx->image);
	sl_codec_ctx_destroy(ctx->codec);
	verify_destroy(ctx->verifies);
	free(ctx->control_parked);
	free(ctx->deadlines.heap);
	free(ctx->out.holes);
	free(ctx->out.p);
	sl_arena_destroy(&ctx->scratch);
	pool_fini(&ctx->pool);
	close(fx->dirfd);
	close(fx->wake_fd);
	close(fx->host_wake_fd);
	cr_expect(nftw(fx->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS) == 0);
	free(fx);
}

uint64_t fx_stat(const struct fx *fx, enum sl_stat stat)
{
	return atomic_load(&fx->stats.v[stat]);
}

/* ---- Topics ---- */

struct topic_config fx_config(void)
{
	return (struct topic_config){
		.max_message_bytes = 1 << 20,
		.min_insync_replicas = 1,
		.flush = {.ms = INT64_MAX, .bytes = INT64_MAX},
		.timestamp_before_max_ms = INT64_MAX,
		.timestamp_after_max_ms = 3600000,
		.log = {.segment_bytes = 1 << 30,
	                .segment_ms = 604800000,
	                .index_interval_bytes = 4096,
	                .retention_ms = -1,
	                .retention_bytes = -1,
	                .producer_id_expiration_ms = 86400000,
	                .is_delete = true},
	};
}

static struct topic *make_topic(struct fx *fx, const char *name, int32_t count, int32_t leader,
                                const struct topic_config *config)
{
	struct sl_image_topic_partition parts[FX_PARTITIONS];
	struct sl_image_topic rec;
	struct topic *t;

	sl_image_topic_init(&rec);
	sl_uuid_random(&rec.topic_id);
	rec.name = sl_str_from(name);
	rec.partitions = parts;
	rec.partitions_count = count;
	for (int32_t i = 0; i < count; i++) {
		sl_image_topic_partition_init(&parts[i]);
		parts[i].partition_index = i;
		parts[i].leader_id = leader;
		parts[i].leader_epoch = 5;
		parts[i].replica_nodes = parts[i].isr_nodes = &leader;
		parts[i].replica_nodes_count = parts[i].isr_nodes_count = 1;
	}
	cr_assert(topic_create(&t, &rec, config) == 0);
	cr_assert(image_put_topic(fx->image, t) == 0);
	topic_put(t);
	return t;
}

struct topic *fx_topic(struct fx *fx, const char *name, int32_t count,
                       const struct topic_config *config)
{
	const struct topic_config usual = fx_config();
	struct topic *t = make_topic(fx, name, count, FX_NODE, config ? config : &usual);

	for (int32_t i = 0; i < count; i++) {
		struct partition *p = calloc(1, sizeof(*p));
		struct sl_log_opts opts = {.files = {&fx->ops, fx},
		                           .dirfd = fx->dirfd,
		                           .topic = name,
		                           .partition = i,
		                           .topic_id = t->id,
		                           .config = t->config.log,
		                           .hot = fx->ctx.hot,
		                           .now_ms = FX_WALL_MS};
		struct sl_log_recovery report;

		cr_assert(sl_log_open(&p->log, &opts, &report) == 0);
		cr_assert(sl_log_epoch_begin(p->log, 5) == 0);
		p->slot = calloc(1, sizeof(*p->slot));
		p->topic_id = t->id;
		p->index = i;
		p->leader_epoch = 5;
		p->flush = t->config.flush;
		snprintf(p->name, sizeof(p->name), "%s-%d", name, i);
		partition_attach(&fx->ctx, p);
		t->partitions[i].partition = p;
		cr_assert(fx->partitions_count < FX_PARTITIONS);
		fx->partitions[fx->partitions_count++] = p;
	}
	return t;
}

struct topic *fx_foreign_topic(struct fx *fx, const char *name, int32_t leader)
{
	const struct topic_config config = fx_config();

	return make_topic(fx, name, 1, leader, &config);
}

struct partition *fx_partition(struct topic *t, int32_t index)
{
	return t->partitions[index].partition;
}

/* ---- Hot tier ---- */

static void give_back_hogs(struct fx *fx)
{
	while (fx->hogs_count > 0)
		sl_hot_put(fx->ctx.hot, fx->hogs[--fx->hogs_count]);
}

static void take_hogs(struct fx *fx)
{
	const struct sl_hot_key key = {.topic_id = {{1}}};
	struct sl_hot_chunk *c;

	while ((c = sl_hot_get(fx->ctx.hot, &key, NULL, 0, 1, SL_HOT_CHUNK_BYTES_MIN))) {
		cr_assert(fx->hogs_count < FX_HOGS);
		sl_hot_commit(fx->ctx.hot, c, 1);
		fx->hogs[fx->hogs_count++] = c;
	}
}

void fx_tier(struct fx *fx, bool is_full)
{
	const struct sl_hot_opts opts = {.bytes = SL_HOT_BYTES_MIN, .slices = 1, .numa_node = -1};
	const struct sl_hot_pool_ops ops = {.forget = sl_log_forget};

	if (!fx->hot) {
		cr_assert(sl_hot_create(&fx->hot, &opts) == 0);
		fx->ctx.hot = sl_hot_pool(fx->hot, 0);
		sl_hot_pool_set_ops(fx->ctx.hot, &ops);
		fx->hogs = calloc(FX_HOGS, sizeof(struct sl_hot_chunk *));
	}
	give_back_hogs(fx);
	if (is_full)
		take_hogs(fx);
}

/* ---- Group commit ---- */

void fx_wait(struct fx *fx)
{
	struct pollfd pfd = {.fd = fx->wake_fd, .events = POLLIN};
	uint64_t n;

	cr_assert(poll(&pfd, 1, FX_WAIT_MS) == 1, "no sync ended");
	cr_assert(read(fx->wake_fd, &n, sizeof(n)) == sizeof(n));
}

static bool is_syncing(const struct fx *fx)
{
	for (uint32_t i = 0; i < fx->partitions_count; i++)
		if (fx->partitions[i]->sync_running)
			return true;
	return false;
}

void fx_settle(struct fx *fx)
{
	(void)partition_poll(&fx->ctx);
	while (is_syncing(fx)) {
		fx_wait(fx);
		(void)partition_poll(&fx->ctx);
	}
}

/* ---- Batches ---- */

struct sl_records fx_records(const struct fx_batch *b)
{
	int64_t timestamp = b->timestamp ? b->timestamp : FX_WALL_MS;
	uint32_t records = b->records ? b->records : 1;
	char *value = malloc(b->value_bytes + 1);
	struct sl_bytes key = b->key ? (struct sl_bytes){b->key, (int32_t)strlen(b->key)}
	                             : SL_BYTES_NULL;
	struct sl_batch_builder builder;
	struct sl_batch_head head;
	struct sl_buf buf;

	memset(value, 'v', b->value_bytes + 1);
	sl_batch_head_init(&head);
	head.attributes = b->attributes;
	if (b->has_producer) {
		head.producer_id = b->producer_id;
		head.producer_epoch = b->producer_epoch;
		head.base_sequence = b->base_sequence;
	}
	sl_buf_init_grow(&buf, FX_BATCH_MAX);
	sl_batch_begin(&builder, &buf, &head);
	for (uint32_t i = 0; i < records; i++)
		sl_batch_add(&builder, timestamp, key,
		             (struct sl_bytes){value, (int32_t)b->value_bytes});
	cr_assert(sl_batch_end(&builder) == 0);
	free(value);
	return (struct sl_records){.p = buf.p, .len = (int32_t)buf.len};
}

struct sl_records fx_marker(int64_t producer_id, int16_t epoch, bool is_abort,
                            int32_t coordinator_epoch)
{
	uint8_t key[4] = {0, 0, 0, is_abort ? SL_CONTROL_ABORT : SL_CONTROL_COMMIT};
	uint8_t value[6] = {0};
	struct sl_batch_builder builder;
	struct sl_batch_head head;
	struct sl_buf buf;

	sl_store_be32(value + 2, (uint32_t)coordinator_epoch);
	sl_batch_head_init(&head);
	head.attributes = SL_BATCH_CONTROL | SL_BATCH_TRANSACTIONAL;
	head.producer_id = producer_id;
	head.producer_epoch = epoch;
	sl_buf_init_grow(&buf, FX_BATCH_MAX);
	sl_batch_begin(&builder, &buf, &head);
	sl_batch_add(&builder, FX_WALL_MS, (struct sl_bytes){key, sizeof(key)},
	             (struct sl_bytes){value, sizeof(value)});
	cr_assert(sl_batch_end(&builder) == 0);
	return (struct sl_records){.p = buf.p, .len = (int32_t)buf.len};
}

enum sl_kerr fx_put(struct fx *fx, struct partition *p, struct sl_records r)
{
	struct sl_log_append io = {.is_verified = true};
	enum sl_kerr kerr;

	(void)!partition_append(&fx->ctx, p, (void *)(uintptr_t)r.p, (size_t)r.len, &io, &kerr);
	free((void *)(uintptr_t)r.p);
	return kerr;
}

int64_t fx_append(struct fx *fx, struct partition *p, uint32_t value_bytes)
{
	struct fx_batch b = {.value_bytes = value_bytes};
	struct sl_records r = fx_records(&b);
	struct sl_log_append io = {0};
	enum sl_kerr kerr;

	cr_assert(partition_append(&fx->ctx, p, (void *)(uintptr_t)r.p, (size_t)r.len, &io,
	                           &kerr) == PARTITION_APPENDED);
	free((void *)(uintptr_t)r.p);
	return io.base_offset;
}

/* ---- Requests ---- */

struct request *fx_request(struct fx *fx, int16_t key, int16_t version, fx_encode *encode,
                           const void *body)
{
	struct request *req = &fx->requests[fx->requests_count++];
	const struct sl_api *api = sl_api_find(key);
	struct sl_request_head head = {.api_key = key,
	                               .api_version = version,
	                               .correlation_id = 77,
	                               .client_id = sl_str_from("tester")};
	struct sl_buf buf;

	cr_assert(fx->requests_count <= FX_REQUESTS);
	sl_buf_init_grow(&buf, (size_t)64 << 20);
	sl_request_head_encode(&buf, api, &head);
	encode(body, &buf, version);
	cr_assert(sl_buf_ok(&buf));
	memset(req, 0, sizeof(*req));
	sl_list_init(&req->link);
	sl_list_init(&req->done_link);
	req->heap_index = UINT32_MAX;
	req->state = REQUEST_RUNNING;
	req->frame = buf.p;
	req->frame_bytes = (uint32_t)buf.len;
	return req;
}

enum request_result fx_run(struct fx *fx, struct request *req)
{
	enum request_result result = request_run(&fx->ctx, req);

	if (result == REQUEST_REPLY || result == REQUEST_NO_REPLY) {
		request_done(&fx->ctx, req);
		sl_list_del(&req->done_link);
	}
	return result;
}

int fx_run_woken(struct fx *fx)
{
	struct request *req;
	int result = -1;

	while ((req = request_deadline_pop(&fx->ctx))) {
		req->is_final = true;
		request_wake(&fx->ctx, req);
	}
	while ((req = sl_list_first(&fx->ctx.runnable, struct request, done_link))) {
		sl_list_del(&req->done_link);
		result = (int)fx_run(fx, req);
	}
	return result;
}

void fx_scribble(struct request *req)
{
	memset((void *)(uintptr_t)req->frame, 0xee, req->frame_bytes);
}

struct sl_cursor fx_reply(struct fx *fx, const struct request *req, uint8_t **block)
{
	const struct reply *reply = req->reply;
	struct sl_cursor c;
	int32_t correlation_id;
	size_t bytes = 0;
	size_t total;
	uint32_t pos = 0;

	(void)fx;
	cr_assert(reply != NULL);
	total = reply->len;
	for (uint32_t i = 0; i < reply->ranges_count; i++)
		total += reply->ranges[i].range.bytes;
	*block = malloc(total);
	for (uint32_t i = 0; i <= reply->ranges_count; i++) {
		const struct reply_range *rr = &reply->ranges[i];
		uint32_t end = i < reply->ranges_count ? rr->pos : reply->len;

		memcpy(*block + bytes, reply->p + pos, end - pos);
		bytes += end - pos;
		pos = end;
		if (i == reply->ranges_count)
			break;
		cr_assert(sl_log_range_copy(((const struct partition *)rr->owner)->log, &rr->range,
		                            *block + bytes,
		                            rr->range.bytes) == (ssize_t)rr->range.bytes);
		bytes += rr->range.bytes;
	}
	cr_assert(bytes == total && sl_load_be32(*block) == total - 4);
	c = sl_cursor_from(*block + 4, total - 4);
	cr_assert(sl_response_head_decode(&c, req->api, req->head.api_version, &correlation_id) ==
	          0);
	cr_assert(correlation_id == 77);
	return c;
}

void fx_release(struct fx *fx, struct request *req)
{
	request_release(&fx->ctx, req);
	free((void *)(uintptr_t)req->frame);
	req->frame = NULL;
}

struct sl_arena *fx_arena(void)
{
	static struct sl_arena arena;

	if (!arena.base)
		cr_assert(sl_arena_create(&arena, (size_t)8 << 20) == 0);
	sl_arena_reset(&arena);
	return &arena;
}
