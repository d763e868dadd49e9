#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 180
"""Every command of sluicectl against a broker with clients, as a table and as JSON; what is wrong is refused
with a reason; the control socket itself with whatever a program may send."""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "interop" / "support"))
from sluice import BUILD, Broker, check, main, need, run, skip, wait_for  # noqa: E402

try:
    from confluent_kafka import Consumer, Producer, TopicPartition
except ImportError:
    skip("python3-confluent-kafka is not installed")

need("kcat")
LANES = 2


def sluicectl(*args, status=0, env=None, cwd=None):
    """(stdout, stderr)"""
    done = subprocess.run([str(BUILD / "bin" / "sluicectl"), *args], capture_output=True, text=True,
                          timeout=30, cwd=cwd, env={**os.environ, **(env or {})})
    check(done.returncode == status,
          f"sluicectl {' '.join(args)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout, done.stderr


def table(text):
    """[{heading: cell}] of the first table in @text."""
    lines = text.split("\n\n")[0].splitlines()
    starts = [m.start() for m in re.finditer(r"(?:(?<=  )|^)\S", lines[0])]
    bounds = list(zip(starts, [*starts[1:], None]))
    words = [re.split(r"\s{2,}", line.strip()) for line in lines]
    check(bounds and all(words), text)
    return [dict(zip(words[0], row)) for row in words[1:]]


def refused(broker, *args, says, status=1):
    _, err = sluicectl("--socket", str(broker.socket), *args, status=status)
    check(err.startswith("sluicectl: ") and re.search(says, err), f"{args}: {err}")
    # The JSON form fails in the same way.
    sluicectl("--socket", str(broker.socket), "--json", *args, status=status)


def produce(broker, topic, counts):
    producer = Producer({"bootstrap.servers": broker.bootstrap, "acks": "all", "log_level": 0})
    for partition, count in counts.items():
        for i in range(count):
            producer.produce(topic, b"%d" % i, partition=partition)
    check(producer.flush(30) == 0, "records are left")


def member(broker, group, topic):
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group, "client.id": "reader",
                         "enable.auto.commit": False, "auto.offset.reset": "earliest", "log_level": 0,
                         "session.timeout.ms": 6000})
    consumer.subscribe([topic])
    return consumer


def status_and_lanes():
    with Broker(lanes=LANES) as broker:
        status = broker.ctl("status")
        pids = broker.pids()
        check(status["pid"] == pids["sluice-control"], f"{status}")
        check(status["data_plane"]["pid"] == pids["sluice-dataplane"], f"{status}")
        check(status["data_plane"]["serving"] and status["health"] == {"state": "ok", "reasons": []},
              f"{status}")
        check([(n["node_id"], n["port"]) for n in status["nodes"]] ==
              [(100 + i, broker.port + 1 + i) for i in range(LANES)], f"{status}")
        text = broker.ctl("status", as_json=False)
        check(re.search(r"^health +ok$", text, re.MULTILINE) and status["cluster_id"] in text, text)
        check(str(broker.port + 2) in text, text)

        checks = broker.ctl("doctor")["checks"]
        names = {c["name"] for c in checks}
        check({"hugepages", "bpf", "sk_lookup", "memlock", "io_uring", "disk-sync", "numa", "nofile",
               "steering"} <= names and len(names) == len(checks), f"doctor: {sorted(names)}")
        for c in checks:
            check(c["state"] in ("ok", "warn", "bad") and c["cause"], f"{c}")
            check(c["state"] == "ok" or (c["cost"] and c["fix"]), f"neither cost nor fix: {c}")
        text = broker.ctl("doctor", as_json=False)
        check(all(re.search(rf"^(ok|warn|bad) +{c['name']} ", text, re.MULTILINE) for c in checks), text)

        produced = 321
        broker.ctl("topics", "create", "t", "--partitions", "1")
        produce(broker, "t", {0: produced})
        lanes = broker.ctl("lanes")["lanes"]
        check([x["lane"] for x in lanes] == list(range(LANES)), f"{lanes}")
        check(sum(x["stats"]["messages_in"] for x in lanes) == produced, "messages_in")
        rows = table(broker.ctl("lanes", "--interval", "1", as_json=False))
        check([(r["LANE"], r["NODE"], r["PORT"]) for r in rows] ==
              [(str(i), str(100 + i), str(broker.port + 1 + i)) for i in range(LANES)], f"{rows}")
        text = broker.ctl("top", "--count", "2", "--interval", "1", as_json=False)
        check(text.count("LANE ") >= 1 and "health" in text, text)
        check(broker.ctl("counters")["control"]["rpc_calls"] > 5, "counters")
        sites = broker.ctl("count-sites")
        check(isinstance(sites["control"], list) and isinstance(sites["dataplane"], list), f"{sites}")


def topics_and_partitions():
    with Broker(lanes=LANES) as broker:
        made = broker.ctl("topics", "create", "orders", "--partitions", "4", "--config",
                          "retention.ms=1234567", "--config", "cleanup.policy=compact")
        check(made["partitions"] == 4 and made["replication_factor"] == 1, f"{made}")
        broker.ctl("topics", "create", "dry", "--validate-only")
        broker.ctl("topics", "create", "plain", as_json=False)
        listed = broker.ctl("topics", "list")["topics"]
        check([(t["name"], t["partitions"]) for t in listed] == [("orders", 4), ("plain", 1)], f"{listed}")
        rows = table(broker.ctl("topics", "list", as_json=False))
        check([(r["TOPIC"], r["PARTITIONS"], r["ID"]) for r in rows] ==
              [(t["name"], str(t["partitions"]), t["topic_id"]) for t in listed], f"{rows}")

        for i in range(8):
            run(["kcat", "-b", broker.bootstrap, "-P", "-t", "orders", "-p", str(i % 4), "-K:"],
                input=b"k:v\n" * (10 * (i % 4 + 1)))
        ends = {0: 20, 1: 40, 2: 60, 3: 80}
        topic = broker.ctl("topics", "describe", "orders")
        check(topic["topic_id"] == made["topic_id"] and not topic["internal"], f"{topic}")
        check(topic["configs"] == {"retention.ms": "1234567", "cleanup.policy": "compact"}, f"{topic}")
        check({p["partition"]: p["log_end"] for p in topic["partitions"]} == ends, f"{topic}")
        check({p["partition"]: p["high_watermark"] for p in topic["partitions"]} == ends, f"{topic}")
        for p in topic["partitions"]:
            check(p["leader"] == 100 + p["lane"] and p["replicas"] == p["isr"] == [p["leader"]], f"{p}")
            check(p["state"] == "open" and p["segments"] == 1 and p["log_start"] == 0, f"{p}")
            folder = pathlib.Path(p["dir"])
            check(folder.name == f"orders-{p['partition']}" and folder.is_dir(), f"{p}")
            # Blocks are allocated ahead: what is behind the records reads as zeros.
            data = (folder / f"{0:020}.log").read_bytes()
            check(0 < p["size_bytes"] <= len(data) and not any(data[p["size_bytes"]:]), f"size: {p}")
        check({p["lane"] for p in topic["partitions"]} == {0, 1}, "all partitions are on one lane")
        check(broker.ctl("partitions", "orders")["partitions"] == topic["partitions"], "partitions")
        check(len(broker.ctl("partitions")["partitions"]) == 5, "all partitions")
        rows = table(broker.ctl("partitions", "orders", as_json=False))
        check({int(r["PART"]): int(r["END"]) for r in rows} == ends, f"{rows}")
        text = broker.ctl("topics", "describe", "orders", as_json=False)
        check(re.search(r"^retention\.ms +1234567$", text, re.MULTILINE), text)

        def config(name):
            found = broker.ctl("topics", "config", "orders")["configs"]
            return next((c["value"], c["source"]) for c in found if c["name"] == name)

        check(config("retention.ms") == ("1234567", "DYNAMIC_TOPIC_CONFIG"), f"{config('retention.ms')}")
        broker.ctl("topics", "config", "orders", "--set", "max.message.bytes=500", "--delete",
                   "retention.ms")
        check(config("max.message.bytes") == ("500", "DYNAMIC_TOPIC_CONFIG"), "set")
        check(config("retention.ms") == ("604800000", "DEFAULT_CONFIG"), "delete")
        broker.ctl("topics", "config", "orders", "--set", "segment.ms=99999", "--validate-only")
        check(config("segment.ms")[1] == "DEFAULT_CONFIG", "validate-only changed it")
        rows = table(broker.ctl("topics", "config", "orders", as_json=False))
        check({"CONFIG": "max.message.bytes", "VALUE": "500", "FROM": "DYNAMIC_TOPIC_CONFIG"} in rows,
              f"{rows}")
        run(["kcat", "-b", broker.bootstrap, "-P", "-t", "orders", "-K:"], input=b"k:" + b"x" * 2000,
            status=1)

        broker.ctl("topics", "delete", "orders")
        check([t["name"] for t in broker.ctl("topics", "list")["topics"]] == ["plain"], "it is there")
        wait_for("the folders to go", lambda: not list((broker.data / "log").glob("orders-*")), 15)

        refused(broker, "topics", "describe", "orders", says="no such topic")
        refused(broker, "topics", "delete", "orders", says="does not host|no such topic")
        refused(broker, "topics", "config", "orders", says="no such topic|does not")
        refused(broker, "partitions", "orders", says="no such topic")
        refused(broker, "topics", "create", "plain", says="'plain' already exists")
        refused(broker, "topics", "create", "a/b", says="name is invalid")
        refused(broker, "topics", "create", "x", "--partitions", "0", says="partitions|greater")
        refused(broker, "topics", "create", "x", "--replication-factor", "3", says="one failure domain")
        refused(broker, "topics", "create", "x", "--config", "nope=1", says="nope")
        refused(broker, "topics", "create", "x", "--config", "retention.ms=soon", says="retention.ms")
        refused(broker, "topics", "config", "plain", "--set", "nope=1", says="nope")
        refused(broker, "topics", "create", "x", "--partitions", "many", says="many", status=2)
        refused(broker, "topics", "config", "plain", "--set", "nope", says="KEY=VALUE|nope", status=2)
        refused(broker, "topics", "create", says="NAME|name", status=2)


def lag_of(broker, group):
    return {(o["topic"], o["partition"]): (o["offset"], o["log_end"], o["lag"])
            for o in broker.ctl("groups", "describe", group)["offsets"]}


def groups_with_their_lag():
    with Broker(lanes=LANES) as broker:
        broker.ctl("topics", "create", "work", "--partitions", "3")
        produce(broker, "work", {0: 100, 1: 250, 2: 30})
        check(broker.ctl("groups", "list") == {"groups": []}, "groups before the first")
        first, second = member(broker, "workers", "work"), member(broker, "workers", "work")
        consumers = (first, second)
        wait_for("both to have partitions", lambda: [c.poll(0.1) for c in consumers] and
                 all(c.assignment() for c in consumers) and
                 sum(len(c.assignment()) for c in consumers) == 3, 60)
        owner = {tp.partition: c for c in consumers for tp in c.assignment()}
        for p, offset in {0: 40, 1: 250}.items():
            owner[p].commit(offsets=[TopicPartition("work", p, offset)], asynchronous=False)

        lag = {("work", 0): (40, 100, 60), ("work", 1): (250, 250, 0)}
        check(lag_of(broker, "workers") == lag, f"{lag_of(broker, 'workers')}")
        [listed] = broker.ctl("groups", "list")["groups"]
        check((listed["group"], listed["state"], listed["members"], listed["lag"]) ==
              ("workers", "Stable", 2, 60), f"{listed}")
        group = broker.ctl("groups", "describe", "workers")
        check((group["state"], group["protocol_type"]) == ("Stable", "consumer"), f"{group}")
        check(all(m["client_id"] == "reader" and "127.0.0.1" in m["host"] for m in group["members"]),
              f"{group}")
        assigned = sorted(p for m in group["members"] for a in m["assignment"]
                          for p in a["partitions"] if a["topic"] == "work")
        check(len(group["members"]) == 2 and assigned == [0, 1, 2], f"{group}")
        text = broker.ctl("groups", "describe", "workers", as_json=False)
        check(re.search(r"^work +0 +40 +100 +60$", text, re.MULTILINE), text)
        [row] = table(broker.ctl("groups", "list", as_json=False))
        check((row["GROUP"], row["STATE"], row["MEMBERS"], row["LAG"]) == ("workers", "Stable", "2", "60"),
              f"{row}")

        # More records: more lag, without a commit.
        produce(broker, "work", {0: 5, 1: 7})
        check(lag_of(broker, "workers") == {("work", 0): (40, 105, 65), ("work", 1): (250, 257, 7)}, "lag")

        # A group with members is not to be touched.
        refused(broker, "groups", "delete", "workers", says="not empty|members")
        refused(broker, "groups", "reset-offsets", "workers", "--topic", "work", "--to", "earliest",
                says="members")
        refused(broker, "groups", "delete-offsets", "workers", "--topic", "work", says="stop them first")
        check(lag_of(broker, "workers")["work", 0][0] == 40, "what was refused did something")
        for c in consumers:
            c.close()
        wait_for("the group to be empty",
                 lambda: broker.ctl("groups", "describe", "workers")["state"] == "Empty")

        def reset(*args):
            done = broker.ctl("groups", "reset-offsets", "workers", *args)
            return {o["partition"]: (o["before"], o["after"]) for o in done["offsets"]}

        whole = {0: (40, 0), 1: (250, 0), 2: (None, 0)}
        check(reset("--topic", "work", "--to", "earliest", "--dry-run") == whole, "dry run")
        check(lag_of(broker, "workers")["work", 0][0] == 40, "the dry run did something")
        check(reset("--topic", "work:0", "--shift", "-10") == {0: (40, 30)}, "shift")
        check(reset("--topic", "work:1", "--to", "latest") == {1: (250, 257)}, "latest")
        check(reset("--topic", "work:2", "--to", "12") == {2: (None, 12)}, "an offset")
        check(reset("--topic", "work:2", "--to", "1000000") == {2: (12, 30)}, "beyond the end")
        check(reset("--topic", "work:0", "--shift", "-1000") == {0: (30, 0)}, "before the start")
        after = {("work", 0): (0, 105, 105), ("work", 1): (257, 257, 0), ("work", 2): (30, 30, 0)}
        check(lag_of(broker, "workers") == after, f"{lag_of(broker, 'workers')}")
        # A client begins where it was reset to.
        again = member(broker, "workers", "work")
        message = wait_for("a record", lambda: again.poll(0.2), 30)
        check((message.partition(), message.offset()) == (0, 0), f"{message.partition()}@{message.offset()}")
        again.close()

        refused(broker, "groups", "reset-offsets", "workers", "--topic", "nope", "--to", "earliest",
                says="no such topic")
        refused(broker, "groups", "reset-offsets", "workers", "--topic", "work:9", "--to", "earliest",
                says="partition")
        refused(broker, "groups", "reset-offsets", "workers", "--topic", "work", "--to", "sometime",
                says="earliest")
        refused(broker, "groups", "reset-offsets", "workers", "--topic", "work", says="--to or --shift",
                status=2)
        gone = broker.ctl("groups", "delete-offsets", "workers", "--topic", "work:2")
        check(gone["offsets"] == [{"topic": "work", "partition": 2, "before": 30}], f"{gone}")
        check(set(lag_of(broker, "workers")) == {("work", 0), ("work", 1)}, "offset is left")
        [row, _] = table(broker.ctl("groups", "delete-offsets", "workers", "--topic", "work", as_json=False))
        check(set(row) == {"TOPIC", "PART", "BEFORE"} and lag_of(broker, "workers") == {}, f"{row}")
        refused(broker, "groups", "delete-offsets", "workers", "--topic", "work", says="committed no offset")
        broker.ctl("groups", "reset-offsets", "workers", "--topic", "work", "--to", "latest")
        broker.ctl("groups", "delete", "workers")
        check(broker.ctl("groups", "list") == {"groups": []}, "it is there")
        refused(broker, "groups", "describe", "workers", says="not found|no such group")
        refused(broker, "groups", "delete", "workers", says="not found|no such group")


def connections_steer_and_levels():
    with Broker(lanes=LANES) as broker:
        held = [socket.create_connection(("127.0.0.1", broker.port + 1 + i // 2)) for i in range(4)]
        mine = {s.getsockname()[1]: i // 2 for i, s in enumerate(held)}

        def shown(*args):
            found = broker.ctl("connections", *args)
            check(all(c["peer"] == "127.0.0.1" for c in found["connections"]), f"{found}")
            return {c["peer_port"]: c["lane"] for c in found["connections"]}

        wait_for("the connections", lambda: shown() == mine)
        check(shown("--lane", "1") == {p: lane for p, lane in mine.items() if lane == 1}, "of a lane")
        check(len(shown("--limit", "3")) == 3 and broker.ctl("connections", "--limit", "3")["truncated"],
              "limit")
        rows = table(broker.ctl("connections", as_json=False))
        check({(int(r["PEER"].rsplit(":", 1)[1]), int(r["LANE"])) for r in rows} == set(mine.items()),
              f"{rows}")
        for s in held:
            s.close()

        steer = broker.ctl("steer")
        check([x["port"] for x in steer["lanes"]] == [broker.port + 1, broker.port + 2], f"{steer}")
        check(steer["bootstrap_port"] == broker.port and not steer["xdp"]["on"], f"{steer}")
        check("sk_lookup.on" in broker.ctl("steer", as_json=False), "the table")
        refused(broker, "steer", "ban", "192.0.2.1", says="xdp is off: steer.xdp.iface is not set")
        refused(broker, "steer", "redirect", "0", "7", says="no such lane")

        levels = broker.ctl("log", "level")
        check(levels["control"]["group"] == levels["dataplane"]["session"] == "info", f"{levels}")
        broker.ctl("log", "level", "session", "debug", "--process", "dataplane")
        levels = broker.ctl("log", "level")
        check((levels["dataplane"]["session"], levels["control"]["session"]) == ("debug", "info"),
              f"{levels}")
        broker.ctl("log", "level", "rpc", "debug")
        broker.ctl("status")
        wait_for("a line of that level", lambda: "debug control rpc: call method=status" in
                 broker.log_path.read_text(), 5)
        broker.ctl("log", "level", "all", "err")
        levels = broker.ctl("log", "level")
        check(set(levels["control"].values()) == set(levels["dataplane"].values()) == {"err"}, f"{levels}")
        refused(broker, "log", "level", "nope", "debug", says='"nope"')
        refused(broker, "log", "level", "store", "loud", says='"loud"')


def the_command_line():
    with Broker() as broker:
        out, _ = sluicectl("help")
        commands = re.findall(r"^  ((?:[a-z-]+ )*[a-z-]+)  +[A-Z]", out, re.MULTILINE)
        wanted = ["status", "doctor", "lanes", "topics list", "topics create", "topics describe",
                  "topics delete", "topics config", "partitions", "groups list", "groups describe",
                  "groups delete", "groups reset-offsets", "connections", "steer", "log level", "help"]
        check(set(wanted) <= set(commands), f"help lacks {set(wanted) - set(commands)}")
        for command in commands:
            text, _ = sluicectl("help", *command.split())
            check(text.startswith(f"usage: sluicectl {command}"), text)
        sluicectl("--help")
        check(sluicectl("--version")[0].startswith("sluicectl "), "version")
        sluicectl("bogus", status=2)
        sluicectl(status=2)
        sluicectl("--bogus", "status", status=2)
        sluicectl("help", "bogus", status=2)
        script, _ = sluicectl("completion", "bash")
        done = subprocess.run(["bash", "-c", script + """
            COMP_WORDS=(sluicectl topics ''); COMP_CWORD=2
            $(complete -p sluicectl | sed 's/.*-F \\([^ ]*\\).*/\\1/'); echo "${COMPREPLY[@]}" """],
            capture_output=True, text=True, timeout=20)
        check({"list", "create", "describe", "delete", "config"} <= set(done.stdout.split()),
              f"completion: {done.stdout} {done.stderr}")

        # Where the socket is.
        out, _ = sluicectl("--json", "status", env={"SLUICE_SOCKET": str(broker.socket)})
        check(json.loads(out)["pid"] == broker.pids()["sluice-control"], "SLUICE_SOCKET")
        _, err = sluicectl("--socket", "/nonexistent/sluice.sock", "status", status=3)
        check("No such file or directory" in err and "is Sluice running?" in err, err)
        _, err = sluicectl("status", status=3, cwd="/", env={"SLUICE_SOCKET": ""})
        check("is Sluice running?" in err, err)
        stale = broker.data / "stale.sock"
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(str(stale))
        _, err = sluicectl("--socket", str(stale), "status", status=3)
        check("Connection refused" in err, err)
        sluicectl("--socket", "x" * 200, "status", status=3)


class Raw:
    """The control socket by hand."""

    def __init__(self, broker):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(broker.socket))  # waits for room in the queue, without a time limit
        self.socket.settimeout(10)
        self.lines = self.socket.makefile("rb")

    def send(self, data):
        self.socket.sendall(data)

    def receive(self):
        return json.loads(self.lines.readline())

    def ask(self, data):
        self.send(data if isinstance(data, bytes) else json.dumps(data).encode() + b"\n")
        return self.receive()

    def until_closed(self):
        """What comes before the other side closes."""
        lines = []
        try:
            while line := self.lines.readline():
                lines.append(json.loads(line))
        except ConnectionResetError:
            pass
        return lines

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lines.close()
        self.socket.close()


def code(answer):
    check(answer["jsonrpc"] == "2.0" and "result" not in answer and answer["error"]["message"], f"{answer}")
    return answer["error"]["code"]


def request(method, number=1, **params):
    return {"jsonrpc": "2.0", "id": number, "method": method, **({"params": params} if params else {})}


def json_rpc_by_hand():
    with Broker() as broker, Raw(broker) as raw:
        good = raw.ask(request("status", 7))
        check(good["id"] == 7 and good["jsonrpc"] == "2.0" and good["result"]["pid"], f"{good}")
        check(raw.ask(request("status", "text"))["id"] == "text", "an id of text")
        # Wrong in one way each; the connection goes on.
        for line in (b"garbage\n", b"{\n", b"\xff\xfe\n", b'{"jsonrpc":"2.0","id":1,"id":2}\n',
                     b"[" * 5000 + b"\n", b'"' + b"\\u0000" + b"\n", b"\0\0\0\n"):
            answer = raw.ask(line)
            check(code(answer) == -32700 and answer["id"] is None, f"{line[:20]}: {answer}")
        for message in (1, "text", None, [], {}, {"jsonrpc": "1.0", "method": "status", "id": 1},
                        {"jsonrpc": "2.0", "method": 1, "id": 1}, {"jsonrpc": "2.0", "id": 1},
                        {"jsonrpc": "2.0", "method": "status", "id": {}}, [1] * 65):
            check(code(raw.ask(message)) == -32600, f"{message}")
        check(code(raw.ask(request("no.such.method"))) == -32601, "unknown method")
        for message in (request("status", bogus=1), request("topics.create"), request("topics.create", name=1),
                        request("topics.list", limit="x"), request("topics.create", name="x", configs={"a": 1}),
                        {**request("status"), "params": [1]}):
            check(code(raw.ask(message)) == -32602, f"{message}")
        check(code(raw.ask(request("topics.describe", name="nope"))) == -32002, "unknown topic")
        check(code(raw.ask(request("topics.create", name="a/b"))) == -32000, "bad name")
        # A batch: one array, notifications without an answer, errors in their places.
        answers = raw.ask([request("status", 1), {"jsonrpc": "2.0", "method": "status"}, 5,
                           request("no.such", 2), request("steer", 3)])
        by_id = {a["id"]: a for a in answers}
        check(len(answers) == 4 and set(by_id) == {1, 2, 3, None}, f"{answers}")
        check(code(by_id[2]) == -32601 and code(by_id[None]) == -32600 and by_id[3]["result"], f"{by_id}")
        # Only notifications: silence, so the next answer is that of the next request.
        raw.send(json.dumps([{"jsonrpc": "2.0", "method": "status"}] * 3).encode() + b"\n")
        raw.send(b'{"jsonrpc":"2.0","method":"nonsense"}\n\n\r\n')
        check(raw.ask(request("help", 99))["id"] == 99, "an answer to a notification")
        # In pieces, many at once, with a carriage return.
        text = json.dumps(request("status", 5)).encode()
        raw.send(text[:9])
        time.sleep(0.05)
        check(raw.ask(text[9:] + b"\r\n")["id"] == 5, "in pieces")
        raw.send(b"".join(json.dumps(request("steer", i)).encode() + b"\n" for i in range(500)))
        check({raw.receive()["id"] for _ in range(500)} == set(range(500)), "500 at once")
        # What is documented is what there is.
        methods = {m["name"] for m in raw.ask(request("rpc.discover"))["result"]["methods"]}
        check({m["name"] for m in raw.ask(request("help"))["result"]["methods"]} == methods, "help")
        for name in methods:
            described = raw.ask({**request("help"), "params": {"method": name}})
            check(described["result"]["name"] == name, f"{described}")


def json_rpc_without_manners():
    with Broker() as broker:
        memory = broker.memory("sluice-control")
        # An endless line is refused and the connection closed, whether it ends or not.
        for data in (b"x" * (2 << 20), b'{"jsonrpc":"2.0","id":1,"method":"' + b"m" * (1 << 20) + b'"}\n'):
            with Raw(broker) as raw:
                try:
                    raw.send(data)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # it was closed while we sent
                check([code(answer) for answer in raw.until_closed()] == [-32600], "an endless line")
        # Somebody who never reads does not hinder others, nor fill the memory.
        with Raw(broker) as deaf:
            deaf.socket.setblocking(False)
            sent = 0
            try:
                while sent < 64 << 20:
                    sent += deaf.socket.send(json.dumps(request("rpc.discover")).encode() + b"\n")
            except BlockingIOError:
                pass
            check(sent < 64 << 20, "it takes requests without end")
            check(broker.ctl("status")["health"]["state"] == "ok", "others suffer")
        # Somebody who leaves in the middle of an answer that has to wait.
        for _ in range(20):
            with Raw(broker) as raw:
                raw.send(json.dumps(request("doctor")).encode() + b"\n" +
                         json.dumps(request("connections")).encode() + b"\n{half")
        # More clients than there is room for: those above are closed, and there is room afterwards.
        crowd = [Raw(broker) for _ in range(80)]
        closed = 0
        for raw in crowd:
            try:
                raw.ask(request("status"))
            except (ValueError, OSError):
                closed += 1
        check(closed == 16, f"{closed} of 80 were turned away")
        for raw in crowd:
            raw.__exit__()
        wait_for("room again", lambda: broker.ctl("status"), 5)
        grown = broker.memory("sluice-control") - memory
        print(f"  control grew by {grown >> 10} KiB")
        check(grown < 64 << 20, f"control grew by {grown >> 20} MiB")
        mode = broker.socket.stat().st_mode & 0o777, broker.socket.parent.stat().st_mode & 0o777
        check(mode == (0o600, 0o700), f"modes {mode}")


main(status_and_lanes, topics_and_partitions, groups_with_their_lag, connections_steer_and_levels,
     the_command_line, json_rpc_by_hand, json_rpc_without_manners)
