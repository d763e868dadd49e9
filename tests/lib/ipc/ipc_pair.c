/* SPDX-License-Identifier: Apache-2.0 */
#include "ipc_pair.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sluice/base/assert.h"
#include "sluice/ipc/msg.h"

#define GUARD_BYTES 65536

void pair_open(struct pair *p, size_t ring_bytes)
{
	size_t bytes = sl_channel_shm_bytes(ring_bytes);

	p->ring_bytes = ring_bytes;
	p->map_bytes = bytes + 2 * GUARD_BYTES;
	p->map = mmap(NULL, p->map_bytes, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	SL_ASSERT(p->map != MAP_FAILED);
	p->shm = (struct channel_shm *)(void *)((uint8_t *)p->map + GUARD_BYTES);
	SL_ASSERT(mprotect(p->shm, bytes, PROT_READ | PROT_WRITE) == 0);
	for (int i = 0; i < 2; i++) {
		p->wake_fd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		SL_ASSERT(p->wake_fd[i] >= 0);
	}
	for (int i = 0; i < 2; i++)
		SL_ASSERT(sl_channel_create(&p->ch[i], (enum sl_channel_side)i, p->shm, ring_bytes,
		                            p->wake_fd[i], p->wake_fd[!i]) == 0);
}

void pair_close(struct pair *p)
{
	for (int i = 0; i < 2; i++) {
		sl_channel_destroy(p->ch[i]);
		close(p->wake_fd[i]);
	}
	munmap(p->map, p->map_bytes);
}

uint8_t *pair_ring(const struct pair *p, enum sl_channel_side side)
{
	return (uint8_t *)p->shm + sizeof(*p->shm) + (size_t)side * p->ring_bytes;
}

/* Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", 2014 (SplitMix64). */
uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

struct message {
	uint32_t type;
	size_t bytes;
	uint64_t content; /* seed of the bytes */
};

/* Mostly small, sometimes of any size, sometimes the largest. */
static struct message stream_message(const struct stream *s)
{
	uint64_t state = s->seed + s->seq;
	uint64_t kind = random_next(&state) % 16;
	uint64_t size = random_next(&state);
	struct message m = {.type = (uint32_t)(1 + size % (SL_IPC_TYPE_NR - 1))};

	if (kind == 0)
		m.bytes = s->bytes_max;
	else if (kind < 4)
		m.bytes = size % (s->bytes_max + 1);
	else
		m.bytes = size % SL_MIN(s->bytes_max + 1, (size_t)300);
	m.content = random_next(&state);
	return m;
}

static uint8_t content_byte(const struct message *m, size_t i)
{
	return (uint8_t)((m->content >> (i % 8 * 8)) + i / 8);
}

int stream_send(struct stream *s, struct sl_channel *ch)
{
	struct message m = stream_message(s);
	uint8_t *p = sl_channel_reserve(ch, m.bytes);

	if (!p)
		return sl_channel_is_failed(ch) ? -EPROTO : 0;
	for (size_t i = 0; i < m.bytes; i++)
		p[i] = content_byte(&m, i);
	sl_channel_commit(ch, m.type, m.bytes);
	s->seq++;
	return 1;
}

int stream_recv(struct stream *s, struct sl_channel *ch)
{
	struct message m = stream_message(s);
	uint32_t type = 0;
	const void *p = NULL;
	size_t bytes = 0;
	int rc = sl_channel_peek(ch, &type, &p, &bytes);

	if (rc != 1)
		return rc;
	if (type != m.type || bytes != m.bytes || (uintptr_t)p % 8 != 0)
		return -EBADMSG;
	for (size_t i = 0; i < bytes; i++)
		if (((const uint8_t *)p)[i] != content_byte(&m, i))
			return -EBADMSG;
	sl_channel_release(ch);
	s->seq++;
	return 1;
}

bool wait_readable(int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	int n;

	do {
		n = poll(&pfd, 1, LOST_WAKEUP_MS);
	} while (n < 0 && errno == EINTR);
	return n == 1;
}

bool sleep_once(struct sl_channel *ch, int wake_fd)
{
	bool woken = true;

	if (sl_channel_sleep(ch)) {
		woken = wait_readable(wake_fd);
		sl_channel_wake(ch);
	}
	return woken;
}

uint64_t wakes_taken(int wake_fd)
{
	uint64_t count;

	return read(wake_fd, &count, sizeof(count)) == (ssize_t)sizeof(count) ? count : 0;
}

pid_t child_start(int (*fn)(void *arg), void *arg)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	SL_ASSERT(pid >= 0);
	if (pid == 0)
		_exit(fn(arg));
	return pid;
}

bool child_succeeded(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return false;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool child_check(bool ok, const char *what)
{
	if (!ok)
		fprintf(stderr, "child %d: failed: %s\n", (int)getpid(), what);
	return ok;
}
