"""How kernels are compiled and where their machine code is kept.

numba notices a change of the file a kernel stands in, not of the files it calls. So the cache folder carries a hash of
all sources of this package: changed sources use another folder.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import config

Kernel = Callable[..., Any]  # Any: kernels are typed by numba, at the call

FOLDER = Path(__file__).parent


def compute_source_hash() -> str:
    """Sixteen digits that change with any source of the kernels."""
    state = hashlib.sha256()
    for path in sorted(FOLDER.glob("*.py")):
        state.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return state.hexdigest()[:16]


def choose_cache_folder() -> Path:
    """Below NUMBA_CACHE_DIR, or below the user's cache folder where that is not set."""
    base = os.environ.get("NUMBA_CACHE_DIR") or Path.home() / ".cache" / "gradientcoin" / "numba"
    return Path(base) / compute_source_hash()


config.CACHE_DIR = str(choose_cache_folder())  # type: ignore[attr-defined]  # numba fills its settings at import


def kernel(function: Kernel) -> Kernel:
    """Compile at the first call, keep the machine code, release the interpreter lock while running."""
    compiled: Kernel = numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")(function)
    return compiled
