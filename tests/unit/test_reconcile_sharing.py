"""One copy of what many objects have in common, and none of what nobody has any more."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from regkeeper.reconcile.sharing import Parts

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(0, 2) | st.sampled_from(["a", "b", "x" * 40]),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from("abc"), below, max_size=3),
    max_leaves=12,
)


@given(values=st.lists(JSON, max_size=6))
def test_what_is_shared_says_the_same(values: list[Any]) -> None:
    parts = Parts()
    # As text, for Python takes 1, 1.0 and True for one another.
    assert [json.dumps(parts.shared(value)) for value in values] == [json.dumps(value) for value in values]


def a_template(name: str) -> dict[str, Any]:
    return {"name": name, "template": {"containers": [{"image": "registry", "ports": [5000]}], "labels": {"a": "b"}}}


def test_hundreds_of_objects_have_one_copy_of_what_they_have_in_common() -> None:
    parts = Parts()
    first, *others = [parts.shared(a_template(f"registry-{number}")) for number in range(500)]
    assert all(other["template"] is first["template"] for other in others)
    assert first["name"] == "registry-0"


def test_what_nobody_has_any_more_is_forgotten() -> None:
    parts = Parts()
    kept = parts.shared(a_template("kept"))
    for number in range(20_000):
        parts.shared({"status": {"replicas": str(number)}})
    assert len(parts) < 5_000
    assert parts.shared(a_template("kept")) is kept
