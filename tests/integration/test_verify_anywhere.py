"""A chain mined under one setting of the arithmetic libraries is verified under every other, to the bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BLOCKS = 30  # the job's first three settlements are within
PLAIN = {"ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "OMP_NUM_THREADS": "2"}


def run_python(arguments: list[str], settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def mine(target: Path, path: str, settings: dict[str, str]) -> Path:
    done = run_python(
        ["tests.integration.mine_chain", str(target), "--blocks", str(BLOCKS), "--path", path], settings
    )
    assert done.returncode == 0, done.stderr
    return target


def verify(file: Path, path: str, settings: dict[str, str]) -> tuple[int, dict[str, Any]]:
    done = run_python(["node.verify", str(file), "--path", path], settings)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def fused_chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mine(tmp_path_factory.mktemp("mined") / "fused.chain", "fused", {})


@pytest.mark.parametrize(
    ("path", "settings"),
    [
        ("fused", {}),
        ("fused", {"ATEN_CPU_CAPABILITY": "default"}),
        ("portable", {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}),
        ("portable", PLAIN),
    ],
    ids=["same", "aten-default", "portable-sse", "portable-plain"],
)
def test_chain_mined_here_is_verified_under_other_settings(
    fused_chain: Path, path: str, settings: dict[str, str]
) -> None:
    status, verdict = verify(fused_chain, path, settings)
    assert status == 0, verdict
    assert verdict["verified"]
    assert verdict["blocks"] == verdict["replayed"] == BLOCKS
    assert verdict["settlements"] >= 3


def test_chain_mined_under_plain_settings_is_the_same_chain(fused_chain: Path, tmp_path: Path) -> None:
    """Nonces are tried in order, so equal bits make equal files."""
    plain = mine(tmp_path / "plain.chain", "portable", PLAIN)
    assert plain.read_bytes() == fused_chain.read_bytes()


def test_chain_with_one_bit_changed_is_refused(fused_chain: Path, tmp_path: Path) -> None:
    data = bytearray(fused_chain.read_bytes())
    data[len(data) // 2] ^= 1
    changed = tmp_path / "changed.chain"
    changed.write_bytes(data)
    status, verdict = verify(changed, "fused", {})
    assert status in (1, 8)
    assert not verdict["verified"]
