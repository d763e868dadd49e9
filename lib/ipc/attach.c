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
#include <sys/un.h>
#include <unistd.h>

#include "sluice/base/assert.h"
#include "sluice/base/file.h"
#include "sluice/base/log.h"
#include "sluice/ipc/channel.h"
#include "sluice/ipc/msg.h"
#include "sluice/ipc/shm.h"

#include "hello.h"

#define BACKLOG 4
#define SEALS   (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

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

static int link_send_hello(const struct sl_ipc_link *link, int shm_fd, int rings_fd,
                           const struct sl_ipc_tiers *tiers)
{
	struct sl_ipc_hello head = {
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
	return hello_send(link->sock, &head, fds, HELLO_FD_CHANNELS + link->lanes_count + 1, tiers);
}

int sl_ipc_accept(int listen_fd)
{
	int32_t pid;
	int sock = accept_one(listen_fd);
	int rc;

	if (sock < 0)
		return sock;
	rc = check_peer(sock, &pid);
	if (rc < 0)
		close(sock);
	return rc < 0 ? rc : sock;
}

int sl_ipc_read_offer(int sock, struct sl_ipc_tiers *offered)
{
	struct hello hello;
	int rc = hello_recv(sock, &hello);

	if (rc < 0)
		return rc;
	rc = hello_check(&hello, 0);
	if (rc == 0)
		hello_move_tiers(&hello, offered);
	hello_close(&hello);
	return rc;
}

int sl_ipc_answer(struct sl_ipc_link **out, int sock, struct sl_shm *shm, size_t shm_bytes,
                  int shm_fd, const struct sl_ipc_tiers *tiers)
{
	struct sl_ipc_link *link = NULL;
	int rings_fd = -1;
	int rc = sl_shm_check(shm, shm_bytes);

	if (rc == 0)
		link = link_new(shm->lanes_count);
	if (!link) {
		close(sock);
		return rc < 0 ? rc : -ENOMEM;
	}
	link->sock = sock;
	link->shm = shm;
	link->shm_bytes = shm_bytes;
	link->incarnation = shm->incarnation;
	rc = check_peer(sock, &link->peer_pid);
	if (rc == 0)
		rc = link_create_memory(link, &rings_fd);
	if (rc == 0)
		rc = link_send_hello(link, shm_fd, rings_fd, tiers);
	close_fd(&rings_fd); /* the mapping and the message in flight keep the memory */
	if (rc < 0) {
		sl_ipc_close(link);
		return rc;
	}
	*out = link;
	return 0;
}

void sl_ipc_refuse(int sock)
{
	const struct sl_ipc_hello head = {.version = SL_IPC_VERSION, .pid = (int32_t)getpid()};
	char byte;

	/* What is closed with something unread resets the peer, which would then not see the
	 * answer.  Nothing can come any more after shutdown(2). */
	(void)shutdown(sock, SHUT_RD);
	while (recv(sock, &byte, sizeof(byte), MSG_DONTWAIT) > 0)
		;
	/* One that left by itself is turned away as well. */
	(void)SL_COUNT_IF(hello_send(sock, &head, NULL, 0, NULL) < 0);
	close(sock);
}

/* Connected to @path, non-blocking, or -errno. */
static int connect_socket(const char *path)
{
	struct sockaddr_un addr;
	int rc = fill_address(&addr, path);
	int fd;

	if (rc < 0)
		return rc;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0) {
		rc = -errno;
		close(fd);
		return rc;
	}
	return fd;
}

int sl_ipc_connect(const char *path, const struct sl_ipc_tiers *held)
{
	const struct sl_ipc_hello head = {.version = SL_IPC_VERSION, .pid = (int32_t)getpid()};
	int sock = connect_socket(path);
	int32_t pid;
	int rc;

	if (sock < 0)
		return sock;
	rc = check_peer(sock, &pid); /* before it gets anything */
	if (rc == 0)
		rc = hello_send(sock, &head, NULL, 0, held);
	/* Refused before it heard us: what it said is there to be read, or its end. */
	if (rc == -EPIPE)
		rc = 0;
	if (rc < 0)
		close(sock);
	return rc < 0 ? rc : sock;
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

/* Builds the control side's link from a checked hello.  Ownership: takes @sock, and those of the
 * hello's descriptors that it sets to -1, also on failure. */
static int link_from_hello(struct sl_ipc_link **out, int sock, struct hello *hello)
{
	const size_t ring_bytes = hello->head.ring_bytes;
	struct sl_ipc_link *link = link_new(hello->head.lanes_count);
	int rc;

	if (!link) {
		close(sock);
		return -ENOMEM;
	}
	link->sock = sock;
	link->incarnation = hello->head.incarnation;
	rc = check_peer(sock, &link->peer_pid);
	if (rc == 0)
		rc = link_map_shm(link, hello->fds[HELLO_FD_SHM]);
	if (rc == 0)
		rc = link_map_rings(link, hello->fds[HELLO_FD_RINGS], ring_bytes);
	if (rc == 0)
		rc = link_take_wake_fds(link, hello->fds);
	if (rc == 0)
		rc = link_create_channels(link, SL_CHANNEL_CONTROL, ring_bytes);
	if (rc < 0) {
		sl_ipc_close(link);
		return rc;
	}
	*out = link;
	return 0;
}

/* What the hello of a data plane must be like. */
static int check_answer(const struct hello *hello)
{
	const struct sl_ipc_hello *head = &hello->head;

	if (head->version != SL_IPC_VERSION)
		return -EPROTO;
	if (head->lanes_count == 0)
		return -EBUSY;
	if (head->lanes_count > SL_SHM_LANES_MAX || head->ring_bytes != SL_IPC_RING_BYTES)
		return -EPROTO;
	return hello_check(hello, HELLO_FD_CHANNELS + head->lanes_count + 1);
}

int sl_ipc_read_answer(struct sl_ipc_link **out, int sock, struct sl_ipc_tiers *used)
{
	struct hello hello;
	int rc = hello_recv(sock, &hello);

	if (rc < 0) {
		if (rc != -EAGAIN)
			close(sock);
		return rc;
	}
	rc = check_answer(&hello);
	if (rc < 0)
		close(sock);
	else
		rc = link_from_hello(out, sock, &hello);
	if (rc == 0)
		hello_move_tiers(&hello, used);
	hello_close(&hello);
	/* -EAGAIN would read as "not yet", but the socket is gone. */
	return rc == -EAGAIN ? -EIO : rc;
}
