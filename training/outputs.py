"""What commands leave behind: arrays as .npz, and their report as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

CANNOT_WRITE = 1  # exit code


def write_outputs(
    arrays_path: Path | None,
    arrays: Mapping[str, object],
    report_path: Path | None = None,
    report: Mapping[str, Any] | None = None,  # Any: whatever JSON holds
    *,
    compressed: bool = False,
) -> int:
    """Write to the paths there are. Returns the exit code: 0, or 1 when it has said what cannot be written."""
    save: Any = np.savez_compressed if compressed else np.savez  # Any: its stub takes an array for a flag
    try:
        if arrays_path:
            with arrays_path.open("wb") as file:  # numpy would add .npz to a name
                save(file, **arrays)
        if report_path:
            report_path.write_text(json.dumps(report, indent=1) + "\n")
    except OSError as error:
        place = error.filename or arrays_path or report_path  # a full disk has no name
        print(f"error: {place}: cannot be written: {error.strerror}", file=sys.stderr)
        return CANNOT_WRITE
    return 0
