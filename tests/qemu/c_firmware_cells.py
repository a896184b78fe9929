# SPDX-License-Identifier: MIT
"""Cells of the QEMU matrix with firmware in C: examples/c_firmware, and c_faults.c with invalid calls."""
import contextlib
import itertools
import pathlib
import re
import shlex
import socket
import sys
import threading
import zlib

import console_cells
import mmio_cells

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "vsock"))
import backend  # noqa: E402

CID, REPORT_PORT = 4, 1234
READ_ONLY = "driver=raw,read-only=on,file.driver=file,file.filename={image}"
QUESTION = b"firmware: boot? [y/n] "


class Host:
    """Runs beside QEMU: the console's peer, which is `talk`, and the vsock host, which accepts one report and answers.
    `console` and `vsock` are QEMU's devices; `vsock` may be empty."""

    def __init__(self, console, vsock, talk):
        self.console, self.vsock, self.talk = console, vsock, talk
        self.arguments, self.heard, self.stack = [], b"", contextlib.ExitStack()

    def __enter__(self):
        def arguments(paths):
            return console_cells.arguments_of(self.console, console_cells.PORTS[:1], paths, True)
        self.terminal = self.stack.enter_context(console_cells.Host(1, arguments, lambda ports: self.talk(ports[0])))
        self.arguments += self.terminal.arguments
        if self.vsock:
            served = self.stack.enter_context(backend.serve(CID))
            self.arguments += served.arguments(CID, device=self.vsock)
            self.listening = self.stack.enter_context(socket.socket(socket.AF_UNIX))
            self.listening.bind(f"{served.path(CID)}_{REPORT_PORT}")
            self.listening.listen()
            self.thread = threading.Thread(target=self.take_reports, daemon=True)
            self.thread.start()
        return self

    def take_reports(self):
        with contextlib.suppress(OSError):  # from a closed listener
            sock, _ = self.listening.accept()
            with sock:
                while not self.heard.endswith(b"\n") and (piece := sock.recv(100)):
                    self.heard += piece
                sock.sendall(b"noted\n")
                self.heard += sock.recv(100)  # the guest closes first: this back end may drop data at a close

    def complaints(self):
        yield from self.terminal.complaints()
        if self.vsock:
            self.thread.join(console_cells.PATIENCE)
            if not re.fullmatch(rb"firmware measured [0-9a-f]{8}\n", self.heard):
                yield f"host: it heard {self.heard}"

    def __exit__(self, *error):
        self.stack.__exit__(*error)


def say_yes(port):
    """Answers the example's question."""
    port.expect(port.receive(len(QUESTION)), QUESTION, "question")
    port.socket.sendall(b"?y")
    answer = b"y\r\nbooting\r\n"
    port.expect(port.receive(len(answer)), answer, "answer")


def answer_once(port):
    port.expect(port.receive(1), b"?", "question")
    port.socket.sendall(b"!")


def documented():
    """Returns QEMU's arguments in docs/c-firmware.md."""
    text = (pathlib.Path(__file__).resolve().parents[2] / "docs" / "c-firmware.md").read_text()
    return shlex.split(re.search(r"^    tools/run-guest \S+/c_firmware -- (.*?)\n\n", text, re.M | re.S)[1].replace("\\\n", " "))


def cells(m):
    """Returns all of them; `m` is matrix.py's module."""
    def devices(variant, with_vsock):
        options = m.VARIANTS[variant]
        console = ",".join(filter(None, [f"virtio-serial-{m.bus_of(variant)}", options, "max_ports=1"]))
        # QEMU's vhost-user-vsock is modern by default, and never legacy.
        return console, f"vhost-user-vsock-{m.bus_of(variant)}" if with_vsock else ""

    def cell(name, machine, variant, disks=(), rngs=(), host=None, talk=say_yes, **more):
        if host:
            more |= {"beside": lambda: Host(*host, talk), **({"needs": backend.missing} if host[1] else {})}
        return m.Cell(name, machine, variant, list(disks), list(rngs), **more)

    def said(disk, vsock, listed):
        crc = zlib.crc32(disk.content())
        report = f"the host says: noted\n" if vsock else "vsock: there is no such device.*\n"
        return [rf"^{listed}  block \(type 2\), .*: usable$", rf"^{listed}  entropy \(type 4\), .*: usable$",
                rf"^seeded\ndisk: {disk.sectors} sectors, blocks of 512 bytes, serial {disk.serial}, CRC-32 {crc:08x}\n"
                rf"the console says yes\n{report}the devices are quiet\n\Z"]

    old = ["-cpu", "pentium2"]
    on_pci = [("pc", "x86_64", []), ("q35", "x86_64", []), ("pc", "i386", old), ("virt", "aarch64", []), ("virt", "riscv64", []),
              ("virt", "riscv64", ["-bios", "default"])]
    for machine, processor, extra in on_pci:
        name = f"i386 {machine}" if processor == "i386" else m.named(machine, processor)
        where = ", behind OpenSBI" if "-bios" in extra else ""
        for variant in ("modern-only",) if where or machine == "q35" else ("modern-only", "transitional", "legacy-only"):
            disk, host = m.Disk(flips=True), devices(variant, variant != "legacy-only")
            yield cell(f"{name} {variant} example c_firmware{where}", machine, variant, [disk], [m.Rng()], host, extra=extra,
                       image="examples/c_firmware", processor=processor, console=said(disk, host[1], r"[0-9a-f]{2}:[0-9a-f]{2}\.\d"),
                       long=processor == "riscv64" and variant == "transitional")
    for name, processor, extra in (("q35", "x86_64", []), ("i386 q35", "i386", old)):
        disk, host = m.Disk(flips=True), devices("modern-only", True)
        yield cell(f"{name} modern-only example c_firmware, on a board with functions in C", "q35", "modern-only", [disk],
                   [m.Rng()], host, extra=extra, image="tests/qemu/qemu_c_board", processor=processor, console=said(disk, host[1], r"[0-9a-f]{2}:[0-9a-f]{2}\.\d"))
    for (machine, (options, processor)), version in itertools.product(mmio_cells.MACHINES.items(), (1, 2)):
        variant = f"mmio version {version}"
        disk, host = m.Disk(flips=True), devices(variant, version == 2)
        yield cell(f"{machine} {variant} example c_firmware", options, variant, [disk], [m.Rng()], host, image="examples/c_firmware_mmio",
                   processor=processor, console=said(disk, host[1], r"slot \d+"), long=processor == "riscv64" and version == 1)
    yield cell("pc example c_firmware, as docs/c-firmware.md starts it", "pc", "", image="examples/c_firmware", extra=documented(), console=[
        rf"^seeded\ndisk: 16384 sectors, blocks of 512 bytes, serial .*, CRC-32 {zlib.crc32(bytes(8 << 20)):08x}$",
        r"the devices are quiet\n\Z"])
    yield cell("pc example c_firmware without devices", "pc", "", image="examples/c_firmware", console=[
        "".join(f"^{name}: there is no such device.*\n" for name in ("entropy", "disk", "console", "vsock")) + r"the devices are quiet\n\Z"])
    yield cell("pc example c_firmware with a read-only disk", "pc", "modern-only", [m.Disk(backend=READ_ONLY)], image="examples/c_firmware",
               console=["^disk: .* bytes, read-only, serial virtio-disk-20-chars, CRC-32 [0-9a-f]{8}$"])
    yield cell("pc example c_firmware with a queue of 1024, legacy: refused", "pc", "legacy-only", [m.Disk(options="queue-size=1024")],
               image="examples/c_firmware", status=1, console=[
                   r"^disk: the driver's DMA storage or ring is too small.*\nblock \(type 2\), legacy PCI: the driver's ring has too few entries\n"
                   r"  wanted 1024, there 16\n  what to do: give the driver a larger queue"])

    bad = ("driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename={image},file.inject-error.0.event=none,"
           "file.inject-error.0.iotype=read,file.inject-error.0.sector=3000,file.inject-error.0.errno=5")
    for machine, processor, extra in (("pc", "x86_64", []), ("pc", "i386", old), ("virt", "riscv64", [])):
        name = f"i386 {machine}" if processor == "i386" else m.named(machine, processor)

        def fault(what, run, *disks, variant="modern-only", console=(), **more):
            return cell(f"{name} firmware in C: {what}", machine, variant, disks, image="tests/qemu/qemu_c_faults", processor=processor,
                        extra=extra, tell={"run": run}, console=[f"^{run}: as it must be$", *console],
                        long=processor == "riscv64" and run not in ("disk", "peers"), **more)

        yield fault("every start reports that there is no such device", "absent")
        yield fault("invalid requests return errors, and the other disk can be started", "disk", m.Disk(flips=True, options="addr=5"),
                    m.Disk(name="other", serial="short", sectors=m.SECTORS - 1001, options="addr=6"))
        yield fault("a read-only disk returns an error for a write", "read_only", m.Disk(backend=READ_ONLY))
        yield fault("a disk with blocks of 4096 bytes returns an error for parts of a block", "large_blocks",
                    m.Disk(sectors=m.SECTORS - 3, options="logical_block_size=4096,physical_block_size=4096"))
        yield fault("a bad sector returns an error, and the next one is read", "bad_sector", m.Disk(backend=bad))
        if processor != "riscv64":
            yield fault("a start prints why the ring is too small", "refused", m.Disk(options="queue-size=1024"), variant="legacy-only",
                        console=[r"wanted 1024, there 16$"])
        # Slow: the guest waits for a host that does not answer.
        yield fault("a console without input and a closed port return errors", "peers", host=devices("modern-only", True), talk=answer_once,
                    only=("10",) if processor == "i386" else ("7.2", "10") if processor == "x86_64" else ("7.2",))
