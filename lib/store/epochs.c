/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leader-epoch history.  Owned by its log; a sorted array, because a partition has few epochs and
 * every question is a search from the end.
 */
#include "epochs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/base/buf.h"

#include "bounds.h"
#include "fileio.h"

#define EPOCHS_FILE_VERSION 0

void epochs_fini(struct epochs *epochs)
{
	free(epochs->entries);
	*epochs = (struct epochs){0};
}

int32_t epochs_latest(const struct epochs *epochs)
{
	return epochs->count ? epochs->entries[epochs->count - 1].epoch : -1;
}

static int push(struct epochs *epochs, int32_t epoch, int64_t start)
{
	if (epochs->count == epochs->cap) {
		uint32_t cap = epochs->cap ? epochs->cap * 2 : 2;
		struct epochs_entry *entries;

		if (cap > STORE_EPOCHS_MAX)
			return -ENOMEM;
		entries = realloc(epochs->entries, cap * sizeof(*entries));
		if (!entries)
			return -ENOMEM;
		epochs->entries = entries;
		epochs->cap = cap;
	}
	epochs->entries[epochs->count++] = (struct epochs_entry){.epoch = epoch, .start = start};
	return 0;
}

int epochs_begin(struct epochs *epochs, int32_t epoch, int64_t start)
{
	int err;

	if (epoch < 0 || epoch < epochs_latest(epochs))
		return -EINVAL;
	if (epoch == epochs_latest(epochs))
		return 0;
	if (epochs->count > 0 && epochs->entries[epochs->count - 1].start > start)
		return -EINVAL;
	while (epochs->count > 0 && epochs->entries[epochs->count - 1].start == start)
		epochs->count--;
	err = push(epochs, epoch, start);
	return err ? err : 1;
}

void epochs_end(const struct epochs *epochs, int32_t asked, int64_t log_end, int32_t *epoch,
                int64_t *end)
{
	*epoch = -1;
	*end = -1;
	if (asked < 0 || epochs->count == 0 || asked > epochs_latest(epochs))
		return;
	for (uint32_t i = epochs->count; i > 0; i--) {
		if (epochs->entries[i - 1].epoch > asked)
			continue;
		*epoch = epochs->entries[i - 1].epoch;
		*end = i < epochs->count ? epochs->entries[i].start : log_end;
		return;
	}
	/* Every known epoch is above the asked one.  Kafka's LeaderEpochFileCache.endOffsetFor
	 * answers with the asked epoch and where the first known one begins: the follower has to go
	 * there. */
	*epoch = asked;
	*end = epochs->entries[0].start;
}

bool epochs_cut_tail(struct epochs *epochs, int64_t log_end)
{
	uint32_t count = epochs->count;

	while (epochs->count > 0 && epochs->entries[epochs->count - 1].start > log_end)
		epochs->count--;
	return epochs->count != count;
}

bool epochs_cut_head(struct epochs *epochs, int64_t log_start)
{
	uint32_t gone = 0;

	/* An entry is needed while the next one begins above the log start. */
	while (gone + 1 < epochs->count && epochs->entries[gone + 1].start <= log_start)
		gone++;
	if (gone > 0) {
		memmove(epochs->entries, epochs->entries + gone,
		        (epochs->count - gone) * sizeof(epochs->entries[0]));
		epochs->count -= gone;
	}
	if (epochs->count > 0 && epochs->entries[0].start < log_start) {
		epochs->entries[0].start = log_start;
		return true;
	}
	return gone > 0;
}

/* Reads one decimal number and the white space behind it; moves *p. */
static bool take_number(const char **p, int64_t max, int64_t *out)
{
	char *end;
	intmax_t v;

	if (**p < '0' || **p > '9')
		return false;
	errno = 0;
	v = strtoimax(*p, &end, 10);
	if (errno || v > max || (*end != '\n' && *end != ' '))
		return false;
	*p = end + 1;
	*out = v;
	return true;
}

static int parse(struct epochs *epochs, const char *text)
{
	int64_t version;
	int64_t count;

	if (!take_number(&text, INT32_MAX, &version) || version != EPOCHS_FILE_VERSION)
		return -EBADMSG;
	if (!take_number(&text, STORE_EPOCHS_MAX, &count))
		return -EBADMSG;
	for (int64_t i = 0; i < count; i++) {
		int64_t epoch;
		int64_t start;
		int err;

		if (!take_number(&text, INT32_MAX, &epoch) ||
		    !take_number(&text, INT64_MAX, &start))
			return -EBADMSG;
		if (epoch <= epochs_latest(epochs) ||
		    (epochs->count > 0 && start < epochs->entries[epochs->count - 1].start))
			return -EBADMSG;
		err = push(epochs, (int32_t)epoch, start);
		if (err)
			return err;
	}
	return *text == '\0' ? 0 : -EBADMSG;
}

int epochs_load(struct epochs *epochs, const struct sl_files *files, int dirfd, const char *path)
{
	char *text = NULL;
	size_t len = 0;
	int err;

	SL_ASSERT(epochs->count == 0);
	err = fileio_load(files, dirfd, path, STORE_TEXT_BYTES_MAX, &text, &len);
	if (err == -EFBIG)
		return -EBADMSG;
	if (err)
		return err;
	err = parse(epochs, text);
	free(text);
	if (err)
		epochs->count = 0;
	return err;
}

int epochs_store(const struct epochs *epochs, const struct sl_files *files, int dirfd,
                 const char *path)
{
	struct sl_buf buf;
	int err;

	sl_buf_init_grow(&buf, STORE_TEXT_BYTES_MAX);
	sl_buf_printf(&buf, "%d\n%u\n", EPOCHS_FILE_VERSION, epochs->count);
	for (uint32_t i = 0; i < epochs->count; i++)
		sl_buf_printf(&buf, "%d %" PRId64 "\n", epochs->entries[i].epoch,
		              epochs->entries[i].start);
	err = sl_buf_ok(&buf) ? fileio_replace(files, dirfd, path, buf.p, buf.len, false) : -ENOMEM;
	sl_buf_fini(&buf);
	return err;
}
