#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Links the block hello world with nothing: no boot runtime, no C library, no compiler runtime.

usage: bare_link.py COMPILER

Fails if the program needs a function besides the four memory functions, a constructor, initialised data or a
personality routine for exceptions. Prints the program's size.
"""
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import compilers  # noqa: E402

NONE_OF = (".data", ".init_array", ".fini_array", ".ctors", ".dtors", ".preinit_array", ".tdata", ".tbss",
           ".gcc_except_table")


def main():
    compiler = sys.argv[1]
    compilers.need(compiler)
    nm = compilers.need_any(["llvm-nm", "nm"])
    machine = compilers.run([compiler, "-dumpmachine"]).stdout.strip()
    if not compilers.is_x86(machine):
        compilers.skip(f"the example's board is an x86 machine, this is {machine}")

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        # No -fno-asynchronous-unwind-tables: if a compiler emits .eh_frame by default, it must not need anything
        # either.
        flags = ["-Os", *compilers.freestanding(compiler), "-fno-pic", "-fno-stack-protector", "-fno-threadsafe-statics",
                 "-ffunction-sections", f"-I{HERE}", f"-I{ROOT / 'include'}"]

        def compile_one(source, output, *more):
            compilers.must_run([compiler, *flags, *more, "-c", source, "-o", folder / output])
            return folder / output

        program = compile_one(ROOT / "examples/01_blk/main.cpp", "main.o")
        start = compile_one(HERE / "start.cpp", "start.o")
        memory = compilers.memory_functions(compiler, flags, folder)

        image = folder / "image"
        linked = compilers.must_run([compiler, "-nostdlib", "-static", "-Wl,--gc-sections", "-Wl,--no-undefined",
                                     "-Wl,--fatal-warnings", "-Wl,--build-id=none", start, program,
                                     memory, "-o", image])
        print(linked, end="")

        symbols = [line.split()[:2] for line in compilers.must_run([nm, "-P", image]).splitlines() if line]
        called = sorted(name for name, _ in symbols if name in compilers.MEMORY_FUNCTIONS)
        own = {line.split()[0] for line in compilers.must_run([nm, "-P", "-u", program]).splitlines() if line}
        sections = compilers.sections(image)

    wrong = [f"{section} has {sections[section]} bytes" for section in NONE_OF if sections.get(section, 0) != 0]
    wrong += [f"{symbol} is undefined" for symbol, kind in symbols if kind in "Uw"]
    wrong += [f"the program needs {symbol}" for symbol in sorted(own - set(compilers.MEMORY_FUNCTIONS))]
    wrong += [f"{symbol} is in the image" for symbol, _ in symbols
              if any(part in symbol for part in ("personality", "__cxa", "_Unwind", "_GLOBAL__sub_I", "__dso_handle"))]
    print(f"{compiler}: {sections.get('.text', 0)} bytes of text, {sections.get('.rodata', 0)} of constants, "
          f"{sections.get('.bss', 0)} of zeros; calls {', '.join(called) or 'no memory function'}")
    for line in wrong:
        print(f"failed: {line}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
