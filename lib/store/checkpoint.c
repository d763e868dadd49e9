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

#define METADATA_BYTES_MAX   512

#define CHECKPOINT_HEAD      "version: 2\nsequence: %" PRIu32 "\ntime_entries: %" PRIu32 "\n"
#define CHECKPOINT_HEAD_SCAN "version: 2\nsequence: %" SCNu32 "\ntime_entries: %" SCNu32 "\n%n"
#define CHECKPOINT_FORMAT                                                                    \
	"log_start_offset: %" PRId64 "\nrecovery_point: %" PRId64 "\nrecovery_pos: %" PRId64 \
	"\nclean_end: %" PRId64 "\nclean_bytes: %" PRId64 "\n"
#define CHECKPOINT_SCAN                                                                      \
	"log_start_offset: %" SCNd64 "\nrecovery_point: %" SCNd64 "\nrecovery_pos: %" SCNd64 \
	"\nclean_end: %" SCNd64 "\nclean_bytes: %" SCNd64

/*
 * The file has one of two forms.  A clean close writes version 1, the text and nothing else, under
 * another name and renames it.  A log in use has version 2: two slots with sequence numbers that
 * are written in turns, in place, so that a checkpoint makes no file; the newer good one counts.
 */
static int checkpoint_encode(const struct checkpoint *c, uint32_t sequence, char *text)
{
	int n = sequence == 0 ? snprintf(text, CHECKPOINT_SLOT_BYTES, "version: 1\n")
	                      : snprintf(text, CHECKPOINT_SLOT_BYTES, CHECKPOINT_HEAD, sequence,
	                                 c->time_entries);

	n += snprintf(text + n, (size_t)(CHECKPOINT_SLOT_BYTES - n), CHECKPOINT_FORMAT,
	              c->log_start, c->recovery_point, c->recovery_pos, c->clean_end,
	              c->clean_bytes);
	n += snprintf(text + n, (size_t)(CHECKPOINT_SLOT_BYTES - n), "crc32c: %08x\n",
	              sl_crc32c(0, text, (size_t)n));
	SL_ASSERT(n < CHECKPOINT_SLOT_BYTES);
	if (sequence == 0)
		return n;
	memset(text + n, '\n', (size_t)(CHECKPOINT_SLOT_BYTES - n));
	return CHECKPOINT_SLOT_BYTES;
}

/* The text at @text, which is followed by a NUL somewhere.  False: it is none. */
static bool checkpoint_decode(const char *text, size_t len, struct checkpoint *out,
                              uint32_t *sequence)
{
	char again[CHECKPOINT_SLOT_BYTES];
	struct checkpoint c = {0};
	int used = 0;

	*sequence = 0;
	if (strncmp(text, "version: 1\n", 11) == 0)
		used = 11;
	else if (sscanf(text, CHECKPOINT_HEAD_SCAN, sequence, &c.time_entries, &used) != 2)
		return false;
	/* The text is good if and only if encoding what it says gives the same bytes. */
	if (used == 0 ||
	    sscanf(text + used, CHECKPOINT_SCAN, &c.log_start, &c.recovery_point, &c.recovery_pos,
	           &c.clean_end, &c.clean_bytes) != 5 ||
	    checkpoint_encode(&c, *sequence, again) != (int)len || memcmp(again, text, len) != 0 ||
	    c.log_start < 0 || c.recovery_pos < 0 || c.clean_end < -1 || c.clean_bytes < 0)
		return false;
	*out = c;
	return true;
}

int checkpoint_load(struct sl_log *log, struct checkpoint *out)
{
	char path[STORE_PATH_MAX];
	uint32_t sequence = 0;
	char *text = NULL;
	size_t len = 0;
	bool is_good;
	int err;

	log->checkpoint_sequence = 0;
	err = fileio_load(&log->files, log->dirfd, log_path(log, LOG_CHECKPOINT_FILE, path),
	                  CHECKPOINT_SLOTS * CHECKPOINT_SLOT_BYTES, &text, &len);
	if (err == -EFBIG)
		return -EBADMSG;
	if (err)
		return err;
	is_good = len < CHECKPOINT_SLOT_BYTES && checkpoint_decode(text, len, out, &sequence);
	for (size_t at = 0; at + CHECKPOINT_SLOT_BYTES <= len; at += CHECKPOINT_SLOT_BYTES) {
		struct checkpoint c;

		if (!checkpoint_decode(text + at, CHECKPOINT_SLOT_BYTES, &c, &sequence) ||
		    sequence <= log->checkpoint_sequence)
			continue;
		*out = c;
		log->checkpoint_sequence = sequence;
		is_good = true;
	}
	free(text);
	return is_good ? 0 : -EBADMSG;
}

uint32_t checkpoint_sequence(const struct sl_log *log, bool is_anew)
{
	/* The last one is far away; the file begins anew then. */
	return is_anew || log->checkpoint_sequence == UINT32_MAX - 1 ? 1
	                                                             : log->checkpoint_sequence + 1;
}

uint64_t checkpoint_slot(uint32_t sequence)
{
	return (uint64_t)(sequence % CHECKPOINT_SLOTS) * CHECKPOINT_SLOT_BYTES;
}

void checkpoint_encode_file(const struct checkpoint *c, uint32_t sequence, char *text)
{
	SL_ASSERT(sequence > 0);
	memset(text, '\n', (size_t)CHECKPOINT_SLOTS * CHECKPOINT_SLOT_BYTES);
	(void)checkpoint_encode(c, sequence, text + checkpoint_slot(sequence));
}

/* Return: 0; -ENOENT there is no file with slots; -errno. */
static int store_slot(struct sl_log *log, const struct checkpoint *c)
{
	const uint32_t sequence = checkpoint_sequence(log, false);
	char text[CHECKPOINT_SLOT_BYTES];
	char path[STORE_PATH_MAX];
	int err;

	if (sequence == 1)
		return -ENOENT;
	err = fileio_write_at(&log->files, log->dirfd, log_path(log, LOG_CHECKPOINT_FILE, path),
	                      text, (size_t)checkpoint_encode(c, sequence, text),
	                      checkpoint_slot(sequence));
	if (!err)
		log->checkpoint_sequence = sequence;
	return err;
}

/* A new file: with slots, of which one is empty, or the plain text of a clean close. */
static int store_file(struct sl_log *log, const struct checkpoint *c, bool is_clean)
{
	char text[CHECKPOINT_SLOTS * CHECKPOINT_SLOT_BYTES];
	char path[STORE_PATH_MAX];
	size_t len = sizeof(text);
	int err;

	if (is_clean)
		len = (size_t)checkpoint_encode(c, 0, text);
	else
		checkpoint_encode_file(c, 1, text);
	err = fileio_replace(&log->files, log->dirfd, log_path(log, LOG_CHECKPOINT_FILE, path),
	                     text, len, false);
	if (err)
		return err;
	log->checkpoint_sequence = is_clean ? 0 : 1;
	log->folder_changes++;
	return 0;
}

int checkpoint_store(struct sl_log *log, bool is_clean)
{
	struct checkpoint c;
	int err;

	point_settle(log);
	c = (struct checkpoint){
		.log_start = log->start,
		.recovery_point = log->recovery_point,
		.recovery_pos = (int64_t)log->recovery_pos,
		.clean_end = is_clean ? log->end : -1,
		.clean_bytes = is_clean ? (int64_t)log->active->bytes : 0,
		.time_entries = log->active->times.stored,
	};
	err = is_clean ? -ENOENT : store_slot(log, &c);
	if (err == -ENOENT)
		err = store_file(log, &c, is_clean);
	if (err)
		return log_fail(log, err, "write checkpoint");
	log->is_checkpoint_clean = is_clean;
	return 0;
}

int checkpoint_lower(struct sl_log *log)
{
	log->checkpoint_sequence = 0;
	return checkpoint_store(log, false);
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
