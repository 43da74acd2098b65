"""The exact vectors come out the same on every code path of torch, its libraries and numba that this machine has.

A setting that the processor or the build does not have is ignored by the library, or not asked for: torch would run
instructions that are not there. Then the run checks nothing new. Single settings are slow tests, combinations are not.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.vectors.build_exact import FOLDER, PATHS, build

ROOT = Path(__file__).parents[2]
# One factor at a time, then combinations: environment, and what `recompute` sets up.
SETTINGS: dict[str, tuple[dict[str, str], list[str]]] = {
    "aten-default": ({"ATEN_CPU_CAPABILITY": "default"}, ["portable"]),
    "aten-avx2": ({"ATEN_CPU_CAPABILITY": "avx2"}, ["portable"]),
    "aten-avx512": ({"ATEN_CPU_CAPABILITY": "avx512"}, ["portable"]),
    "mkl-sse4": ({"MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}, ["portable"]),
    "mkl-avx2": ({"MKL_ENABLE_INSTRUCTIONS": "AVX2"}, ["portable"]),
    "mkl-avx512": ({"MKL_ENABLE_INSTRUCTIONS": "AVX512"}, ["portable"]),
    "mkl-cbwr-compatible": ({"MKL_CBWR": "COMPATIBLE"}, ["portable"]),
    "mkl-cbwr-avx2": ({"MKL_CBWR": "AVX2"}, ["portable"]),
    "onednn-sse41": ({"ONEDNN_MAX_CPU_ISA": "SSE41"}, ["portable"]),
    "onednn-avx2": ({"ONEDNN_MAX_CPU_ISA": "AVX2"}, ["portable"]),
    "threads-1": ({"OMP_NUM_THREADS": "1"}, ["threads-1", "portable"]),
    "threads-2": ({"OMP_NUM_THREADS": "2"}, ["threads-2", "portable"]),
    "threads-4": ({"OMP_NUM_THREADS": "4"}, ["threads-4", "portable"]),
    "precision-medium": ({}, ["medium", "portable"]),
    "flush-to-zero": ({}, ["flush", "portable", "fused"]),
    "numba-generic": ({"NUMBA_CPU_NAME": "generic"}, ["fused-heartbeat"]),
    "oldest": (
        {"ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "MKL_CBWR": "COMPATIBLE"},
        ["threads-1", "portable"],
    ),
    "newest": (
        {"ATEN_CPU_CAPABILITY": "avx512", "MKL_ENABLE_INSTRUCTIONS": "AVX512"},
        ["threads-4", "medium", "flush", "portable"],
    ),
    "mixed": (
        {"ATEN_CPU_CAPABILITY": "avx512", "MKL_CBWR": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
        ["threads-2", "flush", "portable"],
    ),
}


COMBINED = ("flush-to-zero", "oldest", "newest", "mixed")


def has_avx512() -> bool:
    """Whether torch's own detection finds it."""
    return "AVX512" in torch.backends.cpu.get_cpu_capability()


@pytest.mark.parametrize("path", PATHS)
def test_vectors_are_what_the_code_computes(path: str) -> None:
    for name, content in build(path).items():
        expected = json.loads((FOLDER / f"{name}.json").read_text())
        assert json.loads(json.dumps(content)) == expected, (
            f"{name}.json; the protocol changed, or the code is wrong"
        )


@pytest.mark.timeout(300)  # a second or two each; on a machine that does much else, far more
@pytest.mark.parametrize(
    "name", [name if name in COMBINED else pytest.param(name, marks=pytest.mark.slow) for name in SETTINGS]
)
def test_vectors_do_not_depend_on(name: str) -> None:
    environment, words = SETTINGS[name]
    if environment.get("ATEN_CPU_CAPABILITY") == "avx512" and not has_avx512():
        environment = environment | {"ATEN_CPU_CAPABILITY": "avx2"}
    result = subprocess.run(
        [sys.executable, "-m", "tests.training.recompute", *words],
        cwd=ROOT,
        env=os.environ
        | {"OMP_NUM_THREADS": "1"}
        | environment,  # waiting threads would starve a busy machine
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert (result.stdout.split("\n")[:-1], result.returncode) == (["done"], 0), result.stderr
