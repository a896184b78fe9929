# SPDX-License-Identifier: MIT
"""Cells of the QEMU matrix with network devices, and the host at the other end of their wires: frames of every size
both ways."""
import itertools
import pathlib
import socket
import tempfile
import threading

import mmio_cells

PATIENCE = 60.0  # seconds for one frame of the guest
SMALLEST, LARGEST_SENT, LARGEST_RECEIVED = 14, 1514, 1518
HOST = bytes([2, 0, 0, 0, 0, 1])


def noise():
    value, made = 1, bytearray()
    for _ in range(2048 + 256):
        value = (value * 1103515245 + 12345) & 0xffffffff
        made.append(value >> 16 & 255)
    return bytes(made)


NOISE = noise()


def address(card):
    return bytes([0x52, 0x54, 0, 0, 0, card])


def frame(size, to, source):
    return to + source + b"\x88\xb5" + NOISE[size % 251:size % 251 + size - SMALLEST]


class Wire:
    """The other end of a device's wire: a stream in which each frame follows its length."""

    def __init__(self, path):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.listener.settimeout(PATIENCE)
        self.unread = b""

    def accept(self):
        self.socket, _ = self.listener.accept()
        self.socket.settimeout(PATIENCE)

    def receive(self):
        while len(self.unread) < 4 or len(self.unread) < 4 + int.from_bytes(self.unread[:4], "big"):
            piece = self.socket.recv(1 << 16)
            if not piece:
                raise EOFError("the wire is cut")
            self.unread += piece
        size = 4 + int.from_bytes(self.unread[:4], "big")
        found, self.unread = self.unread[4:size], self.unread[size:]
        return found

    def exchange(self, card):
        """Receives a frame of every size from the guest, then sends it a frame of every size."""
        for size in range(SMALLEST, LARGEST_SENT + 1):
            found = self.receive()
            if found != frame(size, HOST, address(card)):
                raise ValueError(f"card {card}: a frame of {len(found)} bytes, want {size}: {found[:40].hex()}")
        sizes = range(SMALLEST, LARGEST_RECEIVED + 1)
        self.socket.sendall(b"".join(size.to_bytes(4, "big") + frame(size, address(card), HOST) for size in sizes))


class Host:
    """What runs beside QEMU: a wire for each card, with this many exchanges."""

    def __init__(self, devices, exchanges):
        self.devices, self.exchanges = devices, exchanges

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="virtio-")  # a socket's path must be short
        self.arguments, self.wires, self.wrong = [], [], []
        for card, device in enumerate(self.devices):
            path = pathlib.Path(self.folder.name) / f"wire{card}"
            self.wires.append(Wire(path))
            self.arguments += ["-netdev", f"stream,id=wire{card},server=off,addr.type=unix,addr.path={path}",
                               "-device", f"{device},netdev=wire{card},mac={address(card).hex(':')}"]
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        return self

    def run(self):
        try:
            for wire in self.wires:
                wire.accept()
            for card, (wire, count) in enumerate(zip(self.wires, self.exchanges)):
                for _ in range(count):
                    wire.exchange(card)
        except Exception as failure:
            self.wrong.append(f"host: {type(failure).__name__}: {failure}")

    def complaints(self):
        """Returns this end's errors, as lines, after QEMU has ended."""
        self.thread.join(PATIENCE)
        return [*self.wrong, *(["host: it still waits"] if self.thread.is_alive() else [])]

    def __exit__(self, *_):
        for wire in self.wires:
            wire.listener.close()
        self.folder.cleanup()


# A device: its variant, its ring, MRG_RXBUF, EVENT_IDX, and MTU; a legacy one with MTU accepts any layout of a frame,
# without it only one. Every pair of these choices is in one of them.
CARDS = [("modern-only", "split", True, True, False),
         ("modern-only", "packed", False, False, True),
         ("transitional", "packed", True, True, True),
         ("transitional", "split", False, False, False),
         ("legacy-only", "split", True, False, True),
         ("legacy-only", "split", False, True, False)]
EVERY_CARD = [one for one in itertools.product(("modern-only", "transitional", "legacy-only"), ("split", "packed"), (True, False),
                                               (True, False), (True, False)) if one[:2] != ("legacy-only", "packed")]
BITS = {"mtu": 3, "mac": 5, "mrg_rxbuf": 15, "status": 16, "any_layout": 27, "event_idx": 29, "version_1": 32, "ring_packed": 34}


def accepted(card, legacy):
    """Returns the exact features that the driver must accept. The wire of a stream has no virtio header: no checksum
    offload."""
    _, ring, merges, event_idx, mtu = card
    names = ["mac", "status", *(["mrg_rxbuf"] if merges else []), *(["event_idx"] if event_idx else []), *(["mtu"] if mtu else [])]
    names += (["any_layout"] if mtu else []) if legacy else ["version_1", *(["ring_packed"] if ring == "packed" else [])]
    return hex(sum(1 << BITS[name] for name in names))


def cells(kit):
    """Returns all of them; `kit` is matrix.py's module."""
    def cell(name, machine, cards, variant="", image="net", **more):
        def device(card):
            switches = {"packed": card[1] == "packed", "mrg_rxbuf": card[2], "event_idx": card[3], "any_layout": card[4]}
            return ",".join(filter(None, [f"virtio-net-{kit.bus_of(variant)}", kit.VARIANTS[card[0]],
                                          *(f"{key}={kit.switch(on)}" for key, on in switches.items()),
                                          "host_mtu=1500" if card[4] else ""]))
        legacy = [card[0] == "legacy-only" or variant == "mmio version 1" for card in cards]
        exchanges = [2 if card[2] else 1 for card in cards]
        exchanges[-1] += 1  # once more after the link is up again
        last = f"wire{len(cards) - 1}"
        return kit.Cell(name, machine, variant, image=f"tests/qemu/qemu_{image}",
                        beside=lambda: Host([device(card) for card in cards], exchanges),
                        tell={"cards": len(cards), "backwards": int(variant.startswith("mmio") and more.get("processor") != "riscv64"),
                              **{f"features{i}": accepted(card, old) for i, (card, old) in enumerate(zip(cards, legacy))}},
                        script=[("^take the link$", ("set_link", {"name": last, "up": False})),
                                ("^the link is down$", ("set_link", {"name": last, "up": True}))],
                        console=["^the link is up$"], tags="[NET-05][NET-06]", **more)

    for machine in ("pc", "q35"):
        cards = CARDS if machine == "pc" else CARDS[::-1]
        yield cell(f"{machine} net: frames of every size both ways, six cards", machine, cards)
    for processor in ("aarch64", "riscv64"):
        yield cell(f"{kit.named('virt', processor)} net: frames of every size both ways, six cards", "virt", CARDS, processor=processor,
                   long=processor == "riscv64")
    for (machine, (options, processor)), version in itertools.product(mmio_cells.MACHINES.items(), (1, 2)):
        cards = [("", ring, merges, event_idx, mtu) for _, ring, merges, event_idx, mtu in CARDS[:4] if version == 2 or ring == "split"]
        yield cell(f"{machine} mmio version {version} net: frames of every size both ways", options, cards, f"mmio version {version}",
                   "net_mmio", processor=processor, long=processor == "riscv64")
    for number in range(0, len(EVERY_CARD), 4):
        yield cell(f"q35 net: every card, from {number} on", "q35", EVERY_CARD[number:number + 4], long=True)
