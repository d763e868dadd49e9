#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
"""Transactions and compaction together, with real clients: a reader of committed records finds the last one of every
key under its own offset, before and after kill -9; the topics of both coordinators stay small."""

import pathlib
import random
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "interop" / "support"))
from sluice import Broker, check, main, wait_for  # noqa: E402
from test_compaction import SEED, SETTINGS, check_files, create, fetch, make, row, settle  # noqa: E402

from confluent_kafka import Consumer, Producer, TopicPartition  # noqa: E402
from confluent_kafka.admin import NewTopic  # noqa: E402

KEYS = 200
TXNS = 240
RECORDS = 100  # of a transaction
STATE_TXNS = 1200


def transactional(broker, name):
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": name, "linger.ms": 5,
                         "transaction.timeout.ms": 120000, "message.timeout.ms": 60000,
                         "reconnect.backoff.max.ms": 200})
    producer.init_transactions(60)
    return producer


class Committed:
    """What was committed: {key: (offset, value)}, value None for a deleted key."""

    def __init__(self, broker, topic, seed):
        self.broker, self.topic = broker, topic
        self.random = random.Random(seed)
        self.last, self.written, self.number, self.pending = {}, 0, 0, {}

    def on_delivery(self, error, message):
        check(error is None, f"produce: {error}")
        self.pending[message.key().decode()] = (message.offset(), message.value())
        self.written += 1

    def run(self, producer):
        """One transaction, committed or aborted; aborted records have keys of their own as well."""
        is_commit = self.random.randrange(3) > 0
        self.pending = {}
        producer.begin_transaction()
        for _ in range(RECORDS):
            self.number += 1
            key = f"key-{self.random.randrange(KEYS if is_commit else 2 * KEYS)}"
            value = None if self.random.randrange(20) == 0 else \
                (b"+" if is_commit else b"-") + b"%d:" % self.number + self.random.randbytes(400)
            producer.produce(self.topic, key=key, value=value, on_delivery=self.on_delivery)
        check(producer.flush(60) == 0, "not everything was acknowledged")
        if is_commit:
            producer.commit_transaction(60)
            self.last.update({k: v for k, v in self.pending.items() if v[0] > self.last.get(k, (-1,))[0]})
        else:
            producer.abort_transaction(60)


def read(broker, topic, isolation):
    """[(offset, key, value)] up to the end as it is now."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "checker", "isolation.level": isolation,
                         "enable.auto.commit": False, "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found, deadline = [], time.monotonic() + 60
    while True:
        check(time.monotonic() < deadline, f"reading {topic} does not end: {len(found)} records")
        message = consumer.poll(1.0)
        if message is None:
            continue
        if message.error():
            break
        found.append((message.offset(), message.key().decode(), message.value()))
    consumer.close()
    return found


def wait_stable(broker, topic):
    """A commit is answered before its markers are written: readers of committed records may lag behind it."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "checker",
                         "isolation.level": "read_committed"})
    end = wait_for(f"{topic} to be open", lambda: row(broker, topic)["log_end"])
    wait_for("every transaction to end",
             lambda: consumer.get_watermark_offsets(TopicPartition(topic, 0), 10)[1] >= end, 30)
    consumer.close()


def check_committed(model):
    wait_stable(model.broker, model.topic)
    found = read(model.broker, model.topic, "read_committed")
    offsets = [offset for offset, _, _ in found]
    check(offsets == sorted(set(offsets)), "offsets do not rise")
    check(not [o for o, _, value in found if value and value[:1] == b"-"], "an aborted record is shown")
    seen = {key: (offset, value) for offset, key, value in found}
    for key, want in model.last.items():
        if want[1] is None and key not in seen:
            continue  # its tombstone is gone, too
        check(seen.get(key) == want, f"seed {SEED}: {key} is {seen.get(key, (None,))[0]}, not {want[0]}")
    return found


def committed_readers():
    with Broker(settings=SETTINGS) as broker:
        create(broker, "txns", delete_retention_ms="100")
        model = Committed(broker, "txns", SEED)
        producers = [transactional(broker, f"writer-{n}") for n in range(3)]
        for n in range(TXNS):
            model.run(producers[n % 3])
            if n == TXNS // 2:
                check_committed(model)
                pid = broker.kill("sluice-dataplane")
                broker.wait_restarted("sluice-dataplane", pid)
        written = model.written * 400
        got = settle(broker, "txns", written // 2)
        found = check_committed(model)
        everything = read(broker, "txns", "read_uncommitted")
        aborted = [o for o, _, value in everything if value and value[:1] == b"-"]
        print(f"  seed {SEED}: {got['size_bytes']} bytes of {written} are left, {len(found)} committed and "
              f"{len(aborted)} aborted records of {model.written}")
        check(got["clean_offset"] > got["log_end"] // 2, f"{got}")
        check(not [o for o in aborted if o < got["clean_offset"]], "aborted records are left in front of the clean end")
        check_files(broker, "txns")
        check(broker.metric("kafka_log_logcleanermanager_uncleanable_partitions_count") == 0, "uncleanable")

        # Everything anew from the files; the same producers go on.
        pid = broker.kill("sluice-dataplane")
        broker.wait_restarted("sluice-dataplane", pid)
        check_committed(model)
        for n in range(30):
            model.run(producers[n % 3])
        check_committed(model)
        broker.stop()
        broker.start()
        check_committed(model)


def coordinators_topics_stay_small():
    """The id is long, so that few transactions are many bytes; each commits offsets of a hundred partitions."""
    settings = {**SETTINGS, "transaction.state.log.num.partitions": "1",
                "transaction.state.log.segment.bytes": "1048576"}
    name = "w" * 1000
    with Broker(settings=settings) as broker:
        make(broker, NewTopic("source", 100, 1))
        make(broker, NewTopic("sink", 1, 1))
        consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "committer",
                             "enable.auto.commit": False})
        producer = transactional(broker, name)
        for n in range(1, STATE_TXNS + 1):
            producer.begin_transaction()
            producer.produce("sink", b"x")
            producer.send_offsets_to_transaction([TopicPartition("source", p, n * 1000 + p) for p in range(100)],
                                                 consumer.consumer_group_metadata(), 60)
            if n % 10 == 0:
                producer.abort_transaction(60)
            else:
                producer.commit_transaction(60)
        producer.begin_transaction()
        producer.send_offsets_to_transaction([TopicPartition("source", p, 7000 + p) for p in range(100)],
                                             consumer.consumer_group_metadata(), 60)
        producer.commit_transaction(60)
        for topic, records in (("__transaction_state", 3), ("__consumer_offsets", 100)):
            got = settle(broker, topic, 3 << 20)
            print(f"  {topic}: {got['size_bytes']} bytes are left of {got['log_end']} records")
            check(got["log_end"] > STATE_TXNS * records, f"{got}")
            check(got["clean_offset"] > 0, f"{got}")
        for program in ("sluice-dataplane", "sluice-control"):
            pid = broker.kill(program)
            broker.wait_restarted(program, pid)
        offsets = wait_for("committed offsets", lambda: fetch(consumer), 60)
        check([c.offset for c in offsets] == [7000 + p for p in range(100)], f"{offsets[:3]}")
        check(row(broker, "__transaction_state")["cleaner"] == "waiting", "it is compacted")
        # The id is known, and its next producer goes on.
        producer.begin_transaction()
        producer.produce("sink", b"y")
        producer.commit_transaction(60)
        again = transactional(broker, name)
        again.begin_transaction()
        again.produce("sink", b"z")
        again.commit_transaction(60)
        consumer.close()


if __name__ == "__main__":
    main(committed_readers, coordinators_topics_stay_small)
