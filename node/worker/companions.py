"""Processes beside a supervised one, of the same program: they live and die together.

The first of them that ends takes the supervised process along, whose supervisor then starts all anew; when that one
ends, they are ended. Each has a standard input of its own that nothing is written to: its end is the node's end,
however that came, and theirs.
"""

from __future__ import annotations

import logging
import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO

log = logging.getLogger(__name__)


class Companions:
    """Those of one life of a supervised process."""

    def __init__(self, name: str, on_death: Callable[[], None]) -> None:
        self._name, self._on_death = name, on_death
        self._processes: list[subprocess.Popen[bytes]] = []
        self._expected = False  # to end

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def start(self, argv: Sequence[str], environment: Mapping[str, str], output: IO[bytes]) -> None:
        """Start one more, with more variables than the node's. Raises OSError."""
        process = subprocess.Popen(
            argv,
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=output,
        )
        self._processes.append(process)
        threading.Thread(target=self._watch, args=(process,), name="companion", daemon=True).start()

    def expect_end(self) -> None:
        """From now on they may end."""
        self._expected = True

    def end(self) -> None:
        """Kill those that still run: what they did is lost without the supervised process anyway."""
        self.expect_end()
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
            assert process.stdin is not None
            with suppress(OSError):
                process.stdin.close()

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        status = process.wait()
        if not self._expected:
            log.error("process %d of the %s ended with status %s", process.pid, self._name, status)
            self._on_death()
