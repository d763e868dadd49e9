# SPDX-License-Identifier: Apache-2.0
"""A producer of numbered records for tests that kill something meanwhile, and a reader of all that is
there afterwards."""

import collections
import threading
import time

from sluice import check, skip

try:
    from confluent_kafka import Consumer, Producer, TopicPartition
except ImportError:
    skip("python3-confluent-kafka is not installed")


class Load(threading.Thread):
    """Produces records 0, 1, 2, ... to the partitions in turn, about 10,000 a second, and remembers which
    were acknowledged; a context manager.  @value makes the bytes of a number, @config is the producer's."""

    def __init__(self, broker, topic, partitions, value=lambda number: str(number).encode(), config=None):
        super().__init__()
        self.topic, self.partitions, self.value = topic, partitions, value
        self.acked = {}  # number -> (partition, offset)
        self.failed = 0
        self.sent = 0
        self.enough = threading.Event()
        self.producer = Producer({
            "bootstrap.servers": broker.bootstrap, "linger.ms": 2, "retries": 1000000,
            "message.timeout.ms": 120000, "retry.backoff.ms": 20, "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 200, "queue.buffering.max.messages": 20000,
            "socket.timeout.ms": 5000, "topic.metadata.refresh.interval.ms": 1000, **(config or {})})

    def delivered(self, number, error, message):
        if error:
            self.failed += 1
        else:
            self.acked[number] = (message.partition(), message.offset())

    def run(self):
        while not self.enough.is_set():
            number = self.sent
            try:
                self.producer.produce(self.topic, value=self.value(number), partition=number % self.partitions,
                                      on_delivery=lambda e, m, n=number: self.delivered(n, e, m))
                self.sent += 1
            except BufferError:
                self.producer.poll(0.05)
            self.producer.poll(0)
            if self.sent % 50 == 0:
                time.sleep(0.005)
        self.producer.flush(120)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        time.sleep(0.5)
        self.enough.set()
        self.join()


def read_all(broker, topic, partitions):
    """{partition: [(offset, value)]} from the beginning, which is 0, to the end as it is now."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "checker",
                         "enable.auto.commit": False, "enable.partition.eof": False})
    ends, found = {}, collections.defaultdict(list)
    for p in range(partitions):
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=30)
        check(low == 0, f"log start of {topic}-{p} is {low}")
        ends[p] = high
    consumer.assign([TopicPartition(topic, p, 0) for p in ends])
    deadline = time.monotonic() + 120
    while any(not found[p] or found[p][-1][0] < ends[p] - 1 for p in ends if ends[p] > 0):
        check(time.monotonic() < deadline, f"reading {topic} does not end: "
              f"{ {p: (len(found[p]), ends[p]) for p in ends} }")
        for message in consumer.consume(10000, timeout=1.0):
            check(not message.error(), f"consume: {message.error()}")
            found[message.partition()].append((message.offset(), message.value()))
    consumer.close()
    return found
