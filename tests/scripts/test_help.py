"""Every script that the documents name starts, and says how it is used. Nothing runs."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCHES = sorted(path for path in (ROOT / "scripts" / "bench").glob("*.py") if "__main__" in path.read_text())
SCRIPTS = [
    ROOT / "scripts" / "chaos.py",
    ROOT / "scripts" / "demo.py",
    ROOT / "scripts" / "train_examples.py",
    *BENCHES,
    ROOT / "scripts" / "adversary" / "zoo.py",
    ROOT / "scripts" / "adversary" / "chain_zoo.py",
    ROOT / "docker" / "check.py",
    ROOT / "examples" / "predict_table.py",
]


def ask(command: list[str]) -> None:
    done = subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_says_how_it_is_used(script: Path) -> None:
    ask([sys.executable, str(script)])


@pytest.mark.parametrize("module", ["scaling", "cycle_rank", "kronecker", "graph", "graph.rows"])
def test_module_says_how_it_is_used(module: str) -> None:
    ask([sys.executable, "-m", f"training.{module}"])


def test_all_benchmarks_say_how_they_are_used_and_run_nothing() -> None:
    ask([str(ROOT / "scripts" / "bench" / "all")])
