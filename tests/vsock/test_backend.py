#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The rig around vhost-device-vsock: Linux guests reach the peer, the host reaches them, and they reach each other.

usage: test_backend.py 7.2|10 [unittest's arguments]
What it takes is in the environment: QEMU_7 or QEMU_10, LINUX_HOST, VHOST_DEVICE_VSOCK, as tools/setup --print prints
them.
Status 77: a part is absent (1 with VIRTIO_TEST_REQUIRE_ALL=1).
"""
import os
import pathlib
import shutil
import sys
import threading
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import backend  # noqa: E402
import linux_guest  # noqa: E402
import linux_host  # noqa: E402
import peer  # noqa: E402
sys.path.insert(0, str(linux_host.ROOT / "tests" / "qemu"))
import guestrun  # noqa: E402
import matrix  # noqa: E402

MEMORY = 256
GUEST, OTHER, STOP_AT = 4, 5, 9999


class Backend(unittest.TestCase):
    def boot(self, vsock, cid, script, steps=()):
        folder = peer.BUILD / f"{self.id()}-{VERSION}-{cid}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        result = linux_guest.boot(os.environ["LINUX_HOST"], folder, QEMU, script, vsock.arguments(cid, MEMORY), MEMORY,
                                  steps=steps)
        shutil.rmtree(folder)
        return result

    def test_guest_and_peer(self):
        with backend.serve(GUEST) as vsock, peer.serve(*vsock.paths()):
            self.assertEqual(self.boot(vsock, GUEST, "linux_guest check 2\n"), (0, linux_guest.ON_VHOST_DEVICE))
            vsock.wait()
            # another, after the first
            self.assertEqual(self.boot(vsock, GUEST, "linux_guest turns 2 10 64 >/dev/null\n"), (0, ""))

    def test_siblings_and_host(self):
        """One guest contains the peer; the host and the other guest connect to it."""
        with backend.serve(GUEST, OTHER) as vsock:
            results, ready = [], threading.Event()
            guest = threading.Thread(target=lambda: results.append(self.boot(
                vsock, GUEST, f"mkfifo hold\npeer vsock <>hold &\nlinux_guest wait {STOP_AT}\n",
                [(linux_host.line("peer: ready"), ready.set)])))
            guest.start()
            self.assertFalse(vsock.has_queues(OTHER))
            self.assertTrue(ready.wait(2 * guestrun.HANG))
            vsock.wait_for_queues(GUEST)
            self.assertFalse(vsock.has_queues(OTHER))
            with vsock.connect(GUEST, 7000) as sock:
                for text in (b"one", b"two" * 20000):
                    sock.sendall(text + b"\n")
                    self.assertEqual(b"".join(iter(lambda: sock.recv(1), b"\n")), text)
            with self.assertRaises((ConnectionRefusedError, TimeoutError)):
                vsock.connect(GUEST, 7999, backend.IN_VAIN)
            # At most one of Linux's receive buffers at once: the back end cuts longer data without an error.
            seen = self.boot(vsock, OTHER, f"linux_guest turns {GUEST} 100 64 && linux_guest turns {GUEST} 100 3000\n")
            vsock.connect(GUEST, STOP_AT).close()
            guest.join()
        self.assertEqual(seen[0], 0, seen[1])
        self.assertRegex(seen[1], r"\Aturns 100 of 64 bytes \d+ ns\nturns 100 of 3000 bytes \d+ ns\n\Z")
        self.assertEqual(results, [(0, "peer: ready\n")])

    def test_killed_and_renewed(self):
        """Linux loses its connection with the back end; after a reset with another back end and a new device it works
        again."""
        with backend.serve(GUEST) as vsock, peer.serve(*vsock.paths()):
            vsock.arguments(GUEST)
            status, console = self.boot(
                vsock, GUEST, "linux_guest turn 2 &\nread the_word </dev/ttyS0\nkill $!\necho broken\nread the_word </dev/ttyS0\n",
                [(linux_host.line("turning"), vsock.kill, b"killed\n"), *vsock.renewal(GUEST, linux_host.line("broken")),
                 (linux_host.line("turning"), ("quit", {}))])
            vsock.check()
        self.assertEqual(status, guestrun.NO_STATUS, console)  # QEMU's status after quit
        self.assertRegex(console, r"\A(turning\n)+broken\n(turning\n)+\Z")

    def test_end_is_noticed(self):
        with self.assertRaisesRegex(backend.Died, "Invalid key `nonsense`"):
            with backend.serve(GUEST, options="nonsense=1"):
                self.fail("it starts all the same")
        with self.assertRaisesRegex(backend.Died, "ended with -9"):
            with backend.serve(GUEST) as vsock:
                vsock.process.kill()
                vsock.process.wait()
        with backend.serve(GUEST) as vsock:
            self.assertFalse(vsock.has_queues(GUEST))
            with self.assertRaises(ConnectionRefusedError):  # no guest
                vsock.connect(GUEST, 7000)
            vsock.kill()
            self.assertIsNotNone(vsock.process.poll())


if __name__ == "__main__":
    VERSION = sys.argv.pop(1)
    QEMU = os.environ.get(matrix.VARIABLES[VERSION])
    for why in (backend.missing(), "" if QEMU else f"no QEMU {VERSION} on this machine",
                "" if os.environ.get("LINUX_HOST") else "LINUX_HOST is empty, no Linux kernel to boot"):
        if why:
            sys.exit(matrix.skip(why))
    unittest.main(verbosity=2)
