"""A thousand tags deleted in one command, against a script that reads the whole volume for each of them."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tests.bench.programs import HEADER, Cost, Programs, cost, load, rows
from tests.bench.reference_volume import REPOSITORIES, changed, forget, prepared, tag_names
from tests.bench.table import Section

COUNT = 1000
SAMPLE = 3


def run() -> Iterator[Section]:
    with prepared(REPOSITORIES) as (folder, root):
        forget(root)
        programs = Programs(folder, root)
        references = list(tag_names(REPOSITORIES))[:: REPOSITORIES * 40 // COUNT][:COUNT]
        asked = "\n".join(references).encode()
        script = [sys.executable, str(Path(__file__).with_name("deletion_script.py")), str(root)]
        cost(programs.regkeeper("delete", "-", "--dry-run"), stdin=asked)  # warms the cache up
        each = [cost([*script, reference]) for reference in references[:SAMPLE]]
        ours = []
        for look in (True, False):  # at its memory, which takes time
            forget(root)
            ours.append(cost(programs.regkeeper("delete", "-", "--yes"), stdin=asked, look=look))
            cost(programs.regkeeper("restore"))
            changed(root)
        regkeeper = replace(ours[1], mebibytes=ours[0].mebibytes)
        middle = sorted(each, key=lambda one: one.seconds)[SAMPLE // 2]
        theirs = Cost(middle.seconds * COUNT, middle.cpu_seconds * COUNT, middle.mebibytes)
        section = Section(
            f"{COUNT:,} tags deleted",
            f"`regkeeper delete` of {COUNT:,} tags in {REPOSITORIES} repositories: plan, journal, some 9,000 renames, "
            "each kind made durable; undone afterwards. Against what deletion scripts do for each tag: read every "
            "manifest of the volume to see what is shared. Warm cache; ours is measured once, the stand-in for such a "
            f"script (it reads and deletes nothing) {SAMPLE} times for one tag, and multiplied. {load()}",
            HEADER,
            rows({"regkeeper": [regkeeper], "one by one": [theirs]}, "regkeeper"),
        )
        section.expect(theirs.seconds >= 500 * regkeeper.seconds, "500 times faster than one by one")
        yield section
