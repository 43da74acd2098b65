"""What a node may ask of the engine, and what it is refused."""

import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from tests.training.problems import PROBLEMS, SEED, make_problem
from training import engine as engine_module
from training.engine import Engine, Task
from training.errors import BadInput, SelfTestFailed, TaskRefused
from training.exact import selftest
from training.exact.counter import get_word, open_stream
from training.hashing import compute_tagged_hash
from training.objectives import heartbeat
from training.objectives.base import compute_loss_work
from training.objectives.registry import get_objective

DIGITS = ("attention_regression", (8, 8, 10, 1, 1))
PROBLEM = make_problem(*DIGITS, shard=16, rates=((1, 9), (1, 9)), judge=64)


def test_facts_of_the_digits_task() -> None:
    problem = make_problem(*DIGITS, shard=64, rates=((1, 9), (1, 9)), steps=4, train=64, judge=64)
    facts = problem.make_engine().inspect(problem.task)
    rows, d, c, tokens = 64 * 8, 64, 10, 8
    forward = rows * (d * d + 2 * d * tokens + d * c)
    step = forward + rows * (c * d + 2 * d * tokens) + rows * d * d + rows * d * c
    entries = rows * (4 * d + 2 * tokens + c) + d * d + d * c
    a_pass = 64 * rows * tokens + 32 * (d * d + d * c) + 2048 * rows
    assert facts.work == 4 * (step + 16 * entries + 24 * rows * d) + 2 * forward + 6 * a_pass
    assert (facts.train_count, facts.judge_count, facts.parameter_count) == (64, 64, d * d + d * c)
    looked_at = 16 * tokens
    a_loss = 64 * looked_at * tokens + 32 * (d * d + d * c) + 2048 * looked_at
    assert facts.judging == forward // 64 * 16 + a_loss


def test_work_of_the_heartbeat_is_that_of_its_declared_products() -> None:
    assert (
        Engine(lambda _: b"").heartbeat_work()
        == heartbeat.WORK
        == 4 * (589_824 + 16 * 29_184 + 24 * 4_096)
        + 2 * 65_536 * 4
        + 6 * (64 * 4_096 + 32 * 512 + 2048 * 256)
    )


def test_work_counts_the_noise_of_keys() -> None:
    d, c, e, shard = 5, 7, 3, 8
    problem = make_problem("softmax_regression", (d, c, e, 1), shard=shard, rates=((1, 9),), steps=3)
    forward = shard * (d * e + e * c)
    step = forward + shard * (c * e + d * e)
    entries = shard * (2 * e + c) + d * e
    a_pass = 64 * shard * c + 32 * d * e + 2048 * shard
    noisy = shard * d + c * e
    work = problem.make_engine().inspect(problem.task).work
    assert work == 3 * (step + 16 * entries + 24 * noisy) + 2 * forward + 5 * a_pass


@pytest.mark.parametrize(
    ("objective", "params", "parameters", "rows", "exponentials"),
    [
        ("attention_regression", (3, 5, 2, 0, 1), 5 * 5 + 5 * 2, 3, 9),
        ("softmax_regression", (5, 7, 3, 1), 15, 1, 7),
        ("softmax_regression", (5, 7, 0, 0, 1, 0), 35, 1, 7),
        ("softmax_regression", (5, 7, 0, 0, 2, 26), 35, 1, 14),
        ("sequence_regression", (3, 5, 0, 0), 5, 1, 15),
        ("sequence_regression", (3, 5, 3, 26), 5, 1, 18),
        ("exponential_regression", (5, 7), 35, 1, 7),
        ("cycle_rank", (5, 7, 3, 2), 60, 0, 20),
        ("kronecker_spectral", (32, 3), 32, 0, 8),
    ],
)
def test_work_of_a_loss_counts_rows_and_exponentials(
    objective: str, params: tuple[int, ...], parameters: int, rows: int, exponentials: int
) -> None:
    parsed = get_objective(objective, params)
    each = compute_loss_work(parsed, 1) - 32 * parameters
    assert each == parsed.count_forward(1) + 64 * exponentials + 2048 * rows
    assert compute_loss_work(parsed, 9) == 9 * each + 32 * parameters


def test_work_of_an_attacked_loss_counts_points_and_weights() -> None:
    d, m, steps, samples = 4, 6, 3, 9
    parsed = get_objective("adversarial_relu", (d, m, steps, 9, 9))
    spent = (samples * (steps + 1) * (m + 16) + d * m) // 4
    forward = samples * (2 * steps + 1) * d * m
    assert compute_loss_work(parsed, samples) == forward + 32 * d * m + 64 * spent


def test_work_of_a_node_counts_rows_and_weights() -> None:
    tokens, d, m, c, samples = 3, 4, 9, 6, 9
    parsed = get_objective("graph_network", (tokens, d, m, c, 1))
    exponentials = samples * c + (samples * tokens * (m + 16) + d * m) // 4
    forward = samples * m * (tokens * d + c)
    work = forward + 32 * (d * m + m * c) + 64 * exponentials + 2048 * samples
    assert compute_loss_work(parsed, samples) == work


def test_initial_weights_are_the_low_bits_of_a_stream() -> None:
    facts = PROBLEM.make_engine().inspect(PROBLEM.task)
    stream = open_stream(SEED, "weights")
    expected = [get_word(stream, j) % 2**20 - 2**19 for j in range(facts.parameter_count)]
    assert np.frombuffer(facts.weights, "<i8").tolist() == expected


def test_digest_covers_trace_and_delta() -> None:
    run = PROBLEM.make_engine().run(PROBLEM.task, PROBLEM.weights, SEED)
    assert len(run.delta) == len(PROBLEM.weights)
    assert run.digest != compute_tagged_hash("gc/delta", bytes(8), run.delta)


def test_another_seed_is_another_run() -> None:
    engine = PROBLEM.make_engine()
    runs = [engine.run(PROBLEM.task, PROBLEM.weights, hashlib.sha256(bytes([i])).digest()) for i in range(8)]
    assert len({run.digest for run in runs}) == len({run.delta for run in runs}) == 8


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"objective": "sorting"}, "objective"),
        ({"params": (8, 8, 10, 1)}, "params"),
        ({"params": (65, 1, 10, 0, 1)}, "params tokens"),
        ({"params": (8, 33, 10, 1, 1)}, "params width"),
        ({"params": (8, 0, 10, 1, 1)}, "params width"),
        ({"params": (8, 8, 129, 1, 1)}, "params outputs"),
        ({"params": (8, 8, 10, 2, 1)}, "params placement"),
        ({"params": (8, 8, 10, 1, 2)}, "params targets"),
        ({"params": (8, 8, 9, 1, 0)}, "data"),
        ({"steps": 1}, "steps"),
        ({"steps": 65}, "steps"),
        ({"shard": 0}, "shard"),
        ({"shard": 25}, "shard"),
        ({"shard": 513}, "shard"),
        ({"shard": 4097}, "shard"),
        ({"rates": ((1, 9),)}, "rates"),
        ({"rates": ((1, 9), (0, 9))}, "rates 1 mantissa"),
        ({"rates": ((4096, 9), (1, 9))}, "rates 0 mantissa"),
        ({"rates": ((1, 49), (1, 9))}, "rates 0 shift"),
        ({"sample": 15}, "sample"),
        ({"sample": 17}, "sample"),
        ({"sample": 63}, "sample"),
        ({"sample": 4097}, "sample"),
        ({"data_size": 3}, "data_size"),
        ({"data_cid": bytes(36)}, "data_cid"),
    ],
)
def test_task_outside_its_domain_is_refused_by_field(changes: dict[str, object], field: str) -> None:
    task = replace(PROBLEM.task, **changes)  # type: ignore[arg-type]  # each value has its field's type
    with pytest.raises(TaskRefused) as refusal:
        PROBLEM.make_engine().inspect(task)
    assert refusal.value.field == field


@pytest.mark.parametrize("size", [1, PROBLEM.task.data_size - 1, PROBLEM.task.data_size + 1])
def test_wrong_data_size_is_refused_whatever_was_loaded_before(size: int) -> None:
    engine = PROBLEM.make_engine()
    engine.inspect(PROBLEM.task)
    with pytest.raises(TaskRefused, match="data_size"):
        engine.inspect(replace(PROBLEM.task, data_size=size))


@pytest.mark.parametrize("sample", [16, 64, 4096])
def test_sample_is_a_quarter_or_everything(sample: int) -> None:
    task = replace(PROBLEM.task, sample=sample)
    engine = PROBLEM.make_engine()
    engine.inspect(task)
    delta = engine.run(task, PROBLEM.weights, SEED).delta
    settled = engine.settle(task, PROBLEM.weights, [delta], (SEED,) * 3)
    assert settled.sample_count == min(sample, 64)
    assert settled.split_count == 64
    if sample >= 64:
        assert settled.split_loss == settled.losses[settled.scale_index]


@pytest.mark.parametrize("sample", [16, 64])
def test_job_that_is_dear_to_settle_is_refused(monkeypatch: pytest.MonkeyPatch, sample: int) -> None:
    tokens, d, c = 8, 64, 10
    each = tokens * (d * d + 2 * d * tokens + d * c) + 64 * tokens * tokens + 2048 * tokens
    evaluations = (7 + 7 + 7) + (64 + 1) + 1
    most = ((7 + 7 + 7) * sample + (64 + 1) * min(sample, 24) + 64) * each + evaluations * 32 * (
        d * d + d * c
    )
    task, engine = replace(PROBLEM.task, sample=sample), PROBLEM.make_engine()
    monkeypatch.setattr(engine_module, "MAX_SETTLEMENT_WORK", most)
    engine.inspect(task)
    monkeypatch.setattr(engine_module, "MAX_SETTLEMENT_WORK", most - 1)
    with pytest.raises(TaskRefused, match="settlement") as refusal:
        engine.inspect(task)
    assert refusal.value.field == "sample"


@pytest.mark.parametrize(("judge", "fits"), [(391, True), (392, False)])
def test_large_model_has_few_judging_samples(judge: int, fits: bool) -> None:
    """22 looks at each, 65 at the one to train on, of 32 * (128^2 + 2 * 128 * 32 + 128 * 16 + 64 * 32 + 2048) of work;
    each look has 32 * (128^2 + 128 * 16) beside."""
    rates = ((1, 9), (1, 9))
    problem = make_problem(
        "attention_regression", (32, 4, 16, 1, 1), shard=1, rates=rates, train=1, judge=judge
    )
    task, engine = replace(problem.task, sample=4096), problem.make_engine("portable")
    if fits:
        assert engine.inspect(task).judge_count == judge
    else:
        with pytest.raises(TaskRefused, match="settlement"):
            engine.inspect(task)


@pytest.mark.parametrize("path", ["fused", "portable"])
@pytest.mark.parametrize("indexed", [True, False])
def test_classes_cost_together_what_the_split_costs(path: str, indexed: bool) -> None:
    params = (20, 10, 0, int(indexed))
    problem = make_problem("softmax_regression", params, shard=24, rates=((1, 4),), judge=48, sample=48)
    engine = problem.make_engine(path)
    _, data = engine.get_dataset(problem.task)
    classes = data.judge.labels if indexed else data.judge.rows.argmax(1)
    found = engine.measure_slices(problem.task, problem.weights)
    assert [part.label for part in found] == sorted(set(classes.tolist()))
    assert [part.count for part in found] == [int((classes == part.label).sum()) for part in found]
    total, count = engine.evaluate(problem.task, problem.weights, "judge")
    assert (sum(part.total for part in found), sum(part.count for part in found)) == (total, count)


def test_large_judging_split_is_not_looked_at_whole() -> None:
    problem = make_problem(*DIGITS, shard=16, rates=((1, 9), (1, 9)), judge=65)
    engine = problem.make_engine()
    settled = engine.settle(
        problem.task, problem.weights, [engine.run(problem.task, problem.weights, SEED).delta], (SEED,) * 3
    )
    assert (settled.split_loss, settled.split_count) == (0, 0)


@pytest.mark.parametrize("weights", [b"", PROBLEM.weights[:-1], PROBLEM.weights + bytes(8)])
def test_weights_of_the_wrong_size_are_refused(weights: bytes) -> None:
    with pytest.raises(BadInput, match="weights"):
        PROBLEM.make_engine().run(PROBLEM.task, weights, SEED)


def test_weights_out_of_range_are_refused() -> None:
    weights = (2**27).to_bytes(8, "little") + PROBLEM.weights[8:]
    with pytest.raises(BadInput, match="weights"):
        PROBLEM.make_engine().run(PROBLEM.task, weights, SEED)


def test_shard_of_the_largest_size_runs() -> None:
    problem = make_problem(
        "softmax_regression", (2, 2, 0, 1), shard=4096, rates=((1, 12),), train=4096, input_bits=16
    )
    runs = {
        path: problem.make_engine(path).run(problem.task, problem.weights, SEED)
        for path in ("fused", "portable")
    }
    assert runs["fused"] == runs["portable"]


def test_caches_are_bounded() -> None:
    blobs = {
        problem.task.data_cid: problem
        for problem in (
            make_problem(*DIGITS, shard=4, rates=((1, 9), (1, 9)), train=100 + n) for n in range(5)
        )
    }
    loads: list[bytes] = []

    def load(cid: bytes) -> bytes:
        loads.append(cid)
        return blobs[cid].blob

    engine = Engine(load, cache_bytes=40_000)
    for _ in range(2):
        for problem in blobs.values():
            engine.inspect(problem.task)
            engine.inspect(problem.task)
    assert len(loads) == 10
    assert engine._count_bytes() <= 40_000
    for i in range(10):
        engine.heartbeat(bytes([i]) * 32, SEED)
    assert len(engine._heartbeats) <= 4


@pytest.mark.parametrize("name", ["attention positional classes", "softmax classes", "softmax keys rows"])
def test_predicted_class_has_the_largest_output(name: str) -> None:
    problem = PROBLEMS[name]()
    engine = problem.make_engine()
    task: Task = problem.task
    prepared = engine._prepare(task)
    shape = prepared.objective.layout.inputs
    inputs = prepared.data.judge.inputs.reshape(-1, *shape)
    classes = engine.predict(task, problem.weights, inputs)
    assert classes.shape == (16,)
    assert engine.accuracy(task, problem.weights, inputs, classes) == (16, 16)
    assert engine.accuracy(task, problem.weights, inputs, classes + 1) == (0, 16)
    with pytest.raises(BadInput, match="inputs"):
        engine.predict(task, problem.weights, inputs[:, :1])


def test_equal_outputs_are_the_lowest_class() -> None:
    zero = bytes(len(PROBLEM.weights))
    classes = PROBLEM.make_engine().predict(PROBLEM.task, zero, np.ones((3, 8, 8), np.int64))
    assert classes.tolist() == [0, 0, 0]


@pytest.mark.parametrize("path", ["fused", "portable"])
def test_self_test_passes(path: selftest.Path) -> None:
    selftest.check_machine(path)


def test_self_test_names_what_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "EXP_DIGEST", "something else")
    with pytest.raises(SelfTestFailed, match=r"'exp \(portable\)' failed: something else expected"):
        selftest.check_machine("portable")


COMPILED = """
import sys
from training.exact.selftest import check_machine
check_machine("fused")
sys.exit("torch" in sys.modules)
"""


def test_compiled_path_runs_settles_and_predicts_without_torch() -> None:
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
