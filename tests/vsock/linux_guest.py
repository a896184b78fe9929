# SPDX-License-Identifier: MIT
"""A Linux guest with a vsock device, to test a host with Linux and to compare measurements: Debian's cloud kernel with
busybox, linux_guest.c and peer.c, from nested/linux_host.py. It contains nothing else that takes time."""
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "nested"))
sys.dont_write_bytecode = True
import linux_host  # noqa: E402
import peer  # noqa: E402

MODULES = ("virtio_pci", "vmw_vsock_virtio_transport")
PROGRAMS = ("linux_guest", "peer")

# The output of `linux_guest check`, first the lines common to all hosts.
_EVERYWHERE = """\
echo: ok, 300000 bytes came back
counted sink: ok, 1000003 93149a064998ca98
source: ok, 1000003 bytes
open caller: ok, 30 bytes of an answer
caller of a port without a listener: ok, refused
counted slow: ok, 100000 4a0704d36cefe6c5
"""
# It does not answer for an unused port, and does not report a program that breaks a connection off: only waiting ends.
# The end of one direction is the end of both.
ON_VHOST_DEVICE = _EVERYWHERE + """\
half: ok, and afterwards it does not listen
closed port: ok, ETIMEDOUT
abrupt: ok, not reported
"""
# With `whole`.
ON_KERNEL = _EVERYWHERE + """\
half: ok, and afterwards it listens
closed port: ok, ECONNRESET
abrupt: ok, EPIPE
echo to the end: ok, 300000 bytes came back
sink: ok, 1000003 93149a064998ca98
caller: ok, 30 bytes of an answer
slow: ok, 100000 4a0704d36cefe6c5
messages: ok, 12 of them, some with the end of a record
"""


def files():
    return {f"/bin/{name}": peer.program(name) for name in PROGRAMS}


def boot(linux, folder, qemu, script, extra, memory=256, timeout=None, stream=None, steps=()):
    """Runs `script` (with linux_guest and peer in its PATH) in a guest, with `extra` for QEMU, such as a back end's
    arguments for the same memory. Returns the script's status and output, as linux_host.boot() does; `steps` are as
    there."""
    return linux_host.boot(pathlib.Path(linux), pathlib.Path(folder), qemu, script, MODULES, files(), extra, memory, timeout,
                           stream, steps)
