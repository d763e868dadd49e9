/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters of the control process, once: name and text.  They are exported as sluice_control_<name>
 * on /metrics and over the control socket.
 */
#ifndef CONTROL_COUNTERS_H
#define CONTROL_COUNTERS_H

#include "sluice/base/base.h"

/* clang-format off */
#define CONTROL_COUNTERS(X) \
X(attachments, "times the data plane was attached") \
X(attach_failed, "attempts to attach that failed although a data plane was there") \
X(link_lost, "times the data plane went away") \
X(link_queue_overflow, "links dropped because the data plane did not read its ring") \
X(link_protocol_errors, "links dropped because the data plane broke the rules of the channel") \
X(link_stale_answers, "answers of the data plane that nobody waits for any more") \
X(link_queued, "messages that had to wait for room in a ring") \
X(queries_timed_out, "queries the data plane did not answer in time") \
X(requests, "requests received") \
X(requests_again, "requests received again after a restart") \
X(requests_cancelled, "requests whose client left before the answer") \
X(requests_malformed, "requests refused as malformed, their connections closed") \
X(requests_unserved, "requests of an API or version the control process does not serve") \
X(requests_too_big, "requests whose decoded form or answer was too big") \
X(requests_retried, "requests run again because the metadata changed under them") \
X(responses, "responses sent") \
X(responses_dropped, "responses that could not be sent: the link was lost") \
X(images_full, "full images sent to the data plane") \
X(images_delta, "changes of the image sent to the data plane") \
X(image_ack_timeouts, "answers sent before the data plane had the change") \
X(slots_refused, "partition slots reported by the data plane that made no sense") \
X(partitions_failed, "partitions the data plane could not open") \
X(partitions_moved, "partitions given another leader because their lane is gone") \
X(meta_commits, "metadata transactions committed") \
X(meta_conflicts, "metadata transactions that lost against another one") \
X(meta_failed, "metadata transactions that could not be written") \
X(meta_snapshots, "metadata snapshots written") \
X(topics_auto_created, "topics created because a client asked for their metadata") \
X(offsets_loads, "partitions of __consumer_offsets loaded") \
X(offsets_load_errors, "reads of __consumer_offsets that failed and were repeated") \
X(offsets_appends, "batches appended to __consumer_offsets") \
X(offsets_append_errors, "appends to __consumer_offsets that failed") \
X(txn_loads, "partitions of __transaction_state loaded") \
X(txn_load_errors, "reads of __transaction_state that failed and were repeated") \
X(txn_appends, "batches appended to __transaction_state") \
X(txn_append_errors, "appends to __transaction_state that failed") \
X(txn_markers, "ends of transactions sent to partitions") \
X(txn_marker_errors, "ends of transactions that a partition refused or that were lost; they are repeated") \
X(txn_questions, "questions of lanes whether a transaction may reach a partition") \
X(rpc_connections, "connections to the control socket") \
X(rpc_refused, "connections to the control socket refused: too many, or not the server's user") \
X(rpc_calls, "calls on the control socket") \
X(rpc_errors, "calls on the control socket answered with an error") \
X(rpc_requests_too_big, "connections to the control socket closed: a request was too long") \
X(rpc_answers_dropped, "answers on the control socket that were too big or were not read") \
X(http_requests, "HTTP requests") \
X(http_refused, "HTTP requests answered with an error")
/* clang-format on */

#define CONTROL_COUNTER_ENUM_(name, text) COUNTER_##name,
enum counter {
	CONTROL_COUNTERS(CONTROL_COUNTER_ENUM_) COUNTER_NR
};
#undef CONTROL_COUNTER_ENUM_

struct counter_def {
	const char *name;
	const char *text;
};
extern const struct counter_def counter_defs[COUNTER_NR];

#endif
