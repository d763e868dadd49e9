#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 600
"""The Java clients and tools of Kafka 4.x: topics, configs, console producer and consumer, groups,
offsets, the perf tools, and DumpLogSegments on segments that Sluice wrote."""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
from kafka_java import TOOLS, classpath, kafka, program  # noqa: E402
from sluice import BUILD, Broker, check, main, run, wait_for  # noqa: E402

classpath()


def topics_and_configs():
    with Broker(lanes=2) as broker:
        server = ["--bootstrap-server", broker.bootstrap]
        kafka(TOOLS + "TopicCommand", *server, "--create", "--topic", "j", "--partitions", "4", "--config",
              "retention.ms=3600000")
        text = kafka(TOOLS + "TopicCommand", *server, "--describe", "--topic", "j")
        check("PartitionCount: 4" in text and "retention.ms=3600000" in text, text)
        kafka(TOOLS + "TopicCommand", *server, "--alter", "--topic", "j", "--partitions", "6")
        wait_for("six partitions", lambda: "PartitionCount: 6" in
                 kafka(TOOLS + "TopicCommand", *server, "--describe", "--topic", "j"))
        config = ["kafka.admin.ConfigCommand", *server, "--entity-type", "topics", "--entity-name", "j"]
        kafka(*config, "--alter", "--add-config", "max.message.bytes=65536,cleanup.policy=compact")
        text = kafka(*config, "--describe")
        check("max.message.bytes=65536" in text and "cleanup.policy=compact" in text, text)
        kafka(*config, "--alter", "--delete-config", "max.message.bytes")
        check("max.message.bytes" not in kafka(*config, "--describe"), "config was not deleted")
        kafka(TOOLS + "TopicCommand", *server, "--delete", "--topic", "j")
        wait_for("the topic to be gone",
                 lambda: "j" not in kafka(TOOLS + "TopicCommand", *server, "--list").split())


def console_and_groups():
    with Broker(lanes=2) as broker:
        server = ["--bootstrap-server", broker.bootstrap]
        kafka(TOOLS + "TopicCommand", *server, "--create", "--topic", "c", "--partitions", "3")
        lines = "".join(f"k{i}:value {i}\n" for i in range(500))
        kafka(TOOLS + "ConsoleProducer", *server, "--topic", "c", "--property", "parse.key=true",
              "--property", "key.separator=:", input=lines.encode())
        text = kafka(TOOLS + "consumer.ConsoleConsumer", *server, "--topic", "c", "--from-beginning",
                     "--group", "jg", "--max-messages", "500", "--property", "print.key=true",
                     "--property", "key.separator=:")
        check(sorted(text.splitlines()) == sorted(lines.splitlines()), f"{len(text.splitlines())} lines")
        groups = TOOLS + "consumer.group.ConsumerGroupCommand"
        check("jg" in kafka(groups, *server, "--list").split(), "group is not listed")
        text = kafka(groups, *server, "--describe", "--group", "jg")
        lags = [int(line.split()[5]) for line in text.splitlines() if line.startswith("jg ")]
        check(lags == [0, 0, 0], text)
        text = kafka(TOOLS + "GetOffsetShell", *server, "--topic", "c")
        ends = [int(line.rsplit(":", 1)[1]) for line in text.split()]
        check(sum(ends) == 500, text)
        text = kafka(groups, *server, "--group", "jg", "--topic", "c", "--reset-offsets", "--to-earliest",
                     "--execute")
        text = kafka(groups, *server, "--describe", "--group", "jg")
        lags = [int(line.split()[5]) for line in text.splitlines() if line.startswith("jg ")]
        check(sum(lags) == 500, text)
        kafka(groups, *server, "--delete", "--group", "jg")
        check("jg" not in kafka(groups, *server, "--list").split(), "group was not deleted")


def consumer_protocol():
    """A group of the consumer protocol (KIP-848): read, commit, describe, reset, delete."""
    with Broker(lanes=2) as broker:
        server = ["--bootstrap-server", broker.bootstrap]
        kafka(TOOLS + "TopicCommand", *server, "--create", "--topic", "n", "--partitions", "3")
        lines = "".join(f"value {i}\n" for i in range(500))
        kafka(TOOLS + "ConsoleProducer", *server, "--topic", "n", input=lines.encode())
        text = kafka(TOOLS + "consumer.ConsoleConsumer", *server, "--topic", "n", "--from-beginning",
                     "--group", "ng", "--max-messages", "500",
                     "--consumer-property", "group.protocol=consumer")
        check(sorted(text.splitlines()) == sorted(lines.splitlines()), f"{len(text.splitlines())} lines")
        text = kafka(TOOLS + "consumer.ConsoleConsumer", *server, "--include", "n|nothing",
                     "--from-beginning", "--group", "regex", "--max-messages", "500",
                     "--consumer-property", "group.protocol=consumer")
        check(len(text.splitlines()) == 500, f"{len(text.splitlines())} lines by a pattern")
        groups = TOOLS + "consumer.group.ConsumerGroupCommand"
        text = kafka(groups, *server, "--list", "--type", "consumer")
        check({"ng", "regex"} <= set(text.split()), text)
        text = kafka(groups, *server, "--describe", "--group", "ng")
        lags = [int(line.split()[5]) for line in text.splitlines() if line.startswith("ng ")]
        check(lags == [0, 0, 0], text)
        text = kafka(groups, *server, "--describe", "--group", "ng", "--state")
        check("Empty" in text, text)
        kafka(groups, *server, "--group", "ng", "--topic", "n", "--reset-offsets", "--to-earliest",
              "--execute")
        # The other protocol takes the empty group over, with its offsets.
        text = kafka(TOOLS + "consumer.ConsoleConsumer", *server, "--topic", "n", "--group", "ng",
                     "--max-messages", "500")
        check(len(text.splitlines()) == 500, f"{len(text.splitlines())} lines")
        kafka(groups, *server, "--delete", "--group", "ng")
        check("ng" not in kafka(groups, *server, "--list").split(), "group was not deleted")


def described(broker, group):
    """(type, state, sorted counts of the members' partitions)"""
    g = broker.ctl("groups", "describe", group)
    parts = [sum(len(t["partitions"]) for t in m["assignment"] or []) for m in g["members"]]
    return g["type"], g["state"], sorted(parts)


def end(consumer):
    """As Ctrl-C does: it commits and leaves the group."""
    consumer.terminate()
    check(consumer.wait(30) == 143, f"the consumer ended with {consumer.returncode}")


def live_migration():
    """A classic consumer and one of the consumer protocol share a group; what each reads comes once."""
    with Broker(lanes=2) as broker:
        server = ["--bootstrap-server", broker.bootstrap]
        kafka(TOOLS + "TopicCommand", *server, "--create", "--topic", "m", "--partitions", "4")
        consume = [TOOLS + "consumer.ConsoleConsumer", *server, "--topic", "m", "--group", "mg"]
        logs = broker.data / "old.log", broker.data / "new.log"

        def lines():
            return [line for log in logs for line in log.read_text().split()]

        with program(*consume, log=logs[0]) as old:
            wait_for("the classic member", lambda: described(broker, "mg") == ("classic", "Stable", [4]))
            with program(*consume, "--consumer-property", "group.protocol=consumer", log=logs[1]) as new:
                wait_for("two members", lambda: described(broker, "mg") == ("consumer", "Stable", [2, 2]))
                kafka(TOOLS + "ConsoleProducer", *server, "--topic", "m",
                      input="".join(f"v{i}\n" for i in range(400)).encode())
                wait_for("all lines", lambda: len(lines()) >= 400)
                end(new)
            wait_for("the classic member alone",
                     lambda: described(broker, "mg") == ("classic", "Stable", [4]))
            # Behind these, in every partition, nothing is left that the classic member could read once more.
            kafka(TOOLS + "ConsoleProducer", *server, "--topic", "m", "--property", "parse.key=true", "--property",
                  "key.separator=:", input="".join(f"k{i}:w{i}\n" for i in range(100)).encode())
            wait_for("the last lines", lambda: len(set(lines()) & {f"w{i}" for i in range(100)}) == 100)
            end(old)
        text = [line for line in lines() if re.match(r"[vw]\d", line)]
        check(sorted(text) == sorted([f"v{i}" for i in range(400)] + [f"w{i}" for i in range(100)]),
              f"{len(text)} lines")


def perf_and_dump():
    with Broker() as broker:
        server = ["--bootstrap-server", broker.bootstrap]
        kafka(TOOLS + "TopicCommand", *server, "--create", "--topic", "p", "--partitions", "1")
        text = kafka(TOOLS + "ProducerPerformance", "--topic", "p", "--num-records", "200000",
                     "--record-size", "200", "--throughput", "-1", "--producer-props",
                     f"bootstrap.servers={broker.bootstrap}", "acks=all", "compression.type=lz4")
        print("  " + text.strip().splitlines()[-1])
        check("200000 records sent" in text, text)
        text = kafka(TOOLS + "ConsumerPerformance", *server, "--topic", "p", "--messages", "200000")
        values = text.strip().splitlines()[-1].split(",")
        print("  " + text.strip().splitlines()[-1])
        check(int(values[4]) >= 200000, text)
        broker.stop()
        compare_dumps(broker)
        broker.start()


def compare_dumps(broker):
    """Kafka's dump tool and ours see the same batches in the same file."""
    logs = sorted((broker.data / "log" / "p-0").glob("*.log"))
    check(logs, "no segment")
    theirs = kafka("kafka.tools.DumpLogSegments", "--files", ",".join(map(str, logs)))
    ours = run([BUILD / "bin" / "sluice-dumplog", *logs]).decode()
    fields = ["baseOffset", "lastOffset", "count", "baseSequence", "producerId", "producerEpoch",
              "partitionLeaderEpoch", "position", "size", "magic", "compresscodec", "crc", "isvalid"]

    def batches(text):
        found = []
        for line in text.splitlines():
            if line.startswith("baseOffset:"):
                pairs = dict(re.findall(r"(\w+): (\S+)", line))
                found.append(tuple(pairs.get(f, "?").lower() for f in fields))
        return found

    a, b = batches(theirs), batches(ours)
    check(a and a == b, f"{len(a)} and {len(b)} batches; first difference: "
          f"{next((pair for pair in zip(a, b) if pair[0] != pair[1]), None)}")
    check(all(batch[-1] == "true" for batch in a), "an invalid batch")
    print(f"  {len(a)} batches alike")


TESTS = (topics_and_configs, console_and_groups, consumer_protocol, live_migration, perf_and_dump)
main(*(t for t in TESTS if not sys.argv[1:] or t.__name__ in sys.argv[1:]))
