"""Work that a command line must not load, done by a module in a process of its own that prints JSON lines."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import IO

from node.rpc.client import Json
from node.testnet.environment import add_kernel_cache

STOP_S = 5.0


def read_lines(
    module: str,
    arguments: list[str],
    take: Callable[[Json], None],
    environment: Mapping[str, str] = os.environ,
) -> tuple[int, str]:
    """Run a module and hand on every object that it prints; it ends with us, whatever happens here.

    Returns its exit code, and the last line of its standard error.
    """
    argv = [sys.executable, "-P", "-m", module, *arguments]
    with tempfile.TemporaryFile() as complaints:
        child = subprocess.Popen(
            argv,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            env=add_kernel_cache(dict(environment)),
        )
        try:
            for line in child.stdout or ():
                read_line(line, take)
            status = child.wait()
        finally:
            end(child)
        return status, read_last_line(complaints)


def read_line(line: str, take: Callable[[Json], None]) -> None:
    try:
        value = json.loads(line)
    except ValueError:
        return
    if isinstance(value, dict):
        take(value)


def end(child: subprocess.Popen[str]) -> None:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    if child.stdout:
        child.stdout.close()


def read_last_line(complaints: IO[bytes]) -> str:
    complaints.seek(0)
    lines = complaints.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
