"""The picture of what epsilon costs: its curves are the errors that a plan expects."""

from pathlib import Path

import pytest

from training.private.picture import compute_errors, list_errors, main


def test_errors_fall_as_epsilon_grows_and_the_papers_are_largest() -> None:
    by_paper, exact, gaussian = zip(*(list_errors(epsilon) for epsilon in (0.5, 1.0, 4.0)), strict=True)
    for errors in (by_paper, exact, gaussian):
        assert list(errors) == sorted(errors, reverse=True)
    assert all(
        paper > 3 * ours > 3 * 0.9 * noise
        for paper, ours, noise in zip(by_paper, exact, gaussian, strict=True)
    )


def test_what_is_not_allowed_has_no_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.private.picture.RIDGE", 300.0)
    assert "sampling, the paper's condition" not in compute_errors([0.1])


def test_command_writes_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.private.picture.EPSILONS", (1.0, 2.0))
    assert main([str(tmp_path / "errors.svg")]) == 0
    assert "Gaussian noise" in (tmp_path / "errors.svg").read_text()
