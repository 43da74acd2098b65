"""Read a user's arrays from .npz, .safetensors or .csv, and say exactly what is wrong with them where they are.

Nothing here knows jobs or objectives. Files are the user's own, but bounded all the same, and nothing is unpickled.
"""

import csv
import difflib
import itertools
import lzma
import math
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from training.errors import TrainingError

Values = NDArray[np.int64] | NDArray[np.float64]
Names = tuple[str, ...]  # one array of a .npz or .safetensors file, or the columns of a .csv file

MAX_FILE_BYTES = 1 << 28  # a job's blob is far smaller: this only stops mistakes
MAX_UNPACKED_BYTES = 1 << 30
MAX_NAMES_SHOWN = 12
MAX_REASON = 120  # characters of a library's own message
MAX_CELL_SHOWN = 40  # characters
OTHER_SEPARATORS = (";", "\t", "|")
DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
NUMERIC_KINDS = "biuf"
KIND_HINTS = {
    "U": "number the classes 0, 1, ... and save them as integers",
    "S": "number the classes 0, 1, ... and save them as integers",
    "c": "save real and imaginary parts as two features",
    "M": "save a number, such as days since the first date",
    "m": "save a number, such as seconds",
    "V": "save one plain array for each field",
}


FORMAT_ERRORS = (  # what zipfile, zlib, lzma, numpy and safetensors raise for damaged files: they have no common error
    *(OSError, EOFError, ValueError, LookupError, TypeError, RuntimeError, ArithmeticError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, SyntaxError, TokenError, SafetensorError),
)


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


def describe_row(path: Path, row: int) -> str:
    """Where a sample is: its line for a .csv file, which is read for that once more, else its number."""
    if path.suffix.lower() != ".csv":
        return f"row {row} (the first is 0)"
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file, strict=True)
        next(rows)
        lines = (rows.line_num for cells in rows if cells)
        return f"line {next(itertools.islice(lines, row, None))}"


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


def _describe_error(error: Exception) -> str:
    """The first line of a library's message, or the error's name where it has none."""
    lines = str(error).splitlines()
    return lines[0][:MAX_REASON] if lines else type(error).__name__


# --- checks -----------------------------------------------------------------------------------------------------------


def _check_file(path: Path) -> None:
    try:
        size = path.stat().st_size
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
        raise DataError(f"{path}: the data file {reason}; paths are relative to the job file") from error
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not a file"
        raise DataError(f"{path}: the data file {what}; name a .npz, .safetensors or .csv file")
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
            f"{path}: {name!r} has dtype {array.dtype}; expected integers, floats or true and false:"
            f" {KIND_HINTS.get(array.dtype.kind, 'save a plain array of numbers')}"
        )
    if array.dtype.kind == "f":
        with np.errstate(
            over="ignore"
        ):  # a wider float beyond the range becomes infinite, and is refused as that
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
    with _reading(path, "not a .npz file that can be read", "write it with numpy.savez"):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(info.file_size for info in archive.infolist())
        if unpacked > MAX_UNPACKED_BYTES:
            raise DataError(f"{path}: unpacks to {unpacked} bytes, at most {MAX_UNPACKED_BYTES} are read")
        with np.load(path, allow_pickle=False) as archive:
            picked = {role: _pick_name(path, names, archive.files) for role, names in wanted.items()}
            arrays = {role: _read_npz_array(path, archive, name) for role, name in picked.items()}
    return {role: _to_values(path, picked[role], array) for role, array in arrays.items()}


def _read_npz_array(path: Path, archive: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    try:
        return archive[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise DataError(  # object arrays are pickles, and pickles run code
            f"{path}: {name!r} cannot be read without pickle; save it as an integer or float array"
        ) from error


def _read_safetensors(path: Path, wanted: Mapping[str, Names]) -> dict[str, Values]:
    with (
        _reading(path, "not readable as .safetensors", "use float32, float64 or integers"),
        safe_open(path, framework="numpy") as file,
    ):
        known = sorted(file.keys())
        picked = {role: _pick_name(path, names, known) for role, names in wanted.items()}
        arrays = {role: file.get_tensor(name) for role, name in picked.items()}
    return {role: _to_values(path, picked[role], array) for role, array in arrays.items()}


@contextmanager
def _reading(path: Path, what: str, remedy: str) -> Iterator[None]:
    """Turn what a library says of a damaged file into a DataError."""
    try:
        yield
    except FORMAT_ERRORS as error:
        raise DataError(f"{path}: {what} ({_describe_error(error)}); {remedy}") from error


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
                        f"{path}: line {rows.line_num}: {len(row)} fields; expected {len(header)}, as in the header:"
                        " complete or remove the line; a comma inside a field needs quotes around the field"
                    )
                for role, places in columns.items():
                    cells[role].append([_read_cell(path, rows.line_num, header[i], row[i]) for i in places])
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a .csv file in UTF-8 ({error}); save it as UTF-8") from error
    except csv.Error as error:
        raise DataError(
            f"{path}: line {rows.line_num}: not a .csv file ({error}); look at its quotes"
        ) from error
    if not next(iter(cells.values())):
        raise DataError(f"{path}: a header and no rows; expected one sample per line below the header")
    return {role: _squeeze(np.array(values, dtype=np.float64)) for role, values in cells.items()}


def _check_header(path: Path, header: list[str], wanted: Mapping[str, Names]) -> None:
    counts = Counter(header)
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        raise DataError(
            f"{path}: the header names column {twice[0]!r} twice; column names must differ: rename one"
        )
    missing = [name for names in wanted.values() for name in names if name not in counts]
    if missing:
        raise DataError(
            f"{path}: no column {missing[0]!r} in the header{_explain_header(missing[0], header)}"
        )


def _explain_header(name: str, header: list[str]) -> str:
    """Why a column may be missing: the file has another separator or no header, or the name is another."""
    if not header:
        return ": the first line is empty; expected column names separated by commas"
    others = [mark for mark in OTHER_SEPARATORS if len(header) == 1 and mark in header[0]]
    if others:
        return f": its fields seem to be separated by {others[0]!r}; expected commas: save it with commas"
    if all(_is_number(cell) for cell in header):
        return ": the first line has only numbers; expected column names there: put a header line above it"
    return describe_choice(name, header)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_cell(path: Path, line: int, column: str, text: str) -> float:
    try:
        value = float(text) if text.isascii() and "_" not in text else math.nan  # Python's own spellings
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        shown = text if len(text) <= MAX_CELL_SHOWN else text[:MAX_CELL_SHOWN] + " ..."
        comma = "write decimals with a point, " if DECIMAL_COMMA.fullmatch(text.strip()) else ""
        raise DataError(
            f"{path}: line {line}, column {column!r}: {shown!r} is not a number;"
            f" {comma}remove the row, fill it in, or number the classes 0, 1, ..."
        )
    return value


def _squeeze(array: NDArray[np.float64]) -> NDArray[np.float64]:
    return array[:, 0] if array.shape[1] == 1 else array
