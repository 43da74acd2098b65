"""A budget is never exceeded, not by two processes at once, and nothing is drawn that could not be written down."""

import fcntl
import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from training.errors import PrivacyRefused
from training.private import budget
from training.private.budget import identify_records, read_budget, spend

TOTALS = (1.0, 1e-4)


def try_to_spend(directory: str, epsilon: float) -> bool:
    try:
        spend(Path(directory), "data", epsilon, 1e-6, TOTALS)
    except PrivacyRefused:
        return False
    return True


def test_releases_add_up_to_the_total_and_no_further(tmp_path: Path) -> None:
    for number in range(1, 5):
        budget = spend(tmp_path, "data", 0.25, 1e-5, TOTALS)
        assert (budget.epsilon, len(budget.spent)) == (number / 4, number)
    with pytest.raises(PrivacyRefused, match=r"would make it 1\.25: ask for less") as caught:
        spend(tmp_path, "data", 0.25, 1e-5, TOTALS)
    assert caught.value.field == "total_epsilon"
    assert read_budget(tmp_path / "data.json") == budget
    assert spend(tmp_path, "other", 0.25, 1e-5, TOTALS).epsilon == 0.25


def test_delta_has_a_total_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(PrivacyRefused, match=r"total_delta: 0 of 0\.0001 is spent"):
        spend(tmp_path, "data", 0.1, 2e-4, TOTALS)
    assert not list(tmp_path.glob("*.json"))


def test_total_can_be_lowered_only(tmp_path: Path) -> None:
    spend(tmp_path, "data", 0.5, 1e-6, (1.0, 1e-4))
    with pytest.raises(PrivacyRefused, match=r"0\.5 of 1 is spent"):
        spend(tmp_path, "data", 0.75, 1e-6, (5.0, 1e-4))
    spend(tmp_path, "data", 0.1, 1e-6, (0.7, 1e-4))
    with pytest.raises(PrivacyRefused, match=r"0\.6 of 0\.7 is spent"):
        spend(tmp_path, "data", 0.2, 1e-6, (1.0, 1e-4))


def test_two_processes_do_not_spend_the_same_budget(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        done = pool.starmap(try_to_spend, [(str(tmp_path), 0.3)] * 12)
    assert sum(done) == 3
    assert read_budget(tmp_path / "data.json").epsilon == pytest.approx(0.9)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"version": 2, "total_epsilon": 1.0, "total_delta": 1.0, "spent": []}']
    + [
        json.dumps({"version": 1, "total_epsilon": 1.0, "total_delta": 1.0, "spent": spent})
        for spent in (
            0,
            [0],
            [{"epsilon": -1.0, "delta": 0.0}],
            [{"epsilon": "0", "delta": 0.0}],
            [{"delta": 0.0}],
        )
    ]
    + ['{"version": 1, "total_epsilon": NaN, "total_delta": 1.0, "spent": []}', '"' + "x" * (1 << 20) + '"'],
)
def test_damaged_file_is_refused_and_left_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "data.json"
    path.write_text(text)
    with pytest.raises(PrivacyRefused, match="is damaged") as caught:
        spend(tmp_path, "data", 0.1, 1e-6, TOTALS)
    assert caught.value.field == "budget"
    assert path.read_text() == text


def test_directory_that_another_holds_is_waited_for_no_longer_than_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "LOCK_S", 0.0)
    with (tmp_path / budget.LOCK_FILE).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(PrivacyRefused, match="held by another process"):
            budget.spend(tmp_path, "data", 0.5, 1e-6, (1.0, 1e-5))
    assert not (tmp_path / "data.json").exists()
    assert budget.spend(tmp_path, "data", 0.5, 1e-6, (1.0, 1e-5)).epsilon == 0.5


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    spend(tmp_path / "new", "data", 0.1, 1e-6, TOTALS)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "new" / "data.json").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["data.json", "lock"]


def test_name_is_of_the_records_whatever_their_order() -> None:
    records = np.random.default_rng(0).standard_normal((3, 5))
    name = identify_records(records)
    assert identify_records(records[:, ::-1].copy()) == name
    assert identify_records(records[::-1].copy()) != name
    changed = records.copy()
    changed[0, 0] += 1e-9
    assert identify_records(changed) != name
    assert identify_records(np.zeros((2, 2))) == identify_records(-np.zeros((2, 2)))
    assert identify_records(np.zeros((2, 3))) != identify_records(np.zeros((3, 2)))
