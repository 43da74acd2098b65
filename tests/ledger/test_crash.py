"""Killed at any moment, a node comes back with every block it acknowledged."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from ledger.errors import LedgerError
from ledger.records import JOB, decode_job
from ledger.state import State
from tests.ledger.chain_builder import ChainBuilder

KILLS = 20
ROOT = Path(__file__).parents[2]


def _run_and_kill(folder: Path, seconds: float) -> list[str]:
    """Return the lines that the process printed before its kill."""
    command = [sys.executable, "-m", "tests.ledger.connect_loop", str(folder)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        if first:
            time.sleep(seconds)
        process.kill()
        rest, errors = process.stdout.read(), process.stderr.read()
    assert errors == ""
    return [line for line in (first + rest).splitlines(keepends=True) if line.endswith("\n")]


def test_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    rng = random.Random(11)
    total = 0
    for kill in range(1, KILLS + 1):
        lines = _run_and_kill(tmp_path, rng.uniform(0.02, 0.25))
        assert lines
        total += len(lines)
        height, block_hash = lines[-1].split()
        node = ChainBuilder(tmp_path, database=str(tmp_path / "chain.db"))
        chain = node.chain
        for line in lines:
            entry = chain.index.get(bytes.fromhex(line.split()[1]))
            assert entry is not None
            assert not entry.invalid
        assert node.height >= int(height)
        assert chain.index.on_main(chain.index[bytes.fromhex(block_hash)]) or node.height > int(height)
        assert chain.state.root == State(node.storage.load_state()).root
        if kill % 5 == 0:
            _replay(node, tmp_path)
        node.storage.close()
    assert total > KILLS


def _replay(node: ChainBuilder, folder: Path) -> None:
    """Another node that gets the same blocks has the same state; every job's weights are there."""
    twin = node.fork(node.height)
    assert twin.chain.state.root == node.chain.state.root
    for key, value in node.chain.state.entries().items():
        if key[0] == JOB:
            try:
                node.chain.load_weights(decode_job(value).weights)
            except LedgerError as error:
                raise AssertionError("a job's weights were lost") from error
