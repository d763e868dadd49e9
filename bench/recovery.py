#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How long a killed data plane takes until it serves everything again: fills partitions, kills with
SIGKILL while records still come, and asks every partition for its end until all answer.

    recovery.py [--gigabytes N] [--partitions N] [--kills N]

Prints one JSON line per kill.  Needs twice that much room on the disk that bench/run.py uses."""

import argparse
import json
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "interop" / "support"))
sys.path.insert(0, str(ROOT / "bench" / "driver"))
import machine  # noqa: E402
from sluice import BUILD, Broker  # noqa: E402

TOPIC = "recovery"
SETTLE_SECONDS = 15  # checkpoints of all partitions: a lane makes 200 a second
GIVE_UP_SECONDS = 60


def list_offsets(partitions):
    """A ListOffsets v1 request (Kafka's protocol guide) for the end of every partition."""
    name = TOPIC.encode()
    body = struct.pack(">iih", -1, 1, len(name)) + name + struct.pack(">i", partitions)
    body += b"".join(struct.pack(">iq", p, -1) for p in range(partitions))
    head = struct.pack(">hhih", 2, 1, 1, -1)
    return struct.pack(">i", len(head) + len(body)) + head + body


def ask(port, request, partitions):
    """How many partitions answered without an error."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
        s.sendall(request)
        data = b""
        while len(data) < 4 or len(data) < 4 + struct.unpack(">i", data[:4])[0]:
            piece = s.recv(1 << 20)
            if not piece:
                raise ConnectionError("closed")
            data += piece
    at = 4 + 4 + 4 + 2 + len(TOPIC) + 4
    return sum(struct.unpack_from(">ihqq", data, at + 22 * i)[1] == 0 for i in range(partitions))


def wait_served(port, request, partitions, began):
    first = None
    while time.monotonic() - began < GIVE_UP_SECONDS:
        try:
            served = ask(port, request, partitions)
            first = first or time.monotonic() - began
            if served == partitions:
                return first, time.monotonic() - began
        except OSError:
            pass
        time.sleep(0.005)
    raise SystemExit(f"not served after {GIVE_UP_SECONDS} s")


def load(broker, *arguments):
    return subprocess.Popen([BUILD / "bin" / "sluice-load", "produce", "--bootstrap", f"127.0.0.1:{broker.port}",
                             "--topic", TOPIC, "--connections", "8", "--acks", "1", "--warmup", "0", "--quiet",
                             *map(str, arguments)], stdout=subprocess.DEVNULL)


def measure(options, data):
    with Broker(lanes=1, settings={"log.hot.bytes": 4 << 30}, data=data) as broker:
        request = list_offsets(options.partitions)
        fill = load(broker, "--partitions", options.partitions, "--records", options.gigabytes * 1000000)
        if fill.wait(600) != 0:
            raise SystemExit("cannot fill the topic")
        for number in range(options.kills):
            time.sleep(SETTLE_SECONDS)
            trickle = load(broker, "--partitions", options.partitions, "--rate", 2000, "--duration", 5)
            time.sleep(2)
            began = time.monotonic()
            old = broker.kill("sluice-dataplane")
            first, every = wait_served(broker.port + 1, request, options.partitions, began)
            trickle.send_signal(signal.SIGINT)
            trickle.wait(60)
            print(json.dumps({"kill": number + 1, "gigabytes": options.gigabytes,
                              "partitions": options.partitions, "first_answer_s": round(first, 3),
                              "all_served_s": round(every, 3), "old_pid": old}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=int, default=20)
    parser.add_argument("--partitions", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=3)
    options = parser.parse_args()
    data = tempfile.mkdtemp(prefix="recovery-", dir=machine.disk_folder())
    try:
        measure(options, data)
    finally:
        shutil.rmtree(data, ignore_errors=True)


main()
