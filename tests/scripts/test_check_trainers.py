"""The check of a machine's trainers: what it calls agreement. Its trainings are those of tests/node/trainer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scripts.loading import SCRIPTS, load

load(SCRIPTS / "trainer_jobs.py")  # which the other imports
check_trainers = load(SCRIPTS / "check_trainers.py")


def run(before: float, after: float) -> dict[str, Any]:
    return {"loss_before": before, "loss_after": after}


@pytest.mark.parametrize(
    ("others", "agree"),
    [
        ([run(8.0, 3.0001)], True),
        ([{"left_out": "needs 1 GPU, torch sees 0"}], True),
        ([run(8.0, 3.1)], False),
        ([run(8.1, 3.0)], False),
        ([run(float("nan"), float("nan"))], False),
        ([{"error": "the trainer died"}], False),
    ],
)
def test_kinds_agree_that_lower_the_loss_alike_or_cannot_be_here(
    others: list[dict[str, Any]], agree: bool
) -> None:
    assert check_trainers.all_agree([run(8.0, 3.0), *others]) is agree


def test_first_kind_must_run_itself() -> None:
    assert not check_trainers.all_agree([{"error": "the trainer died"}])
    assert not check_trainers.all_agree([run(3.0, 8.0)])
