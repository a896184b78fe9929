#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Links two translation units that both include every header, in opposite orders, and runs the program: each unit
drives the same disk with its own instantiation.

usage: odr.py [--long] COMPILER

One unit is optimized and the other is not, so that each has the functions that the other must share: out of line here,
inlined there. g++ also links them with -flto, which compares their types and functions. With --long: both unoptimized,
and both optimized, too.
"""
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
PROGRAM = ROOT / "tests/consumers/program"  # the disk that both units drive
sys.path.insert(0, str(ROOT / "tools"))
import compilers  # noqa: E402

X86_ONLY = {"virtio/platform/ports.hpp", "virtio/bus/pci/cf8.hpp"}


def main():
    more, compiler = sys.argv[1:-1] == ["--long"], sys.argv[-1]
    compilers.need(compiler)
    clang = compilers.is_clang(compiler)
    x86 = compilers.is_x86(compilers.run([compiler, "-dumpmachine"]).stdout)
    headers = sorted(path.relative_to(ROOT / "include").as_posix() for path in (ROOT / "include").rglob("*.hpp"))
    headers = [header for header in headers if x86 or header not in X86_ONLY]
    # Way -> flags of the first unit, of the second, and of both and the link.
    ways = {"-O0 and -O2": (["-O0"], ["-O2"], [])}
    if more:
        ways |= {"-O0": (["-O0"], ["-O0"], []), "-O2": (["-O2"], ["-O2"], [])}
    if not clang:
        ways["-flto"] = ([], [], ["-O1", "-flto", "-Werror=odr", "-Werror=lto-type-mismatch"])

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for unit, order in (("one", headers), ("two", headers[::-1])):
            (folder / f"{unit}.hpp").write_text("".join(f"#include <{header}>\n" for header in order), encoding="utf-8")
        for way, (of_one, of_two, flags) in ways.items():
            objects = []
            for unit, its in (("one", of_one), ("two", of_two)):
                objects.append(folder / f"{unit}{way}.o")
                compilers.must_run([compiler, "-std=c++20", *compilers.WARNINGS, *its, *flags, f"-I{ROOT / 'include'}",
                                    f"-I{PROGRAM}", f'-DEVERYTHING="{folder / unit}.hpp"', "-c", HERE / f"{unit}.cpp", "-o", objects[-1]])
            program = folder / f"program{way}"
            said = compilers.must_run([compiler, *flags, *objects, "-Wl,--fatal-warnings", "-o", program])
            if said.strip():
                print(said)
                sys.exit(f"failed: {compiler} {way} links with warnings")
            print(f"{way}: {compilers.must_run([program])}", end="")


if __name__ == "__main__":
    main()
