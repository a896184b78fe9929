# SPDX-License-Identifier: MIT
"""Cells of the QEMU matrix with a console, and the host at the other end of its ports, which requests bytes and returns
as many."""
import contextlib
import itertools
import pathlib
import random
import re
import shlex
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
    """The host's end of a port: a socket on which QEMU listens."""

    def __init__(self, path):
        deadline = time.monotonic() + PATIENCE
        while True:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(PATIENCE)
            try:
                self.socket.connect(str(path))
                return
            except OSError:  # QEMU does not listen yet
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
        """The peer of the guest's function of this name."""
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

    def until(self, pattern):
        """Reads up to the pattern."""
        text = ""
        while not (found := re.search(pattern, text)):
            piece = self.socket.recv(1)
            if not piece:
                raise EOFError(f"{text!r} and no {pattern!r}")
            text += piece.decode("latin-1")
        return found

    @staticmethod
    def expect(found, wanted, what):
        if found != wanted:
            raise ValueError(f"{what}: {found}, want {wanted}")


def arguments_of(device, ports, paths, waits):
    """QEMU's arguments for a device with these ports, each at a socket; `waits`: QEMU starts only after the other ends
    have connected."""
    made = ["-device", device]
    for number, (port, path) in enumerate(zip(ports, paths)):
        made += ["-chardev", f"socket,id=port{number},path={path},server=on,wait={'on' if waits else 'off'}"]
        made += ["-device", f"{port},chardev=port{number}"] if port else []
    return made


class Host:
    """What runs beside QEMU: `make(paths)` returns QEMU's `arguments` for this many sockets, `talk(ports)` is the
    host's part in its own thread."""

    def __init__(self, count, make, talk):
        self.count, self.make, self.talk = count, make, talk

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="virtio-")  # a socket's path must be short
        paths = [pathlib.Path(self.folder.name) / f"port{number}" for number in range(self.count)]
        self.arguments = self.make(paths)
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
        """Returns this end's errors, as lines, after QEMU has ended."""
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
        Port.expect(ports[0].number() < 32, True, "a port without a reader takes everything")
        data = ports[1].receive(32 * WINDOW)
        Port.expect(ports[1].number(), zlib.crc32(data), "what waited for its reader")
        ports[3].exchange(1000)
    return talk


def shell(port):
    """A session with examples/07_console, which always ends."""
    try:
        use_shell(port)
    finally:
        port.socket.sendall(b"\x15exit\r")


def use_shell(port):
    """What a user of examples/07_console types and sees. The disk has the matrix's pattern."""
    def ask(typed, *patterns):
        port.socket.sendall(typed.encode())
        for pattern in patterns:
            port.until(pattern)
        port.until(r"\n> ")

    port.until(r"^virtio shell: try help\r\n> ")
    ask("help\r", r"^help\r\nls  ", r"hexdump disk SECTOR", r"ends the machine\r")
    ask("ls\n", r"block, .*: usable\r")
    ask("\recxyz\b\b\x7fho  one two\r\n", r"^\r\n> ecxyz\x08 \x08\x08 \x08\x08 \x08ho  one two\r\none two\r")
    ask("nonsense\x15echo\r", r"\x08echo\r\n\r")
    ask("never\x03", r"^never\^C\r")
    ask("hexdump disk 3\r", r"\n000  03 00 00 00 00 00 51 00 03 00 00 00 00 01 51 00  \.{6}Q\.{7}Q\.\r",
        r"\n1f0  03 00 00 00 00 3e 51 00 03 00 00 00 00 3f 51 00  \.{5}>Q\.{6}\?Q\.\r")
    ask("cat disk 16\r", r"\.{5}\$Q\.")
    ask("hexdump random\r", r"\n000 ( [0-9a-f]{2}){16}  .{16}\r", r"\n1f0 ( [0-9a-f]{2}){16}  ")
    ask("cat disk 99999999\r", r"\r\nit exceeds the device")
    ask("cat disk\r", r"\r\nthe call or an argument makes no sense here")
    ask("size\r", r"\r\n(\d+ columns, \d+ rows|the device or the platform does not support this)\r")
    ask("format\r", r"\r\nformat: there is no such command; try help\r")
    ask("x" * 200 + "\r", r"\r\nx{128}: there is no such command")


def documented():
    """Returns QEMU's arguments in docs/console.md, with the socket that is named there."""
    text = (pathlib.Path(__file__).resolve().parents[2] / "docs" / "console.md").read_text()
    command = re.search(r"^    tools/run-guest \S+/07_console -- (.*?)\n\n", text, re.M | re.S)[1]
    return shlex.split(command.replace("\\\n", " "))


PORTS = ["virtconsole,nr=0", "virtserialport,name=org.example.echo",
         # the last one is plugged later
         "virtserialport,id=other,name=a name that is longer than what the guest keeps", ""]
UNPLUG = [("^take port", ("device_del", {"id": "other"})),
          ("^it is gone", ("device_add", {"driver": "virtserialport", "id": "other", "name": "again", "chardev": "port3"}))]


def cells(kit):
    """Returns all of them; `kit` is matrix.py's module."""
    def cell(name, machine, variant, several=False, amount=100000, options="", image="console", **more):
        device = ",".join(filter(None, [f"virtio-serial-{kit.bus_of(variant)}", kit.VARIANTS[variant], options,
                                        "" if several else "max_ports=1"]))
        ports, talk = (PORTS, several_ports(amount)) if several else (PORTS[:1], one_port(amount))
        return kit.Cell(f"{name} console" + (", several ports" if several else ""), machine, variant, image=f"tests/qemu/qemu_{image}",
                        beside=lambda: Host(len(ports), lambda paths: arguments_of(device, ports, paths, not several), talk),
                        tell={"ports": 4 if several else 1},
                        script=UNPLUG if several else [],
                        console=[f"^port 0: {amount if not several else min(amount, 100000)} bytes each way$"],
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
    for processor, variant, several in itertools.product(("aarch64", "riscv64"), ("modern-only", "transitional", "legacy-only"), (False, True)):
        yield cell(f"{kit.named('virt', processor)} {variant}", "virt", variant, several, processor=processor, long=processor == "riscv64")
    for (machine, (options, processor)), version, several in itertools.product(mmio_cells.MACHINES.items(), (1, 2), (False, True)):
        yield cell(f"{machine} mmio version {version}", options, f"mmio version {version}", several, image="console_mmio",
                   processor=processor, long=processor == "riscv64")

    def example(name, machine, variant, processor="x86_64", image="07_console", **more):
        device = ",".join(filter(None, [f"virtio-serial-{kit.bus_of(variant)}", kit.VARIANTS[variant], "max_ports=1"]))
        return kit.Cell(f"{name} example 07_console", machine, variant, [kit.Disk()], [kit.Rng()], image=f"examples/{image}",
                        beside=lambda: Host(1, lambda paths: arguments_of(device, PORTS[:1], paths, True), lambda ports: shell(ports[0])),
                        processor=processor, console=[r"\A\Z"], long=processor == "riscv64", **more)

    for variant in ("modern-only", "transitional", "legacy-only"):
        for machine in ("pc", "q35"):
            yield example(f"{machine} {variant}", machine, variant)
        for processor in ("aarch64", "riscv64"):
            yield example(f"{kit.named('virt', processor)} {variant}", "virt", variant, processor)
        yield example(f"i386 pc {variant}", "pc", variant, "i386", extra=["-cpu", "pentium2"])
    for (machine, (options, processor)), version in itertools.product(mmio_cells.MACHINES.items(), (1, 2)):
        yield example(f"{machine} mmio version {version}", options, f"mmio version {version}", processor, "07_console_mmio")

    def as_documented(paths):
        return [word.replace("/tmp/console", str(paths[0])) for word in documented()]
    yield kit.Cell("pc example 07_console, as docs/console.md starts it", disks=[kit.Disk()], rngs=[kit.Rng()], image="examples/07_console",
                   beside=lambda: Host(1, as_documented, lambda ports: shell(ports[0])), console=[r"\A\Z"])
