/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor: measures the disks (probe.c), asks the data plane for its checks, and adds its own.  What
 * the data plane says about a thing replaces what is guessed here.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "checks.h"
#include "methods.h"
#include "probe.h"
#include "value.h"

struct doctor {
	struct rpc_call *call;
	struct loop *loop;
	struct probe *probe; /* Owned hold; NULL once done */
	struct loop_fd fd;
	json_t *disks; /* Owned */
};

static void stop_probe(struct doctor *d)
{
	if (!d->probe)
		return;
	loop_fd_del(d->loop, &d->fd);
	probe_put(d->probe);
	d->probe = NULL;
}

static void doctor_free(void *state)
{
	struct doctor *d = state;

	stop_probe(d);
	json_decref(d->disks);
	free(d);
}

static json_t *find_check(json_t *list, const char *name)
{
	size_t index;
	json_t *check;

	json_array_foreach(list, index, check) {
		const char *other = json_string_value(json_object_get(check, "name"));

		if (other && name && strcmp(other, name) == 0)
			return check;
	}
	return NULL;
}

/* An empty text is none. */
static json_t *text_or_null(json_t *check, const char *key)
{
	json_t *text = json_object_get(check, key);

	return json_string_length(text) > 0 ? json_incref(text) : json_null();
}

/* The data plane's checks in our form. */
static void add_theirs(json_t **all, json_t *theirs)
{
	size_t index;
	json_t *check;

	json_array_foreach(theirs, index, check) {
		const char *state = json_string_value(json_object_get(check, "state"));
		const char *name = json_string_value(json_object_get(check, "name"));

		if (!json_is_object(check) || !state)
			continue;
		if (strcmp(state, "fail") == 0)
			state = "bad";
		value_append(all, json_pack("{s:s?, s:s, s:s, s:o, s:o, s:o}", "name", name,
		                            "source", "dataplane", "state", state, "cause",
		                            text_or_null(check, "cause"), "cost",
		                            text_or_null(check, "cost"), "fix",
		                            text_or_null(check, "fix")));
	}
}

static void join(struct rpc_call *call, int error, json_t *answer)
{
	struct doctor *d = call->state;
	json_t *theirs = json_is_array(answer) ? answer : json_object_get(answer, "checks");
	json_t *own = json_array(), *all = json_array();
	char cause[128];
	size_t index;
	json_t *check;

	if (error != 0) {
		snprintf(cause, sizeof(cause), "the data plane does not answer: %s",
		         strerror(-error));
		checks_add(&all, "dataplane",
		           &(struct check_text){"bad", cause, "no client can be served",
		                                "look at the data plane's log; is sluice-dataplane "
		                                "running?"});
	}
	checks_machine(&own, call->c);
	json_array_foreach(own, index, check) {
		if (!find_check(theirs, json_string_value(json_object_get(check, "name"))))
			value_append(&all, json_incref(check));
	}
	add_theirs(&all, theirs);
	json_decref(own);
	json_array_foreach(d->disks, index, check)
		value_append(&all, json_incref(check));
	rpc_call_result(call, json_pack("{s:o}", "checks", all));
}

static void measured(void *arg, uint32_t events)
{
	struct doctor *d = arg;
	const struct probe_result *results;
	uint32_t count = probe_results(d->probe, &results);

	(void)events;
	for (uint32_t i = 0; i < count; i++)
		checks_disk(&d->disks, &results[i]);
	stop_probe(d);
	/* From here on the answer to a question comes, whatever happens. */
	d->call->cancel = NULL;
	query_host(d->call, "doctor", NULL, join);
}

void rpc_doctor(struct rpc_call *call)
{
	struct control *c = call->c;
	struct doctor *d = calloc(1, sizeof(*d));
	char *const *dirs;
	uint32_t dirs_count = control_log_dirs(c, &dirs);
	int rc;

	if (!d) {
		rpc_call_error(call, RPC_INTERNAL, "out of memory");
		return;
	}
	d->call = call;
	d->loop = c->loop;
	d->disks = json_array();
	rpc_call_keep(call, d, doctor_free);
	rc = probe_start(&d->probe, dirs, dirs_count);
	if (rc == -EBUSY) {
		rpc_call_error(call, RPC_BUSY, "another doctor is measuring the disks; try again");
		return;
	}
	if (rc == 0) {
		d->fd = (struct loop_fd){probe_fd(d->probe), measured, d};
		rc = loop_fd_add(c->loop, &d->fd, EPOLLIN);
	}
	if (rc < 0) {
		rpc_call_error(call, RPC_INTERNAL, "cannot measure the disks: %s", strerror(-rc));
		return;
	}
	call->cancel = rpc_call_drop;
}
