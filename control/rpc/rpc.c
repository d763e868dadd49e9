/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket's connections.  Runs on the loop's thread.
 *
 * conn_pump() is the only place that reads, writes or frees a connection; answers are appended to
 * its buffer wherever they arise and the pump is posted.
 */
#include "rpc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "sluice/base/assert.h"
#include "sluice/base/buf.h"
#include "sluice/base/file.h"
#include "sluice/base/log.h"

#include "call.h"
#include "control.h"
#include "lines.h"

#define SOCKET_NAME   "run/sluice.sock"
#define LISTEN_QUEUE  16
/* Read from one client before the others get their turn. */
#define READ_PER_PUMP 262144
/* Unsent answers, and as much again that was sent and not yet moved away. */
#define OUT_MAX       (2 * (size_t)RPC_ANSWER_MAX)

struct rpc {
	struct control *c;
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	struct loop_fd listen;
	int spare_fd; /* given up for a moment when there is no other descriptor left; -1: none */
	struct sl_list conns;
	uint32_t conns_count;
};

struct conn {
	struct rpc *rpc;
	struct call_sink sink;
	struct sl_list link;
	struct loop_fd fd;
	struct loop_work work;
	uint32_t events; /* asked for */
	struct lines in;
	struct sl_buf out;
	size_t out_pos; /* of the first byte not yet written */
	bool is_ended;  /* nothing more will be read */
	bool is_broken; /* nothing more can be written */
};

/* ---- Answers ---- */

static size_t conn_unsent(const struct conn *conn)
{
	return conn->out.len - conn->out_pos;
}

static void conn_send(struct call_sink *sink, const char *p, size_t len)
{
	struct conn *conn = SL_CONTAINER_OF(sink, struct conn, sink);
	static const char too_big[] = "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32000,"
				      "\"message\":\"the answer is too big; ask for less\"}}\n";

	if (conn->is_broken)
		return;
	if (len < RPC_ANSWER_MAX - conn_unsent(conn)) {
		sl_buf_put(&conn->out, p, len);
		sl_buf_put(&conn->out, "\n", 1);
	} else if (conn_unsent(conn) == 0) {
		control_count(conn->rpc->c, COUNTER_rpc_answers_dropped);
		sl_buf_put(&conn->out, too_big, sizeof(too_big) - 1);
		conn->is_ended = true;
	} else {
		control_count(conn->rpc->c, COUNTER_rpc_answers_dropped);
		conn->is_broken = true;
	}
	if (!sl_buf_ok(&conn->out))
		conn->is_broken = true;
	loop_work_post(conn->rpc->c->loop, &conn->work);
}

/* A call less is running, maybe without an answer: waiting lines may go on. */
static void conn_ended(struct call_sink *sink)
{
	struct conn *conn = SL_CONTAINER_OF(sink, struct conn, sink);

	loop_work_post(conn->rpc->c->loop, &conn->work);
}

static void conn_write(struct conn *conn)
{
	while (!conn->is_broken && conn_unsent(conn) > 0) {
		ssize_t n = send(conn->fd.fd, conn->out.p + conn->out_pos, conn_unsent(conn),
		                 MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			break;
		if (n < 0)
			conn->is_broken = true;
		else
			conn->out_pos += (size_t)n;
	}
	if (conn_unsent(conn) == 0 && conn->out.cap > RPC_OUT_PAUSE) {
		sl_buf_fini(&conn->out);
		sl_buf_init_grow(&conn->out, OUT_MAX);
		conn->out_pos = 0;
	} else if (conn->out_pos >= conn_unsent(conn)) {
		/* What is moved is never more than what was sent since the last time. */
		if (conn_unsent(conn) > 0)
			memmove(conn->out.p, conn->out.p + conn->out_pos, conn_unsent(conn));
		conn->out.len -= conn->out_pos;
		conn->out_pos = 0;
	}
}

/* ---- Requests ---- */

static bool conn_may_start(const struct conn *conn)
{
	return !conn->is_broken && conn->sink.calls_count < RPC_CALLS_MAX &&
	       conn_unsent(conn) < RPC_OUT_PAUSE;
}

/* Starts what complete lines ask for.  Return: whether lines are left that have to wait. */
static bool conn_run_lines(struct conn *conn)
{
	struct sl_str line;
	int rc;

	for (;;) {
		if (!conn_may_start(conn))
			return true;
		rc = lines_next(&conn->in, &line);
		if (rc == 0)
			return false;
		if (rc < 0) {
			control_count(conn->rpc->c, COUNTER_rpc_requests_too_big);
			call_refuse(&conn->sink, RPC_INVALID_REQUEST,
			            "a request has at most 1048576 bytes; closing");
			lines_fini(&conn->in);
			conn->is_ended = true;
			return false;
		}
		call_receive(&conn->sink, line);
	}
}

/* Return: bytes read; 0 nothing now. */
static size_t conn_read(struct conn *conn)
{
	size_t room;
	void *p = lines_room(&conn->in, &room);
	ssize_t n;

	if (!p) {
		conn->is_broken = true;
		return 0;
	}
	n = recv(conn->fd.fd, p, room, 0);
	if (n > 0) {
		lines_added(&conn->in, (size_t)n);
		return (size_t)n;
	}
	if (n == 0)
		conn->is_ended = true;
	else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
		conn->is_broken = true;
	return 0;
}

static void conn_free(struct conn *conn)
{
	struct rpc *rpc = conn->rpc;

	loop_work_cancel(&conn->work);
	loop_fd_del(rpc->c->loop, &conn->fd);
	close(conn->fd.fd);
	call_sink_fini(&conn->sink);
	lines_fini(&conn->in);
	sl_buf_fini(&conn->out);
	sl_list_del(&conn->link);
	rpc->conns_count--;
	free(conn);
}

static void conn_pump(struct conn *conn)
{
	struct loop *loop = conn->rpc->c->loop;
	size_t total = 0, n = 1;
	bool is_waiting = conn_run_lines(conn);
	uint32_t events;

	while (!is_waiting && !conn->is_ended && !conn->is_broken && n > 0 &&
	       total < READ_PER_PUMP) {
		n = conn_read(conn);
		total += n;
		is_waiting = conn_run_lines(conn);
	}
	conn_write(conn);
	/* A client that only closed its sending half still gets its answers. */
	if (conn->is_broken || (conn->is_ended && !is_waiting && conn->sink.calls_count == 0 &&
	                        conn_unsent(conn) == 0)) {
		conn_free(conn);
		return;
	}
	/* Writing may have made room again. */
	if (is_waiting && conn_may_start(conn))
		loop_work_post(loop, &conn->work);
	events = (is_waiting || conn->is_ended ? 0 : EPOLLIN) |
	         (conn_unsent(conn) > 0 ? EPOLLOUT : 0);
	if (events != conn->events && loop_fd_mod(loop, &conn->fd, events) == 0)
		conn->events = events;
}

static void conn_ready(void *arg, uint32_t events)
{
	struct conn *conn = arg;

	/* EPOLLHUP comes without being asked for.  What was sent before it is still run. */
	if ((events & (EPOLLERR | EPOLLHUP)) && !(events & EPOLLIN))
		conn->is_broken = true;
	conn_pump(conn);
}

static void conn_work(void *arg)
{
	conn_pump(arg);
}

/* ---- Clients come ---- */

static bool is_trusted(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
	       (peer.uid == 0 || peer.uid == geteuid());
}

static int conn_create(struct rpc *rpc, int fd)
{
	struct conn *conn = calloc(1, sizeof(*conn));
	int rc;

	if (!conn)
		return -ENOMEM;
	conn->rpc = rpc;
	conn->in.line_max = RPC_REQUEST_MAX;
	sl_buf_init_grow(&conn->out, OUT_MAX);
	conn->fd = (struct loop_fd){fd, conn_ready, conn};
	conn->events = EPOLLIN;
	rc = loop_fd_add(rpc->c->loop, &conn->fd, EPOLLIN);
	if (rc < 0) {
		free(conn);
		return rc;
	}
	loop_work_init(&conn->work, conn_work, conn);
	call_sink_init(&conn->sink, rpc->c, conn_send, conn_ended);
	sl_list_push_back(&rpc->conns, &conn->link);
	rpc->conns_count++;
	control_count(rpc->c, COUNTER_rpc_connections);
	return 0;
}

static int open_spare(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Without descriptors a waiting client would keep the loop awake: it is taken and turned away. */
static void refuse_one(struct rpc *rpc)
{
	int fd;

	if (rpc->spare_fd >= 0)
		close(rpc->spare_fd);
	fd = accept4(rpc->listen.fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
	rpc->spare_fd = open_spare();
	control_count(rpc->c, COUNTER_rpc_refused);
	sl_log(WARN, rpc, "refuse client reason=\"no descriptors\"");
}

static void accept_ready(void *arg, uint32_t events)
{
	struct rpc *rpc = arg;
	int fd = accept4(rpc->listen.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)events;
	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE)
			refuse_one(rpc);
		return;
	}
	if (rpc->conns_count < RPC_CLIENTS_MAX && is_trusted(fd) && conn_create(rpc, fd) == 0)
		return;
	control_count(rpc->c, COUNTER_rpc_refused);
	sl_log(WARN, rpc, "refuse client clients=%u max=%u", rpc->conns_count, RPC_CLIENTS_MAX);
	close(fd);
}

/* ---- The socket ---- */

/* The folder is ours alone to write to. */
static int prepare_folder(const char *path)
{
	char dir[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	const char *slash = strrchr(path, '/');
	struct stat st;
	int rc;

	if (!slash || slash == path)
		return 0;
	memcpy(dir, path, (size_t)(slash - path));
	dir[slash - path] = '\0';
	rc = sl_mkdir_p(dir, 0700);
	if (rc < 0)
		return rc;
	if (stat(dir, &st) < 0)
		return -errno;
	/* With the sticky bit others may write, but not replace what is ours. */
	if ((st.st_uid != geteuid() && st.st_uid != 0) ||
	    ((st.st_mode & 022) && !(st.st_mode & S_ISVTX)))
		return -EPERM;
	return 0;
}

/* Removes the socket of a process that is gone. */
static int remove_old(const struct sockaddr_un *sun)
{
	struct stat st;
	int fd, rc;

	if (lstat(sun->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* EAGAIN: somebody listens, with a full queue. */
	rc = connect(fd, (const struct sockaddr *)sun, sizeof(*sun)) == 0 || errno == EAGAIN
	             ? -EADDRINUSE
	             : 0;
	close(fd);
	if (rc == 0 && unlink(sun->sun_path) < 0 && errno != ENOENT)
		rc = -errno;
	return rc;
}

static int open_socket(const char *path)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd, rc;

	memcpy(sun.sun_path, path, strlen(path) + 1);
	rc = prepare_folder(path);
	if (rc == 0)
		rc = remove_old(&sun);
	if (rc < 0)
		return rc;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* Nobody can connect before listen(2), so the mode is right before it counts. */
	if (bind(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0) {
		rc = -errno;
	} else if (chmod(path, 0600) < 0 || listen(fd, LISTEN_QUEUE) < 0) {
		rc = -errno;
		(void)unlink(path);
	}
	if (rc < 0) {
		close(fd);
		return rc;
	}
	return fd;
}

static int choose_path(struct rpc *rpc, const char *path)
{
	const char *configured = sl_conf_str(rpc->c->conf, SL_CK_control_socket);
	int n;

	if (path && *path)
		n = snprintf(rpc->path, sizeof(rpc->path), "%s", path);
	else if (*configured)
		n = snprintf(rpc->path, sizeof(rpc->path), "%s", configured);
	else
		n = snprintf(rpc->path, sizeof(rpc->path), "%s/" SOCKET_NAME, rpc->c->data_dir);
	return n < 0 || (size_t)n >= sizeof(rpc->path) ? -ENAMETOOLONG : 0;
}

int rpc_create(struct rpc **out, struct control *c, const char *path)
{
	struct rpc *rpc = calloc(1, sizeof(*rpc));
	int rc;

	if (!rpc)
		return -ENOMEM;
	rpc->c = c;
	rpc->spare_fd = open_spare();
	sl_list_init(&rpc->conns);
	rc = choose_path(rpc, path);
	if (rc == 0)
		rc = open_socket(rpc->path);
	if (rc < 0)
		goto err_free;
	rpc->listen = (struct loop_fd){rc, accept_ready, rpc};
	rc = loop_fd_add(c->loop, &rpc->listen, EPOLLIN);
	if (rc < 0)
		goto err_close;
	sl_log(INFO, rpc, "listen socket=%s", rpc->path);
	*out = rpc;
	return 0;

err_close:
	close(rpc->listen.fd);
	(void)unlink(rpc->path);
err_free:
	sl_log(ERR, rpc, "refuse socket=%s error=\"%s\"", rpc->path, strerror(-rc));
	if (rpc->spare_fd >= 0)
		close(rpc->spare_fd);
	free(rpc);
	return rc;
}

void rpc_destroy(struct rpc *rpc)
{
	if (!rpc)
		return;
	while (!sl_list_is_empty(&rpc->conns))
		conn_free(sl_list_first(&rpc->conns, struct conn, link));
	loop_fd_del(rpc->c->loop, &rpc->listen);
	close(rpc->listen.fd);
	(void)unlink(rpc->path);
	if (rpc->spare_fd >= 0)
		close(rpc->spare_fd);
	free(rpc);
}

const char *rpc_path(const struct rpc *rpc)
{
	return rpc->path;
}
