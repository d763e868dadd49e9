# SPDX-License-Identifier: Apache-2.0
"""The profiles: what sluice-load is asked to do, beside which limit, and what is aimed at.

A profile's figure and its limit's are taken one after the other in the same round, so that a busy
neighbour meets both.  What is more than one call of sluice-load has a function in scenarios.py."""

import dataclasses

KIB, MIB = 1024, 1024 * 1024
BATCH_64_KIB = 66 * KIB  # sluice-load's upper bound; whole records of 1 KiB then fill at least 64 KiB
LANE_FILES = 4096 + 256  # descriptors of a lane besides its partitions', as sizing.md has them, and some to serve
PARTITIONS_WARMUP_S = 10  # the tier has gone round then: how much it takes at once is not what is compared
# A topic that has reached its retention: segment files come back, as those of the limit are written again.
STEADY = (f"segment.bytes={64 * MIB}", f"retention.bytes={128 * MIB}")


@dataclasses.dataclass(frozen=True)
class Profile:
    name: str
    group: str
    load: tuple = ()      # mode and options of sluice-load
    limits: tuple = ()    # names in limits.LIMITS, or of an earlier profile of the same round
    field: str = "mb_s"   # compared; "p99" and other names of latency_us are better when small
    join: str = "min"     # of several limits: the lowest counts, or their sum
    target: float = None  # for the ratio, or for the figure itself when there is no limit
    core: bool = False    # part of --quick
    warmup_s: float = 0   # at least so long, where beginning takes time
    descriptors: int = 0  # that the broker needs, or the profile is skipped
    scenario: str = ""    # function in scenarios.py; "": one call of sluice-load

    @property
    def is_latency(self):
        return self.field[:2] in ("p5", "p9") or self.field in ("max", "mean")

    @property
    def smaller_is_better(self):
        return self.is_latency or self.field in ("mib", "ms", "percent")


def produce(label, acks, record_bytes, batch_bytes, limits, **more):
    options = ["produce", "--record-bytes", record_bytes, "--batch-bytes", batch_bytes, "--acks", acks]
    options += ["--connections", more.pop("connections", 4), "--in-flight", more.pop("in_flight", 5),
                "--partitions", more.pop("partitions", 4)]
    configs = more.pop("configs", ()) + (("max.message.bytes=4194304",) if record_bytes >= MIB else ())
    for config in configs:
        options += ["--topic-config", config]
    return Profile(f"produce {label}, acks={acks}", "produce", tuple(options), limits, **more)


def fetch(label, piece, fan_out, **more):
    options = ("consume", "--loop", "--connections", 1, "--fan-out", fan_out, "--max-bytes", piece,
               "--max-partition-bytes", piece)
    size = "64 KiB" if piece == 64 * KIB else "1 MiB"
    return Profile(f"tail fetch {label}, fan-out {fan_out}", "fetch", options,
                   (f"sendfile {size} x {fan_out}",), scenario="tail_fetch", **more)


def e2e(rate, acks, **more):
    options = ("e2e", "--rate", rate, "--record-bytes", 100, "--acks", acks, "--partitions", 1,
               "--connections", 1, "--max-wait-ms", 500)
    limits = (f"round trip {rate:,}/s",) + (("durable 1 x 4 KiB",) if acks == "all" else ())
    return Profile(f"e2e {rate:,}/s, acks={acks}", "e2e", options, limits, field="p99", join="sum", **more)


def partitions(count, **more):
    options = ("produce", "--record-bytes", KIB, "--batch-bytes", 16 * KIB, "--acks", 1, "--connections", 8,
               "--in-flight", 5, "--partitions", count)
    return Profile(f"{count:,} partition{'s' if count > 1 else ''}", "partitions", options,
                   ("receive+crc 8 x 16 KiB",) if count == 10 else ("10 partitions",), warmup_s=PARTITIONS_WARMUP_S,
                   descriptors=count + LANE_FILES, scenario="many_partitions", **more)


def connections(count, **more):
    options = ("produce", "--record-bytes", KIB, "--batch-bytes", 4 * KIB, "--acks", 1, "--connections",
               count, "--in-flight", 1, "--partitions", 4)
    return Profile(f"{count:,} connection{'s' if count > 1 else ''}", "connections", options,
                   ("receive+crc 64 x 4 KiB",) if count == 64 else ("64 connections",), warmup_s=count / 3000,
                   descriptors=count * 2, **more)


PROFILES = [
    produce("100 B", 1, 100, BATCH_64_KIB, ("receive+crc 64 KiB",)),
    produce("1 KiB", 1, KIB, BATCH_64_KIB, ("receive+crc 64 KiB",), target=0.75, core=True),
    produce("16 KiB", 1, 16 * KIB, 256 * KIB, ("receive+crc 256 KiB",)),
    produce("1 MiB", 1, MIB, 2 * MIB - 1, ("receive+crc 1 MiB",), in_flight=2),
    produce("100 B", "all", 100, BATCH_64_KIB, ("receive+crc 64 KiB", "durable 4 x 64 KiB")),
    produce("1 KiB", "all", KIB, BATCH_64_KIB, ("receive+crc 64 KiB", "durable 4 x 64 KiB")),
    produce("16 KiB", "all", 16 * KIB, 256 * KIB, ("receive+crc 256 KiB", "durable 4 x 64 KiB")),
    produce("1 MiB", "all", MIB, 2 * MIB - 1, ("receive+crc 1 MiB", "direct write 1 MiB"), in_flight=2),
    produce("64 x 16 KiB", "all", KIB, 16 * KIB, ("receive+crc 64 x 16 KiB", "durable 64 x 16 KiB"),
            connections=64, in_flight=1, target=0.80, core=True, configs=STEADY, warmup_s=3),
    produce("64 x 16 KiB into new files", "all", KIB, 16 * KIB, ("receive+crc 64 x 16 KiB", "durable 64 x 16 KiB"),
            connections=64, in_flight=1),
    produce("100 B unbatched, 64 connections", 1, 100, 0, ("echo 64 x 200 B",), connections=64, in_flight=1,
            field="requests_s", target=0.80, core=True),
    fetch("64 KiB", 64 * KIB, 1, target=0.85, core=True),
    fetch("64 KiB", 64 * KIB, 8, target=0.85, core=True),
    fetch("1 MiB", MIB, 1, target=0.85),
    fetch("1 MiB", MIB, 8, target=0.85),
    Profile("cold fetch 1 MiB", "fetch", ("consume", "--connections", 1, "--max-bytes", MIB,
                                          "--max-partition-bytes", MIB),
            ("sendfile cold",), scenario="cold_fetch"),
    e2e(1000, 1),
    e2e(5000, 1, target=3.0, core=True),
    e2e(20000, 1),
    e2e(1000, "all"),
    e2e(5000, "all"),
    e2e(20000, "all"),
    Profile("e2e 1,000/s alone", "isolation",
            ("e2e", "--rate", 1000, "--record-bytes", 100, "--acks", 1, "--partitions", 1, "--connections", 1),
            ("round trip 1,000/s",), field="p99"),
    Profile("e2e 1,000/s beside a catch-up reader", "isolation",
            ("e2e", "--rate", 1000, "--record-bytes", 100, "--acks", 1, "--partitions", 1, "--connections", 1),
            ("e2e 1,000/s alone",), field="p99", scenario="beside_reader"),
    connections(64), connections(1), connections(1000), connections(10000),
    partitions(10), partitions(1), partitions(100), partitions(1000), partitions(10000),
    Profile("idle memory beyond the hot tier", "idle", field="mib", target=64, core=True, scenario="idle_memory"),
    Profile("idle CPU, both processes", "idle", field="percent", scenario="idle_cpu"),
    Profile("start to first served request", "idle", field="ms", target=150, core=True, scenario="start_time"),
]
