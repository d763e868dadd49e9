#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
"""A Kafka Streams application with exactly_once_v2 is killed and started again: every count is exact."""

import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
from kafka_java import TOOLS, compiled, kafka, program, scenario  # noqa: E402
from sluice import Broker, Failed, check, main, wait_for  # noqa: E402

compiled()
LINES = 20000
ENDS = TOOLS + "GetOffsetShell"


def committed(server, topic):
    text = kafka(ENDS, *server, "--topic", topic)
    return sum(int(line.rsplit(":", 1)[1]) for line in text.split())


def word_count():
    with Broker(lanes=2) as broker:
        server = ["--bootstrap-server", broker.bootstrap]
        for topic in ("lines", "counts"):
            kafka(TOOLS + "TopicCommand", *server, "--create", "--topic", topic, "--partitions", "4")
        state = broker.data / "streams"
        with program("Words", broker.bootstrap, "send", LINES, log=broker.data / "words.log") as feed:
            with program("WordCount", broker.bootstrap, state, log=broker.data / "streams.log") as app:
                wait_for("the first counts", lambda: committed(server, "counts") > 100, timeout=60)
                check(app.poll() is None, "the application ended")
                check(feed.poll() is None, "all is sent before the kill")
                app.kill()
            print(f"  killed at {committed(server, 'counts')} of {3 * LINES} counts", flush=True)
            check(feed.wait(60) == 0, "cannot send the lines")
        began = time.monotonic()
        with program("WordCount", broker.bootstrap, state, log=broker.data / "streams.log") as app:
            try:
                scenario("Words", broker.bootstrap, "check", str(LINES))
                print(f"  complete {time.monotonic() - began:.1f} s after the second start")
                app.terminate()
                check(app.wait(30) == 143, f"the application ended with {app.returncode}")
            except (Failed, subprocess.TimeoutExpired):
                print((broker.data / "streams.log").read_text()[-4000:], file=sys.stderr)
                raise


main(word_count)
