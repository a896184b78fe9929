# SPDX-License-Identifier: MIT
"""A disk served outside QEMU: qemu-storage-daemon serves an image over vhost-user, and QEMU passes rings and memory to
it."""
import contextlib
import pathlib
import subprocess
import tempfile
import time

import guestrun

COMMAND = "qemu-storage-daemon"


@contextlib.contextmanager
def serve(image, queues=1):
    """The path of the socket at which `image` is served during the block."""
    with tempfile.TemporaryDirectory(prefix="virtio-") as folder:  # a socket's path must be short
        socket, ready = pathlib.Path(folder) / "disk", pathlib.Path(folder) / "ready"
        daemon = subprocess.Popen([
            COMMAND, "--pidfile", ready, "--blockdev", f"driver=file,node-name=file,filename={image},discard=unmap",
            "--blockdev", "driver=raw,node-name=disk,file=file,discard=unmap", "--export",
            f"type=vhost-user-blk,id=disk,node-name=disk,addr.type=unix,addr.path={socket},writable=on,num-queues={queues}"],
            stdin=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + guestrun.HANG
            while not ready.exists():  # written when it listens
                if daemon.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{COMMAND} does not listen, its status is {daemon.poll()}")
                time.sleep(0.02)
            yield socket
        finally:
            daemon.terminate()
            daemon.wait()
