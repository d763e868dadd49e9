#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 60
"""A data plane without descriptors for new connections costs no CPU time, serves those it has, and
takes who waited as soon as there are descriptors again."""

import os
import pathlib
import resource
import socket
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "interop" / "support"))
from sluice import Broker, check, main, wait_for  # noqa: E402

SPARE = 8
CLIENTS = 40
WINDOW_S = 2.0
SHARE_MAX = 0.1  # of one CPU
TICKS = os.sysconf("SC_CLK_TCK")
# ApiVersions v0 with client id "me".
REQUEST = struct.pack(">ihhih2s", 12, 18, 0, 7, 2, b"me")


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def is_answered(client):
    client.settimeout(0.2)
    try:
        head = client.recv(8)
    except socket.timeout:
        return False
    check(len(head) == 8 and struct.unpack(">ii", head)[1] == 7, f"answer {head!r}")
    return True


def waits_without_descriptors():
    with Broker() as broker:
        pid = broker.pids()["sluice-dataplane"]
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = len(os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + SPARE, limits[1]))
        clients = [socket.create_connection(("127.0.0.1", broker.port)) for _ in range(CLIENTS)]
        for client in clients:
            client.sendall(REQUEST)
        served = [c for c in clients if is_answered(c)]
        check(0 < len(served) <= SPARE, f"{len(served)} were served")
        before = cpu_seconds(pid)
        time.sleep(WINDOW_S)
        share = (cpu_seconds(pid) - before) / WINDOW_S
        print(f"  {len(served)} of {CLIENTS} served, {share * 100:.1f} % of a CPU", flush=True)
        check(share < SHARE_MAX, "the data plane polls for what it cannot accept")
        served[0].sendall(REQUEST[:8] + struct.pack(">i", 8) + REQUEST[12:])
        served[0].settimeout(5)
        # Behind the rest of the first answer.
        wait_for("the second answer", lambda: struct.pack(">i", 8) in served[0].recv(65536))
        check(broker.metric("sluice_lane_connections_refused_memory_total") > 0, "nothing was counted")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        waiting = [c for c in clients if c not in served]
        wait_for("the others to be answered", lambda: all(is_answered(c) for c in waiting[:1]))
        for client in waiting[1:]:
            check(is_answered(client), "one that waited is not served")


main(waits_without_descriptors)
