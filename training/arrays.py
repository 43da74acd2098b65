"""Files of named arrays, as commands read them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.errors import ProblemRefused

Arrays = dict[str, NDArray[np.generic]]


def read_arrays(path: Path) -> Arrays:
    """All arrays of an .npz file. Raises ProblemRefused."""
    try:
        found = np.load(path, allow_pickle=False)
        if not isinstance(found, np.lib.npyio.NpzFile):
            raise ProblemRefused("file", ".npz with named arrays expected, a single array came")
        with found:
            return {name: found[name] for name in found.files}
    except OSError as error:
        raise ProblemRefused("file", f"cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ProblemRefused("file", f".npz without pickled arrays expected: {error}") from None
