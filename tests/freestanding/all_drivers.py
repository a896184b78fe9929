#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compiles all_drivers.cpp for every target of one compiler, and checks the objects.

usage: all_drivers.py [--share] [--source FILE] CHECK COMPILER [-O2]
  combinations        every driver x transport x queue x board compiles
  symbols, with -O2   the objects need nothing but the four memory functions
  zeros               no constructor runs, only code and constants are loaded; objects are not optimized
  --source            another file than all_drivers.cpp: for the test of this script
  --share             this compiler's share of a plain run of the tests. Without it, and with tools/test --long: everything

A frontend's mistakes are those of a compiler, the widths and byte order of types those of a target. So a plain run compiles
every combination with each compiler for its own target; and with one of them (compilers.REFERENCE) for each other target a
third, in which any three of driver, transport, queue and board come together. The same goes for zeros: there the reference
compiler has a target of each C++ ABI, width and byte order, and `symbols` looks at the optimized objects of all. It compiles
a third of what is optimized for a target: every board, driver and kind of transport, but each board with one driver, and
with the next one for the next target.
That every compiler generates code for every target is shown elsewhere too: instructions.py, the consumers' single header.
"""
import argparse
import concurrent.futures
import pathlib
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import compilers  # noqa: E402

MEMORY = set(compilers.MEMORY_FUNCTIONS)
# The same four under the names of the Arm run-time ABI, which the program supplies as well.
ARM_MEMORY = {f"__aeabi_{name}{width}" for name in ("memcpy", "memmove", "memset", "memclr") for width in ("", "4", "8")}
# Not a function: the linker defines it.
FROM_THE_LINKER = {"powerpc64-none-elf": {".TOC."}}

CODE = ["-fno-pic", "-fno-stack-protector", "-fno-asynchronous-unwind-tables"]
DATA = (".data", ".sdata")  # RISC-V has a section for small data
CONSTRUCTORS = (".init_array", ".ctors", ".CRT$XC")

# The reference compiler's share of `zeros`: Itanium's ABI, that of 32-bit Arm, a table of contents and big-endian,
# Microsoft's.
ABIS = ["x86_64-none-elf", "armv7-none-eabi", "powerpc64-none-elf", "x86_64-unknown-windows"]
# The third of the drivers for a target, in the order of compilers.BARE_TARGETS: x86 has them all, and so has each
# width.
TURNS = (0, 1, 2, 0, 1, 2, 2)


def share(check, compiler):
    """Target -> flags, for a plain run."""
    every = list(compilers.targets(compiler))
    turns = {target: [f"-DTURN={turn}"] for target, turn in zip(every, TURNS)}
    if check == "symbols":
        return turns
    if not compilers.is_reference(compiler):
        return {every[0]: []}
    if check == "combinations":
        return turns | {every[0]: []}
    return {target: [] for target in every if target in ABIS} or {every[0]: []}


def compile_for(compiler, target, flags, source, output):
    command = [compiler, *compilers.targets(compiler)[target], *compilers.freestanding(compiler), *CODE, *flags,
               f"-I{ROOT / 'include'}", source]
    return compilers.run(command + (["-c", "-o", output] if output else ["-fsyntax-only"]))


def undefined(nm, path):
    lines = compilers.must_run([nm, "-u", "-P", path]).splitlines()
    return {line.split()[0] for line in lines if line.strip()}


def look_at_symbols(target, path, nm):
    allowed = MEMORY | FROM_THE_LINKER.get(target, set()) | (ARM_MEMORY if target.startswith("arm") else set())
    foreign = undefined(nm, path) - allowed
    return [f"needs {', '.join(sorted(foreign))}"] if foreign else []


def look_at_zeros(_, path, nm):
    kinds = (*(one + "." for one in DATA), *CONSTRUCTORS)
    wrong = [f"{name}: {count} bytes" for name, count in compilers.sections(path).items()
             # Constants with addresses are in .data.rel.ro for targets with a table of contents: they are not written.
             if count and not name.startswith(".data.rel.ro") and (name in DATA or name.startswith(kinds))]
    if not wrong:
        return []
    entries = [line.split() for line in compilers.must_run([nm, "-P", path]).splitlines()]
    names = [words[0] for words in entries if len(words) > 1 and words[1] in "dD"]
    return wrong + ([f"initialised objects: {', '.join(names)}"] if names else [])


def look_at_both(target, path, nm):
    return look_at_symbols(target, path, nm) + look_at_zeros(target, path, nm)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", action="store_true")
    parser.add_argument("--source", type=pathlib.Path, default=ROOT / "tests/freestanding/all_drivers.cpp")
    parser.add_argument("check", choices=("combinations", "symbols", "zeros"))
    parser.add_argument("compiler")
    options, levels = parser.parse_known_args()
    check, compiler = options.check, options.compiler
    if (check == "symbols") != (len(levels) == 1):
        sys.exit(__doc__)
    compilers.need(compiler)
    nm = compilers.need_any(["llvm-nm", "nm"]) if check != "combinations" else None
    flags = {"combinations": ["-DEVERY_COMBINATION"], "symbols": levels, "zeros": ["-O0"]}[check]
    look = {"combinations": None, "symbols": look_at_both, "zeros": look_at_zeros}[check]
    every = compilers.targets(compiler)
    chosen = share(check, compiler) if options.share else {target: [] for target in every}

    def one(target):
        path = pathlib.Path(folder, target + ".o") if look else None
        done = compile_for(compiler, target, flags + chosen[target], options.source, path)
        if done.returncode != 0:
            return ["does not compile\n" + "\n".join(done.stdout.splitlines()[:20])]
        return look(target, path, nm) if look else []

    good = True
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(2) as pool:
        for target, wrong in zip(chosen, pool.map(one, chosen)):
            print(f"{target}{''.join(' ' + flag for flag in chosen[target])}: {'; '.join(wrong) or 'good'}")
            good = good and not wrong
    turns = any(chosen.values())
    print(f"{check}: {len(chosen)} of {len(every)} targets with {compiler}" + (", a third of the drivers where it says TURN" if turns else "")
          + ("; the rest is left to another compiler or check, and to --long" if turns or len(chosen) < len(every) else ""))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
