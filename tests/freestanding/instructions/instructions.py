#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What accesses to registers and to shared words compile to, read from a disassembly of accessors.cpp.

usage: instructions.py COMPILER

A register access is one plain load or store of its width: no write-back, no pair, no memory operand of another instruction.
Hypervisors decode the instruction that trapped, and know few. The two barrier sets become what docs/memory-order.md says.
"""
import pathlib
import re
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tools"))
import compilers  # noqa: E402

# For each architecture: which instructions touch memory that is no stack, and what an access of each width must look like.
X86 = {"memory": r"(?!nop|lea).*\((?!%[er][sb]p)",
       "read": {1: r"movb \w*\([%\w,]+\), %\w+", 2: r"movw \w*\([%\w,]+\), %\w+", 4: r"movl \w*\([%\w,]+\), %\w+"},
       "write": {1: r"movb [$%]\w+, \w*\([%\w,]+\)", 2: r"movw [$%]\w+, \w*\([%\w,]+\)", 4: r"movl [$%]\w+, \w*\([%\w,]+\)"}}
A64 = {"memory": r".*\[",
       "read": {1: r"ldrb w\d+, \[x\d+\]", 2: r"ldrh w\d+, \[x\d+\]", 4: r"ldr w\d+, \[x\d+\]"},
       "write": {1: r"strb w\w+, \[x\d+\]", 2: r"strh w\w+, \[x\d+\]", 4: r"str w\w+, \[x\d+\]"}}
RISCV = {"memory": r".*\d\((?!sp)",
         "read": {1: r"lbu? .*", 2: r"lhu? .*", 4: r"lwu? .*"},
         "write": {1: r"sb .*", 2: r"sh .*", 4: r"sw .*"}}
ARCHITECTURES = {"x86_64": X86, "i686": X86, "aarch64": A64, "riscv64": RISCV}

# The table of docs/memory-order.md: a column's instructions in order, of those that touch memory or order it.
BARRIERS = {
    "x86_64": {"load_acquire": ["mov"], "store_release": ["mov"], "full": ["mfence|lock"]},
    "aarch64": {"smp": {"load_acquire": ["ldarh"], "store_release": ["stlrh"], "full": ["dmb ish"]},
                "dma": {"load_acquire": ["ldrh", "dmb oshld"], "store_release": ["dmb osh", "strh"], "full": ["dmb osh"]}},
    "riscv64": {"smp": {"load_acquire": ["lh", "fence r,rw"], "store_release": ["fence rw,w", "sh"], "full": ["fence rw,rw"]},
                "dma": {"load_acquire": ["lh", "fence ir,iorw"], "store_release": ["fence iorw,ow", "sh"],
                        "full": ["fence|fence iorw,iorw"]}},
}


def functions(objdump, path):
    """Name -> instructions, each with single blanks."""
    out, name = {}, None
    for line in compilers.must_run([objdump, "-d", "--no-show-raw-insn", path]).splitlines():
        if label := re.match(r"[0-9a-f]+ <(\w+)>:", line):
            name = label[1]
            out[name] = []
        elif name and (instruction := re.match(r"\s+[0-9a-f]+:\s+(.*\S)", line)):
            out[name].append(re.sub(r"\s+", " ", re.sub(r"\s*(#|//|<).*", "", instruction[1])).strip())
    return out


def complaints_about_registers(architecture, name, code):
    how, width, count = re.match(r"mmio_(read|write)_(\d)_(\d)", name).groups()
    rules = ARCHITECTURES[architecture]
    touching = [line for line in code if re.match(rules["memory"], line)]
    for line in touching:
        if not re.fullmatch(rules[how][int(width)], line):
            yield f"{name}: {line!r} is no plain {how} of {width} bytes"
    if (len(touching) != int(count)) if int(count) else not touching:
        yield f"{name}: {len(touching)} accesses: {code}"


def complaints_about_barriers(architecture, name, code):
    kind, what = name.split("_", 1)
    table = BARRIERS[architecture]
    wanted = table.get(kind, table)[what]
    stack = r".*(%[er][sb]p|\bsp\b)"
    shown = [line for line in code if re.match(r"(mov\w* .*\(|mfence|lock|ld|st|dmb|l[bhw]u? |s[bhw] |fence)", line)
             and (not re.match(stack, line) or line.startswith("lock"))]
    right = len(shown) == len(wanted) and all(
        any(re.match(re.escape(one) + (r"\w*( |$)" if one == "mov" else r"( |$)"), line.replace(", ", ",")) for one in want.split("|"))
        for line, want in zip(shown, wanted))
    if not right:
        yield f"{name}: {shown}, the table says {wanted}"


def main():
    compiler = sys.argv[1]
    compilers.need(compiler)
    objdump = compilers.need_any(["llvm-objdump", "llvm-objdump-19"])
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for target, flags in compilers.targets(compiler).items():
            architecture = target.split("-")[0]
            if architecture not in ARCHITECTURES or "windows" in target:
                continue
            for level in ("-O2", "-Os", "-O3"):
                path = pathlib.Path(folder, "accessors.o")
                compilers.must_run([compiler, *flags, *compilers.freestanding(compiler), level, "-fno-pic", f"-I{ROOT / 'include'}",
                                    "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-c",
                                    ROOT / "tests/freestanding/instructions/accessors.cpp", "-o", path])
                wrong, seen = [], 0
                for name, code in functions(objdump, path).items():
                    seen += 1
                    if name.startswith("mmio_"):
                        wrong += complaints_about_registers(architecture, name, code)
                    elif architecture in BARRIERS:
                        wrong += complaints_about_barriers(architecture, name, code)
                wrong += [] if seen == 17 else [f"{seen} functions, not 17"]
                print(f"{target} {level}:", *(wrong or ["good"]), sep="\n  " if wrong else " ")
                good = good and not wrong
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
