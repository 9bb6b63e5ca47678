"""The address of a registry as a person writes it."""

from yarl import URL

from regkeeper.errors import RegkeeperError


class RegistryUrlError(RegkeeperError):
    """The address is not one at which a registry can be asked."""

    reason = "InvalidUrl"


def registry_url(text: str) -> URL:
    """The origin (scheme, host, port) that a person wrote.

    Raises:
        RegistryUrlError: says what is wrong and what to write instead. Never repeats a password.
    """
    if "://" not in text:
        raise RegistryUrlError(f"{text!r} has no scheme: write http://{text} or https://{text}")
    try:
        url = URL(text)
    except ValueError as error:
        raise RegistryUrlError(f"not a URL: {error}") from error
    if url.user or url.password:
        raise RegistryUrlError("user and password in the URL are not supported")
    if url.scheme not in ("http", "https") or not url.host:
        raise RegistryUrlError(f"{text!r} is not an http:// or https:// address of a registry")
    if url.path != "/" or url.query_string or url.fragment:
        raise RegistryUrlError(f"{text!r} has a path: write {url.origin()}")
    return url.origin()
