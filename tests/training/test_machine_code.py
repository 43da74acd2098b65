"""The compiled kernels as the processor sees them: no fused multiply-add anywhere, no fast-math.

Products would survive fusing, their sums are exact either way; exp would not.
"""

import platform
import re
import subprocess
import sys

import pytest

X86 = platform.machine().lower() in ("x86_64", "amd64")
# Compiled in a process of its own, without the cache, for a machine that has fused instructions.
PROBE = """
import numba, numpy as np
from training.exact.fused import elements, tile
exp = numba.njit(fastmath=False, error_model="numpy")(elements.exp.py_func)
out = numba.njit(fastmath=False, error_model="numpy")(tile.multiply.py_func)
@numba.njit(fastmath=False, error_model="numpy")
def sweep(x):
    for i in range(x.size):
        x[i] = exp(x[i])
sweep(np.zeros(4))
a = np.zeros(64)
out(a, 0, 8, a, 0, 8, 1, a, 0, 8, 8, 8, 8, False)
print("\\n".join(code for f in (sweep, out) for code in f.inspect_asm().values()))
"""


@pytest.mark.skipif(not X86, reason="the instruction names are those of x86-64")
def test_kernels_have_products_and_no_fused_multiply_add() -> None:
    result = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=True, timeout=100
    )
    instructions = re.findall(r"^\s+(v?f?n?m[a-z0-9]+|vf[a-z0-9]+)\s", result.stdout, re.MULTILINE)
    assert any(re.match(r"v?mul[ps]d", name) for name in instructions)
    assert [name for name in instructions if re.match(r"vf(n)?m(add|sub)", name)] == []


def test_kernels_are_compiled_without_fast_math() -> None:
    from training.exact.fused import attention, elements, softmax, tile

    for module in (attention, elements, softmax, tile):
        kernels = [k for k in vars(module).values() if hasattr(k, "py_func")]
        assert kernels
        for kernel in kernels:
            assert not kernel.targetoptions.get("fastmath")
            assert kernel.targetoptions["nogil"]
            assert kernel.targetoptions["error_model"] == "numpy"
            assert "parallel" not in kernel.targetoptions
