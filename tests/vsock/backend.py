# SPDX-License-Identifier: MIT
"""Vsock for QEMU's guests without a kernel module: vhost-device-vsock serves any number of guests by Unix sockets.

    with backend.serve(4, 5) as vsock, peer.serve(*vsock.paths()):
        ... QEMU with vsock.arguments(4), and one with vsock.arguments(5) ...
        with vsock.connect(4, 1234) as sock: ...

Two of its guests reach each other by their CIDs. The command comes from the environment: VHOST_DEVICE_VSOCK, as
tools/setup --print prints it.
"""
import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
import guestrun  # noqa: E402

VARIABLE = "VHOST_DEVICE_VSOCK"
KERNEL = pathlib.Path("/dev/vhost-vsock")
IN_VAIN = 3  # seconds, if the expected answer is none


def missing():
    """Returns why no back end is available here; empty if one is."""
    if os.environ.get(VARIABLE):
        return ""
    return f"{VARIABLE} is empty, no vhost-device-vsock on this machine (on Debian 12 tools/setup builds it)"


def missing_kernel():
    """Returns why this machine's own kernel cannot serve a guest; empty if it can, with kernel_arguments()."""
    if not KERNEL.exists():
        return f"no {KERNEL} on this machine (its kernel's module is vhost_vsock)"
    return "" if os.access(KERNEL, os.R_OK | os.W_OK) else f"{KERNEL} is not for this user"


def kernel_arguments(cid, options=""):
    """QEMU's arguments for a guest that the kernel serves, of this machine or of another (see tests/nested)."""
    return ["-device", ",".join(filter(None, [f"vhost-vsock-pci,guest-cid={cid}", options]))]


class Died(RuntimeError):
    """The back end or one of its threads ended; the message has its output."""


class Backend:
    def __init__(self, folder, cids, options):
        self.folder, self.cids, self.options, self.abandoned, self.devices = folder, cids, options, [], {}
        self.log, self.process = folder / "log", None

    def start(self):
        """Starts it, and again after kill(), on the same sockets."""
        guests = [word for cid in self.cids for word in ("--vm", ",".join(filter(None, [
            f"guest-cid={cid},socket={self.socket(cid)},uds-path={self.path(cid)}", self.options])))]
        self.killed = False
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([os.environ[VARIABLE], *guests], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={"RUST_LOG": "warn", **os.environ})
        self.wait()

    def socket(self, cid):
        """The socket to which QEMU connects."""
        return self.folder / f"q{cid}"

    def path(self, cid):
        """The guest's UDS_PATH: clients of the guest connect there, servers for the guest listen at PATH_port."""
        return self.folder / f"{cid}"

    def paths(self):
        return [self.path(cid) for cid in self.cids]

    def output(self):
        return self.log.read_text(errors="replace")

    def check(self):
        """Raises Died unless the back end is in its last known state."""
        status = self.process.poll()
        if not self.killed and (status is not None or "panicked at" in self.output()):
            raise Died(f"vhost-device-vsock {'panicked' if status is None else f'ended with {status}'}:\n{self.output()[-4000:]}")

    def wait(self):
        """Waits until it accepts every guest: at first, and again after a QEMU has ended, since it then makes new
        sockets."""
        wanted = {str(path) for cid in self.cids for path in (self.socket(cid), self.path(cid))}
        deadline = time.monotonic() + guestrun.HANG
        while True:
            self.check()
            lines = pathlib.Path("/proc/net/unix").read_text().splitlines()[1:]
            words = [line.split() for line in lines]
            # __SO_ACCEPTCON, and paths
            accepting = {one[7] for one in words if len(one) > 7 and int(one[3], 16) & 0x10000}
            if wanted <= accepting:
                return
            if time.monotonic() > deadline:
                missed = ", ".join(sorted(wanted - accepting))
                raise Died(f"vhost-device-vsock does not listen at {missed}:\n{self.output()[-4000:]}")
            time.sleep(0.005)

    def has_queues(self, cid):
        """Whether the guest's queues are in use. An earlier connection of the host makes the back end (0.3.0) end the
        thread that serves the guest, without a message, and QEMU lets the guest run while it is still passing the
        queues to the back end."""
        listening = {line.split()[6] for line in pathlib.Path("/proc/net/unix").read_text().splitlines()[1:]
                     if line.endswith(f" {self.path(cid)}") and int(line.split()[3], 16) & 0x10000}
        process = pathlib.Path("/proc") / str(self.process.pid)
        watches = {}  # by epoll: descriptor -> data
        for one in process.glob("fdinfo/*"):
            with contextlib.suppress(FileNotFoundError):
                found = re.findall(r"^tfd: +(\d+) .* data: +([0-9a-f]+) ", one.read_text(), re.MULTILINE)
                watches[int(one.name)] = {int(fd): int(data, 16) for fd, data in found}

        def listens(fd):
            with contextlib.suppress(FileNotFoundError):
                return (process / "fd" / str(fd)).readlink().name.removeprefix("socket:[").removesuffix("]") in listening
            return False

        # One set has the socket to which the host connects; the other has that set, and the queues by their numbers.
        hosts = {epoll for epoll, entries in watches.items() if any(listens(fd) for fd in entries)}
        return any(hosts & entries.keys() and {0, 1} <= set(entries.values()) for entries in watches.values())

    def wait_for_queues(self, cid):
        """Called before a connection to a guest that has just reported that it listens."""
        deadline = time.monotonic() + guestrun.HANG
        while not self.has_queues(cid):
            self.check()
            if time.monotonic() > deadline:
                raise Died(f"vhost-device-vsock has not got the queues of guest {cid}:\n{self.output()[-4000:]}")
            time.sleep(0.005)

    def arguments(self, cid, memory=128, options="", device="vhost-user-vsock-pci"):
        """QEMU's arguments for one of the guests with `memory` megabytes, which the back end shares."""
        self.check()
        self.devices[cid] = {"driver": device, "id": "vsock", "chardev": "vsock-socket",
                             **dict(option.split("=") for option in options.split(",") if option)}
        return ["-object", f"memory-backend-memfd,id=vsock-memory,size={memory}M,share=on",
                "-machine", "memory-backend=vsock-memory", "-chardev", f"socket,id=vsock-socket,path={self.socket(cid)}",
                "-device", ",".join(filter(None, [f"{device},id=vsock,chardev=vsock-socket", options]))]

    def renewal(self, cid, condition):
        """Steps for guestrun.boot()'s script: when `condition` matches, restarts a killed back end and resets the
        guest, with a newly plugged device: QEMU does not reconnect a device that has lost its back end. The machine is
        stopped meanwhile: a running guest would find the old device, none, or one without addresses."""
        address = {"type": "unix", "data": {"path": str(self.socket(cid))}}
        backend = {"type": "socket", "data": {"server": False, "addr": address}}
        gone = "event DEVICE_DELETED"  # of the backend's side, then of the whole
        plug = [("chardev-remove", {"id": "vsock-socket"}), ("chardev-add", {"id": "vsock-socket", "backend": backend}),
                ("device_add", self.devices[cid]), ("cont", {})]
        return [(condition, self.start, ("set-action", {"reboot": "reset"}), ("stop", {}), ("device_del", {"id": "vsock"}),
                 ("system_reset", {})), (gone,), (gone, *plug)]

    def connect(self, cid, port, timeout=guestrun.HANG):
        """A connection to the guest's port. ConnectionRefusedError: no listener; TimeoutError: no answer at all.

        A client that closes before the guest has answered makes the back end panic on the answer: connections that
        timed out stay open until the end."""
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(timeout)
            sock.connect(str(self.path(cid)))
            sock.sendall(b"CONNECT %d\n" % port)
            line = b""
            while not line.endswith(b"\n"):
                byte = sock.recv(1)
                if not byte:
                    raise ConnectionResetError
                line += byte
            return sock
        except (BrokenPipeError, ConnectionResetError) as failure:  # there is no guest, or it is not running
            sock.close()
            raise ConnectionRefusedError(f"guest {cid}, port {port}") from failure
        except BaseException:
            self.abandoned.append(sock)
            raise

    def kill(self):
        """Kills it."""
        self.killed = True
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        for sock in self.abandoned:
            sock.close()
        self.killed = True
        self.process.terminate()
        try:
            self.process.wait(guestrun.HANG)
        except subprocess.TimeoutExpired:
            self.kill()


@contextlib.contextmanager
def serve(*cids, options=""):
    """A back end for guests with these CIDs during the block; at its end the back end must still run, unless it was
    killed. `options` are added to every guest's: tx-buffer-size=N, queue-size=N, groups=A+B."""
    with tempfile.TemporaryDirectory(prefix="virtio-") as folder:  # a socket's path must be short
        served = Backend(pathlib.Path(folder), cids, options)
        try:
            served.start()
            yield served
            served.check()
        finally:
            served.stop()
