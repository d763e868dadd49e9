#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 600
"""kcat (librdkafka) against Sluice: a million real CSV lines with keys through every codec, byte for
byte and in order; listing; a group of two members; offsets that outlive a restart."""

import collections
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
from sluice import Broker, check, main, need, run, wait_for  # noqa: E402

need("kcat")
LINES = 1_000_000
PARTITIONS = 4
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


def csv_lines(count):
    """Real text with keys: the words of the system's own documents, numbered, as CSV."""
    words = []
    for path in sorted(pathlib.Path("/usr/share/common-licenses").iterdir()):
        if path.is_file():
            words += path.read_text(errors="replace").split()
    check(len(words) > 10_000, "no text found under /usr/share/common-licenses")
    lines = []
    for i in range(count):
        at = (i * 7919) % (len(words) - 8)
        text = " ".join(words[at:at + 7]).replace("\t", " ").replace("\n", " ")
        lines.append(f"user-{i % 1009}\t{i},{text}")
    return lines


def kcat(broker, *args, **more):
    return run(["kcat", "-b", broker.bootstrap, *args], **more)


def create(broker, topic, partitions=PARTITIONS):
    broker.ctl("topics", "create", topic, "--partitions", str(partitions))


def consume_all(broker, topic, count):
    """{partition: [line]} with key and value as sent."""
    out = kcat(broker, "-C", "-t", topic, "-e", "-q", "-o", "beginning", "-f", "%p\t%k\t%s\n",
               timeout=300)
    found = collections.defaultdict(list)
    for line in out.decode().splitlines():
        partition, rest = line.split("\t", 1)
        found[int(partition)].append(rest)
    got = sum(len(v) for v in found.values())
    check(got == count, f"{topic}: consumed {got} of {count}")
    return found


def check_same(topic, sent, found):
    """Every line once; within a partition the order of sending."""
    order = {line: i for i, line in enumerate(sent)}
    check(len(order) == len(sent), "the input repeats itself")
    seen = 0
    for partition, lines in found.items():
        places = [order[line] for line in lines]
        check(places == sorted(places), f"{topic}-{partition}: order is not kept")
        seen += len(set(places))
    check(seen == len(sent), f"{topic}: {seen} different lines of {len(sent)}")
    check(len(found) == PARTITIONS, f"{topic}: only partitions {sorted(found)} have records")


def codecs():
    lines = csv_lines(LINES)
    share = LINES // len(CODECS)
    with Broker() as broker:
        for i, codec in enumerate(CODECS):
            topic = f"csv-{codec}"
            part = lines[i * share:(i + 1) * share]
            create(broker, topic)
            kcat(broker, "-P", "-t", topic, "-K", "\t", "-z", codec, "-X", "linger.ms=20", "-X",
                 "acks=all", input=("\n".join(part) + "\n").encode(), timeout=300)
            check_same(topic, part, consume_all(broker, topic, len(part)))


def idempotent():
    lines = csv_lines(50_000)
    with Broker(lanes=2) as broker:
        create(broker, "once")
        kcat(broker, "-P", "-t", "once", "-K", "\t", "-z", "lz4", "-X", "enable.idempotence=true",
             input=("\n".join(lines) + "\n").encode())
        check_same("once", lines, consume_all(broker, "once", len(lines)))


def listing():
    with Broker(lanes=2) as broker:
        create(broker, "seen", 3)
        text = kcat(broker, "-L").decode()
        check("2 brokers:" in text, text)
        check('topic "seen" with 3 partitions:' in text, text)
        for lane in range(2):
            check(f"at 127.0.0.1:{broker.port + 1 + lane}" in text, text)
        leaders = {line.split("leader ")[1].split(",")[0] for line in text.splitlines()
                   if "leader " in line}
        check(leaders <= {"100", "101"} and leaders, f"leaders {leaders}")
        # Auto-creation by a producer, as Kafka's default has it.
        kcat(broker, "-P", "-t", "made-by-itself", input=b"hello\n")
        check("made-by-itself" in kcat(broker, "-L").decode(), "topic was not created")


class Member:
    """A kcat group member; its output goes to a file that we read while it runs."""

    def __init__(self, broker, group, topic, path):
        self.path = path
        self.out = open(path, "wb")
        self.err = open(f"{path}.err", "wb")
        self.process = subprocess.Popen(
            ["kcat", "-b", broker.bootstrap, "-G", group, "-u", "-X", "auto.offset.reset=earliest", "-X",
             "session.timeout.ms=6000", "-X", "heartbeat.interval.ms=500", "-f", "%p %s\n", topic],
            stdout=self.out, stderr=self.err)

    def text(self):
        return pathlib.Path(self.path).read_text()

    def assigned(self):
        """Partitions of the last assignment that its log shows."""
        last = None
        for line in pathlib.Path(f"{self.path}.err").read_text().splitlines():
            if "assigned:" in line:
                last = line.split("assigned:")[1]
        return 0 if last is None else last.count("[")

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        self.out.close()
        self.err.close()


def group():
    with Broker() as broker:
        create(broker, "shared")
        first = Member(broker, "pair", "shared", f"{broker.data}/a")
        wait_for("the first member to own all", lambda: first.assigned() == PARTITIONS)
        second = Member(broker, "pair", "shared", f"{broker.data}/b")
        wait_for("two members to share",
                 lambda: first.assigned() == 2 and second.assigned() == 2)
        lines = csv_lines(2000)
        kcat(broker, "-P", "-t", "shared", "-K", "\t", input=("\n".join(lines) + "\n").encode())

        def received():
            return len((first.text() + second.text()).splitlines())

        wait_for("all records", lambda: received() == len(lines))
        check(first.text() and second.text(), "one member got everything")
        second.stop()
        wait_for("the rest to move back", lambda: first.assigned() == PARTITIONS)
        first.stop()
        check(received() == len(lines), f"received {received()} of {len(lines)}")


def offsets_survive_restart():
    lines = csv_lines(3000)
    with Broker() as broker:
        create(broker, "kept")
        kcat(broker, "-P", "-t", "kept", "-K", "\t", input=("\n".join(lines[:1000]) + "\n").encode())
        member = Member(broker, "lasting", "kept", f"{broker.data}/first")
        wait_for("the first thousand", lambda: len(member.text().splitlines()) == 1000)
        member.stop()
        broker.stop()
        broker.start()
        kcat(broker, "-P", "-t", "kept", "-K", "\t", input=("\n".join(lines[1000:]) + "\n").encode())
        member = Member(broker, "lasting", "kept", f"{broker.data}/second")
        wait_for("the other two thousand", lambda: len(member.text().splitlines()) >= 2000)
        time.sleep(0.5)
        got = [line.split(" ", 1)[1] for line in member.text().splitlines()]
        member.stop()
        want = [line.split("\t", 1)[1] for line in lines[1000:]]
        check(sorted(got) == sorted(want), f"got {len(got)} records, repeated or lost some")


main(listing, codecs, idempotent, group, offsets_survive_restart)
