"""Who holds a data directory, and what a client says when its node's files are gone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from node.lock import find_holder, hold_lock
from node.rpc.client import read_address
from node.rpc.errors import NodeNotRunning


def test_holder_is_found_only_while_it_holds(tmp_path: Path) -> None:
    assert find_holder(tmp_path) is None
    with hold_lock(tmp_path):
        assert find_holder(tmp_path) == os.getpid()
    assert find_holder(tmp_path) is None


def test_running_node_without_its_file_is_not_called_absent(tmp_path: Path) -> None:
    with hold_lock(tmp_path), pytest.raises(NodeNotRunning, match=f"pid {os.getpid()}.* no node.json"):
        read_address(tmp_path, "--node")
    with pytest.raises(NodeNotRunning, match="no node runs"):
        read_address(tmp_path, "--node")
