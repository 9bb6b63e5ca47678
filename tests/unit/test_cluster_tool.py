"""Parts of `tests.cluster` that need neither root nor a cluster."""

import json
import multiprocessing
import os
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

import pytest

from tests.cluster.cache import content_of, forget_others, published
from tests.cluster.fixtures import GivenCluster
from tests.cluster.images.archive import Directory, File, Image, Layer, Link, layer_tar, write_archive
from tests.cluster.locks import locked
from tests.cluster.plan import SERVICES, SLOTS, Plan
from tests.cluster.processes import ProcessTable
from tests.cluster.records import directory
from tests.cluster.requirements import missing_packages


def test_slots_share_no_name_and_no_address() -> None:
    plans = [Plan("same", slot, Path("/data"), 1500) for slot in SLOTS]
    networks = [network for plan in plans for network in (plan.network, plan.pods)] + [SERVICES]
    links = [link for plan in plans for link in (plan.bridge, *(node.link for node in plan.nodes))]

    assert not any(one.overlaps(other) for one, other in combinations(networks, 2))
    assert len(set(links)) == len(links)
    assert max(map(len, links)) <= 15  # the kernel's limit


@pytest.mark.parametrize("name", ["", "..", "a/b", "-a", "A", "a" * 40])
def test_a_name_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a cluster's name"):
        directory(name)


def test_a_process_is_stopped_once(tmp_path: Path) -> None:
    table = ProcessTable(tmp_path)
    table.start("sleeper", ["sleep", "60"], tmp_path / "log", os.environ)
    assert table.alive("sleeper")
    table.stop("sleeper")

    assert not table.alive("sleeper")
    assert table.names() == []


def test_a_reused_pid_is_not_killed(tmp_path: Path) -> None:
    table = ProcessTable(tmp_path)
    started = table.start("sleeper", ["sleep", "60"], tmp_path / "log", os.environ)
    record = tmp_path / "sleeper.json"
    content = json.loads(record.read_text())
    record.write_text(json.dumps(content | {"start_time": content["start_time"] - 1}))
    table.stop("sleeper")

    assert started.alive()
    started.stop(5)


def test_a_process_of_an_earlier_boot_is_dead(tmp_path: Path) -> None:
    table = ProcessTable(tmp_path)
    table.record_self("me")
    assert table.alive("me")
    record = tmp_path / "me.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"boot": "earlier"}))

    assert not table.alive("me")


def _count(path: Path, lock: Path) -> None:
    for _ in range(50):
        with locked(lock):
            path.write_text(str(int(path.read_text()) + 1))


def test_a_lock_excludes_others_and_leaves_no_file(tmp_path: Path) -> None:
    counter, lock = tmp_path / "counter", tmp_path / "lock"
    counter.write_text("0")
    workers = [multiprocessing.get_context("spawn").Process(target=_count, args=(counter, lock)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert counter.read_text() == "150"
    assert list(tmp_path.iterdir()) == [counter]


def test_what_was_half_made_is_not_published(tmp_path: Path) -> None:
    def breaks(path: Path) -> None:
        path.write_text("half")
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        published(tmp_path / "thing", breaks)

    assert list(tmp_path.iterdir()) == []


def test_two_clusters_that_start_side_by_side_tidy_up_at_once(tmp_path: Path) -> None:
    current = tmp_path / "store-current"
    current.mkdir()
    for number in range(100):
        old = tmp_path / f"store-{number}"
        (old / "layer").mkdir(parents=True)
        os.utime(old, (0, 0))
    with ThreadPoolExecutor() as both:
        list(both.map(lambda _: forget_others(current, "store-*"), range(4)))
    assert os.listdir(tmp_path) == ["store-current"]


def test_content_sees_names_bytes_and_the_right_to_execute(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    file = tree / "file"
    file.write_text("one")
    states = [content_of([tree])]
    file.write_text("two")
    states.append(content_of([tree]))
    file.chmod(0o755)
    states.append(content_of([tree]))
    file.rename(tree / "other")
    states.append(content_of([tree]))

    assert len(set(states)) == 4


def test_an_image_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    layer: Layer = {"bin/tool": File(b"tool", 0o755), "bin/link": Link("tool"), "tmp": Directory(0o1777)}
    for name in ("one", "two"):
        write_archive(Image(names=["example/tool:1"], layers=[layer_tar(layer)]), tmp_path / name)

    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with tarfile.open(tmp_path / "one") as archive:
        [manifest] = json.loads((archive.extractfile("manifest.json") or pytest.fail("no manifest")).read())
        assert set(archive.getnames()) == {manifest["Config"], *manifest["Layers"], "manifest.json"}
    assert manifest["RepoTags"] == ["example/tool:1"]


def test_missing_packages_are_named_once() -> None:
    programs = {"no-such-program": "first", "no-such-other": "first", "sh": "dash", "/no/such/file": "second"}

    assert missing_packages(programs) == ["first", "second"]


def test_the_command_explains_itself() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "tests.cluster", "--help"], capture_output=True, text=True, check=True
    )

    for verb in ("up", "down", "status", "exec", "kubeconfig", "load", "load-operator", "requirements"):
        assert f" {verb} " in answer.stdout


def test_a_given_cluster_says_in_one_line_what_it_lacks(tmp_path: Path) -> None:
    given = GivenCluster(tmp_path / "kubeconfig", "http://127.0.0.1:1")
    with pytest.raises(pytest.fail.Exception, match="needs the embedded cluster") as refused:
        given.node_ip("k8smaster")
    assert not refused.value.pytrace
