#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
"""Ten thousand connections at once, a thousand topics in ten seconds, and everything a hostile client
can put on the port: closed, counted, memory flat."""

import pathlib
import random
import resource
import select
import socket
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "interop" / "support"))
from sluice import Broker, check, main, skip, wait_for  # noqa: E402

CONNECTIONS = 10_000
TOPICS = 1000
IDLE_BYTES_MAX = 2048  # of the data plane per idle connection, beside the kernel's own
API_VERSIONS_0 = struct.pack(">ihhih", 10, 18, 0, 1, -1)


def ask(sock, frame=API_VERSIONS_0):
    """Sends one frame, returns the response's payload."""
    sock.sendall(frame)
    head = receive(sock, 4)
    return receive(sock, struct.unpack(">i", head)[0])


def receive(sock, count):
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        check(part, f"the connection ended after {len(data)} of {count} bytes")
        data += part
    return data


def connect(port, timeout=10):
    return socket.create_connection(("127.0.0.1", port), timeout)


def many_connections():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    want = CONNECTIONS + 1000
    if hard < want:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (want, want))
        except (ValueError, PermissionError):
            skip(f"cannot open {want} descriptors (limit {hard}); run: ulimit -n {want}")
    else:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, want), hard))
    with Broker() as broker:
        warm = connect(broker.port)
        ask(warm)
        before = broker.memory("sluice-dataplane")
        # Over the bootstrap and the lane's port alike.
        held = [socket.create_connection(("127.0.0.1", broker.port + i % 2), 30)
                for i in range(CONNECTIONS)]
        wait_for("all connections to be counted",
                 lambda: broker.metric("sluice_lane_connections") >= CONNECTIONS)
        for sock in held[::7]:
            check(ask(sock)[4:6] == b"\0\0", "ApiVersions failed")
        grown = broker.memory("sluice-dataplane") - before
        print(f"  {CONNECTIONS} connections: data plane grew by {grown >> 10} KiB, "
              f"{grown / CONNECTIONS:.0f} bytes each")
        check(grown <= CONNECTIONS * IDLE_BYTES_MAX, f"{grown} bytes for {CONNECTIONS} connections")
        for sock in held:
            sock.close()
        wait_for("all to be closed", lambda: broker.metric("sluice_lane_connections") <= 1)


def many_topics():
    """One CreateTopics v2 request per hundred topics, as an admin client would batch them."""

    def text(s):
        return struct.pack(">h", len(s)) + s.encode()

    with Broker(lanes=2) as broker:
        sock = connect(broker.port, 60)
        began = time.monotonic()
        for batch in range(0, TOPICS, 100):
            body = struct.pack(">i", 100)
            for i in range(batch, batch + 100):
                body += text(f"many-{i:04}") + struct.pack(">ihii", 4, 1, 0, 0)
            body += struct.pack(">i?", 60000, False)
            frame = struct.pack(">hhih", 19, 2, batch, -1) + body
            answer = ask(sock, struct.pack(">i", len(frame)) + frame)
            check(struct.unpack(">i", answer[:4])[0] == batch, "wrong correlation id")
            count = struct.unpack(">i", answer[8:12])[0]
            check(count == 100, f"{count} results")
            at = 12
            for _ in range(count):
                length = struct.unpack(">h", answer[at:at + 2])[0]
                at += 2 + length
                code, message = struct.unpack(">hh", answer[at:at + 4])
                check(code == 0, f"error {code}")
                at += 4 + max(message, 0)
        created = time.monotonic() - began
        listed = broker.ctl("topics", "list")
        names = [t["name"] for t in (listed["topics"] if isinstance(listed, dict) else listed)]
        ours = [n for n in names if n.startswith("many-")]
        check(len(ours) == TOPICS, f"{len(ours)} topics listed")
        check(broker.metric("sluice_lane_partitions") >= TOPICS * 4, "partitions are missing")
        print(f"  {TOPICS} topics x 4 partitions in {created:.1f} s")
        check(created <= 10, f"took {created:.1f} s")
        sock.close()
        # They are all there again after a restart.
        broker.stop()
        broker.start()
        wait_for("all partitions", lambda: broker.metric("sluice_lane_partitions") >= TOPICS * 4)


def is_closed(sock, timeout=10):
    sock.settimeout(timeout)
    try:
        while sock.recv(65536):
            pass
        return True
    except ConnectionResetError:
        return True
    except socket.timeout:
        return False


def bad_frames():
    rng = random.Random(92)
    with Broker(settings={"connection.request.timeout.ms": "1000"}) as broker:
        sock = connect(broker.port)
        ask(sock)

        def counted(name, action, times=1):
            before = broker.metric(f"sluice_lane_{name}_total")
            for _ in range(times):
                with connect(broker.port) as bad:
                    action(bad)
                    check(is_closed(bad), f"{name}: the connection stays open")
            after = broker.metric(f"sluice_lane_{name}_total")
            check(after - before >= times, f"{name} rose by {after - before} of {times}")

        counted("closed_frame_size", lambda s: s.sendall(struct.pack(">i", 2**31 - 1)), 20)
        counted("closed_frame_size", lambda s: s.sendall(b"\xff\xff\xff\xff"), 20)
        counted("closed_frame_size", lambda s: s.sendall(b"GET / HTTP/1.1\r\n\r\n"), 20)
        counted("closed_unknown_api", lambda s: s.sendall(struct.pack(">ihhih", 10, 999, 0, 1, -1)), 20)
        counted("closed_unknown_api", lambda s: s.sendall(struct.pack(">ihhih", 10, 1, 3, 1, -1)), 20)
        # Metadata v1 that promises 2 billion topics.
        counted("closed_malformed",
                lambda s: s.sendall(struct.pack(">ihhihi", 14, 3, 1, 1, -1, 2**31 - 1)), 20)
        counted("closed_slow_frame", lambda s: s.sendall(API_VERSIONS_0[:-1]), 2)
        check(ask(sock)[4:6] == b"\0\0", "a good connection suffered")
        flood(broker, rng)
        sock.close()


def flood(broker, rng):
    """Random requests behind right headers: nothing crashes, nothing grows."""

    def round_of(count):
        for _ in range(count):
            with connect(broker.port) as bad:
                body = rng.randbytes(rng.randrange(0, 2000))
                key = rng.choice([0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 18, 19, 22, 32, 60, 75])
                frame = struct.pack(">hhih", key, rng.randrange(0, 14), 1, -1) + body
                bad.sendall(struct.pack(">i", len(frame)) + frame)
                select.select([bad], [], [], 0.02)

    round_of(300)
    pids = broker.pids()
    before = {p: broker.memory(p) for p in pids}
    round_of(2000)
    for program, size in before.items():
        grown = broker.memory(program) - size
        print(f"  {program}: {grown >> 10} KiB more after 2,000 random requests")
        check(grown < 16 << 20, f"{program} grew by {grown} bytes")
    check(broker.pids() == pids, "a process died")


main(many_connections, many_topics, bad_frames)
