/* SPDX-License-Identifier: Apache-2.0 */
/* Two processes meet over a socket in a folder of this test. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sluice/ipc/channel.h"
#include "sluice/ipc/msg.h"
#include "sluice/ipc/shm.h"

#include "ipc_pair.h"

#define LANES   2
#define FDS_MAX 160 /* more than any hello has */
#define SLOTS   10

static char base[64];
static char run[80];
static char path[96];

/* What the data plane has for as long as it lives. */
static int listen_fd;
static struct sl_shm *shm;
static size_t shm_bytes;
static int shm_fd;
static struct sockaddr_un address; /* @path, for peers without manners */

static void make_paths(void)
{
	snprintf(base, sizeof(base), "/tmp/sluice-attach-XXXXXX");
	cr_assert_not_null(mkdtemp(base));
	snprintf(run, sizeof(run), "%s/run", base);
	snprintf(path, sizeof(path), "%s/attach.sock", run);
}

static void remove_paths(void)
{
	unlink(path);
	rmdir(run);
	rmdir(base);
}

static void start_dataplane(void)
{
	make_paths();
	listen_fd = sl_ipc_listen(path);
	cr_assert_geq(listen_fd, 0);
	cr_assert_eq(sl_ipc_shm_create(&shm, &shm_bytes, &shm_fd, LANES, SLOTS), 0);
}

static void stop_dataplane(void)
{
	sl_ipc_shm_destroy(shm, shm_bytes, shm_fd);
	close(listen_fd);
	remove_paths();
}

TestSuite(attach, .init = start_dataplane, .fini = stop_dataplane);
TestSuite(listen, .init = make_paths, .fini = remove_paths);

/* Open descriptors; with @is_inherited only those that a child program would inherit. */
static int count_fds(bool is_inherited)
{
	int count = 0;

	for (int fd = 3; fd < 512; fd++) {
		int flags = fcntl(fd, F_GETFD);

		count += flags >= 0 && !(is_inherited && (flags & FD_CLOEXEC));
	}
	return count;
}

static int fd_count(void)
{
	return count_fds(false);
}

/* Accepts, hears what the control process holds, answers with @used.  Return: 0 or -errno. */
static int answer_with(struct sl_ipc_link **link, struct sl_ipc_tiers *offered,
                       const struct sl_ipc_tiers *used)
{
	int sock, rc;

	if (!wait_readable(listen_fd))
		return -ETIMEDOUT;
	sock = sl_ipc_accept(listen_fd);
	if (sock < 0)
		return sock;
	while ((rc = sl_ipc_read_offer(sock, offered)) == -EAGAIN)
		if (!wait_readable(sock))
			break;
	if (rc == 0)
		return sl_ipc_answer(link, sock, shm, shm_bytes, shm_fd, used);
	close(sock);
	return rc;
}

static struct sl_ipc_link *accept_link(void)
{
	struct sl_ipc_link *link = NULL;
	struct sl_ipc_tiers offered;

	cr_assert_eq(answer_with(&link, &offered, NULL), 0);
	cr_assert_eq(offered.count, 0);
	return link;
}

/* Connects with what is @held and waits for the answer.  Return: as sl_ipc_read_answer(). */
static int connect_with(struct sl_ipc_link **link, const struct sl_ipc_tiers *held,
                        struct sl_ipc_tiers *used)
{
	int sock = sl_ipc_connect(path, held);
	int rc;

	if (sock < 0)
		return sock;
	while ((rc = sl_ipc_read_answer(link, sock, used)) == -EAGAIN)
		if (!wait_readable(sock))
			return -ETIMEDOUT;
	return rc;
}

static int connect_link(struct sl_ipc_link **link)
{
	struct sl_ipc_tiers used = {0};
	int rc = connect_with(link, NULL, &used);

	sl_ipc_tiers_close(&used);
	return rc;
}

/* Waits for one message.  Return: peek's. */
static int wait_message(struct sl_channel *ch, int wake_fd, const void **p, size_t *bytes)
{
	uint32_t type;
	int rc;

	while ((rc = sl_channel_peek(ch, &type, p, bytes)) == 0)
		if (!sleep_once(ch, wake_fd))
			return -ETIMEDOUT;
	return rc;
}

static bool is_end_of_peer(int sock)
{
	char c;

	return wait_readable(sock) && recv(sock, &c, 1, 0) == 0;
}

/* What the control process can see and do, and what it cannot. */
static bool check_control_link(const struct sl_ipc_link *link)
{
	struct sl_slot *slot = sl_shm_slot(link->shm, SLOTS - 1);
	struct sl_lane_stats *stats = sl_shm_stats(link->shm, 1);
	uint8_t *pages = (uint8_t *)link->shm;

	return child_check(link->lanes_count == LANES, "lanes") &&
	       child_check(link->peer_pid == (int32_t)getppid(), "peer pid") &&
	       child_check(link->incarnation == shm->incarnation, "incarnation") &&
	       child_check(link->shm_bytes == shm_bytes, "shm size") &&
	       child_check(link->shm->pid == shm->pid, "header copied") &&
	       child_check(slot && atomic_load(&slot->high_watermark) == 77, "slot") &&
	       child_check(stats && atomic_load(&stats->v[SL_STAT_requests]) == 5, "stats") &&
	       child_check(mprotect(pages, SL_SHM_HEADER_BYTES, PROT_READ) == 0, "header pages") &&
	       child_check(mprotect(pages + SL_SHM_HEADER_BYTES, 4096, PROT_READ | PROT_WRITE) < 0,
	                   "slots cannot be made writable") &&
	       child_check(!sl_shm_slot(link->shm, SLOTS), "no slot above the count");
}

/* Control: answers one message on each channel with the same bytes, then ends. */
static int echo_control(void *arg)
{
	struct sl_ipc_link *link;
	int before = fd_count();
	int inherited = count_fds(true);

	(void)arg;
	if (!child_check(connect_link(&link) == 0, "connect") || !check_control_link(link))
		return 1;
	if (!child_check(count_fds(true) == inherited, "close-on-exec") ||
	    !child_check(fd_count() == before + LANES + 3, "keeps socket and eventfds only"))
		return 1;
	for (uint32_t i = 0; i <= LANES; i++) {
		const void *p;
		size_t bytes;

		if (!child_check(wait_message(link->channels[i], link->control_wake_fd, &p,
		                              &bytes) == 1,
		                 "message"))
			return 1;
		if (!child_check(sl_channel_send(link->channels[i], SL_IPC_RESPONSE, p, bytes, NULL,
		                                 0) == 0,
		                 "answer"))
			return 1;
		sl_channel_release(link->channels[i]);
	}
	sl_ipc_close(link);
	return child_check(fd_count() == before, "closed all") ? 0 : 1;
}

Test(attach, carries_messages_on_every_channel_and_shows_slots_and_counters)
{
	int before = fd_count();
	int inherited = count_fds(true);
	struct sl_ipc_link *link;
	pid_t pid;

	atomic_store(&sl_shm_slot(shm, SLOTS - 1)->high_watermark, 77);
	sl_stat_add(sl_shm_stats(shm, 1), SL_STAT_requests, 5);
	pid = child_start(echo_control, NULL);
	link = accept_link();
	cr_assert_eq(link->peer_pid, (int32_t)pid);
	cr_assert_eq(link->shm, shm);
	cr_assert_eq(link->lanes_count, LANES);
	cr_assert_eq(count_fds(true), inherited);
	for (uint32_t i = 0; i <= LANES; i++) {
		const char text[] = {'c', 'h', (char)('0' + i)};
		const void *p;
		size_t bytes;

		cr_assert_eq(sl_channel_send(link->channels[i], SL_IPC_REQUEST, text, 3, NULL, 0),
		             0);
		cr_assert_eq(wait_message(link->channels[i], link->channel_wake_fds[i], &p, &bytes),
		             1);
		cr_assert_eq(bytes, 3);
		cr_assert_arr_eq(p, text, 3);
		sl_channel_release(link->channels[i]);
	}
	cr_assert(is_end_of_peer(link->sock), "the end of the control process is seen");
	cr_assert(child_succeeded(pid));
	sl_ipc_close(link);
	cr_assert_eq(fd_count(), before);
	/* The slots outlive the attachment, and are still writable here. */
	atomic_store(&sl_shm_slot(shm, 0)->log_end, 1);
}

#define LARGEST (SL_IPC_REQUEST_MAX + sizeof(struct sl_ipc_request))

/* Control: takes the largest request three times, so that it also wraps the ring. */
static int take_largest(void *arg)
{
	struct sl_ipc_link *link;

	(void)arg;
	if (!child_check(connect_link(&link) == 0, "connect"))
		return 1;
	for (int i = 0; i < 3; i++) {
		const uint8_t *at;
		const void *p;
		size_t bytes;
		int rc = wait_message(link->channels[1], link->control_wake_fd, &p, &bytes);

		at = p;
		if (!child_check(rc == 1 && bytes == LARGEST, "largest request") ||
		    !child_check(at[0] == i && at[LARGEST / 2] == i && at[LARGEST - 1] == i,
		                 "content"))
			return 1;
		sl_channel_release(link->channels[1]);
	}
	sl_ipc_close(link);
	return 0;
}

Test(attach, largest_request_passes_a_real_ring)
{
	pid_t pid = child_start(take_largest, NULL);
	struct sl_ipc_link *link = accept_link();

	for (int i = 0; i < 3; i++) {
		uint8_t *room;

		while (!(room = sl_channel_reserve(link->channels[1], LARGEST)))
			cr_assert(sleep_once(link->channels[1], link->channel_wake_fds[1]));
		memset(room, i, LARGEST);
		sl_channel_commit(link->channels[1], SL_IPC_REQUEST, LARGEST);
	}
	cr_assert(child_succeeded(pid));
	sl_ipc_close(link);
}

/* Control: the data plane said that it has changed the header meanwhile. */
static int look_at_header(void *arg)
{
	struct sl_ipc_link *link;
	const void *p;
	size_t bytes;

	(void)arg;
	if (!child_check(connect_link(&link) == 0, "connect") ||
	    !child_check(sl_channel_send(link->channels[0], SL_IPC_QUERY, NULL, 0, NULL, 0) == 0,
	                 "say that we are attached") ||
	    !child_check(wait_message(link->channels[0], link->control_wake_fd, &p, &bytes) == 1,
	                 "message"))
		return 1;
	return child_check(!sl_shm_slot(link->shm, SLOTS), "slots as checked") &&
	                       child_check(!sl_shm_stats(link->shm, LANES), "lanes as checked") &&
	                       child_check(sl_shm_slot(link->shm, SLOTS - 1), "last slot")
	               ? 0
	               : 1;
}

Test(attach, control_keeps_the_header_that_it_checked)
{
	pid_t pid = child_start(look_at_header, NULL);
	struct sl_ipc_link *link = accept_link();
	const void *p;
	size_t bytes;

	cr_assert_eq(wait_message(link->channels[0], link->channel_wake_fds[0], &p, &bytes), 1);
	shm->slots_count = 1000000;
	shm->lanes_count = SL_SHM_LANES_MAX;
	cr_assert_eq(sl_channel_send(link->channels[0], SL_IPC_QUERY, NULL, 0, NULL, 0), 0);
	cr_assert(child_succeeded(pid));
	sl_ipc_close(link);
}

static int attach_and_die(void *arg)
{
	struct sl_ipc_link *link;

	(void)arg;
	if (!child_check(connect_link(&link) == 0, "connect"))
		return 1;
	if (!child_check(sl_channel_send(link->channels[0], SL_IPC_QUERY, "left", 4, NULL, 0) == 0,
	                 "send"))
		return 1;
	raise(SIGKILL);
	return 1;
}

Test(attach, each_attachment_has_fresh_rings_and_the_same_slots)
{
	uint64_t incarnation = shm->incarnation;

	for (int i = 0; i < 3; i++) {
		pid_t pid = child_start(attach_and_die, NULL);
		struct sl_ipc_link *link = accept_link();
		const void *p;
		size_t bytes;
		uint32_t type;
		int status;

		cr_assert(is_end_of_peer(link->sock));
		cr_assert_eq(waitpid(pid, &status, 0), pid);
		cr_assert(WIFSIGNALED(status));
		/* What it had said is still there, once; nothing of the lives before. */
		cr_assert_eq(sl_channel_peek(link->channels[0], &type, &p, &bytes), 1);
		cr_assert_eq(bytes, 4);
		cr_assert_eq(link->incarnation, incarnation);
		sl_ipc_close(link);
	}
	cr_assert_eq(shm->incarnation, incarnation);
}

static int connect_twice(void *arg)
{
	struct sl_ipc_link *first, *second = NULL;

	(void)arg;
	if (!child_check(connect_link(&first) == 0, "first") ||
	    !child_check(connect_link(&second) == -EBUSY, "second is told why") ||
	    !child_check(!second, "out untouched"))
		return 1;
	sl_ipc_close(first);
	return 0;
}

Test(attach, second_control_process_is_refused_by_the_caller)
{
	pid_t pid = child_start(connect_twice, NULL);
	struct sl_ipc_link *link = accept_link();
	int before = fd_count();
	int sock;

	cr_assert(wait_readable(listen_fd));
	sock = sl_ipc_accept(listen_fd);
	cr_assert_geq(sock, 0);
	sl_ipc_refuse(sock);
	cr_assert_eq(sl_ipc_accept(listen_fd), -EAGAIN);
	cr_assert_eq(fd_count(), before);
	cr_assert(child_succeeded(pid));
	sl_ipc_close(link);
}

Test(attach, accept_and_connect_report_that_nobody_is_there)
{
	struct sl_ipc_link *link = NULL;
	int before = fd_count();
	int pair[2];

	cr_assert_eq(sl_ipc_accept(listen_fd), -EAGAIN);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	cr_assert_eq(sl_ipc_answer(&link, pair[0], shm, shm_bytes - 1, shm_fd, NULL), -EPROTO);
	close(pair[1]);
	cr_assert_eq(sl_ipc_connect("/tmp/sluice-no-such-folder/attach.sock", NULL), -ENOENT);
	cr_assert_eq(fd_count(), before);
	close(listen_fd);
	cr_assert_eq(connect_link(&link), -ECONNREFUSED);
	cr_assert_eq(sl_ipc_connect("", NULL), -EINVAL);
	cr_assert_null(link);
	listen_fd = sl_ipc_listen(path);
	cr_assert_geq(listen_fd, 0);
}

Test(attach, shm_refuses_bad_counts)
{
	struct sl_shm *out = NULL;
	size_t bytes;
	int fd;

	cr_assert_eq(sl_ipc_shm_create(&out, &bytes, &fd, 0, 1), -EINVAL);
	cr_assert_eq(sl_ipc_shm_create(&out, &bytes, &fd, SL_SHM_LANES_MAX + 1, 1), -EINVAL);
	cr_assert_null(out);
}

/* ---- A data plane that says hello wrongly ---- */

enum fault {
	FAULT_NONE = 0, /* control: the fake itself is fine */
	FAULT_DIES,
	FAULT_VERSION,
	FAULT_SHORT,
	FAULT_LONG,
	FAULT_LANES_MANY,
	FAULT_RING_BYTES,
	FAULT_FDS_FEW,
	FAULT_FDS_NONE,
	FAULT_FDS_MANY,
	FAULT_INCARNATION,
	FAULT_SHM_NOT_MEMFD,
	FAULT_SHM_SHORT,
	FAULT_SHM_UNSEALED,
	FAULT_SHM_EMPTY,
	FAULT_RINGS_UNSEALED,
	FAULT_RINGS_SHORT,
	FAULT_RINGS_LAYOUT,
	FAULT_WAKE_BLOCKING,
	FAULT_TIERS_MANY,
	FAULT_TIERS_MORE,
	FAULT_TIERS_FEWER,
	FAULT_TIER_DEVICE,
	FAULT_TIER_READ_ONLY,
	FAULT_NR
};

static const struct {
	const char *name;
	int rc; /* of sl_ipc_read_answer() */
} faults[FAULT_NR] = {
	[FAULT_NONE] = {"none", 0},
	[FAULT_DIES] = {"dies before the hello", -ECONNREFUSED},
	[FAULT_VERSION] = {"other version", -EPROTO},
	[FAULT_SHORT] = {"hello too short", -EPROTO},
	[FAULT_LONG] = {"hello too long", -EPROTO},
	[FAULT_LANES_MANY] = {"too many lanes", -EPROTO},
	[FAULT_RING_BYTES] = {"other ring size", -EPROTO},
	[FAULT_FDS_FEW] = {"one descriptor missing", -EPROTO},
	[FAULT_FDS_NONE] = {"no descriptors", -EPROTO},
	[FAULT_FDS_MANY] = {"more descriptors than any hello", -EPROTO},
	[FAULT_INCARNATION] = {"incarnation differs from the slots'", -EPROTO},
	[FAULT_SHM_NOT_MEMFD] = {"slots are no memfd", -EPROTO},
	[FAULT_SHM_SHORT] = {"slots too short for their header", -EPROTO},
	[FAULT_SHM_UNSEALED] = {"slots can still be shrunk", -EPROTO},
	[FAULT_SHM_EMPTY] = {"slots are empty", -EPROTO},
	[FAULT_RINGS_UNSEALED] = {"rings can still be shrunk", -EPROTO},
	[FAULT_RINGS_SHORT] = {"rings too short", -EPROTO},
	[FAULT_RINGS_LAYOUT] = {"rings of another layout", -EPROTO},
	[FAULT_WAKE_BLOCKING] = {"eventfd that blocks", -EPROTO},
	[FAULT_TIERS_MANY] = {"too many tiers", -EPROTO},
	[FAULT_TIERS_MORE] = {"more tiers than descriptors", -EPROTO},
	[FAULT_TIERS_FEWER] = {"fewer tiers than descriptors", -EPROTO},
	[FAULT_TIER_DEVICE] = {"a tier that is no memory", -EPROTO},
	[FAULT_TIER_READ_ONLY] = {"a tier that cannot be written", -EPROTO},
};

static int make_memfd(size_t bytes, bool is_sealed, uint64_t first_word)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
		return -1;
	if (bytes && pwrite(fd, &first_word, sizeof(first_word), 0) != sizeof(first_word))
		return -1;
	if (is_sealed && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -1;
	return fd;
}

/* How many tiers come with the hello. */
static size_t tiers_of(enum fault fault)
{
	return fault >= FAULT_TIERS_FEWER ? 1 : 0;
}

/* How many it says. */
static uint32_t tiers_said(enum fault fault)
{
	switch (fault) {
	case FAULT_TIERS_MANY:
		return SL_SHM_LANES_MAX + 1;
	case FAULT_TIERS_MORE:
		return 1;
	case FAULT_TIERS_FEWER:
		return 0;
	default:
		return (uint32_t)tiers_of(fault);
	}
}

static int make_tier(enum fault fault)
{
	char name[32];
	int fd;

	if (fault == FAULT_TIER_DEVICE)
		return open("/dev/zero", O_RDWR | O_CLOEXEC);
	fd = make_memfd(4096, false, 1);
	if (fault != FAULT_TIER_READ_ONLY)
		return fd;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	return open(name, O_RDONLY | O_CLOEXEC);
}

/* Descriptors of an honest hello but for @fault.  Return: their number. */
static size_t make_fds(enum fault fault, int fds[FDS_MAX])
{
	size_t rings = (LANES + 1) * sl_channel_shm_bytes(SL_IPC_RING_BYTES);
	size_t n = 0;

	switch (fault) {
	case FAULT_SHM_NOT_MEMFD:
		fds[n++] = open("/dev/zero", O_RDWR | O_CLOEXEC);
		break;
	case FAULT_SHM_SHORT:
		fds[n++] = make_memfd(4096, true, SL_SHM_MAGIC);
		break;
	case FAULT_SHM_EMPTY:
		fds[n++] = make_memfd(0, true, 0);
		break;
	case FAULT_SHM_UNSEALED:
		fds[n++] = make_memfd(shm_bytes, false, SL_SHM_MAGIC);
		break;
	default:
		fds[n++] = shm_fd;
	}
	fds[n++] = make_memfd(fault == FAULT_RINGS_SHORT ? rings - 4096 : rings,
	                      fault != FAULT_RINGS_UNSEALED, fault == FAULT_RINGS_LAYOUT ? 1 : 0);
	for (int i = 0; i < LANES + 2; i++)
		fds[n++] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fault == FAULT_WAKE_BLOCKING)
		fds[n - 1] = eventfd(0, EFD_CLOEXEC);
	if (fault == FAULT_FDS_FEW)
		n--;
	if (fault == FAULT_FDS_NONE)
		n = 0;
	while (fault == FAULT_FDS_MANY && n < FDS_MAX)
		fds[n++] = fds[2];
	if (tiers_of(fault) == 1)
		fds[n++] = make_tier(fault);
	return n;
}

static bool send_raw(int sock, const void *data, size_t bytes, const int *fds, size_t fds_count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * FDS_MAX)];
	} control = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = bytes};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fds_count) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * fds_count);
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(int) * fds_count);
		memcpy(CMSG_DATA(&control.align), fds, sizeof(int) * fds_count);
	}
	return sendmsg(sock, &msg, MSG_NOSIGNAL) == (ssize_t)bytes;
}

static int fake_dataplane(void *arg)
{
	enum fault fault = *(const enum fault *)arg;
	struct {
		struct sl_ipc_hello hello;
		uint64_t more;
	} said = {.hello = {.version = SL_IPC_VERSION + (fault == FAULT_VERSION),
	                    .lanes_count = fault == FAULT_LANES_MANY ? SL_SHM_LANES_MAX + 1 : LANES,
	                    .ring_bytes = SL_IPC_RING_BYTES * (1 + (fault == FAULT_RING_BYTES)),
	                    .pid = (int32_t)getpid(),
	                    .incarnation = shm->incarnation + (fault == FAULT_INCARNATION),
	                    .tiers_count = tiers_said(fault)}};
	size_t bytes = sizeof(said.hello);
	struct sl_ipc_hello heard;
	int fds[FDS_MAX];
	int sock;
	char c;

	if (!child_check(wait_readable(listen_fd), "connection"))
		return 1;
	sock = accept(listen_fd, NULL, NULL);
	if (!child_check(sock >= 0, "accept"))
		return 1;
	if (!child_check(recv(sock, &heard, sizeof(heard), 0) == (ssize_t)sizeof(heard) &&
	                         heard.version == SL_IPC_VERSION && heard.tiers_count == 0,
	                 "hello of control"))
		return 1;
	if (fault == FAULT_DIES)
		return 0;
	if (fault == FAULT_SHORT)
		bytes -= 1;
	if (fault == FAULT_LONG)
		bytes += 1;
	if (!child_check(send_raw(sock, &said, bytes, fds, make_fds(fault, fds)), "hello"))
		return 1;
	/* Stays until the control process has made up its mind. */
	return child_check(recv(sock, &c, 1, 0) == 0, "end of control") ? 0 : 1;
}

Test(attach, refuses_every_hello_that_is_not_right)
{
	for (enum fault fault = FAULT_NONE; fault < FAULT_NR; fault++) {
		int before = fd_count();
		struct sl_ipc_link *link = NULL;
		pid_t pid = child_start(fake_dataplane, &fault);
		int rc = connect_link(&link);

		cr_assert_eq(rc, faults[fault].rc, "%s: %d", faults[fault].name, rc);
		cr_assert_eq(link != NULL, rc == 0, "%s", faults[fault].name);
		sl_ipc_close(link);
		cr_assert(child_succeeded(pid), "%s", faults[fault].name);
		cr_assert_eq(fd_count(), before, "%s leaks descriptors", faults[fault].name);
	}
}

/* ---- Tiers ---- */

/* Of @words memfds, the first word of each is its number. */
static struct sl_ipc_tiers make_tiers(uint32_t count, uint64_t first)
{
	struct sl_ipc_tiers t = {.count = count};

	for (uint32_t i = 0; i < count; i++) {
		t.fds[i] = make_memfd(4096, false, first + i);
		t.tiers[i] = (struct sl_ipc_tier){.numa_node = (int32_t)i,
		                                  .bytes_wanted = 2 * (first + i),
		                                  .bytes = first + i};
	}
	return t;
}

static bool are_tiers(const struct sl_ipc_tiers *t, uint32_t count, uint64_t first)
{
	for (uint32_t i = 0; i < t->count; i++) {
		uint64_t word = 0;

		if (pread(t->fds[i], &word, sizeof(word), 0) != sizeof(word) || word != first + i ||
		    t->tiers[i].numa_node != (int32_t)i || t->tiers[i].bytes != first + i ||
		    t->tiers[i].bytes_wanted != 2 * (first + i))
			return false;
	}
	return t->count == count;
}

#define TIERS_HELD 100
#define TIERS_USED 200

/* Control: holds @arg tiers, learns of three others. */
static int offer_tiers(void *arg)
{
	const uint32_t count = *(const uint32_t *)arg;
	struct sl_ipc_link *link = NULL;
	int before = fd_count();
	int inherited = count_fds(true);
	struct sl_ipc_tiers held = make_tiers(count, TIERS_HELD), used = {0};

	if (!child_check(connect_with(&link, &held, &used) == 0, "connect") ||
	    !child_check(are_tiers(&used, 3, TIERS_USED), "tiers of the data plane") ||
	    !child_check(are_tiers(&held, count, TIERS_HELD), "its own are untouched") ||
	    !child_check(count_fds(true) == inherited, "close-on-exec"))
		return 1;
	sl_ipc_tiers_close(&held);
	sl_ipc_tiers_close(&used);
	sl_ipc_close(link);
	return child_check(held.count == 0 && fd_count() == before, "closed all") ? 0 : 1;
}

Test(attach, each_side_learns_the_tiers_of_the_other)
{
	const uint32_t counts[] = {0, 1, SL_SHM_LANES_MAX};

	for (unsigned i = 0; i < 3; i++) {
		int before = fd_count();
		int inherited = count_fds(true);
		pid_t pid = child_start(offer_tiers, (void *)(uintptr_t)&counts[i]);
		struct sl_ipc_tiers offered, used = make_tiers(3, TIERS_USED);
		struct sl_ipc_link *link = NULL;

		cr_assert_eq(answer_with(&link, &offered, &used), 0);
		cr_assert(are_tiers(&offered, counts[i], TIERS_HELD), "%u tiers", counts[i]);
		cr_assert_eq(count_fds(true), inherited);
		cr_assert(child_succeeded(pid));
		sl_ipc_tiers_close(&offered);
		sl_ipc_tiers_close(&used);
		sl_ipc_close(link);
		cr_assert_eq(fd_count(), before);
	}
}

/* Control: its hello is not right, in the way of @arg. */
static int offer_badly(void *arg)
{
	enum fault fault = *(const enum fault *)arg;
	struct {
		struct sl_ipc_hello hello;
		uint64_t more;
	} said = {.hello = {.version = SL_IPC_VERSION + (fault == FAULT_VERSION),
	                    .tiers_count = tiers_said(fault)}};
	size_t bytes = sizeof(said.hello) + (fault == FAULT_LONG) - (fault == FAULT_SHORT);
	struct sl_ipc_tiers none = {0};
	struct sl_ipc_link *link = NULL;
	int fds[FDS_MAX];
	size_t n = 0;
	int sock, rc;

	if (fault == FAULT_FDS_MANY)
		while (n < FDS_MAX)
			fds[n++] = listen_fd;
	else if (tiers_of(fault) == 1)
		fds[n++] = make_tier(fault);
	sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (!child_check(connect(sock, (const struct sockaddr *)&address, sizeof(address)) == 0,
	                 "connect"))
		return 1;
	if (fault == FAULT_DIES)
		return 0;
	if (!child_check(send_raw(sock, &said, bytes, fds, n), "hello"))
		return 1;
	while ((rc = sl_ipc_read_answer(&link, sock, &none)) == -EAGAIN)
		if (!wait_readable(sock))
			return 1;
	/* It is told why, in this version's hello. */
	return child_check(rc == -EBUSY, "refused") ? 0 : 1;
}

Test(attach, refuses_every_offer_that_is_not_right)
{
	static const enum fault bad[] = {FAULT_DIES,          FAULT_VERSION,     FAULT_SHORT,
	                                 FAULT_LONG,          FAULT_FDS_MANY,    FAULT_TIERS_MANY,
	                                 FAULT_TIERS_MORE,    FAULT_TIERS_FEWER, FAULT_TIER_DEVICE,
	                                 FAULT_TIER_READ_ONLY};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	address.sun_family = AF_UNIX;
	for (unsigned i = 0; i < SL_ARRAY_SIZE(bad); i++) {
		int before = fd_count();
		pid_t pid = child_start(offer_badly, (void *)(uintptr_t)&bad[i]);
		struct sl_ipc_tiers offered;
		int sock, rc;

		cr_assert(wait_readable(listen_fd));
		sock = sl_ipc_accept(listen_fd);
		cr_assert_geq(sock, 0);
		while ((rc = sl_ipc_read_offer(sock, &offered)) == -EAGAIN)
			cr_assert(wait_readable(sock));
		cr_expect_eq(rc, bad[i] == FAULT_DIES ? -ECONNREFUSED : -EPROTO, "%s: %d",
		             faults[bad[i]].name, rc);
		sl_ipc_refuse(sock);
		cr_expect(child_succeeded(pid), "%s", faults[bad[i]].name);
		cr_expect_eq(fd_count(), before, "%s leaks descriptors", faults[bad[i]].name);
	}
}

Test(attach, an_offer_that_has_not_come_is_waited_for)
{
	struct sl_ipc_tiers offered, none = {0};
	struct sl_ipc_link *link = NULL;
	int before = fd_count();
	int silent = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	int sock;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	address.sun_family = AF_UNIX;
	cr_assert_eq(connect(silent, (const struct sockaddr *)&address, sizeof(address)), 0);
	sock = sl_ipc_accept(listen_fd);
	cr_assert_geq(sock, 0);
	cr_assert_eq(sl_ipc_read_offer(sock, &offered), -EAGAIN);
	cr_assert_eq(sl_ipc_read_answer(&link, silent, &none), -EAGAIN);
	close(silent);
	cr_assert_eq(sl_ipc_read_offer(sock, &offered), -ECONNREFUSED);
	close(sock);
	cr_assert_eq(fd_count(), before);
}

Test(attach, a_data_plane_that_dies_over_the_offer_leaves_it_with_control)
{
	struct sl_ipc_tiers held = make_tiers(2, TIERS_HELD), offered, used = {0};
	struct sl_ipc_link *link = NULL;
	int sock, peer;

	for (int i = 0; i < 2; i++) {
		sock = sl_ipc_connect(path, &held);
		cr_assert_geq(sock, 0);
		peer = sl_ipc_accept(listen_fd);
		cr_assert_geq(peer, 0);
		cr_assert_eq(sl_ipc_read_offer(peer, &offered), 0);
		cr_assert(are_tiers(&offered, 2, TIERS_HELD));
		sl_ipc_tiers_close(&offered);
		close(peer);
		cr_assert_eq(sl_ipc_read_answer(&link, sock, &used), -ECONNREFUSED);
	}
	cr_assert(are_tiers(&held, 2, TIERS_HELD));
	sl_ipc_tiers_close(&held);
}

static int live_dataplane(void *arg)
{
	struct sl_ipc_tiers offered;
	struct sl_ipc_link *link;

	(void)arg;
	if (!child_check(wait_readable(listen_fd), "connection") ||
	    !child_check(answer_with(&link, &offered, NULL) == 0, "accept"))
		return 1;
	/* The control process says one word when it is ready, and this one dies of it. */
	if (!child_check(wait_readable(link->channel_wake_fds[0]), "wake-up"))
		return 1;
	raise(SIGKILL);
	return 1;
}

Test(attach, control_sees_the_death_of_the_data_plane)
{
	pid_t pid = child_start(live_dataplane, NULL);
	const uint64_t one = 1;
	struct sl_ipc_link *link = NULL;
	int status;

	cr_assert_eq(connect_link(&link), 0);
	cr_assert_eq(write(link->channel_wake_fds[0], &one, sizeof(one)), sizeof(one));
	cr_assert(is_end_of_peer(link->sock));
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFSIGNALED(status));
	/* Memory of a dead peer stays readable and cannot fault. */
	cr_assert_eq(atomic_load(&sl_shm_slot(link->shm, 0)->log_end), 0);
	sl_ipc_close(link);
}

/* Control under another uid; the socket was opened to it on purpose. */
static int connect_as_nobody(void *arg)
{
	struct sl_ipc_link *link;

	(void)arg;
	if (!child_check(setresuid(65534, 65534, 65534) == 0, "setresuid"))
		return 1;
	return child_check(connect_link(&link) == -EPERM, "refused") ? 0 : 1;
}

Test(attach, both_sides_refuse_another_uid)
{
	int before;
	pid_t pid;

	if (geteuid() != 0)
		cr_skip_test("needs root to become another user");
	cr_assert_eq(chmod(base, 0711), 0);
	cr_assert_eq(chmod(run, 0711), 0);
	cr_assert_eq(chmod(path, 0666), 0);
	before = fd_count();
	pid = child_start(connect_as_nobody, NULL);
	cr_assert(wait_readable(listen_fd));
	cr_assert_eq(sl_ipc_accept(listen_fd), -EPERM);
	cr_assert(child_succeeded(pid));
	cr_assert_eq(fd_count(), before);
}

Test(listen, creates_a_private_folder_and_socket)
{
	struct stat st;
	mode_t old = umask(0);
	int fd = sl_ipc_listen(path);

	umask(old);
	cr_assert_geq(fd, 0);
	cr_assert_eq(stat(run, &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0700);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert(S_ISSOCK(st.st_mode));
	cr_assert_eq(st.st_mode & 07777, 0600);
	close(fd);
}

Test(listen, replaces_an_old_socket_and_nothing_else)
{
	int fd = sl_ipc_listen(path);
	int again = sl_ipc_listen(path);

	cr_assert_geq(fd, 0);
	cr_assert_geq(again, 0);
	close(fd);
	close(again);
	cr_assert_eq(unlink(path), 0);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0);
	close(fd);
	cr_assert_eq(sl_ipc_listen(path), -EEXIST);
	cr_assert_eq(access(path, F_OK), 0);
}

Test(listen, refuses_a_folder_that_others_may_write_to)
{
	int before = fd_count();

	cr_assert_eq(mkdir(run, 0700), 0);
	cr_assert_eq(chmod(run, 0770), 0);
	cr_assert_eq(sl_ipc_listen(path), -EPERM);
	cr_assert_eq(chmod(run, 0702), 0);
	cr_assert_eq(sl_ipc_listen(path), -EPERM);
	cr_assert_eq(fd_count(), before);
}

Test(listen, refuses_a_path_longer_than_a_socket_address)
{
	char longer[200];

	memset(longer, 'x', sizeof(longer) - 1);
	memcpy(longer, base, strlen(base));
	longer[strlen(base)] = '/';
	longer[sizeof(longer) - 1] = '\0';
	cr_assert_eq(sl_ipc_listen(longer), -ENAMETOOLONG);
	cr_assert_eq(sl_ipc_listen(""), -EINVAL);
}
