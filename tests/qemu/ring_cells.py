# SPDX-License-Identifier: MIT
"""Cells of the QEMU matrix about every feature of a ring, with the queue that accepts what is offered: either format,
in order or not."""
import itertools


def cells(kit):
    """Returns all of them; `kit` is matrix.py's module: Disk, Rng, Cell and so on. QEMU 7.2 has no in_order and no
    queue_reset for these."""
    for packed, event_idx in itertools.product((False, True), (True, False)):
        ring = [*(["ring_packed"] if packed else []), *(["event_idx"] if event_idx else []), "indirect_desc"]
        form = "packed" if packed else "split"
        options = f"packed={kit.switch(packed)},event_idx={kit.switch(event_idx)}"
        yield kit.Cell(f"q35 either: {form} blk+rng event_idx={kit.switch(event_idx)}", "q35", "modern-only",
                       [kit.Disk(options=options, write=(1000, 257))], [kit.Rng(options)],
                       tell={"run": "disk,rng", "either": 1, **kit.negotiated("modern", ring=ring)}, only=("7.2",))
        for in_order, reset in itertools.product((True, False), (True, False)):
            more = f"{options},in_order={kit.switch(in_order)},queue_reset={kit.switch(reset)}"
            name = f"event_idx={kit.switch(event_idx)} in_order={kit.switch(in_order)} queue_reset={kit.switch(reset)}"
            # The entropy driver declines IN_ORDER, and no queue is reset here.
            features = kit.negotiated("modern", ring=ring)
            disk = features | kit.negotiated("modern", ring=[*ring, *(["in_order"] if in_order else [])])
            # QEMU before 10.0.4 loses requests that end out of order while those in flight wrap at the end of the ring
            # (its search for them reads beyond its own array there): one at a time.
            yield kit.Cell(f"q35 either: {form} blk {name}" + (", one at a time" if in_order else ""), "q35", "modern-only",
                           [kit.Disk(options=more, write=(1000, 257))], [],
                           tell={"run": "disk", "either": 1, "requests": 3000, **({"depth": 1} if in_order else {}), **disk},
                           only=("10",))
            yield kit.Cell(f"q35 either: {form} rng {name}", "q35", "modern-only", [], [kit.Rng(more)],
                           tell={"run": "rng", "either": 1, **features}, only=("10",))
        # Beyond the wraps of all indices.
        yield kit.Cell(f"q35 either: {form} blk 66000 requests event_idx={kit.switch(event_idx)}", "q35", "modern-only",
                       [kit.Disk(options=options, write=(77, 65))], [],
                       tell={"run": "disk", "either": 1, "requests": 66000, **kit.negotiated("modern", ring=ring)})
