/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers of the ipc tests: both ends of a channel, streams of checkable messages, child processes.
 */
#ifndef TESTS_IPC_PAIR_H
#define TESTS_IPC_PAIR_H

#include <sys/types.h>

#include "sluice/ipc/channel.h"

#include "channel_layout.h"

#define PAIR_RING_BYTES CHANNEL_RING_BYTES_MIN
/* A wake-up that takes longer is lost; nothing ever waits this long when the code is right. */
#define LOST_WAKEUP_MS  30000

/* Both ends over shared memory that has an inaccessible page on either side. */
struct pair {
	void *map;
	size_t map_bytes;
	struct channel_shm *shm;
	size_t ring_bytes;
	int wake_fd[2]; /* [side] is what that side sleeps on */
	struct sl_channel *ch[2];
};

void pair_open(struct pair *p, size_t ring_bytes);
void pair_close(struct pair *p);
/* The ring that @side sends through. */
uint8_t *pair_ring(const struct pair *p, enum sl_channel_side side);

/* A repeatable sequence of messages; sender and receiver each hold one with the same seed. */
struct stream {
	uint64_t seed;
	uint64_t seq;
	size_t bytes_max;
};

uint64_t random_next(uint64_t *state);
/* Sends the next message if there is room.  Return: 1 sent; 0 full; -EPROTO. */
int stream_send(struct stream *s, struct sl_channel *ch);
/* Return: 1 the next message came and is right; 0 none; -EPROTO; -EBADMSG it is another one. */
int stream_recv(struct stream *s, struct sl_channel *ch);

/* Sleeps by the protocol until something arrives.  Return: false the wake-up was lost. */
bool sleep_once(struct sl_channel *ch, int wake_fd);
/* Number of times @wake_fd was written since the last call. */
uint64_t wakes_taken(int wake_fd);
bool wait_readable(int fd);

/* Runs @fn in a child, whose exit status is what it returns. */
pid_t child_start(int (*fn)(void *arg), void *arg);
/* Waits for a child that must end by itself with status 0. */
bool child_succeeded(pid_t pid);
/* In a child: prints @what when @ok is false.  Return: @ok. */
bool child_check(bool ok, const char *what);

#endif
