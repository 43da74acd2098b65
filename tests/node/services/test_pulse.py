"""The event loop's own lateness."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from node.services.pulse import LoopLag, Pulse, pick_rank


def test_lag_before_the_first_beat_is_unknown() -> None:
    assert Pulse().measure() is None


def test_lag_is_of_the_last_beats_only() -> None:
    pulse = Pulse(window=100)
    for late_ms in (500.0, *range(1, 101)):
        pulse.note(float(late_ms))
    assert pulse.measure() == LoopLag(50.0, 99.0, 100.0)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 2.0), (0.75, 3.0), (0.99, 4.0), (0.01, 1.0)])
def test_rank_is_the_smallest_value_that_covers_the_share(share: float, expected: float) -> None:
    assert pick_rank([1.0, 2.0, 3.0, 4.0], share) == expected


async def test_pulse_of_an_idle_loop_is_on_time(autojump_clock: MockClock) -> None:
    pulse = Pulse(interval_s=1.0)
    with trio.move_on_after(10.5):
        await pulse.run()
    lag = pulse.measure()
    assert lag is not None
    assert lag.max < 1000.0  # of the clock that jumps from timer to timer


async def test_pulse_of_a_blocked_loop_is_late(mock_clock: MockClock) -> None:
    """The clock goes on while no task runs, as it does when one computes too long."""
    pulse = Pulse(interval_s=1.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pulse.run)
        await wait_all_tasks_blocked()
        mock_clock.jump(1.0)
        await wait_all_tasks_blocked()
        assert pulse.measure() == LoopLag(0.0, 0.0, 0.0)
        mock_clock.jump(1.25)
        await wait_all_tasks_blocked()
        assert pulse.measure() == LoopLag(0.0, 250.0, 250.0)
        nursery.cancel_scope.cancel()
