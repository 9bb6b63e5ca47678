"""A registry's HTTP API (OCI distribution spec 1.1), read warily: tenants choose what answers."""

from regkeeper.distribution.address import RegistryUrlError, registry_url
from regkeeper.distribution.answers import Answer, Counts, Listing, RegistryReadError
from regkeeper.distribution.client import Limits, RegistryClient, open_session

__all__ = [
    "Answer",
    "Counts",
    "Limits",
    "Listing",
    "RegistryClient",
    "RegistryReadError",
    "RegistryUrlError",
    "open_session",
    "registry_url",
]
