"""How kernels are compiled; their machine code is kept where training.exact.fused.cache says."""

from collections.abc import Callable
from typing import Any

import numba
from numba.core import config

from training.exact.fused.cache import choose_cache_folder

Kernel = Callable[..., Any]  # Any: kernels are typed by numba, at the call

config.CACHE_DIR = str(choose_cache_folder())  # type: ignore[attr-defined]  # numba fills its settings at import


def kernel(function: Kernel) -> Kernel:
    """Compile at the first call, keep the machine code, release the interpreter lock while running."""
    compiled: Kernel = numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")(function)
    return compiled
