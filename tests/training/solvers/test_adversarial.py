"""Adversarial training on few neurons: the same weights as by all of them, whatever the search, and what is refused."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from training.errors import ProblemRefused
from training.solvers.adversarial import Adversary, Settings, ShiftedNet, Step, draw_net, train, train_net
from training.solvers.adversarial.net import Shift
from training.solvers.adversarial.problem import Loss, Norm
from training.solvers.adversarial.search import SearchName

Doubles = NDArray[np.float64]
WIDTH = 1024
SAME = 1e-12


def draw_samples(count: int = 12, inputs: int = 4, seed: int = 3) -> tuple[Doubles, Doubles]:
    """Inputs of length 1, and signs that alternate."""
    x = np.random.default_rng(seed).standard_normal((count, inputs))
    return x / np.linalg.norm(x, axis=1, keepdims=True), np.where(np.arange(count) % 2, -1.0, 1.0)


def draw(inputs: int = 4, seed: int = 1, **options: Any) -> ShiftedNet:  # Any: as draw_net has them
    return draw_net(WIDTH, inputs, np.random.default_rng(seed), precision="float64", **options)


def run(net: ShiftedNet, adversary: Adversary, steps: int = 10, **options: Any) -> tuple[Step, ...]:
    """Train on drawn samples; targets may be so near that the adversary wins."""
    x, y = draw_samples(inputs=net.weights.shape[1])
    settings = Settings(**{"overlap": True, "rate": 2.0, **options})
    return train_net(net, x, y, adversary, steps=steps, rng=np.random.default_rng(5), settings=settings).steps


def train_plainly(net: ShiftedNet, adversary: Adversary, loss: Loss, rate: float, steps: int) -> list[float]:
    """What is meant, a sample at a time; returns the loss of each step."""
    x, y = draw_samples(inputs=net.weights.shape[1])
    losses = []
    for _ in range(steps):
        gradient, total = np.zeros_like(net.weights), 0.0
        for start, target in zip(x, y, strict=True):
            point = start.copy()
            for _ in range(adversary.steps):
                output, active = look(net, point)
                slope = differentiate(output, target, loss)
                toward = slope * ((active * net.signs) @ net.weights)
                point = move(start, point, toward, adversary)
            output, active = look(net, point)
            slope = differentiate(output, target, loss)
            gradient += np.outer(active * net.signs * slope, point) / len(x)
            total += measure(output, target, loss) / len(x)
        net.weights[:] -= rate * gradient
        losses.append(total)
    return losses


def look(net: ShiftedNet, point: Doubles) -> tuple[float, Doubles]:
    scores = net.weights @ point + net.biases
    active = np.asarray(scores > net.tau, np.float64)
    below = net.tau if net.shift == "relu" else 0.0
    return float(net.signs @ (active * (scores - below))), active


def differentiate(output: float, target: float, loss: Loss) -> float:
    return output - target if loss == "squared" else -target / (1 + math.exp(output * target))


def measure(output: float, target: float, loss: Loss) -> float:
    return (output - target) ** 2 / 2 if loss == "squared" else math.log1p(math.exp(-output * target))


def move(start: Doubles, point: Doubles, toward: Doubles, adversary: Adversary) -> Doubles:
    length, stride = np.linalg.norm(toward), adversary.radius / 4
    if not length:
        return point
    if adversary.norm == "largest":
        moved = point + stride * np.sign(toward)
        return np.clip(moved, start - adversary.radius, start + adversary.radius)
    away = point + stride * toward / length - start
    return start + away * min(1.0, adversary.radius / float(np.linalg.norm(away)))


@pytest.mark.parametrize("search", ["skin", "tree", "dense"])
@pytest.mark.parametrize("shift", ["relu", "jump"])
@pytest.mark.parametrize(("norm", "loss"), [("euclidean", "logistic"), ("largest", "squared")])
def test_weights_after_ten_steps_are_those_of_all_neurons(
    search: SearchName, shift: Shift, norm: Norm, loss: Loss
) -> None:
    adversary, net, plain = Adversary(0.05, norm), draw(shift=shift), draw(shift=shift)
    start = net.weights.copy()
    steps = run(net, adversary, search=search, loss=loss, rate=0.5)
    losses = train_plainly(plain, adversary, loss, 0.5, 10)
    assert abs(net.weights - start).max() > 1e-3
    assert abs(net.weights - plain.weights).max() < SAME
    np.testing.assert_allclose([step.loss for step in steps], losses, rtol=SAME)
    assert {step.search for step in steps} == {search}


@pytest.mark.parametrize("search", ["skin", "tree"])
def test_biases_and_odd_sizes_change_nothing(search: SearchName) -> None:
    nets = [draw_net(517, 7, np.random.default_rng(2), precision="float64", biased=True) for _ in range(2)]
    run(nets[0], Adversary(0.03), search=search)
    run(nets[1], Adversary(0.03), search="dense")
    assert nets[0].biases.any()
    assert abs(nets[0].weights - nets[1].weights).max() < SAME


def test_batches_are_the_same_whatever_the_search() -> None:
    nets = [draw() for _ in range(3)]
    searches: tuple[SearchName, ...] = ("skin", "tree", "dense")
    for net, search in zip(nets, searches, strict=True):
        run(net, Adversary(0.05), search=search, batch=5)
    assert abs(nets[0].weights - nets[2].weights).max() < SAME
    assert abs(nets[1].weights - nets[2].weights).max() < SAME


def test_float32_follows_float64() -> None:
    net = draw()
    arrays = (array.astype(np.float32) for array in (net.weights, net.biases, net.signs))
    small = ShiftedNet(*arrays, net.tau)
    found, wanted = run(small, Adversary(0.05)), run(net, Adversary(0.05))
    assert small.weights.dtype == np.float32
    assert found[-1].loss == pytest.approx(wanted[-1].loss, rel=1e-3)
    assert found[-1].loss < found[0].loss / 2


def test_worst_points_are_worse_than_the_samples_and_training_mends_them() -> None:
    net = draw(8)
    x, y = draw_samples(inputs=8)
    plain = np.logaddexp(0, -net.evaluate(x) * y).mean()
    steps = run(net, Adversary(0.1), steps=40, rate=None)
    assert steps[0].loss > plain
    assert steps[-1].loss < steps[0].loss / 4
    assert steps[-1].right == 1


def test_active_share_is_that_of_a_normal_tail() -> None:
    x, y = draw_samples(16, 32)
    done = train(x, y, Adversary(0.01), steps=1, width=1 << 14)
    tail = math.erfc(done.net.tau / math.sqrt(2)) / 2
    assert done.steps[0].active == pytest.approx(tail, rel=0.2)
    assert done.steps[0].active <= done.steps[0].candidates < 2 * tail
    assert done.doubts == ()


def test_samples_that_wake_no_neuron_rest_and_move_nothing() -> None:
    for search in ("skin", "tree", "dense"):
        net = draw(tau=50.0)
        start = net.weights.copy()
        steps = run(net, Adversary(0.05), steps=2, search=search, rate=None)
        assert [step.resting for step in steps] == [12, 12]
        assert (steps[0].active, steps[0].touched) == (0, 0)
        assert steps[0].loss == pytest.approx(math.log(2))
        assert (net.weights == start).all()


def test_radius_of_nothing_is_plain_training() -> None:
    net = draw()
    x, y = draw_samples()
    plain = np.logaddexp(0, -net.evaluate(x) * y).mean()
    assert run(net, Adversary(0.0), steps=1)[0].loss == pytest.approx(plain)


def test_too_many_candidates_are_told_and_done_by_all_neurons() -> None:
    net, other = draw(), draw()
    adversary = Adversary(0.9)  # a score can rise by twice that
    steps, dense = run(net, adversary), run(other, adversary, search="dense")
    assert all(step.is_fallback and step.search == "dense" and step.candidates == 1 for step in steps)
    assert not any(step.is_fallback for step in dense)
    assert abs(net.weights - other.weights).max() < SAME
    assert all(step.is_fallback for step in run(draw(), adversary, steps=3, search="tree"))


def test_lists_are_made_anew_once_weights_drift_too_far() -> None:
    still, fast = run(draw(), Adversary(0.05), rate=1e-4), run(draw(), Adversary(0.05), rate=2.0)
    assert [step.rebuilds for step in still] == [1] + [0] * 9
    assert all(step.drift is not None and step.drift < 1 for step in still)
    assert sum(step.rebuilds for step in fast) > 1
    for before, after in pairwise(fast):
        assert before.drift is not None
        assert (after.rebuilds == 1) == (before.drift > 1)


def test_skin_of_nothing_is_exact_and_made_anew_at_every_step() -> None:
    net, other = draw(), draw()
    steps = run(net, Adversary(0.05), skin=0.0)
    run(other, Adversary(0.05), search="dense")
    assert [step.rebuilds for step in steps] == [1] * 10
    assert abs(net.weights - other.weights).max() < SAME


def test_seconds_of_all_parts_are_told() -> None:
    (step,) = run(draw(), Adversary(0.05), steps=1)
    assert list(step.seconds) == ["search", "attack", "update", "watch"]
    assert min(step.seconds.values()) >= 0


def test_near_samples_of_other_targets_are_refused_or_doubted() -> None:
    x, y = np.array([[1.0, 0.0], [0.96, 0.28], [0.0, 1.0]]), [1, -1, -1]
    with pytest.raises(ProblemRefused, match=r"radius: .* as near as 0\.282843, so a radius below 0\.141421"):
        train(x, y, Adversary(0.15), steps=1, width=64)
    with pytest.raises(
        ProblemRefused, match=r"as near as 0\.28, so a radius below 0\.14 expected, 0\.14 came"
    ):
        train(x, y, Adversary(0.14, "largest"), steps=1, width=64)
    done = train(x, y, Adversary(0.15), steps=1, width=64, settings=Settings(overlap=True))
    assert "no net tells them apart" in done.doubts[0]
    assert train(x, y, Adversary(0.14), steps=1, width=64).doubts == ()


def test_inputs_of_other_lengths_are_doubted() -> None:
    done = train([[3.0, 4.0], [1.0, 0.0]], [1, -1], Adversary(0.1), steps=1, width=64)
    assert done.doubts[0].startswith("1 of 2 inputs have lengths other than 1 (1 to 5)")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"inputs": [[1.0, math.nan], [0.0, 1.0]]}, "inputs: finite numbers expected, NaN or infinity came"),
        ({"inputs": [1.0, 2.0]}, "inputs: shape n x d expected, 1 dimensions came"),
        ({"inputs": np.zeros((0, 2))}, "inputs: shape n x d expected, n up to 8192"),
        ({"inputs": [["a", "b"], ["c", "d"]]}, "inputs: real numbers expected"),
        ({"inputs": [[1e7, 0.0], [0.0, 1.0]]}, "inputs: numbers within 1e+06 expected, 1e+07 came"),
        ({"targets": [1.0]}, "targets: shape 2 expected, 1 came"),
        ({"targets": [1.0, 0.5]}, "targets: -1 or 1 in all expected for the logistic loss"),
        ({"targets": [1.0, math.inf]}, "targets: finite numbers expected"),
        ({"width": 1}, "width: 2 .. 1048576 neurons expected, 1 came"),
        ({"width": 1 << 21}, "width: 2 .. 1048576 neurons expected"),
        ({"inputs": np.eye(2, 1025)}, "inputs: 1 .. 1024 numbers in a sample expected, 1025 came"),
        ({"adversary": Adversary(-1.0)}, "radius: a number from 0 to 1e+06 expected, -1.0 came"),
        ({"adversary": Adversary(math.nan)}, "radius: a number from 0 to 1e+06 expected, nan came"),
        ({"adversary": Adversary(0.1, steps=0)}, "steps: 1 .. 1000 of the adversary expected, 0 came"),
        ({"adversary": Adversary(0.1, stride=0.0)}, "stride: a number above 0, to 1e+06, expected, 0.0 came"),
        ({"adversary": Adversary(0.1, "taxi")}, "norm: 'euclidean' or 'largest' expected, 'taxi' came"),
        ({"precision": "float16"}, "precision: 'float32' or 'float64' expected, 'float16' came"),
        ({"steps": 0}, "steps: a number from 1 expected, 0 came"),
        ({"shift": "step"}, "shift: 'relu' or 'jump' expected, 'step' came"),
        ({"settings": Settings("hinge")}, "loss: 'logistic' or 'squared' expected, 'hinge' came"),  # type: ignore[arg-type]
        ({"settings": Settings(rate=0.0)}, "rate: a finite number above 0 expected, 0.0 came"),
        ({"settings": Settings(batch=3)}, "batch: 1 .. 2 samples expected, 3 came"),
        ({"settings": Settings(skin=-1.0)}, "skin: a finite number from 0 expected, -1.0 came"),
        ({"settings": Settings(search="grid")}, "search: 'skin', 'tree' or 'dense' expected"),  # type: ignore[arg-type]
    ],
)
def test_bad_problems_are_refused(changed: dict[str, Any], said: str) -> None:  # Any: as train has them
    options: dict[str, Any] = {
        "inputs": [[1.0, 0.0], [0.0, 1.0]],
        "targets": [1, -1],
        "adversary": Adversary(0.1),
        "width": 64,
        "steps": 1,
    } | changed
    with pytest.raises(ProblemRefused) as refused:
        train(**options)
    assert str(refused.value).startswith(said)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"weights": np.full((8, 2), math.nan)}, "weights: finite numbers expected"),
        ({"weights": np.zeros(8)}, "weights: shape m x d expected, 8 came"),
        ({"weights": np.zeros((8, 3))}, "inputs: 3 numbers in a sample expected, 2 came"),
        ({"weights": np.zeros((2, 8)).T}, "weights: an array that is contiguous by rows expected"),
        ({"biases": np.zeros(7)}, "biases: shape 8 expected, 7 came"),
        (
            {"signs": np.zeros(8, np.float32)},
            "signs: float32 or float64 in all arrays expected, float32 came",
        ),
        ({"tau": math.inf}, "tau: a finite number from 0 expected, inf came"),
    ],
)
def test_bad_nets_are_refused(changed: dict[str, Any], said: str) -> None:  # Any: as ShiftedNet has them
    parts = {"weights": np.zeros((8, 2)), "biases": np.zeros(8), "signs": np.ones(8), "tau": 1.0}
    with pytest.raises(ProblemRefused) as refused:
        train_net(
            ShiftedNet(**(parts | changed)), [[1.0, 0.0], [0.0, 1.0]], [1, -1], Adversary(0.1), steps=1,
            rng=np.random.default_rng(1),
        )  # fmt: skip
    assert str(refused.value).startswith(said)


def test_loss_that_runs_away_is_refused_with_the_rate() -> None:
    with pytest.raises(ProblemRefused, match=r"rate: one smaller than 1e\+05 expected: the loss ran from"):
        run(draw(), Adversary(0.05), loss="squared", rate=1e5)
