#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Prints the table of served APIs for Documentation/protocol/apis.md.

    tools/gen/apidoc.py

Versions come from lib/wire/schema; who answers comes from the two tables of handlers, so that an API
in the schema without a handler fails here and not at a client.
"""

import re
import sys
from pathlib import Path

import schema

ROOT = Path(__file__).resolve().parents[2]
LANE = "dataplane/request/request.c"
CONTROL = "control/dispatch.c"

INTRO = """\
ApiVersions answers from the table that this page is made of: `lib/wire/schema/*.msg`. What differs from Kafka in
what these APIs do is in [deviations.md](deviations.md).

- **served**: versions that are answered. Any other version, and any key that is not here, closes the connection and
  counts `closed_unknown_api`. The exception is ApiVersions itself: a version above the last is answered in the form
  of version 0 with UNSUPPORTED_VERSION (KIP-511).
- **listed**: what ApiVersions tells. Only Produce differs: librdkafka up to 2.11 turns compression off without a word
  unless version 0 is listed.
- **flexible**: first version in the compact form of KIP-482.
- **answered by**: a lane answers from what it owns; what control answers is forwarded over a ring and waits for
  its turn in the order of the connection.
"""


def span(first, last):
    return str(first) if first == last else f"{first}-{last}"


def handlers(name):
    """API names, as the C enum spells them, that have a row in a table of handlers."""
    return set(re.findall(r"^\t\[SL_API_(\w+)\] = ", (ROOT / name).read_text(), re.MULTILINE))


def answered_by(msg, lane, control):
    api = msg.base.upper()
    if api in lane and api in control:
        return "lane; control, when a topic is to be created"
    if api in lane:
        return "lane"
    if api in control:
        return "control"
    raise schema.SchemaError(f"{msg.kafka_name}: served, but neither {LANE} nor {CONTROL} has it")


def main():
    lane, control = handlers(LANE), handlers(CONTROL)
    apis = sorted((m for m in schema.load(ROOT / "lib/wire/schema") if m.serve), key=lambda m: m.key)
    print(INTRO)
    print("| key | API | served | listed | flexible | answered by |")
    print("|---|---|---|---|---|---|")
    for m in apis:
        flexible = "never" if m.flexible is None else f"{m.flexible}+"
        print(f"| {m.key} | {m.kafka_name} | {span(*m.serve)} | {span(m.listed_min, m.serve[1])} | {flexible} "
              f"| {answered_by(m, lane, control)} |")
    print(f"\n{len(apis)} APIs.")


if __name__ == "__main__":
    try:
        main()
    except (schema.SchemaError, OSError) as e:
        sys.exit(f"apidoc: {e}")
