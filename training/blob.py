"""The data blob: tensors of small integers under fixed names, the bytes a job's data CID is over (section 9.2).

    "GCD1" || count u8 || count * (name length u8 || name || dtype u8 || scale u8 || ndim u8 || ndim * dim u32 LE)
           || values of the tensors, little-endian, row-major, in that order

A value is its integer times 2^-scale. One tensor list has exactly one encoding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import BlobRefused

MAGIC = b"GCD1"
MAX_SCALE = 12
MAX_TENSORS = 5
MAX_NAME_BYTES = 32
MAX_DIMENSIONS = 3
# Any: the four integer types
DTYPES: dict[int, "np.dtype[Any]"] = {
    1: np.dtype("u1"),
    2: np.dtype("i1"),
    3: np.dtype("<i2"),
    4: np.dtype("<i4"),
}
CODES = {dtype: code for code, dtype in DTYPES.items()}


@dataclass(frozen=True, slots=True)
class BlobTensor:
    """A named array of integers; the array's dtype is the stored one. Dimension 0 is the sample, except in `keys`."""

    name: str
    scale: int
    values: NDArray[Any]  # Any: one of DTYPES


def encode_blob(tensors: Sequence[BlobTensor]) -> bytes:
    """The blob of these tensors; raises BlobRefused for what `decode_blob` would refuse."""
    parts = [MAGIC, bytes([len(tensors)])]
    for tensor in tensors:
        name = tensor.name.encode("ascii")
        dtype = tensor.values.dtype.newbyteorder("<")
        if dtype not in CODES:
            expected = ", ".join(d.name for d in CODES)
            raise BlobRefused(f"{tensor.name}.dtype", f"one of {expected} expected, got {dtype.name}")
        shape = tensor.values.shape
        _check_header(tensor.name, tensor.scale, shape)
        parts.append(bytes([len(name)]) + name + bytes([CODES[dtype], tensor.scale, len(shape)]))
        parts.append(np.array(shape, "<u4").tobytes())
    if not 1 <= len(tensors) <= MAX_TENSORS:
        raise BlobRefused("count", f"1 to {MAX_TENSORS} tensors expected, got {len(tensors)}")
    parts += [
        np.ascontiguousarray(t.values).astype(t.values.dtype.newbyteorder("<")).tobytes() for t in tensors
    ]
    return b"".join(parts)


def decode_blob(blob: bytes) -> tuple[BlobTensor, ...]:
    """Tensors of a blob, as read-only views of its bytes. Allocates nothing that the blob's own size does not bound."""
    reader = _Reader(blob)
    if reader.take(4, "magic") != MAGIC:
        raise BlobRefused("magic", f"{MAGIC!r} expected, got {blob[:4]!r}; this is not a data blob")
    count = reader.take_byte("count")
    if not 1 <= count <= MAX_TENSORS:
        raise BlobRefused("count", f"1 to {MAX_TENSORS} tensors expected, got {count}")
    headers = [_read_header(reader, i) for i in range(count)]
    tensors = []
    for name, dtype, scale, shape in headers:
        values = np.frombuffer(reader.take(prod(shape) * dtype.itemsize, f"{name}.values"), dtype)
        tensors.append(BlobTensor(name, scale, values.reshape(shape)))
    if reader.rest:
        raise BlobRefused("end", f"the blob must end with the last value, {reader.rest} bytes follow")
    return tuple(tensors)


Header = tuple[str, "np.dtype[Any]", int, tuple[int, ...]]  # Any: one of DTYPES


def _read_header(reader: "_Reader", i: int) -> Header:
    field = f"tensor {i}"
    raw_name = reader.take(reader.take_byte(f"{field}.name length"), f"{field}.name")
    if not raw_name.isascii():
        raise BlobRefused(f"{field}.name", f"ASCII expected, got {raw_name!r}")
    name = raw_name.decode("ascii")
    code = reader.take_byte(f"{name}.dtype")
    if code not in DTYPES:
        raise BlobRefused(f"{name}.dtype", f"1 (u8), 2 (i8), 3 (i16) or 4 (i32) expected, got {code}")
    scale = reader.take_byte(f"{name}.scale")
    dimensions = reader.take_byte(f"{name}.ndim")
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise BlobRefused(f"{name}.ndim", f"1 to {MAX_DIMENSIONS} expected, got {dimensions}")
    raw_shape = reader.take(4 * dimensions, f"{name}.dims")
    shape = tuple(int.from_bytes(raw_shape[4 * k : 4 * k + 4], "little") for k in range(dimensions))
    _check_header(name, scale, shape)
    return name, DTYPES[code], scale, shape


def _check_header(name: str, scale: int, shape: tuple[int, ...]) -> None:
    if not (1 <= len(name) <= MAX_NAME_BYTES and name.isascii() and name.isprintable()):
        raise BlobRefused("name", f"1 to {MAX_NAME_BYTES} printable ASCII characters expected, got {name!r}")
    if not 0 <= scale <= MAX_SCALE:
        raise BlobRefused(f"{name}.scale", f"0 to {MAX_SCALE} expected, got {scale}")
    if not 1 <= len(shape) <= MAX_DIMENSIONS:
        raise BlobRefused(f"{name}.ndim", f"1 to {MAX_DIMENSIONS} expected, got {len(shape)}")
    if not all(1 <= size < 2**32 for size in shape):
        raise BlobRefused(f"{name}.dims", f"sizes of at least 1 expected, got {shape}")


class _Reader:
    """Takes bytes from the front and refuses to go past the end."""

    def __init__(self, blob: bytes) -> None:
        self._blob = blob
        self._at = 0

    @property
    def rest(self) -> int:
        return len(self._blob) - self._at

    def take(self, count: int, field: str) -> bytes:
        if count > self.rest:
            raise BlobRefused(field, f"{count} bytes expected, the blob has {self.rest} left")
        self._at += count
        return self._blob[self._at - count : self._at]

    def take_byte(self, field: str) -> int:
        return self.take(1, field)[0]
