"""Loading arrays: every mistake in a data file is named where it is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from training.data import MAX_FILE_BYTES, DataError, load_arrays

WANTED = {"inputs": ("x",), "targets": ("y",)}
COLUMNS = {"inputs": ("height", "width"), "targets": ("kind",)}
CSV = "height,width,kind\n1.5,2,0\n3,4,1\n"


def test_npz_and_safetensors_give_the_same_arrays(tmp_path: Path) -> None:
    x, y = np.arange(6, dtype=np.float32).reshape(3, 2), np.array([2, 0, 1], np.uint8)
    np.savez(tmp_path / "a.npz", x=x, y=y)
    save_file({"x": x, "y": y}, tmp_path / "a.safetensors")
    for name in ("a.npz", "a.safetensors"):
        arrays = load_arrays(tmp_path / name, WANTED)
        assert arrays["inputs"].dtype == np.float64
        assert arrays["inputs"].tolist() == x.tolist()
        assert arrays["targets"].dtype == np.int64
        assert arrays["targets"].tolist() == [2, 0, 1]


def test_csv_columns_become_one_array(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\ufeff" + CSV + "\n", encoding="utf-8")
    arrays = load_arrays(tmp_path / "a.csv", COLUMNS)
    assert arrays["inputs"].tolist() == [[1.5, 2.0], [3.0, 4.0]]
    assert arrays["targets"].tolist() == [0.0, 1.0]


def _write_text(name: str, text: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / name
        path.write_text(text)
        return path

    return write


def _write_npz(**arrays: object) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        np.savez(folder / "a.npz", **{name: np.asarray(array) for name, array in arrays.items()})  # type: ignore[arg-type]  # numpy's stub takes the names for allow_pickle
        return folder / "a.npz"

    return write


def _write_npy(folder: Path) -> Path:
    np.save(folder / "a.npy", np.ones(3))
    return (folder / "a.npy").rename(folder / "a.npz")


def _write_damaged(damage: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / "a.npz"
        np.savez_compressed(path, x=np.arange(50.0), y=np.arange(50))
        path.write_bytes(damage(path.read_bytes()))
        return path

    return write


MISTAKES: dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    "no such file": (
        lambda folder: folder / "b.npz",
        ("b.npz", "does not exist", "relative to the job file"),
    ),
    "a folder": (lambda folder: folder, ("is a folder",)),
    "empty file": (_write_text("a.csv", ""), ("a.csv", "empty")),
    "unknown type": (_write_text("a.xlsx", "?"), ("'.xlsx'", ".npz, .safetensors or .csv")),
    "not a zip": (_write_text("a.npz", "hello"), ("a.npz", "not a .npz file", "numpy.savez")),
    "not safetensors": (_write_text("a.safetensors", "hello you"), ("a.safetensors", "not readable")),
    "missing array": (_write_npz(xs=[1], y=[1]), ("no array 'x'", "did you mean 'xs'?")),
    "text labels": (_write_npz(x=[1.0], y=["cat"]), ("'y'", "<U3", "number the classes")),
    "pickled": (_write_npz(x=[1.0], y=np.array([{}], object)), ("'y'", "without pickle")),
    "no samples": (_write_npz(x=np.zeros((0, 2)), y=[1]), ("'x'", "[0, 2]", "at least one sample")),
    "scalar": (_write_npz(x=1.0, y=[1]), ("'x'", "[]")),
    "nan": (_write_npz(x=[[1.0, 2.0], [3.0, np.nan]], y=[1, 2]), ("'x'", "row 1", "position [1]", "nan")),
    "infinity": (_write_npz(x=[1.0, np.inf], y=[1, 2]), ("'x'", "row 1", "inf")),
    "complex": (_write_npz(x=[1j], y=[1]), ("'x'", "complex128", "two features")),
    "date": (_write_npz(x=[1.0], y=np.array(["2020-01-01"], "M8[D]")), ("'y'", "datetime64[D]", "days")),
    "record": (_write_npz(x=np.zeros(2, [("a", float)]), y=[1]), ("'x'", "plain array for each field")),
    "float beyond the range": (
        _write_npz(x=[np.longdouble("1e400")], y=[1]),
        ("'x'", "row 0", "not a number"),
    ),
    "array file under another name": (_write_npy, ("a.npz", "not a .npz file", "numpy.savez")),
    "cut short": (_write_damaged(lambda data: data[:-40]), ("a.npz", "not a .npz file", "numpy.savez")),
    "damaged inside": (
        _write_damaged(lambda data: data[:60] + bytes(20) + data[80:]),
        ("a.npz", "not a .npz file", "numpy.savez"),
    ),
    "integer too large": (_write_npz(x=[1], y=np.array([2**63], np.uint64)), ("'y'", "2^63 - 1")),
}
CSV_MISTAKES: dict[str, tuple[str, tuple[str, ...]]] = {
    "missing column": (CSV.replace("height", "heigth"), ("no column 'height'", "did you mean 'heigth'?")),
    "column twice": ("height,height,kind\n1,2,3\n", ("'height' twice",)),
    "text in a cell": (
        CSV.replace("4,1", "4,cat"),
        ("line 3", "column 'kind'", "'cat'", "number the classes"),
    ),
    "empty cell": (CSV.replace("1.5", ""), ("line 2", "column 'height'", "''")),
    "nan in a cell": (CSV.replace("1.5", "nan"), ("line 2", "column 'height'", "'nan'")),
    "short row": (CSV + "5,6\n", ("line 4", "2 fields", "expected 3")),
    "long row": (CSV + "5,6,7,8\n", ("line 4", "4 fields", "expected 3", "quotes")),
    "header only": ("height,width,kind\n", ("no rows", "one sample per line")),
    "empty first line": ("\n" + CSV, ("no column 'height'", "first line is empty", "separated by commas")),
    "no header": ("1.5,2,0\n3,4,1\n", ("no column 'height'", "only numbers", "put a header line")),
    "semicolons": (CSV.replace(",", ";"), ("no column 'height'", "';'", "save it with commas")),
    "tabs": (CSV.replace(",", "\t"), ("no column 'height'", r"'\t'", "save it with commas")),
    "decimal comma": (CSV.replace("1.5", '"1,5"'), ("line 2", "column 'height'", "'1,5'", "with a point")),
    "thousands": (CSV.replace("1.5", "1_500"), ("line 2", "column 'height'", "'1_500'", "not a number")),
    "infinity": (CSV.replace("1.5", "-inf"), ("line 2", "column 'height'", "'-inf'")),
    "open quote": (CSV + '"5,6,7\n', ("line 4", "look at its quotes")),
    "huge cell": (CSV.replace("1.5", "x" * 1000), ("line 2", "'xxxx", "... is not".replace("...", "...'"))),
    "not text": ("height,width,kind\n1,2,\xff\n", ("UTF-8",)),
}


def test_table_with_byte_order_mark_and_windows_line_ends_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n").encode())
    assert load_arrays(tmp_path / "a.csv", COLUMNS)["inputs"].tolist() == [[1.5, 2.0], [3.0, 4.0]]


def test_true_and_false_are_1_and_0(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones(2), y=np.array([True, False]))
    assert load_arrays(tmp_path / "a.npz", WANTED)["targets"].tolist() == [1, 0]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_in_a_file_is_named(tmp_path: Path, mistake: str) -> None:
    write, parts = MISTAKES[mistake]
    with pytest.raises(DataError) as error:
        load_arrays(write(tmp_path), WANTED)
    assert [part for part in parts if part not in str(error.value)] == [], str(error.value)


@pytest.mark.parametrize("mistake", CSV_MISTAKES)
def test_mistake_in_a_table_is_named(tmp_path: Path, mistake: str) -> None:
    text, parts = CSV_MISTAKES[mistake]
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(DataError) as error:
        load_arrays(path, COLUMNS)
    assert [part for part in parts if part not in str(error.value)] == [], str(error.value)


def test_columns_of_an_array_file_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones(2), y=np.ones(2))
    with pytest.raises(DataError, match="name one with `array`"):
        load_arrays(tmp_path / "a.npz", {"inputs": ("x", "y")})


def test_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(DataError, match="at most"):
        load_arrays(path, COLUMNS)
