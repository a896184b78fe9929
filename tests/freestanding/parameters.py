#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""No function takes a bool: in a call `true` has no meaning. A scoped enumeration names the choice.

usage: parameters.py
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEADERS = ROOT / "include"
PARAMETER = re.compile(r"(?<!for )[(,]\s*(?:const\s+)?bool\s+\w+\s*(?=[,)=])")
UNCONVERTED = {"virtio/testing"}  # folders that still have some


def without_comments(text):
    return re.sub(r"//[^\n]*|/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.S)


assert PARAMETER.search("f(u8 a, bool b)") and PARAMETER.search("f(const bool a, u8 b)") and PARAMETER.search("f(bool a = false)")
assert not PARAMETER.search("for (bool more = true; more;)") and not PARAMETER.search("{.is_64bit = bool{x}}")

problems = []
headers = [path for path in sorted(HEADERS.rglob("*.hpp")) if "/".join(path.relative_to(HEADERS).parts[:2]) not in UNCONVERTED]
for path in headers:
    text = without_comments(path.read_text(encoding="utf-8"))
    for found in PARAMETER.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        problems.append(f"{path.relative_to(ROOT)}:{line}: {found[0].strip('( ,')}: a parameter of type bool")
print("\n".join(problems) or f"{len(headers)} headers")
sys.exit(1 if problems else 0)
