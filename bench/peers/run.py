#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""make bench-peers: the same load on Sluice, Apache Kafka and NATS JetStream, in turns, at equal durability.

    peers/run.py [--rounds N] [--seconds S] [--only PATTERN] [--results DIR]

Prints and writes a table: throughput, p99 at a fixed rate, records for each second of server CPU time, and
Sluice's share of each peer's.  bench/peers/README.md says what is equal and what is not."""

import argparse
import contextlib
import json
import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "driver"))
sys.path.insert(0, str(HERE))
import limits  # noqa: E402
import machine  # noqa: E402
import report  # noqa: E402
import scenarios  # noqa: E402
import servers  # noqa: E402
from machine import MIB, Failed, Sample  # noqa: E402

ROUNDS, SECONDS = 3, 3.0
WARM_UP_S = 6      # the JVM compiles what is hot; nobody measures a cold one
RECORD_BYTES = 1024
FETCH_BYTES = 256 * MIB

# Row -> what it does, at which durability, its load, and what is aimed at: (field, ratio wanted).
ROWS = {
    "produce, not synced": {
        "how": "lazy", "load": ["produce", "--connections", 4, "--partitions", 4, "--in-flight", 5,
                                "--batch-bytes", 65536], "nats": ["--connections", 4, "--in-flight", 1000],
        "field": "records_per_core_s", "target": 5},
    "produce, durable": {
        "how": "durable", "load": ["produce", "--connections", 64, "--partitions", 1, "--in-flight", 1,
                                   "--batch-bytes", 16384], "nats": ["--connections", 64, "--in-flight", 15],
        "field": "records_per_core_s", "target": 5},
    "produce 1,000/s, not synced": {
        "how": "lazy", "rate": 1000, "load": ["produce", "--connections", 1, "--partitions", 1, "--in-flight", 5,
                                              "--batch-records", 1], "nats": ["--connections", 1, "--in-flight", 1000],
        "field": "p99", "target": 0.2},
    "produce 200/s, durable": {
        "how": "durable", "rate": 200, "load": ["produce", "--connections", 1, "--partitions", 1, "--in-flight", 5,
                                                "--batch-records", 1], "nats": ["--connections", 1, "--in-flight", 1000],
        "field": "p99", "target": 0.2},
    "fetch": {
        "how": "lazy", "load": ["consume", "--loop", "--connections", 1, "--max-bytes", MIB, "--max-partition-bytes",
                                MIB], "nats": ["--connections", 1], "field": "records_per_core_s", "target": 3},
}


def finish_row(row, cores):
    """The fields that the table compares, under one name for all servers."""
    return {"records_s": row["records_s"], "mb_s": row["mb_s"], "p50": row["latency_us"]["p50"],
            "p99": row["latency_us"]["p99"], "server_cores": cores,
            "records_per_core_s": row["records_s"] / cores if cores > 0 else 0.0}


def kafka_protocol(server, spec, seconds, topic):
    """Sluice and Kafka: the same sluice-load."""
    is_fetch = spec["load"][0] == "consume"
    arguments = list(spec["load"])
    if not is_fetch:
        arguments += [*getattr(server, spec["how"]), "--record-bytes", RECORD_BYTES]
        # Creates the topic.  Kafka answers the first requests to a new one with an error that passes.
        first = scenarios.start_load(server.bootstrap, [*arguments, "--records", 1000], topic)
        scenarios.finish_load(first, scenarios.LOAD_GRACE_S, may_err=True)
        arguments += ["--rate", spec.get("rate", 0)]
    row = scenarios.measure_load(server, arguments, topic, seconds, seconds / 3)
    return finish_row(row, row["server_cores"])


def jetstream(server, spec, seconds, _topic):
    is_fetch = spec["load"][0] == "consume"
    warmup = seconds / 3
    arguments = ["nats-read" if is_fetch else "nats-publish", "--port", server.port, "--request-bytes", RECORD_BYTES,
                 *spec["nats"], "--seconds", seconds, "--warmup", warmup]
    if not is_fetch:
        arguments += ["--rate", spec.get("rate", 0)]
    sample = Sample(server.server_pids(), warmup, seconds)
    row, = limits.sluice_bench(arguments, timeout=60 + 2 * seconds)
    row["records_s"] = row["requests_s"]
    if is_fetch:
        row["latency_us"] = {"p50": None, "p99": None}  # messages are pushed; there is nothing to time
    return finish_row(row, sample.take())


class Contestant:
    """A server and how it is asked."""

    def __init__(self, label, server, ask):
        self.label, self.server, self.ask = label, server, ask
        self.topics = 0

    def prepare(self, hows):
        """Compiles the hot code of a JVM, and leaves something to fetch."""
        if "lazy" not in hows:
            return
        if self.ask is kafka_protocol:
            self.measure("produce, not synced", WARM_UP_S)
            scenarios.fill(self.server, "fetch", FETCH_BYTES)
        else:
            self.ask(self.server, ROWS["produce, not synced"], WARM_UP_S / 2, "")
        self.measure("fetch", WARM_UP_S / 2)

    def measure(self, name, seconds):
        if self.ask is jetstream or name == "fetch":
            return self.ask(self.server, ROWS[name], seconds, "fetch")
        self.topics += 1
        topic = f"peers-{self.topics}"
        row = self.ask(self.server, ROWS[name], seconds, topic)
        self.server.drop(topic)
        return row


def contestants(stack, skipped):
    """Starts what can be had; how -> list of contestants, Sluice first."""
    sluice = Contestant("sluice", stack.enter_context(servers.Sluice()), kafka_protocol)
    found = {"lazy": [sluice], "durable": [sluice]}
    for label, make, ask, hows in (("kafka", servers.Kafka, kafka_protocol, ("lazy", "durable")),
                                   ("nats", lambda: servers.Nats("2m"), jetstream, ("lazy",)),
                                   ("nats", lambda: servers.Nats("always"), jetstream, ("durable",))):
        try:
            one = Contestant(label, stack.enter_context(make()), ask)
        except servers.Missing as why:
            skipped[f"{label}, {' and '.join(hows)}"] = str(why)
            continue
        for how in hows:
            found[how].append(one)
    return found


def in_turns(those, name, seconds, number):
    """One row of one round: label -> figures, Sluice first.  Each round another one begins, and the disk is
    quiet before each: what a server writes long after its answers must not be paid by the next one."""
    measured = {}
    for i in range(len(those)):
        one = those[(i + number) % len(those)]
        os.sync()
        measured[one.label] = one.measure(name, seconds)
    return {one.label: measured[one.label] for one in those}


def build_rows(rows):
    """Medians, and for each peer the median over the rounds of Sluice's share of it."""
    built = []
    for name, rounds in rows.items():
        spec = ROWS[name]
        labels = rounds[0].keys() if rounds else ()
        medians = {label: {field: report.median([one[label][field] for one in rounds]) for field in rounds[0][label]}
                   for label in labels}
        ratios = {label: report.median([one["sluice"][spec["field"]] / one[label][spec["field"]] for one in rounds
                                        if one[label][spec["field"]] > 0])
                  for label in labels if label != "sluice"}
        smaller = spec["target"] < 1
        verdicts = {label: "" if ratio is None else
                    "met" if (ratio <= spec["target"] if smaller else ratio >= spec["target"]) else "missed"
                    for label, ratio in ratios.items()}
        built.append({"row": name, "field": spec["field"], "target": spec["target"], "medians": medians,
                      "ratios": ratios, "verdicts": verdicts, "rounds": rounds})
    return built


def table(result):
    head = ["row", "server", "records/s", "MB/s", "p50 us", "p99 us", "server cores", "records per core s",
            "Sluice / it", "of", "target", ""]
    lines = []
    for row in result["rows"]:
        sign = "<=" if row["target"] < 1 else ">="
        for label, m in row["medians"].items():
            is_peer = label != "sluice"
            lines.append([row["row"], label, report.number(m["records_s"]), report.number(m["mb_s"], ".1f"),
                          report.number(m["p50"]), report.number(m["p99"]), report.number(m["server_cores"], ".2f"),
                          report.number(m["records_per_core_s"]), report.number(row["ratios"].get(label), ".2f"),
                          row["field"].replace("_", " ").replace("core s", "core second") if is_peer else "",
                          f"{sign} {row['target']:g}" if is_peer else "", row["verdicts"].get(label, "")])
    text = report.markdown(head, lines, left=(0, 1, 9))
    return text + "".join(f"\n\nLeft out: {who}: {why}." for who, why in result["skipped"].items())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--only", default="", metavar="PATTERN")
    parser.add_argument("--results", type=pathlib.Path, default=HERE.parent / "results")
    options = parser.parse_args()
    names = [name for name in ROWS if options.only in name]
    rows = {name: [] for name in names}
    skipped, versions = {}, {}
    with contextlib.ExitStack() as stack:
        found = contestants(stack, skipped)
        for one in {id(c): c for how in found.values() for c in how}.values():
            print(f"warming up {one.server.name} {one.server.version}", flush=True)
            versions[one.server.name] = one.server.version
            one.prepare([how for how, those in found.items() if one in those])
        for number in range(options.rounds):
            for name in names:
                print(f"round {number + 1} of {options.rounds}: {name}", flush=True)
                rows[name].append(in_turns(found[ROWS[name]["how"]], name, options.seconds, number))
    described = machine.describe()
    result = {"machine": described, "commit": described["commit"], "versions": versions, "rounds": options.rounds,
              "seconds": options.seconds, "skipped": skipped, "rows": build_rows(rows)}
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / f"{result['commit']}-peers.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    path.with_suffix(".md").write_text(table(result) + "\n")
    print(table(result))
    print(f"results: {path}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as error:
        print(error, file=sys.stderr)
        sys.exit(1)
