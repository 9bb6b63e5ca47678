"""What the API server says no with, as a few typed errors."""

import json
from collections.abc import Mapping, Sequence
from typing import Any


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


def error_of(code: int, content: bytes, retry_after: str | None) -> ApiError:
    """The error that an answer with this HTTP status, body and Retry-After means."""
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
