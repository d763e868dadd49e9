#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 180
"""Steering and XDP ingress of a whole broker: bootstrap connections are spread over the lanes, each lane's
port leads to its lane, a lane's connections can be redirected; banned and flooding sources are dropped and
counted.  The ingress part has two network namespaces of its own."""

import errno
import json
import os
import pathlib
import re
import socket
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "interop" / "support"))
from sluice import BUILD, Broker, check, main, need, run, skip, wait_for  # noqa: E402

need("kcat")
if os.geteuid() != 0:
    skip("needs root, for eBPF and network namespaces")

LANES = 2
CONNECTIONS = 200
SERVER, CLIENT = "10.231.47.1", "10.231.47.2"

# Opens argv[3] connections to argv[1]:argv[2] one after the other; prints how many were made in argv[4] s each.
CONNECTING = """
import socket, sys
made = []
for _ in range(int(sys.argv[3])):
    try:
        made.append(socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[4])))
    except OSError:
        pass
print(len(made))
"""


def by_lane(broker, stat):
    return [x["stats"][stat] for x in broker.ctl("lanes")["lanes"]]


def rise(broker, stat, action):
    """How much a counter of each lane rises by the action, and what the action returned."""
    before = by_lane(broker, stat)
    result = action()
    return [b - a for a, b in zip(before, by_lane(broker, stat))], result


def connect(broker, port, count):
    held = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(count)]
    ports = {s.getsockname()[1] for s in held}
    # Each has arrived when it is shown.
    wait_for("the connections", lambda: ports <= {c["peer_port"] for c in
                                                 broker.ctl("connections")["connections"]})
    for s in held:
        s.close()


def bootstrap_is_spread_and_lane_ports_lead_to_their_lanes():
    with Broker(lanes=LANES) as broker:
        before = broker.ctl("steer")["sk_lookup"]
        if not before["on"]:
            skip(f"steering is off: {before['cause']}")
        check("steering on: sk_lookup lanes=2" in broker.log_path.read_text(), "the log")
        accepted, _ = rise(broker, "connections_accepted", lambda: connect(broker, broker.port, CONNECTIONS))
        check(sum(accepted) == CONNECTIONS, f"accepted {accepted}")
        check(min(accepted) >= CONNECTIONS // 4, f"not spread: {accepted}")
        steered = broker.ctl("steer")["sk_lookup"]["steered"]
        # The kernel asks for late packets of closed connections too, so it may be a few more.
        check(all(n <= b - a <= n + CONNECTIONS // 4
                  for n, a, b in zip(accepted, before["steered"], steered)),
              f"steered {steered} after {before['steered']}, accepted {accepted}")
        name = "sluice_lane_connections_accepted_total"
        found = {labels: v for (n, labels), v in broker.metrics().items() if n == name}
        check(len(found) == LANES and min(found.values()) >= CONNECTIONS // 4, f"{name}: {found}")
        for lane in range(LANES):
            accepted, _ = rise(broker, "connections_accepted",
                               lambda: connect(broker, broker.port + 1 + lane, 50))
            check(accepted[lane] == 50 and sum(accepted) == 50, f"port of lane {lane}: {accepted}")


def a_lane_can_be_redirected_and_back():
    with Broker(lanes=LANES) as broker:
        if not broker.ctl("steer")["sk_lookup"]["on"]:
            skip("steering is off")
        for moves, wanted in ((["0", "1"], [0, 20]), (["0", "0"], [20, 0])):
            broker.ctl("steer", "redirect", *moves)
            accepted, _ = rise(broker, "connections_accepted", lambda: connect(broker, broker.port + 1, 20))
            check(accepted == wanted, f"redirect {moves}: {accepted}")


def without_steering_the_ports_are_the_same():
    with Broker(lanes=LANES, settings={"steer": "never"}) as broker:
        accepted, _ = rise(broker, "connections_accepted", lambda: connect(broker, broker.port, CONNECTIONS))
        check(sum(accepted) == CONNECTIONS and min(accepted) > 0, f"accepted {accepted}")
        for lane in range(LANES):
            accepted, _ = rise(broker, "connections_accepted",
                               lambda: connect(broker, broker.port + 1 + lane, 20))
            check(accepted[lane] == 20 and sum(accepted) == 20, f"port of lane {lane}: {accepted}")
        out = broker.ctl("steer")["sk_lookup"]
        check(not out["on"] and "steer=never" in out["cause"], f"{out}")


# ---- Ingress ----

class Net:
    """Two network namespaces with a veth pair between them."""

    def __enter__(self):
        self.server, self.client = f"sl-s-{os.getpid()}", f"sl-c-{os.getpid()}"
        self.names = []
        try:
            for name, device, address in ((self.server, "sl0", SERVER), (self.client, "sl1", CLIENT)):
                self.ip("netns", "add", name)
                self.names.append(name)
                self.ip("-n", name, "link", "set", "lo", "up")
                if device == "sl1":
                    self.ip("-n", self.server, "link", "add", "sl0", "type", "veth", "peer", "name", "sl1",
                            "netns", self.client)
                    self.ip("-n", self.server, "addr", "add", f"{SERVER}/24", "dev", "sl0")
                    self.ip("-n", self.client, "addr", "add", f"{CLIENT}/24", "dev", "sl1")
                    self.ip("-n", self.server, "link", "set", "sl0", "up")
                    self.ip("-n", self.client, "link", "set", "sl1", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    @staticmethod
    def ip(*args):
        done = subprocess.run(["ip", *args], capture_output=True, text=True)
        if done.returncode != 0:
            skip(f"network namespaces cannot be made: ip {' '.join(args)}: {done.stderr.strip()}")

    def broker(self, **settings):
        return Inside(lanes=LANES, prefix=["ip", "netns", "exec", self.server],
                      settings={"listeners": f"PLAINTEXT://{SERVER}:1", "steer.xdp.iface": "sl0",
                                **{k.replace("_", "."): v for k, v in settings.items()}})

    def from_client(self, *command, **kwargs):
        return run(["ip", "netns", "exec", self.client, *command], **kwargs)

    def connect(self, port, count, seconds=0.3):
        return int(self.from_client("/usr/bin/python3", "-c", CONNECTING, SERVER, port, count, seconds))

    def __exit__(self, *_):
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False)


class Inside(Broker):
    """A broker in the server's namespace."""

    @property
    def bootstrap(self):
        return f"{SERVER}:{self.port}"


def xdp(broker):
    state = broker.ctl("steer")["xdp"]
    if not state["on"]:
        skip(f"XDP ingress is off: {state['cause']}")
    return state


def packets(broker, counter):
    return xdp(broker)["counters"][counter]["packets"]


def a_banned_source_is_dropped_and_counted():
    with Net() as net, net.broker() as broker:
        state = xdp(broker)
        check(state["iface"] == "sl0" and state["bans"] == [], f"{state}")
        check("ingress on: XDP iface=sl0" in broker.log_path.read_text(), "the log")
        lines = b"".join(b"%d\n" % i for i in range(1000))
        net.from_client("kcat", "-b", broker.bootstrap, "-P", "-t", "t", "-X", "acks=all", input=lines)
        check(packets(broker, "passed") > 10 and packets(broker, "dropped_ban") == 0, "before the ban")
        check(net.connect(broker.port, 10) == 10, "connections before the ban")

        broker.ctl("steer", "ban", "192.0.2.0/24")
        check(net.connect(broker.port, 5) == 5, "somebody else was banned")
        broker.ctl("steer", "ban", f"{CLIENT}/32")
        dropped = packets(broker, "dropped_ban")
        accepted, made = rise(broker, "connections_accepted", lambda: net.connect(broker.port, 5))
        check(made == 0 and sum(accepted) == 0, f"connected in spite of the ban: {made}, {accepted}")
        check(packets(broker, "dropped_ban") - dropped >= 5, "its SYNs were not counted")
        bans = {b["cidr"]: b["dropped"] for b in xdp(broker)["bans"]}
        check(set(bans) == {"192.0.2.0/24", f"{CLIENT}/32"}, f"{bans}")
        check(bans["192.0.2.0/24"] == 0 and bans[f"{CLIENT}/32"] >= 5, f"{bans}")
        # What is not for our ports passes: the kernel answers that nobody listens there.
        answer = net.from_client("/usr/bin/python3", "-c", "import socket, sys; s = socket.socket(); "
                                 "s.settimeout(5); print(s.connect_ex((sys.argv[1], int(sys.argv[2]))))",
                                 SERVER, broker.port + 50)
        check(int(answer) == errno.ECONNREFUSED, f"another port: {os.strerror(int(answer))}")

        broker.ctl("steer", "unban", f"{CLIENT}/32")
        check(net.connect(broker.port, 5) == 5, "still banned")
        out = net.from_client("kcat", "-b", broker.bootstrap, "-C", "-t", "t", "-e", "-q")
        check(sorted(out.splitlines()) == sorted(lines.splitlines()), "the records")
        for args, says in ((["ban", "nonsense"], "not an address"), (["ban", "10.0.0.0/99"], "not an address"),
                           (["unban", f"{CLIENT}/32"], "no such ban")):
            done = subprocess.run([str(BUILD / "bin" / "sluicectl"), "--socket", str(broker.socket), "steer",
                                   *args], capture_output=True, text=True, timeout=20)
            check(done.returncode == 1 and says in done.stderr, f"{args}: {done}")


def a_flooding_source_is_slowed_down():
    with Net() as net, net.broker(steer_xdp_syn_rate="20") as broker:
        xdp(broker)
        check(net.connect(broker.port, 10) == 10, "a slow source is hindered")
        made = net.connect(broker.port, 150, 0.02)
        dropped = packets(broker, "dropped_rate")
        check(dropped > 50 and made < 100, f"made {made} connections at once, dropped {dropped}")
        # Connections that stand are let alone.
        check(broker.ctl("status")["health"]["state"] == "ok", "health")


def the_program_leaves_with_the_process():
    with Net() as net:
        def attached():
            out = subprocess.run(["ip", "-n", net.server, "-j", "link", "show", "sl0"], check=True,
                                 capture_output=True, text=True).stdout
            return "xdp" in json.loads(out)[0]

        check(not attached(), "a program is there already")
        with net.broker() as broker:
            xdp(broker)
            check(attached(), "no program on the interface")
            pid = broker.kill("sluice-dataplane")
            broker.wait_restarted("sluice-dataplane", pid)
            wait_for("ingress to be back", lambda: broker.ctl("steer")["xdp"]["on"])
            check(net.connect(broker.port, 5, 5) == 5, "no connection after the restart")
        check(not attached(), "the program was left behind")


def an_interface_that_is_not_there_is_told():
    with Broker(settings={"steer.xdp.iface": "nonesuch0"}) as broker:
        state = broker.ctl("steer")["xdp"]
        check(not state["on"] and state["cause"] and state["fix"], f"{state}")
        log = broker.log_path.read_text()
        check(re.search(r"warn dataplane host: ingress off: iface=nonesuch0: .*; nothing is dropped early; "
                        r"fix: \S+", log), broker.tail("the log"))
        found = {c["name"]: c for c in broker.ctl("doctor")["checks"]}["ingress"]
        check(found["state"] == "warn" and found["cost"] and found["fix"], f"{found}")


main(bootstrap_is_spread_and_lane_ports_lead_to_their_lanes, a_lane_can_be_redirected_and_back,
     without_steering_the_ports_are_the_same, a_banned_source_is_dropped_and_counted,
     a_flooding_source_is_slowed_down, the_program_leaves_with_the_process,
     an_interface_that_is_not_there_is_told)
