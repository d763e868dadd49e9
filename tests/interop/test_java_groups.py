#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 600
"""Consumers of Kafka's Java client in groups of both protocols: members come and go while records arrive, and each
record is read once.  And the tools for groups: what they list, their configs, offsets moved in every way."""

import datetime
import pathlib
import sys
import time

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


def configs():
    """kafka-configs --entity-type groups, on a group that nobody has used yet."""
    with Broker(lanes=2) as broker:
        command = ["kafka.admin.ConfigCommand", "--bootstrap-server", broker.bootstrap, "--entity-type", "groups"]

        def values(*args):
            """{name: value} of the lines that have one."""
            lines = [line.split()[0] for line in kafka(*command, *args, "--describe").splitlines() if "=" in line]
            return dict(line.split("=", 1) for line in lines)

        name = ["--entity-name", "g"]
        session, interval = "consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"
        check(values(*name) == {}, "configs of its own")
        check(values(*name, "--all") == {session: "45000", interval: "5000"}, "the server's")
        kafka(*command, *name, "--alter", "--add-config", f"{session}=50000,{interval}=6000")
        check(values(*name) == values() == {session: "50000", interval: "6000"}, "not what was set")
        shown = {c["name"]: c["value"] for c in broker.ctl("groups", "config", "g")["configs"]}
        check(shown == {session: "50000", interval: "6000"}, f"sluicectl shows {shown}")
        for refused in (f"{session}=1", f"{interval}=x", "share.auto.offset.reset=latest"):
            kafka(*command, *name, "--alter", "--add-config", refused, status=1)
        check(values(*name) == {session: "50000", interval: "6000"}, "a refused change had an effect")
        kafka(*command, *name, "--alter", "--delete-config", session)
        check(values(*name) == {interval: "6000"}, "both were deleted, or none")
        kafka(*command, *name, "--alter", "--delete-config", interval)
        check(values(*name) == {} and values(*name, "--all") == {session: "45000", interval: "5000"}, "deleted")


def lists():
    """Tools and nodes: each group once, whichever lane has it."""
    with Broker(lanes=2) as broker:
        server = ["--bootstrap-server", broker.bootstrap]
        kafka(TOOLS + "TopicCommand", *server, "--create", "--topic", "t", "--partitions", "1")
        wanted = [f"group-{i}" for i in range(6)]
        (broker.data / "offsets.csv").write_text("".join(f'"{g}","t",0,0\n' for g in wanted))
        kafka(TOOLS + "consumer.group.ConsumerGroupCommand", *server, *[w for g in wanted for w in ("--group", g)],
              "--reset-offsets", "--from-file", broker.data / "offsets.csv", "--execute")
        check(sorted(kafka(TOOLS + "consumer.group.ConsumerGroupCommand", *server, "--list").split()) == wanted, "groups")
        groups = TOOLS + "GroupsCommand"
        check(sorted(table(kafka(groups, *server, "--list"))) == [[g, "Classic"] for g in wanted], "kafka-groups")
        check(len(table(kafka(groups, *server, "--list", "--group-type", "classic"))) == 6, "of a type")
        check(table(kafka(groups, *server, "--list", "--group-type", "consumer")) == [], "of the other type")


def offsets_moved():
    """--reset-offsets in each of its ways, and --delete-offsets, on a group that has only offsets."""
    with Broker() as broker:
        server = ["--bootstrap-server", broker.bootstrap]
        kafka(TOOLS + "TopicCommand", *server, "--create", "--topic", "t", "--partitions", "2")
        send = [TOOLS + "ConsoleProducer", *server, "--topic", "t", "--property", "parse.key=true",
                "--property", "key.separator=:"]

        def ends():
            lines = kafka(TOOLS + "GetOffsetShell", *server, "--topic", "t").split()
            return {int(line.split(":")[1]): int(line.split(":")[2]) for line in lines}

        def ask(*args, group="g"):
            return kafka(TOOLS + "consumer.group.ConsumerGroupCommand", *server, "--group", group, *args)

        def reset(*args, dry=False):
            rows = table(ask("--reset-offsets", *args, "--dry-run" if dry else "--execute"))
            return {int(row[2]): int(row[3]) for row in rows if row[:2] == ["g", "t"]}

        records = "".join(f"{i}:x\n" for i in range(50)).encode()
        kafka(*send, input=records)
        first = ends()
        time.sleep(0.05)
        between = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
        began = time.monotonic()
        time.sleep(0.05)
        kafka(*send, input=records)
        last = ends()
        check(0 < first[0] < last[0] and 0 < first[1] < last[1], f"ends {first} {last}")
        topic = ("--topic", "t")
        check(reset(*topic, "--to-latest") == last, "latest")
        check(reset(*topic, "--to-current", dry=True) == last, "current")
        check(reset(*topic, "--to-earliest", dry=True) == {0: 0, 1: 0}, "earliest")
        check(reset(*topic, "--to-datetime", between, dry=True) == first, "a time")
        passed = int(time.monotonic() - began) + 3600
        check(reset(*topic, "--by-duration", f"PT{passed}S", dry=True) == {0: 0, 1: 0}, "a time ago, before all records")
        check(reset(*topic, "--by-duration", "PT0S", dry=True) == last, "a time ago, behind all records")
        check(reset(*topic, "--to-current", dry=True) == last, "a dry run moved something")
        check(reset("--topic", "t:0", "--to-offset", "7") == {0: 7}, "an offset of one partition")
        check(reset(*topic, "--shift-by", "-3") == {0: 4, 1: last[1] - 3}, "back")
        check(reset(*topic, "--shift-by", "1000000") == last, "beyond the end")
        check(reset("--all-topics", "--shift-by", "-1") == {p: end - 1 for p, end in last.items()}, "of all topics")
        plan = broker.data / "plan.csv"
        plan.write_text("t,0,5\nt,1,6\n")
        check(reset("--from-file", plan) == {0: 5, 1: 6}, "a file")
        exported = ask("--reset-offsets", *topic, "--to-current", "--dry-run", "--export")
        check(sorted(exported.split()) == ["t,0,5", "t,1,6"], exported)
        check("Successful" in ask("--delete-offsets", "--topic", "t:1"), "delete")
        left = table(ask("--describe"))
        check([(row[2], row[3]) for row in left] == [("0", "5")], left)
        check("UnknownTopicOrPartition" in ask("--delete-offsets", "--topic", "none"), "of no topic")


def streams_reset():
    """kafka-streams-application-reset: the input is read again, the application's own topics go."""
    with Broker(lanes=2) as broker:
        server = ["--bootstrap-server", broker.bootstrap]
        for topic in ("in", "app-store-changelog", "app-by-key-repartition", "apples"):
            broker.ctl("topics", "create", topic, "--partitions", "2")
        kafka(TOOLS + "ConsoleProducer", *server, "--topic", "in", input=b"x\n" * 50)
        groups = [TOOLS + "consumer.group.ConsumerGroupCommand", *server, "--group", "app"]
        kafka(*groups, "--reset-offsets", "--topic", "in", "--to-latest", "--execute")
        check(sum(int(row[3]) for row in table(kafka(*groups, "--describe"))) == 50, "the group's offsets")
        tool = [TOOLS + "StreamsResetter", *server, "--application-id", "app", "--input-topics", "in"]
        kafka(*tool, "--dry-run")
        check(sum(int(row[3]) for row in table(kafka(*groups, "--describe"))) == 50, "a dry run moved something")
        kafka(*tool)
        check([row[3] for row in table(kafka(*groups, "--describe"))] == ["0", "0"], "it is not at the start")
        left = wait_for("its topics to go", lambda: (t := {t["name"] for t in broker.ctl("topics", "list")["topics"]})
                        and not any(name.startswith("app-") for name in t) and t)
        check({"in", "apples"} <= left, f"left are {left}")


main(rebalance, rebalance_at_default_interval, migration, pattern, static_members, tool, configs, lists, offsets_moved,
     streams_reset)
