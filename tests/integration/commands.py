"""Typing commands as a user does: in a folder, in a process of its own, with none of this machine's settings."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CLI = (sys.executable, "-P", "-m", "node.cli")
LIMIT_S = 90.0


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str


def type_command(folder: Path, *arguments: str) -> Ran:
    ran = subprocess.run(
        [*CLI, *arguments],
        cwd=folder,
        env=clean_environment(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def clean_environment(folder: Path) -> dict[str, str]:
    """This process's environment without our settings; the default data directory is in the folder."""
    others = {key: value for key, value in os.environ.items() if not key.startswith("GRADIENTCOIN")}
    return others | {"GRADIENTCOIN_DATA_DIR": str(folder / "default"), "NO_COLOR": "1"}
