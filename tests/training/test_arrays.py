"""Files of arrays: what is damaged is refused by name, whatever the library makes of it."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from training.arrays import read_arrays
from training.errors import ProblemRefused


def write(path: Path, member: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", member)
    return path


def make_header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def test_arrays_come_back(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(3))
    assert read_arrays(tmp_path / "a.npz")["x"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "member",
    [
        make_header("{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000,), }\n"),
        make_header("{'descr': '<f8', 'fortran_order': False, 'shape': (\n"),
        make_header("{'descr': 'nonsense', 'fortran_order': False, 'shape': (1,), }\n"),
        b"",
        b"text",
    ],
)
def test_damaged_members_are_refused(tmp_path: Path, member: bytes) -> None:
    with pytest.raises(ProblemRefused, match=r"^file: "):
        read_arrays(write(tmp_path / "a.npz", member))


def test_damaged_stream_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=np.arange(10000))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[60:90] = bytes(30)
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(ProblemRefused, match=r"^file: "):
        read_arrays(tmp_path / "a.npz")
