"""The command line starts fast: it loads nothing heavy, for no command that only talks to a node."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.node.cli.fake_api import FakeApi

HEAVY = ("torch", "numba", "numpy", "libp2p", "trio", "ledger", "training", "starlette", "msgspec")
AT_START = (*HEAVY, "rich", "http.client", "platformdirs")
PROBE = """
import sys
from node.cli.main import run
code = run(sys.argv[2:])
print("loaded:", [name for name in sys.argv[1].split() if name in sys.modules])
sys.exit(code)
"""


def list_loaded(forbidden: tuple[str, ...], *arguments: str) -> str:
    probe = [sys.executable, "-c", PROBE, " ".join(forbidden), *arguments]
    ran = subprocess.run(probe, capture_output=True, text=True, check=True, env=dict(os.environ))
    return ran.stdout.splitlines()[-1]


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_help_loads_click_alone(arguments: tuple[str, ...]) -> None:
    probe = [sys.executable, "-c", PROBE, " ".join(AT_START), "--help"]
    assert subprocess.run(probe, capture_output=True, text=True, check=True).stdout.endswith("loaded: []\n")


@pytest.mark.parametrize(
    "arguments", [("status",), ("job", "list"), ("wallet", "list"), ("job", "show", "5f3a")]
)
def test_reading_loads_nothing_heavy(api: FakeApi, arguments: tuple[str, ...]) -> None:
    assert list_loaded(HEAVY, *arguments, "--node", str(api.data_dir)) == "loaded: []"


def test_init_loads_nothing_heavy(tmp_path: Path) -> None:
    assert list_loaded(HEAVY, "init", "--data-dir", str(tmp_path / "n")) == "loaded: []"


def test_module_runs_as_the_console_script_does() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "node.cli", "--version"], capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith("gradientcoin ")
