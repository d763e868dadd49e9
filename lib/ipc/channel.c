/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two single-producer single-consumer byte rings between two processes.
 *
 * Each end belongs to one thread.  Everything it decides with lives in struct sl_channel, in
 * private memory; shared memory is only ever a hint from a peer that may be broken: each word is
 * loaded once and checked against private state before use, and an end never reads back what it
 * wrote itself.
 *
 * Sleeping.  A sleeper stores its `waiting` flag and then looks at the peer's position; the peer
 * stores its position and then looks at the flag.  If both looked before either store was visible,
 * the message would lie there and the sleeper would sleep (Dekker's problem: a store followed by a
 * load of another word may be reordered, even on x86).  All four accesses are therefore seq_cst:
 * they have one total order, so at least one side sees the other's store.  The exact accesses are
 * in sl_channel_commit(), sl_channel_release(), wake_peer(), sl_channel_sleep() and has_news(); gcc
 * makes an xchg of the stores, which costs the same as a separate fence.
 */
#include "sluice/ipc/channel.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "sluice/base/assert.h"
#include "sluice/base/log.h"
#include "sluice/ipc/msg.h"

#include "channel_layout.h"

#define HEAD_BYTES sizeof(union channel_head)

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "positions are shared between processes");
_Static_assert(SL_IPC_TYPE_NR < CHANNEL_FILLER, "no message type may look like a filler");
_Static_assert(SL_IPC_REQUEST_MAX + 4096 <= SL_CHANNEL_MESSAGE_MAX(SL_IPC_RING_BYTES),
               "the largest forwarded request fits with its head");

struct sl_channel {
	/* Fixed at creation. */
	struct channel_direction *tx;
	struct channel_direction *rx;
	struct channel_end *own_end;
	struct channel_end *peer_end;
	uint8_t *tx_ring;
	uint8_t *rx_ring;
	uint64_t ring_bytes;
	int rx_wake_fd; /* Borrowed. */
	int tx_wake_fd; /* Borrowed. */
	enum sl_channel_side side;
	bool failed; /* sticky: the peer broke the rules */

	/* Sending.  tx_seen <= tx_pos <= tx_seen + ring_bytes. */
	bool tx_is_reserved;
	uint64_t tx_pos;    /* end of what was published */
	uint64_t tx_seen;   /* cached copy of the peer's consumed position */
	uint64_t tx_skip;   /* bytes of filler before the reserved message */
	uint64_t tx_room;   /* payload bytes reserved */
	uint64_t tx_wanted; /* record that did not fit last time; 0 none */

	/* Receiving.  rx_pos <= rx_seen <= rx_pos + ring_bytes. */
	uint64_t rx_pos;    /* end of what was released */
	uint64_t rx_seen;   /* cached copy of the peer's produced position */
	uint64_t rx_record; /* bytes to release for the peeked message, filler included; 0 none */
	const void *rx_payload;
	uint32_t rx_bytes; /* private copies of the peeked head: the shared one may change */
	uint32_t rx_type;
};

static bool is_ring_size(size_t ring_bytes)
{
	return ring_bytes >= CHANNEL_RING_BYTES_MIN && ring_bytes <= CHANNEL_RING_BYTES_MAX &&
	       (ring_bytes & (ring_bytes - 1)) == 0;
}

static bool is_message_type(uint32_t type)
{
	return type > SL_IPC_NONE && type < SL_IPC_TYPE_NR;
}

/* Bytes that a message occupies in the ring. */
static uint64_t record_bytes(uint64_t payload_bytes)
{
	return HEAD_BYTES + SL_ALIGN_UP(payload_bytes, HEAD_BYTES);
}

/* Heads are atomic only because a hostile peer may write while we read; order comes from the
 * positions. */
static union channel_head head_load(const uint8_t *at)
{
	const _Atomic uint64_t *word = (const _Atomic uint64_t *)(const void *)at;

	return (union channel_head){.word = atomic_load_explicit(word, memory_order_relaxed)};
}

static void head_store(uint8_t *at, uint32_t type, uint64_t bytes)
{
	union channel_head head = {{.bytes = (uint32_t)bytes, .type = type}};

	atomic_store_explicit((_Atomic uint64_t *)(void *)at, head.word, memory_order_relaxed);
}

static void fail(struct sl_channel *ch, const char *why, uint64_t value)
{
	if (!ch->failed)
		sl_log(ERR, ipc, "fail channel side=%s pos=%llu reason=\"%s\" value=%llu",
		       ch->side == SL_CHANNEL_DATAPLANE ? "dataplane" : "control",
		       (unsigned long long)ch->rx_pos, why, (unsigned long long)value);
	ch->failed = true;
}

/* Both orders are explicit at the callers, since they pair with different functions. */
static bool accept_consumed(struct sl_channel *ch, uint64_t consumed)
{
	if (consumed - ch->tx_seen > ch->tx_pos - ch->tx_seen || consumed % HEAD_BYTES != 0) {
		fail(ch, "consumed position out of range", consumed);
		return false;
	}
	ch->tx_seen = consumed;
	return true;
}

static bool accept_produced(struct sl_channel *ch, uint64_t produced)
{
	if (produced - ch->rx_seen > ch->ring_bytes - (ch->rx_seen - ch->rx_pos) ||
	    produced % HEAD_BYTES != 0) {
		fail(ch, "produced position out of range", produced);
		return false;
	}
	ch->rx_seen = produced;
	return true;
}

/* Wakes the peer if it sleeps and wants @why.  Call after a seq_cst store of our position. */
static void wake_peer(struct sl_channel *ch, uint32_t why)
{
	const uint64_t one = 1;

	/* seq_cst, after our position's store; partner: the store of `waiting` in
	 * sl_channel_sleep(). */
	if (sl_likely(!(atomic_load_explicit(&ch->peer_end->waiting, memory_order_seq_cst) & why)))
		return;
	/* Taking the flag makes it one system call per sleep, however many messages follow. */
	if (!atomic_exchange_explicit(&ch->peer_end->waiting, 0, memory_order_seq_cst))
		return;
	/* EAGAIN: the counter is full, so the descriptor is readable already. */
	(void)SL_COUNT_IF(write(ch->tx_wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN);
}

size_t sl_channel_shm_bytes(size_t ring_bytes)
{
	return sizeof(struct channel_shm) + 2 * ring_bytes;
}

int sl_channel_create(struct sl_channel **out, enum sl_channel_side side, void *shm,
                      size_t ring_bytes, int rx_wake_fd, int tx_wake_fd)
{
	struct channel_shm *mem = shm;
	const enum sl_channel_side peer = side == SL_CHANNEL_DATAPLANE ? SL_CHANNEL_CONTROL
	                                                               : SL_CHANNEL_DATAPLANE;
	uint8_t *rings = (uint8_t *)shm + sizeof(*mem);
	uint64_t layout = 0;
	struct sl_channel *ch;

	if (!is_ring_size(ring_bytes) || (uintptr_t)shm % SL_CACHE_LINE != 0)
		return -EINVAL;
	/* The first end signs the zeroed memory, the second finds the signature.  Relaxed: nothing
	 * else is initialised, zero is the empty state of every other word. */
	if (!atomic_compare_exchange_strong_explicit(&mem->layout, &layout,
	                                             CHANNEL_LAYOUT(ring_bytes),
	                                             memory_order_relaxed, memory_order_relaxed) &&
	    layout != CHANNEL_LAYOUT(ring_bytes))
		return -EPROTO;
	/* Our own positions are at 0 in fresh memory: a second life on old rings would lose
	 * messages. */
	if (atomic_load_explicit(&mem->dir[side].produced, memory_order_relaxed) ||
	    atomic_load_explicit(&mem->dir[peer].consumed, memory_order_relaxed))
		return -EPROTO;
	ch = calloc(1, sizeof(*ch));
	if (!ch)
		return -ENOMEM;
	ch->tx = &mem->dir[side];
	ch->rx = &mem->dir[peer];
	ch->own_end = &mem->end[side];
	ch->peer_end = &mem->end[peer];
	ch->tx_ring = rings + (size_t)side * ring_bytes;
	ch->rx_ring = rings + (size_t)peer * ring_bytes;
	ch->ring_bytes = ring_bytes;
	ch->rx_wake_fd = rx_wake_fd;
	ch->tx_wake_fd = tx_wake_fd;
	ch->side = side;
	*out = ch;
	return 0;
}

void sl_channel_destroy(struct sl_channel *ch)
{
	free(ch);
}

bool sl_channel_is_failed(const struct sl_channel *ch)
{
	return ch->failed;
}

/* Filler that a record of @record bytes needs in front, so that it does not cross the ring's end.
 */
static uint64_t filler_bytes(const struct sl_channel *ch, uint64_t record)
{
	uint64_t to_end = ch->ring_bytes - (ch->tx_pos & (ch->ring_bytes - 1));

	return record > to_end ? to_end : 0;
}

static bool has_space(const struct sl_channel *ch, uint64_t record)
{
	return filler_bytes(ch, record) + record <= ch->ring_bytes - (ch->tx_pos - ch->tx_seen);
}

void *sl_channel_reserve(struct sl_channel *ch, size_t bytes)
{
	uint64_t record;

	ch->tx_is_reserved = false;
	if (ch->failed || bytes > SL_CHANNEL_MESSAGE_MAX(ch->ring_bytes))
		return NULL;
	record = record_bytes(bytes);
	if (!has_space(ch, record)) {
		/* Acquire, partner: the store of `consumed` in sl_channel_release(); the peer has
		 * finished reading the bytes that we are about to overwrite. */
		if (!accept_consumed(ch,
		                     atomic_load_explicit(&ch->tx->consumed, memory_order_acquire)))
			return NULL;
		if (!has_space(ch, record)) {
			ch->tx_wanted = record;
			return NULL;
		}
	}
	ch->tx_wanted = 0;
	ch->tx_is_reserved = true;
	ch->tx_skip = filler_bytes(ch, record);
	ch->tx_room = bytes;
	return ch->tx_ring + ((ch->tx_pos + ch->tx_skip) & (ch->ring_bytes - 1)) + HEAD_BYTES;
}

void sl_channel_commit(struct sl_channel *ch, uint32_t type, size_t bytes)
{
	const uint64_t mask = ch->ring_bytes - 1;

	SL_ASSERT(ch->tx_is_reserved);
	SL_ASSERT(bytes <= ch->tx_room);
	SL_ASSERT(is_message_type(type));
	ch->tx_is_reserved = false;
	if (ch->tx_skip)
		head_store(ch->tx_ring + (ch->tx_pos & mask), CHANNEL_FILLER,
		           ch->tx_skip - HEAD_BYTES);
	head_store(ch->tx_ring + ((ch->tx_pos + ch->tx_skip) & mask), type, bytes);
	ch->tx_pos += ch->tx_skip + record_bytes(bytes);
	SL_ASSERT(ch->tx_pos - ch->tx_seen <= ch->ring_bytes);
	/* Releases the message, partner: the acquire load in sl_channel_peek(); seq_cst because the
	 * load of the peer's flag must not move before it, partner: sl_channel_sleep(). */
	atomic_store_explicit(&ch->tx->produced, ch->tx_pos, memory_order_seq_cst);
	wake_peer(ch, CHANNEL_WAIT_MESSAGE);
}

int sl_channel_send(struct sl_channel *ch, uint32_t type, const void *head, size_t head_bytes,
                    const void *body, size_t body_bytes)
{
	const size_t max = SL_CHANNEL_MESSAGE_MAX(ch->ring_bytes);
	uint8_t *p;

	if (head_bytes > max || body_bytes > max - head_bytes)
		return -EMSGSIZE;
	p = sl_channel_reserve(ch, head_bytes + body_bytes);
	if (!p)
		return ch->failed ? -EPROTO : -EAGAIN;
	/* copy: the ring is the only memory that both processes see. */
	if (head_bytes)
		memcpy(p, head, head_bytes);
	if (body_bytes)
		memcpy(p + head_bytes, body, body_bytes);
	sl_channel_commit(ch, type, head_bytes + body_bytes);
	return 0;
}

/*
 * Reads the record at rx_pos into the rx_ fields.  Everything is computed in 64 bits from one load
 * of the head, so that no length can overflow or change between check and use.
 */
static int parse_record(struct sl_channel *ch)
{
	const uint64_t avail = ch->rx_seen - ch->rx_pos;
	uint64_t place = ch->rx_pos & (ch->ring_bytes - 1);
	union channel_head head = head_load(ch->rx_ring + place);
	uint64_t skip = 0;
	uint64_t record;

	SL_ASSERT(avail >= HEAD_BYTES && avail <= ch->ring_bytes);
	if (head.type == CHANNEL_FILLER) {
		skip = HEAD_BYTES + (uint64_t)head.bytes;
		/* A filler ends exactly at the ring's end and is shorter than the largest message.
		 * The message behind it must be published too: checked with its length below. */
		if (skip != ch->ring_bytes - place || skip > ch->ring_bytes / 2) {
			fail(ch, "filler of wrong size", skip);
			return -EPROTO;
		}
		place = 0;
		head = head_load(ch->rx_ring);
	}
	if (!is_message_type(head.type)) {
		fail(ch, "unknown message type", head.type);
		return -EPROTO;
	}
	record = record_bytes(head.bytes);
	if (head.bytes > SL_CHANNEL_MESSAGE_MAX(ch->ring_bytes) ||
	    record > ch->ring_bytes - place || skip + record > avail) {
		fail(ch, "message length out of range", head.bytes);
		return -EPROTO;
	}
	ch->rx_record = skip + record;
	ch->rx_payload = ch->rx_ring + place + HEAD_BYTES;
	ch->rx_bytes = head.bytes;
	ch->rx_type = head.type;
	return 0;
}

int sl_channel_peek(struct sl_channel *ch, uint32_t *type, const void **p, size_t *bytes)
{
	if (ch->failed)
		return -EPROTO;
	if (!ch->rx_record) {
		/* Acquire, partner: the store of `produced` in sl_channel_commit(); the messages up
		 * to there are complete. */
		if (ch->rx_seen == ch->rx_pos &&
		    !accept_produced(ch,
		                     atomic_load_explicit(&ch->rx->produced, memory_order_acquire)))
			return -EPROTO;
		if (ch->rx_seen == ch->rx_pos)
			return 0;
		if (parse_record(ch) < 0)
			return -EPROTO;
	}
	*type = ch->rx_type;
	*p = ch->rx_payload;
	*bytes = ch->rx_bytes;
	return 1;
}

void sl_channel_release(struct sl_channel *ch)
{
	SL_ASSERT(ch->rx_record);
	ch->rx_pos += ch->rx_record;
	ch->rx_record = 0;
	SL_ASSERT(ch->rx_pos <= ch->rx_seen);
	/* A full ring is worth a wake-up only once half of it is free; the release that empties the
	 * ring always gets there, so a sleeping sender is never forgotten.  Until then a plain
	 * release will do. */
	if (ch->rx_seen - ch->rx_pos > ch->ring_bytes / 2) {
		/* Release, partner: the acquire load in sl_channel_reserve(). */
		atomic_store_explicit(&ch->rx->consumed, ch->rx_pos, memory_order_release);
		return;
	}
	/* As above, and seq_cst for the load of the peer's flag, partner: sl_channel_sleep(). */
	atomic_store_explicit(&ch->rx->consumed, ch->rx_pos, memory_order_seq_cst);
	wake_peer(ch, CHANNEL_WAIT_SPACE);
}

/* Whether something happened that the sleeper waits for, seen after its flag was stored. */
static bool has_news(struct sl_channel *ch)
{
	/* seq_cst, after the flag's store; partners: the stores in sl_channel_commit() and
	 * _release(). */
	if (!accept_produced(ch, atomic_load_explicit(&ch->rx->produced, memory_order_seq_cst)))
		return true;
	if (ch->rx_seen != ch->rx_pos)
		return true;
	if (!ch->tx_wanted)
		return false;
	if (!accept_consumed(ch, atomic_load_explicit(&ch->tx->consumed, memory_order_seq_cst)))
		return true;
	if (!has_space(ch, ch->tx_wanted))
		return false;
	/* Told once: an owner that gave up on that message must be able to sleep the next time. */
	ch->tx_wanted = 0;
	return true;
}

bool sl_channel_sleep(struct sl_channel *ch)
{
	const uint32_t wanted = CHANNEL_WAIT_MESSAGE | (ch->tx_wanted ? CHANNEL_WAIT_SPACE : 0);

	if (ch->failed)
		return false;
	/* seq_cst: the loads in has_news() must not move before it, partner: wake_peer(). */
	atomic_store_explicit(&ch->own_end->waiting, wanted, memory_order_seq_cst);
	if (!has_news(ch))
		return true;
	/* Relaxed: at worst the peer still sees the flag and wakes one that is awake. */
	atomic_store_explicit(&ch->own_end->waiting, 0, memory_order_relaxed);
	return false;
}

void sl_channel_wake(struct sl_channel *ch)
{
	uint64_t count;

	/* Always drained, also when the flag still stands: a late wake-up of an earlier sleep would
	 * otherwise keep a level-triggered epoll returning at once. */
	(void)SL_COUNT_IF(read(ch->rx_wake_fd, &count, sizeof(count)) < 0 && errno != EAGAIN);
	atomic_store_explicit(&ch->own_end->waiting, 0, memory_order_relaxed);
}
