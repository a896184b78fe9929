# SPDX-License-Identifier: MIT
"""A disk that is not QEMU's: qemu-storage-daemon serves an image over vhost-user, and QEMU passes rings and memory on to it."""
import contextlib
import pathlib
import subprocess
import tempfile
import time

COMMAND = "qemu-storage-daemon"


@contextlib.contextmanager
def serve(image, queues=1):
    """The path of the socket at which `image` is served as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="virtio-") as folder:  # a socket's path must be short
        socket = pathlib.Path(folder) / "disk"
        daemon = subprocess.Popen([
            COMMAND, "--blockdev", f"driver=file,node-name=file,filename={image},discard=unmap",
            "--blockdev", "driver=raw,node-name=disk,file=file,discard=unmap", "--export",
            f"type=vhost-user-blk,id=disk,node-name=disk,addr.type=unix,addr.path={socket},writable=on,num-queues={queues}"],
            stdin=subprocess.DEVNULL)
        try:
            for _ in range(500):
                if socket.exists() or daemon.poll() is not None:
                    break
                time.sleep(0.02)
            if not socket.exists():
                raise RuntimeError(f"{COMMAND} made no socket, its status is {daemon.poll()}")
            yield socket
        finally:
            daemon.terminate()
            daemon.wait()
