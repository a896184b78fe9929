#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks the instructions of accesses to registers and to shared words, in a disassembly of accessors.cpp.

usage: instructions.py COMPILER

A register access is one plain load or store of its width: no write-back, no pair, no memory operand of another
instruction. Hypervisors decode the instruction that trapped, and support few. The two barrier sets, and the ordering of
registers against memory, compile to the instructions in docs/memory-order.md.
"""
import pathlib
import re
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tools"))
import compilers  # noqa: E402

# For each architecture: the instructions that access memory outside the stack, and the form of an access of each width.
X86 = {"memory": r"(?!nop|lea).*\((?!%[er][sb]p)",
       "read": {1: r"movb \w*\([%\w,]+\), %\w+", 2: r"movw \w*\([%\w,]+\), %\w+", 4: r"movl \w*\([%\w,]+\), %\w+"},
       "write": {1: r"movb [$%]\w+, \w*\([%\w,]+\)", 2: r"movw [$%]\w+, \w*\([%\w,]+\)", 4: r"movl [$%]\w+, \w*\([%\w,]+\)"}}
A64 = {"memory": r".*\[",
       "read": {1: r"ldrb w\d+, \[x\d+\]", 2: r"ldrh w\d+, \[x\d+\]", 4: r"ldr w\d+, \[x\d+\]"},
       "write": {1: r"strb w\w+, \[x\d+\]", 2: r"strh w\w+, \[x\d+\]", 4: r"str w\w+, \[x\d+\]"}}
RISCV = {"memory": r".*\d\((?!sp)",
         "read": {1: r"lbu? .*", 2: r"lhu? .*", 4: r"lwu? .*"},
         "write": {1: r"sb .*", 2: r"sh .*", 4: r"sw .*"}}
A32 = {"memory": r"(?!bx|push|pop).*\[(?!sp)",
       "read": {1: r"ldrb \w+, \[.*", 2: r"ldrh \w+, \[.*", 4: r"ldr \w+, \[.*"},
       "write": {1: r"strb \w+, \[.*", 2: r"strh \w+, \[.*", 4: r"str \w+, \[.*"}}
PPC64 = {"memory": r"(l[bhw]z|l[hw]a|lwbrx|lhbrx|st[bhw]|st[hw]brx)u?x? ",
         "read": {1: r"lbzx? .*", 2: r"(lhzx?|lhbrx) .*", 4: r"(lwzx?|lwbrx) .*"},
         "write": {1: r"stbx? .*", 2: r"(sthx?|sthbrx) .*", 4: r"(stwx?|stwbrx) .*"}}
ARCHITECTURES = {"x86_64": X86, "i686": X86, "aarch64": A64, "armv7": A32, "riscv64": RISCV, "powerpc64": PPC64}
# The ordering instructions before and after each register access.
AROUND = {"aarch64": {"read": ([], ["dmb oshld"]), "write": (["dmb oshst"], [])},
          "armv7": {"read": ([], ["dmb osh"]), "write": (["dmb oshst"], [])},
          "riscv64": {"read": ([], ["fence i,rw"]), "write": (["fence rw,o"], [])},
          "powerpc64": {"read": (["sync"], ["tw", "isync"]), "write": (["sync"], [])}}
ORDERS = r"(dmb|fence|sync|hwsync|isync|twi|tw|eieio|lwsync|mfence|lock)\b"

# The table of docs/memory-order.md: a column's instructions in order, of those that access memory or order it.
BARRIERS = {
    "x86_64": {"load_acquire": ["mov"], "store_release": ["mov"], "full": ["mfence|lock"], "registers_before_memory": []},
    "aarch64": {"smp": {"load_acquire": ["ldarh"], "store_release": ["stlrh"], "full": ["dmb ish"]},
                "dma": {"load_acquire": ["ldrh", "dmb oshld"], "store_release": ["dmb osh", "strh"], "full": ["dmb osh"]},
                "any": {"registers_before_memory": []}},
    "armv7": {"smp": {"load_acquire": ["ldrh", "dmb ish"], "store_release": ["dmb ish", "strh"], "full": ["dmb ish"]},
              "dma": {"load_acquire": ["ldrh", "dmb osh"], "store_release": ["dmb osh", "strh"], "full": ["dmb osh"]},
              "any": {"registers_before_memory": []}},
    "riscv64": {"smp": {"load_acquire": ["lh", "fence r,rw"], "store_release": ["fence rw,w", "sh"], "full": ["fence rw,rw"]},
                "dma": {"load_acquire": ["lh", "fence ir,iorw"], "store_release": ["fence iorw,ow", "sh"],
                        "full": ["fence|fence iorw,iorw"]},
                "any": {"registers_before_memory": ["fence io,rw"]}},
    "powerpc64": {"smp": {"load_acquire": ["lhz", "lwsync|isync"], "store_release": ["lwsync", "sth"], "full": ["sync"]},
                  "dma": {"load_acquire": ["lhz", "sync"], "store_release": ["sync", "sth"], "full": ["sync"]},
                  "any": {"registers_before_memory": []}},
}


def functions(objdump, path):
    """Name -> instructions, each with single blanks."""
    out, name = {}, None
    for line in compilers.must_run([objdump, "-d", "--no-show-raw-insn", path]).splitlines():
        if label := re.match(r"[0-9a-f]+ <\.?((?:mmio|smp|dma|any)_\w+)>:", line):
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
    before, behind = AROUND.get(architecture, {}).get(how, ([], []))
    shown = ["access" if line in touching else line.replace(", ", ",") for line in code
             if line in touching or re.match(ORDERS, line)]
    wanted = [*before, "access", *behind] * len(touching)
    if len(shown) != len(wanted) or not all(re.match(re.escape(want) + r"(\w*$|\w* )", line) for line, want in zip(shown, wanted)):
        yield f"{name}: {shown}, the table says {wanted}"


def complaints_about_barriers(architecture, name, code):
    kind, what = name.split("_", 1)
    table = BARRIERS[architecture]
    wanted = table.get(kind, table)[what]
    stack = r".*(%[er][sb]p|\bsp\b)"
    shown = [line for line in code if re.match(r"(mov\w* .*\(|mfence|lock|ld|st[lhr]|dmb|l[bhw][uz]? |s[bhw] |fence|\w*sync)", line)
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
            if architecture == "powerpc64":
                flags = [*flags, "-mabi=elfv2"]  # functions have their own names there
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
                wrong += [] if seen == 18 else [f"{seen} functions, not 18"]
                print(f"{target} {level}:", *(wrong or ["good"]), sep="\n  " if wrong else " ")
                good = good and not wrong
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
