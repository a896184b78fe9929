# SPDX-License-Identifier: MIT
"""A USB host for tests without a kernel that has one: transfers over USB/IP, and a drive's commands over them. Written
from the protocol's numbers; it shares nothing with the library."""
import struct

SUBMIT, RET_SUBMIT = 1, 3
OUT, IN = 0, 1


class Stalled(Exception):
    pass


class Host:
    """Works on a connection over which a device was imported."""

    def __init__(self, sock):
        self.sock, self.seqnum, self.tag = sock, 0, 0

    def read(self, size):
        data = bytearray()
        while len(data) < size:
            piece = self.sock.recv(size - len(data))
            if not piece:
                raise ConnectionError(f"closed after {len(data)} of {size} bytes")
            data += piece
        return bytes(data)

    def submit(self, way, endpoint, length, data=b"", setup=bytes(8)):
        """Sends a transfer and returns its number."""
        self.seqnum += 1
        head = struct.pack(">5I", SUBMIT, self.seqnum, 0x10001, way, endpoint) + struct.pack(">IIIII", 0, length, 0, 0, 0) + setup
        self.sock.sendall(head + data)
        return self.seqnum

    def answer(self, way):
        """Returns the next answer: (number, status, data)."""
        head = self.read(48)
        command, seqnum, _, _, _, status, actual = struct.unpack(">5IiI", head[:28])
        assert command == RET_SUBMIT, head
        return seqnum, status, self.read(actual) if way == IN else actual

    def transfer(self, way, endpoint, length, data=b"", setup=bytes(8)):
        number = self.submit(way, endpoint, length, data, setup)
        got, status, data = self.answer(way)
        assert got == number, (got, number)
        if status:
            raise Stalled(status)
        return data

    def control(self, kind, request, value, index, length, data=b""):
        way = IN if kind & 0x80 else OUT
        return self.transfer(way, 0, length, data, struct.pack("<BBHHH", kind, request, value, index, length))

    def configure(self):
        self.control(0x00, 9, 1, 0, 0)


class Drive(Host):
    """Bulk-only transport on the endpoints 1 OUT and 1 IN."""

    def command(self, cdb, length=0, way=IN, data=b""):
        self.tag += 1
        wrapper = struct.pack("<4sIIBBB", b"USBC", self.tag, length, 0x80 if way == IN else 0, 0, len(cdb)) + cdb.ljust(16, b"\0")
        self.transfer(OUT, 1, 31, wrapper)
        said = b""
        if length and way == IN:
            said = self.transfer(IN, 1, length)
        elif length:
            self.transfer(OUT, 1, length, data)
        signature, tag, residue, status = struct.unpack("<4sIIB", self.transfer(IN, 1, 13))
        assert (signature, tag) == (b"USBS", self.tag)
        return status, residue, said

    def blocks(self):
        status, _, said = self.command(struct.pack(">BB8x", 0x25, 0), 8)
        assert status == 0, status
        last, size = struct.unpack(">II", said)
        return last + 1, size

    def read_blocks(self, first, count, size=512):
        status, residue, said = self.command(struct.pack(">BBIBHB", 0x28, 0, first, 0, count, 0), count * size)
        assert (status, residue) == (0, 0), (status, residue)
        return said

    def write_blocks(self, first, data, size=512):
        status, residue, _ = self.command(struct.pack(">BBIBHB", 0x2a, 0, first, 0, len(data) // size, 0), len(data), OUT, data)
        assert (status, residue) == (0, 0), (status, residue)

    def flush(self):
        status, _, _ = self.command(struct.pack(">B9x", 0x35))
        assert status == 0, status

    def sense(self):
        status, _, said = self.command(struct.pack(">BBBBBB", 3, 0, 0, 0, 18, 0), 18)
        assert status == 0, status
        return said[2] & 15, said[12], said[13]
