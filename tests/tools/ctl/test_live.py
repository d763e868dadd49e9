#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every command of sluicectl against a running server: exit status, what is shown, completion."""
# timeout: 120

import json
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "interop" / "support"))
from sluice import BUILD, ROOT, Broker, check, wait_for  # noqa: E402

CTL = str(BUILD / "bin" / "sluicectl")


def run(*args, status=0, env=None):
    done = subprocess.run([CTL, *args], capture_output=True, text=True, timeout=60,
                          env={**os.environ, **(env or {})}, cwd="/")
    check(done.returncode == status,
          f"sluicectl {' '.join(args)}: status {done.returncode}, not {status}\n"
          f"{done.stdout}{done.stderr}")
    check(status == 0 or done.stderr.strip(), f"sluicectl {' '.join(args)} does not say why")
    return done.stdout


def complete(words, socket):
    """What bash offers for the last of @words."""
    script = f"""
source {ROOT}/tools/ctl/sluicectl.bash
sluicectl() {{ {CTL} "$@"; }}
COMP_WORDS=({' '.join(f"'{w}'" for w in [CTL, *words])})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_sluicectl
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "SLUICE_SOCKET": str(socket)})
    check(not done.stderr, f"completion of {words}: {done.stderr}")
    return set(done.stdout.split())


def offers(words, expected, socket):
    got = complete(words, socket)
    check(expected <= got, f"completion of {words} offers {sorted(got)}, not {sorted(expected)}")


def without_server():
    run("status", status=3, env={"SLUICE_SOCKET": "/nonexistent/socket"})
    run(status=2)
    run("nonsense", status=2)
    run("topics", "create", status=2)
    run("groups", "reset-offsets", "g", "--to", "latest", status=2)
    run("groups", "reset-offsets", "g", "--topic", "t:x", "--to", "latest", status=2)
    run("completion", "fish", status=2)
    run("lanes", "--interval", "0", status=2)
    check("topics create" in run("help"), "help has no list")
    check("--partitions" in run("help", "topics", "create"), "help of a command has no options")
    check(run("topics", "create", "--help") == run("help", "topics", "create"), "--help behind a command")
    check(run("groups", "lag", "g", "--help") == run("help", "groups", "lag"), "--help behind its arguments")
    check(run("txns", "--help") == run("help", "txns") and "txns abort" in run("txns", "--help"), "--help of a family")
    check(run("--help") == run("help") == run("nonsense", "--help"), "--help alone")
    words = [line.split("  ")[1] for line in run("help").splitlines() if line.startswith("  ") and "--" not in line]
    for command in words:
        if command.startswith(("groups ", "txns ")):
            check(run(*command.split(), "--help").startswith(f"usage: sluicectl {command}"), f"help of {command}")
    check({"groups delete-offsets", "txns abort"} <= set(words), f"commands {words}")
    run("groups", "delete-offsets", "g", status=2)
    check(run("completion", "bash") == (ROOT / "tools/ctl/sluicectl.bash").read_text(),
          "tools/ctl/sluicectl.bash is stale; run make docs")


def topics(broker):
    made = broker.ctl("topics", "create", "t-one", "--partitions", "3", "--config",
                      "retention.ms=5000")
    check(made["partitions"] == 3, str(made))
    broker.ctl("topics", "create", "t-one", as_json=False, status=1)
    check("retention.ms" in broker.ctl("topics", "describe", "t-one", as_json=False), "no config")
    broker.ctl("topics", "config", "t-one", "--set", "flush=lazy", "--delete", "retention.ms")
    shown = {c["name"]: c for c in broker.ctl("topics", "config", "t-one")["configs"]}
    check(shown["flush"]["value"] == "lazy", str(shown["flush"]))
    check(shown["retention.ms"]["source"] == "DEFAULT_CONFIG", str(shown["retention.ms"]))
    broker.ctl("topics", "config", "t-one", "--set", "nonsense=1", as_json=False, status=1)
    check([p["partition"] for p in broker.ctl("partitions", "t-one")["partitions"]] == [0, 1, 2],
          "partitions")
    check("t-one" in broker.ctl("topics", "list", as_json=False), "list")


def groups(broker):
    # kcat exits with 0 also when it could not commit, so the group is asked for.
    data = "".join(f"{i}\n" for i in range(300))
    subprocess.run(["kcat", "-b", broker.bootstrap, "-P", "-t", "t-one", "-X",
                    "topic.partitioner=random"], input=data, text=True, check=True, timeout=30)
    seen = subprocess.run(["kcat", "-b", broker.bootstrap, "-G", "g-one", "-c", "300", "-X",
                           "auto.offset.reset=earliest", "t-one"], capture_output=True, text=True,
                          timeout=60)
    check(len(seen.stdout.split()) == 300, f"{len(seen.stdout.split())} records of 300")
    wait_for("the group to be empty", lambda: broker.ctl("groups", "describe", "g-one")["state"]
             == "Empty")
    broker.ctl("groups", "reset-offsets", "g-one", "--topic", "t-one", "--to", "earliest")
    rows = broker.ctl("groups", "describe", "g-one")["offsets"]
    check(sum(r["lag"] for r in rows) == 300, str(rows))
    check(broker.metric("kafka_consumergroup_lag") == 300, "lag on /metrics")
    done = broker.ctl("groups", "reset-offsets", "g-one", "--topic", "t-one:1", "--to", "latest")
    check([o["partition"] for o in done["offsets"]] == [1], str(done))
    check("g-one" in broker.ctl("groups", "list", as_json=False), "list of groups")
    gone = broker.ctl("groups", "delete-offsets", "g-one", "--topic", "t-one:1")
    check([o["partition"] for o in gone["offsets"]] == [1], str(gone))
    check([o["partition"] for o in broker.ctl("groups", "describe", "g-one")["offsets"]] == [0, 2], "offset is left")
    broker.ctl("groups", "delete-offsets", "g-one", "--topic", "t-one:1", as_json=False, status=1)
    broker.ctl("groups", "delete-offsets", "g-one", "--topic", "none", as_json=False, status=1)


def shows(broker):
    for words in (["status"], ["doctor"], ["lanes"], ["counters"], ["connections"], ["steer"],
                  ["log", "level"], ["count-sites"], ["topics", "list"], ["partitions"],
                  ["groups", "list"], ["groups", "describe", "g-one"], ["groups", "lag", "g-one"],
                  ["groups", "config", "g-one"], ["txns", "list"], ["txns", "find-hanging"], ["top", "--count", "2"]):
        check(broker.ctl(*words, as_json=False).strip(), f"{words} shows nothing")
        if words[0] != "top":
            check(isinstance(broker.ctl(*words), dict), f"{words} --json")
    lines = broker.ctl("lanes", as_json=False).splitlines()
    check([line.split()[0] for line in lines if line] == ["LANE", "0", "LANE", "0"], str(lines))
    check(max(map(len, lines)) <= 120, f"wider than a terminal: {lines}")
    lane = broker.ctl("lanes")["lanes"][0]
    parts = [lane["ratios"][name] for name in ("busy", "idle", "asleep")]
    check(all(part > 0 for part in parts) and abs(sum(parts) - 1) < 1e-6, str(parts))
    checks = {c["name"]: c for c in broker.ctl("doctor")["checks"]}
    missing = {"hugepages", "memlock", "io_uring", "numa", "clock", "disk-sync", "nofile",
               "hot_tier"} - set(checks)
    check(not missing, f"doctor lacks {missing}")
    for name, found in checks.items():
        check(found["state"] == "ok" or found["fix"], f"no fix for {name}: {json.dumps(found)}")
    levels = broker.ctl("log", "level", "net", "debug")
    check(levels["dataplane"]["net"] == "debug" and levels["control"]["net"] == "debug", str(levels))


def completion(broker):
    socket = broker.socket
    offers([""], {"status", "topics", "groups", "help"}, socket)
    offers(["to"], {"topics", "top"}, socket)
    offers(["topics", ""], {"list", "create", "describe", "delete", "config"}, socket)
    offers(["topics", "create", "x", "--p"], {"--partitions"}, socket)
    offers(["topics", "describe", ""], {"t-one"}, socket)
    offers(["partitions", "t-"], {"t-one"}, socket)
    offers(["groups", "describe", "g"], {"g-one"}, socket)
    offers(["groups", "reset-offsets", "g-one", "--to", ""], {"earliest", "latest"}, socket)
    offers(["groups", "reset-offsets", "g-one", "--topic", "t"], {"t-one"}, socket)
    offers(["log", "level", "me"], {"meta"}, socket)
    offers(["log", "level", "meta", ""], {"debug", "info"}, socket)
    offers(["--json", "st"], {"status", "steer"}, socket)
    offers(["completion", ""], {"bash"}, socket)


def main():
    without_server()
    with Broker() as broker:
        topics(broker)
        groups(broker)
        shows(broker)
        completion(broker)
        broker.ctl("groups", "delete", "g-one")
        broker.ctl("topics", "delete", "t-one")
        check(not [t for t in broker.ctl("topics", "list")["topics"] if not t["internal"]],
              "the topic is still there")
        broker.ctl("topics", "describe", "t-one", as_json=False, status=1)


main()
