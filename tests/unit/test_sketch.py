"""A sketch never denies a name that is in its set, and seldom takes another one for it."""

from hypothesis import given
from hypothesis import strategies as st

from regkeeper.sketch import LARGEST_BYTES, MOST_NAMES, may_have, sketch


@given(st.sets(st.binary(max_size=80), max_size=60))
def test_what_is_in_the_set_is_never_denied(names: set[bytes]) -> None:
    bits = sketch(names)
    assert bits is not None
    assert all(may_have(bits, name) for name in names)


def test_what_is_not_in_the_set_is_mostly_denied_even_where_it_is_as_large_as_it_may_be() -> None:
    others = [f"other-{number}".encode() for number in range(10_000)]
    for size, most in ((0, 0), (10, 200), (300, 200), (MOST_NAMES, 1800)):
        bits = sketch([f"name-{number}".encode() for number in range(size)])
        assert bits is not None
        assert 1 <= len(bits) <= LARGEST_BYTES
        assert sum(may_have(bits, name) for name in others) <= most


def test_a_set_of_which_nothing_could_be_said_has_none() -> None:
    assert sketch([str(number).encode() for number in range(MOST_NAMES + 1)]) is None
