/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lane without its loop: a context with everything a handler uses, partitions with real logs in a
 * temporary folder, an image, and requests made of encoded frames.  Time stands still unless a test
 * moves it.
 */
#ifndef TESTS_DATAPLANE_FIXTURE_H
#define TESTS_DATAPLANE_FIXTURE_H

#include <stdatomic.h>

#include "image.h"
#include "partition/partition.h"
#include "partition/writer.h"
#include "request/request.h"
#include "sluice/store/hot.h"
#include "sluice/wire/batch.h"

#define FX_NODE       100 /* of lane 0, which is the one under test; lane 1 is 101 */
#define FX_WALL_MS    INT64_C(1760000000000)
#define FX_REQUESTS   16
#define FX_PARTITIONS 64
#define FX_HOGS       (SL_HOT_BYTES_MIN / SL_HOT_CHUNK_BYTES_MIN)

struct fx {
	struct ctx ctx;
	struct ctx_config config;
	struct sl_lane_stats stats;
	struct image *image;
	char dir[64];
	int dirfd;
	int wake_fd;
	int host_wake_fd;
	struct partition *partitions[FX_PARTITIONS]; /* to be closed at the end */
	uint32_t partitions_count;
	struct request requests[FX_REQUESTS];
	uint32_t requests_count;
	/* Faults and gates of the file operations. */
	struct sl_file_ops ops;
	_Atomic int pwrite_error; /* -errno of every append from now on */
	_Atomic int sync_error;
	_Atomic int sync_fs_error;
	_Atomic int syncs;
	struct sl_hot *hot;         /* Owned; NULL: logs go through the page cache */
	struct sl_hot_chunk **hogs; /* Owned; what fx_tier() took away */
	uint32_t hogs_count;
	int gate_fd;    /* -1, or an eventfd that each sync waits for */
	int gate_fs_fd; /* the same for syncs of the whole file system */
};

struct fx *fx_create(void);
void fx_destroy(struct fx *fx);

/* A config with what Kafka has as defaults, as far as the tests care. */
struct topic_config fx_config(void);
/* A topic with @count partitions of this lane.  @config: NULL for fx_config(). */
struct topic *fx_topic(struct fx *fx, const char *name, int32_t count,
                       const struct topic_config *config);
/* Its partition @index. */
struct partition *fx_partition(struct topic *t, int32_t index);
/* Topic with one partition, led by @leader. */
struct topic *fx_foreign_topic(struct fx *fx, const char *name, int32_t leader);

/* Replaces the writer, which is a thread because of the faulty file operations. */
void fx_writer(struct fx *fx, uint32_t depth);
/* Logs that are opened from now on have a hot tier: @is_full takes all of its free memory away, as
 * bytes do that are not on disk; false gives it back. */
void fx_tier(struct fx *fx, bool is_full);

/* Runs syncs until none is under way, as the lane's loop would. */
void fx_settle(struct fx *fx);
/* Waits until the writer has written wake_fd. */
void fx_wait(struct fx *fx);
uint64_t fx_stat(const struct fx *fx, enum sl_stat stat);

/* What a batch is made of. */
struct fx_batch {
	int64_t timestamp; /* of every record; 0: FX_WALL_MS */
	int64_t producer_id;
	int32_t base_sequence;
	int16_t producer_epoch;
	uint16_t attributes;
	const char *key;  /* NULL: none */
	uint32_t records; /* 0: one */
	uint32_t value_bytes;
	bool has_producer;
};
/* The caller frees @out with free(). */
struct sl_records fx_records(const struct fx_batch *b);
/* The control batch that ends a transaction; freed as that. */
struct sl_records fx_marker(int64_t producer_id, int16_t epoch, bool is_abort,
                            int32_t coordinator_epoch);
/* Appends what fx_records() or fx_marker() has made, which is freed; as a coordinator would, who
 * knows the transaction.  Return: the error. */
enum sl_kerr fx_put(struct fx *fx, struct partition *p, struct sl_records r);
/* Appends directly. */
int64_t fx_append(struct fx *fx, struct partition *p, uint32_t value_bytes);

/* A request: @body of the api, encoded by @encode. */
typedef void fx_encode(const void *body, struct sl_buf *buf, int16_t version);
struct request *fx_request(struct fx *fx, int16_t key, int16_t version, fx_encode *encode,
                           const void *body);
/* Runs as the session does; REQUEST_REPLY makes it DONE. */
enum request_result fx_run(struct fx *fx, struct request *req);
/* Runs what was woken.  Return: result of the last one, -1 when nothing was. */
int fx_run_woken(struct fx *fx);
/* Overwrites a frame, which the session reuses. */
void fx_scribble(struct request *req);
/* The reply's body behind the response header, log ranges filled in; the caller frees *block. */
struct sl_cursor fx_reply(struct fx *fx, const struct request *req, uint8_t **block);
/* Frees the request and its reply. */
void fx_release(struct fx *fx, struct request *req);
/* An arena for decoded responses. */
struct sl_arena *fx_arena(void);

#endif
