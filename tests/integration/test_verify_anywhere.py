"""A chain mined under one setting of the arithmetic libraries is verified under every other, to the bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
START_S = 60.0
POLL_S = 0.02
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


def verify_checkpoint(chain: Path, path: str, settings: dict[str, str]) -> tuple[int, dict[str, Any]]:
    files = [str(chain.with_suffix(".safetensors")), str(chain.with_suffix(".proof"))]
    done = run_python(["node.verify_checkpoint", *files, "--path", path], settings)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("path", "settings"),
    [("fused", {}), ("portable", PLAIN)],
    ids=["same", "portable-plain"],
)
def test_checkpoint_is_verified_by_its_proof_under_other_settings(
    fused_chain: Path, path: str, settings: dict[str, str]
) -> None:
    status, verdict = verify_checkpoint(fused_chain, path, settings)
    assert status == 0, verdict
    assert verdict["head"]["height"] == BLOCKS
    assert verdict["version"] >= 2
    assert 0 < verdict["replayed"] < BLOCKS


def test_checkpoint_with_one_bit_changed_is_refused(fused_chain: Path, tmp_path: Path) -> None:
    chain = tmp_path / "changed.chain"
    for suffix in (".proof", ".safetensors"):
        chain.with_suffix(suffix).write_bytes(fused_chain.with_suffix(suffix).read_bytes())
    data = bytearray(chain.with_suffix(".safetensors").read_bytes())
    data[-5] ^= 1
    chain.with_suffix(".safetensors").write_bytes(data)
    status, verdict = verify_checkpoint(chain, "fused", {})
    assert (status, verdict["verified"]) == (1, False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_verifier_leaves_no_folder_behind(
    fused_chain: Path, tmp_path: Path, number: signal.Signals
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "node.verify", str(fused_chain), "--path", "portable"],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        deadline_s = time.monotonic() + START_S
        while not any(tmp_path.iterdir()) and process.poll() is None:
            assert time.monotonic() < deadline_s
            time.sleep(POLL_S)
        process.send_signal(number)
        process.send_signal(number)  # a second one does not interrupt the clean-up
        _, complaints = process.communicate(timeout=START_S)
    assert process.returncode == 128 + number
    assert b"Traceback" not in complaints
    assert not list(tmp_path.iterdir())
