#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Cells that share a boot, real ones with real guests, some of them made to fail: each fails under its own name and
with its own reason, and the others pass. And result.sh, which prints their results.

usage: test_together.py 7.2|10 TREE [unittest's arguments]
  TREE  where the guests were built
Status 77: this QEMU is absent (1 with VIRTIO_TEST_REQUIRE_ALL=1).
"""
import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import matrix  # noqa: E402
import together  # noqa: E402
from together import guestrun, results  # noqa: E402

RESULT = HERE.parent / "support" / "result.sh"


def cell(name, disk=matrix.Disk(write=(5, 3)), **tell):
    """A cell that passes, unless configured otherwise."""
    return matrix.Cell(name, disks=[disk], rngs=[matrix.Rng()],
                       tell={"run": "disk,rng", "requests": 50, **matrix.negotiated("modern"), **tell})


def ended_by(status):
    """guestrun.boot(), with QEMU ended as soon as a guest reports that it hangs; the boot's status is then this one."""
    def boot(*arguments, **more):
        if ",hang" not in arguments[4]:
            return guestrun.boot(*arguments, **more)
        return status, guestrun.boot(*arguments, **more, script=[("^hanging$", ("quit", {}))])[1]
    return boot


class Together(unittest.TestCase):
    def check(self, cells, boots, expected, boot=guestrun.boot):
        """Checks each cell's status; a wrong cell's output must contain its text, and no other's may."""
        told = {}
        with tempfile.TemporaryDirectory(prefix="virtio-cells-") as folder:
            tree = pathlib.Path(folder)
            (tree / "tests").symlink_to(TREE / "tests")
            count = together.run([cells], VERSION, tree, lambda one, *what: told.update({one.name: what}), boot)
        self.assertEqual([one.name for one in cells], sorted(told))
        for name, (status, output) in told.items():
            self.assertEqual(status, 1 if name in expected else 0, f"{name}:\n{output}")
            self.assertEqual("WRONG: " in output, name in expected, output)
            for whose, reason in expected.items():
                self.assertEqual(reason in output, name == whose, f"{name}:\n{output}")
        self.assertEqual(count, boots)
        return told

    def test_all_pass(self):
        told = self.check([cell(f"{n}") for n in range(4)], 1, {})
        for n, (_, output) in enumerate(told.values(), 1):
            self.assertIn(f"cell {n} of 4 in one boot", output)
            self.assertEqual(output.count("engine: 50 reads"), 1)  # its own console only
            self.assertIn(f"disk: {matrix.SECTORS} sectors as they must be", output)

    def test_wrong_features(self):
        self.check([cell("a"), cell("b", blk_features="0x123"), cell("c")], 2, {"b": "features: 0x130006e44, want 0x123"})

    def test_the_guest_ends_in_the_middle(self):
        """As if all had passed."""
        self.check([cell("a"), cell("b", run="leave"), cell("c")], 2, {"b": "the guest ended in the middle of this cell"})

    def test_the_last_one_ends_the_guest(self):
        self.check([cell("a"), cell("b", run="disk,leave")], 1, {"b": "the guest ended in the middle of this cell"})

    def test_a_guest_hangs(self):
        self.check([cell("a"), cell("b", run="rng,hang"), cell("c")], 2, {"b": f"status {guestrun.TIMED_OUT}, want 0"},
                   ended_by(guestrun.TIMED_OUT))

    def test_the_machine_goes_down(self):
        self.check([cell("a"), cell("b", run="rng,hang"), cell("c")], 2, {"b": f"status {guestrun.NO_STATUS}, want 0"},
                   ended_by(guestrun.NO_STATUS))

    def test_qemu_does_not_start(self):
        """The cell is identified when each runs alone."""
        self.check([cell("a"), cell("b", matrix.Disk(options="no-such-option=on", write=(5, 3))), cell("c")], 4,
                   {"b": "Property 'virtio-blk-pci.no-such-option' not found"})

    def test_an_image_is_wrong(self):
        """The host sees this after all have ended."""
        self.check([cell("a"), cell("b", matrix.Disk(write=(5, 3), zeroes=((100, 1),))), cell("c")], 1,
                   {"b": "disk: sector 100 is wrong (1 are)"})

    def test_a_console_is_wrong(self):
        self.check([cell("a"), dataclasses.replace(cell("b"), console=["^no such line$"]), cell("c")], 1,
                   {"b": "console does not match ^no such line$"})

    def test_several_fail(self):
        self.check([cell("a"), cell("b", run="nonsense"), cell("c"), cell("d", block=4096), cell("e")], 3,
                   {"b": "no such thing to run: nonsense", "d": "disk.block_size() == number("})


class Batches(unittest.TestCase):
    def test_every_cell_is_in_one_batch(self):
        for version in matrix.VARIABLES:
            found = [one.name for processor in matrix.BUILDS for parts in together.batches(version, processor).values()
                     for cells in parts for one in cells]
            self.assertEqual(sorted(found), sorted(matrix.cells(version)))

    def test_no_batch_is_large(self):
        for version in matrix.VARIABLES:
            for processor in matrix.BUILDS:
                for name, parts in together.batches(version, processor).items():
                    self.assertLessEqual(sum(map(len, parts)), together.BATCH, name)


class Result(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="virtio-result-")
        self.tree = pathlib.Path(self.folder.name)

    def tearDown(self):
        self.folder.cleanup()

    def look(self):
        """Returns result.sh's output as a child of this process, which acts as ctest."""
        done = subprocess.run([RESULT, results.path(self.tree, "it"), "sh", "-c", "echo alone $1; exit 5", "sh", "as it is"],
                              stdout=subprocess.PIPE, text=True)
        return done.returncode, done.stdout

    def store(self, status, output):
        """Stores a result, also by a child of this process."""
        subprocess.run([sys.executable, "-c", "import pathlib, results, sys; results.store(pathlib.Path(sys.argv[1]), 'it', "
                        "int(sys.argv[2]), sys.argv[3])", self.tree, str(status), output], check=True,
                       env=os.environ | {"PYTHONPATH": str(RESULT.parent)})

    def test_none(self):
        self.assertEqual(self.look(), (5, "alone as it is\n"))

    def test_each_once(self):
        for status in (0, 1, matrix.SKIPPED):
            self.store(status, f"that is why\nit is {status}\n")
            self.assertEqual(self.look(), (status, f"that is why\nit is {status}\n"))
            self.assertEqual(self.look(), (5, "alone as it is\n"))

    def test_of_another_run(self):
        for run in (f"{os.getpid()}.1", f"1.{results.started(1)}", f"{os.getppid()}.{results.started(os.getppid())}", ""):
            results.path(self.tree, "it").parent.mkdir(exist_ok=True)
            results.path(self.tree, "it").write_text(f"{run} 0\nstale\n")
            self.assertEqual(self.look(), (5, "alone as it is\n"))


if __name__ == "__main__":
    VERSION = sys.argv.pop(1)
    TREE = pathlib.Path(sys.argv.pop(1)).resolve()
    why = matrix.missing(cell("any"), VERSION)
    if why:
        sys.exit(matrix.skip(why))
    unittest.main(verbosity=2)
