# SPDX-License-Identifier: MIT
"""The host's side of tools/lsvirtio: builds the guest, boots it with the devices given, shows what it says."""
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
    """A console of which whole lines are shown, in JSON those of the report only."""

    def __init__(self, only):
        self.only, self.line = only, ""

    def write(self, text):
        *lines, self.line = (self.line + text.replace("\r", "")).split("\n")
        for line in lines:
            if not self.only or line.startswith(report.BEGINS):
                print(line)

    def flush(self):
        sys.stdout.flush()


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
    words = [*(["json=1"] if options.json else []), *(["live=0"] if options.no_live else []), *options.append.split()]
    qemu = os.environ.get("QEMU") or guestrun.DEFAULT_QEMU
    try:
        host.check_qemu(qemu)
        host.WORK.mkdir(parents=True, exist_ok=True)
        with open(host.WORK / "lock", "w") as lock:  # there is one build
            fcntl.flock(lock, fcntl.LOCK_EX)
            image = host.build_guest("lsvirtio", sys.stderr)
        status, _ = guestrun.boot(image, qemu, options.machine, options.memory, " ".join(words), extra=extra,
                                  stream=Lines(options.json))
    except host.Problem as problem:
        print(f"lsvirtio: {problem}", file=sys.stderr)
        return problem.status
    except BrokenPipeError:  # the reader of the output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141  # as a shell counts it
    except KeyboardInterrupt:
        return host.INTERRUPTED
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
