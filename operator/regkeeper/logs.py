"""Logs: a JSON object a line (or text for people), each with the object that it is about."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal, NamedTuple, Protocol


class _Named(Protocol):
    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...


class _Subject(NamedTuple):
    namespace: str
    name: str


_subject: ContextVar[_Subject | None] = ContextVar("subject", default=None)


@contextmanager
def about(key: _Named) -> Iterator[None]:
    """Within it, every line names the object."""
    token = _subject.set(_Subject(key.namespace, key.name))
    try:
        yield
    finally:
        _subject.reset(token)


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with the keys that log collectors look for."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (subject := _subject.get()) is not None:
            line |= {"namespace": subject.namespace, "name": subject.name}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """For people at a terminal."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        subject = _subject.get()
        return text if subject is None else f"{text} [{subject.namespace}/{subject.name}]"


def configure(log_format: Literal["json", "text"], level: str) -> None:
    """Send all logs to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # kopf logs each event of each object that it shows us, and its debugging is not ours.
    for noisy in ("asyncio", "kopf", "kubernetes"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLogger().level))
