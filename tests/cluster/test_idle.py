#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 120
"""An idle broker costs next to no CPU time, and the first record after a pause is not late."""

import os
import pathlib
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "interop" / "support"))
from sluice import Broker, check, main, skip, wait_for  # noqa: E402

try:
    from confluent_kafka import Consumer, Producer, TopicPartition
except ImportError:
    skip("python3-confluent-kafka is not installed")

IDLE_CONNECTIONS = 10
WINDOW_S = 3.0
SHARE_MAX = 0.05  # of one CPU, all processes of the broker together
LATENCY_S_MAX = 0.2
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS  # utime + stime, all threads


def all_pids(broker):
    pids = {**broker.pids(), "sluice": broker.process.pid}
    check(len(pids) == 3, f"processes: {pids}")
    return pids


def measure(broker):
    """{process: share of one CPU} during the window."""
    pids = all_pids(broker)
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    began = time.monotonic()
    time.sleep(WINDOW_S)
    elapsed = time.monotonic() - began
    share = {name: (cpu_seconds(pid) - before[name]) / elapsed for name, pid in pids.items()}
    check(all_pids(broker) == pids, "a process was restarted meanwhile")
    return share


def check_idle(broker, what):
    """A clock tick is all the kernel's accounting is good for on a busy machine, so a window may be
    repeated; a broker that really polls is seen in each."""
    time.sleep(0.5)  # the housekeeping of what was just done
    for _ in range(3):
        share = measure(broker)
        print(f"  {what}: " + ", ".join(f"{name} {s * 100:.1f} %" for name, s in share.items()))
        if sum(share.values()) < SHARE_MAX:
            return
    check(False, f"{what}: {sum(share.values()) * 100:.1f} % of a CPU")


class Client:
    """A consumer with a long poll under way, and a producer."""

    def __init__(self, broker):
        self.consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "idle",
                                  "fetch.wait.max.ms": 5000, "socket.timeout.ms": 20000,
                                  "log_level": 0})
        self.consumer.assign([TopicPartition("quiet", 0, 0)])
        self.producer = Producer({"bootstrap.servers": broker.bootstrap, "acks": "all", "linger.ms": 0,
                                  "log_level": 0})

    def once(self, value):
        """Seconds from produce to consume of one record."""
        began = time.monotonic()
        self.producer.produce("quiet", value, partition=0)
        self.producer.poll(0)
        message = self.consumer.poll(10)
        seconds = time.monotonic() - began
        check(message is not None and not message.error(), f"consume: {message and message.error()}")
        check(message.value() == value, f"got {message.value()}, not {value}")
        self.producer.flush(10)
        return seconds


def idle_costs_nothing_and_wakes_up_at_once(lanes):
    with Broker(lanes=lanes) as broker:
        broker.ctl("topics", "create", "quiet", "--partitions", "1")
        check_idle(broker, f"{lanes} lane(s), no client")
        idle = [socket.create_connection(("127.0.0.1", broker.port + i % (lanes + 1)))
                for i in range(IDLE_CONNECTIONS)]
        client = Client(broker)
        client.once(b"first")
        wait_for("the long poll", lambda: broker.metric("sluice_lane_fetches_parked") == 1)
        check_idle(broker, f"{lanes} lane(s), {IDLE_CONNECTIONS} idle connections, a long poll")
        latencies = []
        for i in range(3):
            time.sleep(2)
            latencies.append(client.once(b"%d" % i))
        print("  first record after 2 s of silence: " +
              ", ".join(f"{s * 1000:.1f} ms" for s in latencies))
        check(max(latencies) < LATENCY_S_MAX, f"woke up after {max(latencies):.3f} s")
        for connection in idle:
            connection.close()
        client.consumer.close()


def one_lane():
    idle_costs_nothing_and_wakes_up_at_once(1)


def two_lanes():
    idle_costs_nothing_and_wakes_up_at_once(2)


def never_sleeping_lane_polls():
    """The contrast: what the measurement says of a lane that is told to spin."""
    with Broker(settings={"lane.idle.spin.us": "-1"}) as broker:
        pid = broker.pids()["sluice-dataplane"]
        before = cpu_seconds(pid)
        sleeps = broker.metric("sluice_lane_sleeps_total")
        time.sleep(1)
        check(cpu_seconds(pid) - before > 0.3, f"took only {cpu_seconds(pid) - before:.2f} s in a second")
        check(broker.metric("sluice_lane_sleeps_total") == sleeps == 0, "the lane slept")


main(one_lane, two_lanes, never_sleeping_lane_polls)
