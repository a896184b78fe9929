# SPDX-License-Identifier: MIT
"""QEMU in a Linux that is itself a guest (linux_host.py), under KVM: many guests in one boot of the host, in sequence.

A host's script is SCRIPT, its own preparations, and a guest() for each; told() parses its output.
"""
import base64
import collections
import json
import os
import shlex

import linux_host
import guestrun

PROCESSOR = ["-cpu", "EPYC,+svm,+npt"]  # a processor that QEMU can emulate, with virtualization and nested paging
MODULES = ("kvm-amd",)
VARIABLES = {"7.2": "QEMU_7", "10": "QEMU_10"}
GUEST_TIME = guestrun.HANG  # seconds; an idle machine takes 3
HOST_TIME = (2 * guestrun.HANG, guestrun.HANG // 5)  # for the host itself, and more for each guest
FILES = ("console", "control.out", "complaints", "said")

# The control socket is a pipe that QEMU reads and a file that it writes.
SCRIPT = f"""
begin() {{
  number=$1 seconds=$2 image=$3
  shift 3
  echo "$number begins"
  [ -z "$image" ] || cp "$image" disk.img
  rm -f control.in
  mkfifo control.in
  exec 3<>control.in
  for file in {' '.join(FILES)}; do : >$file; done
  qmp '{{"execute":"qmp_capabilities"}}' '{{"execute":"query-kvm"}}' '{{"execute":"cont"}}'
  timeout $seconds "$@" >console 2>complaints 3<&- &
  guest=$!
}}
qmp() {{ printf '%s\\n' "$@" >&3; }}
await() {{  # the guest's file, and the text to wait for in it; fails if the guest ends without it
  until grep -qE "$2" $1; do
    if ! kill -0 $guest 2>/dev/null; then grep -qE "$2" $1; return; fi
    sleep 0.05
  done
}}
again() {{  # waits for more lines of a kind than the guest's file has now
  before=$(grep -cE "$2" $1)
  until [ $(grep -cE "$2" $1) -gt $before ]; do
    kill -0 $guest 2>/dev/null || return
    sleep 0.05
  done
}}
answered() {{  # the number of answers
  until [ $(grep -cE '^..(return|error)"' control.out) -ge $1 ]; do
    kill -0 $guest 2>/dev/null || return
    sleep 0.05
  done
}}
end() {{
  wait $guest
  status=$?
  exec 3<&-
  for file in {' '.join(FILES)}; do base64 $file | sed "s/^/$number $file /"; done
  [ -z "$image" ] || sha256sum disk.img | sed "s/^/$number disk /"
  echo "$number status $status"
}}
"""


def missing(version, kernel="LINUX_HOST"):
    """Returns why a host cannot be booted here, or None. `version` is QEMU's."""
    for name, why in ((kernel, "no Linux kernel to boot"), (VARIABLES[version], f"no QEMU {version}")):
        if not os.environ.get(name):
            return f"{name} is empty, {why} on this machine (on Debian 12 tools/setup fetches it)"
    return None


def command(path, image, qemu, machine="pc", memory=128, append="", extra=()):
    """QEMU's command line for a guest whose image is at `path` in the host, and at `image` here."""
    made = guestrun.command(image, qemu, machine, memory, append, [*extra, "-cpu", "host"], "pipe,path=control", "kvm")
    made[made.index("-kernel") + 1] = path
    return made


def guest(number, made, disk="", steps=(), seconds=GUEST_TIME):
    """The host's script for one guest. `disk` is a file in the host, copied to disk.img.

    `steps` are the host's actions in sequence: (a pattern that a line of the console must match first, the actions...).
    An action is a QMP command as a dictionary, for whose answer the host waits, or a line for the shell, whose output
    is in `said`. If a pattern never matches, later steps are not run.
    """
    lines = [f"begin {number} {seconds} {shlex.quote(disk)} {shlex.join(made)}"]
    replies = 3  # every guest starts with these
    done = []
    for condition, *follows in steps:
        done.append(f"await console {shlex.quote(condition)}")
        for what in follows:
            if isinstance(what, str):
                done.append(f"{{ {what}\n}} >>said 2>&1 </dev/null")
            else:
                replies += 1
                done.append(f"qmp {shlex.quote(json.dumps(what))}")
                done.append(f"answered {replies}")
    if done:
        lines.append(" &&\n".join(done) + " ||\necho 'a step was not taken' >>said")
    return "\n".join([*lines, "end", ""])


def told(console):
    """Returns the host's record of each guest: {number: {word: text}}, the words being FILES, disk (its checksum) and
    status (QEMU's)."""
    found = collections.defaultdict(lambda: collections.defaultdict(str))
    for line in console.rpartition("\n")[0].splitlines():  # without a line that was cut off
        number, word, *rest = line.split(" ")
        if number.isdigit():
            found[int(number)][word] += rest[0] if rest else ""
    for one in found.values():
        for word in FILES:
            one[word] = base64.b64decode(one[word]).decode(errors="replace").replace("\r\n", "\n")
    return found


def complaints(one):
    """Returns why the record of a guest is not valid; none if it is."""
    if "status" not in one:
        return ["it did not come to its end"]
    replies = [json.loads(line) for line in one["control.out"].splitlines()]
    if {"enabled": True, "present": True} not in [reply.get("return") for reply in replies]:
        return ["QEMU does not say that it uses KVM"]
    return [f"QEMU refused: {reply['error'].get('desc', '?')}" for reply in replies if "error" in reply] + [
        f"QEMU's monitor: {reply['return'].strip()}" for reply in replies if str(reply.get("return")).startswith("Error")]


def status(one):
    """Returns the guest's own status as in guestrun, with its TIMED_OUT and NO_STATUS."""
    if '"reason": "host-signal"' in one["control.out"]:  # the limit was reached
        return guestrun.TIMED_OUT
    own = guestrun.guest_status(int(one["status"]))
    return guestrun.NO_STATUS if own is None else own


def boot(linux, folder, qemu, script, guests, modules=(), files=None, more_time=0):
    """linux_host.boot() with QEMU's files, for a script of that many guests."""
    return linux_host.boot(linux, folder, qemu, script, [*MODULES, *modules], linux_host.qemu(qemu) | (files or {}), PROCESSOR,
                           timeout=HOST_TIME[0] + HOST_TIME[1] * guests + more_time)
