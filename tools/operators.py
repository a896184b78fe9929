# SPDX-License-Identifier: MIT
"""Mutants of single operators, for tools/mutants.

Finds places in headers where an operator, constant or statement can change. Writes a copy of the headers in which each
place checks at run time whether it is selected. One build contains all mutants.

It swaps == and !=, < and <=, > and >=, && and ||, + and -, & and |, << and >>, += and -=, ++ and --, 0 and 1, false and
true, and turns * into + and % into /. It omits a ! or a statement, and makes a condition always or never hold. It reads
only code, and does not change what the compiler evaluates.
"""
import re

PRELUDE = r"""
#pragma once
#include <cstdio>
#include <cstdlib>
namespace mutants {
inline const int chosen = [] {
  const char* given = std::getenv("VIRTIO_MUTANT");
  return given != nullptr ? std::atoi(given) : -1;
}();
inline bool reached = false, impossible = false;
struct at_exit {
  ~at_exit() {
    if (reached) std::fputs("mutant: reached\n", stderr);
    if (impossible) std::fputs("mutant: impossible\n", stderr);
  }
};
inline at_exit report;
constexpr bool on(int n) {
  if (__builtin_is_constant_evaluated() || chosen != n) return false;
  reached = true;
  return true;
}
// Operands that have no such operator: no mutant.
constexpr void cannot(int n) {
  if (!__builtin_is_constant_evaluated() && chosen == n) impossible = true;
}
constexpr int number(int n, int right, int wrong) { return on(n) ? wrong : right; }
"""

# A tag between two copies of an operator selects its meaning: a == b becomes a == tag == b. The operands' ends need not
# be found.
SWAPS = {"==": "!=", "!=": "==", "<": "<=", "<=": "<", ">": ">=", ">=": ">", "+": "-", "-": "+", "*": "+", "&": "|", "|": "&",
         "<<": ">>", ">>": "<<", "%": "/"}
NAMES = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge", "+": "plus", "-": "minus", "*": "times", "&": "both",
         "|": "either", "<<": "shl", ">>": "shr", "%": "mod"}


def prelude():
    out = [PRELUDE]
    for op, other in SWAPS.items():
        name = NAMES[op]
        out.append(f"""
template <int N> struct {name} {{}};
template <class A, int N> struct {name}_left {{ const A& a; }};
template <class A, int N> constexpr {name}_left<A, N> operator{op}(const A& a, {name}<N>) {{ return {{a}}; }}
template <class A, int N, class B> constexpr decltype(auto) operator{op}({name}_left<A, N> l, const B& b) {{
  using type = decltype(l.a {op} b);
  if constexpr (requires {{ static_cast<type>(l.a {other} b); }}) {{
    if (on(N)) return static_cast<type>(l.a {other} b);
  }} else {{
    cannot(N);
  }}
  return static_cast<type>(l.a {op} b);
}}""")
    return "\n".join(out) + "\n}  // namespace mutants\n"


class Site:
    def __init__(self, header, text, at, what):
        self.header, self.what = header, what
        start = text.rfind("\n", 0, at) + 1
        end = text.find("\n", at)
        self.line = text.count("\n", 0, at) + 1
        self.source = text[start:end].strip()
        self.column = at - start

    def key(self):
        return self.header, self.source, self.what

    def __str__(self):
        return f"{self.header}:{self.line}: {self.what}: {self.source}"


def blanked(text):
    """Returns the text with comments, strings and preprocessor lines replaced by blanks."""
    blank = lambda m: re.sub(r"[^\n]", " ", m[0])
    text = re.sub(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\])*\"", blank, text, flags=re.S)
    return re.sub(r"^[ \t]*#[^\n]*", blank, text, flags=re.M)


def code_map(text):
    """Returns for each character whether it is in the body of a function, and whether in the braces of a value."""
    in_code, in_value = bytearray(len(text)), bytearray(len(text))
    stack = [(False, False)]
    head = 0
    for i, c in enumerate(text):
        in_code[i], in_value[i] = stack[-1]
        if c == "{":
            before = text[head:i]
            last = before.rstrip()
            if re.search(r"\b(class|struct|namespace|enum|union|concept|requires)\b", before) and not stack[-1][0]:
                stack.append((False, False))
            elif re.search(r"([)\]]|\b(const|else|do|mutable))$", last) or re.search(r"\) (const )?-> [^;{}]*$", last) or not last:
                stack.append((True, False))
            else:
                stack.append((stack[-1][0], True))
            if not stack[-1][1]:
                head = i + 1
        elif c == "}" and len(stack) > 1:
            was_value = stack.pop()[1]
            if not was_value:
                head = i + 1
        elif c == ";":
            head = i + 1
    return in_code, in_value


OPEN, CLOSE = "([{", ")]}"


def operand_left(text, at, op):
    depth, i = 0, at - 1
    while i >= 0:
        c = text[i]
        if c in CLOSE:
            depth += 1
        elif c in OPEN:
            if depth == 0:
                break
            depth -= 1
        elif depth == 0:
            if c in ";,?":
                break
            if c == ":" and text[i - 1] == " ":
                break
            if c == "=" and text[i - 1] in " +-|&^" and text[i + 1] == " ":
                break
            if op == "&&" and text[i - 1:i + 1] == "||":
                break
            if text[i - 5:i + 1] == "return" and not (text[i - 6].isalnum() or text[i - 6] == "_"):
                break
        i -= 1
    i += 1
    while text[i].isspace():
        i += 1
    return i


def operand_right(text, at, op):
    depth, i = 0, at
    while i < len(text):
        c = text[i]
        if c in OPEN:
            depth += 1
        elif c in CLOSE:
            if depth == 0:
                break
            depth -= 1
        elif depth == 0:
            if c in ";,?" or (c == ":" and text[i - 1] == " "):
                break
            if text[i:i + 2] == "||" or (op == "&&" and text[i:i + 2] == "&&"):
                break
        i += 1
    while text[i - 1].isspace():
        i -= 1
    return i


def postfix_end(text, at):
    """Returns the position after a name with its members, calls and subscripts."""
    i = at
    while i < len(text):
        if m := re.compile(r"(\.|->|::)?(template )?[A-Za-z_]\w*").match(text, i):
            i = m.end()
        elif m := re.compile(r"<[\w:, ]+>(?=\()").match(text, i):
            i = m.end()
        elif text[i] in "([":
            depth = 0
            while True:
                depth += (text[i] in OPEN) - (text[i] in CLOSE)
                i += 1
                if depth == 0:
                    break
        else:
            break
    return i


SKIP = re.compile(r"^\s*(static_assert|VIRTIO_ASSERT|template\b|using\b|(?:static )?constexpr\b(?!.*\())", re.M)


def mutate(header, text, first):
    """Returns the text with all its mutants, and their descriptions. Their numbers start at `first`."""
    plain = blanked(text)
    in_code, in_value = code_map(plain)
    skipped = bytearray(len(text))
    for m in SKIP.finditer(plain):
        end = plain.find("\n", m.end())
        skipped[m.start():end] = b"\1" * (end - m.start())
    for m in re.finditer(r"\bif constexpr (?=\()", plain):
        end = postfix_end(plain, m.end())
        skipped[m.start():end] = b"\1" * (end - m.start())
    usable = lambda i: in_code[i] and not skipped[i]

    sites, edits = [], []  # edits: (position, kind, other end, text to insert, number of characters to remove)

    def site(at, what):
        sites.append(Site(header, text, at, what))
        return first + len(sites) - 1

    for m in re.finditer(r"(?<=[\s\w)\]]) (==|!=|<=|>=|<<|>>|[-<>+*&|%])(?=\s)", plain):
        at, op = m.start(1), m[1]
        if not usable(at) or plain[:at].rstrip().endswith("operator"):
            continue
        n = site(at, f"{op} is {SWAPS[op]}")
        edits.append((at + len(op), 1, 0, f" mutants::{NAMES[op]}<{n}>() {op}", 0))

    for m in re.finditer(r"(?<=\s)(&&|\|\|)(?=\s)", plain):
        at, op = m.start(), m[1]
        if not usable(at):
            continue
        start, end = operand_left(plain, at, op), operand_right(plain, at + 2, op)
        middle_end, middle_start = len(plain[:at].rstrip()), at + 2 + len(plain[at + 2:]) - len(plain[at + 2:].lstrip())
        n = site(at, f"{op} is {'||' if op == '&&' else '&&'}")
        on = f"mutants::on({n})"
        edits += [(start, 2, -end, "((static_cast<bool>(", 0), (middle_end, 0, -start, f") != {on})", 0),
                  (middle_start, 2, -end, "(static_cast<bool>(", 0), (end, 0, -start, f") != {on})) != {on}", 0)]
        # Parentheses around the whole separate it from neighbouring operators.
        edits += [(start, 2, -end - 0.5, "(", 0), (end, 0, -start + 0.5, ")", 0)]

    for m in re.finditer(r"(?<=[\s(])!(?=[A-Za-z_])", plain):
        at = m.start()
        if not usable(at):
            continue
        end = postfix_end(plain, at + 1)
        if re.match(r"\s*(==|!=|<|>|\+|-|\*)", plain[end:]):
            continue
        n = site(at, "! is left out")
        edits += [(at, 2, -end, f"(mutants::on({n}) != ", 0), (end, 0, -at, ")", 0)]

    for m in re.finditer(r"(?:==|!=|<=|>=|[-<>+=?:]|return|\() (0|1)(?=[;,) ])|(?:=|return) (true|false)(?=[;,) ])", plain):
        group = 1 if m[1] else 2
        at, word = m.start(group), m[group]
        if not usable(at) or in_value[at]:
            continue
        wrong = {"0": "1", "1": "0", "true": "false", "false": "true"}[word]
        n = site(at, f"{word} is {wrong}")
        if group == 1:
            edits.append((at, 1, 0, f"mutants::number({n}, {word}, {wrong})", 1))
        else:
            edits.append((at, 1, 0, f"(mutants::on({n}) != {word})", len(word)))

    for m in re.finditer(r"\bif \(", plain):
        start = m.end()
        if not usable(start):
            continue
        depth, end = 1, start
        while depth != 0:
            depth += (plain[end] == "(") - (plain[end] == ")")
            end += 1
        end -= 1
        condition = plain[start:end]
        if ";" in condition:
            start += condition.rfind(";") + 2
        elif re.match(r"const ", condition):
            continue  # the condition is a declaration
        always, never = site(start, "the condition always holds"), site(start, "the condition never holds")
        edits += [(start, 2, -end - 0.9, f"!mutants::on({never}) && (mutants::on({always}) || (", 0), (end, 0, -start + 0.9, "))", 0)]

    # Statements on a line of their own.
    statement = re.compile(r"^[ \t]+((?:\+\+|--)?[A-Za-z_]\w*(?:(?:\.|->|::|\[|\()[^;\n]*?)?(?: (?:=|\+=|-=|\^=|\|=) [^;\n]*)?);[ \t]*$", re.M)
    for m in statement.finditer(plain):
        at, end, body = m.start(1), m.end(1), m[1]
        if not usable(at) or in_value[at] or re.match(r"(return|break|continue|else|if|for|while|do|VIRTIO_\w+|goto|case|default)\b", body):
            continue
        before = plain[:m.start()].rstrip()
        if before and before[-1] not in ";{})" and not before.endswith("else") and not before.endswith("]]"):
            continue  # the end of a longer statement
        if body.count("(") != body.count(")"):
            continue
        n = site(at, "left out")
        head = f"mutants::on({n}) ? void() : "
        if swap := re.match(r"(\+\+|--)(.*)", body):
            k = site(at, f"{swap[1]} is {'--' if swap[1] == '++' else '++'}")
            head += f"mutants::on({k}) ? void({'--' if swap[1] == '++' else '++'}{swap[2]}) : "
        elif swap := re.match(r"(.*?) (\+=|-=) (.*)", body):
            other = "-=" if swap[2] == "+=" else "+="
            k = site(at, f"{swap[2]} is {other}")
            head += f"mutants::on({k}) ? void({swap[1]} {other} {swap[3]}) : "
        edits += [(at, 2, -1e9, head + "void(", 0), (end, 0, 1e9, ")", 0)]

    seen = {}
    for one in sites:
        seen[one.key()] = count = seen.get(one.key(), 0) + 1
        if count > 1:
            one.what += f" ({count})"

    # At the same position, ends come before beginnings. The wider edit begins first and ends last.
    edits.sort(key=lambda e: (e[0], e[1], e[2]))
    out, done = [], 0
    for at, _, _, inserted, taken in edits:
        out += [text[done:at], inserted]
        done = at + taken
    out.append(text[done:])
    return "".join(out), sites
