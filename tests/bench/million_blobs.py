"""A volume of a million blobs: memory and time of the plan, against `garbage-collect` of 3.1."""

from collections.abc import Iterator

from tests.bench.programs import HEADER, Programs, cost, load, rows, seconds
from tests.bench.reference_volume import TAGS, forget, prepared, settle
from tests.bench.table import Section

REPOSITORIES = 6112


def run() -> Iterator[Section]:
    with prepared(REPOSITORIES) as (folder, root):
        forget(root)
        programs = Programs(folder, root)
        floor = programs.floor()
        cost(floor)  # warms the cache up
        # In one round, in which their memory is looked at too: 3.1 alone takes 15 minutes.
        commands = {"floor": floor, "regkeeper": programs.retain("--dry-run"), "3.1": programs.collect("3.1")}
        costs = {name: [cost(command)] for name, command in commands.items()}
        settle(root)
        cost(programs.retain(last=TAGS))  # deletes nothing, and remembers
        costs["regkeeper, again"] = [cost(programs.retain("--dry-run", last=TAGS))]
        section = Section(
            "A million blobs",
            f"{REPOSITORIES:,} repositories of {TAGS} tags: 1,000,000 blobs, 1.5 million links, 5.8 million inodes. "
            "Warm cache, one run each, dry: `keep: {last: 30}`, which deletes a quarter of everything; then, after a "
            f"run that remembered what it read, `keep: {{last: {TAGS}}}`, which deletes nothing. {load()}",
            HEADER,
            rows(costs, "regkeeper"),
        )
        ours, theirs = costs["regkeeper"][0].mebibytes, costs["3.1"][0].mebibytes
        section.expect(ours <= 150, "at most 150 MiB for a million blobs")
        section.expect(ours < theirs, "less memory than garbage-collect of 3.1")
        section.expect(
            seconds(costs, "3.1") >= 10 * seconds(costs, "regkeeper"), "10 times faster than garbage-collect of 3.1"
        )
        section.expect(
            seconds(costs, "regkeeper, again") <= 1.5 * seconds(costs, "floor"), "again within 1.5 times the floor"
        )
        yield section
