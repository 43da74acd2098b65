"""The compiled kernels and the portable operations give the same integers, and those are what autograd says."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.problems import PROBLEMS, SEED, SETTLED, Problem, make_problem, saturate_weights
from tests.vectors.build_exact import build_updates
from training import paths
from training.blob import decode_blob, encode_blob
from training.engine import Engine
from training.errors import BadInput, BlobRefused
from training.exact.grids import MASTER, make_product_weights
from training.exact.trace import Trace
from training.objectives import heartbeat
from training.objectives.adversarial_relu import AdversarialRelu
from training.objectives.base import Batch, load_product_weights, scale_rates, split_weights
from training.objectives.registry import get_objective
from training.splits import parse_dataset


@pytest.mark.parametrize("name", PROBLEMS)
def test_fused_ticket_is_the_portable_ticket(name: str) -> None:
    problem = PROBLEMS[name]()
    fused, portable = problem.make_engine("fused"), problem.make_engine("portable")
    for i in range(3):
        seed = hashlib.sha256(bytes([i])).digest()
        run = fused.run(problem.task, problem.weights, seed)
        assert run == portable.run(problem.task, problem.weights, seed)


@pytest.mark.parametrize("name", SETTLED)
def test_fused_settlement_is_the_portable_settlement(name: str) -> None:
    problem = PROBLEMS[name]()
    fused, portable = problem.make_engine("fused"), problem.make_engine("portable")
    deltas = [fused.run(problem.task, problem.weights, bytes([i]) * 32).delta for i in range(3)]
    settled = fused.settle(problem.task, problem.weights, deltas, (SEED,) * 3)
    assert settled == portable.settle(problem.task, problem.weights, deltas, (SEED,) * 3)
    judged = fused.evaluate(problem.task, settled.weights, "judge")
    assert judged == portable.evaluate(problem.task, settled.weights, "judge")
    assert judged == (settled.split_loss, settled.split_count)


@pytest.mark.parametrize("name", SETTLED)
def test_fused_settlement_with_updates_is_the_portable_settlement(name: str) -> None:
    assert build_updates(name, "fused") == build_updates(name, "portable")


@settings(max_examples=25)
@given(
    st.integers(1, 20),
    st.integers(1, 12),
    st.integers(1, 20),
    st.booleans(),
    st.booleans(),
    st.integers(1, 24),
)
def test_fused_attention_is_portable_in_any_shape(
    tokens: int, width: int, outputs: int, positional: bool, indexed: bool, shard: int
) -> None:
    params = (tokens, width, outputs, int(positional), int(indexed))
    compare_paths(
        make_problem("attention_regression", params, shard=shard, rates=((5, 14), (5, 14)), input_bits=15)
    )


@settings(max_examples=25)
@given(st.integers(1, 40), st.integers(2, 20), st.integers(0, 20), st.booleans(), st.integers(1, 24))
def test_fused_softmax_is_portable_in_any_shape(d: int, c: int, e: int, indexed: bool, shard: int) -> None:
    params = (d, c, e, int(indexed))
    compare_paths(make_problem("softmax_regression", params, shard=shard, rates=((5, 12),), input_bits=15))


def compare_paths(problem: Problem) -> None:
    fused, portable = problem.make_engine("fused"), problem.make_engine("portable")
    run = fused.run(problem.task, problem.weights, SEED)
    assert run == portable.run(problem.task, problem.weights, SEED)
    full = saturate_weights(problem.weights)
    assert fused.run(problem.task, full, SEED) == portable.run(problem.task, full, SEED)


@settings(max_examples=25)
@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(0, 3),
    st.sampled_from([0, 1, 300, 4095]),
    st.integers(1, 24),
)
def test_fused_sequences_are_portable_in_any_shape(
    tokens: int, width: int, function: int, weight: int, shard: int
) -> None:
    compare_paths(
        make_problem("sequence_regression", (tokens, width, function, weight), shard=shard, rates=((1, 9),))
    )


@settings(max_examples=25)
@given(
    st.integers(1, 20),
    st.integers(2, 20),
    st.integers(0, 9),
    st.booleans(),
    st.integers(0, 3),
    st.sampled_from([1, 300, 4095]),
)
def test_fused_functions_are_portable_in_any_shape(
    d: int, c: int, e: int, indexed: bool, function: int, weight: int
) -> None:
    compare_paths(
        make_problem(
            "softmax_regression", (d, c, e, int(indexed), function, weight), shard=20, rates=((1, 9),)
        )
    )


@settings(max_examples=10)
@given(st.integers(1, 20), st.integers(2, 40), st.integers(1, 24))
def test_fused_exponentials_are_portable_in_any_shape(d: int, m: int, shard: int) -> None:
    compare_paths(make_problem("exponential_regression", (d, m), shard=shard, rates=((1, 9),)))


@settings(max_examples=15)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 8), st.integers(1, 70))
def test_fused_cells_are_portable_in_any_shape(n1: int, n2: int, n3: int, rank: int, shard: int) -> None:
    problem = make_problem(
        "cycle_rank", (n1, n2, n3, rank), shard=shard, rates=((1, 9), (1, 8), (3, 9)), train=shard
    )
    compare_paths(problem)


@settings(max_examples=15)
@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(1, 8),
    st.integers(1, 1023),
    st.integers(0, 600),
    st.integers(1, 70),
)
def test_fused_adversaries_are_portable_in_any_shape(
    d: int, pairs: int, steps: int, stride: int, shift: int, shard: int
) -> None:
    params = (d, 2 * pairs, steps, stride, shift)
    compare_paths(make_problem("adversarial_relu", params, shard=shard, rates=((1, 12),), train=shard))


@settings(max_examples=15)
@given(st.integers(1, 150), st.integers(0, 12), st.integers(1, 70))
def test_fused_probes_are_portable_in_any_shape(pairs: int, scale: int, shard: int) -> None:
    problem = make_problem(
        "kronecker_spectral", (pairs, scale), shard=shard, rates=((5, 9),), train=shard, input_bits=15
    )
    compare_paths(problem)


def test_pair_that_would_count_less_than_nothing_counts_nothing() -> None:
    problem = make_problem("kronecker_spectral", (3, 0), shard=9, rates=((1, 9),))
    least, less = (np.full(3, n, "<i8").tobytes() for n in (-(1 << 24), -(1 << 26)))
    for path in ("fused", "portable"):
        engine = problem.make_engine(path)
        losses = [engine.evaluate(problem.task, weights, "train") for weights in (least, less)]
        assert losses[0] == losses[1]
        targets = parse_dataset(problem.blob, get_objective("kronecker_spectral", (3, 0)).layout).train.rows
        assert losses[0][0] == sum((256 * int(y)) ** 2 for y in targets[:, 0])


@settings(max_examples=15)
@given(
    st.integers(1, 12),
    st.integers(1, 20),
    st.integers(8, 40),
    st.integers(2, 20),
    st.booleans(),
    st.integers(1, 70),
)
def test_fused_graphs_are_portable_in_any_shape(
    tokens: int, d: int, m: int, c: int, indexed: bool, shard: int
) -> None:
    params = (tokens, d, m, c, int(indexed))
    rates = ((1, 12), (1, 13))
    compare_paths(make_problem("graph_network", params, shard=shard, rates=rates, train=shard))


def test_adversary_raises_the_loss_and_stays_in_its_ball() -> None:
    spec = get_objective("adversarial_relu", (6, 40, 4, 75, 30))
    problem = make_problem("adversarial_relu", (6, 40, 4, 75, 30), shard=24, rates=((1, 12),))
    batch = spec.make_batch(parse_dataset(problem.blob, spec.layout).train, np.arange(24))
    assert isinstance(spec, AdversarialRelu)
    weights = load_product_weights(spec, np.frombuffer(problem.weights, "<i8").copy())
    points, _, attacked = spec._attack(spec._add_start(weights[0]), batch, None)
    _, clean = spec._look(batch.inputs, spec._add_start(weights[0]), batch, None)
    assert float((points - batch.inputs).abs().max()) == 4 * 75
    assert float((attacked**2).sum()) > 1.1 * float((clean**2).sum())


def test_rows_of_ids_get_noise_at_every_step() -> None:
    """All samples are one cell: without noise one of them would do for all."""
    problem = make_problem("cycle_rank", (1, 1, 1, 2), shard=9, rates=((1, 9),) * 3)
    spec = get_objective(problem.task.objective, problem.task.params)
    split = parse_dataset(problem.blob, spec.layout).train
    batch = spec.make_batch(split, np.arange(9))
    noisy = paths._add_noise(batch, 7)
    assert len({tuple(row.flatten().tolist()) for row in noisy.inputs}) == 9
    assert noisy.ids is batch.ids


@pytest.mark.parametrize("wrong", [-1, 5])
def test_id_out_of_range_is_refused(wrong: int) -> None:
    problem = make_problem("cycle_rank", (5, 4, 3, 3), shard=9, rates=((1, 9),) * 3)
    spec = get_objective(problem.task.objective, problem.task.params)
    tensors = [*decode_blob(problem.blob)]
    values = tensors[0].values.copy()
    values[2, 0] = wrong
    tensors[0] = replace(tensors[0], values=values)
    with pytest.raises(
        BlobRefused, match=rf"train.inputs.values: ids 0 to 4 expected in column 0, got .*{wrong}"
    ):
        parse_dataset(encode_blob(tensors), spec.layout)
    ids = np.array([[0, 0, wrong]])
    with pytest.raises(BadInput, match="inputs: ids 0 to 2 expected in column 2"):
        problem.make_engine().predict(problem.task, problem.weights, ids)


def test_keys_get_noise_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were keys without noise, products with columns of zeros would leave a trace that the job's owner knows."""
    problem = PROBLEMS["softmax keys rows"]()
    engine = problem.make_engine("portable")
    honest = engine.run(problem.task, problem.weights, SEED)

    def spare_keys(batch: Batch, stream: int) -> Batch:
        return Batch(add_noise(batch, stream).inputs, batch.targets, batch.keys)

    add_noise = paths._add_noise
    monkeypatch.setattr(paths, "_add_noise", spare_keys)
    assert engine.run(problem.task, problem.weights, SEED).digest != honest.digest


def test_fused_heartbeat_is_the_portable_heartbeat() -> None:
    fused, portable = Engine(_no_blob, "fused"), Engine(_no_blob, "portable")
    for i in range(4):
        parent = bytes([i]) * 32
        assert fused.heartbeat(parent, SEED) == portable.heartbeat(parent, SEED)


def test_heartbeat_tickets_are_valid() -> None:
    engine = Engine(_no_blob)
    runs = [
        engine.heartbeat(hashlib.sha256(bytes([i, 1])).digest(), hashlib.sha256(bytes([i, j])).digest())
        for i in range(50)
        for j in range(2)
    ]
    assert all(run.after < run.before for run in runs)


def test_heartbeat_teacher_solves_the_problem() -> None:
    drawn = heartbeat.make_heartbeat(SEED, fused=False)
    twin = heartbeat.make_heartbeat(SEED, fused=True)
    assert (drawn.weights == twin.weights).all()
    assert (drawn.split.rows == twin.split.rows).all()
    everything = np.arange(heartbeat.SAMPLES)
    start = heartbeat.OBJECTIVE.sum_losses_fused(drawn.split, drawn.weights, everything)
    solved = heartbeat.OBJECTIVE.sum_losses_fused(drawn.split, heartbeat._make_teacher(SEED), everything)
    assert 1000 * solved < start


@pytest.mark.parametrize(
    ("objective", "params", "rates"),
    [
        ("attention_regression", (8, 8, 10, 1, 1), ((1, 8), (1, 8))),
        ("attention_regression", (16, 16, 16, 0, 0), ((1, 9), (1, 9))),
        ("softmax_regression", (64, 10, 0, 1), ((1, 4),)),
        ("softmax_regression", (33, 17, 9, 0), ((1, 6),)),
        ("softmax_regression", (33, 17, 0, 1, 0, 40), ((1, 6),)),
        ("softmax_regression", (33, 17, 0, 0, 1, 0), ((1, 12),)),
        ("softmax_regression", (33, 17, 9, 0, 2, 40), ((1, 12),)),
        ("softmax_regression", (33, 17, 9, 1, 3, 10), ((1, 12),)),
        ("sequence_regression", (8, 12, 0, 30), ((1, 7),)),
        ("sequence_regression", (8, 12, 1, 0), ((1, 11),)),
        ("sequence_regression", (8, 12, 2, 200), ((1, 11),)),
        ("sequence_regression", (8, 12, 3, 20), ((1, 12),)),
        ("exponential_regression", (16, 64), ((1, 16),)),
        ("cycle_rank", (6, 5, 4, 3), ((1, 8), (1, 8), (1, 8))),
        ("kronecker_spectral", (12, 3), ((1, 8),)),
    ],
)
def test_exact_steps_are_those_of_autograd(
    objective: str, params: tuple[int, ...], rates: tuple[tuple[int, int], ...]
) -> None:
    problem = make_problem(objective, params, shard=64, rates=rates, train=64, judge=16)
    spec = get_objective(objective, params)
    batch = spec.make_batch(parse_dataset(problem.blob, spec.layout).train, np.arange(64))
    if (
        objective == "sequence_regression" or len(params) == 6
    ):  # near a distribution: others leave the grids' ranges
        batch = replace(batch, targets=torch.round(batch.targets / 8))
    start = torch.from_numpy(np.frombuffer(problem.weights, "<i8").copy()).double()
    exact, native = start, [tensor * 2.0**-MASTER.f for tensor in split_weights(spec, start)]
    unit = Batch(batch.inputs / 4096, batch.targets / 4096, batch.keys / 4096, batch.ids)
    for _ in range(4):
        products = [make_product_weights(tensor) for tensor in split_weights(spec, exact)]
        gradients = spec.compute_gradients(products, batch, Trace())
        scales = scale_rates(spec, rates).tolist()
        exact = exact - torch.cat(
            [torch.round(g * m * s).flatten() for g, (m, s) in zip(gradients, scales, strict=True)]
        )
        leaves = [tensor.detach().requires_grad_() for tensor in native]
        true = torch.autograd.grad(spec.native_loss(leaves, unit), leaves)
        native = [n - g * m * 2.0**-shift for n, g, (m, shift) in zip(native, true, rates, strict=True)]
    moved = split_weights(spec, exact - start)
    expected = [
        n.detach() * 2.0**MASTER.f - s for n, s in zip(native, split_weights(spec, start), strict=True)
    ]
    for got, want in zip(moved, expected, strict=True):
        assert (got - want).norm() < 1e-3 * want.norm()


WITHIN_RANGE = [name for name in PROBLEMS if not {"saturated", "token", "exp"} & set(name.split())]


@pytest.mark.parametrize("name", [*WITHIN_RANGE, "rescaled exp"])
def test_exact_loss_is_the_loss(name: str) -> None:
    problem = PROBLEMS[name]()
    spec = get_objective(problem.task.objective, problem.task.params)
    split = parse_dataset(problem.blob, spec.layout).train
    batch = spec.make_batch(split, np.arange(split.count))
    weights = torch.from_numpy(np.frombuffer(problem.weights, "<i8").copy()).double() * 2.0**-24
    unit = Batch(batch.inputs / 4096, batch.targets / 4096, batch.keys / 4096, batch.ids)
    native = spec.native_loss(split_weights(spec, weights), unit).item()
    total, count = problem.make_engine().evaluate(problem.task, problem.weights, "train")
    assert count == split.count
    assert total * 2.0**-40 == pytest.approx(native, rel=1e-4)


def _no_blob(cid: bytes) -> bytes:
    raise AssertionError(cid)
