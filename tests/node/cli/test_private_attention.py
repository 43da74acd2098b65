"""`private-attention`: what a person and a script get, and that it draws in a process of its own."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.node.cli.conftest import Cli, Verifier

OPTIONS = ["--epsilon", "1", "--delta", "1e-5", "--alpha", "0.004", "--eta", "0.01"]
ANSWER: dict[str, Any] = {
    "file": "private.npz",
    "n": 16,
    "d": 4096,
    "mechanism": "sampling",
    "reason": "asked for",
    "epsilon": 1.0,
    "delta": 1e-5,
    "delta_spent": 9.995e-6,
    "alpha": 0.0045,
    "eta": 0.01,
    "samples": 17551,
    "samples_by_paper": 1326,
    "delta_inverted": 9.99954e-6,
    "delta_integrated": 9.99953e-6,
    "sigma": 1e-4,
    "expected_error": 7.15e-6,
    "claimed_error": 7e-4,
    "claim": "at most 0.0007 in every entry, with probability 0.99",
    "projected": False,
    "budget": None,
}


def test_answer_says_what_was_released_and_spent(cli: Cli, verifier: Verifier) -> None:
    budget = {"epsilon": 1.0, "delta": 1e-5, "total_epsilon": 2.0, "total_delta": 1e-4, "releases": 1}
    verifier(0, [ANSWER | {"budget": budget, "projected": True}])
    ran = cli("private-attention", "y.npz", *OPTIONS)
    assert ran.code == 0
    for line in (
        "private.npz  Z and its attention, 16 x 16",
        "records    4,096, clipped to length 0.0045",
        "mechanism  Gaussian sampling, 17,551 samples over a ridge of 0.01; asked for",
        "samples    exact accounting allows 17,551 (delta 9.99954e-06 and 9.99953e-06 by two accountants),"
        " the paper's condition 1,326",
        "spent      epsilon 1, delta 9.995e-06 of 1e-05",
        "error      7.15e-06 per entry of the attention expected; at most 0.0007 in every entry",
        "projected  Z has no negative eigenvalue beyond rounding",
        "budget     epsilon 1 of 2, delta 1e-05 of 0.0001 after 1 release",
    ):
        assert line in ran.out
    assert "true error" not in ran.out
    assert ran.err == ""


def test_gaussian_noise_is_told_by_its_deviations(cli: Cli, verifier: Verifier) -> None:
    verifier(0, [ANSWER | {"mechanism": "gaussian", "samples": 0, "samples_by_paper": 0}])
    out = cli("private-attention", "y.npz", *OPTIONS).out
    assert "Gaussian noise, deviation 0.0001 on the diagonal, 7.071e-05 beside it" in out
    assert "sampling could draw none; the paper's condition 0" in out


def test_comparison_warns_that_it_is_not_private(cli: Cli, verifier: Verifier) -> None:
    true = {"attention_max": 4e-5, "attention_rms": 7e-6, "gram_rms": 1e-4}
    verifier(0, [ANSWER | {"true_error": true}])
    ran = cli("private-attention", "y.npz", *OPTIONS, "--compare")
    assert "true error  7e-06 per entry, at most 4e-05: NOT private" in ran.out
    assert "not private" in ran.err


def test_json_is_the_answer_alone(cli: Cli, verifier: Verifier) -> None:
    verifier(0, [ANSWER])
    assert json.loads(cli("private-attention", "y.npz", *OPTIONS, "--json").out) == ANSWER


@pytest.mark.parametrize(
    ("message", "code", "hint"),
    [
        ("epsilon: a number above 0 expected, -1 came", 2, "private-attention --help"),
        ("Y: there is no file y.npz", 3, "an npz file with Y"),
        ("total_epsilon: 1 of 1 is spent", 1, "the budget is what --budget-dir keeps"),
    ],
)
def test_refusal_has_its_code_and_hint(
    cli: Cli, verifier: Verifier, message: str, code: int, hint: str
) -> None:
    verifier(code, [{"error": message, "exit_code": code}])
    ran = cli("private-attention", "y.npz", *OPTIONS)
    assert ran.code == code
    assert message in ran.err
    assert hint in ran.err


def test_process_that_ends_without_an_answer_is_told(cli: Cli, verifier: Verifier) -> None:
    verifier(9, [])
    ran = cli("private-attention", "y.npz", *OPTIONS)
    assert ran.code == 1
    assert "something broke" in ran.err
    assert "may be spent all the same" in ran.err


def test_real_process_releases(cli: Cli, tmp_path: Path) -> None:
    np.savez(tmp_path / "y.npz", Y=np.ones((3, 5)))
    ran = cli("private-attention", "y.npz", *OPTIONS, "-o", "z.npz", "--project", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["n"] == 3
    assert np.load(tmp_path / "z.npz")["attention"].shape == (3, 3)
