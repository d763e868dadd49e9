#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
"""kill -9 of the data plane, the control process or both at each step of a transaction's end, in both flows of
transactions: while it is open, between its offsets and its end, before the end is answered, and when the end is
decided but not yet on all of its partitions.  It then ends everywhere as it was decided."""

import collections
import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "interop" / "support"))
import wire  # noqa: E402
from sluice import BUILD, Broker, check, main, skip, wait_for  # noqa: E402

try:
    from confluent_kafka import Consumer, TopicPartition
except ImportError:
    skip("python3-confluent-kafka is not installed")

# So many that a kill right after the answer comes before the last marker.
PARTITIONS = 60
SETTINGS = {"transaction.state.log.num.partitions": "1", "offsets.topic.num.partitions": "1"}
VICTIMS = (("sluice-control",), ("sluice-dataplane",), ("sluice-control", "sluice-dataplane"))
# What a flow uses: InitProducerId, Produce, TxnOffsetCommit, EndTxn.
FLOWS = {"first": (1, 8, 2, 1), "second": (4, 12, 5, 5)}
UNSTABLE_OFFSET_COMMIT = 88


class Transaction:
    """A producer by hand, which asks again whenever a client would."""

    def __init__(self, broker, name, flow):
        self.broker, self.name, self.group = broker, name, f"group of {name}"
        self.is_second = flow == "second"
        self.init, self.produce_version, self.offsets_version, self.end_version = FLOWS[flow]
        self.sequence = 0
        self.connection = None
        for key, kind in ((name, 1), (self.group, 0)):
            self.ask(wire.FIND_COORDINATOR, 2, lambda b, k=key, t=kind: b.text(k).put("b", t),
                     lambda r: [r.get("ih")[1]])
        body = (lambda b: b.text(name).put("i", 60000).put("qh", -1, -1).tags()) if self.is_second \
            else (lambda b: b.text(name).put("i", 60000))

        def take(answer):
            _, error, self.id, self.epoch = answer.get("ihqh")
            return [error]

        self.ask(wire.INIT_PRODUCER_ID, self.init, body, take)

    def ask(self, api, version, fill, errors, allowed=()):
        """Sends what @fill writes until @errors finds nothing in the answer that passes; the errors."""
        deadline = time.monotonic() + 30
        while True:
            check(time.monotonic() < deadline, f"{self.name}: API {api} is never answered")
            try:
                if self.connection is None:
                    self.connection = wire.Connection(self.broker.port, 10)
                body = wire.writer(api, version)
                fill(body)
                found = set(errors(self.connection.ask(api, version, body))) - {0}
            except OSError:
                self.close()
                time.sleep(0.02)
                continue
            if not found & wire.RETRIABLE:
                check(found <= set(allowed), f"{self.name}: API {api} is refused: {found}")
                return found
            time.sleep(0.02)

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def produce(self):
        """One record to each partition."""
        if not self.is_second:
            self.ask(wire.ADD_PARTITIONS_TO_TXN, 1, self.fill_partitions, self.take_partitions)
        self.ask(wire.PRODUCE, self.produce_version, self.fill_records, self.take_records)
        self.sequence += 1

    def fill_partitions(self, body):
        body.text(self.name).put("qh", self.id, self.epoch).count(1).text("t").count(PARTITIONS)
        body.put(f"{PARTITIONS}i", *range(PARTITIONS))

    def take_partitions(self, answer):
        answer.get("i"), answer.count(), answer.text()
        return [answer.get("ih")[1] for _ in range(answer.count())]

    def fill_records(self, body):
        batch = wire.batch(self.name.encode(), self.id, self.epoch, self.sequence, int(time.time() * 1000))
        body.text(self.name).put("hi", -1, 10000).count(1).text("t").count(PARTITIONS)
        for partition in range(PARTITIONS):
            body.put("i", partition).data(batch).tags()
        body.tags().tags()

    def take_records(self, answer):
        answer.count(), answer.text()
        found = []
        for _ in range(answer.count()):
            found.append(answer.get("ihqqq")[1])
            answer.count(), answer.text(), answer.tags()
        return found

    def commit_offset(self, offset):
        if not self.is_second:
            self.ask(wire.ADD_OFFSETS_TO_TXN, 1,
                     lambda b: b.text(self.name).put("qh", self.id, self.epoch).text(self.group),
                     lambda r: [r.get("ih")[1]])
        self.ask(wire.TXN_OFFSET_COMMIT, self.offsets_version, lambda b: self.fill_offset(b, offset), self.take_offset)

    def fill_offset(self, body, offset):
        body.text(self.name).text(self.group).put("qh", self.id, self.epoch)
        if self.is_second:
            body.put("i", -1).text("").text(None)
        body.count(1).text("t").count(1).put("iqi", 0, offset, -1).text("").tags().tags().tags()

    @staticmethod
    def take_offset(answer):
        answer.get("i"), answer.count(), answer.text(), answer.count()
        return [answer.get("ih")[1]]

    def stable_offset(self):
        """Of partition 0; None while a transaction has it open."""
        found = []

        def take(answer):
            answer.get("i"), answer.count(), answer.text(), answer.count()
            _, offset, _ = answer.get("iqi")
            answer.text()
            found.append(offset)
            error = answer.get("h")
            answer.tags(), answer.tags()
            return [error, answer.get("h")]

        unstable = self.ask(wire.OFFSET_FETCH, 7, lambda b: b.text(self.group).count(1).text("t").count(1)
                            .put("i", 0).tags().put("b", 1).tags(), take, {UNSTABLE_OFFSET_COMMIT})
        return None if unstable else found[-1]

    def fill_end(self, body, commit):
        return body.text(self.name).put("qhb", self.id, self.epoch, commit).tags()

    def end(self, commit):
        return self.ask(wire.END_TXN, self.end_version, lambda b: self.fill_end(b, commit), lambda r: [r.get("ih")[1]])

    def send_end(self, commit):
        """Without waiting for the answer."""
        self.connection.send(wire.END_TXN, self.end_version, self.fill_end(wire.writer(wire.END_TXN, self.end_version),
                                                                           commit))

    def state(self):
        return self.broker.ctl("txns", "describe", self.name)["state"]


def kill(broker, victims, before=lambda: None):
    """kill -9 of @victims as soon as @before is done; waits until both serve again.  The time of death in ms."""
    pids = {victim: wait_for(victim, lambda v=victim: broker.pids().get(v)) for victim in victims}
    before()
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    now = int(time.time() * 1000)
    for victim, pid in pids.items():
        broker.wait_restarted(victim, pid)
    wait_for("both to serve", lambda: broker.ctl("status")["data_plane"]["serving"])
    return now


def committed(broker):
    """{name: its records}, as readers of committed records see them."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "checker", "log_level": 0,
                         "isolation.level": "read_committed", "enable.auto.commit": False,
                         "enable.partition.eof": True})
    consumer.assign([TopicPartition("t", p, 0) for p in range(PARTITIONS)])
    ended, found = set(), collections.Counter()
    deadline = time.monotonic() + 60
    while len(ended) < PARTITIONS:
        check(time.monotonic() < deadline, f"reading does not end: {PARTITIONS - len(ended)} partitions are left")
        for message in consumer.consume(1000, timeout=0.2):
            if message.error():
                ended.add(message.partition())
            else:
                found[message.value().decode()] += 1
    consumer.close()
    return dict(found)


def check_end(txn, commit):
    """It is complete, and its offset is there if and only if it committed."""
    wanted = "CompleteCommit" if commit else "CompleteAbort"
    wait_for(f"{txn.name} to be complete", lambda: txn.state().startswith("Complete"))
    check(txn.state() == wanted, f"{txn.name} is {txn.state()}, not {wanted}")
    offset = txn.stable_offset()
    check(offset == (42 if commit else -1), f"{txn.name}: the committed offset is {offset}")
    txn.close()


def cases(step):
    for number, (flow, victims, commit) in enumerate(itertools.product(FLOWS, VICTIMS, (True, False))):
        yield f"{step} {number}", flow, victims, commit


def with_broker(step):
    """@step returns how many records of each name must be visible in the end."""
    def run():
        with Broker(settings=SETTINGS) as broker:
            broker.ctl("topics", "create", "t", "--partitions", str(PARTITIONS))
            wanted = step(broker)
            found = committed(broker)
            check(found == wanted, f"visible are {found}, not {wanted}")
            hanging = broker.ctl("txns", "find-hanging", "--older-than-ms", "0")["transactions"]
            check(not hanging, f"hanging transactions: {hanging}")
    run.__name__ = step.__name__
    return run


@with_broker
def an_open_transaction_goes_on(broker):
    for name, flow, victims, commit in cases("open"):
        txn = Transaction(broker, name, flow)
        txn.produce()
        kill(broker, victims)
        # Until the coordinator has read its log, users are told to try again.
        found = wait_for(f"{name} to be described", lambda n=name: broker.ctl("txns", "describe", n))
        check(found["state"] == "Ongoing", f"{name}: {found}")
        check([len(t["partitions"]) for t in found["topics"] if t["topic"] == "t"] == [PARTITIONS], f"{name}: {found}")
        waiting = broker.metric("kafka_cluster_partition_laststableoffsetlag")
        check(waiting == PARTITIONS, f"{name}: {waiting} records wait for the end of the open transaction")
        txn.produce()
        txn.commit_offset(42)
        txn.end(commit)
        check_end(txn, commit)
    return {name: 2 * PARTITIONS for name, _, _, commit in cases("open") if commit}


@with_broker
def offsets_stay_pending_until_the_end(broker):
    for name, flow, victims, commit in cases("offsets"):
        txn = Transaction(broker, name, flow)
        txn.produce()
        txn.commit_offset(42)
        kill(broker, victims)
        check(txn.stable_offset() is None, f"{name}: an offset counts before its transaction's end")
        check(txn.state() == "Ongoing", f"{name} is {txn.state()}")
        txn.end(commit)
        check_end(txn, commit)
    return {name: PARTITIONS for name, _, _, commit in cases("offsets") if commit}


@with_broker
def an_end_without_an_answer_is_repeated(broker):
    for name, flow, victims, commit in cases("unanswered"):
        txn = Transaction(broker, name, flow)
        txn.produce()
        txn.commit_offset(42)
        kill(broker, victims, lambda: txn.send_end(commit))
        txn.close()
        txn.end(commit)
        check_end(txn, commit)
    return {name: PARTITIONS for name, _, _, commit in cases("unanswered") if commit}


@with_broker
def a_decided_end_reaches_every_partition(broker):
    """Answered means decided.  The times in the log tell whether the kill came between decision and end."""
    between = {True: 0, False: 0}
    for name, flow, victims, commit in cases("decided"):
        txn = Transaction(broker, name, flow)
        txn.produce()
        txn.commit_offset(42)
        died = kill(broker, victims, lambda: txn.end(commit))
        wait_for(f"{name} to be complete", lambda: txn.state().startswith("Complete"))
        decided, complete = state_times(broker)[-2:]
        check(decided <= died, f"{name}: answered before it was decided")
        between[commit] += complete > died
        check_end(txn, commit)
    print(f"  killed between decision and end: {between[True]} commits, {between[False]} aborts")
    check(all(between.values()), "no kill came between decision and end")
    return {name: PARTITIONS for name, _, _, commit in cases("decided") if commit}


def state_times(broker):
    """When each batch of __transaction_state was made."""
    # Not checked: behind the last batch lies room that is not written yet.
    done = subprocess.run([BUILD / "bin" / "sluice-dumplog", "-j", broker.data / "log" / "__transaction_state-0"],
                          capture_output=True, text=True, timeout=30)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [line["CreateTime"] for line in lines if line["type"] == "batch"]


TESTS = (an_open_transaction_goes_on, offsets_stay_pending_until_the_end, an_end_without_an_answer_is_repeated,
         a_decided_end_reaches_every_partition)
main(*(t for t in TESTS if not sys.argv[1:] or t.__name__ in sys.argv[1:]))
