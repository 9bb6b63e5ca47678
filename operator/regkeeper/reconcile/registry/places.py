"""Where all Registries keep their images, found by what two of them could share.

Comparing each with each was a third of what an idle operator with 500 Registries did (tests/bench/many_registries.py).
"""

from collections import defaultdict
from collections.abc import Iterator, KeysView

from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.registry.exclusivity import Place

Mark = tuple[str, ...]
"""A claim, a volume, the path of a directory, or of one that it is in."""


def _marks(place: Place) -> Iterator[Mark]:
    """Under what a place is found."""
    yield from _names(place)
    if place.directory is not None:
        parts = place.directory.parts
        yield ("at", *parts)
        for length in range(1, len(parts) + 1):
            yield ("within", *parts[:length])


def _sought(place: Place) -> Iterator[Mark]:
    """Under what every place that is the same as this one, as `same_place` has it, is found at least once."""
    yield from _names(place)
    if place.directory is not None:
        parts = place.directory.parts
        yield ("within", *parts)
        for length in range(1, len(parts)):
            yield ("at", *parts[:length])


def _names(place: Place) -> Iterator[Mark]:
    if place.claim:
        yield ("claim", *place.claim)
    if place.volume:
        yield ("volume", place.volume)


class Places:
    """The place of each Registry, as far as it is known."""

    def __init__(self) -> None:
        self._places: dict[Key, Place] = {}
        self._sharing: defaultdict[Mark, set[Key]] = defaultdict(set)
        self._unresolved: set[Key] = set()

    def put(self, key: Key, place: Place) -> None:
        """Remember where a Registry keeps its images, instead of what was known."""
        if self._places.get(key) == place:
            return
        self.forget(key)
        self._places[key] = place
        for mark in _marks(place):
            self._sharing[mark].add(key)
        if place.claim and not place.volume:
            self._unresolved.add(key)

    def forget(self, key: Key) -> None:
        """The Registry is gone."""
        place = self._places.pop(key, None)
        self._unresolved.discard(key)
        for mark in _marks(place) if place else ():
            sharing = self._sharing[mark]
            sharing.discard(key)
            if not sharing:
                del self._sharing[mark]

    def known(self) -> KeysView[Key]:
        """Registries whose place is known."""
        return self._places.keys()

    def unresolved(self) -> list[Key]:
        """Registries with a claim of which it is not known what is behind it."""
        return sorted(self._unresolved)

    def near(self, key: Key) -> dict[Key, Place]:
        """Other Registries that may be in the same place as this one, in the order of their keys."""
        found = {other for mark in _sought(self._places[key]) for other in self._sharing.get(mark, ())} - {key}
        return {other: self._places[other] for other in sorted(found)}
