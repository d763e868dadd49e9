/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages between the data plane and the control process, and how the two meet.
 *
 * Channel 0 belongs to the data plane's host thread, channel 1 + i to lane i.  Fixed heads below,
 * then the body.  Integers are in the machine's own order: both ends run on one machine and were
 * built together (checked by SL_IPC_VERSION at attach).
 */
#ifndef SLUICE_IPC_MSG_H
#define SLUICE_IPC_MSG_H

#include "sluice/base/base.h"
#include "sluice/ipc/shm.h"

#define SL_IPC_VERSION     UINT32_C(3)
#define SL_IPC_RING_BYTES  (UINT32_C(16) << 20) /* each way, each channel; touched lazily */
/* Largest request frame forwarded to the control process; larger ones close the connection. */
#define SL_IPC_REQUEST_MAX (UINT32_C(7) << 20)

enum sl_ipc_type {
	SL_IPC_NONE = 0,

	/* lane -> control: a request to be answered.  head sl_ipc_request, body = frame, no size */
	SL_IPC_REQUEST,
	/* control -> lane: head sl_ipc_response, body = response header + body, without size */
	SL_IPC_RESPONSE,
	/* lane -> control: the connection of an unanswered request is gone.  head sl_ipc_request */
	SL_IPC_CANCEL,

	/* control -> lane: append to an internal topic, or the end of a transaction (a control
	 * batch) to any.  head sl_ipc_append, body = batch v2 */
	SL_IPC_APPEND,
	SL_IPC_APPEND_DONE, /* lane -> control: head sl_ipc_append_done; once durable */
	/* control -> lane: read batches.  head sl_ipc_read */
	SL_IPC_READ,
	SL_IPC_READ_DONE, /* lane -> control: head sl_ipc_read_done, body = batches */

	/* lane -> control: may this producer's transaction reach this partition (KIP-890)?
	 * head sl_ipc_txn_verify, body = transactional id */
	SL_IPC_TXN_VERIFY,
	SL_IPC_TXN_VERIFY_DONE, /* control -> lane: head sl_ipc_txn_verify_done */

	/* control -> host: the cluster image: BEGIN, {BROKER, TOPIC, TOPIC_DELETE}*, END */
	SL_IPC_IMAGE_BEGIN,  /* head sl_ipc_image */
	SL_IPC_IMAGE_BROKER, /* body = struct sl_image_broker (wire schema image_broker.msg, v0) */
	SL_IPC_IMAGE_TOPIC,  /* body = struct sl_image_topic (wire schema image_topic.msg, v0) */
	SL_IPC_IMAGE_TOPIC_DELETE, /* head sl_ipc_topic_delete */
	SL_IPC_IMAGE_END,          /* head sl_ipc_image: apply all since BEGIN at once */
	SL_IPC_IMAGE_ACK, /* host -> control: head sl_ipc_image: every lane serves this revision */
	SL_IPC_PARTITION, /* host -> control: head sl_ipc_partition, before its revision's ACK */

	/* control -> host or lane: head sl_ipc_query, body = JSON request; answer body = JSON */
	SL_IPC_QUERY,
	SL_IPC_QUERY_DONE,
	/* host -> control: a log dir went offline; head sl_ipc_log_dir */
	SL_IPC_LOG_DIR,
	SL_IPC_TYPE_NR
};

struct sl_ipc_request {
	uint32_t conn;     /* connection slot of the lane */
	uint32_t conn_gen; /* of that slot; a reused slot has another one */
	uint64_t seq;      /* of the request within the connection; echoed */
	uint8_t peer[16];  /* client address, IPv4 as ::ffff:a.b.c.d */
	uint16_t peer_port;
	uint16_t local_port; /* port the client dialled */
	uint32_t flags;      /* SL_IPC_REQUEST_* */
};
#define SL_IPC_REQUEST_AGAIN 1u /* sent again after the control process was lost */

struct sl_ipc_response {
	uint32_t conn;
	uint32_t conn_gen;
	uint64_t seq;
	uint32_t flags; /* SL_IPC_RESPONSE_* */
	uint32_t pad;
};
/* No body: close the connection (malformed request, unknown version). */
#define SL_IPC_RESPONSE_CLOSE 1u

struct sl_ipc_append {
	uint64_t cookie;
	struct sl_uuid topic_id;
	int32_t partition;
	uint32_t pad;
};

struct sl_ipc_append_done {
	uint64_t cookie;
	int64_t base_offset; /* -1 on error */
	int32_t kerr;        /* enum sl_kerr */
	uint32_t pad;
};

struct sl_ipc_read {
	uint64_t cookie;
	struct sl_uuid topic_id;
	int32_t partition;
	uint32_t bytes_max;
	int64_t offset;
};

struct sl_ipc_read_done {
	uint64_t cookie;
	int32_t kerr;
	uint32_t pad;
	int64_t log_start;
	int64_t log_end;
};

struct sl_ipc_txn_verify {
	uint64_t cookie; /* of the lane; echoed */
	struct sl_uuid topic_id;
	int64_t producer_id;
	int32_t partition;
	int16_t producer_epoch;
	uint16_t flags; /* SL_IPC_TXN_* */
};
/* The partition joins the transaction, which begins if there is none (transaction.version 2);
 * without it the answer only says whether it is in. */
#define SL_IPC_TXN_ADD 1u

struct sl_ipc_txn_verify_done {
	uint64_t cookie;
	int32_t kerr; /* enum sl_kerr; NONE: append */
	uint32_t pad;
};

struct sl_ipc_image {
	uint64_t revision;
	/* BEGIN: what is not repeated until END is gone (closed, never deleted). */
	uint32_t is_full;
	uint32_t pad;
};

struct sl_ipc_topic_delete {
	struct sl_uuid topic_id;
};

struct sl_ipc_partition {
	struct sl_uuid topic_id;
	int32_t partition;
	/* Index into the slots of struct sl_shm; UINT32_MAX when it could not be opened. */
	uint32_t slot;
	int32_t error; /* -errno of opening the log, 0 */
	uint32_t log_dir;
};

struct sl_ipc_query {
	uint64_t cookie;
	int32_t error; /* answer: 0 or -errno */
	uint32_t pad;
};

struct sl_ipc_log_dir {
	uint32_t log_dir;
	int32_t error;
};

/* ---- Meeting ----
 * The data plane listens on <data>/run/attach.sock (folder 0700, SOCK_SEQPACKET).  The control
 * process connects; both check the peer's uid (SO_PEERCRED).  Each says one struct sl_ipc_hello,
 * the control process first: its hello carries the tiers that it holds for data planes to come.
 * That of the data plane carries the shm memfd, the rings memfd, the control process's eventfd
 * (all channels wake this one), one eventfd per channel for the data plane's side, then the tiers
 * it uses from now on.  The socket stays open: its end tells each side that the other died.  One
 * control process at a time; a second one is refused.
 */

/* What the data plane wrote down about a tier; the control process gives it back as it got it. */
struct sl_ipc_tier {
	int32_t numa_node; /* of the lanes that use it; -1 any */
	uint32_t is_huge_wanted;
	uint64_t bytes_wanted; /* by the configuration that its maker had */
	uint64_t bytes;        /* that its maker asked for, when memory was short */
};

struct sl_ipc_hello {
	uint32_t version;
	/* Of the data plane; 0: refused, another control process is attached, and no descriptors
	 * follow.  0 in the hello of the control process. */
	uint32_t lanes_count;
	uint32_t ring_bytes; /* of the data plane */
	int32_t pid;
	uint64_t incarnation; /* of the data plane */
	uint32_t tiers_count; /* 0..SL_SHM_LANES_MAX: as many descriptors, the last ones */
	uint32_t pad;
	struct sl_ipc_tier tiers[SL_SHM_LANES_MAX];
};

/*
 * Memory of records that outlives the data plane: the control process keeps the descriptors and
 * never maps or reads them.  All zero: none.
 */
struct sl_ipc_tiers {
	uint32_t count;
	int fds[SL_SHM_LANES_MAX];
	struct sl_ipc_tier tiers[SL_SHM_LANES_MAX];
};
/* Closes all and leaves none. */
void sl_ipc_tiers_close(struct sl_ipc_tiers *tiers);

/* Everything one side holds of an attachment. */
struct sl_ipc_link {
	int sock;
	uint32_t lanes_count;
	struct sl_shm *shm; /* data plane: its own, borrowed; control: mapped here, read-only */
	size_t shm_bytes;
	void *rings; /* mapped */
	size_t rings_bytes;
	int control_wake_fd;
	int *channel_wake_fds;        /* lanes_count + 1; Owned array */
	struct sl_channel **channels; /* lanes_count + 1; Owned */
	uint64_t incarnation;
	int32_t peer_pid; /* as the kernel reports it */
	bool owns_shm;    /* control: sl_ipc_close() unmaps @shm */
};

/* Data plane: a listening socket at @path (an old one is replaced); its folder is created 0700.
 * Return: a non-blocking fd; -EPERM the folder is not ours or others may write to it; -EEXIST @path
 * is not a socket; -ENAMETOOLONG; -errno. */
int sl_ipc_listen(const char *path) SL_MUST_CHECK;
/* Creates the sealed memfd of struct sl_shm and maps it.  Only this mapping can ever write to it.
 * Return: 0; -EINVAL counts; -errno. */
int sl_ipc_shm_create(struct sl_shm **out, size_t *bytes, int *fd, uint32_t lanes_count,
                      uint32_t slots_count) SL_MUST_CHECK;
/* Unmaps and closes what sl_ipc_shm_create() made; a no-op on NULL.  Every link must be closed. */
void sl_ipc_shm_destroy(struct sl_shm *shm, size_t bytes, int fd);
/* Data plane: accepts a control process, which has said nothing yet.  Context: host thread.
 * Return: a non-blocking socket; -EAGAIN nobody waits; -EPERM wrong uid; -errno. */
int sl_ipc_accept(int listen_fd) SL_MUST_CHECK;
/**
 * sl_ipc_read_offer() - data plane: the hello of the control process at @sock
 * @offered: the tiers it holds; filled on success
 * Ownership: the descriptors in @offered are the caller's.
 * Return: 0; -EAGAIN it has not come yet: wait until @sock is readable; -EPROTO other version or a
 * broken hello; -ECONNREFUSED the peer is gone; -errno.
 */
int sl_ipc_read_offer(int sock, struct sl_ipc_tiers *offered) SL_MUST_CHECK;
/**
 * sl_ipc_answer() - data plane: makes rings and hands all descriptors to the control process
 * @tiers: in use from now on, NULL none; the peer gets duplicates and closes what it held before
 * Ownership: takes @sock, also on failure.
 * Return: 0 or -errno.
 */
int sl_ipc_answer(struct sl_ipc_link **out, int sock, struct sl_shm *shm, size_t shm_bytes,
                  int shm_fd, const struct sl_ipc_tiers *tiers) SL_MUST_CHECK;
/* Data plane: turns the control process at @sock away, which gets -EBUSY, or -EPROTO when it is of
 * another version.  Without it that one would wait for its hello.  Ownership: takes @sock. */
void sl_ipc_refuse(int sock);
/* Control: connects and offers the tiers it holds (NULL: none).  Does not wait: the answer makes
 * the socket readable, once the data plane has saved what is in the tiers. Return: the socket;
 * -ECONNREFUSED/-ENOENT no data plane yet; -EAGAIN its queue is full; -EPERM wrong uid; -errno. */
int sl_ipc_connect(const char *path, const struct sl_ipc_tiers *held) SL_MUST_CHECK;
/**
 * sl_ipc_read_answer() - control: the hello of the data plane at @sock
 * @used: the tiers it uses from now on; filled on success
 * Ownership: takes @sock, but not with -EAGAIN; the descriptors in @used are the caller's.
 * Return: 0; -EAGAIN not yet; -ECONNREFUSED the data plane died; -EBUSY another control process is
 * attached; -EPROTO other version or a broken hello; -errno.
 */
int sl_ipc_read_answer(struct sl_ipc_link **out, int sock, struct sl_ipc_tiers *used) SL_MUST_CHECK;
/* Unmaps and closes all; a no-op on NULL.  Every channel user must have stopped. */
void sl_ipc_close(struct sl_ipc_link *link);

#endif
