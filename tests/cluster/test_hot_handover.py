#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 600
"""kill -9 of the data plane while records are in the hot tier and not in the segment files: with flush=lazy
and acks=1 every acknowledged record is there afterwards, byte for byte and in order, because the control
process kept the memory."""

import pathlib
import random
import re
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "interop" / "support"))
from load import Load, read_all  # noqa: E402
from sluice import Broker, check, main, wait_for  # noqa: E402

KILLS = 10
PARTITIONS = 3
TOPIC = "lazy"
# A retry cannot overtake.
ONE_AT_A_TIME = {"acks": 1, "max.in.flight.requests.per.connection": 1}
WORDS = ("oak", "elm", "ash", "yew", "fir")


def value_of(number):
    """Of some hundred bytes up to 3 KiB, so that batches begin anywhere in a block."""
    return f"{number}:{WORDS[number % 5] * (50 + number % 977)}".encode()


def examine(load, found):
    """Checks bytes, offsets and order.  Returns how many records are there twice."""
    check(load.acked, "nothing was acknowledged")
    check(load.failed == 0, f"{load.failed} sends failed")
    there, total = set(), 0
    for p, records in found.items():
        offsets = [offset for offset, _ in records]
        check(offsets == list(range(len(offsets))), f"partition {p}: offsets have gaps")
        numbers = [int(value.split(b":")[0]) for _, value in records]
        for number, (_, value) in zip(numbers, records):
            check(value == value_of(number), f"record {number} is not what was sent")
        # A request whose answer was lost is sent again; its records are there twice then.
        first = list(dict.fromkeys(numbers))
        check(first == sorted(first), f"partition {p} is out of order")
        there.update(numbers)
        total += len(numbers)
    lost = sorted(load.acked.keys() - there)
    check(not lost, f"{len(lost)} of {len(load.acked)} acknowledged records are lost, e.g. {lost[:5]}")
    return total - len(there)


def acknowledged_records_outlive_the_data_plane():
    rng = random.Random(20311)
    with Broker(lanes=1) as broker:
        broker.ctl("topics", "create", TOPIC, "--partitions", str(PARTITIONS), "--config", "flush=lazy")
        with Load(broker, TOPIC, PARTITIONS, value_of, ONE_AT_A_TIME) as load:
            for _ in range(KILLS):
                # It serves again, and has something to lose.
                acked = len(load.acked) + 500
                wait_for("records to be acknowledged", lambda a=acked: len(load.acked) >= a)
                time.sleep(rng.random() * 0.5)
                pid = broker.kill("sluice-dataplane")
                broker.wait_restarted("sluice-dataplane", pid)
        twice = examine(load, read_all(broker, TOPIC, PARTITIONS))
        saved = [int(n) for n in re.findall(r"saved records of the hot tier index=0 bytes=(\d+)",
                                            broker.log_path.read_text())]
        print(f"  acknowledged {len(load.acked)}, twice {twice}; saved after each kill: {saved} bytes")
        check(len(saved) == KILLS, f"{len(saved)} data planes found a tier, {KILLS} were killed")
        # Else there was nothing that could have been lost, and this test has shown nothing.
        check(sum(saved) > 0, "no record was in memory only when the data plane was killed")


main(acknowledged_records_outlive_the_data_plane)
