#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 600
"""Transactions of Kafka's Java producer, seen by readers of both isolation levels, and the tool for them."""

import pathlib
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
from kafka_java import TOOLS, compiled, kafka, scenario  # noqa: E402
from sluice import Broker, check, main  # noqa: E402

compiled()
SWEEP = {"transaction.abort.timed.out.transaction.cleanup.interval.ms": "500"}
TOOL = TOOLS + "TransactionsCommand"


def features_and_isolation():
    with Broker(lanes=2) as broker:
        scenario("Transactions", broker.bootstrap, "features")
        scenario("Transactions", broker.bootstrap, "isolation")


def zombies_and_timeouts():
    with Broker(lanes=2, settings=SWEEP) as broker:
        scenario("Transactions", broker.bootstrap, "zombie")
        scenario("Transactions", broker.bootstrap, "timeout")


def offsets_in_transactions():
    with Broker(lanes=2) as broker:
        scenario("Transactions", broker.bootstrap, "offsets", "classic")
        scenario("Transactions", broker.bootstrap, "offsets", "consumer")


def table(text):
    """The rows of what a tool prints, each a dictionary."""
    found = [line.split() for line in text.splitlines() if line.strip()]
    return [dict(zip(found[0], row)) for row in found[1:]] if found else []


def tool():
    with Broker(lanes=2) as broker:
        server = ["--bootstrap-server", broker.bootstrap]

        def ask(*args):
            return table(kafka(TOOL, *server, *args))

        kafka(TOOLS + "TopicCommand", *server, "--create", "--topic", "t", "--partitions", "1")
        kafka(TOOLS + "ConsoleProducer", *server, "--topic", "t", input=b"before\n")
        scenario("Transactions", broker.bootstrap, "leave-open", "tool", "t")
        kafka(TOOLS + "ConsoleProducer", *server, "--topic", "t", input=b"after\n")
        listed = ask("list")
        check([(r["TransactionalId"], r["TransactionState"]) for r in listed] == [("tool", "Ongoing")], listed)
        check(ask("list", "--duration-filter", "3600000") == [], "it is an hour old")
        check(len(ask("list", "--duration-filter", "1")) == 1, "it is not a millisecond old")
        described = ask("describe", "--transactional-id", "tool")
        check(described[0]["TransactionState"] == "Ongoing" and described[0]["TopicPartitions"] == "t-0",
              described)
        producers = ask("describe-producers", "--topic", "t", "--partition", "0")
        mine = [r for r in producers if r["CurrentTransactionStartOffset"] == "1"]
        check(len(mine) == 1 and mine[0]["ProducerId"] == listed[0]["ProducerId"], producers)
        # The coordinator knows of it, so nothing hangs, however long it is open.
        check(ask("find-hanging", "--broker-id", "100", "--max-transaction-timeout", "0") == [], "it hangs")

        def read(isolation, count):
            text = kafka(TOOLS + "consumer.ConsoleConsumer", *server, "--topic", "t", "--from-beginning",
                         "--isolation-level", isolation, "--max-messages", str(count), "--timeout-ms", "15000")
            return text.split()

        check(read("read_committed", 1) == ["before"], "read past an open transaction")
        check(read("read_uncommitted", 3) == ["before", "open", "after"], "not all was read")
        kafka(TOOL, *server, "abort", "--topic", "t", "--partition", "0", "--start-offset", "1")
        check(read("read_committed", 2) == ["before", "after"], "the transaction was not aborted")
        kafka(TOOL, *server, "forceTerminateTransaction", "--transactionalId", "tool")
        ended = ask("list")
        check(len(ended) == 1 and ended[0]["TransactionState"] == "Empty", ended)


def hanging():
    """The coordinator's log is lost, so nobody will end the transaction; the tool finds it and does."""
    with Broker(lanes=2) as broker:
        server = ["--bootstrap-server", broker.bootstrap]
        kafka(TOOLS + "TopicCommand", *server, "--create", "--topic", "t", "--partitions", "1")
        scenario("Transactions", broker.bootstrap, "leave-open", "tool", "t")
        broker.stop()
        for folder in (broker.data / "log").glob("__transaction_state-*"):
            shutil.rmtree(folder)
        broker.start()
        kafka(TOOLS + "ConsoleProducer", *server, "--topic", "t", input=b"after\n")

        def find(*args):
            return table(kafka(TOOL, *server, "find-hanging", *args, "--max-transaction-timeout", "0"))

        leader = broker.ctl("topics", "describe", "t")["partitions"][0]["leader"]
        found = find("--broker-id", str(leader))
        check([(r["Topic"], r["Partition"], r["StartOffset"]) for r in found] == [("t", "0", "0")], found)
        check(find("--topic", "t") == found, "by topic")
        check(find("--broker-id", "100" if leader == 101 else "101") == [], "the other lane")
        ours = broker.ctl("txns", "find-hanging", "--older-than-ms", "0")["transactions"]
        check([str(x["producer_id"]) for x in ours] == [found[0]["ProducerId"]], f"sluicectl finds {ours}")
        kafka(TOOL, *server, "abort", "--topic", "t", "--partition", "0", "--producer-id", found[0]["ProducerId"],
              "--producer-epoch", found[0]["ProducerEpoch"], "--coordinator-epoch", "0")
        check(find("--topic", "t") == [], "it hangs still")
        text = kafka(TOOLS + "consumer.ConsoleConsumer", *server, "--topic", "t", "--from-beginning", "--isolation-level",
                     "read_committed", "--max-messages", "1", "--timeout-ms", "15000")
        check(text.split() == ["after"], text)


main(features_and_isolation, zombies_and_timeouts, offsets_in_transactions, tool, hanging)
