"""The operator's prometheus metrics."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


class Metrics:
    """Counts of one operator. `depth` gives the number of keys that wait in the queue."""

    def __init__(self, kind: str, depth: Callable[[], int]) -> None:
        self._kind = kind
        self._collectors = CollectorRegistry()
        ProcessCollector(registry=self._collectors)
        PlatformCollector(registry=self._collectors)
        self._reconciles = Counter(
            "regkeeper_reconciles",
            "Passes over objects, by how they ended.",
            ["kind", "result"],
            registry=self._collectors,
        )
        self._errors = Counter(
            "regkeeper_reconcile_errors",
            "Passes that ended early, by the reason that the condition shows.",
            ["kind", "reason"],
            registry=self._collectors,
        )
        self._duration = Histogram(
            "regkeeper_reconcile_duration_seconds",
            "How long a pass takes.",
            ["kind"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
            registry=self._collectors,
        )
        Gauge("regkeeper_queue_depth", "Objects that wait for a pass.", registry=self._collectors).set_function(depth)

    def finished(self, result: str, reason: str, seconds: float, *, kind: str = "") -> None:
        """Count one pass; `reason` is empty when it went well, `kind` for the kind of most passes."""
        self._reconciles.labels(kind or self._kind, result).inc()
        if reason:
            self._errors.labels(kind or self._kind, reason).inc()
        self._duration.labels(kind or self._kind).observe(seconds)

    def exposition(self) -> bytes:
        """All metrics in prometheus' text format."""
        return generate_latest(self._collectors)
