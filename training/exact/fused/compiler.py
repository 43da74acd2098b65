"""How kernels are compiled, and where their buffers come from; training.exact.fused.cache says where their machine
code is kept."""

import ctypes
from collections.abc import Callable
from typing import Any

import numba
from numba.core import config

from training.exact.fused.cache import choose_cache_folder

# glibc's mallopt: what a kernel frees stays with the process, up to KEPT_BYTES. Large buffers would be mapped anew at
# every call otherwise, and a fresh page costs more than what is computed in it: a loss took four times as long.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
MAPPED_BYTES, KEPT_BYTES = 32 << 20, 64 << 20


def keep_freed_memory() -> None:
    """For the whole process; without effect where the C library is another."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


Kernel = Callable[..., Any]  # Any: kernels are typed by numba, at the call

keep_freed_memory()
config.CACHE_DIR = str(choose_cache_folder())  # type: ignore[attr-defined]  # numba fills its settings at import


def kernel(function: Kernel) -> Kernel:
    """Compile at the first call, keep the machine code, release the interpreter lock while running."""
    compiled: Kernel = numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")(function)
    return compiled
