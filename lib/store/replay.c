/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rebuilds state that the batches themselves carry: producers (from the newest snapshot on) and
 * leader epochs.  Reads headers only; whoever calls has checked or trusts the batches.
 */
#include <errno.h>
#include <stdlib.h>

#include "log_impl.h"

struct replay {
	struct sl_log *log;
	int64_t producers_from; /* batches that end below are in the snapshot already */
	int64_t from;
	int64_t now_ms;
	bool is_epochs_lost;
	uint8_t *window;
};

static int replay_batch(struct replay *replay, const struct walk_batch *batch)
{
	struct sl_log *log = replay->log;
	struct producers_claim claim;
	int err;

	if (replay->is_epochs_lost && batch->head.leader_epoch > epochs_latest(&log->epochs)) {
		err = epochs_begin(&log->epochs, batch->head.leader_epoch, batch->head.base_offset);
		if (err < 0)
			return err;
	}
	if (!sl_batch_has_producer(&batch->head) ||
	    sl_batch_last_offset(&batch->head) < replay->producers_from)
		return 0;
	err = producers_reserve(&log->producers);
	if (err)
		return err;
	log_claim(&batch->head, &claim);
	producers_update(&log->producers, &claim, replay->now_ms);
	return 0;
}

static int replay_segment(struct replay *replay, struct segment *seg)
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
		err = replay_batch(replay, &batch);
		if (err)
			return err;
	}
	/* A hole in a sealed segment was reported by recovery; what lies before it counts. */
	return err == -EBADMSG && seg->is_sealed ? 0 : err;
}

int replay_producers(struct sl_log *log, bool is_epochs_lost, int64_t now_ms)
{
	struct replay replay = {.log = log, .now_ms = now_ms, .is_epochs_lost = is_epochs_lost};
	int64_t snapshot;
	int err;

	err = snapshot_load(log, log->end, &snapshot);
	if (err)
		return err;
	replay.producers_from = SL_MAX(snapshot, log->start);
	replay.from = is_epochs_lost ? log->start : replay.producers_from;
	if (is_epochs_lost)
		epochs_fini(&log->epochs);
	if (replay.from >= log->end)
		return 0;
	replay.window = malloc(STORE_SCAN_WINDOW_BYTES);
	if (!replay.window)
		return -ENOMEM;
	for (uint32_t i = lookup_segment(log, replay.from); i < log->segments_count && !err; i++)
		err = replay_segment(&replay, log->segments[i]);
	free(replay.window);
	return err == -EBADMSG ? -EIO : err;
}
