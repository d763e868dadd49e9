#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
"""cleanup.policy=compact with real clients: the last value of every key is there under its own offset, before and
after kill -9 at any moment, in every codec; deleted keys go; __consumer_offsets stays small."""

import pathlib
import random
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "interop" / "support"))
from sluice import BUILD, Broker, check, main, skip, wait_for  # noqa: E402

try:
    from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
    from confluent_kafka.admin import AdminClient, NewTopic
except ImportError:
    skip("python3-confluent-kafka is not installed")

KEYS = 400
KILLS = 8
SEED = random.randrange(1 << 32)
SETTINGS = {"log.cleaner.backoff.ms": "200", "offsets.topic.num.partitions": "1",
            "offsets.topic.segment.bytes": "1048576"}
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


def create(broker, topic, **configs):
    """Segments of one MiB, which is the least, and cleaned soon."""
    config = {"cleanup.policy": "compact", "segment.bytes": "1048576", "min.cleanable.dirty.ratio": "0.1",
              "file.delete.delay.ms": "1000", **{k.replace("_", "."): v for k, v in configs.items()}}
    make(broker, NewTopic(topic, 1, 1, config=config))


def make(broker, new):
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.create_topics([new])[new.topic].result(30)


class Keyed:
    """What was written and acknowledged: {key: (offset, value)}, value None for a deleted key.  Of a record that
    was repeated after a kill the client may not be told the offset: nothing is known of its key then."""

    def __init__(self, broker, topic, seed):
        self.broker, self.topic = broker, topic
        self.random = random.Random(seed)
        self.last, self.acked, self.number, self.unknown = {}, 0, 0, set()

    def on_delivery(self, error, message):
        check(error is None, f"produce: {error}")
        key = message.key().decode()
        if message.offset() > self.last.get(key, (-1,))[0]:
            self.last[key] = (message.offset(), message.value())
        if message.offset() < 0:
            self.unknown.add(key)
        self.acked += 1

    def produce(self, count, codec="none", enough=None, value_bytes=400):
        """@count records, or fewer when @enough is set before."""
        producer = Producer({"bootstrap.servers": self.broker.bootstrap, "enable.idempotence": True,
                             "compression.type": codec, "linger.ms": 5, "message.timeout.ms": 120000,
                             "reconnect.backoff.max.ms": 200})
        for n in range(count):
            if enough and enough.is_set():
                break
            if enough and n % 100 == 0:
                time.sleep(0.01)  # a bounded load
            self.number += 1
            key = f"key-{self.random.randrange(KEYS)}"
            # Random bytes, so that no codec makes the segments too small to be closed.
            value = None if self.random.randrange(20) == 0 else \
                b"%d:" % self.number + self.random.randbytes(value_bytes)
            while True:
                try:
                    producer.produce(self.topic, key=key, value=value, on_delivery=self.on_delivery)
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        check(producer.flush(120) == 0, "not everything was acknowledged")


def read_all(broker, topic):
    """[(offset, key, value)] from the beginning to the end as it is now."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "checker",
                         "enable.auto.commit": False, "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found, deadline = [], time.monotonic() + 60
    while True:
        check(time.monotonic() < deadline, f"reading {topic} does not end: {len(found)} records")
        message = consumer.poll(1.0)
        if message is None:
            continue
        if message.error():
            if message.error().code() == KafkaError._PARTITION_EOF:
                break
            continue  # a broker that is not back yet
        found.append((message.offset(), message.key().decode(), message.value()))
    consumer.close()
    return found


def check_content(keyed):
    """Every key's last value is there, at its offset; nothing came in between.  Returns the records."""
    found = read_all(keyed.broker, keyed.topic)
    offsets = [offset for offset, _, _ in found]
    check(offsets == sorted(set(offsets)), "offsets do not rise")
    seen = {key: (offset, value) for offset, key, value in found}
    wrong = [(key, last[0], seen.get(key, (None,))[0]) for key, last in keyed.last.items()
             if key not in keyed.unknown and seen.get(key) != last
             and (last[1] is not None or key in seen)]  # a deleted key may be gone altogether
    check(not wrong, f"seed {SEED}: {len(wrong)} of {len(keyed.last)} keys are lost or old, read {len(found)} records "
          f"up to {offsets[-1]}: (key, wanted, found) {wrong[:5]}")
    return found


def row(broker, topic):
    return broker.ctl("partitions", topic)["partitions"][0]


def settle(broker, topic, below):
    """Waits until what can be cleaned is cleaned and old files are gone; returns the row."""
    def small():
        got = row(broker, topic)
        return got["cleaner"] == "waiting" and got["size_bytes"] < below and got
    return wait_for(f"{topic} to be small: {row(broker, topic)}", small, 60)


def check_files(broker, topic):
    """Every segment is well formed, says the tool, and no file of a cleaning is left over."""
    folder = broker.data / "log" / f"{topic}-0"
    names = sorted(p.name for p in folder.iterdir())
    check(not [n for n in names if n.endswith((".cleaned", ".swap"))], f"files {names}")
    for name in (n for n in names[:-1] if n.endswith(".log")):
        done = subprocess.run([str(BUILD / "bin" / "sluice-dumplog"), "--verify", str(folder / name)],
                              capture_output=True, text=True, timeout=60)
        check(done.returncode == 0 or folder / name == last_log(folder),
              f"sluice-dumplog {name}: {done.stdout}{done.stderr}")


def last_log(folder):
    """The active segment, which is allocated ahead."""
    return max(p for p in folder.iterdir() if p.suffix == ".log")


def keyed_updates():
    with Broker(settings=SETTINGS) as broker:
        create(broker, "keyed", delete_retention_ms="100")
        keyed = Keyed(broker, "keyed", SEED)
        for codec in CODECS:
            keyed.produce(6000, codec)
        written = keyed.acked * 400
        got = settle(broker, "keyed", written // 4)
        print(f"  seed {SEED}: {got['size_bytes']} bytes of {written} are left, clean below "
              f"{got['clean_offset']}, end {got['log_end']}")
        found = check_content(keyed)
        check(len(found) < keyed.acked // 3, f"{len(found)} records of {keyed.acked}")
        check(got["log_end"] >= keyed.acked and got["log_start"] == 0, f"{got}")
        check_files(broker, "keyed")
        check(broker.metric("kafka_log_logcleanermanager_uncleanable_partitions_count") == 0, "uncleanable")
        check(broker.metric("sluice_lane_cleanings_total") > 0, "no cleaning was counted")
        check(broker.metric("sluice_lane_clean_bytes_read_total") > written, "bytes read")
        # Positions by time and a start in the middle of a gap lead to what is left.
        consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "x"})
        first = found[0]
        at = consumer.offsets_for_times([TopicPartition("keyed", 0, 1)], timeout=30)[0].offset
        check(at == first[0], f"first record by time at {at}, not at {first[0]}")
        gap = next(b for a, b in zip(found, found[1:]) if b[0] - a[0] > 1)
        consumer.assign([TopicPartition("keyed", 0, gap[0] - 1)])
        message = wait_for("the record behind a gap", lambda: consumer.poll(1.0))
        check(message.offset() == gap[0], f"{message.offset()} behind the gap, not {gap[0]}")
        consumer.close()

        # kill -9 with everything as it is, then a clean stop.
        pid = broker.kill("sluice-dataplane")
        broker.wait_restarted("sluice-dataplane", pid)
        check_content(keyed)
        broker.stop()
        broker.start()
        check_content(keyed)
        keyed.produce(6000, "lz4")
        settle(broker, "keyed", written // 4)
        check_content(keyed)


def killed_while_cleaning():
    """The data plane is killed again and again while a producer goes on and the cleaner has always
    something to do."""
    with Broker(settings={**SETTINGS, "log.cleaner.backoff.ms": "5"}) as broker:
        create(broker, "killed", min_cleanable_dirty_ratio="0.01", delete_retention_ms="0",
               file_delete_delay_ms="0")
        keyed = Keyed(broker, "killed", SEED + 1)
        enough = threading.Event()
        load = threading.Thread(target=keyed.produce, args=(1000000, "zstd", enough))
        load.start()
        try:
            for _ in range(KILLS):
                time.sleep(random.uniform(0.5, 2.0))
                pid = broker.kill("sluice-dataplane")
                broker.wait_restarted("sluice-dataplane", pid)
        finally:
            enough.set()
            load.join(150)
        check(not load.is_alive() and keyed.acked == keyed.number, f"{keyed.acked} of {keyed.number}")
        got = settle(broker, "killed", 10 << 20)
        found = check_content(keyed)
        print(f"  {KILLS} kills, {len(found)} records of {keyed.acked} in {got['size_bytes']} bytes, "
              f"{len(keyed.unknown)} keys of unknown offset")
        check(len(keyed.unknown) < KEYS // 2, "too little is known")
        check_files(broker, "killed")


def consumer_offsets_stay_small():
    with Broker(settings=SETTINGS) as broker:
        make(broker, NewTopic("source", 100, 1))
        consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "committer",
                             "enable.auto.commit": False})
        largest = 0
        for n in range(1, 1501):
            offsets = [TopicPartition("source", p, n * 1000 + p) for p in range(100)]
            wait_for("a commit", lambda: commit(consumer, offsets), 30)
            if n % 50 == 0:
                largest = max(largest, row(broker, "__consumer_offsets")["size_bytes"])
        got = settle(broker, "__consumer_offsets", 3 << 20)
        written = broker.metric("kafka_server_brokertopicmetrics_bytesin_total")
        print(f"  {written:.0f} bytes of commits, {got['size_bytes']} bytes are left, {largest} at most")
        check(written > 8 << 20, f"only {written} bytes were written")
        check(got["clean_offset"] > 0, f"{got}")
        for restart in (False, True):
            if restart:
                pid = broker.kill("sluice-dataplane")
                broker.wait_restarted("sluice-dataplane", pid)
                pid = broker.kill("sluice-control")
                broker.wait_restarted("sluice-control", pid)
            committed = wait_for("committed offsets", lambda: fetch(consumer), 60)
            check([c.offset for c in committed] == [1500 * 1000 + p for p in range(100)], f"{committed[:3]}")
        consumer.close()


def commit(consumer, offsets):
    try:
        consumer.commit(offsets=offsets, asynchronous=False)
        return True
    except KafkaException as error:
        # The group's coordinator is still being made.
        check(error.args[0].retriable() or error.args[0].code() in (14, 15, 16, -185), f"{error}")
        return False


def fetch(consumer):
    try:
        return consumer.committed([TopicPartition("source", p) for p in range(100)], timeout=20)
    except KafkaException:
        return None


if __name__ == "__main__":
    main(keyed_updates, killed_while_cleaning, consumer_offsets_stay_small)
