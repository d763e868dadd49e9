#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The memory of the hot tier is made once and stays as long as one of the two processes lives."""

import os
import pathlib
import stat
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "interop" / "support"))
from sluice import Broker, check, main, wait_for  # noqa: E402

BYTES = 64 << 20


def tiers_of(pid):
    """{(device, inode)} of the open files that are large enough and lie in memory."""
    found = set()
    for entry in os.scandir(f"/proc/{pid}/fd"):
        try:
            st = os.stat(entry.path)
            name = os.readlink(entry.path)
        except FileNotFoundError:
            continue
        if stat.S_ISREG(st.st_mode) and st.st_size >= BYTES and "sluice-rings" not in name:
            found.add((st.st_dev, st.st_ino))
    return found


def held(broker):
    """The tiers that the control process holds for the data plane, once they have met.  The latter has
    other memory of this kind, DPDK's."""
    def both():
        pids = broker.pids()
        if len(pids) < 2 or not broker.ctl("status")["data_plane"]["serving"]:
            return None
        control, dataplane = (tiers_of(pids[p]) for p in ("sluice-control", "sluice-dataplane"))
        return [control] if control <= dataplane else None
    return wait_for("the data plane to have what control holds", both)[0]


def check_of(broker):
    return next(c for c in broker.ctl("doctor")["checks"] if c["name"] == "hot_tier")


def restart(broker, program):
    before = broker.metric("sluice_control_attachments_total") if program == "sluice-dataplane" else 0
    pid = broker.kill(program)
    broker.wait_restarted(program, pid)
    wait_for("a new attachment",
             lambda: broker.metric("sluice_control_attachments_total") > before)


def outlives_each_process_alone():
    with Broker(lanes=2, settings={"log.hot.bytes": str(BYTES)}) as broker:
        first = held(broker)
        check(len(first) == 1, f"{first}")
        for program in ("sluice-dataplane", "sluice-control", "sluice-dataplane", "sluice-dataplane"):
            restart(broker, program)
            check(held(broker) == first, f"other memory after kill -9 of {program}")
        log = broker.log_path.read_text()
        check(log.count("create hot tier") == 1, "it was made again")
        check(log.count("adopt hot tier") == 3, "each data plane takes it over")
        found = wait_for("the end of population",
                         lambda: "all populated" in check_of(broker)["cause"] and check_of(broker))
        check("64 MiB" in found["cause"], f"{found}")
        check(found["state"] == "ok" or found["fix"], f"{found}")


def can_be_left_out():
    with Broker(settings={"log.hot.bytes": "-1"}) as broker:
        check(held(broker) == set(), "there is one")
        check(check_of(broker)["state"] == "ok", f"{check_of(broker)}")


main(outlives_each_process_alone, can_be_left_out)
