#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How long a start takes and how much memory an idle broker has beside its hot tier.  The figures are
printed; the bounds are so wide that only a blunder breaks them."""

import pathlib
import socket
import statistics
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "interop" / "support"))
from sluice import Broker, check, main, wait_for  # noqa: E402

STARTS = 5
START_MS_WANTED = 150
MEMORY_WANTED = 64 << 20
BOUND = 3  # times what is wanted

API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 7, -1)  # version 0, no client id


def is_answered(port):
    try:
        with socket.create_connection(("127.0.0.1", port), 10) as sock:
            sock.sendall(API_VERSIONS)
            head = sock.recv(10, socket.MSG_WAITALL)
    except ConnectionError:
        return False
    return len(head) == 10 and struct.unpack(">iih", head)[1:] == (7, 0)


def start_ms(broker):
    """From the launcher's exec until the first request has been answered."""
    broker.data.mkdir(parents=True, exist_ok=True)
    broker.log = open(broker.log_path, "ab")
    began = time.monotonic()
    broker.process = subprocess.Popen(broker.command(), stdout=broker.log, stderr=broker.log)
    wait_for("an answer", lambda: is_answered(broker.port), interval=0.001)
    return (time.monotonic() - began) * 1000


def answers_soon_after_the_start():
    times = []
    for _ in range(STARTS):
        broker = Broker()
        try:
            times.append(start_ms(broker))
            broker.stop()
        finally:
            broker.__exit__(None)
    print(f"  exec to the first answer: {min(times):.0f} ms at best, median {statistics.median(times):.0f} ms"
          f" (wanted: {START_MS_WANTED})")
    check(min(times) <= BOUND * START_MS_WANTED, f"{times} ms")


def uses_little_memory_beside_the_hot_tier():
    with Broker() as broker:
        sizes = {program: broker.memory(program) for program in broker.pids()}
    check(len(sizes) == 2, f"{sizes}")
    print("  " + ", ".join(f"{program} {size / (1 << 20):.1f} MiB" for program, size in sizes.items())
          + f" (wanted: {MEMORY_WANTED >> 20} MiB together)")
    check(sum(sizes.values()) <= BOUND * MEMORY_WANTED, f"{sizes}")


main(answers_soon_after_the_start, uses_little_memory_beside_the_hot_tier)
