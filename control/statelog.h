/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An internal topic that a coordinator keeps its state on: its partitions are read after each
 * attachment, batches are appended through the lanes that lead them.
 *
 * When the data plane goes away every partition is unloaded, and read again after the next
 * attachment: the outcome of appends that were on their way is unknown, and the log is the truth.
 */
#ifndef CONTROL_STATELOG_H
#define CONTROL_STATELOG_H

#include "control.h"
#include "recent.h"

struct statelog;

/* Time that the loading of partitions took, in all and at most; how many. */
struct statelog_loads {
	uint64_t count;
	int64_t sum_ms;
	int64_t max_ms;
};

/* The coordinator's side.  None is called from within a statelog call but by statelog_attached(),
 * _served(), _opened(), _lost() and _changed(). */
struct statelog_ops {
	const char *topic;
	enum counter loads;
	enum counter load_errors;
	enum counter appends;
	enum counter append_errors;
	/* The topic has this many partitions: whatever is known of another number is void. */
	int (*resize)(void *arg, int32_t partitions_count);
	void (*begin)(void *arg, int32_t partition); /* it will be served */
	void (*batches)(void *arg, int32_t partition, struct sl_bytes batches);
	void (*end)(void *arg, int32_t partition); /* it is served */
	void (*unload)(void *arg, int32_t partition);
	void (*appended)(void *arg, int32_t partition, uint64_t cookie, enum sl_kerr kerr,
	                 int64_t base_offset);
};

/* @partitions_count: while the topic does not exist.  Return: 0; -ENOMEM; what resize() says. */
int statelog_create(struct statelog **out, struct control *c, const struct statelog_ops *ops,
                    void *arg, int32_t partitions_count) SL_MUST_CHECK;
void statelog_destroy(struct statelog *s);

/* Partitions are begun. */
void statelog_attached(struct statelog *s);
/* The data plane serves an image: partitions that are not loaded can be. */
void statelog_served(struct statelog *s);
/* A partition of this topic has a slot now. */
void statelog_opened(struct statelog *s, const struct sl_uuid *topic_id);
void statelog_lost(struct statelog *s);
/* The topic was created, changed or deleted. */
void statelog_changed(struct statelog *s, const struct meta_change *change);

/* appended() is told, but not once the data plane was lost. */
void statelog_append(struct statelog *s, int32_t partition, uint64_t cookie, struct sl_bytes batch);
/* Rises when everything is unloaded: what began before it is void. */
uint64_t statelog_life(const struct statelog *s);
/* Leader epoch of a partition; 0 while there is none. */
int32_t statelog_epoch(const struct statelog *s, int32_t partition);
int32_t statelog_partitions(const struct statelog *s);
/* Partitions that are loaded, and that exist. */
void statelog_progress(const struct statelog *s, uint32_t *loaded, uint32_t *total);
void statelog_loads(const struct statelog *s, struct statelog_loads *out);
/* How long appends took until their outcome was known, in microseconds. */
const struct recent *statelog_appends(const struct statelog *s);

#endif
