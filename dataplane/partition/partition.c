/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Partitions of one lane: append, high watermark, waiters, group commit, retention.  Everything
 * belongs to the lane's core; only writing and syncing run elsewhere (writer.c).
 *
 * The end of a log may be reserved for records that are being received.  Whoever appends something
 * else displaces them: a slow client must not hold up the others.
 *
 * Waiters are never woken from inside partition_append() for anything but new data, so that a
 * handler that appends is not entered by the end of another request's wait.
 */
#include "partition/partition.h"

#include <errno.h>
#include <sched.h>
#include <unistd.h>

#include "partition/checkpoints.h"
#include "partition/cleaning.h"
#include "partition/dirsync.h"
#include "partition/writer.h"
#include "reply/reply.h"
#include "sluice/base/assert.h"
#include "sluice/base/log.h"
#include "sluice/wire/batch.h"

#define PARTITION_REAPS_MAX    256  /* finished syncs taken in one poll */
#define PARTITION_STARTS_MAX   256  /* syncs begun in one poll */
#define PARTITION_LOOKS_MAX    64   /* partitions looked at in one tick */
#define PARTITION_TICKS_MAX    4    /* of them, with retention work (disk) */
#define PARTITION_LOOK_MS      1000 /* flush.ms and segment ages are kept this exactly */
#define PARTITION_LOOK_STEP_MS 20   /* looks are spread over that time in such steps */
#define PARTITION_RETRY_MS     10   /* a sync that found no descriptor or no room */
#define PARTITION_WRITE_BYTES  ((uint64_t)1 << 20) /* unwritten, above which nobody need ask */
#define PARTITION_WRITE_MS     1000 /* what nobody asks for is synced after this long */
#define PARTITION_WRITE_ROUNDS 2    /* or written in each such round of looks */
/* A write costs the same whatever its size.  With more partitions that are written so, those with
 * less than these bytes have their turn in each such round only. */
#define PARTITION_MANY         2048
#define PARTITION_MANY_BYTES   ((uint64_t)256 << 10)
#define PARTITION_MANY_ROUNDS  4
#define PARTITION_GATHER_NS    UINT64_C(1000000) /* most that a sync waits for more waiters */
#define PARTITION_TICK_MS_MIN  30000 /* first retention after start, as Kafka's initial delay */
#define PARTITION_CONTESTED_MS 1000  /* how long one displacement lets others be expected */

static bool displace(struct ctx *ctx, struct partition *p);

/* ---- References ---- */

void partition_get(struct partition *p)
{
	SL_ASSERT(p->refs > 0);
	p->refs++;
}

void partition_put(struct ctx *ctx, struct partition *p)
{
	SL_ASSERT(p->refs > 0);
	if (--p->refs > 0)
		return;
	SL_ASSERT(p->is_closing && !p->sync_running);
	sl_list_push_back(&ctx->released, &p->lane_link);
}

int partition_range_piece(const struct reply_range *range, uint32_t done, struct sl_log_piece *out)
{
	const struct partition *p = range->owner;

	return sl_log_range_piece(p->log, &range->range, done, out);
}

void partition_range_put(struct ctx *ctx, struct reply_range *range)
{
	struct partition *p = range->owner;

	sl_log_range_put(p->log, &range->range);
	partition_put(ctx, p);
}

/* ---- Slot ---- */

static void set_slot_state(struct partition *p, enum sl_slot_state state)
{
	/* Release: whoever reads OPEN (acquire, control process) sees the topic id. */
	if (p->slot)
		atomic_store_explicit(&p->slot->state, (uint32_t)state, memory_order_release);
}

static void publish(struct partition *p)
{
	struct sl_slot *slot = p->slot;

	if (!slot)
		return;
	atomic_store_explicit(&slot->log_start, sl_log_start(p->log), memory_order_relaxed);
	atomic_store_explicit(&slot->high_watermark, p->high_watermark, memory_order_relaxed);
	atomic_store_explicit(&slot->last_stable, p->last_stable, memory_order_relaxed);
	atomic_store_explicit(&slot->log_end, sl_log_end(p->log), memory_order_relaxed);
	atomic_store_explicit(&slot->flushed, sl_log_flushed(p->log), memory_order_relaxed);
	atomic_store_explicit(&slot->log_bytes, sl_log_bytes(p->log), memory_order_relaxed);
	atomic_store_explicit(&slot->segments, sl_log_segments(p->log), memory_order_relaxed);
	atomic_store_explicit(&slot->leader_epoch, p->leader_epoch, memory_order_relaxed);
}

static void open_slot(struct partition *p)
{
	struct sl_slot *slot = p->slot;

	if (!slot)
		return;
	slot->topic_id = p->topic_id;
	slot->partition = p->index;
	atomic_store_explicit(&slot->lane, p->lane, memory_order_relaxed);
	atomic_store_explicit(&slot->log_dir, p->log_dir, memory_order_relaxed);
	atomic_store_explicit(&slot->clean_offset, -1, memory_order_relaxed);
	atomic_store_explicit(&slot->cleaner, SL_SLOT_CLEANER_NONE, memory_order_relaxed);
	publish(p);
	set_slot_state(p, SL_SLOT_OPEN);
}

/* ---- Waiters ---- */

static void link_waiter(struct sl_list *after, struct partition *p, struct waiter *w)
{
	SL_ASSERT(!w->partition && !p->is_closing);
	w->partition = p;
	sl_list_push_front(after, &w->link);
}

void partition_unwait(struct waiter *w)
{
	if (!w->partition)
		return;
	sl_list_del(&w->link);
	w->partition = NULL;
}

/* More was accepted into memory than should wait there for somebody to ask for it. */
static bool is_write_due(const struct partition *p)
{
	return sl_log_unwritten(p->log) >= (p->is_closing ? 1 : PARTITION_WRITE_BYTES);
}

/* flush.ms: nothing stays unsynced longer, whether anybody waits for it or not. */
static bool is_flush_due(const struct ctx *ctx, const struct partition *p)
{
	const int64_t due_ms = sl_log_has_tier(p->log) && !dirsync_has(ctx, p)
	                               ? SL_MIN(p->flush.ms, PARTITION_WRITE_MS)
	                               : p->flush.ms;

	return p->appended_ms != 0 && ctx->now_ms - p->appended_ms >= due_ms;
}

/* In one of so many rounds of looks a partition is written without being asked for. */
static uint32_t write_rounds(const struct ctx *ctx)
{
	return ctx->looks.are_many ? PARTITION_MANY_ROUNDS : PARTITION_WRITE_ROUNDS;
}

/* What nobody asked for does not stay in memory only; the sync is the log dir's. */
static bool is_write_late(const struct ctx *ctx, const struct partition *p)
{
	const uint64_t bytes = sl_log_unwritten(p->log);
	const bool is_turn = (ctx->looks.round + p->turn) % write_rounds(ctx) == 0;

	return bytes > 0 && dirsync_has(ctx, p) &&
	       (is_turn || (ctx->looks.are_many && bytes >= PARTITION_MANY_BYTES));
}

/* A write is not enough.  A full tier wants syncs, too: only what is durable can be recycled. */
static bool is_sync_due(const struct ctx *ctx, const struct partition *p)
{
	return !sl_list_is_empty(&p->sync_waiters) ||
	       p->unsynced_bytes >= (uint64_t)p->flush.bytes || is_flush_due(ctx, p) ||
	       (ctx->now_ms < ctx->press_ms && !dirsync_has(ctx, p));
}

static void wake(struct ctx *ctx, struct waiter *w, enum sl_kerr kerr)
{
	partition_unwait(w);
	w->wake(ctx, w, kerr);
}

static void wake_all(struct ctx *ctx, struct sl_list *waiters, enum sl_kerr kerr)
{
	struct waiter *w;

	while ((w = sl_list_first(waiters, struct waiter, link)))
		wake(ctx, w, kerr);
}

static void wake_durable(struct ctx *ctx, struct partition *p)
{
	const int64_t flushed = sl_log_flushed(p->log);
	struct waiter *w;

	while ((w = sl_list_first(&p->sync_waiters, struct waiter, link)) && w->offset <= flushed)
		wake(ctx, w, SL_KERR_NONE);
}

void partition_moved(struct ctx *ctx, struct partition *p)
{
	const int64_t before = p->last_stable;

	p->last_stable = sl_log_stable(p->log, p->high_watermark);
	SL_ASSERT(p->last_stable <= p->high_watermark);
	publish(p);
	if (p->last_stable != before)
		wake_all(ctx, &p->stable_waiters, SL_KERR_NONE);
}

void partition_wait_fetch(struct partition *p, struct waiter *w, bool is_committed)
{
	link_waiter(is_committed ? p->stable_waiters.prev : p->fetch_waiters.prev, p, w);
}

void partition_wait_verify(struct partition *p, struct waiter *w)
{
	link_waiter(p->verify_waiters.prev, p, w);
}

/* The next partition_poll() looks at it. */
static void mark_dirty(struct ctx *ctx, struct partition *p)
{
	if (!p->sync_running && sl_list_is_empty(&p->dirty_link))
		sl_list_push_back(&ctx->dirty, &p->dirty_link);
}

bool partition_wait_sync(struct ctx *ctx, struct partition *p, struct waiter *w)
{
	struct sl_list *after = p->sync_waiters.prev;

	if (p->flush.is_lazy || sl_log_flushed(p->log) >= w->offset)
		return false;
	/* Appends come in order; only the duplicate of an earlier batch looks further ahead. */
	while (after != &p->sync_waiters &&
	       sl_list_entry(after, struct waiter, link)->offset > w->offset)
		after = after->prev;
	link_waiter(after, p, w);
	p->gathered++;
	mark_dirty(ctx, p);
	return true;
}

/* ---- Failure ---- */

static uint64_t dir_bit(uint32_t dir)
{
	SL_ASSERT(dir < CTX_DIRS_MAX);
	return UINT64_C(1) << dir;
}

/* No more appends, for good; what it has stays readable. */
static void go_offline(struct ctx *ctx, struct partition *p)
{
	if (p->is_offline)
		return;
	SL_ASSERT(!p->is_closing);
	p->is_offline = true;
	ctx_gauge_add(ctx, SL_STAT_partitions_offline, 1);
	set_slot_state(p, SL_SLOT_OFFLINE);
	/* The next poll, or the end of the sync that runs, fails who waits. */
	if (!sl_list_is_empty(&p->sync_waiters))
		mark_dirty(ctx, p);
}

void partition_dir_offline(struct ctx *ctx, uint32_t dir, int error)
{
	struct sl_list *pos;
	unsigned count = 0;

	if (ctx->dirs.offline & dir_bit(dir))
		return;
	ctx->dirs.offline |= dir_bit(dir);
	sl_list_for_each(pos, &ctx->partitions) {
		struct partition *p = sl_list_entry(pos, struct partition, lane_link);

		if (p->log_dir != dir)
			continue;
		go_offline(ctx, p);
		count++;
	}
	sl_log(ERR, partition, "stop appends lane=%u dir=%u partitions=%u: %s", ctx->index, dir,
	       count, strerror(-error));
}

static void tell_host(struct ctx_dirs *dirs, uint32_t dir, int error)
{
	const uint64_t one = 1;

	atomic_store_explicit(&dirs->errors[dir], error, memory_order_relaxed);
	/* Release: pairs with partition_failed_dir(). */
	atomic_fetch_or_explicit(&dirs->failed, dir_bit(dir), memory_order_release);
	/* EAGAIN: the counter is full, so the host is woken already. */
	if (dirs->wake_fd >= 0 && write(dirs->wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		sl_log(ERR, partition, "write eventfd: %s", strerror(errno));
}

bool partition_failed_dir(struct ctx_dirs *dirs, uint32_t *dir, int *error)
{
	/* Acquire: pairs with tell_host(). */
	const uint64_t failed = atomic_load_explicit(&dirs->failed, memory_order_acquire);

	if (failed == 0)
		return false;
	*dir = (uint32_t)__builtin_ctzll(failed);
	*error = atomic_load_explicit(&dirs->errors[*dir], memory_order_relaxed);
	/* Relaxed: a bit is set once in the life of a lane, nobody waits for it to be clear. */
	(void)atomic_fetch_and_explicit(&dirs->failed, ~dir_bit(*dir), memory_order_relaxed);
	return true;
}

void partition_dir_failed(struct ctx *ctx, uint32_t dir, int error)
{
	if (ctx->dirs.offline & dir_bit(dir))
		return;
	tell_host(&ctx->dirs, dir, error);
	partition_dir_offline(ctx, dir, error);
}

/* The log failed.  Whatever failed it waits for the other logs of the dir too, unless it was the
 * lack of a descriptor or of memory. */
static void take_offline(struct ctx *ctx, struct partition *p)
{
	const int error = sl_log_error(p->log);

	SL_ASSERT(error < 0);
	if (!p->is_offline && !p->is_closing) {
		sl_log(ERR, partition, "take offline part=%s dir=%u: %s; mend the disk and restart",
		       p->name, p->log_dir, strerror(-error));
		go_offline(ctx, p);
	}
	if (sl_log_is_disk_error(error))
		partition_dir_failed(ctx, p->log_dir, error);
}

void partition_check(struct ctx *ctx, struct partition *p)
{
	if (sl_log_error(p->log))
		take_offline(ctx, p);
}

/* ---- Attach and detach ---- */

/* What the lane's gauges say of the partition. */
static void count_producers(struct ctx *ctx, struct partition *p, uint32_t producers, bool is_late)
{
	ctx_gauge_add(ctx, SL_STAT_producers, (int64_t)producers - p->producers);
	ctx_gauge_add(ctx, SL_STAT_partitions_late_txns, (int)is_late - (int)p->is_txn_late);
	p->producers = producers;
	p->is_txn_late = is_late;
}

static void look_at_producers(struct ctx *ctx, struct partition *p)
{
	const int64_t txn_ms = sl_log_txn_oldest_ms(p->log);

	count_producers(ctx, p, sl_log_producers_count(p->log),
	                txn_ms >= 0 && ctx->wall_ms - txn_ms > ctx->config->txn_late_ms);
}

void partition_attach(struct ctx *ctx, struct partition *p)
{
	p->refs = 1;
	p->is_closing = p->is_offline = p->sync_running = false;
	SL_ASSERT(!p->reservation);
	p->is_place_wanted = false;
	p->is_cleaning = false;
	p->clean_error = 0;
	p->producers = 0;
	p->is_txn_late = false;
	p->contested_ms = 0;
	p->appended_ms = 0;
	p->unsynced_bytes = 0;
	p->high_watermark = sl_log_end(p->log);
	p->last_stable = sl_log_stable(p->log, p->high_watermark);
	p->tick_ms = ctx->now_ms + SL_MIN(ctx->config->tick_ms, PARTITION_TICK_MS_MIN);
	sl_list_init(&p->dirty_link);
	sl_list_init(&p->point_link);
	sl_list_init(&p->dirsync_link);
	sl_list_init(&p->clean_link);
	sl_list_init(&p->fetch_waiters);
	sl_list_init(&p->stable_waiters);
	sl_list_init(&p->sync_waiters);
	sl_list_init(&p->verify_waiters);
	sl_list_push_back(&ctx->partitions, &p->lane_link);
	if (ctx->looks.partitions == 0)
		ctx->looks = (struct ctx_looks){.begin_ms = ctx->now_ms};
	p->turn = ctx->looks.partitions++;
	ctx_gauge_add(ctx, SL_STAT_partitions, 1);
	look_at_producers(ctx, p);
	open_slot(p);
	cleaning_join(ctx, p);
	/* The host may have opened it before it heard of the failure. */
	if (ctx->dirs.offline & dir_bit(p->log_dir))
		go_offline(ctx, p);
	dirsync_join(ctx, p);
}

/* The lane's own reference, once nothing of the log lies in its memory only.  Memory that somebody
 * still receives into must not go to another log: partition_unreserve() comes back here. */
static void let_go(struct ctx *ctx, struct partition *p)
{
	SL_ASSERT(p->is_closing && !p->sync_running);
	sl_list_del(&p->dirty_link);
	if (p->reservation)
		return;
	sl_log_cool(p->log);
	partition_put(ctx, p);
}

void partition_detach(struct ctx *ctx, struct partition *p)
{
	SL_ASSERT(!p->is_closing);
	/* Without memory for it the reservation's reference keeps the log open until the frame is
	 * complete or has timed out. */
	(void)displace(ctx, p);
	cleaning_leave(ctx, p);
	p->is_closing = true;
	sl_list_del(&p->lane_link);
	ctx->looks.partitions--;
	sl_list_del(&p->dirty_link);
	sl_list_del(&p->point_link);
	sl_list_del(&p->dirsync_link);
	wake_all(ctx, &p->sync_waiters, SL_KERR_NOT_LEADER_OR_FOLLOWER);
	wake_all(ctx, &p->fetch_waiters, SL_KERR_NOT_LEADER_OR_FOLLOWER);
	wake_all(ctx, &p->stable_waiters, SL_KERR_NOT_LEADER_OR_FOLLOWER);
	wake_all(ctx, &p->verify_waiters, SL_KERR_NOT_LEADER_OR_FOLLOWER);
	ctx_gauge_add(ctx, SL_STAT_partitions, -1);
	count_producers(ctx, p, 0, false);
	if (p->is_offline)
		ctx_gauge_add(ctx, SL_STAT_partitions_offline, -1);
	set_slot_state(p, SL_SLOT_FREE);
	/* Whoever opens the folder next must find all of it in the files. */
	if (is_write_due(p) && !p->is_offline)
		mark_dirty(ctx, p);
	else if (!p->sync_running)
		let_go(ctx, p);
}

void partition_configure(struct ctx *ctx, struct partition *p, const struct sl_log_config *config,
                         const struct flush_policy *flush)
{
	sl_log_set_config(p->log, config);
	p->flush = *flush;
	cleaning_join(ctx, p);
	/* A shorter retention should be seen to work soon, not at the next round. */
	p->tick_ms = ctx->now_ms;
}

/* ---- Append ---- */

static enum sl_kerr append_failed(struct ctx *ctx, struct partition *p, int rc)
{
	if (sl_log_error(p->log)) {
		take_offline(ctx, p);
		return SL_KERR_KAFKA_STORAGE_ERROR;
	}
	switch (rc) {
	case -ESTALE:
	case -EILSEQ:
	case -EFBIG:
	case -EPROTO:
	case -EKEYREVOKED:
	case -EBADMSG:
		return sl_kerr_from_errno(rc);
	case -EBUSY:
		/* As many transactions are open as may be.  It passes, and clients retry this. */
		return SL_KERR_NOT_ENOUGH_REPLICAS;
	default:
		break;
	}
	sl_log(ERR, partition, "append part=%s: %s", p->name, strerror(-rc));
	return SL_KERR_KAFKA_STORAGE_ERROR;
}

/* The bytes that fill the tier may be this partition's own, without anybody who waits for them. */
static void tier_full(struct ctx *ctx, struct partition *p)
{
	struct sl_list *pos;

	ctx_count(ctx, SL_STAT_hot_exhausted, 1);
	mark_dirty(ctx, p);
	/* The room that is missing may lie with any of them, a little with each. */
	if (ctx->now_ms < ctx->press_ms)
		return;
	ctx->press_ms = ctx->now_ms + PARTITION_RETRY_MS;
	dirsync_hurry(ctx);
	sl_list_for_each(pos, &ctx->partitions) {
		struct partition *other = sl_list_entry(pos, struct partition, lane_link);

		if (!other->is_offline && sl_log_unwritten(other->log) > 0)
			mark_dirty(ctx, other);
	}
}

static void appended(struct ctx *ctx, struct partition *p, const uint8_t *batch, size_t bytes)
{
	/* A sole replica: what is in its log is replicated as widely as it ever will be. */
	p->high_watermark = sl_log_end(p->log);
	if (p->appended_ms == 0)
		p->appended_ms = ctx->now_ms;
	ctx_count(ctx, SL_STAT_batches_in, 1);
	ctx_count(ctx, SL_STAT_messages_in, sl_load_be32(batch + SL_BATCH_POS_RECORDS_COUNT));
	ctx_count(ctx, SL_STAT_bytes_in, bytes);
	if (sl_load_be16(batch + SL_BATCH_POS_ATTRIBUTES) & SL_BATCH_CONTROL)
		ctx_count(ctx, SL_STAT_txn_markers, 1);
	p->unsynced_bytes += bytes;
	if (is_write_due(p) || p->unsynced_bytes >= (uint64_t)p->flush.bytes)
		mark_dirty(ctx, p);
	partition_moved(ctx, p);
	wake_all(ctx, &p->fetch_waiters, SL_KERR_NONE);
}

/* Acts on what the log said.  -EAGAIN has left everything as it was. */
static enum partition_outcome append_result(struct ctx *ctx, struct partition *p, int rc,
                                            enum sl_kerr *kerr)
{
	switch (rc) {
	case 0:
		return PARTITION_APPENDED;
	case -EEXIST:
		ctx_count(ctx, SL_STAT_duplicates, 1);
		return PARTITION_DUPLICATE;
	case -EAGAIN:
		tier_full(ctx, p);
		return PARTITION_TIER_FULL;
	default:
		*kerr = append_failed(ctx, p, rc);
		return PARTITION_REFUSED;
	}
}

enum partition_outcome partition_append(struct ctx *ctx, struct partition *p, void *batch,
                                        size_t bytes, struct sl_log_append *io, enum sl_kerr *kerr)
{
	struct reservation *r = p->reservation;
	enum partition_outcome outcome;

	SL_ASSERT(bytes >= SL_BATCH_HEADER_BYTES);
	*kerr = SL_KERR_NONE;
	if (p->is_closing || p->is_offline) {
		*kerr = p->is_closing ? SL_KERR_NOT_LEADER_OR_FOLLOWER
		                      : SL_KERR_KAFKA_STORAGE_ERROR;
		return PARTITION_REFUSED;
	}
	if (r && r->memory != batch) {
		p->contested_ms = ctx->now_ms + PARTITION_CONTESTED_MS;
		if (!displace(ctx, p))
			return PARTITION_NO_BUFFER;
		r = NULL;
	}
	io->leader_epoch = p->leader_epoch;
	io->now_ms = ctx->wall_ms;
	outcome = append_result(ctx, p, sl_log_append(p->log, batch, bytes, io), kerr);
	if (outcome == PARTITION_APPENDED)
		appended(ctx, p, batch, bytes);
	if (r && outcome != PARTITION_TIER_FULL)
		partition_unreserve(ctx, r);
	return outcome;
}

/* ---- Reservation ---- */

int partition_reserve(struct ctx *ctx, struct partition *p, size_t bytes, struct reservation *r)
{
	void *memory;
	int rc;

	SL_ASSERT(!r->partition && r->displace);
	if (p->is_closing || p->is_offline)
		return -EROFS;
	if (p->reservation) {
		p->contested_ms = ctx->now_ms + PARTITION_CONTESTED_MS;
		return -EBUSY;
	}
	rc = sl_log_reserve(p->log, bytes, &memory);
	if (rc == -EAGAIN)
		tier_full(ctx, p);
	if (rc != 0)
		return rc;
	partition_get(p);
	p->reservation = r;
	r->partition = p;
	r->memory = memory;
	return 0;
}

void partition_unreserve(struct ctx *ctx, struct reservation *r)
{
	struct partition *p = r->partition;

	if (!p)
		return;
	SL_ASSERT(p->reservation == r);
	p->reservation = NULL;
	r->partition = NULL;
	r->memory = NULL;
	/* After an append there is none any more, which is fine with the log. */
	sl_log_unreserve(p->log);
	ctx_relieve(ctx, CTX_LACK_TIER);
	if (p->is_place_wanted)
		ctx_relieve(ctx, CTX_LACK_BUFFERS);
	p->is_place_wanted = false;
	/* Else the end of the sync does, which is to come. */
	if (p->is_closing && !p->sync_running && sl_list_is_empty(&p->dirty_link))
		let_go(ctx, p);
	partition_put(ctx, p);
}

/* Return: false when the owner has no memory for what it received. */
static bool displace(struct ctx *ctx, struct partition *p)
{
	struct reservation *r = p->reservation;

	if (!r)
		return true;
	if (!r->displace(ctx, r)) {
		p->is_place_wanted = true;
		return false;
	}
	partition_unreserve(ctx, r);
	return true;
}

bool partition_is_contested(const struct ctx *ctx, const struct partition *p)
{
	return ctx->now_ms < p->contested_ms;
}

/* ---- Group commit ---- */

static void fail_sync_waiters(struct ctx *ctx, struct partition *p)
{
	sl_list_del(&p->dirty_link);
	wake_all(ctx, &p->sync_waiters, SL_KERR_KAFKA_STORAGE_ERROR);
}

static void start_sync(struct ctx *ctx, struct partition *p)
{
	sl_list_del(&p->dirty_link);
	partition_get(p);
	p->sync_running = true;
	p->sync_started_ns = ctx->now_ns;
	if (p->sync.is_durable || p->sync.fds_count > 0) {
		p->unsynced_bytes = 0;
		p->appended_ms = 0;
		p->gather_count = p->gathered;
		p->gathered = 0;
	}
	if (p->sync.iov_count > 0) {
		ctx_count(ctx, SL_STAT_writes, 1);
		ctx_count(ctx, SL_STAT_write_bytes, p->sync.write_bytes);
	}
	SL_ASSERT(writer_submit(ctx->writer, p));
}

/* Hands everything appended so far to the writer.  Return: false when it has to be
 * tried again. */
static bool begin_sync(struct ctx *ctx, struct partition *p)
{
	const bool is_wanted = is_sync_due(ctx, p);
	int rc;

	SL_ASSERT(!p->sync_running);
	partition_check(ctx, p);
	if (sl_log_error(p->log) || p->is_offline) {
		fail_sync_waiters(ctx, p);
		p->appended_ms = 0;
		if (p->is_closing)
			let_go(ctx, p);
		return true;
	}
	if (writer_is_full(ctx->writer))
		return false;
	rc = sl_log_sync_begin(p->log, &p->sync, is_wanted);
	if (rc > 0) {
		start_sync(ctx, p);
		return true;
	}
	wake_durable(ctx, p);
	/* No descriptor was free, or the log has failed just now: the next poll looks again. */
	if (rc < 0 || sl_log_error(p->log))
		return false;
	sl_list_del(&p->dirty_link);
	if (is_wanted) {
		SL_ASSERT(sl_list_is_empty(&p->sync_waiters));
		p->appended_ms = 0;
	}
	return true;
}

static void end_sync(struct ctx *ctx, struct partition *p, int result)
{
	const bool is_sync = p->sync.is_durable || p->sync.fds_count > 0;

	SL_ASSERT(p->sync_running);
	sl_log_sync_end(p->log, &p->sync, result);
	p->sync_running = false;
	p->gather_until_ns = ctx->now_ns +
	                     SL_MIN(ctx->now_ns - p->sync_started_ns, PARTITION_GATHER_NS);
	/* What was written is no longer in the way of new bytes. */
	ctx_relieve(ctx, CTX_LACK_TIER);
	if (is_sync) {
		ctx_count(ctx, SL_STAT_syncs, 1);
		ctx_count(ctx, SL_STAT_sync_us, (ctx->now_ns - p->sync_started_ns) / 1000);
	}
	/* Else it was put off. */
	if (result != 0 && sl_log_error(p->log))
		ctx_count(ctx, SL_STAT_sync_errors, 1);
	partition_check(ctx, p);
	if (!p->is_closing) {
		wake_durable(ctx, p);
		if (is_sync && result == 0)
			checkpoints_want(ctx, p);
		if (p->is_offline) {
			fail_sync_waiters(ctx, p);
		} else if (is_sync_due(ctx, p) || is_write_due(p)) {
			mark_dirty(ctx, p);
		}
		/* Appended meanwhile, or more segments than one sync takes. */
		if (sl_log_flushed(p->log) < sl_log_end(p->log) && p->appended_ms == 0)
			p->appended_ms = ctx->now_ms;
		if (result == 0)
			dirsync_written(ctx, p);
		publish(p);
	} else if (is_write_due(p) && !sl_log_error(p->log)) {
		mark_dirty(ctx, p);
	} else {
		let_go(ctx, p);
	}
	partition_put(ctx, p);
}

void partition_dir_synced(struct ctx *ctx, struct partition *p)
{
	partition_check(ctx, p);
	wake_durable(ctx, p);
	checkpoints_want(ctx, p);
	if (sl_log_flushed(p->log) == sl_log_end(p->log)) {
		p->unsynced_bytes = 0;
		p->appended_ms = 0;
	}
	publish(p);
}

/* Producers that a sync has answered come back together with their next records.  If the first of
 * them began the next sync, all others would wait for two.  So it waits for as many as the last one
 * took along, and not longer than that one ran. */
static bool is_gathering(const struct ctx *ctx, const struct partition *p)
{
	return ctx->now_ns < p->gather_until_ns && p->gathered > 0 &&
	       p->gathered < p->gather_count && !sl_list_is_empty(&p->sync_waiters) &&
	       !is_write_due(p) && !p->is_offline;
}

unsigned partition_poll(struct ctx *ctx)
{
	struct sl_list *pos, *tmp;
	unsigned reaped = 0;
	unsigned begun = 0;
	struct partition *p;
	int result;

	ctx->gather_ns = 0;
	while (reaped < PARTITION_REAPS_MAX && (p = writer_reap(ctx->writer, &result))) {
		end_sync(ctx, p, result);
		reaped++;
	}
	sl_list_for_each_safe(pos, tmp, &ctx->dirty) {
		if (begun >= PARTITION_STARTS_MAX || writer_is_full(ctx->writer))
			break;
		p = sl_list_entry(pos, struct partition, dirty_link);
		if (is_gathering(ctx, p))
			ctx->gather_ns = SL_MAX(ctx->gather_ns, p->gather_until_ns);
		else
			begun += begin_sync(ctx, p);
	}
	writer_flush(ctx->writer);
	return reaped + begun + dirsync_poll(ctx);
}

/* Begins what is left to write, then what is left to sync: logs that have to sync themselves when
 * they are closed take their time, one after the other.  Return: whether there is anything left to
 * wait for. */
static bool drain(struct ctx *ctx)
{
	bool is_busy = !sl_list_is_empty(&ctx->dirty);
	struct sl_list *pos;

	sl_list_for_each(pos, &ctx->partitions) {
		struct partition *p = sl_list_entry(pos, struct partition, lane_link);

		if (!p->sync_running && !p->is_offline && sl_log_unwritten(p->log) > 0)
			mark_dirty(ctx, p);
		is_busy |= p->sync_running || !sl_list_is_empty(&p->dirty_link);
	}
	return is_busy || dirsync_drain(ctx);
}

void partition_stop(struct ctx *ctx)
{
	struct sl_list *pos;
	struct partition *p;
	int result;

	cleaning_stop(ctx);
	/* The memory that the tier lends is the lane's: when it is gone the logs are the host's. */
	while (drain(ctx))
		if (partition_poll(ctx) == 0)
			sched_yield();
	dirsync_stop(ctx->dirsync);
	/* Else a log would be closed as if that sync had not failed. */
	while (dirsync_poll(ctx) > 0)
		;
	writer_stop(ctx->writer);
	while ((p = writer_reap(ctx->writer, &result)))
		end_sync(ctx, p, result);
	checkpoints_stop(ctx);
	sl_list_for_each(pos, &ctx->partitions)
		sl_log_cool(sl_list_entry(pos, struct partition, lane_link)->log);
}

/* ---- Retention and flush.ms ---- */

static void tick_log(struct ctx *ctx, struct partition *p)
{
	int rc;

	p->tick_ms = ctx->now_ms + ctx->config->tick_ms;
	/* Nothing is written to a failed dir, not even what would make room: fetches go on there
	 * and nothing else. */
	if (p->is_offline)
		return;
	/* It may roll, and the log's end is elsewhere then. */
	if (!displace(ctx, p)) {
		p->tick_ms = ctx->now_ms; /* at the next look */
		return;
	}
	rc = sl_log_tick(p->log, ctx->wall_ms, p->high_watermark);
	partition_check(ctx, p);
	if (rc < 0 && !p->is_offline)
		sl_log(WARN, partition, "tick part=%s: %s", p->name, strerror(-rc));
	partition_moved(ctx, p);
}

/* Looks of this round that are due by now.  Evenly, because what they begin, writes above all, must
 * not come all at once. */
static uint32_t looks_due(const struct ctx *ctx)
{
	const int64_t ms = ctx->now_ms - ctx->looks.begin_ms;
	const uint64_t count = ctx->looks.partitions;

	if (ms >= PARTITION_LOOK_MS)
		return (uint32_t)count;
	return (uint32_t)(count * (uint64_t)(ms - ms % PARTITION_LOOK_STEP_MS) / PARTITION_LOOK_MS);
}

/* When the next one is due. */
static int64_t next_look_ms(const struct ctx *ctx)
{
	const struct ctx_looks *l = &ctx->looks;
	int64_t ms;

	if (l->partitions == 0)
		return INT64_MAX;
	ms = (int64_t)(((l->done + UINT64_C(1)) * PARTITION_LOOK_MS + l->partitions - 1) /
	               l->partitions);
	ms += (PARTITION_LOOK_STEP_MS - ms % PARTITION_LOOK_STEP_MS) % PARTITION_LOOK_STEP_MS;
	return l->begin_ms + SL_MIN(ms, PARTITION_LOOK_MS);
}

static void end_round(struct ctx *ctx)
{
	struct ctx_looks *l = &ctx->looks;

	if (l->done < l->partitions || ctx->now_ms - l->begin_ms < PARTITION_LOOK_MS)
		return;
	l->begin_ms += PARTITION_LOOK_MS;
	if (ctx->now_ms - l->begin_ms >= PARTITION_LOOK_MS)
		l->begin_ms = ctx->now_ms;
	l->are_many = l->late * write_rounds(ctx) > PARTITION_MANY;
	l->late = 0;
	l->done = 0;
	l->round++;
}

unsigned partition_tick(struct ctx *ctx)
{
	const uint32_t due = looks_due(ctx);
	unsigned looks = 0;
	unsigned ticks = checkpoints_poll(ctx);
	unsigned flushes = 0;

	while (looks < PARTITION_LOOKS_MAX && ticks < PARTITION_TICKS_MAX) {
		struct partition *p = sl_list_first(&ctx->partitions, struct partition, lane_link);
		bool is_late;

		if (ctx->looks.done >= due)
			break;
		ctx->looks.done++;
		sl_list_del(&p->lane_link);
		sl_list_push_back(&ctx->partitions, &p->lane_link);
		look_at_producers(ctx, p);
		if (p->tick_ms <= ctx->now_ms) {
			tick_log(ctx, p);
			ticks++;
		}
		is_late = is_write_late(ctx, p);
		if (!p->sync_running && !p->is_offline && (is_late || is_flush_due(ctx, p))) {
			flushes += begin_sync(ctx, p);
			ctx->looks.late += is_late;
		}
		looks++;
	}
	end_round(ctx);
	if (flushes > 0)
		writer_flush(ctx->writer);
	/* A look alone is no work: it must not keep the lane from sleeping. */
	return ticks + flushes + cleaning_poll(ctx);
}

int64_t partition_next_ms(const struct ctx *ctx)
{
	int64_t next = SL_MIN(next_look_ms(ctx), cleaning_next_ms(ctx));

	next = SL_MIN(next, SL_MIN(dirsync_next_ms(ctx), checkpoints_next_ms(ctx)));
	/* What partition_poll() left there waits for room or descriptors. */
	if (!sl_list_is_empty(&ctx->dirty))
		next = SL_MIN(next, ctx->now_ms + PARTITION_RETRY_MS);
	return next;
}
