#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
"""kill -9 of the control process, twenty times: producers and consumers with assigned partitions never
stop; a consumer group keeps its committed offsets."""

import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "interop" / "support"))
from sluice import Broker, check, main, skip, wait_for  # noqa: E402

try:
    from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
except ImportError:
    skip("python3-confluent-kafka is not installed")

KILLS = 20
GAP_S = 2.0  # a record every 10 ms must arrive; a pause as long as this is a stop


class Flow(threading.Thread):
    """A steady producer and a consumer with an assigned partition; measures the longest silence."""

    def __init__(self, broker):
        super().__init__()
        self.enough = threading.Event()
        self.producer = Producer({"bootstrap.servers": broker.bootstrap, "acks": "all", "linger.ms": 0})
        self.consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "assigned",
                                  "enable.auto.commit": False, "fetch.wait.max.ms": 100})
        self.consumer.assign([TopicPartition("flow", 0, 0)])
        self.sent = self.acked = self.received = self.failed = 0
        self.ack_gap = self.receive_gap = 0.0

    def on_delivery(self, error, _):
        if error:
            self.failed += 1
            return
        now = time.monotonic()
        self.ack_gap = max(self.ack_gap, now - self.last_ack)
        self.last_ack = now
        self.acked += 1

    def run(self):
        self.last_ack = last_receive = time.monotonic()
        while not self.enough.is_set() or self.received < self.acked:
            if not self.enough.is_set():
                self.producer.produce("flow", str(self.sent), partition=0, on_delivery=self.on_delivery)
                self.sent += 1
            self.producer.poll(0)
            message = self.consumer.poll(0.002)
            time.sleep(0.001)  # a bounded load: below 1,000 records a second
            now = time.monotonic()
            if message is not None and not message.error():
                check(int(message.value()) == self.received, "a record is missing or repeated")
                self.received += 1
                self.receive_gap = max(self.receive_gap, now - last_receive)
                last_receive = now
            if self.enough.is_set():
                self.producer.flush(10)
                if now - last_receive > 20:
                    break


def never_stops():
    with Broker() as broker:
        broker.ctl("topics", "create", "flow", "--partitions", "1")
        flow = Flow(broker)
        flow.start()
        wait_for("the flow to begin", lambda: flow.received > 10)
        flow.ack_gap = flow.receive_gap = 0.0
        for _ in range(KILLS):
            time.sleep(0.3)
            pid = broker.kill("sluice-control")
            broker.wait_restarted("sluice-control", pid)
        time.sleep(0.5)
        flow.enough.set()
        flow.join()
        print(f"  sent {flow.sent}, acknowledged {flow.acked}, received {flow.received}, longest pause "
              f"ack {flow.ack_gap * 1000:.0f} ms, receive {flow.receive_gap * 1000:.0f} ms")
        check(flow.failed == 0 and flow.acked == flow.sent == flow.received, "records were lost")
        check(flow.ack_gap < GAP_S and flow.receive_gap < GAP_S, "the flow stopped")


def group_goes_on():
    with Broker() as broker:
        broker.ctl("topics", "create", "work", "--partitions", "2")
        producer = Producer({"bootstrap.servers": broker.bootstrap})
        consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "workers",
                             "auto.offset.reset": "earliest", "enable.auto.commit": False,
                             "session.timeout.ms": 6000, "heartbeat.interval.ms": 500})
        consumer.subscribe(["work"])
        got = 0
        for round_number in range(6):
            for i in range(100):
                producer.produce("work", f"{round_number}-{i}")
            producer.flush(30)
            deadline = time.monotonic() + 30
            while got < (round_number + 1) * 100:
                check(time.monotonic() < deadline, f"stuck at {got} in round {round_number}")
                message = consumer.poll(0.2)
                got += message is not None and not message.error()
            commit(consumer)
            pid = broker.kill("sluice-control")
            broker.wait_restarted("sluice-control", pid)
        committed = consumer.committed([TopicPartition("work", p) for p in range(2)], timeout=20)
        # The producer may have chosen one partition each time; the other one has no offset then.
        check(sum(max(tp.offset, 0) for tp in committed) == got == 600, f"committed {committed}, got {got}")
        consumer.close()


def commit(consumer):
    """A coordinator that is just coming back may ask for a retry."""
    for _ in range(50):
        try:
            consumer.commit(asynchronous=False)
            return
        except KafkaException as error:
            last = error
            time.sleep(0.1)
    check(False, f"commit: {last}")


main(never_stops, group_goes_on)
