"""Short waits, and a fresh network for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node.services import fetch, sync
from tests.node.services.network import Net, open_net


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "STATUS_TIMEOUT_S", 0.3)
    monkeypatch.setattr(sync, "MIN_POLL_S", 0.01)


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Net]:
    async with open_net(tmp_path) as opened:
        yield opened
