#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
"""A log dir that fails under load: a full disk, a write and an fsync that fail.  Its partitions answer
KAFKA_STORAGE_ERROR, on every lane; what was acknowledged is read on; the other log dir takes appends and
new topics; after the cure and a restart everything acknowledged is there and the dir is used again."""

import contextlib
import errno
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "interop" / "support"))
from sluice import BUILD, Broker, check, main, skip, wait_for  # noqa: E402

try:
    from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
except ImportError:
    skip("python3-confluent-kafka is not installed")

LANES = 2
STORAGE_ERROR = KafkaError.KAFKA_STORAGE_ERROR
VALUE_BYTES = 10_000
TMPFS_MIB = 64


# ---- Disks ----


def unmount(path):
    if subprocess.run(["umount", path], capture_output=True).returncode != 0:
        subprocess.run(["umount", "-l", path], check=False)


class FullDisk:
    """A small tmpfs, which fills up."""

    def __init__(self, root):
        self.path = root / "disk"
        self.path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={TMPFS_MIB}m", "tmpfs", self.path], check=True)

    def arm(self):
        """Nothing to do: the load fills it."""

    def cure(self):
        subprocess.run(["mount", "-o", f"remount,size={2 * TMPFS_MIB}m", self.path], check=True)

    def close(self):
        unmount(self.path)


class FaultyDisk:
    """A folder behind faultfs; @kind: "write" or "sync", @count: how many of them fail."""

    def __init__(self, root, kind, nth, count):
        self.attribute = f"user.fault.{kind}"
        self.order = f"{nth} {count} {errno.EIO}".encode()
        self.path = root / "disk"
        backing = root / "backing"
        backing.mkdir()
        self.path.mkdir()
        self.process = subprocess.Popen([FAULTFS, backing, self.path])
        try:
            wait_for("faultfs to be mounted", lambda: os.path.ismount(self.path))
        except BaseException:
            self.close()
            raise

    def arm(self):
        os.setxattr(self.path, self.attribute, self.order)

    def cure(self):
        failed = int(os.getxattr(self.path, self.attribute).split()[1])
        check(failed > 0, "no operation of the file system failed")
        os.setxattr(self.path, self.attribute, b"1 0 0")

    def close(self):
        unmount(self.path)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


FAULTFS = BUILD / "tests" / "faultfs"


def build_faultfs():
    """Returns why there is none, or None."""
    source = pathlib.Path(__file__).parent / "faultfs" / "faultfs.c"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse cannot be opened"
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"], capture_output=True, text=True)
    if flags.returncode != 0:
        return "libfuse3-dev is not installed"
    FAULTFS.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["cc", "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-o", FAULTFS,
                           source, *flags.stdout.split()], capture_output=True, text=True)
    return f"faultfs does not compile: {done.stderr}" if done.returncode != 0 else None


def need_faultfs():
    if no_fuse:
        skip(f"EIO is not tried: {no_fuse}")


# ---- Clients ----


class Load:
    """Produces records of its own kind, one attempt each; remembers what was acknowledged."""

    def __init__(self, broker):
        self.rng = random.Random(56)
        self.acked = {}  # (topic, partition, offset) -> value
        self.codes = []
        self.sent = 0
        self.producer = Producer({
            "bootstrap.servers": broker.bootstrap, "acks": "all", "retries": 0, "linger.ms": 2,
            "message.timeout.ms": 20000, "queue.buffering.max.messages": 1000,
            "log_level": 2})  # the broker restarts under it: no news

    def send(self, topic, partition):
        value = b"%d:" % self.sent + self.rng.randbytes(VALUE_BYTES)
        self.sent += 1

        def on_delivery(error, message):
            if error:
                self.codes.append(error.code())
            else:
                self.acked[topic, message.partition(), message.offset()] = value

        while True:
            try:
                self.producer.produce(topic, value=value, partition=partition, on_delivery=on_delivery)
                break
            except BufferError:
                self.producer.poll(0.05)
        self.producer.poll(0)

    def attempt(self, topic, partition):
        """One record; the error code of its delivery, None when it was acknowledged."""
        self.codes.clear()
        self.send(topic, partition)
        check(self.producer.flush(30) == 0, f"no answer for {topic}-{partition}")
        return self.codes[0] if self.codes else None

    def until_error(self, topic, partition, most):
        self.codes.clear()
        for _ in range(most):
            if self.codes:
                break
            self.send(topic, partition)
        check(self.producer.flush(30) == 0, f"no answer for {topic}-{partition}")
        check(self.codes, f"{most} records and the disk did not fail")
        check(set(self.codes) == {STORAGE_ERROR}, f"error codes {sorted(set(self.codes))}")


def check_readable(broker, acked):
    """Every acknowledged record is where the acknowledgement said, byte for byte."""
    places = {(topic, partition) for topic, partition, _ in acked}
    last = {place: max(o for t, p, o in acked if (t, p) == place) for place in places}
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "checker",
                         "enable.auto.commit": False})
    consumer.assign([TopicPartition(t, p, 0) for t, p in places])
    missing = dict(acked)
    reached = {}
    deadline = time.monotonic() + 60
    try:
        while any(reached.get(place, -1) < offset for place, offset in last.items()):
            check(time.monotonic() < deadline, f"{len(missing)} acknowledged records cannot be read")
            for message in consumer.consume(1000, timeout=1.0):
                check(not message.error(), f"consume: {message.error()}")
                place = message.topic(), message.partition()
                reached[place] = message.offset()
                wanted = missing.pop((*place, message.offset()), None)
                check(wanted in (None, message.value()), f"{place}: other bytes at {message.offset()}")
    finally:
        consumer.close()
    check(not missing, f"{len(missing)} of {len(acked)} acknowledged records are missing")


# ---- The broker ----


def layout(broker):
    """{(topic, partition): (dir, lane, state)}"""
    rows = broker.ctl("partitions")
    rows = rows["partitions"] if isinstance(rows, dict) else rows
    return {(r["topic"], r["partition"]): (pathlib.Path(r["dir"]).parent, r["lane"], r["state"]) for r in rows}


def spread(broker, bad):
    """Topics until @bad has partitions on every lane; returns those of it, and those that are not."""
    for i in range(12):
        broker.ctl("topics", "create", f"t{i}", "--partitions", str(3 - i % 2))
        found = wait_for("the partitions", lambda: layout(broker))
        inside = {place: lane for place, (path, lane, _) in found.items() if path == bad}
        outside = [place for place, (path, _, _) in found.items() if path != bad]
        if set(inside.values()) == set(range(LANES)) and outside:
            return inside, outside
    check(False, f"{bad} has no partition on some lane: {found}")


def check_offline(broker, load, bad, good, inside, outside):
    def all_told():
        return broker.metric("sluice_lane_partitions_offline") == len(inside)

    wait_for("every lane to take the dir offline", all_told)
    states = layout(broker)
    check({p for p, (_, _, state) in states.items() if state == "offline"} == set(inside), f"states {states}")
    for place in inside:
        code = load.attempt(*place)
        check(code == STORAGE_ERROR, f"append to {place} in the failed dir: {code}")
    for place in outside:
        check(load.attempt(*place) is None, f"append to {place} in the good dir: {load.codes}")
    broker.ctl("topics", "create", "late", "--partitions", "4")
    for partition in range(4):
        check(load.attempt("late", partition) is None, f"append to the new topic: {load.codes}")
    late = {path for (topic, _), (path, _, _) in layout(broker).items() if topic == "late"}
    check(late == {good}, f"the new topic is in {late}")
    online = {labels: v for (name, labels), v in broker.metrics().items() if name == "sluice_log_dir_online"}
    check(sorted(online.values()) == [0, 1], f"sluice_log_dir_online {online}")
    status = broker.ctl("status")
    check(str(bad) in str(status) and "offline" in str(status), f"status {status}")


def fail(disk, broker, bad, good):
    inside, outside = spread(broker, bad)
    load = Load(broker)
    for place in (*inside, *outside):
        for _ in range(20):
            check(load.attempt(*place) is None, f"append to {place}: {load.codes}")
    pids = broker.pids()
    disk.arm()
    load.until_error(*next(iter(inside)), most=TMPFS_MIB * 2 * 1024 * 1024 // VALUE_BYTES)
    check_offline(broker, load, bad, good, inside, outside)
    check_readable(broker, load.acked)
    check(broker.pids() == pids, "a process died")
    # Not expected to be clean: the logs of the failed dir cannot be closed in order.
    broker.stop(expect_clean=False)
    check(not (bad / ".sluice_clean").exists(), "the failed dir has a clean marker")
    check((good / ".sluice_clean").exists(), "the good dir has no clean marker")
    disk.cure()
    broker.start()
    everything = {(t, p) for t, p, _ in load.acked}
    wait_for("all partitions", lambda: broker.metric("sluice_lane_partitions") >= len(everything))
    check(broker.metric("sluice_lane_partitions_offline") == 0, "partitions are offline after the cure")
    check_readable(broker, load.acked)
    again = Load(broker)
    for place in inside:
        check(again.attempt(*place) is None, f"append to {place} after the cure: {again.codes}")
    check_readable(broker, {**load.acked, **again.acked})
    print(f"  {len(load.acked)} records acknowledged, {len(inside)} partitions in the failed dir")


@contextlib.contextmanager
def machine(make_disk, second=True):
    """A disk and a broker that has its first log dir on it; everything is gone afterwards."""
    root = pathlib.Path(tempfile.mkdtemp(prefix="sluice-disk-"))
    try:
        disk = make_disk(root)
        try:
            bad, good = disk.path / "log", root / "good"
            dirs = f"{bad},{good}" if second else str(bad)
            with Broker(lanes=LANES, settings={"log.dirs": dirs}) as broker:
                yield disk, broker, bad, good
        finally:
            disk.close()
    finally:
        if not os.path.ismount(root / "disk"):
            shutil.rmtree(root, ignore_errors=True)


def full_disk():
    with machine(FullDisk) as parts:
        fail(*parts)


def failing_writes():
    need_faultfs()
    with machine(lambda root: FaultyDisk(root, "write", 5, 1 << 40)) as parts:
        fail(*parts)


def one_failing_sync():
    """The disk is well again at once, but the broker must not believe it."""
    need_faultfs()
    with machine(lambda root: FaultyDisk(root, "sync", 3, 1)) as parts:
        fail(*parts)


def no_log_dir_left():
    with machine(FullDisk, second=False) as (disk, broker, bad, _):
        broker.ctl("topics", "create", "only", "--partitions", "1")
        load = Load(broker)
        check(load.attempt("only", 0) is None, f"append: {load.codes}")
        load.until_error("only", 0, most=TMPFS_MIB * 2 * 1024 * 1024 // VALUE_BYTES)
        broker.ctl("topics", "create", "late", "--partitions", "1")
        check(load.attempt("late", 0) == STORAGE_ERROR, f"append without any log dir: {load.codes}")
        check("open partition part=late-0" in broker.log_path.read_text() and
              "every log dir is offline" in broker.log_path.read_text(), "the log does not say why")
        check_readable(broker, load.acked)
        broker.stop(expect_clean=False)
        disk.cure()
        broker.start()
        wait_for("both partitions", lambda: broker.metric("sluice_lane_partitions") >= 2)
        check_readable(broker, load.acked)
        check(load.attempt("late", 0) is None, f"append after the cure: {load.codes}")


if os.geteuid() != 0:
    skip("only root can mount a small file system")
no_fuse = build_faultfs()
main(full_disk, no_log_dir_left, failing_writes, one_failing_sync)
