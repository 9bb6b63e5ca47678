"""The few errors that a reconcile may raise on purpose; each carries the reason that its condition shows."""


class RegkeeperError(Exception):
    """An expected failure. `reason` is one word for programs, `str(error)` is for people and says what to do."""

    reason = "Failed"


class InvalidSpecError(RegkeeperError):
    """The spec can't work. Only an edit of the object helps: not retried."""

    reason = "InvalidSpec"


class WaitingError(RegkeeperError):
    """Something that is not there yet. Retried after `delay` seconds."""

    reason = "Waiting"

    def __init__(self, message: str, *, reason: str = "Waiting", delay: float = 5) -> None:
        super().__init__(message)
        self.reason = reason
        self.delay = delay


class BlockedError(RegkeeperError):
    """Something of somebody else's is in the way, and a person has to decide. Looked at again after `delay` seconds."""

    reason = "Blocked"

    def __init__(self, message: str, *, reason: str, delay: float = 30) -> None:
        super().__init__(message)
        self.reason = reason
        self.delay = delay
