"""Job files of jobs that continue others, and of market-only ones: what becomes of them, and what does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ledger.jobspec import JobSpec, decode_spec, encode_spec
from ledger.params import LOCAL
from tests.training.test_jobs import JOB, folder
from training.errors import TrainingError
from training.hashing import compute_cid
from training.jobs import JobFileError, PreparedJob, Start, load_job_file, prepare
from training.scaling import main as write_scaling
from training.tuning import tune_rates

__all__ = ["folder"]  # a fixture
MARKET_ONLY = JOB.replace('burn = "0.5"', "market_only = true\nprice = 10\nround_budget = 2")
JOB_ID = bytes(range(32))


def prepare_text(folder: Path, text: str, start: Start | None = None) -> PreparedJob:
    (folder / "job.toml").write_text(text)
    return prepare(load_job_file(folder / "job.toml"), LOCAL.sidecar_limit, start)


def make_spec(prepared: PreparedJob) -> JobSpec:
    fields = prepared.spec
    return JobSpec(*(getattr(fields, name) for name in JobSpec.__dataclass_fields__))


@pytest.fixture
def start(folder: Path) -> Start:
    """A parent of the job's model, whose weights are none that a seed draws."""
    first = prepare_text(folder, JOB)
    weights = np.arange(len(first.facts.weights) // 8, dtype="<i8").tobytes()
    return Start(JOB_ID, first.spec.objective, first.spec.params, weights)


@pytest.mark.parametrize("text", [JOB, JOB.replace("seed = 7", 'seed = 7\nparent = " 0001 "')])
def test_continued_job_starts_from_its_parents_weights(folder: Path, start: Start, text: str) -> None:
    prepared = prepare_text(folder, text, start)
    spec = make_spec(prepared)
    assert (spec.parent, spec.parent_weights) == (JOB_ID, compute_cid(start.weights))
    assert prepared.facts.weights == start.weights
    assert decode_spec(encode_spec(spec), LOCAL) == spec
    first = prepare_text(folder, JOB)
    assert prepared.blob == first.blob
    assert prepared.spec == replace(first.spec, parent=JOB_ID, parent_weights=start.weights_cid)


def test_rates_are_tried_at_the_parents_weights(folder: Path, start: Start) -> None:
    """Where nothing is left to learn no rate lowers the loss, whatever it did from the seed's weights."""
    tune_rates(prepare_text(folder, JOB), path="portable")
    largest = np.full(len(start.weights) // 8, 2**27 - 1, "<i8")
    largest[0::3] = -(2**27 - 1)
    saturated = replace(start, weights=largest.tobytes())
    text = JOB.replace("learning_rate = 0.5", "learning_rate = 4000")
    with pytest.raises(JobFileError, match="learning_rate"):
        tune_rates(prepare_text(folder, text, saturated), path="portable")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"objective": "attention_regression"},
            "[objective] name: expected 'attention_regression' as in job 00010203",
        ),
        (
            {"params": (3, 3, 0, 1)},
            "[objective] features: expected 3 as in job 0001020304, which it continues, got 2",
        ),
        ({"params": (2, 3, 1, 1)}, "[objective] key_width: expected 1"),
        ({"params": (2, 3, 0, 0)}, "[objective] targets: expected 'values' as in job 0001020304"),
    ],
)
def test_parent_of_another_model_is_refused_by_the_key_that_differs(
    folder: Path, start: Start, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(TrainingError) as error:
        prepare_text(folder, JOB, replace(start, **changes))  # type: ignore[arg-type]
    assert words in str(error.value)
    assert "weights fit the model that they were trained for only" in str(error.value)


def test_market_only_job_needs_no_burn(folder: Path) -> None:
    for text in (MARKET_ONLY, MARKET_ONLY.replace("price = 10", "price = 10\nburn = 0")):
        spec = make_spec(prepare_text(folder, text))
        assert (spec.market_only, spec.burn, spec.price, spec.budget) == (1, 0, 10 * 10**8, 2 * 10**8)
        assert decode_spec(encode_spec(spec), LOCAL) == spec
    plain = MARKET_ONLY.replace("market_only = true", 'market_only = false\nburn = "0.5"')
    assert make_spec(prepare_text(folder, plain)).market_only == 0


def test_scaling_of_a_continued_job_needs_no_node(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "job.toml").write_text(JOB.replace("seed = 7", 'seed = 7\nparent = "abcdef"'))
    target = folder / "scaling.json"
    monkeypatch.setattr("sys.argv", ["scaling", str(folder / "job.toml"), "-o", str(target)])
    assert write_scaling() == 0
    assert target.exists()
