"""The `Cluster` that is a real API server, through `kubernetes.aio`. The ONLY user of the client library.

Its `ApiClient` is used below the generated API classes: their models cost memory and validate what a newer server
answers.
"""

import json
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypedDict
from urllib.parse import quote

import aiohttp
import msgspec
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from regkeeper import naming
from regkeeper.kube.errors import ApiError, ConflictError, InvalidError, TransientError, error_of
from regkeeper.kube.resources import POD, Object, Resource, resource_of

REQUEST_SECONDS = 15.0
"""Longest wait for one answer of the API server; the operator never waits without a limit."""

_PLAIN = {"Accept": "text/plain, */*"}

PAGE_SIZE = 100
"""Objects of a listing at a time: a page of Deployments is a megabyte of JSON, and ten of Python."""

_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
"""What may stand in JSON as it is, and not in YAML, or as a line break."""


class _Metadata(TypedDict, total=False):
    """All metadata but managedFields: most of a listing, and the decoder passes over what is not named here."""

    name: str
    namespace: str
    uid: str
    resourceVersion: str
    generation: int
    creationTimestamp: str
    deletionTimestamp: str
    labels: dict[str, str]
    annotations: dict[str, str]
    finalizers: list[str]
    ownerReferences: list[Object]


class _Item(TypedDict):
    metadata: _Metadata


class _MetadataPage(TypedDict):
    metadata: Object
    items: list[_Item] | None


_ANY: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
_METADATA: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_MetadataPage)


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
        accept, decoder = "application/json", _ANY
        if metadata_only:
            accept, decoder = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", _METADATA
        while True:
            page = await self._request("GET", resource.path(namespace), query=query, accept=accept, decoder=decoder)
            for item in page.get("items") or ():
                item.setdefault("apiVersion", resource.api_version)
                item.setdefault("kind", resource.kind)
                yield item
            token = page["metadata"].get("continue")
            if not token:
                return
            query["continue"] = token

    async def watch(
        self, resource: Resource, namespace: str, *, label_selector: str, seconds: int
    ) -> AsyncGenerator[tuple[str, Object], None]:
        query = {"watch": "1", "labelSelector": label_selector, "timeoutSeconds": str(seconds)}
        timeout = aiohttp.ClientTimeout(total=seconds + REQUEST_SECONDS)
        response = await self._send("GET", resource.path(namespace), query=query, timeout=timeout)
        try:
            if response.status != 200:
                raise error_of(response.status, await response.read(), None)
            buffer = b""
            async for chunk in response.content.iter_any():
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in lines:
                    event = _ANY.decode(line)
                    if event["type"] == "ERROR":
                        raise error_of(event["object"].get("code", 500), json.dumps(event["object"]).encode(), None)
                    yield event["type"], event["object"]
        # The last is what aiohttp raises in a reader whose connection is gone.
        except (aiohttp.ClientError, TimeoutError, OSError, RuntimeError) as error:
            raise _no_answer("GET", resource.path(namespace), error) from error
        finally:
            response.close()

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

    async def log(self, namespace: str, pod: str, container: str) -> str:
        """What a container has written, as far as its node still has it."""
        path = f"{POD.path(namespace, pod)}/log"
        timeout = aiohttp.ClientTimeout(total=None, sock_read=REQUEST_SECONDS)
        response = await self._send("GET", path, query={"container": container}, headers=_PLAIN, timeout=timeout)
        try:
            content = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _no_answer("GET", path, error) from error
        if response.status != 200:
            raise error_of(response.status, content, None)
        return content.decode(errors="replace")

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
        decoder: msgspec.json.Decoder[Any] = _ANY,
    ) -> Object:
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        headers = {"Accept": accept, "Content-Type": content_type}
        response = await self._send(method, path, query=query, body=body, headers=headers, timeout=timeout)
        try:
            content = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _no_answer(method, path, error) from error
        if response.status < 300:
            try:
                answer: Object = decoder.decode(content)
            except (msgspec.MsgspecError, RecursionError) as error:
                # Whoever may write one object of a listing can nest it deeper than Python reads.
                message = f"{method} {path}: the answer can't be read: {error}"
                raise ApiError(message, code=response.status, reason="Unreadable") from error
            return answer
        raise error_of(response.status, content, response.headers.get("Retry-After"))

    async def _send(
        self,
        method: str,
        path: str,
        *,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  # the library's own
        query: Mapping[str, str] | None = None,
        body: Object | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> aiohttp.ClientResponse:
        """Ask, and return when the answer begins."""
        sent = {"Accept": "application/json", "User-Agent": "regkeeper", **(headers or {})}
        url = self._client.configuration.host + path
        arguments = "&".join(f"{key}={quote(value, safe='')}" for key, value in (query or {}).items() if value)
        token = await self._client.configuration.get_api_key_with_prefix("BearerToken")
        if token:
            sent["Authorization"] = token
        try:
            answer = await self._client.call_api(
                method, f"{url}?{arguments}" if arguments else url, sent, body, _request_timeout=timeout
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _no_answer(method, path, error) from error
        response: aiohttp.ClientResponse = answer.response
        return response


def _no_answer(method: str, path: str, error: Exception) -> TransientError:
    return TransientError(f"{method} {path}: {str(error) or type(error).__name__}", code=0, reason="NoAnswer")


def _as_yaml(body: Object) -> str:
    """JSON that is YAML too, which knows no escaped surrogates and escapes other characters (YAML 1.2, 5.1 and 5.7)."""
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(body, ensure_ascii=False))


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


__all__ = ["PAGE_SIZE", "ApiCluster", "ConfigException", "Connection", "connect", "connection", "load_configuration"]
