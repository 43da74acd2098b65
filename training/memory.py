"""The most memory that this process, or a piece of code in it, holds at one time: what Linux counts as resident.

Elsewhere, or where /proc is closed, the answer is None: not known. Another process in the same container may not be
counted, pages that are shared with others are. Source: proc_pid_status(5), proc_pid_clear_refs(5).
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"
KIB = 1024


@dataclass(slots=True)
class Peak:
    """What a piece of code took beyond what was held before it; known after its end."""

    size_bytes: int | None = None


@contextmanager
def measure_peak() -> Iterator[Peak]:
    """`with measure_peak() as peak: ...`, then `peak.size_bytes`, or None.

    What was freed before goes back to the system first: else it would be used again, and count as none. The peak of the
    whole process is forgotten. Not to be nested, and what other threads do meanwhile counts, too.
    """
    peak = Peak()
    before = reset_peak()
    yield peak
    after = read_status("VmHWM")
    if before is not None and after is not None:
        peak.size_bytes = max(0, after - before)


def read_peak() -> int | None:
    """The most bytes that this process held since it began, or since a peak was last measured."""
    return read_status("VmHWM")


def read_peak_mb() -> float | None:
    """The same in megabytes, as reports have it."""
    peak = read_peak()
    return None if peak is None else peak / 1e6


def reset_peak() -> int | None:
    """Make the peak what is resident now, and return that, in bytes; None if the system does not let us."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    try:
        CLEAR.write_text(RESET_PEAK)
    except OSError:
        return None
    return read_status("VmRSS")


def read_status(name: str) -> int | None:
    """Bytes that a line of /proc/self/status names; None without it."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    kib = next((line.split()[1] for line in lines if line.startswith(f"{name}:")), None)
    return None if kib is None else int(kib) * KIB
