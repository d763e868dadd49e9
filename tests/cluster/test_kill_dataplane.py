#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 600
"""kill -9 of the data plane under load, twenty times: every acknowledged record is there afterwards, with
acks=1 and acks=all; none twice and all in order for the idempotent producer.  And the next one waits for
what still holds the log dirs.  With arguments only the functions of these names run."""

import fcntl
import pathlib
import random
import signal
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "interop" / "support"))
from load import Load, read_all  # noqa: E402
from sluice import Broker, check, main, wait_for  # noqa: E402

KILLS = 12
PARTITIONS = 4


def examine(load, found, idempotent):
    check(load.acked, "nothing was acknowledged")
    where = {}
    twice = 0
    for partition, records in found.items():
        offsets = [offset for offset, _ in records]
        check(offsets == sorted(set(offsets)), f"offsets of partition {partition} repeat or fall")
        numbers = [int(value) for _, value in records]
        if idempotent:
            check(numbers == sorted(numbers), f"partition {partition} is out of order")
        for offset, number in zip(offsets, numbers):
            twice += number in where
            where.setdefault(number, []).append((partition, offset))
    lost = [n for n in load.acked if n not in where]
    check(not lost, f"{len(lost)} of {len(load.acked)} acknowledged records are lost, e.g. {lost[:5]}")
    # The offset in the acknowledgement is where the record is, unless the client never saw the answer.
    moved = [n for n, place in load.acked.items() if place[1] >= 0 and place not in where[n]]
    check(not moved, f"{len(moved)} acknowledged records lie elsewhere, e.g. {moved[:5]}")
    if idempotent:
        check(twice == 0, f"{twice} records are there twice")
        check(load.failed == 0, f"{load.failed} sends failed")
    print(f"  acknowledged {len(load.acked)}, twice {twice}, failed {load.failed}")


def torture(acks, idempotent):
    rng = random.Random(2604)
    with Broker() as broker:
        broker.ctl("topics", "create", "load", "--partitions", str(PARTITIONS))
        with Load(broker, "load", PARTITIONS, config={"acks": acks, "enable.idempotence": idempotent}) as load:
            for _ in range(KILLS):
                time.sleep(0.3 + rng.random() * 0.5)
                pid = broker.kill("sluice-dataplane")
                broker.wait_restarted("sluice-dataplane", pid)
        examine(load, read_all(broker, "load", PARTITIONS), idempotent)
        log = broker.log_path.read_text()
        check("exit status" not in log, broker.tail("a restart failed"))
        check(log.count("start sluice-dataplane") == KILLS + 1, broker.tail("one start for each kill"))


def acks_one():
    torture("1", False)


def acks_all():
    torture("all", False)


def idempotent_producer():
    torture("all", True)


def the_next_one_waits_for_what_holds_the_log_dirs():
    """As the writes of the killed one do, which the kernel completes after its death."""
    with Broker() as broker, open(broker.data / "log" / ".lock", "rb") as lock:
        broker.ctl("topics", "create", "load", "--partitions", "1")
        holder = threading.Thread(target=fcntl.flock, args=(lock, fcntl.LOCK_EX))
        holder.start()
        # The launcher starts nothing before the lock is taken.
        broker.process.send_signal(signal.SIGSTOP)
        try:
            pid = broker.kill("sluice-dataplane")
            holder.join()
        finally:
            broker.process.send_signal(signal.SIGCONT)
        broker.wait_restarted("sluice-dataplane", pid)
        time.sleep(0.5)
        fcntl.flock(lock, fcntl.LOCK_UN)
        wait_for("the data plane to serve", lambda: broker.ctl("status")["data_plane"]["serving"])
        log = broker.log_path.read_text()
        check("exit status" not in log, broker.tail("a restart failed"))
        check("waited for the lock of a log dir" in log, broker.tail("nothing was waited for"))


TESTS = (acks_one, acks_all, idempotent_producer, the_next_one_waits_for_what_holds_the_log_dirs)
main(*(t for t in TESTS if not sys.argv[1:] or t.__name__ in sys.argv[1:]))
