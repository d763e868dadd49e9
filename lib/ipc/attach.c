/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the two processes meet: a listening socket in a folder of one user, and a hello that carries
 * the descriptors of the shared memory.  Cold path; the data plane's host thread and the control
 * loop run it.
 *
 * Both sides check the peer's uid with the kernel's help.  The control process checks every
 * descriptor before it relies on it: memory that its maker could still shrink would turn each
 * access into SIGBUS.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "sluice/base/assert.h"
#include "sluice/base/file.h"
#include "sluice/base/log.h"
#include "sluice/ipc/channel.h"
#include "sluice/ipc/msg.h"
#include "sluice/ipc/shm.h"

/* Order of the descriptors in a hello; the channels' eventfds follow from HELLO_FD_CHANNELS on. */
enum hello_fd {
	HELLO_FD_SHM = 0,
	HELLO_FD_RINGS,
	HELLO_FD_CONTROL_WAKE,
	HELLO_FD_CHANNELS
};

#define HELLO_FDS_MAX (HELLO_FD_CHANNELS + SL_SHM_LANES_MAX + 1)
#define BACKLOG       4
#define SEALS         (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

_Static_assert(HELLO_FDS_MAX <= 253, "the kernel passes at most SCM_MAX_FD descriptors at once");
_Static_assert(sizeof(struct sl_ipc_hello) == 24, "both sides agree on the hello");

/* Ancillary data of one hello. */
union hello_control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int) * HELLO_FDS_MAX)];
};

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static size_t rings_bytes_of(uint32_t lanes_count, size_t ring_bytes)
{
	return (size_t)(lanes_count + 1) * sl_channel_shm_bytes(ring_bytes);
}

/* A memfd of fixed size.  @more_seals: set after the mapping exists.  *map is writable. */
static int create_sealed(const char *name, size_t bytes, unsigned more_seals, void **map)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *p;
	int rc;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)bytes) < 0)
		goto err_close;
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		goto err_close;
	if (fcntl(fd, F_ADD_SEALS, SEALS | more_seals) < 0)
		goto err_unmap;
	*map = p;
	return fd;

err_unmap:
	rc = -errno;
	munmap(p, bytes);
	close(fd);
	return rc;
err_close:
	rc = -errno;
	close(fd);
	return rc;
}

/* A link that owns nothing yet. */
static struct sl_ipc_link *link_new(uint32_t lanes_count)
{
	struct sl_ipc_link *link = calloc(1, sizeof(*link));

	if (!link)
		return NULL;
	link->sock = -1;
	link->control_wake_fd = -1;
	link->lanes_count = lanes_count;
	link->channels = calloc(lanes_count + 1, sizeof(*link->channels));
	link->channel_wake_fds = calloc(lanes_count + 1, sizeof(*link->channel_wake_fds));
	if (!link->channels || !link->channel_wake_fds) {
		free(link->channels);
		free(link->channel_wake_fds);
		free(link);
		return NULL;
	}
	for (uint32_t i = 0; i <= lanes_count; i++)
		link->channel_wake_fds[i] = -1;
	return link;
}

/* Makes this side's end of every channel over link->rings. */
static int link_create_channels(struct sl_ipc_link *link, enum sl_channel_side side,
                                size_t ring_bytes)
{
	const size_t step = sl_channel_shm_bytes(ring_bytes);

	for (uint32_t i = 0; i <= link->lanes_count; i++) {
		int channel_fd = link->channel_wake_fds[i];
		int control_fd = link->control_wake_fd;
		bool is_dp = side == SL_CHANNEL_DATAPLANE;
		int rc = sl_channel_create(&link->channels[i], side,
		                           (uint8_t *)link->rings + i * step, ring_bytes,
		                           is_dp ? channel_fd : control_fd,
		                           is_dp ? control_fd : channel_fd);

		if (rc < 0)
			return rc;
	}
	return 0;
}

void sl_ipc_close(struct sl_ipc_link *link)
{
	if (!link)
		return;
	for (uint32_t i = 0; i <= link->lanes_count; i++) {
		sl_channel_destroy(link->channels[i]);
		close_fd(&link->channel_wake_fds[i]);
	}
	free(link->channels);
	free(link->channel_wake_fds);
	if (link->rings)
		munmap(link->rings, link->rings_bytes);
	if (link->owns_shm)
		munmap(link->shm, link->shm_bytes);
	close_fd(&link->control_wake_fd);
	close_fd(&link->sock);
	free(link);
}

static int fill_address(struct sockaddr_un *addr, const char *path)
{
	size_t len = strlen(path);

	if (len == 0)
		return -EINVAL;
	if (len >= sizeof(addr->sun_path))
		return -ENAMETOOLONG;
	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(addr->sun_path, path, len + 1);
	return 0;
}

/* The folder of @path, created when absent.  Others may not be able to replace the socket in it. */
static int prepare_folder(const char *path)
{
	const char *slash = strrchr(path, '/');
	char folder[PATH_MAX];
	struct stat st;
	int rc;

	if (!slash || slash == path)
		return 0;
	if ((size_t)(slash - path) >= sizeof(folder))
		return -ENAMETOOLONG;
	memcpy(folder, path, (size_t)(slash - path));
	folder[slash - path] = '\0';
	rc = sl_mkdir_p(folder, 0700);
	if (rc < 0)
		return rc;
	if (stat(folder, &st) < 0)
		return -errno;
	if (st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH))) {
		sl_log(ERR, ipc,
		       "refuse run folder path=%s uid=%u mode=%o reason=\"must be ours, mode 0700\"",
		       folder, (unsigned)st.st_uid, (unsigned)(st.st_mode & 07777));
		return -EPERM;
	}
	return 0;
}

/* Removes the socket that an earlier data plane left. */
static int remove_old_socket(const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	return unlink(path) < 0 ? -errno : 0;
}

int sl_ipc_listen(const char *path)
{
	struct sockaddr_un addr;
	int fd, rc;

	rc = fill_address(&addr, path);
	if (rc < 0)
		return rc;
	rc = prepare_folder(path);
	if (rc < 0)
		return rc;
	rc = remove_old_socket(path);
	if (rc < 0)
		return rc;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 || chmod(path, 0600) < 0 ||
	    listen(fd, BACKLOG) < 0) {
		rc = -errno;
		close(fd);
		return rc;
	}
	return fd;
}

int sl_ipc_shm_create(struct sl_shm **out, size_t *bytes, int *fd, uint32_t lanes_count,
                      uint32_t slots_count)
{
	size_t want = sl_shm_bytes(lanes_count, slots_count);
	void *map;
	int rc;

	if (lanes_count == 0 || lanes_count > SL_SHM_LANES_MAX)
		return -EINVAL;
	/* memfd_create(2), F_SEAL_FUTURE_WRITE: existing writable mappings stay, new ones are
	 * refused. The control process can therefore read the slots and never write them. */
	rc = create_sealed("sluice-shm", want, F_SEAL_FUTURE_WRITE, &map);
	if (rc < 0)
		return rc;
	sl_shm_init(map, lanes_count, slots_count);
	*out = map;
	*bytes = want;
	*fd = rc;
	return 0;
}

void sl_ipc_shm_destroy(struct sl_shm *shm, size_t bytes, int fd)
{
	if (!shm)
		return;
	munmap(shm, bytes);
	close(fd);
}

/* The kernel's word on who is at the other end. */
static int check_peer(int sock, int32_t *pid)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -errno;
	if (cred.uid != geteuid())
		return -EPERM;
	*pid = (int32_t)cred.pid;
	return 0;
}

/* accept4(2); an attempt that ended before we came counts as nobody. */
static int accept_one(int listen_fd)
{
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0)
		return fd;
	return errno == ECONNABORTED || errno == EINTR ? -EAGAIN : -errno;
}

static int send_hello(int sock, const struct sl_ipc_hello *hello, const int *fds, size_t fds_count)
{
	union hello_control control = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)hello, .iov_len = sizeof(*hello)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	SL_ASSERT(fds_count <= HELLO_FDS_MAX);
	if (fds_count) {
		struct cmsghdr *cmsg = &control.align;

		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * fds_count);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * fds_count);
		memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * fds_count);
	}
	n = sendmsg(sock, &msg, MSG_NOSIGNAL);
	if (n < 0)
		return -errno;
	return n == (ssize_t)sizeof(*hello) ? 0 : -EIO;
}

/* Fresh rings, eventfds and channels of the data plane's side.  *rings_fd is for the peer. */
static int link_create_memory(struct sl_ipc_link *link, int *rings_fd)
{
	link->rings_bytes = rings_bytes_of(link->lanes_count, SL_IPC_RING_BYTES);
	*rings_fd = create_sealed("sluice-rings", link->rings_bytes, 0, &link->rings);
	if (*rings_fd < 0)
		return *rings_fd;
	link->control_wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (link->control_wake_fd < 0)
		return -errno;
	for (uint32_t i = 0; i <= link->lanes_count; i++) {
		link->channel_wake_fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (link->channel_wake_fds[i] < 0)
			return -errno;
	}
	return link_create_channels(link, SL_CHANNEL_DATAPLANE, SL_IPC_RING_BYTES);
}

static int link_send_hello(const struct sl_ipc_link *link, int shm_fd, int rings_fd)
{
	struct sl_ipc_hello hello = {
		.version = SL_IPC_VERSION,
		.lanes_count = link->lanes_count,
		.ring_bytes = SL_IPC_RING_BYTES,
		.pid = (int32_t)getpid(),
		.incarnation = link->incarnation,
	};
	int fds[HELLO_FDS_MAX];

	fds[HELLO_FD_SHM] = shm_fd;
	fds[HELLO_FD_RINGS] = rings_fd;
	fds[HELLO_FD_CONTROL_WAKE] = link->control_wake_fd;
	memcpy(&fds[HELLO_FD_CHANNELS], link->channel_wake_fds,
	       sizeof(int) * (link->lanes_count + 1));
	return send_hello(link->sock, &hello, fds, HELLO_FD_CHANNELS + link->lanes_count + 1);
}

int sl_ipc_accept(struct sl_ipc_link **out, int listen_fd, struct sl_shm *shm, size_t shm_bytes,
                  int shm_fd)
{
	struct sl_ipc_link *link;
	int rings_fd = -1;
	int rc, sock;

	rc = sl_shm_check(shm, shm_bytes);
	if (rc < 0)
		return rc;
	sock = accept_one(listen_fd);
	if (sock < 0)
		return sock;
	link = link_new(shm->lanes_count);
	if (!link) {
		close(sock);
		return -ENOMEM;
	}
	link->sock = sock;
	link->shm = shm;
	link->shm_bytes = shm_bytes;
	link->incarnation = shm->incarnation;
	rc = check_peer(sock, &link->peer_pid);
	if (rc == 0)
		rc = link_create_memory(link, &rings_fd);
	if (rc == 0)
		rc = link_send_hello(link, shm_fd, rings_fd);
	close_fd(&rings_fd); /* the mapping and the message in flight keep the memory */
	if (rc < 0) {
		sl_ipc_close(link);
		/* -EAGAIN would read as "nobody waits", but somebody was accepted and is now gone.
		 */
		return rc == -EAGAIN ? -EIO : rc;
	}
	*out = link;
	return 0;
}

int sl_ipc_refuse(int listen_fd)
{
	const struct sl_ipc_hello hello = {.version = SL_IPC_VERSION, .pid = (int32_t)getpid()};
	int sock = accept_one(listen_fd);
	int rc;

	if (sock < 0)
		return sock;
	rc = send_hello(sock, &hello, NULL, 0);
	close(sock);
	/* One that left by itself is turned away as well. */
	return rc == -EPIPE || rc == -ECONNRESET ? 0 : rc;
}

/* Connected to @path with bounded waiting in connect(2) and recvmsg(2), or -errno. */
static int connect_socket(const char *path)
{
	const struct timeval limit = {.tv_sec = SL_IPC_HELLO_TIMEOUT_MS / 1000,
	                              .tv_usec = SL_IPC_HELLO_TIMEOUT_MS % 1000 * 1000};
	struct sockaddr_un addr;
	int rc = fill_address(&addr, path);
	int fd;

	if (rc < 0)
		return rc;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ||
	    connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0) {
		rc = errno == EAGAIN || errno == EINPROGRESS ? -ETIMEDOUT : -errno;
		close(fd);
		return rc;
	}
	return fd;
}

/* Takes the descriptors out of a message; closes what does not fit in @fds. */
static size_t take_fds(struct msghdr *msg, int fds[HELLO_FDS_MAX])
{
	size_t count = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (count < HELLO_FDS_MAX)
				fds[count++] = fd;
			else
				close(fd);
		}
	}
	return count;
}

/* Return: number of descriptors in @fds, theirs to close; -errno, none. */
static int recv_hello(int sock, struct sl_ipc_hello *hello, int fds[HELLO_FDS_MAX])
{
	union hello_control control = {0};
	struct iovec iov = {.iov_base = hello, .iov_len = sizeof(*hello)};
	struct msghdr msg = {.msg_iov = &iov,
	                     .msg_iovlen = 1,
	                     .msg_control = &control,
	                     .msg_controllen = sizeof(control)};
	size_t count;
	ssize_t n;

	do {
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? -ETIMEDOUT : errno == ECONNRESET ? -ECONNREFUSED : -errno;
	if (n == 0)
		return -ECONNREFUSED;
	count = take_fds(&msg, fds);
	if (n == (ssize_t)sizeof(*hello) && !(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		return (int)count;
	while (count > 0)
		close_fd(&fds[--count]);
	return -EPROTO;
}

static int check_hello(const struct sl_ipc_hello *hello, size_t fds_count)
{
	if (hello->version != SL_IPC_VERSION)
		return -EPROTO;
	if (hello->lanes_count == 0)
		return -EBUSY;
	if (hello->lanes_count > SL_SHM_LANES_MAX || hello->ring_bytes != SL_IPC_RING_BYTES)
		return -EPROTO;
	return fds_count == HELLO_FD_CHANNELS + hello->lanes_count + 1 ? 0 : -EPROTO;
}

/* Maps a memfd that its maker can neither shrink nor grow any more. */
static int map_sealed(int fd, int prot, void **map, size_t *bytes)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;
	void *p;

	if (seals < 0 || (seals & SEALS) != SEALS)
		return -EPROTO;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size <= 0)
		return -EPROTO;
	p = mmap(NULL, (size_t)st.st_size, prot, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	*map = p;
	*bytes = (size_t)st.st_size;
	return 0;
}

/*
 * Maps the slots read-only and replaces the header by a private copy, checked: sl_shm_slot() and
 * sl_shm_stats() compute addresses from its counts, which the data plane could change at any time.
 */
static int link_map_shm(struct sl_ipc_link *link, int fd)
{
	struct sl_shm header;
	void *map, *copy;
	int rc;

	rc = map_sealed(fd, PROT_READ, &map, &link->shm_bytes);
	if (rc < 0)
		return rc;
	link->shm = map;
	link->owns_shm = true;
	if (link->shm_bytes < SL_SHM_HEADER_BYTES)
		return -EPROTO;
	memcpy(&header, map, sizeof(header));
	copy = mmap(map, SL_SHM_HEADER_BYTES, PROT_READ | PROT_WRITE,
	            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (copy == MAP_FAILED)
		return -errno;
	memcpy(copy, &header, sizeof(header));
	if (mprotect(copy, SL_SHM_HEADER_BYTES, PROT_READ) < 0)
		return -errno;
	rc = sl_shm_check(link->shm, link->shm_bytes);
	if (rc < 0)
		return rc;
	return link->shm->lanes_count == link->lanes_count &&
	                       link->shm->incarnation == link->incarnation
	               ? 0
	               : -EPROTO;
}

static int link_map_rings(struct sl_ipc_link *link, int fd, size_t ring_bytes)
{
	int rc = map_sealed(fd, PROT_READ | PROT_WRITE, &link->rings, &link->rings_bytes);

	if (rc < 0)
		return rc;
	return link->rings_bytes == rings_bytes_of(link->lanes_count, ring_bytes) ? 0 : -EPROTO;
}

/* Moves the eventfds out of @fds.  A blocking one could stop the control loop. */
static int link_take_wake_fds(struct sl_ipc_link *link, int *fds)
{
	for (uint32_t i = HELLO_FD_CONTROL_WAKE; i < HELLO_FD_CHANNELS + link->lanes_count + 1;
	     i++) {
		int flags = fcntl(fds[i], F_GETFL);

		if (flags < 0 || !(flags & O_NONBLOCK))
			return -EPROTO;
	}
	link->control_wake_fd = fds[HELLO_FD_CONTROL_WAKE];
	fds[HELLO_FD_CONTROL_WAKE] = -1;
	for (uint32_t i = 0; i <= link->lanes_count; i++) {
		link->channel_wake_fds[i] = fds[HELLO_FD_CHANNELS + i];
		fds[HELLO_FD_CHANNELS + i] = -1;
	}
	return 0;
}

/* Builds the control side's link from a checked hello.  Ownership: takes @sock, and those of @fds
 * that it sets to -1, also on failure. */
static int link_from_hello(struct sl_ipc_link **out, int sock, const struct sl_ipc_hello *hello,
                           int *fds, int32_t peer_pid)
{
	struct sl_ipc_link *link = link_new(hello->lanes_count);
	int rc;

	if (!link) {
		close(sock);
		return -ENOMEM;
	}
	link->sock = sock;
	link->incarnation = hello->incarnation;
	link->peer_pid = peer_pid;
	rc = link_map_shm(link, fds[HELLO_FD_SHM]);
	if (rc == 0)
		rc = link_map_rings(link, fds[HELLO_FD_RINGS], hello->ring_bytes);
	if (rc == 0)
		rc = link_take_wake_fds(link, fds);
	if (rc == 0)
		rc = link_create_channels(link, SL_CHANNEL_CONTROL, hello->ring_bytes);
	if (rc == 0 && fcntl(sock, F_SETFL, O_NONBLOCK) < 0)
		rc = -errno;
	if (rc < 0) {
		sl_ipc_close(link);
		return rc;
	}
	*out = link;
	return 0;
}

int sl_ipc_connect(struct sl_ipc_link **out, const char *path)
{
	struct sl_ipc_hello hello;
	int fds[HELLO_FDS_MAX];
	int32_t pid;
	int sock, count, rc;

	sock = connect_socket(path);
	if (sock < 0)
		return sock;
	rc = check_peer(sock, &pid); /* before anything it says is read */
	count = rc < 0 ? rc : recv_hello(sock, &hello, fds);
	if (count < 0) {
		close(sock);
		return count;
	}
	rc = check_hello(&hello, (size_t)count);
	if (rc < 0)
		close(sock);
	else
		rc = link_from_hello(out, sock, &hello, fds, pid);
	for (int i = 0; i < count; i++)
		close_fd(&fds[i]);
	return rc;
}
