"""How this package's kernels are compiled: floating point, so sums may be taken in any order, and are in vectors.

Importing the exact kernels' compiler says where machine code is kept (training/exact/fused/cache.py). A kernel calls
only kernels of its own file: numba notices changes in no other.
"""

from collections.abc import Callable
from typing import Any

import numba

from training.exact.fused import compiler

Kernel = Callable[..., Any]  # Any: kernels are typed by numba, at the call
FREE = {"reassoc", "contract", "nsz"}  # not nnan or ninf: what is no number has to be seen

__all__ = ["Kernel", "compiler", "kernel"]


def kernel(function: Kernel) -> Kernel:
    """Compile at the first call, keep the machine code, release the interpreter lock while running."""
    compiled: Kernel = numba.njit(cache=True, nogil=True, fastmath=FREE, error_model="numpy")(function)
    return compiled
