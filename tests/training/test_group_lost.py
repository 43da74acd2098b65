"""A rank that dies or hangs is noticed by rank 0: no question to a group waits without end."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from training import group as group_module
from training.group import GroupLost, Place, join_group, leave_group
from training.shared import Leader

LIMIT_S = 1.0


@pytest.fixture
def follower(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.training.follower", str(tmp_path / "meeting")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        yield process
        process.kill()


@pytest.fixture
def leader(
    tmp_path: Path, follower: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Leader]:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    monkeypatch.setattr(group_module, "COLLECTIVE_S", LIMIT_S)
    yield Leader(join_group(Place(0, 2, 0, 2, str(tmp_path / "meeting")), "cpu"))
    leave_group()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_rank_that_is_gone_or_silent_is_the_end_of_the_group(
    leader: Leader, follower: subprocess.Popen[bytes], how: signal.Signals
) -> None:
    leader.wait()
    follower.send_signal(how)
    with pytest.raises(GroupLost, match="the group of trainers is lost"):
        leader.wait()
