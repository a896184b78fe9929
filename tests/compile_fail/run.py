#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compiles one case twice: with FAIL it must not compile, with the expected message; without FAIL it must compile.

usage: run.py CASE.cpp COMPILER

The comments at the top of a case are:
  // case: SENTENCE      what does not compile
  // says: REGEX         the compiler's message; `gcc:` and `clang:` if the messages differ
  // target: TARGET      compile for this bare target; for clang only
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import compilers  # noqa: E402


def main():
    case, compiler = pathlib.Path(sys.argv[1]), sys.argv[2]
    compilers.need(compiler)
    said = dict(re.findall(r"^// (case|says|gcc|clang|target): (.+)$", case.read_text(encoding="utf-8"), re.M))
    clang = compilers.is_clang(compiler)
    expected = said.get("says") or said["clang" if clang else "gcc"]
    if "target" in said and not clang:
        sys.exit(f"{case.name} is for clang: it compiles for {said['target']}")

    # No source lines among the messages: only the compiler's words count.
    flags = [*compilers.freestanding(compiler), f"-I{ROOT / 'include'}", "-fsyntax-only",
             "-fno-caret-diagnostics" if clang else "-fno-diagnostics-show-caret"]
    if "target" in said:
        flags.append(f"--target={said['target']}")

    twin = compilers.run([compiler, *flags, case])
    if twin.returncode != 0:
        print(twin.stdout)
        sys.exit("failed: the twin, which is right, does not compile")
    wrong = compilers.run([compiler, *flags, "-DFAIL", case])
    if wrong.returncode == 0:
        sys.exit("failed: it compiles")
    errors = [line for line in wrong.stdout.splitlines() if re.search(expected, line)]
    if not errors:
        print(wrong.stdout)
        sys.exit(f"failed: it does not compile, but the compiler does not say: {expected}")
    print(errors[0])


if __name__ == "__main__":
    main()
