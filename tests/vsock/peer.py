# SPDX-License-Identifier: MIT
"""The host's side of a vsock test: peer.c, built on demand, serves the guests of a back end through its Unix
sockets."""
import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "tools"))
import guestrun  # noqa: E402

BUILD = HERE.parent.parent / "build" / "vsock"
FLAGS = "-std=c11 -O2 -static -Wall -Wextra -Wconversion -Wshadow -Wpedantic -Werror".split()


def program(name="peer"):
    """The program built from a C file in this folder: it needs no library, so that it runs in any Linux."""
    source, target = HERE / f"{name}.c", BUILD / name
    newest = max(path.stat().st_mtime for path in (source, HERE / "common.h"))
    if not target.exists() or target.stat().st_mtime < newest:
        BUILD.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=BUILD) as folder:  # other tests may use it at the same time
            made = pathlib.Path(folder) / name
            subprocess.run(["cc", *FLAGS, source, "-o", made], check=True)
            os.replace(made, target)
    return target


@contextlib.contextmanager
def serve(*sockets):
    """The services of `peer unix` for the guests with these UDS_PATHs, during the block."""
    process = subprocess.Popen([program(), "unix", *sockets], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        said = process.stdout.readline()
        if said != "peer: ready\n":
            raise RuntimeError(f"the peer is not ready: {said!r}, its status is {process.wait()}")
        yield process
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()
