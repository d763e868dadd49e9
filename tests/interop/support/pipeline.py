#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Copies records in transactions until SIGTERM, as a process of its own that a test kills: what it has read
and what it has written of that become visible together or not at all.

    pipeline.py BOOTSTRAP INPUT OUTPUT GROUP NAME SEED PROTOCOL

NAME is its transactional.id.  Prints a line for each transaction, "commit RECORDS" or
"abort RECORDS REASON", and "ready" once its transactional id is its own; ends with status 1 when the client
library says that this producer cannot go on.  Every tenth transaction is aborted on purpose."""

import random
import signal
import sys
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition, libversion

TIMEOUT_S = 10
# Longer than any pause that the tests make, shorter than the tests.
TRANSACTION_MS = 20000
FAST = {"reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100,
        "socket.timeout.ms": 10000, "topic.metadata.refresh.interval.ms": 2000, "log_level": 0}


class Abort(Exception):
    """This transaction is to be aborted."""


class Pipeline:
    def __init__(self, bootstrap, source, sink, group, name, seed, protocol):
        self.source, self.sink = source, sink
        self.random = random.Random(seed)
        self.ending = False
        # A static member takes its place back at once.  One of the consumer protocol may not: as long as the
        # dead one's session lasts, its successor would be refused (UNRELEASED_INSTANCE_ID).
        member = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500, "group.instance.id": name,
                  "partition.assignment.strategy": "range"} if protocol == "classic" \
            else {"group.protocol": protocol}
        # Where the library knows how to forget the brokers when all are away, and forgets them, it may wait for ever
        # for a coordinator that it forgot (confluentinc/librdkafka#5511).
        keep = {} if libversion()[1] < 0x020b0000 else {"metadata.recovery.strategy": "none"}
        self.producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": name, "linger.ms": 1,
                                  "transaction.timeout.ms": TRANSACTION_MS, "retry.backoff.ms": 20,
                                  **keep, **FAST})
        self.consumer = Consumer({
            "bootstrap.servers": bootstrap, "group.id": group,
            "isolation.level": "read_committed", "enable.auto.commit": False, "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 50, "fetch.error.backoff.ms": 20,
            **member, **keep, **FAST})

    def run(self):
        self.producer.init_transactions(TIMEOUT_S)
        self.consumer.subscribe([self.source])
        print("ready", flush=True)
        while not self.ending:
            batch = self.consumer.consume(self.random.randrange(1, 100), 0.1)
            for error in (m.error() for m in batch if m.error()):
                if error.fatal():
                    raise KafkaException(error)
            batch = [m for m in batch if not m.error()]
            if batch:
                self.copy(batch)
        self.consumer.close()

    def copy(self, batch):
        self.producer.begin_transaction()
        try:
            self.fill(batch)
            if self.random.random() < 0.1:
                raise Abort("on purpose")
            self.settle(self.producer.commit_transaction)
            print(f"commit {len(batch)}", flush=True)
        except Abort as reason:
            self.settle(self.producer.abort_transaction)
            print(f"abort {len(batch)} {reason}", flush=True)
            self.rewind()

    def fill(self, batch):
        """Output and offsets of @batch; now and then with a pause, for a kill to fall into."""
        for message in batch:
            self.producer.produce(self.sink, key=message.key(), value=message.value(),
                                  partition=message.partition())
            self.producer.poll(0)
        if self.random.random() < 0.2:
            self.producer.flush(1)
            time.sleep(self.random.random() * 0.1)
        ends = {m.partition(): m.offset() + 1 for m in batch}
        offsets = [TopicPartition(self.source, p, offset) for p, offset in ends.items()]
        self.settle(self.producer.send_offsets_to_transaction, offsets, self.consumer.consumer_group_metadata())
        if self.random.random() < 0.2:
            time.sleep(self.random.random() * 0.1)

    def settle(self, call, *args):
        """@call, again while the library says that this helps."""
        while True:
            try:
                return call(*args, TIMEOUT_S)
            except KafkaException as exception:
                error = exception.args[0]
                if error.txn_requires_abort():
                    raise Abort(f"{call.__name__}: {error}") from exception
                if not error.retriable():
                    raise
                time.sleep(0.05)

    def rewind(self):
        """Back to what is committed, which is what the next transaction begins with."""
        while not self.ending:
            try:
                for place in self.consumer.committed(self.consumer.assignment(), TIMEOUT_S):
                    place.offset = max(place.offset, 0)
                    self.consumer.seek(place)
                return
            except KafkaException as exception:
                # A partition may not be fetched yet, or go while we are at it: the next round asks anew.
                print(f"rewind {exception.args[0]}", flush=True)
                self.consumer.poll(0)
                time.sleep(0.05)


def main():
    pipeline = Pipeline(*sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: setattr(pipeline, "ending", True))
    try:
        pipeline.run()
    except KafkaException as exception:
        print(f"fatal {exception.args[0]}", flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
