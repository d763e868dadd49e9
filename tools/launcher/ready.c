/* SPDX-License-Identifier: Apache-2.0 */
/* One call of "status" on the control socket. */
#include "ready.h"

#include <jansson.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define READY_WAIT_US      250000
#define READY_ANSWER_BYTES 65536

static int connect_to(const char *path)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	const struct timeval wait = {.tv_usec = READY_WAIT_US};
	int fd;

	if (strlen(path) >= sizeof(sun.sun_path))
		return -1;
	memcpy(sun.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) == 0 &&
	    connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0)
		return fd;
	close(fd);
	return -1;
}

/* Return: bytes of the answer's line, 0 without one. */
static size_t call_status(int fd, char *answer, size_t answer_bytes)
{
	static const char call[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}\n";
	size_t have = 0;

	if (send(fd, call, sizeof(call) - 1, MSG_NOSIGNAL) != (ssize_t)sizeof(call) - 1)
		return 0;
	while (have < answer_bytes) {
		ssize_t n = recv(fd, answer + have, answer_bytes - have, 0);

		if (n <= 0)
			return 0;
		have += (size_t)n;
		if (answer[have - 1] == '\n')
			return have;
	}
	return 0;
}

static bool is_ours(const char *text, size_t len, const struct ready_pids *pids)
{
	json_t *answer = json_loadb(text, len, 0, NULL);
	json_int_t control = 0, dataplane = 0;
	int is_serving = 0;
	bool ok = answer &&
	          json_unpack(answer, "{s:{s:I, s:{s:b, s:I}}}", "result", "pid", &control,
	                      "data_plane", "serving", &is_serving, "pid", &dataplane) == 0;

	json_decref(answer);
	return ok && is_serving && control == pids->control && dataplane == pids->dataplane;
}

bool ready_ask(const char *socket, const struct ready_pids *pids)
{
	char answer[READY_ANSWER_BYTES];
	int fd = connect_to(socket);
	size_t len;

	if (fd < 0)
		return false;
	len = call_status(fd, answer, sizeof(answer));
	close(fd);
	return len > 0 && is_ours(answer, len, pids);
}
