#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the commands of docs/network.md unchanged, in one shell. tests/demo/check tests tools/demo network.

Two things differ: the port, which must be free, and the folder of the sockets. Status 77: a part is absent (1 with
VIRTIO_TEST_REQUIRE_ALL=1).
"""
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("tests/vsock", "tests/qemu", "tools", "examples/08_network")]
import backend  # noqa: E402
import guestrun  # noqa: E402
import gvproxy  # noqa: E402
import host  # noqa: E402
import matrix  # noqa: E402

for why in filter(None, (backend.missing(), gvproxy.missing())):
    sys.exit(matrix.skip(why))

commands = "".join(line[4:] for line in (ROOT / "docs/network.md").read_text().splitlines(keepends=True) if line.startswith("    "))
assert commands.count("tools/run-guest") == 2 and commands.startswith("tools/demo network\n")
commands = commands.partition("\n")[2]
with tempfile.TemporaryDirectory(prefix="virtio-") as folder:
    script = "set -e\n" + commands.replace("8000", str(host.free_port())).replace("/tmp/", f"{folder}/")
    shell = subprocess.Popen(["bash", "-c", script], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             text=True, start_new_session=True, env={**os.environ, "CI": "true"})
    try:
        lines = []
        for line in shell.stdout:  # ends with the shell's last guest, not with the servers that it leaves
            lines.append(line)
            if sum("HTTP: fetched" in one for one in lines) == 2:
                break
        status = shell.wait(guestrun.HANG)
    finally:
        os.killpg(shell.pid, signal.SIGTERM)
output = "".join(lines)
print(output)
size = (ROOT / "README.md").stat().st_size
fetched = re.findall(r"^HTTP: fetched (\d+) bytes$", output, re.M)
print("status", status, "pages", fetched, "of", size)
sys.exit(0 if status == 0 and fetched == [str(size)] * 2 else 1)
