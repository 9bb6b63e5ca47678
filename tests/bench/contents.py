"""What the pretended registries hold: a few repositories with a few tags, told from a Registry's uid."""

import zlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Contents:
    """The images of one registry, after it `grew` so many times."""

    uid: str
    grew: int

    @property
    def repositories(self) -> list[str]:
        return [f"team/application-{number}" for number in range(1 + zlib.crc32(self.uid.encode()) % 5)]

    @property
    def tags(self) -> list[str]:
        """Of each repository."""
        return [f"v{number}" for number in range(3 + self.grew)]

    @property
    def counts(self) -> tuple[int, int]:
        """Repositories and tags that the Registry's status should tell."""
        return len(self.repositories), len(self.repositories) * len(self.tags)
