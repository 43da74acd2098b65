"""Files of named arrays, as commands read them."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.errors import ProblemRefused

# What numpy and zipfile raise of files that were cut or changed: headers are Python, sizes may be anything.
DAMAGED = (
    ValueError, EOFError, zipfile.BadZipFile, zlib.error, tokenize.TokenError, SyntaxError, MemoryError, RuntimeError,
)  # fmt: skip
Arrays = dict[str, NDArray[np.generic]]


def read_arrays(path: Path) -> Arrays:
    """All arrays of an .npz file. Raises ProblemRefused."""
    try:
        found = np.load(path, allow_pickle=False)
        if not isinstance(found, np.lib.npyio.NpzFile):
            raise ProblemRefused("file", ".npz with named arrays expected, a single array came")
        with found:
            arrays = {name: found[name] for name in found.files}
    except OSError as error:
        raise ProblemRefused("file", f"cannot be read: {error.strerror or error}") from None
    except DAMAGED as error:
        raise ProblemRefused("file", f".npz without pickled arrays expected: {error}") from None
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # numpy gives the bytes of what is no array
            raise ProblemRefused("file", f".npz of arrays expected, {name!r} is none")
    return arrays
