#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The distribution's `usbip` lists the devices of a server, and receives the reason if it cannot import one.

usage: test_list.py SERVE      (the program usbip_serve)
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
import compilers  # noqa: E402


def usbip(tool, port, *arguments):
    done = subprocess.run([tool, "--tcp-port", port, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout


def expect(holds, what, text):
    if not holds:
        sys.exit(f"failed: {what}:\n{text}")


def main():
    tool = shutil.which("usbip", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not tool:
        compilers.skip("no usbip on this machine (Debian's package of that name)")
    server = subprocess.Popen([sys.argv[1], "--listen", "0"], stdout=subprocess.PIPE, text=True)
    try:
        port = re.search(r"listening on (\d+)", server.stdout.readline())[1]
        for _ in range(2):
            listed = usbip(tool, port, "list", "-r", "127.0.0.1")
            for number in range(1, 7):
                expect(re.search(rf"^ *1-{number}: .*\(1209:000{1 + (number > 3)}\)$", listed, re.M), f"1-{number} is not in the list", listed)
            expect("(ff/00/00)" in listed and "/usbip/1-1" in listed, "interface or path is not in the list", listed)
            line = server.stdout.readline()
            expect("the peer received its list (8 bytes received" in line, "the server says something else", line)
        refused = usbip(tool, port, "attach", "-r", "127.0.0.1", "-b", "1-9")
        # Without vhci_hcd, older tools exit before they send a request.
        expect("not found" in refused.lower() or "vhci" in refused, "an import of what is not there", refused)
    finally:
        server.terminate()
        server.wait()
    print("listed twice: six devices")


if __name__ == "__main__":
    main()
