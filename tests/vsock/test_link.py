#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A guest with a network over its socket device: network.cpp, on vhost-device-vsock, with gvproxy, and for a while
without.

usage: test_link.py 7.2|10 TREE [unittest's arguments]
  TREE  where the guests were built
What it takes is in the environment: QEMU_7 or QEMU_10, VHOST_DEVICE_VSOCK, GVPROXY, as tools/setup --print prints them.
Status 77: a part is absent (1 with VIRTIO_TEST_REQUIRE_ALL=1).
"""
import os
import pathlib
import sys
import unittest

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "qemu"), str(HERE.parent.parent / "tools")]
import backend  # noqa: E402
import guestrun  # noqa: E402
import gvproxy  # noqa: E402
import matrix  # noqa: E402

CID = 4
OFFER = r"offered 192\.168\.127\.2\n"
# on a slow machine it may take several attempts
DOWN = r"(up\n|down: [^\n]*\n)*down: [^\n]*\n(up\n|down: [^\n]*\n)*up\n"


class Network(unittest.TestCase):
    def boot(self, vsock, script=(), machine="q35", **options):
        append = " ".join(f"{key}={value}" for key, value in options.items())
        return guestrun.boot(TREE / "tests/qemu/vsock_network", QEMU, machine, append=append, extra=vsock.arguments(CID), script=script)

    def check(self, outcome, pattern):
        status, console = outcome
        self.assertEqual(status, 0, console)
        self.assertRegex(console, rf"\A{pattern}ok network\n")

    def test_offer_and_pings(self):
        with backend.serve(CID) as vsock, gvproxy.serve(vsock.path(CID)):
            self.check(self.boot(vsock, pings=737), f"up\n{OFFER}")

    def test_qemu_framing(self):
        with backend.serve(CID) as vsock, gvproxy.serve(vsock.path(CID), "-listen-qemu", f"unix://{vsock.path(CID)}_qemu"):
            self.check(self.boot(vsock, pings=10, framing="qemu"), f"up\n{OFFER}")

    def test_absent_at_start(self):
        with backend.serve(CID) as vsock, gvproxy.serve(vsock.path(CID), started=False) as network:
            self.check(self.boot(vsock, [("^down: ", network.start)]), DOWN + OFFER)

    def test_killed_and_started_again(self):
        with backend.serve(CID) as vsock, gvproxy.serve(vsock.path(CID)) as network:
            script = [("^offered", network.kill), ("^down: ", network.start)] * 3
            self.check(self.boot(vsock, script, offers=4, pings=40), f"up\n{OFFER}" + (DOWN + OFFER) * 3)

    def test_dhcp_does_not_answer(self):
        """A peer that has never sent a frame may be out of step: the link connects again, as long as needed."""
        with backend.serve(CID) as vsock, gvproxy.silenced(vsock.path(CID)) as (silencer, _):
            script = [("^down: ", lambda: self.assertGreater(silencer.swallowed, 0)), ("^down: ", silencer.speak)]
            self.check(self.boot(vsock, script, pings=40), f"up\n{DOWN}{OFFER}")

    def test_back_end_killed(self):
        """QEMU plugs a new device; the machine is reset, since the guest detects it only at its start."""
        with backend.serve(CID) as vsock, gvproxy.serve(vsock.path(CID)):
            vsock.arguments(CID)  # renewal() plugs the device of the last call
            status, console = self.boot(
                vsock, machine="pc", offers=1000,
                script=[("^offered", vsock.kill), *vsock.renewal(CID, "^down: .*\n"), ("^offered .*\n", ("quit", {}))])
        self.assertEqual(status, guestrun.NO_STATUS, console)  # QEMU's status after quit
        # The reset may cut a line, and both boots may need several attempts.
        self.assertRegex(console, rf"\Aup\n{OFFER}down: (?s:.*)up\n{OFFER}")


if __name__ == "__main__":
    VERSION = sys.argv.pop(1)
    TREE = pathlib.Path(sys.argv.pop(1))
    QEMU = os.environ.get(matrix.VARIABLES[VERSION])
    for why in (backend.missing(), gvproxy.missing(), "" if QEMU else f"no QEMU {VERSION} on this machine"):
        if why:
            sys.exit(matrix.skip(why))
    unittest.main(verbosity=2)
