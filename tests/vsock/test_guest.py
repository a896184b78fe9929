#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Our driver on vhost-device-vsock: the guest in this folder and the example connect to peer.c through Unix sockets.

usage: test_guest.py 7.2|10 TREE [unittest's arguments]
  TREE  where the guests were built
What it takes is in the environment: QEMU_7 or QEMU_10, VHOST_DEVICE_VSOCK, as tools/setup --print prints them.
Status 77: a part is absent (1 with VIRTIO_TEST_REQUIRE_ALL=1).
"""
import pathlib
import socket
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
import report  # noqa: E402

CID, OTHER = 4, 5
# In the order of the guest's source.
EVERYTHING = "hello echo sink odd tiny trickle slow source called called_at_0 calls_unused_port no_messages many".split()
# vhost-device-vsock does not report a refused connection, nor one that the host's program breaks off.
SILENCE = "refused cut_off".split()


class Guest(unittest.TestCase):
    def boot(self, vsock, image="tests/qemu/vsock_guest", machine="q35", cid=CID, script=(), **options):
        words = {"cid": cid, "host": "silent", **options}
        return guestrun.boot(TREE / image, QEMU, machine, append=" ".join(f"{key}={value}" for key, value in words.items()),
                             extra=vsock.arguments(cid), script=script)

    def check(self, outcome, words):
        status, console = outcome
        said = [line[3:] for line in console.splitlines() if line.startswith("ok ")]
        self.assertEqual((status, said), (0, words), console)

    def test_every_service(self):
        """[VSOCK-01] [VSOCK-02] [VSOCK-05] [VSOCK-06] [VSOCK-07]"""
        for machine in ("pc", "q35"):
            with self.subTest(machine=machine), backend.serve(CID) as vsock, peer.serve(*vsock.paths()):
                self.check(self.boot(vsock, machine=machine, run=",".join(EVERYTHING)), EVERYTHING)

    def test_silence_is_bounded(self):
        with backend.serve(CID) as vsock, peer.serve(*vsock.paths()):
            self.check(self.boot(vsock, run=",".join(SILENCE)), SILENCE)

    def test_one_guest_after_the_other(self):
        with backend.serve(CID) as vsock, peer.serve(*vsock.paths()):
            for _ in range(5):
                self.check(self.boot(vsock, run="hello,echo"), ["hello", "echo"])
                vsock.wait()

    def test_siblings(self):
        with backend.serve(CID, OTHER) as vsock:
            listens, outcomes = threading.Event(), []
            server = threading.Thread(target=lambda: outcomes.append(
                self.boot(vsock, cid=OTHER, script=[("^listens", listens.set)], run="serves_sibling")))
            server.start()
            self.assertTrue(listens.wait(guestrun.HANG))
            self.check(self.boot(vsock, run="visits_sibling", sibling=OTHER), ["visits_sibling"])
            server.join()
        self.check(outcomes[0], ["serves_sibling"])

    def test_back_end_killed(self):
        with backend.serve(CID) as vsock, peer.serve(*vsock.paths()):
            self.check(self.boot(vsock, script=[("^kill it", vsock.kill, b"!")], run="outlives_host"), ["outlives_host"])

    def test_back_end_renewed(self):
        """After a reset of the machine everything works again."""
        with backend.serve(CID) as vsock, peer.serve(*vsock.paths()):
            vsock.arguments(CID)  # renewal() plugs the device of the last call
            status, console = self.boot(
                vsock, machine="pc", run="hello,outlives_host", stays=1,
                script=[("^kill it", vsock.kill, b"!"), *vsock.renewal(CID, "^ok outlives_host"), ("^ok hello", ("quit", {}))])
        self.assertEqual(status, guestrun.NO_STATUS, console)  # QEMU's status after quit
        self.assertRegex(console, r"(?s)ok hello\n.*kill it\nok outlives_host\n.*ok hello")

    def test_example(self):
        with backend.serve(CID) as vsock, socket.socket(socket.AF_UNIX) as listening:
            listening.bind(f"{vsock.path(CID)}_1234")
            listening.listen()
            heard = []

            def answer():
                sock, _ = listening.accept()
                with sock:
                    heard.append(sock.recv(100))
                    sock.sendall(b"hello from the host\n")
                    heard.append(sock.recv(100))
            host = threading.Thread(target=answer, daemon=True)
            host.start()
            status, console = self.boot(vsock, "examples/03_vsock_client")
            host.join(guestrun.HANG)
        self.assertEqual((status, console), (0, "the host says: hello from the host\n"))
        self.assertEqual(heard, [b"hello from the guest\n", b""])

    def test_lsvirtio(self):
        """The report about the device, about a port with a listener, and about one without, for which this host does
        not answer."""
        silence = "the peer did not connect or answer in time; the device works"
        with backend.serve(CID) as vsock, socket.socket(socket.AF_UNIX) as listening:
            listening.bind(f"{vsock.path(CID)}_1024")
            listening.listen()
            for words, outcome in (({}, "connected"), ({"vsock_port": 1025}, silence)):
                with self.subTest(outcome=outcome):
                    status, console = self.boot(vsock, "examples/lsvirtio", json=1, **words)
                    found = [one for one in report.objects(console) if one.get("device", {}).get("type") == "vsock"]
                    self.assertEqual((status, len(found)), (0, 1), console)
                    device, check = found[0]["device"], found[0]["check"]
                    self.assertEqual((found[0]["ids"], device["type_number"], len(device["queues"])),
                                     ("1af4:1053", 19, 3))
                    self.assertEqual([(one["name"], one["value"], one["agree"]) for one in device["configuration"]],
                                     [("guest_cid", str(CID), True)])
                    self.assertEqual((check["verdict"], check["cid"], check["outcome"]), ("bound", CID, outcome))
                vsock.wait()


if __name__ == "__main__":
    _, TREE, QEMU = matrix.asked_for(backend.missing())
    unittest.main(verbosity=2)
