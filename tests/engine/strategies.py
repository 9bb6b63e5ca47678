"""Hypothesis strategies: small registries with everything that makes deletion hard, and policies to go with them.

A registry is drawn as a list of `Step`s, so that a failing example prints as a short story, and shrinks to a shorter
one.
"""

from collections.abc import Sequence
from typing import Any, get_args

from hypothesis import strategies as st

from tests.engine.oracle_policy import InUse
from tests.engine.pools import AGES, LAYERS, REPOSITORIES, TAGS
from tests.engine.registry_damage import Damage, DamageKind
from tests.engine.registry_history import History, Kind, Step
from tests.engine.volumes import Volume

OFTEN_OLD = st.one_of(st.sampled_from(AGES[4:-1]), st.sampled_from(AGES))
"""Were every age as likely as the next, most volumes would be too young for most policies."""


ABOUT_OTHERS: tuple[Kind, ...] = (
    "image",
    "index",
    "unknown type",
    "referring index",
    "referrer",
    "signature",
    "fallback tag",
    "copy",
    "retag",
    "retag as dependant",
)
"""What makes images that are about others, and lists of them, in several repositories."""

ABOUT_SEVERAL: tuple[Kind, ...] = ("image", "image", "signature", "retag as dependant", "fallback tag")
"""What makes manifests that are about several others: among all kinds such are too rare."""


@st.composite
def histories(
    draw: st.DrawFn, *, damages: int = 2, kinds: Sequence[Kind] = get_args(Kind), repositories: int = len(REPOSITORIES)
) -> History:
    """Registries of up to 14 steps in chronological order, with up to `damages` damages."""
    ages = sorted(draw(st.lists(OFTEN_OLD, min_size=1, max_size=14)), reverse=True)
    numbers = st.lists(st.integers(-1, 6), max_size=3).map(tuple)
    steps = tuple(
        Step(
            draw(st.sampled_from(kinds)),
            draw(st.sampled_from(REPOSITORIES[:repositories])),
            age,
            draw(st.lists(st.sampled_from(TAGS), max_size=2, unique=True).map(tuple)),
            draw(st.lists(st.integers(0, len(LAYERS) - 1), max_size=3, unique=True).map(tuple)),
            draw(numbers),
        )
        for age in ages
    )
    damage = st.builds(Damage, st.sampled_from(get_args(DamageKind)), st.integers(0, 9))
    return History(steps, draw(st.one_of(st.just(()), st.lists(damage, max_size=damages).map(tuple))))


SEMVER: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"highest": st.integers(0, 2)},
    optional={"constraint": st.sampled_from([">=1.0", "<2", ">1.2 <3", ">=2.0.0-rc.0"])},
)

KEEPS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries({"last": st.integers(0, 3)}),
    st.fixed_dictionaries({"pushedWithin": st.sampled_from(["1d", "36h", "30d"])}),
    st.fixed_dictionaries({"semver": SEMVER}),
    st.fixed_dictionaries({"last": st.integers(0, 1), "semver": SEMVER}),
    st.fixed_dictionaries({"matching": st.sampled_from([["latest"], ["stable-*", "v1"], [r"/v\d/"]])}),
)

RULES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"keep": KEEPS},
    optional={
        "repositories": st.sampled_from([["**"], ["*"], ["team/**"], ["{app,team}"], ["/team.*/"], ["*/a?p", "app"]]),
        "tags": st.sampled_from([["v*"], ["[0-9]*"], ["latest"], ["*.*"], ["[!v]*"], ["{latest,v1}"]]),
    },
)

DELETIONS = st.sampled_from(
    ["app:latest", "team/app:v1", "team", "team/app", "team/**", "app:v*", "current-app:*", "*:1.*", "nobody:v1"]
)

SPECS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "limits": st.just({"maxDeletedShare": "100%", "allowEmptyRepositories": True}),
        "rules": st.lists(RULES, max_size=3),
    },
    optional={
        "delete": st.lists(DELETIONS, max_size=2, unique=True),
        "untagged": st.sampled_from(["0s", "24h", "7d"]).map(lambda age: {"deleteAfter": age}),
        "garbage": st.sampled_from(["0s", "24h", "7d"]).map(lambda age: {"deleteAfter": age}),
        "dependants": st.sampled_from(["24h", "720h"]).map(lambda age: {"orphanedFor": age}),
        "uploads": st.sampled_from(["24h", "7d"]).map(lambda age: {"deleteAfter": age}),
        "protect": st.sampled_from(["0s", "1h", "2d"]).map(lambda age: {"youngerThan": age}),
    },
)
"""The `spec` of an ImageRetention, with limits that refuse nothing."""


def in_use(volume: Volume) -> st.SearchStrategy[InUse]:
    """Some tags and digests of a volume that run somewhere."""
    tags = sorted(
        (str(path.parents[2].relative_to(volume.repositories)), path.name)
        for path in volume.repositories.rglob("_manifests/tags/*")
        if path.is_dir()
    )
    links = volume.repositories.rglob("_manifests/revisions/*/*/link")
    digests = sorted({f"{link.parents[1].name}:{link.parent.name}" for link in links})
    places = sorted((tag[0], digest) for tag in tags for digest in digests)
    links = volume.repositories.rglob("_layers/*/*/link")
    layers = {f"{link.parents[1].name}:{link.parent.name}" for link in links}  # configs among them, which runtimes name
    everywhere = sorted({*digests, *layers})
    return st.one_of(st.just(InUse()), st.builds(InUse, _some(tags), _some(places), _some(everywhere)))


def _some(things: list[Any]) -> st.SearchStrategy[frozenset[Any]]:
    return st.frozensets(st.sampled_from(things), max_size=2) if things else st.just(frozenset())
