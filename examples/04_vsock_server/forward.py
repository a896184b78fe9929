#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Lets programs without vsock reach a guest: forwards connections from a Unix socket or a local port.

usage: forward.py LISTEN GUEST PORT
  LISTEN  a path (curl --unix-socket LISTEN http://guest/) or a port of 127.0.0.1 (http://127.0.0.1:LISTEN/)
  GUEST   its CID if the kernel serves it (/dev/vhost-vsock), otherwise the Unix socket of vhost-device-vsock or
          Firecracker, on which a client sends CONNECT first
  PORT    the port on which the guest listens
It ends at the end of standard input, or by a signal.
"""
import contextlib
import os
import socket
import sys
import threading


def connect(guest, port):
    """Returns a connection to the guest's port. OSError: there is no guest, or it does not listen on the port."""
    if guest.isdigit():
        sock = socket.socket(socket.AF_VSOCK)
        sock.connect((int(guest), port))
        return sock
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(guest)
    sock.sendall(b"CONNECT %d\n" % port)
    line = b""
    while not line.endswith(b"\n"):  # byte by byte: the bytes after the line are for the client
        byte = sock.recv(1)
        if not byte:
            raise ConnectionResetError(f"port {port} of {guest}: connection refused")
        line += byte
    return sock


def listen(where):
    if where.isdigit():
        return socket.create_server(("127.0.0.1", int(where)))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(where)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(where)
    sock.listen(128)
    return sock


def pass_on(source, target):
    """Copies the bytes of one direction until they end, then ends that direction at the target."""
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 18):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def serve(client, guest, port):
    with client:
        try:
            ours = connect(guest, port)
        except OSError as failure:
            print(f"forward: {failure}", file=sys.stderr)
            return
        with ours:
            back = threading.Thread(target=answer, args=(ours, client), daemon=True)
            back.start()
            pass_on(client, ours)
            back.join()


def answer(ours, client):
    """Copies the guest's bytes to the client. When they end, or the client has closed, the whole connection ends:
    vhost-device-vsock cannot end one direction alone."""
    pass_on(ours, client)
    for sock in (ours, client):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def forward(listening, guest, port):
    """Accepts and forwards connections until the listening socket is closed."""
    with contextlib.suppress(OSError):
        while True:
            threading.Thread(target=serve, args=(listening.accept()[0], guest, port), daemon=True).start()


def main(arguments):
    if len(arguments) != 3 or not arguments[2].isdigit():
        print(__doc__, file=sys.stderr)
        return 2
    where, guest, port = arguments
    with listen(where) as listening:
        threading.Thread(target=forward, args=(listening, guest, int(port)), daemon=True).start()
        print("forward: ready", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            sys.stdin.buffer.read()
    if not where.isdigit():
        os.unlink(where)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
