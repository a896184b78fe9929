# SPDX-License-Identifier: MIT
"""The host's side of tools/lsvirtio: builds the guest, boots it with the given devices, prints its report."""
import argparse
import fcntl
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("tools", "examples/demo")]
import guestrun  # noqa: E402
import host  # noqa: E402
import report  # noqa: E402


class Lines:
    """Prints the whole lines of a console; with JSON only those of the report."""

    def __init__(self, only):
        self.only, self.line = only, ""

    def write(self, text):
        *lines, self.line = (self.line + text.replace("\r", "")).split("\n")
        for line in lines:
            if not self.only or line.startswith(report.BEGINS):
                print(line)

    def flush(self):
        sys.stdout.flush()


class Translation:
    """Adapts another guest's QEMU arguments to this guest: `kept`, `words` for the command line, an `accelerator`, and a
    line in `notes` for each argument that changed."""
    TERMINAL = "the console is this terminal"
    OTHER_IMAGE = "lsvirtio's image is booted"
    LEFT_OUT = {"-kernel": OTHER_IMAGE, "-initrd": OTHER_IMAGE, "-serial": TERMINAL, "-display": TERMINAL}
    LEFT_OUT_ALONE = {"-nographic": TERMINAL, "-daemonize": TERMINAL}

    def __init__(self, arguments, has_kvm):
        self.kept, self.words, self.notes, self.accelerator = [], [], [], "tcg"
        self.has_kvm = has_kvm
        rest = list(arguments)
        while rest:
            word = rest.pop(0)
            option = word[1:] if word.startswith("--") else word
            if option in self.LEFT_OUT_ALONE:
                self._leave_out(word, self.LEFT_OUT_ALONE[option])
            elif option == "-enable-kvm":
                self._accelerate(word, "kvm")
            elif option.startswith("-") and rest:
                self._with_value(option, word, rest)
            else:
                self.kept.append(word)
        if self.accelerator.split(",")[0] != "kvm":
            self._emulate_processor()

    def _with_value(self, option, word, rest):
        value, both = rest[0], f"{word} {rest[0]}"
        names = value.split(",")
        if option in self.LEFT_OUT:
            self._leave_out(both, self.LEFT_OUT[option])
        elif option in ("-monitor", "-qmp", "-qmp-pretty") and names[0] in ("stdio", "mon:stdio"):
            self._leave_out(both, self.TERMINAL)
        elif option == "-device" and names[0] == "isa-debug-exit":
            self._leave_out(both, "lsvirtio has one")
        elif option == "-append":
            self.words += value.split()
            self.notes.append(f"-append goes to lsvirtio's command line: {value}")
        elif option == "-accel":
            self._accelerate(both, value)
        elif option == "-chardev" and names[0] == "stdio":
            identity = next((name for name in names if name.startswith("id=")), "id=stdio")
            self.kept += ["-chardev", f"null,{identity}"]
            self.notes.append(f"{both} is null here: {self.TERMINAL}")
        elif option in ("-machine", "-M"):
            for name in names:
                if name.startswith("accel="):
                    self._accelerate(both, name.removeprefix("accel=").split(":")[0])
            self.kept += ["-machine", ",".join(name for name in names if not name.startswith("accel="))]
        else:  # with its value, unless the next option follows
            self.kept.append(word)
            return
        rest.pop(0)

    def _leave_out(self, what, why):
        self.notes.append(f"{what} is left out: {why}")

    def _accelerate(self, what, by):
        if by.split(",")[0] == "kvm" and not self.has_kvm:
            return self._leave_out(what, "no access to /dev/kvm")
        self.accelerator = by

    def _emulate_processor(self):
        for i, word in enumerate(self.kept[:-1]):
            model, *flags = self.kept[i + 1].split(",")
            if word.lstrip("-") == "cpu" and word.startswith("-") and model == "host":
                self.kept[i + 1] = ",".join(["max", *flags])
                self.notes.append(f"{word} host is max here: only KVM has the host's processor")


def parsed(arguments):
    own, extra = arguments, []
    if "--" in arguments:
        at = arguments.index("--")
        own, extra = arguments[:at], arguments[at + 1:]
    parser = argparse.ArgumentParser(prog="tools/lsvirtio", add_help=False)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--no-live", action="store_true")
    parser.add_argument("--machine")
    parser.add_argument("--memory", type=int, default=128)
    parser.add_argument("--append", default="")
    parser.add_argument("--yes", action="store_true")
    return parser.parse_args(own), extra


def main(arguments):
    options, extra = parsed(arguments)
    given = Translation(extra, has_kvm=os.access("/dev/kvm", os.R_OK | os.W_OK))
    for note in given.notes:
        print(f"lsvirtio: {note}", file=sys.stderr)
    words = [*given.words, *(["json=1"] if options.json else []), *(["live=0"] if options.no_live else []),
             *options.append.split()]
    qemu = os.environ.get("QEMU") or guestrun.DEFAULT_QEMU
    try:
        host.check_qemu(qemu)
        host.WORK.mkdir(parents=True, exist_ok=True)
        with open(host.WORK / "lock", "w") as lock:  # all runs share one build
            fcntl.flock(lock, fcntl.LOCK_EX)
            image = host.build_guest("lsvirtio", sys.stderr)
        status, _ = guestrun.boot(image, qemu, options.machine, options.memory, " ".join(words), extra=given.kept,
                                  stream=Lines(options.json), accelerator=given.accelerator)
    except host.Problem as problem:
        print(f"lsvirtio: {problem}", file=sys.stderr)
        return problem.status
    except BrokenPipeError:  # the reader of the output has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141  # as a shell counts it
    except KeyboardInterrupt:
        return host.INTERRUPTED
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
