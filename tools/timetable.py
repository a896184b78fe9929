# SPDX-License-Identifier: MIT
"""The times of a test run: phases, labels, the files that compile slowest, and the slowest tests."""
import contextlib
import json
import pathlib
import re
import subprocess
import time
import xml.etree.ElementTree

SLOWEST = 10
TABLE = "times.txt"  # in the build folder: the table of the last run


class Times:
    """Records a run in the build folder."""

    def __init__(self, build):
        self.build, self.phases = build, []
        build.mkdir(exist_ok=True)
        self.compiles, self.junit = build / "compiles.tsv", build / "tests.xml"
        for old in (self.compiles, self.junit):
            old.unlink(missing_ok=True)

    @contextlib.contextmanager
    def phase(self, name):
        began = time.monotonic()
        yield
        self.phases.append((name, time.monotonic() - began))

    def save(self, labels):
        """Writes the table. `labels` has the labels of every test by the test's name."""
        rows = ["Seconds on the clock, by phase:", *(f"  {seconds:8.1f}  {name}" for name, seconds in self.phases)]
        files = compiled(self.compiles)
        if files:
            rows += ["Seconds of processor time, MiB at most, and MB of objects, by build:"]
            for build in sorted({name.split("/")[0] for name, *_ in files}):
                own = [one for one in files if one[0].startswith(f"{build}/")]
                rows.append(f"  {sum(one[1] for one in own):8.1f}  {max(one[2] for one in own):4d}  {sum(one[3] for one in own) / 1e6:6.1f}"
                            f"  {build} ({len(own)} files)")
            rows += ["The files that took longest to compile, in seconds of processor time and MiB:"]
            rows += [f"  {seconds:8.1f}  {memory:4d}  {name}" for name, seconds, memory, _ in files[:SLOWEST]]
        tests = ran(self.junit)
        if tests:
            sums = {}
            for name, seconds in tests:
                for label in labels.get(name, ["no label"]):
                    sums[label] = sums.get(label, 0) + seconds
            rows += ["Seconds of all tests of a label, one after the other:"]
            rows += [f"  {seconds:8.1f}  {label}" for label, seconds in sorted(sums.items(), key=lambda one: -one[1])]
            rows += ["The tests that took longest:"] + [f"  {seconds:8.1f}  {name}" for name, seconds in tests[:SLOWEST]]
        (self.build / TABLE).write_text("\n".join(rows) + "\n")


def show(build):
    table = build / TABLE
    if not table.exists():
        print("tools/test --times: no run has ended here yet")
        return 1
    print(table.read_text(), end="")
    return 0


def compiled(log):
    """Returns the records of tools/timed-compile: (object, seconds, MiB, bytes), the longest first.

    Objects have paths relative to the build folder.
    """
    if not log.exists():
        return []
    files = []
    for line in log.read_text().splitlines():
        seconds, memory, size, folder, name = line.split("\t")
        path = pathlib.Path(folder, name)
        short = path.relative_to(log.parent).as_posix() if path.is_relative_to(log.parent) else str(path)
        files.append((re.sub(r"CMakeFiles/[^/]+\.dir/|\.o$", "", short), float(seconds), int(memory), int(size)))
    return sorted((one for one in files if "CMakeScratch" not in one[0]), key=lambda one: -one[1])


def ran(junit):
    """Returns (name, seconds) of each test that ran, the longest first."""
    if not junit.exists():
        return []
    cases = xml.etree.ElementTree.parse(junit).getroot().iter("testcase")
    return sorted(((case.get("name"), float(case.get("time") or 0)) for case in cases), key=lambda one: -one[1])


def labels(build):
    """Returns the labels of every test by the test's name."""
    return {one["name"]: next((each["value"] for each in one.get("properties", []) if each["name"] == "LABELS"), [])
            for one in known(build)}


def known(build):
    """Returns ctest's description of every registered test, in ctest's order: the first has the number 1."""
    command = ["ctest", "--test-dir", build, "--show-only=json-v1"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)["tests"]
