"""What regkeeper asks of an API server: the protocol that all but the adapter is written against."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol

from regkeeper.kube.resources import Object, Resource


class Cluster(Protocol):
    """What regkeeper asks of an API server. Each method may raise any `ApiError`."""

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """Read one object."""
        ...

    def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
    ) -> AsyncIterator[Object]:
        """Read a collection page by page; `namespace` None means all. `metadata_only`: less its managedFields."""
        ...

    def watch(
        self, resource: Resource, namespace: str, *, label_selector: str, seconds: int
    ) -> AsyncGenerator[tuple[str, Object], None]:
        """What is there, as ADDED, and then each change (ADDED, MODIFIED, DELETED) for at most `seconds`."""
        ...

    async def apply(self, body: Object, *, force: bool) -> Object:
        """Server-side apply with our field manager. `force` takes over fields that another manager owns.

        A `metadata.uid` in the body is a precondition: ConflictError if the name belongs to another object, or none.
        """
        ...

    async def create(self, body: Object) -> Object:
        """Create; ConflictError if the name is taken."""
        ...

    async def patch(self, resource: Resource, namespace: str | None, name: str, body: Object) -> Object:
        """JSON merge patch."""
        ...

    async def patch_status(self, resource: Resource, namespace: str | None, name: str, body: Object) -> Object:
        """JSON merge patch of the status subresource."""
        ...

    async def delete(self, resource: Resource, namespace: str | None, name: str, *, uid: str) -> None:
        """Delete this very object: ConflictError if the name now belongs to another uid."""
        ...
