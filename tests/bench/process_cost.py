"""What a process cost so far, as the kernel counts it."""

import time
from pathlib import Path


def peak_memory_mib(pid: int) -> float:
    """Resident memory of a process at its peak, since it became the program that it is (VmHWM of proc(5))."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024


def cpu_seconds(pid: int) -> float:
    """Time that all threads of a process were on a processor since its start, to the nanosecond."""
    # As clock_getcpuclockid(3) makes it: the process's own clock, of the scheduler's kind.
    return time.clock_gettime((~pid << 3) | 2)
