/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Message channel between two processes: two single-producer single-consumer byte rings in shared
 * memory and an eventfd each way.  A message is contiguous in its ring, so it is built and read in
 * place.
 *
 * The peer may crash at any point or write anything: every length and position read from shared
 * memory is checked, and a peer that breaks the rules makes the channel fail (-EPROTO), never the
 * process.
 */
#ifndef SLUICE_IPC_CHANNEL_H
#define SLUICE_IPC_CHANNEL_H

#include "sluice/base/base.h"

/* Largest message for a ring of @ring_bytes. */
#define SL_CHANNEL_MESSAGE_MAX(ring_bytes) ((ring_bytes) / 2 - 64)

/* One end.  Opaque; owned by one thread. */
struct sl_channel;

/* Bytes of shared memory one channel needs; @ring_bytes is a power of two >= 64 KiB. */
size_t sl_channel_shm_bytes(size_t ring_bytes);

/* Which end of the channel: the side that made the memory is SL_CHANNEL_DATAPLANE. */
enum sl_channel_side {
	SL_CHANNEL_DATAPLANE = 0,
	SL_CHANNEL_CONTROL = 1
};

/**
 * sl_channel_create() - one end over mapped shared memory
 * @shm: sl_channel_shm_bytes() of shared memory, zeroed before the first end is made; borrowed
 * @rx_wake_fd: eventfd that the peer writes when this end sleeps; borrowed
 * @tx_wake_fd: eventfd to write when the peer sleeps; borrowed
 * Return: 0; -EPROTO the memory's layout is not ours, or this end was made before on this memory;
 * -EINVAL @ring_bytes or the alignment of @shm; -ENOMEM.
 */
int sl_channel_create(struct sl_channel **out, enum sl_channel_side side, void *shm,
                      size_t ring_bytes, int rx_wake_fd, int tx_wake_fd) SL_MUST_CHECK;
void sl_channel_destroy(struct sl_channel *ch);

/* True once the peer broke the rules: for an owner that only sends and so cannot tell full from
 * failed. */
bool sl_channel_is_failed(const struct sl_channel *ch);

/**
 * sl_channel_reserve() - room for one message of up to @bytes, written in place
 * Return: the room; NULL: the ring is full now (try again after the peer has read), or @bytes is
 * larger than SL_CHANNEL_MESSAGE_MAX, or the channel failed.
 */
void *sl_channel_reserve(struct sl_channel *ch, size_t bytes);
/* Publishes the reserved message with its final size and wakes the peer if it sleeps.
 * @type: an enum sl_ipc_type other than SL_IPC_NONE; the receiving end refuses anything else. */
void sl_channel_commit(struct sl_channel *ch, uint32_t type, size_t bytes);
/* reserve + copy of two parts + commit.  Return: 0; -EAGAIN full; -EMSGSIZE; -EPROTO. */
int sl_channel_send(struct sl_channel *ch, uint32_t type, const void *head, size_t head_bytes,
                    const void *body, size_t body_bytes) SL_MUST_CHECK;

/**
 * sl_channel_peek() - the oldest unread message, in place
 * The peer can still scribble on it: copy what you validate before you use it.
 * Return: 1 there is one; 0 none; -EPROTO the peer broke the ring.
 */
int sl_channel_peek(struct sl_channel *ch, uint32_t *type, const void **p, size_t *bytes);
/* Frees the message that peek returned. */
void sl_channel_release(struct sl_channel *ch);

/* Before sleeping: announces it.  Return: true when it is safe to sleep (nothing arrived
 * meanwhile); on false keep polling.  After waking call sl_channel_wake(), which drains the
 * eventfd. When the last reserve found the ring full, room for it counts as an arrival: it is
 * reported once here, or wakes the sleeper.  Always false on a failed channel: peek says -EPROTO.
 */
bool sl_channel_sleep(struct sl_channel *ch);
void sl_channel_wake(struct sl_channel *ch);

#endif
