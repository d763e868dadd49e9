#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
"""Exactly once, whatever is killed: two processes copy a topic in transactions while one of them, the data plane
or the control process gets kill -9, again and again; afterwards readers of committed records find each input once.

SLUICE_SEED repeats the kills of an earlier run, as far as the machine does."""

import collections
import os
import pathlib
import random
import subprocess
import sys
import threading
import time

SUPPORT = pathlib.Path(__file__).parents[1] / "interop" / "support"
sys.path.insert(0, str(SUPPORT))
import librdkafka  # noqa: E402
from sluice import Broker, Skipped, check, main, skip, wait_for  # noqa: E402

try:
    from confluent_kafka import Consumer, Producer, TopicPartition
except ImportError:
    skip("python3-confluent-kafka is not installed")

SEED = int(os.environ.get("SLUICE_SEED", random.randrange(1 << 32)))
PARTITIONS = 4
RATE = 400  # records a second
NAMES = ("left", "right")
# Soon enough to be part of the test; the pipelines' own transaction.timeout.ms is longer than a kill's pause.
SETTINGS = {"transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
            "group.consumer.session.timeout.ms": "3000", "group.consumer.min.session.timeout.ms": "3000",
            "group.consumer.heartbeat.interval.ms": "500", "group.consumer.min.heartbeat.interval.ms": "500"}


class Feeder(threading.Thread):
    """Produces records 0, 1, 2, ... to the partitions in turn at a bounded rate; a context manager."""

    def __init__(self, broker):
        super().__init__()
        self.enough = threading.Event()
        self.sent = self.acked = 0
        self.errors = []
        self.producer = Producer({"bootstrap.servers": broker.bootstrap, "enable.idempotence": True,
                                  "linger.ms": 2, "message.timeout.ms": 120000, "retry.backoff.ms": 20,
                                  "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100,
                                  "socket.timeout.ms": 5000, "log_level": 0})

    def delivered(self, error, _):
        if error:
            self.errors.append(error)
        self.acked += not error

    def run(self):
        while not self.enough.is_set():
            for _ in range(RATE // 100):
                self.producer.produce("in", str(self.sent).encode(), partition=self.sent % PARTITIONS,
                                      on_delivery=self.delivered)
                self.sent += 1
            self.producer.poll(0)
            time.sleep(0.01)
        self.producer.flush(60)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.enough.set()
        self.join()


class Copier:
    """One pipeline process, started again whenever it ends, and what its lines said."""

    def __init__(self, broker, name, python_path, protocol):
        self.command = [sys.executable, str(SUPPORT / "pipeline.py"), broker.bootstrap, "in", "out", "copiers",
                        name, str(SEED), protocol]
        self.environment = {**os.environ, "PYTHONPATH": str(python_path or "")}
        self.name = name
        self.ending = False
        self.said = collections.Counter()
        self.why = collections.Counter()
        self.process = None
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self.keep)
        self.thread.start()

    def keep(self):
        while True:
            with self.lock:
                if self.ending:
                    return
                self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                                text=True, env=self.environment)
            for line in self.process.stdout:
                word, _, rest = line.strip().partition(" ")
                self.said[word] += 1
                if word not in ("commit", "ready"):
                    self.why[f"{word} {rest.partition(' ')[2] or rest}"[:150]] += 1
            self.process.stdout.close()
            self.process.wait()

    def kill(self):
        self.process.kill()

    def stop(self):
        """False: it had to be killed."""
        with self.lock:
            self.ending = True
            self.process.terminate()
        self.thread.join(30)
        is_well = not self.thread.is_alive()
        if not is_well:
            self.kill()
        self.thread.join()
        return is_well


def read_all(broker, isolation):
    """{partition: [(offset, number)]} of the output's records, as readers of this isolation see them."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "checker", "isolation.level": isolation,
                         "enable.auto.commit": False, "enable.partition.eof": True})
    consumer.assign([TopicPartition("out", p, 0) for p in range(PARTITIONS)])
    found, ended = {p: [] for p in range(PARTITIONS)}, set()
    deadline = time.monotonic() + 60
    while len(ended) < PARTITIONS:
        check(time.monotonic() < deadline, f"reading {isolation} does not end: only {ended} have")
        for message in consumer.consume(10000, timeout=0.5):
            if message.error():
                ended.add(message.partition())
            else:
                found[message.partition()].append((message.offset(), int(message.value())))
    consumer.close()
    return found


def examine(broker, feeder):
    check(not feeder.errors, f"input: {feeder.errors[:3]}")
    check(feeder.acked == feeder.sent > 0, f"{feeder.acked} of {feeder.sent} inputs acknowledged")
    committed = read_all(broker, "read_committed")
    for partition, records in committed.items():
        numbers = [number for _, number in records]
        wanted = list(range(partition, feeder.sent, PARTITIONS))
        twice = [n for n, count in collections.Counter(numbers).items() if count > 1]
        lost = sorted(set(wanted) - set(numbers))
        check(not twice, f"partition {partition}: {len(twice)} inputs are there twice, e.g. {twice[:5]}")
        check(not lost, f"partition {partition}: {len(lost)} inputs are lost, e.g. {lost[:5]}")
        check(numbers == wanted, f"partition {partition} is out of order")
    everything = read_all(broker, "read_uncommitted")
    aborted = sum(map(len, everything.values())) - sum(map(len, committed.values()))
    check(aborted > 0, "nothing was aborted")
    check(all(set(committed[p]) <= set(everything[p]) for p in committed), "committed records that are not there")
    open_now = [t for t in broker.ctl("txns", "list")["transactions"]
                if t["state"] not in ("Empty", "CompleteCommit", "CompleteAbort")]
    check(not open_now, f"open transactions: {open_now}")
    hanging = broker.ctl("txns", "find-hanging", "--older-than-ms", "0")["transactions"]
    check(not hanging, f"hanging transactions: {hanging}")
    return aborted


def commits(copiers):
    return sum(copier.said["commit"] for copier in copiers)


def torture(kills, python_path, protocol):
    print(f"  seed {SEED}", flush=True)
    rng = random.Random(SEED)
    turns = collections.Counter()
    longest = 0.0
    with Broker(lanes=2, settings=SETTINGS) as broker:
        for topic in ("in", "out"):
            broker.ctl("topics", "create", topic, "--partitions", str(PARTITIONS))
        with Feeder(broker) as feeder:
            copiers = [Copier(broker, name, python_path, protocol) for name in NAMES]
            try:
                for _ in range(kills):
                    before, began = commits(copiers), time.monotonic()
                    wait_for("a transaction to be committed", lambda: commits(copiers) > before, 60)
                    longest = max(longest, time.monotonic() - began)
                    time.sleep(rng.random() * 0.8)
                    victim = rng.choice(("client", "sluice-dataplane", "sluice-control"))
                    turns[victim] += 1
                    if victim == "client":
                        rng.choice(copiers).kill()
                    else:
                        broker.wait_restarted(victim, broker.kill(victim))
                feeder.enough.set()
                feeder.join()
                wait_for("all input to be copied", lambda: copied(broker) == feeder.sent, 90)
            finally:
                for copier in copiers:
                    print(f"  {copier.name}: {dict(copier.said)} {dict(copier.why)}", flush=True)
                stuck = [copier.name for copier in copiers if not copier.stop()]
        check(not stuck, f"{stuck} did not end")
        aborted = examine(broker, feeder)
        print(f"  {dict(turns)}; {feeder.sent} records once, {aborted} aborted, {commits(copiers)} transactions, "
              f"longest wait for one {longest:.1f} s", flush=True)


def copied(broker):
    """Inputs whose offsets are committed: what the pipelines have behind them."""
    return sum(p["offset"] for p in broker.ctl("groups", "describe", "copiers")["offsets"])


def with_debians_librdkafka():
    torture(50, None, "classic")


def with_current_librdkafka():
    torture(20, librdkafka.current(), "consumer")


TESTS = (with_debians_librdkafka, with_current_librdkafka)
main(*(t for t in TESTS if not sys.argv[1:] or t.__name__ in sys.argv[1:]))
