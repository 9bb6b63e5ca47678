"""The API server as regkeeper sees it: plain dicts in and out, a few typed errors. The ONLY user of the client library.

`Cluster` is what the rest of the operator is written against; `ApiCluster` speaks to a real API server through
`kubernetes.aio`. Its `ApiClient` is used below the generated API classes: their models cost memory and validate what
a newer server answers.
"""

import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from regkeeper import naming

Object = dict[str, Any]
"""A Kubernetes object as JSON has it."""

REQUEST_SECONDS = 15.0
"""Longest wait for one answer of the API server; the operator never waits without a limit."""

PAGE_SIZE = 100
"""Objects of a listing at a time: a page of Deployments is a megabyte of JSON, and ten of Python."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object and where the API server keeps it."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        """API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    def path(self, namespace: str | None, name: str | None = None) -> str:
        """URL path of a collection or, with `name`, of an object."""
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.api_version}"
        if self.namespaced and namespace:
            root += f"/namespaces/{quote(namespace, safe='')}"
        return f"{root}/{self.plural}" + (f"/{quote(name, safe='')}" if name else "")


REGISTRY = Resource(naming.API_VERSION, "Registry", "registries")
CONFIG_MAP = Resource("v1", "ConfigMap", "configmaps")
SECRET = Resource("v1", "Secret", "secrets")
SERVICE = Resource("v1", "Service", "services")
CLAIM = Resource("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
POD = Resource("v1", "Pod", "pods")
EVENT = Resource("v1", "Event", "events")
VOLUME = Resource("v1", "PersistentVolume", "persistentvolumes", namespaced=False)
NODE = Resource("v1", "Node", "nodes", namespaced=False)
DEPLOYMENT = Resource("apps/v1", "Deployment", "deployments")
DISRUPTION_BUDGET = Resource("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
STORAGE_CLASS = Resource("storage.k8s.io/v1", "StorageClass", "storageclasses", namespaced=False)

RESOURCES = {
    (resource.api_version, resource.kind): resource
    for resource in (
        REGISTRY,
        CONFIG_MAP,
        SECRET,
        SERVICE,
        CLAIM,
        POD,
        EVENT,
        VOLUME,
        NODE,
        DEPLOYMENT,
        DISRUPTION_BUDGET,
        STORAGE_CLASS,
    )
}


def resource_of(body: Mapping[str, Any]) -> Resource:
    """The resource of an object that has `apiVersion` and `kind`; KeyError for one that regkeeper does not use."""
    return RESOURCES[body["apiVersion"], body["kind"]]


class ApiError(Exception):
    """The API server said no. The text is its own message."""

    def __init__(self, message: str, *, code: int, reason: str = "", fields: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.fields = tuple(fields)
        """Paths of the fields that it names as causes."""


class NotFoundError(ApiError):
    """404: the object, its namespace or its kind is not there."""


class ConflictError(ApiError):
    """409: it exists already, another manager owns a field, or a precondition (uid, resourceVersion) failed."""


class ForbiddenError(ApiError):
    """401 or 403: RBAC, quota, an admission policy, or a namespace that is terminating."""


class TerminatingError(ForbiddenError):
    """403 because the namespace is being deleted: nothing new can be made in it."""


class InvalidError(ApiError):
    """400 or 422: the API server can't accept the object as it is."""


class TransientError(ApiError):
    """429, 5xx, no connection, or no answer in time. `retry_after` is the server's wish in seconds, if it had one."""

    def __init__(self, message: str, *, code: int, reason: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, code=code, reason=reason)
        self.retry_after = retry_after


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
        """Read a collection page by page; `namespace` None means all of them."""
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


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach the API server, for the watcher, which has an HTTP client of its own."""

    server: str
    ca_file: str | None
    token: str | None
    certificate_file: str | None
    key_file: str | None
    verify: bool


async def load_configuration() -> Configuration:
    """Where the API server is: from KUBECONFIG if that is set, else from the pod's service account.

    Raises:
        ConfigException: neither is usable.
    """
    configuration = Configuration()
    kubeconfig = os.environ.get("KUBECONFIG")
    if kubeconfig:
        await load_kube_config(config_file=kubeconfig, client_configuration=configuration)
    else:
        load_incluster_config(client_configuration=configuration)
    return configuration


async def connection() -> Connection:
    """The same as a plain record; read anew at each call, since service account tokens rotate."""
    configuration = await load_configuration()
    token = await configuration.get_api_key_with_prefix("BearerToken")
    return Connection(
        server=configuration.host,
        ca_file=configuration.ssl_ca_cert,
        token=token.split(" ", 1)[1].strip() if token else None,
        certificate_file=configuration.cert_file,
        key_file=configuration.key_file,
        verify=configuration.verify_ssl,
    )


class ApiCluster:
    """The `Cluster` that is a real API server."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        return await self._request("GET", resource.path(namespace, name))

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
    ) -> AsyncIterator[Object]:
        query = {"limit": str(PAGE_SIZE), "labelSelector": label_selector, "fieldSelector": field_selector}
        accept = "application/json"
        if metadata_only:
            accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
        while True:
            page = await self._request("GET", resource.path(namespace), query=query, accept=accept)
            for item in page.get("items") or ():
                item.setdefault("apiVersion", resource.api_version)
                item.setdefault("kind", resource.kind)
                yield item
            token = page["metadata"].get("continue")
            if not token:
                return
            query["continue"] = token

    async def apply(self, body: Object, *, force: bool) -> Object:
        metadata = body["metadata"]
        try:
            return await self._request(
                "PATCH",
                resource_of(body).path(metadata.get("namespace"), metadata["name"]),
                query={"fieldManager": naming.FIELD_MANAGER, "force": "true" if force else "false"},
                body=_as_yaml(body),
                # The client takes a text only for a type that it does not know.
                content_type="application/apply-patch+yaml; charset=utf-8",
            )
        except InvalidError as error:
            # A uid in an apply is its precondition; the API server says "immutable" when the object is another one.
            if "metadata.uid" in error.fields:
                raise ConflictError(str(error), code=error.code, reason="UidMismatch") from error
            raise

    async def create(self, body: Object) -> Object:
        return await self._request(
            "POST",
            resource_of(body).path(body["metadata"].get("namespace")),
            query={"fieldManager": naming.FIELD_MANAGER},
            body=body,
        )

    async def patch(self, resource: Resource, namespace: str | None, name: str, body: Object) -> Object:
        return await self._merge(resource.path(namespace, name), body)

    async def patch_status(self, resource: Resource, namespace: str | None, name: str, body: Object) -> Object:
        return await self._merge(resource.path(namespace, name) + "/status", body)

    async def delete(self, resource: Resource, namespace: str | None, name: str, *, uid: str) -> None:
        options = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        await self._request("DELETE", resource.path(namespace, name), body=options)

    async def _merge(self, path: str, body: Object) -> Object:
        return await self._request(
            "PATCH",
            path,
            query={"fieldManager": naming.FIELD_MANAGER},
            body=body,
            content_type="application/merge-patch+json",
        )

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | str | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Object:
        headers = {"Accept": accept, "Content-Type": content_type, "User-Agent": "regkeeper"}
        url = self._client.configuration.host + path
        arguments = "&".join(f"{key}={quote(value, safe='')}" for key, value in (query or {}).items() if value)
        token = await self._client.configuration.get_api_key_with_prefix("BearerToken")
        if token:
            headers["Authorization"] = token
        try:
            response = await self._client.call_api(
                method,
                f"{url}?{arguments}" if arguments else url,
                headers,
                body,
                # The client hands the time-out to aiohttp, which takes its own type only.
                _request_timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS),
            )
            content = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = str(error) or type(error).__name__
            raise TransientError(f"{method} {path}: {reason}", code=0, reason="NoAnswer") from error
        if response.status < 300:
            answer: Object = json.loads(content)
            return answer
        raise _error(response.status, content, response.headers.get("Retry-After"))


def _as_yaml(body: Object) -> str:
    """JSON that is YAML too: of all that JSON may leave as it is, YAML forbids only DEL (YAML 1.2, 5.1)."""
    return json.dumps(body).replace("\x7f", "\\u007f")


def _error(code: int, content: bytes, retry_after: str | None) -> ApiError:
    causes: list[Mapping[str, Any]] = []
    try:
        status = json.loads(content)
        message, reason = str(status["message"]), str(status.get("reason", ""))
        causes = [dict(cause) for cause in (status.get("details") or {}).get("causes") or ()]
    except (ValueError, KeyError, TypeError):
        message, reason = content[:500].decode(errors="replace"), ""
    if message.startswith("failed to create typed patch object"):
        # An apply that does not fit the schema; the API server calls that an internal error of its own, a 500.
        return InvalidError(message, code=code, reason="Invalid")
    if code == 429 or code >= 500:
        seconds = float(retry_after) if retry_after and retry_after.isdigit() else None
        return TransientError(message, code=code, reason=reason, retry_after=seconds)
    if code == 403 and any(cause.get("reason") == "NamespaceTerminating" for cause in causes):
        return TerminatingError(message, code=code, reason=reason)
    kinds: dict[int, type[ApiError]] = {
        400: InvalidError,
        401: ForbiddenError,
        403: ForbiddenError,
        404: NotFoundError,
        409: ConflictError,
        422: InvalidError,
    }
    fields = [str(cause["field"]) for cause in causes if "field" in cause]
    return kinds.get(code, ApiError)(message, code=code, reason=reason, fields=fields)


@asynccontextmanager
async def connect() -> AsyncIterator[ApiCluster]:
    """Open the API server that KUBECONFIG or the pod's service account names.

    Raises:
        ConfigException: neither is usable.
    """
    configuration = await load_configuration()
    # As kopf's watches: no proxy of the environment, and no .netrc, which would be read in a thread for each request.
    configuration.client_session_kwargs = {"trust_env": False}
    async with ApiClient(configuration=configuration) as client:
        yield ApiCluster(client)


__all__ = [
    "ApiCluster",
    "ApiError",
    "Cluster",
    "ConfigException",
    "ConflictError",
    "Connection",
    "ForbiddenError",
    "InvalidError",
    "NotFoundError",
    "Object",
    "Resource",
    "TerminatingError",
    "TransientError",
    "connect",
    "connection",
    "load_configuration",
    "resource_of",
]
