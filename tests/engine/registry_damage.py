"""What happens to a registry's volume behind its back."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.engine import documents
from tests.engine.pools import AGES, LAYERS
from tests.engine.volumes import DAY, Volume

DamageKind = Literal[
    "empty tag link",
    "malformed tag link",
    "empty revision link",
    "corrupt manifest",
    "manifest without data",
    "half-written manifest",
    "layer without data",
    "layer without link",
    "empty layer link",
    "tag without current",
    "foreign file in tags",
    "unknown room",
]


@dataclass(frozen=True)
class Damage:
    """What happened to the volume behind the registry's back; `of` chooses the victim among those that there are."""

    kind: DamageKind
    of: int


def suffer(volume: Volume, manifests: Collection[Path], damage: Damage) -> None:
    """Carry a damage out.

    Args:
        volume: the registry.
        manifests: the `data` of those that were pushed.
        damage: what happens.
    """
    v2 = volume.v2
    layers = {volume.blob_data(documents.digest_of(layer)) for layer in LAYERS}
    rooms = "repositories/**/_manifests"
    places: dict[DamageKind, tuple[list[Any], Callable[[Any], object]]] = {
        "empty tag link": (list(v2.glob(f"{rooms}/tags/*/current/link")), volume.empty),
        "malformed tag link": (list(v2.glob(f"{rooms}/tags/*/current/link")), volume.truncate),
        "empty revision link": (list(v2.glob(f"{rooms}/revisions/*/*/link")), volume.empty),
        "corrupt manifest": (list(manifests), volume.flip),
        "manifest without data": (list(manifests), volume.remove),
        "half-written manifest": (
            list(manifests),
            lambda data: volume.half_write_blob(data.read_bytes(), age=AGES[damage.of]),
        ),
        "layer without data": (list(layers), volume.remove),
        "layer without link": (list(v2.glob("repositories/**/_layers/*/*/link")), volume.remove),
        "empty layer link": (list(v2.glob("repositories/**/_layers/*/*/link")), volume.empty),
        "tag without current": (list(v2.glob(f"{rooms}/tags/*/current")), volume.remove),
        "foreign file in tags": (
            list(v2.glob(f"{rooms}/tags")),
            lambda tags: volume.write(tags / ".nfs0001", b"", age=100 * DAY),
        ),
        "unknown room": (
            list(v2.glob("repositories/**/_manifests")),
            lambda room: volume.write(room.parent / "_signed" / "sha256" / "data", b"?", age=100 * DAY),
        ),
    }
    victims, strike = places[damage.kind]
    present = sorted(victim for victim in victims if victim.exists())
    if present:
        strike(present[damage.of % len(present)])
