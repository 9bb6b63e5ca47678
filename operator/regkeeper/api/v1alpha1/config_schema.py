"""`spec.config`: open for every option of distribution, with the settings that we refuse visible to CEL.

What is refused here, at apply, is refused again by `resources/protection.py`, which also sees what CEL can't: other
storage drivers, secrets at any depth, and `REGISTRY_*` of `spec.extraEnv`.
"""

from typing import Annotated, Any

from pydantic import WithJsonSchema

from regkeeper.api.v1alpha1.fragments import OPEN
from regkeeper.api.v1alpha1.schema import Rule, refused_unless

_DRIVERS = ("azure", "gcs", "inmemory", "s3")


def _absent(path: str, message: str) -> Rule:
    """The rule that nothing stands at `path` (dotted)."""
    steps = ["self", *path.split(".")]
    parents = [".".join(steps[: end + 1]) for end in range(1, len(steps))]
    return Rule(" || ".join(f"!has({parent})" for parent in parents), message)


def _described(description: str, **properties: dict[str, Any]) -> dict[str, Any]:
    return {**OPEN, "description": description, **({"properties": properties} if properties else {})}


def _string(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description, "maxLength": 4096}


_RULES = (
    _absent("storage.cache", "storage.cache: the cache would answer for images that are gone: remove it"),
    Rule(
        "!has(self.storage) || !has(self.storage.delete) || self.storage.delete.?enabled.orValue(true)",
        "storage.delete: deletion through the API stays on: remove it, or set spec.readOnly",
    ),
    _absent("storage.maintenance", "storage.maintenance: remove it, and set spec.readOnly to refuse pushes"),
    Rule(
        "!has(self.storage) || !has(self.storage.filesystem) || "
        "self.storage.filesystem.?rootdirectory.orValue('/var/lib/registry') == '/var/lib/registry'",
        "storage.filesystem.rootdirectory: remove it, and name the directory in spec.storage.local.path",
    ),
    *(
        _absent(f"storage.{driver}", f"storage.{driver}: images are kept in the volume of spec.storage: remove it")
        for driver in _DRIVERS
    ),
    Rule(
        "!has(self.http) || self.http.?addr.orValue(':5000') == ':5000'",
        "http.addr: remove it, and choose the port in spec.access",
    ),
    _absent("http.tls", "http.tls: not supported yet: remove it, and end TLS in front of the Service"),
    _absent("http.secret", "http.secret: a secret: set REGISTRY_HTTP_SECRET in spec.extraEnv with valueFrom"),
    _absent("redis.password", "redis.password: a secret: set REGISTRY_REDIS_PASSWORD in spec.extraEnv with valueFrom"),
    _absent("proxy.password", "proxy.password: a secret: set REGISTRY_PROXY_PASSWORD in spec.extraEnv with valueFrom"),
)

RegistryConfig = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            **OPEN,
            "properties": {
                "storage": _described(
                    "Options of the storage. The driver is always filesystem, on the volume of spec.storage.",
                    cache=_described("Refused: the cache would answer for images that are gone."),
                    delete=_described(
                        "Always on.", enabled={"type": "boolean", "description": "Anything but true is refused."}
                    ),
                    maintenance=_described("Refused: set spec.readOnly."),
                    filesystem=_described(
                        "Options of the driver.",
                        rootdirectory=_string("Anything but /var/lib/registry is refused."),
                    ),
                    **{driver: _described("Refused: images are kept in the volume.") for driver in _DRIVERS},
                ),
                "http": _described(
                    "Options of the HTTP server.",
                    addr=_string("Anything but :5000 is refused."),
                    tls=_described("Refused: not supported yet."),
                    secret=_string("Refused: a secret; set REGISTRY_HTTP_SECRET in extraEnv with valueFrom."),
                ),
                "redis": _described(
                    "Connection to redis.",
                    password=_string("Refused: a secret; set REGISTRY_REDIS_PASSWORD in extraEnv with valueFrom."),
                ),
                "proxy": _described(
                    "Makes the registry a pull-through cache of another one.",
                    password=_string("Refused: a secret; set REGISTRY_PROXY_PASSWORD in extraEnv with valueFrom."),
                ),
            },
            **refused_unless(*_RULES),
        }
    ),
]
