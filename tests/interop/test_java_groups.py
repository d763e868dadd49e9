#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 600
"""Consumers of Kafka's Java client in groups of both protocols, and the tool for groups: members come and go while
records arrive, and each record is read once."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
from kafka_java import TOOLS, compiled, kafka, program, scenario  # noqa: E402
from sluice import Broker, check, main, wait_for  # noqa: E402

compiled()
# A rebalance takes a few heartbeats, and the default is one in five seconds.
FAST = {"group.consumer.heartbeat.interval.ms": "500", "group.consumer.min.heartbeat.interval.ms": "500"}


def rebalance():
    with Broker(lanes=2, settings=FAST) as broker:
        scenario("Groups", broker.bootstrap, "rebalance", "consumer")
        scenario("Groups", broker.bootstrap, "rebalance", "classic")


def rebalance_at_default_interval():
    with Broker(lanes=2) as broker:
        scenario("Groups", broker.bootstrap, "rebalance", "consumer")


def migration():
    with Broker(lanes=2, settings=FAST) as broker:
        scenario("Groups", broker.bootstrap, "migrate")


def pattern():
    with Broker(lanes=2, settings=FAST) as broker:
        scenario("Groups", broker.bootstrap, "regex", "consumer")
        scenario("Groups", broker.bootstrap, "regex", "classic")


def static_members():
    with Broker(lanes=2, settings=FAST) as broker:
        scenario("Groups", broker.bootstrap, "fixed", "consumer")
        scenario("Groups", broker.bootstrap, "fixed", "classic")


def table(text):
    """The rows of what a tool prints, as lists."""
    return [line.split() for line in text.splitlines() if line.strip()][1:]


def tool():
    """kafka-consumer-groups on a live group of each protocol, then on what is left of them."""
    with Broker(lanes=2, settings=FAST) as broker:
        server = ["--bootstrap-server", broker.bootstrap]

        def ask(*args):
            return kafka(TOOLS + "consumer.group.ConsumerGroupCommand", *server, *args)

        kafka(TOOLS + "TopicCommand", *server, "--create", "--topic", "t", "--partitions", "4")
        kafka(TOOLS + "ConsoleProducer", *server, "--topic", "t", input=b"x\n" * 200)
        with program("Groups", broker.bootstrap, "hold", "t", log=broker.data / "hold.log") as held:
            wait_for("both groups", lambda: "held" in (broker.data / "hold.log").read_text(), timeout=60)
            listed = {r[0]: r[1:] for r in table(ask("--list", "--state", "--type"))}
            check({g: [w.lower() for w in row] for g, row in listed.items()} ==
                  {"held-classic": ["classic", "stable"], "held-consumer": ["consumer", "stable"]}, listed)
            check(table(ask("--list", "--type", "consumer"))[0][0] == "held-consumer", "filter of types")
            for kind in ("classic", "consumer"):
                live(ask, f"held-{kind}", "range" if kind == "classic" else "uniform")
            held.terminate()
            held.wait(30)
        for kind in ("classic", "consumer"):
            left(ask, f"held-{kind}")


def live(ask, group, assignor):
    state = table(ask("--describe", "--group", group, "--state"))[0]
    check(state[0] == group and assignor in state and state[-2:] == ["Stable", "2"], state)
    members = table(ask("--describe", "--group", group, "--members"))
    check([m[0] for m in members] == [group] * 2 and [m[-1] for m in members] == ["2", "2"], members)
    offsets = table(ask("--describe", "--group", group))
    check(sorted(o[2] for o in offsets) == ["0", "1", "2", "3"] and all(o[5] == "0" for o in offsets), offsets)
    check(sum(int(o[3]) for o in offsets) == 200, offsets)
    refused = ask("--delete", "--group", group)
    check("not empty" in refused, refused)


def left(ask, group):
    check(table(ask("--describe", "--group", group, "--state"))[0][-2:] == ["Empty", "0"], f"{group} is not empty")
    ask("--group", group, "--topic", "t", "--reset-offsets", "--to-offset", "1", "--execute")
    offsets = table(ask("--describe", "--group", group))
    check(len(offsets) == 4 and all(o[3] in ("0", "1") for o in offsets), offsets)
    ask("--group", group, "--topic", "t:0", "--delete-offsets")
    check(sorted(o[2] for o in table(ask("--describe", "--group", group))) == ["1", "2", "3"], "offset is left")
    ask("--delete", "--group", group)
    check(group not in ask("--list").split(), f"{group} was not deleted")


main(rebalance, rebalance_at_default_interval, migration, pattern, static_members, tool)
