"""The registry client against real registries."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import aiohttp
import pytest

from regkeeper.distribution import Answer, Counts, RegistryClient, registry_url
from tests.registry_content import push, push_index
from tests.registry_process import registry_program, serve_registry


@pytest.fixture(params=["2.8", "3.1"])
def version(request: pytest.FixtureRequest) -> Literal["2.8", "3.1"]:
    chosen: Literal["2.8", "3.1"] = request.param
    return chosen


@pytest.fixture
def registry(version: Literal["2.8", "3.1"], tmp_path: Path) -> Iterator[str]:
    with serve_registry(registry_program(version), tmp_path) as url:
        yield url


async def test_counts_and_lists_a_real_registry(registry: str, session: aiohttp.ClientSession) -> None:
    image = push(registry, "boke/wordpress", "latest", layers=3)
    push(registry, "boke/wordpress", "v2", seed=1)
    push(registry, "boke", "v1")
    index = push_index(registry, "team/a-b.c__d/tool", "multi")

    client = RegistryClient(session, registry_url(registry))

    assert await client.count() == Counts(repositories=3, tags=4, complete=True)
    assert sorted((await client.repositories()).names) == ["boke", "boke/wordpress", "team/a-b.c__d/tool"]
    assert sorted((await client.tags("boke/wordpress")).names) == ["latest", "v2"]
    assert await client.digest("boke/wordpress", "latest") == image
    assert await client.digest("team/a-b.c__d/tool", "multi") == index


async def test_ping_gives_the_header_of_our_registries(registry: str, session: aiohttp.ClientSession) -> None:
    assert await RegistryClient(session, registry_url(registry)).ping() == Answer(200, "uid-of-the-registry")


async def test_an_empty_real_registry(registry: str, session: aiohttp.ClientSession) -> None:
    assert await RegistryClient(session, registry_url(registry)).count() == Counts(0, 0, complete=True)


async def test_a_real_repository_whose_last_tag_went(
    registry: str, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    push(registry, "gone", "v1")
    shutil.rmtree(tmp_path / "volume/docker/registry/v2/repositories/gone/_manifests/tags")
    client = RegistryClient(session, registry_url(registry))

    assert await client.count() == Counts(repositories=1, tags=0, complete=True)


async def test_counts_2000_real_repositories_within_the_default_limits(
    registry: str, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    push(registry, "copy/0", "v1")
    push(registry, "copy/0", "v2", seed=1)
    repositories = tmp_path / "volume/docker/registry/v2/repositories/copy"
    for number in range(1, 2000):
        # Copies would be 60,000 directories; to the registry, which follows links, there is no difference.
        (repositories / str(number)).mkdir()
        for room in ("_layers", "_manifests"):
            (repositories / str(number) / room).symlink_to(repositories / "0" / room)

    assert await RegistryClient(session, registry_url(registry)).count() == Counts(2000, 4000, complete=True)


@pytest.mark.parametrize("largest", [7, 10])
async def test_a_real_registry_that_allows_small_pages_only(
    largest: int, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    with serve_registry(registry_program("3.1"), tmp_path, {"REGISTRY_CATALOG_MAXENTRIES": str(largest)}) as url:
        names = [f"app/{number:02}" for number in range(20)]
        for name in names:
            push(url, name, "v1", layers=1)

        listing = await RegistryClient(session, registry_url(url)).repositories()

    assert (sorted(listing.names), listing.problems) == (names, [])
