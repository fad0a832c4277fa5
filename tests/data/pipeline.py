"""pipeline.py SERVER PORT NAME...: asks for the IPv4 addresses of all names at once, by one connection to SERVER, and
connects to those of each answer, which may come in any order, before it reads the next. Says what the harness's `peer`
says."""

import errno
import socket
import struct
import sys


def query(number, name):
    question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0\0\1\0\1"
    message = struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + question
    return struct.pack("!H", len(message)) + message


def read(stream, count):
    data = b""
    while len(data) < count:
        more = stream.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def behind_name(message, at):
    while message[at] not in range(0xC0, 0x100):
        if message[at] == 0:
            return at + 1
        at += 1 + message[at]
    return at + 2


def addresses(message):
    (records,) = struct.unpack_from("!H", message, 6)
    at = behind_name(message, 12) + 4
    for _ in range(records):
        at = behind_name(message, at)
        kind, _, _, length = struct.unpack_from("!HHIH", message, at)
        at += 10 + length
        if kind == 1:
            yield socket.inet_ntoa(message[at - 4 : at])


server, port, *names = sys.argv[1:]
with socket.create_connection((server, 53), 20) as stream:
    stream.sendall(b"".join(query(number, name) for number, name in enumerate(names)))
    for _ in names:
        (length,) = struct.unpack("!H", read(stream, 2))
        for address in addresses(read(stream, length)):
            try:
                socket.create_connection((address, int(port)), 20).close()
                print(f"ok {address}:{port}")
            except OSError as error:
                print(f"error {errno.errorcode[error.errno]} {address}:{port}")
