#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
"""The current librdkafka from Python: a group of the consumer protocol (KIP-848) with several members, and
transactions.  The one of Debian, which knows neither KIP-848 nor all errors, is in test_python_clients.py."""

import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
import librdkafka  # noqa: E402
from sluice import Broker, check, main, wait_for  # noqa: E402

sys.path.insert(0, str(librdkafka.current()))
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition  # noqa: E402
from confluent_kafka.admin import AdminClient  # noqa: E402

PARTITIONS = 6
COUNT = 3000
SETTINGS = {"group.consumer.heartbeat.interval.ms": "200", "group.consumer.min.heartbeat.interval.ms": "200"}


class Member:
    """A consumer that notes its partitions and what it received; it commits what it has."""

    def __init__(self, broker, topics, **config):
        self.consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "team", "log_level": 0,
                                  "group.protocol": "consumer", "auto.offset.reset": "earliest",
                                  "enable.auto.commit": False, "topic.metadata.refresh.interval.ms": 500,
                                  **{k.replace("_", "."): v for k, v in config.items()}})
        self.mine, self.got = set(), []
        self.consumer.subscribe(topics, on_assign=self.assigned, on_revoke=self.revoked, on_lost=self.revoked)

    def assigned(self, _, partitions):
        self.mine |= {(p.topic, p.partition) for p in partitions}

    def revoked(self, consumer, partitions):
        self.commit()
        self.mine -= {(p.topic, p.partition) for p in partitions}

    def commit(self):
        try:
            self.consumer.commit(asynchronous=False)
        except KafkaException as error:
            # Nothing that is not committed yet.
            check(error.args[0].code() == KafkaError._NO_OFFSET, f"commit: {error}")

    def poll(self):
        for message in self.consumer.consume(500, 0.05):
            check(not message.error(), f"consume: {message.error()}")
            self.got.append(message.value())
        return self.got

    def close(self):
        self.consumer.close()  # calls revoked()


def poll_until(members, what, probe):
    def step():
        for member in members:
            member.poll()
        owned = [p for member in members for p in member.mine]
        check(len(owned) == len(set(owned)), f"a partition has two members: {sorted(owned)}")
        return probe()
    wait_for(what, step, 60, 0)


def shares(members):
    return sorted(len(member.mine) for member in members)


def produce(broker, topic, first, count):
    producer = Producer({"bootstrap.servers": broker.bootstrap, "enable.idempotence": True})
    for number in range(first, first + count):
        producer.produce(topic, str(number).encode(), partition=number % PARTITIONS)
    check(producer.flush(30) == 0, "not everything was acknowledged")


def consumer_protocol():
    with Broker(lanes=2, settings=SETTINGS) as broker:
        broker.ctl("topics", "create", "work", "--partitions", str(PARTITIONS))
        produce(broker, "work", 0, COUNT)
        members = [Member(broker, ["work"]) for _ in range(3)]
        poll_until(members, "three members to share", lambda: shares(members) == [2, 2, 2])
        poll_until(members, "all records", lambda: sum(len(m.got) for m in members) >= COUNT)
        described = broker.ctl("groups", "describe", "team")
        check(described["type"] == "consumer" and described["state"] == "Stable" and len(described["members"]) == 3,
              f"described as {described}")
        # A member that leaves, one that comes, and more records: each of them comes to one member, once.
        gone = members.pop()
        gone.close()
        poll_until(members, "two members to share", lambda: shares(members) == [3, 3])
        members.append(Member(broker, ["work"], group_remote_assignor="range"))
        poll_until(members, "three members to share again", lambda: shares(members) == [2, 2, 2])
        produce(broker, "work", COUNT, COUNT)
        everyone = [*members, gone]
        poll_until(members, "all records", lambda: sum(len(m.got) for m in everyone) >= 2 * COUNT)
        got = sorted(int(value) for member in everyone for value in member.got)
        check(got == list(range(2 * COUNT)), f"{len(got)} records, {len(set(got))} different ones")
        for member in members:
            member.close()
        offsets = broker.ctl("groups", "describe", "team")["offsets"]
        check(sum(p["offset"] for p in offsets) == 2 * COUNT, f"committed {offsets}")
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        listed = admin.list_consumer_groups(request_timeout=10).result()
        check(not listed.errors and [g.group_id for g in listed.valid] == ["team"], f"{listed.valid} {listed.errors}")
        check([g.id for g in admin.list_groups(timeout=10)] == ["team"], "the older call lists others")


def subscription_by_pattern():
    """Resolved by the coordinator; a topic that comes later is found."""
    with Broker(settings=SETTINGS) as broker:
        broker.ctl("topics", "create", "log-a", "--partitions", "2")
        broker.ctl("topics", "create", "other", "--partitions", "2")
        members = [Member(broker, ["^log-.*"]) for _ in range(2)]
        poll_until(members, "one topic", lambda: shares(members) == [1, 1])
        broker.ctl("topics", "create", "log-b", "--partitions", "2")
        poll_until(members, "both topics", lambda: shares(members) == [2, 2])
        check({topic for m in members for topic, _ in m.mine} == {"log-a", "log-b"}, "not these topics")
        for member in members:
            member.close()


def new_producer(broker):
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": "id", "log_level": 0})
    producer.init_transactions(20)
    return producer


def fill(producer, consumer, name, offset):
    producer.begin_transaction()
    for number in range(100):
        producer.produce("out", f"{name} {number}", partition=number % 2)
    producer.send_offsets_to_transaction([TopicPartition("out", 0, offset)], consumer.consumer_group_metadata(), 20)


def values(broker, isolation, count):
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "reader", "isolation.level": isolation,
                         "enable.auto.commit": False, "enable.partition.eof": True})
    consumer.assign([TopicPartition("out", p, 0) for p in range(2)])
    got, ended, deadline = [], set(), time.monotonic() + 30
    while len(ended) < 2:
        check(time.monotonic() < deadline, f"reading {isolation} does not end")
        for message in consumer.consume(1000, 0.2):
            if message.error():
                check(message.error().code() == KafkaError._PARTITION_EOF, str(message.error()))
                ended.add(message.partition())
            else:
                got.append(message.value().decode().split()[0])
    consumer.close()
    check(len(got) == count, f"{isolation}: {len(got)} records, not {count}")
    return set(got)


def transactions():
    with Broker(lanes=2) as broker:
        broker.ctl("topics", "create", "out", "--partitions", "2")
        consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "simple"})

        def committed():
            return consumer.committed([TopicPartition("out", 0)], 10)[0].offset

        first = new_producer(broker)
        fill(first, consumer, "committed", 5)
        first.commit_transaction(20)
        fill(first, consumer, "aborted", 6)
        first.flush(10)  # An abort drops what has not been sent.
        first.abort_transaction(20)
        check(committed() == 5, f"offset {committed()} after an abort")
        # The next owner of the id ends what the one before left open, and fences it.
        fill(first, consumer, "left", 7)
        first.flush(10)
        second = new_producer(broker)
        try:
            first.commit_transaction(20)
            check(False, "a fenced producer committed")
        except KafkaException as error:
            check(error.args[0].fatal() or error.args[0].txn_requires_abort(), f"fenced with {error}")
        fill(second, consumer, "second", 8)
        second.commit_transaction(20)
        check(values(broker, "read_committed", 200) == {"committed", "second"}, "other records are visible")
        check(values(broker, "read_uncommitted", 400) == {"committed", "aborted", "left", "second"}, "not all is there")
        check(committed() == 8, f"offset {committed()} in the end")
        consumer.close()


main(consumer_protocol, subscription_by_pattern, transactions)
