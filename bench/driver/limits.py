# SPDX-License-Identifier: Apache-2.0
"""The machine's limits: how sluice-bench is called for each, and which figure of it counts."""

import json
import subprocess

from machine import BUILD, Failed, disk_folder
from profiles import BATCH_64_KIB, KIB, MIB

PRODUCE_HEAD_BYTES = 120  # of a Produce request before its batch, and of that batch


def receive(batch_bytes, connections, in_flight):
    return ["receive", "--request-bytes", batch_bytes + PRODUCE_HEAD_BYTES, "--connections", connections,
            "--in-flight", in_flight]


# Name -> arguments.  "{disk}" becomes a folder on the disk.
LIMITS = {
    "tcp sink 64 KiB": ["sink", "--request-bytes", 64 * KIB],
    "tcp sink 1 MiB": ["sink", "--request-bytes", MIB],
    "receive+crc 64 KiB": receive(BATCH_64_KIB, 4, 5),
    "receive+crc 256 KiB": receive(256 * KIB, 4, 5),
    "receive+crc 1 MiB": receive(MIB, 4, 2),
    "receive+crc 64 x 16 KiB": receive(16 * KIB, 64, 1),
    "receive+crc 64 x 4 KiB": receive(4 * KIB, 64, 1),
    "receive+crc 8 x 16 KiB": receive(16 * KIB, 8, 5),
    "echo 64 x 200 B": ["echo", "--connections", 64, "--in-flight", 1, "--request-bytes", 200,
                        "--answer-bytes", 60],
    "sendfile 64 KiB x 1": ["sendfile", "--connections", 1, "--piece-bytes", BATCH_64_KIB],
    "sendfile 64 KiB x 8": ["sendfile", "--connections", 8, "--piece-bytes", BATCH_64_KIB],
    "sendfile 1 MiB x 1": ["sendfile", "--connections", 1, "--piece-bytes", MIB],
    "sendfile 1 MiB x 8": ["sendfile", "--connections", 8, "--piece-bytes", MIB],
    # What a fetch cannot leave out: each response is asked for, one at a time.
    "ask+sendfile 64 KiB x 1": ["sendfile", "--ask", "--connections", 1, "--piece-bytes", BATCH_64_KIB],
    "ask+sendfile 64 KiB x 8": ["sendfile", "--ask", "--connections", 8, "--piece-bytes", BATCH_64_KIB],
    "ask+sendfile 1 MiB x 1": ["sendfile", "--ask", "--connections", 1, "--piece-bytes", MIB],
    "sendfile page cache": ["sendfile", "--connections", 1, "--piece-bytes", MIB, "--dir", "{disk}"],
    "sendfile cold": ["sendfile", "--connections", 1, "--piece-bytes", MIB, "--dir", "{disk}", "--cold"],
    "durable 64 x 16 KiB": ["durable", "--producers", 64, "--block-bytes", 16 * KIB, "--dir", "{disk}"],
    "durable 4 x 64 KiB": ["durable", "--producers", 20, "--block-bytes", 64 * KIB, "--dir", "{disk}"],
    "durable 1 x 4 KiB": ["durable", "--producers", 1, "--block-bytes", 4 * KIB, "--dir", "{disk}"],
    "direct write 1 MiB": ["direct-write", "--dir", "{disk}"],
    "round trip 1,000/s": ["round-trip", "--rate", 1000, "--request-bytes", 200, "--answer-bytes", 60],
    "round trip 5,000/s": ["round-trip", "--rate", 5000, "--request-bytes", 200, "--answer-bytes", 60],
    "round trip 20,000/s": ["round-trip", "--rate", 20000, "--request-bytes", 200, "--answer-bytes", 60],
}
# Modes that lay out half a gigabyte or more, in memory or in the page cache, and free it at their end.
HEAVY = ("durable", "direct-write", "receive")


def sluice_bench(arguments, timeout):
    """Runs sluice-bench; returns its JSON lines."""
    command = [str(BUILD / "bin" / "sluice-bench"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: status {done.returncode}\n{done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def measure(name, seconds, warmup, *options):
    """One limit, once."""
    arguments = [str(disk_folder()) if a == "{disk}" else a for a in LIMITS[name]]
    row, = sluice_bench([*arguments, *options, "--seconds", seconds, "--warmup", warmup], timeout=60 + 10 * seconds)
    row["name"] = name
    row["server_cores"] = row["server_cpu_s"] / row["seconds"]
    return row


def micro():
    return sluice_bench(["micro"], timeout=60)
