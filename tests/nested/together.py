#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""One boot of the Linux host for all tests that need it: the matrix's guests under KVM, our guest on the kernel's
vhost-vsock, and the demo and the server there. Each test's result is left for result.sh; kvm.py, vsock.py or
tests/vsock/test_kernel.py runs a single test.

usage: together.py [--more] [--tree TREE] 7.2|10    what it takes is in the environment, as for these
The status is 0 whatever the results. If the host does not reach its end, the test that was running fails; later tests
are left to run alone.
"""
import argparse
import contextlib
import io
import os
import pathlib
import sys
import time
import traceback

import inner
import kvm
import vsock
sys.path[:0] = [str(inner.linux_host.ROOT / folder) for folder in ("tests/support", "examples/demo")]
import matrix  # noqa: E402
import results  # noqa: E402
import test_kernel  # noqa: E402

VSOCK_NUMBERS = 1000  # of guests, after those of the cells


def names(version):
    """The three tests."""
    return (next(name for name, of in kvm.TESTS.items() if of == version),
            f"nested, QEMU {version}: our guest and its peer through the kernel's vhost-vsock",
            f"nested, QEMU {version}: examples through the kernel's vhost-vsock, its tap and gvproxy")


def part(name, script):
    """A part of the host's script that can end without the others."""
    return f"(\n{script}\n)\necho 'part {name} '$?\n"


def status_of(name, status, console):
    """Returns a part's own status, or the host's if the part did not reach its end."""
    return next((int(line.rpartition(" ")[2]) for line in console.splitlines() if line.startswith(f"part {name} ")), status or 1)


def run(version, tree, more, folder):
    """Boots the host: returns {test's name: (status, output)} of the tests with a result."""
    qemu, linux = os.environ[matrix.VARIABLES[version]], pathlib.Path(os.environ["LINUX_HOST"])
    cells = kvm.wanted(version, more)
    script, files = kvm.script_and_files(cells, qemu, tree)
    ours, more_files = vsock.everything(linux, tree, more)
    theirs = [] if test_kernel.missing(version) else test_kernel.guests(tree)
    guests = [*ours, *theirs]
    vsock_script, vsock_files = vsock.prepare(qemu, guests, f"{test_kernel.BEFORE}; {vsock.BEFORE}",
                                              more_files | (test_kernel.files() if theirs else {}), VSOCK_NUMBERS)
    began = time.monotonic()
    status, console = inner.boot(linux, folder, qemu, inner.SCRIPT + part("kvm", script) + part("vsock", vsock_script),
                                 len(cells) + len(guests), vsock.MODULES, files | vsock_files, vsock.more_time(guests))
    print(f"{len(cells) + len(guests)} guests in one boot of the host; its status {status}, {time.monotonic() - began:.1f} s")

    kvm_status, vsock_status = (status_of(name, status, console) for name in ("kvm", "vsock"))
    told = vsock.outcomes(vsock_status, console, guests, VSOCK_NUMBERS)
    numbers = {number for number, one in inner.told(console).items() if "status" in one}
    first, decided = VSOCK_NUMBERS + 1, {}
    for name, its, report in zip(names(version), (range(len(cells)), range(first, first + len(ours)),
                                                  range(first + len(ours), first + len(guests))), (
            lambda _: kvm.report_all(cells, kvm_status, console),
            lambda _: vsock.report({one: told[one] for one in ("", *(guest.name for guest in ours))}),
            lambda output: test_kernel.report(told, output))):
        if its:
            with contextlib.redirect_stdout(io.StringIO()) as output:
                decided[name] = report(output), output.getvalue()
        if not numbers.issuperset(its):
            break  # the host ended here
    return decided


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--more", action="store_true")
    parser.add_argument("qemu", choices=matrix.VARIABLES)
    parser.add_argument("--tree", type=pathlib.Path, help="where the guests were built (default: where tools/test does)",
                        default=matrix.BUILDS["x86_64"])
    options = parser.parse_args(arguments)
    for name in names(options.qemu):
        results.forget(options.tree, name)
    why = inner.missing(options.qemu)
    if why:
        print(why)  # as each test prints it
        return 0
    with matrix.folder_for(options.tree, f"nested-{options.qemu}") as (folder, wrong):
        try:
            decided = run(options.qemu, options.tree, options.more, folder)
        except Exception:
            traceback.print_exc()
            print("each of the tests runs alone")
            decided = {}
        for name, (status, output) in decided.items():
            results.store(options.tree, name, status, output)
            print("ok   " if status == 0 else "WRONG", name)
            wrong += [name] if status else []
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
