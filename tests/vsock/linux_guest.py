# SPDX-License-Identifier: MIT
"""A Linux guest with a vsock device, to see what a host makes of Linux, and to measure ours against it: Debian's cloud kernel with
busybox, linux_guest.c and peer.c, from nested/linux_host.py. There is nothing else in it that takes time."""
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "nested"))
sys.dont_write_bytecode = True
import linux_host  # noqa: E402
import peer  # noqa: E402

MODULES = ("virtio_pci", "vmw_vsock_virtio_transport")
PROGRAMS = ("linux_guest", "peer")


def boot(linux, folder, qemu, script, extra, memory=256, timeout=120, stream=None):
    """Runs `script` (which finds linux_guest and peer in its PATH) in a guest, with `extra` for QEMU, such as a back end's
    arguments for as much memory. Gives the script's status and all that it printed; the rest is linux_host.boot()'s."""
    files = {f"/bin/{name}": peer.program(name) for name in PROGRAMS}
    return linux_host.boot(pathlib.Path(linux), pathlib.Path(folder), qemu, script, MODULES, files, extra, memory, timeout, stream)
