/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring of the writer's: the lane's own, or that of its thread.  All syncs are under way at once,
 * each as one request at a time: the write, with RWF_DSYNC where it is durable, then one descriptor
 * after the other.  O_DIRECT writes start within the system call where they need not wait, and no
 * thread ends them; what sleeps is run by the kernel's workers.
 *
 * The ring is made by the host thread and enabled by the first sync, whose thread is its only user
 * from then on.  It has an entry for every op that can be under way, so it never overflows.
 */
#include <errno.h>
#include <liburing.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "partition/partition.h"
#include "partition/writer_impl.h"
#include "sluice/base/assert.h"
#include "sluice/base/log.h"

#define URING_IOVS_MAX    SL_ARRAY_SIZE(((struct sl_log_sync *)NULL)->iov)
#define URING_RETRIES_MAX 64 /* of one write, each after the kernel wrote less or nothing */
#define URING_SUBMITS_MAX 64 /* system calls of one flush; one does, unless memory is short */
#define URING_WRITE_MAX   ((size_t)1 << 30) /* bytes in one piece; the rest is continued */

/* One sync.  Free ones and finished ones are in a list by @next. */
struct uring_op {
	struct partition *partition;
	struct iovec iov[URING_IOVS_MAX];
	uint32_t iov_first; /* what is left to write, iov_count of them */
	uint32_t iov_count;
	uint32_t next;
	uint64_t write_pos;
	int fd;           /* of the write */
	uint32_t fd_next; /* of sync.fds, the next to be synced */
	struct writer_done done;
};

#define URING_NONE UINT32_MAX

static const struct sl_files plain_files = {.ops = &sl_file_ops_plain};

struct uring {
	struct writer_back back;
	struct sl_lane_stats *stats; /* Borrowed; NULL: not a lane's */
	struct io_uring ring;
	bool is_enabled;
	int holds[WRITER_HOLDS_MAX];
	unsigned holds_count;
	struct uring_op *ops; /* Owned; back.depth of them */
	uint32_t ops_under_way;
	uint32_t free_first;
	uint32_t done_first;
	uint32_t done_last; /* only if done_first is not NONE */
};

/* ---- Requests ---- */

/* Who calls it is the ring's only user from here on. */
static void enable(struct uring *u)
{
	/* liburing 2.3 declares io_uring_enable_rings() and does not export it. */
	if (u->ring.flags & IORING_SETUP_R_DISABLED)
		SL_ASSERT(io_uring_register((unsigned)u->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS,
		                            NULL, 0) == 0);
	u->is_enabled = true;
}

/* There is an entry for every op, and an op is queued once at a time. */
static struct io_uring_sqe *get_sqe(struct uring *u)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	SL_ASSERT(sqe);
	return sqe;
}

static void queue_write(struct uring *u, struct uring_op *op)
{
	struct io_uring_sqe *sqe = get_sqe(u);
	const struct iovec *iov = &op->iov[op->iov_first];

	if (op->iov_count == 1)
		io_uring_prep_write(sqe, op->fd, iov->iov_base,
		                    (unsigned)SL_MIN(iov->iov_len, URING_WRITE_MAX), op->write_pos);
	else
		io_uring_prep_writev(sqe, op->fd, iov, op->iov_count, op->write_pos);
	sqe->rw_flags = op->partition->sync.is_durable ? RWF_DSYNC : 0;
	/* The kernel could not do it without waiting: let one of its workers wait. */
	if (op->done.retries > 0)
		sqe->flags |= IOSQE_ASYNC;
	sqe->user_data = (uint64_t)(op - u->ops);
}

/* The next of its descriptors. */
static void queue_sync(struct uring *u, struct uring_op *op)
{
	struct io_uring_sqe *sqe = get_sqe(u);
	int fd = op->partition->sync.fds[op->fd_next++];

	io_uring_prep_fsync(sqe, fd, sl_file_is_folder(fd) ? 0 : IORING_FSYNC_DATASYNC);
	sqe->user_data = (uint64_t)(op - u->ops);
}

static void finish(struct uring *u, struct uring_op *op)
{
	uint32_t index = (uint32_t)(op - u->ops);

	SL_ASSERT(u->ops_under_way > 0);
	u->ops_under_way--;
	sl_log_sync_close(&plain_files, &op->partition->sync, op->fd);
	op->next = URING_NONE;
	if (u->done_first == URING_NONE)
		u->done_first = index;
	else
		u->ops[u->done_last].next = index;
	u->done_last = index;
}

static void begin_write(struct uring *u, struct uring_op *op)
{
	op->done.result = sl_log_sync_open(&plain_files, &op->partition->sync, &op->fd);
	if (op->done.result == 0)
		queue_write(u, op);
	else
		finish(u, op);
}

static void uring_submit(struct writer_back *b, struct partition *p)
{
	struct uring *u = (struct uring *)b;
	struct sl_log_sync *sync = &p->sync;
	struct uring_op *op = &u->ops[u->free_first];

	SL_ASSERT(u->free_first < b->depth);
	if (!u->is_enabled)
		enable(u);
	SL_ASSERT(sync->iov_count + sync->fds_count > 0 && sync->iov_count <= URING_IOVS_MAX);
	u->free_first = op->next;
	*op = (struct uring_op){.partition = p, .write_pos = sync->write_pos};
	for (uint32_t i = 0; i < sync->iov_count; i++)
		op->iov[op->iov_count++] = sync->iov[i];
	op->fd = sync->write_fd;
	u->ops_under_way++;
	if (op->iov_count > 0)
		begin_write(u, op);
	else
		queue_sync(u, op);
}

static void count_call(struct uring *u)
{
	if (u->stats)
		sl_stat_add(u->stats, SL_STAT_uring_calls, 1);
}

static void uring_flush(struct writer_back *b)
{
	struct uring *u = (struct uring *)b;

	for (unsigned i = 0; io_uring_sq_ready(&u->ring) > 0 && i < URING_SUBMITS_MAX; i++) {
		int rc = io_uring_submit(&u->ring);

		count_call(u);
		if (rc >= 0)
			continue;
		/* What was not taken stays in the ring for the next flush; uring_sleep() sees to
		 * it that there is one. */
		if (rc != -EAGAIN && rc != -EINTR && rc != -EBUSY)
			sl_log(ERR, partition, "io_uring_enter: %s", strerror(-rc));
		return;
	}
}

/* ---- Completions ---- */

/* Takes @bytes off the front.  Return: whether anything is left. */
static bool advance(struct uring_op *op, size_t bytes)
{
	struct iovec *iov;

	op->write_pos += bytes;
	while (op->iov_count > 0 && bytes >= op->iov[op->iov_first].iov_len) {
		bytes -= op->iov[op->iov_first].iov_len;
		op->iov_first++;
		op->iov_count--;
	}
	if (op->iov_count == 0) {
		SL_ASSERT(bytes == 0);
		return false;
	}
	iov = &op->iov[op->iov_first];
	iov->iov_base = (uint8_t *)iov->iov_base + bytes;
	iov->iov_len -= bytes;
	return true;
}

/* @res: of the write.  Return: 0 and *@is_done, or -errno. */
static int end_write(struct uring *u, struct uring_op *op, int res, bool *is_done)
{
	*is_done = true;
	if (res == 0)
		return -EIO;
	/* Unlike a sync a write may be repeated: it brings its data along. */
	if (res < 0 && res != -EAGAIN && res != -EINTR)
		return res;
	if (res > 0 && !advance(op, (size_t)res))
		return 0;
	if (op->done.retries == URING_RETRIES_MAX)
		return res < 0 ? res : -EIO;
	op->done.retries++;
	queue_write(u, op);
	*is_done = false;
	return 0;
}

static void complete(struct uring *u, const struct io_uring_cqe *cqe)
{
	struct uring_op *op = &u->ops[cqe->user_data];
	bool is_done = true;

	SL_ASSERT(cqe->user_data < u->back.depth && u->ops_under_way > 0);
	/* A failed sync is final: the kernel may have dropped the dirty pages. */
	if (op->iov_count > 0)
		op->done.result = end_write(u, op, cqe->res, &is_done);
	else
		op->done.result = SL_MIN(cqe->res, 0);
	if (!is_done)
		return;
	if (op->done.result == 0 && op->fd_next < op->partition->sync.fds_count)
		queue_sync(u, op);
	else
		finish(u, op);
}

/* Completions that the kernel holds back until the ring's user enters it. */
static bool has_held_back(const struct uring *u)
{
	return IO_URING_READ_ONCE(*u->ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

/* Takes what has completed; bounded by what can be under way. */
static void collect(struct uring *u)
{
	struct io_uring_cqe *cqe;
	unsigned head;
	unsigned n = 0;

	if (!u->is_enabled)
		return;
	if (has_held_back(u)) {
		(void)io_uring_get_events(&u->ring);
		count_call(u);
	}
	io_uring_for_each_cqe(&u->ring, head, cqe)
	{
		complete(u, cqe);
		n++;
	}
	io_uring_cq_advance(&u->ring, n);
}

static struct partition *uring_reap(struct writer_back *b, struct writer_done *done)
{
	struct uring *u = (struct uring *)b;
	struct uring_op *op;
	uint32_t index;

	if (u->done_first == URING_NONE)
		collect(u);
	index = u->done_first;
	if (index == URING_NONE)
		return NULL;
	op = &u->ops[index];
	u->done_first = op->next;
	op->next = u->free_first;
	u->free_first = index;
	*done = op->done;
	return op->partition;
}

/* ---- Sleep and stop ---- */

static bool uring_sleep(struct writer_back *b)
{
	struct uring *u = (struct uring *)b;

	(void)io_uring_cq_eventfd_toggle(&u->ring, true);
	/* Either the kernel sees the flag and writes the eventfd, or we see what it completed. */
	atomic_thread_fence(memory_order_seq_cst);
	return u->done_first == URING_NONE && io_uring_sq_ready(&u->ring) == 0 &&
	       io_uring_cq_ready(&u->ring) == 0 && !has_held_back(u);
}

static void uring_wake(struct writer_back *b)
{
	struct uring *u = (struct uring *)b;

	(void)io_uring_cq_eventfd_toggle(&u->ring, false);
}

static void uring_stop(struct writer_back *b)
{
	struct uring *u = (struct uring *)b;

	/* Every round sleeps until something completes, and what can complete is bounded. */
	while (u->ops_under_way > 0) {
		int rc;

		collect(u);
		if (u->ops_under_way == 0)
			break;
		rc = io_uring_submit_and_wait(&u->ring, 1);
		if (rc < 0 && rc != -EAGAIN && rc != -EINTR && rc != -EBUSY) {
			sl_log(ERR, partition, "io_uring_enter: %s", strerror(-rc));
			return;
		}
	}
	/* Not left to the end of the ring, which the kernel puts off: whoever starts next would
	 * find the locks taken for a moment more. */
	if (u->holds_count > 0)
		(void)io_uring_unregister_files(&u->ring);
}

static void uring_destroy(struct writer_back *b)
{
	struct uring *u = (struct uring *)b;

	io_uring_queue_exit(&u->ring);
	free(u->ops);
	free(u);
}

int writer_uring_hold_fd(struct writer_back *b, int fd)
{
	struct uring *u = (struct uring *)b;
	int rc = 0;

	if (u->holds_count == WRITER_HOLDS_MAX)
		return -ENOSPC;
	u->holds[u->holds_count] = fd;
	if (u->holds_count == 0)
		rc = io_uring_register_files(&u->ring, u->holds, WRITER_HOLDS_MAX);
	else
		rc = io_uring_register_files_update(&u->ring, u->holds_count, &fd, 1);
	if (rc < 0) {
		u->holds[u->holds_count] = -1;
		return rc;
	}
	u->holds_count++;
	return 0;
}

static const struct writer_ops uring_ops = {
	.submit = uring_submit,
	.flush = uring_flush,
	.reap = uring_reap,
	.sleep = uring_sleep,
	.wake = uring_wake,
	.stop = uring_stop,
	.destroy = uring_destroy,
};

/* ---- Creation ---- */

/* With the first set completions cost the lane nothing until it asks for them (Linux 6.1); the
 * second is for what is older. */
static int init_ring(struct io_uring *ring, uint32_t depth)
{
	const unsigned flags[] = {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
	                                  IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL |
	                                  IORING_SETUP_R_DISABLED,
	                          0};
	int rc = -EINVAL;

	for (unsigned i = 0; rc == -EINVAL && i < SL_ARRAY_SIZE(flags); i++) {
		struct io_uring_params p = {.flags = flags[i]};

		rc = io_uring_queue_init_params(depth, ring, &p);
	}
	return rc;
}

/* Return: 0; -ENOSYS the kernel is too old. */
static int probe(struct io_uring *ring)
{
	const int needed[] = {IORING_OP_WRITE, IORING_OP_WRITEV, IORING_OP_FSYNC};
	struct io_uring_probe *p = io_uring_get_probe_ring(ring);
	int rc = p ? 0 : -ENOSYS;

	for (unsigned i = 0; rc == 0 && i < SL_ARRAY_SIZE(needed); i++)
		if (!io_uring_opcode_supported(p, needed[i]))
			rc = -ENOSYS;
	if (p)
		io_uring_free_probe(p);
	return rc;
}

/* kernel.io_uring_disabled of sysctl: 0 allowed, 1 for the privileged, 2 for nobody. */
static bool is_disabled(void)
{
	FILE *f = fopen("/proc/sys/kernel/io_uring_disabled", "re");
	int c = f ? fgetc(f) : '0';

	if (f)
		(void)fclose(f);
	return c == '1' || c == '2';
}

static void explain(int rc, const char **reason, const char **fix)
{
	switch (rc) {
	case -EPERM:
	case -EACCES:
		if (is_disabled()) {
			*reason = "kernel.io_uring_disabled forbids io_uring";
			*fix = "sysctl kernel.io_uring_disabled=0";
			return;
		}
		*reason = "a seccomp filter or security module forbids io_uring";
		*fix = "allow io_uring_setup, io_uring_enter and io_uring_register";
		return;
	case -ENOSYS:
		*reason = "this kernel has no io_uring, or a seccomp filter hides it";
		*fix = "Linux 5.6 or later with CONFIG_IO_URING, and no filter of io_uring_setup";
		return;
	case -ENOMEM:
		*reason = "no memory for the rings of io_uring";
		*fix = "LimitMEMLOCK=infinity in the unit, or ulimit -l unlimited";
		return;
	default:
		*reason = "io_uring_setup or io_uring_register failed";
		*fix = "strace -e trace=io_uring_setup,io_uring_register says how";
		return;
	}
}

int writer_uring_create(struct writer_back **out, int wake_fd, struct sl_lane_stats *stats,
                        uint32_t depth, const char **reason, const char **fix)
{
	struct uring *u = calloc(1, sizeof(*u));
	int rc = -ENOMEM;

	if (!u)
		goto err;
	u->ops = calloc(depth, sizeof(*u->ops));
	if (!u->ops)
		goto err_free;
	rc = init_ring(&u->ring, depth);
	if (rc != 0)
		goto err_free;
	rc = probe(&u->ring);
	if (rc == 0)
		rc = io_uring_register_eventfd(&u->ring, wake_fd);
	if (rc != 0)
		goto err_exit;
	u->back.ops = &uring_ops;
	u->back.depth = depth;
	u->stats = stats;
	for (unsigned i = 0; i < WRITER_HOLDS_MAX; i++)
		u->holds[i] = -1;
	for (uint32_t i = 0; i < depth; i++)
		u->ops[i].next = i + 1;
	u->done_first = URING_NONE;
	*out = &u->back;
	return 0;

err_exit:
	io_uring_queue_exit(&u->ring);
err_free:
	free(u->ops);
	free(u);
err:
	explain(rc, reason, fix);
	return rc;
}
