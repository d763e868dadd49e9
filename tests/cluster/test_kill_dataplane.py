#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 600
"""kill -9 of the data plane under load, twenty times: every acknowledged record is there afterwards, with
acks=1 and acks=all; none twice and all in order for the idempotent producer."""

import collections
import pathlib
import random
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "interop" / "support"))
from sluice import Broker, check, main, skip  # noqa: E402

try:
    from confluent_kafka import Consumer, Producer, TopicPartition
except ImportError:
    skip("python3-confluent-kafka is not installed")

KILLS = 20
PARTITIONS = 4


class Load(threading.Thread):
    """Produces numbered records until told to stop; remembers which were acknowledged."""

    def __init__(self, broker, topic, acks, idempotent):
        super().__init__()
        self.topic = topic
        self.acked = {}  # value -> (partition, offset)
        self.failed = 0
        self.sent = 0
        self.enough = threading.Event()
        self.producer = Producer({
            "bootstrap.servers": broker.bootstrap, "acks": acks, "enable.idempotence": idempotent,
            "linger.ms": 2, "retries": 1000000, "message.timeout.ms": 120000,
            "retry.backoff.ms": 20, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200,
            "queue.buffering.max.messages": 20000, "socket.timeout.ms": 5000,
            "topic.metadata.refresh.interval.ms": 1000})

    def on_delivery(self, error, message):
        if error:
            self.failed += 1
        else:
            self.acked[int(message.value())] = (message.partition(), message.offset())

    def run(self):
        while not self.enough.is_set():
            try:
                self.producer.produce(self.topic, value=str(self.sent), partition=self.sent % PARTITIONS,
                                      on_delivery=self.on_delivery)
                self.sent += 1
            except BufferError:
                self.producer.poll(0.05)
            self.producer.poll(0)
            if self.sent % 50 == 0:
                time.sleep(0.005)  # a bounded load: about 10,000 records a second
        self.producer.flush(120)


def read_all(broker, topic):
    """{partition: [(offset, number)]} from the beginning to the end as it is now."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "checker",
                         "enable.auto.commit": False, "enable.partition.eof": False})
    ends, found = {}, collections.defaultdict(list)
    for p in range(PARTITIONS):
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=30)
        check(low == 0, f"log start of {topic}-{p} is {low}")
        ends[p] = high
    consumer.assign([TopicPartition(topic, p, 0) for p in range(PARTITIONS)])
    deadline = time.monotonic() + 120
    while any(not found[p] or found[p][-1][0] < ends[p] - 1 for p in ends if ends[p] > 0):
        check(time.monotonic() < deadline, f"reading {topic} does not end: "
              f"{ {p: (len(found[p]), ends[p]) for p in ends} }")
        for message in consumer.consume(10000, timeout=1.0):
            check(not message.error(), f"consume: {message.error()}")
            found[message.partition()].append((message.offset(), int(message.value())))
    consumer.close()
    return found


def examine(load, found, idempotent):
    check(load.acked, "nothing was acknowledged")
    where = {}
    twice = 0
    for partition, records in found.items():
        offsets = [offset for offset, _ in records]
        check(offsets == sorted(set(offsets)), f"offsets of partition {partition} repeat or fall")
        numbers = [number for _, number in records]
        if idempotent:
            check(numbers == sorted(numbers), f"partition {partition} is out of order")
        for offset, number in records:
            twice += number in where
            where.setdefault(number, []).append((partition, offset))
    lost = [n for n in load.acked if n not in where]
    check(not lost, f"{len(lost)} of {len(load.acked)} acknowledged records are lost, e.g. {lost[:5]}")
    # The offset in the acknowledgement is where the record is, unless the client never saw the answer.
    moved = [n for n, place in load.acked.items() if place[1] >= 0 and place not in where[n]]
    check(not moved, f"{len(moved)} acknowledged records lie elsewhere, e.g. {moved[:5]}")
    if idempotent:
        check(twice == 0, f"{twice} records are there twice")
        check(load.failed == 0, f"{load.failed} sends failed")
    print(f"  acknowledged {len(load.acked)}, twice {twice}, failed {load.failed}")


def torture(acks, idempotent):
    rng = random.Random(2604)
    with Broker() as broker:
        broker.ctl("topics", "create", "load", "--partitions", str(PARTITIONS))
        load = Load(broker, "load", acks, idempotent)
        load.start()
        try:
            for _ in range(KILLS):
                time.sleep(0.3 + rng.random() * 0.5)
                pid = broker.kill("sluice-dataplane")
                broker.wait_restarted("sluice-dataplane", pid)
        finally:
            time.sleep(0.5)
            load.enough.set()
            load.join()
        examine(load, read_all(broker, "load"), idempotent)


def acks_one():
    torture("1", False)


def acks_all():
    torture("all", False)


def idempotent_producer():
    torture("all", True)


main(acks_one, acks_all, idempotent_producer)
