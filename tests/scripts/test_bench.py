"""The benchmarks run, and say what they measured in one form. Nothing here asserts a time."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.scripts.loading import SCRIPTS, load

FOLDER = SCRIPTS / "bench"
FIELDS = {"name", "value", "unit", "low", "high", "at_most", "at_least", "floor", "is_met"}


figures = load(FOLDER / "figures.py")
render = load(FOLDER / "render.py")


def check_shape(value: dict[str, Any], name: str) -> None:
    assert value["benchmark"] == name
    assert value["command"] == f"scripts/bench/{name}.py --quick"
    assert value["seed"] == "test"
    assert value["quick"] is True
    assert value["machine"]["cores"] >= 1
    assert set(value["machine"]["versions"]) == {"python", *figures.PACKAGES}
    assert value["figures"]
    for figure in value["figures"]:
        assert set(figure) == FIELDS
        assert figure["low"] is None or figure["low"] <= figure["value"] <= figure["high"]
    names = [figure["name"] for figure in value["figures"]]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "name",
    [
        "exact",
        "ticket",
        "work",
        "settle",
        "proof",
        "private",
        "spectral",
        pytest.param("rounds", marks=pytest.mark.slow),  # processes of their own, for their memory
        pytest.param("solvers", marks=pytest.mark.slow),  # torch's optimizers take seconds to import
        pytest.param("tensor", marks=pytest.mark.slow),
        pytest.param("private_updates", marks=pytest.mark.slow),
        pytest.param("graph", marks=pytest.mark.slow),
        pytest.param("adversarial", marks=pytest.mark.slow),
        pytest.param("sync", marks=[pytest.mark.slow, pytest.mark.integration]),
    ],
)
def test_benchmark_writes_its_figures(name: str, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--quick", "--seed", "test", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    value = json.loads(file.read_text())
    check_shape(value, name)
    assert all(figure["name"] in done.stdout for figure in value["figures"])


def make_value(name: str = "exact") -> dict[str, Any]:
    report = figures.Report(name, "s", False)
    report.add("fast", [1.0, 2.0, 3.0], "ms", at_most=2.5)
    report.add_one("slow", 1234.5, "blocks/s", at_least=2000.0, floor="the disk")
    value: dict[str, Any] = report.to_json()
    return value


def test_table_says_which_aims_are_missed() -> None:
    fast, slow = figures.make_table(make_value()["figures"], markdown=True)[2:]
    assert fast == "| fast | 2 ms | 1 - 3 | <= 2.5 met |  |"
    assert slow == "| slow | 1,234 blocks/s |  | >= 2000 MISSED | the disk |"


def test_page_takes_the_newest_table_and_keeps_its_text() -> None:
    page = "before\n<!-- figures: exact -->\nold\n<!-- end of figures -->\nafter\n"
    text = render.put_in(render.put_in(page, make_value()), make_value())
    assert text.startswith("before\n<!-- figures: exact -->\n")
    assert text.endswith("<!-- end of figures -->\nafter\n")
    assert "old" not in text
    assert text.count("| fast |") == 1


def test_page_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="marks of exact"):
        render.put_in("nothing\n", make_value())


def test_works_run_in_turns_and_each_is_counted_alone() -> None:
    calls: list[str] = []
    times = figures.interleave({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3, 0.0)
    assert [len(times[name]) for name in "ab"] == [3, 3]
    assert calls.count("a") == calls.count("b")


@pytest.mark.parametrize(("share", "expected"), [(0.1, 1), (0.5, 5), (0.9, 9), (0.99, 10), (1.0, 10)])
def test_rank_is_the_smallest_value_that_covers_the_share(share: float, expected: int) -> None:
    assert figures.pick(list(range(1, 11)), share) == expected
