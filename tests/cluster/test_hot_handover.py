#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 600
"""kill -9 of the data plane while records are in the hot tier and not in the segment files: with flush=lazy
and acks=1 every acknowledged record is there afterwards, byte for byte and in order, because the control
process kept the memory."""

import collections
import pathlib
import random
import re
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "interop" / "support"))
from sluice import Broker, check, main, skip, wait_for  # noqa: E402

try:
    from confluent_kafka import Consumer, Producer, TopicPartition
except ImportError:
    skip("python3-confluent-kafka is not installed")

KILLS = 10
PARTITIONS = 3
TOPIC = "lazy"
WORDS = ("oak", "elm", "ash", "yew", "fir")


def value_of(number):
    """Of some hundred bytes up to 3 KiB, so that batches begin anywhere in a block."""
    return f"{number}:{WORDS[number % 5] * (50 + number % 977)}".encode()


class Load(threading.Thread):
    """Produces numbered records until told to stop; remembers which were acknowledged.  One request at a
    time, so that a retry cannot overtake."""

    def __init__(self, broker):
        super().__init__()
        self.acked = set()
        self.failed = 0
        self.sent = 0
        self.enough = threading.Event()
        self.producer = Producer({
            "bootstrap.servers": broker.bootstrap, "acks": 1, "linger.ms": 2, "retries": 1000000,
            "max.in.flight.requests.per.connection": 1, "message.timeout.ms": 120000,
            "retry.backoff.ms": 20, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200,
            "queue.buffering.max.messages": 20000, "socket.timeout.ms": 5000,
            "topic.metadata.refresh.interval.ms": 1000})

    def run(self):
        def delivered(error, message, number):
            if error:
                self.failed += 1
            else:
                self.acked.add(number)

        while not self.enough.is_set():
            number = self.sent
            try:
                self.producer.produce(TOPIC, value=value_of(number), partition=number % PARTITIONS,
                                      on_delivery=lambda e, m, n=number: delivered(e, m, n))
                self.sent += 1
            except BufferError:
                self.producer.poll(0.05)
            self.producer.poll(0)
            if self.sent % 50 == 0:
                time.sleep(0.005)  # a bounded load: about 10,000 records a second
        self.producer.flush(120)


def read_all(broker):
    """{partition: [number]} in order of offsets; checks the bytes."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "checker",
                         "enable.auto.commit": False})
    ends = {p: consumer.get_watermark_offsets(TopicPartition(TOPIC, p), timeout=30)[1]
            for p in range(PARTITIONS)}
    consumer.assign([TopicPartition(TOPIC, p, 0) for p in ends])
    found, last = collections.defaultdict(list), {p: -1 for p in ends}
    deadline = time.monotonic() + 120
    while any(last[p] < ends[p] - 1 for p in ends):
        check(time.monotonic() < deadline, f"reading does not end: {last} of {ends}")
        for message in consumer.consume(10000, timeout=1.0):
            check(not message.error(), f"consume: {message.error()}")
            p = message.partition()
            check(message.offset() == last[p] + 1, f"partition {p}: {message.offset()} after {last[p]}")
            last[p] = message.offset()
            number = int(message.value().split(b":")[0])
            check(message.value() == value_of(number), f"record {number} is not what was sent")
            found[p].append(number)
    consumer.close()
    return found


def examine(load, found):
    check(load.acked, "nothing was acknowledged")
    check(load.failed == 0, f"{load.failed} sends failed")
    there = {number for numbers in found.values() for number in numbers}
    lost = sorted(load.acked - there)
    check(not lost, f"{len(lost)} of {len(load.acked)} acknowledged records are lost, e.g. {lost[:5]}")
    for p, numbers in found.items():
        # A request whose answer was lost is sent again; its records are there twice then.
        first = list(dict.fromkeys(numbers))
        check(first == sorted(first), f"partition {p} is out of order")
    return sum(len(numbers) for numbers in found.values()) - len(there)


def acknowledged_records_outlive_the_data_plane():
    rng = random.Random(20311)
    with Broker(lanes=1) as broker:
        broker.ctl("topics", "create", TOPIC, "--partitions", str(PARTITIONS), "--config", "flush=lazy")
        load = Load(broker)
        load.start()
        try:
            for _ in range(KILLS):
                # It serves again, and has something to lose.
                acked = len(load.acked) + 500
                wait_for("records to be acknowledged", lambda a=acked: len(load.acked) >= a)
                time.sleep(rng.random() * 0.5)
                pid = broker.kill("sluice-dataplane")
                broker.wait_restarted("sluice-dataplane", pid)
        finally:
            time.sleep(0.5)
            load.enough.set()
            load.join()
        twice = examine(load, read_all(broker))
        saved = [int(n) for n in re.findall(r"saved records of the hot tier index=0 bytes=(\d+)",
                                            broker.log_path.read_text())]
        print(f"  acknowledged {len(load.acked)}, twice {twice}; saved after each kill: {saved} bytes")
        check(len(saved) == KILLS, f"{len(saved)} data planes found a tier, {KILLS} were killed")
        # Else there was nothing that could have been lost, and this test has shown nothing.
        check(sum(saved) > 0, "no record was in memory only when the data plane was killed")


main(acknowledged_records_outlive_the_data_plane)
