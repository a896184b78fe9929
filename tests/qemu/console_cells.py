# SPDX-License-Identifier: MIT
"""Cells of the QEMU matrix with a console, and the host at the other end of its ports, which asks for bytes and sends as many back."""
import contextlib
import itertools
import pathlib
import random
import socket
import tempfile
import threading
import time
import zlib

import mmio_cells

MIB = 1 << 20
WINDOW = 32768
PATIENCE = 60.0  # seconds for one answer of the guest


class Port:
    """The host's end of a port: a socket that QEMU listens at."""

    def __init__(self, path):
        deadline = time.monotonic() + PATIENCE
        while True:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(PATIENCE)
            try:
                self.socket.connect(str(path))
                return
            except OSError:  # QEMU is not there yet
                self.socket.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def receive(self, count):
        data = bytearray()
        while len(data) < count:
            piece = self.socket.recv(min(65536, count - len(data)))
            if not piece:
                raise EOFError(f"{len(data)} bytes of {count}")
            data += piece
        return bytes(data)

    def number(self):
        return int.from_bytes(self.receive(4), "little")

    def send_number(self, value):
        self.socket.sendall(value.to_bytes(4, "little"))

    def exchange(self, amount):
        """What the guest's function of this name talks to."""
        self.send_number(amount)
        found, done = 0, 0
        while done < amount:
            data = self.receive(min(WINDOW, amount - done))
            found, done = zlib.crc32(data, found), done + len(data)
            self.send_number(done)
        self.expect(self.number(), found, "what has arrived")
        data = random.Random(amount).randbytes(amount)
        self.socket.sendall(data)
        self.send_number(zlib.crc32(data))
        self.expect(self.number(), zlib.crc32(data) ^ 0xffffffff, "what was sent back")

    @staticmethod
    def expect(found, wanted, what):
        if found != wanted:
            raise ValueError(f"{what}: {found}, want {wanted}")


class Host:
    """What runs beside QEMU: `arguments` are QEMU's, `talk(ports)` the host's part in a thread of its own."""

    def __init__(self, device, ports, talk, waits):
        self.device, self.ports, self.talk = device, ports, talk
        self.wait = "on" if waits else "off"  # whether QEMU starts only when this end is there

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="virtio-")  # a socket's path must be short
        paths = [pathlib.Path(self.folder.name) / f"port{number}" for number in range(len(self.ports))]
        self.arguments = ["-device", self.device]
        for number, (port, path) in enumerate(zip(self.ports, paths)):
            self.arguments += ["-chardev", f"socket,id=port{number},path={path},server=on,wait={self.wait}"]
            self.arguments += ["-device", f"{port},chardev=port{number}"] if port else []
        self.wrong = []
        self.thread = threading.Thread(target=self.run, args=(paths,), daemon=True)
        self.thread.start()
        return self

    def run(self, paths):
        with contextlib.ExitStack() as stack:
            try:
                ports = [Port(path) for path in paths]
                for port in ports:
                    stack.enter_context(port.socket)
                self.talk(ports)
            except Exception as failure:
                self.wrong.append(f"host: {type(failure).__name__}: {failure}")

    def complaints(self):
        """What went wrong at this end, as lines, once QEMU has ended."""
        self.thread.join(PATIENCE)
        return [*self.wrong, *(["host: it still waits"] if self.thread.is_alive() else [])]

    def __exit__(self, *_):
        self.folder.cleanup()


def one_port(amount):
    def talk(ports):
        Port.expect(ports[0].receive(5), b"early", "what was said before the start")
        ports[0].exchange(amount)
        Port.expect(ports[0].receive(9), b"emergency", "what was said in an emergency")
        ports[0].exchange(1)
    return talk


def several_ports(amount):
    def talk(ports):
        ports[1].exchange(amount)
        ports[0].exchange(min(amount, 100000))
        ports[3].exchange(1000)
    return talk


PORTS = ["virtconsole,nr=0", "virtserialport,name=org.example.echo",
         "virtserialport,id=other,name=a name that is longer than what the guest keeps", ""]  # the last one comes later
UNPLUG = [("^take port", ("device_del", {"id": "other"})),
          ("^it is gone", ("device_add", {"driver": "virtserialport", "id": "other", "name": "again", "chardev": "port3"}))]


def cells(kit):
    """All of them; `kit` is what matrix.py has."""
    def cell(name, machine, variant, several=False, amount=100000, options="", image="console", **more):
        device = ",".join(filter(None, [f"virtio-serial-{kit.bus_of(variant)}", kit.VARIANTS[variant], options, "" if several else "max_ports=1"]))
        talk = several_ports(amount) if several else one_port(amount)
        return kit.Cell(f"{name} console" + (", several ports" if several else ""), machine, variant, image=f"tests/qemu/qemu_{image}",
                        beside=lambda: Host(device, PORTS if several else PORTS[:1], talk, not several), tell={"ports": 4 if several else 1},
                        script=UNPLUG if several else [], console=[f"^port 0: {amount if not several else min(amount, 100000)} bytes each way$"],
                        **more)

    for machine, variant, ring in itertools.product(("pc", "q35"), ("modern-only", "transitional", "legacy-only"), ("split", "packed")):
        if ring == "packed" and variant == "legacy-only":
            continue
        options = "packed=on" if ring == "packed" else ""
        for several in (False, True):
            large = machine == "q35" and variant == "modern-only"
            yield cell(f"{machine} {variant} {ring}", machine, variant, several, 10 * MIB if large else 100000, options,
                       only=("7.2", "10", "11") if large and ring == "split" else ("7.2", "10"))
    for machine, variant, several in itertools.product(("pc", "q35"), ("modern-only", "legacy-only"), (False, True)):
        yield cell(f"i386 {machine} {variant}", machine, variant, several, extra=["-cpu", "pentium2"], processor="i386")
    for variant, several in itertools.product(("modern-only", "transitional", "legacy-only"), (False, True)):
        yield cell(f"virt {variant}", "virt", variant, several, processor="aarch64")
    for (machine, (options, processor)), version, several in itertools.product(mmio_cells.MACHINES.items(), (1, 2), (False, True)):
        yield cell(f"{machine} mmio version {version}", options, f"mmio version {version}", several, image="console_mmio", processor=processor)
