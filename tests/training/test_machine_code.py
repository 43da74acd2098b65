"""The compiled kernels as the processor sees them: fused multiply-add in products only, no fast-math.

Sums of products are exact either way; exp would not be.
"""

import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

X86 = platform.machine().lower() in ("x86_64", "amd64")
# Compiled in a process of its own, without the cache, for a machine that has fused instructions.
PROBE = """
import numba, numpy as np
from training.exact.fused import elements, scores, tile
def plain(kernel):
    return numba.njit(fastmath=False, error_model="numpy")(kernel.py_func)
exp, out, apply = plain(elements.exp), plain(tile.multiply), plain(scores.apply_scores)
@numba.njit(fastmath=False, error_model="numpy")
def sweep(x):
    for i in range(x.size):
        x[i] = exp(x[i])
sweep(np.zeros(4))
a = np.zeros(64)
out(a, 0, 8, a, 0, 8, 1, a, 0, 8, 8, 8, 8, False)
b = np.zeros(64)
apply(a, b, np.zeros(64), 1, 8, 8, 0.5, 2, 26)
for f in (sweep, out, apply):
    print("\\n".join(f.inspect_asm().values()), "\\n=====")
"""
FUSED = re.compile(r"vf(n)?m(add|sub)")


@pytest.mark.skipif(not X86, reason="the instruction names are those of x86-64")
def test_products_alone_are_fused() -> None:
    result = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=True, timeout=100
    )
    parts = [
        re.findall(r"^\s+(v?f?n?m[a-z0-9]+|vf[a-z0-9]+)\s", code, re.MULTILINE)
        for code in result.stdout.split("=====")
    ]
    exp, products, functions = parts[:3]
    for code in (exp, functions):
        assert any(re.match(r"v?mul[ps]d", name) for name in code)
        assert [name for name in code if FUSED.match(name)] == []
    can_fuse = " fma " in Path("/proc/cpuinfo").read_text()
    assert any(FUSED.match(name) for name in products) == can_fuse


def test_kernels_are_compiled_without_fast_math() -> None:
    from training.exact.fused import (
        attention,
        cycle,
        elements,
        graph,
        relu,
        scores,
        sequence,
        softmax,
        spectral,
        tile,
    )

    for module in (attention, cycle, elements, graph, relu, scores, sequence, softmax, spectral, tile):
        kernels = [k for k in vars(module).values() if hasattr(k, "py_func")]
        assert kernels
        for kernel in kernels:
            assert not kernel.targetoptions.get("fastmath")
            assert kernel.targetoptions["nogil"]
            assert kernel.targetoptions["error_model"] == "numpy"
            assert "parallel" not in kernel.targetoptions
