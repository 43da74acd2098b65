"""Where the kernels' machine code is kept, for who only wants to know whether it is there: nothing here needs numba.

numba notices a change of the file a kernel stands in, not of the files it calls. So the cache folder carries a hash of
all sources of this package, and of what it takes constants from: changed sources use another folder.
"""

import hashlib
import os
from pathlib import Path

FOLDER = Path(__file__).parent
STAMP = "compiled"
CONSTANTS = ("counter.py", "functions.py", "grids.py", "scores.py")  # that kernels are compiled with


def compute_source_hash() -> str:
    """Sixteen digits that change with any source of the kernels."""
    state = hashlib.sha256()
    for path in (*sorted(FOLDER.glob("*.py")), *(FOLDER.parent / name for name in CONSTANTS)):
        state.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return state.hexdigest()[:16]


def choose_cache_folder(base: str | None = None) -> Path:
    """Below `base`, NUMBA_CACHE_DIR unless given, or below the user's cache folder where that is not set."""
    base = base or os.environ.get("NUMBA_CACHE_DIR")
    return (Path(base) if base else Path.home() / ".cache" / "gradientcoin" / "numba") / compute_source_hash()


def is_compiled(base: str | None = None) -> bool:
    """Whether all kernels that a node needs were compiled into the cache before, of these sources."""
    return (choose_cache_folder(base) / STAMP).exists()


def mark_compiled() -> None:
    """Say so, where a self-test has passed: it ran all of them."""
    folder = choose_cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STAMP).touch()
