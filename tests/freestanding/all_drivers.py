#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compiles all_drivers.cpp for every target of one compiler, and looks at what comes out.

usage: all_drivers.py combinations COMPILER    every driver x transport x queue x board compiles
       all_drivers.py symbols COMPILER -O2     the objects need nothing but the four memory functions
       all_drivers.py zeros COMPILER           no constructor runs, nothing has to be loaded but code and constants
"""
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
CONSTRUCTORS = (".init_array", ".ctors", ".CRT$XC")


def compile_for(compiler, target, flags, output):
    command = [compiler, *compilers.targets(compiler)[target], *compilers.freestanding(compiler), *CODE, *flags,
               f"-I{ROOT / 'include'}", ROOT / "tests/freestanding/all_drivers.cpp"]
    return compilers.run(command + (["-c", "-o", output] if output else ["-fsyntax-only"]))


def undefined(nm, path):
    lines = compilers.must_run([nm, "-u", "-P", path]).splitlines()
    return {line.split()[0] for line in lines if line.strip()}


def look_at_symbols(target, path, nm):
    allowed = MEMORY | FROM_THE_LINKER.get(target, set()) | (ARM_MEMORY if target.startswith("arm") else set())
    foreign = undefined(nm, path) - allowed
    return [f"needs {', '.join(sorted(foreign))}"] if foreign else []


def look_at_zeros(_, path, nm):
    wrong = [f"{name}: {count} bytes" for name, count in compilers.sections(path).items()
             # Constants that hold addresses are .data.rel.ro for targets with a table of contents: nobody writes them.
             if count and not name.startswith(".data.rel.ro") and (name == ".data" or name.startswith((".data.", *CONSTRUCTORS)))]
    if not wrong:
        return []
    entries = [line.split() for line in compilers.must_run([nm, "-P", path]).splitlines()]
    names = [words[0] for words in entries if len(words) > 1 and words[1] in "dD"]
    return wrong + ([f"initialised objects: {', '.join(names)}"] if names else [])


def main():
    check, compiler = sys.argv[1:3]
    compilers.need(compiler)
    nm = compilers.need_any(["llvm-nm", "nm"]) if check != "combinations" else None
    flags = {"combinations": ["-DEVERY_COMBINATION"], "symbols": sys.argv[3:], "zeros": ["-O0"]}[check]
    look = {"combinations": None, "symbols": look_at_symbols, "zeros": look_at_zeros}[check]

    def one(target):
        path = pathlib.Path(folder, target + ".o") if look else None
        done = compile_for(compiler, target, flags, path)
        if done.returncode != 0:
            return ["does not compile\n" + "\n".join(done.stdout.splitlines()[:20])]
        return look(target, path, nm) if look else []

    good = True
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(2) as pool:
        every = list(compilers.targets(compiler))
        for target, wrong in zip(every, pool.map(one, every)):
            print(f"{target}: {'; '.join(wrong) or 'good'}")
            good = good and not wrong
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
