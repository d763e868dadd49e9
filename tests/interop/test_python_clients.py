#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
"""kafka-python 2.0.2 and confluent-kafka (librdkafka): admin, produce, group consume, commit, describe."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
from sluice import Broker, check, main, skip, wait_for  # noqa: E402

try:
    import confluent_kafka
    import confluent_kafka.admin
    import kafka
    import kafka.admin
except ImportError as error:
    skip(f"{error.name} is not installed for {sys.executable}")


def kafka_python():
    with Broker(lanes=2) as broker:
        admin = kafka.KafkaAdminClient(bootstrap_servers=broker.bootstrap)
        admin.create_topics([kafka.admin.NewTopic("py", 3, 1, topic_configs={"retention.ms": "3600000"})])
        check("py" in admin.list_topics(), "topic is not listed")
        described = admin.describe_configs(
            [kafka.admin.ConfigResource(kafka.admin.ConfigResourceType.TOPIC, "py")])
        values = {entry[0]: entry[1] for answer in described for entry in answer.resources[0][4]}
        check(values.get("retention.ms") == "3600000", f"configs {values}")
        admin.create_partitions({"py": kafka.admin.NewPartitions(5)})
        wait_for("five partitions",
                 lambda: len(admin.describe_topics(["py"])[0]["partitions"]) == 5)

        for codec in (None, "gzip", "snappy", "lz4", "zstd"):
            producer = kafka_producer(broker, codec)
            if producer is None:
                continue
            for i in range(200):
                producer.send("py", key=b"k%d" % i, value=b"v%d" % i,
                              headers=[("codec", str(codec).encode())])
            producer.flush()
            producer.close()

        first = kafka.KafkaConsumer("py", bootstrap_servers=broker.bootstrap, group_id="g",
                                    auto_offset_reset="earliest", enable_auto_commit=False,
                                    consumer_timeout_ms=5000)
        records = [r for r in take(first, 400)]
        check({h for r in records for h in r.headers}, "headers are missing")
        first.commit()
        groups = admin.list_consumer_groups()
        check(("g", "consumer") in groups, f"groups {groups}")
        state = admin.describe_consumer_groups(["g"])[0]
        check(state.state == "Stable" and len(state.members) == 1, f"group {state}")
        offsets = admin.list_consumer_group_offsets("g")
        check(sum(o.offset for o in offsets.values()) == len(records), f"offsets {offsets}")
        first.close()
        wait_for("the group to be empty",
                 lambda: admin.describe_consumer_groups(["g"])[0].state == "Empty")
        admin.delete_consumer_groups(["g"])
        check(("g", "consumer") not in admin.list_consumer_groups(), "group is still there")
        admin.delete_topics(["py"])
        wait_for("the topic to be gone", lambda: "py" not in admin.list_topics())
        admin.close()


def kafka_producer(broker, codec):
    """None where the codec's own Python module is not installed."""
    try:
        return kafka.KafkaProducer(bootstrap_servers=broker.bootstrap, compression_type=codec, acks="all",
                                   linger_ms=5)
    except AssertionError:
        print(f"  kafka-python without its module for {codec}")
        return None


def take(consumer, at_least):
    """All that comes until there is a pause."""
    got = list(consumer)
    check(len(got) >= at_least, f"{len(got)} records of {at_least}")
    return got


def confluent():
    with Broker(lanes=2) as broker:
        conf = {"bootstrap.servers": broker.bootstrap}
        admin = confluent_kafka.admin.AdminClient(conf)
        new = confluent_kafka.admin.NewTopic("ck", 4, 1, config={"max.message.bytes": "200000"})
        admin.create_topics([new])["ck"].result(30)
        resource = confluent_kafka.admin.ConfigResource("topic", "ck")
        values = admin.describe_configs([resource])[resource].result(30)
        check(values["max.message.bytes"].value == "200000", "config is not what was set")
        admin.create_partitions([confluent_kafka.admin.NewPartitions("ck", 6)])["ck"].result(30)
        wait_for("six partitions", lambda: len(admin.list_topics("ck").topics["ck"].partitions) == 6)
        resource.set_config("retention.ms", "7200000")
        admin.alter_configs([resource])[resource].result(30)
        values = admin.describe_configs([resource])[resource].result(30)
        check(values["retention.ms"].value == "7200000", "alter_configs had no effect")
        # The legacy call replaces the whole set.
        check(values["max.message.bytes"].value == "1048588", "the old value was kept")

        acked = []
        producer = confluent_kafka.Producer({**conf, "enable.idempotence": True, "compression.type": "zstd"})
        for i in range(5000):
            producer.produce("ck", key=f"k{i}", value=f"v{i}",
                             on_delivery=lambda e, m: acked.append(m) if e is None else check(False, str(e)))
            producer.poll(0)
        producer.flush(30)
        check(len(acked) == 5000, f"{len(acked)} acknowledged")
        too_big(conf)
        group(conf, 5000)
        lists_once(conf, admin)
        admin.delete_topics(["ck"])["ck"].result(30)
        wait_for("the topic to be gone", lambda: "ck" not in admin.list_topics().topics)


def too_big(conf):
    """A batch above max.message.bytes is refused with the right error."""
    errors = []
    producer = confluent_kafka.Producer({**conf, "message.max.bytes": 3000000})
    producer.produce("ck", b"x" * 2000000, on_delivery=lambda e, _: errors.append(e))
    producer.flush(30)
    check(errors and errors[0] and errors[0].code() == confluent_kafka.KafkaError.MSG_SIZE_TOO_LARGE,
          f"delivery report {errors}")


def group(conf, count):
    consumer = confluent_kafka.Consumer({**conf, "group.id": "cg", "auto.offset.reset": "earliest",
                                         "enable.auto.commit": False})
    consumer.subscribe(["ck"])
    got = []
    wait_for("all records", lambda: extend(got, consumer) >= count, 60)
    check(len({m.value() for m in got}) == count == len(got), "records are missing or repeated")
    consumer.commit(asynchronous=False)
    partitions = [confluent_kafka.TopicPartition("ck", p) for p in range(6)]
    check(sum(max(tp.offset, 0) for tp in consumer.committed(partitions, 10)) == count, "offsets differ")
    # Offset by time: everything lies after the first record's own time.
    first = min(m.timestamp()[1] for m in got)
    asked = [confluent_kafka.TopicPartition("ck", p, first) for p in range(6)]
    check(all(tp.offset == 0 for tp in consumer.offsets_for_times(asked, 10)), "offsets_for_times")
    consumer.close()


def lists_once(conf, admin):
    """librdkafka asks every node and puts the answers together as they are."""
    wanted = ["cg"]
    for i in range(8):
        wanted.append(f"committer-{i}")
        consumer = confluent_kafka.Consumer({**conf, "group.id": wanted[-1]})
        consumer.commit(offsets=[confluent_kafka.TopicPartition("ck", 0, 1)], asynchronous=False)
        consumer.close()
    listed = sorted(g.id for g in admin.list_groups(timeout=10))
    check(listed == sorted(wanted), f"groups {listed}")


def extend(got, consumer):
    got += [m for m in consumer.consume(1000, 0.2) if not m.error()]
    return len(got)


main(kafka_python, confluent)
