"""The data blob: one encoding, typed refusals, nothing allocated on a peer's word."""

import contextlib
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.problems import make_problem
from training.blob import BlobTensor, decode_blob, encode_blob
from training.errors import BlobRefused
from training.splits import Layout, parse_dataset

LAYOUT = Layout((2, 3), None, 10, ("u8",))


def encode_header(name: bytes = b"x", dtype: int = 1, scale: int = 0, dims: tuple[int, ...] = (2,)) -> bytes:
    parts = [bytes([len(name)]), name, bytes([dtype, scale, len(dims)])]
    return b"".join(parts + [struct.pack("<I", dim) for dim in dims])


headers = st.tuples(
    st.sampled_from(["u1", "i1", "<i2", "<i4"]),
    st.integers(0, 12),
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
)


@given(st.lists(headers, min_size=1, max_size=5))
def test_blob_round_trips(headers: list[tuple[str, int, list[int]]]) -> None:
    tensors = [
        BlobTensor(f"t{i}", scale, np.arange(np.prod(shape)).astype(dtype).reshape(shape))
        for i, (dtype, scale, shape) in enumerate(headers)
    ]
    blob = encode_blob(tensors)
    decoded = decode_blob(blob)
    assert encode_blob(decoded) == blob
    for tensor, twin in zip(tensors, decoded, strict=True):
        assert (tensor.name, tensor.scale, tensor.values.dtype) == (twin.name, twin.scale, twin.values.dtype)
        assert (tensor.values == twin.values).all()


def test_blob_bytes_are_as_specified() -> None:
    blob = encode_blob([BlobTensor("keys", 3, np.array([[1, -2]], "<i2"))])
    assert blob == b"GCD1\x01\x04keys\x03\x03\x02\x01\0\0\0\x02\0\0\0\x01\0\xfe\xff"


@pytest.mark.parametrize(
    ("blob", "field"),
    [
        (b"", "magic"),
        (b"GCD2\x01", "magic"),
        (b"GCD1", "count"),
        (b"GCD1\x00", "count"),
        (b"GCD1\x06", "count"),
        (b"GCD1\x01\x05abc", "tensor 0.name"),
        (b"GCD1\x01" + encode_header(name=b""), "name"),
        (b"GCD1\x01" + encode_header(name=b"\xc3\xa4"), "tensor 0.name"),
        (b"GCD1\x01" + encode_header(name=b"a\n"), "name"),
        (b"GCD1\x01" + encode_header(name=b"n" * 33), "name"),
        (b"GCD1\x01" + encode_header(dtype=0), "x.dtype"),
        (b"GCD1\x01" + encode_header(dtype=5), "x.dtype"),
        (b"GCD1\x01" + encode_header(scale=13) + b"ab", "x.scale"),
        (b"GCD1\x01" + encode_header(dims=()), "x.ndim"),
        (b"GCD1\x01" + encode_header(dims=(1, 1, 1, 1)) + b"a", "x.ndim"),
        (b"GCD1\x01" + encode_header(dims=(0,)), "x.dims"),
        (b"GCD1\x01" + encode_header(dims=(2,)) + b"a", "x.values"),
        (b"GCD1\x01" + encode_header(dims=(2,)) + b"abc", "end"),
    ],
)
def test_malformed_blob_is_refused_by_field(blob: bytes, field: str) -> None:
    with pytest.raises(BlobRefused) as refusal:
        decode_blob(blob)
    assert refusal.value.field == field


def test_huge_dimensions_allocate_nothing() -> None:
    blob = b"GCD1\x01" + encode_header(dtype=4, dims=(2**32 - 1,) * 3)
    tracemalloc.start()
    with pytest.raises(BlobRefused, match=r"x\.values"):
        decode_blob(blob)
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


@given(st.integers(0, 60), st.integers(0, 255))
def test_a_changed_byte_never_escapes_as_another_error(place: int, value: int) -> None:
    problem = make_problem("attention_regression", (2, 3, 4, 0, 1), shard=4, rates=((1, 9), (1, 9)), train=4)
    damaged = bytearray(problem.blob)
    damaged[place] = value
    with contextlib.suppress(BlobRefused):  # a changed value may be a good blob
        parse_dataset(bytes(damaged), Layout((2, 3), None, 4, ("u8",)))


def make_tensors(**changes: BlobTensor) -> bytes:
    tensors = {
        "train.inputs": BlobTensor("train.inputs", 4, np.ones((5, 2, 3), "u1")),
        "train.targets": BlobTensor("train.targets", 0, np.zeros(5, "u1")),
        "judge.inputs": BlobTensor("judge.inputs", 0, np.ones((4, 2, 3), "i1")),
        "judge.targets": BlobTensor("judge.targets", 0, np.zeros(4, "u1")),
    }
    tensors.update({name.replace("_", "."): tensor for name, tensor in changes.items()})
    return encode_blob(list(tensors.values()))


def test_values_are_moved_to_data_units() -> None:
    data = parse_dataset(make_tensors(), LAYOUT)
    assert (data.train.inputs == 2**8).all()
    assert (data.judge.inputs == 2**12).all()
    assert data.train.inputs.shape == (5, 6)


@pytest.mark.parametrize(
    ("tensor", "field"),
    [
        (BlobTensor("train.inputs", 0, np.full((5, 2, 3), 8, "u1")), "train.inputs.values"),
        (BlobTensor("train.inputs", 12, np.full((5, 2, 3), -(2**15), "<i2")), "train.inputs.values"),
        (BlobTensor("train.inputs", 0, np.full((5, 2, 3), -(2**31), "<i4")), "train.inputs.values"),
        (BlobTensor("train.inputs", 0, np.ones((5, 3, 2), "u1")), "train.inputs.dims"),
        (BlobTensor("train.inputs", 0, np.ones((6, 2, 3), "u1")), "train.targets"),
        (BlobTensor("train.targets", 0, np.full(5, 10, "u1")), "train.targets.values"),
        (BlobTensor("train.targets", 1, np.zeros(5, "u1")), "train.targets.dtype"),
        (BlobTensor("train.targets", 0, np.zeros(5, "<i2")), "train.targets.dtype"),
        (BlobTensor("train.targets", 0, np.zeros((5, 1), "u1")), "train.targets.dims"),
    ],
)
def test_data_outside_the_objective_is_refused_by_field(tensor: BlobTensor, field: str) -> None:
    with pytest.raises(BlobRefused) as refusal:
        parse_dataset(make_tensors(**{tensor.name.replace(".", "_"): tensor}), LAYOUT)
    assert refusal.value.field == field


def test_edge_values_are_accepted() -> None:
    edge = BlobTensor("train.inputs", 12, np.full((5, 2, 3), -(2**15) + 1, "<i2"))
    assert (parse_dataset(make_tensors(train_inputs=edge), LAYOUT).train.inputs == -32767).all()
