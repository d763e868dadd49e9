#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
"""Groups at size, over real connections: 100,000 committed offsets are there within a second of a start, and 1,000
members of one group of the consumer protocol rebalance within five seconds."""

import pathlib
import resource
import selectors
import struct
import sys
import time
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "interop" / "support"))
import wire  # noqa: E402
from sluice import Broker, check, main, wait_for  # noqa: E402

GROUPS, PARTITIONS = 1000, 100
LOAD_S = 1.0
MEMBERS = 1000
REBALANCE_S = 5.0
BEAT_S = 0.5


def find_coordinator(connection, key, kind=0):
    """Port of the key's coordinator."""
    while True:
        body = wire.writer(wire.FIND_COORDINATOR, 2).text(key).put("b", kind)
        answer = connection.ask(wire.FIND_COORDINATOR, 2, body)
        _, error = answer.get("ih")
        if error not in wire.RETRIABLE:
            check(error == 0, f"FindCoordinator: {error}")
            answer.text(), answer.get("i"), answer.text()
            return answer.get("i")
        time.sleep(0.02)


def commit(connection, group, topic, offset):
    body = wire.writer(wire.OFFSET_COMMIT, 7).text(group).put("i", -1).text("").text(None).count(1).text(topic)
    body.count(PARTITIONS)
    for partition in range(PARTITIONS):
        body.put("iqi", partition, offset + partition, -1).text("")
    while True:
        answer = connection.ask(wire.OFFSET_COMMIT, 7, body)
        answer.get("i"), answer.count(), answer.text()
        errors = {answer.get("ih")[1] for _ in range(answer.count())}
        if not errors & wire.RETRIABLE:
            check(errors == {0}, f"OffsetCommit: {errors}")
            return
        time.sleep(0.02)


def fetch(connection, group):
    """(error, sum of the group's committed offsets)"""
    body = wire.writer(wire.OFFSET_FETCH, 5).text(group).count(None)
    answer = connection.ask(wire.OFFSET_FETCH, 5, body)
    answer.get("i")
    total = 0
    for _ in range(answer.count()):
        answer.text()
        for _ in range(answer.count()):
            total += answer.get("iqi")[1]
            answer.text(), answer.get("h")
    return answer.get("h"), total


def loaded(port, names):
    """Seconds until every group answered with its offsets."""
    began = time.monotonic()
    connection = wire.Connection(port)
    for name in names:
        while True:
            error, total = fetch(connection, name)
            if error not in wire.RETRIABLE:
                break
            time.sleep(0.002)
        check(error == 0, f"OffsetFetch of {name}: {error}")
        check(total == sum(range(PARTITIONS)) + 7 * PARTITIONS, f"{name}: offsets sum up to {total}")
    connection.close()
    return time.monotonic() - began


def hundred_thousand_offsets_load_within_a_second():
    with Broker() as broker:
        broker.ctl("topics", "create", "big", "--partitions", str(PARTITIONS))
        connection = wire.Connection(broker.port)
        connection = wire.Connection(find_coordinator(connection, "group-0"))
        names = [f"group-{number}" for number in range(GROUPS)]
        for name in names:
            commit(connection, name, "big", 7)
        connection.close()
        broker.stop()
        broker.start()
        began = time.monotonic()
        took = loaded(broker.port, names)
        print(f"  {GROUPS * PARTITIONS} offsets were there {took:.2f} s after the start")
        check(took < LOAD_S, f"loading took {took:.2f} s, wanted is {LOAD_S} s")
        check(broker.metric("sluice_control_offsets_loads_total") == 50, "not all partitions were loaded")
        for program in ("sluice-control", "sluice-dataplane"):
            old = broker.kill(program)
            began = time.monotonic()
            broker.wait_restarted(program, old)
            wait_for("the port", lambda: wire.Connection(broker.port))
            loaded(broker.port, names)
            print(f"  {time.monotonic() - began:.2f} s after kill -9 of {program}")


class Member:
    """One connection of a member of the consumer protocol, which beats by itself."""

    def __init__(self, number, port):
        self.id = str(uuid.UUID(int=number + 1))
        self.connection = wire.Connection(port)
        self.connection.socket.setblocking(False)
        self.epoch, self.owned, self.told = 0, {}, False
        self.buffer = bytearray()
        self.next_beat = 0.0
        self.is_waiting = False

    def beat(self, now):
        joins, tells = self.epoch == 0, self.epoch == 0 or self.told
        body = wire.writer(wire.CONSUMER_GROUP_HEARTBEAT, 1).text("crowd").text(self.id).put("i", self.epoch)
        body.text(None).text(None).put("i", 60000 if joins else -1)
        if joins:
            body.count(1).text("crowd")
        else:
            body.count(None)
        body.text(None).text(None)
        if tells:
            body.count(len(self.owned))
            for topic, partitions in self.owned.items():
                body.out += topic
                body.count(len(partitions)).put(f"{len(partitions)}i", *partitions).tags()
        else:
            body.count(None)
        body.tags()
        self.connection.send(wire.CONSUMER_GROUP_HEARTBEAT, 1, body)
        self.told = False
        self.is_waiting = True
        self.next_beat = now + BEAT_S

    def take(self):
        """What has come; true when that was an answer."""
        more = self.connection.socket.recv(65536)
        check(more, "a member's connection was closed")
        self.buffer += more
        if len(self.buffer) < 4 or len(self.buffer) < 4 + struct.unpack_from(">i", self.buffer)[0]:
            return False
        answer = wire.reader(wire.CONSUMER_GROUP_HEARTBEAT, 1, self.buffer[4:])
        self.buffer.clear()
        self.is_waiting = False
        _, error = answer.get("ih")
        text = answer.text()
        if error in wire.RETRIABLE:
            self.told = self.told or self.epoch > 0
            return True
        check(error == 0, f"ConsumerGroupHeartbeat: {error} {text}")
        answer.text()
        self.epoch, _ = answer.get("ii")
        if answer.get("b") >= 0:
            before, self.owned = self.owned, {}
            for _ in range(answer.count()):
                topic = bytes(answer.raw[answer.at:answer.at + 16])
                answer.at += 16
                self.owned[topic] = [answer.get("i") for _ in range(answer.count())]
                answer.tags()
            if self.owned != before:  # a client says at once what it has now
                self.told = True
                self.next_beat = 0.0
        return True

    def partitions(self):
        return [p for partitions in self.owned.values() for p in partitions]


class Crowd:
    def __init__(self, port, count):
        self.selector = selectors.DefaultSelector()
        self.members = [Member(number, port) for number in range(count)]
        for member in self.members:
            self.selector.register(member.connection.socket, selectors.EVENT_READ, member)

    def drop(self, count):
        """The last @count leave, as soon as their last heartbeat is answered."""
        while any(member.is_waiting for member in self.members):
            for key, _ in self.selector.select(1):
                key.data.take()
        gone, self.members = self.members[-count:], self.members[:-count]
        for member in gone:
            self.selector.unregister(member.connection.socket)
            member.epoch, member.told = -1, False
            member.beat(0.0)
        return gone

    def settle(self, partitions):
        """Lets them beat until each has its share and every partition exactly one member; the seconds."""
        began = time.monotonic()
        while True:
            now = time.monotonic()
            check(now - began < 60, f"no balance: {sum(len(m.partitions()) for m in self.members)} of "
                  f"{partitions} partitions given, epochs {sorted({m.epoch for m in self.members})[-5:]}")
            for member in self.members:
                if not member.is_waiting and member.next_beat <= now:
                    member.beat(now)
            answers = sum(key.data.take() for key, _ in self.selector.select(0.01))
            if answers and self.is_balanced(partitions):
                return time.monotonic() - began

    def is_balanced(self, partitions):
        if len({member.epoch for member in self.members}) != 1 or any(m.told for m in self.members):
            return False
        owned = [member.partitions() for member in self.members]
        share = partitions // len(self.members)
        return all(share <= len(mine) <= share + 1 for mine in owned) and \
            sorted(p for mine in owned for p in mine) == list(range(partitions))


def thousand_members_rebalance_within_five_seconds():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
    settings = {"group.consumer.heartbeat.interval.ms": "500", "group.consumer.min.heartbeat.interval.ms": "500"}
    with Broker(settings=settings) as broker:
        broker.ctl("topics", "create", "crowd", "--partitions", str(MEMBERS))
        port = find_coordinator(wire.Connection(broker.port), "crowd")
        crowd = Crowd(port, MEMBERS)
        joined = crowd.settle(MEMBERS)
        print(f"  {MEMBERS} members joined at once: balanced after {joined:.2f} s")
        gone = crowd.drop(100)
        left = crowd.settle(MEMBERS)
        print(f"  100 of them left: {left:.2f} s")
        for member in gone:
            member.connection.close()
        check(len(broker.ctl("groups", "describe", "crowd")["members"]) == MEMBERS - 100, "not those that are left")
        for what, seconds in (("joining", joined), ("leaving", left)):
            check(seconds < REBALANCE_S, f"the rebalance after {what} took {seconds:.2f} s, wanted is {REBALANCE_S} s")


TESTS = (hundred_thousand_offsets_load_within_a_second, thousand_members_rebalance_within_five_seconds)
main(*(t for t in TESTS if not sys.argv[1:] or t.__name__ in sys.argv[1:]))
