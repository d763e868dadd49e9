# SPDX-License-Identifier: Apache-2.0
"""Compares lib/wire/schema with a folder of Kafka's own message definitions.

    tools/gen/compare.py SCHEMA_FOLDER KAFKA_FOLDER

Says what differs: keys, versions, flexible versions, and per field its order, type, versions,
nullable versions, tag and default.  Skips, and says so, when the second folder is not there: those
files are not ours to publish.  Exit code 1 on a difference.
"""

import json
import re
import sys
from pathlib import Path

import schema

PARTS = {"request": "Request", "response": "Response", "fields": ""}
SAME_AS_NONE = {"0", "false", "", None}


def load_kafka(folder):
    """Name -> definition.  The files are JSON with // comments."""
    found = {}
    for path in sorted(Path(folder).rglob("*.json")):
        text = "\n".join(strip_comment(line) for line in path.read_text().splitlines())
        message = json.loads(text)
        found[message["name"]] = message
    return found


def strip_comment(line):
    """A // outside of a string starts a comment."""
    in_string = False
    for n, c in enumerate(line):
        if c == '"' and line[n - 1:n] != "\\":
            in_string = not in_string
        if not in_string and line.startswith("//", n):
            return line[:n]
    return line


def plain(name):
    return name.replace("_", "").lower()


def full_range(text, valid):
    return schema.parse_range(text or "none", valid)


def default_of(text):
    """One spelling for each default; None for the type's own."""
    if isinstance(text, bool):
        text = str(text).lower()
    text = str(text) if text is not None else None
    if text in SAME_AS_NONE:
        return None
    if re.fullmatch(r"-?(0x[0-9a-fA-F]+|\d+)", text):
        return int(text, 0)
    return text


def kafka_fields(fields, structs, valid, outer):
    """Kafka's fields as (name, facts, members), without those that no valid version has."""
    out = []
    for f in fields:
        versions = schema.within(full_range(f.get("versions", f.get("taggedVersions")), valid), outer)
        if versions is None:
            continue
        array = f["type"].startswith("[]")
        base = f["type"].removeprefix("[]")
        members = None
        if base[0].isupper():
            members = kafka_fields(f.get("fields") or structs[base], structs, valid, versions)
            base = "struct"
        facts = {
            "type": ("[]" if array else "") + base,
            "versions": versions,
            "nullable": schema.within(full_range(f.get("nullableVersions"), valid), versions),
            "tag": f.get("tag"),
            "default": default_of(f.get("default", "") if f.get("default", "") is not None else "null"),
            "plain": f.get("flexibleVersions") == "none",
        }
        out.append((plain(f["name"]), facts, members))
    return out


def our_fields(struct):
    out = []
    for f in struct.fields:
        facts = {
            "type": ("[]" if f.array else "") + f.type,
            "versions": f.versions,
            "nullable": f.nullable,
            "tag": f.tag,
            "default": default_of(f.default),
            "plain": f.plain,
        }
        out.append((plain(f.name), facts, our_fields(f.struct) if f.struct else None))
    return out


def differences(path, ours, theirs):
    """Lines that tell how two field lists differ."""
    our_names, their_names = [f[0] for f in ours], [f[0] for f in theirs]
    if our_names != their_names:
        return [f"{path}: fields {our_names}, Kafka has {their_names}"]
    out = []
    for (name, facts, members), (_, kafka, kafka_members) in zip(ours, theirs):
        for key, value in facts.items():
            if value != kafka[key]:
                out.append(f"{path}.{name}: {key} {value}, Kafka has {kafka[key]}")
        if members and kafka_members:
            out += differences(f"{path}.{name}", members, kafka_members)
    return out


def compare(msg, section, struct, kafka):
    name = msg.kafka_name + PARTS[section]
    if name not in kafka:
        return [f"{name}: Kafka has no such message; mark ours as own?"]
    k = kafka[name]
    valid = full_range(k["validVersions"], (0, 1 << 15))
    out = []
    if valid != msg.valid:
        out.append(f"{name}: valid {msg.valid}, Kafka has {valid}")
    flexible = full_range(k["flexibleVersions"], valid)
    if (flexible[0] if flexible else None) != msg.flexible:
        out.append(f"{name}: flexible from {msg.flexible}, Kafka has {flexible}")
    if msg.key is not None and k.get("apiKey") != msg.key:
        out.append(f"{name}: key {msg.key}, Kafka has {k.get('apiKey')}")
    if msg.record_type is not None and k.get("apiKey") != msg.record_type:
        out.append(f"{name}: type {msg.record_type}, Kafka has {k.get('apiKey')}")
    structs = {s["name"]: s["fields"] for s in k.get("commonStructs", [])}
    return out + differences(name, our_fields(struct),
                             kafka_fields(k["fields"], structs, valid, valid))


def main(argv):
    if len(argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    if not Path(argv[2]).is_dir():
        print(f"schema-check: skipped, no Kafka message definitions at {argv[2]}")
        return 0
    kafka = load_kafka(argv[2])
    compared, problems = 0, []
    for msg in schema.load(argv[1]):
        if msg.own:
            continue
        for section, struct in msg.sections.items():
            problems += compare(msg, section, struct, kafka)
            compared += 1
    for p in problems:
        print(f"schema-check: {p}", file=sys.stderr)
    print(f"schema-check: {compared} messages compared, {len(problems)} differences")
    return 1 if problems or not compared else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
