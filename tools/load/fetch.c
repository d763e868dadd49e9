/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the answer to a fetch while it arrives.  Each step looks at a piece of bounded size; when
 * it is not there yet, the step is tried again with more.  Versions 4 to 12, where topics have
 * names.
 */
#include "fetch.h"

#include <errno.h>

#include "sluice/wire/apis.h"
#include "sluice/wire/kerr.h"

#define FLEXIBLE_FROM   12
/* Of one step but a batch: a topic's name, or a partition's head with its aborted transactions. */
#define STEP_BYTES_MAX  ((size_t)1 << 20)
#define BATCH_BYTES_MAX ((size_t)512 << 20)

void fetch_begin(struct fetch *f, int16_t version, int32_t correlation_id, bool with_records)
{
	size_t last = f->last_batch_bytes;

	*f = (struct fetch){.version = version,
	                    .correlation_id = correlation_id,
	                    .with_records = with_records,
	                    .wanted = 4,
	                    .last_batch_bytes = last};
}

static bool is_flexible(const struct fetch *f)
{
	return f->version >= FLEXIBLE_FROM;
}

static int read_size(struct fetch *f, struct sl_cursor *c)
{
	int32_t bytes = sl_cursor_i32(c);

	if (c->failed)
		return -EAGAIN;
	if (bytes < 8)
		return -EBADMSG;
	f->frame_left = (size_t)bytes + 4;
	f->step = FETCH_HEAD;
	return 0;
}

static int read_head(struct fetch *f, struct sl_cursor *c, const struct fetch_sink *sink)
{
	int32_t id = sl_cursor_i32(c);
	int16_t code = 0;

	if (is_flexible(f))
		sl_cursor_skip_tags(c);
	sl_cursor_i32(c); /* throttle time */
	if (f->version >= 7) {
		code = sl_cursor_i16(c);
		sl_cursor_i32(c); /* session */
	}
	f->topics_left = sl_cursor_count_nn(c, is_flexible(f), 0);
	if (c->failed)
		return -EAGAIN;
	if (id != f->correlation_id)
		return -EBADMSG;
	if (code != SL_KERR_NONE)
		sink->error(sink->arg, NULL, code);
	f->step = FETCH_TOPIC;
	return 0;
}

/* Between topics: the next one, or the end, whose tags nobody needs. */
static int read_topic(struct fetch *f, struct sl_cursor *c)
{
	if (f->topics_left == 0) {
		f->skip = f->frame_left;
		f->step = FETCH_END;
		return 0;
	}
	sl_cursor_str_nn(c, is_flexible(f));
	f->partitions_left = sl_cursor_count_nn(c, is_flexible(f), 0);
	if (c->failed)
		return -EAGAIN;
	f->topics_left--;
	f->step = FETCH_PARTITION;
	return 0;
}

static void skip_aborted(struct fetch *f, struct sl_cursor *c)
{
	int32_t count = sl_cursor_count(c, is_flexible(f), 16);

	for (int32_t i = 0; i < count && !c->failed; i++) {
		sl_cursor_i64(c);
		sl_cursor_i64(c);
		if (is_flexible(f))
			sl_cursor_skip_tags(c);
	}
}

/* Between partitions: the next one, or the end of the topic. */
static int read_partition(struct fetch *f, struct sl_cursor *c, const struct fetch_sink *sink)
{
	struct fetch_partition *p;
	int64_t high_watermark, log_start = -1;
	int32_t index, bytes;
	int16_t code;

	if (f->partitions_left == 0) {
		if (is_flexible(f))
			sl_cursor_skip_tags(c);
		f->step = FETCH_TOPIC;
		return c->failed ? -EAGAIN : 0;
	}
	index = sl_cursor_i32(c);
	code = sl_cursor_i16(c);
	high_watermark = sl_cursor_i64(c);
	sl_cursor_i64(c); /* last stable offset */
	if (f->version >= 5)
		log_start = sl_cursor_i64(c);
	skip_aborted(f, c);
	if (f->version >= 11)
		sl_cursor_i32(c); /* preferred read replica */
	bytes = is_flexible(f) ? (int32_t)(sl_cursor_uvarint(c) - 1) : sl_cursor_i32(c);
	if (c->failed)
		return -EAGAIN;
	p = sink->find(sink->arg, index);
	if (!p)
		return -EBADMSG;
	if (code != SL_KERR_NONE) {
		sink->error(sink->arg, p, code);
	} else {
		p->high_watermark = high_watermark;
		p->log_start = SL_MAX(p->log_start, log_start);
	}
	f->partitions_left--;
	f->partition = p;
	f->records_left = bytes > 0 ? (size_t)bytes : 0;
	f->step = f->records_left > 0 ? FETCH_BATCH : FETCH_PARTITION_END;
	return 0;
}

/* A batch's header is enough to know how many records it has and where the next one begins. */
static int read_batch(struct fetch *f, struct sl_cursor *c, const struct fetch_sink *sink)
{
	size_t left = SL_MIN(sl_cursor_left(c), f->records_left);
	struct fetch_partition *p = f->partition;
	const uint8_t *whole = c->p;
	struct sl_batch_head head;
	int err = sl_batch_peek(c->p, left, &head);
	size_t bytes;

	if (err == -EAGAIN && head.magic != 2 && f->records_left >= SL_BATCH_HEADER_BYTES)
		return -EAGAIN;
	if (err == -EBADMSG)
		return err;
	bytes = err == -EAGAIN && head.magic != 2 ? SIZE_MAX : sl_batch_bytes(&head);
	if (bytes > f->records_left) {
		/* A broker may cut the last batch where its limit is. */
		f->skip = f->records_left;
		f->records_left = 0;
		f->step = FETCH_PARTITION_END;
		return 0;
	}
	if (err == -EAGAIN && f->with_records) {
		f->wanted = bytes;
		return bytes > BATCH_BYTES_MAX ? -EBADMSG : -EAGAIN;
	}
	err = sink->batch(sink->arg, p, &head, f->with_records ? whole : NULL);
	if (err)
		return err;
	p->offset = SL_MAX(p->offset, sl_batch_last_offset(&head) + 1);
	f->last_batch_bytes = bytes;
	f->records_left -= bytes;
	f->skip = bytes;
	if (f->records_left == 0)
		f->step = FETCH_PARTITION_END;
	return 0;
}

static int read_partition_end(struct fetch *f, struct sl_cursor *c)
{
	if (is_flexible(f))
		sl_cursor_skip_tags(c);
	if (c->failed)
		return -EAGAIN;
	f->step = FETCH_PARTITION;
	return 0;
}

static int take_step(struct fetch *f, struct sl_cursor *c, const struct fetch_sink *sink)
{
	switch (f->step) {
	case FETCH_SIZE:
		return read_size(f, c);
	case FETCH_HEAD:
		return read_head(f, c, sink);
	case FETCH_TOPIC:
		return read_topic(f, c);
	case FETCH_PARTITION:
		return read_partition(f, c, sink);
	case FETCH_BATCH:
		return read_batch(f, c, sink);
	default:
		return read_partition_end(f, c);
	}
}

int64_t fetch_read(struct fetch *f, const uint8_t *p, size_t bytes, const struct fetch_sink *sink)
{
	size_t at = 0;

	for (;;) {
		size_t n = SL_MIN(f->skip, bytes - at);
		size_t visible;
		struct sl_cursor c;
		int rc;

		at += n;
		f->skip -= n;
		if (f->step != FETCH_SIZE)
			f->frame_left -= n;
		if (f->skip > 0 || (f->step == FETCH_END && f->frame_left == 0))
			return (int64_t)at;
		visible = bytes - at;
		if (f->step != FETCH_SIZE)
			visible = SL_MIN(visible, f->frame_left);
		f->wanted = 0;
		c = sl_cursor_from(p + at, visible);
		rc = take_step(f, &c, sink);
		if (rc == -EAGAIN) {
			bool is_all = f->step != FETCH_SIZE && visible == f->frame_left;

			if (is_all || (f->step != FETCH_BATCH && visible > STEP_BYTES_MAX))
				return -EBADMSG;
			f->wanted = SL_MAX(f->wanted, visible + 1);
			return (int64_t)at;
		}
		if (rc != 0)
			return rc;
		/* What the cursor passed over, except in a batch, which is skipped as a whole. */
		n = (size_t)(c.p - (p + at));
		at += n;
		f->frame_left -= n;
		if (f->skip > f->frame_left)
			return -EBADMSG;
	}
}
