#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 180
"""/metrics: a form that Prometheus reads, the names that Kafka's dashboards ask for, and numbers that are
those of the clients."""

import pathlib
import re
import signal
import socket
import sys
import time
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "interop" / "support"))
import wire  # noqa: E402
from sluice import ROOT, Broker, check, main, skip, wait_for  # noqa: E402

try:
    from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
except ImportError:
    skip("python3-confluent-kafka is not installed")

LANES = 2
PARTITIONS = 4
RECORDS = 4000
VALUE = b"v" * 100

# What the dashboards of Strimzi and kafka_exporter query, as far as one server has it.
KAFKA = """
    kafka_server_brokertopicmetrics_bytesin_total kafka_server_brokertopicmetrics_bytesout_total
    kafka_server_brokertopicmetrics_messagesin_total
    kafka_server_brokertopicmetrics_totalproducerequests_total
    kafka_server_brokertopicmetrics_totalfetchrequests_total
    kafka_server_brokertopicmetrics_failedproducerequests_total
    kafka_server_brokertopicmetrics_failedfetchrequests_total
    kafka_server_replicamanager_underreplicatedpartitions kafka_server_replicamanager_partitioncount
    kafka_server_replicamanager_leadercount kafka_controller_kafkacontroller_activecontrollercount
    kafka_controller_kafkacontroller_offlinepartitionscount kafka_cluster_partition_underminisr
    kafka_cluster_partition_atminisr kafka_cluster_partition_replicascount kafka_log_log_size
    kafka_network_socketserver_networkprocessoravgidle_percent
    kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent
    kafka_server_socket_server_metrics_connection_count
    kafka_server_kafkaserver_linux_disk_read_bytes kafka_server_kafkaserver_linux_disk_write_bytes
    kafka_brokers kafka_topic_partitions kafka_topic_partition_current_offset
    kafka_topic_partition_oldest_offset kafka_topic_partition_in_sync_replica
    kafka_topic_partition_leader kafka_topic_partition_leader_is_preferred
    kafka_topic_partition_replicas kafka_topic_partition_under_replicated_partition
    kafka_consumergroup_current_offset kafka_consumergroup_current_offset_sum kafka_consumergroup_lag
    kafka_consumergroup_lag_sum kafka_consumergroup_members""".split()

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABELS = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABELS}(?:,{LABELS})*)?,?\}})? (\S+)")


def fetch(broker, path="/metrics", method="GET"):
    """(status, content type, text)"""
    request = urllib.request.Request(f"http://127.0.0.1:{broker.http}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read().decode()


class Page:
    """The page, read as strictly as its format (text 0.0.4) is written down."""

    def __init__(self, broker):
        status, kind, text = fetch(broker)
        check(status == 200 and kind.startswith("text/plain; version=0.0.4"), f"{status} {kind}")
        check(text.endswith("\n"), "the last line is cut")
        self.types, self.values = {}, {}
        helps, family = set(), None
        for line in text.split("\n")[:-1]:
            head = re.fullmatch(rf"# (HELP|TYPE) ({NAME}) (.+)", line)
            if head and head[1] == "HELP":
                check(head[2] not in helps, f"two HELP: {line}")
                helps.add(head[2])
            elif head:
                check(head[2] not in self.types, f"two TYPE, or its samples are not together: {line}")
                check(head[3] in ("counter", "gauge"), line)
                self.types[head[2]] = head[3]
                family = head[2]
            else:
                self.sample(line, family)
        check(helps == set(self.types), f"HELP without TYPE or the reverse: {helps ^ set(self.types)}")

    def sample(self, line, family):
        match = SAMPLE.fullmatch(line)
        check(match, f"not a sample: {line!r}")
        check(match[1] == family, f"a sample outside of its family {family}: {line}")
        labels = tuple(sorted(re.findall(rf"({NAME})=\"((?:[^\"\\]|\\.)*)\"", match[2] or "")))
        check(len(dict(labels)) == len(labels), f"a label twice: {line}")
        check((family, labels) not in self.values, f"a sample twice: {line}")
        value = float(match[3])
        check(self.types[family] == "gauge" or value >= 0, f"a counter below 0: {line}")
        self.values[family, labels] = value

    def of(self, name, **labels):
        """{labels that were not asked for: value}"""
        asked = set(labels.items())
        return {tuple(v for _, v in sorted(set(have) - asked)): value
                for (n, have), value in self.values.items() if n == name and asked <= set(have)}

    def one(self, name, **labels):
        found = self.of(name, **labels)
        check(len(found) == 1, f"{name} {labels}: {found}")
        return next(iter(found.values()))

    def sum(self, name, **labels):
        found = self.of(name, **labels)
        check(found, f"no {name} {labels}")
        return sum(found.values())


def produce(broker, count, partitions=PARTITIONS, topic="t"):
    failed = []
    producer = Producer({"bootstrap.servers": broker.bootstrap, "acks": "all", "linger.ms": 5,
                         "log_level": 0})
    for i in range(count):
        # Partition p gets p + 1 shares, so that no two have the same end.
        p = next(p for p in range(partitions) if i % 10 <= p * (p + 3) // 2)
        producer.produce(topic, VALUE, partition=p, on_delivery=lambda e, _: e and failed.append(e))
        producer.poll(0)
    producer.flush(30)
    return failed


def consumer(broker, group="readers", **more):
    return Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group, "log_level": 0,
                     "auto.offset.reset": "earliest", "enable.auto.commit": False, **more})


def names_and_form(broker):
    # The idle shares need some seconds to be measured in.
    page = wait_for("the idle shares",
                    lambda: (p := Page(broker)).of("kafka_network_socketserver_networkprocessoravgidle_percent")
                    and p, interval=0.5)
    missing = [name for name in KAFKA if name not in page.types]
    check(not missing, f"missing: {missing}")
    for name, kind in page.types.items():
        check(kind == "counter" or not name.endswith("_total"), f"{name} is a {kind}")
        # Kafka's own names of counters end so.
        check(kind == "gauge" or name.endswith("_total") or re.fullmatch("kafka_.*_count", name), f"{name} is a {kind}")
    documented = set(re.findall(r"^\| `([\w:]+)` \|", (ROOT / "Documentation" / "admin-guide" /
                                                      "metrics.md").read_text(), re.MULTILINE))
    unknown = set(page.types) - documented
    check(not unknown, f"not in metrics.md: {unknown}")
    return page


def what_kafka_dashboards_ask_for_is_there():
    with Broker(lanes=LANES) as broker:
        Page(broker)  # with nothing in it
        broker.ctl("topics", "create", "t", "--partitions", str(PARTITIONS))
        produce(broker, 100)
        reader = consumer(broker)
        reader.subscribe(["t"])
        wait_for("a record", lambda: reader.poll(0.2))
        reader.commit(asynchronous=False)
        page = names_and_form(broker)
        check(page.one("kafka_brokers") == LANES, "kafka_brokers")
        check(page.one("kafka_controller_kafkacontroller_activecontrollercount") == 1, "controller")
        check(page.one("kafka_controller_kafkacontroller_offlinepartitionscount") == 0, "offline")
        check(page.one("kafka_server_replicamanager_underreplicatedpartitions") == 0, "underreplicated")
        check(page.one("kafka_topic_partitions", topic="t") == PARTITIONS, "kafka_topic_partitions")
        everything = page.sum("kafka_topic_partitions")
        for name in ("partitioncount", "leadercount"):
            check(page.sum(f"kafka_server_replicamanager_{name}") == everything, name)
        for name, value in (("replicas", 1), ("in_sync_replica", 1), ("leader_is_preferred", 1),
                            ("under_replicated_partition", 0)):
            found = page.of(f"kafka_topic_partition_{name}", topic="t")
            check(found == {(str(p),): value for p in range(PARTITIONS)}, f"{name}: {found}")
        leaders = {p.id: p.leader for p in reader.list_topics("t").topics["t"].partitions.values()}
        found = page.of("kafka_topic_partition_leader", topic="t")
        check(found == {(str(p),): node for p, node in leaders.items()}, f"leader: {found}, {leaders}")
        age = page.of("kafka_log_logcleanermanager_time_since_last_run_ms")
        check(age and all(0 <= ms < 30000 for ms in age.values()), f"looks at compacted logs: {age}")
        for name in ("kafka_network_socketserver_networkprocessoravgidle_percent",
                     "kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent"):
            check(all(0 <= v <= 1 for v in page.of(name).values()), f"{name}: {page.of(name)}")
        reader.close()


def traffic_is_counted_as_the_clients_count_it():
    with Broker(lanes=LANES) as broker:
        broker.ctl("topics", "create", "t", "--partitions", str(PARTITIONS))
        before = Page(broker)
        check(not produce(broker, RECORDS), "a record was refused")
        after = Page(broker)

        def rise(name):
            name = f"kafka_server_brokertopicmetrics_{name}_total"
            return after.sum(name) - before.sum(name)

        check(rise("messagesin") == RECORDS, f"messagesin rose by {rise('messagesin')}")
        check(RECORDS * len(VALUE) < rise("bytesin") < RECORDS * (len(VALUE) + 100), f"{rise('bytesin')}")
        check(0 < rise("totalproducerequests") <= RECORDS, f"{rise('totalproducerequests')}")
        check(rise("failedproducerequests") == 0 and rise("bytesout") == 0, "out of nothing")
        size = after.sum("kafka_log_log_size", topic="t")
        check(size == rise("bytesin"), f"log size {size}, bytes in {rise('bytesin')}")
        on_disk = sum(f.stat().st_size for f in (broker.data / "log").glob("t-*/*.log"))
        check(on_disk >= size, f"log size {size}, files {on_disk}")
        stored = rise("bytesin")

        before = after
        reader = consumer(broker)
        reader.assign([TopicPartition("t", p, 0) for p in range(PARTITIONS)])
        got = 0
        while got < RECORDS:
            batch = reader.consume(RECORDS, timeout=10)
            check(batch, f"got only {got} records")
            got += len(batch)
        reader.close()
        after = Page(broker)
        check(stored <= rise("bytesout") <= 2 * stored, f"bytesout {rise('bytesout')}, stored {stored}")
        check(rise("totalfetchrequests") > 0 and rise("messagesin") == 0, "fetch requests")


def failures_are_counted():
    with Broker() as broker:
        broker.ctl("topics", "create", "small", "--partitions", "1", "--config", "max.message.bytes=200")
        before = Page(broker)
        failed = []
        producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
        producer.produce("small", b"x" * 1000, on_delivery=lambda e, _: failed.append(e))
        producer.flush(10)
        check(failed[0] and failed[0].code() == KafkaError.MSG_SIZE_TOO_LARGE, f"produce: {failed}")
        reader = consumer(broker, **{"auto.offset.reset": "error"})
        reader.assign([TopicPartition("small", 0, 1_000_000)])
        message = wait_for("the error", lambda: reader.poll(0.5))
        check(message.error().code() == KafkaError._AUTO_OFFSET_RESET, f"fetch: {message.error()}")
        reader.close()
        after = Page(broker)
        for name in ("failedproducerequests", "failedfetchrequests"):
            name = f"kafka_server_brokertopicmetrics_{name}_total"
            check(after.sum(name) - before.sum(name) == 1, f"{name}: {after.of(name)}")


def lag_is_end_minus_committed():
    with Broker(lanes=LANES) as broker:
        broker.ctl("topics", "create", "t", "--partitions", str(PARTITIONS))
        produce(broker, RECORDS)
        reader = consumer(broker)
        reader.subscribe(["t"])
        wait_for("the assignment", lambda: reader.poll(0.2) and len(reader.assignment()) == PARTITIONS)
        wanted = {0: 7, 1: 100, 2: 0}  # nothing for partition 3
        reader.commit(offsets=[TopicPartition("t", p, o) for p, o in wanted.items()], asynchronous=False)
        ends = {p: reader.get_watermark_offsets(TopicPartition("t", p))[1] for p in range(PARTITIONS)}
        check(sum(ends.values()) == RECORDS and len(set(ends.values())) == PARTITIONS, f"ends: {ends}")
        page = Page(broker)
        check(page.of("kafka_topic_partition_current_offset", topic="t") ==
              {(str(p),): end for p, end in ends.items()}, "current_offset")
        check(set(page.of("kafka_topic_partition_oldest_offset", topic="t").values()) == {0}, "oldest")
        group = {"consumergroup": "readers", "topic": "t"}
        check(page.of("kafka_consumergroup_current_offset", **group) ==
              {(str(p),): o for p, o in wanted.items()}, "group's current_offset")
        lag = {(str(p),): ends[p] - o for p, o in wanted.items()}
        found = page.of("kafka_consumergroup_lag", **group)
        check(found == lag, f"lag {found}, not {lag}")
        check(page.one("kafka_consumergroup_lag_sum", **group) == sum(lag.values()), "lag_sum")
        check(page.one("kafka_consumergroup_current_offset_sum", **group) == sum(wanted.values()), "sum")
        check(page.one("kafka_consumergroup_members", consumergroup="readers") == 1, "members")

        # More records: more lag.  A commit at the end: none.
        produce(broker, 100)
        check(Page(broker).one("kafka_consumergroup_lag_sum", **group) > sum(lag.values()), "lag stands")
        ends = {p: reader.get_watermark_offsets(TopicPartition("t", p))[1] for p in range(PARTITIONS)}
        reader.commit(offsets=[TopicPartition("t", p, o) for p, o in ends.items()], asynchronous=False)
        page = Page(broker)
        check(page.of("kafka_consumergroup_lag", **group) == {(str(p),): 0 for p in ends}, "lag remains")
        reader.close()
        page = Page(broker)
        check(page.one("kafka_consumergroup_members", consumergroup="readers") == 0, "members after leave")
        broker.ctl("groups", "delete", "readers")
        check(not Page(broker).of("kafka_consumergroup_lag", **group), "lag of a deleted group")


GROUPS = "kafka_server_group_coordinator_metrics_"


def groups(page, kind):
    """{state: groups of the protocol}, without those that are none."""
    return {state: n for (state,), n in page.of(f"{GROUPS}{kind}_group_count").items() if n}


def join(connection, group, topic):
    """A member of the consumer protocol, which Debian's librdkafka does not speak."""
    api, version = wire.CONSUMER_GROUP_HEARTBEAT, 1
    body = wire.writer(api, version).text(group).text("member").put("i", 0).text(None).text(None).put("i", 60000)
    body.count(1).text(topic).text(None).text(None).count(0).tags()
    answer = connection.ask(api, version, body)
    answer.get("i")
    check(answer.get("h") == 0, "the join was refused")


def groups_are_counted_by_protocol_and_state():
    with Broker(lanes=LANES) as broker:
        broker.ctl("topics", "create", "t", "--partitions", str(PARTITIONS))
        reader = consumer(broker)
        reader.subscribe(["t"])
        wait_for("the assignment", lambda: reader.poll(0.2) or reader.assignment())
        page = Page(broker)
        check(page.of(GROUPS + "group_count") == {("classic",): 1, ("consumer",): 0}, "one classic group")
        check(groups(page, "classic") == {"Stable": 1} and not groups(page, "consumer"), "it is stable")
        check(page.one(GROUPS + "group_completed_rebalance_count") == 1, "one rebalance")
        check(page.sum(GROUPS + "num_partitions", state="active") ==
              page.one("kafka_topic_partitions", topic="__consumer_offsets"), "partitions that are loaded")
        check(page.sum(GROUPS + "num_partitions") == page.sum(GROUPS + "num_partitions", state="active"), "the others")
        for time in ("event_processing_time_ms", "batch_flush_time_ms"):
            steps = [page.one(f"{GROUPS}{time}_{q}") for q in ("p50", "p95", "p99", "p999", "max")]
            check(steps == sorted(steps) and 0 < steps[-1] < 60000, f"{time}: {steps}")

        before = page
        reader.commit(offsets=[TopicPartition("t", p, 0) for p in range(3)], asynchronous=False)
        page = Page(broker)
        check(page.one(GROUPS + "offset_commit_count") - before.one(GROUPS + "offset_commit_count") == 3, "commits")
        check(page.one(GROUPS + "offset_count") == 3, "offsets")
        check(page.one("kafka_coordinator_group_groupmetadatamanager_numoffsets") == 3, "offsets by the older name")
        reader.close()
        member = wire.Connection(broker.port)
        join(member, "modern", "t")
        page = Page(broker)
        check(groups(page, "classic") == {"Empty": 1}, "everybody left")
        check(page.one("kafka_coordinator_group_groupmetadatamanager_numgroupsempty") == 1, "by the older name")
        check(groups(page, "consumer") == {"Stable": 1}, f"the new one: {groups(page, 'consumer')}")
        check(page.one(GROUPS + "consumer_group_rebalance_count") == 1, "its rebalance")
        broker.ctl("groups", "delete", "readers")
        page = Page(broker)
        check(page.one(GROUPS + "offset_deletion_count") == 3 and page.one(GROUPS + "offset_count") == 0, "deleted")
        check(page.of(GROUPS + "group_count") == {("classic",): 0, ("consumer",): 1}, "a group is left")
        member.close()


def transactions_are_counted():
    with Broker(lanes=LANES) as broker:
        broker.ctl("topics", "create", "t", "--partitions", str(PARTITIONS))
        producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": "id", "log_level": 0})
        producer.init_transactions(20)
        name = "kafka_server_addpartitionstotxnmanager_verificationtimems"
        before = Page(broker)
        check(before.one(name + "_count") == 0 and not before.of(name), "questions before the first")
        producer.begin_transaction()
        producer.produce("t", VALUE, partition=0)
        producer.produce("t", VALUE, partition=1)
        check(producer.flush(20) == 0, "not everything was sent")
        # Counted at the next look at the partition, within a second.
        page = wait_for("the producer to be counted", lambda: (p := Page(broker)).sum(
            "kafka_server_replicamanager_produceridcount") == 2 and p)
        check(page.one("sluice_transactions_ongoing") == 1, "one is open")
        check(page.sum("kafka_server_replicamanager_partitionswithlatetransactionscount") == 0, "it is late")
        check(page.one(name + "_count") == 2, "a question for each partition")
        times = [v for _, v in sorted(page.of(name).items())]
        check(len(times) == 6 and times == sorted(times) and times[-1] > 0, f"times {times}")
        check(page.sum("kafka_server_addpartitionstotxnmanager_verificationfailurerate_count") == 0, "refused")
        producer.commit_transaction(20)
        page = wait_for("the end", lambda: (p := Page(broker)).one("sluice_transactions_preparing") == 0 and p)
        check(page.one("sluice_transactions_ongoing") == 0 and page.one("sluice_txn_completed_total") == 1, "complete")
        check(page.one("sluice_transaction_append_time_ms_max") > 0, "appends")
        for queue in ("unknowndestinationqueuesize", "logappendretryqueuesize"):
            check(page.one(f"kafka_coordinator_transaction_transactionmarkerchannelmanager_{queue}") == 0, queue)


def connections_are_counted():
    with Broker(lanes=LANES) as broker:
        name = "kafka_server_socket_server_metrics_connection_count"
        check(Page(broker).sum(name) == 0, "connections before the first")
        held = [socket.create_connection(("127.0.0.1", broker.port + 1 + i % LANES)) for i in range(10)]
        wait_for("the connections", lambda: Page(broker).of(name) == {("0", "100"): 5, ("1", "101"): 5})
        for s in held[:4]:
            s.close()
        wait_for("the closed to go", lambda: Page(broker).sum(name) == 6)
        for s in held:
            s.close()


def a_lanes_time_is_busy_idle_or_asleep():
    with Broker() as broker:
        broker.ctl("topics", "create", "t", "--partitions", str(PARTITIONS))

        def sample():
            # A sleep is counted when it ends, so a request comes just before.
            produce(broker, 1)
            lane = broker.ctl("lanes")
            stats = lane["lanes"][0]["stats"]
            return lane["mono_ms"] / 1000, stats

        began, before = sample()
        produce(broker, 2000)
        time.sleep(2)
        ended, after = sample()
        rise = {name: after[name] - before[name] for name in after}
        spent = sum(rise[f"cycles_{part}"] for part in ("busy", "idle", "asleep")) / after["tsc_hz"]
        passed = ended - began
        check(abs(spent - passed) < 0.1 * passed, f"{spent:.3f} s are counted of {passed:.3f} s: {rise}")
        for part in ("busy", "idle", "asleep"):
            check(rise[f"cycles_{part}"] > 0, f"never {part}")
        check(rise["cycles_asleep"] > 1.5 * after["tsc_hz"], "slept two seconds")
        check(rise["epoll_calls"] == rise["polls"], f"{rise['epoll_calls']} of {rise['polls']}")
        check(rise["polls_busy"] == rise["epoll_calls_busy"] < rise["polls"], "busy polls")
        check(0 < rise["epoll_events"], "events")


def health_is_told():
    with Broker() as broker:
        check(fetch(broker, "/healthz")[0] == 200 and fetch(broker, "/readyz")[0] == 200, "well")
        check(fetch(broker, "/nothing")[0] == 404, "an unknown path")
        check(fetch(broker, "/metrics", "POST")[0] == 405, "POST")
        # The launcher sleeps, so that the data plane stays away.
        broker.process.send_signal(signal.SIGSTOP)
        try:
            broker.kill("sluice-dataplane")
            status, _, text = wait_for("not ready", lambda: (a := fetch(broker, "/readyz"))[0] == 503 and a)
            check("data plane" in text, f"the reason: {text}")
            check(fetch(broker, "/healthz")[0] == 200, "control is well")
            page = Page(broker)
            check(page.one("sluice_dataplane_attached") == 0, "attached")
            check(page.one("kafka_brokers") == 0, "kafka_brokers without a data plane")
            time.sleep(0.1)
        finally:
            broker.process.send_signal(signal.SIGCONT)
        wait_for("ready again", lambda: fetch(broker, "/readyz")[0] == 200)


main(what_kafka_dashboards_ask_for_is_there, traffic_is_counted_as_the_clients_count_it,
     failures_are_counted, lag_is_end_minus_committed, groups_are_counted_by_protocol_and_state,
     transactions_are_counted, connections_are_counted, a_lanes_time_is_busy_idle_or_asleep,
     health_is_told)
