/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rebuilds state that the batches themselves carry: producers with their transactions (from a
 * snapshot on), which of these were aborted, and leader epochs.  Reads headers, and of control
 * batches the record; whoever calls has checked or trusts the batches.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "log_impl.h"

struct replay {
	struct sl_log *log;
	struct producers *producers;
	const struct segment *only; /* the one whose aborted transactions are wanted; NULL: any that
	                             * lacks them */
	int64_t producers_from;     /* batches that end below are in the snapshot already */
	int64_t from;
	int64_t now_ms;
	bool is_epochs_lost;
	uint8_t *window;
};

/* The bytes of a small batch that the walk has just passed, in the window or in @buf. */
static int batch_bytes(const struct walk *walk, const struct walk_batch *batch,
                       uint8_t buf[STORE_MARKER_BYTES_MAX], const uint8_t **out)
{
	size_t got = 0;
	int err;

	SL_ASSERT(batch->bytes <= STORE_MARKER_BYTES_MAX && batch->pos >= walk->window_pos);
	*out = walk->window + (batch->pos - walk->window_pos);
	if (batch->pos + batch->bytes <= walk->window_pos + walk->window_len)
		return 0;
	*out = buf;
	err = hotlog_read(&walk->files, walk->fd, walk->hot, buf, batch->bytes, batch->pos, &got);
	if (err)
		return err;
	return got == batch->bytes ? 0 : -EIO;
}

/* What the batch says about its producer.  Return: 1; 0 nothing; -errno. */
static int claim_of(const struct walk *walk, const struct walk_batch *batch,
                    struct producers_claim *claim)
{
	uint8_t buf[STORE_MARKER_BYTES_MAX];
	const uint8_t *bytes = NULL;
	int err;

	if (!sl_batch_has_producer(&batch->head))
		return 0;
	if (sl_batch_is_control(&batch->head)) {
		/* No append takes a control batch that ends nothing; another broker's may be there.
		 */
		if (SL_COUNT_IF(batch->bytes > sizeof(buf)))
			return 0;
		err = batch_bytes(walk, batch, buf, &bytes);
		if (err)
			return err;
	}
	return SL_COUNT_IF(log_claim(&batch->head, bytes, claim))
	? 0 : 1;
}

static bool wants_aborted(const struct replay *replay, const struct segment *seg)
{
	if (replay->only)
		return seg == replay->only;
	return seg->is_aborted_lost || seg == replay->log->active;
}

static int replay_producer(struct replay *replay, struct segment *seg, const struct walk *walk,
                           const struct walk_batch *batch)
{
	struct producers_claim claim;
	int64_t first_offset;
	int rc = claim_of(walk, batch, &claim);

	if (rc <= 0)
		return rc;
	rc = producers_reserve(replay->producers, claim.is_transactional && !claim.is_marker);
	/* More are open than were when they were appended: damage has taken their markers. */
	if (SL_COUNT_IF(rc == -EBUSY))
		return 0;
	if (rc)
		return rc;
	first_offset = producers_update(replay->producers, &claim, replay->now_ms);
	if (!claim.is_marker)
		return 0;
	/* As Kafka does: what is in the log when it is opened counts as below the high watermark.
	 */
	txns_settle(&replay->producers->txns, INT64_MAX);
	if (first_offset < 0 || !claim.is_abort || !wants_aborted(replay, seg))
		return 0;
	return txnindex_add(seg, &claim, first_offset);
}

static int replay_batch(struct replay *replay, struct segment *seg, const struct walk *walk,
                        const struct walk_batch *batch)
{
	struct sl_log *log = replay->log;

	if (replay->is_epochs_lost && batch->head.leader_epoch > epochs_latest(&log->epochs)) {
		int err = epochs_begin(&log->epochs, batch->head.leader_epoch,
		                       batch->head.base_offset);

		if (err < 0)
			return err;
	}
	if (sl_batch_last_offset(&batch->head) < replay->producers_from)
		return 0;
	return replay_producer(replay, seg, walk, batch);
}

static int walk_segment(struct replay *replay, struct segment *seg)
{
	struct sl_log *log = replay->log;
	struct walk_batch batch;
	struct log_place place = {0};
	struct walk walk;
	int err;

	err = segment_use(log, seg, false);
	if (err)
		return err;
	if (replay->from > seg->base_offset) {
		err = lookup_batch(log, seg, replay->from, &place);
		if (err <= 0)
			return err;
	}
	segment_walk(log, seg, &walk, replay->window, STORE_SCAN_WINDOW_BYTES);
	walk_seek(&walk, place.pos, seg->bytes);
	while ((err = walk_next(&walk, &batch)) > 0) {
		err = replay_batch(replay, seg, &walk, &batch);
		if (err)
			return err;
	}
	/* A hole in a sealed segment was reported by recovery; what lies before it counts. */
	return err == -EBADMSG && seg->is_sealed ? 0 : err;
}

static int replay_segment(struct replay *replay, struct segment *seg)
{
	const bool is_lost = seg->is_sealed && wants_aborted(replay, seg);
	int err;

	if (is_lost)
		txnindex_begin(seg);
	/* A list that is being filled is not in the file yet: it stays while others are read. */
	seg->refs++;
	err = walk_segment(replay, seg);
	if (!err && is_lost)
		txnindex_end(seg, replay->producers);
	seg->refs--;
	return err;
}

/* Walks segments[first..count). */
static int walk_segments(struct replay *replay, uint32_t count)
{
	struct sl_log *log = replay->log;
	int err = 0;

	replay->window = malloc(STORE_SCAN_WINDOW_BYTES);
	if (!replay->window)
		return -ENOMEM;
	for (uint32_t i = lookup_segment(log, replay->from); i < count && !err; i++) {
		struct segment *seg = log->segments[i];
		const bool is_stored = seg->is_aborted_lost && seg->is_sealed && !replay->only;

		err = replay_segment(replay, seg);
		if (!err && is_stored)
			err = txnindex_store(log, seg);
		if (is_stored)
			txnindex_drop(seg);
	}
	free(replay->window);
	return err == -EBADMSG ? -EIO : err;
}

/* Up to which offset a snapshot is of use. */
static int64_t snapshot_max(const struct sl_log *log)
{
	/* What lies wholly below the start is not read any more. */
	for (uint32_t i = 0; i + 1 < log->segments_count; i++)
		if (log->segments[i]->is_aborted_lost &&
		    log->segments[i + 1]->base_offset > log->start)
			return log->segments[i]->base_offset;
	return log->end;
}

int replay_producers(struct sl_log *log, bool is_epochs_lost, int64_t now_ms)
{
	struct replay replay = {
		.log = log,
		.producers = &log->producers,
		.now_ms = now_ms,
		.is_epochs_lost = is_epochs_lost,
	};
	int64_t snapshot;
	int err;

	txnindex_begin(log->active);
	err = snapshot_load(log, &log->producers, &log->active->aborted, snapshot_max(log),
	                    &snapshot);
	if (err)
		return err;
	replay.producers_from = SL_MAX(snapshot, log->start);
	replay.from = is_epochs_lost ? log->start : replay.producers_from;
	if (is_epochs_lost)
		epochs_fini(&log->epochs);
	return replay.from >= log->end ? 0 : walk_segments(&replay, log->segments_count);
}

int replay_aborted(struct sl_log *log, struct segment *seg)
{
	struct producers producers = {0};
	struct replay replay = {
		.log = log,
		.producers = &producers,
		.only = seg,
		.now_ms = log->now_ms,
	};
	uint32_t i = lookup_segment(log, seg->base_offset);
	int64_t snapshot;
	int err;

	SL_ASSERT(log->segments[i] == seg && seg->is_sealed);
	err = snapshot_load(log, &producers, NULL, seg->base_offset, &snapshot);
	if (!err) {
		replay.producers_from = SL_MAX(snapshot, log->start);
		replay.from = replay.producers_from;
		err = walk_segments(&replay, i + 1);
	}
	producers_fini(&producers);
	return err;
}
