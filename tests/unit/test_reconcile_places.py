"""Finding who may share a place finds all whom comparing everybody with everybody would."""

from hypothesis import given
from hypothesis import strategies as st

from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.registry.directories import Directory
from regkeeper.reconcile.registry.exclusivity import Place, same_place
from regkeeper.reconcile.registry.places import Places

A, B = Key("images", "a"), Key("images", "b")
SOME_DIRECTORIES = st.builds(
    Directory,
    path=st.sampled_from(["/", "/d", "//d/", "/d/e", "/de", "/f"]),
    nodes=st.frozensets(st.sampled_from("12"), max_size=2),
)
SOME_PLACES = st.builds(
    Place,
    claim=st.none() | st.tuples(st.sampled_from("mn"), st.sampled_from("xy")),
    volume=st.none() | st.sampled_from("vw"),
    directory=st.none() | SOME_DIRECTORIES,
)


@given(st.lists(SOME_PLACES, min_size=2, max_size=12))
def test_nobody_in_the_same_place_is_left_out(wanted: list[Place]) -> None:
    places = Places()
    keys = [Key("images", str(number)) for number in range(len(wanted))]
    for key, place in zip(keys, wanted, strict=True):
        places.put(key, place)
    near = places.near(keys[0])
    for key, place in zip(keys[1:], wanted[1:], strict=True):
        assert key in near or not same_place(wanted[0], place)


def test_directories_beside_one_another_are_not_near_whatever_node_has_them() -> None:
    places = Places()
    keys = [Key("images", str(number)) for number in range(500)]
    for number, key in enumerate(keys):
        places.put(key, Place(directory=Directory(f"/volumes/images/{number}")))
    assert places.near(keys[0]) == {}


def test_a_place_that_became_known_better_replaces_the_old_one() -> None:
    places = Places()
    places.put(A, Place(claim=("images", "one")))
    places.put(B, Place(claim=("images", "two"), volume="v"))
    assert places.near(A) == {}
    places.put(A, Place(claim=("images", "one"), volume="v"))
    assert places.near(B) == {A: Place(claim=("images", "one"), volume="v")}


def test_a_registry_that_is_gone_is_near_nobody() -> None:
    places = Places()
    for key in (A, B):
        places.put(key, Place(claim=("images", "one")))
    places.forget(A)
    assert places.near(B) == {}
    assert places.known() == {B}
