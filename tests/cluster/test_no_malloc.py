#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 240
"""A lane asks the allocator for nothing while it serves: all its memory is taken before.  A library that
is loaded ahead of glibc counts the calls of the lanes' threads."""

import collections
import mmap
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "interop" / "support"))
from sluice import BUILD, Broker, check, main, skip  # noqa: E402

try:
    from confluent_kafka import Consumer, Producer, TopicPartition
except ImportError:
    skip("python3-confluent-kafka is not installed")

CALLS = ("malloc", "calloc", "realloc", "memalign", "free", "mmap", "munmap")
STACKS, FRAMES = 256, 12
STACKS_AT = 9 * 8
STACK_BYTES = (1 + FRAMES) * 8
LIBRARY = BUILD / "tests" / "alloccount.so"
PARTITIONS = 4
WARM_UP_S = 1.2
LOAD_S = 1.0
ENOUGH = 2000
PATIENCE_S = 10.0


def build():
    source = pathlib.Path(__file__).parent / "alloccount" / "alloccount.c"
    LIBRARY.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([os.environ.get("CC", "cc"), "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC",
                           "-o", LIBRARY, source], capture_output=True, text=True, timeout=60)
    check(done.returncode == 0, f"alloccount.c does not compile: {done.stderr}")


class Counted:
    """A broker whose lanes are counted."""

    def __init__(self, **more):
        self.file = tempfile.NamedTemporaryFile(prefix="sluice-alloc-")
        self.file.truncate(STACKS_AT + STACKS * STACK_BYTES)
        self.map = mmap.mmap(self.file.fileno(), 0)
        env = {**os.environ, "LD_PRELOAD": str(LIBRARY), "ALLOCCOUNT": self.file.name}
        self.broker = Broker(options={"env": env}, **more)

    def __enter__(self):
        self.broker.__enter__()
        return self

    def __exit__(self, *what):
        self.broker.__exit__(*what)
        self.map.close()
        self.file.close()

    def begin(self):
        """Forgets what was counted before."""
        self.map[:] = bytes(len(self.map))

    def calls(self):
        return dict(zip(CALLS, struct.unpack_from(f"{len(CALLS)}Q", self.map)))

    def stacks(self):
        """[(call, functions from the innermost on)] of the first calls."""
        pid = self.broker.pids()["sluice-dataplane"]
        program = os.readlink(f"/proc/{pid}/exe")
        base = next(int(line.split("-")[0], 16) for line in open(f"/proc/{pid}/maps")
                    if line.split()[-1] == program)
        found = []
        for i in range(min(STACKS, struct.unpack_from("Q", self.map, 8 * 8)[0])):
            call, *frames = struct.unpack_from(f"{1 + FRAMES}Q", self.map, STACKS_AT + i * STACK_BYTES)
            # A return address may be that of the next line already.
            places = [hex(f - base - 1) for f in frames if base <= f < base + 0x10000000]
            text = subprocess.run(["addr2line", "-f", "-i", "-s", "-e", program, *places], capture_output=True,
                                  text=True, timeout=60).stdout if places else ""
            found.append((CALLS[call], text.split("\n")[0:-1:2]))
        return found


def listed(stacks):
    counted = collections.Counter(" <- ".join([call, *names[:8]]) for call, names in stacks)
    return "\n".join(f"{n} of {stack}" for stack, n in counted.most_common())


def requests(broker):
    return broker.metric("sluice_lane_requests_total")


def load(broker, seconds, settings):
    """Producers and a consumer at the same time."""
    reader = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "g", "log_level": 0,
                       "enable.auto.commit": False, "fetch.wait.max.ms": 10})
    reader.assign([TopicPartition("t", p, 0) for p in range(PARTITIONS)])
    writer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 1, "log_level": 0,
                       "batch.num.messages": 20, **settings})
    deadline = time.monotonic() + seconds
    sent = got = 0
    # A disk that takes a second for a sync makes it longer, not less.
    while time.monotonic() < deadline or (min(sent, got) <= ENOUGH and time.monotonic() < deadline + PATIENCE_S):
        for _ in range(200):
            writer.produce("t", b"v" * 100, partition=sent % PARTITIONS)
            sent += 1
        writer.poll(0)
        got += len(reader.consume(1000, timeout=0.001))
        writer.flush(10)
    reader.close()
    return sent, got


# What clients do to the memory of a lane: batches as they are, waits for the disk, and each decompressor.
LOADS = ({"acks": "1"}, {"acks": "all", "enable.idempotence": True}, {"compression.type": "gzip"},
         {"compression.type": "snappy"}, {"compression.type": "lz4"}, {"compression.type": "zstd"})


# What is not done for a request, but for a segment or by the clock, and may allocate.
RARE = {"segment_feed",       # an index of the active segment doubles, from 16 entries, one in 4 KiB
        "sl_log_checkpoint"}  # the producers' snapshot, which a partition writes every few seconds at most


def a_lane_allocates_nothing_for_a_request():
    with Counted() as counted:
        broker = counted.broker
        broker.ctl("topics", "create", "t", "--partitions", str(PARTITIONS))
        for settings in LOADS:
            load(broker, WARM_UP_S, settings)
        counted.begin()
        before = requests(broker)
        for settings in LOADS:
            sent, got = load(broker, LOAD_S, settings)
            check(sent > 1000 and got > 1000, f"{sent} sent and {got} received with {settings}")
        rise = requests(broker) - before
        calls, stacks = counted.calls(), counted.stacks()
        check(rise > 1000, f"only {rise} requests")
        print(f"  {rise:.0f} requests, calls {calls}")
        # Were there more, some would have no stack that says what they were for.
        check(sum(calls.values()) <= STACKS, f"{calls} in {rise:.0f} requests\n{listed(stacks)}")
        wrong = [(call, names) for call, names in stacks if not RARE & set(names)]
        check(not wrong, f"{calls} in {rise:.0f} requests\n{listed(wrong)}")


def the_counter_counts():
    """A new segment may allocate, once in segment.bytes; so a topic with small ones shows it."""
    with Counted() as counted:
        broker = counted.broker
        broker.ctl("topics", "create", "t", "--partitions", str(PARTITIONS), "--config",
                   "segment.bytes=1048576")
        load(broker, WARM_UP_S, LOADS[0])
        counted.begin()
        load(broker, 3 * LOAD_S, LOADS[0])
        stacks = counted.stacks()
        check(counted.calls()["calloc"] > 0 and any("sl_log_append" in names for _, names in stacks),
              f"{counted.calls()}\n{listed(stacks)}")


if b"__asan_init" in (BUILD / "bin" / "sluice-dataplane").read_bytes():
    skip("a sanitizer has the allocator")
build()
main(a_lane_allocates_nothing_for_a_request, the_counter_counts)
