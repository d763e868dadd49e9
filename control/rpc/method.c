/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry: every method once, with its parameters.  It checks calls, answers help and
 * rpc.discover, and is the source of Documentation/admin-guide/control-socket.md.
 */
#include <stdio.h>

#include "call.h"
#include "methods.h"
#include "rpc.h"
#include "value.h"

/* clang-format off */
static const struct rpc_method methods[] = {
	{"status", "Version, uptime, identity, data plane, counts, and health with its reasons",
	 "{version, pid, uptime_ms, server_id, cluster_id, nodes, data_plane, counts, health}", rpc_status, {{0}}},
	{"doctor", "Checks the machine and the running server",
	 "{checks: [{name, source, state: ok|warn|bad, cause, cost, fix}]}", rpc_doctor, {{0}}},
	{"lanes", "Counters of every lane and what follows from them since the data plane started",
	 "{mono_ms, lanes: [{lane, node_id, port, ratios, stats}]}", rpc_lanes, {{0}}},
	{"counters", "Counters of the control process and of the two coordinators",
	 "{control, group, txn}", rpc_counters, {{0}}},
	{"count-sites", "Odd but survivable conditions that were met, of both processes",
	 "{control: [{file, line, expr, hits}], dataplane}", rpc_count_sites, {{0}}},
	{"topics.list", "Topics in order of their names",
	 "{topics: [{name, topic_id, internal, partitions, replication_factor, size_bytes, online}], next}", rpc_topics_list,
	 {{"after", RPC_STRING, false, "names after this one; `next` of the answer before"},
	  {"limit", RPC_INT, false, "at most so many topics, 1 to 5000; 1000 when absent"}}},
	{"topics.create", "Creates a topic, as CreateTopics does",
	 "{name, topic_id, partitions, replication_factor}", rpc_topics_create,
	 {{"name", RPC_STRING, true, "name of the topic"},
	  {"partitions", RPC_INT, false, "partitions; num.partitions when absent"},
	  {"replication_factor", RPC_INT, false, "replicas; default.replication.factor when absent"},
	  {"configs", RPC_OBJECT, false, "topic configs, name to value"},
	  {"validate_only", RPC_BOOL, false, "only say whether it could be created"}}},
	{"topics.describe", "One topic with its partitions and its own configs",
	 "{name, topic_id, internal, configs, partitions: [as partitions.list]}", rpc_topics_describe,
	 {{"name", RPC_STRING, true, "name of the topic"}}},
	{"topics.delete", "Deletes a topic, as DeleteTopics does", "{name, topic_id}", rpc_topics_delete,
	 {{"name", RPC_STRING, true, "name of the topic"}}},
	{"topics.config.get", "Configs of a topic as they take effect",
	 "{name, configs: [{name, value, source, read_only}]}", rpc_configs_get,
	 {{"name", RPC_STRING, true, "name of the topic"},
	  {"config", RPC_STRING, false, "only this config"}}},
	{"topics.config.set", "Changes a topic's own configs, as IncrementalAlterConfigs does", "{name}", rpc_configs_set,
	 {{"name", RPC_STRING, true, "name of the topic"},
	  {"set", RPC_OBJECT, false, "configs to set, name to value"},
	  {"delete", RPC_ARRAY, false, "names of configs to give back to the default"},
	  {"validate_only", RPC_BOOL, false, "only say whether it could be done"}}},
	{"partitions.list", "Partitions in order of topic name and number",
	 "{partitions: [{topic, partition, leader, lane, leader_epoch, replicas, isr, state, log_start, high_watermark,"
	 " log_end, flushed, size_bytes, segments, dir}], next: {topic, partition}}", rpc_partitions_list,
	 {{"topic", RPC_STRING, false, "only those of this topic"},
	  {"after_topic", RPC_STRING, false, "go on behind this partition: `next` of the answer before"},
	  {"after_partition", RPC_INT, false, "with after_topic"},
	  {"limit", RPC_INT, false, "at most so many, 1 to 5000; 1000 when absent"}}},
	{"groups.list", "Consumer groups",
	 "{groups: [{group, type, state, protocol_type, protocol, generation, members, coordinator_partition, lag}]}", rpc_groups_list, {{0}}},
	{"groups.describe", "One group: members with what is assigned to them, committed offsets and lag",
	 "{group, type, state, protocol_type, protocol, members: [{member_id, instance_id, client_id, host, assignment}],"
	 " offsets: [{topic, partition, offset, log_end, lag, commit_ms}]}; of the consumer protocol also {epoch,"
	 " assignment_epoch} and for each member {type, epoch, topics, regex, target}", rpc_groups_describe,
	 {{"group", RPC_STRING, true, "id of the group"}}},
	{"groups.delete", "Deletes a group without members, as DeleteGroups does", "{group}", rpc_groups_delete,
	 {{"group", RPC_STRING, true, "id of the group"}}},
	{"groups.config.get", "Configs of a group of the consumer protocol as they take effect; the group need not exist",
	 "{name, configs: [{name, value, source, read_only}]}", rpc_group_configs_get,
	 {{"group", RPC_STRING, true, "id of the group"},
	  {"config", RPC_STRING, false, "only this config"}}},
	{"groups.config.set", "Changes a group's own configs, as IncrementalAlterConfigs does", "{name}", rpc_group_configs_set,
	 {{"group", RPC_STRING, true, "id of the group"},
	  {"set", RPC_OBJECT, false, "configs to set, name to value"},
	  {"delete", RPC_ARRAY, false, "names of configs to give back to the default"},
	  {"validate_only", RPC_BOOL, false, "only say whether it could be done"}}},
	{"groups.reset-offsets", "Commits other offsets for a group without members; kept within the log",
	 "{group, offsets: [{topic, partition, before, after}]}", rpc_reset_offsets,
	 {{"group", RPC_STRING, true, "id of the group"},
	  {"topic", RPC_STRING, true, "name of the topic"},
	  {"partition", RPC_INT, false, "only this partition"},
	  {"to", RPC_INT_OR_STR, false, "\"earliest\", \"latest\" or an offset"},
	  {"shift", RPC_INT, false, "instead of `to`: add this to what is committed"},
	  {"dry_run", RPC_BOOL, false, "only say what would be committed"}}},
	{"groups.delete-offsets", "Deletes what a group has committed, as OffsetDelete does; members that read the topic prevent it",
	 "{group, offsets: [{topic, partition, before}]}", rpc_delete_offsets,
	 {{"group", RPC_STRING, true, "id of the group"},
	  {"topic", RPC_STRING, true, "name of the topic"},
	  {"partition", RPC_INT, false, "only this partition"}}},
	{"txns.list", "Transactional ids, as ListTransactions lists them",
	 "{transactions: [{transactional_id, state, producer_id, producer_epoch, age_ms, timeout_ms, partitions,"
	 " coordinator_partition}]}", rpc_txns_list,
	 {{"state", RPC_STRING, false, "only those in this state, such as Ongoing"},
	  {"older_than_ms", RPC_INT, false, "only those whose transaction began longer ago"}}},
	{"txns.describe", "One transactional id with the partitions of its transaction",
	 "{transactional_id, state, producer_id, producer_epoch, timeout_ms, start_ms, topics: [{topic, partitions}]}", rpc_txns_describe,
	 {{"id", RPC_STRING, true, "the transactional id"}}},
	{"txns.find-hanging", "Open transactions on partitions that their coordinator knows nothing of",
	 "{transactions: [{topic, partition, producer_id, producer_epoch, offset, age_ms}]}", rpc_txns_find_hanging,
	 {{"topic", RPC_STRING, false, "only partitions of this topic"},
	  {"older_than_ms", RPC_INT, false, "only those older than this; transaction.max.timeout.ms when absent"}}},
	{"txns.abort", "Ends a producer's open transaction on one partition, as WriteTxnMarkers does",
	 "{topic, partition}", rpc_txns_abort,
	 {{"topic", RPC_STRING, true, "name of the topic"},
	  {"partition", RPC_INT, true, "number of the partition"},
	  {"producer_id", RPC_INT, true, "the producer"},
	  {"producer_epoch", RPC_INT, true, "its epoch, as txns.find-hanging tells it"}}},
	{"connections", "Client connections of the data plane", "{connections: [...], truncated}", rpc_connections,
	 {{"lane", RPC_INT, false, "only those of this lane"},
	  {"limit", RPC_INT, false, "at most so many"}}},
	{"steer", "State and counters of the eBPF programs", "what the data plane's steering reports", rpc_steer, {{0}}},
	{"steer.ban", "Drops everything from these sources in the XDP program", "{}", rpc_steer_change,
	 {{"cidr", RPC_STRING, true, "addresses, such as 192.0.2.0/24"}}},
	{"steer.unban", "Takes back steer.ban", "{}", rpc_steer_change,
	 {{"cidr", RPC_STRING, true, "as it was given to steer.ban"}}},
	{"steer.redirect", "New connections to one lane's port go to another lane", "{}", rpc_steer_change,
	 {{"from", RPC_INT, true, "lane whose port it is"},
	  {"to", RPC_INT, true, "lane that gets them; the same lane takes it back"}}},
	{"log.level", "Reads the log levels of both processes, or sets one",
	 "{control: {module: level}, dataplane: {module: level}}", rpc_log_level,
	 {{"module", RPC_STRING, false, "a module, or \"all\""},
	  {"level", RPC_STRING, false, "err, warn, info or debug; with module"},
	  {"process", RPC_STRING, false, "\"control\" or \"dataplane\"; both when absent"}}},
	{"help", "Lists the methods, or describes one", "{methods: [{name, text}]} or the method", rpc_help,
	 {{"method", RPC_STRING, false, "name of a method"}}},
	{"rpc.discover", "The whole table of methods", "{version, methods: [{name, text, params, result}]}", rpc_discover, {{0}}},
};
/* clang-format on */

const struct rpc_method *method_at(unsigned index)
{
	return index < SL_ARRAY_SIZE(methods) ? &methods[index] : NULL;
}

const struct rpc_method *method_find(const char *name)
{
	for (unsigned i = 0; i < SL_ARRAY_SIZE(methods); i++) {
		if (strcmp(methods[i].name, name) == 0)
			return &methods[i];
	}
	return NULL;
}

const char *method_type_name(enum rpc_type type)
{
	static const char *const names[] = {
		[RPC_STRING] = "a string",           [RPC_INT] = "an integer",
		[RPC_BOOL] = "true or false",        [RPC_OBJECT] = "an object of strings",
		[RPC_ARRAY] = "an array of strings", [RPC_INT_OR_STR] = "an integer or a string",
	};

	return names[type];
}

/* ---- help, rpc.discover ---- */

static json_t *describe(const struct rpc_method *m)
{
	json_t *params = json_array();

	for (unsigned i = 0; i < RPC_PARAMS_MAX && m->params[i].name; i++) {
		const struct rpc_param *p = &m->params[i];

		value_append(&params, json_pack("{s:s, s:s, s:b, s:s}", "name", p->name, "type",
		                                method_type_name(p->type), "required",
		                                (int)p->is_required, "text", p->text));
	}
	return json_pack("{s:s, s:s, s:o, s:s}", "name", m->name, "text", m->text, "params", params,
	                 "result", m->result);
}

void rpc_help(struct rpc_call *call)
{
	const char *name = rpc_call_str(call, "method");
	const struct rpc_method *m = name ? method_find(name) : NULL;
	json_t *list;

	if (name && !m) {
		rpc_call_error(call, RPC_NOT_FOUND, "there is no method \"%.100s\"", name);
		return;
	}
	if (m) {
		rpc_call_result(call, describe(m));
		return;
	}
	list = json_array();
	for (unsigned i = 0; i < SL_ARRAY_SIZE(methods); i++)
		value_append(&list, json_pack("{s:s, s:s}", "name", methods[i].name, "text",
		                              methods[i].text));
	rpc_call_result(call, json_pack("{s:o}", "methods", list));
}

void rpc_discover(struct rpc_call *call)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < SL_ARRAY_SIZE(methods); i++)
		value_append(&list, describe(&methods[i]));
	rpc_call_result(call, json_pack("{s:i, s:o}", "version", 1, "methods", list));
}

/* ---- Documentation ---- */

static const char introduction[] =
	"The control process listens on a unix stream socket: `control.socket`, or `run/sluice.sock` in the data folder.\n"
	"Only root and the user that the server runs as are let in: the folder has mode 0700, the socket 0600, and the\n"
	"kernel's word on the peer's user id is checked. [sluicectl](sluicectl.md) is its client; any program can be one:\n"
	"\n"
	"    echo '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}' | socat -t 5 - UNIX-CONNECT:sluice-data/run/sluice.sock\n"
	"\n"
	"## Form\n"
	"\n"
	"JSON-RPC 2.0, UTF-8. Each message is one line, ended by a newline; a carriage return before it and empty lines do not\n"
	"count. Parameters are given by name. A request without `id` is a notification and gets no answer. An array of up to 64\n"
	"requests is a batch; its answer is one array. Requests of one connection may be sent without waiting; answers come in\n"
	"the order in which they are ready, so tell them apart by `id`.\n"
	"\n"
	"| limit | value | what happens above it |\n"
	"|---|---|---|\n"
	"| clients | 64 | the connection is closed at once |\n"
	"| request line | 1 MiB | error -32600, then the connection is closed |\n"
	"| running calls of a client | 32 | further lines wait |\n"
	"| unread answers of a client | 1 MiB | further lines wait |\n"
	"| one answer | 64 MiB | error -32000; ask for less (`limit`) |\n"
	"\n"
	"| code | meaning |\n"
	"|---|---|\n"
	"| -32700 | the line is not JSON |\n"
	"| -32600 | not a request of JSON-RPC 2.0 |\n"
	"| -32601 | there is no such method |\n"
	"| -32602 | unknown, missing or wrong parameters; the message says which |\n"
	"| -32603 | internal error: out of memory |\n"
	"| -32000 | refused or failed; `data` has `kafka_error` and `kafka_code` where Kafka has a name for it |\n"
	"| -32001 | the data plane is not attached or does not answer |\n"
	"| -32002 | what is named does not exist |\n"
	"| -32003 | a limit is reached |\n"
	"\n"
	"What changes topics, configs, groups and offsets runs through the same handlers as the requests of Kafka clients, so\n"
	"rules and errors are the same.\n"
	"\n"
	"## Methods\n";

void rpc_print_markdown(FILE *file)
{
	fputs(introduction, file);
	for (unsigned i = 0; i < SL_ARRAY_SIZE(methods); i++) {
		const struct rpc_method *m = &methods[i];

		fprintf(file, "\n### %s\n\n%s. Result: `%s`.\n", m->name, m->text, m->result);
		if (m->params[0].name)
			fputs("\n| parameter | type | required | meaning |\n|---|---|---|---|\n",
			      file);
		for (unsigned p = 0; p < RPC_PARAMS_MAX && m->params[p].name; p++)
			fprintf(file, "| `%s` | %s | %s | %s |\n", m->params[p].name,
			        method_type_name(m->params[p].type),
			        m->params[p].is_required ? "yes" : "no", m->params[p].text);
	}
}
