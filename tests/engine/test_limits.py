"""Circuit breakers: what a plan may not exceed without an approval, and what is refused whatever is approved."""

import hashlib
import os
import shutil
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from regkeeper.retention.errors import NotPermittedError
from regkeeper.retention.judging.question import Question
from regkeeper.retention.moments import SECOND
from regkeeper.retention.planning.plan import Outcome
from regkeeper.retention.planning.planner import Planner
from regkeeper.retention.policies.intent import Intent
from regkeeper.retention.volume.layout import Volume as OpenVolume
from regkeeper.retention.volume.layout import open_volume
from tests.engine import driver
from tests.engine.planning import delete, retain
from tests.engine.volumes import DAY, Volume

HALF = {"maxDeletedShare": "50%", "allowEmptyRepositories": True}


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path)


def fill(volume: Volume, name: str, tags: int, **image: Any) -> None:
    repository = volume.repository(name)
    for number in range(tags):
        age = {"age": (2 + number) * DAY, **image}
        repository.push_image(f"v{number}", layers=[f"{name} {number:02d}".encode() * 50], **age)


def keep(last: int, **limits: Any) -> dict[str, Any]:
    return {"rules": [{"keep": {"last": last}}], "limits": {**HALF, **limits}}


@pytest.mark.parametrize(("last", "exceeded"), [(10, set()), (9, {"tags", "manifests", "bytes"})])
def test_a_share_is_taken_of_tags_manifests_and_bytes(volume: Volume, last: int, exceeded: set[str]) -> None:
    fill(volume, "app", 20)
    planned = retain(volume, keep(last), limited=True).plan
    assert {limit.limit for limit in planned.limits} == ({"maxDeletedShare"} if exceeded else set())
    assert {limit.message.split()[3] for limit in planned.limits} == exceeded
    assert planned.outcome is (Outcome.LIMITED if exceeded else Outcome.READY)


def test_no_share_is_taken_of_few_tags(volume: Volume) -> None:
    fill(volume, "app", 19)
    assert retain(volume, keep(0), limited=True).plan.limits == []


def test_other_repositories_do_not_dilute_the_share(volume: Volume) -> None:
    fill(volume, "app", 20)
    fill(volume, "other", 60)
    policy = {"rules": [{"repositories": ["app"], "keep": {"last": 9}}], "limits": HALF}
    assert retain(volume, policy, limited=True).plan.outcome is Outcome.LIMITED


def test_bytes_that_no_repository_names_count(volume: Volume) -> None:
    fill(volume, "app", 20)
    volume.put_blob(b"garbage" * 100_000)
    limits = retain(volume, keep(20), limited=True).plan.limits
    assert [limit.message.split()[3] for limit in limits] == ["bytes"]


def garbage(volume: Volume, shard: str, size: int) -> None:
    """Put a blob of so many bytes into the directory of those whose digests begin like this."""
    contents = (b"%08d" % number + bytes(size - 8) for number in count())
    volume.put_blob(next(content for content in contents if hashlib.sha256(content).hexdigest().startswith(shard)))


@pytest.mark.parametrize(("further", "exceeded"), [(0, []), (1, ["bytes"])])
def test_the_share_of_bytes_is_held_to_the_byte(volume: Volume, further: int, exceeded: list[str]) -> None:
    """Wherever something goes as much stays, and of manifests the size is known without a look at their files."""
    fill(volume, "app", 20)
    kept = Counter[str]()
    for data in (volume.blobs / "sha256").glob("*/*/data"):
        kept[data.parent.name[:2]] += data.stat().st_size
    for number, (shard, size) in enumerate(kept.items()):
        garbage(volume, shard, size + (further if number == 0 else 0))
    planned = retain(volume, keep(20), limited=True).plan
    assert planned.deleted_bytes == kept.total() + further
    assert [limit.message.split()[3] for limit in planned.limits] == exceeded


def test_a_repository_may_not_lose_its_last_tag_by_a_rule(volume: Volume) -> None:
    fill(volume, "app", 2)
    planned = retain(volume, keep(0, allowEmptyRepositories=False), limited=True).plan
    assert [(limit.limit, limit.message) for limit in planned.limits] == [
        ("allowEmptyRepositories", "app would lose its last tag")
    ]
    by_name = {"delete": ["app"], "limits": {"allowEmptyRepositories": False}}
    assert retain(volume, by_name, limited=True).plan.outcome is Outcome.READY


def test_what_is_no_version_does_not_hide_that_the_last_one_goes(volume: Volume) -> None:
    fill(volume, "app", 2)
    app = volume.repository("app")
    (app.tags / "broken").mkdir()
    app.push_image("sha256-" + "ab" * 32 + ".sig", layers=[b"a signature of nothing"], age=9 * DAY)
    policy = {**keep(0, allowEmptyRepositories=False), "delete": ["app:broken"]}
    assert [limit.limit for limit in retain(volume, policy, limited=True).plan.limits] == ["allowEmptyRepositories"]


def test_an_index_that_lists_itself_many_times_over_costs_no_time(volume: Volume) -> None:
    """n children n times nested would be n³ reads, with the registry read-only meanwhile."""
    app = volume.repository("app")
    child = app.push_image(layers=[b"x"])
    for _ in range(3):
        child = app.push_index(children=[child] * 1000)
    for number in range(20):
        app.tag(f"v{number}", child.digest, age=2 * DAY)
    assert retain(volume, keep(0), limited=True).plan.limits


def test_the_strictest_limit_of_several_policies_counts(volume: Volume) -> None:
    fill(volume, "app", 20)
    lax = keep(10, maxDeletedShare="100%")
    assert retain(volume, lax, limited=True).plan.outcome is Outcome.READY
    strict = {"limits": {"maxDeletedShare": "10%", "allowEmptyRepositories": True}}
    assert retain(volume, lax, limited=True, also_keep=[strict]).plan.outcome is Outcome.LIMITED


def test_the_patterns_of_delete_are_limited_and_its_exact_entries_are_not(volume: Volume) -> None:
    fill(volume, "app", 30)
    emptied = retain(volume, {"delete": ["**:*"], "limits": {"maxDeletedShare": "100%"}}, limited=True).plan
    assert emptied.limits == []
    assert [entry.empty for entry in emptied.entries] == [True]
    everything = retain(volume, {"delete": ["**:*"], "limits": HALF}, limited=True).plan
    assert {limit.limit for limit in everything.limits} == {"maxDeletedShare"}
    exact = {"delete": [f"app:v{number}" for number in range(30)], "limits": HALF}
    assert retain(volume, exact, limited=True).plan.outcome is Outcome.READY


def test_a_copy_that_was_not_finished_is_suspected(volume: Volume) -> None:
    """cp and rsync bring a repository's `_layers` before its `_manifests`."""
    for number in range(10):
        fill(volume, f"app-{number}", 1)
        if number < 2:
            shutil.rmtree(volume.repository(f"app-{number}").directory / "_manifests")
    assert [limit.limit for limit in retain(volume, {}, limited=True).plan.limits] == ["missingManifests"]


def test_the_command_delete_knows_no_limits(volume: Volume) -> None:
    fill(volume, "app", 30)
    assert delete(volume, "app").plan.outcome is Outcome.READY


@pytest.mark.parametrize(
    ("months", "apart", "suspected"),
    [(range(1, 13), 1, True), (range(1, 13), 156, True), ([5], 1, False), (range(1, 13), 7201, False)],
    ids=["seconds, a year of builds", "one hour, a year of builds", "one month of builds", "pushed over days"],
)
@pytest.mark.parametrize("after_the_hour", [0, 12, 1800, 3599])
def test_times_that_a_copy_has_reset_are_suspected(
    volume: Volume, months: range | list[int], apart: int, suspected: bool, after_the_hour: int
) -> None:
    app = volume.repository("app")
    last = DAY * 40 + volume.now // SECOND % 3600 - after_the_hour  # seconds ago
    for number in range(24):
        created = f"2025-{list(months)[number % len(months)]:02d}-01T00:00:00Z"
        app.push_image(f"v{number}", layers=[b"%d" % number], created=created, age=last + number * apart)
    policy = keep(20, maxDeletedShare="100%")
    limits = retain(volume, policy, limited=True).plan.limits
    assert [limit.limit for limit in limits] == (["timestamps"] if suspected else [])


def test_blobs_without_repositories_are_refused(volume: Volume) -> None:
    volume.put_blob(b"x")
    assert retain(volume, {}).plan.refusal == "blobs holds data while repositories is empty"
    volume.repositories.rmdir()
    assert retain(volume, {}).plan.refusal == "blobs holds data while repositories is missing"
    assert retain(volume, {}).plan.outcome is Outcome.REFUSED


def test_fewer_than_half_of_the_repositories_of_the_last_run_are_refused(volume: Volume) -> None:
    for name in ("a", "b"):
        volume.repository(name).push_image("v1")
    assert retain(volume, {}, repositories_before=4).plan.refusal == ""
    refused = retain(volume, keep(0), repositories_before=5).plan
    assert "it has 2 repositories and had 5 at the last run" in refused.refusal
    assert refused.outcome is Outcome.REFUSED


def test_repositories_that_were_removed_on_purpose_are_no_obstacle_for_ever(volume: Volume) -> None:
    """Each run records what it leaves, one with nothing to do too, and the refusal says what ends it."""
    for number in range(6):
        volume.repository(f"app{number}").push_image("v1")
    assert driver.retain(volume, {}).document["outcome"] == "nothing"
    for number in (0, 1, 2):
        volume.remove(volume.repository(f"app{number}").directory)
    assert driver.retain(volume, {"garbage": {"deleteAfter": "1000d"}}).code == 0
    volume.remove(volume.repository("app3").directory)
    assert driver.retain(volume, {"garbage": {"deleteAfter": "1000d"}}).code == 0
    volume.remove(volume.repository("app4").directory)
    volume.repositories.joinpath("app5").rename(volume.root / "elsewhere")
    refused = driver.retain(volume, {})
    assert refused.code == 1
    assert "had 2 at the last run" in refused.document["refusal"]
    record = refused.document["refusal"].rpartition("remove ")[2]
    (volume.root / "elsewhere").rename(volume.repositories / "app5")
    volume.replace(Path(record), b"100\n")
    assert driver.delete(volume, "app5:v1").code == 1
    Path(record).unlink()
    assert driver.delete(volume, "app5:v1").code == 0


@pytest.mark.root
def test_what_another_user_may_read_is_no_corruption(volume: Volume) -> None:
    fill(volume, "app", 1)
    link = volume.repository("app").tag_link("v0")
    os.chown(link, 1234, 1234)
    link.chmod(0o600)
    with open_volume(str(volume.root)) as opened:
        pid = os.fork()
        if pid == 0:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            os._exit(_exit_status(opened))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _exit_status(volume: OpenVolume) -> int:
    try:
        Planner(volume, Question(Intent(), 0)).make()
    except NotPermittedError as error:
        return 0 if "Run as user 1234" in str(error) else 1
    return 2
