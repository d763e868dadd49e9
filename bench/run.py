#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""make bench: a broker of its own, each profile beside the machine's limit for the same work, measured
in the same run; prints a table and writes bench/results/<commit>.json."""

import json
import pathlib
import platform
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "interop" / "support"))
from sluice import BUILD, Broker, run  # noqa: E402

ROUNDS = 3
SECONDS = "2"
# name, sluice-bench arguments, the limit it stands beside and the field compared
PROFILES = [
    ("produce 100 B, acks=1", ["produce", "--record-bytes", "100"], "limit-tcp", "mb_s"),
    ("produce 1 KiB, acks=1", ["produce", "--record-bytes", "1024"], "limit-tcp", "mb_s"),
    ("produce 16 KiB, acks=1", ["produce", "--record-bytes", "16384", "--batch-bytes", "262144"], "limit-tcp", "mb_s"),
    ("produce 1 KiB, acks=all", ["produce", "--acks", "-1"], "limit-append-fdatasync", "mb_s"),
    ("fetch", ["fetch"], "limit-sendfile", "mb_s"),
    ("e2e 5,000/s 100 B, acks=1", ["e2e", "--rate", "5000", "--record-bytes", "100", "--connections", "1"],
     "limit-round-trip", "p99_us"),
    ("e2e 1,000/s 100 B, acks=all", ["e2e", "--rate", "1000", "--record-bytes", "100", "--connections", "1",
                                     "--acks", "-1"], "limit-round-trip", "p99_us"),
]


def bench(arguments, broker=None):
    command = [BUILD / "bin" / "sluice-bench", *arguments, "--seconds", SECONDS]
    if broker:
        command += ["--port", str(broker.port)]
    return [json.loads(line) for line in run(command, timeout=120).decode().splitlines()]


def median(rows):
    """Field by field over the rounds."""
    return {k: statistics.median(r[k] for r in rows) if isinstance(rows[0][k], (int, float)) else rows[0][k]
            for k in rows[0]}


def measure():
    limits, results = {}, {name: [] for name, *_ in PROFILES}
    with Broker() as broker:
        for number in range(ROUNDS):
            for row in bench(["limits", "--dir", str(broker.data)]):
                limits.setdefault(row["profile"], []).append(row)
            for index, (name, arguments, *_) in enumerate(PROFILES):
                topic = f"bench-{number}" if arguments[0] == "fetch" else f"bench-{number}-{index}"
                if arguments[0] == "fetch":
                    bench(["produce", "--topic", topic], broker)
                results[name] += bench([*arguments, "--topic", topic], broker)
                if arguments[0] != "e2e":
                    broker.ctl("topics", "delete", topic)
        lanes = broker.ctl("lanes")
    return {k: median(v) for k, v in limits.items()}, {k: median(v) for k, v in results.items()}, lanes


def main():
    limits, results, lanes = measure()
    print(f"{'profile':30} {'MB/s':>8} {'records/s':>11} {'p50 us':>9} {'p99 us':>9} {'p99.9 us':>9}  beside")
    for row in limits.values():
        print(f"{row['profile']:30} {row['mb_s']:8.0f} {'':11} {row['p50_us']:9.1f} {row['p99_us']:9.1f} "
              f"{row['p999_us']:9.1f}")
    for name, _, limit, field in PROFILES:
        row = results[name]
        ratio = row[field] / limits[limit][field]
        print(f"{name:30} {row['mb_s']:8.0f} {row['records_s']:11.0f} {row['p50_us']:9.1f} {row['p99_us']:9.1f} "
              f"{row['p999_us']:9.1f}  {ratio:.2f} x {limit} ({field})")
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short=12", "HEAD"], capture_output=True,
                            text=True).stdout.strip() or "unknown"
    folder = ROOT / "bench" / "results"
    folder.mkdir(exist_ok=True)
    path = folder / f"{commit}.json"
    path.write_text(json.dumps({"commit": commit, "machine": platform.platform(), "rounds": ROUNDS,
                                "limits": limits, "results": results, "lanes": lanes}, indent=1) + "\n")
    print(f"medians of {ROUNDS} rounds of {SECONDS} s; client and broker share the cores; {path.relative_to(ROOT)}")


main()
