/* SPDX-License-Identifier: Apache-2.0 */
/* The client against servers that behave badly; each server is a child with a prepared answer. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"

static char dir[64], path[96], error[CLIENT_ERROR_MAX];
static struct client client;
static pid_t child;

static void setup(void)
{
	snprintf(dir, sizeof(dir), "/tmp/sluice-ctl-XXXXXX");
	cr_assert(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	client.fd = -1;
	child = 0;
}

static void teardown(void)
{
	client_close(&client);
	if (child > 0)
		(void)waitpid(child, NULL, 0);
	(void)unlink(path);
	(void)rmdir(dir);
}

TestSuite(client, .init = setup, .fini = teardown);

/* Takes one line of a client, sends @answer in pieces of @piece bytes, and hangs up. */
static void serve(int fd, const char *answer, size_t piece)
{
	char in[65536];
	size_t len = 0;
	int conn = accept(fd, NULL, NULL);

	while (conn >= 0 && len < sizeof(in) && !memchr(in, '\n', len)) {
		ssize_t n = recv(conn, in + len, sizeof(in) - len, 0);

		if (n <= 0)
			break;
		len += (size_t)n;
	}
	for (size_t left = strlen(answer); left > 0;) {
		ssize_t n = send(conn, answer, SL_MIN(piece, left), MSG_NOSIGNAL);

		if (n <= 0)
			break;
		answer += n;
		left -= (size_t)n;
	}
	_exit(0);
}

static void start(const char *answer, size_t piece)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
	cr_assert_eq(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	cr_assert_eq(listen(fd, 1), 0);
	child = fork();
	cr_assert_geq(child, 0);
	if (child == 0)
		serve(fd, answer, piece);
	close(fd);
	cr_assert_eq(client_open(&client, path, error), 0, "%s", error);
}

static int call(json_t **out)
{
	*out = NULL;
	return client_call(&client, "m", json_pack("{s:i}", "a", 1), out, error);
}

Test(client, gets_a_result_in_pieces)
{
	json_t *v;

	start("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"x\":[1,2,3]}}\n", 3);
	cr_assert_eq(call(&v), 0, "%s", error);
	cr_assert_eq(json_array_size(json_object_get(v, "x")), 3);
	json_decref(v);
}

Test(client, tells_errors_of_the_server)
{
	json_t *v;

	start("{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32000,\"message\":\"no\"}}\n",
	      1000);
	cr_assert_eq(call(&v), -EREMOTEIO);
	cr_assert_str_eq(json_string_value(json_object_get(v, "message")), "no");
	json_decref(v);
}

Test(client, refuses_what_is_no_answer)
{
	static const char *const bad[] = {
		"hello\n",
		"{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":1}\n",
		"{\"jsonrpc\":\"2.0\",\"id\":1}\n",
		"[]\n",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":\"x\"}\n",
	};

	for (unsigned i = 0; i < SL_ARRAY_SIZE(bad); i++) {
		json_t *v;

		start(bad[i], 1000);
		cr_assert_eq(call(&v), -EPROTO, "accepted %s", bad[i]);
		cr_assert_null(v);
		teardown();
		setup();
	}
}

Test(client, notices_a_server_that_hangs_up)
{
	json_t *v;

	start("{\"jsonrpc\":\"2.0\",\"id\":1,\"res", 1000);
	cr_assert_eq(call(&v), -EPIPE);
	cr_assert(strstr(error, "closed the connection"), "%s", error);
}

Test(client, hints_at_what_to_do_without_a_server)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	cr_assert_eq(client_open(&client, path, error), -ENOENT);
	cr_assert(strstr(error, path) && strstr(error, "is Sluice running?"), "%s", error);
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
	cr_assert_eq(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	close(fd);
	cr_assert_eq(client_open(&client, path, error), -ECONNREFUSED);
	cr_assert(strstr(error, "has ended"), "%s", error);
	cr_assert_eq(setenv("SLUICE_SOCKET", path, 1), 0);
	cr_assert_eq(client_open(&client, NULL, error), -ECONNREFUSED);
	cr_assert_eq(unsetenv("SLUICE_SOCKET"), 0);
	cr_assert_eq(chdir(dir), 0);
	cr_assert_eq(client_open(&client, NULL, error), -ENOENT);
	cr_assert(strstr(error, "sluice-data/run/sluice.sock") && strstr(error, "/run/sluice/"),
	          "%s", error);
	cr_assert_eq(chdir("/"), 0);
}
