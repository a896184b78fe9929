#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The documents are correct: README's program is the example, excerpts are in their files, links have targets, named
tests exist.

usage: test_docs.py [--fix]     (--fix puts the example into the README)
"""
import pathlib
import re
import subprocess
import sys
import tempfile

root = pathlib.Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path.insert(0, str(root / "tools"))
import compilers  # noqa: E402

problems = []

readme = root / "README.md"
text = readme.read_text()
block = re.compile(r"(<!-- (\S+) -->\n```cpp\n)(.*?)(```)", re.S)
for match in block.finditer(text):
    source = (root / match[2]).read_text()
    if match[3] != source:
        problems.append(f"README.md: the program differs from {match[2]} (test_docs.py --fix mends it)")
if "--fix" in sys.argv:
    readme.write_text(block.sub(lambda m: m[1] + (root / m[2]).read_text() + m[4], text))
    sys.exit(0)
if not block.search(text):
    problems.append("README.md: no program")

# Names of tests: those of hosted tests from their sources, the QEMU cells from the matrix.
names, bodies = set(), {}
for source in (root / "tests").rglob("*.cpp"):
    for case in re.split(r"^(?=(?:TEMPLATE_)?TEST_CASE\()", source.read_text(), flags=re.M)[1:]:
        literals = re.match(r'\w+\(\s*((?:"(?:[^"\\]|\\.)*"\s*)+)', case)[1]
        joined = "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', literals))
        name = re.sub(r"\s*\[[A-Z]+-\d+\]", "", joined).strip()
        names.add(name)
        bodies[name] = case
for qemu in ("7.2", "10", "11"):
    cells = subprocess.run([sys.executable, root / "tests/qemu/matrix.py", "--list", "--qemu", qemu],
                           capture_output=True, text=True, check=True).stdout
    names |= {f"qemu {qemu} {cell}" for cell in cells.splitlines()}
names |= set(subprocess.run([sys.executable, root / "tests/nested/kvm.py", "--list", "--more"],
                            capture_output=True, text=True, check=True).stdout.splitlines())
names |= set(re.findall(r'(?:add_test\(NAME|set\(name) "((?:nested|qemu)[:,] [^"$]+)"', (root / "tests/qemu/CMakeLists.txt").read_text()))
for name in re.findall(r'vsock_test\("([^"]+)"', (root / "tests/vsock/CMakeLists.txt").read_text()):
    names |= {name.replace("${qemu}", qemu) for qemu in ("7.2", "10")}

# CI's commands, as text: a command that CI does not run may break without notice.
contributing = root / "CONTRIBUTING.md"
by_ci = "".join(path.read_text() for path in [root / ".ci/run", root / "tools/test", *(root / "tests").rglob("CMakeLists.txt"),
                                              *(root / "cmake").glob("*.cmake"), *(root / "tests").rglob("*.py")])
prose = re.sub(r"^```.*?^```", "", contributing.read_text(), flags=re.M | re.S)
for command in re.findall(r"^    (\S.*)|`((?:tools|tests)/\S+ --.*?)`", prose, re.M):
    program, *options = "".join(command).split()
    if not (root / program).is_file() or not re.search(rf"\b{re.escape(pathlib.Path(program).name)}\b", by_ci):
        problems.append(f"CONTRIBUTING.md: not a command that CI runs: {program}")
    elif unknown := [option for option in options if option not in (root / program).read_text()]:
        problems.append(f"CONTRIBUTING.md: {program} has no {' '.join(unknown)}")

for document in [readme, contributing, root / "SECURITY.md", root / "CHANGELOG.md", *sorted((root / "docs").glob("*.md"))]:
    text = document.read_text()
    # An excerpt's lines are in its file, in this order; those without a line of dots between them are adjacent.
    for name, excerpt in re.findall(r"^<!-- from (\S+) -->\n```cpp\n(.*?)^```", text, re.M | re.S):
        where = "\n" + re.sub(r"^ +", "", (root / name).read_text(), flags=re.M)
        at = 0
        for piece in re.sub(r"^ +", "", excerpt, flags=re.M).split("...\n"):
            found = where.find("\n" + piece, max(at - 1, 0))
            if found < 0:
                problems.append(f"{document.relative_to(root)}: not in {name}: {piece.splitlines()[0]}")
                break
            at = found + 1 + len(piece)
    for target in re.findall(r"\]\(([^)#]+)\)", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)):
        if "://" not in target and not (document.parent / target).exists():
            problems.append(f"{document.relative_to(root)}: no such file: {target}")
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", text):
        page = (document.parent / target).read_text() if target and (document.parent / target).is_file() else "" if target else text
        headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", page, flags=re.M | re.S), re.M)
        if anchor not in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}:
            problems.append(f"{document.relative_to(root)}: no such heading: {target}#{anchor}")
    # docs/style.md: no persons for objects, and lines that fit. Names of tests, code and tables are excluded.
    fence = False
    for number, line in enumerate(text.splitlines(), 1):
        fence ^= line.startswith("```")
        if document.name == "style.md" or fence or line.startswith("    "):
            continue
        if word := re.search(r"\b(nobody|somebody|whoever|told|of before)\b", re.sub(r"`[^`]*`", "", line), re.I):
            problems.append(f"{document.relative_to(root)}:{number}: docs/style.md has another word for '{word[1]}'")
        if len(line) > 120 and not re.match(r"\||\[|<!-- |Shown by|Tests|`|.*\S{80}", line):
            problems.append(f"{document.relative_to(root)}:{number}: {len(line)} columns")
    links = re.findall(r"\]\[([a-z-]+)\]", re.sub(r"^```.*?^```|`[^`]*`", "", text, flags=re.M | re.S))
    for name in sorted(set(links) - set(re.findall(r"^\[([a-z-]+)\]: https?://\S+$", text, re.M))):
        problems.append(f"{document.relative_to(root)}: no link definition: {name}")
    shown, in_table = [], False
    for line in text.splitlines():
        in_table = line.startswith("|") and (in_table or line.rstrip().endswith("| shown by |"))
        if in_table:
            shown.append(line.rstrip(" |").rsplit("|", 1)[-1])
    shown += re.findall(r"(?:Shown by|Tests):((?:\s*`[^`]+`,?)+)", text)
    for cell in shown:
        for name in re.findall(r"`([^`]+)`", cell):
            if name not in names and not (root / name.split()[0]).exists():
                problems.append(f"{document.relative_to(root)}: no such test: {name}")
    for command in re.findall(r"^    (tools/\S+)", text, re.M):
        if not (root / command).exists():
            problems.append(f"{document.relative_to(root)}: no such command: {command}")

# README's marks are those of docs/hosts.md, and its device types those that the library names, with or without a
# driver.
def section(text, heading):
    return re.search(rf"^{re.escape(heading)}\n(.*?)(?=^## |^<!-- |\Z)", text, re.M | re.S)[1]


hosts = (root / "docs/hosts.md").read_text()
rows = [[cell.strip() for cell in row.strip("|").split("|")]
        for row in section(readme.read_text(), "<!-- hosts -->").splitlines() if row.startswith("|")]
marks = {(host, device): mark for host, *cells in rows[2:] for device, mark in zip(rows[0][1:], cells) if mark}
named = {}
for host, devices, kind in re.findall(r"^\| ([^|]+) \| ([^|]+) \| (run|model) \|", section(hosts, "## Devices by host"), re.M):
    for device in devices.split(", "):
        if kind == "run" or (host, device) not in named:
            named[host, device] = "✓" if kind == "run" else "○"
problems += [f"README.md: not the mark of docs/hosts.md: {host}: {device}"
             for host, device in sorted(marks.keys() | named.keys()) if marks.get((host, device)) != named.get((host, device))]
if len(named) < 40:
    problems.append("docs/hosts.md: where are the devices by host?")

# README states the version of version.hpp.
version = ".".join(re.findall(r"^#define VIRTIO_VERSION_\w+ (\d+)", (root / "include/virtio/version.hpp").read_text(), re.M))
if f"**Version {version}.**" not in readme.read_text():
    problems.append(f"README.md: not the version of include/virtio/version.hpp: {version}")

# The comparison's figures of this library are those of the measurements.
comparison = (root / "docs/comparison.md").read_text()
measured = (root / "docs/performance.md").read_text()
for label, row in (("guest instructions per 4 KiB read, `submit`, `kick`, `take`", "guest instructions per 4 KiB read, depth 1, submit/kick/take"),
                   ("bytes of code for start and polled read, `-Os`", "text of start + polled read, modern PCI, x86-64, g++ -Os")):
    figure = re.search(rf"^\| {re.escape(label)} \| \[([\d,]+)\]", comparison, re.M)
    if not figure or not re.search(rf"^\| {re.escape(row)} \| {figure[1].replace(',', '')} \|", measured, re.M):
        problems.append(f"docs/comparison.md: not the figure of docs/performance.md: {label}")

types = dict(re.findall(r'case device_type::(\w+): return "([^"]*)"', (root / "include/virtio/base/types.hpp").read_text()))
drivers = {"block": "blk", "entropy": "rng", "network": "net"}  # drivers whose folder has another name than their type
has = {name: (root / "include/virtio" / drivers.get(kind, kind) / "device.hpp").exists() for kind, name in types.items() if kind != "none"}
told = dict(re.findall(r"^\| (yes|not yet) \| (.*?)(?:, and every other)? \|$", section(readme.read_text(), "<!-- device types -->"), re.M))
for answer, is_there in (("yes", True), ("not yet", False)):
    if set(told.get(answer, "").split(", ")) != {name for name, driver in has.items() if driver == is_there}:
        problems.append(f"README.md: device types: '{answer}' is not what include/virtio has drivers for")

# A driver is registered where CONTRIBUTING.md lists: the balloon is named in each of these files.
for row in re.findall(r"^\| (`.*?`) \| ", contributing.read_text().partition("### 9. ")[2], re.M):
    for name in re.findall(r"`([^`]+)`", row):
        path = root / name.replace("NAME", "balloon")
        if not path.exists() or "balloon" not in path.read_text():
            problems.append(f"CONTRIBUTING.md: the balloon is not in {path.relative_to(root)}")
checked = re.findall(r'"([\w-]+)"', re.search(r"^CHECKED = \[(.*?)\]", (root / "tools/spec-map").read_text(), re.M | re.S)[1])
listed = re.search(r"areas that this library drives \((.*?)\)", (root / "docs/spec-map.md").read_text(), re.S)[1]
if set(re.split(r",\s+", listed)) != set(checked):
    problems.append("docs/spec-map.md: the areas are not those that tools/spec-map checks")

# The drawing in docs/architecture.md has the rules of tools/check-layers as arrows, and the steps of the journeys are
# in their files.
architecture = (root / "docs/architecture.md").read_text()
headers = root / "include/virtio"
printed = subprocess.run([sys.executable, root / "tools/check-layers", "--print"], capture_output=True, text=True, check=True).stdout
allowed = {folder: set(below.split()) for folder, below in re.findall(r"^(\S+):(.*)$", printed, re.M)}
nodes = {}
for node, folder, files in re.findall(r'^  (\w+)\["([^<"]+)<br>([^"]*)"\]$', architecture, re.M):
    nodes[node] = folder
    problems += [f"docs/architecture.md: no {folder}/{name}.hpp" for name in files.split(", ") if not (headers / folder / f"{name}.hpp").exists()]
arrows = {(nodes.get(a, a), kind, nodes.get(b, b)) for a, kind, b in re.findall(r"^  (\w+) (-->|-\.->) (\w+)$", architecture, re.M)}
if set(nodes.values()) != set(allowed):
    problems.append(f"docs/architecture.md: not the folders of tools/check-layers: {sorted(set(nodes.values()) ^ set(allowed))}")
for source, kind, target in sorted(arrows):
    if (kind == "-->") != (target in allowed.get(source, ())):
        problems.append(f"docs/architecture.md: {source} {kind} {target} is not what tools/check-layers says")
    if not any(f"#include <virtio/{target}/" in path.read_text() for path in (headers / source).rglob("*.hpp")):
        problems.append(f"docs/architecture.md: nothing in {source} includes {target}")
for source, below in allowed.items():
    reached, new = set(), {source}
    while new:
        reached |= new
        new = {b for a, kind, b in arrows if kind == "-->" and a in reached} - reached
    problems += [f"docs/architecture.md: no way from {source} to {one}" for one in sorted(below - reached)]
steps = re.findall(r"^\| \d+ \| `([^`]+)` \| (.*?) \|", architecture, re.M)
for name, by in steps:
    source = (headers / name).read_text() if (headers / name).exists() else ""
    problems += [f"docs/architecture.md: no {one} in {name}" for one in re.findall(r"`(\w+)`", by)
                 if not re.search(rf"\b(?:class {one}\b|{one}\()", source)]
if len(steps) < 30:
    problems.append("docs/architecture.md: where are the journeys?")

# A term of the glossary is in the header that its row names.
terms = re.findall(r"^\| ([a-z][\w -]*?) \| .* \| `([^`]+)` \|$", (root / "docs/glossary.md").read_text(), re.M)
for term, name in terms:
    header = headers.parent / name if name.startswith("usbip/") else headers / name
    source = header.read_text() if header.exists() else ""
    if not re.search(r"[ _]?".join(term.split()), source, re.I):
        problems.append(f"docs/glossary.md: no {term} in {name}")
if len(terms) < 30 or terms != sorted(terms):
    problems.append(f"docs/glossary.md: {len(terms)} terms, want thirty or more in their order")

# Every verdict is in its document, in order and in the library's words, with a test that names it.
report = (root / "include/virtio/base/report.hpp").read_text()
enumerated = re.findall(r"^  (\w+)(?: = 0)?,", re.search(r"enum class verdict .*?^};", report, re.M | re.S)[0], re.M)
words, moves = (dict(re.findall(r'case verdict::(\w+):\s*return "([^"]*)"', re.search(rf"{function}\(verdict why\) {{.*?^}}", report, re.M | re.S)[0]))
                for function in ("describe", "advice"))
listed = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*) \| (.*?) \|$", (root / "docs/verdicts.md").read_text(), re.M)
if [verdict for verdict, *_ in listed] != enumerated:
    problems.append("docs/verdicts.md: not the verdicts of base/report.hpp, in their order")
for verdict, said, move, shown in listed:
    if move.replace("`", "") != moves.get(verdict):
        problems.append(f"docs/verdicts.md: {verdict}: not in the words of advice(): {moves.get(verdict)}")
    if said != words.get(verdict):
        problems.append(f"docs/verdicts.md: {verdict}: not in the words of describe(): {words.get(verdict)}")
    if not any(re.search(rf"verdict::{verdict}\b", bodies.get(name, "")) for name in re.findall(r"`([^`]+)`", shown)):
        problems.append(f"docs/verdicts.md: {verdict}: none of its tests has it")

# docs/drivers.md has every public call of the block and entropy drivers, and every field of discovery's result.
drivers_md = (root / "docs/drivers.md").read_text()
called = re.findall(r"^\| (`\w+\(.*?) \| *(yes)? *\| *(yes)? *\| *(?:yes)? *\|", drivers_md, re.M)
def public_calls(header):
    public = (root / "include/virtio" / header).read_text().split(" public:", 1)[1]
    public = re.split(r"\n (?:protected|private):", public, maxsplit=1)[0]
    return set(re.findall(r"^  (?! |static)(?:\[\[nodiscard\]\] )?[\w:&<> ]+ (\w+)\(", public, re.M))


for column, headers in enumerate((["blk/device.hpp", "blk/extras.hpp", "device/request_driver.hpp"], ["rng/device.hpp", "device/request_driver.hpp"])):
    folder = headers[0].split("/")[0]
    members = set().union(*map(public_calls, headers))
    listed_calls = {name for names, *columns in called if columns[column] for name in re.findall(r"`(\w+)\(", names)}
    for name in sorted(members ^ listed_calls):
        problems.append(f"docs/drivers.md: calls of {folder}::device: {name} is in one of the two only")
# A reader of blk/device.hpp sees how a request is made, and not the other functions of disks.
extra = {"discard", "write_zeroes", "secure_erase", "get_lifetime", "set_write_cache", "get_topology", "get_id", "refresh"}
if not extra <= public_calls("blk/extras.hpp") or extra & public_calls("blk/device.hpp"):
    problems.append(f"blk/extras.hpp: not the place of {sorted(extra)}")
if (lines := len((root / "include/virtio/blk/device.hpp").read_text().splitlines())) > 310:
    problems.append(f"blk/device.hpp: {lines} lines")

for header, struct in (("bus/pci/discover", "found"), ("bus/mmio/slots", "found"), ("base/report", "report"), ("bus/pci/function", "identity")):
    body = re.search(rf"^struct {struct} {{\n(.*?)^}};", (root / f"include/virtio/{header}.hpp").read_text(), re.M | re.S)[1]
    for field in re.findall(r"^  (?!using)[\w:]+(?: [\w:]+)* (\w+)(?: = [^;]*|{})?;", body, re.M):
        if f"`{field}`" not in drivers_md:
            problems.append(f"docs/drivers.md: no {field} of {header}.hpp's {struct}")

# Programs that are documented to compile do so, for a bare target, and leave .data empty.
for document in sorted((root / "docs").glob("*.md")):
    found = re.findall(r"<!-- compiled(?: for (\w+))? -->\n```cpp\n(.*?)```", document.read_text(), re.S)
    for number, (processor, program) in enumerate(found):
        with tempfile.TemporaryDirectory() as folder:
            source = pathlib.Path(folder) / "program.cpp"
            source.write_text(program)
            done = subprocess.run(["clang++", f"--target={processor or 'aarch64'}-none-elf", "-std=c++20", "-O2", "-ffreestanding", "-nostdinc++", "-fno-exceptions",
                                   "-fno-rtti", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", f"-I{root / 'include'}",
                                   "-c", source, "-o", source.with_suffix(".o")], capture_output=True, text=True)
            where = f"{document.relative_to(root)}: program {number + 1}"
            if done.returncode != 0:
                problems.append(f"{where} does not compile: {done.stderr.splitlines()[:2]}")
                continue
            if any(size for section, size in compilers.sections(source.with_suffix(".o")).items() if section.startswith(".data")):
                problems.append(f"{where} leaves something in .data")

mutants = subprocess.run([sys.executable, root / "tools/mutants", "--markdown"], capture_output=True, text=True, check=True).stdout
if mutants not in (root / "docs/spec-map.md").read_text():
    problems.append("docs/spec-map.md: the table is not that of tools/mutants --markdown")

for problem in problems:
    print(problem)
print(f"documents: {len(problems)} problems; {len(names)} tests known")
sys.exit(1 if problems else 0)
