#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
"""Transactions of librdkafka, the older flow: read, transform, write with offsets; abort; fencing; both
processes killed while a transaction is open."""

import os
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
from sluice import Broker, check, children_of, main, skip, wait_for  # noqa: E402

try:
    import confluent_kafka
    import confluent_kafka.admin
    from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
except ImportError as error:
    skip(f"{error.name} is not installed for {sys.executable}")

RECORDS = 60
PARTS = 3


def topics(broker, *names):
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": broker.bootstrap})
    made = admin.create_topics([confluent_kafka.admin.NewTopic(name, PARTS) for name in names])
    for future in made.values():
        future.result(30)


def transactional(broker, name, **settings):
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": name,
                         "transaction.timeout.ms": 60000, **settings})
    producer.init_transactions(30)
    return producer


def need_lanes(producer, topic):
    """Lanes that refuse transactional batches cannot be tested."""
    producer.begin_transaction()
    producer.produce(topic, b"first")
    try:
        producer.flush(20)
        producer.commit_transaction(30)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
            skip("the lanes of this build refuse transactions")
        raise


def read_all(broker, topic, count, isolation="read_committed"):
    """What is there, once it is @count records; more would be seen too."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": f"all-{time.monotonic()}",
                         "auto.offset.reset": "earliest", "isolation.level": isolation,
                         "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, p, 0) for p in range(PARTS)])
    got = []

    def enough():
        got.extend(m.value() for m in consumer.consume(1000, 0.3) if not m.error())
        return len(got) >= count

    wait_for(f"{count} records of {topic}", enough, 60)
    got.extend(m.value() for m in consumer.consume(1000, 0.5) if not m.error())
    consumer.close()
    return got


def exactly_once():
    with Broker(lanes=2) as broker:
        topics(broker, "orders", "invoices", "probe")
        need_lanes(transactional(broker, "probe"), "probe")
        plain = Producer({"bootstrap.servers": broker.bootstrap})
        for i in range(RECORDS):
            plain.produce("orders", f"order {i}".encode(), partition=i % PARTS)
        plain.flush(30)
        producer = transactional(broker, "invoicer")
        consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "billing",
                             "auto.offset.reset": "earliest", "enable.auto.commit": False,
                             "isolation.level": "read_committed"})
        consumer.subscribe(["orders"])
        move(producer, consumer)
        consumer.close()
        got = read_all(broker, "invoices", RECORDS)
        check(sorted(got) == sorted(f"invoice {i}".encode() for i in range(RECORDS)),
              f"{len(got)} invoices, {len(set(got))} different ones")


def move(producer, consumer):
    """Every third transaction is aborted and its orders are read again."""
    done, rounds = 0, 0
    end = time.monotonic() + 90
    while done < RECORDS:
        check(time.monotonic() < end, f"only {done} orders are done")
        orders = [m for m in consumer.consume(7, 1.0) if not m.error()]
        if not orders:
            continue
        rounds += 1
        producer.begin_transaction()
        for order in orders:
            producer.produce("invoices", order.value().replace(b"order", b"invoice"))
        producer.send_offsets_to_transaction(consumer.position(consumer.assignment()),
                                             consumer.consumer_group_metadata(), 30)
        producer.flush(30)
        if rounds % 3 == 0:
            producer.abort_transaction(30)
            for tp in consumer.committed(consumer.assignment(), 30):
                consumer.seek(TopicPartition(tp.topic, tp.partition, max(tp.offset, 0)))
        else:
            producer.commit_transaction(30)
            done += len(orders)
    check(rounds > 3, f"only {rounds} transactions")


def fencing():
    with Broker(lanes=2) as broker:
        topics(broker, "t")
        first = transactional(broker, "one")
        need_lanes(first, "t")
        first.begin_transaction()
        first.produce("t", b"never seen")
        first.flush(30)
        second = transactional(broker, "one")
        second.begin_transaction()
        second.produce("t", b"second")
        second.commit_transaction(30)
        try:
            first.commit_transaction(30)
            check(False, "a fenced producer commits")
        except KafkaException as error:
            check(error.args[0].fatal(), f"not fatal: {error}")
        check(sorted(read_all(broker, "t", 2)) == [b"first", b"second"], "what committed")


def killed():
    with Broker(lanes=2) as broker:
        topics(broker, "t")
        producer = transactional(broker, "survivor")
        need_lanes(producer, "t")
        for i in range(3):
            producer.begin_transaction()
            for k in range(30):
                producer.produce("t", f"{i}-{k}".encode(), partition=k % PARTS)
            producer.flush(30)
            for pid in children_of(broker.process.pid):
                os.kill(pid, signal.SIGKILL)
            producer.commit_transaction(60)
        got = read_all(broker, "t", 91)
        check(len(got) == 91 == len(set(got)), f"{len(got)} records, {len(set(got))} different ones")


main(exactly_once, fencing, killed)
