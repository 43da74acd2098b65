"""Read a user's arrays from .npz, .safetensors or .csv, and say exactly what is wrong with them where they are.

Nothing here knows jobs or objectives. Files are the user's own, but bounded all the same, and nothing is unpickled.
"""

import csv
import difflib
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from training.errors import TrainingError

Values = NDArray[np.int64] | NDArray[np.float64]
Names = tuple[str, ...]  # one array of a .npz or .safetensors file, or the columns of a .csv file

MAX_FILE_BYTES = 1 << 28  # a job's blob is far smaller: this only stops mistakes
MAX_UNPACKED_BYTES = 1 << 30
MAX_NAMES_SHOWN = 12
NUMERIC_KINDS = "biuf"


class DataError(TrainingError):
    """A data file, or a part of one, that cannot be used. The message is meant for the user."""


def load_arrays(path: Path, wanted: Mapping[str, Names]) -> dict[str, Values]:
    """Load what `wanted` names (role -> names) as int64 or float64 arrays, all with the same first dimension.

    Columns of a .csv file become one array [rows, columns], or [rows] when a single one is named.
    """
    _check_file(path)
    readers = {".npz": _read_npz, ".safetensors": _read_safetensors, ".csv": _read_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: unknown file type {path.suffix!r}; use .npz, .safetensors or .csv")
    arrays = reader(path, wanted)
    for role, array in arrays.items():
        _check_values(path, describe_names(wanted[role]), array)
    return arrays


def describe_names(names: Names) -> str:
    """How messages call an array or columns."""
    return f"{names[0]!r}" if len(names) == 1 else f"columns {names[0]!r} .. {names[-1]!r}"


def describe_choice(name: str, known: Iterable[str]) -> str:
    """The closest known name as a question, and the list of them."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    shown = ", ".join(names[:MAX_NAMES_SHOWN]) + (", ..." if len(names) > MAX_NAMES_SHOWN else "")
    return f"{hint} known: {shown or 'none'}"


# --- checks -----------------------------------------------------------------------------------------------------------


def _check_file(path: Path) -> None:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(f"{path}: the data file {what}; paths are relative to the job file")
    size = path.stat().st_size
    if size == 0:
        raise DataError(f"{path}: the file is empty; expected samples")
    if size > MAX_FILE_BYTES:
        raise DataError(
            f"{path}: {size} bytes, at most {MAX_FILE_BYTES} are read; cut the file to the job's samples"
        )


def _check_values(path: Path, name: str, array: Values) -> None:
    if array.ndim == 0 or array.size == 0:
        raise DataError(f"{path}: {name} has shape {list(array.shape)}; expected at least one sample")
    if array.dtype == np.float64:
        finite = np.isfinite(array)
        if not finite.all():
            bad = tuple(int(i) for i in np.argwhere(~finite)[0])
            where = f"row {bad[0]}" + (f", position {list(bad[1:])}" if len(bad) > 1 else "")
            raise DataError(
                f"{path}: {name}, {where}: {array[bad]} is not a number; remove the row or fill it in"
            )


def _to_values(path: Path, name: str, array: NDArray[np.generic]) -> Values:
    if array.dtype.kind not in NUMERIC_KINDS:
        raise DataError(
            f"{path}: {name!r} has dtype {array.dtype}; expected integers or floats:"
            " number the classes 0, 1, ... and save them as integers"
        )
    if array.dtype.kind == "f":
        return array.astype(np.float64)
    if array.dtype == np.uint64 and array.size and int(array.max()) >= 1 << 63:
        raise DataError(f"{path}: {name!r} holds {array.max()}; integers are read up to 2^63 - 1")
    return array.astype(np.int64)


def _pick_name(path: Path, names: Names, known: Iterable[str]) -> str:
    if len(names) != 1:
        raise DataError(
            f"{path}: a {path.suffix} file holds arrays; name one with `array`, not {len(names)} columns"
        )
    if names[0] not in known:
        raise DataError(f"{path}: no array {names[0]!r}{describe_choice(names[0], known)}")
    return names[0]


# --- formats ----------------------------------------------------------------------------------------------------------


def _read_npz(path: Path, wanted: Mapping[str, Names]) -> dict[str, Values]:
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(info.file_size for info in archive.infolist())
        if unpacked > MAX_UNPACKED_BYTES:
            raise DataError(f"{path}: unpacks to {unpacked} bytes, at most {MAX_UNPACKED_BYTES} are read")
        with np.load(path, allow_pickle=False) as archive:
            picked = {role: _pick_name(path, names, archive.files) for role, names in wanted.items()}
            return {role: _read_npz_array(path, archive, name) for role, name in picked.items()}
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path}: not a .npz file ({error}); write it with numpy.savez") from error


def _read_npz_array(path: Path, archive: Mapping[str, NDArray[np.generic]], name: str) -> Values:
    try:
        array = archive[name]
    except ValueError as error:  # object arrays are pickles, and pickles run code
        raise DataError(
            f"{path}: {name!r} cannot be read without pickle; save it as an integer or float array"
        ) from error
    return _to_values(path, name, array)


def _read_safetensors(path: Path, wanted: Mapping[str, Names]) -> dict[str, Values]:
    try:
        with safe_open(path, framework="numpy") as file:
            known = sorted(file.keys())
            picked = {role: _pick_name(path, names, known) for role, names in wanted.items()}
            return {role: _to_values(path, name, file.get_tensor(name)) for role, name in picked.items()}
    except (SafetensorError, TypeError) as error:  # TypeError: a dtype that numpy does not have
        raise DataError(
            f"{path}: not readable as .safetensors ({error}); use float32, float64 or integers"
        ) from error


def _read_csv(path: Path, wanted: Mapping[str, Names]) -> dict[str, Values]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file, strict=True)
            header = next(rows, [])
            _check_header(path, header, wanted)
            columns = {role: [header.index(name) for name in names] for role, names in wanted.items()}
            cells: dict[str, list[list[float]]] = {role: [] for role in wanted}
            for row in rows:
                if not row:
                    continue
                if len(row) != len(header):
                    raise DataError(
                        f"{path}: line {rows.line_num}: {len(row)} fields; expected {len(header)}, as in the header"
                    )
                for role, places in columns.items():
                    cells[role].append([_read_cell(path, rows.line_num, header[i], row[i]) for i in places])
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a .csv file in UTF-8 ({error})") from error
    if not next(iter(cells.values())):
        raise DataError(f"{path}: a header and no rows; expected one sample per line")
    return {role: _squeeze(np.array(values, dtype=np.float64)) for role, values in cells.items()}


def _check_header(path: Path, header: list[str], wanted: Mapping[str, Names]) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{path}: the header names column {twice[0]!r} twice; column names must differ")
    for name in (name for names in wanted.values() for name in names):
        if name not in header:
            raise DataError(f"{path}: no column {name!r} in the header{describe_choice(name, header)}")


def _read_cell(path: Path, line: int, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise DataError(
            f"{path}: line {line}, column {column!r}: {text!r} is not a number;"
            " remove the row, fill it in, or number the classes 0, 1, ..."
        )
    return value


def _squeeze(array: NDArray[np.float64]) -> NDArray[np.float64]:
    return array[:, 0] if array.shape[1] == 1 else array
