"""Whatever a job file and its data hold, it becomes a job or one clear message: no other error comes out."""

from __future__ import annotations

import io
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.training.test_data import COLUMNS, CSV, WANTED
from tests.training.test_jobs import JOB
from training.data import DataError, load_arrays
from training.errors import TrainingError
from training.jobs import JobFileError, load_job_file, prepare


def quote(text: str) -> str:
    """A TOML text."""
    return '"' + "".join(c if c.isalnum() and c.isascii() else f"\\U{ord(c):08x}" for c in text) + '"'


MODEST = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PLACES = [
    (section, key) for section, keys in tomllib.loads(JOB).items() if isinstance(keys, dict) for key in keys
]
PLACES += [
    ("", "title"),
    ("", "seed"),
    ("", "parent"),
    ("market", "market_only"),
    ("rule", "other"),
    ("market", "price"),
    ("objective", "key_width"),
]
scalars = st.one_of(
    st.integers(),
    st.sampled_from([0, 1, 2, 3, 16, 20, 40, 64, 4096, 2**63, 10**70, -1]),
    st.floats().map(repr),
    st.sampled_from(
        [
            "1e400",
            "1e-400",
            "0.1",
            "1e999999999999",
            "true",
            "false",
            "2020-01-01",
            "12:00:00",
            "9" * 5000,
            "[" * 2000,
        ]
    ),
    st.text(max_size=12).map(quote),
    st.sampled_from(
        ['"x"', '"y"', '"rows"', '"mean"', '"deviation"', '"class"', '"values"', '"a.npz"', '"."']
    ),
)
values = st.recursive(
    scalars.map(str),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: f"[{', '.join(parts)}]")
        | st.dictionaries(
            st.sampled_from(
                ["array", "columns", "multiply", "subtract", "divide", "fraction_bits", "X", "name", "a b"]
            ).map(quote),
            inner,
            max_size=4,
        ).map(lambda table: "{" + ", ".join(f"{key} = {value}" for key, value in table.items()) + "}")
    ),
    max_leaves=6,
)
cells = st.one_of(
    st.sampled_from(
        ["1", "2.5", "-3e2", "", "nan", "inf", "cat", '"', '"a,b"', "1_0", "height", "\x00", "\ufeff"]
    ),
    st.text(max_size=4),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    x = np.arange(80, dtype=np.float64).reshape(40, 2) / 64
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(40) % 3, rows=np.zeros((40, 3)))
    return tmp_path


def try_job(folder: Path, data: bytes) -> None:
    (folder / "job.toml").write_bytes(data)
    try:
        prepare(load_job_file(folder / "job.toml"), 512 << 10)
    except (JobFileError, DataError) as error:
        check_message(error)


def check_message(error: TrainingError) -> None:
    text = str(error)
    assert ": " in text
    assert len(text) < 1000


def write_toml(changes: dict[tuple[str, str], str | None]) -> str:
    """JOB with some keys given another value, or taken away."""
    lines, section, left = [], "", dict(changes)
    for line in [*JOB.splitlines(), "[end]"]:
        if line.startswith("["):
            lines += [
                f"{key} = {value}" for (where, key), value in left.items() if where == section and value
            ]
            left = {place: value for place, value in left.items() if place[0] != section}
            section = line.strip("[]")
        key = line.split(" = ")[0]
        if (section, key) in left:
            value = left.pop((section, key))
            line = f"{key} = {value}" if value is not None else ""
        lines.append(line)
    return "\n".join(lines[:-1])


@MODEST
@given(changes=st.dictionaries(st.sampled_from(PLACES), st.none() | values, min_size=1, max_size=3))
def test_any_values_give_a_job_or_a_message(folder: Path, changes: dict[tuple[str, str], str | None]) -> None:
    try_job(folder, write_toml(changes).encode("utf-8", "surrogatepass"))


@MODEST
@given(st.data())
def test_any_bytes_give_a_job_or_a_message(folder: Path, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(JOB)))
    end = data.draw(st.integers(start, min(len(JOB), start + 40)))
    junk = data.draw(st.binary(max_size=20) | st.text("[]{}=\"'.,#\n0ex_-", max_size=8).map(str.encode))
    try_job(folder, JOB[:start].encode() + junk + JOB[end:].encode())


def try_load(path: Path, wanted: dict[str, tuple[str, ...]], data: bytes) -> dict[str, Any] | None:
    path.write_bytes(data)
    try:
        arrays = load_arrays(path, wanted)
    except DataError as error:
        check_message(error)
        return None
    assert len({len(array) for array in arrays.values()}) <= 2
    assert all(np.isfinite(array).all() for array in arrays.values())
    return arrays


@MODEST
@given(
    rows=st.lists(st.lists(cells, max_size=4), max_size=5),
    mark=st.sampled_from([",", ",", ";", "\t"]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]),
    header=st.booleans(),
)
def test_any_table_gives_numbers_or_a_message(
    tmp_path: Path, rows: list[list[str]], mark: str, end: str, encoding: str, header: bool
) -> None:
    lines = ([mark.join(["height", "width", "kind"])] if header else []) + [mark.join(row) for row in rows]
    try_load(tmp_path / "a.csv", COLUMNS, end.join(lines).encode(encoding, "replace"))


@MODEST
@given(st.binary(max_size=200), st.integers(0, len(CSV)))
def test_any_bytes_as_a_table_give_numbers_or_a_message(tmp_path: Path, junk: bytes, place: int) -> None:
    try_load(tmp_path / "a.csv", COLUMNS, CSV[:place].encode() + junk)


@MODEST
@given(st.booleans(), st.data())
def test_any_damage_to_an_archive_gives_numbers_or_a_message(
    tmp_path: Path, compressed: bool, data: st.DataObject
) -> None:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, x=np.arange(6.0), y=np.arange(6))
    whole = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(1, len(whole))) if data.draw(st.integers(0, 9)) == 0 else len(whole)
    try_load(tmp_path / "a.npz", WANTED, bytes(whole[:cut]))
