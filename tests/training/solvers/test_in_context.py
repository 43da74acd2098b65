"""The report on in-context learning: what it measures stays below what bounds it, and its identity is one."""

import json
from pathlib import Path

import pytest

from training import in_context
from training.in_context import KINDS, draw_context, main, measure_identity, measure_moves


@pytest.mark.parametrize("kind", KINDS)
def test_fits_move_no_farther_than_their_bounds(kind: in_context.Kind) -> None:
    table = measure_moves(draw_context(kind, 24, 4, 3), 3)
    assert [moved.move for moved in table] == list(in_context.MOVES)
    for moved in table:
        assert 0 < moved.fit <= moved.bound
        assert moved.prediction_bound is None or moved.prediction <= moved.prediction_bound
    assert table[0].predicted == pytest.approx(table[0].fit, rel=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_step_of_learning_is_a_change_of_context(kind: in_context.Kind) -> None:
    assert measure_identity(draw_context(kind, 24, 4, 3), 3) < 1e-13


def test_report_is_printed_written_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture, table = tmp_path / "p.svg", tmp_path / "t.json"
    assert main(["--rows", "12", "--width", "3", "--picture", str(picture), "--json", str(table)]) == 0
    assert picture.read_text().startswith("<svg")
    assert len(json.loads(table.read_text())["moves"]) == 3 * len(in_context.MOVES)
    assert "a step of learning" in capsys.readouterr().out


def test_too_few_rows_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--rows", "3", "--width", "4"])
    assert "got 3 and 4" in capsys.readouterr().err
