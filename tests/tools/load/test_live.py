#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
"""sluice-load against a running server: every mode, what --verify finds, retries through a kill of the
data plane, exit statuses, and the fields of --json."""

import json
import pathlib
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "interop" / "support"))
from sluice import BUILD, Broker, check, free_ports, main  # noqa: E402

LOAD = str(BUILD / "bin" / "sluice-load")
FIELDS = ["mode", "topic", "connections", "partitions", "threads", "record_bytes", "batch_bytes", "acks",
          "compression", "rate", "seconds", "records", "records_s", "bytes", "mb_s", "requests",
          "requests_s", "errors", "retries", "verify", "latency_us", "cpu_user_s", "cpu_system_s",
          "cores_busy"]
LATENCIES = ["p50", "p90", "p99", "p99.9", "p99.99", "max", "mean"]
CLEAN = {"lost": 0, "duplicated": 0, "reordered": 0, "corrupt": 0}


def start(broker, *args):
    return subprocess.Popen([LOAD, args[0], "--bootstrap", broker.bootstrap, *map(str, args[1:])],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process, status=0, timeout=90):
    out, err = process.communicate(timeout=timeout)
    check(process.returncode == status,
          f"{' '.join(process.args)}: status {process.returncode}, not {status}\n{out}{err}")
    return out, err


def load(broker, *args, status=0):
    """Runs it with --json and checks the form of what it prints."""
    out, _ = finish(start(broker, *args, "--json"), status)
    result = json.loads(out)
    check(list(result)[:len(FIELDS)] == FIELDS, f"fields {list(result)}")
    check(list(result["latency_us"]) == LATENCIES, f"latencies {list(result['latency_us'])}")
    for name, value in result.items():
        if name not in ("mode", "topic", "compression", "verify", "latency_us", "connect_us"):
            check(isinstance(value, (int, float)), f"{name} is no number: {value}")
    times = [result["latency_us"][name] for name in LATENCIES[:-1]]
    check(times == sorted(times), f"latencies do not rise: {times}")
    return result


def check_verified(result, count):
    found = {name: result["verify"][name] for name in CLEAN}
    check(found == CLEAN, f"verify {result['verify']}")
    check(result["verify"]["checked"] == count, f"checked {result['verify']['checked']} of {count}")


def writes_and_reads_with_every_codec():
    with Broker(lanes=2, settings={"auto.create.topics.enable": "false"}) as broker:
        for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
            made = load(broker, "produce", "--topic", codec, "--partitions", 5, "--records", 20011,
                        "--compression", codec, "--value", "text", "--record-bytes", 200, "--verify",
                        "--threads", 2, "--key-bytes", 10, "--keys", "zipf:1000,1.1")
            check(made["records"] == 20011, f"{codec}: wrote {made['records']}")
            check(made["partitions"] == 5 and made["compression"] == codec, str(made))
            read = load(broker, "consume", "--topic", codec, "--verify", "--records", 20011)
            check(read["records"] == 20011, f"{codec}: read {read['records']}")
            check_verified(read, 20011)
            check(read["bytes"] == made["bytes"], f"{codec}: {read['bytes']} of {made['bytes']} bytes")


def measures_for_a_time():
    with Broker(lanes=2) as broker:
        base = ["--topic", "t", "--duration", 1, "--warmup", "0.2"]
        made = load(broker, "produce", *base, "--partitions", 4, "--acks", 1)
        check(made["connections"] == 4 and made["records"] > 0, str(made))
        check(0.9 < made["seconds"] < 1.1, f"seconds {made['seconds']}")
        check(abs(made["mb_s"] * made["seconds"] * 1e6 - made["bytes"]) < made["bytes"] / 100, str(made))
        once = load(broker, "consume", *base)
        check(once["records"] > 0, str(once))
        load(broker, "produce", "--topic", "few", "--partitions", 4, "--records", 100)
        many = load(broker, "consume", "--topic", "few", "--duration", 1, "--loop", "--fan-out", 3)
        check(many["connections"] == 12, str(many))
        check(many["records"] > 300, f"a loop of three readers of 100 records reads {many['records']}")
        for acks in ("0", "all"):
            for more in (["--batch-records", 1, "--record-bytes", 100], ["--linger-ms", 2, "--rate", 5000]):
                result = load(broker, "produce", *base, "--acks", acks, *more)
                check(result["records"] > 100 and result["errors"] == 0, str(result))


def keeps_the_rate():
    with Broker() as broker:
        result = load(broker, "produce", "--rate", 2000, "--duration", 2, "--acks", 1, "--partitions", 3)
        # A record may be due inside of the time and acknowledged outside, at both ends.
        check(abs(result["records"] - 4000) < 400, f"{result['records']} records at 2000/s for 2 s")


def times_records_end_to_end():
    with Broker(lanes=2) as broker:
        load(broker, "produce", "--topic", "e", "--records", 500, "--partitions", 3)
        result = load(broker, "e2e", "--topic", "e", "--rate", 2000, "--duration", 2, "--warmup", "0.5",
                      "--threads", 2)
        check_verified(result, result["verify"]["checked"])
        check(abs(result["records"] - 4000) < 400, f"{result['records']} records")
        # Those of the warm-up are checked too, those that were there before are not.
        check(4500 < result["verify"]["checked"] <= 5001, f"{result['verify']}")
        check(0 < result["latency_us"]["p50"] < 2e6, str(result["latency_us"]))


def holds_connections():
    with Broker(lanes=2) as broker:
        result = load(broker, "connections", "--connections", 300, "--duration", 2, "--ping-ms", 200)
        check(result["opened"] == 300 and result["failed"] == 0 and result["errors"] == 0, str(result))
        check(result["connections"] == 300 and result["requests"] > 1500, str(result))
        check(list(result["connect_us"]) == LATENCIES, str(result))
        slow = load(broker, "connections", "--connections", 20, "--rate", 10, "--duration", 1)
        check(8 <= slow["opened"] <= 12, f"opened {slow['opened']} at 10/s in 1 s")


def survives_a_kill_of_the_data_plane():
    with Broker(lanes=2) as broker:
        producer = start(broker, "produce", "--topic", "k", "--partitions", 4, "--rate", 3000, "--records",
                         20000, "--record-bytes", 100, "--verify", "--idempotent", "--threads", 2, "--json")
        time.sleep(2)
        broker.wait_restarted("sluice-dataplane", broker.kill("sluice-dataplane"))
        made = json.loads(finish(producer)[0])
        check(made["errors"] > 0 and made["retries"] > 0, f"nothing was retried: {made}")
        check(made["records"] == 20000, f"wrote {made['records']}")
        check_verified(load(broker, "consume", "--topic", "k", "--verify", "--records", 20000), 20000)


def survives_a_kill_end_to_end():
    with Broker(lanes=2) as broker:
        process = start(broker, "e2e", "--topic", "k", "--partitions", 4, "--rate", 1000, "--duration", 6,
                        "--threads", 2, "--idempotent", "--json")
        time.sleep(3)
        broker.wait_restarted("sluice-dataplane", broker.kill("sluice-dataplane"))
        result = json.loads(finish(process)[0])
        check_verified(result, result["verify"]["checked"])
        check(result["errors"] > 0, f"nothing failed: {result}")
        # What was due and could not be begun before the end was never written.
        check(6000 < result["verify"]["checked"] <= 7000, f"{result['verify']}")
        # What was due while nobody answered has waited; that has to be seen.
        check(result["latency_us"]["p99"] > 50_000, str(result["latency_us"]))


def finds_what_is_wrong():
    with Broker() as broker:
        load(broker, "produce", "--topic", "v", "--records", 100, "--verify")
        short = load(broker, "consume", "--topic", "v", "--records", 103, "--duration", 1, "--verify",
                     status=1)
        check(short["verify"]["lost"] == 3, str(short["verify"]))
        load(broker, "produce", "--topic", "v", "--records", 50)
        foreign = load(broker, "consume", "--topic", "v", "--records", 150, "--verify", status=1)
        check(foreign["verify"]["corrupt"] == 50, str(foreign["verify"]))


def says_what_the_broker_refuses():
    with Broker() as broker:
        out, err = finish(start(broker, "produce", "--topic", "small", "--topic-config",
                                "max.message.bytes=2000", "--quiet"), status=1)
        check("MESSAGE_TOO_LARGE" in err and len(err.splitlines()) == 1, err)
        out, err = finish(start(broker, "produce", "--topic", "x", "--topic-config", "no.such=1"), status=1)
        check("INVALID_CONFIG" in err, err)
        out, err = finish(start(broker, "produce", "--topic", "many", "--replication", 50), status=1)
        check("INVALID_REPLICATION_FACTOR" in err, err)


def ends_early_with_a_result():
    with Broker() as broker:
        for mode in (["produce"], ["consume"], ["e2e", "--rate", 100], ["connections"]):
            process = start(broker, *mode, "--duration", 60, "--json")
            time.sleep(2)
            process.send_signal(signal.SIGINT)
            result = json.loads(finish(process, timeout=20)[0])
            check(result["seconds"] < 10, f"{mode}: {result['seconds']} s")


def prints_progress_and_a_table():
    with Broker() as broker:
        out, err = finish(start(broker, "produce", "--duration", 2, "--warmup", "0.1", "--progress"))
        check(len([line for line in err.splitlines() if "records/s" in line]) in (1, 2, 3), err)
        check("request to answer" in out and "p99.99" in out, out)
        out, err = finish(start(broker, "produce", "--duration", 1))
        check(err == "", f"progress without a terminal: {err}")


def tells_usage_from_failure():
    def run(*args):
        done = subprocess.run([LOAD, *args], capture_output=True, text=True, timeout=30)
        return done.returncode, done.stdout, done.stderr

    for args in (["produce", "--partitions", "x"], ["fetch"], [], ["e2e"], ["produce", "--loop"]):
        status, out, err = run(*args)
        check(status == 2 and not out and len(err.splitlines()) == 1, f"{args}: {status} {out}{err}")
    for args in (["--help"], ["produce", "--help"], ["connections", "-h"]):
        status, out, err = run(*args)
        check(status == 0 and "usage: sluice-load" in out and not err, f"{args}: {status} {err}")
    port = free_ports(1)
    status, out, err = run("produce", "--bootstrap", f"127.0.0.1:{port}")
    check(status == 1 and "refused" in err and len(err.splitlines()) == 1, f"{status} {err}")


main(writes_and_reads_with_every_codec, measures_for_a_time, keeps_the_rate, times_records_end_to_end,
     holds_connections, survives_a_kill_of_the_data_plane, survives_a_kill_end_to_end, finds_what_is_wrong,
     says_what_the_broker_refuses, ends_early_with_a_result, prints_progress_and_a_table,
     tells_usage_from_failure)
