# SPDX-License-Identifier: Apache-2.0
"""Kafka's wire format by hand, for tests that must stop between two requests of a client, or that are a thousand
clients: a writer and a reader of fields, record batches, and a connection."""

import socket
import struct

from sluice import check

PRODUCE, FIND_COORDINATOR, OFFSET_COMMIT, OFFSET_FETCH = 0, 10, 8, 9
INIT_PRODUCER_ID, ADD_PARTITIONS_TO_TXN, ADD_OFFSETS_TO_TXN, END_TXN, TXN_OFFSET_COMMIT = 22, 24, 25, 26, 28
CONSUMER_GROUP_HEARTBEAT = 68
# The first version of each that has compact fields and tags.
FLEXIBLE = {PRODUCE: 9, FIND_COORDINATOR: 3, OFFSET_COMMIT: 8, OFFSET_FETCH: 6, INIT_PRODUCER_ID: 2,
            ADD_PARTITIONS_TO_TXN: 3, ADD_OFFSETS_TO_TXN: 3, END_TXN: 3, TXN_OFFSET_COMMIT: 3,
            CONSUMER_GROUP_HEARTBEAT: 0}

# Errors after which a client asks again.
UNKNOWN_TOPIC, LOADING, NOT_AVAILABLE, NOT_COORDINATOR, CONCURRENT = 3, 14, 15, 16, 51
RETRIABLE = {UNKNOWN_TOPIC, LOADING, NOT_AVAILABLE, NOT_COORDINATOR, CONCURRENT}


def varint(value):
    """Unsigned; a signed one is zigzag() of it."""
    out = bytearray()
    while value > 0x7f:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def zigzag(value):
    return varint((value << 1) ^ (value >> 63))


class Writer:
    def __init__(self, flexible):
        self.flexible = flexible
        self.out = bytearray()

    def put(self, form, *values):
        self.out += struct.pack(">" + form, *values)
        return self

    def count(self, number):
        """The length of an array; None is null."""
        if self.flexible:
            self.out += varint(0 if number is None else number + 1)
        else:
            self.put("i", -1 if number is None else number)
        return self

    def text(self, value):
        raw = None if value is None else value.encode()
        if self.flexible:
            self.out += varint(0 if raw is None else len(raw) + 1) + (raw or b"")
        else:
            self.put("h", -1 if raw is None else len(raw))
            self.out += raw or b""
        return self

    def data(self, raw):
        if self.flexible:
            self.out += varint(len(raw) + 1) + raw
        else:
            self.put("i", len(raw))
            self.out += raw
        return self

    def tags(self):
        if self.flexible:
            self.out.append(0)
        return self


class Reader:
    def __init__(self, raw, flexible):
        self.raw, self.at, self.flexible = raw, 0, flexible

    def get(self, form):
        values = struct.unpack_from(">" + form, self.raw, self.at)
        self.at += struct.calcsize(">" + form)
        return values[0] if len(values) == 1 else values

    def varint(self):
        value = shift = 0
        while True:
            byte = self.get("B")
            value |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                return value

    def count(self):
        return self.varint() - 1 if self.flexible else self.get("i")

    def text(self):
        length = self.varint() - 1 if self.flexible else self.get("h")
        if length < 0:
            return None
        self.at += length
        return bytes(self.raw[self.at - length:self.at]).decode()

    def tags(self):
        if self.flexible:
            check(self.get("B") == 0, "an answer with tags")


def frame(api, version, body, correlation=1):
    """A request with its header; @body: a Writer."""
    header = struct.pack(">hhi", api, version, correlation) + struct.pack(">h", 4) + b"hand"
    if version >= FLEXIBLE[api]:
        header += b"\0"
    return struct.pack(">i", len(header) + len(body.out)) + header + body.out


def writer(api, version):
    return Writer(version >= FLEXIBLE[api])


def reader(api, version, raw):
    """Behind the header of an answer, @raw without its length."""
    flexible = version >= FLEXIBLE[api]
    r = Reader(raw, flexible)
    r.get("i")
    r.tags()
    return r


class Connection:
    def __init__(self, port, timeout=30):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, api, version, body):
        self.socket.sendall(frame(api, version, body))

    def receive(self, api, version):
        size = struct.unpack(">i", self.exactly(4))[0]
        return reader(api, version, self.exactly(size))

    def ask(self, api, version, body):
        self.send(api, version, body)
        return self.receive(api, version)

    def exactly(self, size):
        raw = bytearray()
        while len(raw) < size:
            more = self.socket.recv(size - len(raw))
            if not more:
                raise ConnectionResetError("closed by the broker")
            raw += more
        return raw

    def close(self):
        self.socket.close()


def crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82f63b78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC_TABLE = crc_table()


def crc32c(raw):
    crc = 0xffffffff
    for byte in raw:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 0xff]
    return crc ^ 0xffffffff


def batch(value, producer_id, epoch, sequence, now_ms):
    """A transactional record batch with one record."""
    record = b"\0" + zigzag(0) + zigzag(0) + zigzag(-1) + zigzag(len(value)) + value + zigzag(0)
    record = zigzag(len(record)) + record
    rest = struct.pack(">hiqqqhii", 0x10, 0, now_ms, now_ms, producer_id, epoch, sequence, 1) + record
    return struct.pack(">qiibI", 0, 4 + 1 + 4 + len(rest), 0, 2, crc32c(rest)) + rest
