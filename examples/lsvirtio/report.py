# SPDX-License-Identifier: MIT
"""Cuts the JSON form of lsvirtio's report out of a console."""
import json

BEGINS = '{"lsvirtio":'


def objects(console):
    """The report's objects in order, each with what it is under "lsvirtio": machine, rejected, function, slot or
    end. ValueError: a line is no JSON, for instance since the guest died in the middle of it."""
    return [json.loads(line) for line in console.splitlines() if line.startswith(BEGINS)]
