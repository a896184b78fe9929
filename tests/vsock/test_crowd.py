#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A crowd on vhost-device-vsock: crowd.cpp is the server in the guest, crowd.c its clients on the host. No byte is lost
and no answer is cut, while other clients idle, are slow or are killed; and the server answers at the end.

usage: test_crowd.py 7.2|10 TREE [unittest's arguments]
  TREE  where the guests were built
What it takes is in the environment: QEMU_7 or QEMU_10, VHOST_DEVICE_VSOCK, as tools/setup --print prints them.
VIRTIO_CROWD_LONG=1 kills three times as many clients. Status 77: a part is absent (1 with VIRTIO_TEST_REQUIRE_ALL=1).
"""
import os
import pathlib
import subprocess
import sys
import threading
import unittest

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "qemu"), str(HERE.parent.parent / "tools")]
import backend  # noqa: E402
import guestrun  # noqa: E402
import matrix  # noqa: E402
import peer  # noqa: E402

CID = 4
KILLED = 900 if os.environ.get("VIRTIO_CROWD_LONG") == "1" else 288
PHASES = ["full=120", "idle=60", f"bulk={8 << 20}", "short=64", "slow=24", "alive", "strict", f"kill={KILLED}", "short=64", "alive", "stop"]


class Crowd(unittest.TestCase):
    def setUp(self):
        self.visits, self.are_idle = [], threading.Event()

    def visit(self, vsock, *phases):
        """Clients, while the guest continues; check() evaluates their results."""
        def run():
            vsock.wait_for_queues(CID)
            command = ["timeout", str(guestrun.HANG), peer.program("crowd"), "unix", vsock.path(CID), *phases]
            with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True) as process:
                for line in process.stdout:
                    said.append(line)
                    if line.startswith("idle: "):
                        self.are_idle.set()
        said = []
        thread = threading.Thread(target=run, daemon=True)
        self.visits.append((thread, said))
        thread.start()

    def check(self, outcome):
        for thread, _ in self.visits:
            thread.join(guestrun.HANG)
        status, console = outcome
        text = "".join("".join(said) for _, said in self.visits) + console
        self.assertTrue(all(said[-1:] == ["crowd: all well\n"] for _, said in self.visits), text)
        self.assertEqual(status, 0, text)
        self.assertRegex(console, r"(?m)^ok crowd$")
        print(text)

    def boot(self, vsock, script, append=""):
        return guestrun.boot(TREE / "tests/qemu/vsock_crowd", QEMU, "q35", append=append, extra=vsock.arguments(CID), script=script)

    def test_crowd(self):
        with backend.serve(CID) as vsock:
            self.check(self.boot(vsock, [("^serves", lambda: self.visit(vsock, *PHASES))]))

    def test_reset(self):
        """The machine is reset with connections open in both directions; afterwards both sides connect again, at the
        same services."""
        with backend.serve(CID) as vsock, peer.serve(*vsock.paths()):
            gate = vsock.folder / "again"

            def begin():
                self.visit(vsock, "idle=60", f"until={gate}", "gone", "idle=60", "short=16", "alive", "stop")
                self.assertTrue(self.are_idle.wait(guestrun.HANG))

            def go_on():
                vsock.wait_for_queues(CID)
                gate.touch()

            outcome = self.boot(vsock, [("^serves", begin, ("set-action", {"reboot": "reset"}), ("system_reset", {})),
                                        ("^called", ), ("^serves", go_on)], "calls=1")
        self.check(outcome)


if __name__ == "__main__":
    _, TREE, QEMU = matrix.asked_for(backend.missing())
    unittest.main(verbosity=2)
