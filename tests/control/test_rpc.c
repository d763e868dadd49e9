/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket: framing, JSON-RPC's rules, limits, the socket file. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "rpc/call.h"
#include "rpc_client.h"

static struct harness h;
static struct rpc *rpc;
static struct rpc_client c;

static void setup(void)
{
	harness_init(&h, 1);
	cr_assert_eq(rpc_create(&rpc, h.control, NULL), 0);
	rpc_client_open(&c, &h, rpc);
}

static void teardown(void)
{
	rpc_client_close(&c);
	rpc_destroy(rpc);
	harness_fini(&h);
}

TestSuite(rpc, .init = setup, .fini = teardown);

static void expect_error(const char *message, int code)
{
	json_t *answer;

	rpc_client_puts(&c, message);
	rpc_client_puts(&c, "\n");
	answer = rpc_client_take(&c);
	cr_assert_eq(rpc_client_int(answer, "error.code"), code, "%s: %s", message,
	             rpc_client_str(answer, "error.message"));
	cr_assert_str_eq(rpc_client_str(answer, "jsonrpc"), "2.0");
	json_decref(answer);
}

static void expect_works(void)
{
	json_decref(rpc_client_result(&c, "help", NULL));
}

Test(rpc, answers_a_request_that_comes_byte_by_byte)
{
	static const char request[] =
		"{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"method\":\"status\"}\r\n";
	json_t *answer;

	for (size_t i = 0; i < sizeof(request) - 1; i++) {
		rpc_client_send(&c, request + i, 1);
		harness_spin(&h, 1);
	}
	answer = rpc_client_take(&c);
	cr_assert_str_eq(rpc_client_str(answer, "id"), "x");
	cr_assert_str_eq(rpc_client_str(answer, "result.health.state"), "ok");
	json_decref(answer);
}

Test(rpc, answers_every_request_of_one_write)
{
	char text[8192];
	size_t len = 0;

	for (int i = 0; i < 50; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len,
		                        "{\"jsonrpc\":\"2.0\",\"id\":%d,\"method\":\"help\"}\n\n",
		                        i);
	rpc_client_send(&c, text, len);
	for (int i = 0; i < 50; i++) {
		json_t *answer = rpc_client_take(&c);

		cr_assert_eq(rpc_client_int(answer, "id"), i);
		json_decref(answer);
	}
}

Test(rpc, says_what_is_wrong_and_goes_on)
{
	expect_error("{", RPC_PARSE_ERROR);
	expect_error("hello", RPC_PARSE_ERROR);
	expect_error("\x01\xff\xfe", RPC_PARSE_ERROR);
	expect_error("{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"help\"}",
	             RPC_PARSE_ERROR);
	expect_error("{}", RPC_INVALID_REQUEST);
	expect_error("{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"help\"}", RPC_INVALID_REQUEST);
	expect_error("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":7}", RPC_INVALID_REQUEST);
	expect_error("{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"help\"}", RPC_INVALID_REQUEST);
	expect_error("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"nothing\"}", RPC_NO_METHOD);
	expect_error("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"help\",\"params\":[1]}",
	             RPC_INVALID_PARAMS);
	expect_error("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"help\",\"params\":{\"x\":1}}",
	             RPC_INVALID_PARAMS);
	expect_error("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"help\",\"params\":{\"method\":1}}",
	             RPC_INVALID_PARAMS);
	expect_error("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"topics.create\"}",
	             RPC_INVALID_PARAMS);
	expect_error("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"topics.create\",\"params\":"
	             "{\"name\":\"t\",\"configs\":{\"a\":1}}}",
	             RPC_INVALID_PARAMS);
	expect_works();
	cr_assert_eq(h.control->counters[COUNTER_rpc_errors], 14);
}

Test(rpc, does_not_answer_notifications)
{
	json_t *answer;

	rpc_client_puts(&c, "{\"jsonrpc\":\"2.0\",\"method\":\"status\"}\n"
	                    "{\"jsonrpc\":\"2.0\",\"method\":\"nothing\"}\n"
	                    "{\"jsonrpc\":\"2.0\",\"method\":\"log.level\"}\n"
	                    "{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"help\"}\n");
	answer = rpc_client_take(&c);
	cr_assert_eq(rpc_client_int(answer, "id"), 5);
	json_decref(answer);
	harness_spin(&h, 10);
	expect_works();
}

/* A request with a null id is one, and wants its answer. */
Test(rpc, answers_a_null_id)
{
	json_t *answer;

	rpc_client_puts(&c, "{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"help\"}\n");
	answer = rpc_client_take(&c);
	cr_assert(json_is_null(rpc_client_at(answer, "id")));
	cr_assert(rpc_client_at(answer, "result"));
	json_decref(answer);
}

Test(rpc, answers_a_batch_with_one_array)
{
	json_t *answer;

	rpc_client_puts(&c, "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"help\"},"
	                    "{\"jsonrpc\":\"2.0\",\"method\":\"status\"},"
	                    "7,"
	                    "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"log.level\"},"
	                    "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"nothing\"}]\n");
	answer = rpc_client_take(&c);
	cr_assert_eq(json_array_size(answer), 4);
	cr_assert_eq(rpc_client_int(answer, "0.id"), 1);
	cr_assert_eq(rpc_client_int(answer, "1.error.code"), RPC_INVALID_REQUEST);
	cr_assert_eq(rpc_client_int(answer, "2.id"), 3);
	/* The data plane's answer came last. */
	cr_assert_eq(rpc_client_int(answer, "3.id"), 2);
	json_decref(answer);
	rpc_client_puts(&c, "[{\"jsonrpc\":\"2.0\",\"method\":\"status\"}]\n");
	expect_works();
}

Test(rpc, refuses_empty_and_big_batches)
{
	struct sl_buf b;

	expect_error("[]", RPC_INVALID_REQUEST);
	sl_buf_init_grow(&b, 1 << 20);
	sl_buf_printf(&b, "[1");
	for (int i = 0; i < RPC_BATCH_MAX; i++)
		sl_buf_printf(&b, ",1");
	sl_buf_printf(&b, "]");
	sl_buf_put_u8(&b, '\0');
	expect_error((char *)b.p, RPC_INVALID_REQUEST);
	sl_buf_fini(&b);
	expect_works();
}

Test(rpc, closes_after_a_request_that_is_too_long)
{
	char *line = malloc(RPC_REQUEST_MAX + 2);
	json_t *answer;

	memset(line, ' ', RPC_REQUEST_MAX + 2);
	rpc_client_send(&c, line, RPC_REQUEST_MAX + 2);
	answer = rpc_client_take(&c);
	cr_assert_eq(rpc_client_int(answer, "error.code"), RPC_INVALID_REQUEST);
	json_decref(answer);
	cr_assert(rpc_client_is_ended(&c));
	cr_assert_eq(h.control->counters[COUNTER_rpc_requests_too_big], 1);
	free(line);
}

Test(rpc, takes_a_request_of_the_longest_form)
{
	static const char request[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"help\"}";
	char *line = malloc(RPC_REQUEST_MAX + 1);
	json_t *answer;

	memset(line, ' ', RPC_REQUEST_MAX);
	memcpy(line, request, sizeof(request) - 1);
	line[RPC_REQUEST_MAX] = '\n';
	rpc_client_send(&c, line, RPC_REQUEST_MAX + 1);
	answer = rpc_client_take(&c);
	cr_assert(rpc_client_at(answer, "result"));
	json_decref(answer);
	free(line);
}

Test(rpc, answers_a_client_that_has_stopped_sending)
{
	json_t *answer;

	rpc_client_puts(&c, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"log.level\"}\n");
	cr_assert_eq(shutdown(c.fd, SHUT_WR), 0);
	answer = rpc_client_take(&c);
	cr_assert(rpc_client_at(answer, "result.control.rpc"));
	json_decref(answer);
	cr_assert(rpc_client_is_ended(&c));
}

Test(rpc, runs_what_a_client_sent_before_it_left)
{
	struct rpc_client other;

	rpc_client_open(&other, &h, rpc);
	rpc_client_puts(&other, "{\"jsonrpc\":\"2.0\",\"method\":\"topics.create\","
	                        "\"params\":{\"name\":\"late\",\"partitions\":1}}\n");
	rpc_client_close(&other);
	harness_spin(&h, 20);
	cr_assert(meta_topic_by_name(h.control->meta, sl_str_from("late")));
}

Test(rpc, forgets_calls_of_clients_that_left)
{
	for (int i = 0; i < 5; i++) {
		struct rpc_client other;

		rpc_client_open(&other, &h, rpc);
		rpc_client_puts(&other, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"doctor\"}\n"
		                        "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"steer\"}\n");
		harness_spin(&h, 2);
		rpc_client_close(&other);
	}
	expect_works();
}

Test(rpc, lets_waiting_calls_end_after_it_is_gone)
{
	struct rpc_client other;

	rpc_client_open(&other, &h, rpc);
	rpc_client_puts(&other, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"doctor\"}\n"
	                        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"topics.create\","
	                        "\"params\":{\"name\":\"t\"}}\n");
	fake_hold_acks(h.fake, true);
	harness_spin(&h, 1);
	rpc_destroy(rpc);
	rpc = NULL;
	rpc_client_close(&other);
}

Test(rpc, answers_more_calls_than_it_runs_at_once)
{
	for (int i = 0; i < 200; i++)
		rpc_client_puts(&c, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"log.level\"}\n");
	for (int i = 0; i < 200; i++)
		json_decref(rpc_client_take(&c));
	/* Notifications free their places too. */
	for (int i = 0; i < 200; i++)
		rpc_client_puts(&c, "{\"jsonrpc\":\"2.0\",\"method\":\"log.level\"}\n");
	expect_works();
}

/* Sends as many as the server takes.  Return: how many whole ones. */
static int flood(const char *request)
{
	size_t len = strlen(request), pos = 0;
	int sent = 0;

	for (int idle = 0; idle < 50;) {
		ssize_t n = send(c.fd, request + pos, len - pos, MSG_NOSIGNAL);

		idle = n < 0 ? idle + 1 : 0;
		if (n < 0)
			cr_assert_geq(loop_poll(h.loop, 1), 0);
		pos += n < 0 ? 0 : (size_t)n;
		sent += pos == len;
		pos %= len;
		cr_assert_lt(sent, 1000000, "there is no end");
	}
	return sent;
}

Test(rpc, stops_reading_from_a_client_that_does_not)
{
	int sent = flood("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"rpc.discover\"}\n");
	uint64_t calls = h.control->counters[COUNTER_rpc_calls];

	/* An answer has about 10 KiB, so a megabyte of them is some hundred. */
	cr_assert(calls > 50 && calls < 1000, "%llu calls ran", (unsigned long long)calls);
	cr_assert_gt(sent, (int)calls);
	for (int i = 0; i < sent; i++)
		json_decref(rpc_client_take(&c));
	cr_assert_eq(h.control->counters[COUNTER_rpc_calls], (uint64_t)sent);
	cr_assert_eq(h.control->counters[COUNTER_rpc_answers_dropped], 0);
}

Test(rpc, refuses_clients_above_the_limit)
{
	struct rpc_client more[RPC_CLIENTS_MAX];

	for (unsigned i = 0; i < RPC_CLIENTS_MAX; i++) {
		rpc_client_open(&more[i], &h, rpc);
		harness_spin(&h, 1);
	}
	harness_spin(&h, 5);
	cr_assert(rpc_client_is_ended(&more[RPC_CLIENTS_MAX - 1]));
	cr_assert_eq(h.control->counters[COUNTER_rpc_refused], 1);
	rpc_client_close(&more[0]);
	rpc_client_open(&more[0], &h, rpc);
	json_decref(rpc_client_result(&more[0], "help", NULL));
	for (unsigned i = 0; i < RPC_CLIENTS_MAX; i++)
		rpc_client_close(&more[i]);
}

Test(rpc, turns_clients_away_when_there_are_no_descriptors)
{
	struct rpc_client other;
	struct rlimit limit;
	int first;

	expect_works();
	rpc_client_open(&other, &h, rpc);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	/* The lowest free number is the first that is not allowed any more. */
	first = dup(0);
	close(first);
	limit.rlim_cur = (rlim_t)first;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	harness_spin(&h, 5);
	limit.rlim_cur = limit.rlim_max;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	cr_assert(rpc_client_is_ended(&other));
	cr_assert_eq(h.control->counters[COUNTER_rpc_refused], 1);
	rpc_client_close(&other);
	expect_works();
}

/* ---- The socket ---- */

Test(rpc, makes_a_socket_only_for_its_user)
{
	struct stat st;

	cr_assert_eq(stat(rpc_path(rpc), &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0600);
}

Test(rpc, replaces_a_dead_socket_but_not_a_live_one)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct rpc *other = NULL;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	cr_assert_eq(rpc_create(&other, h.control, rpc_path(rpc)), -EADDRINUSE);
	cr_assert_null(other);
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/dead.sock", h.dir);
	cr_assert_eq(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	close(fd);
	cr_assert_eq(rpc_create(&other, h.control, sun.sun_path), 0);
	rpc_destroy(other);
	cr_assert_eq(access(sun.sun_path, F_OK), -1);
}

Test(rpc, refuses_bad_places)
{
	char path[200], file[128];
	struct rpc *other = NULL;
	FILE *f;

	snprintf(file, sizeof(file), "%s/plain", h.dir);
	f = fopen(file, "w");
	fclose(f);
	cr_assert_eq(rpc_create(&other, h.control, file), -EEXIST);
	snprintf(path, sizeof(path), "%s/open", h.dir);
	cr_assert_eq(mkdir(path, 0700), 0);
	cr_assert_eq(chmod(path, 0777), 0);
	snprintf(path, sizeof(path), "%s/open/s", h.dir);
	cr_assert_eq(rpc_create(&other, h.control, path), -EPERM);
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	cr_assert_eq(rpc_create(&other, h.control, path), -ENAMETOOLONG);
	snprintf(path, sizeof(path), "%s/new/folder/s", h.dir);
	cr_assert_eq(rpc_create(&other, h.control, path), 0);
	rpc_destroy(other);
}
