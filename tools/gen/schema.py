# SPDX-License-Identifier: Apache-2.0
"""Reads lib/wire/schema/*.msg.

A file describes one message pair ("api KEY Name") or one stored record ("data Name").  Head lines:

    api 0 Produce | data OffsetCommitKey    what it is
    type 1                                  data only: the int16 in front of it on the wire
    own                                     data only: Kafka has no such message
    valid 3-13                              versions that the codec knows
    serve 3-13 listed 0                     api only: versions we answer; the minimum ApiVersions lists
    flexible 9+                             first version of the compact form, or none

Then sections "request" and "response", or "fields", with one field a line, members of a struct one
tab deeper:

    name  type  versions  [nullable V] [tag N V] [default X] [plain]

Types: bool int8 int16 uint16 int32 int64 float64 string bytes records uuid struct, and []type.
"plain" keeps the old length form in flexible versions.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

PRIMITIVES = {
    "bool": ("bool", 1), "int8": ("int8_t", 1), "int16": ("int16_t", 2), "uint16": ("uint16_t", 2),
    "int32": ("int32_t", 4), "int64": ("int64_t", 8), "float64": ("double", 8),
    "uuid": ("struct sl_uuid", 16), "string": ("struct sl_str", 0), "bytes": ("struct sl_bytes", 0),
    "records": ("struct sl_records", 0),
}
ARRAY_ELEMENTS = {"int8", "int32", "int64", "string"}
NULLABLE = {"string", "bytes", "records", "struct"}


class SchemaError(Exception):
    """A .msg file breaks the format; the text says where."""


@dataclass
class Field:
    name: str
    type: str
    array: bool
    versions: tuple
    nullable: tuple | None = None
    tag: int | None = None
    tagged: tuple | None = None
    default: str | None = None
    plain: bool = False
    struct: "Struct | None" = None


@dataclass
class Struct:
    name: str  # C name without "struct "
    versions: tuple  # in which it can occur
    fields: list = field(default_factory=list)


@dataclass
class Message:
    base: str  # produce, offset_commit_key
    kafka_name: str
    key: int | None
    record_type: int | None
    valid: tuple
    serve: tuple | None
    listed_min: int | None
    flexible: int | None  # first flexible version, None if never
    own: bool = False  # not Kafka's
    sections: dict = field(default_factory=dict)  # "request"/"response"/"fields" -> Struct

    def is_flexible(self, version):
        return self.flexible is not None and version >= self.flexible


def snake(name):
    name = name.replace("2Pc", "_2pc")
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def singular(name):
    if name.endswith("ies"):
        return name[:-3] + "y"
    if name.endswith("s") and not name.endswith("ss"):
        return name[:-1]
    return name


def parse_range(text, valid):
    """'3+', '3-7' or '3', clipped to @valid; None for none or nothing left."""
    if text == "none":
        return None
    m = re.fullmatch(r"(\d+)(\+|-(\d+))?", text)
    if not m:
        raise SchemaError(f"bad version range {text!r}")
    low = int(m[1])
    high = valid[1] if m[2] == "+" else int(m[3]) if m[3] else low
    low, high = max(low, valid[0]), min(high, valid[1])
    return (low, high) if low <= high else None


def within(inner, outer):
    """@inner cut to @outer."""
    if inner is None:
        return None
    low, high = max(inner[0], outer[0]), min(inner[1], outer[1])
    return (low, high) if low <= high else None


def parse_field(words, parent_versions, msg):
    if len(words) < 3:
        raise SchemaError("a field needs name, type and versions")
    name, type_name, versions = words[:3]
    array = type_name.startswith("[]")
    base = type_name[2:] if array else type_name
    if base != "struct" and base not in PRIMITIVES:
        raise SchemaError(f"unknown type {type_name!r}")
    if array and base != "struct" and base not in ARRAY_ELEMENTS:
        raise SchemaError(f"arrays of {base} have no helper in codec.h")
    clipped = within(parse_range(versions, msg.valid), parent_versions)
    if clipped is None:
        raise SchemaError(f"{name} has no version in its struct's range")
    f = Field(name, base, array, clipped)
    rest = list(words[3:])
    while rest:
        word = rest.pop(0)
        if word == "nullable":
            f.nullable = within(parse_range(rest.pop(0), msg.valid), f.versions)
        elif word == "tag":
            f.tag = int(rest.pop(0))
            f.tagged = within(parse_range(rest.pop(0), msg.valid), f.versions)
        elif word == "default":
            f.default = rest.pop(0)
        elif word == "plain":
            f.plain = True
        else:
            raise SchemaError(f"unknown word {word!r}")
    check_field(f, msg)
    return f


def check_field(f, msg):
    if f.nullable and not (f.array or f.type in NULLABLE):
        raise SchemaError(f"{f.name}: {f.type} cannot be null")
    if f.default == "null" and f.nullable != f.versions:
        raise SchemaError(f"{f.name}: default null needs every version nullable")
    if f.tag is not None:
        if f.tagged != f.versions:
            raise SchemaError(f"{f.name}: tagged in part of its versions")
        if not msg.is_flexible(f.versions[0]):
            raise SchemaError(f"{f.name}: tagged in an inflexible version")
        if f.type in ("records", "bytes"):
            raise SchemaError(f"{f.name}: this type is never tagged")


def parse_head(lines, path):
    head = {}
    while lines and lines[0][1].split()[0] not in ("request", "response", "fields"):
        words = lines.pop(0)[1].split()
        head[words[0]] = words[1:]
    if "valid" not in head or "flexible" not in head or ("api" in head) == ("data" in head):
        raise SchemaError("head needs valid, flexible, and either api or data")
    top = (0, 1 << 15)
    valid = parse_range(head["valid"][0], top)
    flexible = parse_range(head["flexible"][0], valid)
    key = serve = listed = None
    if "api" in head:
        key, name = int(head["api"][0]), head["api"][1]
        serve = parse_range(head["serve"][0], valid)
        listed = int(head["serve"][2]) if len(head["serve"]) == 3 else serve[0]
    else:
        name = head["data"][0]
    if snake(name) != path.stem:
        raise SchemaError(f"{name} belongs into {snake(name)}.msg")
    record_type = int(head["type"][0]) if "type" in head else None
    return Message(path.stem, name, key, record_type, valid, serve, listed,
                   flexible[0] if flexible else None, "own" in head)


SUFFIX = {"request": "_req", "response": "_resp", "fields": ""}


def parse(path):
    lines = []
    for number, raw in enumerate(Path(path).read_text().splitlines(), 1):
        text = raw.split("#")[0].rstrip()
        if text:
            lines.append((number, text))
    number = 0
    try:
        msg = parse_head(lines, Path(path))
        stack = []
        for number, text in lines:
            depth = len(text) - len(text.lstrip("\t"))
            words = text.split()
            if depth == 0:
                if words[0] not in SUFFIX or len(words) != 1:
                    raise SchemaError(f"unknown section {text!r}")
                root = Struct(f"sl_{msg.base}{SUFFIX[words[0]]}", msg.valid)
                msg.sections[words[0]] = root
                stack = [root]
                continue
            if depth > len(stack):
                raise SchemaError("indented under a field that is no struct")
            del stack[depth:]
            parent = stack[-1]
            f = parse_field(words, parent.versions, msg)
            parent.fields.append(f)
            if f.type == "struct":
                part = singular(f.name) if f.array else f.name
                f.struct = Struct(f"{parent.name}_{part}", f.versions)
                stack.append(f.struct)
    except (SchemaError, IndexError, ValueError) as e:
        raise SchemaError(f"{path}:{number}: {e}") from e
    return msg


def load(folder):
    """Every message, APIs first in order of their keys, then records by name."""
    msgs = [parse(p) for p in sorted(Path(folder).glob("*.msg"))]
    return sorted(msgs, key=lambda m: (m.key is None, m.key or 0, m.base))


def walk(struct):
    """Nested structs before those that contain them."""
    for f in struct.fields:
        if f.struct:
            yield from walk(f.struct)
    yield struct


def field_bytes_min(f, msg, version):
    """Least bytes of @f on the wire at @version; tagged fields are counted by their section."""
    flex = msg.is_flexible(version) and not f.plain
    if f.array:
        return 1 if flex else 4
    if f.type == "struct":
        return 1 if f.nullable and f.nullable[0] <= version <= f.nullable[1] \
            else struct_bytes_min(f.struct, msg, version)
    if f.type == "string":
        return 1 if flex else 2
    if f.type in ("bytes", "records"):
        return 1 if flex else 4
    return PRIMITIVES[f.type][1]


def struct_bytes_min(struct, msg, version):
    total = 1 if msg.is_flexible(version) else 0
    for f in struct.fields:
        if f.tag is None and f.versions[0] <= version <= f.versions[1]:
            total += field_bytes_min(f, msg, version)
    return total


def element_bytes_min(f, msg):
    """Least bytes of one element of array @f over all versions that have it."""
    def one(version):
        if f.type == "struct":
            return struct_bytes_min(f.struct, msg, version)
        if f.type == "string":
            return 1 if msg.is_flexible(version) else 2
        return PRIMITIVES[f.type][1]
    least = min(one(v) for v in range(f.versions[0], f.versions[1] + 1))
    if least < 1:
        raise SchemaError(f"{f.name}: an element may take no bytes, so its count has no bound")
    return least
