/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two small text files of a partition folder: sluice-checkpoint (log start, recovery point, what a
 * clean close left) and Kafka's partition.metadata (the topic id).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "sluice/base/crc32c.h"
#include "sluice/base/uuid.h"

#include "fileio.h"
#include "log_impl.h"

#define CHECKPOINT_BYTES_MAX 512
#define METADATA_BYTES_MAX   512

#define CHECKPOINT_FORMAT                                                     \
	"version: 1\nlog_start_offset: %" PRId64 "\nrecovery_point: %" PRId64 \
	"\nrecovery_pos: %" PRId64 "\nclean_end: %" PRId64 "\nclean_bytes: %" PRId64 "\n"

static int checkpoint_encode(const struct checkpoint *c, char *text)
{
	int n = snprintf(text, CHECKPOINT_BYTES_MAX, CHECKPOINT_FORMAT, c->log_start,
	                 c->recovery_point, c->recovery_pos, c->clean_end, c->clean_bytes);
	uint32_t crc = sl_crc32c(0, text, (size_t)n);

	n += snprintf(text + n, (size_t)(CHECKPOINT_BYTES_MAX - n), "crc32c: %08x\n", crc);
	SL_ASSERT(n < CHECKPOINT_BYTES_MAX);
	return n;
}

int checkpoint_load(const struct sl_log *log, struct checkpoint *out)
{
	char again[CHECKPOINT_BYTES_MAX];
	char path[STORE_PATH_MAX];
	struct checkpoint c;
	char *text = NULL;
	size_t len = 0;
	bool is_good;
	int err;

	err = fileio_load(&log->files, log->dirfd, log_path(log, LOG_CHECKPOINT_FILE, path),
	                  CHECKPOINT_BYTES_MAX, &text, &len);
	if (err == -EFBIG)
		return -EBADMSG;
	if (err)
		return err;
	/* The text is good if and only if encoding what it says gives the same bytes. */
	is_good =
		sscanf(text,
	               "version: 1\nlog_start_offset: %" SCNd64 "\nrecovery_point: %" SCNd64
	               "\nrecovery_pos: %" SCNd64 "\nclean_end: %" SCNd64 "\nclean_bytes: %" SCNd64,
	               &c.log_start, &c.recovery_point, &c.recovery_pos, &c.clean_end,
	               &c.clean_bytes) == 5 &&
		checkpoint_encode(&c, again) == (int)len && memcmp(again, text, len) == 0 &&
		c.log_start >= 0 && c.recovery_pos >= 0 && c.clean_end >= -1 && c.clean_bytes >= 0;
	free(text);
	if (!is_good)
		return -EBADMSG;
	*out = c;
	return 0;
}

int checkpoint_store(struct sl_log *log, bool is_clean)
{
	char text[CHECKPOINT_BYTES_MAX];
	char path[STORE_PATH_MAX];
	struct checkpoint c = {
		.log_start = log->start,
		.recovery_point = log->recovery_point,
		.recovery_pos = (int64_t)log->recovery_pos,
		.clean_end = is_clean ? log->end : -1,
		.clean_bytes = is_clean ? (int64_t)log->active->bytes : 0,
	};
	int n = checkpoint_encode(&c, text);
	int err = fileio_replace(&log->files, log->dirfd, log_path(log, LOG_CHECKPOINT_FILE, path),
	                         text, (size_t)n, false);

	if (err)
		return log_fail(log, err, "write checkpoint");
	log->is_checkpoint_clean = is_clean;
	log->folder_changes++;
	return 0;
}

/* What a recovery needs beside the point: both indexes and the producers.  They may say more than
 * is durable yet; recovery cuts that off. */
static int store_derived(struct sl_log *log)
{
	struct segment *seg = log->active;
	char path[STORE_PATH_MAX];
	int err = index_offset_store(&seg->offsets, &log->files, log->dirfd,
	                             segment_path(log, seg->base_offset, ".index", path));

	if (!err)
		err = index_time_store(&seg->times, &log->files, log->dirfd,
		                       segment_path(log, seg->base_offset, ".timeindex", path));
	if (err)
		return log_fail(log, err, "write indexes");
	if (log->snapshots_count > 0 && log->snapshots[log->snapshots_count - 1] == log->end)
		return 0;
	return snapshot_store(log);
}

int sl_log_checkpoint(struct sl_log *log)
{
	const uint32_t changes = log->folder_changes;
	int err;

	if (log->error)
		return log->error;
	if (!log->hot || log->flushed <= log->recovery_point ||
	    log->flushed < log->active->base_offset)
		return 0;
	err = store_derived(log);
	if (err)
		return err;
	log->recovery_point = log->flushed;
	log->recovery_pos = log->active->durable;
	err = checkpoint_store(log, false);
	/* Nothing here has to survive a power cut: an older checkpoint serves as well. */
	log->folder_changes = changes;
	return err ? err : 1;
}

int checkpoint_load_topic_id(const struct sl_files *files, int dirfd, const char *folder,
                             struct sl_uuid *out)
{
	static const char key[] = "topic_id: ";
	char path[STORE_PATH_MAX];
	char *text = NULL;
	size_t len = 0;
	char *at;
	int err;

	if (snprintf(path, sizeof(path), "%s/%s", folder, LOG_METADATA_FILE) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	err = fileio_load(files, dirfd, path, METADATA_BYTES_MAX, &text, &len);
	if (err == -EFBIG)
		return -EBADMSG;
	if (err)
		return err;
	err = -EBADMSG;
	at = strstr(text, key);
	if (strncmp(text, "version: 0\n", 11) == 0 && at) {
		at += sizeof(key) - 1;
		if (sl_uuid_parse(out, (struct sl_str){at, (int32_t)strcspn(at, "\r\n")}) == 0)
			err = 0;
	}
	free(text);
	return err;
}

int checkpoint_store_topic_id(const struct sl_log *log)
{
	char id[SL_UUID_TEXT_MAX];
	char path[STORE_PATH_MAX];
	char text[METADATA_BYTES_MAX];
	int n = snprintf(text, sizeof(text), "version: 0\ntopic_id: %s\n",
	                 sl_uuid_text(&log->topic_id, id));

	return fileio_store(&log->files, log->dirfd, log_path(log, LOG_METADATA_FILE, path), text,
	                    (size_t)n);
}
