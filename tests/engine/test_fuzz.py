"""Hostile input: manifests, links, policies, lists of images in use and arguments that nobody would write.

Whatever comes in, the command ends with one of its statuses and never with a traceback (the driver raises it), and what
it can't make sense of it doesn't delete. `make test` tries some, `python -m tests.bench fuzz` minutes of it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from tests.engine import documents
from tests.engine.cases import cases
from tests.engine.documents import Manifest
from tests.engine.driver import REFUSES_NOTHING, complete, delete, ours, policy, retain, run
from tests.engine.memory import folder_in_memory
from tests.engine.oracle_reading import read
from tests.engine.strategies import SPECS
from tests.engine.volumes import Volume, files, snapshot

STATUSES = {0, 1, 2, 3}

LAYERS = (b"one", b"two", b"three")

EAGER = {"garbage": {"deleteAfter": "0s"}, "untagged": {"deleteAfter": "0s"}, "limits": REFUSES_NOTHING}
"""Deletes whatever nobody needs, at once; no tag."""

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


@contextmanager
def volumes() -> Iterator[Volume]:
    """A volume in a directory that has something beside it, which nothing may touch."""
    with folder_in_memory() as folder:
        beside = Path(folder) / "beside"
        beside.mkdir()
        (beside / "v1").write_text("not the registry's")
        yield Volume(Path(folder) / "registry")
        assert (beside / "v1").read_text() == "not the registry's"


@st.composite
def mutated(draw: st.DrawFn, document: Any) -> Any:
    """The document with one of its values replaced, wherever it is."""
    if not isinstance(document, dict | list) or not document or draw(st.booleans()):
        return draw(JSON)
    keys = list(document) if isinstance(document, dict) else list(range(len(document)))
    chosen = draw(st.sampled_from(keys))
    copy: Any = dict(document) if isinstance(document, dict) else list(document)
    copy[chosen] = draw(mutated(document[chosen]))
    return copy


@cases(150)
@given(kind=st.sampled_from(["image", "index", "artifact", "schema 1"]), data=st.data())
def test_a_mutated_manifest_loses_nothing_that_it_mentions(kind: str, data: st.DataObject) -> None:
    """It is tagged, and its digest is right: a registry, or a failing disk long ago, let it in."""
    with volumes() as volume:
        app = volume.repository("app")
        layers = [app.push_blob(content) for content in LAYERS]
        child = app.push_image(layers=[b"child"])
        manifests = {
            "image": documents.image(layers[0], layers[1:]),
            "index": documents.index([child]),
            "artifact": documents.artifact(layers),
            "schema 1": documents.schema1("app", "v1", layers),
        }
        valid = json.loads(manifests[kind].content)
        content = documents.encode(data.draw(mutated(valid), label="manifest"))
        manifest = Manifest("application/json", content)
        app.push(manifest, "v1")

        assert retain(volume, EAGER).code in STATUSES - {2}
        mentioned = {each.digest for each in (*layers, child) if each.digest.encode() in content}
        assert mentioned <= read(volume.v2).sizes.keys()
        assert app.tag_link("v1").exists()


@cases(100)
@given(content=st.binary(max_size=200) | st.text(max_size=80).map(str.encode), data=st.data())
def test_a_mutated_link_pins_its_repository_and_no_other(content: bytes, data: st.DataObject) -> None:
    with volumes() as volume:
        app, other = volume.repository("app"), volume.repository("other")
        image = app.push_image("v1", layers=[b"one"])
        app.push_image(layers=[b"untagged"])
        other.push_image(layers=[b"untagged elsewhere"])
        assume(content != image.digest.encode())
        link = data.draw(st.sampled_from([app.tag_link("v1"), app.revision_link(image.digest)]))
        volume.replace(link, content)
        before = snapshot(app.directory)
        outcome = retain(volume, EAGER)
        assert outcome.code in {0, 3}
        assert documents.digest_of(b"one") in read(volume.v2).sizes
        if outcome.code == 3:
            assert snapshot(app.directory) == before
        assert documents.digest_of(b"untagged elsewhere") not in read(volume.v2).sizes


@cases(150)
@given(spec=st.one_of(SPECS.flatmap(mutated), JSON))
def test_a_mutated_policy_is_carried_out_or_refused_whole(spec: Any) -> None:
    with volumes() as volume:
        volume.repository("app").push_image("v1")
        before = snapshot(volume.root)
        outcome = retain(volume, spec)
        assert outcome.code in STATUSES
        if outcome.code in {1, 2}:
            assert complete(volume) == {("app", "v1")}
        if outcome.code == 2:
            assert snapshot(volume.root) == before


@cases(100)
@given(content=st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_a_policy_file_of_anything_at_all_deletes_nothing(content: bytes) -> None:
    with volumes() as volume:
        volume.repository("app").push_image("v1")
        before = snapshot(volume.root)
        file = volume.root.parent / "policy.yaml"
        file.write_bytes(content)
        assert run(volume, "retain", "--policy", str(file)).code == 2
        assert snapshot(volume.root) == before


@cases(100)
@given(content=st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_a_list_of_images_in_use_of_anything_at_all_deletes_nothing(content: bytes) -> None:
    """What is no list can't say that nothing is in use; an empty list ends with `# 0`."""
    assume(not content.rstrip().endswith(b"# 0"))
    with volumes() as volume:
        volume.repository("app").push_image("v1")
        before = snapshot(volume.root)
        file, in_use = volume.root.parent / "policy.yaml", volume.root.parent / "in-use"
        file.write_text(policy({**EAGER, "rules": [{"keep": {"last": 0}}]}))
        in_use.write_bytes(content)
        assert run(volume, "retain", "--policy", str(file), "--in-use", str(in_use)).code in {1, 2}
        assert snapshot(volume.root) == before


NAMES = st.text(alphabet="ab1/.:@*{}[]!~-_ \\\n\x00é", max_size=20)
"""No `app` and no `v1` in it: what it names, if it names anything, is not there; but a pattern may match."""


@cases(150)
@given(reference=NAMES)
def test_an_argument_of_anything_at_all_deletes_nothing(reference: str) -> None:
    assume(not reference.startswith("-"))
    assume("\x00" not in reference)  # the kernel lets no program have one in its arguments
    with volumes() as volume:
        for name in ("app", "team/app"):
            volume.repository(name).push_image("v1", "latest")
        before = files(volume.root)
        assert delete(volume, reference).code in {1, 2}
        assert files(volume.root, ignore=ours) == before
