"""The compiled pieces one by one, against Python integers and the portable operations."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from training.exact import counter, functions
from training.exact.fused import elements
from training.exact.fused.cache import choose_cache_folder, compute_source_hash, is_compiled, mark_compiled
from training.exact.fused.tile import LANES, multiply
from training.exact.grids import Grid, rescale
from training.exact.trace import Trace


@pytest.mark.parametrize(
    ("rows", "cols", "terms"), [(1, 8, 1), (7, 8, 3), (8, 16, 64), (17, 24, 255), (65, 8, 1000)]
)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("add", [False, True])
def test_multiply_is_exact_at_the_bit_budget(
    rows: int, cols: int, terms: int, transposed: bool, add: bool
) -> None:
    bits = 50 - math.ceil(math.log2(terms))
    p, q = bits // 2, bits - bits // 2
    rng = np.random.default_rng(rows)
    a = rng.choice([2**p - 1, -(2**p) + 1, 2**p - 2, 0], (rows, terms)).astype(np.int64)
    b = rng.choice([2**q - 1, -(2**q) + 1, 2**q - 2], (terms, cols)).astype(np.int64)
    a[0], b[:, 0] = 2**p - 1, 2**q - 1
    c = np.full(rows * cols, 5.0)
    flat = np.ascontiguousarray(a.T if transposed else a).astype(np.float64).ravel()
    steps = (1, rows) if transposed else (terms, 1)
    multiply(c, 0, cols, flat, 0, *steps, b.astype(np.float64).ravel(), 0, cols, rows, cols, terms, add)
    exact = a.astype(object) @ b.astype(object) + (5 if add else 0)
    assert (c.reshape(rows, cols).astype(np.int64).astype(object) == exact).all()


def test_multiply_leaves_the_rest_of_its_buffer_alone() -> None:
    c = np.full(4 * 24, 7.0)
    multiply(c, 24 + LANES, 24, np.ones(8), 0, 4, 1, np.ones(32), 0, 8, 2, 8, 4, False)
    written = np.zeros((4, 24), bool)
    written[1:3, 8:16] = True
    assert (c.reshape(4, 24) == np.where(written, 4.0, 7.0)).all()


def test_exp_has_the_portable_bits() -> None:
    x = 4 - np.arange(50_000) * (45 / 50_000)
    fused = np.array([elements.exp(v) for v in x])
    portable = functions.exp(torch.from_numpy(x)).numpy()
    assert (fused.view(np.int64) == portable.view(np.int64)).all()


@pytest.mark.parametrize(("cols", "stride"), [(16, 16), (10, 16), (1, 8), (33, 40)])
def test_softmax_and_its_derivative_are_the_portable_ones(cols: int, stride: int) -> None:
    rng = np.random.default_rng(cols)
    scores = rng.integers(-(2**30), 2**30, (9, cols))
    scores[0] = 2**49 - 1
    padded = np.zeros((9, stride))
    padded[:, :cols] = scores
    p = padded.ravel().copy()
    elements.softmax(p, 9, cols, stride, 2.0**-26)
    expected = functions.softmax(torch.from_numpy(scores).double(), 26)
    assert (p.reshape(9, stride)[:, :cols] == expected.numpy()).all()
    gradient = rng.choice([2**22 - 1, -(2**22) + 1, 12345], (9, cols)).astype(np.float64)
    padded[:, :cols] = gradient
    x = padded.ravel().copy()
    elements.differentiate_softmax(x, p, 9, cols, stride, 2.0**-36, 2.0**22 - 1)
    t = torch.from_numpy(gradient)
    mean = (t * expected).sum(1, keepdim=True)
    z = torch.clamp(torch.round(((t * 2.0**20 - mean) * expected) * 2.0**-36), -(2**22) + 1, 2**22 - 1)
    assert (x.reshape(9, stride)[:, :cols] == z.numpy()).all()


@pytest.mark.parametrize(("cols", "stride"), [(16, 16), (10, 16)])
def test_fold_is_the_portable_trace(cols: int, stride: int) -> None:
    values = np.random.default_rng(1).integers(-(2**50), 2**50 + 1, (7, cols))
    values[0, :4] = 0, -1, 2**50, -(2**50)
    padded = np.full((7, stride), 3.0)
    padded[:, :cols] = values
    trace = Trace()
    trace.count = 1000
    trace.add(torch.from_numpy(values).double())
    assert int(elements.fold(padded.ravel(), 0, 7, cols, stride, 1000)) == trace.total


def test_rescale_is_the_portable_one() -> None:
    values = np.concatenate([np.arange(-5000, 5000), [2**50, -(2**50)]]).astype(np.float64)
    out = values.copy()
    elements.rescale(out, 0, out.size, 2.0**-3, 2.0**20 - 1)
    assert (out == rescale(torch.from_numpy(values), 3, Grid(0, 20)).numpy()).all()


@pytest.mark.parametrize(("first", "count"), [(0, 16), (5, 3), (13, 100), (160, 33)])
def test_noise_and_dither_are_the_portable_ones(first: int, count: int) -> None:
    out = np.zeros(count + 32)
    place = elements.fill_noise(out, np.uint64(2**63 + 5), first, count)
    expected = counter.make_noise(2**63 + 5, first + count)[first:]
    assert out[place : place + count].tolist() == expected.tolist()
    limit = 2**27 - 1
    weights = np.full(count, limit, np.int64)
    dithered = np.minimum(limit, limit + counter.make_dither(77, count))
    assert (elements.dither_weights(weights, np.uint64(77), limit) == dithered).all()


def test_loss_is_capped() -> None:
    residuals = np.full(1024, 2.0**26 - 1)
    assert elements.sum_squares(residuals, 4, 256, 256, 0) == 2**50
    assert elements.sum_squares(residuals, 1, 1, 256, 0) == 2**50
    assert elements.sum_squares(np.full(4, -3.0), 1, 4, 4, 0) == 36


def test_cache_folder_follows_the_sources() -> None:
    assert choose_cache_folder().name == compute_source_hash()


def test_half_a_cache_is_not_taken_for_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    folder = choose_cache_folder()
    folder.mkdir()
    (folder / "softmax.forward.nbi").touch()  # whoever interrupts the first start leaves some
    assert not is_compiled()
    mark_compiled()
    assert is_compiled()
    assert is_compiled(str(tmp_path))
