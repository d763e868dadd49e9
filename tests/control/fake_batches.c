/* SPDX-License-Identifier: Apache-2.0 */
/* What is in the batches that were appended. */
#include "fake_dataplane.h"

#include <errno.h>

/* A marker is smaller; of other batches the head is enough. */
#define BYTES_MAX 256

bool fake_batch(struct fake *f, const char *topic, int32_t partition, uint32_t index,
                struct sl_batch_head *out)
{
	const struct fake_place at = {topic, partition, index};
	uint8_t bytes[BYTES_MAX];
	size_t len = fake_read_batch(f, &at, bytes, sizeof(bytes));
	int rc = len > 0 ? sl_batch_peek(bytes, len, out) : -ENOENT;

	return rc == 0 || rc == -EAGAIN;
}

bool fake_marker(struct fake *f, const char *topic, int32_t partition, uint32_t index,
                 struct sl_txn_marker *out)
{
	const struct fake_place at = {topic, partition, index};
	uint8_t bytes[BYTES_MAX];
	struct sl_batch_head head;
	size_t len = fake_read_batch(f, &at, bytes, sizeof(bytes));

	return len > 0 && sl_batch_peek(bytes, len, &head) == 0 && sl_batch_is_control(&head) &&
	       sl_txn_marker_decode(out, bytes, &head) == 1;
}
