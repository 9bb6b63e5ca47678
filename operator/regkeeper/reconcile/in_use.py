"""Which images the cluster uses, or would use again without a push: pods, and whatever could start one.

Never a partial answer: what can't be listed whole ends the question, and with it the run that asked.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from regkeeper import kube
from regkeeper.errors import RegkeeperError
from regkeeper.reconcile.job_life import is_finished
from regkeeper.reconcile.pod_life import has_ended
from regkeeper.retention.policies.in_use import InUse, InvalidInUseError, is_written
from regkeeper.settings import FurtherKind

Uses = dict[str, str]
"""A reference as it stands in the cluster → who uses it, in words; of several the first that was found."""

LISTINGS = 3
"""How often a listing is begun anew after its resourceVersion was compacted (410)."""

MOST_CHARACTERS_ELSEWHERE = 4 << 20
"""Of all ConfigMaps that list images in use elsewhere, some 40,000. In the shortest lines they take 130 MiB of the 256
that the operator has for all Registries, and a namespace may have any number of them."""

_MIRROR = "kubernetes.io/config.mirror"
"""Annotation of the pod by which a kubelet tells of a static one."""


class InUseUnknownError(RegkeeperError):
    """The cluster could not be asked. The run stops: what is not listed would count as unused."""

    reason = "InUseUnknown"


@dataclass(frozen=True, slots=True)
class Source:
    """A kind whose objects hold the spec of a pod."""

    resource: kube.Resource
    template: tuple[str, ...]
    """Where in the object that spec is; a step `x[]` leads to each element of the list `x`."""
    strict: bool = False
    """Whether the path is a person's, who may have mistyped it: then some object must have what it names."""


_TEMPLATE = ("spec", "template", "spec")

SOURCES = (
    # The kinds that people know first: who uses an image is said in words.
    Source(kube.DEPLOYMENT, _TEMPLATE),
    Source(kube.STATEFUL_SET, _TEMPLATE),
    Source(kube.DAEMON_SET, _TEMPLATE),
    Source(kube.CRON_JOB, ("spec", "jobTemplate", "spec", "template", "spec")),
    Source(kube.JOB, _TEMPLATE),
    # Those within the history limit: what a roll-back would start.
    Source(kube.REPLICA_SET, _TEMPLATE),
    Source(kube.REPLICATION_CONTROLLER, _TEMPLATE),
    # The same for StatefulSets and DaemonSets.
    Source(kube.CONTROLLER_REVISION, ("data", "spec", "template", "spec")),
    Source(kube.POD, ("spec",)),
)


async def images_in_use(
    cluster: kube.Cluster,
    config_maps: Sequence[tuple[str, str]] = (),
    further_kinds: Sequence[FurtherKind] = (),
) -> Uses:
    """Ask for every image that is in use, in all namespaces.

    Args:
        cluster: The API server.
        config_maps: Namespace and name of ConfigMaps that list images in use elsewhere.
        further_kinds: Kinds of others that use images.

    Raises:
        InUseUnknownError: a kind can't be listed, a ConfigMap is not there, there is too much in them, or no object
            has what a path names.
        kube.TransientError: the API server did not answer; asking again may help.
    """
    uses: Uses = {}
    for source in (*SOURCES, *map(_source, further_kinds)):
        for reference, user in (await _listed(cluster, source)).items():
            uses.setdefault(reference, user)
    left = MOST_CHARACTERS_ELSEWHERE
    for namespace, name in dict.fromkeys(config_maps):
        try:
            body = await cluster.get(kube.CONFIG_MAP, namespace, name)
        except (kube.NotFoundError, kube.ForbiddenError) as error:
            raise InUseUnknownError(f"protect.references: ConfigMap {namespace}/{name}: {error}") from error
        left -= sum(map(len, (body.get("data") or {}).values()))
        if left < 0:
            raise InUseUnknownError(
                f"protect.references: ConfigMap {namespace}/{name} and those before it have more than "
                f"{MOST_CHARACTERS_ELSEWHERE:,} characters: leave out what this registry has not"
            )
        for reference, user in _lines(body):
            if not (is_written(reference) and is_reference(reference)):
                raise InUseUnknownError(
                    f"protect.references: ConfigMap {namespace}/{name}: {reference!r} is no reference to an image"
                )
            uses.setdefault(reference, user)
    return uses


async def _listed(cluster: kube.Cluster, source: Source) -> Uses:
    """What the objects of one kind use, as of one moment."""
    resource = source.resource
    for _ in range(LISTINGS):
        uses: Uses = {}
        objects = found = 0
        try:
            # Without a resourceVersion the first page is read from etcd, and the others are of the same moment.
            async for body in cluster.list(resource):
                objects += 1
                found += _collect(body, source, uses)
        except kube.TransientError:
            raise
        except kube.ApiError as error:
            if error.code == 410:
                continue
            raise InUseUnknownError(
                f"images in use are not known: {resource.plural} of all namespaces can't be listed: {error}"
            ) from error
        if source.strict and objects and not found:
            raise InUseUnknownError(
                f"images in use are not known: none of {objects} {resource.plural} has a spec of a pod "
                f"or a reference at {'.'.join(source.template)}: correct the chart's value inUse.furtherKinds"
            )
        return uses
    raise kube.TransientError(f"the listing of {resource.plural} expired {LISTINGS} times", code=410)


def _source(further: FurtherKind) -> Source:
    resource = kube.Resource(
        f"{further.group}/{further.version}", f"{further.resource}.{further.group}", further.resource
    )
    return Source(resource, tuple(further.path.split(".")), strict=True)


def _collect(body: Mapping[str, Any], source: Source, uses: Uses) -> bool:
    """Add what an object uses; whether it has what the source's path names."""
    if _has_ended(body, source.resource):
        return True
    metadata = body["metadata"]
    user, found = "", False
    for reference in _references(body, source):
        found = True
        if reference not in uses and is_reference(reference):
            name = "/".join(metadata[key] for key in ("namespace", "name") if key in metadata)
            user = user or f"{source.resource.kind} {name}"
            uses[reference] = user
    return found


def _has_ended(body: Mapping[str, Any], resource: kube.Resource) -> bool:
    """Whether it is a pod or a Job that will never start a container again."""
    if resource is kube.POD:
        # A static pod ends with its node's shutdown, and its kubelet starts it again: nothing else tells of it.
        return has_ended(body) and _MIRROR not in (body["metadata"].get("annotations") or {})
    if resource is kube.JOB:
        return is_finished(body)
    return False


def _references(body: Mapping[str, Any], source: Source) -> Iterator[str]:
    for spec in _found(body, source.template):
        if isinstance(spec, Mapping):
            yield from spec_images(spec)
        elif source.strict and isinstance(spec, str):
            yield spec
    if source.resource is kube.POD:
        yield from _status_images(body.get("status") or {})


def _found(body: Any, path: Sequence[str]) -> Iterator[Any]:
    """What a path leads to."""
    if not path:
        yield body
        return
    step = path[0]
    below = body.get(step.removesuffix("[]")) if isinstance(body, Mapping) else None
    if not step.endswith("[]"):
        yield from _found(below, path[1:])
    elif isinstance(below, list):
        for each in below:
            yield from _found(each, path[1:])


def spec_images(spec: Mapping[str, Any]) -> Iterator[str]:
    """References in the spec of a pod, image volumes included."""
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(kind) or ():
            yield container.get("image") or ""
    for volume in spec.get("volumes") or ():
        if "image" in volume:
            yield (volume["image"] or {}).get("reference") or ""


def _status_images(status: Mapping[str, Any]) -> Iterator[str]:
    """What really runs: the tag may have moved on since the pod was started."""
    for kind in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for container in status.get(kind) or ():
            yield container.get("imageID") or ""
            yield container.get("image") or ""


def is_reference(text: str) -> bool:
    """Whether a container could be started from it: else anybody could stop all runs by writing nonsense into a pod.

    The engine is asked itself, as a run is refused for a reference that it doesn't understand.
    """
    if not text or not text.isprintable() or " " in text:
        return False
    try:
        InUse().add(text, "")
    except InvalidInUseError:
        return False
    return True


def _lines(config_map: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """References and users in the lists of a ConfigMap, each closed by `# N`, the number of its lines."""
    for key, text in (config_map.get("data") or {}).items():
        *lines, last = [line.strip() for line in text.strip().splitlines()] or [""]
        if last != f"# {len(lines)}":
            raise InUseUnknownError(
                f"protect.references: ConfigMap {config_map['metadata']['name']}: {key} has {len(lines)} lines before "
                f"its last one, which must say `# {len(lines)}`: it may be truncated"
            )
        for line in lines:
            reference, _, user = line.partition(" ")
            yield reference, user.strip() or f"ConfigMap {config_map['metadata']['name']}"
