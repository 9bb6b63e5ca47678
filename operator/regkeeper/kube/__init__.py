"""The API server as regkeeper sees it: plain dicts in and out, a few typed errors.

Written against `Cluster`; only `client` knows the client library.
"""

from regkeeper.kube.client import (
    PAGE_SIZE,
    ApiCluster,
    ConfigException,
    Connection,
    connect,
    connection,
    load_configuration,
)
from regkeeper.kube.cluster import Cluster
from regkeeper.kube.errors import (
    ApiError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    TerminatingError,
    TransientError,
)
from regkeeper.kube.resources import (
    CLAIM,
    CONFIG_MAP,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    EVENT,
    NODE,
    POD,
    REGISTRY,
    SECRET,
    SERVICE,
    STORAGE_CLASS,
    VOLUME,
    Object,
    Resource,
    resource_of,
)

__all__ = [
    "CLAIM",
    "CONFIG_MAP",
    "DEPLOYMENT",
    "DISRUPTION_BUDGET",
    "EVENT",
    "NODE",
    "PAGE_SIZE",
    "POD",
    "REGISTRY",
    "SECRET",
    "SERVICE",
    "STORAGE_CLASS",
    "VOLUME",
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
