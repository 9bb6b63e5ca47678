"""Repairing drift without fighting another program for ever, and trying again what dockerd did not take."""

FREE_REPAIRS = 3
"""So many repairs within the window are made at once."""
WINDOW_SECONDS = 600.0
FIRST_PAUSE_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 3600.0


class Damper:
    """Counts repairs of one runtime; after `free` within the window, each further one has to wait twice as long."""

    def __init__(self, free: int = FREE_REPAIRS) -> None:
        self._free = free
        self._repairs: list[float] = []

    def wait(self, now: float) -> float:
        """Seconds until the next repair may be made; 0: now."""
        if self._repairs and now - self._repairs[-1] > max(WINDOW_SECONDS, 2 * self.pause()):
            self._repairs.clear()
        if len(self._repairs) < self._free:
            return 0.0
        return max(0.0, self._repairs[-1] + self.pause() - now)

    def repaired(self, now: float) -> None:
        """Note a repair."""
        self._repairs.append(now)

    def pause(self) -> float:
        """Seconds between the last repair and the next, once `free` were made."""
        excess = len(self._repairs) - self._free
        return float(min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** max(0, min(excess, 10))))
