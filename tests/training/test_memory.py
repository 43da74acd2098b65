"""The peak of memory of a piece of code: what it held at one time, given back or not; None where none can tell."""

from pathlib import Path

import numpy as np
import pytest

from training import memory
from training.memory import measure_peak, read_peak, reset_peak

MIB = 1 << 20
needs_proc = pytest.mark.skipif(reset_peak() is None, reason="needs Linux with a /proc that is open")


def fill(mib: int) -> None:
    np.ones(mib * MIB, np.int8)


@needs_proc
def test_memory_that_was_given_back_counts() -> None:
    with measure_peak() as peak:
        fill(128)
    assert peak.size_bytes is not None
    assert 127 * MIB <= peak.size_bytes < 160 * MIB


@needs_proc
def test_memory_of_before_does_not_count() -> None:
    kept = np.ones(64 * MIB, np.int8)
    fill(128)
    with measure_peak() as peak:
        kept[0] = 2
    assert peak.size_bytes is not None
    assert peak.size_bytes < 16 * MIB


@needs_proc
def test_peak_of_the_process_is_at_least_what_it_holds() -> None:
    kept = np.ones(64 * MIB, np.int8)
    peak = read_peak()
    assert peak is not None
    assert peak > kept.nbytes


def test_peak_is_unknown_without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "STATUS", tmp_path / "none" / "status")
    monkeypatch.setattr(memory, "CLEAR", tmp_path / "none" / "clear_refs")
    assert read_peak() is None
    with measure_peak() as peak:
        fill(1)
    assert peak.size_bytes is None
