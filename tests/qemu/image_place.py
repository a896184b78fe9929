# SPDX-License-Identifier: MIT
"""The place of an image for 64-bit Arm or RISC-V, and its device tree, if QEMU's -kernel does not choose them."""
import dataclasses
import pathlib
import shlex
import shutil
import struct
import subprocess

TREES = pathlib.Path(__file__).resolve().parents[1] / "trees"


def stub(image, entry, tree=None):
    """A Linux image that starts another one at `entry`, with the device tree at `tree`, or with the tree that it
    received."""
    return (riscv_stub if image[56:60] == b"RSC\x05" else arm_stub)(entry, tree)


def riscv_stub(entry, tree):
    # first: j to the code after it
    header = struct.pack("<IIQQQQQ8s4sI", 0x0400006f, 0, 0x200000, 4096, 0, 2, 0, b"RISCV", b"RSC\x05", 0)
    load_tree = 0x0182b583 if tree is not None else 0x00000013     # ld a1, 24(t0); or nop
    code = (0x00000297, 0x0102b303, load_tree, 0x00030067)          # auipc t0, 0; ld t1, 16(t0); then: jr t1
    return header + struct.pack("<4I", *code) + struct.pack("<QQ", entry, tree or 0)


def arm_stub(entry, tree):
    # first: b to the code after it
    header = struct.pack("<IIQQQQQQ4sI", 0x14000010, 0, 0, 4096, 0xa, 0, 0, 0, b"ARMd", 0)
    load_entry = 0x58000081                                         # ldr x1, from 16 bytes on
    load_tree = 0x580000a0 if tree is not None else 0xd503201f      # ldr x0, from 20 bytes on; or nop
    # then: br x1
    return header + struct.pack("<4I", load_entry, load_tree, 0xd61f0020, 0) + struct.pack("<QQ", entry, tree or 0)


@dataclasses.dataclass
class Place:
    """The image at `at`; None: where -kernel puts it. `edits` are fdtput's changes of QEMU's own tree, or of a `source`
    in tests/trees, as argument lists with {} for the file; the tree is then at `tree_at`, or, if this is None, passed
    to QEMU again, which adds the memory to it."""
    at: int = None
    edits: tuple = ()
    tree_at: int = None
    source: str = ""

    def missing(self):
        """Returns why it cannot run here, or None."""
        absent = [tool for tool in ("dtc", "fdtput") if not shutil.which(tool)] if self.edits or self.source else []
        return f"no {' and no '.join(absent)} on this machine (tools/setup installs it)" if absent else None

    def put(self, qemu, machine, memory, ending, command_line, image, extra, folder):
        """Returns the image to boot, and QEMU's further arguments."""
        more = []
        if self.edits or self.source:
            tree = folder / "edited.dtb"
            if self.source:
                subprocess.run(["dtc", "-q", "-I", "dts", "-O", "dtb", "-p", "4096", "-o", str(tree), str(TREES / f"{self.source}.dts")], check=True)
            else:
                subprocess.run([*shlex.split(qemu), "-machine", f"{machine},dumpdtb={tree}", "-m", str(memory), "-nodefaults", "-display", "none",
                                "-serial", "stdio", *ending, *extra, "-kernel", str(image)], check=True, stdin=subprocess.DEVNULL,
                               capture_output=True)
            edits = [*self.edits, ("-t", "s", "{}", "/chosen", "bootargs", command_line)]
            for edit in edits:
                subprocess.run(["fdtput", *(str(tree) if word == "{}" else word for word in edit)], check=True)
            more += ["-dtb", str(tree)] if self.tree_at is None else loaded(tree, self.tree_at)
        if self.at is None:
            return image, more
        kernel = folder / "stub"
        kernel.write_bytes(stub(image.read_bytes()[:64], self.at, self.tree_at))
        return kernel, [*more, *loaded(image, self.at)]


def loaded(file: pathlib.Path, at):
    return ["-device", f"loader,file={file},addr={at:#x},force-raw=on"]


def memory(base, size):
    """Edits that make it the only memory."""
    cells = [f"{part:x}" for value in (base, size) for part in (value >> 32, value & 0xffffffff)]
    return (("-r", "{}", "/memory@40000000"), ("-p", "-t", "s", "{}", f"/memory@{base:x}", "device_type", "memory"),
            ("-t", "x", "{}", f"/memory@{base:x}", "reg", *cells))


def pool(node, *place):
    """Edits that restrict a device to a pool: `place` is fdtput's words for its node, name and cells."""
    here = "/reserved-memory/pool"
    return (("-p", "-t", "x", "{}", "/reserved-memory", "#address-cells", "2"), ("-t", "x", "{}", "/reserved-memory", "#size-cells", "2"),
            ("-t", "x", "{}", "/reserved-memory", "ranges"), ("-p", "-t", "s", "{}", here, "compatible", "restricted-dma-pool"),
            ("-t", "x", "{}", here, "phandle", "7001"), *(("-t", "x", "{}", here, *words) for words in place),
            ("-t", "x", "{}", node, "memory-region", "7001"))
