# SPDX-License-Identifier: MIT
"""A network for a guest with only vsock: gvproxy, at the socket for the guest's connections to port 1024 through
vhost-device-vsock.

    with backend.serve(4) as vsock, gvproxy.serve(vsock.path(4)) as network:
        ... QEMU with vsock.arguments(4) ...
        network.kill()
        network.start()

The network is 192.168.127.0/24: the gateway .1, with DNS and DHCP, and .2 for the guest with the address MAC. The
command comes from the environment: GVPROXY, as tools/setup --print prints it.
"""
import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
import guestrun  # noqa: E402

VARIABLE = "GVPROXY"
PORT = 1024
MAC = "5a:94:ef:e4:0c:ee"  # has a lease of 192.168.127.2


def missing():
    """Returns why gvproxy is not available here; empty if it is."""
    if os.environ.get(VARIABLE):
        return ""
    return f"{VARIABLE} is empty, no gvproxy on this machine (on Debian 12 tools/setup unpacks it)"


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("gvproxy", timeout=guestrun.HANG)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class Gvproxy:
    def __init__(self, path, options):
        self.socket, self.log = pathlib.Path(f"{path}_{PORT}"), pathlib.Path(f"{path}.gvproxy")
        self.options, self.process = options, None

    def start(self):
        """Starts it, and again after kill(), at the same socket. It is ready when this returns."""
        self.socket.unlink(missing_ok=True)  # left by a killed one
        with self.log.open("ab") as log:
            # Without a port of this machine for ssh: two gvproxys cannot share one.
            self.process = subprocess.Popen([os.environ[VARIABLE], "-listen", f"unix://{self.socket}", "-ssh-port", "-1", *self.options],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + guestrun.HANG
        while True:
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                self.ask("GET", "/stats")
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"gvproxy does not listen at {self.socket}:\n{self.output()}")
            time.sleep(0.005)

    def ask(self, method, path, **body):
        """Returns the text that its API answers to a request."""
        with contextlib.closing(UnixConnection(self.socket)) as connection:
            connection.request(method, path, json.dumps(body) if body else None)
            answer = connection.getresponse()
            text = answer.read().decode()
            if answer.status != 200:
                raise RuntimeError(f"gvproxy says {answer.status} to {method} {path}: {text}")
            return text

    def expose(self, local, remote, protocol="tcp"):
        """Makes a port of the guest one of this machine: expose("127.0.0.1:8080", "192.168.127.2:80")."""
        self.ask("POST", "/services/forwarder/expose", local=local, remote=remote, protocol=protocol)

    def tunnel(self, address, port):
        """A connection to a TCP port of the guest's, without a port on this machine."""
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(guestrun.HANG)
            sock.connect(str(self.socket))
            sock.sendall(b"GET /tunnel?ip=%s&port=%d HTTP/1.1\r\nHost: gv\r\n\r\n" % (address.encode(), port))
            said = b""
            while len(said) < 2:
                said += sock.recv(2 - len(said)) or b"??"
            if said != b"OK":
                raise ConnectionRefusedError(f"{address} port {port}: {said!r}")
            return sock
        except BaseException:
            sock.close()
            raise

    def output(self):
        return self.log.read_text(errors="replace")

    def kill(self):
        """Kills it. Its connections end."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(guestrun.HANG)
            except subprocess.TimeoutExpired:
                self.kill()


@contextlib.contextmanager
def serve(path, *options, started=True):
    """A gvproxy for the guest with this UDS_PATH, during the block. `options` are its own: "-mtu", "1400"."""
    served = Gvproxy(path, options)
    try:
        if started:
            served.start()
        yield served
    finally:
        served.stop()


class Silencer:
    """Between the back end and gvproxy: drops DHCP from gvproxy until `speak`; passes everything else both ways. For a
    guest with hyperkit's framing."""

    def __init__(self, listener, network):
        self.listener, self.network, self.silent, self.swallowed = listener, network, True, 0

    def speak(self):
        self.silent = False

    def accept(self):
        with contextlib.suppress(OSError):  # the listener is closed
            while True:
                guest, _ = self.listener.accept()
                threading.Thread(target=self.connect, args=(guest,), daemon=True).start()

    def connect(self, guest):
        with guest, socket.socket(socket.AF_UNIX) as wire, contextlib.suppress(OSError, EOFError):
            wire.connect(str(self.network.socket))
            threading.Thread(target=self.ask, args=(guest, wire), daemon=True).start()
            with wire.makefile("rb") as stream:
                while True:
                    prefix = _exactly(stream, 2)
                    frame = _exactly(stream, *struct.unpack("<H", prefix))
                    # UDP, from port 67
                    if self.silent and frame[12:14] == b"\x08\x00" and frame[23] == 17 and frame[34:36] == b"\0C":
                        self.swallowed += 1
                    else:
                        guest.sendall(prefix + frame)

    @staticmethod
    def ask(guest, wire):
        with contextlib.suppress(OSError):
            while some := guest.recv(1 << 16):
                wire.sendall(some)
            wire.shutdown(socket.SHUT_RDWR)


def _exactly(stream, count):
    got = stream.read(count)
    if len(got) < count:
        raise EOFError
    return got


@contextlib.contextmanager
def silenced(path, *options):
    """A gvproxy for the guest with this UDS_PATH, without answers by DHCP until `speak`: (the Silencer, gvproxy)."""
    with serve(f"{path}.silenced", *options) as network, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{path}_{PORT}")
        listener.listen()
        silencer = Silencer(listener, network)
        thread = threading.Thread(target=silencer.accept, daemon=True)
        thread.start()
        try:
            yield silencer, network
        finally:
            listener.shutdown(socket.SHUT_RDWR)  # which ends accept()
            thread.join()
