/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control process's attachment, from the data plane's side: accepts one at a time, gives each
 * lane its channel, reads channel 0, and takes everything back when the control process goes.  The
 * data plane serves on without it.  Host thread only.
 */
#ifndef DATAPLANE_HOST_ATTACH_H
#define DATAPLANE_HOST_ATTACH_H

#include "lane.h"
#include "sluice/ipc/msg.h"

struct attach;

/* epoll_event.data.u64 of its descriptors. */
enum attach_fd {
	ATTACH_FD_LISTEN = 16,
	ATTACH_FD_SOCK,
	ATTACH_FD_CHANNEL
};

struct attach_opts {
	const char *path; /* of the socket; Borrowed */
	struct sl_shm *shm;
	size_t shm_bytes;
	int shm_fd;
	int epoll_fd;
	/* To lane msg->lane; comes back through attach_returned(). */
	void (*post)(void *arg, struct lane_msg *msg);
	/**
	 * greeted() - a control process told what it holds, and is about to be answered
	 * @offered: memory of a data plane before this one; borrowed
	 * @used: to be filled: what this one uses, which the control process keeps instead;
	 * descriptors are borrowed during the call that follows
	 * Return: 0; -errno it is not answered, and keeps what it holds.
	 */
	int (*greeted)(void *arg, const struct sl_ipc_tiers *offered, struct sl_ipc_tiers *used);
	void (*attached)(void *arg);
	void (*lost)(void *arg);
	/* One message of channel 0, in private memory.  Return: 0; -errno ends the attachment. */
	int (*message)(void *arg, uint32_t type, const void *p, size_t bytes);
	void *arg;
};

/* Return: 0 or -errno of sl_ipc_listen(). */
int attach_create(struct attach **out, const struct attach_opts *opts) SL_MUST_CHECK;
/* After every lane has ended; a no-op on NULL. */
void attach_destroy(struct attach *a);

/* What epoll_wait(2) said about one of the descriptors. */
void attach_event(struct attach *a, enum attach_fd fd);
/* Sends what waits, reads a bounded number of messages when @is_reading.  Return: work done. */
unsigned attach_poll(struct attach *a, bool is_reading);
/* Announces sleep on channel 0.  Return: false when there is something to do. */
bool attach_may_sleep(struct attach *a);
void attach_returned(struct attach *a, struct lane_msg *msg);
/* The control process broke a rule: ends the attachment. */
void attach_drop(struct attach *a, const char *why);

bool attach_is_up(const struct attach *a);
/* Of the control process; 0 none. */
int32_t attach_pid(const struct attach *a);
/* How many there were: tells one control process from the next. */
uint64_t attach_generation(const struct attach *a);
/* Queues when the ring is full; nothing happens while no control process is attached. */
void attach_send(struct attach *a, enum sl_ipc_type type, struct sl_bytes head,
                 struct sl_bytes body);

#endif
