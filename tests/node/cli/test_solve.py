"""`job solve`: what a person and a script get of a search, its exit code, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node.cli.solve import describe_point, describe_target
from tests.node.cli.conftest import Cli, Verifier

EXAMPLE = Path(__file__).parents[3] / "examples" / "investment_shares.toml"
STEP = {"start": 1, "step": 3, "training_loss": 0.25, "loss": 0.5}
ANSWER: dict[str, Any] = {
    "title": "Small",
    "objective": "softmax_regression",
    "parameters": 60,
    "train": 1000,
    "judge": 180,
    "holdout": 149,
    "solver": "newton",
    "reason": "60 parameters: the Hessian is formed",
    "precision": "float64",
    "starts": 1,
    "steps": 38,
    "seconds": 3.61,
    "outcome": "converged",
    "explanation": "an optimum of the training loss",
    "gradient": 5e-11,
    "at_limit": 0,
    "initial": {"start": 1, "step": 0, "training_loss": 0.5, "loss": 0.49}
    | {"accuracy": 0.5, "holdout_loss": 0.48, "holdout_accuracy": 0.25},
    "lowest": {"start": 1, "step": 10.5, "training_loss": 0.0084, "loss": 0.0111}
    | {"accuracy": 0.994, "holdout_loss": 0.0715, "holdout_accuracy": 0.953},
    "solution": {"start": 1, "step": 38, "training_loss": 0.0083, "loss": 0.0269}
    | {"accuracy": 0.983, "holdout_loss": 0.0678, "holdout_accuracy": 0.953},
    "target_loss": 0.065,
    "reached": True,
    "suggested": 0.05899,
    "notes": [],
}

Make = Callable[..., None]


@pytest.fixture
def job(tmp_path: Path) -> str:
    (tmp_path / "job.toml").write_text('[data]\nfile = "data.npz"\n')
    return "job.toml"


@pytest.fixture
def search(verifier: Verifier) -> Make:
    """Put an answer into the mouth of the process that trains."""

    def make(code: int = 0, **changes: object) -> None:
        verifier(code, [STEP, ANSWER | changes])

    return make


def test_answer_is_facts_a_table_and_what_is_in_reach(cli: Cli, job: str, search: Make) -> None:
    search(notes=["targets of 3 do not sum to 1"])
    ran = cli("job", "solve", job)
    assert ran.code == 0
    for line in (
        "Small  softmax_regression; nothing was sent",
        "samples  1,000 to train, 180 to judge, 149 held out",
        "solver   newton, float64; 60 parameters: the Hessian is formed",
        "search   38 steps in 3.6 s; gradient 5e-11 of that at the start",
        "outcome  converged: an optimum of the training loss",
        "lowest on the way  10.5    0.0084  0.0111, 99.4 % right  0.0715, 95.3 % right",
        "note: targets of 3 do not sum to 1",
        "in reach  a target_loss from 0.0111 up, the lowest judging loss; 0.05899 leaves 10 % of the way",
        "target    the file's 0.065 was reached",
        "next: gradientcoin job quote job.toml",
    ):
        assert line in ran.out
    assert ran.err == ""  # progress is for terminals


def test_values_have_no_share_of_right_ones(cli: Cli, job: str, search: Make) -> None:
    points = {
        key: ANSWER[key] | {"accuracy": None, "holdout_loss": None}
        for key in ("initial", "lowest", "solution")
    }
    search(**points, holdout=0)
    assert "right" not in cli("job", "solve", job).out


def test_starts_and_weights_at_their_limit_are_told(cli: Cli, job: str, search: Make) -> None:
    search(starts=4, solution=ANSWER["solution"] | {"start": 3}, at_limit=2)
    expected = "best of 4 starts: number 3, 38 steps in 3.6 s; 2 weights of 60 at an end of their range"
    assert expected in cli("job", "solve", job).out


def test_json_is_the_answer_alone(cli: Cli, job: str, search: Make) -> None:
    search()
    assert json.loads(cli("job", "solve", job, "--json").out) == ANSWER


@pytest.mark.parametrize(("reached", "code"), [(True, 0), (False, 1), (None, 0)])
def test_exit_code_says_whether_the_target_was_reached(
    cli: Cli, job: str, search: Make, reached: bool | None, code: int
) -> None:
    search(reached=reached)
    assert cli("job", "solve", job).code == code
    assert cli("job", "solve", job, "--json").code == code


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target_loss": None}, "the file has none"),
        ({"target_loss": 0.5}, "the file's 0.5 is not below the loss at the start"),
        ({"target_loss": 0.0110, "reached": False}, "by little: a chain keeps what lowers the judging loss"),
        ({"target_loss": 0.001, "reached": False}, "is below the lowest that was reached, 0.0111"),
        ({"target_loss": 0.001, "reached": False}, "a higher one, or other data"),
        (
            {"target_loss": 0.001, "reached": False, "outcome": "out of time"},
            "a higher one, or more time, or other",
        ),
    ],
)
def test_target_is_held_against_what_was_reached(changes: dict[str, object], words: str) -> None:
    assert words in describe_target(ANSWER | changes)


def test_nothing_learnt_suggests_no_target(cli: Cli, job: str, search: Make) -> None:
    search(suggested=None, reached=False, outcome="collapsed", explanation="nothing was learnt")
    ran = cli("job", "solve", job)
    assert "there is no target_loss to suggest" in ran.out
    assert ran.code == 1


def test_step_on_the_way_names_its_start_from_the_second_on() -> None:
    assert describe_point(STEP) == "step 3: training loss 0.25, judging loss 0.5"
    assert describe_point(STEP | {"start": 2}).startswith("start 2, step 3")


@pytest.mark.parametrize(
    ("message", "code", "hint"),
    [
        ("job.toml: [rule] step: unknown key", 3, "is a job file that works"),
        (
            "job.toml: parent: the weights of job 5f3a are needed; only a node has them",
            3,
            "--checkpoint result/",
        ),
        ("--solver newton: at most 1,500 parameters expected", 2, "job solve --help"),
        ("w.safetensors: X: F64 of shape (3, 3) expected", 3, "job result PARENT"),
    ],
)
def test_refusals_say_what_to_do(
    cli: Cli, job: str, tmp_path: Path, verifier: Verifier, message: str, code: int, hint: str
) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"")
    verifier(code, [{"error": message, "exit_code": code}])
    ran = cli("job", "solve", job, "--checkpoint", "w.safetensors")
    assert ran.code == code
    assert message in ran.err
    assert hint in ran.err


def test_process_without_an_answer_is_no_success(cli: Cli, job: str, verifier: Verifier) -> None:
    for code, lines in ((0, []), (9, [STEP]), (9, [ANSWER])):
        verifier(code, lines)
        ran = cli("job", "solve", job)
        assert ran.code == 1
        assert f"the training ended with exit code {code} and no answer: something broke" in ran.err


def test_files_are_looked_at_before_a_process_starts(cli: Cli, job: str, tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("[data")
    assert "is not valid TOML" in cli("job", "solve", "broken.toml").err
    for arguments in (("nothing.toml",), ("broken.toml",), (job, "--checkpoint", "nothing")):
        assert cli("job", "solve", *arguments).code == 3


@pytest.mark.parametrize(
    "option", [("--seconds", "0"), ("--seconds", "3601"), ("--starts", "0"), ("--solver", "x")]
)
def test_options_out_of_range_are_wrong_usage(cli: Cli, job: str, option: tuple[str, str]) -> None:
    assert cli("job", "solve", job, *option).code == 2


@pytest.mark.integration
def test_example_is_solved_without_a_node(cli: Cli) -> None:
    ran = cli("job", "solve", str(EXAMPLE), "--json")
    answer = json.loads(ran.out)
    assert (answer["outcome"], answer["parameters"]) == ("converged", 2)
    assert answer["lowest"]["loss"] < 14 < answer["initial"]["loss"]
    assert ran.code == (0 if answer["reached"] else 1)
