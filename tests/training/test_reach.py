"""What a job can reach: the way down, what is judged of it, how a search ends, and the target it suggests."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.one_thread import one_thread
from training.checkpoint import write_checkpoint
from training.continuation import Start
from training.engine import Engine
from training.jobs import PreparedJob, load_job_file, make_task, prepare
from training.reach import Judged, Reached, Settings, SolverName, solve
from training.solve import Told, explain_outcome, main
from training.solvers.outcome import Outcome

__all__ = ["one_thread"]

JOB = """\
title = "Small"
{top}
[objective]
name = "{name}"
{params}
[data]
file = "data.npz"
inputs = "inputs"
targets = "targets"
[split]
train = 40
judge = 16
holdout = 4
[rule]
steps = 2
shard = 8
learning_rate = 0.01
[market]
burn = 1
escrow = 100
lifetime_blocks = 500
judging_sample = 16
target_loss = {target}
"""
CLASSES = 'features = 3\noutputs = 3\ntargets = "class"'
TOO_LATE = 2.0  # of the time is over
LOWEST = 0.16216761  # training loss of the targets below: all four solvers agree


def write(
    folder: Path, params: str = CLASSES, *, target: float = 0, top: str = "", **arrays: np.ndarray
) -> Path:
    name = "sequence_regression" if "tokens" in params else "softmax_regression"
    name = "exponential_regression" if "neurons" in params else name
    rng = np.random.default_rng(1)
    inputs = rng.uniform(-1, 1, (60, 3))
    noisy = inputs + rng.normal(0, 0.3, inputs.shape)  # so that classes cannot be told apart for sure
    np.savez(folder / "data.npz", **{"inputs": inputs, "targets": noisy.argmax(1), **arrays})
    path = folder / "job.toml"
    path.write_text(JOB.format(top=top, name=name, params=params, target=target))
    return path


def search(
    path: Path, used: float = 0.0, start: np.ndarray | None = None, **settings: Any
) -> tuple[Reached, list[Judged], PreparedJob]:
    file = load_job_file(path)
    weights = None if start is None else start.astype("<i8").tobytes()
    parent = Start(bytes(32), file.objective, file.spec_params, weights) if weights else None
    prepared = prepare(file, 1 << 20, parent)
    passed: list[Judged] = []
    engine = Engine(lambda cid: prepared.blob, "portable")
    return solve(prepared, engine, Settings(**settings), lambda: used, passed.append), passed, prepared


@pytest.mark.parametrize("solver", ["auto", "newton", "steihaug", "sampled"])
def test_solvers_come_to_the_same_loss(tmp_path: Path, solver: SolverName) -> None:
    targets = np.random.default_rng(2).dirichlet((1, 1, 1), 60)
    path = write(tmp_path, "features = 3\noutputs = 3\ntargets = 'values'", targets=targets)
    reached, passed, _ = search(path, solver=solver)
    assert reached.outcome in (Outcome.CONVERGED, Outcome.STALLED)
    assert reached.gradient < 1e-6
    assert reached.solution.training_loss == pytest.approx(LOWEST, abs=1e-6)
    assert passed[0] == reached.initial
    assert passed[-1].weights == reached.solution.weights


def test_what_is_judged_is_what_the_engine_says_of_the_weights(tmp_path: Path) -> None:
    reached, _, prepared = search(write(tmp_path))
    engine = Engine(lambda cid: prepared.blob, "portable")
    for judged in (reached.initial, reached.lowest, reached.solution):
        score = engine.score_judging(make_task(prepared.spec), judged.weights)
        assert (score.total, score.count) == (judged.total, judged.count)
        assert judged.loss == score.total * 2.0**-40 / 16
    assert reached.initial.weights == prepared.facts.weights


def test_lowest_is_no_higher_than_any_point_and_may_lie_within_a_step(tmp_path: Path) -> None:
    reached, passed, _ = search(write(tmp_path))
    assert reached.lowest.total <= min(judged.total for judged in passed)
    assert 4 * reached.lowest.steps == int(4 * reached.lowest.steps)
    assert reached.solution.training_loss <= reached.lowest.training_loss <= reached.initial.training_loss


def test_target_leaves_a_tenth_of_the_way_back(tmp_path: Path) -> None:
    reached, _, _ = search(write(tmp_path))
    suggested = reached.suggest_target()
    assert suggested == pytest.approx(0.9 * reached.lowest.loss + 0.1 * reached.initial.loss)


def test_classes_that_can_be_told_apart_end_at_the_range_of_weights(tmp_path: Path) -> None:
    inputs = np.random.default_rng(1).uniform(-1, 1, (60, 3))
    reached, _, _ = search(write(tmp_path, inputs=inputs, targets=inputs.argmax(1)))
    assert reached.at_limit > 0
    weights = np.frombuffer(reached.solution.weights, "<i8")
    assert abs(weights).max() < 1 << 27


def test_single_precision_comes_near(tmp_path: Path) -> None:
    reached, _, _ = search(write(tmp_path), precision="float32")
    assert reached.outcome in (Outcome.CONVERGED, Outcome.STALLED)
    assert reached.solution.training_loss == pytest.approx(0.16455, abs=1e-5)


def test_time_that_is_over_still_says_where_it_began(tmp_path: Path) -> None:
    for solver in ("newton", "steihaug", "sampled"):
        reached, passed, _ = search(write(tmp_path), TOO_LATE, solver=solver)
        assert reached.outcome is Outcome.TIME
        assert reached.solution == reached.initial
        assert (len(passed), reached.suggest_target()) == (1, None)


def test_step_under_way_ends_when_the_time_is_over(tmp_path: Path) -> None:
    """The clock jumps within the third step: what the second came to is what was reached."""
    prepared = prepare(load_job_file(write(tmp_path)), 1 << 20)
    passed: list[Judged] = []
    asked = iter([0.0] * 60)
    engine = Engine(lambda cid: prepared.blob, "portable")
    reached = solve(prepared, engine, Settings(), lambda: next(asked, TOO_LATE), passed.append)
    assert reached.outcome is Outcome.TIME
    assert reached.solution.steps > 0
    assert reached.solution.training_loss < reached.initial.training_loss


def test_limit_of_steps_is_said(tmp_path: Path) -> None:
    for solver in ("newton", "sampled"):
        reached, _, _ = search(write(tmp_path), solver=solver, steps=2)
        assert (reached.outcome, reached.solution.steps) == (Outcome.BUDGET, 2)


def test_best_of_several_starts_is_the_seed_s(tmp_path: Path) -> None:
    path = write(tmp_path, "features = 3\nneurons = 4", targets=np.sin(np.arange(60.0)))
    first, passed, _ = search(path, starts=3, seed=7)
    again, _, _ = search(path, starts=3, seed=7)
    assert {judged.start for judged in passed} == {0, 1, 2}
    assert first == again
    ends = {judged.start: judged.training_loss for judged in passed}
    assert first.solution.training_loss == min(ends.values())


def test_stationary_start_is_said_and_suggests_nothing(tmp_path: Path) -> None:
    """A cosh is even: at weights of 0 nothing tells up from down."""
    params = 'features = 3\noutputs = 3\ntargets = "class"\nfunction = "cosh"'
    path = write(tmp_path, params, top='parent = "abcd"')
    for solver in ("newton", "steihaug", "sampled"):
        reached, _, _ = search(path, start=np.zeros(9), solver=solver)
        assert reached.outcome is Outcome.STATIONARY_START
        assert reached.suggest_target() is None


def test_scores_that_run_away_are_a_collapse(tmp_path: Path) -> None:
    """With next to no weight, and a feature that is 1, exp of all scores goes down together."""
    params = "features = 3\noutputs = 3\nfunction = 'exp'\nweight = 0.004\ntargets = 'values'"
    inputs = np.ones((60, 3))
    targets = np.random.default_rng(1).uniform(0, 1, (60, 3))
    path = write(tmp_path, params, inputs=inputs, targets=targets / targets.sum(1, keepdims=True))
    for solver in ("newton", "sampled"):
        reached, _, _ = search(path, solver=solver)
        assert reached.outcome is Outcome.COLLAPSED
        assert reached.suggest_target() is None


# --- python -m training.solve -----------------------------------------------------------------------------------------


def tell(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[dict[str, Any]]]:
    code = main([str(argument) for argument in arguments])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_answer_follows_a_line_for_every_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = tell(capsys, write(tmp_path, target=0.4))
    *steps, answer = lines
    assert code == 0
    assert [line["step"] for line in steps[:-1]] == list(range(len(steps) - 1))
    assert (answer["parameters"], answer["train"], answer["judge"], answer["holdout"]) == (9, 40, 16, 4)
    assert (answer["solver"], answer["outcome"], answer["reached"]) == ("newton", "converged", True)
    assert answer["target_loss"] == pytest.approx(0.4)
    assert answer["initial"]["loss"] == steps[0]["loss"]
    assert answer["lowest"]["accuracy"] > answer["initial"]["accuracy"]
    assert 0 <= answer["solution"]["holdout_accuracy"] <= 1


def test_target_below_what_is_possible_is_not_reached(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, lines = tell(capsys, write(tmp_path, target=0.001), "--solver", "sampled")
    assert lines[-1]["reached"] is False
    _, lines = tell(capsys, write(tmp_path))
    assert (lines[-1]["target_loss"], lines[-1]["reached"]) == (None, None)


def test_targets_that_contradict_each_other_are_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "features = 3\nneurons = 4", inputs=np.ones((60, 3)), targets=np.arange(60) / 60)
    _, lines = tell(capsys, path)
    assert "cannot be interpolated" in lines[-1]["notes"][0]


def test_search_cut_off_says_whether_more_time_would_help(tmp_path: Path) -> None:
    reached, _, prepared = search(write(tmp_path), steps=3)
    engine = Engine(lambda cid: prepared.blob, "portable")

    def explain(bound_s: int = 60, **changes: Any) -> str:
        cut = replace(reached, outcome=Outcome.TIME, **changes)
        return explain_outcome(Told(prepared, Settings(), bound_s, 1.0, cut, engine, "portable"))

    end, rising = reached.solution, replace(reached.solution, steps=1.5)
    assert explain(lowest=end) == "the time of 60 s was over; the loss was still falling: try --seconds 240"
    assert explain(1000, lowest=end).endswith("try --seconds 3600")
    assert explain(3600, lowest=end).endswith("still falling")
    assert explain(lowest=rising).endswith("lowest at step 1.5: going on would not help")


def test_checkpoint_is_where_a_job_with_a_parent_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, prepared = search(write(tmp_path))
    weights = np.full(9, 1 << 22, "<i8").tobytes()
    checkpoint = tmp_path / "c.safetensors"
    checkpoint.write_bytes(write_checkpoint(make_task(prepared.spec), weights, {}))
    path = write(tmp_path, top='parent = "abcd"')
    code, [line] = tell(capsys, path)
    assert (code, line["exit_code"]) == (3, 3)
    assert "the weights of job abcd are needed" in line["error"]
    code, lines = tell(capsys, path, "--checkpoint", checkpoint)
    assert code == 0
    assert lines[0]["loss"] == pytest.approx(2 / 3, abs=1e-3)  # equal weights: three classes as likely


def test_refusals_are_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path)
    code, [line] = tell(capsys, path, "--checkpoint", path)
    assert (code, line["error"].startswith(f"{path}: file: a safetensors file expected")) == (3, True)
    code, [line] = tell(capsys, path, "--checkpoint", tmp_path / "nothing")
    assert (code, line["error"]) == (3, f"{tmp_path}/nothing: cannot be read: No such file or directory")
    path.write_text("title = 1")
    code, [line] = tell(capsys, path)
    assert (code, line["exit_code"]) == (3, 3)


def test_hessian_of_too_many_parameters_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "features = 3\nneurons = 600", targets=np.arange(60) / 60)
    code, [line] = tell(capsys, path, "--solver", "newton")
    assert (code, line["exit_code"]) == (2, 2)
    assert "at most 1,500 parameters expected, this job has 1,800" in line["error"]
