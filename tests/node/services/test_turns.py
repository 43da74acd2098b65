"""Rations of replays: those of branches, whoever sends them."""

from __future__ import annotations

from trio import current_time
from trio.testing import MockClock

from node.services.turns import ReplayBudget


async def test_replays_beyond_the_burst_wait_for_their_time(autojump_clock: MockClock) -> None:
    budget = ReplayBudget(rate_per_s=4.0, burst=3.0)
    begin_s = current_time()
    for _ in range(3):
        await budget.take()
    assert current_time() == begin_s
    for _ in range(8):
        await budget.take()
    assert 2.0 <= current_time() - begin_s <= 2.5
